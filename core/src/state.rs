//! What the queue holds: the chunk that is filled, those that wait, the one in flight, and the counts of it all.
//! Everything here happens under the queue's lock, and nothing of it waits for anything.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::chunk::{Batch, Chunk};
use crate::delivery::{Parts, Waiting};
use crate::report::Level;
use crate::spool::Found;

/// How many log lines wait for the delivery thread at most.
const LOG_LINES_MAX: usize = 64;

/// Counts of messages since the client was made. `accepted == delivered + failed + dropped + queued` at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that succeeded, and messages found in the spool.
    pub accepted: u64,
    /// Acknowledged by Segment.
    pub delivered: u64,
    /// Refused for good, or given up.
    pub failed: u64,
    /// Dropped for room, by [`Config::before_send`](crate::Config::before_send), or because the user opted out.
    pub dropped: u64,
    /// Waiting now.
    pub queued: u64,
    /// The size of what is waiting.
    pub queued_bytes: u64,
    /// Calls that failed.
    pub refused: u64,
    /// Of accepted: found in the spool.
    pub recovered: u64,
    /// HTTP requests.
    pub requests: u64,
    /// HTTP requests that repeated an earlier one.
    pub retries: u64,
    /// Of the queued: those that would not survive the process.
    pub in_memory: u64,
}

pub(crate) struct State {
    pub(crate) began: Instant,
    pub(crate) active: Chunk,
    /// Since when the oldest message of the active chunk waits.
    pub(crate) active_since: Instant,
    /// Made ahead by the worker, so that no caller pays for it.
    pub(crate) ready: Option<Chunk>,
    pub(crate) sealed: VecDeque<Chunk>,
    /// Chunks of owners that are gone, not read yet: what is in them is not counted.
    pub(crate) backlog: VecDeque<Found>,
    pub(crate) backlog_bytes: u64,
    pub(crate) flight: Option<Flight>,
    /// The number of the chunk that the worker is reading to send it.
    pub(crate) loading: Option<u64>,
    /// Chunks that kept failing: they come after all others.
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) stats: Stats,
    pub(crate) next_number: u64,
    /// Chunks up to this number are wanted out without waiting for more messages.
    pub(crate) flush_up_to: u64,
    /// The worker sleeps until the active chunk has so many messages.
    pub(crate) wake_at: u32,
    /// The worker is to be woken for housekeeping when a chunk is sealed.
    pub(crate) wake_on_seal: bool,
    /// How many messages had been accepted when the worker last found nothing to do.
    pub(crate) idle_since: u64,
    pub(crate) full: bool,
    pub(crate) closed: bool,
    /// The user has opted out: nothing is taken.
    pub(crate) opted_out: bool,
    /// What the user wanted when that was last seen to.
    pub(crate) wish: Wish,
    /// The worker is to look whether the user still wants it.
    pub(crate) asks: bool,
    /// When it was last asked to.
    pub(crate) asked: Option<Instant>,
    /// How often everything was thrown away: who reads a file meanwhile has read it for nothing.
    pub(crate) purges: u64,
    pub(crate) deliver_until: Option<Instant>,
    pub(crate) last_chance: bool,
    pub(crate) ended: bool,
    /// The worker's thread runs.
    pub(crate) working: bool,
    /// It is making a request.
    pub(crate) requesting: bool,
    /// It was left behind in a request: what comes of that is nobody's business any more.
    pub(crate) abandoned: bool,
    /// When the folder was last looked into; none before the first time.
    pub(crate) looked: Option<Instant>,
    /// Whether it is worth looking again: others use it, or it could not be read.
    pub(crate) look_again: bool,
    /// What others have in the folder.
    pub(crate) foreign_bytes: u64,
    /// What was given up for good and is kept aside.
    pub(crate) rejected_bytes: u64,
    /// No chunk could be made on the disk at this time: new messages are kept in memory for a while.
    pub(crate) disk_failed: Option<Instant>,
    /// Sealed chunks that the disk was not asked to hold yet; only kept where somebody asks it.
    pub(crate) unsynced: Vec<PathBuf>,
    pub(crate) syncs: bool,
    /// The number of the active chunk and how many of its messages the disk was asked to hold.
    pub(crate) synced: (u64, u32),
    /// The syncing thread sleeps until a message comes.
    pub(crate) sync_sleeps: bool,
    /// The number of a chunk that is being written anew.
    pub(crate) moving: Option<u64>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) log_lost: u64,
}

