//! Single requests.

// Headers are lists of pointers, bodies are the caller's memory.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::time::Duration;

use segment_native::{Api, Error, Request};

use crate::client::{required, segment_client};
use crate::error::{guard_or, null};
use crate::response::segment_response;
use crate::sized::{self, Sized0};
use crate::text::{self, Text};

/// segment_request.api: the Tracking API at `endpoint`, with the write key or OAuth.
pub const SEGMENT_TRACKING_API: u32 = 0;
/// segment_request.api: the Public API at `public_endpoint`, with the access token.
pub const SEGMENT_PUBLIC_API: u32 = 1;
/// segment_request.api: the Profile API at `profile_endpoint`, with the profile token.
pub const SEGMENT_PROFILE_API: u32 = 2;

/// One request to one of Segment's HTTP APIs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_request {
    /// sizeof(segment_request)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Which of Segment's APIs.
    pub api: u32,
    /// For the whole request. Default: the client's timeout_ms.
    pub timeout_ms: u32,
    /// GET, POST, PUT, PATCH, DELETE. Default: "POST".
    pub method: Text,
    /// Relative to the API: "/v1/group/". A URL of another host is refused.
    pub path: Text,
    /// "a=1&b=2" or NULL
    pub query: Text,
    /// "Name: value", ..., NULL; they replace ours, in any letter case. Authorization and
    /// Content-Type are added.
    pub headers: *const *const c_char,
    /// Sent as it is; usually JSON.
    pub body: *const c_char,
    /// Its length in bytes.
    pub body_length: usize,
    /// Of a list of the Public API or of the Profile API: the page that segment_response_cursor
    /// named, in place of a cursor in query. NULL: the first.
    pub cursor: Text,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_request {
    const NAME: &'static str = "segment_request";
}

/// One request now, on this thread; the host name is looked up on another, which may be started for
/// that. Any HTTP status is an answer, 429 and redirects included; nothing is tried again. NULL:
/// there is no answer, and segment_error() says why. One of more than 16 MiB counts as none. Free
/// it with segment_response_free.
#[unsafe(no_mangle)]
pub extern "C" fn segment_call(
    client: Option<&segment_client>,
    request: *const segment_request,
) -> Option<Box<segment_response>> {
    guard_or(None, || {
        let client = required(client)?;
        let given = sized::read(request)?.ok_or_else(|| null("request"))?;
        if given.flags != 0 {
            return Err(Error::invalid(format!("request: flags has unknown bits: {:#x}", given.flags)));
        }
        let api = match given.api {
            SEGMENT_TRACKING_API => Api::Tracking,
            SEGMENT_PUBLIC_API => Api::Public,
            SEGMENT_PROFILE_API => Api::Profile,
            _ => {
                return Err(Error::invalid(
                    "api must be SEGMENT_TRACKING_API, SEGMENT_PUBLIC_API or SEGMENT_PROFILE_API",
                ));
            }
        };
        // SAFETY: the header asks for NULL or a list of strings that ends with NULL and stays until the call returns.
        let headers = unsafe { text::headers(given.headers, "headers") }?;
        // SAFETY: the header asks for NULL or `body_length` bytes that stay as they are until the call returns.
        let body = unsafe { text::bytes(given.body, given.body_length, "body") }?;
        let timeout = (given.timeout_ms != 0).then(|| Duration::from_millis(u64::from(given.timeout_ms)));
        let response = client.call(&Request {
            api,
            method: given.method.get("method")?.unwrap_or("POST"),
            path: given.path.required("path")?,
            query: given.query.get("query")?,
            cursor: given.cursor.get("cursor")?,
            headers: &headers,
            body,
            timeout,
            ..Request::default()
        })?;
        Ok(Some(Box::new(response.into())))
    })
}
