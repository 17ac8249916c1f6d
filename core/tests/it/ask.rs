//! A user who is asked first: before they have answered nothing is written or sent, a yes releases what was held, and a
//! no erases it.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::child::{
    self, Folder, Notes, Program, balanced, campaign, died_by_kill, kill, part, patience, program, read_notes, rounds,
    told, track, wait_until,
};
use crate::patience::{NEVER, wait_for_the_end};
use crate::server::{Reply, Server};
use segment_native::{Api, Choice, Client, Config, ErrorKind, Object, OnLog, Overflow, Request, Stats, bindings};
use serde_json::{Value, json};

/// The programs that run in another environment, or that are killed.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("told by the environment") => told_by_the_environment(),
        Some("say yes and die") => say_yes_and_die(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

fn asking(url: &str, folder: &Path) -> Config {
    Config { stateful: true, ask_first: true, ..child::config(url, folder) }
}

fn client(server: &Server, folder: &Folder) -> Client {
    Client::new(asking(&server.url(), &folder.0)).expect("good settings")
}

/// A folder that does not exist yet.
fn nowhere() -> Folder {
    let folder = Folder::new();
    fs::remove_dir(&folder.0).expect("it is empty");
    folder
}

fn file(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.home().join(name)).expect("there")).expect("JSON")
}

/// All calls about the user of a stateful client except yes and no. Returns how many messages they make.
fn say_everything(client: &Client) -> u64 {
    client.set_consent(&Object::from([("ads", false)])).expect("held");
    client.identify("u", &Object::from([("plan", "pro")]), None).expect("held");
    client.alias("v", None, None).expect("held");
    client.enqueue(r#"{"type":"track","event":"J"}"#).expect("held");
    assert!(track(client, "tracked"));
    5
}

fn assert_held(client: &Client, messages: u64) {
    assert_held_after(client, messages, 0);
}

/// The same after so many were dropped.
fn assert_held_after(client: &Client, messages: u64, dropped_before: u64) {
    let stats = client.stats();
    balanced(&stats);
    let Stats { queued, held, in_memory, requests, dropped, .. } = stats;
    assert_eq!((queued, held, in_memory, requests), (messages, messages, messages, 0), "{stats:?}");
    assert_eq!(dropped, dropped_before);
    assert_eq!((client.opt_state(), client.is_opted_out()), (Choice::None, false));
}

#[test]
fn before_an_answer_nothing_is_written_or_sent_and_a_yes_releases_everything() {
    for spooled in [true, false] {
        let (server, folder) = (Server::good(), nowhere());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let config = Config {
            lifecycle: true,
            sync: spooled,
            context: Object::new().with("app", &Object::from([("version", "1")])),
            on_log: Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned()))),
            ..asking(&server.url(), if spooled { &folder.0 } else { Path::new("") })
        };
        let client = Client::new(config).expect("good settings");
        let anonymous = client.anonymous_id().expect("one in memory");
        let opened = if spooled { 2 } else { 1 };
        let held = say_everything(&client) + opened;
        assert_held(&client, held);
        let error = client.flush(NEVER).expect_err("nothing is sent, and it does not wait");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.message(), "the user has not answered yet: nothing is sent");
        assert_eq!(client.last_problem(), Some(format!("the user has not answered yet; {held} messages wait")));
        let told = || {
            let lines = lines.lock().expect("no panic");
            lines.iter().filter(|line| line.contains("until the user has answered: opt in or out")).count()
        };
        assert!(wait_until(|| told() == 1));
        assert!(!folder.0.exists());
        assert_eq!(server.connections(), 0);

        let before = jiff::Timestamp::now();
        client.opt_in().expect("kept");
        assert_eq!(client.opt_state(), Choice::In);
        client.flush(patience()).expect("delivered");
        let stats = client.stats();
        assert_eq!((stats.delivered, stats.held, stats.dropped), (held, 0, 0), "{stats:?}");
        let sent = server.events();
        assert!(sent.iter().all(|message| {
            let time = |name: &str| message[name].as_str().expect("a time").parse::<jiff::Timestamp>().expect("one");
            time("timestamp") <= before
        }));
        let with_anonymous = sent.iter().filter(|message| message["anonymousId"] == anonymous).count();
        assert_eq!(with_anonymous as u64, held - 2, "an alias has another id, and one has its own: {sent:?}");
        assert_eq!(client.anonymous_id().as_ref(), Some(&anonymous));
        assert_eq!(told(), 1);
        if spooled {
            let person = file(&folder, "identity.json");
            assert_eq!((&person["anonymousId"], &person["userId"]), (&json!(anonymous), &json!("v")));
            assert_eq!(person["app"], json!({"version": "1"}));
            let privacy = file(&folder, "privacy.json");
            assert_eq!(
                privacy,
                json!({"optedOut": false, "changes": 0, "changedAt": 0, "optedIn": true, "consent": {"ads": false}})
            );
            drop(client);
            let next = self::client(&server, &folder);
            assert_eq!((next.opt_state(), next.anonymous_id()), (Choice::In, Some(anonymous)));
            assert!(track(&next, "at once"));
            next.flush(patience()).expect("delivered");
        }
    }
}

