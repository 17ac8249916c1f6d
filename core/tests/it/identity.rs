//! What a client remembers of who the user is: in messages that a server got, in files on the disk, in several
//! processes.

#![cfg(unix)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::child::{
    self, Folder, NEVER, Notes, Program, Random, campaign, part, patience, program, read_notes, rounds, told,
    wait_until,
};
use crate::patience::wait_for_the_end;
use crate::server::{Reply, Server};
use segment_native::{Call, Client, Config, ErrorKind, Message, Object, Options};
use serde_json::{Value, json};

/// The programs that share a folder.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("say who you are") => say_who_you_are(),
        Some("identify a user") => identify_a_user(),
        Some("move") => move_elsewhere(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Starts when it is told to, and notes its anonymous id.
fn say_who_you_are() {
    let (notes, go) = (Notes::open(&told("NOTES")), told("GO"));
    notes.write("ready");
    assert!(wait_until(|| Path::new(&go).exists()), "told to go");
    let client = Client::new(stateful(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    notes.write(&format!("id {}", client.anonymous_id().expect("one")));
}

/// Identifies a user, and notes it.
fn identify_a_user() {
    let client = Client::new(stateful(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    let notes = Notes::open(&told("NOTES"));
    for n in 0..50 {
        let name = format!("{}_{n}", told("RUN"));
        client.identify(None, &Object::from([(name.as_str(), n)]), None).expect("taken");
    }
    client.flush(patience()).expect("delivered");
    notes.write("done");
}

/// Has a spool below its working folder, and changes to another.
fn move_elsewhere() {
    let elsewhere = told("FOLDER");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let mut config = stateful(&told("URL"), Path::new(".segment"));
    config.on_log = Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())));
    let start = std::env::current_dir().expect("somewhere");
    match told("WHAT").as_str() {
        "track" => {
            let client = Client::new(config).expect("good settings");
            assert!(child::track(&client, "before"));
            std::env::set_current_dir(elsewhere).expect("there");
            (0..3_000).for_each(|n| assert!(child::track(&client, &format!("after {n}"))));
            assert!(wait_until(|| client.stats().in_memory == 0));
        }
        "opt out" => {
            let client = Client::new(config).expect("good settings");
            std::env::set_current_dir(elsewhere).expect("there");
            client.opt_out().expect("kept");
        }
        _ => {
            fs::remove_dir(start).expect("empty");
            let client = Client::new(config).expect("a client nevertheless");
            assert!(child::track(&client, "in memory"));
            assert_eq!((client.stats().accepted, client.stats().in_memory + client.stats().delivered), (1, 1));
            client.flush(patience()).expect("delivered");
            assert_eq!(client.opt_out().expect_err("not kept").kind(), ErrorKind::Storage);
            assert!(client.is_opted_out() && !child::track(&client, "refused"));
            assert_eq!(client.opt_in().expect_err("not kept").kind(), ErrorKind::Storage);
            std::env::set_current_dir(elsewhere).expect("there");
            assert!(child::track(&client, "later"));
            drop(client);
            let lines = lines.lock().expect("no panic");
            assert!(lines.iter().any(|line| line.starts_with("spool_dir cannot be used")), "{lines:?}");
        }
    }
}

fn stateful(url: &str, folder: &Path) -> Config {
    Config { stateful: true, ..child::config(url, folder) }
}

fn client(server: &Server, folder: &Folder) -> Client {
    Client::new(stateful(&server.url(), &folder.0)).expect("good settings")
}

fn in_memory(server: &Server) -> Client {
    Client::new(stateful(&server.url(), Path::new(""))).expect("good settings")
}

/// All messages that the server got, in order.
fn sent(server: &Server, client: &Client) -> Vec<Value> {
    client.flush(patience()).expect("delivered");
    child::balanced(&client.stats());
    server.events()
}

/// Who a message is about, and the traits in its context.
fn about(message: &Value) -> Value {
    json!([message["userId"], message["anonymousId"], message["context"]["traits"]])
}

fn file(folder: &Folder) -> Value {
    serde_json::from_slice(&fs::read(folder.home().join("identity.json")).expect("there")).expect("JSON")
}

#[test]
fn without_the_flag_nothing_is_remembered() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = child::client(&server.url(), &folder.0);
    client.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    assert_eq!(client.track(None, "E", None, None).expect_err("no id").kind(), ErrorKind::Invalid);
    assert_eq!(client.enqueue(r#"{"type":"track","event":"E"}"#).expect_err("no id").kind(), ErrorKind::Invalid);
    client.track("v", "E", None, None).expect("taken");
    assert_eq!((client.anonymous_id(), client.user_id()), (None, None));
    assert_eq!(client.reset().expect_err("nothing to forget").to_string(), "reset needs a client that is stateful");
    let sent = sent(&server, &client);
    assert_eq!([about(&sent[0]), about(&sent[1])], [json!(["u", null, null]), json!(["v", null, null])]);
    assert!(!folder.home().join("identity.json").exists());
    assert_eq!(client.stats().refused, 3);
}

#[test]
fn one_anonymous_id_lasts_from_launch_to_launch() {
    let (server, folder) = (Server::good(), Folder::new());
    let ids: HashSet<_> = (0..3).map(|_| client(&server, &folder).anonymous_id().expect("one")).collect();
    assert_eq!(ids.len(), 1);
    let other = Folder::new();
    assert!(!ids.contains(&client(&server, &other).anonymous_id().expect("one")), "another folder, another user");
}

#[test]
fn every_call_knows_the_user_and_their_traits_when_none_is_named() {
    let (server, folder) = (Server::good(), Folder::new());
    let first = client(&server, &folder);
    let anonymous = first.anonymous_id().expect("one");
    first.track(None, "Before", None, None).expect("taken");
    first.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    first.identify(None, &Object::from([("seats", 3)]), None).expect("taken");
    drop(first);
    wait_for_the_end(&folder.0);
    let client = client(&server, &folder);
    assert_eq!((client.user_id().as_deref(), client.anonymous_id()), (Some("u"), Some(anonymous.clone())));
    let subjects = [None, Some("E"), Some("P"), Some("S"), Some("g"), Some("old")];
    for (call, subject) in Call::ALL.into_iter().zip(subjects) {
        let message = Message { call, user_id: None, subject, payload: None, options: Options::default() };
        client.send(&message).expect("taken");
    }
    for json in [r#"{"type":"track","event":"J"}"#, r#"{"type":"page","userId":null,"anonymousId":null}"#] {
        client.enqueue(json).expect("taken");
    }
    let sent = sent(&server, &client);
    let traits = json!({"plan": "pro", "seats": 3});
    assert_eq!(about(&sent[0]), json!([null, anonymous, null]));
    assert_eq!((about(&sent[1]), &sent[1]["traits"]), (json!(["u", anonymous, null]), &json!({"plan": "pro"})));
    assert_eq!((about(&sent[2]), &sent[2]["traits"]), (json!(["u", anonymous, null]), &traits), "all that is known");
    assert_eq!((about(&sent[3]), &sent[3]["traits"]), (json!(["u", anonymous, null]), &traits));
    assert_eq!(sent.len(), 11);
    for message in &sent[4..] {
        assert_eq!(about(message), json!(["u", anonymous, traits]), "{message}");
    }
    assert_eq!(sent[8]["previousId"], "old");
}

#[test]
fn ids_that_are_given_win_and_are_not_remembered() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    let own = client.anonymous_id().expect("one");
    let given = Options { anonymous_id: Some("anon"), ..Options::default() };
    client.track("v", "E", None, None).expect("taken");
    client.track(None, "E", None, given).expect("taken");
    client.identify("u", None, given).expect("taken");
    client.enqueue(r#"{"type":"track","event":"E","userId":"w","anonymousId":"x"}"#).expect("taken");
    let sent = sent(&server, &client);
    let about: Vec<Value> = sent.iter().map(about).collect();
    assert_eq!(
        about,
        [json!(["v", own, null]), json!([null, "anon", null]), json!(["u", "anon", null]), json!(["w", "x", null])]
    );
    assert_eq!((client.user_id().as_deref(), client.anonymous_id()), (Some("u"), Some(own)));
}

#[test]
fn another_user_is_another_person() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    let first = client.anonymous_id().expect("one");
    client.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    client.identify("v", &Object::from([("name", "V")]), None).expect("taken");
    let second = client.anonymous_id().expect("one");
    assert_ne!(first, second);
    client.track(None, "E", None, None).expect("taken");
    let sent = sent(&server, &client);
    assert_eq!((about(&sent[0]), about(&sent[1])), (json!(["u", first, null]), json!(["v", second, null])));
    assert_eq!(sent[1]["traits"], json!({"name": "V"}));
    assert_eq!(about(&sent[2]), json!(["v", second, {"name": "V"}]));
}

#[test]
fn alias_says_who_it_was_and_remembers_who_it_is() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = client(&server, &folder);
    let anonymous = client.anonymous_id().expect("one");
    client.alias("u", None, None).expect("taken");
    client.identify(None, &Object::from([("a", 1)]), None).expect("taken");
    client.alias("v", None, None).expect("taken");
    client.track(None, "E", None, None).expect("taken");
    client.alias("w", "given", None).expect("taken");
    let sent = sent(&server, &client);
    assert_eq!((&sent[0]["userId"], &sent[0]["previousId"]), (&json!("u"), &json!(anonymous)));
    assert_eq!((&sent[2]["userId"], &sent[2]["previousId"]), (&json!("v"), &json!("u")));
    assert_eq!(about(&sent[3]), json!(["v", anonymous, {"a": 1}]));
    assert_eq!((&sent[4]["userId"], &sent[4]["previousId"]), (&json!("w"), &json!("given")));
    assert_eq!((client.user_id().as_deref(), file(&folder)["userId"].as_str()), (Some("w"), Some("w")));
    // An alias without a user id, from a client that remembers none.
    let nobody = in_memory(&server);
    assert_eq!(nobody.alias(None, "old", None).expect_err("no id").kind(), ErrorKind::Invalid);
}

#[test]
fn reset_forgets_the_user_and_nothing_else() {
    let (server, folder) = (Server::good(), Folder::new());
    let before = client(&server, &folder);
    before.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    let first = before.anonymous_id();
    before.reset().expect("kept");
    let second = before.anonymous_id();
    assert!(second.is_some() && first != second);
    before.track(None, "After", None, None).expect("taken");
    assert_eq!(about(sent(&server, &before).last().expect("one")), json!([null, second, null]));
    drop(before);
    let after = client(&server, &folder);
    assert_eq!((after.user_id(), after.anonymous_id()), (None, second));
}

#[test]
fn without_a_spool_it_lives_in_memory() {
    let server = Server::good();
    let client = in_memory(&server);
    let anonymous = client.anonymous_id().expect("one");
    client.identify("u", &Object::from([("a", 1)]), None).expect("taken");
    client.track(None, "E", None, None).expect("taken");
    assert_eq!(about(&sent(&server, &client)[1]), json!(["u", anonymous, {"a": 1}]));
    client.reset().expect("nothing to keep");
    assert_ne!(client.anonymous_id(), Some(anonymous.clone()));
    assert_ne!(in_memory(&server).anonymous_id(), Some(anonymous), "and ends with the client");
}

#[test]
fn a_damaged_file_gives_a_new_person_and_loses_nothing() {
    let long = format!(r#"{{"anonymousId":"a","userId":"u","traits":{{"x":"{}"}}}}"#, "y".repeat(40_000));
    let deep = format!(r#"{{"anonymousId":"a","traits":{}1{}}}"#, "{\"a\":".repeat(100), "}".repeat(100));
    for damage in [
        "",
        "{",
        "null",
        r#"{"token":"of another program"}"#,
        "\0\0\0\0",
        r#"{"anonymousId":7"#,
        r#"{"userId":"u"}"#,
        "\u{feff}{}",
        &deep,
    ] {
        let (server, folder) = (Server::good(), Folder::new());
        let before = client(&server, &folder).anonymous_id();
        fs::write(folder.home().join("identity.json"), damage).expect("written");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let mut config = stateful(&server.url(), &folder.0);
        config.on_log = Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())));
        let client = Client::new(config).expect("good settings");
        assert!(client.anonymous_id().is_some() && client.anonymous_id() != before, "{damage}");
        let aside = folder.home().join("identity.json.damaged");
        assert_eq!(fs::read(&aside).expect("set aside"), damage.as_bytes());
        let wanted = format!("{} is damaged: ", aside.display());
        let is_told = || lines.lock().expect("no panic").iter().filter(|line| line.starts_with(&wanted)).count() == 1;
        assert!(wait_until(is_told), "{lines:?}");
        client.track(None, "E", None, None).expect("taken");
        assert_eq!(sent(&server, &client).len(), 1);
        assert_eq!(file(&folder)["anonymousId"].as_str().map(str::to_owned), client.anonymous_id());
    }
    // JSON that is good, but cannot be in a message.
    for odd in [r#"{"anonymousId":"a","userId":""}"#, &long, r#"{"anonymousId":"a","traits":[1],"app":"x"}"#] {
        let (server, folder) = (Server::good(), Folder::new());
        drop(client(&server, &folder));
        fs::write(folder.home().join("identity.json"), odd).expect("written");
        let client = client(&server, &folder);
        assert_eq!(client.anonymous_id().as_deref(), Some("a"));
        client.track(None, "E", None, None).expect("taken");
        client.enqueue(r#"{"type":"page"}"#).expect("taken");
        assert_eq!(sent(&server, &client).len(), 2);
    }
}

#[test]
fn traits_that_are_too_large_are_sent_whole_and_those_known_before_stay() {
    let (server, folder) = (Server::good(), Folder::new());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let mut config = stateful(&server.url(), &folder.0);
    config.on_log = Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())));
    let client = Client::new(config).expect("good settings");
    let (large, some) = ("x".repeat(9_000), "x".repeat(5_000));
    client.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    client.identify("u", &Object::from([("large", large.as_str())]), None).expect("taken");
    client.track(None, "E", None, None).expect("taken");
    client.identify(None, &Object::from([("small", 1)]), None).expect("taken");
    client.identify(None, &Object::from([("some", some.as_str())]), None).expect("taken");
    client.identify(None, &Object::from([("more", some.as_str()), ("plan", "free")]), None).expect("taken");
    let sent = sent(&server, &client);
    assert_eq!(sent[1]["traits"], json!({"large": large}));
    assert_eq!(about(&sent[2]), json!(["u", client.anonymous_id(), {"plan": "pro"}]));
    assert_eq!(sent[3]["traits"], json!({"plan": "pro", "small": 1}));
    assert_eq!(sent[5]["traits"], json!({"more": some, "plan": "free"}));
    assert_eq!(file(&folder)["traits"], json!({"plan": "pro", "small": 1, "some": some}));
    drop(client);
    let is_warning = |line: &&String| line.contains("not remembered");
    assert_eq!(lines.lock().expect("no panic").iter().filter(is_warning).count(), 1);
}

