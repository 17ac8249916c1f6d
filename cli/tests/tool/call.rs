//! `segment call`.

use serde_json::json;

use crate::program::{Folder, nowhere, run, run_with};
use crate::server::{Answer, Server};

#[test]
fn a_request_goes_out_as_it_was_asked_for() {
    let server = Server::new();
    let arguments =
        ["call", "POST", "/v1/group/", "-H", "X-Own: 1", "-q", "a=b&c", "-q", "d", "-d", r#"{"userId":"u"}"#];
    let done = run(&server.url, &arguments);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "{\"success\": true}\n", "segment: HTTP 200\n"));
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/group/?a=b%26c&d");
    assert_eq!(request.header("x-own"), Some("1"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("authorization").is_some_and(|value| value.starts_with("basic ")));
    assert_eq!(request.body, r#"{"userId":"u"}"#);
}

#[test]
fn the_body_can_come_from_a_file_or_a_pipe() {
    let folder = Folder::new();
    let file = format!("@{}", folder.write("body", "from a file"));
    let server = Server::new();
    run(&server.url, &["call", "PUT", "x", "-d", &file]).good();
    run_with(&server.url, &["call", "PATCH", "x", "-d", "-"], "from a pipe").good();
    let bodies: Vec<String> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["from a file", "from a pipe"]);
}

#[test]
fn the_exit_status_tells_success_answer_and_silence() {
    let server = Server::new();
    server.always(Answer::status(404));
    let done = run(&server.url, &["call", "GET", "/x"]);
    assert_eq!((done.code, done.err.as_str()), (1, "segment: HTTP 404\n"));
    let done = run(&nowhere(), &["call", "GET", "/x"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    for arguments in [
        &["call", "GET"][..],
        &["call", "FETCH", "/x"],
        &["call", "GET", "https://evil.example/x"],
        &["call", "GET", "/x", "-H", "no colon"],
        &["call", "GET", "/x", "-d", "@/nowhere/at/all"],
        &["call", "GET", "/x", "--api", "public"],
    ] {
        assert_eq!(run(&server.url, arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn json_holds_everything() {
    let server = Server::new();
    let done = run(&server.url, &["call", "GET", "/x", "--json"]);
    assert_eq!((&done.json()["status"], &done.json()["body"]), (&json!(200), &json!({"success": true})));
    assert!(
        run(&server.url, &["call", "GET", "/x", "-i"])
            .good()
            .to_ascii_lowercase()
            .starts_with("content-type: application/json\n")
    );
}

#[test]
fn the_other_apis_have_tokens_of_their_own() {
    let server = Server::new();
    run(&server.url, &["call", "GET", "/sources", "--api", "public", "--access-token", "T"]).good();
    run(&server.url, &["call", "GET", "/v1/x", "--api", "profile", "--profile-token", "T"]).good();
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some("bearer t"));
    assert!(requests[1].header("authorization").is_some_and(|value| value.starts_with("basic ")));
}
