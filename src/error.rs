//! What went wrong: the status codes, this thread's last sentence, and the guard around every function.

// `segment_error` hands out a pointer into a thread-local array.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use segment_native::{Error, ErrorKind};

/// What a call reports. The values never change their meaning.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum segment_status {
    /// It worked.
    SEGMENT_OK = 0,
    /// An argument is NULL, not UTF-8, or against the rules.
    SEGMENT_INVALID = 1,
    /// The message is over Segment's limit of 32 KB.
    SEGMENT_TOO_LARGE = 2,
    /// The message was not taken: the queue is full.
    SEGMENT_QUEUE_FULL = 3,
    /// The client was shut down.
    SEGMENT_CLOSED = 4,
    /// The time ran out first.
    SEGMENT_TIMEOUT = 5,
    /// Segment could not be reached.
    SEGMENT_NETWORK = 6,
    /// Segment answered with an error.
    SEGMENT_REJECTED = 7,
    /// The spool could not be read or written.
    SEGMENT_STORAGE = 8,
    /// A bug in the library, contained; please report it.
    SEGMENT_INTERNAL = 9,
    /// The user opted out: nothing was stored.
    SEGMENT_OPTED_OUT = 10,
}

use segment_status::*;

impl segment_status {
    const ALL: [segment_status; 11] = [
        SEGMENT_OK,
        SEGMENT_INVALID,
        SEGMENT_TOO_LARGE,
        SEGMENT_QUEUE_FULL,
        SEGMENT_CLOSED,
        SEGMENT_TIMEOUT,
        SEGMENT_NETWORK,
        SEGMENT_REJECTED,
        SEGMENT_STORAGE,
        SEGMENT_INTERNAL,
        SEGMENT_OPTED_OUT,
    ];

    fn sentence(self) -> &'static CStr {
        match self {
            SEGMENT_OK => c"no error",
            SEGMENT_INVALID => c"an argument is NULL, not UTF-8, or against the rules",
            SEGMENT_TOO_LARGE => c"the message is over Segment's limit of 32 KB",
            SEGMENT_QUEUE_FULL => c"the queue is full",
            SEGMENT_CLOSED => c"the client was shut down",
            SEGMENT_TIMEOUT => c"the time ran out first",
            SEGMENT_NETWORK => c"Segment could not be reached",
            SEGMENT_REJECTED => c"Segment answered with an error",
            SEGMENT_STORAGE => c"the spool could not be read or written",
            SEGMENT_INTERNAL => c"a bug in the library was contained",
            SEGMENT_OPTED_OUT => c"the user opted out",
        }
    }
}

/// The status of an error.
pub(crate) fn status_of(error: &Error) -> segment_status {
    match error.kind() {
        ErrorKind::Invalid => SEGMENT_INVALID,
        ErrorKind::TooLarge => SEGMENT_TOO_LARGE,
        ErrorKind::QueueFull => SEGMENT_QUEUE_FULL,
        ErrorKind::Closed => SEGMENT_CLOSED,
        ErrorKind::Timeout => SEGMENT_TIMEOUT,
        ErrorKind::Network => SEGMENT_NETWORK,
        ErrorKind::Rejected => SEGMENT_REJECTED,
        ErrorKind::Storage => SEGMENT_STORAGE,
        ErrorKind::OptedOut => SEGMENT_OPTED_OUT,
        // A kind that this file does not know would be a bug of ours.
        ErrorKind::Internal | _ => SEGMENT_INTERNAL,
    }
}

/// A sentence is cut at this length, its NUL included.
const SENTENCE_BYTES: usize = 512;

thread_local! {
    // Plain memory without destructors: it can be read while a thread ends.
    static STATUS: Cell<segment_status> = const { Cell::new(SEGMENT_OK) };
    static SENTENCE: UnsafeCell<[u8; SENTENCE_BYTES]> = const { UnsafeCell::new([0; SENTENCE_BYTES]) };
}

/// Makes this the thread's last error.
pub(crate) fn remember(error: &Error) {
    keep(status_of(error), error.message());
}

fn keep(status: segment_status, sentence: &str) {
    STATUS.set(status);
    let mut end = sentence.len().min(SENTENCE_BYTES - 1);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = sentence.as_bytes()[..end].iter().map(|b| if *b == 0 { b' ' } else { *b });
    SENTENCE.with(|place| {
        // SAFETY: only this thread reaches the array, and no reference to it is kept: C reads it between calls.
        let place = unsafe { &mut *place.get() };
        place.iter_mut().zip(bytes.chain([0])).for_each(|(to, from)| *to = from);
    });
}

/// Runs the body of a function that C called. A panic ends here; an error is kept for
/// `segment_error`.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Error>) -> segment_status {
    match guarded(body) {
        Ok(()) => SEGMENT_OK,
        Err(status) => status,
    }
}

/// The same for what does not return a status.
pub(crate) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> Result<T, Error>) -> T {
    guarded(body).unwrap_or(otherwise)
}

fn guarded<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, segment_status> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            remember(&error);
            Err(status_of(&error))
        }
        Err(_) => {
            keep(SEGMENT_INTERNAL, "a bug in the library was contained; please report it");
            Err(SEGMENT_INTERNAL)
        }
    }
}

/// The error for an argument that must not be NULL.
pub(crate) fn null(argument: &str) -> Error {
    Error::invalid(format!("{argument} must not be NULL"))
}

/// Why this thread's last failing call failed: a sentence that names the argument. "" if none
/// failed. Valid until this thread's next failing call.
#[unsafe(no_mangle)]
pub extern "C" fn segment_error() -> *const c_char {
    SENTENCE.with(|sentence| sentence.get().cast::<c_char>().cast_const())
}

/// The status of this thread's last call that failed; SEGMENT_OK if none did.
#[unsafe(no_mangle)]
pub extern "C" fn segment_error_status() -> segment_status {
    STATUS.get()
}

/// What a status means, in general. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn segment_strerror(status: i32) -> *const c_char {
    let known = segment_status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"unknown status", segment_status::sentence).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        let sentence = SENTENCE.with(|s| s.get());
        // SAFETY: the array of this thread always holds a NUL.
        unsafe { CStr::from_ptr(sentence.cast()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guard(|| panic!("a bug")), SEGMENT_INTERNAL);
        assert_eq!(segment_error_status(), SEGMENT_INTERNAL);
        assert!(last().contains("please report"));
        assert_eq!(guard_or(7, || panic!("a bug")), 7);
    }

    #[test]
    fn the_last_sentence_stays_until_the_next() {
        assert_eq!(guard(|| Err(Error::invalid("event must be given"))), SEGMENT_INVALID);
        assert_eq!(guard(|| Ok(())), SEGMENT_OK);
        assert_eq!((segment_error_status(), last().as_str()), (SEGMENT_INVALID, "event must be given"));
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        for shift in 0..4 {
            let sentence = "x".repeat(shift) + &"€".repeat(1000);
            assert_eq!(guard(|| Err(Error::invalid(sentence.clone()))), SEGMENT_INVALID);
            assert!(last().len() < SENTENCE_BYTES && sentence.starts_with(&last()));
        }
    }

    #[test]
    fn every_status_has_a_sentence() {
        for status in segment_status::ALL {
            // SAFETY: it is a literal.
            let sentence = unsafe { CStr::from_ptr(segment_strerror(status as i32)) };
            assert!(!sentence.is_empty());
        }
        for unknown in [-1, 11, i32::MAX, i32::MIN] {
            // SAFETY: it is a literal.
            assert_eq!(unsafe { CStr::from_ptr(segment_strerror(unknown)) }, c"unknown status");
        }
    }
}
