//! URLs: of Segment's three APIs, of hosts of your own in their place, and of requests below them.

use http::Uri;
use http::uri::Authority;

use crate::base::error::Error;

/// Segment's Tracking API in the United States.
pub const US_ENDPOINT: &str = "https://api.segment.io";
/// Segment's Tracking API in the European Union; `"eu"` is short for it.
pub const EU_ENDPOINT: &str = "https://events.eu1.segmentapis.com";

/// The hosts of one region. Below https://www.twilio.com/docs/segment/ they are in guides/regional-segment,
/// connections/oauth, api/public-api and unify/profile-api.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) tracking: &'static str,
    pub(crate) public: &'static str,
    pub(crate) profile: &'static str,
    pub(crate) oauth: &'static str,
}

const US: Region = Region {
    tracking: US_ENDPOINT,
    public: "https://api.segmentapis.com",
    profile: "https://profiles.segment.com",
    oauth: "https://oauth2.segment.io",
};

const EU: Region = Region {
    tracking: EU_ENDPOINT,
    public: "https://eu1.api.segmentapis.com",
    profile: "https://profiles.euw1.segment.com",
    oauth: "https://oauth2.eu1.segmentapis.com",
};

impl Region {
    /// The region of an endpoint of the Tracking API; for a host of your own, where it cannot be known, the United
    /// States.
    pub(crate) fn of(endpoint: &str) -> Region {
        let is_eu = is_eu(endpoint) || endpoint.get(..EU_ENDPOINT.len()).is_some_and(|e| e == EU_ENDPOINT);
        if is_eu { EU } else { US }
    }
}

fn is_eu(endpoint: &str) -> bool {
    endpoint.eq_ignore_ascii_case("eu")
}

/// Where an API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://api.segment.io`, perhaps with a path in front of the API's own.
    base: String,
    /// The whole URL of batches, where that is not `/v1/batch` below the base.
    batch: Option<String>,
}

impl Endpoint {
    /// Reads the setting `name` for the Tracking API: what [`read`](Endpoint::read) takes, or the whole URL of batches,
    /// recognised by a path that ends in `/batch` or `/b`, which may have a query. The base is the URL without that
    /// last part.
    pub(crate) fn tracking(name: &str, text: &str) -> Result<Self, Error> {
        let read = |text| Endpoint::read(name, text, US_ENDPOINT, EU_ENDPOINT);
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
        let Some(above) = above_batch(url) else {
            return read(text).map_err(|error| match query {
                "" => error,
                _ => Error::invalid(format!("{error}, unless its path ends in /batch or /b")),
            });
        };
        let mut endpoint = read(above)?;
        let mut whole = url.trim_end_matches('/').to_owned();
        if !query.is_empty() {
            whole.extend(["?", query]);
        }
        if whole.contains('#') {
            return Err(Error::invalid(format!("{name} must not hold a fragment")));
        }
        if whole.parse::<Uri>().is_err() {
            return Err(Error::invalid(format!("{name} must be a URL like https://api.segment.io")));
        }
        endpoint.batch = Some(whole).filter(|whole| *whole != endpoint.batch());
        Ok(endpoint)
    }

    /// Reads the setting `name`: a URL, with or without a `/` or `/v1` at its end; `"eu"` for the host in the EU; empty
    /// for the `usual` one.
    pub(crate) fn read(name: &str, text: &str, usual: &str, eu: &str) -> Result<Self, Error> {
        let text = match text {
            "" => usual,
            text if is_eu(text) => eu,
            text => text,
        };
        let problem = match text.parse::<Uri>() {
            Err(_) => "must be a URL like https://api.segment.io",
            Ok(url) => match (url.scheme_str(), url.authority()) {
                (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                    "must not hold a user name or password"
                }
                (Some("http" | "https"), Some(authority)) if authority.host().is_empty() => "must name a host",
                (Some("http" | "https"), Some(authority)) if !has_no_wrong_port(authority) => {
                    "must have a port between 1 and 65535, or none"
                }
                (Some("http" | "https"), Some(_)) if url.query().is_some() || text.contains('#') => {
                    "must not hold a query or a fragment"
                }
                (Some("http" | "https"), Some(_)) => {
                    let base = text.strip_suffix('/').unwrap_or(text);
                    let base = base.strip_suffix("/v1").unwrap_or(base).to_owned();
                    return Ok(Endpoint { base, batch: None });
                }
                _ => "must begin with https:// or http://",
            },
        };
        Err(Error::invalid(format!("{name} {problem}")))
    }

