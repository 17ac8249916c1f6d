//! What the user agreed to, and whether they want to be tracked at all: in messages that a server got, on the disk, in
//! several processes.

#![cfg(unix)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child::{
    self, Folder, Notes, Program, balanced, campaign, died_by_kill, kill, part, patience, program, read_notes, rounds,
    told, track, wait_until, wait_within,
};
use crate::patience::wait_for_the_end;
use crate::server::{self, Reply, Server};
use segment_native::{Client, Config, ErrorKind, Object, Options};
use serde_json::{Value, json};

/// The programs that share a folder.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("track until told") => track_until_told(),
        Some("opt out and die") => opt_out_and_die(),
        Some("track and die") => track_and_die(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Notes that each message is about to be tracked, and then whether it was taken.
fn track_until_told() {
    let client = Client::new(stateful(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    let (notes, go, run) = (Notes::open(&told("NOTES")), told("GO"), told("RUN"));
    for n in 0.. {
        let id = format!("{run}-{n}");
        notes.write(&format!("try {id}"));
        let options = Options { message_id: Some(&id), ..Options::default() };
        match client.track(None, "E", None, options) {
            Ok(()) => notes.write(&format!("took {id}")),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OptedOut, "{error}");
                notes.write(&format!("refused {id}"));
            }
        }
        balanced(&client.stats());
        if n % 16 == 0 && Path::new(&go).exists() {
            break;
        }
        std::thread::sleep(Duration::from_micros(700));
    }
    client.flush(patience()).expect("settled");
    balanced(&client.stats());
}

fn opt_out_and_die() {
    let client = Client::new(stateful(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    for n in 0..5 {
        assert!(track(&client, &format!("{}-{n}", told("RUN"))));
    }
    client.opt_out().expect("kept");
    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
}

fn track_and_die() {
    let client = Client::new(stateful(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    for n in 0..5 {
        assert!(track(&client, &format!("{}-{n}", told("RUN"))));
    }
    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
}

fn start(part: &str, server: &Server, folder: &Folder, run: &str) -> Program {
    let (url, notes, go) = (server.url(), folder.beside("notes"), folder.beside("go"));
    let told = [("URL", url.as_str()), ("FOLDER", folder.text()), ("NOTES", &notes), ("GO", &go), ("RUN", run)];
    Program::start(program(part, &told))
}

fn stateful(url: &str, folder: &Path) -> Config {
    Config { stateful: true, ..child::config(url, folder) }
}

fn client(server: &Server, folder: &Folder) -> Client {
    Client::new(stateful(&server.url(), &folder.0)).expect("good settings")
}

/// A server that answers with 503 until the flag is set.
fn refusing() -> (Server, Arc<AtomicBool>) {
    let good = Arc::new(AtomicBool::new(false));
    let is_good = good.clone();
    (Server::new(move |_, _| Reply::status(if is_good.load(Ordering::SeqCst) { 200 } else { 503 })), good)
}

/// All messages that the server got, in order.
fn sent(server: &Server, client: &Client) -> Vec<Value> {
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
    server.events()
}

fn ids(server: &Server) -> HashSet<String> {
    server.requests().iter().flat_map(server::Request::ids).collect()
}

/// A time in milliseconds since 1970 that is over when this returns: what is sent next has a later one.
fn now() -> i64 {
    let now = || jiff::Timestamp::now().as_millisecond();
    let time = now();
    while now() <= time {
        std::thread::yield_now();
    }
    time
}

/// The ids of what was sent after this time by the clients' clock, no matter when the server has read it.
fn sent_after(server: &Server, time: i64) -> Vec<String> {
    let sent_at = |request: &server::Request| {
        let text = request.body["sentAt"].as_str().expect("a batch has one");
        text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
    };
    server.requests().iter().filter(|request| sent_at(request) > time).flat_map(server::Request::ids).collect()
}

fn choice(ads: bool) -> Object {
    Object::from([("ads", ads)])
}

fn privacy(folder: &Folder) -> Value {
    serde_json::from_slice(&fs::read(folder.home().join("privacy.json")).expect("there")).expect("JSON")
}

/// Everything in the folder except what is remembered of the user, and the locks.
fn kept(folder: &Folder) -> Vec<PathBuf> {
    let is_ours = |path: &PathBuf| {
        path.extension().is_some_and(|kind| kind != "lock")
            && !path.ends_with("privacy.json")
            && !path.ends_with("identity.json")
            && !path.ends_with("privacy.json.damaged")
    };
    folder.files().into_iter().filter(is_ours).collect()
}

#[test]
fn consent_stands_in_every_later_message() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    client.track(None, "Before", None, None).expect("taken");
    client.set_consent(&Object::from([("ads", false), ("analytics", true)])).expect("kept");
    let context = Object::from([("ip", "1.2.3.4")]);
    let own = Options { context: Some(&context), ..Options::default() };
    client.track(None, "With a context", None, own).expect("taken");
    client.enqueue(r#"{"type":"track","event":"J","context":{"app":{"name":"a"}}}"#).expect("taken");
    client.enqueue(r#"{"type":"track","event":"K"}"#).expect("taken");
    client.identify("u", &Object::from([("a", 1)]), None).expect("taken");
    client.alias("v", None, None).expect("taken");
    client.group(None, "g", None, None).expect("taken");
    client.set_consent(None).expect("kept");
    client.track(None, "After", None, None).expect("taken");
    let sent = sent(&server, &client);
    let consent = json!({"categoryPreferences": {"ads": false, "analytics": true}});
    assert_eq!(sent.len(), 9);
    assert_eq!((&sent[0]["context"]["consent"], &sent[8]["context"]["consent"]), (&Value::Null, &Value::Null));
    for message in &sent[1..8] {
        assert_eq!(message["context"]["consent"], consent, "{message}");
    }
    assert_eq!(
        (sent[1]["event"].as_str(), &sent[2]["context"]["ip"]),
        (Some("Segment Consent Preference Updated"), &json!("1.2.3.4"))
    );
    assert_eq!(sent[3]["context"]["app"], json!({"name": "a"}));
    assert!(!sent.iter().any(|message| message.to_string().contains(r#""consent":{}"#)));
}

#[test]
fn a_choice_is_tracked_once_and_survives() {
    let (server, folder) = (Server::good(), Folder::new());
    let told_of = |client: &Client| {
        let sent = sent(&server, client);
        sent.iter().filter(|message| message["event"] == "Segment Consent Preference Updated").count()
    };
    let first = client(&server, &folder);
    first.set_consent(&Object::from([("a", true), ("b", false)])).expect("kept");
    first.set_consent(&Object::from([("b", false), ("a", true)])).expect("the same");
    assert_eq!(told_of(&first), 1);
    drop(first);
    let second = client(&server, &folder);
    second.set_consent(&Object::from([("b", false), ("a", true)])).expect("still the same");
    second.track(None, "E", None, None).expect("taken");
    assert_eq!(told_of(&second), 1);
    let last = sent(&server, &second).last().expect("one")["context"]["consent"].clone();
    assert_eq!(last, json!({"categoryPreferences": {"a": true, "b": false}}));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| second.set_consent(&choice(true)).expect("kept"));
        }
    });
    assert_eq!(told_of(&second), 2, "eight threads, one change");
    // Another client that has not read the change yet.
    let third = client(&server, &folder);
    second.set_consent(&choice(false)).expect("kept");
    third.set_consent(&choice(false)).expect("the same");
    third.flush(patience()).expect("delivered");
    assert_eq!(told_of(&second), 3, "two clients, one change");
    second.set_consent(None).expect("kept");
    third.set_consent(None).expect("kept");
    assert_eq!(told_of(&second), 3, "removing the consent is not tracked");
    assert_eq!(privacy(&folder)["consent"], Value::Null);
}

#[test]
fn a_consent_that_says_nothing_is_refused() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    let kind = |object: &Object| client.set_consent(object).expect_err("refused").kind();
    assert_eq!(kind(&Object::new()), ErrorKind::Invalid);
    assert_eq!(kind(&Object::from([("ads", "yes")])), ErrorKind::Invalid);
    let mut many = Object::new();
    (0..1_000).for_each(|n| _ = many.set(&format!("category {n}"), true));
    assert_eq!(kind(&many), ErrorKind::TooLarge);
    client.set_consent(None).expect("as before");
    assert_eq!((client.stats().accepted, client.stats().refused), (0, 3));
    // So is one that leaves no room for a message.
    let context = Object::from([("k", "x".repeat(28_000).as_str())]);
    let full = Client::new(Config { context, ..child::config(&server.url(), Path::new("")) }).expect("there is room");
    let categories = Object::from([("c".repeat(4_000).as_str(), true)]);
    assert_eq!(full.set_consent(&categories).expect_err("no room").kind(), ErrorKind::TooLarge);
    full.track("u", "E", None, None).expect("taken as before");
    // A file that says nothing counts as a no.
    fs::write(folder.home().join("privacy.json"), r#"{"optedOut":false,"changes":0,"changedAt":0,"consent":{}}"#)
        .expect("written");
    let odd = self::client(&server, &folder);
    assert!(odd.is_opted_out(), "what cannot be understood may have been a no");
    odd.opt_in().expect("kept");
    odd.track(None, "E", None, None).expect("taken");
    assert_eq!(sent(&server, &odd)[0]["context"]["consent"], Value::Null);
}

#[test]
fn a_stateless_client_stamps_consent_and_tracks_no_choice() {
    let server = Server::good();
    let client = child::client(&server.url(), Path::new(""));
    client.set_consent(&choice(true)).expect("in memory");
    client.track("u", "E", None, None).expect("taken");
    let sent = sent(&server, &client);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["context"]["consent"]["categoryPreferences"], json!({"ads": true}));
}

#[test]
fn an_opt_out_stops_everything_and_leaves_nothing_behind() {
    let (server, good) = refusing();
    let folder = Folder::new();
    for run in ["dead1", "dead2"] {
        assert!(died_by_kill(start("track and die", &server, &folder, run).ended(patience())));
    }
    let client = client(&server, &folder);
    client.identify("u", &Object::from([("secret", "s")]), None).expect("taken");
    let large = Object::from([("filler", "x".repeat(30_000).as_str())]);
    (0..40).for_each(|_| client.track(None, "E", &large, None).expect("taken"));
    assert!(wait_until(|| client.stats().recovered > 0 && client.stats().requests > 0));
    let rejected = kept(&folder)[0].parent().expect("a folder").join("rejected");
    fs::create_dir_all(&rejected).expect("made");
    fs::write(rejected.join("1700000000000-000001-0123456789abcdef.v1.jsonl"), "{}").expect("written");
    fs::write(folder.home().join("identity.json.7-1.new"), "half of it").expect("written");
    fs::write(folder.home().join("identity.json.damaged"), r#"{"userId":"u""#).expect("written");

    let refused = client.stats().refused;
    client.opt_out().expect("kept");
    assert!(client.is_opted_out());
    assert_eq!((client.anonymous_id(), client.user_id()), (None, None));
    for refusal in [
        client.track(None, "E", None, None),
        client.track("u", "E", None, None),
        client.identify("u", None, None),
        client.alias("v", None, None),
        client.enqueue(r#"{"type":"track","event":"E","userId":"u"}"#),
        client.reset(),
        client.set_consent(&choice(true)),
    ] {
        assert_eq!(refusal.expect_err("refused").kind(), ErrorKind::OptedOut);
    }
    client.flush(patience()).expect("nothing is left to wait for");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.queued, stats.queued_bytes, stats.delivered, stats.refused - refused), (0, 0, 0, 7), "{stats:?}");
    assert!(stats.dropped >= 41);
    assert_eq!(kept(&folder), Vec::<PathBuf>::new());
    client.opt_out().expect("again");
    drop(client);

    let next = self::client(&server, &folder);
    assert!(next.is_opted_out(), "it lasts");
    assert!(!track(&next, "refused"));
    next.flush(patience()).expect("nothing to wait for");
    assert_eq!(kept(&folder), Vec::<PathBuf>::new());
    let seen = now();
    good.store(true, Ordering::SeqCst);
    next.opt_in().expect("kept");
    assert!(track(&next, "wanted again"));
    assert!(wait_until(|| next.stats().in_memory == 0), "it is stored like any other message");
    next.flush(patience()).expect("delivered");
    assert_eq!(sent_after(&server, seen), ["wanted again"]);
}

#[test]
fn a_user_who_opts_in_again_is_a_new_person() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    client.identify("u", &Object::from([("a", 1)]), None).expect("taken");
    let other = self::client(&server, &folder);
    let before = client.anonymous_id();
    client.opt_out().expect("kept");
    assert!(!folder.home().join("identity.json").exists());
    client.opt_in().expect("kept");
    client.opt_in().expect("the same");
    let after = client.anonymous_id();
    assert!(after.is_some() && after != before);
    assert_eq!(client.user_id(), None);
    client.track(None, "E", None, None).expect("taken");
    let last = sent(&server, &client).last().expect("one").clone();
    assert_eq!((&last["userId"], &last["context"]["traits"]), (&Value::Null, &Value::Null));
    // A client that ran all the time, and has missed it, does not bring the earlier person back.
    other.identify("v", None, None).expect("taken");
    assert_eq!((other.anonymous_id(), self::client(&server, &folder).anonymous_id()), (after.clone(), after));
}

#[test]
fn a_stateless_client_can_opt_in_and_a_stateful_one_gets_a_new_person() {
    let (server, folder) = (Server::good(), Folder::new());
    let remembering = client(&server, &folder);
    remembering.identify("u", None, None).expect("taken");
    remembering.flush(patience()).expect("delivered");
    let before = remembering.anonymous_id();
    let other = child::client(&server.url(), &folder.0);
    other.opt_out().expect("kept");
    other.opt_in().expect("kept");
    let goes_on = || {
        let _ = remembering.track(None, "E", None, None);
        remembering.anonymous_id().is_some_and(|id| Some(id) != before)
    };
    assert!(wait_until(goes_on), "{:?}", remembering.anonymous_id());
    assert_eq!(remembering.user_id(), None);
    assert_eq!(client(&server, &folder).anonymous_id(), remembering.anonymous_id());
}

#[test]
fn opting_in_without_having_opted_out_loses_nothing() {
    for spooled in [true, false] {
        let (server, good) = refusing();
        let folder = Folder::new();
        let client =
            Client::new(stateful(&server.url(), if spooled { &folder.0 } else { Path::new("") })).expect("good");
        let anonymous = client.anonymous_id();
        (0..10).for_each(|n| assert!(track(&client, &format!("{n}"))));
        client.opt_in().expect("as it is");
        assert_eq!((client.stats().dropped, client.stats().queued), (0, 10));
        assert_eq!(client.anonymous_id(), anonymous);
        good.store(true, Ordering::SeqCst);
        client.flush(patience()).expect("delivered");
        assert_eq!(client.stats().delivered, 10);
    }
}

#[test]
fn a_request_under_way_is_broken_off_and_no_call_waits_for_it() {
    for spooled in [true, false] {
        let (server, folder) = (Server::new(|_, _| Reply::Silence), Folder::new());
        let place = if spooled { folder.0.as_path() } else { Path::new("") };
        let client = Client::new(stateful(&server.url(), place)).expect("good settings");
        assert!(track(&client, "first"));
        assert!(wait_until(|| server.requests().len() == 1), "the request is under way");
        assert!(track(&client, "second"));
        client.opt_out().expect("kept");
        client.flush(patience()).expect("nothing is left, although the server never answers");
        let stats = client.stats();
        balanced(&stats);
        assert_eq!((stats.dropped, stats.queued), (2, 0), "{stats:?}");
        client.opt_in().expect("kept");
        assert!(track(&client, "wanted again"));
        assert!(wait_until(|| server.requests().len() == 2), "the next request");
        assert_eq!(server.requests()[1].ids(), ["wanted again"], "the one before is not tried again");
    }
}

#[test]
fn opting_out_while_threads_track_stops_them_all_and_the_counts_add_up() {
    let (clients, mut accepted) = (rounds(30), 0);
    for round in 0..clients {
        let (server, folder) = (Server::good(), Folder::new());
        let place = if round % 3 == 0 { Path::new("") } else { folder.0.as_path() };
        // Small chunks, so that they are sealed, cut, read and deleted all the time.
        let config = Config { queue_max_bytes: 200_000, flush_at: 3, ..stateful(&server.url(), place) };
        let client = Client::new(config).expect("good settings");
        let out = AtomicBool::new(false);
        let denied: Vec<String> = std::thread::scope(|scope| {
            let tracking: Vec<_> = (0..4)
                .map(|thread| {
                    let (client, out) = (&client, &out);
                    scope.spawn(move || {
                        let filler = Object::from([("filler", "x".repeat(2_000).as_str())]);
                        let mut denied = Vec::new();
                        for n in 0..400 {
                            let is_out = out.load(Ordering::SeqCst);
                            let id = format!("{thread}-{n}");
                            let options = Options { message_id: Some(&id), ..Options::default() };
                            let taken = client.track(None, "E", &filler, options).is_ok();
                            assert!(!(is_out && taken), "taken after the user had opted out");
                            if is_out {
                                denied.push(id);
                            }
                        }
                        denied
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(round as u64 * 211));
            client.opt_out().expect("kept");
            out.store(true, Ordering::SeqCst);
            balanced(&client.stats());
            tracking.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        client.flush(patience()).expect("nothing is left");
        let stats = client.stats();
        balanced(&stats);
        assert_eq!((stats.queued, stats.queued_bytes, stats.in_memory), (0, 0, 0), "{stats:?}");
        // A file that was just being made is deleted a moment later, not only at the next look into the folder.
        assert!(wait_within(patience() / 8, || kept(&folder).is_empty()), "{:?}", kept(&folder));
        assert!(denied.iter().all(|id| !ids(&server).contains(id)));
        accepted += usize::try_from(stats.accepted).expect("few");
    }
    let size = [(clients, "times"), (accepted, "accepted before")];
    campaign("opting out while 4 threads track", &size, None, "0 taken, kept or sent after it");
}

/// S69.
#[test]
fn what_another_process_tracks_while_the_user_has_opted_out_never_leaves() {
    const PAIRS: usize = 3;
    let times = rounds(1);
    for _ in 0..times {
        // A process that is refused checks again once in a second: three of them wait together.
        std::thread::scope(|scope| {
            for round in 0..PAIRS {
                scope.spawn(move || opt_out_and_in_while_another_process_tracks(round));
            }
        });
    }
    campaign("opting out while another process tracks", &[(times * PAIRS * TURNS, "times")], None, "0 sent after it");
}

/// How often the user opts out and in again.
const TURNS: usize = 4;

fn opt_out_and_in_while_another_process_tracks(round: usize) {
    let (server, folder) = (Server::good(), Folder::new());
    let notes = Notes::open(&folder.beside("notes"));
    let noted = || read_notes(&folder.beside("notes"));
    let mut other = start("track until told", &server, &folder, "other");
    let client = client(&server, &folder);
    for turn in 0..TURNS {
        assert!(wait_until(|| noted().last().is_some_and(|note| note.starts_with("took"))));
        notes.write("op out");
        client.opt_out().expect("kept");
        notes.write("is out");
        match (round + turn) % 3 {
            // It has noticed.
            0 => assert!(wait_until(|| noted().last().is_some_and(|note| note.starts_with("refused")))),
            // It dies, perhaps before it has noticed.
            1 => {
                std::thread::sleep(Duration::from_millis(turn as u64 * 2));
                other.kill();
                other = start("track until told", &server, &folder, &format!("{round}-{turn}"));
            }
            // It may have noticed nothing at all.
            _ => {}
        }
        notes.write("op in");
        client.opt_in().expect("kept");
        notes.write("is in");
    }
    assert!(wait_until(|| noted().last().is_some_and(|note| note.starts_with("took"))));
    fs::write(folder.beside("go"), "").expect("written");
    other.succeeded();
    client.flush(patience()).expect("delivered");
    // The processes that died have left nothing that is sent later.
    self::client(&server, &folder).flush(patience()).expect("delivered");

    let (mut is_out, mut denied, mut tried) = (false, HashSet::new(), HashSet::new());
    for note in noted() {
        match note.split_once(' ').expect("two words") {
            ("is", "out") => (is_out, tried) = (true, HashSet::new()),
            ("op", "in") => is_out = false,
            ("try", id) if is_out => _ = tried.insert(id.to_owned()),
            ("took" | "refused", id) if is_out && tried.contains(id) => _ = denied.insert(id.to_owned()),
            _ => {}
        }
    }
    let left: Vec<_> = ids(&server).intersection(&denied).cloned().collect();
    assert!(left.is_empty(), "tracked while the user had opted out, and sent: {left:?}");
    let _ = fs::remove_file(folder.beside("go"));
}

/// A client that changes something after the user has opted out in another process must notice that.
#[test]
fn a_client_that_learns_of_an_opt_out_by_its_own_change_sends_nothing_either() {
    for n in 0..4 {
        let (server, good) = refusing();
        let folder = Folder::new();
        let (one, other) = (client(&server, &folder), client(&server, &folder));
        (0..5).for_each(|n| assert!(track(&one, &format!("before {n}"))));
        // The server has read what was sent before the opt-out, and the next try is some time away.
        assert!(wait_until(|| one.stats().requests > 0));
        other.opt_out().expect("kept");
        let refusal = match n {
            0 => one.identify("u", None, None),
            1 => one.alias("u", None, None),
            2 => one.reset(),
            _ => one.set_consent(&choice(true)),
        };
        assert_eq!(refusal.expect_err("refused").kind(), ErrorKind::OptedOut);
        assert!(!track(&one, "after"));
        let seen = now();
        good.store(true, Ordering::SeqCst);
        one.flush(patience()).expect("nothing is left");
        assert_eq!((one.stats().queued, one.stats().dropped), (0, 5));
        assert_eq!(sent_after(&server, seen), Vec::<String>::new());
        assert_eq!(kept(&folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn others_go_on_when_the_user_opts_in_again() {
    let (server, folder) = (Server::good(), Folder::new());
    let (one, other) = (client(&server, &folder), client(&server, &folder));
    assert!(track(&one, "before"));
    one.flush(patience()).expect("delivered");
    other.opt_out().expect("kept");
    assert!(wait_until(|| !track(&one, "perhaps")), "it notices");
    other.opt_in().expect("kept");
    assert!(wait_until(|| track(&one, "wanted again")), "and again");
    one.flush(patience()).expect("delivered");
    assert!(ids(&server).contains("wanted again"));
}

#[test]
fn a_death_right_after_opting_out_changes_nothing() {
    let (server, good) = refusing();
    let folder = Folder::new();
    for run in ["a", "b", "c"] {
        assert!(died_by_kill(start("opt out and die", &server, &folder, run).ended(patience())));
        let client = client(&server, &folder);
        assert!(client.is_opted_out());
        client.flush(patience()).expect("nothing is left");
        assert_eq!(kept(&folder), Vec::<PathBuf>::new());
        client.opt_in().expect("kept");
    }
    let seen = now();
    good.store(true, Ordering::SeqCst);
    client(&server, &folder).flush(patience()).expect("nothing is left");
    assert_eq!(sent_after(&server, seen), Vec::<String>::new());
}

#[test]
fn where_no_folder_can_be_made_an_opt_out_counts_in_this_process() {
    let (server, folder) = (Server::good(), Folder::new());
    let place = folder.0.join("file");
    fs::write(&place, "no folder").expect("written");
    let client = Client::new(stateful(&server.url(), &place.join("spool"))).expect("good settings");
    assert!(track(&client, "in memory"));
    assert_eq!(client.opt_out().expect_err("not kept").kind(), ErrorKind::Storage);
    assert!(client.is_opted_out() && !track(&client, "refused"));
    assert_eq!((client.stats().queued, client.stats().dropped + client.stats().delivered), (0, 1));
    assert_eq!(client.opt_in().expect_err("not kept").kind(), ErrorKind::Storage);
    assert!(track(&client, "wanted again"));
}

#[test]
fn opting_out_while_the_client_is_shut_down_ends_both() {
    let clients = rounds(40);
    for round in 0..clients {
        let (server, folder) = (Server::new(|_, _| Reply::status(503)), Folder::new());
        let client = client(&server, &folder);
        (0..20).for_each(|n| assert!(track(&client, &format!("{n}"))));
        std::thread::scope(|scope| {
            let shutting_down = scope.spawn(|| drop(client.shutdown(Duration::from_millis(5))));
            scope.spawn(|| (0..50).for_each(|n| _ = track(&client, &format!("late {n}"))));
            std::thread::sleep(Duration::from_micros(round as u64 * 173));
            client.opt_out().expect("kept");
            shutting_down.join().expect("no panic");
        });
        let stats = client.stats();
        balanced(&stats);
        assert_eq!(stats.queued, 0, "{stats:?}");
        client.shutdown(patience()).expect("nothing is left");
        drop(client);
        assert_eq!(kept(&folder), Vec::<PathBuf>::new());
    }
    campaign("opting out while the client ends", &[(clients, "times")], None, "0 files left");
}

/// What was damaged may have been a no, which only the user can tell. Until then nothing is sent or thrown away.
#[test]
fn what_was_damaged_is_set_aside_and_nothing_happens_until_the_user_answers() {
    for (n, damage) in DAMAGED.into_iter().enumerate() {
        let (server, good) = refusing();
        let folder = Folder::new();
        assert!(died_by_kill(start("track and die", &server, &folder, "dead").ended(patience())));
        fs::write(folder.home().join("privacy.json"), damage).expect("written");
        let person = fs::read(folder.home().join("identity.json")).expect("there");
        let chunks = kept(&folder);
        good.store(true, Ordering::SeqCst);
        let seen = server.begun();
        // In this life and in the next.
        for _ in 0..2 {
            let (lines, on_log) = log();
            let config = Config { on_log: Some(on_log), ..stateful(&server.url(), &folder.0) };
            let client = Client::new(config).expect("good settings");
            assert!(client.is_opted_out(), "{damage}");
            for refusal in [
                client.track("u", "E", None, None),
                client.identify("u", None, None),
                client.enqueue(r#"{"type":"track","event":"E","userId":"u"}"#),
                client.reset(),
                client.set_consent(&choice(true)),
            ] {
                let error = refusal.expect_err("refused");
                assert_eq!(error.kind(), ErrorKind::Storage);
                assert!(error.message().starts_with("privacy.json was damaged"), "{error}");
            }
            client.flush(patience()).expect("nothing was accepted");
            drop(client);
            let aside = folder.home().join("privacy.json.damaged");
            let wanted = format!("{} is damaged: ", aside.display());
            let lines = lines.lock().expect("no panic");
            assert_eq!(lines.iter().filter(|line| line.starts_with(&wanted)).count(), 1, "{lines:?}");
            assert!(!folder.home().join("privacy.json").exists());
            assert_eq!(fs::read(aside).expect("there"), damage.as_bytes());
        }
        assert_eq!((kept(&folder), server.begun()), (chunks, seen), "{damage}");
        assert_eq!(fs::read(folder.home().join("identity.json")).expect("there"), person);
        let wants_out = n % 2 == 0;
        let client = client(&server, &folder);
        if wants_out {
            client.opt_out().expect("kept")
        } else {
            client.opt_in().expect("kept")
        }
        assert_eq!(track(&client, "wanted again"), !wants_out);
        drop(client);
        let next = self::client(&server, &folder);
        assert_eq!(next.is_opted_out(), wants_out, "it counts from now on");
        next.flush(patience()).expect("delivered");
        let expected: &[&str] = if wants_out { &[] } else { &["wanted again"] };
        assert_eq!(ids_after(&server, seen), expected.iter().map(|id| (*id).to_owned()).collect());
        assert!(folder.home().join("privacy.json.damaged").exists(), "it stays for a person to look at");
    }
}

const DAMAGED: [&str; 7] = [
    "",
    "{",
    "\0\0\0\0\0\0",
    r#"{"optedOut":false}"#,
    r#"{"optedOut":false,"changes":-1,"changedAt":0}"#,
    r#"{"ads":false}"#,
    r#"{"optedOut":true,"changes":1,"chan"#,
];

#[test]
fn a_running_client_stops_too_and_goes_on_once_the_choice_is_known_again() {
    let (server, good) = refusing();
    let folder = Folder::new();
    let client = client(&server, &folder);
    client.set_consent(&choice(true)).expect("kept");
    let person = client.anonymous_id();
    (0..5).for_each(|n| assert!(track(&client, &format!("{n}"))));
    let privacy = fs::read(folder.home().join("privacy.json")).expect("there");
    fs::write(folder.home().join("privacy.json"), "").expect("written");
    assert!(wait_until(|| !track(&client, "perhaps")), "it notices");
    let accepted = client.stats().accepted;
    let begun = server.begun();
    good.store(true, Ordering::SeqCst);
    assert_eq!(client.flush(Duration::from_millis(300)).expect_err("they wait").kind(), ErrorKind::Timeout);
    let delivered: HashSet<String> = server.requests()[begun..].iter().flat_map(server::Request::ids).collect();
    assert!(delivered.is_empty(), "no request begins any more: {delivered:?}");
    assert_eq!((client.stats().queued, client.stats().dropped), (accepted, 0));
    fs::write(folder.home().join("privacy.json"), privacy).expect("repaired by hand");
    assert!(wait_until(|| track(&client, "again")), "it notices");
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
    assert_eq!((client.stats().delivered, client.stats().dropped), (accepted + 1, 0));
    assert_eq!(client.anonymous_id(), person);
}

/// Lines of the log.
fn log() -> (Arc<Mutex<Vec<String>>>, segment_native::OnLog) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    (lines, Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())))
}

/// What arrived in requests after the first `seen`.
fn ids_after(server: &Server, seen: usize) -> HashSet<String> {
    server.requests()[seen..].iter().flat_map(server::Request::ids).collect()
}

/// While it cannot be read whether the user has opted out, nothing is taken or sent, and nothing is lost.
#[test]
fn a_choice_that_cannot_be_read_right_now_is_waited_for() {
    let (server, good) = refusing();
    let folder = Folder::new();
    assert!(died_by_kill(start("track and die", &server, &folder, "dead").ended(patience())));
    let file = folder.home().join("privacy.json");
    fs::create_dir(&file).expect("made"); // reading a folder fails for all users
    let seen = now();
    good.store(true, Ordering::SeqCst);
    let (lines, on_log) = log();
    let config = Config { on_log: Some(on_log), shutdown: patience(), ..stateful(&server.url(), &folder.0) };
    let client = Client::new(config).expect("good settings");
    assert!(client.is_opted_out() && !track(&client, "refused"));
    let told = || {
        let start = format!("{} cannot be read, so it is unknown whether the user has opted out: ", file.display());
        lines.lock().expect("no panic").iter().filter(|line| line.starts_with(&start)).count()
    };
    assert!(wait_until(|| told() > 0), "the reason is logged");
    client.flush(patience()).expect("nothing was accepted");
    assert_eq!(sent_after(&server, seen), Vec::<String>::new());
    assert_eq!(told(), 1);
    drop(self::client(&server, &folder)); // it has nothing to wait for either
    fs::remove_dir(&file).expect("gone");
    assert!(wait_until(|| !client.is_opted_out() && track(&client, "taken")));
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().recovered, 5);
}

/// Nothing can be stored there, so no opt-out can have been stored there either.
#[test]
fn where_the_path_leads_nowhere_the_client_works_in_memory() {
    let server = Server::good();
    let around = Folder::new();
    let place = |name: &str| around.0.join(name);
    std::os::unix::fs::symlink("loop", place("loop")).expect("made");
    std::os::unix::fs::symlink("nothing", place("dangling")).expect("made");
    fs::write(place("file"), "no folder").expect("written");
    let long = place(&"x".repeat(300));
    for spool in [place("loop"), place("loop/spool"), place("dangling"), place("file/a/b"), long, place("a\0b")] {
        let (lines, on_log) = log();
        let config = Config { on_log: Some(on_log), ..stateful(&server.url(), &spool) };
        let client = Client::new(config).expect("good settings");
        assert!(!client.is_opted_out() && track(&client, "in memory"), "{}", spool.display());
        client.flush(patience()).expect("delivered");
        assert_eq!(client.stats().delivered, 1);
        assert_eq!(client.opt_out().expect_err("not kept").kind(), ErrorKind::Storage);
        drop(client);
        let lines = lines.lock().expect("no panic");
        let says_so =
            |line: &String| line.contains("cannot be written, new messages") || line.contains("cannot be used");
        assert!(lines.iter().any(says_so), "{lines:?}");
    }
}

#[test]
fn after_the_clock_was_put_back_what_was_kept_before_is_not_sent_either() {
    let (server, good) = refusing();
    let folder = Folder::new();
    assert!(died_by_kill(start("track and die", &server, &folder, "dead").ended(patience())));
    // By this machine's clock at that time, all this was in 2099 and 2100.
    for chunk in kept(&folder) {
        let name = chunk.file_name().expect("a name").to_string_lossy().into_owned();
        let (_, rest) = name.split_once('-').expect("milliseconds");
        fs::rename(&chunk, chunk.with_file_name(format!("4070908800000-{rest}"))).expect("renamed");
    }
    let text = r#"{"optedOut":true,"changes":1,"changedAt":4102444800000}"#;
    fs::write(folder.home().join("privacy.json"), text).expect("written");
    good.store(true, Ordering::SeqCst);
    let seen = now();
    // Opted in by a client that does not look at these messages: it has another write key.
    let other_key = Config { write_key: "OTHER".to_owned(), ..stateful(&server.url(), &folder.0) };
    Client::new(other_key).expect("good settings").opt_in().expect("kept");
    let client = client(&server, &folder);
    assert!(track(&client, "wanted"));
    client.flush(patience()).expect("delivered");
    drop(client);
    let next = self::client(&server, &folder);
    next.flush(patience()).expect("delivered");
    assert_eq!(sent_after(&server, seen), ["wanted"]);
}

#[test]
fn what_is_kept_after_opting_in_is_found_again_whatever_the_clock_says() {
    let (server, good) = refusing();
    let folder = Folder::new();
    drop(client(&server, &folder));
    let text = r#"{"optedOut":true,"changes":1,"changedAt":4102444800000}"#;
    fs::write(folder.home().join("privacy.json"), text).expect("written");
    let client = client(&server, &folder);
    client.opt_in().expect("kept");
    (0..5).for_each(|n| assert!(track(&client, &format!("{n}"))));
    drop(client);
    wait_for_the_end(&folder.0);
    good.store(true, Ordering::SeqCst);
    let next = self::client(&server, &folder);
    next.flush(patience()).expect("delivered");
    assert_eq!((next.stats().recovered, next.stats().delivered), (5, 5));
}

#[test]
fn after_the_end_of_the_client_the_user_can_still_choose_and_no_call_waits() {
    for good in [true, false] {
        let (server, is_good) = refusing();
        is_good.store(good, Ordering::SeqCst);
        let folder = Folder::new();
        let client = client(&server, &folder);
        assert!(track(&client, "kept"));
        assert_eq!(client.shutdown(if good { patience() } else { Duration::from_millis(50) }).is_ok(), good);
        client.opt_out().expect("kept");
        client.flush(patience()).expect("nothing is left");
        client.shutdown(patience()).expect("nothing is left");
        drop(client);
        let expected = ["identity.lock", "mark", "next.lock", "privacy.json"].map(|name| folder.home().join(name));
        assert_eq!(folder.files(), expected);
        assert!(self::client(&server, &folder).is_opted_out());
    }
}

#[test]
fn without_a_spool_a_choice_lasts_until_the_client_ends() {
    let (server, good) = refusing();
    let client = Client::new(stateful(&server.url(), Path::new(""))).expect("good settings");
    assert!(track(&client, "before"));
    client.opt_out().expect("nothing to keep");
    assert!(!track(&client, "meanwhile"));
    assert_eq!(client.stats().queued, 0);
    client.opt_in().expect("nothing to keep");
    good.store(true, Ordering::SeqCst);
    let seen = now();
    assert!(track(&client, "after"));
    client.flush(patience()).expect("delivered");
    assert_eq!(sent_after(&server, seen), ["after"]);
    balanced(&client.stats());
    assert_eq!(client.stats().dropped, 1);
}
