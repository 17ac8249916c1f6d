//! The programs in README.md are the files in examples/, to the letter; and what it says of numbers is what the code
//! says.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_program_is_an_example() {
    let readme = read("README.md");
    let mut programs = 0;
    for part in readme.split("<!-- examples/").skip(1) {
        let (name, rest) = part.split_once(" -->\n").expect("the mark ends");
        let block = rest.split("```").nth(1).expect("a block of code follows");
        let (_, code) = block.split_once('\n').expect("its language, then the code");
        assert_eq!(code, read(&format!("examples/{name}")), "README.md differs from examples/{name}");
        programs += 1;
    }
    assert_eq!(programs, 4, "C, C++ and Rust, and a call in C");
}

#[test]
fn every_file_it_names_is_there() {
    let readme = read("README.md");
    for link in readme.split("](").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        if !target.contains("://") {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target} is not there");
        }
    }
}

#[test]
fn the_soname_it_names_is_the_one_we_build() {
    let soname = format!("libsegment.so.{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    assert!(read("README.md").contains(&format!("`{soname}`")), "{soname}");
}
