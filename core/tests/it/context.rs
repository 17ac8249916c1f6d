//! `set_context`: what a running program says about itself in every later message.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use segment_native::{Client, Config, Edit, Error, ErrorKind, Object, Options, Value as Member};
use serde_json::{Value, json};

/// A client that sends nothing, and its messages.
struct Shown {
    client: Client,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Shown {
    fn new(config: Config) -> Shown {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let seen = messages.clone();
        let before_send = move |json: &str| {
            seen.lock().expect("no panic").push(serde_json::from_str(json).expect("JSON"));
            Ok(Edit::Keep)
        };
        let client = Client::new(Config { dry_run: true, before_send: Some(Box::new(before_send)), ..config });
        Shown { client: client.expect("good settings"), messages }
    }

    /// The context of the last message.
    fn context(&self) -> Value {
        self.messages.lock().expect("no panic").last().expect("one")["context"].clone()
    }

    /// The context of a message that is tracked now.
    fn tracked(&self) -> Value {
        self.client.track("u", "E", None, None).expect("taken");
        self.context()
    }
}

fn settings() -> Config {
    let app = Object::from([("name", "game"), ("version", "1.0")]);
    Config { context: Object::new().with("app", &app).with("level", 0), ..Config::new("k") }
}

fn object(json: &str) -> Object {
    Object::parse(json).expect("JSON")
}

#[test]
fn it_overrides_the_settings_and_is_overridden_by_the_message() {
    let shown = Shown::new(settings());
    let client = &shown.client;
    let before = shown.tracked();
    client.set_context("level", Member::Int(7)).expect("set");
    client.set_context("app", Member::from(&object(r#"{"build": 512, "version": "1.1"}"#))).expect("set");
    client.set_context("session", Member::Json(r#" {"id": "s-1"} "#)).expect("set");
    let app = json!({"name": "game", "version": "1.1", "build": 512});
    let library = before["library"].clone();
    let during = json!({"library": library, "app": app, "level": 7, "session": {"id": "s-1"}});
    assert_eq!(shown.tracked(), during);
    let context = object(r#"{"app": {"build": 513}, "session": null}"#);
    client.track("u", "E", None, Options { context: Some(&context), ..Options::default() }).expect("taken");
    assert_eq!(shown.context()["app"], json!({"name": "game", "version": "1.1", "build": 513}));
    assert_eq!((&shown.context()["session"], &shown.context()["level"]), (&Value::Null, &json!(7)));
    client.enqueue(r#"{"type":"track","userId":"u","event":"E","context":{"level":8}}"#).expect("taken");
    assert_eq!((&shown.context()["app"], &shown.context()["level"]), (&app, &json!(8)));
    client.identify("u", &object(r#"{"plan":"pro"}"#), None).expect("taken");
    assert_eq!(shown.context(), during);
    client.set_context("level", None).expect("removed");
    assert_eq!(shown.tracked()["level"], 0, "the settings' member counts again");
    for key in ["app", "session", "never set"] {
        client.set_context(key, None).expect("removed");
    }
    assert_eq!(shown.tracked(), before);
    assert_eq!(client.stats().refused, 0);
}

#[test]
fn it_survives_changes_of_the_user_and_does_not_change_what_depends_on_them() {
    let shown = Shown::new(Config { stateful: true, ..settings() });
    let client = &shown.client;
    let context = || {
        client.track(None, "E", None, None).expect("taken");
        shown.context()
    };
    client.set_context("level", Member::Int(1)).expect("set");
    client.identify("u", &object(r#"{"plan":"pro"}"#), None).expect("taken");
    assert_eq!((&shown.context()["level"], &shown.context()["traits"]), (&json!(1), &Value::Null));
    client.set_consent(&Object::from([("ads", true)])).expect("in memory");
    client.set_context("level", Member::Int(2)).expect("set");
    let (level, traits) = (json!(2), json!({"plan": "pro"}));
    let consent = json!({"categoryPreferences": {"ads": true}});
    let now = context();
    assert_eq!((&now["level"], &now["traits"], &now["consent"]), (&level, &traits, &consent));
    client.identify("u", &object(r#"{"paid":true}"#), None).expect("taken");
    assert_eq!(shown.context()["level"], level);
    client.set_consent(None).expect("in memory");
    let now = context();
    let traits = json!({"plan": "pro", "paid": true});
    assert_eq!((&now["level"], &now["traits"], &now["consent"]), (&level, &traits, &Value::Null));
    client.reset().expect("in memory");
    assert_eq!((&context()["level"], &context()["traits"]), (&level, &Value::Null));
    client.opt_out().expect("in memory");
    client.set_context("level", Member::Int(3)).expect("it is the program's");
    client.opt_in().expect("in memory");
    assert_eq!(context()["level"], 3);
}

#[test]
fn a_wrong_key_or_value_is_named_and_changes_nothing() {
    let shown = Shown::new(settings());
    let client = &shown.client;
    client.set_context("level", Member::Int(7)).expect("set");
    let before = shown.tracked();
    let wrong = |set: Result<(), Error>| {
        let error = set.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.message().to_owned()
    };
    for key in ["consent", "traits", "library"] {
        let sentence = format!("key must not be \"{key}\": ");
        assert!(wrong(client.set_context(key, Member::Null)).starts_with(&sentence));
        assert!(wrong(client.set_context(key, None)).starts_with(&sentence));
    }
    assert_eq!(wrong(client.set_context("level", Member::Double(f64::NAN))), "\"level\" is not a finite number");
    assert!(wrong(client.set_context("level", Member::Json("{\"a\":"))).starts_with("\"level\" is not JSON"));
    let deep = "[".repeat(63) + &"]".repeat(63);
    assert!(wrong(client.set_context("level", Member::Json(&deep))).contains("nested too deeply"));
    assert_eq!(shown.tracked(), before);
    assert_eq!(client.stats().refused, 9);
}

#[test]
fn there_is_room_for_16000_bytes_and_for_a_message() {
    let shown = Shown::new(settings());
    let client = &shown.client;
    let text = |length: usize| "x".repeat(length);
    let around = r#"{"a":"","b":""}"#.len();
    client.set_context("a", Member::Str(&text(8_000))).expect("set");
    client.set_context("b", Member::Str(&text(8_000 - around))).expect("16,000 bytes");
    let before = shown.tracked();
    for value in [text(8_001 - around), text(40_000)] {
        let error = client.set_context("b", Member::Str(&value)).expect_err("one byte more, and many");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.message().contains("\"b\""), "{error}");
    }
    assert_eq!(client.set_context("c", Member::Int(1)).expect_err("full").kind(), ErrorKind::TooLarge);
    assert_eq!(shown.tracked(), before);

    // In addition to what the settings have. A call that makes the context smaller is never refused.
    let context = Object::from([("big", text(20_000).as_str())]);
    let integrations = Object::from([("All", text(3_000).as_str())]);
    let shown = Shown::new(Config { context, integrations, stateful: true, ..Config::new("k") });
    let client = &shown.client;
    client.set_context("a", Member::Str(&text(7_000))).expect("set");
    let error = client.set_context("b", Member::Str(&text(2_000))).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().starts_with("\"b\" leaves no room for a message: the smallest would have 32"), "{error}");
    client.identify("u", &Object::from([("t", text(1_500).as_str())]), None).expect("there is room");
    assert_eq!(client.set_context("b", Member::Str(&text(600))).expect_err("traits").kind(), ErrorKind::TooLarge);
    client.track(None, "E", None, None).expect("there is room as before");
    client.set_context("big", Member::Int(0)).expect("less than the settings'");
    client.set_context("b", Member::Str(&text(2_000))).expect("there is room now");
    client.track(None, "E", None, None).expect("there is room");
    assert_eq!(shown.context()["big"], 0);
    let error = client.set_context("big", None).expect_err("the settings' member is large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn no_call_sees_half_of_a_change() {
    let shown = Shown::new(Config { stateful: true, ..settings() });
    let (client, ended, tracked) = (&shown.client, AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for n in 0..500 {
                    let value = format!(r#"{{"one":{n},"two":{n}}}"#);
                    client.set_context(&format!("of {thread}"), Member::Json(&value)).expect("set");
                }
            });
        }
        scope.spawn(|| {
            for n in 0..50 {
                client.identify("u", &Object::from([("n", n)]), None).expect("taken");
                client.set_consent(&Object::from([("ads", n % 2 == 0)])).expect("in memory");
            }
            ended.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) || tracked.load(Ordering::SeqCst) < 100 {
                client.track(None, "E", None, None).expect("taken");
                tracked.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
    // No thread's change was lost to another's.
    client.track(None, "Last", None, None).expect("taken");
    let last = shown.context();
    for thread in ["of 0", "of 1"] {
        assert_eq!(last[thread], json!({"one": 499, "two": 499}));
    }
    assert_eq!((&last["traits"]["n"], &last["consent"]["categoryPreferences"]["ads"]), (&json!(49), &json!(false)));
    for message in shown.messages.lock().expect("no panic").iter() {
        for thread in ["of 0", "of 1"] {
            let set = &message["context"][thread];
            assert_eq!(set["one"], set["two"], "{message}");
        }
    }
}

#[test]
#[cfg(unix)]
fn the_release_of_the_app_is_the_settings() {
    let folder = crate::child::Folder::new();
    let app = |version: &str| {
        let app = Object::from([("version", version)]);
        let context = Object::new().with("app", &app);
        let (stateful, lifecycle, spool_dir) = (true, true, Some(folder.0.clone()));
        Shown::new(Config { stateful, lifecycle, spool_dir, context, ..Config::new("k") })
    };
    let events = |shown: &Shown| {
        let messages = shown.messages.lock().expect("no panic");
        messages.iter().map(|message| message["event"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let first = app("1.0");
    assert_eq!(events(&first), ["Application Installed", "Application Opened"]);
    first.client.set_context("app", Member::from(&Object::from([("version", "1.0-modded")]))).expect("set");
    // After an opt-in the release from the settings is remembered.
    first.client.opt_out().expect("kept");
    first.client.opt_in().expect("kept");
    drop(first);
    assert_eq!(events(&app("1.0")), ["Application Opened"]);
}
