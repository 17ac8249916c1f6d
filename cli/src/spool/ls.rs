//! `segment spool ls`: the files, and what is in them.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use segment_native::bindings::survey;

use crate::spool::listing::{Listing, Queue};
use crate::spool::row::Row;
use crate::spool::table;
use crate::terminal::unless_closed;

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