    /// Where batches go.
    pub(crate) fn batch(&self) -> String {
        self.batch.clone().unwrap_or_else(|| format!("{}/v1/batch", self.base))
    }

    /// The same text for all spellings of one place: the case of scheme and host makes no difference, nor does a
    /// default port.
    pub(crate) fn identity(&self) -> String {
        let text = self.batch.as_ref().unwrap_or(&self.base);
        let Ok(url) = text.parse::<Uri>() else { return text.clone() };
        let scheme = url.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = url.port_u16().filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        let host = url.host().unwrap_or_default().to_ascii_lowercase();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}{query}", url.path().trim_end_matches('/'))
    }

    /// The base as text, without a `/` at its end.
    #[cfg(feature = "oauth")]
    pub(crate) fn as_str(&self) -> &str {
        &self.base
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
    }

    fn has_path(&self) -> bool {
        self.base.splitn(4, '/').nth(3).is_some()
    }

    /// The URL of `path` with `query`. A whole URL is accepted only if it leads to this endpoint, because the request
    /// carries the credentials.
    pub(crate) fn url(&self, path: &str, query: Option<&str>) -> Result<String, Error> {
        let own = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?']);
        let path = match path.strip_prefix(self.base.as_str()).filter(own) {
            Some(rest) => rest,
            None if names_a_host(path) => {
                return Err(Error::invalid("path must be relative to the API, or a URL on its host"));
            }
            None => path,
        };
        if path.contains('#') || query.is_some_and(|query| query.contains('#')) {
            let name = if path.contains('#') { "path" } else { "query" };
            return Err(Error::invalid(format!("{name} must not hold a #; write %23")));
        }
        let mut url = self.base.clone();
        // A query alone goes to the endpoint itself, which may be nothing but a host.
        let is_query = path.starts_with('?') && self.has_path();
        if !path.starts_with('/') && !is_query {
            url.push('/');
        }
        escape("path", path, &mut url)?;
        if let Some(query) = query.map(|query| query.strip_prefix('?').unwrap_or(query)).filter(|q| !q.is_empty()) {
            url.push(if path.contains('?') { '&' } else { '?' });
            escape("query", query, &mut url)?;
        }
        Ok(url)
    }
}

/// What is left of a URL without query above a last part `/batch` or `/b`; none if it ends in neither. A `/` at the end
/// does not count.
fn above_batch(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let path = host + url[host..].find('/')?;
    let whole = url.trim_end_matches('/');
    let above = whole.strip_suffix("/batch").or_else(|| whole.strip_suffix("/b"))?;
    Some(above).filter(|above| above.len() >= path)
}

/// Whether the port, if one is given, is valid. Otherwise the default port would be used, and the request sent to a
/// server that it is not meant for.
pub(crate) fn has_no_wrong_port(authority: &Authority) -> bool {
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    match host_and_port.strip_prefix(authority.host()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(is_port),
        None => false,
    }
}

/// Whether a path is the beginning of a URL, with a scheme or without.
fn names_a_host(path: &str) -> bool {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    path.starts_with("//") || path.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// Appends a part of a URL. Characters that a URL cannot hold are escaped; existing escapes stay as they are.
fn escape(name: &str, part: &str, url: &mut String) -> Result<(), Error> {
    if part.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::invalid(format!("{name} must not hold control characters")));
    }
    for byte in part.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => percent(byte, url),
            byte => url.push(char::from(byte)),
        }
    }
    Ok(())
}

/// Appends a value to a URL's query, fully escaped.
pub(crate) fn escape_value(value: &str, url: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            byte => percent(byte, url),
        }
    }
}

