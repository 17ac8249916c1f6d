//! The calls: they queue a message and return.

// Context and integrations of the options are pointers.
#![allow(unsafe_code)]

use std::ffi::c_char;

use segment_native::{Call, Error, Message, Object, Options, Time, Value, bindings};

use crate::client::{required, segment_client};
use crate::error::{guard, segment_status};
use crate::object::segment_object;
use crate::sized::{self, Sized0};
use crate::text::{self, Text};

/// The optional fields of a message. Zero means none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_options {
    /// sizeof(segment_options)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// When it happened, milliseconds since 1970. Default: now. (For 1970 itself use timestamp.
    /// Both: SEGMENT_INVALID.)
    pub timestamp_ms: i64,
    /// ISO 8601 with a zone, instead of timestamp_ms.
    pub timestamp: Text,
    /// Who, when there is no user id.
    pub anonymous_id: Text,
    /// For deduplication, at most 99 characters. Default: a new UUID.
    pub message_id: Text,
    /// Merged over the client's.
    pub context: *const segment_object,
    /// Which destinations receive it; merged over the client's.
    pub integrations: *const segment_object,
    /// Of a page or screen.
    pub category: Text,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_options {
    const NAME: &'static str = "segment_options";
}

/// What the six calls have in common: the argument the call is about has its own name in each.
struct Arguments<'a> {
    call: Call,
    user_id: Text,
    subject: Option<(&'static str, Text)>,
    payload: Option<&'a segment_object>,
    options: *const segment_options,
}

fn send(client: Option<&segment_client>, arguments: &Arguments<'_>) -> segment_status {
    guard(|| {
        let client = required(client)?;
        let options = sized::read(arguments.options).map_err(|error| bindings::refuse(client, error))?;
        let message = read(arguments, options.as_ref()).map_err(|error| bindings::refuse(client, error))?;
        client.send(&message)
    })
}

fn read<'a>(arguments: &'a Arguments<'_>, options: Option<&'a segment_options>) -> Result<Message<'a>, Error> {
    Ok(Message {
        call: arguments.call,
        user_id: arguments.user_id.get("user_id")?,
        subject: match &arguments.subject {
            Some((name, text)) => text.get(name)?,
            None => None,
        },
        payload: arguments.payload.map(|object| &object.0),
        options: options.map_or_else(|| Ok(Options::default()), read_options)?,
    })
}

fn read_options(given: &segment_options) -> Result<Options<'_>, Error> {
    if given.flags != 0 {
        return Err(Error::invalid(format!("options: flags has unknown bits: {:#x}", given.flags)));
    }
    let timestamp = match (given.timestamp_ms, given.timestamp.get("timestamp")?) {
        (0, None) => None,
        (ms, None) => Some(Time::Ms(ms)),
        (0, Some(text)) => Some(Time::Text(text)),
        _ => return Err(Error::invalid("timestamp and timestamp_ms must not both be given")),
    };
    Ok(Options {
        timestamp,
        anonymous_id: given.anonymous_id.get("anonymous_id")?,
        message_id: given.message_id.get("message_id")?,
        context: borrow(&given.context),
        integrations: borrow(&given.integrations),
        category: given.category.get("category")?,
        ..Options::default()
    })
}

fn borrow(object: &*const segment_object) -> Option<&Object> {
    // SAFETY: the header asks for NULL or an object that no thread changes until the call returns.
    unsafe { object.as_ref() }.map(|object| &object.0)
}

/// Says who the user is, and records traits about them. With SEGMENT_STATEFUL the user id is
/// remembered, and the traits for as long as all of them together have at most 8192 bytes of JSON;
/// traits beyond that are sent but not remembered, and those known before stay.
///   traits  "email", "plan", ...; NULL: none.
#[unsafe(no_mangle)]
pub extern "C" fn segment_identify(
    client: Option<&segment_client>,
    user_id: Text,
    traits: Option<&segment_object>,
    options: *const segment_options,
) -> segment_status {
    send(client, &Arguments { call: Call::Identify, user_id, subject: None, payload: traits, options })
}

