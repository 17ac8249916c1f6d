//! What is damage, and what is not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::folder::{Folder, damage, overwrite, run, track};

#[test]
fn what_is_as_it_was_written_is_good() {
    let folder = Folder::new();
    folder.offline(0..5);
    folder.refused(5..7);
    let client = folder.living(7..9);
    let out = run(&["verify"], &folder.path).good();
    assert!(out.ends_with(" files checked, 9 messages good, 0 lines damaged\n"), "{out}");
    folder.end(client);
}

#[test]
fn damage_is_a_line_for_each_file_and_ends_with_1() {
    let folder = Folder::new();
    folder.offline(0..5);
    folder.offline(5..6);
    folder.refused(6..8);
    let (chunk, rejected) = (folder.chunks().remove(0), folder.rejected().remove(0));
    damage(&chunk, "Event 1");
    damage(&chunk, "Event 3");
    damage(&rejected, "Event 7");
    let done = run(&["verify"], &folder.path);
    assert_eq!((done.code, done.err.as_str()), (1, ""));
    let mut lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.pop(), Some("3 files checked, 5 messages good, 3 lines damaged in 2 files"));
    lines.sort_unstable();
    let mut expected = [
        format!("{} is damaged: 2 of 5 lines", chunk.display()),
        format!("{} is damaged: 1 of 2 lines", rejected.display()),
    ];
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn the_line_that_a_running_client_is_writing_is_no_damage() {
    let folder = Folder::new();
    let client = folder.living(0..2);
    let chunk = folder.chunks().remove(0);
    // What one sees of a file while a line is being copied into it.
    let mut content = fs::read(&chunk).expect("readable");
    let used = content.iter().rposition(|byte| *byte != 0).expect("lines") + 1;
    content.resize(content.len().max(used + 100), 0);
    content[used..used + 9].copy_from_slice(b"{\"half\":\"");
    overwrite(&chunk, &content);
    let out = run(&["verify"], &folder.path).good();
    assert!(out.ends_with(", 2 messages good, 0 lines damaged\n"), "{out}");
    content[3] ^= 1;
    overwrite(&chunk, &content);
    let done = run(&["verify"], &folder.path);
    assert_eq!(done.code, 1);
    assert!(done.out.ends_with(", 1 message good, 1 line damaged in 1 file\n"), "{}", done.out);
    content[3] ^= 1;
    overwrite(&chunk, &content);
    folder.end(client);
    // The same, with nobody there who could finish it: nobody was told that it is kept.
    fs::write(&chunk, &content).expect("written");
    let out = run(&["verify"], &folder.path).good();
    assert!(out.ends_with(", 2 messages good, 0 lines damaged\n"), "{out}");
}

#[test]
fn a_client_that_writes_all_the_time_is_never_taken_for_damaged() {
    let folder = Folder::new();
    let client = folder.living(0..1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..100_000 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                track(&client, n..n + 1);
            }
        });
        let outs: Vec<_> = (0..20).map(|_| run(&["verify"], &folder.path)).collect();
        done.store(true, Ordering::Relaxed);
        outs.into_iter().for_each(|out| drop(out.good()));
    });
}

#[test]
fn other_formats_and_strangers_are_no_damage() {
    let folder = Folder::new();
    folder.offline(0..1);
    let chunk = folder.chunks().remove(0);
    for name in ["0000000000001-000001-abc.v2.jsonl", "notes.txt", ".hidden", "pace"] {
        fs::write(chunk.with_file_name(name), "not ours\n").expect("written");
    }
    assert_eq!(
        run(&["verify"], &folder.path).good(),
        "1 file checked, 1 message good, 0 lines damaged, 1 file of a newer format left alone\n"
    );
}

#[test]
fn half_a_line_at_the_end_is_no_damage_for_nobody_was_told_that_it_is_kept() {
    let folder = Folder::new();
    folder.offline(0..3);
    let chunk = folder.chunks().remove(0);
    let content = fs::read(&chunk).expect("readable");
    fs::write(&chunk, &content[..content.len() - 20]).expect("written");
    let out = run(&["verify"], &folder.path).good();
    assert!(out.ends_with(", 2 messages good, 0 lines damaged\n"), "{out}");
}
