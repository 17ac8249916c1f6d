//! The one error of this crate: a kind a program can act on, and a sentence for a person.

use std::borrow::Cow;
use std::fmt;

/// What kind of thing went wrong. The C status codes are these, one for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is against the rules.
    Invalid,
    /// The message is over Segment's limit of 32 KB.
    TooLarge,
    /// The queue is full; the message was not taken.
    QueueFull,
    /// The client was shut down.
    Closed,
    /// The time ran out first.
    Timeout,
    /// Segment could not be reached.
    Network,
    /// Segment answered with an error.
    Rejected,
    /// The spool could not be read or written.
    Storage,
    /// A bug of ours, contained.
    Internal,
    /// The user opted out: nothing was kept.
    OptedOut,
}

/// Why a call failed: its [kind](ErrorKind), and one sentence that names the argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

impl Error {
    /// An error of this kind with this sentence.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, message: message.into() }
    }

    /// The most common kind: an argument is against the rules.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Invalid, message)
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error, saying which argument it was found in.
    pub(crate) fn in_argument(&self, argument: &str) -> Self {
        Error::new(self.kind, format!("{argument}: {}", self.message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
