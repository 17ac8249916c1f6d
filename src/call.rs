//! Single requests and the host's own HTTP: their structs. The functions follow with the calls themselves.

use std::ffi::c_char;

/// segment_request.api: the Tracking API at `endpoint`, with the write key.
pub const SEGMENT_TRACKING_API: u32 = 0;
/// segment_request.api: the Public API at `public_endpoint`, with the access token.
pub const SEGMENT_PUBLIC_API: u32 = 1;
/// segment_request.api: the Profile API at `profile_endpoint`, with the profile token.
pub const SEGMENT_PROFILE_API: u32 = 2;

/// The answer to a request.
pub struct segment_response {
    _private: [u8; 0],
}

/// One HTTP exchange, for a transport of your own.
#[repr(C)]
pub struct segment_http {
    /// sizeof(segment_http)
    pub size: u32,
    /// For the whole exchange.
    pub timeout_ms: u32,
    /// "POST"
    pub method: *const c_char,
    /// Where to.
    pub url: *const c_char,
    /// "Name: value", ..., NULL
    pub headers: *const *const c_char,
    /// What to send.
    pub body: *const c_char,
    /// How many bytes of it.
    pub body_length: usize,
}

/// OAuth 2.0 instead of Basic authentication.
#[repr(C)]
pub struct segment_oauth {
    /// sizeof(segment_oauth)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// The id of the OAuth application.
    pub client_id: *const c_char,
    /// The id of its key.
    pub key_id: *const c_char,
    /// PEM, PKCS#8 or PKCS#1.
    pub private_key: *const c_char,
    /// "tracking_api:write"
    pub scope: *const c_char,
    /// "https://oauth2.segment.io"
    pub endpoint: *const c_char,
}

/// One request to one of Segment's HTTP APIs.
#[repr(C)]
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
    pub method: *const c_char,
    /// Relative to the API: "/v1/group/".
    pub path: *const c_char,
    /// "a=1&b=2" or NULL
    pub query: *const c_char,
    /// "Name: value", ..., NULL; they win over ours. Authorization is added.
    pub headers: *const *const c_char,
    /// Usually JSON.
    pub body: *const c_char,
    /// How many bytes of it.
    pub body_length: usize,
}
