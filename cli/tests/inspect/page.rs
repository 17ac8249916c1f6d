//! What the web page is made of, without a browser: its files, what it is told, its switches, and who may use them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::http;
use crate::patience::patience;
use crate::process::{Collector, inspect, output};
use crate::{batch, good};

const JSON: &str = "Content-Type: application/json\r\n";

/// What a page is told, as it comes.
struct Told(BufReader<TcpStream>);

impl Told {
    fn listen(port: u16, query: &str) -> Told {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(patience())).expect("a timeout");
        write!(stream, "GET /-/stream{query} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").expect("the request is sent");
        Told(BufReader::new(stream))
    }

    /// The data of the next event of this kind.
    fn next(&mut self, kind: &str) -> Value {
        let mut lines = self.0.by_ref().lines().map(|line| line.expect("a line"));
        assert!(lines.any(|line| line == format!("event: {kind}")), "{kind}");
        let data = lines.next().expect("data");
        serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON")
    }

    /// The rows of the next events, until there are so many.
    fn rows(&mut self, count: usize) -> Vec<Value> {
        let mut rows = Vec::new();
        while rows.len() < count {
            let told = self.next("rows");
            rows.extend(told["rows"].as_array().expect("rows").iter().cloned());
        }
        rows
    }
}

fn switch(collector: &Collector, fault: &str) {
    assert_eq!(collector.post("/-/fault", JSON, fault.as_bytes()).status, 204, "{fault}");
}

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("segment-inspect-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path); // of an earlier run
    path
}