#[test]
fn a_no_erases_what_is_held_and_is_remembered() {
    for spooled in [true, false] {
        let (server, folder) = (Server::good(), nowhere());
        let client =
            Client::new(asking(&server.url(), if spooled { &folder.0 } else { Path::new("") })).expect("good settings");
        let held = say_everything(&client);
        client.opt_out().expect("kept");
        assert_eq!((client.opt_state(), client.anonymous_id()), (Choice::Out, None));
        let stats = client.stats();
        assert_eq!((stats.dropped, stats.queued, stats.held), (held, 0, 0));
        assert!(!track(&client, "refused"));
        client.flush(patience()).expect("nothing waits");
        drop(client);
        assert_eq!(server.connections(), 0);
        if spooled {
            assert!(!folder.home().join("identity.json").exists());
            assert_eq!(file(&folder, "privacy.json")["consent"], Value::Null, "it was held until a yes");
            let next = self::client(&server, &folder);
            assert_eq!(next.opt_state(), Choice::Out);
            assert_eq!(next.track("u", "E", None, None).expect_err("refused").kind(), ErrorKind::OptedOut);
            next.opt_in().expect("kept");
            assert!(track(&next, "after all"));
            next.flush(patience()).expect("delivered");
            assert_eq!(server.events().len(), 1);
        }
    }
}

#[test]
fn without_an_answer_nothing_is_left_behind_and_no_call_waits() {
    for spooled in [true, false] {
        let (server, folder) = (Server::good(), nowhere());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let config = Config {
                shutdown: NEVER,
                on_delivery: Some(Box::new(|delivery| panic!("told of {:?}", delivery.message_ids))),
                ..asking(&server.url(), if spooled { &folder.0 } else { Path::new("") })
            };
            let client = Client::new(config).expect("good settings");
            let held = say_everything(&client);
            assert_held(&client, held);
            seen.push(client.anonymous_id());
            client.reset().expect("held");
            seen.push(client.anonymous_id());
            assert_eq!(client.shutdown(NEVER).expect_err("held").kind(), ErrorKind::Timeout);
            bindings::end(&client);
            let stats = client.stats();
            balanced(&stats);
            assert_eq!((stats.dropped, stats.failed, stats.queued), (held, 0, 0));
        }
        let of = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), of, "no id outlives its process or a reset");
        assert!(!folder.0.exists());
        assert_eq!(server.connections(), 0);
    }
}

/// Refuses with 503 until the flag is set.
fn refusing() -> (Server, Arc<AtomicBool>) {
    let good = Arc::new(AtomicBool::new(false));
    let is_good = good.clone();
    (Server::new(move |_, _| Reply::status(if is_good.load(Ordering::SeqCst) { 200 } else { 503 })), good)
}

