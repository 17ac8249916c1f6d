//! Single requests against a real server: what arrives, what comes back, and what is never sent.

use std::time::{Duration, Instant};

use crate::patience::{NEVER, patience, wait_until};
use crate::server::{Reading, Reply, Server, nobody};
use segment_native::{Api, Client, Config, Error, ErrorKind, HttpResponse, Request};

const MIB: usize = 1 << 20;

fn config(server: &Server) -> Config {
    Config {
        endpoint: server.url(),
        public_endpoint: server.url(),
        profile_endpoint: server.url(),
        access_token: Some("public".to_owned()),
        profile_token: Some("profile".to_owned()),
        flush_interval: NEVER,
        timeout: NEVER,
        ..Config::new("WRITE_KEY")
    }
}

fn client(server: &Server) -> Client {
    Client::new(config(server)).expect("good settings")
}

fn get(path: &str) -> Request<'_> {
    Request { method: "GET", path, ..Request::default() }
}

fn kind(result: &Result<HttpResponse, Error>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}

/// An answer whose body need not be text.
fn answer(status: u16, body: &[u8]) -> Reply {
    let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n", body.len());
    Reply::Raw([head.as_bytes(), body].concat())
}

#[test]
fn every_method_arrives_with_and_without_a_body() {
    let server = Server::good();
    let client = client(&server);
    for (n, method) in ["GET", "POST", "PUT", "PATCH", "DELETE", "get", "Delete"].into_iter().enumerate() {
        for (m, body) in [b"".as_slice(), b"\0{\xff}\r\n\r\n\0"].into_iter().enumerate() {
            client.call(&Request { method, path: "/v1/x", body, ..Request::default() }).expect("an answer");
            let requests = server.requests();
            assert_eq!(requests.len(), 2 * n + m + 1, "{method}");
            let request = &requests[2 * n + m];
            assert_eq!(request.line, format!("{} /v1/x HTTP/1.1", method.to_uppercase()));
            assert_eq!(request.raw, body);
            assert_eq!(request.all_headers("content-type").len(), m, "a type for a body only");
            assert_eq!(request.header("content-encoding"), None);
            assert_eq!(request.all_headers("transfer-encoding"), Vec::<&str>::new());
            assert!(request.all_headers("content-length").len() <= 1);
        }
    }
    assert_eq!(server.connections(), 1, "it is kept");
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.requests), (0, 0), "they count messages");
}

#[test]
fn each_api_has_its_own_credentials() {
    let server = Server::good();
    let client = client(&server);
    for (api, value) in [
        (Api::Tracking, "Basic V1JJVEVfS0VZOg=="),
        (Api::Public, "Bearer public"),
        (Api::Profile, "Basic cHJvZmlsZTo="),
    ] {
        client.call(&Request { api, ..get("/x") }).expect("an answer");
        assert_eq!(server.requests().pop().expect("one").all_headers("authorization"), [value]);
    }
    let config = Config { access_token: None, profile_token: None, ..config(&server) };
    let client = Client::new(config).expect("good settings");
    for (api, name) in [(Api::Public, "access_token"), (Api::Profile, "profile_token")] {
        let error = client.call(&Request { api, ..get("/x") }).expect_err("no credentials");
        assert_eq!(error.message(), format!("{name} must be given to call this API"));
        // A header of the caller's own replaces the credentials.
        client.call(&Request { api, headers: &[("AUTHORIZATION", "mine")], ..get("/x") }).expect("an answer");
    }
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn the_callers_headers_win_in_any_case() {
    let server = Server::good();
    let client = client(&server);
    let headers = [
        ("aUtHoRiZaTiOn", "Basic bWluZTo="),
        ("CONTENT-TYPE", "text/plain; é"),
        ("User-agent", "mine/1"),
        ("accept", "text/csv"),
        ("Content-Encoding", "br"),
        ("X-Twice", "1"),
        ("x-twice", "2"),
        ("X-Empty", ""),
    ];
    client.call(&Request { path: "/x", headers: &headers, body: b"x", ..Request::default() }).expect("an answer");
    let request = server.requests().pop().expect("one");
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("x-twice")) {
        assert_eq!(request.all_headers(name), [*value], "{name}");
    }
    assert_eq!(request.all_headers("X-Twice"), ["1", "2"]);
}

