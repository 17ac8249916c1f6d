//! The client: made, flushed, shut down, freed, asked for its counts.

// The counts are written to the caller's struct, and a sentence to its buffer; a client is freed while callbacks may be
// using it.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::time::Duration;

use segment_native::{Client, Error, Stats, bindings};

use crate::config::{self, segment_config};
use crate::error::{guard, guard_or, null, segment_status};
use crate::sized::{self, Sized0};
use crate::text;

/// A queue, and the thread that delivers it.
pub struct segment_client(pub(crate) Client);

/// Counts of messages since the client was made. accepted == delivered + failed + dropped + queued,
/// always: nothing disappears uncounted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct segment_stats {
    /// sizeof(segment_stats), set by you.
    pub size: u32,
    /// None yet: written as 0, and not read.
    pub flags: u32,
    /// Calls that returned SEGMENT_OK, and messages found in the spool.
    pub accepted: u64,
    /// Acknowledged by Segment.
    pub delivered: u64,
    /// Refused for good, or given up.
    pub failed: u64,
    /// Oldest dropped for room, dropped by before_send, thrown away because the user opted out, or
    /// held (SEGMENT_ASK_FIRST) when the client ended.
    pub dropped: u64,
    /// Waiting now.
    pub queued: u64,
    /// The size of what is waiting.
    pub queued_bytes: u64,
    /// Calls that did not return SEGMENT_OK.
    pub refused: u64,
    /// Of accepted: found in the spool.
    pub recovered: u64,
    /// HTTP requests.
    pub requests: u64,
    /// HTTP requests that repeated an earlier one.
    pub retries: u64,
    /// Of queued: would not survive a kill.
    pub in_memory: u64,
    /// When a batch was acknowledged last, in milliseconds since 1970; 0: none was.
    pub last_success_ms: i64,
    /// Until when nothing is sent because the server demanded a pause, in milliseconds since 1970;
    /// 0: there is none.
    pub paused_until_ms: i64,
    /// The HTTP status of the last answer to a batch; 0: there was none.
    pub last_http_status: u32,
    /// How many requests for messages are under way.
    pub uploads: u32,
    /// Of queued: held until the user has answered, with SEGMENT_ASK_FIRST.
    pub held: u64,
    /// Of failed: those whose lines in spool_dir were damaged.
    pub damaged: u64,
}

// SAFETY: repr(C), begins with its size, has no holes, and all fields may be zero.
unsafe impl Sized0 for segment_stats {
    const NAME: &'static str = "segment_stats";
}

impl From<Stats> for segment_stats {
    fn from(stats: Stats) -> Self {
        segment_stats {
            size: size_of::<segment_stats>() as u32,
            flags: 0,
            accepted: stats.accepted,
            delivered: stats.delivered,
            failed: stats.failed,
            dropped: stats.dropped,
            queued: stats.queued,
            queued_bytes: stats.queued_bytes,
            refused: stats.refused,
            recovered: stats.recovered,
            requests: stats.requests,
            retries: stats.retries,
            in_memory: stats.in_memory,
            last_success_ms: stats.last_success_ms.unwrap_or_default(),
            paused_until_ms: stats.paused_until_ms.unwrap_or_default(),
            last_http_status: stats.last_http_status.map_or(0, u32::from),
            uploads: stats.uploads,
            held: stats.held,
            damaged: stats.damaged,
        }
    }
}

pub(crate) fn required(client: Option<&segment_client>) -> Result<&Client, Error> {
    client.map(|client| &client.0).ok_or_else(|| null("client"))
}

fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// A new client, or NULL: segment_error() says why. Without spool_dir nothing is sent and no thread
/// started before the first message. Free it with segment_free.
///   config  Copied: it may go when the call returns.
#[unsafe(no_mangle)]
pub extern "C" fn segment_new(config: *const segment_config) -> Option<Box<segment_client>> {
    guard_or(None, || Ok(Some(Box::new(segment_client(Client::new(config::read(config)?)?)))))
}

/// Sends what waits. SEGMENT_OK when every message accepted before the call is settled (delivered,
/// failed or dropped) and its on_delivery has run, SEGMENT_TIMEOUT otherwise. It cuts a wait after
/// a failure short, at most twice a second, and never a Retry-After.
///   timeout_ms  0 starts it and does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn segment_flush(client: Option<&segment_client>, timeout_ms: u32) -> segment_status {
    guard(|| required(client)?.flush(milliseconds(timeout_ms)))
}