#[test]
fn traits_as_deep_as_can_be_are_remembered_or_left_out_and_nothing_is_refused() {
    for depth in 55..=62 {
        let (server, folder) = (Server::good(), Folder::new());
        let client = client(&server, &folder);
        let json = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let traits = Object::parse(&json).expect("not too deep");
        client.identify("u", &traits, None).expect("taken");
        client.track(None, "E", None, None).expect("taken");
        let sent = sent(&server, &client);
        let parsed: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((sent[0]["traits"] == parsed, &sent[1]["userId"]), (true, &json!("u")), "{depth}");
        assert_eq!(file(&folder)["userId"], "u", "{depth}");
    }
}

#[test]
fn what_is_refused_is_not_remembered() {
    let server = Server::good();
    let config = Config { queue_max_bytes: 600, flush_interval: NEVER, ..stateful(&server.url(), Path::new("")) };
    let client = Client::new(config).expect("good settings");
    client.track("u", "Fills the queue", &Object::from([("x", "y".repeat(300).as_str())]), None).expect("taken");
    assert_eq!(client.identify("u", None, None).expect_err("full").kind(), ErrorKind::QueueFull);
    assert_eq!(client.alias("u", None, None).expect_err("full").kind(), ErrorKind::QueueFull);
    assert_eq!(client.identify("", None, None).expect_err("empty").kind(), ErrorKind::Invalid);
    assert_eq!(client.user_id(), None);
}

