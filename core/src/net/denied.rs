//! Why there is no token, and what to do without one.

use std::time::Duration;

use crate::base::error::Error;

/// Why there is no token.
#[cfg_attr(not(feature = "oauth"), allow(dead_code))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// One sentence.
    pub(crate) error: Error,
    /// The status of the token server's answer; none if there was no answer.
    pub(crate) http_status: Option<u16>,
    pub(crate) verdict: TokenVerdict,
}

/// What to do without a token.
#[cfg_attr(not(feature = "oauth"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenVerdict {
    /// Give up: the server does not know the client or its key.
    Unrecoverable,
    /// Try again after this pause, and do not ask before.
    Wait(Duration),
    /// Try again after a growing wait.
    Retry,
}
