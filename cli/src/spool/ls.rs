//! `segment spool ls`: the files, and what is in them.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use segment_native::survey;
use serde::Serialize;

use crate::spool::row::Row;
use crate::spool::{table, unless_closed};

/// List what is in a spool folder
///
/// Each file is a line: when it was begun (UTC), its age, how many messages and bytes are in it, how many lines are
/// damaged, and whether the client that takes care of it is running; or why its messages were given up. Where nothing
/// is sent for now, it says until when, and why.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

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

/// Prints the list.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let queues = survey::queues(&options.folder)?;
    let queues = queues.into_iter().map(|queue| Queue {
        queue: queue.name,
        path: queue.path.to_string_lossy().into_owned(),
        files: queue.files.iter().filter_map(|file| Row::of(file, &queue.path)).collect(),
        paused_until: queue.pause.as_ref().map(survey::Pause::until),
        pause_reason: queue.pause.and_then(|pause| pause.reason),
    });
    let listing = Listing::of(queues.collect());
    let page = if options.json { serde_json::to_string(&listing)? + "\n" } else { table::page(&listing) };
    let mut out = anstream::stdout();
    unless_closed(out.write_all(page.as_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

impl Listing {
    fn of(queues: Vec<Queue>) -> Self {
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
