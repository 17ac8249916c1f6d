//! The settings of a client, from C's struct to the core's.

// The struct may be read by its size (see `sized`), and its context and integrations are pointers.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::time::Duration;

use segment_native::{Config, Error, Object, Overflow};

use crate::call::{segment_http, segment_oauth, segment_response};
use crate::error::null;
use crate::object::segment_object;
use crate::report::{on_delivery, on_log, segment_delivery};
use crate::sized::{self, Sized0};
use crate::text::Text;

/// segment_config.flags: send bodies uncompressed.
pub const SEGMENT_NO_GZIP: u32 = 1;
/// segment_config.flags: do everything but send; what would be sent counts as delivered.
pub const SEGMENT_DRY_RUN: u32 = 2;
/// segment_config.flags: a full queue makes room by dropping its oldest sealed chunks, never one in flight; if there is none,
/// SEGMENT_QUEUE_FULL.
pub const SEGMENT_DROP_OLDEST: u32 = 4;
/// segment_config.flags: the client remembers who the user is. Not built yet: refused.
pub const SEGMENT_STATEFUL: u32 = 8;
/// segment_config.flags: refuse what is only doubtful, not just what Segment would discard. Not built yet: refused.
pub const SEGMENT_STRICT: u32 = 16;
/// segment_config.flags: with spool_dir, survive power loss too, by syncing in the background ten times a second.
pub const SEGMENT_SYNC: u32 = 32;
/// segment_config.flags: add os, device, locale, timezone to context. Not built yet: refused.
pub const SEGMENT_DEVICE_CONTEXT: u32 = 64;
/// segment_config.flags: with SEGMENT_STATEFUL, track Application Installed, Updated, Opened. Not built yet: refused.
pub const SEGMENT_LIFECYCLE: u32 = 128;

/// The settings of a client. Zero means the default; only write_key has none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_config {
    /// sizeof(segment_config): which fields you know.
    pub size: u32,
    /// SEGMENT_NO_GZIP, ...
    pub flags: u32,
    /// How many bytes of messages may wait, in memory or in spool_dir; then SEGMENT_QUEUE_FULL: 64 MiB.
    pub queue_max_bytes: u64,
    /// Your source's write key.
    pub write_key: Text,
    /// "https://api.segment.io"; "eu" is short for the EU host.
    pub endpoint: Text,
    /// Accepted messages are kept in this folder until delivered, and survive whatever becomes of the process; it is made
    /// if it is not there. Several processes may share it. NULL: in memory only.
    pub spool_dir: Text,
    /// Send when this many messages wait: 100.
    pub flush_at: u32,
    /// Send what waits this often: 5000.
    pub flush_interval_ms: u32,
    /// Counted attempts after the first, without spool_dir: 10; UINT32_MAX: none.
    pub retry_max: u32,
    /// For one whole HTTP request, the name look-up included: 15000.
    pub timeout_ms: u32,
    /// How long segment_free may deliver: 2000 (not at all: segment_shutdown(client, 0) first).
    pub shutdown_ms: u32,
    /// Requests in flight at once: 1; more is refused until it is built.
    pub uploads: u32,
    /// Part of every message's context.
    pub context: *const segment_object,
    /// Every message's integrations.
    pub integrations: *const segment_object,
    /// "http://[user:password@]host:port". Not built yet: refused; HTTPS_PROXY and its like are honoured.
    pub proxy: Text,
    /// PEM certificates to trust besides the system's. Not built yet: refused.
    pub ca_file: Text,
    /// "Name: value", ..., NULL, on every upload. Not built yet: refused.
    pub headers: *const *const c_char,
    /// OAuth 2.0. Not built yet: refused.
    pub oauth: *const segment_oauth,
    /// For segment_call to the Public API. Not built yet: refused.
    pub access_token: Text,
    /// For segment_call to the Profile API. Not built yet: refused.
    pub profile_token: Text,
    /// "https://api.segmentapis.com". Not built yet: refused.
    pub public_endpoint: Text,
    /// "https://profiles.segment.com". Not built yet: refused.
    pub profile_endpoint: Text,
    /// What became of messages. Always on the delivery thread, as on_log. Callbacks must not throw or longjmp; inside them
    /// segment_flush and segment_shutdown return SEGMENT_INVALID, and segment_free does nothing.
    pub on_delivery: Option<unsafe extern "C" fn(userdata: *mut c_void, delivery: *const segment_delivery)>,
    /// Level 0 error, 1 warning, 2 info, 3 debug.
    pub on_log: Option<unsafe extern "C" fn(userdata: *mut c_void, level: i32, message: *const c_char)>,
    /// Sees each message before it is kept. Not built yet: refused.
    pub before_send: Option<unsafe extern "C" fn(userdata: *mut c_void, json: *const c_char) -> *const c_char>,
    /// HTTP by the host. Not built yet: refused.
    pub transport: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            request: *const segment_http,
            response: *mut segment_response,
        ) -> i32,
    >,
    /// Handed to all four.
    pub userdata: *mut c_void,
}

