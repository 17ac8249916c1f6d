//! `segment import`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::patience::{said, until};
use crate::program::{Folder, command, finish, nowhere, run, run_with};
use crate::server::{Answer, Server};

/// So many rows of which nothing is wrong.
pub(crate) fn rows(count: usize) -> String {
    let row = |n| {
        format!(
            "{{\"type\":\"track\",\"userId\":\"u{}\",\"event\":\"E\",\
             \"timestamp\":\"2020-01-02T03:04:05.678Z\",\"properties\":{{\"n\":{n}}}}}\n",
            n % 7
        )
    };
    (0..count).map(row).collect()
}

/// Which rows there are in some messages, each as often as it is there.
pub(crate) fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["properties"]["n"].as_u64().expect("a number")).collect()
}

pub(crate) fn ids(messages: &[Value]) -> BTreeSet<String> {
    messages.iter().map(|message| message["messageId"].as_str().expect("text").to_owned()).collect()
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).expect("packed");
    packed.finish().expect("packed")
}

#[test]
fn all_rows_arrive_in_order_and_a_second_run_sends_nothing() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(3_000));
    let done = run(&server.url, &["import", &file, "--rate", "0"]);
    assert!(done.err.contains("a.jsonl: 3000 rows checked, 0 would be refused"), "{}", done.err);
    assert_eq!(done.good(), format!("{file}: 3000 delivered, 0 refused\n"));
    let messages = server.messages();
    assert_eq!(numbers(&messages), (0..3_000).collect::<Vec<_>>());
    assert_eq!(ids(&messages).len(), 3_000);
    let again = run(&server.url, &["import", &file, "--rate", "0"]);
    assert_eq!((again.code, server.count()), (0, 0));
    assert!(again.err.contains("was imported before"), "{}", again.err);
    run(&server.url, &["import", &file, "--rate", "0", "--anew"]).good();
    assert_eq!(ids(&server.messages()), ids(&messages), "the same ids again");
}

#[test]
fn ids_depend_on_the_content_and_the_key_only() {
    let (server, folder) = (Server::new(), Folder::new());
    let text = rows(50);
    let one = |arguments: &[&str], input: &str| {
        let done = run_with(&server.url, &[&["import", "--rate", "0"], arguments].concat(), input);
        assert_eq!(done.code, 0, "{}", done.err);
        ids(&server.messages())
    };
    let plain = one(&[&folder.write("a.jsonl", &text)], "");
    assert_eq!(one(&[&folder.write("b.txt", &text)], ""), plain);
    assert_eq!(one(&[&folder.write("c.jsonl.gz", gzip(&text))], ""), plain);
    let journal = folder.0.to_str().expect("text");
    assert_eq!(one(&["-", "--journal", journal], &text), plain);
    let key = one(&[&folder.write("d.jsonl", &text), "--write-key", "other"], "");
    assert!(key.is_disjoint(&plain));
    let other = one(&[&folder.write("e.jsonl", text.replacen("\"n\":0", "\"n\":50", 1))], "");
    assert!(other.is_disjoint(&plain), "another content");
    let grown = one(&[&folder.write("f.jsonl", rows(51))], "");
    assert!(grown.is_superset(&plain) && grown.len() == 51, "the same, and one more");
}

