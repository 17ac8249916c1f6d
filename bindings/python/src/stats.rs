//! The counts of a client.

use pyo3::prelude::*;

/// Counts of messages since the client was made: `accepted == delivered + failed + dropped + queued` at every moment.
#[pyclass(frozen, get_all, module = "segment_native._native")]
pub(crate) struct Stats {
    /// Calls that succeeded, and messages found in the spool.
    accepted: u64,
    /// Acknowledged by Segment.
    delivered: u64,
    /// Refused for good, or given up.
    failed: u64,
    /// Dropped for room, by `before_send`, or because the user opted out.
    dropped: u64,
    /// Waiting now.
    queued: u64,
    /// The size of what is waiting.
    queued_bytes: u64,
    /// Calls that failed.
    refused: u64,
    /// Of accepted: found in the spool.
    recovered: u64,
    /// HTTP requests.
    requests: u64,
    /// HTTP requests that repeated an earlier one.
    retries: u64,
    /// Of the queued: those that would not survive the process.
    in_memory: u64,
    /// Of the queued: those that are held until the user has answered (`ask_first`).
    held: u64,
    /// The HTTP status of the last answer to a batch.
    last_http_status: Option<u16>,
    /// When a batch was acknowledged last, in milliseconds since 1970.
    last_success_ms: Option<i64>,
    /// Until when nothing is sent because the server demanded a pause, in milliseconds since 1970.
    paused_until_ms: Option<i64>,
    /// How many requests for messages are under way.
    uploads: u32,
    /// Of the failed: those whose lines in the spool were damaged.
    damaged: u64,
}

impl From<segment_native::Stats> for Stats {
    fn from(stats: segment_native::Stats) -> Self {
        Stats {
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
            held: stats.held,
            last_http_status: stats.last_http_status,
            last_success_ms: stats.last_success_ms,
            paused_until_ms: stats.paused_until_ms,
            uploads: stats.uploads,
            damaged: stats.damaged,
        }
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "<Stats accepted={} delivered={} failed={} dropped={} queued={} refused={}>",
            self.accepted, self.delivered, self.failed, self.dropped, self.queued, self.refused
        )
    }
}