/// Says what the user did.
///   event       What it is called: "Level Completed". Required.
///   properties  Of the event; NULL: none.
#[unsafe(no_mangle)]
pub extern "C" fn segment_track(
    client: Option<&segment_client>,
    user_id: Text,
    event: Text,
    properties: Option<&segment_object>,
    options: *const segment_options,
) -> segment_status {
    let subject = Some(("event", event));
    send(client, &Arguments { call: Call::Track, user_id, subject, payload: properties, options })
}

/// Says which web page the user saw.
///   name        May be NULL.
///   properties  "url", "path", "referrer", ...; NULL: none.
#[unsafe(no_mangle)]
pub extern "C" fn segment_page(
    client: Option<&segment_client>,
    user_id: Text,
    name: Text,
    properties: Option<&segment_object>,
    options: *const segment_options,
) -> segment_status {
    let subject = Some(("name", name));
    send(client, &Arguments { call: Call::Page, user_id, subject, payload: properties, options })
}

/// Says which screen of an app the user saw.
///   name        May be NULL.
///   properties  Of the screen; NULL: none.
#[unsafe(no_mangle)]
pub extern "C" fn segment_screen(
    client: Option<&segment_client>,
    user_id: Text,
    name: Text,
    properties: Option<&segment_object>,
    options: *const segment_options,
) -> segment_status {
    let subject = Some(("name", name));
    send(client, &Arguments { call: Call::Screen, user_id, subject, payload: properties, options })
}

/// Says which company, team or account the user belongs to, and records traits about it.
///   group_id  Its id in your database. Required.
///   traits    Of the group; NULL: none.
#[unsafe(no_mangle)]
pub extern "C" fn segment_group(
    client: Option<&segment_client>,
    user_id: Text,
    group_id: Text,
    traits: Option<&segment_object>,
    options: *const segment_options,
) -> segment_status {
    let subject = Some(("group_id", group_id));
    send(client, &Arguments { call: Call::Group, user_id, subject, payload: traits, options })
}

/// Says that the user was known by another id before.
///   user_id      The id from now on.
///   previous_id  The one before; NULL with SEGMENT_STATEFUL: the one that is remembered.
#[unsafe(no_mangle)]
pub extern "C" fn segment_alias(
    client: Option<&segment_client>,
    user_id: Text,
    previous_id: Text,
    options: *const segment_options,
) -> segment_status {
    let subject = Some(("previous_id", previous_id));
    send(client, &Arguments { call: Call::Alias, user_id, subject, payload: None, options })
}

/// Queues a whole message in JSON, {"type":"track",...}: for bindings, imports, and what the calls
/// above lack. What it lacks (messageId, timestamp, context; with SEGMENT_STATEFUL the ids) is
/// added as for the calls above; what it says of the user is not remembered.
///   json    The message. It needs no NUL at its end.
///   length  How many bytes it has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_enqueue(
    client: Option<&segment_client>,
    json: *const c_char,
    length: usize,
) -> segment_status {
    guard(|| {
        let client = required(client)?;
        // SAFETY: the header asks for NULL or `length` bytes that stay as they are until the call returns.
        let json = unsafe { text::with_length(json, length, "json") };
        client.enqueue(json.map_err(|error| bindings::refuse(client, error))?)
    })
}

/// Sets one member of the context of every later message: a level, a build, an experiment. From any
/// thread; it waits for nothing, and nothing waits for it. `json` is the value, "\"E1M1\"" or "7"
/// or "{\"name\": \"E1M1\"}"; NULL removes what was set. The member goes over config.context (two
/// objects of the same name are merged) and under options->context. "consent", "traits" and
/// "library" are refused: they are set in other ways. SEGMENT_TOO_LARGE, with nothing changed, if
/// all that is set here would have more than 16,000 bytes of JSON together, or would leave no room
/// for a message. It lasts as long as the client, also when the user changes; a forked child starts
/// with its parent's.
#[unsafe(no_mangle)]
pub extern "C" fn segment_set_context(client: Option<&segment_client>, key: Text, json: Text) -> segment_status {
    guard(|| {
        let client = required(client)?;
        let read = || Ok((key.required("key")?, json.get("json")?));
        let (key, json) = read().map_err(|error| bindings::refuse(client, error))?;
        client.set_context(key, json.map(Value::Json))
    })
}
