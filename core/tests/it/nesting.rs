//! How deep a message may be nested: the same for every way to make it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use segment_native::bindings::{self, Writer};
use segment_native::{Client, Config, Edit, Error, ErrorKind, Object, Options, Value};

use crate::child;

/// The message itself included.
const DEEPEST: usize = 64;

fn list(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

fn object(depth: usize) -> String {
    "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth)
}

fn objects(depth: usize) -> Object {
    (1..depth).fold(Object::from([("a", 1)]), |inner, _| Object::new().with("a", &inner))
}

fn pieces(depth: usize) -> impl Fn(&mut Writer<'_>) -> Result<bool, Error> {
    move |writer| {
        (0..depth).try_for_each(|_| writer.open_list())?;
        (0..depth).try_for_each(|_| writer.close_list())?;
        Ok(true)
    }
}

fn depth(message: &str) -> usize {
    let mut depth = 0usize;
    let depths = message.bytes().map(|byte| {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        depth
    });
    depths.max().unwrap_or_default()
}

type Depths = Arc<Mutex<Vec<usize>>>;

/// A client, and the depth of each message that was to be sent. A page is replaced by the text in its
/// `context.instead`, if there is one.
fn client(context: Object) -> Result<(Client, Depths), Error> {
    let depths = Depths::default();
    let seen = depths.clone();
    let mut config = Config { dry_run: true, context, ..child::config("http://127.0.0.1:9", Path::new("")) };
    config.before_send = Some(Box::new(move |message| {
        let message: serde_json::Value = serde_json::from_str(message).expect("JSON");
        let instead = message["context"]["instead"].as_str().map(str::to_owned);
        let sent = instead.clone().unwrap_or_else(|| message.to_string());
        seen.lock().expect("no panic").push(depth(&sent));
        Ok(instead.map_or(Edit::Keep, Edit::Replace))
    }));
    Ok((Client::new(config)?, depths))
}

#[test]
fn a_message_is_nested_64_deep_at_most_whichever_way_it_is_made() {
    type Way = fn(&Client, usize) -> Result<(), Error>;
    fn track(client: &Client, properties: &Object) -> Result<(), Error> {
        client.track("u", "E", properties, None)
    }
    // Each makes a message of this depth: around the value are the message, its properties and perhaps a list.
    let ways: [(&str, Way); 17] = [
        ("a list that is set", |c, n| track(c, &Object::new().with("v", Value::Json(&list(n - 2))))),
        ("JSON that is set", |c, n| track(c, &Object::new().with("v", Value::Json(&object(n - 2))))),
        ("an object that is set", |c, n| track(c, &Object::new().with("v", &objects(n - 2)))),
        ("a parsed object that is set", |c, n| track(c, &Object::new().with("v", &Object::parse(&object(n - 2))?))),
        ("a list that is pushed", |c, n| track(c, Object::new().push("l", Value::Json(&list(n - 3))))),
        ("JSON that is pushed", |c, n| track(c, Object::new().push("l", 1).push("l", Value::Json(&object(n - 3))))),
        ("an object that is pushed", |c, n| track(c, Object::new().push("l", &objects(n - 3)))),
        ("an object that is pushed to a list further up", |c, n| {
            track(c, Object::new().push("l", 1).set("x", 1).push("l", &objects(n - 3)))
        }),
        ("a list in an object that is set", |c, n| {
            let inner = objects(n - 4);
            track(c, &Object::new().with("v", &*Object::new().push("l", &inner)))
        }),
        ("pieces", |c, n| {
            let mut properties = Object::new();
            bindings::set_with(&mut properties, "v", true, pieces(n - 2))?;
            track(c, &properties)
        }),
        ("pieces in an object that is set", |c, n| {
            let mut inner = Object::new();
            bindings::set_with(&mut inner, "v", true, pieces(n - 3))?;
            track(c, &Object::new().with("o", &inner))
        }),
        ("parsed", |c, n| track(c, &Object::parse(&object(n - 1))?)),
        ("traits", |c, n| c.identify("u", &Object::new().with("v", &objects(n - 2)), None)),
        ("context", |c, n| {
            let context = Object::new().with("v", &objects(n - 2));
            c.page("u", None, None, Options { context: Some(&context), ..Options::default() })
        }),
        ("integrations", |c, n| {
            let integrations = Object::new().with("v", Value::Json(&object(n - 2)));
            c.page("u", None, None, Options { integrations: Some(&integrations), ..Options::default() })
        }),
        ("a whole message", |c, n| {
            c.enqueue(&format!(r#"{{"type":"page","userId":"u","properties":{}}}"#, object(n - 1)))
        }),
        ("what before_send returns", |c, n| {
            let message = format!(r#"{{"type":"page","userId":"u","properties":{}}}"#, object(n - 1));
            let context = Object::from([("instead", message.as_str())]);
            c.page("u", None, None, Options { context: Some(&context), ..Options::default() })
        }),
    ];
    let (client, depths) = client(Object::new()).expect("good settings");
    for (name, way) in ways {
        for n in [DEEPEST - 1, DEEPEST] {
            assert_eq!(way(&client, n), Ok(()), "{name}, {n} deep");
            assert_eq!(depths.lock().expect("no panic").pop(), Some(n), "{name}");
        }
        for n in [DEEPEST + 1, DEEPEST + 2, DEEPEST + 100] {
            let refused = way(&client, n).expect_err(name);
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{name}, {n} deep: {refused}");
            assert!(refused.message().contains("nested"), "{name}, {n} deep: {refused}");
        }
    }
}

#[test]
fn the_context_of_a_client_is_nested_as_deep_as_that_of_a_message() {
    let (client, depths) = client(Object::new().with("v", &objects(DEEPEST - 2))).expect("good settings");
    client.page("u", None, None, None).expect("taken");
    assert_eq!(*depths.lock().expect("no panic"), [DEEPEST]);
    let refused = self::client(Object::new().with("v", &objects(DEEPEST - 1))).map(drop).expect_err("too deep");
    assert!(refused.message().contains("context: \"v\" is nested more than 64 deep"), "{refused}");
}

/// A value that was replaced does not count.
#[test]
fn only_what_an_object_holds_counts() {
    let mut once_deep = Object::new();
    once_deep.set("a", Value::Json(&list(DEEPEST - 2))).set("b", Value::Json(&list(DEEPEST - 3))).set("a", 1);
    assert!(Object::new().with("o", &once_deep).error().is_none());
    assert!(Object::new().with("o", &*once_deep.set("c", 1)).error().is_none());
    once_deep.set("b", Value::Json(&list(DEEPEST - 2)));
    let refused = Object::new().with("o", &once_deep);
    assert_eq!(refused.error().map(Error::message), Some("\"o\" is nested more than 64 deep"));
}

/// A Python dict that is a whole message has only itself around its members.
#[test]
fn an_object_that_is_a_whole_message_is_nested_as_deep_as_one() {
    let message = |depth: usize| {
        let mut message = bindings::object_for_message();
        message.set("type", "page").set("userId", "u");
        bindings::set_with(&mut message, "properties", true, pieces(depth - 1))?;
        message.to_json()
    };
    assert_eq!(message(DEEPEST).map(|json| depth(&json)), Ok(DEEPEST));
    assert!(message(DEEPEST + 1).expect_err("too deep").message().starts_with("nested more than 64 deep"));
}
