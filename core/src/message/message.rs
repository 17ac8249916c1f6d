//! From the arguments of a call to the bytes of a message: written once, here, and never touched again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::SystemTime;

use crate::base::error::Error;
use crate::base::more::More;
use crate::base::{id, time};
use crate::json::object::{MAX_TEXT_BYTES, Object};
use crate::json::{scan, write};
use crate::message::doubts::{self, Doubt, Subject};
use crate::message::rules::{self, Call, Facts, Field};

/// When something happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Time<'a> {
    /// Milliseconds since 1970.
    Ms(i64),
    /// ISO 8601 with a zone.
    Text(&'a str),
}

impl From<SystemTime> for Time<'_> {
    fn from(time: SystemTime) -> Self {
        Time::Ms(time::from_system(time))
    }
}

impl<'a> From<&'a str> for Time<'a> {
    fn from(text: &'a str) -> Self {
        Time::Text(text)
    }
}

/// The optional fields of a message. Fields may be added: a literal ends with `..Options::default()`.
///
/// ```
/// use segment_native::Options;
///
/// let options = Options { anonymous_id: Some("a-7"), ..Options::default() };
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// When it happened; now by default.
    pub timestamp: Option<Time<'a>>,
    /// Who it is about, if there is no user id.
    pub anonymous_id: Option<&'a str>,
    /// For deduplication; a new UUID by default.
    pub message_id: Option<&'a str>,
    /// Merged over the client's context.
    pub context: Option<&'a Object>,
    /// Which destinations receive it; merged over the client's.
    pub integrations: Option<&'a Object>,
    /// The category of a page or screen.
    pub category: Option<&'a str>,
    #[doc(hidden)]
    pub _more: More,
}

/// One of the six calls with its arguments. No fields will be added to it, only to its [`options`](Message::options).
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Which call.
    pub call: Call,
    /// Who it is about.
    pub user_id: Option<&'a str>,
    /// The argument the call is about: the event, the name of a page or screen, the group id, the previous id.
    pub subject: Option<&'a str>,
    /// Traits or properties.
    pub payload: Option<&'a Object>,
    /// The rest.
    pub options: Options<'a>,
}

/// What a client gives its messages unless they have their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The context of a message that brings none of its own: a compact object.
    pub(crate) context: &'a [u8],
    /// The same for a message about another user than the remembered one.
    pub(crate) context_of_others: &'a [u8],
    /// The same for its integrations; empty if there are none.
    pub(crate) integrations: &'a [u8],
    /// The user id of a message that has none.
    pub(crate) user_id: Option<&'a str>,
    /// The anonymous id of a message that has none.
    pub(crate) anonymous_id: Option<&'a str>,
}

impl Base<'_> {
    /// What a message with this user id gets: not the traits and the anonymous id of another user.
    fn about(self, user_id: Option<&str>) -> Self {
        match (user_id, self.user_id) {
            (Some(given), Some(known)) if given != known => {
                Base { context: self.context_of_others, user_id: None, anonymous_id: None, ..self }
            }
            _ => self,
        }
    }

    /// Adds nothing but what a message must have.
    pub(crate) const NONE: Base<'static> =
        Base { context: b"{}", context_of_others: b"{}", integrations: b"", user_id: None, anonymous_id: None };
}

/// Begins every message, so that its id is found without parsing.
pub(crate) const HEAD: &[u8] = b"{\"messageId\":\"";

/// A thread keeps a buffer of up to this size: more than a message within the limit needs.
const BUFFER_MAX_BYTES: usize = 4 * rules::MAX_MESSAGE_BYTES;

