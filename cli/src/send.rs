//! `segment send`: whole messages, one a line.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::connection::{Connection, seconds};
use crate::input::{Input, Lines, Row};
use crate::interrupt;
use crate::shipment::{Fate, GLANCE, Shipment};
use crate::terminal::{self, complain};

/// What was read and not sent yet: so many rows.
pub(crate) const READ_AHEAD: usize = 64;

/// After Ctrl-C, what is on its way has so long to arrive.
const GRACE: Duration = Duration::from_secs(5);

/// Send whole messages: JSON Lines like {"type":"track","userId":"u","event":"E"}
///
/// What a message lacks of messageId, timestamp and context is added. From a pipe, messages are sent as they come. Ends
/// with 0 if Segment has them all, with 1 if some were refused or not delivered: each is told with its line.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// JSON Lines, plain or packed with gzip; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: String,
    /// How often a request is tried again
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,
    /// Send what waits this often
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    flush_interval: Duration,
    /// Refuse what is only doubtful, too
    #[arg(long)]
    strict: bool,
    /// Print the sums as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Default)]
struct Sums {
    delivered: u64,
    refused: Vec<u64>,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut config = options.connection.config()?;
    config.retry_max = options.retries;
    config.flush_interval = options.flush_interval;
    config.strict = options.strict;
    let input = Input::named(&options.file);
    let content = input.open_at_once()?.content;
    interrupt::watch()?;
    let shipment = Shipment::new(config, None, false)?;
    let rows = read_ahead(Lines::new(content));
    let mut sums = Sums::default();
    let mut unread = None;
    loop {
        match rows.recv_timeout(GLANCE) {
            Ok(Ok(row)) => {
                let text = row.text.clone();
                let message = text.as_deref().map_err(|reason| reason.to_owned());
                if !shipment.give(row, message, interrupt::came) {
                    break;
                }
            }
            Ok(Err(error)) => {
                unread = Some(input.about(&error));
                break;
            }
            Err(RecvTimeoutError::Timeout) if interrupt::came() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        sums.add(&shipment);
    }
    let mut until = None;
    while !shipment.is_empty() && shipment.trouble().is_none() {
        shipment.flush();
        shipment.judge();
        sums.add(&shipment);
        if interrupt::came() && *until.get_or_insert_with(|| Instant::now() + GRACE) < Instant::now() {
            break;
        }
    }
    sums.add(&shipment);
    sums.report(options, &shipment)?;
    match unread {
        Some(error) => Err(error),
        None if interrupt::came() => Ok(ExitCode::from(interrupt::ENDED as u8)),
        None if sums.refused.is_empty() && shipment.is_empty() => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

/// Reads on a thread of its own, so that who waits for a row can be interrupted.
pub(crate) fn read_ahead<T: Send + 'static>(rows: impl Iterator<Item = T> + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = sync_channel(READ_AHEAD);
    thread::spawn(move || {
        for row in rows {
            if sender.send(row).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Sums {
    fn add(&mut self, shipment: &Shipment) {
        for (Row { line, .. }, fate) in shipment.settled() {
            match fate {
                Fate::Delivered => self.delivered += 1,
                Fate::Refused(reason) => {
                    complain(&format!("line {line} was refused: {reason}"));
                    self.refused.push(line);
                }
            }
        }
    }

    fn report(&self, options: &Options, shipment: &Shipment) -> io::Result<()> {
        let undelivered = shipment.left();
        let trouble = shipment.trouble();
        if options.json {
            let (requests, retries) = shipment.requests();
            let sums = json!({
                "delivered": self.delivered,
                "refused": self.refused.len(),
                "refusedLines": self.refused,
                "undelivered": undelivered.len(),
                "firstUndeliveredLine": undelivered.first(),
                "requests": requests,
                "retries": retries,
                "error": trouble,
            });
            return terminal::say(&sums.to_string());
        }
        if let Some(first) = undelivered.first() {
            let reason = trouble.as_deref().unwrap_or("it was interrupted");
            complain(&format!("line {first} and what follows may not be delivered: {reason}"));
        } else if let Some(trouble) = &trouble {
            complain(&format!("not all was delivered: {trouble}"));
        }
        terminal::say(&format!(
            "{} delivered, {} refused, {} not delivered",
            self.delivered,
            self.refused.len(),
            undelivered.len()
        ))
    }
}
