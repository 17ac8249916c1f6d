//! Tokens, from a test server that is as strict as Segment's: it checks the signature, every claim by its own clock,
//! and the form. Tests that need no server have none, and none waits for time to pass unless that is its point.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use super::*;
use crate::patience::{NEVER, patience, wait_until};

const PKCS8: &str = include_str!("../../tests/keys/oauth-pkcs8.pem");
const PKCS1: &str = include_str!("../../tests/keys/oauth-pkcs1.pem");
const PUBLIC: &[u8] = include_bytes!("../../tests/keys/oauth-public.der");

const HOUR: Duration = Duration::from_secs(3600);

// ---- The server. ----

/// An answer of the server's.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: Duration,
}

fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: String::new(), delay: Duration::ZERO }
}

impl Reply {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(self, body: &str) -> Self {
        Reply { body: body.to_owned(), ..self }
    }

    fn after(self, delay: Duration) -> Self {
        Reply { delay, ..self }
    }
}

/// A request that the server accepted.
#[derive(Debug, Clone)]
struct Asked {
    head: String,
    form: HashMap<String, String>,
    header: Value,
    claims: Value,
}

struct Shared {
    url: String,
    /// By how much the server's clock is ahead of ours.
    ahead_ms: AtomicI64,
    /// The answers to come; without one, a token is granted.
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    /// All requests, including those that were not accepted.
    requests: AtomicUsize,
    over: AtomicBool,
}

struct Server(Arc<Shared>);

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Arc::new(Shared {
            url: format!("http://{}", listener.local_addr().expect("bound")),
            ahead_ms: AtomicI64::new(0),
            replies: Mutex::default(),
            asked: Mutex::default(),
            requests: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = serving.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Server(shared)
    }

    fn with(replies: impl IntoIterator<Item = Reply>) -> Self {
        let server = Server::new();
        server.then(replies);
        server
    }

    fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.replies.lock().expect("no panic").extend(replies);
    }

    fn tokens(&self) -> Tokens {
        Tokens::new(signer(PKCS8), &self.0.url)
    }

    fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.0.url.trim_start_matches("http://"));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("the whole body");
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let now_ms = time::now_ms() + self.ahead_ms.load(Ordering::SeqCst);
        let body = String::from_utf8(body).expect("UTF-8");
        let reply = match verify(head, &body, &self.url, now_ms) {
            Ok(asked) => {
                self.asked.lock().expect("no panic").push(asked);
                self.replies
                    .lock()
                    .expect("no panic")
                    .pop_front()
                    .unwrap_or_else(|| granted(&format!("token-{number}")))
            }
            Err(why) => reply(401).body(&format!(r#"{{"error":"invalid_client","error_description":"{why}"}}"#)),
        };
        thread::sleep(reply.delay);
        let mut answer = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
        answer += &format!("Content-Length: {}\r\nDate: {}\r\n", reply.body.len(), http_date(now_ms));
        for (name, value) in &reply.headers {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += &format!("\r\n{}", reply.body);
        let _ = stream.write_all(answer.as_bytes()); // the client may be gone
    }
}

fn granted(token: &str) -> Reply {
    let body = r#"{ "access_token": "TOKEN", "expires_in": 86400, "scope": "x", "token_type": "Bearer" }"#;
    reply(200).body(&body.replace("TOKEN", token))
}

fn http_date(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).expect("in range");
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).expect("after 1970")
}

/// What the server demands of a request.
fn verify(head: String, body: &str, server: &str, now_ms: i64) -> Result<Asked, &'static str> {
    let form: HashMap<String, String> = body
        .split('&')
        .map(|field| {
            let (name, value) = field.split_once('=').expect("a name and a value");
            (name.to_owned(), percent_decode(value))
        })
        .collect();
    let parts: Vec<&str> = form["client_assertion"].split('.').collect();
    let [header, claims, signature] = parts[..] else { return Err("not three parts") };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64");
    let signed = format!("{header}.{claims}");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| "the signature is wrong")?;
    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| "no JSON")?;
    let claims: Value = serde_json::from_slice(&decode(claims)?).map_err(|_| "no JSON")?;
    let seconds = |name: &str| claims[name].as_i64().ok_or("a time is missing");
    let now = now_ms / 1000;
    if seconds("iat")? > now {
        return Err("Token used before issued");
    }
    if seconds("exp")? <= now {
        return Err("Token is expired");
    }
    if seconds("exp")? >= now + 60 {
        return Err("exp is too far ahead");
    }
    if claims["aud"] != server {
        return Err("another audience");
    }
    Ok(Asked { head, form, header, claims })
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                u8::from_str_radix(std::str::from_utf8(&hex).expect("ASCII"), 16).expect("hex")
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// As much of HTTP as these tests need.
struct Plain;

