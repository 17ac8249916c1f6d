//! How a client ends: flush, shutdown, drop, and callbacks in between.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::patience::{NEVER, patience, wait_until};
use crate::server::{Reply, Server, nobody};
use segment_native::{Client, Config, ErrorKind, Level, bindings};

/// A request without an answer takes longer than any wait of the tests, so that a test that waits for it fails.
fn config(endpoint: String) -> Config {
    Config { endpoint, flush_interval: NEVER, timeout: patience() * 5, ..Config::new("WRITE_KEY") }
}

fn client(config: Config) -> Client {
    Client::new(config).expect("good settings")
}

fn kind(result: Result<(), segment_native::Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Counts what on_delivery is told: messages delivered, messages that ran out of time, others.
fn count(config: &mut Config) -> Arc<[AtomicUsize; 3]> {
    let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let counting = counts.clone();
    config.on_delivery = Some(Box::new(move |delivery| {
        let which = match delivery.error.map(|error| error.kind()) {
            None => 0,
            Some(ErrorKind::Timeout) => 1,
            Some(_) => 2,
        };
        counting[which].fetch_add(delivery.message_ids.len(), Ordering::SeqCst);
    }));
    counts
}

fn counted(counts: &[AtomicUsize; 3]) -> [usize; 3] {
    [0, 1, 2].map(|n| counts[n].load(Ordering::SeqCst))
}

#[test]
fn a_client_that_was_never_used_ends_at_once() {
    let client = client(config(nobody()));
    assert_eq!(client.flush(patience()), Ok(()));
    assert_eq!(client.shutdown(patience()), Ok(()));
    drop(client);
}

#[test]
fn dropping_delivers_what_is_queued() {
    let server = Server::good();
    let mut config = config(server.url());
    let counts = count(&mut config);
    let client = client(config);
    (0..10).for_each(|_| client.track("u", "E", None, None).expect("taken"));
    drop(client);
    assert_eq!(counted(&counts), [10, 0, 0]);
    assert_eq!(server.acknowledged().len(), 10);
}

#[test]
fn a_flush_without_time_starts_the_sending() {
    let server = Server::good();
    let client = client(config(server.url()));
    client.track("u", "E", None, None).expect("taken");
    assert_eq!(kind(client.flush(Duration::ZERO)), Some(ErrorKind::Timeout));
    assert!(wait_until(|| client.stats().delivered == 1));
}

#[test]
fn a_flush_waits_for_what_was_accepted_before_and_not_for_more() {
    let server = Server::good();
    let client = Arc::new(client(Config { queue_max_bytes: 100_000, ..config(server.url()) }));
    let stop = Arc::new(AtomicBool::new(false));
    let tracking = {
        let (client, stop) = (client.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let _ = client.track("u", "E", None, None);
            }
        })
    };
    assert!(wait_until(|| client.stats().accepted >= 100));
    for _ in 0..5 {
        let before = client.stats().accepted;
        assert_eq!(client.flush(patience()), Ok(()), "although another thread goes on tracking");
        assert!(client.stats().delivered >= before);
    }
    stop.store(true, Ordering::SeqCst);
    tracking.join().expect("no panic");
}

#[test]
fn every_wait_keeps_its_deadline_with_a_server_that_hangs() {
    let server = Server::new(|_, _| Reply::Silence);
    let mut config = Config { shutdown: Duration::from_millis(100), ..config(server.url()) };
    let counts = count(&mut config);
    let client = client(config);
    client.track("u", "E", None, None).expect("taken");
    let start = Instant::now();
    assert_eq!(kind(client.flush(Duration::from_millis(100))), Some(ErrorKind::Timeout));
    client.track("u", "E", None, None).expect("taken");
    drop(client);
    assert!(start.elapsed() < patience(), "{:?}", start.elapsed());
    assert_eq!(counted(&counts), [0, 2, 0], "what was in flight and what waited");
}

