//! Doubtful data is warned about once, or refused. What is only warned about is sent unchanged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::patience::{NEVER, patience};
use segment_native::{Client, Config, Edit, ErrorKind, Level, Object, Options, Revenue, Time, Traits};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn warnings(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

fn client(change: impl FnOnce(&mut Config)) -> (Client, Log) {
    let log = Log::default();
    let lines = log.0.clone();
    let mut config = Config { dry_run: true, flush_interval: NEVER, ..Config::new("k") };
    config.on_log = Some(Box::new(move |level, line| {
        if level == Level::Warning {
            lines.lock().expect("no panic").push(line.to_owned());
        }
    }));
    change(&mut config);
    (Client::new(config).expect("good settings"), log)
}

#[test]
fn a_doubt_is_warned_about_once_for_each_kind_and_name() {
    let (client, log) = client(|_| {});
    for n in 0..100 {
        let traits = Object::from([("age", "forty"), ("email", "a@b.c")]);
        client.identify("u", &traits, None).expect("taken");
        let properties = Object::from([("revenue", "19.99")]).with("currency", "usd").with("n", n);
        client.track("u", "Order Completed", &properties, None).expect("taken");
        client.enqueue(r#"{"type":"track","userId":"u","event":"E","properties":{"value":"much"}}"#).expect("taken");
    }
    client.flush(patience()).expect("settled");
    client.shutdown(patience()).expect("all out");
    let stats = client.stats();
    drop(client);
    assert_eq!((stats.accepted, stats.delivered), (300, 300));
    let mut warnings = log.warnings();
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "properties: currency should be written in capitals: USD",
            "properties: revenue should be a number, not a string",
            "properties: value should be a number, not a string",
            "traits: age should be a number, not a string",
        ]
    );
}

#[test]
fn strict_refuses_what_is_doubtful_with_the_same_sentence() {
    let (client, log) = client(|config| config.strict = true);
    let refused = |result: Result<(), segment_native::Error>| {
        let error = result.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.message().to_owned()
    };
    let traits = Object::from([("First-Name", "Ada")]);
    assert_eq!(
        refused(client.identify("u", &traits, None)),
        "traits: First-Name should be written firstName, which is a reserved name, or be called something else"
    );
    let revenue = Object::from([("revenue", "19.99")]);
    assert_eq!(refused(client.track("u", "E", &revenue, None)), "properties: revenue should be a number, not a string");
    refused(client.track("me@example.com", "E", None, None));
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let options = Options { timestamp: Some(Time::from(tomorrow)), ..Options::default() };
    refused(client.track("u", "E", None, options));
    let enqueued = client.enqueue(r#"{"type":"group","userId":"u","groupId":"g","traits":{"createdAt":12}}"#);
    assert!(refused(enqueued).starts_with("traits: createdAt should be"));
    let good = Traits::new().email("a@b.c").age(36).with("plan", "pro");
    client.identify("u", &good, None).expect("taken");
    let good = Object::from(Revenue { amount: 19.99, currency: "USD" });
    client.track("u", "Order Completed", &good, None).expect("taken");
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.refused), (2, 5));
    client.shutdown(patience()).expect("all out");
    drop(client);
    // Strict clients do not warn of doubts, only of calls that fail.
    let warnings = log.warnings();
    assert!(warnings.len() == 5 && warnings.iter().all(|line| line.starts_with("a call failed: ")), "{warnings:?}");
}

#[test]
fn what_before_send_returns_is_checked_too() {
    let edit = |json: &str| Ok(Edit::Replace(json.replace("19.99", "\"19.99\"")));
    let (strict, _) = client(|config| {
        config.strict = true;
        config.before_send = Some(Box::new(edit));
    });
    let properties = Object::from([("revenue", 19.99)]);
    let error = strict.track("u", "E", &properties, None).expect_err("refused");
    assert_eq!(error.message(), "properties: revenue should be a number, not a string");
    assert_eq!(strict.stats().accepted, 0);
}
