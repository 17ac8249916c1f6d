//! The host's own HTTP.

// Headers are lists of pointers, bodies are the caller's memory.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};

use segment_native::{Error, ErrorKind, HttpRequest, HttpResponse, OnHttp};

use crate::error::{guard_or, null};
use crate::hooks::Userdata;
use crate::response::segment_response;
use crate::text::{self, Text, c_text};

/// One HTTP exchange, for a transport of your own. It must not follow redirects.
#[repr(C)]
pub struct segment_http {
    /// sizeof(segment_http)
    pub size: u32,
    /// For the whole exchange; never 0.
    pub timeout_ms: u32,
    /// "POST", ...
    pub method: *const c_char,
    /// Where to.
    pub url: *const c_char,
    /// "Name: value", ..., NULL. Host and Content-Length are yours.
    pub headers: *const *const c_char,
    /// What to send, without a NUL at its end.
    pub body: *const c_char,
    /// Its length in bytes.
    pub body_length: usize,
}

/// For a transport of your own: the status and the body of the answer, into the response it was
/// given. The body is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_response_set(
    response: Option<&mut segment_response>,
    status: i32,
    body: *const c_char,
    length: usize,
) {
    fill(response, |response| {
        // SAFETY: the header asks for NULL or `length` bytes that stay as they are until the call returns.
        let body = unsafe { text::bytes(body, length, "body") }?;
        response.status = u16::try_from(status)
            .ok()
            .filter(|status| (100..=999).contains(status))
            .ok_or_else(|| Error::invalid("status must be between 100 and 999"))?;
        response.set_body(body);
        Ok(())
    });
}

/// For a transport of your own: one header of the answer, into the response it was given.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_add_header(response: Option<&mut segment_response>, name: Text, value: Text) {
    fill(response, |response| {
        let (name, value) = (name.required("name")?, value.required("value")?);
        response.headers.push((name.to_owned(), c_text(value)));
        Ok(())
    });
}

/// Fills in a part of a response. A failure marks it, and the exchange then fails.
fn fill(response: Option<&mut segment_response>, fill: impl FnOnce(&mut segment_response) -> Result<(), Error>) {
    guard_or((), || {
        let response = response.ok_or_else(|| null("response"))?;
        fill(response).inspect_err(|error| _ = response.flaw.get_or_insert_with(|| error.clone()))
    });
}

type TransportCallback =
    unsafe extern "C" fn(userdata: *mut c_void, request: *const segment_http, response: *mut segment_response) -> i32;

/// The host's HTTP, from C's callback into the core's.
pub(crate) fn transport(callback: Option<TransportCallback>, userdata: *mut c_void) -> Option<OnHttp> {
    let callback = callback?;
    let userdata = Userdata::new(userdata);
    Some(Box::new(move |request: &HttpRequest<'_>| {
        let (method, url) = (c_text(request.method), c_text(request.url));
        let lines: Vec<CString> =
            request.headers.iter().map(|(name, value)| c_text(&format!("{name}: {value}"))).collect();
        let mut headers: Vec<*const c_char> = lines.iter().map(|line| line.as_ptr()).collect();
        headers.push(std::ptr::null());
        let asked = segment_http {
            size: size_of::<segment_http>() as u32,
            // Never 0, which many HTTP libraries take for no limit.
            timeout_ms: u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            method: method.as_ptr(),
            url: url.as_ptr(),
            headers: headers.as_ptr(),
            // Never NULL: a host may read it even where the body is empty.
            body: if request.body.is_empty() { c"".as_ptr() } else { request.body.as_ptr().cast() },
            body_length: request.body.len(),
        };
        let mut response = segment_response::default();
        // SAFETY: the header asks for a function of this type that neither throws nor jumps; all pointers in `asked`,
        // and the response, live until it returns.
        let reached = unsafe { callback(userdata.get(), &asked, &mut response) };
        let failed = |text: String| Err(Error::new(ErrorKind::Network, text));
        match response {
            _ if reached != 0 => failed(format!("the transport of the host returned {reached}")),
            segment_response { flaw: Some(flaw), .. } => failed(format!("the transport of the host: {flaw}")),
            segment_response { status: 0, .. } => {
                failed("the transport of the host gave no answer to segment_response_set".to_owned())
            }
            segment_response { status, mut body, headers, .. } => {
                body.pop();
                let text = |value: CString| value.into_string().unwrap_or_default();
                let headers = headers.into_iter().map(|(name, value)| (name, text(value))).collect();
                Ok(HttpResponse { status, headers, body, ..HttpResponse::default() })
            }
        }
    }))
}
