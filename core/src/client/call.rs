//! Single requests to Segment's HTTP APIs, made at once: the caller gets the answer.

use std::fmt;
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::more::More;
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

/// Pages are requested until there are no more, or this many.
const PAGES_MAX: usize = 100_000;

/// One of Segment's HTTP APIs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Api {
    /// The Tracking API at [`Config::endpoint`](crate::Config::endpoint), with the write key or OAuth.
    #[default]
    Tracking,
    /// The Public API at [`Config::public_endpoint`](crate::Config::public_endpoint), with the access token.
    Public,
    /// The Profile API at [`Config::profile_endpoint`](crate::Config::profile_endpoint), with the profile token.
    Profile,
}

/// A request to one of Segment's HTTP APIs. Fields may be added: a literal ends with `..Request::default()`.
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
    /// For a list of the Public API or of the Profile API, the page with this [cursor](HttpResponse::next_cursor);
    /// none: the first. It replaces a cursor in `query`.
    pub cursor: Option<&'a str>,
    /// They replace ours, in upper or lower case. `Authorization` and `Content-Type` are added if they are missing.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent as it is; usually JSON.
    pub body: &'a [u8],
    /// For the whole call. None: [`Config::timeout`](crate::Config::timeout).
    pub timeout: Option<Duration>,
    #[doc(hidden)]
    pub _more: More,
}

impl fmt::Debug for Request<'_> {
    /// Without headers and body, which may hold what must not get into a log.
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
        Request {
            api: Api::Tracking,
            method: "POST",
            path: "",
            query: None,
            cursor: None,
            headers: &[],
            body: &[],
            timeout: None,
            _more: More::default(),
        }
    }
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Client {
    /// Makes one request, on this thread. An answer with any status is returned, `429` and redirects included; nothing
    /// is tried again.
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
    /// without an answer; [`ErrorKind::Rejected`] if no OAuth token could be obtained; [`ErrorKind::OptedOut`] for the
    /// Tracking API if the user has opted out, or with [`ask_first`](crate::Config::ask_first) has not answered;
    /// [`ErrorKind::Closed`] after [`shutdown`](Client::shutdown).
    pub fn call(&self, request: &Request<'_>) -> Result<HttpResponse, Error> {
        let until = threads::now() + request.timeout.unwrap_or(self.config().timeout).min(TIME_MAX);
        let method = METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(request.method));
        let method = method.ok_or_else(|| Error::invalid("method must be GET, POST, PUT, PATCH or DELETE"))?;
        let endpoint = self.endpoint(request.api);
        let page = request.cursor.map(|cursor| with_cursor(request.api, request.query, cursor)).transpose()?;
        let url = endpoint.url(request.path, page.as_deref().or(request.query))?;
        let mut headers = Vec::with_capacity(request.headers.len() + 3);
        for (name, value) in request.headers {
            header::check_of_call("headers", name, value)?;
            headers.push(((*name).to_owned(), (*value).to_owned()));
        }
        let (process, is_tracking) = (self.process(), request.api == Api::Tracking);
        let shared = &process.shared;
        let transport = self.calls(is_tracking);
        // An opt-out in this process from now on breaks the request off, even if it has not begun yet.
        let since = transport.interruptions();
        let check = || match is_tracking {
            // What is sent to the other APIs says nothing about the user.
            false if shared.queue.is_closed() => Err(Error::new(ErrorKind::Closed, "the client was shut down")),
            false => Ok(()),
            true if shared.queue.is_unanswered() => shared.queue.check_answered(),
            true => {
                shared.refresh_identity(); // the user may have opted out in another process
                shared.queue.check_answered()
            }
        };
        check()?;
        let left = || until.saturating_duration_since(threads::now());
        if is_tracking {
            for (name, value) in &self.config().headers {
                header::add_unless_given(&mut headers, name, || value.clone());
            }
        }
        // No token is requested if the caller's own header replaces it.
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
        check()?; // getting a token may have taken long
        // It may be the host's own HTTP: a callback like any other.
        let response = shared.callbacks.mark(|| transport.exchange_since(&asked, since))?;
        if let (true, Some(value)) = (is_tracking, authorized) {
            shared.authorization.answered(response.status, &value);
        }
        Ok(response)
    }

    /// All pages of a list of the Public API or of the Profile API: repeats the request with the cursor that each
    /// answer names, until one names none. Ends after an error, and after an answer that is not a success, which is
    /// returned as the last page.
    pub fn pages<'a>(&'a self, request: &Request<'a>) -> Pages<'a> {
        let cursor = request.cursor.map(str::to_owned);
        Pages { client: self, request: *request, cursor, left: PAGES_MAX }
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
    /// The cursor of the next page; none: the first.
    cursor: Option<String>,
    /// How many more may be requested.
    left: usize,
}

impl Iterator for Pages<'_> {
    type Item = Result<HttpResponse, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let page = self.client.call(&Request { cursor: self.cursor.as_deref(), ..self.request });
        let next = page.as_ref().ok().and_then(HttpResponse::next_cursor);
        // The same cursor again would return the same page without end.
        if next.is_none() || next == self.cursor {
            self.left = 0;
        }
        self.cursor = next;
        Some(page)
    }
}

impl HttpResponse {
    /// The cursor of the next page, for [`Request::cursor`]; none if this is not a page of a list of the Public API or
    /// of the Profile API, or the last one.
    pub fn next_cursor(&self) -> Option<String> {
        if !(200..300).contains(&self.status) {
            return None;
        }
        let mut compact = Vec::new();
        scan::compact_object(std::str::from_utf8(&self.body).ok()?, &mut compact).ok()?;
        let public = member(&compact, "data").and_then(|data| member(data, "pagination"));
        let profile = || member(&compact, "cursor").filter(|cursor| member(cursor, "has_more") != Some(b"false"));
        let next = text_member(public.or_else(profile)?, "next")?;
        // A string in C cannot hold a NUL.
        Some(next).filter(|next| !next.is_empty() && !next.contains('\0'))
    }
}