#[test]
fn a_gateways_headers_go_to_the_tracking_api_only() {
    let server = Server::good();
    let headers = [("X-Gateway", "secret"), ("Authorization", "Gateway 1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let client = Client::new(Config { headers, ..config(&server) }).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    for api in [Api::Tracking, Api::Public, Api::Profile] {
        client.call(&Request { api, ..get("/x") }).expect("an answer");
    }
    client.call(&Request { headers: &[("x-GATEWAY", "mine")], ..get("/x") }).expect("an answer");
    let requests = server.requests();
    let seen: Vec<_> = requests.iter().map(|r| (r.all_headers("x-gateway"), r.all_headers("authorization"))).collect();
    assert_eq!(
        seen,
        [
            (vec!["secret"], vec!["Gateway 1"]),
            (vec!["secret"], vec!["Gateway 1"]),
            (vec![], vec!["Bearer public"]),
            (vec![], vec!["Basic cHJvZmlsZTo="]),
            (vec!["mine"], vec!["Gateway 1"]),
        ]
    );
}

#[test]
fn paths_and_queries_arrive_escaped() {
    let server = Server::good();
    let client = client(&server);
    let whole = format!("{}/v1/x?a=1", server.url());
    let bare = format!("{}?a=1", server.url());
    for (path, query, target) in [
        ("/v1/x", Some("a=b c&d=é\"<>`{|}^\\&e=[1]'"), "/v1/x?a=b%20c&d=%C3%A9%22%3C%3E%60%7B%7C%7D%5E%5C&e=[1]'"),
        ("/v1/x/", Some("?a=%20+b"), "/v1/x/?a=%20+b"),
        ("v1/ü x", None, "/v1/%C3%BC%20x"),
        ("/p/user_id:a%2Bb@c.d/[traits]", Some(""), "/p/user_id:a%2Bb@c.d/[traits]"),
        ("/x?a=1", Some("b=2"), "/x?a=1&b=2"),
        ("?a=1", None, "/?a=1"),
        ("", None, "/"),
        ("/../../x//y", None, "/../../x//y"),
        (&whole, Some("b=2"), "/v1/x?a=1&b=2"),
        (&bare, None, "/?a=1"),
        ("/x?to=https://evil.example/", None, "/x?to=https://evil.example/"),
    ] {
        client.call(&Request { query, ..get(path) }).expect("an answer");
        assert_eq!(server.requests().pop().expect("one").line, format!("GET {target} HTTP/1.1"));
    }
}

#[test]
fn a_foreign_host_gets_nothing() {
    let (server, foreign) = (Server::good(), Server::good());
    let client = client(&server);
    let host = server.url().replace("http://", "");
    for path in [
        format!("{}/v1/x", foreign.url()),
        foreign.url().replace("http:", ""),
        foreign.url().replace("http", "HTTP"),
        format!("https://{host}/"),
        format!("http://{host}@{}/", foreign.url().replace("http://", "")),
        format!("http://{host}0/"),
    ] {
        for api in [Api::Tracking, Api::Public, Api::Profile] {
            let error = client.call(&Request { api, ..get(&path) }).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.message(), "path must be relative to the API, or a URL on its host");
        }
    }
    assert_eq!((server.begun(), foreign.begun()), (0, 0));
}

#[test]
fn every_status_is_an_answer_and_is_not_tried_again() {
    for status in [200, 201, 204, 300, 301, 302, 304, 307, 400, 401, 403, 404, 408, 413, 429, 500, 501, 503, 599] {
        let server = Server::new(move |_, _| Reply::retry_after(status, "1"));
        let client = client(&server);
        for method in ["GET", "POST"] {
            let answer = client.call(&Request { method, body: b"x", ..get("/x") }).expect("an answer");
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("RETRY-after"), Some("1"));
            let body = if matches!(status, 204 | 304) { "" } else { "{\"success\": true}" };
            assert_eq!(String::from_utf8_lossy(&answer.body), body, "{status}");
        }
        assert_eq!(server.begun(), 2, "{status}");
    }
}

