//! `segment doctor`.

use crate::patience::patience;
use crate::program::{Folder, command, finish, nowhere, run};
use crate::server::{Answer, Server};

const GOOD_KEY: &str = "abcdefghijklmnopqrstuvwxyz012345";

/// What it says about one thing.
fn verdict(url: &str, key: &str, arguments: &[&str], check: &str) -> (String, String) {
    let timeout = patience().as_secs().to_string();
    let mut command = command(url, &[&["doctor", "--json", "--timeout", &timeout], arguments].concat());
    let done = finish(command.env("SEGMENT_WRITE_KEY", key), b"");
    let findings = done.json();
    let findings = findings.as_array().expect("a list");
    let is_bad = findings.iter().any(|finding| finding["verdict"] == "bad");
    assert_eq!(done.code, i32::from(is_bad));
    assert!(!done.out.contains(key), "the key is shown");
    let finding = findings.iter().find(|finding| finding["check"] == check).unwrap_or(&serde_json::Value::Null);
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("advice"))
}

#[test]
fn all_is_well_and_nothing_is_sent() {
    let (server, folder) = (Server::new(), Folder::new());
    let spool = folder.0.to_str().expect("text");
    let mut command = command(&server.url, &["doctor", "--spool", spool]);
    let out = finish(command.env("SEGMENT_WRITE_KEY", GOOD_KEY), b"").good();
    for check in ["write key", "endpoint", "name", "connection", "spool"] {
        assert!(out.lines().any(|line| line.starts_with(&format!("ok   {check}"))), "{check}: {out}");
    }
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].line.as_str(), requests[0].body.as_str()), (1, "GET /", ""));
    assert!(!requests[0].head.contains(GOOD_KEY));
    assert!(folder.names().is_empty());
}

#[test]
fn one_event_is_sent_if_asked_for() {
    let server = Server::new();
    assert_eq!(verdict(&server.url, GOOD_KEY, &["--send"], "event").0, "good");
    assert_eq!(server.messages()[0]["event"], "Segment Doctor");
    server.always(Answer::status(403));
    assert_eq!(verdict(&server.url, GOOD_KEY, &["--send"], "event").0, "bad");
    server.always(Answer { body: Some(r#"{"ok":false,"errors":["quota"]}"#), ..Answer::status(200) });
    let (verdict_of, advice) = verdict(&server.url, GOOD_KEY, &["--send"], "event");
    assert_eq!(verdict_of, "doubtful");
    assert!(advice.contains(r#"{"ok":false,"errors":["quota"]}"#), "{advice}");
}

#[test]
fn a_clock_that_is_wrong_is_found() {
    let date = |date: &str| Answer { headers: format!("Date: {date}\r\n"), ..Answer::status(404) };
    let server = Server::new();
    server.answers([date("Wed, 21 Oct 2015 07:28:00 GMT")]);
    let (verdict_of, advice) = verdict(&server.url, GOOD_KEY, &[], "clock");
    assert_eq!((verdict_of.as_str(), advice.contains("NTP")), ("bad", true));
    let now = httpdate_now();
    server.answers([date(&now)]);
    assert_eq!(verdict(&server.url, GOOD_KEY, &[], "clock").0, "good");
}

fn httpdate_now() -> String {
    let output =
        std::process::Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C").output();
    String::from_utf8(output.expect("date runs").stdout).expect("text").trim().to_owned()
}

#[test]
fn a_password_in_the_endpoint_is_neither_shown_nor_looked_up() {
    for url in
        ["http://user:pa55@127.0.0.1:9/v1", "https://pa55@nowhere.invalid", "user:pa55@127.0.0.1", "http://u:pa/55@x"]
    {
        let mut command = command(url, &["doctor", "--send"]);
        let done = finish(command.env("SEGMENT_WRITE_KEY", GOOD_KEY), b"");
        assert_eq!(
            (done.code, done.out.lines().filter(|line| line.contains("endpoint")).count()),
            (1, 1),
            "{}",
            done.out
        );
        assert!(!(done.out.contains("55") || done.err.contains("55")), "{}{}", done.out, done.err);
        assert!(done.out.contains("BAD  endpoint") && !done.out.contains("name "), "{}", done.out);
    }
}

#[test]
fn the_public_apis_host_is_named_and_not_asked() {
    for (url, advice) in [
        ("https://eu1.api.segmentapis.com/v1", "--endpoint eu"),
        ("https://api.segmentapis.com", "https://api.segment.io"),
    ] {
        let mut command = command(url, &["doctor", "--send"]);
        let done = finish(command.env("SEGMENT_WRITE_KEY", GOOD_KEY), b"");
        assert_eq!(done.code, 1, "{}", done.out);
        assert!(done.out.contains("BAD  endpoint") && done.out.contains("Public API"), "{}", done.out);
        assert!(done.out.contains(advice) && !done.out.contains("connection"), "{}", done.out);
    }
}

#[test]
fn a_whole_batch_url_is_understood() {
    let server = Server::new();
    let url = format!("{}/collect/b?key=SECRET", server.url);
    let mut command = command(&url, &["doctor", "--send"]);
    let done = finish(command.env("SEGMENT_WRITE_KEY", GOOD_KEY), b"");
    assert!(done.out.contains("ok   endpoint") && !done.out.contains("SECRET"), "{}", done.out);
    let lines: Vec<String> = server.requests().iter().map(|request| request.line.clone()).collect();
    assert_eq!(lines, ["GET /collect/", "POST /collect/b?key=SECRET"]);
}

#[test]
fn what_is_wrong_has_advice() {
    let server = Server::new();
    let (verdict_of, advice) = verdict(&nowhere(), GOOD_KEY, &[], "connection");
    assert_eq!((verdict_of.as_str(), advice.contains("nothing listens there")), ("bad", true), "{advice}");
    assert_eq!(verdict("http://no..host", GOOD_KEY, &[], "name").0, "bad");
    assert_eq!(verdict(&server.url, "\"quoted\"", &[], "write key").0, "bad");
    assert_eq!(verdict(&server.url, GOOD_KEY, &["--spool", "/proc/self/stat/x"], "spool").0, "bad");
    assert_eq!(verdict("nonsense", GOOD_KEY, &[], "settings").0, "bad");
    assert_eq!(run(&server.url, &["doctor", "--nonsense"]).code, 2);
}
