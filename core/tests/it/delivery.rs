//! Delivery to a real server: what arrives, how often, and what becomes of every message.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::patience::{NEVER, patience, wait_until};
use crate::server::{Reading, Reply, Server, nobody};
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::fmt::rfc2822::DateTimePrinter;
use segment_native::{Client, Config, Error, ErrorKind, Object, Options, Stats};

/// What on_delivery was told, for each message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    id: String,
    error: Option<(ErrorKind, String)>,
    http_status: Option<u16>,
    attempts: u32,
}

struct Host {
    client: Client,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Host {
    fn new(endpoint: String, change: impl FnOnce(&mut Config)) -> Host {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut config = Config { endpoint, flush_interval: NEVER, timeout: NEVER, ..Config::new("WRITE_KEY") };
        let list = told.clone();
        config.on_delivery = Some(Box::new(move |delivery| {
            let mut list = list.lock().expect("no panic");
            list.extend(delivery.message_ids.iter().map(|id| Told {
                id: id.clone(),
                error: delivery.error.map(|error| (error.kind(), error.message().to_owned())),
                http_status: delivery.http_status,
                attempts: delivery.attempts,
            }));
        }));
        change(&mut config);
        Host { client: Client::new(config).expect("good settings"), told }
    }

    fn track(&self, messages: usize) {
        for n in 0..messages {
            self.client.track("u", &format!("Event {n}"), None, None).expect("taken");
        }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().expect("no panic").clone()
    }

    /// Waits for everything to be settled.
    fn settled(&self) -> Stats {
        self.client.flush(patience()).expect("settled in time");
        let stats = self.client.stats();
        balanced(&stats);
        assert_eq!((stats.queued, stats.queued_bytes), (0, 0));
        stats
    }
}

fn balanced(stats: &Stats) {
    assert_eq!(stats.accepted, stats.delivered + stats.failed + stats.dropped + stats.queued, "{stats:?}");
}

/// Runs cases that each wait for a back-off in parallel, so that together they take one.
fn together<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            let test = &test;
            scope.spawn(move || test(case));
        }
    });
}

