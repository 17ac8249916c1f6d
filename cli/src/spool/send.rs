//! `segment spool send`: deliver what clients that are gone have left.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use segment_native::bindings::survey::{self, Kind};
use segment_native::{Client, Stats};
use serde_json::json;

use crate::connection::{Connection, seconds, trouble};
use crate::human;
use crate::interrupt;
use crate::shipment::GLANCE;
use crate::terminal::{self, complain};

/// Deliver what clients that are gone have left in a folder
///
/// Only what was meant for this write key and this endpoint is sent; what a running client has is left to it. What is
/// not delivered stays in the folder. Ends with 0 if all that was meant is delivered, with 1 if something is left or
/// was refused, with 130 if Ctrl-C left something.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How long to go on trying
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    wait: Duration,
    /// Print the sums as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What waits in a folder.
#[derive(Default)]
struct Waiting {
    /// Messages of clients that are gone, for our write key and endpoint.
    ours: usize,
    /// The same for others.
    others: usize,
    /// Files of clients that run.
    living: usize,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut config = options.connection.config()?;
    let own = survey::queue_name(&config.endpoint, &config.write_key).map_err(|error| trouble(&error))?;
    let queues = survey::queues(&options.folder)?;
    if !queues.iter().any(|queue| queue.name == own) {
        // A client would make a folder for nothing.
        return end(options, &Stats::default(), &own);
    }
    config.spool_dir = Some(survey::spool_dir(&options.folder)?);
    interrupt::watch()?;
    let client = Client::new(config).map_err(|error| trouble(&error))?;
    let until = Instant::now() + options.wait;
    while client.flush(GLANCE).is_err() && Instant::now() < until && !interrupt::came() {}
    let stats = client.stats();
    let _ = client.shutdown(Duration::ZERO); // what is left stays
    drop(client);
    end(options, &stats, &own)
}

/// Says what came of it.
fn end(options: &Options, stats: &Stats, own: &str) -> io::Result<ExitCode> {
    let left = Waiting::in_folder(&options.folder, own)?;
    report(options, stats, &left)?;
    let all = left.ours == 0 && stats.failed == 0 && (stats.delivered > 0 || left.others == 0);
    Ok(match all {
        true => ExitCode::SUCCESS,
        false if interrupt::came() && left.ours > 0 => ExitCode::from(interrupt::ENDED as u8),
        false => ExitCode::FAILURE,
    })
}

fn report(options: &Options, stats: &Stats, left: &Waiting) -> io::Result<()> {
    if options.json {
        return terminal::say(
            &json!({
                "delivered": stats.delivered,
                "refused": stats.failed - stats.damaged,
                "damaged": stats.damaged,
                "left": left.ours,
                "ofOthers": left.others,
                "filesOfRunningClients": left.living,
            })
            .to_string(),
        );
    }
    if left.living > 0 {
        complain(&format!("{} left to clients that run", human::count(left.living, "file")));
    }
    if left.others > 0 {
        let messages = human::count(left.others, "message");
        complain(&format!("{messages} left, meant for another write key or another endpoint"));
    }
    let mut sentence = format!("{} delivered", human::count(usize::try_from(stats.delivered).unwrap_or(0), "message"));
    let refused = stats.failed - stats.damaged;
    if refused > 0 {
        sentence += &format!(", {refused} refused and kept in rejected/");
    }
    if stats.damaged > 0 {
        sentence += &format!(", {} damaged and kept in rejected/", stats.damaged);
    }
    if left.ours > 0 {
        sentence += &format!(", {} left", left.ours);
    }
    terminal::say(&sentence)
}

impl Waiting {
    fn in_folder(folder: &Path, own: &str) -> io::Result<Self> {
        let mut waiting = Waiting::default();
        for queue in survey::queues(folder)? {
            for file in queue.files.iter().filter(|file| file.kind == Kind::Waiting) {
                match file.read() {
                    Ok(Some(content)) if content.owner_runs => waiting.living += 1,
                    Ok(Some(content)) if queue.name == own => waiting.ours += content.messages.len(),
                    Ok(Some(content)) => waiting.others += content.messages.len(),
                    _ => {}
                }
            }
        }
        Ok(waiting)
    }
}
