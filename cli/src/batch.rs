//! What one request brings: its events, or the reason to refuse it.

use axum::http::StatusCode;
use segment_native::bindings::rules::{Call, MAX_BATCH_MESSAGES};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::Event;
use crate::json;
use crate::warning::Warning;

/// More than this in one event is answered with 400. The largest reading of Segment's 32 KB: what is smaller than this
/// but larger than the smallest reading is a warning only.
const MAX_EVENT_BYTES: usize = 32 * 1024;
/// More than this in one batch is answered with 400. The largest reading of Segment's 500 KB.
const MAX_BATCH_BYTES: usize = 500 * 1024;

/// The events of a request that is answered with 200, and what is wrong with the request.
#[derive(Default)]
pub(crate) struct Delivery<'a> {
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) warnings: Vec<Warning>,
}

/// Why a request is not answered with 200.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A word for programs.
    pub(crate) code: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

impl Refusal {
    /// The answer to what Segment cannot read.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    fn json(error: &serde_json::Error) -> Self {
        let flaw = if error.is_data() { "the body is not what this path takes" } else { "the body is not valid JSON" };
        Refusal::bad_request("invalid_json", format!("{flaw}: {error}"))
    }

    fn too_large(what: &str, bytes: usize, max: usize) -> Self {
        Refusal::bad_request("too_large", format!("{what} has {bytes} bytes, and Segment takes {max}"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the array batch")]
struct Envelope<'a> {
    #[serde(borrow)]
    batch: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    write_key: Option<&'a RawValue>,
}

impl<'a> Delivery<'a> {
    /// The body of a path of one call. `has_key`: the request says its write key outside of the body.
    pub(crate) fn of_call(body: &'a str, call: Call, has_key: bool) -> Result<Self, Refusal> {
        let json: &RawValue = serde_json::from_str(body).map_err(|error| Refusal::json(&error))?;
        if !json.get().starts_with('{') {
            return Err(Refusal::bad_request("invalid_json", "the body must be a JSON object"));
        }
        check_event_size(json.get(), || "the event".to_owned())?;
        let event = Event::read(json.get(), Some(call));
        let has_key = has_key || event.members.write_key.is_some_and(is_key);
        Ok(Delivery { events: vec![event], warnings: missing_key(has_key).into_iter().collect() })
    }

    /// The body of a batch. `has_key`: the request says its write key outside of the body.
    pub(crate) fn of_batch(body: &'a str, has_key: bool) -> Result<Self, Refusal> {
        if body.len() > MAX_BATCH_BYTES {
            return Err(Refusal::too_large("the batch", body.len(), MAX_BATCH_BYTES));
        }
        let envelope: Envelope<'_> = serde_json::from_str(body).map_err(|error| Refusal::json(&error))?;
        let events = envelope.batch.unwrap_or_default();
        for (index, event) in events.iter().enumerate() {
            check_event_size(event.get(), || format!("batch[{index}]"))?;
        }
        let mut warnings = Vec::from_iter(missing_key(has_key || envelope.write_key.is_some_and(is_key)));
        match events.len() {
            0 => warnings.push(Warning::EmptyBatch),
            1..=MAX_BATCH_MESSAGES => {}
            many => warnings.push(Warning::TooMany(many)),
        }
        let events = events.into_iter().map(|event| Event::read(event.get(), None)).collect();
        Ok(Delivery { events, warnings })
    }

    /// Whether Segment keeps none of the events, right or wrong.
    pub(crate) fn is_lost(&self) -> bool {
        self.warnings.iter().any(Warning::is_loss)
    }
}

fn check_event_size(event: &str, what: impl FnOnce() -> String) -> Result<(), Refusal> {
    if event.len() > MAX_EVENT_BYTES {
        return Err(Refusal::too_large(&what(), event.len(), MAX_EVENT_BYTES));
    }
    Ok(())
}

fn is_key(value: &RawValue) -> bool {
    json::text(value).is_some_and(|key| !key.is_empty())
}

fn missing_key(has_key: bool) -> Option<Warning> {
    (!has_key).then_some(Warning::NoWriteKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of `bytes` bytes.
    fn event(bytes: usize) -> String {
        let empty = r#"{"x":""}"#.len();
        format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - empty))
    }

    #[test]
    fn an_event_may_have_32_kb() {
        assert!(Delivery::of_call(&event(32 * 1024), Call::Track, true).is_ok());
        assert!(Delivery::of_call(&event(32 * 1024 + 1), Call::Track, true).is_err());
        let batch = |bytes| format!(r#"{{"batch":[{{}},{}]}}"#, event(bytes));
        assert!(Delivery::of_batch(&batch(32 * 1024), true).is_ok());
        let refusal = Delivery::of_batch(&batch(32 * 1024 + 1), true).err().expect("a refusal");
        assert_eq!(refusal.message, "batch[1] has 32769 bytes, and Segment takes 32768");
    }

    #[test]
    fn a_batch_may_have_500_kb() {
        let batch = |bytes: usize| format!(r#"{{"batch":[{{}}],"x":"{}"}}"#, "x".repeat(bytes - 21));
        assert_eq!(batch(100).len(), 100);
        assert!(Delivery::of_batch(&batch(500 * 1024), true).is_ok());
        assert!(Delivery::of_batch(&batch(500 * 1024 + 1), true).is_err());
    }

    #[test]
    fn the_write_key_must_be_a_string_that_is_not_empty() {
        let lost =
            |member: &str| Delivery::of_batch(&format!(r#"{{"batch":[{{}}]{member}}}"#), false).map(|d| d.is_lost());
        assert!(lost("").expect("a delivery"));
        assert!(lost(r#","writeKey":"""#).expect("a delivery"));
        assert!(lost(r#","writeKey":null"#).expect("a delivery"));
        assert!(!lost(r#","writeKey":"wk""#).expect("a delivery"));
    }

    #[test]
    fn the_events_keep_their_text() {
        let body = r#" { "sentAt":"x", "context":{}, "batch" : [ {"n": 18446744073709551616 , "a":1.0} ] } "#;
        let delivery = Delivery::of_batch(body, true).expect("a delivery");
        assert_eq!(delivery.events[0].json, r#"{"n": 18446744073709551616 , "a":1.0}"#);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in ["", "{", "5", r#"{"batch":5}"#, r#"{"batch":[{}]} x"#, r#"{"batch":[{]}"#] {
            assert!(Delivery::of_batch(body, true).is_err(), "{body}");
        }
        for body in ["", "[]", "5", r#"{"a"}"#, "{} {}"] {
            assert!(Delivery::of_call(body, Call::Track, true).is_err(), "{body}");
        }
    }
}