/// A run of an earlier version, which leaves three messages, a consent, a person, and a pause that is longer than any
/// client would wait.
fn leave_something(server: &Server, folder: &Folder) -> Option<String> {
    let earlier = Client::new(Config { stateful: true, ..child::config(&server.url(), &folder.0) }).expect("good");
    earlier.set_consent(&Object::from([("ads", true)])).expect("kept");
    (0..3).for_each(|n| assert!(track(&earlier, &format!("earlier {n}"))));
    let anonymous = earlier.anonymous_id();
    assert_eq!(earlier.opt_state(), Choice::None);
    drop(earlier);
    wait_for_the_end(&folder.0);
    let queue = fs::read_dir(folder.home()).expect("there").flatten().find(|entry| entry.path().is_dir());
    fs::write(queue.expect("a queue").path().join("pace"), "1 3 4102444800000 0\n\n").expect("written");
    anonymous
}

#[test]
fn what_waits_from_an_earlier_version_stays_as_it_is_until_there_is_a_yes() {
    let ((server, good), folder) = (refusing(), Folder::new());
    let anonymous = leave_something(&server, &folder);
    good.store(true, Ordering::SeqCst);
    let content = || -> Vec<_> {
        let of = |path: std::path::PathBuf| (fs::read(&path).expect("there"), path);
        folder.files().into_iter().map(of).collect()
    };
    let (before, asked) = (content(), server.begun());
    let client = client(&server, &folder);
    client.identify("u", None, None).expect("held");
    assert_eq!(client.anonymous_id(), anonymous, "it is read, if there is one");
    assert_eq!(client.opt_state(), Choice::None);
    assert_eq!(client.flush(NEVER).expect_err("held").kind(), ErrorKind::Timeout);
    drop(client);
    assert_eq!((content(), server.begun()), (before, asked));

    let client = self::client(&server, &folder);
    assert!(track(&client, "held"));
    client.opt_in().expect("kept");
    client.flush(patience()).expect("delivered");
    let stats = client.stats();
    // One more, which the earlier run tracked for the consent.
    assert_eq!((stats.recovered, stats.delivered, client.user_id(), client.anonymous_id()), (4, 5, None, anonymous));
}

#[test]
fn the_quota_holds_for_what_is_held_too() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        let (server, folder) = (Server::good(), nowhere());
        let config = Config { queue_max_bytes: 200_000, overflow, ..asking(&server.url(), &folder.0) };
        let client = Client::new(config).expect("good settings");
        let large = Object::from([("text", "x".repeat(10_000).as_str())]);
        let taken = (0..100).filter(|_| client.track(None, "E", &large, None).is_ok()).count();
        let stats = client.stats();
        balanced(&stats);
        assert!(stats.queued_bytes <= 200_000 && stats.held == stats.queued, "{stats:?}");
        assert_eq!((taken == 100, stats.dropped > 0), (overflow == Overflow::DropOldest, taken == 100));
        client.opt_in().expect("kept");
        client.flush(patience()).expect("delivered");
        assert_eq!(server.events().len() as u64, stats.held);
        assert_eq!(client.stats().dropped, stats.dropped);
    }
}

