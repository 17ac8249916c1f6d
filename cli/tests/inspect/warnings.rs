//! What is answered with 200 and is wrong all the same.

use crate::process::Collector;
use crate::{batch, good};

/// Posts a batch of this one event; the lines are searched for each of `parts` in turn.
fn warns(collector: &mut Collector, event: &str, parts: &[&str]) {
    collector.accepts("/v1/batch", &batch(&[event.to_owned()]));
    for part in parts {
        collector.line(part);
    }
}

#[test]
fn rules_of_segments() {
    let mut collector = Collector::start(&[]);
    let rest = r#""messageId":"M","timestamp":"2026-01-02T03:04:05.678Z""#;
    for (index, (members, warning)) in [
        (
            r#""type":"track","event":"E""#,
            "! Segment would discard this: userId or anonymousId must be given (no_user_anon_id)",
        ),
        (
            r#""type":"track","event":"E","userId":"""#,
            "! Segment would discard this: userId must be a string that is not empty (id_not_string)",
        ),
        (
            r#""type":"track","event":"E","anonymousId":5"#,
            "! Segment would discard this: anonymousId must be a string that is not empty (id_not_string)",
        ),
        (
            r#""type":"track","userId":"u""#,
            "! Segment would discard this: event must be given and must not be empty (event_not_defined)",
        ),
        (
            r#""type":"track","userId":"u","event":1"#,
            "! Segment would discard this: event must be a string (event_not_string)",
        ),
        (r#""type":"page","userId":"u","name":"""#, "(name_not_string)"),
        (r#""type":"page","userId":"u","category":"""#, "(category_not_string)"),
        (r#""type":"page","userId":"u","properties":[]"#, "(properties_not_object)"),
        (r#""type":"identify","userId":"u","traits":[]"#, "(traits_not_object)"),
        (r#""type":"group","userId":"u""#, "! groupId must be a string that is not empty"),
        (r#""type":"alias","userId":"u""#, "! previousId must be a string that is not empty"),
        (r#""type":"alias","anonymousId":"u","previousId":"p""#, "! userId must be given"),
        (r#""userId":"u""#, "! type must be one of"),
        (r#""type":"Track","userId":"u","event":"E""#, "! type must be one of"),
        (r#""type":"page","userId":"u","context":[]"#, "! context must be an object"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = format!("{{{members},{}}}", rest.replace('M', &format!("m{index}")));
        warns(&mut collector, &event, &[warning]);
    }
}

#[test]
fn what_a_good_client_always_sends() {
    let mut collector = Collector::start(&[]);
    let event = r#"{"type":"page","userId":"u"}"#;
    warns(&mut collector, event, &["! no messageId: a retried request would count twice", "! no timestamp"]);
}

#[test]
fn data_that_destinations_misread() {
    let mut collector = Collector::start(&[]);
    let event = good("d").replace(r#""n":1"#, r#""revenue":"19.99","currency":"eur""#);
    let warnings = [
        "! doubtful: properties: revenue should be a number, not a string",
        "! doubtful: properties: currency should be written in capitals: EUR",
    ];
    warns(&mut collector, &event, &warnings);
}

#[test]
fn a_message_near_the_limit() {
    let mut collector = Collector::start(&[]);
    let rest = good("large").len() - "Song Played".len();
    let of_bytes = |bytes: usize| good("large").replace("Song Played", &"x".repeat(bytes - rest));
    warns(&mut collector, &of_bytes(32_001), &["32001 B", "! the message has 32001 bytes"]);
}

#[test]
fn an_empty_consent() {
    let mut collector = Collector::start(&[]);
    let event = good("consent").replace("}}", r#"},"context":{"consent":{ }}}"#);
    warns(&mut collector, &event, &["! context.consent is an empty object"]);
}

#[test]
fn an_item_that_is_no_object() {
    let mut collector = Collector::start(&[]);
    warns(&mut collector, "5", &["! not a JSON object"]);
}

#[test]
fn a_type_that_is_not_the_paths() {
    let mut collector = Collector::start(&[]);
    collector.accepts("/v1/page", &good("t").replace("}}", r#"},"writeKey":"wk"}"#));
    collector.line("! type is not page, but the event was sent to the path of page");
}

#[cfg(unix)]
#[test]
fn a_repeated_message_id() {
    let collector = Collector::start(&[]);
    collector.accepts("/v1/batch", &batch(&[good("a"), good("b"), good("a")]));
    collector.accepts("/v1/batch", &batch(&[good("b"), good("c")]));
    let lines = collector.end("-TERM");
    let repeated = lines.iter().filter(|line| line.contains("! repeated messageId: Segment drops it within 24 hours"));
    assert_eq!(repeated.count(), 2, "{lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("2 requests, 5 events, 2 with warnings, 2 repeated"));
}

#[cfg(unix)]
#[test]
fn more_events_than_a_batch_may_hold() {
    let collector = Collector::start(&[]);
    let events = |count: usize| (0..count).map(|n| format!(r#"{{"type":"page","userId":"{n}"}}"#)).collect::<Vec<_>>();
    collector.accepts("/v1/batch", &batch(&events(2501)));
    let lines = collector.end("-TERM");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[1].contains("! SEGMENT WOULD DISCARD ALL 2501 EVENTS"), "{lines:#?}");
    assert_eq!(lines[2], "1 requests, 2501 events, 2501 with warnings, 0 repeated");

    let collector = Collector::start(&[]);
    collector.accepts("/v1/batch", &batch(&events(2500)));
    let lines = collector.end("-TERM");
    assert!(!lines.iter().any(|line| line.contains("DISCARD ALL")), "2500 are not too many");
}

#[cfg(unix)]
#[test]
fn a_request_without_a_write_key() {
    let mut collector = Collector::start(&[]);
    let keyless = batch(&[good("a")]).replace(r#""writeKey":"wk","#, "");
    collector.accepts("/v1/batch", &keyless);
    collector.line("! Segment would discard this request: no write key");
    let bearer = collector.post("/v1/batch", "Authorization: Bearer d2s6\r\n", keyless.as_bytes());
    assert_eq!(bearer.status, 200);
    collector.line("! Segment would discard this request: no write key");
    let basic = collector.post("/v1/batch", "Authorization: Basic d2s6\r\n", keyless.as_bytes());
    assert_eq!(basic.status, 200);
    collector.accepts("/v1/track", &good("b"));
    collector.line("! Segment would discard this request: no write key");
    // The first two were not received, so the third is no repetition.
    let lines = collector.end("-TERM");
    assert_eq!(lines.last().map(String::as_str), Some("4 requests, 4 events, 3 with warnings, 0 repeated"));
}

#[test]
fn an_empty_batch() {
    let mut collector = Collector::start(&[]);
    for body in [r#"{"batch":[],"writeKey":"wk"}"#, r#"{"writeKey":"wk"}"#, r#"{"batch":null,"writeKey":"wk"}"#] {
        collector.accepts("/v1/batch", body);
        collector.line("POST /v1/batch  200");
        collector.line("(empty_batch)");
    }
}
