//! What an import is asked to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use segment_native::Config;

use crate::connection::Connection;
use crate::import::clock::Form;
use crate::import::rows::Format;
use crate::import::shard::Shard;
use crate::import::target::Target;

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
    pub(super) files: Vec<String>,
    /// How the rows are written [default: csv for names that end with .csv or .tsv, else jsonl]
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
    /// What stands between two columns [default: a tab in .tsv, else a comma]
    #[arg(long, value_name = "CHARACTER")]
    pub(super) delimiter: Option<char>,
    /// Where a column goes: userId=customer, properties.zip:string=zip; types are string, number, boolean and json
    #[arg(long, value_name = "FIELD[:TYPE]=COLUMN", value_parser = pair)]
    pub(super) map: Vec<(Target, String)>,
    /// What all rows have that do not say it themselves: type=track
    #[arg(long, value_name = "FIELD[:TYPE]=VALUE", value_parser = set)]
    pub(super) set: Vec<(Target, String)>,
    /// Leave columns out that --map does not name
    #[arg(long)]
    pub(super) only_mapped: bool,
    /// The column (or member of a message) that is different in each row: message ids are made of it
    #[arg(long, value_name = "COLUMN")]
    pub(super) id_column: Option<String>,
    /// How times are written
    #[arg(long, value_enum, default_value_t = Form::Iso, value_name = "FORM")]
    pub(super) time: Form,
    /// At most so many events a second; 0 is no limit. Segment asks for less than 1000 a second from a workspace, live
    /// events included
    #[arg(long, value_name = "EVENTS", default_value_t = SAFE_RATE, value_parser = per_second)]
    pub(super) rate: f64,
    /// Only every n-th row, beginning with the i-th: on each of n machines another i
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub(super) shard: Shard,
    /// How often a request is tried again before the import stops
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) retries: u32,
    /// Only check
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Send nothing if a row would be refused
    #[arg(long)]
    pub(super) strict: bool,
    /// Send without checking all rows first; each is still checked before it is sent
    #[arg(long, conflicts_with_all = ["dry_run", "strict"])]
    pub(super) no_check: bool,
    /// The folder for the journal and the refused rows [default: that of the file]
    #[arg(long, value_name = "DIR")]
    pub(super) journal: Option<PathBuf>,
    /// Forget how far it had come, and begin at the first row
    #[arg(long)]
    pub(super) anew: bool,
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,
    /// Print the sums as JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
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

impl Options {
    /// A check alone needs no key.
    pub(super) fn key(&self) -> io::Result<String> {
        match &self.connection.write_key {
            None if self.dry_run => Ok("none".to_owned()),
            _ => Ok(self.connection.config()?.write_key),
        }
    }

    pub(super) fn config(&self) -> io::Result<Config> {
        let mut config = self.connection.config()?;
        config.retry_max = self.retries;
        config.flush_at = 500;
        config.flush_interval = Duration::from_secs(1);
        Ok(config)
    }
}