fn kind(result: Result<(), Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn events_arrive_in_one_batch_with_all_that_segment_wants() {
    let server = Server::good();
    let host = Host::new(server.url(), |_| {});
    let before = now();
    host.client.identify("u-42", &Object::from([("plan", "pro")]), None).expect("taken");
    host.client
        .track(None, "Level Completed", None, Options { anonymous_id: Some("a"), ..Options::default() })
        .expect("taken");
    let stats = host.settled();
    assert_eq!((stats.accepted, stats.delivered, stats.requests, stats.retries), (2, 2, 1, 0));

    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!(request.line, "POST /v1/batch HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("user-agent"), Some(concat!("segment-native/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(
        request.header("authorization"),
        Some(format!("Basic {}", BASE64_STANDARD.encode("WRITE_KEY:")).as_str())
    );
    assert_eq!(request.header("x-retry-count"), None);
    assert_eq!(request.body["writeKey"], "WRITE_KEY");
    let sent_at = time_of(&request.body["sentAt"]);
    assert!((before..=now()).contains(&sent_at));
    let [identify, track] = request.events() else { panic!("{:?}", request.body) };
    assert_eq!((identify["type"].as_str(), identify["userId"].as_str()), (Some("identify"), Some("u-42")));
    assert_eq!((track["type"].as_str(), track["anonymousId"].as_str()), (Some("track"), Some("a")));

    let told = host.told();
    assert_eq!(told.iter().map(|told| &told.id).collect::<Vec<_>>(), request.ids().iter().collect::<Vec<_>>());
    assert!(told.iter().all(|t| t.error.is_none() && t.http_status == Some(200) && t.attempts == 1));
}

/// In milliseconds since 1970.
fn time_of(value: &serde_json::Value) -> i64 {
    let timestamp: jiff::Timestamp = value.as_str().expect("a text").parse().expect("a time");
    timestamp.as_millisecond()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[test]
fn bodies_can_be_sent_uncompressed() {
    let server = Server::good();
    let host = Host::new(server.url(), |config| config.gzip = false);
    host.track(1);
    host.settled();
    let request = &server.requests()[0];
    assert_eq!(request.header("content-encoding"), None);
    assert_eq!(request.raw_bytes, request.body_bytes);
}

#[test]
fn a_path_of_the_endpoint_is_kept() {
    let server = Server::good();
    let host = Host::new(format!("{}/proxy/v1/", server.url()), |_| {});
    host.track(1);
    host.settled();
    assert_eq!(server.requests()[0].line, "POST /proxy/v1/batch HTTP/1.1");
}

#[test]
fn every_2xx_is_a_success() {
    for status in [200, 201, 202, 204] {
        let server = Server::new(move |_, _| Reply::status(status));
        let host = Host::new(server.url(), |_| {});
        host.track(3);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.requests), (3, 1), "{status}");
    }
}

#[test]
fn what_is_not_retryable_fails_at_once_and_says_why() {
    for status in [401, 403, 404, 409, 422, 501, 505, 511] {
        let server = Server::new(move |_, _| Reply::Body(status, "application/json", "{\"message\":\"no\\n\"}".into()));
        let host = Host::new(server.url(), |_| {});
        host.track(3);
        let stats = host.settled();
        assert_eq!((stats.failed, stats.requests), (3, 1), "{status}");
        let error =
            Some((ErrorKind::Rejected, format!("Segment answered with status {status}: {{\"message\":\"no\\n\"}}")));
        assert!(host.told().iter().all(|t| t.error == error && t.http_status == Some(status) && t.attempts == 1));
    }
}

#[test]
fn a_redirect_is_a_failure_and_the_other_host_gets_nothing() {
    let other = Server::good();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/v1/batch", other.url());
        let server = Server::new(move |_, _| Reply::Status(status, vec![("Location", location.clone())]));
        let host = Host::new(server.url(), |_| {});
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.failed, stats.requests), (1, 1), "{status}");
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn what_is_retryable_is_tried_again_with_the_same_messages() {
    together([408, 410, 429, 460, 500, 502, 503, 504, 508, 529], |status| {
        let server = Server::new(move |n, _| Reply::status(if n == 0 { status } else { 200 }));
        // No flush: that would cut the back-off short.
        let host = Host::new(server.url(), |config| config.flush_at = 3);
        host.track(3);
        assert!(wait_until(|| host.client.stats().delivered == 3), "{status}");
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.requests, stats.retries), (3, 2, 1), "{status}");
        let requests = server.requests();
        assert_eq!(requests[0].body["batch"], requests[1].body["batch"]);
        assert_eq!(requests[1].header("x-retry-count"), Some("1"));
        assert!(time_of(&requests[1].body["sentAt"]) > time_of(&requests[0].body["sentAt"]), "stamped anew");
        assert!(requests[1].at - requests[0].at >= Duration::from_millis(500));
        assert!(host.told().iter().all(|t| t.error.is_none() && t.attempts == 2));
    });
}

#[test]
fn retry_after_is_obeyed_in_seconds_and_as_a_date() {
    let date = |ahead: i64| {
        let at = jiff::Timestamp::from_millisecond(now() + 1_000 * ahead).expect("a time");
        DateTimePrinter::new().timestamp_to_rfc9110_string(&at).expect("a date")
    };
    together([false, true], |as_date| {
        let server = Server::new(move |n, _| match (n, as_date) {
            (0, false) => Reply::retry_after(503, "1"),
            (0, true) => Reply::retry_after(503, date(2)), // a date has whole seconds: 1 to 2 are left of it
            _ => Reply::status(200),
        });
        let host = Host::new(server.url(), |config| config.flush_at = 1);
        host.track(1);
        assert!(wait_until(|| host.client.stats().requests == 1));
        // Neither a flush nor another message cuts it short.
        let _ = host.client.flush(Duration::from_millis(100));
        host.track(1);
        let stats = host.settled();
        assert_eq!(stats.delivered, 2);
        let requests = server.requests();
        assert!(requests[1].at - requests[0].at >= Duration::from_millis(900), "as a date: {as_date}");
    });
}

#[test]
fn an_unusable_retry_after_is_a_counted_failure() {
    together(["0", "-5", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT"], |value| {
        let server = Server::new(move |_, _| Reply::retry_after(429, value));
        let host = Host::new(server.url(), |config| config.retry_max = 1);
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.failed, stats.requests), (1, 2), "{value:?}");
    });
}