thread_local! {
    // One buffer per thread, so that writing a message does not allocate.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `then` with this thread's empty buffer, to write a message into it and use that. If the thread is ending, or
/// is already writing a message (from a callback), `then` gets a new buffer.
pub(crate) fn with_buffer<T>(then: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut then = Some(then);
    let done = BUFFER.try_with(|buffer| {
        let mut buffer = buffer.try_borrow_mut().ok()?;
        buffer.clear();
        let then = then.take()?;
        let done = then(&mut buffer);
        if buffer.capacity() > BUFFER_MAX_BYTES {
            *buffer = Vec::new();
        }
        Some(done)
    });
    match (done, then) {
        (Ok(Some(done)), _) => done,
        (_, Some(then)) => then(&mut Vec::new()),
        (_, None) => unreachable!("the closure was taken, so it was run"),
    }
}

impl Message<'_> {
    /// Writes the message, complete, or says which argument is wrong. `now` is in milliseconds since 1970.
    pub(crate) fn write(&self, base: Base<'_>, now: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut message = *self;
        let base = base.about(self.user_id);
        message.user_id = self.user_id.or(base.user_id);
        message.options.anonymous_id = self.options.anonymous_id.or(base.anonymous_id);
        message.write_filled(base, now, out)
    }

    fn write_filled(&self, base: Base<'_>, now: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        let options = &self.options;
        rules::check(&self.facts())?;
        let timestamp = match options.timestamp {
            Some(Time::Ms(ms)) if time::is_writable(ms) => ms,
            Some(Time::Ms(_)) => return Err(Error::invalid("timestamp_ms must lie within the years 1 to 9999")),
            Some(Time::Text(text)) => time::parse(text).unwrap_or(now),
            None => now,
        };
        head(out, options.message_id);
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(self.call.name().as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":");
        write::time(out, timestamp);
        text(out, b",\"userId\":", self.user_id);
        text(out, b",\"anonymousId\":", options.anonymous_id);
        text(out, self.subject_member(), self.subject);
        if self.has_category() {
            text(out, b",\"category\":", options.category);
        }
        if let (Some(payload), Some(name)) = (self.payload, self.call.payload()) {
            out.extend_from_slice(if name == "traits" { b",\"traits\":" } else { b",\"properties\":" });
            payload.append_to(out).map_err(|error| error.in_argument(name))?;
        }
        tail(out, base, options.context, options.integrations)?;
        rules::check_size(out.len())
    }

    /// Calls `found` with everything doubtful in the message.
    pub(crate) fn doubts(&self, base: Base<'_>, now_ms: i64, found: impl FnMut(Doubt)) {
        let subject = Subject {
            call: self.call,
            user_id: self.user_id.or(base.user_id),
            event: self.subject.filter(|_| self.call == Call::Track),
            timestamp_ms: match self.options.timestamp {
                Some(Time::Ms(ms)) => Some(ms),
                Some(Time::Text(text)) => time::parse(text),
                None => None,
            },
            now_ms,
        };
        match self.payload.filter(|_| self.call.payload().is_some()) {
            Some(payload) => doubts::find(&subject, payload.members(), found),
            None => doubts::find(&subject, std::iter::empty(), found),
        }
    }

    fn facts(&self) -> Facts<'_> {
        let mut facts = Facts {
            call: Some(self.call),
            user_id: Field::from(self.user_id),
            anonymous_id: Field::from(self.options.anonymous_id),
            message_id: Field::from(self.options.message_id),
            category: if self.has_category() { Field::from(self.options.category) } else { Field::Absent },
            timestamp: match self.options.timestamp {
                Some(Time::Text(text)) => Field::from(Some(text)),
                _ => Field::Absent,
            },
            ..Facts::default()
        };
        let subject = match self.call {
            Call::Identify => return facts,
            Call::Track => &mut facts.event,
            Call::Page | Call::Screen => &mut facts.name,
            Call::Group => &mut facts.group_id,
            Call::Alias => &mut facts.previous_id,
        };
        *subject = Field::from(self.subject);
        facts
    }

    fn has_category(&self) -> bool {
        matches!(self.call, Call::Page | Call::Screen)
    }

    fn subject_member(&self) -> &'static [u8] {
        match self.call {
            Call::Identify | Call::Track => b",\"event\":",
            Call::Page | Call::Screen => b",\"name\":",
            Call::Group => b",\"groupId\":",
            Call::Alias => b",\"previousId\":",
        }
    }
}

/// Begins a message: with the caller's id, or with a new one.
fn head(out: &mut Vec<u8>, message_id: Option<&str>) {
    out.extend_from_slice(HEAD);
    match message_id {
        Some(id) => {
            out.pop();
            write::string(out, id);
        }
        None => {
            out.extend_from_slice(&id::new());
            out.push(b'"');
        }
    }
}