/// The query with another cursor.
fn with_cursor(api: Api, query: Option<&str>, cursor: &str) -> Result<String, Error> {
    if cursor.is_empty() {
        return Err(Error::invalid("cursor must not be empty"));
    }
    let names: &[&str] = match api {
        Api::Tracking => return Err(Error::invalid("cursor is for the Public API and the Profile API")),
        Api::Public => &["pagination.cursor", "pagination[cursor]", "pagination%5Bcursor%5D"],
        Api::Profile => &["next"],
    };
    let is_cursor = |pair: &&str| names.contains(&pair.split('=').next().unwrap_or_default());
    let query = query.unwrap_or_default();
    let mut with: Vec<&str> =
        query.strip_prefix('?').unwrap_or(query).split('&').filter(|pair| !pair.is_empty()).collect();
    with.retain(|pair| !is_cursor(pair));
    let mut with = with.join("&");
    // Segment takes both spellings; the caller's is used.
    let brackets = names.len() > 1 && (with.contains("pagination[") || with.contains("pagination%5B"));
    if !with.is_empty() {
        with.push('&');
    }
    with.push_str(names[usize::from(brackets)]);
    with.push('=');
    endpoint::escape_value(cursor, &mut with);
    Ok(with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_the_last_one_says() {
        let page = |status, body: &str| HttpResponse { status, body: body.into(), ..HttpResponse::default() };
        let next = |body: &str| page(200, body).next_cursor();
        let public = r#"{"data":{"pagination":{"current":"a","next":"b=="}}}"#;
        assert_eq!(next(public).as_deref(), Some("b=="));
        assert_eq!(page(429, public).next_cursor(), None, "no success, no page");
        for (body, cursor) in [
            (r#"{"traits":{"a":1},"cursor":{"url":"/v1/","has_more":true,"next":"browser","limit":10}}"#, "browser"),
            (r#"{"data":[{"id":"i"}],"cursor":{"has_more":true,"next":"map_0v"}}"#, "map_0v"),
            // Of several members of one name the last counts; white space and escapes make no difference.
            ("{\n\"data\" :\t{ \"pagination\" : {\r\"next\" : \"a b\" } , \"n\" : [ ] } } \n", "a b"),
            (r#"{"data":{"pagination":{"next":"x","next":"y"}}}"#, "y"),
            (r#"{"d\u0061ta":{"pagination":{"\u006Eext":"\"\\\/\ud83d\ude00ü"}}}"#, "\"\\/😀ü"),
            (
                r#"{"data":{"name":"\"pagination\":{\"next\":\"x\"}}","pagination":{"next":"y"},"l":[{"next":"z"}]}}"#,
                "y",
            ),
        ] {
            assert_eq!(next(body).as_deref(), Some(cursor), "{body}");
        }
        for end in [
            r#"{"data":{"pagination":{"current":"a"}}}"#,
            r#"{"data":{"pagination":{"next":null}}}"#,
            r#"{"data":{"pagination":{"next":1}}}"#,
            r#"{"data":{"pagination":{"next":""}}}"#,
            r#"{"data":{"pagination":{"next":{"next":"x"}}}}"#,
            r#"{"data":{"pagination":{"next":"a\u0000b"}}}"#,
            r#"{"data":{"pagination":{"previous":{"next":"x"}}}}"#,
            r#"{"data":{"pagination":["next","x",{"next":"x"}]}}"#,
            r#"{"data":[{"pagination":{"next":"x"}}],"more":{"data":{"pagination":{"next":"x"}}}}"#,
            r#"{"next":"x","pagination":{"next":"x"},"data":{"next":"x"}}"#,
            r#"{"data":{"pagination":{"next":"x","next":null}}}"#,
            r#"{"data":{"pagination":{"next":"x"}},"data":1}"#,
            r#"{"data":{"pagination":{"next":"x"}}"#,
            r#"{"data":{"pagination":{"next":"x"}}}}"#,
            r#"{"traits":{},"cursor":{"has_more":false,"next":"x"}}"#,
            r#"{"traits":{},"cursor":{"has_more":false,"next":""}}"#,
            r#"{"traits":{},"cursor":"x"}"#,
            r#"[{"data":{"pagination":{"next":"x"}}}]"#,
            "{}",
            "<html>",
            "",
        ] {
            assert_eq!(next(end), None, "{end}");
        }
    }

    #[test]
    fn a_cursor_replaces_another() {
        let public = |query, cursor| with_cursor(Api::Public, query, cursor).expect("taken");
        assert_eq!(public(None, "a="), "pagination.cursor=a%3D");
        assert_eq!(
            public(
                Some("?pagination.count=2&pagination.cursor=x&&next=1&pagination[cursor]=y&pagination%5Bcursor%5D"),
                "b"
            ),
            "pagination.count=2&next=1&pagination.cursor=b"
        );
        assert_eq!(public(Some("pagination[count]=2"), "b"), "pagination[count]=2&pagination[cursor]=b");
        let profile = |query, cursor| with_cursor(Api::Profile, query, cursor).expect("taken");
        assert_eq!(
            profile(Some("limit=2&next=a&pagination[count]=2"), "ü&"),
            "limit=2&pagination[count]=2&next=%C3%BC%26"
        );
        let refused = |api, cursor| with_cursor(api, None, cursor).expect_err("refused").to_string();
        assert_eq!(refused(Api::Public, ""), "cursor must not be empty");
        assert_eq!(refused(Api::Tracking, "a"), "cursor is for the Public API and the Profile API");
    }
}
