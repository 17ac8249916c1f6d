//! `segment spool send`: deliver what clients that are gone have left.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use segment_native::survey::{self, Kind};
use segment_native::{Client, EU_ENDPOINT, Stats, US_ENDPOINT};
use serde_json::json;
use uuid::Uuid;

use crate::complain;
use crate::connection::{Connection, seconds, trouble};
use crate::interrupt;
use crate::one;
use crate::shipment::GLANCE;
use crate::spool::human;

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
    let own = queue_name(&config.endpoint, &config.write_key);
    let queues = survey::queues(&options.folder)?;
    // The folder may be one queue; then it is the client that finds it.
    let is_queue = queues.iter().any(|queue| queue.path == options.folder);
    let absolute = std::path::absolute(&options.folder)?;
    let spool = if is_queue { absolute.parent().unwrap_or(&absolute).to_owned() } else { absolute };
    let before: BTreeSet<String> = survey::queues(&spool)?.into_iter().map(|queue| queue.name).collect();
    config.spool_dir = Some(spool.clone());
    interrupt::watch()?;
    let client = Client::new(config).map_err(|error| trouble(&error))?;
    let until = Instant::now() + options.wait;
    while client.flush(GLANCE).is_err() && Instant::now() < until && !interrupt::came() {}
    let stats = client.stats();
    let _ = client.shutdown(Duration::ZERO); // what is left stays
    drop(client);
    remove_new(&spool, &before);
    let left = Waiting::in_folder(&options.folder, &own)?;
    report(options, &stats, &left)?;
    let all = left.ours == 0 && stats.failed == 0 && (stats.delivered > 0 || left.others == 0);
    Ok(match all {
        true => ExitCode::SUCCESS,
        false if interrupt::came() && left.ours > 0 => ExitCode::from(interrupt::ENDED as u8),
        false => ExitCode::FAILURE,
    })
}

fn report(options: &Options, stats: &Stats, left: &Waiting) -> io::Result<()> {
    if options.json {
        return one::say(
            &json!({
                "delivered": stats.delivered,
                "refused": stats.failed,
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
    if stats.failed > 0 {
        sentence += &format!(", {} refused and kept in rejected/", stats.failed);
    }
    if left.ours > 0 {
        sentence += &format!(", {} left", left.ours);
    }
    one::say(&sentence)
}

/// A client makes the folder of its queue; where that is for nothing it should not stay.
fn remove_new(spool: &Path, before: &BTreeSet<String>) {
    for queue in survey::queues(spool).unwrap_or_default() {
        if !before.contains(&queue.name) && queue.path != spool {
            let _ = std::fs::remove_dir(&queue.path); // only if it is empty
        }
    }
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

/// The folder that a client with these settings uses: a hash of where it sends and of its key.
fn queue_name(endpoint: &str, write_key: &str) -> String {
    let base = match endpoint {
        "" => US_ENDPOINT,
        eu if eu.eq_ignore_ascii_case("eu") => EU_ENDPOINT,
        url => url,
    };
    let base = base.strip_suffix('/').unwrap_or(base);
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let name = format!("{base}/v1/batch#{write_key}");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use segment_native::Config;

    use super::*;

    #[test]
    fn the_folder_is_the_one_that_a_client_makes() {
        let spool = std::env::temp_dir().join(format!("segment-spool-send-{}", std::process::id()));
        for endpoint in ["http://127.0.0.1:1", "http://127.0.0.1:1/x/v1/"] {
            let config = Config {
                endpoint: endpoint.to_owned(),
                spool_dir: Some(spool.clone()),
                shutdown: Duration::ZERO,
                ..Config::new("wk")
            };
            let client = Client::new(config).expect("good settings");
            client.track("u", "E", None, None).expect("taken");
            let made: Vec<String> =
                survey::queues(&spool).expect("there").into_iter().map(|queue| queue.name).collect();
            drop(client);
            std::fs::remove_dir_all(&spool).expect("removed");
            assert_eq!(made, [queue_name(endpoint, "wk")], "{endpoint}");
        }
    }
}
