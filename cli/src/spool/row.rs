//! One file of a spool, as it is listed.

use std::path::Path;

use segment_native::bindings::survey::{File, Kind};
use serde::Serialize;

/// What is said of a file. What is not known is null.
#[derive(Serialize)]
pub(crate) struct Row {
    /// Its path below the folder of its queue.
    pub(crate) file: String,
    /// `waiting`, `rejected`, or `newer`: in a format that this version cannot read.
    pub(crate) kind: &'static str,
    /// ISO 8601 in UTC.
    pub(crate) created: Option<String>,
    #[serde(skip)]
    pub(crate) created_ms: Option<i64>,
    pub(crate) messages: Option<usize>,
    pub(crate) damaged_lines: Option<usize>,
    /// Of the lines.
    pub(crate) bytes: Option<u64>,
    /// On the disk.
    pub(crate) file_bytes: u64,
    /// Of what waits: whether a client takes care of it right now.
    pub(crate) owner_runs: Option<bool>,
    /// Of what was rejected: why.
    pub(crate) reason: Option<String>,
    /// Why it could not be read.
    pub(crate) error: Option<String>,
}

impl Row {
    /// Reads a file of a queue; none if it is gone already.
    pub(crate) fn of(file: &File, queue: &Path) -> Option<Self> {
        let mut row = Row {
            file: file.path.strip_prefix(queue).unwrap_or(&file.path).to_string_lossy().into_owned(),
            kind: "newer",
            created: file.created(),
            created_ms: file.created_ms,
            messages: None,
            damaged_lines: None,
            bytes: None,
            file_bytes: file.file_bytes,
            owner_runs: None,
            reason: None,
            error: None,
        };
        match &file.kind {
            Kind::Waiting => row.kind = "waiting",
            Kind::Rejected { reason } => {
                row.kind = "rejected";
                row.reason = reason.clone();
            }
            _ => return Some(row),
        }
        match file.read() {
            Ok(content) => {
                let content = content?;
                row.messages = Some(content.messages.len());
                row.damaged_lines = Some(content.damaged_lines);
                row.bytes = Some(content.bytes);
                row.owner_runs = (row.kind == "waiting").then_some(content.owner_runs);
            }
            Err(error) => row.error = Some(error.to_string()),
        }
        Some(row)
    }
}
