//! `segment e2e`: the known cases of Segment's own end-to-end tests of SDKs, played through the program.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::patience::patience;
use crate::program::{nowhere, run};
use crate::server::{Answer, Request, Server};

/// What the program says to an input, and that its exit status says the same.
fn play(input: &Value) -> Value {
    let done = run("", &["e2e", "--input", &input.to_string()]);
    let said = done.json();
    assert_eq!(done.code, if said["success"] == true { 0 } else { 1 }, "{said}");
    assert!(said["sentBatches"].is_u64());
    assert_eq!(said["success"] == false, said["error"].as_str().is_some_and(|error| !error.is_empty()), "{said}");
    said
}

fn input(host: &str, events: Value, mut config: Value) -> Value {
    if config["timeout"].is_null() {
        config["timeout"] = json!(patience().as_secs());
    }
    json!({"writeKey": "wk", "apiHost": host, "sequences": [{"delayMs": 0, "events": events}], "config": config})
}

fn track(n: usize) -> Value {
    json!({"type": "track", "userId": "u", "event": format!("E{n}"), "messageId": format!("m{n}")})
}

/// One event against a server that first answers so.
fn retried(answers: &[Answer], config: Value) -> (Value, Vec<Request>) {
    let server = Server::new();
    server.answers(answers.iter().cloned());
    let said = play(&input(&server.url, json!([track(1)]), config));
    (said, server.requests())
}

fn counts(requests: &[Request]) -> Vec<Option<&str>> {
    requests.iter().map(|request| request.header("x-retry-count")).collect()
}

#[test]
fn basic_all_six_types_arrive_with_their_fields() {
    let server = Server::new();
    let events = json!([
        {"type": "identify", "userId": "u", "traits": {"plan": "pro"}},
        {"type": "track", "userId": "u", "event": "E", "properties": {"n": 1},
            "context": {"ip": "1.2.3.4"}, "integrations": {"All": true}},
        {"type": "page", "userId": "u", "name": "N", "category": "C", "properties": {}},
        {"type": "screen", "anonymousId": "a", "name": "N"},
        {"type": "group", "userId": "u", "groupId": "g", "traits": {}},
        {"type": "alias", "userId": "u", "previousId": "p", "messageId": "m", "timestamp": "2020-01-01T00:00:00.000Z"},
    ]);
    let said =
        play(&input(&server.url, events.clone(), json!({"flushAt": 20, "flushInterval": 1000, "maxRetries": 3})));
    assert_eq!(said["success"], true);
    let messages = server.messages();
    for (sent, arrived) in events.as_array().expect("a list").iter().zip(&messages) {
        for (name, value) in sent.as_object().expect("an object") {
            let arrived = &arrived[name];
            assert!(arrived == value || name == "context" && arrived["ip"] == value["ip"], "{name}: {arrived}");
        }
        assert!(arrived["messageId"].is_string() && arrived["timestamp"].is_string());
        assert!(arrived["context"]["library"]["name"].is_string());
    }
    assert_eq!(messages.len(), 6);
}

#[test]
fn basic_events_are_batched_and_sequences_wait() {
    let server = Server::new();
    let events: Vec<Value> = (0..7).map(track).collect();
    let input = json!({"writeKey": "wk", "apiHost": server.url, "config": {"flushAt": 7, "flushInterval": 86_400_000},
        "sequences": [{"delayMs": 0, "events": events}, {"delayMs": 1500, "events": [track(8)]}]});
    let began = Instant::now();
    assert_eq!(play(&input)["success"], true);
    assert!(began.elapsed() >= Duration::from_millis(1_500));
    let requests = server.requests();
    let sizes: Vec<usize> = requests.iter().map(|request| request.messages().len()).collect();
    assert_eq!(sizes, [7, 1]);
}

#[test]
fn basic_requests_are_authorized_and_say_when_they_were_sent() {
    let (said, requests) = retried(&[], json!({}));
    assert_eq!((&said["success"], &said["sentBatches"]), (&json!(true), &json!(1)));
    assert_eq!(requests[0].line, "POST /v1/batch");
    assert_eq!(requests[0].header("authorization"), Some("basic d2s6")); // base64 of "wk:", in lower case
    let body: Value = serde_json::from_str(&requests[0].body).expect("JSON");
    assert_eq!(body["writeKey"], "wk");
    assert!(body["sentAt"].is_string());
}