#[test]
fn messages_do_not_wait_for_the_pause_that_a_call_was_told() {
    const PAUSE: Duration = Duration::from_secs(300);
    let server = Server::new(|n, _| if n == 0 { Reply::retry_after(429, "300") } else { Reply::status(200) });
    let client = client(&server);
    assert_eq!(client.call(&get("/x")).expect("an answer").status, 429);
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!(client.stats().delivered, 1);
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at < PAUSE);
}

#[test]
fn an_interim_answer_is_not_the_answer() {
    for early in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let server =
            Server::new(move |_, _| Reply::Raw(format!("{early}HTTP/1.1 418 T\r\nContent-Length: 2\r\n\r\nok").into()));
        for method in ["GET", "POST"] {
            let answer = client(&server).call(&Request { method, body: b"x", ..get("/x") }).expect(early);
            assert_eq!((answer.status, answer.body.as_slice()), (418, b"ok".as_slice()), "{early}");
        }
    }
}

#[test]
fn bodies_come_back_as_they_are() {
    let bodies = [b"".to_vec(), b"\0a\0\xff\r\n".to_vec(), (0..=255).cycle().take(100_000).collect()];
    for body in bodies {
        let reply = body.clone();
        let server = Server::new(move |_, _| answer(200, &reply));
        assert_eq!(client(&server).call(&get("/x")).expect("an answer").body, body);
        // Without a length the body ends with the connection; in chunks it may end with headers.
        let raw = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body.as_slice()].concat();
        let server = Server::new(move |_, _| Reply::Raw(raw.clone()));
        assert_eq!(client(&server).call(&get("/x")).expect("an answer").body, body);
        let mut raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(1000) {
            raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            raw.extend_from_slice(chunk);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"0\r\n\r\n");
        let server = Server::new(move |_, _| Reply::Raw(raw.clone()));
        assert_eq!(client(&server).call(&get("/x")).expect("an answer").body, body);
    }
    let raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let server = Server::new(|_, _| Reply::Raw(raw.to_vec()));
    let answer = client(&server).call(&get("/x")).expect("an answer");
    assert_eq!((answer.header("content-encoding"), answer.body.as_slice()), (Some("gzip"), &raw[raw.len() - 4..]));
}

#[test]
fn no_redirect_is_followed() {
    let elsewhere = Server::good();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/stolen", elsewhere.url());
        let there = location.clone();
        let server = Server::new(move |_, _| Reply::Status(status, vec![("Location", there.clone())]));
        let client = client(&server);
        for api in [Api::Tracking, Api::Public, Api::Profile] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = client.call(&Request { api, method, ..get("/x") }).expect("an answer");
                assert_eq!((answer.status, answer.header("location")), (status, Some(location.as_str())));
            }
        }
        assert_eq!(server.begun(), 9);
    }
    assert_eq!((elsewhere.begun(), elsewhere.connections()), (0, 0));
}

#[test]
fn the_timeout_is_for_everything() {
    let quick = Duration::from_millis(300);
    for reply in [Reply::Silence, Reply::Trickle] {
        let server = Server::new(move |_, _| reply.clone());
        // The server would never end these; the timeout does.
        let client = Client::new(Config { timeout: quick, ..config(&server) }).expect("good settings");
        for timeout in [None, Some(quick), Some(Duration::from_millis(1)), Some(Duration::ZERO)] {
            let result = client.call(&Request { timeout, ..get("/x") });
            assert_eq!(kind(&result), Some(ErrorKind::Timeout), "{result:?}");
        }
        // The timeout is not cut short either.
        let start = Instant::now();
        assert_eq!(kind(&client.call(&Request { timeout: Some(quick), ..get("/x") })), Some(ErrorKind::Timeout));
        assert!(start.elapsed() >= quick);
    }
}

