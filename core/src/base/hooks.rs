//! What a client tells its host: what became of messages, and log lines.

use crate::base::error::Error;

/// What became of some messages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery<'a> {
    /// None if Segment acknowledged them. Otherwise why they were given up; [`QueueFull`](crate::ErrorKind::QueueFull)
    /// if they were dropped to make room.
    pub error: Option<&'a Error>,
    /// The HTTP status of the last answer; none if there was no answer.
    pub http_status: Option<u16>,
    /// How many requests were made for them.
    pub attempts: u32,
    /// The size of the last request's body, as sent; 0 if it is not known.
    pub body_bytes: usize,
    /// Their ids.
    pub message_ids: &'a [String],
    /// The messages themselves, as JSON, in the same order.
    pub messages: &'a [&'a [u8]],
}

/// How much a log line matters. There are these four levels and no others.
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

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// It is sent as it is.
    Keep,
    /// This is sent in its place: a whole message in JSON, checked like any other. A missing `messageId` or `timestamp`
    /// is added, and nothing else.
    Replace(String),
    /// It is dropped: the call succeeds, and the message counts as accepted and dropped.
    Drop,
}

/// Sees each message, as JSON, before anything is stored; an error refuses it. Runs on the calling thread, and must not
/// use the same client, nor wait for a thread that does.
pub type BeforeSend = Box<dyn Fn(&str) -> Result<Edit, Error> + Send + Sync>;