#[test]
fn two_clients_of_one_process_share_the_user() {
    let (server, folder) = (Server::good(), Folder::new());
    let (one, two) = (client(&server, &folder), client(&server, &folder));
    assert_eq!(one.anonymous_id(), two.anonymous_id());
    one.identify("u", &Object::from([("a", 1)]), None).expect("taken");
    two.identify(None, &Object::from([("b", 2)]), None).expect("taken");
    assert_eq!((two.user_id().as_deref(), &file(&folder)["traits"]), (Some("u"), &json!({"a": 1, "b": 2})));
    one.reset().expect("kept");
    two.identify("v", None, None).expect("taken");
    assert_eq!(two.anonymous_id(), one.anonymous_id(), "what one has forgotten is not brought back by the other");
    assert_eq!(file(&folder)["traits"], Value::Null);
}

#[test]
fn processes_that_start_at_once_give_the_user_one_anonymous_id() {
    const PROCESSES: usize = 20;
    let folders = rounds(3);
    for _ in 0..folders {
        let (server, folder) = (Server::good(), Folder::new());
        let (url, notes, go) = (server.url(), folder.beside("notes"), folder.beside("go"));
        fs::remove_dir(&folder.0).expect("not even the folder is there");
        let told = [("URL", url.as_str()), ("FOLDER", folder.text()), ("NOTES", &notes), ("GO", &go)];
        let programs: Vec<_> = (0..PROCESSES).map(|_| Program::start(program("say who you are", &told))).collect();
        assert!(wait_until(|| read_notes(&notes).len() == PROCESSES), "all are ready");
        fs::write(&go, "").expect("written");
        programs.into_iter().for_each(Program::succeeded);
        let ids: Vec<String> = read_notes(&notes).into_iter().filter(|note| note.starts_with("id ")).collect();
        assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (PROCESSES, 1), "{ids:?}");
        fs::remove_file(&go).expect("gone");
    }
    let size = [(folders, "folders"), (folders * PROCESSES, "processes")];
    campaign("processes that start at once in a new folder", &size, None, "1 anonymous id a folder");
}

