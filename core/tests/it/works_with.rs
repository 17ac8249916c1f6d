//! What docs/works-with.md says, with servers that answer as each service's documentation says; and whole batch URLs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child::Folder;
use crate::patience::{NEVER, patience, wait_until};
use crate::server::{Reply, Request as Seen, Server};
use base64::prelude::{BASE64_STANDARD, Engine};
use segment_native::{Client, Config, Level, Object, Options, Request, Stats};

/// A client, and its log.
struct Host {
    client: Client,
    log: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Host {
    fn new(endpoint: String, write_key: &str, change: impl FnOnce(&mut Config)) -> Host {
        let log = Arc::new(Mutex::new(Vec::new()));
        let logging = log.clone();
        let mut config = Config {
            endpoint,
            flush_interval: NEVER,
            timeout: NEVER,
            on_log: Some(Box::new(move |level, line| logging.lock().expect("no panic").push((level, line.to_owned())))),
            ..Config::new(write_key)
        };
        change(&mut config);
        Host { client: Client::new(config).expect("good settings"), log }
    }

    fn track(&self, messages: usize) {
        for n in 0..messages {
            self.client.track("u", &format!("Event {n}"), None, None).expect("taken");
        }
    }

    /// The counts once all messages are settled.
    fn settled(&self) -> Stats {
        self.client.flush(patience()).expect("settled in time");
        self.client.stats()
    }

    fn warnings(&self) -> Vec<String> {
        let log = self.log.lock().expect("no panic");
        let is_news = |(level, line): &&(Level, String)| *level <= Level::Warning && !line.contains("is plain http");
        log.iter().filter(is_news).map(|(_, line)| line.clone()).collect()
    }
}

fn basic(user_and_password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(user_and_password))
}

fn lines(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.line).collect()
}

fn text(status: u16, body: &str) -> Reply {
    Reply::Body(status, "text/plain; charset=utf-8", body.to_owned())
}

fn json(status: u16, body: impl Into<String>) -> Reply {
    Reply::Body(status, "application/json", body.into())
}

#[test]
fn rudderstack_takes_batches_at_its_data_plane_and_says_ok_in_plain_text() {
    let server = Server::new(|_, request| match request.header("authorization") {
        Some(value) if *value == basic("1Xk5DChfJAol3xtW7qNnK1a5p:") && request.line.starts_with("POST /v1/batch ") => {
            text(200, "OK")
        }
        _ => text(401, "Invalid Authorization Header"),
    });
    let host = Host::new(server.url(), "1Xk5DChfJAol3xtW7qNnK1a5p", |_| {});
    host.track(3);
    let stats = host.settled();
    assert_eq!((stats.delivered, stats.failed, stats.requests), (3, 0, 1));
    assert_eq!(host.warnings(), Vec::<String>::new());
}

#[test]
fn hightouch_takes_the_write_key_as_the_user_of_basic_authentication() {
    let server = Server::new(|_, request| {
        let is_good = request.header("authorization") == Some(basic("WRITE_KEY:").as_str())
            && request.header("content-type") == Some("application/json");
        Reply::status(if is_good { 200 } else { 401 })
    });
    let host = Host::new(server.url(), "WRITE_KEY", |_| {});
    host.track(1);
    assert_eq!(host.settled().delivered, 1);
    assert_eq!(lines(&server), ["POST /v1/batch HTTP/1.1"]);
}

/// Accepts everything, unless `X-Strict-Mode: 1` is set: then 400 for a batch with a message that it does not take.
fn customer_io(_: usize, request: &Seen) -> Reply {
    if request.header("authorization") != Some(basic("API_KEY:").as_str()) {
        return Reply::status(401);
    }
    let is_strict = request.header("x-strict-mode") == Some("1");
    let is_bad = request.events().iter().any(|event| event["event"] == "Bad");
    Reply::status(if is_strict && is_bad { 400 } else { 200 })
}