/// How often the user has opted out or in, and when last.
pub(crate) type Period = (u64, i64);

/// What the user wants, as far as it concerns what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Nothing is to be taken, and nothing sent.
    pub(crate) opted_out: bool,
    /// Only because nobody can read what the user wants: nothing is to be thrown away.
    pub(crate) is_unsure: bool,
    /// How often and when it changed. Whoever sees another period has missed something.
    pub(crate) period: Period,
    /// What was kept up to this time, in milliseconds since 1970, is not to be sent.
    pub(crate) discard_up_to_ms: i64,
}

impl Wish {
    /// Of a user who never said anything.
    pub(crate) const NEVER_ASKED: Wish =
        Wish { opted_out: false, is_unsure: false, period: (0, 0), discard_up_to_ms: i64::MIN };
}

/// The chunk that is being sent, and what of it is still to be settled.
pub(crate) struct Flight {
    pub(crate) batch: Arc<Batch>,
    pub(crate) parts: Parts,
}

/// A chunk whose turn is over, to be read again when its next one comes.
pub(crate) struct Deferred {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) parts: Parts,
    /// How many messages its file holds.
    pub(crate) messages: usize,
    /// How many bytes of them are left.
    pub(crate) bytes: u64,
}

impl Deferred {
    pub(crate) fn new(flight: &Flight, path: PathBuf) -> Self {
        let batch = &flight.batch;
        let left = flight.parts.all().flat_map(|part| batch.part(part.messages.clone()));
        Deferred {
            number: batch.number,
            path,
            parts: flight.parts.clone(),
            messages: batch.len(),
            bytes: left.map(|message| message.len() as u64 + 1).sum(),
        }
    }
}

