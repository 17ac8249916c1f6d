//! The messages.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::folder::{Folder, command, damage, run};
use crate::patience::{said, start};

fn names(text: &str) -> Vec<String> {
    let name = |line| serde_json::from_str::<Value>(line).expect("JSON")["event"].as_str().expect("a name").to_owned();
    text.lines().map(name).collect()
}

fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("Event {n}")).collect()
}

#[test]
fn messages_are_json_lines_in_their_order() {
    let folder = Folder::new();
    for run in 0..3 {
        folder.offline(run * 10..run * 10 + 10);
    }
    let client = folder.living(30..35);
    assert_eq!(names(&run(&["cat"], &folder.path).good()), events(0..35), "of all queues");
    folder.end(client);
    let chunks = folder.chunks();
    let chunk = chunks.iter().find(|chunk| fs::read_to_string(chunk).is_ok_and(|text| text.contains("Event 15")));
    let chunk = chunk.expect("the second");
    // A client may have copied together what those before it had left.
    let inside = names(&run(&["cat"], chunk).good()).join(", ");
    assert!(inside.contains(&events(10..20).join(", ")), "{inside}");
    assert_eq!(run(&["cat", "--rejected"], &folder.path).good(), "");
}

#[test]
fn what_was_given_up_is_printed_if_that_is_asked_for() {
    let folder = Folder::new();
    folder.refused(0..2);
    folder.offline(2..3);
    assert_eq!(names(&run(&["cat"], &folder.path).good()), events(2..3));
    assert_eq!(names(&run(&["cat", "--rejected"], &folder.path).good()), events(0..2));
    assert_eq!(names(&run(&["cat"], &folder.rejected()[0]).good()), events(0..2));
}

#[test]
fn damaged_lines_are_left_out_and_counted() {
    let folder = Folder::new();
    folder.offline(0..5);
    let chunk = folder.chunks().remove(0);
    damage(&chunk, "Event 1");
    let done = run(&["cat"], &folder.path);
    assert_eq!((done.code, names(&done.out)), (0, events([0, 2, 3, 4])));
    assert_eq!(done.err, format!("segment: 1 damaged line was skipped in {}\n", chunk.display()));
    damage(&chunk, "Event 3");
    let done = run(&["cat"], &chunk);
    assert_eq!((done.code, names(&done.out)), (0, events([0, 2, 4])));
    assert_eq!(done.err, format!("segment: 2 damaged lines were skipped in {}\n", chunk.display()));
}

#[test]
fn another_format_is_told_and_not_printed() {
    let folder = Folder::new();
    folder.offline(0..1);
    let newer = folder.chunks()[0].with_file_name("0000000000001-000001-abc.v2.jsonl");
    fs::write(&newer, "not ours\n").expect("written");
    let sentence =
        format!("segment: {} cannot be read: it has format 2, which this version cannot read\n", newer.display());
    let done = run(&["cat"], &folder.path);
    assert_eq!((done.code, names(&done.out), done.err), (0, events(0..1), sentence.clone()));
    let done = run(&["cat"], &newer);
    assert_eq!((done.code, done.out.as_str(), done.err), (2, "", sentence));
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_others() {
    let folder = Folder::new();
    folder.offline(0..1);
    let large = folder.chunks()[0].with_file_name("0000000000001-000001-abc.v1.jsonl");
    fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let done = run(&["cat"], &folder.path);
    assert_eq!((done.code, names(&done.out)), (2, events(0..1)));
    assert_eq!(done.err, format!("segment: {} cannot be read: it is larger than a chunk can be\n", large.display()));
    let done = run(&["verify"], &folder.path);
    assert_eq!(done.code, 1);
    assert!(done.out.ends_with(", 1 file not readable\n"), "{}", done.out);
    assert!(run(&["ls"], &folder.path).good().contains("cannot be read: it is larger"));
}

#[test]
fn whoever_reads_may_stop_at_any_time() {
    let folder = Folder::new();
    folder.offline(0..5_000); // more than a pipe takes
    let mut child = start(command(&["cat"], &folder.path).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("a line");
    assert_eq!(names(&first), events(0..1));
    let output = said(child);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
