//! What is wrong with an event or a request, in a sentence each.

use std::fmt;

use segment_native::bindings::doubts::Doubt;
use segment_native::bindings::rules::{Call, MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES, Rule};

use crate::schema::Violation;

/// Something that the developer should know.
pub(crate) enum Warning {
    /// The event breaks a rule of Segment's.
    Broken(&'static Rule),
    /// Segment takes the event, and destinations may misread it.
    Doubtful(Doubt),
    /// The event is not as the tracking plan wants it.
    Unplanned(Violation),
    /// The event is no JSON object, or one that receivers cannot read; the reason.
    Unreadable(String),
    /// The event's `type` is not that of the path it was sent to.
    OtherType(Call),
    /// The event has no `messageId`.
    NoMessageId,
    /// The event has no `timestamp`.
    NoTimestamp,
    /// The event has so many bytes that it depends on how one reads "32 KB".
    Large(usize),
    /// `context.consent` is `{}`.
    EmptyConsent,
    /// Another event with the same `messageId` came before.
    Repeated,
    /// The request says nowhere which source it is for.
    NoWriteKey,
    /// The batch holds no events.
    EmptyBatch,
    /// The batch holds this many events, which is too many.
    TooMany(usize),
    /// The request is answered with an error; the reason.
    Refused(String),
    /// The pixel brings no event, which its answer does not say; the reason.
    EmptyPixel(String),
}

impl Warning {
    /// Whether Segment does not keep what the warning is about.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            Warning::Broken(rule) => rule.discard.is_some(),
            Warning::Unreadable(_)
            | Warning::NoWriteKey
            | Warning::EmptyBatch
            | Warning::TooMany(_)
            | Warning::Refused(_)
            | Warning::EmptyPixel(_) => true,
            Warning::Doubtful(_)
            | Warning::Unplanned(_)
            | Warning::OtherType(_)
            | Warning::NoMessageId
            | Warning::NoTimestamp
            | Warning::Large(_)
            | Warning::EmptyConsent
            | Warning::Repeated => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Broken(Rule { member, demand, discard: Some(discard), .. }) => {
                write!(f, "Segment would discard this: {member} {demand} ({discard})")
            }
            Warning::Broken(Rule { member, demand, .. }) => write!(f, "{member} {demand}"),
            Warning::Doubtful(doubt) => write!(f, "doubtful: {}", doubt.sentence),
            Warning::Unplanned(violation) => write!(f, "tracking plan: {}", violation.sentence),
            Warning::Unreadable(reason) => f.write_str(reason),
            Warning::OtherType(call) => {
                write!(f, "type is not {name}, but the event was sent to the path of {name}", name = call.name())
            }
            Warning::NoMessageId => f.write_str("no messageId: a retried request would count twice"),
            Warning::NoTimestamp => f.write_str("no timestamp: Segment takes the time of arrival for it"),
            Warning::Large(bytes) => {
                write!(f, "the message has {bytes} bytes: with more than {MAX_MESSAGE_BYTES}, Segment may refuse it")
            }
            Warning::EmptyConsent => {
                f.write_str("context.consent is an empty object: leave it out, or fill in its categoryPreferences")
            }
            Warning::Repeated => f.write_str("repeated messageId: Segment drops it within 24 hours"),
            Warning::NoWriteKey => f.write_str(
                "Segment would discard this request: no write key, neither as writeKey in the body \
                 nor as Basic authorization",
            ),
            Warning::EmptyBatch => {
                f.write_str("Segment would discard this request: the batch holds no events (empty_batch)")
            }
            Warning::TooMany(events) => write!(
                f,
                "SEGMENT WOULD DISCARD ALL {events} EVENTS OF THIS BATCH, and answers 200: a batch may hold \
                 {MAX_BATCH_MESSAGES}"
            ),
            Warning::Refused(reason) => f.write_str(reason),
            Warning::EmptyPixel(reason) => write!(f, "Segment answers 200 to every pixel and discards this: {reason}"),
        }
    }
}
