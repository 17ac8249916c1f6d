//! What a real network does not offer: a transport that panics, and one that cannot be interrupted.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::net::transport::{HttpRequest, HttpResponse};
use crate::patience::{NEVER, patience};

fn config() -> Config {
    Config { flush_interval: NEVER, ..Config::new("k") }
}

fn client(config: Config, transport: impl Transport + 'static) -> Client {
    let transport = Mutex::new(Some(Box::new(transport)));
    let once = move || -> Box<dyn Transport> { transport.lock().expect("no panic").take().expect("no fork") };
    Client::with(config, Arc::new(Disk), Box::new(once)).expect("good settings")
}

fn ok() -> HttpResponse {
    HttpResponse { status: 200, ..HttpResponse::default() }
}

/// Panics the first time, as ureq has been seen to do.
struct Panics(AtomicUsize);

impl Transport for Panics {
    fn exchange(&self, _: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) >= 1, "a bug in a library");
        Ok(ok())
    }
}

/// Returns only when the test says so, and cannot be interrupted, like a name look-up.
struct Deaf {
    entered: Mutex<Sender<()>>,
    released: Mutex<Receiver<()>>,
}

impl Transport for Deaf {
    fn exchange(&self, _: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        self.entered.lock().expect("no panic").send(()).expect("the test waits");
        self.released.lock().expect("no panic").recv().expect("the test releases it");
        Ok(ok())
    }
}

#[test]
fn a_panic_of_the_transport_counts_as_a_failure_and_nothing_is_lost() {
    let client = client(config(), Panics(AtomicUsize::new(0)));
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.queued), (1, 1, 0));
    assert_eq!((stats.requests, stats.retries), (2, 1));
}

#[test]
fn a_thread_that_cannot_be_interrupted_is_left_behind_and_its_messages_are_reported() {
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
    wait.recv_timeout(patience()).expect("the request is under way");
    client.track("u", "F", None, None).expect("taken");
    drop(client); // returns although nothing releases its thread
    for _ in 0..2 {
        let (kind, messages, thread) = told.recv_timeout(patience()).expect("told");
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

#[test]
fn the_hosts_own_http_is_a_callback_like_any_other() {
    let client: Arc<std::sync::OnceLock<Client>> = Arc::default();
    let (tell, told) = channel();
    let own = Arc::downgrade(&client);
    let tell = Mutex::new(tell);
    let transport: crate::OnHttp = Box::new(move |_| {
        let client = own.upgrade().expect("it is alive");
        let client = client.get().expect("it is made");
        let kinds =
            [client.flush(patience()), client.shutdown(patience())].map(|result| result.map_err(|error| error.kind()));
        tell.lock().expect("no panic").send((kinds, client.is_in_callback())).expect("the test listens");
        Ok(ok())
    });
    let config = Config { transport: Some(transport), ..config() };
    assert!(client.set(Client::new(config).expect("good settings")).is_ok());
    let client = client.get().expect("made");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    client.call(&crate::Request { path: "/", ..crate::Request::default() }).expect("an answer");
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(patience()).expect("told"), ([Err(ErrorKind::Invalid); 2], true));
    }
    assert!(!client.is_in_callback());
}

#[test]
fn the_end_of_a_client_waits_for_the_hosts_own_http() {
    let (enter, entered) = channel();
    let (release, released) = channel();
    let (enter, released) = (Mutex::new(enter), Mutex::new(released));
    let transport: crate::OnHttp = Box::new(move |_| {
        enter.lock().expect("no panic").send(()).expect("the test waits");
        released.lock().expect("no panic").recv_timeout(patience()).expect("the test releases it");
        Ok(ok())
    });
    let config = Config { transport: Some(transport), shutdown: Duration::ZERO, ..config() };
    let client = Client::new(config).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    let _ = client.flush(Duration::ZERO);
    entered.recv_timeout(patience()).expect("it is running");
    let (end, ended) = channel();
    std::thread::spawn(move || {
        drop(client);
        end.send(()).expect("the test waits");
    });
    assert!(ended.recv_timeout(Duration::from_millis(100)).is_err(), "the callback may still use the host's data");
    release.send(()).expect("it waits");
    ended.recv_timeout(patience()).expect("it ends after it");
}

#[test]
fn the_longest_times_do_not_overflow() {
    let (timeout, flush_interval, shutdown) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let transport: crate::OnHttp = Box::new(|_| Ok(ok()));
    let config = Config { timeout, flush_interval, shutdown, transport: Some(transport), ..config() };
    let client = Client::new(config).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(Duration::MAX).expect("settled");
    assert_eq!((client.stats().delivered, client.stats().requests), (1, 1));
}

#[test]
fn no_call_waits_for_a_delivery_thread_that_could_not_be_started() {
    use crate::simulator::threads::World;

    World::run(1, |world| {
        world.set_no_threads(1);
        let client = client(Config { shutdown: Duration::from_secs(30), ..config() }, Panics(AtomicUsize::new(0)));
        client.track("u", "E", None, None).expect("taken");
        let began = world.now();
        let flushed = client.flush(Duration::from_secs(60));
        assert_eq!(flushed.expect_err("no thread sends it").kind(), ErrorKind::Timeout);
        client.end();
        assert!(world.now() - began < Duration::from_secs(1), "it took {:?}", world.now() - began);
        assert_eq!(client.stats().failed, 1);
    })
    .expect("a lifetime");
}
