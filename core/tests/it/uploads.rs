//! Several batches under way at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use crate::child::{Folder, Random, balanced};
use crate::patience::{NEVER, campaign, patience, rounds, wait_for_the_end, wait_until};
use crate::server::{Reply, Server};
use segment_native::bindings::survey;
use segment_native::{Client, Config, ErrorKind, HttpResponse, Object, Request};

/// How many requests a server is handling, and the most there ever were.
#[derive(Clone, Default)]
struct Gate {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gate {
    fn enter(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// A server that is a few milliseconds away, so that two requests under way at once overlap there.
    fn far(&self, reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Server {
        let gate = self.clone();
        Server::new(move |n, _| {
            gate.enter();
            std::thread::sleep(Duration::from_millis(5));
            gate.leave();
            reply(n)
        })
    }

    /// A server that answers once `at_once` requests are there or, for the last ones, all that are left. The first is
    /// answered alone.
    fn server(&self, at_once: usize, requests: usize) -> Server {
        let gate = self.clone();
        Server::new(move |n, _| {
            gate.enter();
            let last = n + at_once >= requests;
            assert!(n == 0 || last || wait_until(|| gate.most() >= at_once), "{} at once", gate.most());
            gate.leave();
            Reply::status(200)
        })
    }
}

/// A batch has 30 messages of these.
fn large() -> Object {
    Object::from([("filler", "x".repeat(15_500).as_str())])
}

const A_BATCH: usize = 30;

fn config(url: &str, uploads: u32) -> Config {
    Config { endpoint: url.to_owned(), uploads, gzip: false, flush_interval: NEVER, ..Config::new("WRITE_KEY") }
}

fn track(client: &Client, messages: std::ops::Range<usize>) {
    let large = large();
    messages.for_each(|n| client.track("u", &format!("Event {n}"), &large, None).expect("taken"));
}

fn events(server: &Server) -> Vec<String> {
    server
        .requests()
        .iter()
        .flat_map(|request| request.names().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn as_many_batches_are_under_way_as_the_settings_say_and_callbacks_come_one_by_one_on_one_thread() {
    for spooled in [false, true] {
        let folder = Folder::new();
        let gate = Gate::default();
        let server = gate.server(5, 12);
        let inside = Arc::new(AtomicU32::new(0));
        let threads = Arc::new(Mutex::new(HashSet::<ThreadId>::new()));
        let (told, telling) = (threads.clone(), inside.clone());
        let on_delivery = move |_: &segment_native::Delivery<'_>| {
            assert_eq!(telling.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            told.lock().expect("no panic").insert(std::thread::current().id());
            telling.fetch_sub(1, Ordering::SeqCst);
        };
        let client = Client::new(Config {
            spool_dir: spooled.then(|| folder.0.clone()),
            on_delivery: Some(Box::new(on_delivery)),
            ..config(&server.url(), 5)
        });
        let client = client.expect("good settings");
        track(&client, 0..12 * A_BATCH);
        client.flush(patience()).expect("delivered");
        let stats = client.stats();
        assert_eq!((stats.delivered, stats.queued, stats.failed), (12 * A_BATCH as u64, 0, 0), "{stats:?}");
        assert_eq!((gate.most(), threads.lock().expect("no panic").len()), (5, 1));
        let arrived: HashSet<String> = events(&server).into_iter().collect();
        assert_eq!(arrived.len(), 12 * A_BATCH);
    }
}

#[test]
fn by_default_there_are_more_uploads_as_needed_and_never_more_than_sixteen() {
    let gate = Gate::default();
    let server_gate = gate.clone();
    // Rounds of 1, 2, 4 and 8 requests are answered; then sixteen come together.
    let server = Server::new(move |n, _| {
        server_gate.enter();
        let so_far = [1, 3, 7, 15].into_iter().take_while(|end| n >= *end).count();
        let at_once = 1 << so_far;
        assert!(n + at_once >= 60 || wait_until(|| server_gate.most() >= at_once), "{} at once", server_gate.most());
        server_gate.leave();
        Reply::status(200)
    });
    let client = Client::new(config(&server.url(), 0)).expect("good settings");
    track(&client, 0..60 * A_BATCH);
    client.flush(patience()).expect("delivered");
    assert_eq!((gate.most(), client.stats().delivered), (16, 60 * A_BATCH as u64));
    let quiet = Gate::default();
    let server = quiet.far(|_| Reply::status(200));
    let client = Client::new(config(&server.url(), 0)).expect("good settings");
    for n in 0..50 {
        track(&client, n..n + 1);
        client.flush(patience()).expect("delivered");
    }
    assert_eq!(quiet.most(), 1, "one carries all that waits");
}

#[test]
fn one_upload_keeps_the_order() {
    let gate = Gate::default();
    let server = gate.far(|n| if n % 5 == 3 { Reply::Close } else { Reply::status(200) });
    let client = Client::new(config(&server.url(), 1)).expect("good settings");
    track(&client, 0..12 * A_BATCH);
    client.flush(patience()).expect("delivered");
    let mut arrived = Vec::new();
    for event in events(&server) {
        if !arrived.contains(&event) {
            arrived.push(event);
        }
    }
    let sent: Vec<String> = (0..12 * A_BATCH).map(|n| format!("Event {n}")).collect();
    assert_eq!((gate.most(), arrived == sent), (1, true));
}

#[test]
fn a_small_queue_is_never_wholly_under_way() {
    let gate = Gate::default();
    let server = gate.server(3, 9);
    // Three batches are a little less than a quarter of it.
    let client = Client::new(Config { queue_max_bytes: 6_500_000, ..config(&server.url(), 16) });
    let client = client.expect("good settings");
    track(&client, 0..9 * A_BATCH);
    client.flush(patience()).expect("delivered");
    assert_eq!((gate.most(), client.stats().delivered), (3, 9 * A_BATCH as u64));
}

#[test]
fn a_server_that_begins_to_fail_gets_one_request_at_a_time() {
    let gate = Gate::default();
    let seen = gate.clone();
    let bad = Arc::new(AtomicUsize::new(0));
    let failing = bad.clone();
    // After the first one eight arrive at once, and fail; then six more fail, one by one.
    let server = Server::new(move |n, _| {
        seen.enter();
        assert!(n == 0 || n > 8 || wait_until(|| seen.most() >= 8));
        assert!(!(9..16).contains(&n) || seen.inside.load(Ordering::SeqCst) == 1, "alone");
        seen.leave();
        failing.fetch_add(usize::from((1..15).contains(&n)), Ordering::SeqCst);
        if (1..15).contains(&n) { Reply::status(503) } else { Reply::status(200) }
    });
    let folder = Folder::new();
    let client = Client::new(Config { spool_dir: Some(folder.0.clone()), ..config(&server.url(), 8) });
    let client = client.expect("good settings");
    track(&client, 0..10 * A_BATCH);
    // A flush cuts our waits short, so this does not take long.
    assert!(wait_until(|| client.flush(Duration::from_millis(50)).is_ok()));
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.failed, bad.load(Ordering::SeqCst)), (10 * A_BATCH as u64, 0, 14), "{stats:?}");
}

#[test]
fn a_client_that_ends_leaves_hanging_uploads_behind_and_loses_nothing() {
    for spooled in [true, false] {
        let folder = Folder::new();
        let gate = Gate::default();
        let seen = gate.clone();
        let server = Server::new(move |n, _| {
            seen.enter();
            if n == 0 { Reply::status(200) } else { Reply::Silence }
        });
        let lost = Arc::new(AtomicUsize::new(0));
        let losing = lost.clone();
        let on_delivery = move |delivery: &segment_native::Delivery<'_>| {
            if delivery.error.is_some_and(|error| error.kind() == ErrorKind::Timeout) {
                losing.fetch_add(delivery.message_ids.len(), Ordering::SeqCst);
            }
        };
        let settings = Config {
            spool_dir: spooled.then(|| folder.0.clone()),
            on_delivery: Some(Box::new(on_delivery)),
            shutdown: Duration::from_millis(1),
            ..config(&server.url(), 6)
        };
        let client = Client::new(settings).expect("good settings");
        track(&client, 0..8 * A_BATCH);
        let _ = client.flush(Duration::ZERO);
        assert!(wait_until(|| gate.most() == 7), "one is answered, and six hang");
        let stats = client.stats();
        let left = usize::try_from(stats.queued).expect("few");
        assert_eq!(stats.delivered + stats.queued, 8 * A_BATCH as u64, "{stats:?}");
        let start = std::time::Instant::now();
        drop(client);
        assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
        if spooled {
            wait_for_the_end(&folder.0);
            let files = survey::queues(&folder.0).expect("readable").remove(0).files;
            let kept = files.iter().map(|file| file.read().expect("readable").expect("there").messages.len());
            assert_eq!(kept.sum::<usize>(), left);
        } else {
            assert_eq!(lost.load(Ordering::SeqCst), left);
        }
    }
}

/// The end of a client waits for a callback that is running, but not for those of further answers.
#[test]
fn answers_that_wait_behind_a_slow_callback_do_not_hold_up_the_end() {
    let folder = Folder::new();
    let gate = Gate::default();
    let server = gate.server(8, 9);
    let (ending, told) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (is_ending, telling) = (ending.clone(), told.clone());
    let on_delivery = move |_: &segment_native::Delivery<'_>| {
        telling.fetch_add(1, Ordering::SeqCst);
        if telling.load(Ordering::SeqCst) > 1 {
            assert!(wait_until(|| is_ending.load(Ordering::SeqCst) > 0));
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    let settings = Config {
        spool_dir: Some(folder.0.clone()),
        on_delivery: Some(Box::new(on_delivery)),
        shutdown: Duration::from_millis(1),
        ..config(&server.url(), 8)
    };
    let client = Client::new(settings).expect("good settings");
    track(&client, 0..9 * A_BATCH);
    let _ = client.flush(Duration::ZERO);
    assert!(wait_until(|| told.load(Ordering::SeqCst) == 2), "one of the eight is being told");
    assert!(wait_until(|| gate.inside.load(Ordering::SeqCst) == 0), "and all are answered");
    ending.store(1, Ordering::SeqCst);
    drop(client);
    assert!(told.load(Ordering::SeqCst) <= 4, "{} of 9", told.load(Ordering::SeqCst));
}

#[test]
fn nothing_that_is_under_way_arrives_after_an_opt_out() {
    let gate = Gate::default();
    let seen = gate.clone();
    let server = Server::new(move |n, _| {
        seen.enter();
        if n == 0 { Reply::status(200) } else { Reply::Silence }
    });
    let client = Client::new(config(&server.url(), 6)).expect("good settings");
    track(&client, 0..20 * A_BATCH);
    let _ = client.flush(Duration::ZERO);
    assert!(wait_until(|| gate.most() == 7));
    client.opt_out().expect("nothing to keep");
    assert!(wait_until(|| client.stats().queued == 0));
    client.flush(patience()).expect("nothing is left");
    let stats = client.stats();
    assert!(stats.delivered > 0 && stats.delivered + stats.dropped == 20 * A_BATCH as u64, "{stats:?}");
    assert_eq!(server.begun(), 7, "nothing was begun after it");
}

#[test]
fn the_hosts_http_is_used_by_as_many_threads_as_the_settings_say() {
    for (uploads, expected) in [(0, 1), (1, 1), (3, 3)] {
        let gate = Gate::default();
        let seen = gate.clone();
        let count = AtomicUsize::new(0);
        let transport = move |_: &segment_native::HttpRequest<'_>| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            seen.enter();
            assert!(n == 0 || n + expected >= 9 || wait_until(|| seen.most() >= expected));
            seen.leave();
            Ok(HttpResponse { status: 200, ..HttpResponse::default() })
        };
        let client = Client::new(Config { transport: Some(Box::new(transport)), ..config("", uploads) });
        let client = client.expect("good settings");
        track(&client, 0..9 * A_BATCH);
        client.flush(patience()).expect("delivered");
        assert_eq!((gate.most(), client.stats().delivered), (expected, 9 * A_BATCH as u64), "uploads: {uploads}");
    }
}

#[test]
fn a_request_that_panics_fails_and_its_thread_goes_on() {
    let count = AtomicUsize::new(0);
    let transport = move |_: &segment_native::HttpRequest<'_>| {
        assert!(!(2..5).contains(&count.fetch_add(1, Ordering::SeqCst)), "a bug of the host's");
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    };
    let client = Client::new(Config { transport: Some(Box::new(transport)), ..config("", 4) }).expect("good settings");
    track(&client, 0..9 * A_BATCH);
    assert!(wait_until(|| client.flush(Duration::from_millis(50)).is_ok()));
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.failed), (9 * A_BATCH as u64, 0), "{stats:?}");
}

