//! `segment track` and the other five.

use serde_json::{Value, json};

use crate::program::{Folder, KEY, command, finish, nowhere, run, run_with};
use crate::server::{Answer, Server};

/// What arrives, without what is different each time.
fn arrives(arguments: &[&str]) -> Value {
    let server = Server::new();
    let line = run(&server.url, arguments).good();
    assert!(line.starts_with("delivered: ") && line.ends_with(" (HTTP 200)\n"), "{line}");
    let mut messages = server.messages();
    assert_eq!(messages.len(), 1);
    let mut message = messages.remove(0);
    let object = message.as_object_mut().expect("an object");
    assert!(line.contains(object["messageId"].as_str().expect("text")));
    object.remove("messageId");
    object.remove("timestamp");
    object["context"].as_object_mut().expect("an object").remove("library");
    message
}

#[test]
fn each_of_the_six_arrives_with_all_its_fields() {
    assert_eq!(
        arrives(&["identify", "--user-id", "u", "--traits", r#"{"plan":"free","a":1}"#, "plan=pro"]),
        json!({"type": "identify", "userId": "u", "traits": {"plan": "pro", "a": 1}, "context": {}})
    );
    assert_eq!(
        arrives(&[
            "track",
            "--anonymous-id",
            "a",
            "--event",
            "E",
            "n=1.50",
            "t=true",
            "z=null",
            "s=x y",
            "-s",
            "zip=01",
            "--context",
            r#"{"ip":"1.2.3.4"}"#,
            "--integrations",
            r#"{"All":false}"#
        ]),
        json!({"type": "track", "anonymousId": "a", "event": "E",
            "properties": {"n": 1.5, "t": true, "z": null, "s": "x y", "zip": "01"},
            "context": {"ip": "1.2.3.4"}, "integrations": {"All": false}})
    );
    assert_eq!(
        arrives(&["page", "--user-id", "u", "--name", "N", "--category", "C", "url=http://x"]),
        json!({"type": "page", "userId": "u", "name": "N", "category": "C",
            "properties": {"url": "http://x"}, "context": {}})
    );
    assert_eq!(arrives(&["screen", "--user-id", "u"]), json!({"type": "screen", "userId": "u", "context": {}}));
    assert_eq!(
        arrives(&["group", "--user-id", "u", "--group-id", "g", "--traits", "{}"]),
        json!({"type": "group", "userId": "u", "groupId": "g", "traits": {}, "context": {}})
    );
    assert_eq!(
        arrives(&["alias", "--user-id", "u", "--previous-id", "p"]),
        json!({"type": "alias", "userId": "u", "previousId": "p", "context": {}})
    );
}

#[test]
fn id_and_time_can_be_given() {
    let server = Server::new();
    let time = "2020-01-02T03:04:05.678Z";
    let done = run(&server.url, &["page", "--user-id", "u", "--message-id", "m-1", "--timestamp", time, "--json"]);
    assert_eq!(
        done.json(),
        json!({"delivered": true, "messageId": "m-1", "httpStatus": 200, "attempts": 1, "error": null})
    );
    let message = server.messages().remove(0);
    assert_eq!((message["messageId"].as_str(), message["timestamp"].as_str()), (Some("m-1"), Some(time)));
}

#[test]
fn properties_can_come_from_a_file_or_a_pipe() {
    let folder = Folder::new();
    let file = format!("@{}", folder.write("p.json", r#"{"from":"file"}"#));
    assert_eq!(
        arrives(&["track", "--user-id", "u", "--event", "E", "--properties", &file])["properties"]["from"],
        "file"
    );
    let server = Server::new();
    run_with(&server.url, &["track", "--user-id", "u", "--event", "E", "--properties", "@-"], r#"{"from":"pipe"}"#)
        .good();
    assert_eq!(server.messages()[0]["properties"]["from"], "pipe");
}

#[test]
fn what_segment_would_discard_is_refused_in_a_sentence() {
    let server = Server::new();
    for (arguments, sentence) in [
        (&["track", "--event", "E"][..], "--user-id or anonymous_id must be given"),
        (&["track", "--user-id", "u", "--event", ""], "--event must"),
        (&["page", "--user-id", "u", "--name", ""], "name must be a string that is not empty, or absent"),
        (&["page", "--user-id", "u", "--timestamp", "2026-01-02"], "--timestamp must be an ISO 8601 time with a zone"),
    ] {
        let done = run(&server.url, arguments);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{arguments:?}");
        assert!(done.err.contains("was refused: ") && done.err.contains(sentence), "{}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
        let done = run(&server.url, &[arguments, &["--json"]].concat());
        assert_eq!((done.code, done.json()["delivered"].as_bool()), (1, Some(false)));
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn what_is_wrong_with_the_arguments_ends_with_two() {
    let server = Server::new();
    for arguments in [
        &["track", "--user-id", "u"][..],
        &["alias", "--user-id", "u"],
        &["group", "--user-id", "u"],
        &["identify", "--user-id", "u", "--traits", "{"],
        &["identify", "--user-id", "u", "--traits", "[]"],
        &["identify", "--user-id", "u", "--traits", "@/nowhere/at/all"],
        &["identify", "--user-id", "u", "novalue"],
        &["identify", "--user-id", "u", "a={"],
        &["identify", "--user-id", "u", "--nonsense"],
        &["identify", "--user-id", "u", "--wait", "soon"],
        &["identify", "--user-id", "u", "--endpoint", "ftp://x"],
        &["identify", "--user-id", "u", "--ca-file", "/nowhere/at/all"],
    ] {
        let done = run(&server.url, arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
        assert!(!done.err.is_empty());
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn a_write_key_is_needed_and_never_shown() {
    let server = Server::new();
    let arguments = ["page", "--user-id", "u"];
    let done = finish(command(&server.url, &arguments).env_remove("SEGMENT_WRITE_KEY"), b"");
    assert_eq!(done.code, 2);
    assert_eq!(done.err, "segment: a write key is needed: set SEGMENT_WRITE_KEY, or give --write-key\n");
    let key = format!("{KEY}:");
    for wrong in ["", key.as_str(), "with space"] {
        let done = run(&server.url, &["page", "--user-id", "u", "--write-key", wrong]);
        assert_eq!((done.code, done.err.contains("--write-key must")), (2, true), "{}", done.err);
    }
    let help = run(&server.url, &["page", "--help"]).good(); // and `finish` looks for the key
    assert!(help.contains("SEGMENT_WRITE_KEY"));
    run(&server.url, &["page", "--user-id", "u", "--write-key", "other"]).good();
    assert!(server.requests()[0].body.contains(r#""writeKey":"other""#));
}

#[test]
fn a_failure_is_told_with_its_status() {
    let server = Server::new();
    server.always(Answer::status(403));
    let done = run(&server.url, &["page", "--user-id", "u"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.contains("page was not delivered: ") && done.err.contains("403"), "{}", done.err);
    let done = run(&server.url, &["page", "--user-id", "u", "--json"]);
    assert_eq!((done.code, &done.json()["httpStatus"]), (1, &json!(403)));
}

#[test]
fn a_retry_is_told() {
    let server = Server::new();
    server.answers([Answer::status(500)]);
    let line = run(&server.url, &["page", "--user-id", "u"]).good();
    assert!(line.ends_with("(HTTP 200, 2 requests)\n"), "{line}");
}

#[test]
fn who_cannot_be_reached_is_not_waited_for_longer_than_told() {
    let done = run(&nowhere(), &["page", "--user-id", "u", "--wait", "0.3", "--json"]);
    assert_eq!(done.code, 1);
    assert_eq!(done.json()["delivered"], false);
    assert!(done.json()["messageId"].is_string());
}

#[test]
fn a_dry_run_prints_the_message_and_sends_nothing() {
    let server = Server::new();
    let dry = ["track", "--user-id", "u", "--event", "E", "--dry-run"];
    let done = finish(command(&server.url, &dry).env_remove("SEGMENT_WRITE_KEY"), b"");
    assert_eq!((done.code, done.json()["event"].as_str()), (0, Some("E")));
    assert_eq!(server.count(), 0);
}

#[test]
fn doubts_are_warnings_or_with_strict_refusals() {
    let server = Server::new();
    let arguments = ["track", "--user-id", "u", "--event", "Order Completed", "revenue=much"];
    let done = run(&server.url, &arguments);
    assert_eq!((done.code, done.err.starts_with("segment: warning: ")), (0, true), "{}", done.err);
    let done = run(&server.url, &[&arguments[..], &["--strict"]].concat());
    assert_eq!((done.code, done.err.contains("was refused")), (1, true), "{}", done.err);
    assert_eq!(server.count(), 1);
}
