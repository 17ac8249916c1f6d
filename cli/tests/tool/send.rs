//! `segment send`.

use std::io::Write as _;
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::patience::{ended, said, until};
use crate::program::{Folder, command, nowhere, run, run_with};
use crate::server::{Answer, Server};

fn page(n: usize) -> String {
    format!("{{\"type\":\"page\",\"userId\":\"u{n}\",\"messageId\":\"m{n}\"}}\n")
}

#[test]
fn lines_arrive_in_order() {
    let server = Server::new();
    let lines: String = (0..5_000).map(page).collect();
    let out = run_with(&server.url, &["send"], &lines).good();
    assert_eq!(out, "5000 delivered, 0 refused, 0 not delivered\n");
    let ids: Vec<String> =
        server.messages().iter().map(|m| m["messageId"].as_str().expect("text").to_owned()).collect();
    assert_eq!(ids, (0..5_000).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[test]
fn a_packed_file_is_unpacked() {
    let folder = Folder::new();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(page(7).as_bytes()).expect("packed");
    let file = folder.write("x", packed.finish().expect("packed"));
    let server = Server::new();
    run(&server.url, &["send", &file]).good();
    assert_eq!(server.messages()[0]["messageId"], "m7");
}

#[test]
fn refused_lines_are_told_and_the_others_arrive() {
    let server = Server::new();
    server.refuses("poison");
    let lines =
        format!("{}\nnope\n{{\"type\":\"page\"}}\n{{\"type\":\"page\",\"userId\":\"poison\"}}\n{}", page(1), page(2));
    let done = run_with(&server.url, &["send", "-", "--json"], &lines);
    assert_eq!(done.code, 1);
    assert_eq!(
        (&done.json()["delivered"], &done.json()["refusedLines"]),
        (&json!(2), &json!([3, 4, 5])),
        "{}",
        done.err
    );
    assert!(done.err.contains("line 4 was refused: userId or anonymousId must be given"), "{}", done.err);
}

#[test]
fn an_endpoint_that_refuses_everything_ends_it() {
    let server = Server::new();
    server.always(Answer::status(400));
    let done = run_with(&server.url, &["send", "--json"], &(0..10).map(page).collect::<String>());
    let told = done.json();
    assert_eq!((done.code, &told["refused"], &told["undelivered"]), (1, &json!(0), &json!(10)), "{}", done.err);
    assert!(told["error"].as_str().is_some_and(|error| error.contains("refuses everything")), "{told}");
}

#[test]
fn an_outage_ends_it_and_says_where() {
    let lines: String = (0..10).map(page).collect();
    let done = run_with(&nowhere(), &["send", "--retries", "0", "--json"], &lines);
    assert_eq!(done.code, 1);
    assert_eq!((&done.json()["undelivered"], &done.json()["firstUndeliveredLine"]), (&json!(10), &json!(1)));
    assert!(done.json()["error"].is_string());
    let server = Server::new();
    server.answers([Answer::status(503)]);
    run_with(&server.url, &["send"], &lines).good();
}

#[test]
fn messages_are_sent_as_they_come() {
    let server = Server::new();
    let mut command = command(&server.url, &["send", "--flush-interval", "0.05"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    for n in 1..=3 {
        stdin.write_all(page(n).as_bytes()).expect("written");
        until("it has arrived", || server.count() == n);
    }
    drop(stdin);
    assert!(ended(&mut child).success());
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_after_what_was_read() {
    let server = Server::new();
    let mut command = command(&server.url, &["send"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(page(1).as_bytes()).expect("written");
    until("it has arrived", || server.count() == 1);
    assert!(
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success()
    );
    let output = said(child);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 delivered, 0 refused, 0 not delivered\n");
    drop(stdin);
}

#[test]
fn a_file_that_is_missing_is_one_sentence() {
    let done = run(&nowhere(), &["send", "/nowhere/at/all"]);
    assert_eq!((done.code, done.err.lines().count()), (2, 1), "{}", done.err);
}