#[test]
fn the_page_and_its_files_allow_nothing_from_elsewhere() {
    let collector = Collector::start(&[]);
    let page = collector.get("/");
    assert_eq!(page.status, 200);
    let files: Vec<_> = page.text().split('"').filter(|text| text.starts_with("/-/")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for path in files.into_iter().chain(["/"]) {
        let answer = collector.get(path);
        assert_eq!(answer.status, 200, "{path}");
        for part in ["default-src 'none'", "require-trusted-types-for 'script'", "nosniff", "no-store"] {
            assert!(answer.head.contains(part), "{path} {part}: {}", answer.head);
        }
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
    }
}

#[test]
fn other_names_and_other_pages_are_refused() {
    let collector = Collector::start(&[]);
    let port = collector.port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    write!(stream, "GET /-/stream HTTP/1.1\r\nHost: evil.test:{port}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let evil = format!("{JSON}Origin: http://evil.test\r\n");
    for (path, body) in [("/-/fault", r#"{"kind":"error"}"#), ("/-/clear", "{}")] {
        assert_eq!(collector.post(path, &evil, body.as_bytes()).status, 403);
        assert_eq!(collector.post(path, "Content-Type: text/plain\r\n", body.as_bytes()).status, 403);
    }
    collector.accepts("/v1/batch", &batch(&[good("a")]));
}

#[test]
fn a_page_is_told_rows_in_their_order_and_goes_on_where_it_stopped() {
    let collector = Collector::start(&[]);
    collector.accepts("/v1/batch", &batch(&[good("a"), good("b")]));
    let mut told = Told::listen(collector.port, "");
    let hello = told.next("hello");
    let rows = told.rows(3);
    assert_eq!(rows.iter().map(|row| row["n"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!((&rows[0]["kind"], &rows[0]["events"]), (&"request".into(), &2.into()));
    assert_eq!((&rows[2]["request"], &rows[2]["json"]), (&1.into(), &good("b").into()));
    drop(told);

    collector.accepts("/v1/batch", &batch(&[good("c")]));
    let journal = hello["journal"].as_str().expect("a name");
    let mut told = Told::listen(collector.port, &format!("?journal={journal}&after=3"));
    assert_eq!(told.rows(2)[1]["n"], 5);
    collector.accepts("/v1/batch", &batch(&[good("d")]));
    assert_eq!(told.rows(2)[1]["json"], good("d"));
    let mut other = Told::listen(collector.port, "?journal=another&after=3");
    assert_eq!(other.rows(7)[0]["n"], 1);
    let mut ahead = Told::listen(collector.port, &format!("?journal={journal}&after=99"));
    assert_eq!(ahead.next("hello")["after"], 0);
    assert_eq!(ahead.rows(7)[0]["n"], 1);

    assert_eq!(collector.post("/-/clear", JSON, b"{}").status, 204);
    let cleared = told.next("rows");
    assert_eq!((&cleared["first"], cleared["rows"].as_array().map(Vec::len)), (&8.into(), Some(0)));
}

#[cfg(unix)]
#[test]
fn faults_befall_the_tracking_api_and_not_the_page() {
    let collector = Collector::start(&[]);
    let send = || collector.post("/v1/batch", "X-Retry-Count: 1\r\n", batch(&[good("a")]).as_bytes());
    switch(&collector, r#"{"kind":"error"}"#);
    assert_eq!(send().status, 500);
    switch(&collector, r#"{"kind":"limit","seconds":9,"times":1}"#);
    let answer = send();
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: 9"), "{}", answer.head);
    assert_eq!(send().status, 200);
    for kind in ["drop", "offline"] {
        switch(&collector, &format!(r#"{{"kind":"{kind}"}}"#));
        let mut stream = TcpStream::connect(("127.0.0.1", collector.port)).expect("a connection");
        let body = batch(&[good("b")]);
        // At once: the connection may be cut before a second part is on its way.
        let request = format!("POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        assert!(stream.read_to_end(&mut answer).is_err(), "{kind} resets");
        assert!(answer.is_empty(), "{kind}");
        assert_eq!(collector.get("/").status, 200);
    }
    switch(&collector, r#"{"kind":"none"}"#);
    for wrong in [r#"{"kind":"fire"}"#, "{}", "[", r#"{"kind":"error","seconds":-1}"#] {
        assert_eq!(collector.post("/-/fault", JSON, wrong.as_bytes()).status, 400, "{wrong}");
    }
    let lines = collector.end("-TERM").into_iter().filter_map(|line| line.get(14..).map(str::to_owned));
    let told: Vec<_> = lines.filter(|line| line.starts_with("POST /v1")).collect();
    assert_eq!(
        told,
        [
            "POST /v1/batch  500  retry 1  fault error",
            "POST /v1/batch  429  retry 1  fault limit",
            "POST /v1/batch  200  retry 1",
            "POST /v1/batch  cut  fault drop",
            "POST /v1/batch  cut  fault offline",
        ]
    );
}

#[test]
fn a_plan_that_is_broken_is_one_sentence() {
    let path = temporary("plan");
    fs::write(&path, r#"{"rules":[{"type":"TRICK"}]}"#).expect("written");
    let output = output(&["--port", "0", "--plan", &path.display().to_string()]);
    let sentence = String::from_utf8(output.stderr).expect("text");
    assert_eq!(sentence, format!("segment: {}: a rule has the type trick\n", path.display()));
    fs::remove_file(path).expect("removed");
}

#[test]
fn violations_of_the_plan_stand_below_the_event() {
    let path = temporary("violations");
    let schema = r#"{"properties":{"properties":{"required":["title"]}}}"#;
    let plan = format!(r#"{{"rules":[{{"type":"TRACK","key":"Song Played","jsonSchema":{schema}}}]}}"#);
    fs::write(&path, plan).expect("written");
    let mut collector = Collector::start(&["--plan", &path.display().to_string()]);
    collector.accepts("/v1/batch", &batch(&[good("a")]));
    collector.line("! tracking plan: properties.title is missing");
    fs::remove_file(path).expect("removed");
}

#[cfg(unix)]
#[test]
fn a_store_survives_a_kill() {
    let path = temporary("store");
    let store = path.display().to_string();
    let collector = Collector::start(&["--store", &store]);
    collector.accepts("/v1/batch", &batch(&[good("a")]));
    drop(collector); // by SIGKILL
    let collector = Collector::start(&["--store", &store]);
    collector.accepts("/v1/batch", &batch(&[good("b")]));
    let rows = Told::listen(collector.port, "").rows(4);
    assert_eq!((&rows[1]["json"], &rows[3]["json"]), (&good("a").into(), &good("b").into()));
    assert_eq!(rows[3]["n"], 4);
    let second = output(&["--port", "0", "--store", &store]);
    assert!(String::from_utf8_lossy(&second.stderr).contains("another segment inspect uses it"));
    fs::remove_file(path).expect("removed");
}

#[cfg(unix)]
#[test]
fn where_others_reach_it_the_page_needs_a_token() {
    use std::process::Stdio;
    let mut command = inspect(&["--port", "0", "--host", "0.0.0.0"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let (address, token) = line.trim_end().split_once("/?token=").expect("a token");
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(token.len(), 32);
    assert_eq!(http::send(port, "GET", "/", "", b"").status, 403);
    let answer = http::send(port, "GET", &format!("/?token={token}"), "", b"");
    assert_eq!(answer.status, 303);
    assert!(answer.head.contains("httponly; samesite=strict"), "{}", answer.head);
    let cookie = format!("Cookie: segment_inspect_{port}={token}\r\n");
    assert_eq!(http::send(port, "GET", "/", &cookie, b"").status, 200);
    assert_eq!(http::send(port, "POST", "/v1/batch", "", batch(&[good("a")]).as_bytes()).status, 200);
    child.kill().expect("it ends");
    child.wait().expect("it ended");
}

#[cfg(unix)]
#[test]
fn an_open_page_does_not_keep_it() {
    let collector = Collector::start(&[]);
    let mut told = Told::listen(collector.port, "");
    told.next("fault");
    collector.end("-TERM");
    // Its answer was brought to an end. What is still open after a second is cut off in the middle.
    let mut rest = Vec::new();
    told.0.read_to_end(&mut rest).expect("the end is no error");
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn secrets_are_neither_shown_nor_kept() {
    let path = temporary("secrets");
    let store = path.display().to_string();
    let mut collector = Collector::start(&["--store", &store, "--print"]);
    let headers = "X-Api-Key: hush-1 a\r\nX-CSRF-Token: hush-2\r\nClient-Secret: hush-3\r\nX-Auth: hush-4\r\n\
        Cookie: a=hush-5; b=hush-6\r\nAuthorization: hush-7 hush-8\r\nX-Plain: plain\r\n";
    let event = good("a").replacen('{', r#"{"writeKey":"hush-9", "writeKey" : "hush-10","#, 1);
    assert_eq!(collector.post("/v1/track", headers, event.as_bytes()).status, 200);
    for printed in ["(hidden)", "(hidden)"] {
        assert!(!collector.line(printed).contains("hush"));
    }
    assert_eq!(collector.get("/v1/projects/hush-11/sources").status, 404);
    assert_eq!(collector.get("/projects//hush-12").status, 404);
    collector.line("GET /v1/projects/(hidden)/sources  404");
    collector.line("GET /projects/(hidden)  404");

    let rows = Told::listen(collector.port, "").rows(4);
    let shown = |name: &str| {
        let headers = rows[0]["headers"].as_array().expect("headers");
        headers.iter().find(|header| header[0] == name).expect("the header")[1].clone()
    };
    assert_eq!(shown("x-api-key"), "(hidden, 8 characters)");
    assert_eq!(shown("authorization"), "(hidden, 13 characters)");
    assert_eq!(shown("x-plain"), "plain");
    let kept = good("a").replacen('{', r#"{"writeKey":"(hidden)", "writeKey" : "(hidden)","#, 1);
    assert_eq!(rows[1]["json"], kept);
    let stored = fs::read_to_string(&path).expect("the store");
    assert!(!stored.contains("hush") && !rows.iter().any(|row| row.to_string().contains("hush")), "{stored}");
    fs::remove_file(path).expect("removed");
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = temporary("mode");
    let _collector = Collector::start(&["--store", &path.display().to_string()]);
    let mode = fs::metadata(&path).expect("the store").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(path).expect("removed");
}