#[test]
fn what_several_processes_learn_of_one_user_comes_together() {
    let (server, folder) = (Server::good(), Folder::new());
    let (url, notes) = (server.url(), folder.beside("notes"));
    let programs: Vec<_> = ["a", "b", "c"]
        .map(|run| {
            let told = [("URL", url.as_str()), ("FOLDER", folder.text()), ("NOTES", &notes), ("RUN", run)];
            Program::start(program("identify a user", &told))
        })
        .into();
    programs.into_iter().for_each(Program::succeeded);
    assert_eq!(file(&folder)["traits"].as_object().map(serde_json::Map::len), Some(150));
}

#[test]
fn threads_that_identify_while_others_track_never_mix_two_users() {
    let (server, folder) = (Server::good(), Folder::new());
    let client = Arc::new(client(&server, &folder));
    let stop = Arc::new(AtomicBool::new(false));
    let calls = rounds(60);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (client, stop) = (client.clone(), stop.clone());
            scope.spawn(move || {
                let mut random = Random(thread);
                while !stop.load(Ordering::SeqCst) {
                    client.track(None, "E", None, None).expect("taken");
                    std::thread::sleep(std::time::Duration::from_micros(random.below(900)));
                }
            });
        }
        let identifying: Vec<_> = (0..8)
            .map(|thread| {
                let client = client.clone();
                scope.spawn(move || {
                    for n in 0..calls {
                        let user = format!("u{thread}-{n}");
                        client.identify(user.as_str(), &Object::from([("of", user.as_str())]), None).expect("taken");
                    }
                })
            })
            .collect();
        identifying.into_iter().for_each(|thread| thread.join().expect("no panic"));
        stop.store(true, Ordering::SeqCst);
    });
    let mut users = std::collections::HashMap::new();
    let messages = sent(&server, &client);
    for message in &messages {
        let anonymous = message["anonymousId"].as_str().expect("one").to_owned();
        let Some(user) = message["userId"].as_str().map(str::to_owned) else { continue };
        let known = users.entry(anonymous).or_insert_with(|| user.clone());
        assert_eq!(*known, user, "two users with one anonymous id: {message}");
        let of = if message["type"] == "identify" { &message["traits"] } else { &message["context"]["traits"] };
        assert_eq!(of["of"], user.as_str(), "the traits of another user: {message}");
    }
    assert_eq!(users.len(), 8 * calls);
    let size = [(users.len(), "users"), (messages.len(), "messages")];
    campaign("8 threads that identify while 4 track", &size, None, "0 of two users");
}

