//! What else a client does: it shows messages to its host, tracks the lifecycle of the app, and describes the machine.

#![cfg(unix)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::child::{self, Folder, Program, balanced, died_by_kill, kill, part, patience, program, told};
use crate::server::{Reply, Server};
use segment_native::{BeforeSend, Call, Client, Config, Edit, Error, ErrorKind, Message, Object, Options, bindings};
use serde_json::{Value, json};

/// The programs that are opened.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("open the app") => open_the_app(false),
        Some("open the app and die") => open_the_app(true),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

fn open_the_app(dies: bool) {
    let client = Client::new(app(&told("URL"), Path::new(&told("FOLDER")), "1.0", "1")).expect("good settings");
    if dies {
        kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
    }
    client.flush(patience()).expect("delivered");
}

/// All messages that the server got, in order.
fn sent(server: &Server, client: &Client) -> Vec<Value> {
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
    server.events()
}

fn names(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["event"].as_str().unwrap_or_default()).collect()
}

// ---- before_send ----

fn editing(server: &Server, edit: impl Fn(&str) -> Result<Edit, Error> + Send + Sync + 'static) -> Client {
    let before_send: BeforeSend = Box::new(edit);
    let config =
        Config { before_send: Some(before_send), stateful: true, ..child::config(&server.url(), Path::new("")) };
    Client::new(config).expect("good settings")
}

