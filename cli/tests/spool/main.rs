//! `segment spool` from outside: the real program, on folders that the real library made.

mod cat;
mod folder;
mod ls;
#[path = "../common/patience.rs"]
mod patience;
mod rescue;
mod server;
mod verify;

use std::fs;

use folder::{Folder, run};

/// All that can be asked for.
const COMMANDS: [&[&str]; 5] = [&["ls"], &["ls", "--json"], &["cat"], &["cat", "--rejected"], &["verify"]];

#[test]
fn nothing_in_the_folder_changes() {
    let folder = Folder::new();
    folder.offline(0..5);
    folder.refused(5..8);
    let client = folder.living(8..10);
    let inside = folder.chunks()[0].parent().expect("a folder").to_owned();
    for name in ["0000000000001-000001-abc.v2.jsonl", "notes.txt", ".hidden", "0000000000001-000001-dead.v1.jsonl"] {
        fs::write(inside.join(name), "half a line").expect("written");
    }
    let before = folder.state();
    assert!(before.len() > 10, "{before:#?}");
    for command in COMMANDS {
        for path in [&folder.path, &inside] {
            run(command, path);
            assert_eq!(folder.state(), before, "{command:?}");
        }
    }
    patience::until("who uses the folder is not disturbed", || client.stats().in_memory == 0);
    assert_eq!(client.stats().queued, 2);
}

#[test]
fn a_folder_that_is_missing_is_one_sentence() {
    let folder = Folder::new();
    let missing = folder.path.join("missing");
    for command in COMMANDS {
        let done = run(command, &missing);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{command:?}");
        let what = if command[0] == "cat" { "file or folder" } else { "folder" };
        assert_eq!(done.err, format!("segment: there is no {what} {}\n", missing.display()));
    }
    assert!(!missing.exists());
}

#[test]
fn a_file_is_no_folder() {
    let folder = Folder::new();
    folder.offline(0..1);
    let chunk = folder.chunks().remove(0);
    for command in ["ls", "verify"] {
        let done = run(&[command], &chunk);
        assert_eq!((done.code, done.out.as_str()), (2, ""));
        assert_eq!(done.err, format!("segment: {} is not a folder\n", chunk.display()));
    }
}

#[test]
fn an_empty_folder_is_no_error() {
    let folder = Folder::new();
    assert_eq!(run(&["ls"], &folder.path).good(), "total: 0 messages waiting in 0 files, 0 B\n");
    assert_eq!(run(&["cat"], &folder.path).good(), "");
    assert_eq!(run(&["verify"], &folder.path).good(), "0 files checked, 0 messages good, 0 lines damaged\n");
}

#[test]
fn whatever_is_in_the_folder_it_ends_with_one_of_three() {
    let folder = Folder::new();
    folder.offline(0..3);
    let chunk = folder.chunks().remove(0);
    let content = fs::read(&chunk).expect("readable");
    for at in 0..content.len().min(300) {
        let mut changed = content.clone();
        changed[at] ^= 1 << (at % 8);
        changed.truncate(content.len() - at % 7);
        fs::write(&chunk, &changed).expect("written");
        assert_eq!(run(&["verify"], &folder.path).code, 1, "byte {at}");
    }
    let inside = chunk.parent().expect("a folder");
    for (n, name) in ["99999999999999999999-1-a", "-", "\u{1b}[2J\n", "é-日本", "1"].into_iter().enumerate() {
        fs::write(inside.join(format!("{name}.v1.jsonl")), content.repeat(n)).expect("written");
        fs::write(inside.join(format!("{name}.v99999999999.jsonl")), content.repeat(n)).expect("written");
    }
    fs::create_dir(inside.join("1-1-folder.v1.jsonl")).expect("made");
    fs::write(inside.join("rejected"), "no folder").expect("written");
    for command in COMMANDS {
        let done = run(command, &folder.path);
        assert!((0..=2).contains(&done.code), "{command:?}: {}", done.err);
        assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'), "{command:?}");
        assert!(!done.err.contains("panicked"), "{}", done.err);
    }
}