#[test]
fn connections_that_break_off_are_tried_again() {
    together([Reading::OnlyHead, Reading::HalfBody], |reading| {
        let server = Server::reading(move |n| if n == 0 { reading } else { Reading::Whole }, |_, _| Reply::status(200));
        let host = Host::new(server.url(), |config| config.gzip = false);
        host.track(1000);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed), (1000, 0), "{reading:?}");
        assert!(server.begun() > server.requests().len(), "one was broken off");
    });
    let server = Server::new(|n, _| if n == 0 { Reply::Close } else { Reply::status(200) });
    let host = Host::new(server.url(), |_| {});
    host.track(3);
    let stats = host.settled();
    assert_eq!((stats.delivered, stats.requests), (3, 2));
    let requests = server.requests();
    assert_eq!(requests[0].ids(), requests[1].ids(), "the first may have been stored: its ids stay");
}

#[test]
fn an_address_where_nothing_listens_is_tried_again_until_the_count_is_full() {
    let host = Host::new(nobody(), |config| config.retry_max = 1);
    host.track(2);
    let stats = host.settled();
    assert_eq!((stats.failed, stats.requests, stats.retries), (2, 2, 1));
    for told in host.told() {
        let (kind, sentence) = told.error.expect("an error");
        assert_eq!(kind, ErrorKind::Network);
        assert!(sentence.starts_with("Segment could not be reached: "), "{sentence}");
        assert_eq!((told.http_status, told.attempts), (None, 2));
    }
}

#[test]
fn broken_answers_are_tried_again() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    together(
        [
            "",
            "what?\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            &huge,
            &long,
        ],
        |raw| {
            let bytes = raw.as_bytes().to_vec();
            let server = Server::new(move |n, _| if n == 0 { Reply::Raw(bytes.clone()) } else { Reply::status(200) });
            let host = Host::new(server.url(), |_| {});
            host.track(1);
            let stats = host.settled();
            assert_eq!((stats.delivered, stats.requests), (1, 2), "{:?}", &raw[..raw.len().min(60)]);
        },
    );
}

#[test]
fn a_refusal_counts_even_if_its_body_cannot_be_read() {
    let server = Server::new(|_, _| Reply::Raw(b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nshort".to_vec()));
    let host = Host::new(server.url(), |_| {});
    host.track(1);
    let stats = host.settled();
    assert_eq!((stats.failed, stats.requests), (1, 1));
}

#[test]
fn slow_and_endless_answers_end_at_the_deadline() {
    together([Reply::Silence, Reply::Trickle, Reply::Endless], |reply| {
        let first = reply.clone();
        let server = Server::new(move |n, _| if n == 0 { first.clone() } else { Reply::status(200) });
        let host = Host::new(server.url(), |config| config.timeout = Duration::from_millis(300));
        host.track(1);
        let stats = host.settled();
        // On a slow machine the timeout may be too short for a good answer too.
        assert!(stats.delivered == 1 && stats.requests >= 2, "{reply:?}: {stats:?}");
    });
}

#[test]
fn a_web_page_is_no_acknowledgement() {
    let pages = [
        ("text/html; charset=utf-8", ""),
        ("text/html", "\u{feff}<p>Log in"),
        ("text/plain", "\r\n <!DOCTYPE html><title>Log in</title>"),
    ];
    together(pages, |(kind, body)| {
        let server =
            Server::new(move |n, _| if n == 0 { Reply::Body(200, kind, body.into()) } else { Reply::status(200) });
        let host = Host::new(server.url(), |_| {});
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.requests), (1, 2), "{kind}");
    });
}

/// Some gateways call everything HTML.
#[test]
fn an_answer_that_is_wrongly_called_html_counts() {
    together([r#"{"success":true}"#, "OK"], |body| {
        let server = Server::new(move |_, _| Reply::Body(200, "text/html", body.into()));
        let host = Host::new(server.url(), |_| {});
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.requests), (1, 1), "{body}");
    });
}

/// A gateway that is being set up, a filter, a login page: with any status they say nothing about the messages.
#[test]
fn a_web_page_is_no_refusal() {
    together([400, 401, 403, 404, 413, 451, 501, 505, 511], |status| {
        let page = "<html>default backend</html>";
        let server = Server::new(move |n, _| match n {
            0..3 => Reply::Body(status, "text/html", page.into()),
            _ => Reply::status(200),
        });
        let host = Host::new(server.url(), |_| {});
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed, stats.requests), (1, 0, 4), "{status}");
    });
}

