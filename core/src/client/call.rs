//! One request to one of Segment's HTTP APIs, now: the answer is the caller's.

use std::fmt;
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::threads;
use crate::client::client::Client;
use crate::client::config::TIME_MAX;
use crate::json::scan;
use crate::json::scan::{member, text_member};
use crate::net::authorization::basic;
use crate::net::endpoint::{self, Endpoint};
use crate::net::header;
use crate::net::transport::{HttpRequest, HttpResponse, find};

/// A larger answer is an error.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Pages are asked for until there are no more, or so many.
const PAGES_MAX: usize = 100_000;

/// One of Segment's HTTP APIs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    /// The Tracking API at [`Config::endpoint`](crate::Config::endpoint), with the write key or OAuth.
    #[default]
    Tracking,
    /// The Public API at [`Config::public_endpoint`](crate::Config::public_endpoint), with the access token.
    Public,
    /// The Profile API at [`Config::profile_endpoint`](crate::Config::profile_endpoint), with the profile token.
    Profile,
}

/// A request to one of Segment's HTTP APIs.
///
/// ```
/// use segment_native::{Api, Request};
///
/// let request = Request { api: Api::Public, method: "GET", path: "/sources", ..Request::default() };
/// ```
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Which API.
    pub api: Api,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'a str,
    /// Relative to the API: `/v1/group/`.
    pub path: &'a str,
    /// `a=1&b=2`
    pub query: Option<&'a str>,
    /// They win over ours, in whatever case they are written. `Authorization` and `Content-Type` are added.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent as it is; usually JSON.
    pub body: &'a [u8],
    /// For everything: [`Config::timeout`](crate::Config::timeout).
    pub timeout: Option<Duration>,
}

impl fmt::Debug for Request<'_> {
    /// Without headers and body, which may hold what has no business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { api, method, path, query, .. } = self;
        f.debug_struct("Request")
            .field("api", api)
            .field("method", method)
            .field("path", path)
            .field("query", query)
            .finish_non_exhaustive()
    }
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request { api: Api::Tracking, method: "POST", path: "", query: None, headers: &[], body: &[], timeout: None }
    }
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Client {
    /// Makes one request, on this thread. Whatever the status, an answer is an answer, `429` and redirects included;
    /// nothing is tried again.
    ///
    /// ```no_run
    /// use segment_native::{Client, Config, Request};
    ///
    /// let client = Client::new(Config::new("WRITE_KEY"))?;
    /// let body = br#"{"userId":"u-42","groupId":"g-7"}"#;
    /// let answer = client.call(&Request { path: "/v1/group/", body, ..Request::default() })?;
    /// assert_eq!(answer.status, 200);
    /// # Ok::<(), segment_native::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a request that cannot be made; [`ErrorKind::Network`] or [`ErrorKind::Timeout`]
    /// without an answer; [`ErrorKind::Rejected`] if no OAuth token could be had; [`ErrorKind::OptedOut`] for the
    /// Tracking API if the user has opted out; [`ErrorKind::Closed`] after [`shutdown`](Client::shutdown).
    pub fn call(&self, request: &Request<'_>) -> Result<HttpResponse, Error> {
        let until = threads::now() + request.timeout.unwrap_or(self.config().timeout).min(TIME_MAX);
        let method = METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(request.method));
        let method = method.ok_or_else(|| Error::invalid("method must be GET, POST, PUT, PATCH or DELETE"))?;
        let endpoint = self.endpoint(request.api);
        let url = endpoint.url(request.path, request.query)?;
        let mut headers = Vec::with_capacity(request.headers.len() + 3);
        for (name, value) in request.headers {
            header::check_of_call("headers", name, value)?;
            headers.push(((*name).to_owned(), (*value).to_owned()));
        }
        let (half, is_tracking) = (self.half(), request.api == Api::Tracking);
        let shared = &half.shared;
        let transport = self.calls(is_tracking);
        // Who opts out here from now on breaks the request off, even if it has not begun yet.
        let since = transport.interruptions();
        let check = || match is_tracking {
            // What is sent to the other APIs says nothing of the user.
            false if shared.queue.is_closed() => Err(Error::new(ErrorKind::Closed, "the client was shut down")),
            false => Ok(()),
            true => {
                shared.refresh_identity(); // the user may have opted out in another process
                shared.queue.check_open()
            }
        };
        check()?;
        let left = || until.saturating_duration_since(threads::now());
        if is_tracking {
            for (name, value) in &self.config().headers {
                header::add_unless_given(&mut headers, name, || value.clone());
            }
        }
        // Nobody is asked for a token that the caller's own header replaces.
        let mut authorized = None;
        if find(&headers, "authorization").is_none() {
            let value = match request.api {
                Api::Tracking => {
                    let value = shared.callbacks.mark(|| shared.authorization.value(transport, left()));
                    value.map_err(|denied| denied.error)?
                }
                Api::Public => format!("Bearer {}", required("access_token", self.config().access_token.as_deref())?),
                Api::Profile => basic(required("profile_token", self.config().profile_token.as_deref())?),
            };
            headers.push(("authorization".to_owned(), value.clone()));
            authorized = Some(value);
        }
        if !request.body.is_empty() {
            header::add_unless_given(&mut headers, "content-type", || "application/json".to_owned());
        }
        let asked = HttpRequest {
            method,
            url: &url,
            headers: &headers,
            body: request.body,
            timeout: left(),
            answer_max_bytes: ANSWER_MAX_BYTES,
            status_will_do: false,
        };
        check()?; // a token may have been long in coming
        // It may be the host's own HTTP: a callback like any other.
        let response = shared.callbacks.mark(|| transport.exchange_since(&asked, since))?;
        if let (true, Some(value)) = (is_tracking, authorized) {
            shared.authorization.answered(response.status, &value);
        }
        Ok(response)
    }

    /// All pages of a list of the Public API: the request again and again, with the cursor that each answer names,
    /// until one names none. Ends after an error, and after an answer that is no success: it is the last page.
    pub fn pages<'a>(&'a self, request: &Request<'a>) -> Pages<'a> {
        Pages { client: self, request: *request, cursor: Cursor::First, left: PAGES_MAX }
    }

    fn endpoint(&self, api: Api) -> &Endpoint {
        match api {
            Api::Tracking => &self.prepared().tracking,
            Api::Public => &self.prepared().public,
            Api::Profile => &self.prepared().profile,
        }
    }
}