fn percent(byte: u8, url: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    url.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: &str) -> Result<Endpoint, Error> {
        Endpoint::tracking("endpoint", endpoint)
    }

    #[test]
    fn an_endpoint_may_be_written_in_many_ways() {
        for (endpoint, url) in [
            ("", "https://api.segment.io/v1/batch"),
            ("https://api.segment.io", "https://api.segment.io/v1/batch"),
            ("https://api.segment.io/", "https://api.segment.io/v1/batch"),
            ("https://api.segment.io/v1", "https://api.segment.io/v1/batch"),
            ("https://api.segment.io/v1/", "https://api.segment.io/v1/batch"),
            ("http://127.0.0.1:8765", "http://127.0.0.1:8765/v1/batch"),
            ("https://example.com/proxy/segment", "https://example.com/proxy/segment/v1/batch"),
            ("eu", "https://events.eu1.segmentapis.com/v1/batch"),
            ("EU", "https://events.eu1.segmentapis.com/v1/batch"),
        ] {
            assert_eq!(read(endpoint).map(|endpoint| endpoint.batch()).as_deref(), Ok(url));
        }
    }

    #[test]
    fn an_invalid_endpoint_is_named() {
        let refused = |endpoint: &str| read(endpoint).expect_err("refused").to_string();
        assert_eq!(refused("api.segment.io"), "endpoint must begin with https:// or http://");
        assert_eq!(refused("ftp://api.segment.io"), "endpoint must begin with https:// or http://");
        assert_eq!(refused("https://me:pw@host"), "endpoint must not hold a user name or password");
        let no_query = "endpoint must not hold a query or a fragment, unless its path ends in /batch or /b";
        for url in ["https://host/?a=1", "https://host?/batch", "https://host/batches?a", "https://batch?a=1"] {
            assert_eq!(refused(url), no_query, "{url}");
        }
        assert_eq!(refused("https://host/batch#a"), "endpoint must not hold a query or a fragment");
        assert_eq!(refused("https://host/batch?a#b"), "endpoint must not hold a fragment");
        assert_eq!(refused("https://me:pw@host/batch?a=1"), "endpoint must not hold a user name or password");
        assert_eq!(refused("https://host:99999/b"), "endpoint must have a port between 1 and 65535, or none");
        assert_eq!(refused("https:///batch"), "endpoint must be a URL like https://api.segment.io");
        assert_eq!(refused("ftp://host/batch"), "endpoint must begin with https:// or http://");
        assert_eq!(refused("/batch"), "endpoint must begin with https:// or http://");
        for query in ["a b", "a\r\nHost: evil"] {
            assert_eq!(
                refused(&format!("https://host/b?{query}")),
                "endpoint must be a URL like https://api.segment.io"
            );
        }
        assert_eq!(refused("https://host/#a"), "endpoint must not hold a query or a fragment");
        for port in ["", "0", "00", "8080x", "x", "99999", "65536", "+80", "-1", "8o"] {
            for host in ["127.0.0.1", "[::1]", "api.segment.io"] {
                let expected = "endpoint must have a port between 1 and 65535, or none";
                assert_eq!(refused(&format!("http://{host}:{port}")), expected);
                assert_eq!(refused(&format!("https://{host}:{port}/v1")), expected);
            }
        }
        for url in ["http://[::1]", "http://[::1]:1/", "https://host:65535/v1", "https://host:0443"] {
            assert!(read(url).is_ok(), "{url}");
        }
        assert_eq!(refused("https://a b"), "endpoint must be a URL like https://api.segment.io");
    }

    #[test]
    fn an_endpoint_may_be_the_whole_url_of_batches() {
        for (endpoint, batch, base) in [
            ("https://host/batch", "https://host/batch", "https://host"),
            ("https://host/b/", "https://host/b", "https://host"),
            ("https://host/v1/batch", "https://host/v1/batch", "https://host"),
            ("https://host/v1/batch//", "https://host/v1/batch", "https://host"),
            ("https://host/v1/b", "https://host/v1/b", "https://host"),
            ("https://host/v1/b/?k=v", "https://host/v1/b?k=v", "https://host"),
            ("https://host/v1/batch?", "https://host/v1/batch", "https://host"),
            ("https://host/v1/batch?k=/v1/", "https://host/v1/batch?k=/v1/", "https://host"),
            ("https://host:8/x/v1/b", "https://host:8/x/v1/b", "https://host:8/x"),
            ("https://host/batch/b", "https://host/batch/b", "https://host/batch"),
            (
                "http://[::1]:8/api/public/apps/batch",
                "http://[::1]:8/api/public/apps/batch",
                "http://[::1]:8/api/public/apps",
            ),
            // None of these is a batch URL, which has a path of its own.
            ("https://batch", "https://batch/v1/batch", "https://batch"),
            ("https://b/", "https://b/v1/batch", "https://b"),
            ("https://host/batches", "https://host/batches/v1/batch", "https://host/batches"),
            ("https://host/b/v1", "https://host/b/v1/batch", "https://host/b"),
            ("https://host/Batch", "https://host/Batch/v1/batch", "https://host/Batch"),
        ] {
            let read = read(endpoint).expect(endpoint);
            assert_eq!(read.batch(), batch, "{endpoint}");
            assert_eq!(read.url("/v1/track", None).as_deref(), Ok(format!("{base}/v1/track").as_str()), "{endpoint}");
        }
    }

    #[test]
    fn urls_that_mean_the_same_place_are_one_queue() {
        let identity = |endpoint: &str| read(endpoint).expect(endpoint).identity();
        // Queues that are on disks already are found by these.
        assert_eq!(identity(""), "https://api.segment.io");
        assert_eq!(identity("eu"), "https://events.eu1.segmentapis.com");
        assert_eq!(identity("HTTP://LocalHost:80/x/v1/"), "http://localhost/x");
        for same in ["https://h", "https://H:443/", "https://h/v1", "https://h/v1/batch", "https://h/v1/batch/"] {
            assert_eq!(identity(same), "https://h", "{same}");
        }
        for (endpoint, same) in [
            ("https://h/batch", "HTTPS://H:443/batch/"),
            ("https://h/v1/b", "https://h/v1/b/"),
            ("https://h/v1/b?k=v", "https://H/v1/b/?k=v"),
        ] {
            assert_eq!(identity(endpoint), endpoint);
            assert_eq!(identity(same), endpoint);
        }
        for other in ["https://h/v1/b?k=V", "https://h/b", "https://h/v1/batch?k=v", "https://h/V1/batch"] {
            assert_eq!(identity(other), other);
        }
    }

    #[test]
    fn a_region_is_known_by_its_endpoint() {
        for eu in ["eu", "EU", EU_ENDPOINT, "https://events.eu1.segmentapis.com/v1/b"] {
            assert_eq!(Region::of(eu), EU);
        }
        for us in ["", US_ENDPOINT, "https://gateway.example.com"] {
            assert_eq!(Region::of(us), US);
        }
    }

    #[test]
    fn a_path_is_put_below_the_endpoint() {
        let endpoint = read("https://host/prefix/v1").expect("a URL");
        let url = |path, query| endpoint.url(path, query).expect("a path");
        assert_eq!(url("/v1/group/", None), "https://host/prefix/v1/group/");
        assert_eq!(url("v1/group", Some("")), "https://host/prefix/v1/group");
        assert_eq!(
            url("/sources", Some("pagination[count]=2&a=b c")),
            "https://host/prefix/sources?pagination[count]=2&a=b%20c"
        );
        assert_eq!(url("/echo?message=hi", Some("?delay=1")), "https://host/prefix/echo?message=hi&delay=1");
        assert_eq!(url("/p/email:a%2Bb@c.d/traits", None), "https://host/prefix/p/email:a%2Bb@c.d/traits");
        assert_eq!(url("/é", Some("ü=\"")), "https://host/prefix/%C3%A9?%C3%BC=%22");
        assert_eq!(url("https://host/prefix/v1/x", None), "https://host/prefix/v1/x");
        assert_eq!(url("", None), "https://host/prefix/");
        assert_eq!(url("?a=1", Some("b=2")), "https://host/prefix?a=1&b=2");
        assert_eq!(url("/x?to=https://other/", None), "https://host/prefix/x?to=https://other/");
        assert_eq!(url("x?to=https://other/", None), "https://host/prefix/x?to=https://other/");
        assert_eq!(url("@evil.example", None), "https://host/prefix/@evil.example");
    }

    #[test]
    fn a_query_alone_goes_to_the_root() {
        let endpoint = read("http://host:80").expect("a URL");
        assert_eq!(endpoint.url("?a=1", None).as_deref(), Ok("http://host:80/?a=1"));
        assert_eq!(endpoint.url("http://host:80?a=1", None).as_deref(), Ok("http://host:80/?a=1"));
        assert_eq!(endpoint.url("http://host:80", None).as_deref(), Ok("http://host:80/"));
    }

    #[test]
    fn a_path_to_another_host_is_refused() {
        let endpoint = read("https://host").expect("a URL");
        for path in [
            "https://evil.example/",
            "https://host.evil.example/",
            "http://host/",
            "//evil.example/",
            "https://host@evil.example/",
        ] {
            let error = endpoint.url(path, None).expect_err(path);
            assert_eq!(error.message(), "path must be relative to the API, or a URL on its host");
        }
        let problem = |path, query| endpoint.url(path, query).expect_err("refused").to_string();
        assert_eq!(problem("/a\r\nHost: evil", None), "path must not hold control characters");
        assert_eq!(problem("/a", Some("b\n")), "query must not hold control characters");
        assert_eq!(problem("/a#b", None), "path must not hold a #; write %23");
        assert_eq!(problem("/a", Some("#b")), "query must not hold a #; write %23");
    }

    #[test]
    fn values_are_escaped_fully() {
        let mut url = String::new();
        escape_value("a b&c=ü/+", &mut url);
        assert_eq!(url, "a%20b%26c%3D%C3%BC%2F%2B");
    }
}