impl Transport for Plain {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let start = Instant::now();
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Error::new(ErrorKind::Timeout, "too slow"),
            _ => Error::new(ErrorKind::Network, error.to_string()),
        };
        let (host, path) = request.url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a URL");
        let mut stream =
            TcpStream::connect_timeout(&host.parse().expect("an address"), request.timeout).map_err(failed)?;
        let mut head = format!("{} /{path} HTTP/1.1\r\nHost: {host}\r\n", request.method);
        for (name, value) in request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", request.body.len());
        stream.write_all(&[head.as_bytes(), request.body].concat()).map_err(failed)?;
        let left = request.timeout.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().expect("a status line").split(' ').nth(1).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
        let status = status.parse().expect("a number");
        let (headers, body) = (headers.collect(), body.as_bytes().to_vec());
        Ok(HttpResponse { status, headers, body, ..HttpResponse::default() })
    }
}

/// A transport without a network.
struct Fake<F>(F);

impl<F: Fn(&HttpRequest<'_>) -> Result<HttpResponse, Error> + Send + Sync> Transport for Fake<F> {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        (self.0)(request)
    }
}

fn signer(pem: &str) -> Arc<Signer> {
    Arc::new(Signer::new(&OAuth::new("client 1", "key-1", pem)).unwrap_or_else(|e| panic!("{e}")))
}

fn get(tokens: &Tokens) -> Result<String, Denied> {
    tokens.authorization(&Plain, patience())
}

fn value(tokens: &Tokens) -> String {
    get(tokens).expect("a token")
}

fn refused(tokens: &Tokens) -> Denied {
    get(tokens).expect_err("no token")
}

/// Half of the token's life is over.
fn make_due(tokens: &Tokens) {
    tokens.lock().token.as_mut().expect("a token").renewed_at = Duration::ZERO;
}

/// The token's whole life is over.
fn make_expired(tokens: &Tokens) {
    tokens.lock().token.as_mut().expect("a token").serves_until = Duration::ZERO;
}

// ---- What is sent. ----

#[test]
fn a_request_is_what_segment_wants() {
    for pem in [PKCS8, PKCS1] {
        let server = Server::new();
        let tokens = Tokens::new(signer(pem), &format!("{}/", server.0.url));
        let before = time::now_ms() / 1000;
        assert_eq!(value(&tokens), "Bearer token-1");
        let after = time::now_ms() / 1000;
        let asked = server.asked();
        let [Asked { head, form, header, claims }] = &asked[..] else { panic!("one request: {asked:?}") };
        assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
        for line in ["Content-Type: application/x-www-form-urlencoded", "Accept: application/json"] {
            assert!(head.contains(line), "{head}");
        }
        assert!(head.contains(concat!("User-Agent: segment-native/", env!("CARGO_PKG_VERSION"))), "{head}");
        assert!(!head.contains("Authorization"), "{head}");
        assert_eq!(form.len(), 4);
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(form["scope"], "tracking_api:write");
        assert_eq!(*header, serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
        assert_eq!(claims.as_object().map(serde_json::Map::len), Some(6), "{claims}");
        assert_eq!(claims["iss"], "client 1");
        assert_eq!(claims["sub"], "client 1");
        assert_eq!(claims["aud"], *server.0.url);
        let iat = claims["iat"].as_i64().expect("a number");
        assert!((before - 5..=after - 5).contains(&iat));
        assert_eq!(claims["exp"], iat + 60);
        let id = uuid::Uuid::parse_str(claims["jti"].as_str().expect("text")).expect("a UUID");
        assert_eq!(id.get_version_num(), 4);
    }
}

#[test]
fn each_assertion_has_an_id_of_its_own() {
    let server = Server::with([reply(500), reply(200)]);
    refused(&server.tokens());
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].claims["jti"], asked[1].claims["jti"]);
}

#[test]
fn names_that_need_it_are_escaped() {
    let server = Server::new();
    let oauth = OAuth { scope: "a:b c&d=é+%".into(), ..OAuth::new("say \"é\"", "k\\1", PKCS8) };
    let signer = Signer::new(&oauth).unwrap_or_else(|e| panic!("{e}"));
    value(&Tokens::new(Arc::new(signer), &server.0.url));
    let asked = &server.asked()[0];
    assert_eq!(asked.form["scope"], "a:b c&d=é+%");
    assert_eq!(asked.claims["sub"], "say \"é\"");
    assert_eq!(asked.header["kid"], "k\\1");
}

