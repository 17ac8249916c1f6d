//! The host is told of what a full queue drops, and of calls that fail, even if it ignores what they return.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use crate::child::Folder;
use crate::patience::{NEVER, patience, wait_for_the_end, wait_until};
use crate::server::{Reply, Server, nobody};
use segment_native::{Client, Config, Error, ErrorKind, Level, Object, Options, Overflow, Stats, bindings};

const QUEUE_MAX_BYTES: u64 = 200_000;

/// What a host was told of one message.
#[derive(Debug, Clone)]
struct Told {
    kind: Option<ErrorKind>,
    http_status: Option<u16>,
    attempts: u32,
    /// Whether the message itself was passed, whole.
    has_message: bool,
    thread: ThreadId,
}

struct Host {
    client: Client,
    told: Arc<Mutex<HashMap<String, Vec<Told>>>>,
    lines: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Host {
    fn new(endpoint: String, change: impl FnOnce(&mut Config)) -> Host {
        let (told, lines) = (Arc::<Mutex<HashMap<String, Vec<Told>>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (list, log) = (told.clone(), lines.clone());
        let on_delivery = move |delivery: &segment_native::Delivery<'_>| {
            let mut list = list.lock().expect("no panic");
            for (id, message) in delivery.message_ids.iter().zip(delivery.messages) {
                list.entry(id.clone()).or_default().push(Told {
                    kind: delivery.error.map(Error::kind),
                    http_status: delivery.http_status,
                    attempts: delivery.attempts,
                    has_message: std::str::from_utf8(message)
                        .is_ok_and(|text| text.contains(id) && text.ends_with('}')),
                    thread: std::thread::current().id(),
                });
            }
        };
        let mut config = Config {
            endpoint,
            overflow: Overflow::DropOldest,
            queue_max_bytes: QUEUE_MAX_BYTES,
            flush_interval: NEVER,
            timeout: NEVER,
            shutdown: Duration::ZERO,
            on_delivery: Some(Box::new(on_delivery)),
            on_log: Some(Box::new(move |level, line| log.lock().expect("no panic").push((level, line.to_owned())))),
            ..Config::new("WRITE_KEY")
        };
        change(&mut config);
        Host { client: Client::new(config).expect("good settings"), told, lines }
    }

    fn track(&self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            let options = Options { message_id: Some(&id), ..Options::default() };
            self.client.track("u", "Event", None, options).expect("the newest is always taken");
        }
    }

    /// What the host was told of dropped messages, by their ids.
    fn dropped(&self) -> HashMap<String, Told> {
        let told = self.told.lock().expect("no panic");
        let dropped = told.iter().map(|(id, told)| match told.as_slice() {
            [told] => (id.clone(), told.clone()),
            more => panic!("{id} is told of {} times", more.len()),
        });
        dropped.filter(|(_, told)| told.kind == Some(ErrorKind::QueueFull)).collect()
    }

    fn lines(&self, about: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic");
        lines.iter().map(|(_, line)| line.clone()).filter(|line| line.contains(about)).collect()
    }
}

fn balanced(stats: &Stats) {
    assert_eq!(stats.accepted, stats.delivered + stats.failed + stats.dropped + stats.queued, "{stats:?}");
}

fn ids(run: &str, messages: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    let run = run.to_owned();
    messages.map(move |n| format!("{run}-{n}"))
}