impl State {
    pub(crate) fn new(active: Chunk) -> Self {
        let now = Instant::now();
        State {
            began: now,
            active,
            active_since: now,
            ready: None,
            sealed: VecDeque::new(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            flight: None,
            loading: None,
            deferred: VecDeque::new(),
            stats: Stats::default(),
            next_number: 2,
            flush_up_to: 0,
            wake_at: u32::MAX,
            wake_on_seal: false,
            idle_since: 0,
            full: false,
            closed: false,
            opted_out: false,
            wish: Wish::NEVER_ASKED,
            asks: false,
            asked: None,
            purges: 0,
            deliver_until: None,
            last_chance: false,
            ended: false,
            working: false,
            requesting: false,
            abandoned: false,
            looked: None,
            look_again: false,
            foreign_bytes: 0,
            rejected_bytes: 0,
            disk_failed: None,
            unsynced: Vec::new(),
            syncs: false,
            synced: (0, 0),
            sync_sleeps: false,
            moving: None,
            log: Vec::new(),
            log_lost: 0,
        }
    }

    /// The next number of a chunk.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Puts `fresh` in the place of the active chunk, which joins those that wait if it holds anything. An empty one is
    /// returned.
    pub(crate) fn seal(&mut self, mut fresh: Chunk) -> Option<Chunk> {
        fresh.number = self.number();
        let before = std::mem::replace(&mut self.active, fresh);
        if before.messages() == 0 {
            return Some(before);
        }
        if let Some(path) = before.path().filter(|_| self.syncs) {
            self.unsynced.push(path.to_owned());
        }
        self.sealed.push_back(before);
        None
    }

    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            sealed: self.flight.is_some()
                || !self.sealed.is_empty()
                || !self.backlog.is_empty()
                || !self.deferred.is_empty(),
            active: self.active.messages(),
            since: self.active_since.saturating_duration_since(self.began),
            flush: self.closed || self.active.number <= self.flush_up_to,
        }
    }

    pub(crate) fn take_on(&mut self, messages: u64, bytes: u64) {
        self.stats.accepted += messages;
        self.stats.queued += messages;
        self.stats.queued_bytes += bytes;
    }

    pub(crate) fn take_off(&mut self, messages: u64, bytes: u64) {
        self.stats.queued -= messages;
        self.stats.queued_bytes -= bytes;
    }

    /// What the quota has to hold: what is counted, what was adopted and not read yet, what was rejected, and what
    /// others have.
    pub(crate) fn occupied_bytes(&self) -> u64 {
        self.stats.queued_bytes + self.backlog_bytes + self.foreign_bytes + self.rejected_bytes
    }

    /// Takes on chunks that were found.
    pub(crate) fn find(&mut self, found: Vec<Found>) {
        self.backlog_bytes += found.iter().map(|found| found.bytes).sum::<u64>();
        self.backlog.extend(found);
    }

    /// The oldest chunk that was found and not read yet.
    pub(crate) fn next_found(&mut self) -> Option<Found> {
        let found = self.backlog.pop_front()?;
        self.backlog_bytes -= found.bytes;
        Some(found)
    }

    /// Throws away everything that waits, and counts it as dropped; the files it is in, which are to be deleted. The
    /// active chunk goes too, and memory takes its place until there is a better one.
    pub(crate) fn purge(&mut self) -> Vec<PathBuf> {
        self.purges += 1;
        let mut paths: Vec<PathBuf> = Vec::new();
        // An empty active chunk is returned, any other joins those that wait.
        let unused = [self.seal(Chunk::in_memory(0, 0)), self.ready.take()];
        let sealed = std::mem::take(&mut self.sealed);
        paths.extend(unused.iter().flatten().chain(&sealed).filter_map(|chunk| chunk.path().map(Path::to_owned)));
        paths.extend(std::mem::take(&mut self.deferred).into_iter().map(|deferred| deferred.path));
        paths.extend(std::mem::take(&mut self.backlog).into_iter().map(|found| found.path));
        paths.extend(self.flight.take().and_then(|flight| flight.batch.path().map(Path::to_owned)));
        self.backlog_bytes = 0;
        self.unsynced.clear();
        self.stats.dropped += self.stats.queued;
        self.take_off(self.stats.queued, self.stats.queued_bytes);
        paths
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let active = (self.active.messages() > 0).then_some(self.active.number);
        let flight = self.flight.as_ref().map(|flight| flight.batch.number);
        let deferred = self.deferred.iter().map(|deferred| deferred.number);
        self.sealed
            .iter()
            .map(|chunk| chunk.number)
            .chain(deferred)
            .chain(active)
            .chain(flight)
            .chain(self.loading)
            .chain(self.moving)
    }

    /// The newest chunk that holds anything.
    pub(crate) fn newest(&self) -> u64 {
        self.numbers().max().unwrap_or(0)
    }

    /// Whether nothing is left of the chunks up to this number, nor of what was found.
    pub(crate) fn is_settled(&self, target: u64) -> bool {
        self.is_recovered() && self.numbers().all(|number| number > target)
    }

    /// Whether nothing is left at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_recovered()
            && self.stats.queued == 0
            && self.flight.is_none()
            && self.loading.is_none()
            && self.moving.is_none()
    }

    /// Whether the folder, if there is one, was looked into and what was found has been read.
    fn is_recovered(&self) -> bool {
        self.looked.is_some() && self.backlog.is_empty()
    }

    /// The counts, with those that change without anybody counting.
    pub(crate) fn stats(&self, spooled: bool) -> Stats {
        let in_memory = if spooled {
            let chunks = self.sealed.iter().chain([&self.active]).filter(|chunk| chunk.is_in_memory());
            let flight = self.flight.iter().filter(|flight| flight.batch.path().is_none());
            chunks.map(|chunk| u64::from(chunk.messages())).sum::<u64>()
                + flight.map(|flight| flight.parts.messages() as u64).sum::<u64>()
        } else {
            self.stats.queued
        };
        Stats { in_memory, ..self.stats }
    }

    /// Keeps a line for the log.
    pub(crate) fn note(&mut self, level: Level, line: String) {
        if self.log.len() < LOG_LINES_MAX {
            self.log.push((level, line));
        } else {
            self.log_lost += 1;
        }
    }

    pub(crate) fn take_log(&mut self) -> Vec<(Level, String)> {
        let mut lines = std::mem::take(&mut self.log);
        let lost = std::mem::take(&mut self.log_lost);
        if lost > 0 {
            lines.push((Level::Warning, format!("{lost} more log lines were lost: too many at once")));
        }
        lines
    }
}