#[test]
fn the_longest_timeout_is_fine() {
    let server = Server::good();
    let answer = client(&server).call(&Request { timeout: Some(Duration::MAX), ..get("/x") });
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn an_answer_may_have_sixteen_mebibytes() {
    for (size, fits) in [(16 * MIB, true), (16 * MIB + 1, false)] {
        for chunked in [false, true] {
            let server = Server::new(move |_, _| {
                let mut raw = b"HTTP/1.1 200 OK\r\n".to_vec();
                let (before, after) = match chunked {
                    true => (format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n"), "\r\n0\r\n\r\n"),
                    false => (format!("Content-Length: {size}\r\n\r\n"), ""),
                };
                raw.extend_from_slice(before.as_bytes());
                raw.resize(raw.len() + size, b'x');
                raw.extend_from_slice(after.as_bytes());
                Reply::Raw(raw)
            });
            let result = client(&server).call(&get("/x"));
            match fits {
                true => assert_eq!(result.expect("an answer").body.len(), size),
                false => {
                    let error = result.expect_err("too large");
                    assert_eq!(error.kind(), ErrorKind::Network);
                    assert_eq!(error.message(), "the answer is larger than 16777216 bytes");
                }
            }
        }
    }
    let server = Server::new(|_, _| Reply::Endless);
    let error = client(&server).call(&get("/x")).expect_err("endless");
    assert_eq!(error.message(), "the answer is larger than 16777216 bytes");
}

#[test]
fn an_answer_that_breaks_off_is_an_error_and_the_request_is_not_repeated() {
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    for reply in [
        Reply::Close,
        raw("HTTP/1.1 200"),
        raw("HTTP/1.1 200 OK\r\nContent-Le"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"),
        raw("HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
        raw("no HTTP at all\r\n\r\n"),
    ] {
        let replied = reply.clone();
        let server = Server::new(move |_, _| replied.clone());
        for method in ["GET", "POST"] {
            let result = client(&server).call(&Request { method, body: b"x", ..get("/x") });
            assert_eq!(kind(&result), Some(ErrorKind::Network), "{reply:?}: {result:?}");
        }
        assert_eq!(server.begun(), 2, "{reply:?}");
    }
    for reading in [Reading::OnlyHead, Reading::HalfBody] {
        let server = Server::reading(move |_| reading, |_, _| Reply::status(200));
        let body = vec![b'x'; MIB];
        let result = client(&server).call(&Request { path: "/x", body: &body, ..Request::default() });
        assert_eq!(kind(&result), Some(ErrorKind::Network), "{result:?}");
        assert_eq!(server.begun(), 1);
    }
}

#[test]
fn an_address_where_nothing_listens_is_a_network_error() {
    let client = Client::new(Config { endpoint: nobody(), ..Config::new("k") }).expect("good settings");
    assert_eq!(kind(&client.call(&get("/x"))), Some(ErrorKind::Network));
    assert_eq!(client.stats().requests, 0);
}

#[test]
fn a_client_that_was_shut_down_makes_no_calls() {
    let server = Server::good();
    let client = client(&server);
    let _ = client.shutdown(Duration::ZERO);
    for api in [Api::Tracking, Api::Public, Api::Profile] {
        assert_eq!(kind(&client.call(&Request { api, ..get("/x") })), Some(ErrorKind::Closed));
    }
    assert_eq!(server.begun(), 0);
}

#[test]
fn nothing_is_sent_about_a_user_who_opted_out() {
    let server = Server::good();
    let client = client(&server);
    client.opt_out().expect("no folder to write to");
    let refused = client.call(&Request { body: b"{}", ..get("/v1/group/") });
    assert_eq!(kind(&refused), Some(ErrorKind::OptedOut));
    assert_eq!(server.begun(), 0);
    for api in [Api::Public, Api::Profile] {
        client.call(&Request { api, ..get("/x") }).expect("it is about no user");
    }
    client.opt_in().expect("no folder to write to");
    client.call(&get("/x")).expect("an answer");
}

#[test]
fn calls_and_messages_do_not_wait_for_each_other() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = Server::new(move |_, request| {
        if request.line.contains("/slow") {
            released.lock().expect("no panic").recv_timeout(patience()).expect("the test releases it");
        }
        Reply::status(200)
    });
    let client = client(&server);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| client.call(&get("/slow")));
        assert!(wait_until(|| server.begun() > 0));
        client.track("u", "E", None, None).expect("taken");
        client.flush(patience()).expect("settled");
        client.call(&get("/quick")).expect("an answer");
        assert!(!slow.is_finished());
        release.send(()).expect("it waits");
        slow.join().expect("no panic").expect("an answer");
    });
}