/// One client is told the answer and writes it, another reads it from the folder.
#[test]
fn the_answer_that_another_process_was_told_counts_and_what_was_known_in_memory_is_kept() {
    let (server, folder) = (Server::good(), nowhere());
    let (told, other) = (client(&server, &folder), client(&server, &folder));
    let held = say_everything(&other);
    told.opt_in().expect("kept");
    assert_eq!(file(&folder, "privacy.json").get("consent"), None);
    // Every change of what is known reads the folder first; without one it is read every 15 seconds.
    other.identify(None, &Object::from([("seats", 3)]), None).expect("taken");
    assert_eq!(other.opt_state(), Choice::In);
    other.flush(patience()).expect("delivered");
    assert_eq!(other.stats().delivered, held + 1);
    assert!(wait_until(|| file(&folder, "privacy.json")["consent"] == json!({"ads": false})));
    assert_eq!(other.anonymous_id(), told.anonymous_id(), "there is one person");

    let folder = nowhere();
    let (told, other) = (client(&server, &folder), client(&server, &folder));
    let held = say_everything(&other);
    told.opt_out().expect("kept");
    assert_eq!(other.reset().expect_err("refused").kind(), ErrorKind::OptedOut);
    assert_eq!((other.opt_state(), other.stats().dropped), (Choice::Out, held));
    assert!(!folder.home().join("identity.json").exists());

    // Nor does the end drop what was held if another process was told yes a moment before.
    let folder = nowhere();
    let (told, other) = (client(&server, &folder), client(&server, &folder));
    other.track(None, "Held To The End", None, None).expect("held");
    told.opt_in().expect("kept");
    drop(other);
    client(&server, &folder).flush(patience()).expect("delivered");
    assert!(server.events().iter().any(|event| event["event"] == "Held To The End"));

    // A yes after a no does not release what was held before.
    let folder = nowhere();
    let (told, other) = (client(&server, &folder), client(&server, &folder));
    let held = say_everything(&other);
    told.opt_out().expect("kept");
    told.opt_in().expect("kept");
    other.reset().expect("heard");
    assert_eq!((other.opt_state(), other.stats().dropped), (Choice::In, held));
}

