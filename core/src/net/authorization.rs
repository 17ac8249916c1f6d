//! The credentials of a request to the Tracking API.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::base::error::Error;
use crate::net::denied::Denied;
#[cfg(feature = "oauth")]
use crate::net::oauth::Tokens;
use crate::net::transport::Transport;

/// The value of `Authorization` for a user name without password.
pub(crate) fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:")))
}

/// How the client authorizes itself.
pub(crate) enum Authorization {
    /// By its write key.
    Basic(String),
    /// By tokens.
    #[cfg(feature = "oauth")]
    OAuth(Box<Tokens>),
}

impl Authorization {
    /// The value of `Authorization`; a token may have to be requested for it.
    #[cfg_attr(not(feature = "oauth"), allow(unused_variables))]
    pub(crate) fn value(&self, transport: &dyn Transport, timeout: Duration) -> Result<String, Denied> {
        match self {
            Authorization::Basic(value) => Ok(value.clone()),
            #[cfg(feature = "oauth")]
            Authorization::OAuth(tokens) => tokens.authorization(transport, timeout),
        }
    }

    /// Why a token that still serves could not be renewed, returned once: it will expire.
    pub(crate) fn take_trouble(&self) -> Option<Error> {
        match self {
            Authorization::Basic(_) => None,
            #[cfg(feature = "oauth")]
            Authorization::OAuth(tokens) => tokens.take_trouble(),
        }
    }

    /// Segment has answered with this status to a request that sent `value`, which may not be valid any more.
    #[cfg_attr(not(feature = "oauth"), allow(unused_variables))]
    pub(crate) fn answered(&self, status: u16, value: &str) {
        match self {
            Authorization::Basic(_) => {}
            #[cfg(feature = "oauth")]
            Authorization::OAuth(tokens) => {
                if matches!(status, 400 | 401 | 403 | 511) {
                    tokens.drop_token(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colon_is_part_of_basic_authentication() {
        // The vector of https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api.
        assert_eq!(basic("abc123"), "Basic YWJjMTIzOg==");
    }
}