/// A page is recognized even if it is encoded, cut or in UTF-16. An answer without content is no page.
#[test]
fn a_web_page_is_known_in_any_form() {
    let head = |status: u16, lines: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status} .\r\nContent-Length: {}\r\n{lines}\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    let encoded = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";
    let large = [b"<html>".as_slice(), &[b' '; 100_000]].concat();
    let wide: Vec<u8> = "\u{feff}<html>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for page in [head(200, encoded, &gzip), head(403, encoded, &gzip), head(404, "", &large), head(403, "", &wide)] {
        let server = Server::new(move |n, _| if n == 0 { Reply::Raw(page.clone()) } else { Reply::status(200) });
        let host = Host::new(server.url(), |_| {});
        host.track(1);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed, stats.requests), (1, 0, 2), "{stats:?}");
    }
    let nothing = b"HTTP/1.1 204 .\r\nContent-Type: text/html\r\n\r\n".to_vec();
    let server = Server::new(move |_, _| Reply::Raw(nothing.clone()));
    let host = Host::new(server.url(), |_| {});
    host.track(1);
    assert_eq!((host.settled().delivered, host.settled().requests), (1, 1));
}

#[test]
fn a_batch_that_is_too_large_for_a_gateway_is_cut() {
    let server = Server::new(|_, request| match request.events().len() {
        1 | 2 => Reply::status(200),
        _ => Reply::Body(413, "text/html", "<html>413 Request Entity Too Large</html>".into()),
    });
    let host = Host::new(server.url(), |_| {});
    host.track(8);
    let stats = host.settled();
    assert_eq!((stats.delivered, stats.failed, stats.requests), (8, 0, 7));
}

#[test]
fn a_poison_message_is_given_up_alone() {
    for status in [400, 413] {
        let server = Server::new(move |_, request| {
            Reply::status(if request.names().contains(&"Event 57") { status } else { 200 })
        });
        let host = Host::new(server.url(), |_| {});
        host.track(100);
        let stats = host.settled();
        assert_eq!((stats.delivered, stats.failed), (99, 1));
        assert!(server.requests().len() <= 15, "{} requests", server.requests().len());
        let told = host.told();
        let failed: Vec<_> = told.iter().filter(|told| told.error.is_some()).collect();
        assert_eq!((failed.len(), told.len()), (1, 100));
        assert_eq!(failed[0].http_status, Some(status));
        assert!(!server.acknowledged().contains(&failed[0].id));
        assert_eq!(server.acknowledged().len(), 99);
    }
}

#[test]
fn connections_are_kept_and_used_again() {
    let server = Server::good();
    let host = Host::new(server.url(), |_| {});
    for _ in 0..10 {
        host.track(1);
        host.settled();
    }
    assert_eq!((server.requests().len(), server.connections()), (10, 1));
}

#[test]
fn batches_hold_2500_messages_and_480000_bytes_at_most() {
    let server = Server::good();
    let host = Host::new(server.url(), |config| config.flush_at = u32::MAX);
    for _ in 0..6_001 {
        host.client.track("u", "E", None, None).expect("taken");
    }
    host.settled();
    let most = server.requests().iter().map(|request| request.events().len()).max();
    assert!(most <= Some(2_500), "{most:?}");

    let properties = Object::from([("filler", "x".repeat(20_000).as_str())]);
    for _ in 0..60 {
        host.client.track("u", "E", &properties, None).expect("taken");
    }
    let stats = host.settled();
    assert_eq!(stats.delivered, 6_061);
    let requests = server.requests();
    let largest = requests.iter().map(|request| request.body_bytes).max();
    assert!(largest <= Some(480_000) && largest > Some(450_000), "{largest:?}");
    assert_eq!(requests.iter().map(|request| request.events().len()).sum::<usize>(), 6_061);
}

#[test]
fn a_batch_goes_out_when_enough_messages_wait() {
    let server = Server::good();
    let host = Host::new(server.url(), |config| config.flush_at = 10);
    host.track(10);
    assert!(wait_until(|| host.client.stats().delivered == 10));
}

