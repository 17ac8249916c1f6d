//! What must not be sent: anything after an opt-out, and anything about another user than the message says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::patience::{NEVER, patience, wait_for_the_end, wait_until};
use crate::server::{Reply, Server, nobody};
use segment_native::{BeforeSend, Client, Config, Edit, Error, ErrorKind, HttpResponse, Object, OnHttp, Request};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("segment-departures-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        Folder(std::env::temp_dir().join(name))
    }

    /// The files that hold this text.
    fn holding(&self, text: &str) -> Vec<PathBuf> {
        fn search(folder: &Path, text: &str, found: &mut Vec<PathBuf>) {
            for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    search(&path, text, found);
                } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).contains(text) {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        search(&self.0, text, &mut found);
        found
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn all(server: &Server) -> String {
    server.requests().iter().map(|request| request.body.to_string()).collect()
}

fn event() -> Request<'static> {
    Request { path: "/v1/track", body: br#"{"userId":"u","event":"E"}"#, ..Request::default() }
}

#[test]
fn a_call_heeds_an_opt_out_in_another_process_with_the_folder() {
    let (server, folder) = (Server::good(), Folder::new());
    let config = || Config { endpoint: server.url(), spool_dir: Some(folder.0.clone()), ..Config::new("k") };
    let [one, two] = [(); 2].map(|()| Client::new(config()).expect("good settings"));
    one.opt_out().expect("kept");
    assert_eq!(two.call(&event()).map_err(|error| error.kind()), Err(ErrorKind::OptedOut));
    assert_eq!(server.begun(), 0);
}

#[cfg(feature = "oauth")]
#[test]
fn a_call_that_waits_for_its_token_is_not_made_after_an_opt_out() {
    // The host's HTTP plays a slow token server, then Segment.
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let (left, sent) = (Mutex::new(left), Arc::new(AtomicUsize::new(0)));
    let counted = sent.clone();
    let transport: OnHttp = Box::new(move |request| {
        let answer = |body: &[u8]| Ok(HttpResponse { status: 200, body: body.to_vec(), ..HttpResponse::default() });
        if request.url.ends_with("/token") {
            enter.send(()).expect("the test waits");
            left.lock().expect("no panic").recv().expect("the test releases it");
            return answer(br#"{"access_token":"t","expires_in":86400}"#);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        answer(b"")
    });
    let oauth = segment_native::OAuth::new("client", "key", include_str!("../keys/oauth-pkcs8.pem"));
    let config = Config { transport: Some(transport), oauth: Some(oauth), ..Config::new("k") };
    let client = Client::new(config).expect("good settings");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.call(&event()));
        entered.recv().expect("it asks for a token");
        client.opt_out().expect("no disk, no error");
        leave.send(()).expect("it waits");
        assert_eq!(call.join().expect("no panic").map_err(|error| error.kind()), Err(ErrorKind::OptedOut));
    });
    assert_eq!(sent.load(Ordering::SeqCst), 0);
}

#[test]
fn a_message_begun_before_an_opt_out_is_not_taken_after_an_opt_in() {
    let server = Server::good();
    let slot: Arc<Mutex<Option<Arc<Client>>>> = Arc::default();
    let seen = slot.clone();
    let before_send: BeforeSend = Box::new(move |_| {
        if let Some(client) = seen.lock().expect("no panic").take() {
            let opt = move || client.opt_out().and_then(|()| client.opt_in());
            std::thread::spawn(opt).join().expect("no panic").expect("no disk, no error");
        }
        Ok(Edit::Keep)
    });
    let config = Config { endpoint: server.url(), stateful: true, before_send: Some(before_send), ..Config::new("k") };
    let client = Arc::new(Client::new(config).expect("good settings"));
    let before = client.anonymous_id().expect("stateful");
    *slot.lock().expect("no panic") = Some(client.clone());
    let refused = client.track(None, "of the one who opted out", None, None);
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::OptedOut));
    client.track(None, "of the one who opted in", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    let all = all(&server);
    assert!(!all.contains(&before) && all.contains("opted in") && !all.contains("opted out"), "{all}");
}

#[test]
fn opting_out_counts_at_once_though_another_thread_is_changing_something() {
    let server = Server::good();
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let (enter, left) = (Mutex::new(enter), Mutex::new(left));
    let before_send: BeforeSend = Box::new(move |json| {
        if json.contains("identify") {
            enter.lock().expect("no panic").send(()).expect("the test waits");
            left.lock().expect("no panic").recv().expect("the test releases it");
        }
        Ok(Edit::Keep)
    });
    let config = Config {
        endpoint: server.url(),
        stateful: true,
        flush_interval: NEVER,
        before_send: Some(before_send),
        ..Config::new("k")
    };
    let client = Client::new(config).expect("good settings");
    client.track(None, "E", None, None).expect("taken");
    std::thread::scope(|scope| {
        let identify = scope.spawn(|| client.identify("u", None, None));
        entered.recv().expect("before_send is running");
        let opt_out = scope.spawn(|| client.opt_out());
        let is_dropped = wait_until(|| client.stats().dropped > 0);
        assert!(is_dropped, "what waits is thrown away before the opt-out waits for another thread");
        assert!(client.track(None, "F", None, None).is_err());
        leave.send(()).expect("it waits");
        opt_out.join().expect("no panic").expect("no disk, no error");
        assert!(identify.join().expect("no panic").is_err());
    });
    assert_eq!((client.stats().queued, server.begun()), (0, 0));
}

