//! `segment spool export`, `send` and `purge`: what clients that are gone have left is rescued, what running ones have
//! is theirs.

use std::fs;
use std::io::Read as _;
use std::path::Path;
#[cfg(unix)]
use std::process::Stdio;

use flate2::read::GzDecoder;

use crate::folder::{Done, Folder, command, damage, done, run};
#[cfg(unix)]
use crate::patience::{said, start, until};
use crate::server::{Answers, Segment, names};

fn expected(events: std::ops::Range<usize>) -> Vec<String> {
    events.map(|n| format!("Event {n}")).collect()
}

fn send(folder: &Path, endpoint: &str, more: &[&str]) -> Done {
    let mut command = command(&[&["send", "--endpoint", endpoint], more].concat(), folder);
    done(command.env("SEGMENT_WRITE_KEY", "WRITE_KEY"))
}

#[test]
fn what_waits_is_sent_once_the_network_is_back() {
    let folder = Folder::new();
    folder.offline(0..5);
    folder.offline(5..8);
    let done = send(&folder.path, &folder.segment.url, &["--wait", "0.3"]);
    assert_eq!((done.code, done.out.as_str()), (1, "0 messages delivered, 8 left\n"), "{}", done.err);
    folder.segment.answer(Answers::Status(200));
    let done = send(&folder.path, &folder.segment.url, &[]);
    assert_eq!((done.code, done.out.as_str()), (0, "8 messages delivered\n"), "{}", done.err);
    assert_eq!(folder.segment.events(), expected(0..8));
    assert!(folder.chunks().is_empty(), "{:?}", folder.files());
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_what_waits_and_says_so() {
    let folder = Folder::new();
    folder.offline(0..3);
    folder.segment.answer(Answers::Never);
    for (before, signal) in ["-INT", "-TERM"].into_iter().enumerate() {
        let mut command = command(&["send", "--endpoint", &folder.segment.url], &folder.path);
        let child = start(command.env("SEGMENT_WRITE_KEY", "WRITE_KEY").stdout(Stdio::piped()).stderr(Stdio::null()));
        until("it sends", || folder.segment.unanswered() > before);
        let killed = start(std::process::Command::new("kill").args([signal, &child.id().to_string()])).wait();
        assert!(killed.expect("kill").success());
        let output = said(child);
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), &*out), (Some(130), "0 messages delivered, 3 left\n"));
    }
}

#[test]
fn a_queue_can_be_sent_by_its_own_folder() {
    let folder = Folder::new();
    folder.offline(0..3);
    let inside = folder.chunks()[0].parent().expect("a folder").to_owned();
    folder.segment.answer(Answers::Status(200));
    let done = send(&inside, &folder.segment.url, &["--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("\"delivered\":3"), "{}", done.out);
    assert_eq!(folder.segment.events(), expected(0..3));
}

#[test]
fn what_was_meant_for_another_endpoint_stays() {
    let folder = Folder::new();
    folder.offline(0..4);
    let before = folder.state();
    let elsewhere = Segment::new(Answers::Status(200));
    let done = send(&folder.path, &elsewhere.url, &[]);
    assert_eq!((done.code, done.out.as_str()), (1, "0 messages delivered\n"));
    assert!(done.err.contains("4 messages left, meant for another write key or another endpoint"), "{}", done.err);
    assert!(elsewhere.events().is_empty());
    assert_eq!(names_of(&folder.state()), names_of(&before));
}

fn names_of<T, U, V>(state: &[(std::path::PathBuf, T, U, V)]) -> Vec<&Path> {
    state.iter().map(|(path, ..)| path.as_path()).collect()
}