#[test]
fn before_send_sees_every_message_as_it_would_go() {
    let server = Server::good();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let client = editing(&server, move |message| {
        seeing.lock().expect("no panic").push(serde_json::from_str::<Value>(message).expect("JSON"));
        Ok(Edit::Keep)
    });
    let subjects = [None, Some("E"), Some("P"), Some("S"), Some("g"), Some("old")];
    for (call, subject) in Call::ALL.into_iter().zip(subjects) {
        let message = Message { call, user_id: Some("u"), subject, payload: None, options: Options::default() };
        client.send(&message).expect("taken");
    }
    client.enqueue(r#"{"type":"track","event":"J"}"#).expect("taken");
    client.set_consent(&Object::from([("ads", true)])).expect("in memory");
    assert_eq!(client.track("", "E", None, None).expect_err("empty").kind(), ErrorKind::Invalid);
    let sent = sent(&server, &client);
    assert_eq!(sent.len(), 8);
    assert_eq!(*seen.lock().expect("no panic"), sent);
}

#[test]
fn before_send_replaces_drops_and_refuses() {
    let server = Server::good();
    let client = editing(&server, |message| {
        let mut message: Value = serde_json::from_str(message).expect("JSON");
        match message["event"].as_str().unwrap_or_default() {
            "replace" => {
                message["event"] = json!("replaced");
                message["context"] = json!({"ip": "1.2.3.4"});
                Ok(Edit::Replace(message.to_string()))
            }
            "anew" => Ok(Edit::Replace(r#" { "type": "page", "userId": "w" } "#.to_owned())),
            "nonsense" => Ok(Edit::Replace("no JSON".to_owned())),
            "nobody" => Ok(Edit::Replace(r#"{"type":"page"}"#.to_owned())),
            "too large" => Ok(Edit::Replace(json!({"type": "page", "userId": "x".repeat(40_000)}).to_string())),
            "drop" => Ok(Edit::Drop),
            "refuse" => Err(Error::invalid("the host says no")),
            "panic" => panic!("a bug of the host"),
            _ => Ok(Edit::Keep),
        }
    });
    let track = |event: &str| client.track("u", event, None, None);
    let options = Options { message_id: Some("mine"), ..Options::default() };
    client.track("u", "replace", None, options).expect("taken");
    track("anew").expect("taken");
    track("drop").expect("dropped");
    let problem = |event: &str| {
        let error = track(event).expect_err("refused");
        (error.kind(), error.message().to_owned())
    };
    let (kind, sentence) = problem("nonsense");
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(sentence.starts_with("what before_send returned: json must be"), "{sentence}");
    assert_eq!(
        problem("nobody"),
        (ErrorKind::Invalid, "what before_send returned: userId or anonymousId must be given".to_owned())
    );
    assert_eq!(problem("too large").0, ErrorKind::TooLarge);
    assert_eq!(problem("refuse"), (ErrorKind::Invalid, "the host says no".to_owned()));
    assert_eq!(problem("panic"), (ErrorKind::Internal, "before_send panicked".to_owned()));
    track("keep").expect("and goes on working");
    let sent = sent(&server, &client);
    assert_eq!(names(&sent), ["replaced", "", "keep"]);
    assert_eq!((&sent[0]["messageId"], &sent[0]["context"]), (&json!("mine"), &json!({"ip": "1.2.3.4"})));
    assert_eq!(
        (&sent[1]["userId"], &sent[1]["anonymousId"], &sent[1]["context"]),
        (&json!("w"), &Value::Null, &json!({}))
    );
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.dropped, stats.refused), (4, 3, 1, 5));
}

#[test]
fn what_before_send_refuses_is_not_remembered() {
    let server = Server::good();
    let client = editing(&server, |message| match message.contains("\"u\"") {
        true => Err(Error::invalid("no")),
        false => Ok(Edit::Keep),
    });
    assert!(client.identify("u", None, None).is_err() && client.alias("u", None, None).is_err());
    assert_eq!(client.user_id(), None);
    client.identify("v", None, None).expect("taken");
    assert_eq!(client.user_id().as_deref(), Some("v"));
}

/// The client as its own `before_send` sees it.
type Own = Arc<OnceLock<Weak<Client>>>;

/// What it does there.
type Using = fn(&Client) -> Result<(), Error>;

type Problems = Arc<Mutex<Vec<ErrorKind>>>;

fn used_by_itself(server: &Server, using: Using) -> (Arc<Client>, Problems) {
    let own = Own::default();
    let problems = Problems::default();
    let (known, noted) = (own.clone(), problems.clone());
    let client = Arc::new(editing(server, move |_| {
        let client = known.get().and_then(Weak::upgrade).expect("made");
        assert!(bindings::is_in_callback(&client));
        assert!(client.anonymous_id().is_some() && !client.is_opted_out(), "these take no lock");
        if let Err(error) = using(&client) {
            noted.lock().expect("no panic").push(error.kind());
        }
        Ok(Edit::Keep)
    }));
    own.set(Arc::downgrade(&client)).expect("once");
    (client, problems)
}

#[test]
fn the_same_client_in_its_own_before_send_is_an_error_and_no_deadlock() {
    let uses: [Using; 12] = [
        |client| client.track("u", "E", None, None),
        |client| client.identify("u", None, None),
        |client| client.alias("u", None, None),
        |client| client.enqueue(r#"{"type":"track","event":"E"}"#),
        |client| client.identify(None, &Object::from([("a", 1)]), None),
        |client| client.reset(),
        |client| client.set_consent(&Object::from([("ads", true)])),
        |client| client.set_consent(None),
        |client| client.opt_out(),
        |client| client.opt_in(),
        |client| client.flush(patience()),
        |client| client.shutdown(patience()),
    ];
    for using in uses {
        let server = Server::good();
        let (client, problems) = used_by_itself(&server, using);
        client.track(None, "E", None, None).expect("taken");
        client.identify("u", None, None).expect("taken");
        client.alias("v", None, None).expect("taken");
        assert_eq!(*problems.lock().expect("no panic"), [ErrorKind::Invalid; 3]);
        assert_eq!(sent(&server, &client).len(), 3);
        assert!(!client.is_opted_out());
    }
}

#[test]
fn another_client_may_be_used_in_before_send() {
    let server = Server::good();
    let other = Arc::new(child::client(&server.url(), Path::new("")));
    let using = other.clone();
    let client = editing(&server, move |_| using.track("o", "Other", None, None).map(|()| Edit::Keep));
    client.identify("u", None, None).expect("taken");
    client.track(None, "Own", None, None).expect("taken");
    client.flush(patience()).expect("delivered");
    let sent = sent(&server, &other);
    assert_eq!(names(&sent).into_iter().filter(|name| *name == "Other").count(), 2);
}

#[test]
fn before_send_runs_on_all_threads_at_once() {
    let server = Server::good();
    let client = editing(&server, |message| match message.contains("drop") {
        true => Ok(Edit::Drop),
        false => Ok(Edit::Keep),
    });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..200 {
                    let event = if n % 4 == 0 { "drop" } else { "keep" };
                    client.track("u", event, None, None).expect("taken");
                    if n % 50 == 0 {
                        client.identify(format!("u{thread}").as_str(), None, None).expect("taken");
                    }
                }
            });
        }
    });
    client.flush(patience()).expect("delivered");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.accepted, stats.dropped, stats.delivered), (8 * 204, 8 * 50, 8 * 154));
}

