//! What is answered with 400.

use crate::process::Collector;
use crate::{batch, good};

/// An event of `bytes` bytes.
fn event(bytes: usize) -> String {
    let event = good("m").replace("Song Played", "");
    let name = "x".repeat(bytes - event.len());
    good("m").replace("Song Played", &name)
}

fn refused(collector: &mut Collector, path: &str, headers: &str, body: &[u8], code: &str, reason: &str) {
    let answer = collector.post(path, headers, body);
    assert_eq!(answer.status, 400, "{}", answer.text());
    let error: serde_json::Value = serde_json::from_str(answer.text()).expect("an error in JSON");
    assert_eq!(error["code"], code);
    assert!(error["message"].as_str().is_some_and(|message| message.contains(reason)), "{error}");
    collector.line(&format!("POST {path}  400"));
    let line = collector.line("! ");
    assert!(line.contains(reason), "{line}");
}

#[test]
fn invalid_json() {
    let mut collector = Collector::start(&[]);
    for (path, body) in [
        ("/v1/batch", "{\"batch\":[{}"),
        ("/v1/batch", ""),
        ("/v1/batch", "[]"),
        ("/v1/batch", "{\"batch\":\"no\"}"),
        ("/v1/track", "{\"event\":}"),
        ("/v1/track", "[]"),
    ] {
        refused(&mut collector, path, "", body.as_bytes(), "invalid_json", "the body");
    }
    refused(&mut collector, "/v1/track", "", b"{\"event\":\"\xff\"}", "invalid_json", "UTF-8");
}

#[test]
fn what_is_not_unpacked() {
    let mut collector = Collector::start(&[]);
    refused(&mut collector, "/v1/batch", "Content-Encoding: gzip\r\n", b"{}", "invalid_gzip", "not gzip");
    refused(&mut collector, "/v1/batch", "Content-Encoding: br\r\n", b"{}", "unknown_encoding", "Content-Encoding");
}

#[test]
fn an_event_over_32_kb() {
    let mut collector = Collector::start(&[]);
    collector.accepts("/v1/track", &event(32 * 1024));
    refused(&mut collector, "/v1/track", "", event(32 * 1024 + 1).as_bytes(), "too_large", "the event has 32769 bytes");
    collector.accepts("/v1/batch", &batch(&[event(32 * 1024)]));
    let body = batch(&[good("a"), event(32 * 1024 + 1)]);
    refused(&mut collector, "/v1/batch", "", body.as_bytes(), "too_large", "batch[1] has 32769 bytes");
}

#[test]
fn a_batch_over_500_kb() {
    let mut collector = Collector::start(&[]);
    let of_bytes = |bytes: usize| {
        let events = vec![event(32_000); 15];
        let empty = batch(&events).replace("\"wk\"", "\"\"").len();
        batch(&events).replace("\"wk\"", &format!("\"{}\"", "k".repeat(bytes - empty)))
    };
    collector.accepts("/v1/batch", &of_bytes(500 * 1024));
    refused(
        &mut collector,
        "/v1/batch",
        "",
        of_bytes(500 * 1024 + 1).as_bytes(),
        "too_large",
        "the batch has 512001 bytes",
    );
}