#[test]
fn refused_rows_go_to_a_file_with_line_and_reason() {
    let (server, folder) = (Server::new(), Folder::new());
    server.refuses("poison");
    let text = format!(
        "{}\nnope\n{{\"type\":\"track\",\"userId\":\"u\"}}\n{}",
        rows(2),
        rows(3).replace("\"u2\"", "\"poison\"")
    );
    let file = folder.write("a.jsonl", text);
    let done = run(&server.url, &["import", &file, "--rate", "0"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(
        done.err.contains("7 rows checked, 2 would be refused\nsegment:   line 4: json must be one message"),
        "{}",
        done.err
    );
    assert!(done.out.contains("4 delivered, 3 refused (see "), "{}", done.out);
    let lines: Vec<Value> =
        folder.read(".refused.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(), [Some(4), Some(5), Some(8)]);
    assert_eq!(
        (&lines[0]["row"], &lines[1]["reason"]),
        (&json!("nope"), &json!("event must be given and must not be empty"))
    );
    assert!(lines[2]["reason"].as_str().is_some_and(|reason| reason.contains("400")), "{}", lines[2]);
    assert_eq!(server.messages().len(), 4);
}

#[test]
fn a_check_alone_sends_nothing_and_needs_no_key() {
    let (server, folder) = (Server::new(), Folder::new());
    let doubtful = r#"{"type":"track","userId":"u","event":"Order Completed","properties":{"revenue":"x"}}"#;
    let file = folder.write("a.jsonl", format!("{}nope\n{doubtful}\n", rows(5)));
    let mut command = command(&server.url, &["import", &file, "--dry-run"]);
    let done = finish(command.env_remove("SEGMENT_WRITE_KEY"), b"");
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.contains("doubtful: 1 row without a timestamp"), "{}", done.err);
    assert!(done.err.contains("the first on line 7: "), "{}", done.err);
    let done = run(&server.url, &["import", &file, "--dry-run", "--json"]);
    assert_eq!(done.json()["files"][0]["check"]["refused"], 1);
    assert_eq!(folder.names(), ["a.jsonl"]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn where_nothing_is_sent_the_rows_to_correct_are_in_a_file() {
    let (server, folder) = (Server::new(), Folder::new());
    for (content, arguments, refused) in [(rows(5) + "nope\n", &["--strict"][..], 1), ("a\nb\n".to_owned(), &[], 2)] {
        let file = folder.write("a.jsonl", content);
        let done = run(&server.url, &[&["import", &file, "--anew"], arguments].concat());
        assert_eq!((done.code, done.err.contains("nothing was sent, because ")), (1, true), "{}", done.err);
        let told = done.err.lines().last().and_then(|line| line.split_once("a.jsonl: the rows to correct are in "));
        let (_, refused_file) = told.unwrap_or_else(|| panic!("{}", done.err));
        assert_eq!(fs::read_to_string(refused_file).expect("it is there").lines().count(), refused);
        fs::remove_file(refused_file).expect("removed");
        let done = run(&server.url, &[&["import", &file, "--json"], arguments].concat());
        assert_eq!(done.json()["files"][0]["refusedFile"], *refused_file);
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn tables_become_messages() {
    let (server, folder) = (Server::new(), Folder::new());
    let text = "\u{feff}type,user_id,event,name,timestamp,Price,plz,traits.address.city,note\r\n\
        track,7,Bought,Ball,2020-01-02 03:04:05,19.90,01234,,\"a \"\"b\"\"\nc\"\r\n\
        identify,7,,Ann,2020-01-02,,,Bonn,\r\n";
    let file = folder.write("a.csv", text);
    let arguments = [
        "import",
        &file,
        "--rate",
        "0",
        "--time",
        "utc",
        "--map",
        "context.zip:string=plz",
        "--set",
        "context.ip=1.2.3.4",
    ];
    run(&server.url, &arguments).good();
    let messages = server.messages();
    assert_eq!(
        (&messages[0]["userId"], &messages[0]["properties"], &messages[0]["timestamp"]),
        (
            &json!("7"),
            &json!({"name": "Ball", "Price": 19.9, "note": "a \"b\"\nc"}),
            &json!("2020-01-02T03:04:05.000Z")
        )
    );
    assert_eq!((&messages[0]["context"]["zip"], &messages[0]["context"]["ip"]), (&json!("01234"), &json!("1.2.3.4")));
    assert_eq!(
        (&messages[1]["traits"], &messages[1]["timestamp"], &messages[1]["event"]),
        (&json!({"name": "Ann", "address": {"city": "Bonn"}}), &json!("2020-01-02T00:00:00.000Z"), &Value::Null)
    );
}

#[test]
fn tables_may_be_packed_have_tabs_and_a_column_for_the_id() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.tsv.gz", gzip("nr\tuserId\tx\n1\tu\t5\n2\tu\t6\n"));
    let set = ["--set", "type=page", "--set", "timestamp=2020-01-01T00:00:00Z", "--id-column", "nr", "--rate", "0"];
    run(&server.url, &[&["import", &file], &set[..]].concat()).good();
    let first = server.messages();
    assert_eq!(first[0]["properties"], json!({"nr": 1, "x": 5}));
    let file = folder.write("b.csv", "x,nr,userId\n7,2,u\n8,1,u\n");
    run(&server.url, &[&["import", &file], &set[..]].concat()).good();
    assert_eq!(ids(&server.messages()), ids(&first), "the id column alone counts");
}

#[test]
fn flaws_of_a_table_are_told_with_their_line() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.csv", b"userId,n\nu,1\nu\nu,2,3\n\xff,4\nu,5\n");
    let done = run(&server.url, &["import", &file, "--set", "type=page", "--rate", "0"]);
    assert_eq!(done.code, 1);
    for sentence in
        ["line 3: the row has 1 fields, and the header 2", "line 4: the row has 3", "line 5: the row is not UTF-8"]
    {
        assert!(done.err.contains(sentence), "{}", done.err);
    }
    assert_eq!(server.messages().len(), 2);
    let file = folder.write("b.csv", format!("userId,n\nu,\"{}", "x\n".repeat(400_000)));
    let done = run(&server.url, &["import", &file, "--set", "type=page"]);
    assert_eq!((done.code, done.err.contains("is a quote missing?")), (2, true), "{}", done.err);
    let done = run(&server.url, &["import", &file, "--map", "userId=kunde"]);
    assert!(done.err.ends_with("b.csv: there is no column kunde; there are userId, n\n"), "{}", done.err);
}

#[test]
fn shards_share_the_rows() {
    let (server, folder) = (Server::new(), Folder::new());
    for (name, text) in [
        ("a.jsonl", rows(100)),
        ("a.csv", (0..100).fold("userId,event,n\n".to_owned(), |t, n| t + &format!("u,E,{n}\n"))),
    ] {
        let file = folder.write(name, text);
        let mut seen = Vec::new();
        for shard in ["1/3", "2/3", "3/3"] {
            run(&server.url, &["import", &file, "--rate", "0", "--shard", shard, "--set", "type=track"]).good();
            let messages = server.messages();
            assert!((33..=34).contains(&messages.len()));
            seen.extend(numbers(&messages));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn the_rate_is_kept() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(150));
    let began = Instant::now();
    run(&server.url, &["import", &file, "--rate", "100", "--no-check"]).good();
    let took = began.elapsed().as_secs_f64();
    assert!(took >= 1.2, "{took}");
    assert_eq!(numbers(&server.messages()).len(), 150);
}

#[test]
fn a_server_that_stalls_is_waited_for() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(300));
    // More rows than may be on their way come meanwhile: so many of them as are let through in two seconds.
    server.answers([Answer::status(200).slow(2_500)]);
    run(&server.url, &["import", &file, "--rate", "100"]).good();
    assert_eq!(numbers(&server.messages()), (0..300).collect::<Vec<_>>());
}

#[test]
fn refused_rows_behind_a_row_that_waits_take_no_memory_for_ever() {
    let (server, folder) = (Server::new(), Folder::new());
    server.hold_at(0);
    let bad = "x".repeat(31_000) + "\n";
    let journal = folder.0.to_str().expect("text");
    let arguments = ["import", "-", "--journal", journal, "--rate", "0", "--no-check", "--json"];
    let mut command = command(&server.url, &arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    // As many rows as are kept at most and read ahead; more come only if some are let go.
    let kept = (16 << 20) / bad.len() + 64;
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(rows(1).as_bytes()).expect("written");
            for n in 0..2 * kept {
                if n == kept {
                    server.release();
                }
                stdin.write_all(bad.as_bytes()).expect("written");
            }
            stdin.write_all(rows(1).as_bytes()).expect("written");
            drop(stdin);
        });
        said(child)
    });
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["files"][0]["refused"]), (Some(1), &json!(2 * kept)), "{told}");
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn an_outage_stops_it_and_the_same_command_goes_on() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(6_000));
    // One batch passes, then nothing does.
    server.answers([Answer::status(200)]).always(Answer::status(503));
    let arguments = ["import", file.as_str(), "--rate", "0", "--retries", "1"];
    let done = run(&server.url, &arguments);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(
        done.err.contains("was not imported to its end: ") && done.out.contains("the same command goes on"),
        "{}",
        done.err
    );
    let before = server.messages();
    assert!(!before.is_empty());
    server.always(Answer::status(200));
    run(&server.url, &arguments).good();
    let after = server.messages();
    assert_eq!(after.len() + before.len(), 6_000, "nothing twice");
    assert_eq!(ids(&after).union(&ids(&before)).count(), 6_000);
}

