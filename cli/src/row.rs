//! Rows of the journal, in JSON: what the page shows of an event or a request.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::event::Event;
use crate::json::shown;
use crate::note::Note;
use crate::warning::Warning;

#[derive(Serialize)]
struct EventRow<'a> {
    n: u64,
    kind: &'static str,
    /// The number of its request.
    request: u64,
    /// When it was received, in milliseconds since 1970.
    at: u64,
    /// Which of the six calls; none if that cannot be known.
    call: Option<&'static str>,
    #[serde(rename = "type")]
    sent_type: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    anonymous: Option<Cow<'a, str>>,
    flaws: Vec<Flaw<'a>>,
    /// The event as it was sent but for a write key. It is a text here, or numbers would change on their way.
    json: Cow<'a, str>,
}

#[derive(Serialize)]
struct RequestRow<'a> {
    n: u64,
    kind: &'static str,
    at: u64,
    method: &'a str,
    path: &'a str,
    /// What it was answered with; none if it was not.
    status: Option<u16>,
    retry: Option<&'a str>,
    headers: &'a [(String, String)],
    /// How large its body was as it came, and unpacked.
    bytes: usize,
    unpacked: usize,
    events: usize,
    /// The fault that was switched on.
    fault: Option<&'static str>,
    flaws: Vec<Flaw<'a>>,
}

/// What is wrong.
#[derive(Serialize)]
struct Flaw<'a> {
    level: &'static str,
    /// The member it is about.
    member: Option<&'a str>,
    text: String,
    /// Where Segment says so.
    source: Option<&'static str>,
}

/// How a request ended.
pub(crate) struct Outcome<'a> {
    pub(crate) status: Option<u16>,
    pub(crate) events: usize,
    pub(crate) fault: Option<&'static str>,
    pub(crate) warnings: &'a [Warning],
}

/// The row of a request.
pub(crate) fn request(n: u64, note: &Note, outcome: &Outcome<'_>) -> String {
    written(&RequestRow {
        n,
        kind: "request",
        at: ms(note.received),
        method: note.method.as_str(),
        path: &note.path,
        status: outcome.status,
        retry: note.retry.as_deref(),
        headers: &note.headers,
        bytes: note.bytes,
        unpacked: note.unpacked,
        events: outcome.events,
        fault: outcome.fault,
        flaws: outcome.warnings.iter().map(flaw).collect(),
    })
}

/// The row of an event. `lost` is why its whole request is lost, if so.
pub(crate) fn event(n: u64, request: u64, note: &Note, event: &Event<'_>, lost: &[Warning]) -> String {
    let lost = lost.iter().filter(|warning| warning.is_loss());
    written(&EventRow {
        n,
        kind: "event",
        request,
        at: ms(note.received),
        call: event.call.map(segment_native::Call::name),
        sent_type: event.members.kind.map(shown),
        name: event.name().map(shown),
        user: event.members.user_id.map(shown),
        anonymous: event.members.anonymous_id.map(shown),
        flaws: lost.chain(&event.warnings).map(flaw).collect(),
        json: event.shown(),
    })
}

fn written(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("strings, numbers and lists can be written as JSON")
}

fn flaw(warning: &Warning) -> Flaw<'_> {
    let (member, source) = match warning {
        Warning::Broken(rule) => (Some(rule.member), Some(rule.source)),
        Warning::Doubtful(doubt) => (Some(doubt.name.as_str()), Some(doubt.source)),
        Warning::Unplanned(violation) => (Some(violation.member.as_str()), None),
        Warning::OtherType(_) => (Some("type"), None),
        Warning::EmptyConsent => (Some("context.consent"), None),
        Warning::Repeated => (Some("messageId"), None),
        _ => (None, None),
    };
    let level = match warning {
        warning if warning.is_loss() => "loss",
        Warning::Unplanned(_) => "plan",
        Warning::Doubtful(_) => "doubt",
        _ => "advice",
    };
    Flaw { level, member, text: warning.to_string(), source }
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