// SAFETY: repr(C), begins with its size, has no holes (a test compiles it with -Wpadded), and all fields may be zero.
unsafe impl Sized0 for segment_config {
    const NAME: &'static str = "segment_config";
}

/// Reads the settings of a new client.
pub(crate) fn read(config: *const segment_config) -> Result<Config, Error> {
    let given = sized::read(config)?.ok_or_else(|| null("config"))?;
    refuse_unbuilt(&given)?;
    let mut config = Config::new(given.write_key.required("write_key")?);
    if let Some(endpoint) = given.endpoint.get("endpoint")? {
        config.endpoint = endpoint.to_owned();
    }
    if let Some(folder) = given.spool_dir.get("spool_dir")? {
        if folder.is_empty() {
            return Err(Error::invalid("spool_dir must not be empty"));
        }
        config.spool_dir = Some(folder.into());
    }
    config.sync = given.flags & SEGMENT_SYNC != 0;
    if config.sync && config.spool_dir.is_none() {
        return Err(Error::invalid("SEGMENT_SYNC needs spool_dir"));
    }
    if given.queue_max_bytes != 0 {
        config.queue_max_bytes = given.queue_max_bytes;
    }
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
    config.gzip = given.flags & SEGMENT_NO_GZIP == 0;
    config.dry_run = given.flags & SEGMENT_DRY_RUN != 0;
    if given.flags & SEGMENT_DROP_OLDEST != 0 {
        config.overflow = Overflow::DropOldest;
    }
    config.context = copy(given.context);
    config.integrations = copy(given.integrations);
    config.on_delivery = on_delivery(given.on_delivery, given.userdata);
    config.on_log = on_log(given.on_log, given.userdata);
    Ok(config)
}

fn copy(object: *const segment_object) -> Object {
    // SAFETY: the header asks for NULL or an object that nobody changes until the call returns.
    unsafe { object.as_ref() }.map_or_else(Object::new, |object| object.0.clone())
}

/// What cannot be honoured is refused by its name: ignoring it would be a lie.
fn refuse_unbuilt(given: &segment_config) -> Result<(), Error> {
    let flags = [
        ("SEGMENT_STATEFUL", SEGMENT_STATEFUL),
        ("SEGMENT_STRICT", SEGMENT_STRICT),
        ("SEGMENT_DEVICE_CONTEXT", SEGMENT_DEVICE_CONTEXT),
        ("SEGMENT_LIFECYCLE", SEGMENT_LIFECYCLE),
    ];
    let fields = [
        ("uploads above 1", given.uploads > 1),
        ("proxy", given.proxy.is_given()),
        ("ca_file", given.ca_file.is_given()),
        ("headers", !given.headers.is_null()),
        ("oauth", !given.oauth.is_null()),
        ("access_token", given.access_token.is_given()),
        ("profile_token", given.profile_token.is_given()),
        ("public_endpoint", given.public_endpoint.is_given()),
        ("profile_endpoint", given.profile_endpoint.is_given()),
        ("before_send", given.before_send.is_some()),
        ("transport", given.transport.is_some()),
    ];
    let known = SEGMENT_NO_GZIP | SEGMENT_DRY_RUN | SEGMENT_DROP_OLDEST | SEGMENT_SYNC;
    let known = flags.iter().fold(known, |known, (_, flag)| known | flag);
    if given.flags & !known != 0 {
        return Err(Error::invalid(format!("flags has unknown bits: {:#x}", given.flags & !known)));
    }
    let flags = flags.into_iter().map(|(name, flag)| (name, given.flags & flag != 0));
    match flags.chain(fields).find(|(_, given)| *given) {
        Some((name, _)) => Err(Error::invalid(format!("{name} is not built yet in this version"))),
        None => Ok(()),
    }
}
