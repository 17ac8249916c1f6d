//! What cannot be had from a real network: transports that panic, and one that nothing can interrupt.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;
use crate::http::{Answer, Post};

const LONG: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { flush_interval: LONG, ..Config::new("k") }
}

fn client(config: Config, transport: impl Transport + 'static) -> Client {
    let transport = Mutex::new(Some(Box::new(transport)));
    let once = move || -> Box<dyn Transport> { transport.lock().expect("no panic").take().expect("no fork") };
    Client::with(config, Arc::new(Disk), Box::new(once)).expect("good settings")
}

fn ok() -> Answer {
    Answer { status: 200, retry_after: None, html: false, text: String::new() }
}

/// Panics the first few times, as ureq has been seen to do.
struct Panics(AtomicUsize);

impl Transport for Panics {
    fn post(&self, _: &Post<'_>) -> Result<Answer, String> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) >= 2, "a bug in a library");
        Ok(ok())
    }
}

/// Comes back only when the test says so, whatever it is asked: a look-up of a name, for example.
struct Deaf {
    entered: Mutex<Sender<()>>,
    released: Mutex<Receiver<()>>,
}

impl Transport for Deaf {
    fn post(&self, _: &Post<'_>) -> Result<Answer, String> {
        self.entered.lock().expect("no panic").send(()).expect("the test waits");
        self.released.lock().expect("no panic").recv().expect("the test releases it");
        Ok(ok())
    }
}

#[test]
fn a_panic_of_the_transport_counts_as_a_failure_and_nothing_is_lost() {
    let client = client(config(), Panics(AtomicUsize::new(0)));
    client.track("u", "E", None, None).expect("taken");
    client.flush(LONG).expect("settled");
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.queued), (1, 1, 0));
    assert_eq!((stats.requests, stats.retries), (3, 2));
}

#[test]
fn a_thread_that_cannot_be_reached_is_left_behind_and_its_messages_are_reported() {
    let (entered, wait) = channel();
    let (release, released) = channel();
    let deaf = Deaf { entered: Mutex::new(entered), released: Mutex::new(released) };
    let (tell, told) = channel();
    let on_delivery: crate::OnDelivery = Box::new(move |delivery| {
        let kind = delivery.error.map(Error::kind);
        tell.send((kind, delivery.message_ids.len(), std::thread::current().id())).expect("the test listens");
    });
    let config = Config { shutdown: Duration::from_millis(50), on_delivery: Some(on_delivery), ..config() };
    let client = client(config, deaf);
    client.track("u", "E", None, None).expect("taken");
    let _ = client.flush(Duration::ZERO);
    wait.recv().expect("the request is under way");
    client.track("u", "F", None, None).expect("taken");
    let start = Instant::now();
    drop(client);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for _ in 0..2 {
        let (kind, messages, thread) = told.recv().expect("told");
        assert_eq!((kind, messages), (Some(ErrorKind::Timeout), 1));
        assert_ne!(thread, std::thread::current().id(), "callbacks do not run on the host's threads");
    }
    release.send(()).expect("it is still there");
    assert!(told.recv().is_err(), "nothing is told afterwards");
}

#[test]
fn a_client_may_be_used_and_dropped_by_any_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Client>();
}
