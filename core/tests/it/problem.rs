//! Why nothing arrives, as the program can find out; and pausing a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::child::Folder;
use crate::patience::{NEVER, patience, wait_for_the_end, wait_until};
use crate::server::{Reply, Server, nobody};
use segment_native::bindings::survey;
use segment_native::{Client, Config, ErrorKind};

fn config(url: &str) -> Config {
    Config { endpoint: url.to_owned(), flush_interval: Duration::from_millis(5), ..Config::new("WRITE_KEY") }
}

fn track(client: &Client) {
    client.track("u", "E", None, None).expect("taken");
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later");
    i64::try_from(since.as_millis()).expect("not so late")
}

/// A server whose status can be changed.
fn server(status: u16, retry_after: Option<&'static str>) -> (Server, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let answering = status.clone();
    let server = Server::new(move |_, _| match (answering.load(Ordering::SeqCst), retry_after) {
        (429, Some(seconds)) => Reply::retry_after(429, seconds),
        (200, _) => Reply::status(200),
        (status, _) => Reply::Body(status, "text/plain", "not today".to_owned()),
    });
    (server, status)
}

/// Without the time of day.
fn problem(client: &Client) -> String {
    let problem = client.last_problem().unwrap_or_default();
    match problem.split_once(" at ") {
        Some((reason, rest)) if rest.as_bytes().get(2) == Some(&b':') => {
            assert_eq!(rest.get(8..13), Some(" UTC;"), "{problem}");
            format!("{reason};{}", &rest[13..])
        }
        _ => problem,
    }
}

#[test]
fn it_says_what_the_last_answer_was_and_when_the_next_try_is_made() {
    let (server, status) = server(503, None);
    let start = now_ms();
    let client = Client::new(config(&server.url())).expect("good settings");
    assert_eq!(client.last_problem(), None, "none is known");
    let stats = client.stats();
    assert_eq!((stats.last_http_status, stats.last_success_ms, stats.paused_until_ms), (None, None, None));
    track(&client);
    assert!(wait_until(|| problem(&client).ends_with("next try in 1 s")), "{}", problem(&client));
    assert_eq!(problem(&client), "Segment answered with status 503: not today; 1 message waits; next try in 1 s");
    assert_eq!(client.stats().last_http_status, Some(503));
    status.store(200, Ordering::SeqCst);
    client.flush(patience()).expect("delivered");
    let stats = client.stats();
    assert_eq!((client.last_problem(), stats.last_http_status), (None, Some(200)));
    assert!((start..=now_ms()).contains(&stats.last_success_ms.expect("a time")), "{stats:?}");
    status.store(401, Ordering::SeqCst);
    track(&client);
    client.flush(patience()).expect("settled");
    assert_eq!(problem(&client), "Segment answered with status 401: not today; nothing waits");
}

#[test]
fn a_demanded_pause_and_a_server_that_is_not_there_are_reported() {
    let (server, _) = server(429, Some("100"));
    let client = Client::new(config(&server.url())).expect("good settings");
    track(&client);
    assert!(wait_until(|| client.last_problem().is_some()));
    let begin =
        "Segment answered with status 429: {\"success\": true}; 1 message waits; the server wants a pause of another ";
    let problem_ = problem(&client);
    let seconds = problem_.strip_prefix(begin).and_then(|rest| rest.strip_suffix(" s")).expect(&problem_);
    assert!((1..=100).contains(&seconds.parse::<u32>().expect("a number")), "{problem_}");
    let until = client.stats().paused_until_ms.expect("a pause");
    assert!((until - now_ms() - 100_000).abs() < 60_000, "{until}");
    let folder = Folder::new();
    let spooled = || Config { spool_dir: Some(folder.0.clone()), ..config(&server.url()) };
    let before = Client::new(spooled()).expect("good settings");
    track(&before);
    let paused = || survey::queues(&folder.0).ok().and_then(|queues| queues.into_iter().find_map(|queue| queue.pause));
    assert!(wait_until(|| paused().is_some()), "it is kept");
    let pause = paused().expect("a pause");
    assert_eq!(pause.reason.as_deref(), Some("Segment answered with status 429: {\"success\": true}"));
    assert!((pause.until_ms - now_ms() - 100_000).abs() < 60_000, "{pause:?}");
    drop(before);
    wait_for_the_end(&folder.0);
    let next = Client::new(spooled()).expect("good settings");
    let known = |problem: &str| problem.starts_with("nothing is sent for another ");
    assert!(wait_until(|| next.last_problem().is_some_and(|problem| known(&problem))), "{:?}", next.last_problem());
    let client = Client::new(config(&nobody())).expect("good settings");
    track(&client);
    assert!(wait_until(|| problem(&client).starts_with("Segment could not be reached: ")), "{}", problem(&client));
}