#[test]
fn retry_the_header_is_absent_at_first_and_counts_then() {
    let (said, requests) = retried(&[Answer::status(500), Answer::status(500)], json!({"maxRetries": 3}));
    assert_eq!(said["success"], true);
    assert_eq!(counts(&requests), [None, Some("1"), Some("2")]);
    let ids: Vec<bool> = requests.iter().map(|request| request.body.contains(r#""messageId":"m1""#)).collect();
    assert_eq!(ids, [true, true, true]);
    let (first, second) = (requests[1].at - requests[0].at, requests[2].at - requests[1].at);
    // The second wait is twice as long as the first, at least.
    assert!(first >= Duration::from_millis(500) && second >= Duration::from_millis(1_000), "{first:?} {second:?}");
}

#[test]
fn retry_statuses_that_pass_are_tried_again() {
    thread::scope(|scope| {
        for status in [408, 410, 429, 460, 500, 502, 503, 504, 508, 529] {
            scope.spawn(move || {
                let (said, requests) = retried(&[Answer::status(status)], json!({"maxRetries": 3}));
                assert_eq!((&said["success"], counts(&requests)), (&json!(true), vec![None, Some("1")]), "{status}");
            });
        }
    });
}

#[test]
fn retry_statuses_that_stay_are_not_tried_again() {
    for status in [400, 401, 403, 404, 413, 422, 501, 505, 511, 301] {
        let (said, requests) = retried(&[Answer::status(status)], json!({"maxRetries": 3}));
        assert_eq!((&said["success"], requests.len()), (&json!(false), 1), "{status}");
        assert!(said["error"].as_str().is_some_and(|error| error.contains(&status.to_string())), "{said}");
    }
}

#[test]
fn retry_ends_after_so_many_attempts() {
    let answers = vec![Answer::status(500); 9];
    thread::scope(|scope| {
        for retries in [0, 1, 2] {
            let answers = &answers;
            scope.spawn(move || {
                let (said, requests) = retried(answers, json!({"maxRetries": retries}));
                assert_eq!((&said["success"], requests.len()), (&json!(false), retries + 1));
            });
        }
    });
}

#[test]
fn retry_after_is_waited_for_and_not_counted() {
    let answers = [Answer::status(429).retry_after(1), Answer::status(503).retry_after(1)];
    let (said, requests) = retried(&answers, json!({"maxRetries": 1}));
    assert_eq!(said["success"], true);
    assert_eq!(counts(&requests), [None, Some("1"), Some("2")]);
    assert!(requests[2].at - requests[0].at >= Duration::from_millis(1_900));
}

#[test]
fn retry_after_halts_all_batches() {
    let server = Server::new();
    server.answers([Answer::status(429).retry_after(1)]);
    let events: Vec<Value> = (0..4).map(track).collect();
    assert_eq!(play(&input(&server.url, json!(events), json!({"flushAt": 1})))["success"], true);
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(900));
}

#[test]
fn retry_an_outage_is_outlived() {
    let (said, requests) = retried(&vec![Answer::status(503); 3], json!({"maxRetries": 10}));
    assert_eq!((&said["success"], requests.len()), (&json!(true), 4));
}

#[test]
fn one_event_that_is_dropped_is_no_success() {
    let server = Server::new();
    server.refuses("E2");
    let events: Vec<Value> = (1..=3).map(track).collect();
    let said = play(&input(&server.url, json!(events), json!({"flushAt": 10})));
    assert_eq!(said["success"], false);
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn what_is_not_delivered_in_time_is_no_success() {
    let said = play(&input(&nowhere(), json!([track(1)]), json!({"timeout": 1, "maxRetries": 1000})));
    assert_eq!(said["success"], false);
}

#[test]
fn inputs_that_cannot_be_are_told() {
    let server = Server::new();
    for arguments in [
        &["e2e"][..],
        &["e2e", "--input"],
        &["e2e", "--debug", "--input"],
        &["e2e", "--input", ""],
        &["e2e", "--input", "{"],
        &["e2e", "--input", "{}"],
        &["e2e", "--input", r#"{"writeKey":""}"#],
        &["e2e", "--input", r#"{"writeKey":"wk","apiHost":"nonsense"}"#],
    ] {
        let done = run("", arguments);
        assert_eq!((done.code, &done.json()["success"]), (1, &json!(false)), "{arguments:?}");
        assert!(done.json()["error"].is_string());
    }
    let said = play(&input(&server.url, json!([{"type": "unknown", "userId": "u"}]), json!({})));
    assert!(said["error"].as_str().is_some_and(|error| error.contains("unknown event type")), "{said}");
    assert_eq!(
        play(&json!({"writeKey": "wk", "apiHost": server.url, "cdnHost": "http://x", "sequences": []}))["success"],
        true
    );
}
