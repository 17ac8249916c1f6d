//! A file uses only files of lower layers: those that stand above it in the list. (The map in `lib.rs` is the same
//! list.)

use std::fs;
use std::path::Path;

const ORDER: [&str; 50] = [
    "error",
    "kill",
    "fork",
    "signals",
    "storage",
    "time",
    "id",
    "write",
    "scan",
    "pieces",
    "object",
    "transport",
    "report",
    "rules",
    "currency",
    "doubts",
    "policy",
    "endpoint",
    "header",
    "jwt",
    "oauth",
    "config",
    "message",
    "typed",
    "device",
    "chunk",
    "home",
    "spool",
    "survey",
    "flight",
    "shelf",
    "state",
    "queue",
    "outgoing",
    "errands",
    "sync",
    "person",
    "identity",
    "proxy",
    "resolver",
    "wire",
    "network",
    "authorization",
    "callbacks",
    "uploads",
    "worker",
    "process",
    "client",
    "user",
    "call",
];

const ROOMS: [&str; 7] = ["base", "write", "message", "net", "user", "queue", "client"];

/// Only these may start threads, use the network, or write `unsafe`.
const THREADS: [&str; 4] = ["uploads", "worker", "process", "resolver"];
const NETWORK: [&str; 4] = ["network", "proxy", "resolver", "wire"];
const UNSAFE: [&str; 3] = ["fork", "signals", "storage"];
const DISK: [&str; 1] = ["storage"];

fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("core/src is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            if name == "lib" || name == "mod" || name.ends_with("_tests") {
                continue;
            }
            read(&path, name, &mut sources);
        }
    }
    sources
}

fn read(path: &Path, name: String, sources: &mut Vec<(String, String)>) {
    let text = fs::read_to_string(path).expect("readable");
    // Tests may reach further.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    sources.push((name, code));
}

/// The modules of this crate that a file names.
fn used(code: &str) -> Vec<String> {
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let mut rest = &code[at + "crate::".len()..];
        for room in ROOMS {
            rest = rest.strip_prefix(room).and_then(|rest| rest.strip_prefix("::")).unwrap_or(rest);
        }
        let names = match rest.strip_prefix('{') {
            // `use crate::{scan, time};`, one level of braces.
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            used.push(name);
        }
    }
    used
}

#[test]
fn every_file_uses_only_lower_ones() {
    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    let sources = sources();
    assert_eq!(sources.len(), ORDER.len(), "each file has its place in the list");
    for (name, code) in &sources {
        let own = place(name).unwrap_or_else(|| panic!("{name} is not in the list"));
        for other in used(code) {
            if let Some(theirs) = place(&other) {
                assert!(theirs < own, "{name} uses {other}, which stands above it");
            }
        }
    }
}

#[test]
fn threads_network_and_unsafe_stay_where_they_belong() {
    for (name, code) in &sources() {
        let name = name.as_str();
        for (what, allowed) in [
            ("thread::Builder", THREADS.as_slice()),
            ("thread::spawn", &THREADS),
            ("ureq::", &NETWORK),
            ("std::net", &NETWORK),
            ("unsafe ", &UNSAFE),
            ("std::fs", &DISK),
            ("fs::", &DISK),
            ("println!", &[]),
        ] {
            assert!(!code.contains(what) || allowed.contains(&name), "{name} has {what}");
        }
    }
}

#[test]
fn the_test_sees_what_a_file_uses() {
    assert_eq!(
        used("use crate::error::Error;\nuse crate::{id, json};\n// crate::worker\ncrate::time::now()"),
        ["error", "id", "write", "time"]
    );
}