#[test]
fn what_a_full_queue_drops_is_told_once_and_by_the_delivery_thread() {
    let server = Server::new(|n, _| if n == 0 { Reply::retry_after(503, "1") } else { Reply::status(200) });
    let host = Host::new(server.url(), |config| config.flush_at = 1);
    host.track(ids("m", 0..1));
    assert!(wait_until(|| host.client.stats().last_http_status == Some(503)), "it waits for its next attempt");
    host.track(ids("m", 1..2_000));
    host.client.flush(patience()).expect("settled, and told");
    let stats = host.client.stats();
    balanced(&stats);
    let dropped = host.dropped();
    assert!(stats.dropped > 0 && stats.delivered + stats.dropped == 2_000, "{stats:?}");
    assert_eq!(dropped.len() as u64, stats.dropped);
    assert_eq!(host.told.lock().expect("no panic").len(), 2_000);
    let this = std::thread::current().id();
    assert!(dropped.values().all(|told| told.thread != this && told.has_message));
    let threads: HashSet<ThreadId> = host.told.lock().expect("no panic").values().map(|told| told[0].thread).collect();
    assert_eq!(threads.len(), 1);
    let first = &dropped["m-0"];
    assert_eq!((first.attempts, first.http_status), (1, Some(503)), "the oldest was sent once");
    assert!(dropped.iter().all(|(id, told)| id == "m-0" || (told.attempts, told.http_status) == (0, None)));
    assert!(!dropped.contains_key("m-1999"));
}

#[test]
fn own_messages_dropped_from_the_disk_are_told_too_and_those_of_other_clients_only_counted() {
    let folder = Folder::new();
    let endpoint = nobody();
    let host = || Host::new(endpoint.clone(), |config| config.spool_dir = Some(folder.0.clone()));
    let first = host();
    first.track(ids("first", 0..2_000));
    assert!(wait_until(|| first.dropped().len() as u64 == first.client.stats().dropped), "{:?}", first.client.stats());
    let this = std::thread::current().id();
    assert!(first.dropped().values().all(|told| told.thread != this && told.has_message));
    let stats = first.client.stats();
    assert!(stats.dropped > 0 && stats.in_memory == 0, "{stats:?}");
    balanced(&stats);
    let left = stats.queued;
    drop(first);
    wait_for_the_end(&folder.0);

    let second = host();
    let mut tracked = 0;
    // All that the first client has left is dropped too, and counted.
    let is_told = || {
        second.track(ids("second", tracked..tracked + 100));
        tracked += 100;
        let stats = second.client.stats();
        stats.recovered == left && stats.dropped == second.dropped().len() as u64 + left
    };
    assert!(wait_until(is_told), "{left} were left: {:?}", second.client.stats());
    assert!(second.told.lock().expect("no panic").keys().all(|id| id.starts_with("second")));
    balanced(&second.client.stats());
    assert_eq!(second.lines("on_delivery is not told"), [""; 0]);
}

#[test]
fn what_the_end_of_a_client_finds_dropped_is_told_before_it_ends() {
    let folder = Folder::new();
    for spool_dir in [None, Some(folder.0.clone())] {
        let host = Host::new(nobody(), |config| config.spool_dir = spool_dir);
        host.client.pause();
        host.track(ids("m", 0..2_000));
        let Host { client, told, .. } = host;
        bindings::end(&client);
        let stats = client.stats();
        balanced(&stats);
        let told = told.lock().expect("no panic");
        let dropped = told.values().flatten().filter(|told| told.kind == Some(ErrorKind::QueueFull)).count();
        assert!(stats.dropped > 0 && dropped as u64 == stats.dropped, "{dropped} of {stats:?}");
        let lost = told.values().flatten().filter(|told| told.kind == Some(ErrorKind::Timeout)).count();
        assert_eq!((lost as u64, told.len() as u64), (stats.failed, stats.dropped + stats.failed));
    }
}