#[test]
fn a_batch_goes_out_when_the_interval_is_over() {
    let server = Server::good();
    let host = Host::new(server.url(), |config| config.flush_interval = Duration::from_millis(100));
    for round in 1..=3 {
        host.track(1);
        assert!(wait_until(|| host.client.stats().delivered == round));
    }
}

#[test]
fn a_full_queue_refuses_and_loses_nothing_it_took() {
    let host = Host::new(nobody(), |config| {
        config.queue_max_bytes = 10_000;
        config.shutdown = Duration::from_millis(50);
    });
    let mut taken = 0;
    for _ in 0..200 {
        match host.client.track("u", "Event", None, None) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::QueueFull);
                assert_eq!(error.message(), "the queue is full: queue_max_bytes is 10000");
            }
        }
        balanced(&host.client.stats());
    }
    let stats = host.client.stats();
    assert!(stats.queued_bytes <= 10_000 && stats.queued_bytes > 9_000);
    assert_eq!((stats.accepted, stats.refused, stats.in_memory), (taken, 200 - taken, taken));
}

#[test]
fn a_full_queue_drops_its_oldest_if_that_is_wanted() {
    let server = Server::new(|n, _| if n == 0 { Reply::retry_after(503, "1") } else { Reply::status(200) });
    let host = Host::new(server.url(), |config| {
        config.queue_max_bytes = 200_000;
        config.overflow = segment_native::Overflow::DropOldest;
        config.flush_at = 1;
    });
    for n in 0..2_000 {
        host.client.track("u", &format!("Event {n}"), None, None).expect("taken");
        // The first is sent before the queue is full. It is refused for now, and may be dropped while it waits.
        assert!(n > 0 || wait_until(|| server.begun() > 0));
        let stats = host.client.stats();
        balanced(&stats);
        assert!(stats.queued_bytes <= 200_000);
    }
    let stats = host.settled();
    assert!(stats.dropped > 0 && stats.refused == 0);
    assert_eq!(stats.delivered + stats.dropped, 2_000);
    let requests = server.requests();
    let names: HashSet<&str> = requests.iter().flat_map(|request| request.names()).collect();
    assert!(names.contains("Event 1999"), "the newest is kept");
    assert_eq!(server.acknowledged().len() as u64, stats.delivered);
}

#[test]
fn a_message_larger_than_the_queue_is_refused_even_if_the_oldest_may_be_dropped() {
    let host = Host::new(nobody(), |config| {
        config.queue_max_bytes = 100;
        config.overflow = segment_native::Overflow::DropOldest;
    });
    assert_eq!(kind(host.client.track("u", "Event", None, None)), Some(ErrorKind::QueueFull));
}

#[test]
fn a_dry_run_delivers_everything_and_sends_nothing() {
    let server = Server::good();
    let host = Host::new(server.url(), |config| config.dry_run = true);
    host.track(500);
    let stats = host.settled();
    assert_eq!((stats.delivered, host.told().len(), server.connections()), (500, 500, 0));
}

#[test]
fn whatever_the_server_does_every_message_is_accounted_for() {
    let server = Server::new(|n, request| match (n * 7 + request.events().len()) % 11 {
        0 => Reply::status(500),
        1 => Reply::Close,
        2 => Reply::status(403),
        3 => Reply::status(400),
        4 => Reply::Raw(b"garbage".to_vec()),
        _ => Reply::status(200),
    });
    let host = Arc::new(Host::new(server.url(), |config| config.flush_at = 50));
    let watching = host.clone();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let watcher = std::thread::spawn(move || {
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            balanced(&watching.client.stats());
            std::thread::yield_now();
        }
    });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let host = host.clone();
            std::thread::spawn(move || host.track(500))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let stats = host.settled();
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    watcher.join().expect("always balanced");
    assert_eq!(stats.accepted, 2_000);
    let told = host.told();
    let ids: HashSet<&String> = told.iter().map(|told| &told.id).collect();
    assert_eq!((told.len(), ids.len()), (2_000, 2_000), "each is told once");
    let delivered: HashSet<String> = told.iter().filter(|t| t.error.is_none()).map(|t| t.id.clone()).collect();
    assert_eq!(delivered.len() as u64, stats.delivered);
    assert!(delivered.is_subset(&server.acknowledged()), "what counts as delivered was acknowledged");
}
