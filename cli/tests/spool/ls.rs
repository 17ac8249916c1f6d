//! What is listed.

use std::fs;

use serde_json::Value;

use crate::folder::{Folder, command, damage, run};
use crate::patience::output;

fn json(folder: &Folder) -> Value {
    serde_json::from_str(&run(&["ls", "--json"], &folder.path).good()).expect("JSON")
}

#[test]
fn a_file_is_a_line_with_counts_age_size_and_owner() {
    let folder = Folder::new();
    folder.offline(0..3);
    let made = folder.chunks().remove(0);
    // Its name is when it was begun: three days and an hour earlier, so that its age is the same for a while.
    let name = made.file_name().expect("a name").to_string_lossy();
    let (ms, rest) = name.split_at(13);
    let chunk = made.with_file_name(format!("{}{rest}", ms.parse::<u64>().expect("a time") - 73 * 3_600_000));
    fs::rename(&made, &chunk).expect("renamed");
    let out = run(&["ls"], &folder.path).good();
    let lines: Vec<&str> = out.lines().collect();
    let [queue, head, line, "", total] = lines.as_slice() else { panic!("{out}") };
    let inside = chunk.parent().and_then(|folder| folder.file_name()).expect("a name").to_string_lossy();
    assert_eq!(*queue, format!("queue {inside}"));
    let words: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(words, ["FILE", "BEGUN", "AGE", "MESSAGES", "SIZE", "DAMAGED", "STATE"]);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, begun, "3", "d", "3", size, unit, "-", "owner", "gone"] = words.as_slice() else { panic!("{line}") };
    assert_eq!(*name, chunk.file_name().expect("a name").to_string_lossy());
    assert!(begun.starts_with("20") && begun.ends_with('Z') && begun.len() == 20, "{begun}");
    assert_eq!(*total, format!("total: 3 messages waiting in 1 file, {size} {unit}"));
    let bytes = fs::metadata(&chunk).expect("there").len();
    assert_eq!(*size, if bytes < 1_000 { bytes.to_string() } else { format!("{:.1}", bytes as f64 / 1e3) });
    assert_eq!(run(&["ls"], chunk.parent().expect("a folder")).good(), out, "a queue is a folder, too");
}

#[test]
fn a_running_owner_is_told_and_the_room_it_reserved_is_not_counted() {
    let folder = Folder::new();
    let client = folder.living(0..2);
    let out = run(&["ls"], &folder.path).good();
    assert!(out.contains("owner running") && out.contains("total: 2 messages waiting in "), "{out}");
    let listing = json(&folder);
    let file = &listing["queues"][0]["files"][0];
    assert_eq!((&file["owner_runs"], &file["messages"]), (&true.into(), &2.into()));
    assert!(file["bytes"].as_u64().expect("a number") < 2_000, "{file}");
    folder.end(client);
    assert!(run(&["ls"], &folder.path).good().contains("owner gone"));
}

#[test]
fn what_was_given_up_is_listed_with_its_reason() {
    let folder = Folder::new();
    folder.refused(0..2);
    let out = run(&["ls"], &folder.path).good();
    assert!(out.contains("  rejected/") && out.contains("  rejected: Segment answered with status 403"), "{out}");
    assert!(out.contains("total: 0 messages waiting in 0 files, 0 B; 2 messages rejected in 1 file, "), "{out}");
    let listing = json(&folder);
    assert_eq!(listing["total"]["rejected"]["messages"], 2);
    let reason = fs::read_to_string(folder.rejected()[0].to_string_lossy().replace(".v1.jsonl", ".reason.txt"));
    assert_eq!(listing["queues"][0]["files"][0]["reason"], reason.expect("a reason").trim_end());
}

#[test]
fn a_pause_is_told_with_its_end_and_its_reason() {
    let folder = Folder::new();
    folder.offline(0..2);
    let pace = folder.chunks()[0].with_file_name("pace");
    // 2100-01-01, and long over.
    for (until, reason) in [("4102444800000", "Segment answered with status 429"), ("4102444800000", ""), ("1000", "x")]
    {
        fs::write(&pace, format!("1 4 0 {until}\n{reason}\n")).expect("written");
        let out = run(&["ls"], &folder.path).good();
        let queue = &json(&folder)["queues"][0];
        if until == "1000" {
            assert!(!out.contains("nothing is sent") && queue["paused_until"].is_null(), "{out}");
            continue;
        }
        let colon = if reason.is_empty() { "" } else { ": " };
        let expected = format!("  nothing is sent before 2100-01-01T00:00:00Z{colon}{reason}\n");
        assert!(out.contains(&expected), "{out}");
        let told = queue["pause_reason"].as_str().unwrap_or_default();
        assert_eq!((queue["paused_until"].as_str(), told), (Some("2100-01-01T00:00:00.000Z"), reason));
    }
}

#[test]
fn damage_other_formats_and_strangers() {
    let folder = Folder::new();
    folder.offline(0..3);
    let chunk = folder.chunks().remove(0);
    damage(&chunk, "Event 1");
    let inside = chunk.parent().expect("a folder");
    for name in ["0000000000001-000001-abc.v2.jsonl", "notes.txt", ".hidden"] {
        fs::write(inside.join(name), "not ours\n").expect("written");
    }
    let out = run(&["ls"], &folder.path).good();
    assert!(out.contains("1970-01-01T00:00:00Z") && out.contains("  of a newer format\n"), "{out}");
    assert!(out.ends_with("; 1 line damaged; 1 file of a newer format\n"), "{out}");
    assert!(!out.contains("notes") && !out.contains("hidden"), "{out}");
    let listing = json(&folder);
    let files = listing["queues"][0]["files"].as_array().expect("files");
    assert_eq!(files.len(), 2);
    assert_eq!((&files[0]["kind"], &files[0]["messages"]), (&"newer".into(), &Value::Null));
    assert_eq!((&files[1]["messages"], &files[1]["damaged_lines"]), (&2.into(), &1.into()));
    assert_eq!((&listing["total"]["damaged_lines"], &listing["total"]["newer_files"]), (&1.into(), &1.into()));
}

#[test]
fn colours_are_for_terminals() {
    let folder = Folder::new();
    folder.offline(0..1);
    damage(&folder.chunks()[0], "Event 0");
    assert!(!run(&["ls"], &folder.path).good().contains('\x1b'));
    let output = output(command(&["ls"], &folder.path).env("CLICOLOR_FORCE", "1"), b"");
    assert!(output.stdout.contains(&b'\x1b'));
}