// ---- Settings. ----

fn problem(oauth: &OAuth) -> String {
    Signer::new(oauth).err().expect("refused").to_string()
}

#[test]
fn a_missing_setting_is_named() {
    let full = || OAuth::new("c", "k", PKCS8);
    assert_eq!(problem(&OAuth { client_id: String::new(), ..full() }), "oauth: client_id must not be empty");
    assert_eq!(problem(&OAuth { key_id: " ".into(), ..full() }), "oauth: key_id must not be empty");
    assert_eq!(problem(&OAuth { private_key: String::new(), ..full() }), "oauth: private_key must not be empty");
    assert_eq!(problem(&OAuth { scope: String::new(), ..full() }), "oauth: scope must not be empty");
    let ends = "must not hold line ends or spaces around it";
    assert_eq!(problem(&OAuth { key_id: "k\n".into(), ..full() }), format!("oauth: key_id {ends}"));
    assert_eq!(problem(&OAuth { client_id: " c".into(), ..full() }), format!("oauth: client_id {ends}"));
    assert_eq!(problem(&OAuth { scope: "a\nb".into(), ..full() }), format!("oauth: scope {ends}"));
}

#[test]
fn an_invalid_key_is_refused_with_a_sentence() {
    let none = "must be an RSA key in PEM, PKCS#8 or PKCS#1";
    let garbled = PKCS8.replacen("\nMII", "\n!!!", 1);
    let mangled = PKCS8.replacen("MIIE", "MIIF", 1);
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let half = &PKCS1[..PKCS1.len() / 2];
    let flat = PKCS8.replace('\n', "");
    for (pem, sentence) in [
        ("garbage", none),
        (&garbled, none),
        (&mangled, none),
        (public, none),
        (half, none),
        (&flat, none),
        (include_str!("../../tests/keys/refused-ec.pem"), none),
        (include_str!("../../tests/keys/refused-1024.pem"), "must have at least 2048 bits"),
        (include_str!("../../tests/keys/refused-encrypted.pem"), "must not be encrypted"),
    ] {
        assert_eq!(problem(&OAuth::new("c", "k", pem)), format!("oauth: private_key {sentence}"), "{pem}");
    }
}

#[test]
fn a_key_may_have_text_around_it_and_windows_line_ends() {
    signer(&format!("Bag Attributes: none\n{PKCS8}\n"));
    signer(&PKCS1.replace('\n', "\r\n"));
}

#[test]
fn the_private_key_is_not_printed() {
    let printed = format!("{:?}", OAuth::new("my-client", "my-key", "SECRET"));
    assert!(printed.contains("my-client") && printed.contains("my-key") && !printed.contains("SECRET"), "{printed}");
    let granted = Granted { access_token: "SECRET".into(), life: HOUR };
    assert!(!format!("{:?}", Meaning::Granted(granted)).contains("SECRET"));
}

// ---- What comes back. ----