#[test]
fn before_send_sees_nothing_after_an_opt_out_or_the_end() {
    let server = Server::good();
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = seen.clone();
    let client = editing(&server, move |_| {
        counting.fetch_add(1, Ordering::SeqCst);
        Ok(Edit::Drop)
    });
    client.opt_out().expect("in memory");
    assert_eq!(client.track("u", "E", None, None).expect_err("refused").kind(), ErrorKind::OptedOut);
    client.opt_in().expect("in memory");
    client.shutdown(patience()).expect("nothing is left");
    assert_eq!(client.track("u", "E", None, None).expect_err("refused").kind(), ErrorKind::Closed);
    assert_eq!((seen.load(Ordering::SeqCst), client.stats().accepted), (0, 0));
}

// ---- The lifecycle of an app ----

fn app(url: &str, folder: &Path, version: &str, build: &str) -> Config {
    let app = Object::from([("name", "game"), ("version", version), ("build", build)]);
    let context = Object::from([("app", &app)]);
    Config { stateful: true, lifecycle: true, context, ..child::config(url, folder) }
}

/// Opens and closes the app, and returns what it tracked.
fn open(server: &Server, folder: &Folder, version: &str, build: &str) -> Vec<Value> {
    let before = server.requests().iter().map(|request| request.events().len()).sum();
    let client = Client::new(app(&server.url(), &folder.0, version, build)).expect("good settings");
    sent(server, &client).split_off(before)
}

#[test]
fn an_app_is_installed_once_and_updated_and_opened_each_time() {
    let (server, folder) = (Server::good(), Folder::new());
    let first = open(&server, &folder, "1.0", "1");
    assert_eq!(names(&first), ["Application Installed", "Application Opened"]);
    assert_eq!(first[0]["properties"], json!({"version": "1.0", "build": "1"}));
    assert_eq!(first[1]["properties"], json!({"version": "1.0", "build": "1", "from_background": false}));
    assert!(first.iter().all(|message| message["anonymousId"] == first[0]["anonymousId"]));
    assert_eq!(names(&open(&server, &folder, "1.0", "1")), ["Application Opened"]);
    let updated = open(&server, &folder, "1.1", "2");
    assert_eq!(names(&updated), ["Application Updated", "Application Opened"]);
    let properties = json!({"version": "1.1", "build": "2", "previous_version": "1.0", "previous_build": "1"});
    assert_eq!(updated[0]["properties"], properties);
    assert_eq!(
        names(&open(&server, &folder, "1.1", "3")),
        ["Application Updated", "Application Opened"],
        "the build counts"
    );
    assert_eq!(names(&open(&server, &folder, "1.1", "3")), ["Application Opened"]);
}

#[test]
fn a_logout_does_not_install_the_app_again() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = Client::new(app(&server.url(), &folder.0, "1.0", "1")).expect("good settings");
    client.identify("u", None, None).expect("taken");
    client.identify("v", None, None).expect("taken");
    client.reset().expect("kept");
    assert_eq!(names(&sent(&server, &client))[..2], ["Application Installed", "Application Opened"]);
    drop(client);
    assert_eq!(names(&open(&server, &folder, "1.0", "1")), ["Application Opened"]);
}

#[test]
fn an_app_without_a_version_or_without_a_folder_is_still_opened() {
    let (server, folder) = (Server::good(), Folder::new());
    let config = |folder: &Path| Config { context: Object::new(), ..app(&server.url(), folder, "", "") };
    for expected in [vec!["Application Installed", "Application Opened"], vec!["Application Opened"]] {
        let before = server.requests().iter().map(|request| request.events().len()).sum::<usize>();
        let client = Client::new(config(&folder.0)).expect("good settings");
        assert_eq!(names(&sent(&server, &client)[before..]), expected);
    }
    let client = Client::new(config(Path::new(""))).expect("good settings");
    assert_eq!(names(&sent(&server, &client)[3..]), ["Application Opened"], "without a folder nothing is known");
    let problem = Client::new(Config { stateful: false, ..config(&folder.0) }).expect_err("refused").to_string();
    assert_eq!(problem, "lifecycle needs stateful");
}

