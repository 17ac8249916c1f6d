//! The settings of a client, from C's struct to the core's.

// The struct may be read by its size (see `sized`), and its context and integrations are pointers.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::time::Duration;

#[cfg(feature = "oauth")]
use segment_native::OAuth;
use segment_native::{Config, Error, Object, Overflow};

use crate::error::null;
use crate::hooks::{before_send, on_delivery, on_log, segment_delivery};
use crate::object::segment_object;
use crate::response::segment_response;
use crate::sized::{self, Sized0};
use crate::text::{self, Text};
use crate::transport::{segment_http, transport};

/// segment_config.flags: send bodies uncompressed.
pub const SEGMENT_NO_GZIP: u32 = 1;
/// segment_config.flags: do everything but send; what would be sent counts as delivered.
pub const SEGMENT_DRY_RUN: u32 = 2;
/// segment_config.flags: a full queue makes room by dropping its oldest sealed chunks, never one that is just being
/// sent; if there is none, SEGMENT_QUEUE_FULL. on_delivery is told of what is dropped, with
/// SEGMENT_QUEUE_FULL. What an earlier run or another process had left in spool_dir is only
/// counted.
pub const SEGMENT_DROP_OLDEST: u32 = 4;
/// segment_config.flags: the client remembers who the user is, in spool_dir if there is one: see segment_reset.
/// Without it, nothing is remembered and both ids are yours.
pub const SEGMENT_STATEFUL: u32 = 8;
/// segment_config.flags: refuse what is only doubtful, not just what Segment would discard: reserved traits and
/// e-commerce properties of the wrong type, custom traits that are reserved ones in another
/// spelling, amounts that are not numbers, currencies that are not ISO 4217, times in the
/// future, e-mail addresses as user ids. Without this flag on_log warns of it, once for each
/// kind and name.
pub const SEGMENT_STRICT: u32 = 16;
/// segment_config.flags: with spool_dir, survive power loss too, by syncing in the background ten times a second.
pub const SEGMENT_SYNC: u32 = 32;
/// segment_config.flags: add os, device, runtime (Wine, sandbox, container, emulation), locale and timezone to
/// context; docs/device.md lists them. From the environment it reads the locale, and signs of
/// Steam, snaps and containers.
pub const SEGMENT_DEVICE_CONTEXT: u32 = 64;
/// segment_config.flags: with SEGMENT_STATEFUL, track Application Installed, Updated (both only with a spool_dir that
/// can be written) and Opened when a client is made, by the version and build of app in context.
pub const SEGMENT_LIFECYCLE: u32 = 128;

/// segment_config.flags: nothing is stored or sent before the user has answered. Until segment_opt_in or
/// segment_opt_out was called once, in this run or an earlier one with this spool_dir, messages,
/// ids and a consent are held in memory, within queue_max_bytes (segment_stats.held counts the
/// messages); nothing is written below spool_dir, and nothing is sent, not even what waits there
/// from earlier. segment_flush and segment_shutdown return SEGMENT_TIMEOUT at once, segment_free
/// is quick, segment_call to the Tracking API returns SEGMENT_OPTED_OUT. A yes releases what is
/// held, a no erases it; what is still held at the end counts as dropped. Another process with
/// this spool_dir follows the answer within 30 s. A spool_dir that cannot be read in segment_new
/// counts as a no until it can be; so does DO_NOT_TRACK in the environment, unless it is empty
/// or 0, until the user says yes. A forked child starts in its parent's state; what is held
/// stays with the parent. See segment_opt_state.
pub const SEGMENT_ASK_FIRST: u32 = 256;

/// OAuth 2.0 instead of Basic authentication.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_oauth {
    /// sizeof(segment_oauth)
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// The id of the OAuth application.
    pub client_id: Text,
    /// The id of its key.
    pub key_id: Text,
    /// PEM, PKCS#8 or PKCS#1.
    pub private_key: Text,
    /// Default: "tracking_api:write".
    pub scope: Text,
    /// Default: "https://oauth2.segment.io", or the EU's if the client's endpoint is there.
    pub endpoint: Text,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_oauth {
    const NAME: &'static str = "segment_oauth";
}

