//! The caller's HTTP headers: which can be sent, and which take precedence.

use std::time::Duration;

use crate::base::error::Error;
use crate::base::time;

/// Headers that follow from the request itself. A caller that sets them could smuggle in another request.
const OURS: [&str; 5] = ["content-length", "transfer-encoding", "connection", "te", "upgrade"];

/// Set by the side that makes the body: this library, if it holds messages.
const ENCODING: &str = "content-encoding";

/// The longest pause that a server can demand.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Checks a header that is to go with every upload.
pub(crate) fn check(argument: &str, name: &str, value: &str) -> Result<(), Error> {
    check_of_call(argument, name, value)?;
    if name.eq_ignore_ascii_case(ENCODING) { Err(follows(argument, name)) } else { Ok(()) }
}

/// Checks a header of a request with a body of the caller's own.
pub(crate) fn check_of_call(argument: &str, name: &str, value: &str) -> Result<(), Error> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Error::invalid(format!("{argument}: \"{}\" is not the name of a header", name.escape_debug())));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(follows(argument, name));
    }
    // The value may be a secret and is not shown.
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(Error::invalid(format!("{argument}: the value of {name} must not hold control characters")));
    }
    Ok(())
}

fn follows(argument: &str, name: &str) -> Error {
    Error::invalid(format!("{argument}: {name} cannot be set: it follows from the request"))
}

/// Reads `Name: value`.
pub fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim_end(), value.trim()))
}

/// Adds a header unless the caller has given one of this name, in any case.
pub(crate) fn add_unless_given(headers: &mut Vec<(String, String)>, name: &str, value: impl FnOnce() -> String) {
    if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
        headers.push((name.to_owned(), value()));
    }
}

/// The pause that the value of a `Retry-After` header demands: seconds or a date, at most [`RETRY_AFTER_MAX`]. None for
/// zero, the past and what cannot be read: these are no reason to wait, and no reason to try again at once either.
pub(crate) fn parse_retry_after(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let pause = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let ahead = time::parse_http_date(value)?.saturating_sub(now_ms);
        Duration::from_millis(u64::try_from(ahead).ok()?)
    };
    Some(pause.min(RETRY_AFTER_MAX)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_header_is_named() {
        assert_eq!(check("headers", "X-Gateway", "a b\tc é"), Ok(()));
        let problem = |name, value| check("headers", name, value).expect_err("refused").to_string();
        assert_eq!(problem("", "v"), "headers: \"\" is not the name of a header");
        assert_eq!(problem("a b", "v"), "headers: \"a b\" is not the name of a header");
        assert_eq!(problem("a\r\nb", "v"), "headers: \"a\\r\\nb\" is not the name of a header");
        assert_eq!(problem("X-A", "v\r\nX-B: w"), "headers: the value of X-A must not hold control characters");
        assert_eq!(
            problem("Content-Length", "1"),
            "headers: Content-Length cannot be set: it follows from the request"
        );
    }

    #[test]
    fn the_encoding_is_set_by_the_side_that_makes_the_body() {
        assert_eq!(check_of_call("headers", "Content-Encoding", "gzip"), Ok(()));
        let problem = check("headers", "Content-Encoding", "gzip").expect_err("refused").to_string();
        assert_eq!(problem, "headers: Content-Encoding cannot be set: it follows from the request");
    }

    #[test]
    fn lines_are_split_at_the_first_colon() {
        assert_eq!(split("Authorization: Basic a:b"), Some(("Authorization", "Basic a:b")));
        assert_eq!(split("X:"), Some(("X", "")));
        assert_eq!(split("no colon"), None);
    }

    #[test]
    fn the_callers_headers_win_in_any_case() {
        let mut headers = vec![("authorization".to_owned(), "mine".to_owned())];
        add_unless_given(&mut headers, "Authorization", || "ours".to_owned());
        add_unless_given(&mut headers, "Content-Type", || "application/json".to_owned());
        let expected = [("authorization", "mine"), ("Content-Type", "application/json")];
        assert_eq!(headers, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn t22_retry_after_is_read_in_all_its_forms() {
        let now = 1_445_412_480_000; // Wed, 21 Oct 2015 07:28:00 GMT
        for (value, seconds) in [
            ("5", Some(5)),
            (" 5 ", Some(5)),
            ("999", Some(300)),
            ("9999", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("12abc", None),
            ("abc", None),
            ("", None),
            ("Wed, 21 Oct 2015 07:28:10 GMT", Some(10)),
            ("Wed, 21 Oct 2015 07:28:10 -0000", Some(10)),
            ("Wed, 21 Oct 2099 07:28:00 GMT", Some(300)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", None),
            ("Wed, 21 Oct 2014 07:28:00 GMT", None),
        ] {
            assert_eq!(parse_retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
