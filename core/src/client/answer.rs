//! What came of a request for messages: what it means for them, and the sentence for a person.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::error::{Error, ErrorKind};
use crate::base::time;
use crate::json::scan;
use crate::net::denied::{Denied, TokenVerdict};
use crate::net::header;
use crate::net::transport::HttpResponse;
use crate::queue::policy::Outcome;

/// What came of a request for messages, for a person too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) kind: ErrorKind,
    pub(crate) reason: String,
    /// What the body of a success says against it.
    pub(crate) objection: Option<Objection>,
}

/// The status of an answer is a success, but its body says that not everything was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Objection {
    /// The same for all that differ only by numbers, ids and repetitions.
    pub(crate) kind: u64,
    /// The beginning of the body.
    pub(crate) words: String,
}

impl Answer {
    /// What a response means, or that there is none.
    pub(crate) fn read(response: Result<HttpResponse, Error>) -> Answer {
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let reason = format!("Segment could not be reached: {error}");
                return Answer::none(Outcome::Unreached, ErrorKind::Network, reason);
            }
        };
        let status = response.status;
        let html = is_page(&response);
        let retry_after = response.header("retry-after");
        let retry_after = retry_after.and_then(|value| header::parse_retry_after(value, time::now_ms()));
        let text = beginning(&response.body);
        let reason = match html {
            true => format!("the answer with status {status} is a web page, not Segment's"),
            false if text.is_empty() => format!("Segment answered with status {status}"),
            false => format!("Segment answered with status {status}: {text}"),
        };
        let outcome = Outcome::Answer { status, retry_after, html };
        let objection = Some(&response).filter(|_| (200..300).contains(&status) && !html).and_then(objection);
        Answer { outcome, status: Some(status), kind: ErrorKind::Rejected, reason, objection }
    }

    /// It is tried again, when there may be memory.
    pub(crate) fn no_memory() -> Answer {
        let reason = "there is no memory for a request".to_owned();
        Answer::none(Outcome::NoToken(TokenVerdict::Retry), ErrorKind::Network, reason)
    }

    /// No request was made, because there was no token for it.
    pub(crate) fn no_token(denied: Denied) -> Answer {
        let Denied { error, http_status, verdict } = denied;
        let reason = format!("no token could be obtained: {error}");
        Answer { status: http_status, ..Answer::none(Outcome::NoToken(verdict), error.kind(), reason) }
    }

    /// There is no answer for the messages.
    fn none(outcome: Outcome, kind: ErrorKind, reason: String) -> Answer {
        Answer { outcome, status: None, kind, reason, objection: None }
    }
}

/// Whether an answer is a web page. The body decides, if there is one that can be read: some gateways call everything
/// HTML.
fn is_page(response: &HttpResponse) -> bool {
    const NO_CONTENT: u16 = 204;
    let says_so = || response.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let is_plain = response.header("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    let body = match response.body.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, 0, rest @ ..] => rest,
        body => body,
    };
    match body.trim_ascii_start().first() {
        _ if response.status == NO_CONTENT => false,
        Some(first) if is_plain => *first == b'<',
        _ => says_so(),
    }
}

/// The beginning of a body, for a person to read.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The objection in the body of a success: its `ok` or its `success` is `false`.
fn objection(response: &HttpResponse) -> Option<Objection> {
    let text = std::str::from_utf8(&response.body).ok()?;
    let mut compact = Vec::new();
    scan::compact_object(text, &mut compact).ok()?;
    let denies = |name| scan::member(&compact, name) == Some(b"false");
    let kind = || kind(&String::from_utf8_lossy(&compact));
    (denies("ok") || denies("success")).then(|| Objection { kind: kind(), words: beginning(&compact) })
}

/// A hash of the words in a text, regardless of order and number. What has a digit in it is a number or an id, not a
/// word.
fn kind(text: &str) -> u64 {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_word = |word: &&str| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit());
    let words: BTreeSet<&str> = text.split(|c| !is_part(c)).filter(is_word).collect();
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::read(Ok(HttpResponse { status, body: body.into(), ..HttpResponse::default() }))
    }

    #[test]
    fn a_success_may_be_denied_by_its_body() {
        for (status, body) in [
            (200, r#"{"ok":false}"#),
            (200, " {\n \"success\" : false , \"message\":\"quota\" } "),
            (202, r#"{"errors":["x"],"ok":false,"success":true}"#),
            (200, r#"{"\u006fk":false}"#),
        ] {
            let read = answer(status, body);
            assert_eq!(read.outcome, Outcome::Answer { status, retry_after: None, html: false });
            assert!(read.objection.is_some(), "{body}");
        }
        for (status, body) in [
            (200, ""),
            (200, "OK"),
            (200, r#"{"success": true}"#),
            (200, r#"{"ok":true,"okEvents":0}"#),
            (200, r#"{"ok":"false","success":0}"#),
            (200, r#"{"ok":null}"#),
            (200, r#"{"data":{"ok":false}}"#),
            (200, r#"[{"ok":false}]"#),
            (200, r#"{"ok":false"#),
            (200, r#"{"ok":false,"ok":true}"#),
            (200, r#"<html>{"ok":false}"#),
            (204, ""),
            (400, r#"{"ok":false}"#),
            (302, r#"{"ok":false}"#),
        ] {
            assert_eq!(answer(status, body).objection, None, "{status} {body}");
        }
    }

    #[test]
    fn the_words_of_an_objection_are_bounded_and_clean() {
        let words = |body: &str| answer(200, body).objection.expect("one").words;
        assert_eq!(words("{\"ok\" : false,\n\t\"error\":\"a\u{85}b\"}"), "{\"ok\":false,\"error\":\"a b\"}");
        let long = words(&format!(r#"{{"ok":false,"error":"{}"}}"#, "é".repeat(10_000)));
        assert!(long.len() <= 210, "{}", long.len());
    }

    #[test]
    fn objections_of_one_kind_differ_by_numbers_and_ids_only() {
        let kind = |body: &str| answer(200, body).objection.expect("one").kind;
        let event = |id: &str| format!(r#""Message ID: {id}: event error""#);
        let (first, other) = ("7f1c2f0e-beef-4a11-beef-0123456789ab", "fade2c3d-cafe-4bbb-babe-ffffffffff1f");
        let one = format!(r#"{{"errors":[{}],"ok":false,"okEvents":4,"receivedEvents":5}}"#, event(first));
        let two =
            format!(r#"{{"errors":[{},{}],"ok":false,"okEvents":0,"receivedEvents":2}}"#, event(other), event(first));
        assert_eq!(kind(&one), kind(&two));
        assert_ne!(kind(&one), kind(&one.replace("event error", "throttled")));
        assert_ne!(kind(r#"{"ok":false}"#), kind(r#"{"success":false}"#));
    }
}
