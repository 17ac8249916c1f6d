//! What came of a request for messages: what it means for them, and the sentence for a person.

use crate::base::error::{Error, ErrorKind};
use crate::base::time;
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
}

impl Answer {
    /// What a response means, or that there is none.
    pub(crate) fn read(response: Result<HttpResponse, Error>) -> Answer {
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let reason = format!("Segment could not be reached: {error}");
                return Answer { outcome: Outcome::Unreached, status: None, kind: ErrorKind::Network, reason };
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
        Answer { outcome, status: Some(status), kind: ErrorKind::Rejected, reason }
    }

    /// It is tried again, when there may be some.
    pub(crate) fn no_memory() -> Answer {
        let reason = "there is no memory for a request".to_owned();
        Answer { outcome: Outcome::NoToken(TokenVerdict::Retry), status: None, kind: ErrorKind::Network, reason }
    }

    /// Nobody gave a token.
    pub(crate) fn no_token(denied: Denied) -> Answer {
        let Denied { error, http_status, verdict } = denied;
        let reason = format!("no token could be had: {error}");
        Answer { outcome: Outcome::NoToken(verdict), status: http_status, kind: error.kind(), reason }
    }
}

/// Whether an answer is a web page. The body decides, where there is one that can be read: there are gateways that call
/// everything HTML.
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
