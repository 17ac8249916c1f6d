//! The rooms of the core, in the order of the list in ARCHITECTURE.md: a file uses only its own room and those above
//! it. No files use each other in a circle, in the core, in the C boundary and in the tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Only these may start threads, use the network or the disk, or write `unsafe`.
const THREADS: [&str; 4] = ["client::uploads", "client::worker", "client::process", "base::threads"];
const STD_THREADS: [&str; 2] = ["base::threads", "net::resolver"];
/// The files that read the clock without `base::threads`: the simulator does not run them.
const STD_CLOCK: [&str; 6] =
    ["base::threads", "base::fork", "net::network", "net::oauth", "net::resolver", "net::wire"];
const NETWORK: [&str; 4] = ["net::network", "net::proxy", "net::resolver", "net::wire"];
const UNSAFE: [&str; 3] = ["base::fork", "base::signals", "base::storage"];
const DISK: [&str; 1] = ["base::storage"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// The list of rooms: the lines of ARCHITECTURE.md that begin with the name of a folder.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("readable");
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once("/` |")?.0.to_owned());
    text.lines().filter_map(name).collect()
}

/// The files of a crate by the names of their modules, without those for tests.
pub(crate) fn modules(source: &str) -> BTreeMap<String, String> {
    let root = repository().join(source);
    let (mut modules, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("below it").with_extension("");
            let name = name.to_string_lossy().replace(['/', '\\'], "::");
            let name = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            if is_code && !matches!(name.as_str(), "lib" | "main") && !name.ends_with("tests") {
                modules.insert(name, without_tests(&fs::read_to_string(&path).expect("readable")));
            }
        }
    }
    modules
}

/// Code without comments and without items for tests.
fn without_tests(code: &str) -> String {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut code = lines.collect::<Vec<_>>().join("\n");
    while let Some(start) = code.find("#[cfg(test)]") {
        // The item ends with a semicolon, or with the brace of its indentation.
        let before = code[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let close = format!("\n{}}}", &code[before..start]);
        let (semicolon, brace) = (code[start..].find(";\n"), code[start..].find("{\n"));
        let end = match (semicolon, brace) {
            (Some(semicolon), Some(brace)) if semicolon < brace => start + semicolon + 1,
            (_, Some(_)) => code[start..].find(&close).map_or(code.len(), |at| start + at + close.len()),
            (semicolon, None) => semicolon.map_or(code.len(), |at| start + at + 1),
        };
        code.replace_range(start..end, "");
    }
    code
}

/// The modules of the crate that a file names; its own submodules need no `crate::` before them.
fn used(own: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut used = BTreeSet::new();
    for (word, base) in [("crate::", ""), ("super::", parent), ("self::", own)] {
        for (at, _) in code.match_indices(word) {
            for path in paths(&code[at + word.len()..]) {
                let path: Vec<&str> = base.split("::").filter(|name| !name.is_empty()).chain(path).collect();
                let known = (1..=path.len()).rev().map(|length| path[..length].join("::"));
                used.extend(known.into_iter().find(|name| modules.contains_key(name)).filter(|name| name != own));
            }
        }
    }
    for child in modules.keys().filter(|name| name.strip_prefix(own).is_some_and(|rest| rest.starts_with("::"))) {
        let path = format!("{}::", &child[own.len() + 2..]);
        let is_a_start = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if code.match_indices(&path).any(|(at, _)| is_a_start(at)) {
            used.insert(child.clone());
        }
    }
    used
}

/// `a::b::C` is one path; `a::{b, c::{d, e}}` are three.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let head: Vec<&str> = text[..end].split("::").filter(|name| !name.is_empty()).collect();
    let Some(list) = text[end..].strip_prefix('{').filter(|_| end == 0 || text[..end].ends_with("::")) else {
        return vec![head];
    };
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        if c == '{' {
            depth += 1;
        }
        if depth == 0 && (c == ',' || c == '}') {
            let items = self::paths(list[start..at].trim());
            paths.extend(items.into_iter().map(|item| head.iter().copied().chain(item).collect()));
            start = at + 1;
        }
        if c == '}' {
            if depth == 0 {
                break;
            }
            depth -= 1;
        }
    }
    paths
}

