//! Single requests, and the host's own HTTP.

// Headers are lists of pointers, bodies are memory of the caller's.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

use segment_native::{Api, Error, ErrorKind, HttpRequest, HttpResponse, OnHttp, Request, split_header};

use crate::client::{required, segment_client};
use crate::error::{guard_or, null};
use crate::report::{Userdata, c_text};
use crate::sized::{self, Sized0};
use crate::text::{self, Text};

/// segment_request.api: the Tracking API at `endpoint`, with the write key or OAuth.
pub const SEGMENT_TRACKING_API: u32 = 0;
/// segment_request.api: the Public API at `public_endpoint`, with the access token.
pub const SEGMENT_PUBLIC_API: u32 = 1;
/// segment_request.api: the Profile API at `profile_endpoint`, with the profile token.
pub const SEGMENT_PROFILE_API: u32 = 2;

/// The answer to a request.
#[derive(Default)]
pub struct segment_response {
    status: u16,
    /// With a NUL behind it, for whoever takes it for a string.
    body: Vec<u8>,
    headers: Vec<(String, CString)>,
    /// What a transport did wrong when it filled this in.
    flaw: Option<Error>,
}

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
    /// What to send. It needs no NUL at its end and has none.
    pub body: *const c_char,
    /// How many bytes of it.
    pub body_length: usize,
}

/// OAuth 2.0 instead of Basic authentication.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_oauth {
    /// sizeof(segment_oauth)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// The id of the OAuth application.
    pub client_id: Text,
    /// The id of its key.
    pub key_id: Text,
    /// PEM, PKCS#8 or PKCS#1.
    pub private_key: Text,
    /// "tracking_api:write"
    pub scope: Text,
    /// "https://oauth2.segment.io", or the EU's if the client's endpoint is there.
    pub endpoint: Text,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_oauth {
    const NAME: &'static str = "segment_oauth";
}

/// One request to one of Segment's HTTP APIs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_request {
    /// sizeof(segment_request)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// SEGMENT_TRACKING_API
    pub api: u32,
    /// The client's.
    pub timeout_ms: u32,
    /// GET, POST, PUT, PATCH, DELETE: "POST".
    pub method: Text,
    /// Relative to the API: "/v1/group/". A URL of another host is refused.
    pub path: Text,
    /// "a=1&b=2" or NULL
    pub query: Text,
    /// "Name: value", ..., NULL; they win over ours, in any letter case. Authorization and
    /// Content-Type are added.
    pub headers: *const *const c_char,
    /// Sent as it is; usually JSON.
    pub body: *const c_char,
    /// How many bytes of it.
    pub body_length: usize,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_request {
    const NAME: &'static str = "segment_request";
}

/// One request now, on this thread. Any HTTP status is an answer, 429 and redirects included;
/// nothing is tried again. NULL: there is none, and segment_error() says why. An answer of more
/// than 16 MiB is none. Free it with segment_response_free.
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
        let headers = unsafe { headers(given.headers, "headers") }?;
        // SAFETY: the header asks for NULL or `body_length` bytes that stay as they are until the call returns.
        let body = unsafe { text::bytes(given.body, given.body_length, "body") }?;
        let timeout = (given.timeout_ms != 0).then(|| Duration::from_millis(u64::from(given.timeout_ms)));
        let response = client.call(&Request {
            api,
            method: given.method.get("method")?.unwrap_or("POST"),
            path: given.path.required("path")?,
            query: given.query.get("query")?,
            headers: &headers,
            body,
            timeout,
        })?;
        Ok(Some(Box::new(response.into())))
    })
}

/// The HTTP status; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_status(response: Option<&segment_response>) -> i32 {
    response.map_or(0, |response| i32::from(response.status))
}

/// The body, with a NUL behind it; NULL for NULL. It belongs to the response.
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

/// Frees a response. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn segment_response_free(response: Option<Box<segment_response>>) {
    guard_or((), || {
        drop(response);
        Ok(())
    });
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

/// Fills in a part of a response. What fails marks it: the exchange has then failed.
fn fill(response: Option<&mut segment_response>, fill: impl FnOnce(&mut segment_response) -> Result<(), Error>) {
    guard_or((), || {
        let response = response.ok_or_else(|| null("response"))?;
        fill(response).inspect_err(|error| _ = response.flaw.get_or_insert_with(|| error.clone()))
    });
}

impl segment_response {
    /// The new body may be a part of the old one, which C can look at: it is copied before that goes.
    fn set_body(&mut self, body: &[u8]) {
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
        let headers = response.headers.into_iter().map(|(name, value)| (name, c_text(&value))).collect();
        let mut body = response.body;
        if !body.is_empty() {
            body.push(0);
        }
        segment_response { status: response.status, body, headers, flaw: None }
    }
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
            // Never 0, which many take for no limit.
            timeout_ms: u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            method: method.as_ptr(),
            url: url.as_ptr(),
            headers: headers.as_ptr(),
            // Where there is nothing, a host may still look: an empty text is as good as any.
            body: if request.body.is_empty() { c"".as_ptr() } else { request.body.as_ptr().cast() },
            body_length: request.body.len(),
        };
        let mut response = segment_response::default();
        // SAFETY: the header asks for a function of this type that neither throws nor jumps; all pointers in `asked`,
        // and the response, live until it returns.
        let reached = unsafe { callback(userdata.get(), &asked, &mut response) };
        let failed = |text: String| Err(Error::new(ErrorKind::Network, text));
        match response {
            _ if reached != 0 => failed(format!("the transport of the host says {reached}")),
            segment_response { flaw: Some(flaw), .. } => failed(format!("the transport of the host: {flaw}")),
            segment_response { status: 0, .. } => {
                failed("the transport of the host gave no answer to segment_response_set".to_owned())
            }
            segment_response { status, mut body, headers, .. } => {
                body.pop();
                let text = |value: CString| value.into_string().unwrap_or_default();
                let headers = headers.into_iter().map(|(name, value)| (name, text(value))).collect();
                Ok(HttpResponse { status, headers, body })
            }
        }
    }))
}

/// Reads `"Name: value", ..., NULL`.
///
/// # Safety
/// `list` is NULL or a list of strings that ends with NULL, and all of it can be read for as long
/// as the result is used.
pub(crate) unsafe fn headers<'a>(list: *const *const c_char, argument: &str) -> Result<Vec<(&'a str, &'a str)>, Error> {
    // SAFETY: the caller's promise.
    let lines = unsafe { text::list(list, argument) }?;
    let split =
        |line| split_header(line).ok_or_else(|| Error::invalid(format!("{argument}: each must be \"Name: value\"")));
    lines.into_iter().map(split).collect()
}