/// Takes no more messages, and goes on delivering for this long: SEGMENT_OK when nothing is queued,
/// else SEGMENT_TIMEOUT. May be repeated.
///   timeout_ms  0 does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn segment_shutdown(client: Option<&segment_client>, timeout_ms: u32) -> segment_status {
    guard(|| required(client)?.shutdown(milliseconds(timeout_ms)))
}

/// Shuts down with the config's shutdown_ms, unless segment_shutdown was called before, then frees.
/// What could not be delivered is kept by the spool or, without one, reported to on_delivery as
/// SEGMENT_TIMEOUT; it then counts as failed. It waits for a callback that is already running, the
/// one exception to its deadline; no callback runs after it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_free(client: *mut segment_client) {
    guard_or((), || {
        // SAFETY: the header asks for NULL, or for a client from `segment_new` that was not freed. It is not a `Box`
        // yet: a callback that is running may use the client until it returns.
        let Some(shared) = (unsafe { client.as_ref() }) else { return Ok(()) };
        if bindings::is_in_callback(&shared.0) {
            // The code that runs the callback is still using the client, and must be able to return to it.
            return Err(Error::invalid("segment_free must not be called from a callback of the same client"));
        }
        bindings::end(&shared.0);
        // SAFETY: `segment_new` made it in a `Box`. No callback runs any more, and no other thread uses it.
        drop(unsafe { Box::from_raw(client) });
        Ok(())
    });
}

/// Sends nothing from now on, until segment_resume: in a match, say, or on a metered connection.
/// All messages are kept, and more are taken while there is room; a request that is under way may
/// end. segment_flush and segment_shutdown return SEGMENT_TIMEOUT at once while anything waits. The
/// pause ends with the client; a forked child starts in its parent's state.
#[unsafe(no_mangle)]
pub extern "C" fn segment_pause(client: Option<&segment_client>) -> segment_status {
    guard(|| {
        required(client)?.pause();
        Ok(())
    })
}

/// Ends the pause: what waits is sent.
#[unsafe(no_mangle)]
pub extern "C" fn segment_resume(client: Option<&segment_client>) -> segment_status {
    guard(|| {
        required(client)?.resume();
        Ok(())
    })
}

/// Why nothing arrives: what stands in the way right now, as a sentence for people ("Segment
/// answered with status 403 at 12:03:05 UTC; 210 messages wait; next try in 40 s"). Returns its
/// length without the NUL; 0: no known problem, or an error.
///   buffer    For a copy with a NUL, cut if it is longer. May be NULL with a capacity of 0.
///   capacity  How many bytes may be written there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_last_problem(
    client: Option<&segment_client>,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    guard_or(0, || {
        let problem = required(client).map(|client| client.last_problem().unwrap_or_default());
        let whole = problem.as_ref().map_or("", String::as_str);
        // What is cut does not end in half a character.
        let fits = (0..capacity.min(whole.len() + 1)).rfind(|end| whole.is_char_boundary(*end)).unwrap_or_default();
        // SAFETY: the header asks for NULL or `capacity` bytes that can be written.
        unsafe { text::copy_out(&whole[..fits], buffer, capacity) }?;
        problem.map(|problem| problem.len())
    })
}

/// Writes the counts, as many as the size of the struct says.
///   stats  SEGMENT_STATS_INIT, or one that was filled before.
#[unsafe(no_mangle)]
pub extern "C" fn segment_get_stats(client: Option<&segment_client>, stats: *mut segment_stats) -> segment_status {
    guard(|| {
        let client = required(client)?;
        if stats.is_null() {
            return Err(null("stats"));
        }
        sized::write(stats, &client.stats().into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names of a struct's fields.
    fn fields(shown: &str) -> BTreeSet<&str> {
        let inside = shown.split_once("{ ").expect("fields").1;
        inside.split(", ").filter_map(|field| field.split_once(": ")).map(|(name, _)| name).collect()
    }

    #[test]
    fn c_is_told_every_count() {
        let stats = Stats::default();
        let (core, c) = (format!("{stats:?}"), format!("{:?}", segment_stats::from(stats)));
        let mut expected = fields(&core);
        expected.extend(["size", "flags"]);
        assert!(expected.len() > 15, "{core}");
        assert_eq!(fields(&c), expected);
    }
}
