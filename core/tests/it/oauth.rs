//! OAuth from the outside: a real token server that verifies what it gets, and a real Tracking API that demands its
//! tokens.

#![cfg(feature = "oauth")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::patience::{NEVER, patience};
use crate::server::{self, Reply, Server};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use segment_native::{Client, Config, ErrorKind, Level, OAuth, Request};
use serde_json::Value;

const KEYS: [&str; 2] = [include_str!("../keys/oauth-pkcs8.pem"), include_str!("../keys/oauth-pkcs1.pem")];
const PUBLIC: &[u8] = include_bytes!("../keys/oauth-public.der");

/// Gives out `token-1`, `token-2`, ..., unless its script says otherwise: status, header lines, body.
struct TokenServer {
    url: String,
    given: Arc<Mutex<usize>>,
    stop: Arc<AtomicBool>,
}

type Answer = Option<(u16, &'static str, &'static str)>;

impl TokenServer {
    fn new(script: impl Fn(usize) -> Answer + Send + 'static) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (given, stop) = (Arc::new(Mutex::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped, name) = (given.clone(), stop.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let mut number = count.lock().expect("no panic");
                let answer = script(*number);
                *number += 1;
                let token = format!(r#"{{"access_token":"token-{}","expires_in":86400}}"#, *number);
                drop(number);
                let (status, header, body) = answer.unwrap_or((200, "", ""));
                let body = if answer.is_none() { token.as_str() } else { body };
                let _ = stream.and_then(|stream| answer_token(stream, &name, status, header, body));
            }
        });
        TokenServer { url, given, stop }
    }

    fn good() -> TokenServer {
        TokenServer::new(|_| None)
    }

    fn asked(&self) -> usize {
        *self.given.lock().expect("no panic")
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn answer_token(mut stream: TcpStream, server: &str, status: u16, header: &str, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    assert_eq!(line, "POST /token HTTP/1.1\r\n");
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().expect("a number");
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let form = String::from_utf8(form).expect("text");
    let assertion = form.split('&').find_map(|field| field.strip_prefix("client_assertion=")).expect("an assertion");
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC);
    key.verify(signed.as_bytes(), &signature).expect("signed with the private key");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.split_once('.').expect("two parts").1).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!((claims["sub"].as_str(), claims["aud"].as_str()), (Some("the-app"), Some(server)));
    write!(stream, "HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// What a host was told.
#[derive(Clone, Default)]
struct Told {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

type Delivery = (Option<(ErrorKind, String)>, Option<u16>);

fn config(tokens: &TokenServer, api: &Server, told: &Told) -> Config {
    let oauth = OAuth { endpoint: tokens.url.clone(), ..OAuth::new("the-app", "the-key", KEYS[0]) };
    let (lines, deliveries) = (told.lines.clone(), told.deliveries.clone());
    Config {
        endpoint: api.url(),
        oauth: Some(oauth),
        flush_interval: NEVER,
        timeout: NEVER,
        proxy: Some(String::new()),
        on_log: Some(Box::new(move |level, line| lines.lock().expect("no panic").push((level, line.to_owned())))),
        on_delivery: Some(Box::new(move |delivery| {
            let error = delivery.error.map(|error| (error.kind(), error.message().to_owned()));
            deliveries.lock().expect("no panic").push((error, delivery.http_status));
        })),
        ..Config::new("WRITE_KEY")
    }
}

fn bearers(api: &Server) -> Vec<String> {
    api.requests().iter().map(|request| request.header("authorization").unwrap_or_default().to_owned()).collect()
}

#[test]
fn batches_carry_one_token_and_the_write_key_in_the_body() {
    for key in KEYS {
        let (tokens, api, told) = (TokenServer::good(), Server::good(), Told::default());
        let mut config = config(&tokens, &api, &told);
        config.oauth.as_mut().expect("given").private_key = key.to_owned();
        let client = Client::new(config).expect("good settings");
        for _ in 0..3 {
            client.track("u", "E", None, None).expect("taken");
            client.flush(patience()).expect("settled");
        }
        assert_eq!(bearers(&api), ["Bearer token-1"; 3]);
        assert_eq!(api.requests()[0].body["writeKey"], "WRITE_KEY");
        assert_eq!((tokens.asked(), client.stats().delivered), (1, 3));
    }
}

#[test]
fn a_token_that_is_refused_with_511_is_replaced_and_the_batch_sent_again() {
    let script = |number: usize, _: &server::Request| Reply::status(if number == 0 { 511 } else { 200 });
    let (tokens, api, told) = (TokenServer::good(), Server::new(script), Told::default());
    let client = Client::new(config(&tokens, &api, &told)).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!(bearers(&api), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(api.requests()[1].header("x-retry-count"), Some("1"));
    assert_eq!((tokens.asked(), client.stats().delivered), (2, 1));
}

#[test]
fn a_token_that_is_refused_otherwise_is_replaced_for_the_next_batch() {
    for status in [400, 401, 403] {
        let script = move |number: usize, _: &server::Request| Reply::status(if number == 0 { status } else { 200 });
        let (tokens, api, told) = (TokenServer::good(), Server::new(script), Told::default());
        let client = Client::new(config(&tokens, &api, &told)).expect("good settings");
        for _ in 0..2 {
            client.track("u", "E", None, None).expect("taken");
            client.flush(patience()).expect("settled");
        }
        assert_eq!(bearers(&api), ["Bearer token-1", "Bearer token-2"], "{status}");
        assert_eq!((client.stats().failed, client.stats().delivered), (1, 1));
    }
}

#[test]
fn without_a_token_nothing_is_sent_and_messages_in_memory_fail_with_the_reason() {
    let refused = (401, "", r#"{"error":"invalid_client"}"#);
    let (tokens, api, told) = (TokenServer::new(move |_| Some(refused)), Server::good(), Told::default());
    let client = Client::new(config(&tokens, &api, &told)).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!(api.begun(), 0);
    let stats = client.stats();
    assert_eq!((stats.failed, stats.requests, stats.queued), (1, 0, 0));
    let deliveries = told.deliveries.lock().expect("no panic").clone();
    let [(Some((kind, reason)), status)] = deliveries.as_slice() else { panic!("{deliveries:?}") };
    assert_eq!((*kind, *status), (ErrorKind::Rejected, Some(401)));
    assert!(reason.starts_with("no token could be obtained: ") && reason.contains("invalid_client"), "{reason}");
}

#[test]
fn what_is_in_a_spool_waits_for_the_settings_to_be_corrected() {
    let folder = Folder::new();
    let script = |number| (number < 1).then_some((401, "", r#"{"error":"invalid_client"}"#));
    let (tokens, api, told) = (TokenServer::new(script), Server::good(), Told::default());
    let mut config = config(&tokens, &api, &told);
    config.spool_dir = Some(folder.0.clone());
    let client = Client::new(config).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled at the second try");
    assert_eq!((client.stats().delivered, client.stats().failed), (1, 0));
    assert_eq!(api.requests()[0].header("x-retry-count"), None, "no request for it was made before");
}

#[test]
fn a_pause_of_the_token_server_is_kept_and_not_counted() {
    let script = |number| (number < 1).then_some((429, "Retry-After: 1\r\n", ""));
    let (tokens, api, told) = (TokenServer::new(script), Server::good(), Told::default());
    let client = Client::new(Config { retry_max: 1, ..config(&tokens, &api, &told) }).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!((tokens.asked(), api.begun(), client.stats().delivered), (2, 1, 1));
}

#[test]
fn a_token_server_that_fails_is_asked_again() {
    let script = |number| (number < 3).then_some((500, "", ""));
    let (tokens, api, told) = (TokenServer::new(script), Server::good(), Told::default());
    let client = Client::new(config(&tokens, &api, &told)).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!((tokens.asked(), api.begun(), client.stats().delivered), (4, 1, 1));
    let lines = told.lines.lock().expect("no panic").clone();
    assert!(lines.iter().any(|(_, line)| line.contains("no token could be obtained")), "{lines:?}");
    assert!(!lines.iter().any(|(_, line)| line.contains("token-")), "a token must not get into a log");
}

#[test]
fn calls_carry_the_token_too_unless_the_caller_has_one() {
    let (tokens, api, told) = (TokenServer::good(), Server::good(), Told::default());
    let client = Client::new(config(&tokens, &api, &told)).expect("good settings");
    let own = [("AUTHORIZATION", "Basic mine")];
    let request = Request { path: "/v1/track", body: b"{}", ..Request::default() };
    client.call(&Request { headers: &own, ..request }).expect("an answer");
    assert_eq!(tokens.asked(), 0);
    client.call(&request).expect("an answer");
    assert_eq!(bearers(&api), ["Basic mine", "Bearer token-1"]);
}

#[test]
fn a_dry_run_asks_for_no_token_and_a_bad_key_is_named() {
    let (tokens, api, told) = (TokenServer::good(), Server::good(), Told::default());
    let client = Client::new(Config { dry_run: true, ..config(&tokens, &api, &told) }).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!((tokens.asked(), api.begun(), client.stats().delivered), (0, 0, 1));
    let mut config = config(&tokens, &api, &told);
    config.oauth.as_mut().expect("given").private_key = "no key".to_owned();
    let error = Client::new(config).expect_err("refused");
    assert!(error.message().starts_with("oauth: private_key must be an RSA key in PEM"), "{error}");
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(std::env::temp_dir().join(format!("segment-oauth-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