/// The settings of a client. Zero means the default; only write_key has none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_config {
    /// sizeof(segment_config): which fields you know.
    pub size: u32,
    /// Any of these, added up.
    pub flags: u32,
    /// How many bytes of messages may wait, in memory or in spool_dir; beyond that calls return
    /// SEGMENT_QUEUE_FULL. Default: 64 MiB.
    pub queue_max_bytes: u64,
    /// Your source's write key.
    pub write_key: Text,
    /// "https://api.segment.io"; "eu" is short for the EU host. A URL whose path ends in /batch or
    /// /b is the whole URL of batches, and may have a query: "https://api.segment.io/v1/b" is where
    /// Segment's libraries for devices send. segment_call then goes below what is left without
    /// that last part and a /v1 before it.
    pub endpoint: Text,
    /// Accepted messages are kept in this folder until delivered, and survive the end of the
    /// process, however it ends. It is created if missing, and should be used by the library alone.
    /// Several processes may share it. A relative path counts from the working directory at the
    /// time of segment_new. On Unix any bytes, elsewhere UTF-8. NULL: in memory only.
    pub spool_dir: Text,
    /// Send when this many messages wait. Default: 100.
    pub flush_at: u32,
    /// Send what waits this often. Default: 5000.
    pub flush_interval_ms: u32,
    /// Without spool_dir: how often a failed request is tried again, within 12 hours, before its
    /// messages are given up. Default: 10; UINT32_MAX: not at all.
    pub retry_max: u32,
    /// For one whole HTTP request, the name look-up included. Default: 15000.
    pub timeout_ms: u32,
    /// How long segment_free may deliver. Default: 2000. To deliver nothing, call
    /// segment_shutdown(client, 0) first.
    pub shutdown_ms: u32,
    /// How many batches may be on their way at once, 64 at most, for servers that are far away.
    /// Default: one at first, up to 16 while more waits than one carries and the server keeps up;
    /// with a transport, 1. Together they carry a quarter of queue_max_bytes at most, and arrive in
    /// any order: 1 keeps it, which alias and identify may need. Segment recommends at most 1,000
    /// events a second for a workspace.
    pub uploads: u32,
    /// Part of every message's context.
    pub context: *const segment_object,
    /// Every message's integrations.
    pub integrations: *const segment_object,
    /// "http://[user:password@]host:port", "https://..." or "socks5://..." ("socks5h://...": the
    /// proxy looks names up); "": none. NULL: what the environment says: https_proxy for https,
    /// http_proxy for http, all_proxy for the rest, in lower or upper case, except for the hosts,
    /// domains, addresses and networks (10.0.0.0/8) in no_proxy, each with an optional port. An
    /// empty variable means no proxy; one that is not the URL of a proxy is ignored. HTTP_PROXY
    /// does not count where REQUEST_METHOD is set: in a CGI program any visitor can set it.
    pub proxy: Text,
    /// A file with PEM certificates to trust besides the system's. On Unix any bytes, elsewhere
    /// UTF-8.
    pub ca_file: Text,
    /// "Name: value", ..., NULL, on every request to the Tracking API: for gateways of your own.
    pub headers: *const *const c_char,
    /// OAuth 2.0 instead of Basic authentication.
    pub oauth: *const segment_oauth,
    /// For segment_call to the Public API.
    pub access_token: Text,
    /// For segment_call to the Profile API.
    pub profile_token: Text,
    /// Default: "https://api.segmentapis.com", or the EU's if endpoint is there.
    pub public_endpoint: Text,
    /// Default: "https://profiles.segment.com", or the EU's if endpoint is there.
    pub profile_endpoint: Text,
    /// Told what became of messages: delivered, given up, or dropped by SEGMENT_DROP_OLDEST (status
    /// SEGMENT_QUEUE_FULL), on the delivery thread. At most 4 MiB of dropped messages wait to be
    /// reported; on_log says how many more, or how many in files that cannot be read, are not.
    /// Inside any of the callbacks segment_flush and segment_shutdown return SEGMENT_INVALID, and
    /// segment_free does nothing.
    pub on_delivery: Option<unsafe extern "C" fn(userdata: *mut c_void, delivery: *const segment_delivery)>,
    /// Told what a person may want to read, on the delivery thread. Level: 0 error, 1 warning, 2
    /// info, 3 debug. This includes calls that fail, once for each kind of error, except for
    /// SEGMENT_QUEUE_FULL, SEGMENT_CLOSED and SEGMENT_OPTED_OUT.
    pub on_log: Option<unsafe extern "C" fn(userdata: *mut c_void, level: i32, message: *const c_char)>,
    /// Sees each message on the calling thread, before it is stored: returns json itself, a
    /// replacement (copied at once, it stays yours), or NULL to drop it: the call then returns
    /// SEGMENT_OK and counts as accepted and dropped. What it returns is checked like any message.
    /// It must not call this client, nor wait for a thread that does.
    pub before_send: Option<unsafe extern "C" fn(userdata: *mut c_void, json: *const c_char) -> *const c_char>,
    /// HTTP by the host: makes one exchange, fills in the response, and returns 0, or anything else
    /// if there was no answer. On the delivery thread, and on the caller's for segment_call;
    /// possibly on both at once; with uploads above 1, on as many threads at once. It may finish an
    /// exchange that it had begun when segment_opt_out was called.
    pub transport: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            request: *const segment_http,
            response: *mut segment_response,
        ) -> i32,
    >,
    /// Passed to all four callbacks.
    pub userdata: *mut c_void,
    /// The write key that your program had before this one, after an update that has left its
    /// source: with spool_dir, what waits there for it is delivered too, with write_key to
    /// endpoint, with the same message ids, and counted as recovered. NULL: it goes on waiting for
    /// a client with that key, and on_log says so. A process that still runs with the former key
    /// keeps what is its own until it ends. The value of write_key itself has no effect.
    pub former_write_key: Text,
    /// The same for the endpoint that your program had before, say in another region; "eu" is
    /// short for the EU host. What waits for it is sent to endpoint and nowhere else. With both,
    /// what waits for either key at either endpoint is delivered.
    pub former_endpoint: Text,
}