/// Writes a whole message that came as JSON: checked, without white space, its id moved to the front, and a missing id,
/// time or context added.
pub(crate) fn write_json(message: &str, base: Base<'_>, now: i64, out: &mut Vec<u8>) -> Result<(), Error> {
    if message.len() > MAX_TEXT_BYTES {
        return rules::check_size(message.len());
    }
    let mut compact = Vec::new();
    scan::compact_object(message, &mut compact)
        .map_err(|flaw| Error::invalid(format!("json must be one message, {{\"type\":\"track\",...}}: {flaw}")))?;
    let mut facts = Facts::read(&compact);
    let base = base.about(facts.user_id.text());
    let lacks = |field: &Field, base: Option<&str>| base.is_some() && *field == Field::Absent;
    let (lacks_user, lacks_anonymous) =
        (lacks(&facts.user_id, base.user_id), lacks(&facts.anonymous_id, base.anonymous_id));
    if lacks_user {
        facts.user_id = Field::from(base.user_id);
    }
    if lacks_anonymous {
        facts.anonymous_id = Field::from(base.anonymous_id);
    }
    rules::check_members(&facts)?;
    head(out, facts.message_id.text());
    let (mut context, mut integrations) = (None, None);
    let mut written: Vec<(&[u8], &[u8])> = Vec::new();
    // The last of several members with the same name counts. The map is for messages that are too large, which may have
    // a hundred thousand members.
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for (name, value) in scan::members(&compact) {
        match name {
            b"\"messageId\"" | b"\"timestamp\"" => {}
            b"\"context\"" => context = Some(value),
            b"\"integrations\"" => integrations = Some(value),
            _ => match places.entry(name) {
                Entry::Occupied(place) => written[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(written.len());
                    written.push((name, value));
                }
            },
        }
    }
    for (name, value) in written {
        // Many programs send `"userId":null` where there is none; Segment discards a userId that is not a string.
        if value == b"null" && is_text_member(name) {
            continue;
        }
        out.push(b',');
        out.extend_from_slice(name);
        out.push(b':');
        out.extend_from_slice(value);
    }
    text(out, b",\"userId\":", base.user_id.filter(|_| lacks_user));
    text(out, b",\"anonymousId\":", base.anonymous_id.filter(|_| lacks_anonymous));
    out.extend_from_slice(b",\"timestamp\":");
    write::time(out, facts.timestamp.text().and_then(time::parse).unwrap_or(now));
    raw_tail(out, base, context.filter(|c| c[0] == b'{'), integrations.filter(|i| i[0] == b'{'));
    rules::check_size(out.len())
}

fn is_text_member(name: &[u8]) -> bool {
    matches!(
        name,
        b"\"userId\"" | b"\"anonymousId\"" | b"\"name\"" | b"\"category\"" | b"\"properties\"" | b"\"traits\""
    )
}

fn text(out: &mut Vec<u8>, member: &[u8], text: Option<&str>) {
    if let Some(text) = text {
        out.extend_from_slice(member);
        write::string(out, text);
    }
}

/// Writes context and integrations, and closes the message.
fn tail(
    out: &mut Vec<u8>,
    base: Base<'_>,
    context: Option<&Object>,
    integrations: Option<&Object>,
) -> Result<(), Error> {
    let bytes = |object: Option<&Object>, argument: &str| {
        let Some(object) = object else { return Ok(None) };
        let mut bytes = Vec::new();
        object.append_to(&mut bytes).map_err(|error| error.in_argument(argument))?;
        Ok(Some(bytes))
    };
    let context = bytes(context, "context")?;
    let integrations = bytes(integrations, "integrations")?;
    raw_tail(out, base, context.as_deref(), integrations.as_deref());
    Ok(())
}

fn raw_tail(out: &mut Vec<u8>, base: Base<'_>, context: Option<&[u8]>, integrations: Option<&[u8]>) {
    out.extend_from_slice(b",\"context\":");
    match context {
        Some(own) => scan::merge(base.context, own, out),
        None => out.extend_from_slice(base.context),
    }
    if integrations.is_some() || !base.integrations.is_empty() {
        out.extend_from_slice(b",\"integrations\":");
        match integrations {
            Some(own) => scan::merge(base.integrations, own, out),
            None => out.extend_from_slice(base.integrations),
        }
    }
    out.push(b'}');
}

