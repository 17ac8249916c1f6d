//! The text that a request brings, whatever it is wrapped in.

use std::convert::Infallible;
use std::io::Read as _;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::bufread::MultiGzDecoder;

use crate::batch::Refusal;
use crate::note::{Note, Slowed};

/// More than this is not read, neither as it comes nor unpacked. Far above what Segment takes, so that the answer to
/// what is a little too large is Segment's and not ours.
pub(crate) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Base64 as it is found in the wild: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A request whose body has been read and unpacked.
pub(crate) struct Received {
    pub(crate) note: Note,
    /// Whether the `Authorization` header holds a write key.
    pub(crate) has_key: bool,
    pub(crate) text: Result<String, Refusal>,
}

impl<S: Send + Sync> FromRequest<S> for Received {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        let headers = request.headers().clone();
        let mut note = Note::new(request.method(), request.uri(), &headers);
        note.fault = request.extensions().get::<Slowed>().map(|Slowed(name)| *name);
        let text = match Bytes::from_request(request, state).await {
            Ok(bytes) => {
                note.bytes = bytes.len();
                unpacked(&headers, bytes)
            }
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(endless()),
            Err(_) => Err(Refusal::bad_request("incomplete", "the body did not arrive whole")),
        };
        note.unpacked = text.as_ref().map_or(note.bytes, String::len);
        Ok(Received { note, has_key: has_key(&headers), text })
    }
}

fn unpacked(headers: &HeaderMap, bytes: Bytes) -> Result<String, Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?")).trim();
    let bytes = match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" => Vec::from(bytes),
        "gzip" | "x-gzip" => gunzip(&bytes)?,
        _ => {
            let message = format!("Content-Encoding must be gzip or absent, not {encoding}");
            return Err(Refusal::bad_request("unknown_encoding", message));
        }
    };
    String::from_utf8(bytes).map_err(|_| Refusal::bad_request("invalid_json", "the body is not UTF-8"))
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    // The last four bytes of a gzip stream are the length of what is in it. They may lie.
    let length = bytes.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let mut unpacked = Vec::with_capacity(length.min(MAX_BODY_BYTES) + 1);
    let mut bounded = MultiGzDecoder::new(bytes).take(MAX_BODY_BYTES as u64 + 1);
    bounded
        .read_to_end(&mut unpacked)
        .map_err(|error| Refusal::bad_request("invalid_gzip", format!("the body is not gzip: {error}")))?;
    if unpacked.len() > MAX_BODY_BYTES { Err(endless()) } else { Ok(unpacked) }
}

fn endless() -> Refusal {
    Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: "too_large",
        message: format!("the body has more than {MAX_BODY_BYTES} bytes"),
    }
}

/// The JSON in the `data` of a pixel: as it is, or in base64.
pub(crate) fn pixel_text(data: &str) -> Result<String, Refusal> {
    if data.trim_start().starts_with('{') {
        return Ok(data.to_owned());
    }
    // Both alphabets of base64; a plus sign in a query means a space.
    let standard: String = data
        .chars()
        .map(|c| match c {
            '-' | ' ' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    BASE64
        .decode(standard)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refusal::bad_request("invalid_data", "data is neither JSON nor JSON in base64"))
}

/// Whether there is a write key as the user name of Basic authorization. A Bearer token holds none.
fn has_key(headers: &HeaderMap) -> bool {
    let key = || {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(token.trim()))?.ok()?;
        decoded.split(|&byte| byte == b':').next().map(|key| !key.is_empty())
    };
    key().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn authorized(header: &'static str) -> bool {
        has_key(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(header))]))
    }

    #[test]
    fn the_write_key_is_the_user_name() {
        assert!(authorized("Basic YWJjMTIzOg=="));
        assert!(authorized("basic YWJjMTIz"));
        assert!(!authorized("Basic Og=="));
        assert!(!authorized("Basic ?"));
        assert!(!authorized("Bearer YWJjMTIzOg=="));
        assert!(!has_key(&HeaderMap::new()));
    }

    #[test]
    fn data_is_read_in_both_alphabets_and_without_padding() {
        assert_eq!(pixel_text(r#" {"a":1}"#).ok().as_deref(), Some(r#" {"a":1}"#));
        for data in ["eyJhIjoiPz8/fn5+In0=", "eyJhIjoiPz8/fn5+In0", "eyJhIjoiPz8_fn5-In0", "eyJhIjoiPz8/fn5 In0="] {
            assert_eq!(pixel_text(data).ok().as_deref(), Some(r#"{"a":"???~~~"}"#), "{data}");
        }
        assert!(pixel_text("%").is_err());
    }
}