// SAFETY: repr(C), begins with its size, has no holes (a test compiles it with -Wpadded), and all fields may be zero.
unsafe impl Sized0 for segment_config {
    const NAME: &'static str = "segment_config";
}

/// Reads the settings of a new client.
pub(crate) fn read(config: *const segment_config) -> Result<Config, Error> {
    let given = sized::read(config)?.ok_or_else(|| null("config"))?;
    let mut config = Config::new(given.write_key.required("write_key")?);
    if let Some(endpoint) = filled(&given.endpoint, "endpoint")? {
        config.endpoint = endpoint;
    }
    config.spool_dir = given.spool_dir.path("spool_dir")?;
    read_flags(given.flags, &mut config)?;
    if given.queue_max_bytes != 0 {
        config.queue_max_bytes = given.queue_max_bytes;
    }
    config.uploads = given.uploads;
    if given.flush_at != 0 {
        config.flush_at = given.flush_at;
    }
    config.retry_max = match given.retry_max {
        0 => config.retry_max,
        u32::MAX => 0,
        counted => counted,
    };
    for (given, place) in [
        (given.flush_interval_ms, &mut config.flush_interval),
        (given.timeout_ms, &mut config.timeout),
        (given.shutdown_ms, &mut config.shutdown),
    ] {
        if given != 0 {
            *place = Duration::from_millis(u64::from(given));
        }
    }
    config.context = copy(given.context);
    config.integrations = copy(given.integrations);
    config.proxy = owned(&given.proxy, "proxy")?;
    config.ca_file = given.ca_file.path("ca_file")?;
    check_route(&config)?;
    // SAFETY: the header asks for NULL or a list of strings that ends with NULL and stays until the call returns.
    let headers = unsafe { text::headers(given.headers, "headers") }?;
    config.headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    read_oauth(given.oauth, &mut config)?;
    config.access_token = owned(&given.access_token, "access_token")?;
    config.profile_token = owned(&given.profile_token, "profile_token")?;
    config.public_endpoint = filled(&given.public_endpoint, "public_endpoint")?.unwrap_or_default();
    config.profile_endpoint = filled(&given.profile_endpoint, "profile_endpoint")?.unwrap_or_default();
    config.former_write_key = filled(&given.former_write_key, "former_write_key")?;
    config.former_endpoint = filled(&given.former_endpoint, "former_endpoint")?;
    config.on_delivery = on_delivery(given.on_delivery, given.userdata);
    config.on_log = on_log(given.on_log, given.userdata);
    config.before_send = before_send(given.before_send, given.userdata);
    config.transport = transport(given.transport, given.userdata);
    Ok(config)
}