#[test]
fn pages_are_turned_until_there_are_no_more() {
    let page = |next: &str| Reply::Body(200, "application/json", format!(r#"{{"data":{{"pagination":{next}}}}}"#));
    let server = Server::new(move |n, _| match n {
        0 => page(r#"{"current":"a","next":"b=="}"#),
        1 => page(r#"{"current":"b==","next":"c&d"}"#),
        _ => page(r#"{"current":"c&d"}"#),
    });
    let client = client(&server);
    let request = Request { api: Api::Public, query: Some("pagination[count]=2&q=ü"), ..get("/sources") };
    let pages: Vec<_> = client.pages(&request).map(|page| page.expect("an answer").status).collect();
    assert_eq!(pages, [200, 200, 200]);
    let lines: Vec<_> = server.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(
        lines,
        [
            "GET /sources?pagination[count]=2&q=%C3%BC HTTP/1.1",
            "GET /sources?pagination[count]=2&q=%C3%BC&pagination[cursor]=b%3D%3D HTTP/1.1",
            "GET /sources?pagination[count]=2&q=%C3%BC&pagination[cursor]=c%26d HTTP/1.1",
        ]
    );
}

#[test]
fn pages_of_the_profile_api_are_turned_too() {
    let page = |next: &str| Reply::Body(200, "application/json", format!(r#"{{"traits":{{}},"cursor":{next}}}"#));
    let server = Server::new(move |n, _| match n {
        0 => page(r#"{"has_more":true,"next":"age","limit":2}"#),
        _ => page(r#"{"has_more":false,"next":""}"#),
    });
    let client = client(&server);
    let request = Request { api: Api::Profile, query: Some("limit=2"), ..get("/v1/traits") };
    assert_eq!(client.pages(&request).map(|page| page.expect("an answer").status).collect::<Vec<_>>(), [200, 200]);
    let page = client.call(&Request { cursor: Some("zip"), ..request }).expect("an answer");
    assert_eq!(page.next_cursor(), None);
    let lines: Vec<_> = server.requests().into_iter().map(|request| request.line).collect();
    let expected = ["limit=2", "limit=2&next=age", "limit=2&next=zip"];
    assert_eq!(lines, expected.map(|query| format!("GET /v1/traits?{query} HTTP/1.1")));
    for (api, cursor) in [(Api::Tracking, "a"), (Api::Profile, "")] {
        let refused = client.call(&Request { api, cursor: Some(cursor), ..get("/x") });
        assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Invalid);
    }
    assert_eq!(server.begun(), 3);
}

#[test]
fn pages_end_at_a_repeated_cursor_or_a_failure() {
    let page = |status| Reply::Body(status, "application/json", r#"{"data":{"pagination":{"next":"a"}}}"#.to_owned());
    let server = Server::new(move |_, _| page(200));
    assert_eq!(client(&server).pages(&Request { api: Api::Public, ..get("/x") }).count(), 2);
    assert_eq!(server.begun(), 2);

    let server = Server::new(move |_, _| page(429));
    let pages: Vec<_> = client(&server).pages(&Request { api: Api::Public, ..get("/x") }).collect();
    assert!(matches!(pages.as_slice(), [Ok(HttpResponse { status: 429, .. })]));

    let server = Server::new(|_, _| Reply::Close);
    let pages: Vec<_> = client(&server).pages(&Request { api: Api::Public, ..get("/x") }).collect();
    assert!(matches!(pages.as_slice(), [Err(_)]));
    assert_eq!(server.begun(), 1);
}
