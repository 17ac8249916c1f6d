//! `segment import`: a history, checked, sent at a measured pace, and never twice.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use segment_native::Config;

use crate::complain;
use crate::connection::Connection;
use crate::input::Input;
use crate::interrupt;
use clock::Form;
use job::Job;
use report::Report;
use rows::Format;
use shard::Shard;
use target::Target;
use transfer::Transfer;

mod bar;
mod check;
mod clock;
mod job;
mod journal;
mod mapping;
mod rate;
mod refused;
mod report;
mod rows;
mod shard;
mod stable;
mod table;
mod target;
mod transfer;
mod tree;

pub(crate) use bar::aside;

/// Half of what Segment allows a workspace, so that the live events have the other half.
const SAFE_RATE: f64 = 500.0;

/// Import history: JSON Lines of whole messages, or CSV
///
/// First every row is checked, and what Segment would refuse is told with its line. Then the rows are sent. A journal
/// beside each FILE says how far it has come: after Ctrl-C, a crash or an outage, the same command goes on where it
/// stopped. Message ids depend on the content only, so that Segment drops what comes twice.
///
/// CSV: columns called userId, user_id, event, timestamp, properties.price, traits.address.city, ... go where their
/// names say, all others become properties or traits. --map and --set say it otherwise: --set type=track --map
/// userId=customer --map properties.zip:string=zip.
///
/// Ends with 0 if Segment has all rows, with 1 if some were refused, with 2 if it had to stop, with 130 after Ctrl-C.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Files, plain or packed with gzip; - is standard input, which is not checked first and has a journal only with
    /// --journal
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// How the rows are written [default: csv for names that end with .csv or .tsv, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between two columns [default: a tab in .tsv, else a comma]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,
    /// Where a column goes: userId=customer, properties.zip:string=zip; types are string, number, boolean and json
    #[arg(long, value_name = "FIELD[:TYPE]=COLUMN", value_parser = pair)]
    map: Vec<(Target, String)>,
    /// What all rows have that do not say it themselves: type=track
    #[arg(long, value_name = "FIELD[:TYPE]=VALUE", value_parser = set)]
    set: Vec<(Target, String)>,
    /// Leave columns out that --map does not name
    #[arg(long)]
    only_mapped: bool,
    /// The column (or member of a message) that is different in each row: message ids are made of it
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// How times are written
    #[arg(long, value_enum, default_value_t = Form::Iso, value_name = "FORM")]
    time: Form,
    /// At most so many events a second; 0 is no limit. Segment asks for less than 1000 a second from a workspace, live
    /// events included
    #[arg(long, value_name = "EVENTS", default_value_t = SAFE_RATE, value_parser = per_second)]
    rate: f64,
    /// Only every n-th row, beginning with the i-th: on each of n machines another i
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// How often a request is tried again before the import stops
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,
    /// Only check
    #[arg(long)]
    dry_run: bool,
    /// Send nothing if a row would be refused
    #[arg(long)]
    strict: bool,
    /// Send without checking all rows first; each is still checked before it is sent
    #[arg(long, conflicts_with_all = ["dry_run", "strict"])]
    no_check: bool,
    /// The folder for the journal and the refused rows [default: that of the file]
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Forget how far it had come, and begin at the first row
    #[arg(long)]
    anew: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Print the sums as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn pair(text: &str) -> Result<(Target, String), String> {
    let (target, value) = text.split_once('=').ok_or("must be FIELD=COLUMN")?;
    Ok((target.parse()?, value.to_owned()))
}

fn set(text: &str) -> Result<(Target, String), String> {
    let (target, value) = pair(text)?;
    target.kind.json(&value).map_err(|demand| format!("the value {demand}"))?;
    Ok((target, value))
}

fn per_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && (*rate == 0.0 || *rate >= 0.001));
    rate.ok_or_else(|| "must be a number of events a second, or 0".to_owned())
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let key = options.key()?;
    let mut jobs = Vec::new();
    for (at, file) in options.files.iter().enumerate() {
        let input = Input::named(file);
        if jobs.iter().any(|job: &Job| job.input == input) {
            return Err(io::Error::other(format!("{} is named twice", options.files[at])));
        }
        jobs.push(Job::open(options, input, &key)?);
    }
    interrupt::watch()?;
    for job in &mut jobs {
        if !job.check(options, &key)? {
            complain("interrupted while checking; nothing was sent");
            return Ok(ExitCode::from(interrupt::ENDED as u8));
        }
    }
    let checks = jobs.iter().filter_map(|job| job.check.as_ref());
    let (rows, refused) = checks.fold((0, 0), |(rows, refused), check| (rows + check.rows, refused + check.refused));
    let stays = match (rows, refused) {
        _ if options.dry_run => true,
        (1.., 1..) if options.strict => {
            complain("nothing was sent, because some rows would be refused");
            true
        }
        // Of a file that has grown, the rows before were good: then it is no mistake of format.
        (1.., _) if rows == refused && jobs.iter().all(|job| job.progress().delivered == 0) => {
            complain("nothing was sent, because all rows would be refused");
            true
        }
        _ => false,
    };
    if stays {
        let reports = jobs.into_iter().map(|job| Report::unsent(job, options.dry_run)).collect();
        report::say(options.json, reports)?;
        return Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut reports = Vec::new();
    for job in jobs {
        reports.push(Transfer::run(options, job)?);
        if interrupt::came() || reports.last().is_some_and(|report| report.error.is_some()) {
            break;
        }
    }
    let stopped = reports.iter().any(|report| report.error.is_some());
    let some_refused = reports.iter().any(|report| report.refused > 0);
    let all_done = reports.len() == options.files.len() && reports.iter().all(|report| report.done);
    report::say(options.json, reports)?;
    Ok(match (stopped, all_done, some_refused) {
        (true, _, _) => crate::spool::trouble(),
        (_, false, _) => ExitCode::from(interrupt::ENDED as u8),
        (_, _, true) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

impl Options {
    /// A check alone needs no key.
    fn key(&self) -> io::Result<String> {
        match &self.connection.write_key {
            None if self.dry_run => Ok("none".to_owned()),
            _ => Ok(self.connection.config()?.write_key),
        }
    }

    fn config(&self) -> io::Result<Config> {
        let mut config = self.connection.config()?;
        config.retry_max = self.retries;
        config.flush_at = 500;
        config.flush_interval = Duration::from_secs(1);
        Ok(config)
    }
}