#[test]
fn without_the_flag_an_answer_is_remembered_and_told_too() {
    let (server, folder) = (Server::good(), nowhere());
    let plain = || Client::new(child::config(&server.url(), &folder.0)).expect("good settings");
    let client = plain();
    assert_eq!(client.opt_state(), Choice::None);
    assert!(track(&client, "as ever"));
    client.opt_in().expect("kept");
    client.flush(patience()).expect("delivered");
    assert_eq!((client.opt_state(), plain().opt_state()), (Choice::In, Choice::In));
    assert!(track(&self::client(&server, &folder), "not held"));
    client.opt_out().expect("kept");
    assert_eq!((client.opt_state(), plain().opt_state()), (Choice::Out, Choice::Out));
    // As earlier versions wrote it.
    let privacy = folder.home().join("privacy.json");
    for (text, choice) in [
        (r#"{"optedOut":true,"changes":1,"changedAt":5}"#, Choice::Out),
        (r#"{"optedOut":false,"changes":2,"changedAt":6}"#, Choice::In),
        (r#"{"optedOut":false,"changes":0,"changedAt":0,"consent":{"ads":true}}"#, Choice::None),
    ] {
        fs::write(&privacy, text).expect("written");
        assert_eq!((plain().opt_state(), self::client(&server, &folder).opt_state()), (choice, choice), "{text}");
    }
}

#[test]
fn no_single_call_is_made_about_a_user_who_has_not_answered() {
    let (server, folder) = (Server::good(), nowhere());
    let config = Config {
        access_token: Some("T".to_owned()),
        public_endpoint: server.url(),
        ..asking(&server.url(), &folder.0)
    };
    let client = Client::new(config).expect("good settings");
    let tracking = Request { path: "/v1/track", body: br#"{"userId":"u","event":"E"}"#, ..Request::default() };
    let error = client.call(&tracking).expect_err("not asked");
    assert_eq!(error.kind(), ErrorKind::OptedOut);
    assert_eq!(error.message(), "the user has not answered yet: opt in or out");
    assert_eq!(server.connections(), 0);
    let public = Request { api: Api::Public, method: "GET", path: "/sources", ..Request::default() };
    assert_eq!(client.call(&public).expect("it says nothing about the user").status, 200);
    client.opt_in().expect("kept");
    assert_eq!(client.call(&tracking).expect("a yes").status, 200);
}

/// Has something be wrong with a folder.
type Maker<'a> = &'a dyn Fn(&Folder);

/// What cannot be read may be a no.
#[test]
fn a_folder_that_cannot_be_read_is_a_no() {
    let unread = |folder: &Folder| fs::create_dir(folder.home().join("privacy.json")).expect("made");
    let damaged = |folder: &Folder| fs::write(folder.home().join("privacy.json"), "{").expect("written");
    let aside = |folder: &Folder| fs::write(folder.home().join("privacy.json.damaged"), "{").expect("written");
    let foreign = |folder: &Folder| fs::write(folder.home().join("photo.jpg"), "").expect("written");
    let makers: [(&str, Maker); 4] =
        [("unread", &unread), ("damaged", &damaged), ("set aside", &aside), ("of another program", &foreign)];
    for (name, make) in makers {
        let (server, folder) = (Server::good(), Folder::new());
        if name == "of another program" {
            fs::create_dir(folder.home()).expect("made");
        } else {
            drop(Client::new(Config { stateful: true, ..child::config("eu", &folder.0) }));
            wait_for_the_end(&folder.0);
        }
        make(&folder);
        let before = folder.files();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let on_log: OnLog = Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned()));
        let config = Config { on_log: Some(on_log), ..asking(&server.url(), &folder.0) };
        let client = Client::new(config).expect("good settings");
        let says_why = |line: &String| {
            line.contains("cannot be used")
                || line.contains("which counts as a no")
                || line.contains("whether the user has opted out")
        };
        assert!(wait_until(|| lines.lock().expect("no panic").iter().any(says_why)), "{name}");
        assert_eq!((client.opt_state(), client.anonymous_id()), (Choice::Out, None), "{name}");
        let error = client.track("u", "E", None, None).expect_err("a no");
        assert_eq!(error.kind(), ErrorKind::OptedOut, "{name}: {error}");
        assert_eq!(client.identify("u", None, None).expect_err("a no").kind(), ErrorKind::OptedOut);
        assert_eq!(client.set_consent(None).expect_err("a no").kind(), ErrorKind::OptedOut);
        client.flush(NEVER).expect("nothing waits");
        assert_eq!(folder.files(), before, "{name}");
        // The answer is remembered only where it can be written.
        let kept = client.opt_in();
        assert_eq!(kept.is_ok(), matches!(name, "damaged" | "set aside"), "{name}: {kept:?}");
        assert_eq!(client.opt_state(), Choice::In, "{name}: it counts in this process");
        assert!(track(&client, "yes"), "{name}");
        client.flush(patience()).expect("delivered");
        assert_eq!(server.events().len(), 1);
    }
}

#[test]
fn what_is_damaged_while_messages_are_held_is_a_no_too() {
    let ((server, good), folder) = (refusing(), Folder::new());
    leave_something(&server, &folder);
    good.store(true, Ordering::SeqCst);
    let client = client(&server, &folder);
    assert!(track(&client, "held"));
    fs::write(folder.home().join("privacy.json"), "{").expect("written");
    let before = folder.files();
    assert_eq!(client.set_consent(None).expect_err("it reads the folder first").kind(), ErrorKind::OptedOut);
    let stats = client.stats();
    assert_eq!((client.opt_state(), stats.dropped, stats.queued), (Choice::Out, 1, 0));
    assert_eq!(folder.files(), before, "it is not known whether what waits there is to be thrown away");
    fs::remove_file(folder.home().join("privacy.json")).expect("gone");
    client.reset().expect("it reads the folder first");
    assert_eq!(client.opt_state(), Choice::None);
    assert!(track(&client, "held again"));
    assert_held_after(&client, 1, 1);
}

fn told_by_the_environment() {
    let folder = told("FOLDER");
    let client = Client::new(asking(&told("URL"), Path::new(&folder))).expect("good settings");
    let plain = Client::new(child::config(&told("URL"), Path::new(""))).expect("good settings");
    assert_eq!(plain.opt_state(), Choice::None, "only with the flag");
    let no = told("NO") == "yes";
    assert_eq!(client.opt_state(), if no { Choice::Out } else { Choice::None });
    assert_eq!(client.is_opted_out(), no);
    assert_eq!(track(&client, "before"), !no);
    if no {
        assert_eq!(client.anonymous_id(), None);
        assert_eq!(client.set_consent(None).expect_err("a no").kind(), ErrorKind::OptedOut);
        client.flush(NEVER).expect("nothing waits");
    }
    assert!(!Path::new(&folder).exists());
    client.opt_in().expect("kept");
    assert!(track(&client, "after") && client.anonymous_id().is_some());
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().delivered, if no { 1 } else { 2 });
    drop(client);
    let next = Client::new(asking(&told("URL"), Path::new(&folder))).expect("good settings");
    assert_eq!(next.opt_state(), Choice::In, "the user has said yes");
    next.opt_out().expect("kept");
}

#[test]
fn do_not_track_is_a_no_until_the_user_says_yes() {
    let server = Server::good();
    for (value, no) in [(Some("1"), "yes"), (Some("true"), "yes"), (Some("0"), "no"), (Some(""), "no"), (None, "no")] {
        let folder = nowhere();
        let (url, folder) = (server.url(), folder.text().to_owned());
        let mut command = program("told by the environment", &[("URL", &url), ("FOLDER", &folder), ("NO", no)]);
        match value {
            Some(value) => command.env("DO_NOT_TRACK", value),
            None => command.env_remove("DO_NOT_TRACK"),
        };
        Program::start(command).succeeded();
        fs::remove_dir_all(folder).expect("removed");
    }
}

/// Holds some messages, opts in, and dies in the middle of that or right after.
fn say_yes_and_die() {
    let client = Client::new(asking(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    let notes = Notes::open(&told("NOTES"));
    (0..20).for_each(|n| assert!(track(&client, &format!("{n}"))));
    assert!(!Path::new(&told("FOLDER")).exists());
    client.opt_in().expect("kept");
    if client.stats().in_memory == 0 {
        notes.write("all is in the folder");
    }
    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
}

/// Once the opt-in has returned, what was held is in the folder.
#[test]
fn a_death_in_the_middle_of_a_yes_or_after_it_leaves_what_was_promised() {
    let unreachable = crate::server::nobody();
    let (mut deaths, mut kept) = (0, 0);
    for round in 0..rounds(bindings::KILL_POINTS.len() + 1) {
        let folder = nowhere();
        let notes = folder.beside("notes");
        let told = [("URL", unreachable.as_str()), ("FOLDER", folder.text()), ("NOTES", &notes)];
        let mut command = program("say yes and die", &told);
        if let Some(point) = bindings::KILL_POINTS.get(round % (bindings::KILL_POINTS.len() + 1)) {
            command.env("SEGMENT_KILL_AT", format!("{point}:1"));
        }
        let status = Program::start(command).ended(patience());
        assert!(died_by_kill(status), "{status}");
        deaths += 1;
        let is_answered = folder.home().join("privacy.json").exists();
        assert!(is_answered || !folder.home().join("identity.json").exists(), "an id without a yes");
        let is_kept = read_notes(&notes) == ["all is in the folder"];
        kept += usize::from(is_kept);
        let next = Client::new(asking(&unreachable, &folder.0)).expect("good settings");
        assert_eq!(next.opt_state(), if is_answered { Choice::In } else { Choice::None });
        if is_kept {
            assert!(
                is_answered
                    && wait_until(|| folder.files().iter().any(|file| file.extension().is_some_and(|e| e == "jsonl")))
            );
            let chunks = folder.files().into_iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl"));
            let lines: usize =
                chunks.map(|file| fs::read(file).expect("there").iter().filter(|b| **b == b'\n').count()).sum();
            assert!(lines >= 20, "{lines} messages are in the folder");
        }
        drop(next);
        let _ = fs::remove_file(&notes);
    }
    assert!(kept > 0);
    campaign(
        "killed in the middle of a yes",
        &[(deaths, "kills")],
        None,
        "an answer before an id, and nothing lost after",
    );
}
