//! What a client tells its host: what became of messages, and log lines.

use crate::error::Error;

/// What became of some messages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery<'a> {
    /// None: Segment acknowledged them. Else why they were given up.
    pub error: Option<&'a Error>,
    /// The HTTP status of the last answer; none if there was no answer.
    pub http_status: Option<u16>,
    /// How many requests were made for them.
    pub attempts: u32,
    /// The size of the last request's body, as sent.
    pub body_bytes: usize,
    /// Their ids.
    pub message_ids: &'a [String],
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Messages were lost.
    Error,
    /// Something a person should know: messages are delayed, or a setting is doubtful.
    Warning,
    /// What happens once in a while.
    Info,
    /// What happens all the time.
    Debug,
}

/// Called with what became of messages. Runs on the delivery thread.
pub type OnDelivery = Box<dyn Fn(&Delivery<'_>) + Send + Sync>;

/// Called with log lines. Runs on the delivery thread.
pub type OnLog = Box<dyn Fn(Level, &str) + Send + Sync>;