#[test]
fn what_is_refused_is_kept_as_rejected() {
    let folder = Folder::new();
    folder.offline(0..2);
    folder.segment.answer(Answers::Status(403));
    let done = send(&folder.path, &folder.segment.url, &[]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert_eq!(done.out, "0 messages delivered, 2 refused and kept in rejected/\n");
    assert_eq!(folder.rejected().len(), 1);
}

#[test]
fn damaged_lines_are_told_apart_from_what_was_refused() {
    let folder = Folder::new();
    folder.offline(0..3);
    damage(&folder.chunks()[0], "Event 1");
    folder.segment.answer(Answers::Status(200));
    let done = send(&folder.path, &folder.segment.url, &[]);
    assert_eq!((done.code, done.out.as_str()), (1, "2 messages delivered, 1 damaged and kept in rejected/\n"));
    folder.offline(3..6);
    damage(&folder.chunks()[0], "Event 5");
    let done = send(&folder.path, &folder.segment.url, &["--json"]);
    let sums: serde_json::Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!((&sums["delivered"], &sums["refused"], &sums["damaged"]), (&2.into(), &0.into(), &1.into()), "{sums}");
}

#[test]
fn running_clients_keep_theirs() {
    let folder = Folder::new();
    folder.offline(0..3);
    let client = folder.living(3..5);
    let export = folder.path.join("out.jsonl");
    let done = run(&["export", "--remove", "-o", export.to_str().expect("text")], &folder.path);
    assert_eq!((done.code, done.out.starts_with("3 messages from 1 file written to ")), (0, true), "{}", done.err);
    assert!(done.err.contains("left to clients that run"), "{}", done.err);
    assert_eq!(names(&fs::read_to_string(&export).expect("written")), expected(0..3));
    let done = run(&["purge", "--yes"], &folder.path);
    assert_eq!((done.code, done.out.as_str()), (0, "deleted: 0 messages in 0 files\n"));
    until("all is on the disk", || client.stats().in_memory == 0);
    assert_eq!(client.stats().queued, 2);
    assert_eq!(names(&run(&["cat"], &folder.path).good()), expected(3..5));
}

#[test]
fn an_export_is_packed_if_its_name_says_so_and_never_overwrites() {
    let folder = Folder::new();
    folder.offline(0..3);
    folder.refused(3..5);
    let before = folder.chunks();
    let file = folder.path.join("out.jsonl.gz");
    let arguments = ["export", "-o", file.to_str().expect("text")];
    run(&arguments, &folder.path).good();
    let mut text = String::new();
    GzDecoder::new(fs::File::open(&file).expect("there")).read_to_string(&mut text).expect("gzip");
    assert_eq!(names(&text), expected(0..3));
    assert_eq!(folder.chunks(), before, "nothing is deleted unless asked for");
    let done = run(&arguments, &folder.path);
    assert_eq!((done.code, done.err.lines().count()), (2, 1), "{}", done.err);
    let rejected = folder.path.join("rejected.jsonl");
    run(&["export", "--rejected", "--remove", "-o", rejected.to_str().expect("text")], &folder.path).good();
    assert_eq!(names(&fs::read_to_string(&rejected).expect("there")), expected(3..5));
    assert!(
        folder.rejected().is_empty() && !folder.files().iter().any(|file| file.to_string_lossy().contains("reason"))
    );
}

#[test]
fn damage_keeps_an_export_from_deleting() {
    let folder = Folder::new();
    folder.offline(0..3);
    damage(&folder.chunks()[0], "Event 1");
    let file = folder.path.join("out.jsonl");
    let done = run(&["export", "--remove", "-o", file.to_str().expect("text")], &folder.path);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("1 damaged line in ") && done.err.contains("nothing was deleted"), "{}", done.err);
    assert_eq!((names(&fs::read_to_string(&file).expect("there")).len(), folder.chunks().len()), (2, 1));
}

#[test]
fn a_purge_says_first_what_it_would_do() {
    let folder = Folder::new();
    folder.offline(0..3);
    folder.refused(3..5);
    let before = folder.state();
    assert_eq!(run(&["purge"], &folder.path).good(), "--yes would delete: 5 messages in 2 files\n");
    assert_eq!(
        run(&["purge", "--older-than", "1"], &folder.path).good(),
        "--yes would delete: 0 messages in 0 files\n"
    );
    assert_eq!(folder.state(), before);
    assert_eq!(run(&["purge", "--yes", "--older-than", "1"], &folder.path).good(), "deleted: 0 messages in 0 files\n");
    assert_eq!(run(&["purge", "--rejected", "--yes"], &folder.path).good(), "deleted: 2 messages in 1 file\n");
    assert_eq!((folder.chunks().len(), folder.rejected().len()), (1, 0));
    assert_eq!(run(&["purge", "--yes"], &folder.path).good(), "deleted: 3 messages in 1 file\n");
    assert!(folder.chunks().is_empty());
}

#[test]
fn wrong_arguments_end_with_two() {
    let folder = Folder::new();
    let missing = folder.path.join("missing");
    for arguments in [&["purge", "--yes"][..], &["export", "-o", "x"], &["purge", "--older-than", "soon"], &["export"]]
    {
        let done = run(arguments, &missing);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}");
    }
    assert_eq!(send(&missing, &folder.segment.url, &[]).code, 2);
    assert!(!missing.exists());
}