#[test]
fn a_shutdown_takes_no_more_and_may_be_repeated() {
    let (release, released) = channel();
    let released = Mutex::new(released);
    let server = Server::new(move |_, _| {
        released.lock().expect("no panic").recv_timeout(patience()).expect("the test releases it");
        Reply::status(200)
    });
    let client = client(config(server.url()));
    client.track("u", "E", None, None).expect("taken");
    let _ = client.flush(Duration::ZERO);
    assert!(wait_until(|| server.begun() == 1));
    assert_eq!(kind(client.shutdown(Duration::ZERO)), Some(ErrorKind::Timeout));
    assert_eq!(kind(client.track("u", "E", None, None)), Some(ErrorKind::Closed));
    assert_eq!(kind(client.enqueue("{}")), Some(ErrorKind::Invalid), "a wrong argument is reported first");
    release.send(()).expect("it waits");
    assert_eq!(client.shutdown(patience()), Ok(()), "the second call gives it time");
    assert_eq!(client.shutdown(Duration::ZERO), Ok(()));
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.refused), (1, 2));
}

#[test]
fn after_a_shutdown_without_time_dropping_sends_nothing() {
    let server = Server::good();
    let mut config = config(server.url());
    let counts = count(&mut config);
    let client = client(config);
    (0..3).for_each(|_| client.track("u", "E", None, None).expect("taken"));
    assert_eq!(kind(client.shutdown(Duration::ZERO)), Some(ErrorKind::Timeout));
    drop(client);
    assert_eq!(counted(&counts), [0, 3, 0]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn from_a_callback_flush_and_shutdown_refuse_and_tracking_works() {
    let server = Server::good();
    let told = Arc::new(Mutex::new(Vec::new()));
    let place: Arc<OnceLock<std::sync::Weak<Client>>> = Arc::new(OnceLock::new());
    let mut config = config(server.url());
    let (telling, client) = (told.clone(), place.clone());
    config.on_delivery = Some(Box::new(move |_| {
        let client = client.get().and_then(std::sync::Weak::upgrade).expect("the client lives");
        let mut told = telling.lock().expect("no panic");
        if told.is_empty() {
            told.extend([
                client.flush(patience()),
                client.shutdown(patience()),
                client.track("u", "From the callback", None, None),
            ]);
            assert!(bindings::is_in_callback(&client));
        }
    }));
    let client = Arc::new(Client::new(config).expect("good settings"));
    place.set(Arc::downgrade(&client)).expect("once");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    client.flush(patience()).expect("settled");
    let told = told.lock().expect("no panic");
    let kinds: Vec<_> = told.iter().map(|result| result.as_ref().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [Some(ErrorKind::Invalid), Some(ErrorKind::Invalid), None]);
    assert!(
        told[0].as_ref().is_err_and(|e| e.message() == "flush must not be called from a callback of the same client")
    );
    assert!(!bindings::is_in_callback(&client));
    assert_eq!(client.stats().delivered, 2);
}

#[test]
fn a_client_dropped_in_its_own_callback_ends_without_a_deadlock() {
    let server = Server::good();
    let place: Arc<Mutex<Option<Client>>> = Arc::new(Mutex::new(None));
    let (ended, wait) = channel();
    let mut config = config(server.url());
    let client = place.clone();
    config.on_delivery = Some(Box::new(move |_| {
        drop(client.lock().expect("no panic").take());
        ended.send(()).expect("the test waits");
    }));
    *place.lock().expect("no panic") = Some(Client::new(config).expect("good settings"));
    {
        let client = place.lock().expect("no panic");
        let client = client.as_ref().expect("there");
        client.track("u", "E", None, None).expect("taken");
        let _ = client.flush(Duration::ZERO);
    }
    wait.recv_timeout(patience()).expect("the callback returns");
}

#[test]
fn no_callback_runs_after_the_client_is_gone() {
    for round in 0..50 {
        let server = Server::new(|_, _| Reply::status(500));
        let mut config = config(server.url());
        config.shutdown = Duration::from_millis(round % 5);
        config.flush_at = 1;
        let gone = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let (is_gone, is_late) = (gone.clone(), late.clone());
        config.on_delivery = Some(Box::new(move |_| {
            std::thread::sleep(Duration::from_millis(2));
            is_late.fetch_or(is_gone.load(Ordering::SeqCst), Ordering::SeqCst);
        }));
        let (is_gone, is_late) = (gone.clone(), late.clone());
        config.on_log = Some(Box::new(move |_, _| {
            is_late.fetch_or(is_gone.load(Ordering::SeqCst), Ordering::SeqCst);
        }));
        let client = client(config);
        (0..5).for_each(|_| client.track("u", "E", None, None).expect("taken"));
        drop(client);
        gone.store(true, Ordering::SeqCst);
        assert!(wait_until(|| Arc::strong_count(&late) == 1), "the callbacks go away, and with them the last chance");
        assert!(!late.load(Ordering::SeqCst));
    }
}

#[test]
fn dropping_waits_for_a_callback_that_is_running() {
    let server = Server::good();
    let mut config = Config { shutdown: Duration::from_millis(1), ..config(server.url()) };
    let (enter, entered) = channel();
    let (leave, left) = channel();
    let left = Mutex::new(left);
    config.on_delivery = Some(Box::new(move |_| {
        enter.send(()).expect("the test waits");
        left.lock().expect("no panic").recv_timeout(patience()).expect("the test releases it");
    }));
    let client = client(config);
    client.track("u", "E", None, None).expect("taken");
    let _ = client.flush(Duration::ZERO);
    entered.recv_timeout(patience()).expect("the callback runs");
    let (end, ended) = channel();
    std::thread::spawn(move || {
        drop(client);
        end.send(()).expect("the test waits");
    });
    assert!(ended.recv_timeout(Duration::from_millis(100)).is_err(), "it does not end before the callback");
    leave.send(()).expect("it waits");
    ended.recv_timeout(patience()).expect("it ends after it");
}

#[test]
fn a_callback_that_panics_does_not_end_the_delivery() {
    let server = Server::good();
    let mut config = config(server.url());
    config.on_delivery = Some(Box::new(|_| panic!("the host's own bug")));
    config.on_log = Some(Box::new(|_, _| panic!("the host's own bug")));
    let client = client(config);
    for round in 1..=3 {
        client.track("u", "E", None, None).expect("taken");
        client.flush(patience()).expect("settled");
        assert_eq!(client.stats().delivered, round);
    }
}

#[test]
fn the_log_says_what_a_person_wants_to_know() {
    let server = Server::new(|n, _| Reply::status([403, 200, 503, 200][n.min(3)]));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let logging = lines.clone();
    let mut config = config(server.url());
    config.on_log = Some(Box::new(move |level, line| logging.lock().expect("no panic").push((level, line.to_owned()))));
    let client = client(config);
    for _ in 0..2 {
        client.track("u", "E", None, None).expect("taken");
        client.flush(patience()).expect("settled");
    }
    client.track("u", "E", None, None).expect("taken");
    let _ = client.flush(Duration::ZERO);
    assert!(wait_until(|| client.stats().requests == 3));
    drop(client); // waits neither for the back-off nor for more messages
    let lines = lines.lock().expect("no panic");
    let has = |level: Level, beginning: &str| lines.iter().any(|(l, line)| *l == level && line.starts_with(beginning));
    assert!(has(Level::Warning, "1 message waits to be sent again: Segment answered with status 503"), "{lines:?}");
    assert!(has(Level::Error, "1 message was given up: Segment answered with status 403"), "{lines:?}");
    assert!(has(Level::Debug, "1 message was delivered in "), "{lines:?}");
    assert!(!lines.iter().any(|(_, line)| line.contains("WRITE_KEY")));
}
