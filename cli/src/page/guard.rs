//! Who may see the page. What it shows is private: other web pages in the same browser must not reach it, neither by
//! their own name for our address nor by sending what they cannot read the answer to.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// What a browser must hold itself to. Nothing comes from elsewhere, and no text becomes markup or a program.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// What a request must bring.
pub(crate) struct Guard {
    /// Where only this machine reaches us, it must call us by a name that is this machine's.
    pub(crate) is_local: bool,
    /// Where others do, or where it was asked for, they must know this.
    pub(crate) token: Option<String>,
    /// Cookies do not tell ports apart.
    pub(crate) port: u16,
}

/// Lets only those pass who may.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(response) => *response,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

impl Guard {
    fn judge(&self, request: &Request) -> Result<(), Box<Response>> {
        let headers = request.headers();
        let host = text(headers, &header::HOST);
        if self.is_local && !is_this_machine(host) {
            return Err(refused("the page is for this machine alone: open it as http://127.0.0.1 or http://localhost"));
        }
        self.judge_token(request)?;
        // A form of another page can send, but neither with this type nor without saying where it comes from.
        if request.method() == Method::POST {
            let origin = text(headers, &header::ORIGIN);
            let is_json = text(headers, &header::CONTENT_TYPE).starts_with("application/json");
            if !is_json || !(origin.is_empty() || origin.strip_prefix("http://") == Some(host)) {
                return Err(refused("this is for the page itself"));
            }
        }
        Ok(())
    }

    fn judge_token(&self, request: &Request) -> Result<(), Box<Response>> {
        let Some(token) = &self.token else { return Ok(()) };
        let name = format!("segment_inspect_{}", self.port);
        let cookies = text(request.headers(), &header::COOKIE).split("; ").filter_map(|cookie| cookie.split_once('='));
        if cookies.into_iter().any(|(found, value)| found == name && is_same(value, token)) {
            return Ok(());
        }
        if text(request.headers(), &header::AUTHORIZATION).strip_prefix("Bearer ").is_some_and(|it| is_same(it, token))
        {
            return Ok(());
        }
        let query = request.uri().query().unwrap_or_default();
        if query.split('&').filter_map(|pair| pair.strip_prefix("token=")).any(|value| is_same(value, token)) {
            // The address without it is the one that is shown, kept and shared.
            let cookie = format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/");
            let to = [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)];
            return Err(Box::new((StatusCode::SEE_OTHER, to).into_response()));
        }
        Err(refused("the page needs its token: open the address that segment inspect printed"))
    }
}

fn refused(why: &'static str) -> Box<Response> {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Box::new((StatusCode::FORBIDDEN, kind, Body::from(why)).into_response())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a `Host` header names this machine, with any port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
}

/// Compares without telling by the time it takes how much is right.
fn is_same(given: &str, token: &str) -> bool {
    let differs = given.bytes().zip(token.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    given.len() == token.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(guard: &Guard, method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        guard.judge(&request).map_or_else(|response| response.status().as_u16(), |()| 200)
    }

    #[test]
    fn names_of_others_for_our_address_are_refused() {
        let guard = Guard { is_local: true, token: None, port: 1 };
        for (host, status) in [
            ("127.0.0.1:8765", 200),
            ("localhost:8765", 200),
            ("LOCALHOST", 200),
            ("127.0.0.2:8765", 200),
            ("10.0.0.1:8765", 403),
            ("[::1]:8765", 200),
            ("evil.test:8765", 403),
            ("127.0.0.1.evil.test", 403),
            ("localhost.evil.test:8765", 403),
            ("", 403),
        ] {
            assert_eq!(judge(&guard, "GET", "/", &[("host", host)]), status, "{host}");
        }
        assert_eq!(judge(&guard, "GET", "/", &[]), 403);
    }

    #[test]
    fn other_pages_cannot_switch() {
        let guard = Guard { is_local: true, token: None, port: 1 };
        let host = ("host", "localhost:1");
        let json = ("content-type", "application/json");
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host, json]), 200);
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host, json, ("origin", "http://localhost:1")]), 200);
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host, json, ("origin", "http://localhost:2")]), 403);
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host, json, ("origin", "null")]), 403);
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host, ("content-type", "text/plain")]), 403);
        assert_eq!(judge(&guard, "POST", "/-/fault", &[host]), 403);
    }

    #[test]
    fn a_token_is_asked_for_once() {
        let guard = Guard { is_local: false, token: Some("secret".to_owned()), port: 1 };
        let host = ("host", "box.test:1");
        assert_eq!(judge(&guard, "GET", "/", &[host]), 403);
        assert_eq!(judge(&guard, "GET", "/?token=secret", &[host]), 303);
        assert_eq!(judge(&guard, "GET", "/?token=secreT", &[host]), 403);
        assert_eq!(judge(&guard, "GET", "/", &[host, ("cookie", "a=b; segment_inspect_1=secret")]), 200);
        assert_eq!(judge(&guard, "GET", "/", &[host, ("cookie", "segment_inspect_2=secret")]), 403);
        assert_eq!(judge(&guard, "GET", "/", &[host, ("authorization", "Bearer secret")]), 200);
    }
}