/// A file dialog, or a host that becomes a daemon, changes the working folder.
#[test]
fn a_relative_spool_stays_where_it_was_when_the_client_was_made() {
    let good = Arc::new(AtomicBool::new(false));
    let is_good = good.clone();
    let server = Server::new(move |_, _| Reply::status(if is_good.load(Ordering::SeqCst) { 200 } else { 503 }));
    let (start, elsewhere) = (Folder::new(), Folder::new());
    let run = |what| {
        let url = server.url();
        let mut program = program("move", &[("URL", &url), ("FOLDER", elsewhere.text()), ("WHAT", what)]);
        program.current_dir(&start.0);
        Program::start(program).succeeded();
        assert_eq!(elsewhere.files(), Vec::<std::path::PathBuf>::new());
    };
    run("track");
    good.store(true, Ordering::SeqCst);
    let next = || Client::new(stateful(&server.url(), &start.0.join(".segment"))).expect("good settings");
    let client = next();
    client.flush(patience()).expect("delivered");
    assert_eq!((client.stats().recovered, client.stats().delivered), (3_001, 3_001));
    drop(client);
    run("opt out");
    assert!(next().is_opted_out());
}

#[test]
fn without_the_working_folder_there_is_no_relative_spool_but_a_client() {
    let (server, elsewhere) = (Server::good(), Folder::new());
    let start = Folder::new();
    let url = server.url();
    let mut program = program("move", &[("URL", &url), ("FOLDER", elsewhere.text()), ("WHAT", "lose the folder")]);
    program.current_dir(&start.0);
    Program::start(program).succeeded();
    assert_eq!(elsewhere.files(), Vec::<std::path::PathBuf>::new());
    let problem = Client::new(Config { spool_dir: Some("".into()), ..Config::new("k") }).expect_err("nowhere");
    assert_eq!(problem.to_string(), "spool_dir must not be empty");
}

