//! The programs in README.md and docs/cookbook.md are exactly the examples; and the name of the library is the one that
//! we build.

use std::fs;
use std::path::Path;

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The language and the path of each program on a page, which must be the file to the letter.
fn programs(page: &str) -> Vec<(String, String)> {
    let text = read(page);
    let mut programs = Vec::new();
    for part in text.split("<!-- ").skip(1) {
        let (path, rest) = part.split_once(" -->\n").expect("the mark ends");
        let block = rest.strip_prefix("```").expect("a block of code follows");
        let (language, rest) = block.split_once('\n').expect("its language, then the code");
        let (code, _) = rest.split_once("```").expect("the block ends");
        assert_eq!(code, read(path), "{page} differs from {path}");
        programs.push((language.to_owned(), path.to_owned()));
    }
    programs
}

/// The files in a folder whose names end like this.
fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    let listed = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder");
    let mut files: Vec<String> = listed
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a plain name"))
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_program_is_an_example() {
    let languages: Vec<String> = programs("README.md").into_iter().map(|(language, _)| language).collect();
    assert_eq!(languages, ["c", "cpp", "rust", "python"]);
}

#[test]
fn the_cookbook_quotes_each_example_in_c_and_links_the_others() {
    let mut quoted: Vec<String> = programs("docs/cookbook.md").into_iter().map(|(_, path)| path).collect();
    quoted.sort();
    assert_eq!(quoted, files("examples", &[".c"]));
    let text = read("docs/cookbook.md");
    for path in files("examples", &[".cc", ".rs"]).iter().chain(&files("bindings/python/examples", &[".py"])) {
        assert!(text.contains(&format!("](../{path})")), "docs/cookbook.md does not link {path}");
    }
}

/// The anchors of a page's headings.
fn headings(text: &str) -> Vec<String> {
    let heading = |line: &str| line[3..].to_lowercase().replace(' ', "-").replace([',', '.', '`', ':', '\''], "");
    text.lines().filter(|line| line.starts_with("## ")).map(heading).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/works-with.md", "docs/cookbook.md"] {
        let text = read(page);
        let folder = Path::new(page).parent().expect("a folder");
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { Path::new(page).to_owned() } else { folder.join(path) };
            let is_there = target.contains("://")
                || Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).exists()
                    && (heading.is_empty() || headings(&read(&file)).iter().any(|other| other == heading));
            assert!(is_there, "{page}: {target} is not there");
        }
    }
}

#[test]
fn the_soname_it_names_is_the_one_we_build() {
    let soname = format!("libsegment.so.{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    assert!(read("README.md").contains(&format!("`{soname}`")), "{soname}");
}