#[test]
fn final_refusals_are_given_up_at_once() {
    for status in [400, 401, 415] {
        let body = r#"{"error":"invalid_client","error_description":"no such\nkey"}"#;
        let server = Server::with([reply(status).body(body)]);
        let denied = refused(&server.tokens());
        assert_eq!(denied.verdict, TokenVerdict::Unrecoverable);
        assert_eq!(denied.http_status, Some(status));
        assert_eq!(denied.error.kind(), ErrorKind::Rejected);
        let sentence = format!("the token server answered with status {status}: invalid_client: no such key");
        assert_eq!(denied.error.message(), sentence);
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn a_token_may_be_granted_after_a_final_refusal() {
    let server = Server::with([reply(401)]);
    let tokens = server.tokens();
    refused(&tokens);
    assert_eq!(value(&tokens), "Bearer token-2");
}

#[test]
fn other_refusals_are_asked_again_later_but_not_at_once() {
    for status in [302, 403, 404, 409, 422] {
        let server = Server::with([reply(status)]);
        let denied = refused(&server.tokens());
        assert_eq!(denied.verdict, TokenVerdict::Retry);
        assert_eq!(denied.error.message(), format!("the token server answered with status {status}"));
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn a_failure_of_the_server_is_tried_once_more() {
    let server = Server::with([reply(500)]);
    assert_eq!(value(&server.tokens()), "Bearer token-2");
    assert_eq!(server.requests(), 2);

    let server = Server::with([reply(500), reply(503).body("busy"), reply(500)]);
    let denied = refused(&server.tokens());
    assert_eq!((denied.verdict, denied.http_status), (TokenVerdict::Retry, Some(503)));
    assert_eq!(denied.error.message(), "the token server answered with status 503: busy");
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_server_that_is_not_there_is_tried_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let denied = refused(&Tokens::new(signer(PKCS8), &url));
    assert_eq!((denied.verdict, denied.http_status), (TokenVerdict::Retry, None));
    assert_eq!(denied.error.kind(), ErrorKind::Network);
    assert!(denied.error.message().starts_with("the token server could not be reached: "), "{}", denied.error);

    let requests = AtomicUsize::new(0);
    let nothing = Fake(|_: &HttpRequest<'_>| {
        requests.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(ErrorKind::Internal, "no idea"))
    });
    let denied = Tokens::new(signer(PKCS8), "http://x").authorization(&nothing, patience()).expect_err("no token");
    assert_eq!(denied.error, Error::new(ErrorKind::Network, "the token server could not be reached: no idea"));
    assert_eq!(requests.into_inner(), 2);
}

#[test]
fn nothing_is_asked_before_a_pause_is_over() {
    let date = http_date(time::now_ms() + 100_000);
    for (reply, least, most) in [
        (reply(429).header("Retry-After", "17"), 17_000, 17_000),
        (reply(429).header("Retry-After", "999"), 300_000, 300_000),
        (reply(429).header("retry-after", date), 95_000, 101_000),
        (reply(429).header("X-RateLimit-Reset", "9"), 9_000, 9_000),
        (reply(429).header("X-RateLimit-Reset", "9").header("Retry-After", "8"), 8_000, 8_000),
        (reply(429).header("X-RateLimit-Reset", "9").header("Retry-After", "soon"), 9_000, 9_000),
        (reply(429).header("Retry-After", "0"), 5_000, 5_000),
        (reply(429).header("Retry-After", "-1"), 5_000, 5_000),
        (reply(429), 5_000, 5_000),
    ] {
        let server = Server::with([reply]);
        let tokens = server.tokens();
        let denied = refused(&tokens);
        let TokenVerdict::Wait(pause) = denied.verdict else { panic!("{denied:?}") };
        assert!((least..=most).contains(&pause.as_millis()), "{pause:?}");
        assert_eq!((denied.error.kind(), denied.http_status), (ErrorKind::Rejected, Some(429)));
        let denied = refused(&tokens);
        let TokenVerdict::Wait(rest) = denied.verdict else { panic!("{denied:?}") };
        assert!(rest <= pause && !rest.is_zero(), "{rest:?}");
        assert_eq!((denied.error.kind(), denied.http_status), (ErrorKind::Rejected, Some(429)));
        assert_eq!(server.requests(), 1);
        tokens.lock().held_until = Duration::ZERO; // it is over
        assert_eq!(value(&tokens), "Bearer token-2");
    }
}

#[test]
fn the_date_of_a_pause_is_read_by_the_servers_clock() {
    let day = 86_400_000;
    let server = Server::with([reply(429).header("Retry-After", http_date(time::now_ms() - day + 60_000))]);
    server.0.ahead_ms.store(-day, Ordering::SeqCst);
    let denied = refused(&server.tokens());
    let TokenVerdict::Wait(pause) = denied.verdict else { panic!("{denied:?}") };
    assert!((55..=62).contains(&pause.as_secs()), "{pause:?}");
}

#[test]
fn a_grant_without_a_usable_token_is_refused() {
    for (body, flaw) in [
        ("", "it is not a JSON object"),
        ("[]", "it is not a JSON object"),
        ("<html>log in</html>", "it is not a JSON object"),
        (r#"{"access_token":"t","expires_in":9"#, "it is not a JSON object"),
        (r#"{"expires_in":9}"#, "it holds no access_token"),
        (r#"{"access_token":"","expires_in":9}"#, "it holds no access_token"),
        (r#"{"access_token":7,"expires_in":9}"#, "it holds no access_token"),
        (r#"{"access_token":null,"expires_in":9}"#, "it holds no access_token"),
        (r#"{"access_token":"SECRET\nX: y","expires_in":9}"#, "its access_token cannot be sent in a header"),
        (r#"{"access_token":"SECRET"}"#, "it holds no expires_in"),
        (r#"{"access_token":"SECRET","expires_in":"9"}"#, "it holds no expires_in"),
        (r#"{"access_token":"SECRET","expires_in":0}"#, "it holds no expires_in"),
        (r#"{"access_token":"SECRET","expires_in":-9}"#, "it holds no expires_in"),
        (r#"{"access_token":"SECRET","expires_in":null}"#, "it holds no expires_in"),
    ] {
        let server = Server::with([reply(200).body(body)]);
        let denied = refused(&server.tokens());
        assert_eq!((denied.verdict, denied.http_status), (TokenVerdict::Retry, Some(200)));
        assert_eq!(denied.error.message(), format!("the token server answered with status 200: {flaw}"), "{body}");
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn lives_of_any_length_are_read() {
    let life = |number: &str| {
        let body = format!(r#"{{"expires_in":1,"access\u005ftoken":"\u0074","expires_in":{number}}}"#);
        read(body.as_bytes()).map(|granted| granted.life)
    };
    assert_eq!(life("86400"), Ok(Duration::from_secs(86_400)));
    assert_eq!(life("0.5"), Ok(Duration::from_millis(500)));
    assert_eq!(life("8.64e4"), Ok(Duration::from_secs(86_400)));
    assert_eq!(life("1e300"), Ok(LIFE_MAX));
    assert_eq!(life("1e-300"), Ok(Duration::ZERO));
}

#[test]
fn a_sentence_never_repeats_an_assertion_and_is_short() {
    assert_eq!(said(br#"{"error":"bad assertion eyJhbGciOi"}"#), "");
    assert_eq!(said(b"bad assertion eyJhbGciOi"), "");
    assert_eq!(said(b" two\r\nlines\n"), "two  lines");
    assert_eq!(said("é".repeat(500).as_bytes()), "é".repeat(200));
    assert_eq!(said(br#"{"message":"no","error":{"code":1}}"#), "no");
    assert_eq!(said(b"\xff"), "\u{fffd}");
}

// ---- Clocks. ----

#[test]
fn a_wrong_clock_is_corrected_within_the_call_and_for_later_ones() {
    for ahead_ms in [-HOUR_MS, HOUR_MS, -90_000, 90_000] {
        let server = Server::new();
        server.0.ahead_ms.store(ahead_ms, Ordering::SeqCst);
        let tokens = server.tokens();
        assert_eq!(value(&tokens), "Bearer token-2");
        make_expired(&tokens);
        assert_eq!(value(&tokens), "Bearer token-3");
        // And it may go wrong once more.
        server.0.ahead_ms.store(0, Ordering::SeqCst);
        make_expired(&tokens);
        assert_eq!(value(&tokens), "Bearer token-5");
    }
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_refusal_whose_date_corrects_the_clock_is_tried_again_whatever_it_says() {
    for status in [400, 401] {
        let server = Server::with([reply(status).body("no")]);
        server.0.ahead_ms.store(10_000, Ordering::SeqCst);
        assert_eq!(value(&server.tokens()), "Bearer token-2");
    }
    let server = Server::with([reply(415)]);
    server.0.ahead_ms.store(10_000, Ordering::SeqCst);
    assert_eq!(refused(&server.tokens()).verdict, TokenVerdict::Unrecoverable);
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_clock_that_stays_wrong_is_corrected_only_once() {
    for body in ["Token is expired", r#"{"error_description":"token used before issued"}"#] {
        let server = Server::with([reply(401).body(body), reply(400).body(body), reply(400).body(body)]);
        assert_eq!(refused(&server.tokens()).verdict, TokenVerdict::Unrecoverable);
        assert_eq!(server.requests(), 2);
    }
}

#[test]
fn a_corrected_clock_and_a_failure_are_both_tried_again_but_no_more() {
    let server = Server::with([reply(401).body("Token is expired"), reply(500)]);
    assert_eq!(value(&server.tokens()), "Bearer token-3");
    let server = Server::with([reply(500), reply(401).body("Token is expired"), reply(502), reply(500)]);
    assert_eq!(refused(&server.tokens()).http_status, Some(502));
    assert_eq!(server.requests(), 3);
}

#[test]
fn the_skew_changes_only_when_it_must() {
    // The server wrote its date, without the milliseconds, somewhere in between.
    assert_eq!(skew(0, 10_300, 10_400, 10_000), 0);
    assert_eq!(skew(0, 10_300, 25_400, 10_000), 0, "a slow answer is no wrong clock");
    assert_eq!(skew(0, 10_300, 25_400, 25_000), 0);
    assert_eq!(skew(0, 20_300, 20_400, 10_000), 10_400);
    assert_eq!(skew(10_000, 20_300, 20_400, 10_000), 10_000);
    assert_eq!(skew(10_000, 10_300, 10_400, 10_000), 400);
    assert_eq!(skew(0, 10_300, 10_400, 20_000), -9_600);
    assert_eq!(skew(0, i64::MIN, i64::MAX, i64::MIN), 0);
    assert_eq!(skew(0, i64::MAX, i64::MAX, i64::MIN), i64::MAX);
}

#[test]
fn a_corrected_time_is_good_for_an_assertion() {
    // For any offset, and any moment within a second and an exchange at which the server wrote its date.
    for offset in [-500_000, -7_777, 4_321, 123_456_789] {
        for wrote in (1_000_000..1_002_000).step_by(37) {
            for rest in [1, 500, 3_000] {
                let (sent, received) = (1_000_000 + offset, wrote + rest + offset);
                let found = skew(0, sent, received, wrote / 1000 * 1000);
                let server = wrote + rest;
                let ours = received - found;
                let (iat, exp) = (ours.div_euclid(1000) - 5, ours.div_euclid(1000) + 55);
                assert!(iat <= server / 1000 && exp > server / 1000 + 45 && exp < server / 1000 + 60);
            }
        }
    }
}

// ---- When a token is renewed. ----

fn at(seconds: u64) -> Moment {
    Moment { since_began: Duration::from_secs(seconds), wall_ms: 1_700_000_000_000 + seconds as i64 * 1000 }
}

fn holding(life: u64, asked: u64) -> State {
    let mut state = State::default();
    let granted = Granted { access_token: "old".into(), life: Duration::from_secs(life) };
    state.begin();
    state.settle(at(asked), Ok(granted), at(asked + 1)).expect("a token");
    state.asking = false;
    state
}

fn old() -> Next {
    Next::Use("Bearer old".into())
}

fn denied(verdict: TokenVerdict) -> Denied {
    Denied { error: Error::new(ErrorKind::Rejected, "no"), http_status: Some(500), verdict }
}

#[test]
fn a_token_is_used_renewed_at_half_its_life_and_not_used_in_its_last_moments() {
    let state = holding(3600, 100);
    assert_eq!(state.next(at(101)), old());
    assert_eq!(state.next(at(1899)), old());
    assert_eq!(state.next(at(1900)), Next::Renew);
    assert_eq!(state.next(at(3669)), Next::Renew);
    assert_eq!(state.next(at(3670)), Next::Ask);
    let state = holding(20, 0);
    assert_eq!(state.next(at(10)), Next::Renew);
    assert_eq!(state.next(at(17)), Next::Renew);
    assert_eq!(state.next(at(18)), Next::Ask);
    assert_eq!(State::default().next(at(0)), Next::Ask);
}

#[test]
fn while_one_asks_the_others_use_the_old_token_or_wait() {
    let mut state = holding(3600, 0);
    state.begin();
    assert_eq!(state.next(at(1800)), old());
    assert_eq!(state.next(at(3570)), Next::Await);
    state.asking = false;
    assert_eq!(state.next(at(3570)), Next::Ask);
}

#[test]
fn a_renewal_that_fails_is_left_for_a_while_and_tried_until_the_end() {
    let mut state = holding(3600, 0);
    let mut now = 1800;
    let mut renewals = 0;
    while state.next(at(now)) != Next::Ask {
        assert_eq!(state.next(at(now)), Next::Renew);
        let verdict = [TokenVerdict::Retry, TokenVerdict::Unrecoverable][renewals % 2];
        state.settle(at(now), Err(denied(verdict)), at(now)).expect_err("denied");
        assert_eq!(state.next(at(now)), old());
        assert_eq!(state.next(at(now + 29)), old());
        assert!(now > 3510 || state.next(at(now + 59)) == old());
        now += 60;
        renewals += 1;
    }
    assert_eq!((now, renewals), (3600, 30));
}

#[test]
fn a_pause_that_is_demanded_holds_back_renewals_but_not_the_token() {
    let mut state = holding(3600, 0);
    let pause = TokenVerdict::Wait(Duration::from_secs(300));
    state.settle(at(1800), Err(denied(pause)), at(1800)).expect_err("denied");
    assert_eq!(state.next(at(2099)), old());
    assert_eq!(state.next(at(2100)), Next::Renew);
    state.token = None;
    assert_eq!(state.next(at(2099)), Next::Held(Duration::from_secs(1)));
    assert_eq!(state.next(at(2100)), Next::Ask);
}

#[test]
fn a_token_grows_old_while_the_machine_sleeps_and_not_younger_when_the_clock_is_set_back() {
    let state = holding(3600, 0);
    let asleep = Moment { wall_ms: at(3600).wall_ms, ..at(10) };
    assert_eq!(state.next(asleep), Next::Ask);
    let set_back = Moment { wall_ms: 0, ..at(3600) };
    assert_eq!(state.next(set_back), Next::Ask);
    let set_back = Moment { wall_ms: i64::MIN, ..at(10) };
    assert_eq!(state.next(set_back), old());
}

#[test]
fn the_old_token_serves_while_the_server_fails() {
    let server = Server::new();
    let tokens = server.tokens();
    assert_eq!(value(&tokens), "Bearer token-1");
    assert_eq!(value(&tokens), "Bearer token-1");
    assert_eq!(server.requests(), 1);

    server.then([reply(500), reply(500)]);
    make_due(&tokens);
    assert_eq!(value(&tokens), "Bearer token-1");
    assert_eq!(server.requests(), 3);
    let trouble = tokens.take_trouble().expect("it is said");
    assert_eq!(trouble.message(), "the token server answered with status 500");
    assert_eq!(tokens.take_trouble(), None);

    assert_eq!(value(&tokens), "Bearer token-1");
    assert_eq!(server.requests(), 3, "there is a pause between attempts");
    make_due(&tokens);
    assert_eq!(value(&tokens), "Bearer token-4");

    server.then([reply(500), reply(500)]);
    make_expired(&tokens);
    assert_eq!(refused(&tokens).verdict, TokenVerdict::Retry);
    assert_eq!(value(&tokens), "Bearer token-7");
}

#[test]
fn only_the_token_that_was_refused_is_dropped() {
    let server = Server::new();
    let tokens = server.tokens();
    let first = value(&tokens);
    tokens.drop_token(&first);
    assert_eq!(value(&tokens), "Bearer token-2");
    tokens.drop_token(&first);
    tokens.drop_token("token-2");
    tokens.drop_token("");
    assert_eq!(value(&tokens), "Bearer token-2");
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_token_that_was_refused_is_not_fallen_back_on() {
    let server = Server::new();
    let tokens = server.tokens();
    let first = value(&tokens);
    make_due(&tokens);
    let refusing = Fake(|_: &HttpRequest<'_>| {
        tokens.drop_token(&first);
        Ok(HttpResponse { status: 403, ..HttpResponse::default() })
    });
    assert_eq!(tokens.authorization(&refusing, patience()).expect_err("no token").http_status, Some(403));
}

// ---- Many at once, and time. ----

#[test]
fn many_threads_ask_once() {
    let server = Server::with([granted("t").after(Duration::from_millis(200))]);
    let tokens = server.tokens();
    thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| value(&tokens))).collect();
        for one in all {
            assert_eq!(one.join().expect("no panic"), "Bearer t");
        }
    });
    assert_eq!(server.requests(), 1);
}

/// A thread that will wait for another.
struct Sleeper(std::path::PathBuf);

impl Sleeper {
    fn this() -> Sleeper {
        let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        Sleeper(std::path::Path::new("/proc").join(thread).join("status"))
    }

    /// Returns when it sleeps and has not run for a while. If the system does not report it, returns after a while.
    fn wait_until_asleep(&self) {
        let mut before = String::new();
        let is_asleep = || {
            thread::sleep(Duration::from_millis(20));
            let now = std::fs::read_to_string(&self.0).unwrap_or_default();
            let is_same = now == std::mem::replace(&mut before, now.clone()); // the file counts context switches
            is_same && (now.is_empty() || now.contains("State:\tS"))
        };
        assert!(wait_until(is_asleep));
    }
}

/// Starts a call that holds its request until another call waits for it.
fn while_one_asks(
    tokens: &Tokens,
    outcome: impl Fn() -> Result<HttpResponse, Error> + Send + Sync,
    meanwhile: impl FnOnce(),
) -> thread::Result<Result<String, Denied>> {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    thread::scope(|scope| {
        let holding = Fake(move |_: &HttpRequest<'_>| {
            let _ = gone.lock().expect("one at a time").recv();
            outcome()
        });
        let one = scope.spawn(move || tokens.authorization(&holding, patience()));
        assert!(wait_until(|| tokens.lock().asking));
        let this = Sleeper::this();
        scope.spawn(move || {
            this.wait_until_asleep(); // it waits for the other
            drop(go);
        });
        meanwhile();
        one.join()
    })
}

#[test]
fn waiting_threads_share_the_answer() {
    let server = Server::new();
    let tokens = server.tokens();
    let refuse = || Ok(HttpResponse { status: 401, ..HttpResponse::default() });
    let one = while_one_asks(&tokens, refuse, || {
        let denied = refused(&tokens);
        assert_eq!((denied.verdict, denied.http_status), (TokenVerdict::Unrecoverable, Some(401)));
    });
    assert_eq!(one.expect("no panic").expect_err("no token").http_status, Some(401));
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_waiting_thread_asks_itself_if_the_other_had_no_time() {
    let server = Server::new();
    let tokens = server.tokens();
    let slow = || Err(Error::new(ErrorKind::Timeout, "too slow"));
    let one = while_one_asks(&tokens, slow, || assert_eq!(value(&tokens), "Bearer token-1"));
    assert_eq!(one.expect("no panic").expect_err("no token").error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_waiting_thread_asks_itself_if_the_other_died() {
    let server = Server::with([reply(403)]);
    let tokens = server.tokens();
    refused(&tokens); // which does not count for later calls
    let one = while_one_asks(
        &tokens,
        || panic!("a bug, for the test"),
        || {
            assert_eq!(value(&tokens), "Bearer token-2");
        },
    );
    assert!(one.is_err());
}

#[test]
fn no_call_waits_longer_than_its_own_timeout() {
    let server = Server::with([granted("slow").after(NEVER)]);
    let tokens = server.tokens();
    let (own, start) = (Duration::from_millis(300), Instant::now());
    let denied = tokens.authorization(&Plain, own).expect_err("too slow");
    assert!(start.elapsed() >= own);
    assert_eq!((denied.error.kind(), denied.verdict), (ErrorKind::Timeout, TokenVerdict::Retry));
    assert!(server.requests() <= 1, "a second attempt would have had no time");

    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    thread::scope(|scope| {
        let tokens = &tokens;
        let holding = Fake(move |_: &HttpRequest<'_>| {
            let _ = gone.lock().expect("one at a time").recv_timeout(patience());
            Err(Error::new(ErrorKind::Timeout, "too slow"))
        });
        let one = scope.spawn(move || tokens.authorization(&holding, patience()));
        assert!(wait_until(|| tokens.lock().asking));
        let (own, start) = (Duration::from_millis(50), Instant::now());
        assert_eq!(tokens.authorization(&Plain, own).expect_err("too slow"), Denied::late());
        assert!(start.elapsed() >= own && !one.is_finished());
        drop(go);
        one.join().expect("no panic").expect_err("no token");
    });
}

#[test]
fn a_renewal_takes_only_some_of_the_time() {
    let server = Server::new();
    let tokens = server.tokens();
    value(&tokens);
    make_due(&tokens);
    let longest = Mutex::new(Duration::ZERO);
    let failing = Fake(|request: &HttpRequest<'_>| {
        let mut longest = longest.lock().expect("no panic");
        *longest = request.timeout.max(*longest);
        Err(Error::new(ErrorKind::Network, "gone"))
    });
    assert_eq!(tokens.authorization(&failing, patience()).expect("the old one"), "Bearer token-1");
    let longest = longest.into_inner().expect("no panic");
    assert!(longest <= RENEWAL_MAX && longest > RENEWAL_MAX / 2, "{longest:?}");
}

#[test]
fn a_call_without_any_time_asks_nothing() {
    let server = Server::new();
    let tokens = server.tokens();
    assert_eq!(tokens.authorization(&Plain, Duration::ZERO).expect_err("no time"), Denied::late());
    assert_eq!(server.requests(), 0);
    assert_eq!(value(&tokens), "Bearer token-1");
    assert_eq!(tokens.authorization(&Plain, Duration::ZERO).expect("it is there"), "Bearer token-1");
}

#[test]
fn a_refusal_that_could_have_been_mended_is_not_final_when_time_runs_out() {
    let tokens = Tokens::new(signer(PKCS8), "http://x");
    let slow = Fake(|request: &HttpRequest<'_>| {
        thread::sleep(request.timeout);
        Ok(HttpResponse { status: 401, body: b"Token is expired".to_vec(), ..HttpResponse::default() })
    });
    let denied = tokens.authorization(&slow, Duration::from_millis(20)).expect_err("no token");
    assert_eq!((denied.http_status, denied.verdict), (Some(401), TokenVerdict::Retry));
}