#[test]
fn a_full_queue_an_opt_out_and_requests_under_way_are_reported() {
    let hang = Server::new(|_, _| Reply::Silence);
    let client = Client::new(Config { queue_max_bytes: 20_000, ..config(&hang.url()) }).expect("good settings");
    while client.track("u", "E", None, None).is_ok() {}
    assert_eq!(problem(&client), "the queue is full: queue_max_bytes is 20000");
    assert!(wait_until(|| client.stats().uploads == 1));
    client.opt_out().expect("nothing to keep");
    assert_eq!(problem(&client), "the user has opted out");
    assert!(wait_until(|| client.stats().uploads == 0));
}

#[test]
fn a_paused_client_sends_nothing_and_keeps_all_and_no_call_waits_for_it() {
    for spooled in [false, true] {
        let (folder, server) = (Folder::new(), Server::good());
        let settings = || Config { spool_dir: spooled.then(|| folder.0.clone()), ..config(&server.url()) };
        let client = Client::new(settings()).expect("good settings");
        client.pause();
        assert!(client.is_paused());
        client.flush(NEVER).expect("nothing waits");
        (0..500).for_each(|_| track(&client));
        let start = Instant::now();
        let error = client.flush(NEVER).expect_err("nothing is sent");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "the client is paused: nothing is sent"));
        assert!(start.elapsed() < patience());
        assert_eq!(problem(&client), "the client is paused; 500 messages wait");
        // Calls that already wait return too.
        client.resume();
        client.flush(patience()).expect("delivered");
        assert_eq!((client.is_paused(), client.last_problem(), client.stats().delivered), (false, None, 500));
        client.pause();
        (0..500).for_each(|_| track(&client));
        let begun = server.begun();
        assert_eq!(client.shutdown(NEVER).expect_err("nothing is sent").kind(), ErrorKind::Timeout);
        drop(client);
        assert_eq!(server.begun(), begun, "nothing was sent");
        if spooled {
            wait_for_the_end(&folder.0);
            let next = Client::new(settings()).expect("good settings");
            next.flush(patience()).expect("it does not outlive the client");
            assert_eq!((next.stats().recovered, next.stats().delivered), (500, 500));
        }
    }
}

#[test]
fn a_pause_ends_a_flush_and_lets_a_request_under_way_finish() {
    let (inside, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (entering, opening) = (inside.clone(), open.clone());
    let server = Server::new(move |_, _| {
        entering.fetch_add(1, Ordering::SeqCst);
        assert!(wait_until(|| opening.load(Ordering::SeqCst) > 0));
        Reply::status(200)
    });
    let client = Client::new(config(&server.url())).expect("good settings");
    track(&client);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| client.flush(NEVER));
        assert!(wait_until(|| inside.load(Ordering::SeqCst) == 1));
        client.pause();
        assert!(flush.join().expect("no panic").is_err());
    });
    open.store(1, Ordering::SeqCst);
    assert!(wait_until(|| client.stats().delivered == 1), "it may end");
    track(&client);
    client.flush(patience()).expect_err("the next is not sent");
    assert_eq!(client.stats().queued, 1);
}