#[test]
fn a_packed_file_that_is_cut_off_is_imported_up_to_there() {
    let (server, folder) = (Server::new(), Folder::new());
    let whole = gzip(&rows(5_000));
    let file = folder.write("a.jsonl.gz", &whole[..whole.len() / 2]);
    let arguments = ["import", file.as_str(), "--rate", "0", "--no-check"];
    let done = run(&server.url, &arguments);
    assert_eq!((done.code, done.err.contains("a.jsonl.gz cannot be read: ")), (2, true), "{}", done.err);
    let first = numbers(&server.messages());
    assert!(!first.is_empty());
    folder.write("a.jsonl.gz", &whole);
    run(&server.url, &arguments).good();
    let second = numbers(&server.messages());
    assert_eq!([first, second].concat(), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_wrong_key_blames_no_row() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(10));
    server.always(Answer::status(401));
    let done = run(&server.url, &["import", &file, "--rate", "0", "--json"]);
    assert_eq!((done.code, &done.json()["files"][0]["refused"]), (2, &json!(0)), "{}", done.err);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_the_same_command_goes_on() {
    let (server, folder) = (Server::new(), Folder::new());
    server.always(Answer::status(200).slow(20));
    let rows_max = 4_000;
    let file = folder.write("a.jsonl", rows(rows_max));
    // It would take minutes.
    let arguments = ["import", file.as_str(), "--rate", "20", "--no-check"];
    let mut command = command(&server.url, &arguments);
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    until("some rows have arrived", || server.count() > 0);
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let output = said(child);
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stdout));
    let first = server.messages();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("{} delivered", first.len())), "{said}");
    run(&server.url, &["import", &file, "--rate", "0", "--no-check"]).good();
    assert_eq!(first.len() + server.messages().len(), rows_max, "nothing twice");
}