fn required<'a>(name: &str, token: Option<&'a str>) -> Result<&'a str, Error> {
    token.ok_or_else(|| Error::invalid(format!("{name} must be given to call this API")))
}

/// The pages of a list: see [`Client::pages`].
#[derive(Debug)]
pub struct Pages<'a> {
    client: &'a Client,
    request: Request<'a>,
    cursor: Cursor,
    left: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cursor {
    First,
    At(String),
    End,
}

impl Iterator for Pages<'_> {
    type Item = Result<HttpResponse, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let query = match &self.cursor {
            Cursor::First => self.request.query.map(str::to_owned),
            Cursor::At(cursor) => Some(with_cursor(self.request.query, cursor)),
            Cursor::End => return None,
        };
        let before = std::mem::replace(&mut self.cursor, Cursor::End);
        let page = self.client.call(&Request { query: query.as_deref(), ..self.request });
        self.left -= 1;
        if let Ok(page) = &page
            && (200..300).contains(&page.status)
            && self.left > 0
            && let Some(next) = next_cursor(&page.body)
            // The same cursor again would be the same page, for ever.
            && before != Cursor::At(next.clone())
        {
            self.cursor = Cursor::At(next);
        }
        Some(page)
    }
}

/// The cursor of the next page, from `data.pagination.next`.
fn next_cursor(body: &[u8]) -> Option<String> {
    let mut compact = Vec::new();
    scan::compact_object(std::str::from_utf8(body).ok()?, &mut compact).ok()?;
    let next = text_member(member(member(&compact, "data")?, "pagination")?, "next")?;
    Some(next).filter(|next| !next.is_empty())
}

/// The query with another cursor.
fn with_cursor(query: Option<&str>, cursor: &str) -> String {
    let is_cursor = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        matches!(name, "pagination[cursor]" | "pagination.cursor" | "pagination%5Bcursor%5D")
    };
    let mut with: Vec<&str> = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    with.retain(|pair| !is_cursor(pair));
    let mut with = with.join("&");
    if !with.is_empty() {
        with.push('&');
    }
    // Both ways are Segment's; the caller's is taken.
    let brackets = with.contains("pagination[") || with.contains("pagination%5B");
    with.push_str(if brackets { "pagination[cursor]=" } else { "pagination.cursor=" });
    endpoint::escape_value(cursor, &mut with);
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_the_last_one_says() {
        let next = |body: &str| next_cursor(body.as_bytes());
        assert_eq!(next(r#"{"data":{"pagination":{"current":"a","next":"b=="}}}"#).as_deref(), Some("b=="));
        for end in [
            r#"{"data":{"pagination":{"current":"a"}}}"#,
            r#"{"data":{"pagination":{"next":null}}}"#,
            "[]",
            "{}",
            "<html>",
        ] {
            assert_eq!(next(end), None, "{end}");
        }
    }

    #[test]
    fn a_cursor_takes_the_place_of_another() {
        assert_eq!(with_cursor(None, "a="), "pagination.cursor=a%3D");
        assert_eq!(
            with_cursor(Some("pagination.count=2&pagination[cursor]=x&q=1"), "b"),
            "pagination.count=2&q=1&pagination.cursor=b"
        );
        assert_eq!(with_cursor(Some("pagination[count]=2"), "b"), "pagination[count]=2&pagination[cursor]=b");
    }
}
