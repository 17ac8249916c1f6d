//! What is in a spool folder, as it is listed.

use serde::Serialize;

use crate::spool::row::Row;

/// All that is in the folder.
#[derive(Serialize)]
pub(crate) struct Listing {
    pub(crate) queues: Vec<Queue>,
    pub(crate) total: Total,
}

/// What one write key has for one endpoint.
#[derive(Serialize)]
pub(crate) struct Queue {
    pub(crate) queue: String,
    pub(crate) path: String,
    pub(crate) files: Vec<Row>,
    /// Until when nothing is sent, and why.
    pub(crate) paused_until: Option<String>,
    pub(crate) pause_reason: Option<String>,
}

/// The sums.
#[derive(Serialize, Default)]
pub(crate) struct Total {
    pub(crate) waiting: Sum,
    pub(crate) rejected: Sum,
    pub(crate) damaged_lines: usize,
    pub(crate) unreadable_files: usize,
    pub(crate) newer_files: usize,
}

#[derive(Serialize, Default)]
pub(crate) struct Sum {
    pub(crate) files: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Listing {
    /// With the sums.
    pub(crate) fn of(queues: Vec<Queue>) -> Self {
        let mut total = Total::default();
        queues.iter().flat_map(|queue| &queue.files).for_each(|row| total.add(row));
        Listing { queues, total }
    }
}

impl Total {
    fn add(&mut self, row: &Row) {
        self.damaged_lines += row.damaged_lines.unwrap_or_default();
        self.unreadable_files += usize::from(row.error.is_some());
        let sum = match row.kind {
            "waiting" => &mut self.waiting,
            "rejected" => &mut self.rejected,
            _ => {
                self.newer_files += 1;
                return;
            }
        };
        sum.files += 1;
        sum.messages += row.messages.unwrap_or_default();
        sum.bytes += row.bytes.unwrap_or_default();
    }
}