#[test]
fn customer_io_says_what_it_does_not_take_only_in_strict_mode() {
    for (is_strict, delivered) in [(false, 3), (true, 2)] {
        let server = Server::new(customer_io);
        let host = Host::new(server.url(), "API_KEY", |config| {
            if is_strict {
                config.headers = vec![("X-Strict-Mode".to_owned(), "1".to_owned())];
            }
        });
        for event in ["Good", "Bad", "Better"] {
            host.client.track("u", event, None, None).expect("taken");
        }
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed), (delivered, 3 - delivered), "the bad one alone fails");
    }
}

/// Its key has two parts; it answers with 200 even if it takes only a part of a batch.
fn jitsu(number: usize, request: &Seen) -> Reply {
    if request.header("authorization") != Some(basic("keyId:keySecret:").as_str()) {
        return json(401, r#"{"error":"stream not found"}"#);
    }
    let errors: Vec<String> = request.ids().iter().map(|id| format!("\"Message ID: {id}: event error\"")).collect();
    let events = errors.len();
    match number {
        0 => json(200, format!(r#"{{"ok":true,"okEvents":{events},"receivedEvents":{events}}}"#)),
        1 | 2 => {
            let errors = errors.join(",");
            json(200, format!(r#"{{"errors":[{errors}],"ok":false,"okEvents":0,"receivedEvents":{events}}}"#))
        }
        _ => json(200, r#"{"errors":["throttled"],"ok":false}"#),
    }
}

#[test]
fn jitsu_denies_a_success_in_its_body_and_that_is_logged_once_per_kind() {
    let server = Server::new(jitsu);
    let host = Host::new(server.url(), "keyId", |config| {
        config.headers = vec![("Authorization".to_owned(), basic("keyId:keySecret:"))];
    });
    let mut warned = Vec::new();
    for messages in [2, 1, 3, 1, 1] {
        host.track(messages);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed), (stats.accepted, 0), "they count as delivered");
        warned.push(host.warnings().len());
    }
    assert_eq!(warned, [0, 1, 1, 2, 2], "{:?}", host.warnings());
    let id = &server.requests()[1].ids()[0];
    let words = format!(r#"{{"errors":["Message ID: {id}: event error"],"ok":false"#);
    let said = format!("1 message counts as delivered, but the answer denies it: {words}");
    assert!(host.warnings()[0].starts_with(&said), "{:?}", host.warnings());
    assert_eq!(host.client.last_problem(), None);
    assert_eq!(server.requests().len(), 5, "nothing is sent again");
}

#[test]
fn drengr_is_below_a_path_of_its_own() {
    let server = Server::new(|_, request| match request.header("authorization") {
        Some(value) if value == basic("drengr_pk_KEY:") => Reply::status(200),
        _ => Reply::status(401),
    });
    let host = Host::new(format!("{}/segment-ingest", server.url()), "drengr_pk_KEY", |_| {});
    host.track(1);
    assert_eq!(host.settled().delivered, 1);
    let other = Host::new(format!("{}/segment-ingest/", server.url()), "drengr_pk_REVOKED", |_| {});
    other.track(2);
    assert_eq!(other.settled().failed, 2);
    assert_eq!(lines(&server), ["POST /segment-ingest/v1/batch HTTP/1.1"; 2]);
}

/// 204 for a batch of calls that it knows, 400 for one with any other, 401 without its key. It reads no gzip.
fn dittofeed(_: usize, request: &Seen) -> Reply {
    const TYPES: [&str; 5] = ["identify", "track", "page", "screen", "group"];
    if !request.line.starts_with("POST /api/public/apps/batch ") {
        return Reply::status(404);
    }
    if request.header("authorization") != Some("Basic d29ya3NwYWNlOnNlY3JldA==") {
        return json(401, r#"{"message":"InvalidWriteKey"}"#);
    }
    if request.header("content-encoding").is_some() {
        return Reply::status(415);
    }
    let is_known = request.events().iter().all(|event| TYPES.iter().any(|known| event["type"] == *known));
    Reply::status(if is_known { 204 } else { 400 })
}

#[test]
fn dittofeed_takes_batches_at_a_url_of_its_own() {
    let server = Server::new(dittofeed);
    let host = Host::new(format!("{}/api/public/apps/batch", server.url()), "workspace", |config| {
        config.headers = vec![("Authorization".to_owned(), "Basic d29ya3NwYWNlOnNlY3JldA==".to_owned())];
        config.gzip = false;
    });
    host.client.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    host.client.alias("u", "anonymous", None).expect("taken");
    host.track(2);
    let stats = host.settled();
    assert_eq!((stats.delivered, stats.failed), (3, 1), "it has no alias");
    let failed = server.requests().iter().filter(|request| request.events().len() == 1).count();
    assert!(failed >= 1, "the alias was refused alone");
}

#[test]
fn a_whole_batch_url_is_sent_to_as_it_is_and_calls_go_beside_it() {
    for (path, batch, call) in [
        ("/collect/b?tenant=7&key=a%20b", "/collect/b?tenant=7&key=a%20b", "/collect/v1/track"),
        ("/v1/batch/", "/v1/batch", "/v1/track"),
        ("/v1/b", "/v1/b", "/v1/track"),
        ("/v1/b/?x=/batch", "/v1/b?x=/batch", "/v1/track"),
        ("/x/v1/batch", "/x/v1/batch", "/x/v1/track"),
    ] {
        let server = Server::good();
        let host = Host::new(format!("{}{path}", server.url()), "WRITE_KEY", |_| {});
        host.track(1);
        assert_eq!(host.settled().delivered, 1);
        let body = br#"{"userId":"u","event":"E"}"#;
        let request = Request { method: "POST", path: "/v1/track", body, ..Request::default() };
        assert_eq!(host.client.call(&request).expect("an answer").status, 200);
        assert_eq!(lines(&server), [format!("POST {batch} HTTP/1.1"), format!("POST {call} HTTP/1.1")], "{path}");
    }
}

#[test]
fn an_app_on_a_device_asks_for_the_address_with_its_context_or_hides_it() {
    let server = Server::good();
    let host = Host::new(format!("{}/v1/b", server.url()), "WRITE_KEY", |config| {
        config.context = Object::from([("direct", true)]);
    });
    host.track(1);
    let hidden = Object::from([("ip", "0.0.0.0")]);
    let options = Options { context: Some(&hidden), ..Options::default() };
    host.client.track("u", "Hidden", None, options).expect("taken");
    host.settled();
    let requests = server.requests();
    let [shown, hidden] = requests[0].events() else { panic!("{:?}", requests[0].body) };
    assert_eq!((&shown["context"]["direct"], &shown["context"]["ip"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(hidden["context"]["ip"], "0.0.0.0");
}

#[test]
fn what_waits_is_delivered_however_the_same_url_is_written() {
    let (folder, server) = (Folder::new(), Server::good());
    let host = |path: &str, change: fn(&mut Config)| {
        Host::new(format!("{}{path}", server.url()), "WRITE_KEY", |config| {
            config.spool_dir = Some(folder.0.clone());
            config.shutdown = Duration::ZERO;
            change(config);
        })
    };
    for (paused, delivering) in [("/v1/batch/", ""), ("/v1", "/v1/batch"), ("/x/b/?k=v", "/x/b?k=v")] {
        let before = host(paused, |_| {});
        before.client.pause();
        before.track(1);
        drop(before);
        let after = host(delivering, |_| {});
        assert!(wait_until(|| after.settled().delivered == 1), "{paused} {delivering}");
    }
    let before = host("/x/b", |_| {});
    before.client.pause();
    before.track(1);
    drop(before);
    let elsewhere = host("", |_| {});
    assert_eq!(elsewhere.settled().delivered, 0, "another place, another queue");
    assert_eq!(server.events().len(), 3);
}
