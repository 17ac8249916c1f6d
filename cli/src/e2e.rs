//! `segment e2e`: the program that Segment's own tests of SDKs drive.
//!
//! The contract: `--input` is one JSON object with `writeKey`, `apiHost`, `sequences` of events and a `config`. Logs go
//! to standard error. The last line of standard output is `{"success":...,"sentBatches":...,"error":...}`; `success` is
//! false if any event was not delivered in the end. The exit status is 0 or 1.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use segment_native::{Call, Client, Config, Level};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::lock::lock;
use crate::terminal::complain;

/// Be the adapter between Segment's end-to-end tests of SDKs and this library
///
/// --input is {"writeKey":"...","apiHost":"...","sequences":[{"delayMs":0,"events":[...]}],"config":{"flushAt":20,
/// "flushInterval":10000,"maxRetries":10,"timeout":75}}; flushInterval in milliseconds, timeout, for everything after
/// the last event, in seconds. The last line of output says {"success":true,"sentBatches":1}.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to send, and how
    // Without a value it is as if it were missing: the tests read the line that says so.
    #[arg(long, value_name = "JSON", num_args = 0..=1, default_missing_value = "", allow_hyphen_values = true)]
    input: Option<String>,
    /// Say on standard error what happens
    #[arg(long)]
    debug: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    write_key: String,
    api_host: Option<String>,
    #[serde(default)]
    sequences: Vec<Sequence>,
    #[serde(default)]
    config: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sequence {
    #[serde(default)]
    delay_ms: f64,
    #[serde(default)]
    events: Vec<Box<RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    flush_at: Option<u32>,
    flush_interval: Option<f64>,
    max_retries: Option<u32>,
    timeout: Option<f64>,
}

/// How long to wait for everything to be delivered, if the input does not say so.
const TIMEOUT: f64 = 75.0;

/// A longer wait is a mistake.
const LONGEST_SECONDS: f64 = 86_400.0;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    success: bool,
    sent_batches: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let outcome = match options.input.as_deref() {
        None | Some("") => Outcome::failed("--input is missing"),
        Some(input) => match serde_json::from_str::<Input>(input) {
            Err(error) => Outcome::failed(&format!("--input cannot be read: {error}")),
            Ok(input) => send(&input, options.debug),
        },
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    Ok(if outcome.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Outcome {
    fn failed(error: &str) -> Self {
        Outcome { success: false, sent_batches: 0, error: Some(error.to_owned()) }
    }
}

fn send(input: &Input, debug: bool) -> Outcome {
    let batches = Arc::new(AtomicU64::new(0));
    let trouble = Arc::new(Mutex::new(None));
    let client = match Client::new(config(input, debug, &batches, &trouble)) {
        Ok(client) => client,
        Err(error) => return Outcome::failed(error.message()),
    };
    let note = |error: String| {
        lock(&trouble).get_or_insert(error);
    };
    for sequence in &input.sequences {
        thread::sleep(Duration::from_secs_f64((sequence.delay_ms / 1e3).clamp(0.0, LONGEST_SECONDS)));
        for event in &sequence.events {
            let sent = known_type(event).and_then(|()| client.enqueue(event.get()).map_err(|e| e.to_string()));
            sent.unwrap_or_else(note);
        }
    }
    let timeout = input.config.timeout.unwrap_or(TIMEOUT).clamp(0.0, LONGEST_SECONDS);
    let until = Instant::now() + Duration::from_secs_f64(timeout);
    if let Err(error) = client.flush(until.saturating_duration_since(Instant::now())) {
        note(error.to_string());
    }
    let _ = client.shutdown(Duration::ZERO); // what is left was noted
    drop(client);
    let error = lock(&trouble).take();
    Outcome { success: error.is_none(), sent_batches: batches.load(Ordering::SeqCst), error }
}

fn config(input: &Input, debug: bool, batches: &Arc<AtomicU64>, trouble: &Arc<Mutex<Option<String>>>) -> Config {
    let (batches, trouble) = (batches.clone(), trouble.clone());
    let mut config = Config {
        endpoint: input.api_host.clone().unwrap_or_default(),
        shutdown: Duration::ZERO,
        on_delivery: Some(Box::new(move |delivery| match (delivery.error, delivery.http_status) {
            (None, _) => {
                batches.fetch_add(1, Ordering::SeqCst);
            }
            (Some(error), status) => {
                let status = status.map_or(String::new(), |status| format!("HTTP {status}: "));
                lock(&trouble).get_or_insert_with(|| format!("{status}{error}"));
            }
        })),
        on_log: Some(Box::new(move |level, line| {
            if debug || level <= Level::Warning {
                complain(line);
            }
        })),
        ..Config::new(&input.write_key)
    };
    let settings = &input.config;
    if let Some(flush_at) = settings.flush_at {
        config.flush_at = flush_at.max(1);
    }
    if let Some(ms) = settings.flush_interval {
        config.flush_interval = Duration::from_secs_f64((ms / 1e3).clamp(0.001, LONGEST_SECONDS));
    }
    if let Some(retries) = settings.max_retries {
        config.retry_max = retries;
    }
    config
}

/// The library says of an unknown type which ones there are; here it must be told which one it was.
fn known_type(event: &RawValue) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let kind = serde_json::from_str::<Kind>(event.get()).ok().and_then(|event| event.kind).unwrap_or_default();
    match Call::from_name(&kind) {
        Some(_) => Ok(()),
        None => Err(format!("unknown event type {kind:?}")),
    }
}