#[test]
fn an_app_whose_user_opted_out_tracks_nothing() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = Client::new(app(&server.url(), &folder.0, "1.0", "1")).expect("good settings");
    client.flush(patience()).expect("delivered");
    client.opt_out().expect("kept");
    drop(client);
    let seen = server.begun();
    let client = Client::new(app(&server.url(), &folder.0, "2.0", "2")).expect("good settings");
    client.flush(patience()).expect("nothing to wait for");
    assert_eq!((server.begun(), client.stats().refused), (seen, 0));
}

#[test]
fn two_processes_that_open_the_app_at_once_install_it_once() {
    for _ in 0..child::rounds(5) {
        let (server, folder) = (Server::good(), Folder::new());
        let url = server.url();
        let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
        let both = [(); 2].map(|()| Program::start(program("open the app", &told)));
        both.into_iter().for_each(Program::succeeded);
        let messages: Vec<Value> = server.events();
        let mut names = names(&messages);
        names.sort_unstable();
        assert_eq!(names, ["Application Installed", "Application Opened", "Application Opened"]);
        let ids: HashSet<String> = messages.iter().map(|message| message["anonymousId"].to_string()).collect();
        assert_eq!(ids.len(), 1);
    }
}

#[test]
fn an_app_that_dies_at_once_is_installed_once() {
    let good = Arc::new(AtomicBool::new(false));
    let is_good = good.clone();
    let server = Server::new(move |_, _| Reply::status(if is_good.load(Ordering::SeqCst) { 200 } else { 503 }));
    let folder = Folder::new();
    let url = server.url();
    let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
    for _ in 0..3 {
        let status = Program::start(program("open the app and die", &told)).ended(patience());
        assert!(died_by_kill(status), "{status}");
    }
    good.store(true, Ordering::SeqCst);
    open(&server, &folder, "1.0", "1");
    // Some may have reached the server, which refused them, before their app died.
    let sent = server.events();
    let installed: HashSet<_> =
        sent.iter().filter(|m| m["event"] == "Application Installed").map(|m| m["messageId"].to_string()).collect();
    assert_eq!(installed.len(), 1);
    assert_eq!(names(&sent).into_iter().filter(|name| *name == "Application Opened").count(), 4);
}

/// Dies between remembering the person, tracking the event, and remembering that it was tracked.
#[test]
#[cfg(feature = "kill-points")]
fn an_app_that_dies_while_it_is_being_installed_is_installed_exactly_once() {
    for point in ["replaced:1", "replace-written:2", "replaced:2", "append-whole:1", "replace-written:3", "replaced:3"]
    {
        let (server, folder) = (Server::good(), Folder::new());
        let url = server.url();
        let mut command = program("open the app", &[("URL", url.as_str()), ("FOLDER", folder.text())]);
        command.env("SEGMENT_KILL_AT", point);
        let status = Program::start(command).ended(patience());
        assert!(died_by_kill(status), "{point}: {status}");
        for _ in 0..2 {
            open(&server, &folder, "1.0", "1");
        }
        let messages = server.events();
        assert_eq!(names(&messages).into_iter().filter(|name| *name == "Application Installed").count(), 1, "{point}");
    }
}

#[test]
fn the_machine_is_described_if_the_settings_say_so() {
    let server = Server::good();
    for device_context in [true, false] {
        let context = Object::from([("locale", "xx-YY")]);
        let config = Config { device_context, context, ..child::config(&server.url(), Path::new("")) };
        let client = Client::new(config).expect("good settings");
        client.track("u", "E", None, None).expect("taken");
        let sent = sent(&server, &client);
        let context = &sent.last().expect("one")["context"];
        assert_eq!(context["os"]["name"].is_string(), device_context, "{context}");
        assert_eq!((&context["locale"], &context["library"]["name"]), (&json!("xx-YY"), &json!("segment-native")));
    }
}
