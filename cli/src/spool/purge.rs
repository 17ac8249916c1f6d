//! `segment spool purge`: away with messages.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use segment_native::bindings::survey::{self, Kind};

use crate::human;
use crate::spool::gone;
use crate::terminal::{self, complain};

/// Delete messages of clients that are gone, without sending them
///
/// Without --yes it only says what it would delete. What a running client has is left to it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only what was given up
    #[arg(long)]
    rejected: bool,
    /// Only what is older
    #[arg(long, value_name = "DAYS", value_parser = days)]
    older_than: Option<Duration>,
    /// Really delete it
    #[arg(long)]
    yes: bool,
}

fn days(text: &str) -> Result<Duration, String> {
    let days = text.parse::<f64>().ok().filter(|days| (0.0..1e6).contains(days));
    days.map(|days| Duration::from_secs_f64(days * 86_400.0)).ok_or_else(|| "must be a number of days".to_owned())
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut queues = survey::queues(&options.folder)?;
    for queue in &mut queues {
        queue.files.retain(|file| options.is_meant(file));
    }
    let rejected: Vec<survey::File> = queues
        .iter()
        .flat_map(|queue| queue.files.iter().filter(|file| matches!(file.kind, Kind::Rejected { .. })).cloned())
        .collect();
    let is_there = |file: &&survey::File| file.path.exists();
    let (mut files, mut messages, mut living) = (0, 0, 0);
    let mut add = |file: &survey::File| {
        files += 1;
        messages += file.read().ok().flatten().map_or(0, |content| content.messages.len());
    };
    if !options.yes {
        // Nothing is held, nothing is made: whether a client runs can be seen.
        let waiting = queues.iter().flat_map(|queue| &queue.files).filter(|file| file.kind == Kind::Waiting);
        for file in waiting {
            match file.read() {
                Ok(Some(content)) if content.owner_runs => living += 1,
                Ok(None) => {}
                _ => add(file),
            }
        }
        rejected.iter().for_each(&mut add);
    } else {
        let (waiting, left) = gone::hold(&queues)?;
        living = left;
        for gone in waiting {
            gone.files.iter().filter(is_there).for_each(&mut add);
            gone.remove(options.older_than.is_none())?;
        }
        for file in &rejected {
            add(file);
            gone::remove_rejected(file)?;
        }
    }
    if living > 0 {
        complain(&format!("{} left to clients that run", human::count(living, "file")));
    }
    let what = format!("{} in {}", human::count(messages, "message"), human::count(files, "file"));
    terminal::say(&if options.yes { format!("deleted: {what}") } else { format!("--yes would delete: {what}") })?;
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn is_meant(&self, file: &survey::File) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_old = self.older_than.is_none_or(|age| {
            // What does not say its age is not known to be old.
            file.created_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .is_some_and(|ms| now.saturating_sub(Duration::from_millis(ms)) > age)
        });
        let is_kind = matches!(file.kind, Kind::Rejected { .. }) || !self.rejected && file.kind == Kind::Waiting;
        is_old && is_kind
    }
}