#[test]
fn what_the_host_has_in_the_folder_is_not_touched() {
    let (server, folder) = (Server::good(), Folder::new());
    let theirs =
        [("identity.json", r#"{"token":"secret"}"#), ("privacy.json", r#"{"ads":false}"#), ("identity.new", "x")];
    theirs.iter().for_each(|(name, text)| fs::write(folder.0.join(name), text).expect("written"));
    let client = client(&server, &folder);
    client.identify("u", None, None).expect("the user has not opted out");
    client.opt_out().expect("kept");
    drop(client);
    assert!(self::client(&server, &folder).is_opted_out());
    for (name, text) in theirs {
        assert_eq!(fs::read_to_string(folder.0.join(name)).expect("there"), text);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_may_have_a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let (server, folder) = (Server::good(), Folder::new());
    let spool = folder.0.join(std::ffi::OsStr::from_bytes(b"Andr\xe9"));
    let client = || Client::new(stateful(&server.url(), &spool)).expect("good settings");
    let before = client();
    before.identify("u", None, None).expect("taken");
    assert!(wait_until(|| before.stats().in_memory == 0));
    let id = before.anonymous_id();
    drop(before);
    let after = client();
    assert_eq!((after.anonymous_id(), after.user_id().as_deref()), (id, Some("u")));
}