/// Unknown flags are refused: to ignore one would be worse. Two combinations that the core would
/// refuse as well are refused here, by their names in C.
fn read_flags(flags: u32, config: &mut Config) -> Result<(), Error> {
    let known = SEGMENT_NO_GZIP
        | SEGMENT_DRY_RUN
        | SEGMENT_DROP_OLDEST
        | SEGMENT_STATEFUL
        | SEGMENT_STRICT
        | SEGMENT_SYNC
        | SEGMENT_DEVICE_CONTEXT
        | SEGMENT_LIFECYCLE
        | SEGMENT_ASK_FIRST;
    if flags & !known != 0 {
        return Err(Error::invalid(format!("flags has unknown bits: {:#x}", flags & !known)));
    }
    let is_set = |flag: u32| flags & flag != 0;
    config.gzip = !is_set(SEGMENT_NO_GZIP);
    config.dry_run = is_set(SEGMENT_DRY_RUN);
    if is_set(SEGMENT_DROP_OLDEST) {
        config.overflow = Overflow::DropOldest;
    }
    config.stateful = is_set(SEGMENT_STATEFUL);
    config.strict = is_set(SEGMENT_STRICT);
    config.sync = is_set(SEGMENT_SYNC);
    if config.sync && config.spool_dir.is_none() {
        return Err(Error::invalid("SEGMENT_SYNC needs spool_dir"));
    }
    config.ask_first = is_set(SEGMENT_ASK_FIRST);
    config.device_context = is_set(SEGMENT_DEVICE_CONTEXT);
    config.lifecycle = is_set(SEGMENT_LIFECYCLE);
    if config.lifecycle && !config.stateful {
        return Err(Error::invalid("SEGMENT_LIFECYCLE needs SEGMENT_STATEFUL"));
    }
    Ok(())
}

fn owned(text: &Text, argument: &str) -> Result<Option<String>, Error> {
    Ok(text.get(argument)?.map(str::to_owned))
}

/// The same, but an empty text is an error. It is not a way to ask for the default: more likely a
/// variable was not set.
fn filled(text: &Text, argument: &str) -> Result<Option<String>, Error> {
    match owned(text, argument)? {
        Some(text) if text.is_empty() => Err(Error::invalid(format!("{argument} must not be empty"))),
        text => Ok(text),
    }
}

/// A proxy and certificates are for our own HTTP, which this build may not have.
fn check_route(config: &Config) -> Result<(), Error> {
    let given = config.proxy.as_deref().map(|_| "proxy").or(config.ca_file.as_deref().map(|_| "ca_file"));
    match given {
        Some(name) if cfg!(not(feature = "http")) => {
            Err(Error::invalid(format!("{name}: this build of the library has no HTTP of its own")))
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "oauth")]
fn read_oauth(oauth: *const segment_oauth, config: &mut Config) -> Result<(), Error> {
    let Some(given) = sized::read(oauth)? else { return Ok(()) };
    if given.flags != 0 {
        return Err(Error::invalid(format!("oauth: flags has unknown bits: {:#x}", given.flags)));
    }
    let client_id = given.client_id.required("oauth: client_id")?;
    let key_id = given.key_id.required("oauth: key_id")?;
    let mut oauth = OAuth::new(client_id, key_id, given.private_key.required("oauth: private_key")?);
    if let Some(scope) = filled(&given.scope, "oauth: scope")? {
        oauth.scope = scope;
    }
    oauth.endpoint = filled(&given.endpoint, "oauth: endpoint")?.unwrap_or_default();
    config.oauth = Some(oauth);
    Ok(())
}

#[cfg(not(feature = "oauth"))]
fn read_oauth(oauth: *const segment_oauth, _: &mut Config) -> Result<(), Error> {
    match sized::read(oauth)? {
        Some(_) => Err(Error::invalid("oauth: this build of the library does not support it")),
        None => Ok(()),
    }
}

fn copy(object: *const segment_object) -> Object {
    // SAFETY: the header asks for NULL or an object that no thread changes until the call returns.
    unsafe { object.as_ref() }.map_or_else(Object::new, |object| object.0.clone())
}
