//! The answer to a request: what a call brought, or what the host's own HTTP fills in.

// Its functions are C's.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};

use segment_native::{Error, HttpResponse};

use crate::error::{guard_or, null};
use crate::text::{Text, c_text};

/// The answer to a request.
#[derive(Default)]
pub struct segment_response {
    pub(crate) status: u16,
    /// With a NUL at its end, for callers that take it for a string.
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, CString)>,
    /// Of the page after this one.
    pub(crate) cursor: Option<CString>,
    /// What a transport did wrong when it filled this in.
    pub(crate) flaw: Option<Error>,
}

/// The HTTP status; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_status(response: Option<&segment_response>) -> i32 {
    response.map_or(0, |response| i32::from(response.status))
}

/// The body, with a NUL at its end; NULL for NULL. It belongs to the response.
///   length_or_null  Set to its length without that NUL.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_body(
    response: Option<&segment_response>,
    length_or_null: Option<&mut usize>,
) -> *const c_char {
    let (body, length) = match response {
        Some(response) if response.body.is_empty() => (c"".as_ptr(), 0),
        Some(response) => (response.body.as_ptr().cast(), response.body.len() - 1),
        None => (std::ptr::null(), 0),
    };
    if let Some(place) = length_or_null {
        *place = length;
    }
    body
}

/// The value of a header, by its name in any letter case; of several the first. NULL: absent. It
/// belongs to the response.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_header(response: Option<&segment_response>, name: Text) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let response = response.ok_or_else(|| null("response"))?;
        let name = name.required("name")?;
        let found = response.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        Ok(found.map_or(std::ptr::null(), |(_, value)| value.as_ptr()))
    })
}

/// The cursor of the next page, for segment_request.cursor, if this is a page of a list of the
/// Public API or of the Profile API. NULL: it is the last page, or not a page. It belongs to the
/// response.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_cursor(response: Option<&segment_response>) -> *const c_char {
    let cursor = response.and_then(|response| response.cursor.as_ref());
    cursor.map_or(std::ptr::null(), |cursor| cursor.as_ptr())
}

/// Frees a response. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_free(response: Option<Box<segment_response>>) {
    guard_or((), || {
        drop(response);
        Ok(())
    });
}

impl segment_response {
    /// The new body may be a part of the old one, which C can read: it is copied before the old one
    /// is freed.
    pub(crate) fn set_body(&mut self, body: &[u8]) {
        let mut copy = Vec::new();
        if !body.is_empty() {
            copy.reserve_exact(body.len() + 1);
            copy.extend_from_slice(body);
            copy.push(0);
        }
        self.body = copy;
    }
}

impl From<HttpResponse> for segment_response {
    fn from(response: HttpResponse) -> Self {
        let cursor = response.next_cursor().map(|cursor| c_text(&cursor));
        let headers = response.headers.into_iter().map(|(name, value)| (name, c_text(&value))).collect();
        let mut body = response.body;
        if !body.is_empty() {
            body.push(0);
        }
        segment_response { status: response.status, body, headers, cursor, flaw: None }
    }
}