#[test]
fn two_at_once_are_one_too_many() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(2_000));
    let mut first = command(&server.url, &["import", &file, "--rate", "10", "--no-check"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    until("some rows have arrived", || server.count() > 0);
    let done = run(&server.url, &["import", &file]);
    assert_eq!((done.code, done.err.contains("another process is importing the same")), (2, true), "{}", done.err);
    first.kill().expect("killed");
    first.wait().expect("it ends");
}

#[test]
fn a_file_that_has_grown_is_imported_from_its_old_end() {
    let (server, folder) = (Server::new(), Folder::new());
    let file = folder.write("a.jsonl", rows(1_000));
    run(&server.url, &["import", &file, "--rate", "0"]).good();
    assert_eq!(server.messages().len(), 1_000);
    folder.write("a.jsonl", rows(1_200));
    run(&server.url, &["import", &file, "--rate", "0"]).good();
    assert_eq!(numbers(&server.messages()), (1_000..1_200).collect::<Vec<_>>());
}

#[test]
fn many_files_are_one_import_and_the_journal_can_lie_elsewhere() {
    let (server, folder, other) = (Server::new(), Folder::new(), Folder::new());
    let files = [folder.write("a.jsonl", rows(10)), folder.write("b.jsonl", rows(20)), folder.write("empty.jsonl", "")];
    let other_folder = other.0.to_str().expect("text");
    let arguments = ["import", &files[0], &files[1], &files[2], "--journal", other_folder, "--rate", "0", "--json"];
    let done = run(&server.url, &arguments);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.json()["files"][1]["delivered"], 20);
    assert_eq!((folder.names().len(), other.names().len()), (3, 3));
    assert_eq!(server.messages().len(), 30);
}

#[test]
fn wrong_arguments_end_with_two() {
    let folder = Folder::new();
    let file = folder.write("a.jsonl", rows(1));
    let url = nowhere();
    for arguments in [
        &["import"][..],
        &["import", "/nowhere/at/all"],
        &["import", &file, &file],
        &["import", &file, "--shard", "0/3"],
        &["import", &file, "--rate", "-1"],
        &["import", &file, "--set", "type"],
        &["import", &file, "--set", "nonsense=1"],
        &["import", &file, "--map", "userId=x"],
        &["import", &file, "--time", "soon"],
        &["import", &file, "--journal", "/nowhere/at/all"],
    ] {
        let done = run(&url, arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
    }
    let _ = fs::metadata(file).expect("it is still there");
}