#[test]
fn a_consent_whose_event_is_refused_is_not_taken_for_given() {
    let server = Server::good();
    let calls = AtomicUsize::new(0);
    let before_send: BeforeSend = Box::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::invalid("not now")),
        _ => Ok(Edit::Keep),
    });
    let config = Config { endpoint: server.url(), stateful: true, before_send: Some(before_send), ..Config::new("k") };
    let client = Client::new(config).expect("good settings");
    let categories = Object::from([("ads", true)]);
    assert_eq!(client.set_consent(&categories).expect_err("refused").message(), "not now");
    client.set_consent(&categories).expect("given");
    client.set_consent(&categories).expect("the same again");
    client.flush(patience()).expect("settled");
    let all = all(&server);
    assert_eq!(all.matches("Segment Consent Preference Updated").count(), 1, "{all}");
    assert!(all.contains(r#""consent":{"categoryPreferences":{"ads":true}}"#), "{all}");
}

#[test]
fn one_users_traits_and_anonymous_id_are_not_on_anothers_message() {
    let server = Server::good();
    let client =
        Client::new(Config { endpoint: server.url(), stateful: true, ..Config::new("k") }).expect("good settings");
    client.identify("ada", &Object::from([("email", "ada@example.com")]), None).expect("taken");
    client.flush(patience()).expect("settled");
    let ada = client.anonymous_id().expect("stateful");
    client.track("bob", "E", None, None).expect("taken");
    client.enqueue(r#"{"type":"track","userId":"bob","event":"E"}"#).expect("taken");
    client.enqueue(r#"{"type":"identify","userId":"bob"}"#).expect("taken");
    client.flush(patience()).expect("settled");
    let last = server.requests().pop().expect("a batch").body.to_string();
    assert!(!last.contains("ada@example.com") && !last.contains(&ada), "{last}");
    client.track("ada", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    let last = server.requests().pop().expect("a batch").body.to_string();
    assert!(last.contains("ada@example.com") && last.contains(&ada), "{last}");
}

#[test]
fn what_was_kept_under_another_write_key_is_thrown_away_too() {
    let folder = Folder::new();
    let config = |key: &str| Config {
        endpoint: nobody(),
        spool_dir: Some(folder.0.clone()),
        shutdown: Duration::ZERO,
        ..Config::new(key)
    };
    let old = Client::new(config("old")).expect("good settings");
    old.track("secret-user", "E", None, None).expect("taken");
    drop(old);
    wait_for_the_end(&folder.0);
    assert_eq!(folder.holding("secret-user").len(), 1);
    let new = Client::new(config("new")).expect("good settings");
    new.opt_out().expect("kept");
    let _ = new.flush(patience());
    assert_eq!(folder.holding("secret-user"), Vec::<PathBuf>::new());
}

#[test]
fn what_was_rejected_goes_too_even_if_the_client_was_shut_down() {
    let (server, folder) = (Server::new(|_, _| Reply::status(400)), Folder::new());
    let config = Config { endpoint: server.url(), spool_dir: Some(folder.0.clone()), ..Config::new("k") };
    let client = Client::new(config).expect("good settings");
    client.track("secret-user", "E", None, None).expect("taken");
    client.shutdown(patience()).expect("all settled");
    assert_eq!(folder.holding("secret-user").len(), 1);
    client.opt_out().expect("kept");
    assert_eq!(folder.holding("secret-user"), Vec::<PathBuf>::new());
}

#[cfg(feature = "oauth")]
#[test]
fn an_authorization_of_the_callers_own_makes_a_token_needless() {
    let (server, tokens) = (Server::good(), Server::new(|_, _| Reply::status(401)));
    let key = include_str!("../keys/oauth-pkcs8.pem");
    let oauth = segment_native::OAuth { endpoint: tokens.url(), ..segment_native::OAuth::new("client", "key", key) };
    let headers = vec![("Authorization".to_owned(), "Gateway 1".to_owned())];
    let config = Config { endpoint: server.url(), headers, oauth: Some(oauth), ..Config::new("k") };
    let client = Client::new(config).expect("good settings");
    client.call(&event()).expect("an answer");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("settled");
    assert_eq!((client.stats().delivered, tokens.begun()), (1, 0));
    assert!(server.requests().iter().all(|request| request.header("authorization") == Some("Gateway 1")));
}

#[test]
fn the_hosts_http_is_never_given_a_timeout_of_zero() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let transport: OnHttp = Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    });
    let client = Client::new(Config { transport: Some(transport), ..Config::new("k") }).expect("good settings");
    let answer = client.call(&Request { timeout: Some(Duration::ZERO), ..event() });
    assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::Timeout));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_printed_of_a_request_holds_no_credentials() {
    let headers = [("Authorization", "Basic secret")];
    let printed = format!("{:?}", Request { headers: &headers, body: b"secret", ..event() });
    assert!(printed.contains("/v1/track") && !printed.contains("secret"), "{printed}");
}
