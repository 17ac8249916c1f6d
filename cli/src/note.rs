//! What is told of a request as it came, but for secrets.

use std::time::SystemTime;

use axum::http::{HeaderMap, Method, Uri};

/// What a line about a request says.
pub(crate) struct Note {
    pub(crate) received: SystemTime,
    pub(crate) method: Method,
    /// As it came but for a write key.
    pub(crate) path: String,
    /// `X-Retry-Count`: how often the request was tried before.
    pub(crate) retry: Option<String>,
    /// Names and values, as they came but for secrets.
    pub(crate) headers: Vec<(String, String)>,
    /// How large the body was as it came.
    pub(crate) bytes: usize,
    /// How large it is unpacked.
    pub(crate) unpacked: usize,
    /// The fault that was switched on.
    pub(crate) fault: Option<&'static str>,
}

impl Note {
    /// Notes a request that has just been received.
    pub(crate) fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let retry = headers.get("x-retry-count").map(|count| text(count.as_bytes()));
        let shown = |name: &str, value: &[u8]| (name.to_owned(), shown(name, text(value)));
        let headers = headers.iter().map(|(name, value)| shown(name.as_str(), value.as_bytes())).collect();
        Note {
            received: SystemTime::now(),
            method: method.clone(),
            path: without_key(uri.path()),
            retry,
            headers,
            bytes: 0,
            unpacked: 0,
            fault: None,
        }
    }
}

/// What is shown of a header, whose name is in lower case: of a secret only its kind and its length.
fn shown(name: &str, value: String) -> String {
    if !["auth", "cookie", "key", "secret", "token"].iter().any(|word| name.contains(word)) {
        return value;
    }
    let is_scheme = |scheme: &&str| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let scheme = ["Basic ", "Bearer "].into_iter().find(is_scheme).unwrap_or_default();
    format!("{scheme}(hidden, {} characters)", value.len() - scheme.len())
}

/// SDKs ask for the settings of `/projects/WRITE_KEY`.
fn without_key(path: &str) -> String {
    let Some((before, rest)) = path.split_once("/projects/") else { return path.to_owned() };
    let rest = rest.trim_start_matches('/');
    let after = rest.find('/').map_or("", |end| &rest[end..]);
    format!("{before}/projects/(hidden){after}")
}

/// Tells those who read a request that it will be answered late, and what that fault is called.
#[derive(Clone, Copy)]
pub(crate) struct Slowed(pub(crate) &'static str);