fn arrows(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules(source);
    modules.iter().map(|(name, code)| (name.clone(), used(name, code, &modules))).collect()
}

/// How many floors the modules stand on. The error is the modules of a circle, or of several and those between them.
fn floors(arrows: &BTreeMap<String, BTreeSet<String>>) -> Result<usize, Vec<&str>> {
    let mut left: BTreeMap<&str, &BTreeSet<String>> = arrows.iter().map(|(name, used)| (name.as_str(), used)).collect();
    let mut floors = 0;
    while !left.is_empty() {
        let stands = |used: &BTreeSet<String>| !used.iter().any(|name| left.contains_key(name.as_str()));
        let floor: Vec<&str> = left.iter().filter(|(_, used)| stands(used)).map(|(name, _)| *name).collect();
        if floor.is_empty() {
            // Modules that merely stand on a circle are not part of it.
            while let Some(top) = left.keys().copied().find(|name| !left.values().any(|used| used.contains(*name))) {
                left.remove(top);
            }
            return Err(left.into_keys().collect());
        }
        floor.into_iter().for_each(|name| _ = left.remove(name));
        floors += 1;
    }
    Ok(floors)
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Which rooms each room uses.
fn between_rooms(files: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut between = BTreeMap::<String, BTreeSet<String>>::new();
    for (file, used) in files {
        let others = used.iter().map(|other| room(other).to_owned()).filter(|other| other != room(file));
        between.entry(room(file).to_owned()).or_default().extend(others);
    }
    between
}

#[test]
#[allow(clippy::print_stdout)] // figures, shown with --nocapture
fn every_file_uses_its_own_room_and_those_above_it() {
    let (rooms, files) = (rooms(), arrows("core/src"));
    let place = |module: &str| rooms.iter().position(|name| name == room(module));
    for (file, used) in &files {
        let own = place(file).unwrap_or_else(|| panic!("the list in ARCHITECTURE.md has no room for {file}"));
        for other in used {
            assert!(place(other) <= Some(own), "{file} uses {other}, of a room below its own");
        }
    }
    let between = between_rooms(&files);
    assert_eq!(between.len(), rooms.len(), "each room of the list is there");
    let rooms_arrows: usize = between.values().map(BTreeSet::len).sum();
    let rooms_floors = floors(&between).expect("no circle");
    let files_arrows: usize = files.values().map(BTreeSet::len).sum();
    let counted = format!("{} rooms stand on {rooms_floors} floors, with {rooms_arrows} arrows", rooms.len());
    let files_floors = floors(&files).expect("no circle");
    println!("{counted}; {} files on {files_floors} floors, with {files_arrows}", files.len());
    let architecture = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("readable");
    let architecture = architecture.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(architecture.contains(&counted), "ARCHITECTURE.md does not say that {counted}");
}

/// An attribute of a tag of SVG.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

#[test]
fn the_picture_shows_the_rooms_and_their_arrows() {
    let picture = fs::read_to_string(repository().join("docs/layers.svg")).expect("readable");
    let tags = |name: &'static str| picture.split('<').filter(move |tag| tag.split([' ', '>']).next() == Some(name));
    // Each room's bar: its left and right, its top and bottom.
    let mut bars = BTreeMap::new();
    for bar in tags("rect") {
        let number = |name| attribute(bar, name).map(|number| number.parse::<i32>().expect("a number"));
        if let (Some(name), Some(x), Some(y)) = (attribute(bar, "id"), number("x"), number("y")) {
            let (width, height) = (number("width").expect("it is there"), number("height").expect("it is there"));
            assert!(picture.contains(&format!(">{name}</tspan>")), "no text says that this is {name}");
            bars.insert(name, (x..x + width, y..y + height));
        }
    }
    let between = between_rooms(&arrows("core/src"));
    assert_eq!(bars.keys().copied().collect::<Vec<_>>(), between.keys().map(String::as_str).collect::<Vec<_>>());
    // Each arrow goes down from the bar of a room to that of another, and says so.
    let mut drawn = BTreeSet::new();
    for arrow in tags("path").filter(|path| attribute(path, "id").is_some()) {
        let (id, line) = (attribute(arrow, "id").expect("it is there"), attribute(arrow, "d").expect("a line"));
        let (from, to) = id.split_once('-').expect("from one to another");
        let numbers: Vec<i32> = line.split(['M', ' ', 'V']).filter_map(|number| number.parse().ok()).collect();
        let [x, start, end] = numbers[..] else { panic!("{line} is not straight") };
        let (from_bar, to_bar) = (&bars[from], &bars[to]);
        assert!(from_bar.0.contains(&x) && from_bar.1.end == start, "{id} does not begin at {from}");
        assert!(to_bar.0.contains(&x) && to_bar.1.start == end, "{id} does not end at {to}");
        assert!(drawn.insert((from.to_owned(), to.to_owned())), "{id} is there twice");
    }
    let real = between.iter().flat_map(|(from, used)| used.iter().map(|to| (from.clone(), to.clone())));
    assert_eq!(drawn, real.collect());
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for source in ["core/src", "src", "cli/src", "bindings/python/src"] {
        let arrows = arrows(source);
        assert!(arrows.len() > 3, "{source} has files");
        if let Err(circle) = floors(&arrows) {
            panic!("in {source} these stand on each other: {circle:?}");
        }
    }
}

#[test]
fn threads_network_and_unsafe_stay_where_they_belong() {
    for (name, code) in &modules("core/src") {
        let name = name.as_str();
        for (what, allowed) in [
            ("threads::spawn", THREADS.as_slice()),
            ("thread::Builder", &STD_THREADS),
            ("thread::spawn", &STD_THREADS),
            ("Instant::now", &STD_CLOCK),
            ("ureq::", &NETWORK),
            ("std::net", &NETWORK),
            ("unsafe ", &UNSAFE),
            ("std::fs", &DISK),
            ("fs::", &DISK),
            ("println!", &[]),
        ] {
            assert!(!code.contains(what) || allowed.contains(&name), "{name} has {what}");
        }
        let is_simulated = ["queue", "user", "client"].contains(&room(name));
        let imports = code.lines().filter(|line| line.starts_with("use std::sync"));
        let has_lock = imports.into_iter().any(|line| line.contains("Mutex") || line.contains("Condvar"));
        assert!(!is_simulated || !has_lock, "{name} has a lock of its own: those of base::threads can be simulated");
    }
}

#[test]
fn the_test_sees_what_a_file_uses() {
    let modules = ["a", "a::b", "a::c", "a::c::g", "d", "e::f"].map(|name| (name.to_owned(), String::new())).into();
    let of = |code: &str| used("a::c", code, &modules).into_iter().collect::<Vec<_>>();
    assert_eq!(of("use crate::a::b::Error;\nuse crate::{d, e::f::{self, G}};"), ["a::b", "d", "e::f"]);
    assert_eq!(of("fn x() { super::b::y(crate::d::Z) }"), ["a::b", "d"]);
    assert_eq!(of("use crate::a::{b::B, c::C};"), ["a::b"]);
    assert_eq!(of("mod g;\nfn x() { g::y(d::Z) }"), ["a::c::g"]);
    assert!(of("mod g;\nfn x() { other::g::y(big::z()) }").is_empty());
    let code = "use a;\n#[cfg(test)]\nuse b;\nfn f() {}\n    #[cfg(test)]\n    fn g() {\n        h();\n    }\nuse z;\n";
    let code = without_tests(&format!("{code}#[cfg(test)]\nmod tests {{\n    use crate::d;\n}}\n"));
    assert!(code.contains("use z") && !["use b", "h()", "crate::d"].iter().any(|gone| code.contains(gone)), "{code}");
    let circle: BTreeMap<_, BTreeSet<_>> =
        [("a", "b"), ("b", "a"), ("c", "a")].map(|(from, to)| (from.to_owned(), [to.to_owned()].into())).into();
    assert_eq!(floors(&circle), Err(vec!["a", "b"]));
}
