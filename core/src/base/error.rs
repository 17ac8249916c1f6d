//! The one error type of this crate: a kind that a program can act on, and a sentence for people.

use std::borrow::Cow;
use std::fmt;

/// What went wrong. The C status codes match these one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument breaks the rules.
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
    /// A bug in this library, contained.
    Internal,
    /// The user opted out: nothing was stored.
    OptedOut,
}

/// Why a call failed: its [kind](ErrorKind), and one sentence that names the argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

/// A sentence is cut at this length, because it may quote what a caller passed in, and lives as long as the object it
/// is about. The longest path fits.
const SENTENCE_MAX_BYTES: usize = 8_192;

impl Error {
    /// An error of this kind with this sentence.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > SENTENCE_MAX_BYTES {
            let end = (0..=SENTENCE_MAX_BYTES).rfind(|end| message.is_char_boundary(*end)).unwrap_or_default();
            message = Cow::Owned(format!("{}...", &message[..end]));
        }
        Error { kind, message }
    }

    /// The most common kind: an argument breaks the rules.
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

    /// The sentence without numbers and quoted text, so that errors of one kind compare equal.
    pub(crate) fn sentence_kind(&self) -> String {
        let sentence = self.message();
        let quoted = sentence.find('"').zip(sentence.rfind('"')).map_or(0..0, |(from, to)| from..to);
        let others = [&sentence[..quoted.start], &sentence[quoted.end..]];
        others.iter().flat_map(|text| text.chars()).filter(|c| !c.is_ascii_digit()).collect()
    }

    /// The same error, naming the argument that it was found in.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_kind_differ_in_numbers_and_in_what_they_quote() {
        let kind = |sentence: &str| Error::invalid(sentence.to_owned()).sentence_kind();
        assert_eq!(kind("properties: \"a\" is not JSON: at 7"), kind("properties: \"b \"c\"\" is not JSON: at 123"));
        assert_ne!(kind("properties: \"a\" is not JSON"), kind("properties: \"a\" is not a finite number"));
        assert_ne!(kind("event must not be empty"), kind("user_id must not be empty"));
        assert_eq!(kind("event must be \"given"), "event must be \"given");
    }

    #[test]
    fn a_sentence_does_not_keep_all_that_a_caller_handed_in() {
        let error = Error::invalid(format!("\"{}\" is not JSON", "é".repeat(1_000_000)));
        assert!(error.message().starts_with("\"é") && error.message().ends_with("é..."));
        let Cow::Owned(sentence) = error.in_argument(&"x".repeat(1_000_000)).message else { panic!("made here") };
        assert!(sentence.capacity() < 3 * SENTENCE_MAX_BYTES, "{}", sentence.capacity());
        let whole = "x".repeat(SENTENCE_MAX_BYTES);
        assert_eq!(Error::invalid(whole.clone()).message(), whole);
    }
}