#[test]
fn too_many_are_refused_by_name() {
    let error = Client::new(config("https://localhost", 65)).expect_err("too many");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "uploads must be at most 64"));
}

/// Random calls on sixteen threads with an unreliable server: the counts add up at every moment, and in the end every
/// message is settled once.
#[test]
fn whatever_sixteen_threads_do_everything_is_settled_once() {
    let (calls, mut accepted) = (rounds(150), 0);
    for spooled in [false, true] {
        let folder = Folder::new();
        let server = Server::new(|n, _| match n % 9 {
            3 => Reply::Close,
            5 => Reply::status(503),
            7 => Reply::status(400),
            _ => Reply::status(200),
        });
        let settled = Arc::new(Mutex::new(Vec::new()));
        let telling = settled.clone();
        let on_delivery = move |delivery: &segment_native::Delivery<'_>| {
            telling.lock().expect("no panic").extend(delivery.message_ids.iter().cloned());
        };
        let settings = Config {
            spool_dir: spooled.then(|| folder.0.clone()),
            flush_at: 5,
            flush_interval: Duration::from_millis(1),
            queue_max_bytes: 1 << 20,
            on_delivery: Some(Box::new(on_delivery)),
            on_log: Some(Box::new(|_, line: &str| assert!(!line.is_empty()))),
            stateful: true,
            ..config(&server.url(), 8)
        };
        let client = Client::new(settings).expect("good settings");
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let client = &client;
                scope.spawn(move || {
                    let mut random = Random(thread);
                    let filler = Object::from([("filler", "x".repeat(2_000).as_str())]);
                    for _ in 0..calls {
                        match random.below(40) {
                            0 => _ = client.flush(Duration::from_millis(1)),
                            1 => client.pause(),
                            2 => _ = client.identify("u", &filler, None),
                            3 => _ = client.last_problem(),
                            4 => _ = client.reset(),
                            5 => _ = client.call(&Request { path: "/v1/x", ..Request::default() }),
                            6..9 => client.resume(),
                            9..12 => balanced(&client.stats()),
                            _ => _ = client.track("u", "E", &filler, None),
                        }
                    }
                });
            }
        });
        client.resume();
        assert!(wait_until(|| client.flush(Duration::from_millis(50)).is_ok()), "{:?}", client.last_problem());
        let stats = client.stats();
        balanced(&stats);
        let told = settled.lock().expect("no panic");
        let different: HashSet<&String> = told.iter().collect();
        assert_eq!((told.len(), different.len()), (stats.accepted as usize, stats.accepted as usize), "{stats:?}");
        assert_eq!((stats.queued, stats.uploads), (0, 0), "{stats:?}");
        accepted += told.len();
    }
    let size = [(2 * 16 * calls, "random calls"), (accepted, "accepted")];
    campaign("16 threads, 8 uploads, an unreliable server", &size, None, "each settled once");
}
