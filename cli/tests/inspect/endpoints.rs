//! Which paths there are, and what they take.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http;
use crate::process::Collector;
use crate::{batch, good};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("gzip");
    encoder.finish().expect("gzip")
}

#[cfg(unix)]
#[test]
fn every_path_of_one_call_implies_its_type() {
    let collector = Collector::start(&[]);
    let bodies = [
        ("identify", "i", r#""traits":{"a":1}"#),
        ("track", "t", r#""event":"E""#),
        ("page", "p", r#""name":"N""#),
        ("screen", "s", r#""name":"N""#),
        ("group", "g", r#""groupId":"g""#),
        ("alias", "a", r#""previousId":"p""#),
    ];
    for (name, letter, members) in bodies {
        for (index, path) in [
            format!("/v1/{name}"),
            format!("/v1/{name}/"),
            format!("/{name}"),
            format!("/{name}/"),
            format!("/v1/{letter}"),
            format!("/{letter}/"),
        ]
        .iter()
        .enumerate()
        {
            let rest = r#""userId":"u","timestamp":"2026-01-02T03:04:05.678Z","writeKey":"wk""#;
            collector.accepts(path, &format!(r#"{{{members},{rest},"messageId":"{name}{index}"}}"#));
        }
    }
    let lines = collector.end("-TERM");
    assert_eq!(lines.last().map(String::as_str), Some("36 requests, 36 events, 0 with warnings, 0 repeated"));
    for (name, ..) in bodies {
        let of_name = lines.iter().filter(|line| line.get(14..).is_some_and(|rest| rest.starts_with(name)));
        assert_eq!(of_name.count(), 6, "{name} in {lines:#?}");
    }
}

#[test]
fn every_path_of_a_batch_takes_one() {
    let mut collector = Collector::start(&[]);
    for (index, path) in
        ["/v1/batch", "/v1/batch/", "/batch", "/v1/import", "/v1/import/", "/v1/b", "/b", "/b?tenant=7"]
            .iter()
            .chain(&["/api/public/apps/batch", "/collect/v1/b/", "/segment-ingest/v1/batch"])
            .enumerate()
    {
        let event = format!("{index} times").replace(' ', "-");
        collector.accepts(path, &batch(&[good(&format!("a{index}")), good(&event).replace("Song Played", &event)]));
        collector.line(&event);
    }
}

#[test]
fn only_a_post_to_a_path_that_ends_like_a_batch_is_one() {
    let mut collector = Collector::start(&[]);
    for path in ["/x/batches", "/x/b/y", "/x/import", "/xb", "/x/batch.json"] {
        assert_eq!(collector.post(path, "", batch(&[good("a")]).as_bytes()).status, 404, "{path}");
        collector.line(&format!("POST {path}  404"));
    }
    assert_eq!(collector.get("/x/batch").status, 404);
    assert_eq!(collector.post("/x/batch", "", b"{").status, 400);
}

#[test]
fn a_body_may_be_gzip_and_of_any_content_type() {
    let mut collector = Collector::start(&[]);
    let body = gzip(&batch(&[good("zipped")]));
    let answer = collector.post("/v1/batch", "Content-Encoding: gzip\r\nContent-Type: text/plain\r\n", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    collector.line("Song Played");
}

#[test]
fn a_gzip_bomb_is_refused() {
    let mut collector = Collector::start(&[]);
    let bomb = gzip(&" ".repeat(9 * 1024 * 1024));
    let answer = collector.post("/v1/batch", "Content-Encoding: gzip\r\n", &bomb);
    assert_eq!(answer.status, 413);
    collector.line("! the body has more than 8388608 bytes");
}

#[test]
fn a_body_that_is_far_too_large_is_not_kept() {
    let mut collector = Collector::start(&[]);
    // One byte more than is read, or we would still be writing when the answer comes.
    let answer = collector.post("/v1/batch", "", &vec![b' '; 8 * 1024 * 1024 + 1]);
    assert_eq!(answer.status, 413);
    collector.line("! the body has more than 8388608 bytes");
}

#[test]
fn a_pixel_is_always_answered_with_an_image() {
    let mut collector = Collector::start(&[]);
    let event = |name: &str| good(name).replace("Song Played", name).replace("}}", r#"},"writeKey":"wk"}"#);
    let queries = [
        ("standard", format!("data={}", BASE64_STANDARD.encode(event("standard")).replace('+', "%2B"))),
        ("url-safe", format!("data={}", BASE64_URL_SAFE_NO_PAD.encode(event("url-safe")))),
        (
            "plain-json",
            format!(
                "data={}",
                event("plain-json").replace('"', "%22").replace('{', "%7B").replace('}', "%7D").replace(' ', "+")
            ),
        ),
        ("nothing but base64", "data=!!!".to_owned()),
        ("the query has no data", String::new()),
    ];
    for (shown, query) in queries {
        let answer = collector.get(&format!("/v1/pixel/track?{query}"));
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: image/gif"), "{}", answer.head);
        assert_eq!(&answer.body[..6], b"GIF89a");
        let shown = if query == "data=!!!" { "data is neither JSON nor JSON in base64" } else { shown };
        collector.line(shown);
    }
    for call in ["identify", "group", "alias", "page", "screen"] {
        assert_eq!(collector.get(&format!("/v1/pixel/{call}?data=")).status, 200);
    }
}

#[test]
fn settings_name_the_write_key() {
    let collector = Collector::start(&[]);
    let answer = collector.get("/v1/projects/wk1/settings");
    assert_eq!(answer.status, 200);
    let settings: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!(settings["integrations"]["Segment.io"]["apiKey"], "wk1");
}

#[test]
fn other_paths_are_unknown() {
    let mut collector = Collector::start(&[]);
    assert_eq!(collector.post("/v2/track", "", b"{}").status, 404);
    collector.line("POST /v2/track  404");
    assert_eq!(collector.get("/v1").status, 404);
    assert_eq!(collector.get("/v1/track").status, 405);
}

#[test]
fn browsers_of_any_origin_may_send() {
    let collector = Collector::start(&[]);
    let asked = "Origin: https://example.com\r\n\
        Access-Control-Request-Method: POST\r\n\
        Access-Control-Request-Headers: authorization,content-type\r\n\
        Access-Control-Request-Private-Network: true\r\n";
    let answer = http::send(collector.port, "OPTIONS", "/v1/t", asked, b"");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
    assert!(answer.head.contains("access-control-allow-headers: authorization,content-type"), "{}", answer.head);
    assert!(answer.head.contains("access-control-allow-private-network: true"), "{}", answer.head);
    let answer = collector.post("/v1/batch", "Origin: https://example.com\r\n", batch(&[good("o")]).as_bytes());
    assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
}