/// The callback returns when the test lets it: meanwhile more is dropped than is held for the host.
#[test]
fn a_slow_host_is_told_a_part_and_how_much_is_missing() {
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let (left, named) = (Mutex::new(left), Arc::new(Mutex::new(0)));
    let (count, enter): (_, Mutex<Option<Sender<()>>>) = (named.clone(), Mutex::new(Some(enter)));
    let host = Host::new(nobody(), |config| {
        config.on_delivery = Some(Box::new(move |delivery| {
            if let Some(enter) = enter.lock().expect("no panic").take() {
                enter.send(()).expect("the test waits");
                left.lock().expect("no panic").recv_timeout(patience()).expect("the test releases it");
            }
            if delivery.error.is_some_and(|error| error.kind() == ErrorKind::QueueFull) {
                *count.lock().expect("no panic") += delivery.message_ids.len() as u64;
            }
        }));
    });
    host.client.pause(); // nothing is sent, but the host is told
    let filler = Object::from([("filler", "x".repeat(10_000).as_str())]);
    let track = |messages: usize| {
        for _ in 0..messages {
            host.client.track("u", "Event", &filler, None).expect("the newest is always taken");
            balanced(&host.client.stats());
        }
    };
    track(40);
    entered.recv_timeout(patience()).expect("it is being told");
    track(1_000);
    leave.send(()).expect("it waits");
    let missing = || -> u64 {
        let lines = host.lines("on_delivery is not told of ");
        lines.iter().map(|line| line.split(' ').nth(5).and_then(|n| n.parse::<u64>().ok()).expect("a number")).sum()
    };
    let stats = host.client.stats();
    let is_whole = || *named.lock().expect("no panic") + missing() == stats.dropped;
    assert!(wait_until(is_whole), "{} and {} of {stats:?}", named.lock().expect("no panic"), missing());
    assert!(missing() > 0 && *named.lock().expect("no panic") > 300, "4 MiB are told: {}", missing());
    let why = "messages that were dropped for room: too many at once";
    assert!(host.lines("on_delivery is not told of ").iter().all(|line| line.ends_with(why)));
}

#[test]
fn a_call_that_fails_is_told_to_the_log_once_for_each_kind_of_error() {
    let host = Host::new(nobody(), |_| {});
    for n in 0..1_000 {
        let _ = host.client.track("u", "", None, None);
        let _ = host.client.track(None, "Event", None, None);
        let _ = host.client.enqueue(&format!("{{\"type\":\"{n}\"}}"));
        let _ = host.client.track("u", "Event", &Object::from([("text", "x".repeat(40_000 + n).as_str())]), None);
        let _ = host.client.set_consent(&Object::from([(format!("category {n}").as_str(), "yes")]));
    }
    assert_eq!((host.client.stats().refused, host.client.stats().accepted), (5_000, 0));
    assert!(
        wait_until(|| host.lines("a call failed").len() >= 5),
        "although no message was ever taken: {:?}",
        host.lines("")
    );
    host.client.track("u", "Event", None, None).expect("taken");
    host.client.shutdown(Duration::ZERO).expect_err("nothing listens there");
    // These are no mistakes.
    assert_eq!(host.client.track("u", "Event", None, None).map_err(|error| error.kind()), Err(ErrorKind::Closed));
    bindings::end(&host.client);
    let mut lines = host.lines("a call failed");
    lines.sort();
    let said = ["categories: ", "event ", "properties: ", "type ", "user_id or anonymous_id "];
    assert_eq!(lines.len(), said.len(), "{lines:?}");
    for (line, said) in lines.iter().zip(said) {
        assert!(line.starts_with(&format!("a call failed: {said}")), "{lines:?}");
    }
    assert!(host.lines.lock().expect("no panic").iter().all(|(level, _)| *level <= Level::Warning));
}

#[test]
fn a_full_queue_and_a_user_who_opted_out_are_no_mistakes_of_the_call() {
    let host = Host::new(nobody(), |config| config.overflow = Overflow::Refuse);
    let filler = Object::from([("filler", "x".repeat(10_000).as_str())]);
    while host.client.track("u", "Event", &filler, None).is_ok() {}
    host.client.opt_out().expect("kept");
    let refused = host.client.track("u", "Event", None, None);
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::OptedOut));
    bindings::end(&host.client);
    assert_eq!(host.lines("a call failed"), [""; 0]);
    assert_eq!(host.lines("the queue is full").len(), 1, "which says so itself");
}