/// The size of the smallest message of a client with this context and these integrations.
pub(crate) fn smallest_bytes(context: &[u8], integrations: &[u8], is_stateful: bool) -> usize {
    let anonymous_id = id::text();
    let smallest = Message {
        call: Call::Page,
        user_id: (!is_stateful).then_some("u"),
        subject: None,
        payload: None,
        options: Options { anonymous_id: is_stateful.then_some(&anonymous_id), ..Options::default() },
    };
    let mut out = Vec::new();
    // The only possible error is that it is too large, which is found once it is written.
    let _ = smallest.write(Base { context, context_of_others: context, integrations, ..Base::NONE }, 0, &mut out);
    out.len()
}

/// The id of a message, as it stands in the JSON.
pub(crate) fn id_of(message: &[u8]) -> String {
    let start = HEAD.len() - 1;
    let string = message.get(start..).unwrap_or_default();
    let mut end = 1;
    while end < string.len() && string[end] != b'"' {
        end += if string[end] == b'\\' { 2 } else { 1 };
    }
    string.get(..=end).map(scan::unescape).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;
    use crate::client::config::Config;
    use serde_json::{Value, json};

    const NOW: i64 = 1_767_323_045_678;

    fn prepared() -> crate::client::config::Prepared {
        let mut config = Config::new("k");
        config.context.set("app", &Object::from([("name", "game"), ("version", "1.0")]));
        config.prepare().expect("good settings")
    }

    fn base(prepared: &crate::client::config::Prepared) -> Base<'_> {
        let (context, integrations) = (prepared.context.as_slice(), prepared.integrations.as_slice());
        Base { context, context_of_others: context, integrations, ..Base::NONE }
    }

    fn message<'a>(call: Call) -> Message<'a> {
        let subject = (call != Call::Identify).then_some("subject");
        Message { call, user_id: Some("u"), subject, payload: None, options: Options::default() }
    }

    fn written(message: &Message) -> Result<Value, Error> {
        let mut out = Vec::new();
        message.write(base(&prepared()), NOW, &mut out)?;
        assert!(out.starts_with(HEAD));
        assert!(!out.iter().any(|b| *b < 0x20));
        Ok(serde_json::from_slice(&out).expect("JSON"))
    }

    fn from_json(json: &str) -> Result<Value, Error> {
        let mut out = Vec::new();
        write_json(json, base(&prepared()), NOW, &mut out)?;
        assert!(out.starts_with(HEAD));
        assert!(!out.iter().any(|b| *b < 0x20));
        Ok(serde_json::from_slice(&out).expect("JSON"))
    }

    fn library() -> Value {
        json!({"name": "segment-native", "version": env!("CARGO_PKG_VERSION")})
    }

    #[test]
    fn every_call_has_its_members() {
        let payload = Object::from([("a", 1)]);
        for (call, members) in [
            (Call::Identify, json!({"traits": {"a": 1}})),
            (Call::Track, json!({"event": "subject", "properties": {"a": 1}})),
            (Call::Page, json!({"name": "subject", "properties": {"a": 1}})),
            (Call::Screen, json!({"name": "subject", "properties": {"a": 1}})),
            (Call::Group, json!({"groupId": "subject", "traits": {"a": 1}})),
            (Call::Alias, json!({"previousId": "subject"})),
        ] {
            let mut value = written(&Message { payload: Some(&payload), ..message(call) }).expect("good");
            let id = value["messageId"].take();
            assert_eq!(id.as_str().map(str::len), Some(id::LENGTH));
            let mut expected = json!({
                "messageId": null, "type": call.name(), "timestamp": "2026-01-02T03:04:05.678Z", "userId": "u",
                "context": {"library": library(), "app": {"name": "game", "version": "1.0"}},
            });
            expected.as_object_mut().expect("object").extend(members.as_object().expect("object").clone());
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn options_find_their_place() {
        let context = Object::new().with("app", &Object::from([("version", "2.0")])).with("ip", "1.2.3.4");
        let integrations = Object::from([("All", false)]);
        let options = Options {
            timestamp: Some(Time::Text("2020-02-03T04:05:06+01:00")),
            anonymous_id: Some("anon"),
            message_id: Some("my \"id\""),
            context: Some(&context),
            integrations: Some(&integrations),
            category: Some("Docs"),
            ..Options::default()
        };
        let value = written(&Message { options, user_id: None, ..message(Call::Page) }).expect("good");
        assert_eq!(
            value,
            json!({
                "messageId": "my \"id\"", "type": "page", "timestamp": "2020-02-03T03:05:06.000Z",
                "anonymousId": "anon", "name": "subject", "category": "Docs",
                "context": {"library": library(), "app": {"name": "game", "version": "2.0"}, "ip": "1.2.3.4"},
                "integrations": {"All": false},
            })
        );
        let at_once = Options { timestamp: Some(Time::Ms(-1)), ..Options::default() };
        let value = written(&Message { options: at_once, ..message(Call::Track) }).expect("good");
        assert_eq!(value["timestamp"], "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_wrong_argument_is_named() {
        let wrong = |message: Message| written(&message).expect_err("refused").to_string();
        assert_eq!(wrong(Message { user_id: None, ..message(Call::Track) }), "user_id or anonymous_id must be given");
        assert_eq!(
            wrong(Message { user_id: Some(""), ..message(Call::Track) }),
            "user_id must be a string that is not empty"
        );
        assert_eq!(
            wrong(Message { subject: Some(""), ..message(Call::Track) }),
            "event must be given and must not be empty"
        );
        assert_eq!(
            wrong(Message { subject: None, ..message(Call::Group) }),
            "group_id must be a string that is not empty"
        );
        let marked = Object::new().with("price", f64::INFINITY);
        assert_eq!(
            wrong(Message { payload: Some(&marked), ..message(Call::Track) }),
            "properties: \"price\" is not a finite number"
        );
        let options = Options { timestamp: Some(Time::Ms(i64::MAX)), ..Options::default() };
        assert_eq!(
            wrong(Message { options, ..message(Call::Track) }),
            "timestamp_ms must lie within the years 1 to 9999"
        );
    }

    #[test]
    fn the_limit_of_size_counts_every_byte() {
        let size = |filler: usize| {
            let text = "é".repeat(filler / 2) + &"x".repeat(filler % 2);
            let payload = Object::from([("k", text.as_str())]);
            let mut out = Vec::new();
            let message = Message { payload: Some(&payload), ..message(Call::Track) };
            message.write(base(&prepared()), NOW, &mut out).map(|()| out.len()).map_err(|error| error.kind())
        };
        let overhead = size(0).expect("fits");
        let most = rules::MAX_MESSAGE_BYTES - overhead;
        assert_eq!(size(most - 1), Ok(rules::MAX_MESSAGE_BYTES - 1));
        assert_eq!(size(most), Ok(rules::MAX_MESSAGE_BYTES));
        assert_eq!(size(most + 1), Err(ErrorKind::TooLarge));
    }

    #[test]
    fn whole_messages_get_what_they_lack() {
        let value = from_json(r#" { "type" : "track", "userId":"u", "event":"E", "extra":[1, 2] } "#).expect("good");
        assert_eq!(value["timestamp"], "2026-01-02T03:04:05.678Z");
        assert_eq!(value["context"]["library"], library());
        assert_eq!(value["extra"], json!([1, 2]));
        assert_eq!(value["messageId"].as_str().map(str::len), Some(id::LENGTH));
    }

    #[test]
    fn whole_messages_keep_what_they_have() {
        let value = from_json(
            r#"{"context":{"ip":"x","library":{"name":"mine"}},"integrations":{"All":true},"messageId":"m\"1",
                "timestamp":"2001-02-03 04:05:06Z","type":"page","userId":null,"anonymousId":"a",
                "n":12345678901234567890}"#,
        )
        .expect("good");
        assert_eq!(value["messageId"], "m\"1");
        assert_eq!(value["timestamp"], "2001-02-03T04:05:06.000Z");
        assert_eq!(value["context"]["library"], json!({"name": "mine", "version": env!("CARGO_PKG_VERSION")}));
        assert_eq!(value["context"]["ip"], "x");
        assert_eq!(value["integrations"], json!({"All": true}));
        assert_eq!(value["n"], json!(12_345_678_901_234_567_890u64));
        assert!(value.get("userId").is_none());
    }

    #[test]
    fn only_the_last_of_repeated_members_is_sent() {
        let mut out = Vec::new();
        let json = r#"{"type":"x","type":"page","userId":"1","userId":"2","context":1,"context":{"a":1}}"#;
        write_json(json, base(&prepared()), NOW, &mut out).expect("good");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.matches("\"type\"").count(), 1);
        assert_eq!(text.matches("\"userId\"").count(), 1);
        assert!(text.contains(r#""type":"page","userId":"2""#) && text.contains(r#""a":1"#), "{text}");
    }

    #[test]
    fn an_invalid_whole_message_is_refused() {
        let wrong = |json: &str| from_json(json).expect_err("refused").to_string();
        assert_eq!(wrong("[]"), "json must be one message, {\"type\":\"track\",...}: expected an object at byte 0");
        assert_eq!(wrong(r#"{"type":"track","event":"E"}"#), "userId or anonymousId must be given");
        assert_eq!(wrong(r#"{"type":"track","userId":7,"event":"E"}"#), "userId must be a string that is not empty");
        let large = format!(r#"{{"type":"page","userId":"u","x":"{}"}}"#, "x".repeat(rules::MAX_MESSAGE_BYTES));
        assert_eq!(from_json(&large).expect_err("refused").kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn what_is_too_large_for_a_message_is_not_kept_by_the_thread() {
        let capacity = || BUFFER.with_borrow(Vec::capacity);
        let large = "x".repeat(5_000_000);
        let sent = |message: &Message| with_buffer(|out| message.write(base(&prepared()), NOW, out));
        let refused = [
            sent(&Message { subject: Some(&large), ..message(Call::Track) }),
            sent(&Message { user_id: Some(&large), ..message(Call::Identify) }),
            with_buffer(|out| write_json(&format!(r#"{{"type":"page","userId":"{large}"}}"#), Base::NONE, NOW, out)),
            with_buffer(|out| {
                let json = format!(r#"{{"type":"page","userId":"{}"}}"#, &large[..MAX_TEXT_BYTES - 50]);
                write_json(&json, Base::NONE, NOW, out)
            }),
        ];
        assert!(refused.iter().all(|sent| sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooLarge)));
        assert_eq!(capacity(), 0);
        sent(&message(Call::Page)).expect("good");
        let kept = capacity();
        sent(&message(Call::Page)).expect("good");
        assert!(kept > 0 && capacity() == kept, "the memory of a message serves the next");
    }

    /// This takes the caller's time: even a message that is refused must not take quadratic time.
    #[test]
    #[cfg(target_os = "linux")]
    fn four_times_as_many_members_take_four_times_as_long() {
        let spent = || {
            let all = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the times of this thread");
            all.split(' ').next().and_then(|processor| processor.parse::<u64>().ok()).expect("nanoseconds")
        };
        let time = |members: usize| {
            let members: String = (0..members).map(|n| format!(r#","m{n}":1"#)).collect();
            let json = format!(r#"{{"type":"page","userId":"u"{members}}}"#);
            assert!(json.len() < MAX_TEXT_BYTES);
            let once = || {
                let before = spent();
                assert_eq!(from_json(&json).expect_err("refused").kind(), ErrorKind::TooLarge);
                spent() - before
            };
            (0..3).map(|_| once()).min().expect("three times")
        };
        let (some, many) = (time(20_000), time(80_000));
        assert!(many < 10 * some, "{some} and {many} ns");
    }

    #[test]
    fn ids_are_cut_out_of_messages() {
        for id in ["plain", "my \"id\" \\", "é", "\u{1}"] {
            let options = Options { message_id: Some(id), ..Options::default() };
            let mut out = Vec::new();
            Message { options, ..message(Call::Track) }.write(base(&prepared()), NOW, &mut out).expect("good");
            assert_eq!(id_of(&out), id);
        }
        assert_eq!(id_of(b"{"), "");
    }
}
