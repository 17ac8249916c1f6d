//! An import under way: from the rows of an input to what the journal says.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::import::bar::Bar;
use crate::import::job::Job;
use crate::import::journal::{Journal, Progress};
use crate::import::options::Options;
use crate::import::rate::Rate;
use crate::import::refused::Refused;
use crate::import::report::Report;
use crate::import::rows::{self, Ready};
use crate::import::stable::mark;
use crate::input::Row;
use crate::interrupt;
use crate::send::read_ahead;
use crate::shipment::{Fate, GLANCE, Shipment};
use crate::terminal::complain;

/// How often the journal is written.
const JOURNAL_INTERVAL: Duration = Duration::from_millis(200);

/// After Ctrl-C, what is on its way has so long to arrive.
const GRACE: Duration = Duration::from_secs(5);

/// An import under way.
pub(crate) struct Transfer {
    shipment: Shipment,
    refused: Refused,
    progress: Progress,
    /// The last row that is settled, if the journal does not know it yet.
    last: Option<Row>,
    bar: Bar,
    journal: Option<Journal>,
    written: Instant,
}

impl Transfer {
    /// Sends the rows of an input that are left.
    pub(crate) fn run(options: &Options, mut job: Job) -> io::Result<Report> {
        let mut progress = job.progress();
        if job.is_done() {
            complain(&format!("{} was imported before; --anew would do it again", job.input.name()));
            return Ok(Report::new(&job, &progress, None));
        }
        let settled = progress.delivered + progress.refused;
        let total = progress.total.filter(|_| !progress.done); // a file that has grown has more
        progress.total = job.check.as_ref().map(|check| settled + check.rows).or(total);
        (progress.done, progress.unfinished) = (false, false);
        let refused = Refused::open(&job.refused, progress.refused_bytes)?;
        progress.refused_bytes = refused.bytes();
        // Before reading: what is added meanwhile may be missed.
        let bytes = job.input.bytes();
        let content = job.content()?;
        let rows = job.reading.rows(&job.input, content, &progress)?;
        // Twice as much as a second has: an outage must not end in a burst.
        let room = (options.rate > 0.0).then(|| ((2.0 * options.rate) as usize).max(10));
        let shipment = Shipment::new(options.config()?, room, progress.delivered > 0)?;
        let bar = Bar::new(&job.input.name(), "importing", progress.total, settled, options.quiet);
        let mut transfer = Transfer {
            shipment,
            refused,
            progress,
            bar,
            last: None,
            journal: job.journal.take(),
            written: Instant::now(),
        };
        // Before the first request: whoever stops now has at least checked.
        transfer.write()?;
        let ended = transfer.send(options.rate, rows).map_err(|error| rows::about(&job.input, error));
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                transfer.drain()?;
                transfer.write()?;
                return Err(error);
            }
        };
        transfer.drain()?;
        if ended && transfer.shipment.is_empty() {
            transfer.progress.done = true;
            transfer.progress.done_at_bytes = bytes;
        }
        transfer.write()?;
        let trouble = transfer.shipment.trouble().filter(|_| !transfer.progress.done);
        transfer.bar.end();
        Ok(Report::new(&job, &transfer.progress, trouble))
    }

    /// Gives all rows away; whether it came to the end.
    fn send(&mut self, rate: f64, rows: impl Iterator<Item = io::Result<Ready>> + Send + 'static) -> io::Result<bool> {
        let mut rate = Rate::new(rate, Instant::now());
        let rows = read_ahead(rows);
        loop {
            match rows.recv_timeout(GLANCE) {
                Ok(ready) => {
                    let ready = ready?;
                    let until = Instant::now() + rate.next(Instant::now());
                    while Instant::now() < until && !interrupt::came() {
                        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(GLANCE));
                        self.settle()?;
                    }
                    let message = ready.made.as_ref().map(|made| made.json.as_str()).map_err(String::clone);
                    if !self.shipment.give(ready.row, message, interrupt::came) {
                        return Ok(false);
                    }
                }
                Err(RecvTimeoutError::Timeout) if interrupt::came() => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(!interrupt::came()),
            }
            if self.written.elapsed() >= JOURNAL_INTERVAL {
                self.write()?;
            }
        }
    }

    /// Waits for what is on its way.
    fn drain(&mut self) -> io::Result<()> {
        let mut until = None;
        while !self.shipment.is_empty() && self.shipment.trouble().is_none() {
            self.shipment.flush();
            self.shipment.judge();
            if self.written.elapsed() >= JOURNAL_INTERVAL {
                self.write()?;
            }
            self.settle()?;
            if interrupt::came() && *until.get_or_insert_with(|| Instant::now() + GRACE) < Instant::now() {
                break;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        for (row, fate) in self.shipment.settled() {
            if let (Fate::Refused(reason), false) = (&fate, row.is_whole) {
                self.refused.add(&row, reason)?;
                self.progress.unfinished = true;
                continue;
            }
            (self.progress.row, self.progress.line, self.progress.offset) = (row.number, row.line, row.start);
            match fate {
                Fate::Delivered => self.progress.delivered += 1,
                Fate::Refused(reason) => {
                    self.refused.add(&row, &reason)?;
                    self.progress.refused += 1;
                    self.progress.refused_bytes = self.refused.bytes();
                }
            }
            self.last = Some(row);
        }
        self.bar.set(self.progress.delivered + self.progress.refused, self.progress.refused);
        Ok(())
    }

    /// Has the journal say how far it has come.
    fn write(&mut self) -> io::Result<()> {
        self.settle()?;
        self.written = Instant::now();
        if let Some(row) = self.last.take() {
            self.progress.mark = Some(mark(&row));
        }
        self.journal.as_mut().map_or(Ok(()), |journal| journal.write(&self.progress))
    }
}
