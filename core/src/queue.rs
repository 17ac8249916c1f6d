//! The queue: the chunk that is filled, those that wait, the one in flight; how much they hold, and who waits for what.
//!
//! One lock guards it all, so that the counts always add up. It is held for a copy of a message at most; never while
//! anything is sent, and never while a callback runs.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chunk::Chunk;
use crate::config::Overflow;
use crate::delivery::{self, Limits, Outcome, Pace, Part, Parts, Settled, Step, Waiting};
use crate::error::{Error, ErrorKind};
use crate::report::Level;
use crate::rules::{MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES};

/// How many log lines wait for the delivery thread at most.
const LOG_LINES_MAX: usize = 64;

/// No number of messages wakes the worker: it is awake, or waits for something else.
const NEVER: u32 = u32::MAX;

/// Counts of messages since the client was made. `accepted == delivered + failed + dropped + queued` at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that succeeded.
    pub accepted: u64,
    /// Acknowledged by Segment.
    pub delivered: u64,
    /// Refused for good, or given up.
    pub failed: u64,
    /// Dropped for room.
    pub dropped: u64,
    /// Waiting now.
    pub queued: u64,
    /// The size of what is waiting.
    pub queued_bytes: u64,
    /// Calls that failed.
    pub refused: u64,
    /// HTTP requests.
    pub requests: u64,
    /// HTTP requests that repeated an earlier one.
    pub retries: u64,
    /// Of the queued: those that would not survive the process.
    pub in_memory: u64,
}

pub(crate) struct Queue {
    settings: Settings,
    state: Mutex<State>,
    /// The worker sleeps here.
    work: Condvar,
    /// Who waits for messages to be settled, or for the worker to end, sleeps here.
    settled: Condvar,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Bytes of messages in a chunk.
    pub(crate) room: usize,
    pub(crate) queue_max_bytes: u64,
    pub(crate) overflow: Overflow,
    pub(crate) flush_at: u32,
    pub(crate) flush_interval: Duration,
}

struct State {
    began: Instant,
    active: Chunk,
    /// Since when the oldest message of the active chunk waits.
    active_since: Instant,
    /// Made ahead by the worker, so that no caller pays for it.
    ready: Option<Chunk>,
    sealed: VecDeque<Chunk>,
    flight: Option<Flight>,
    stats: Stats,
    next_number: u64,
    /// Chunks up to this number are wanted out without waiting for more messages.
    flush_up_to: u64,
    /// The worker sleeps until the active chunk has so many messages.
    wake_at: u32,
    /// How many messages had been accepted when the worker last found nothing to do.
    idle_since: u64,
    full: bool,
    closed: bool,
    deliver_until: Option<Instant>,
    last_chance: bool,
    ended: bool,
    /// The worker's thread runs.
    working: bool,
    /// It is making a request.
    requesting: bool,
    /// It was left behind in a request: what comes of that is nobody's business any more.
    abandoned: bool,
    log: Vec<(Level, String)>,
    log_lost: u64,
}

/// The chunk that is being sent, and what of it is still to be settled.
struct Flight {
    chunk: Arc<Chunk>,
    parts: Parts,
}

/// What the worker is to do.
pub(crate) enum Work {
    /// Send these messages, within this time.
    Send { chunk: Arc<Chunk>, part: Part, within: Option<Duration> },
    /// Hand these lines to the log.
    Log(Vec<(Level, String)>),
    /// Nothing any more: report what is left, and end.
    End,
}

impl Queue {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = Instant::now();
        // With a small queue that drops its oldest chunks, a chunk must be a part of it, or there would be none to drop.
        let share = usize::try_from(settings.queue_max_bytes / 4).unwrap_or(usize::MAX);
        let settings = Settings { room: settings.room.min(share.max(MAX_MESSAGE_BYTES + 1)), ..settings };
        let state = State {
            began: now,
            active: Chunk::new(1, settings.room),
            active_since: now,
            ready: None,
            sealed: VecDeque::new(),
            flight: None,
            stats: Stats::default(),
            next_number: 2,
            flush_up_to: 0,
            wake_at: NEVER,
            idle_since: 0,
            full: false,
            closed: false,
            deliver_until: None,
            last_chance: false,
            ended: false,
            working: false,
            requesting: false,
            abandoned: false,
            log: Vec::new(),
            log_lost: 0,
        };
        Queue { settings, state: Mutex::new(state), work: Condvar::new(), settled: Condvar::new() }
    }

    /// Takes a message, or says why not. Wakes the worker once a batch.
    pub(crate) fn push(&self, message: &[u8]) -> Result<(), Error> {
        let bytes = message.len() + 1;
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the client was shut down"));
        }
        if state.stats.queued_bytes + bytes as u64 > self.settings.queue_max_bytes {
            self.make_room(&mut state, bytes as u64)?;
        }
        state.full = false;
        let mut sealed = false;
        let held = (state.active.bytes(), state.active.messages() as usize);
        if held.1 > 0 && (held.0 + bytes > self.settings.room || held.1 >= MAX_BATCH_MESSAGES) {
            state.seal(self.settings.room);
            sealed = true;
        }
        if state.active.messages() == 0 {
            state.active_since = Instant::now();
        }
        state.active.append(message);
        state.stats.accepted += 1;
        state.stats.queued += 1;
        state.stats.queued_bytes += bytes as u64;
        let wake = state.active.messages() >= state.wake_at || (sealed && state.wake_at != NEVER);
        if wake {
            state.wake_at = NEVER;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Makes room for so many bytes by dropping the oldest sealed chunks, if that is wanted and enough.
    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), Error> {
        let max = self.settings.queue_max_bytes;
        let droppable: u64 = state.sealed.iter().map(|chunk| chunk.bytes() as u64).sum();
        let drops = self.settings.overflow == Overflow::DropOldest && bytes <= max;
        if !drops || state.stats.queued_bytes - droppable + bytes > max {
            if !state.full {
                state.full = true;
                self.note(
                    state,
                    Level::Warning,
                    format!("the queue is full with {max} bytes: new messages are refused"),
                );
            }
            return Err(Error::new(ErrorKind::QueueFull, format!("the queue is full: queue_max_bytes is {max}")));
        }
        let mut dropped = 0;
        while state.stats.queued_bytes + bytes > max {
            let Some(oldest) = state.sealed.pop_front() else { break };
            let messages = u64::from(oldest.messages());
            state.stats.dropped += messages;
            state.take_off(messages, oldest.bytes() as u64);
            dropped += messages;
        }
        self.note(state, Level::Warning, format!("the queue is full: the oldest {dropped} messages were dropped"));
        self.settled.notify_all();
        Ok(())
    }

    /// Waits until there is something to do.
    pub(crate) fn next(&self, pace: &mut Pace) -> Work {
        let mut state = self.lock();
        loop {
            if !state.log.is_empty() {
                return Work::Log(state.take_log());
            }
            if state.ended || (state.closed && state.stats.queued == 0) {
                return Work::End;
            }
            if state.ready.is_none() && state.active.messages() > 0 {
                drop(state);
                let chunk = Chunk::new(0, self.settings.room);
                state = self.lock();
                state.ready.get_or_insert(chunk);
                continue;
            }
            if std::mem::take(&mut state.last_chance) {
                pace.hurry();
            }
            let now = Instant::now();
            if state.closed && state.deliver_until.is_some_and(|until| until <= now) {
                state = self.sleep(state, None, NEVER);
                continue;
            }
            let clock = now - state.began;
            let Settings { flush_at, flush_interval, .. } = self.settings;
            match delivery::next(pace, state.waiting(), flush_at, flush_interval, clock) {
                Step::Send => {
                    let within = state.deliver_until.map(|until| until - now);
                    let (chunk, part) = state.take_off_to_send(self.settings.room);
                    return Work::Send { chunk, part, within };
                }
                Step::Gather(until) => state = self.sleep(state, Some(until - clock), flush_at),
                Step::Wait(until) => state = self.sleep(state, Some(until - clock), NEVER),
                // As long as messages keep coming, the worker looks again by itself and the first message of a batch
                // need not wake it.
                Step::Idle if state.idle_since != state.stats.accepted => {
                    state.idle_since = state.stats.accepted;
                    state = self.sleep(state, Some(flush_interval), flush_at);
                }
                Step::Idle => state = self.sleep(state, None, 1),
            }
        }
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Option<Duration>,
        wake_at: u32,
    ) -> MutexGuard<'a, State> {
        state.wake_at = wake_at;
        let left = state.deliver_until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = time.into_iter().chain(left.filter(|left| !left.is_zero())).min();
        let mut state = match time {
            Some(time) => self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.wake_at = NEVER;
        state
    }

    /// Takes in what came of a request: the counts change, and who has settled is returned, to be told before
    /// [`Queue::landed`] lets others know.
    pub(crate) fn settle(&self, pace: &mut Pace, outcome: Outcome, limits: Limits, chance: f64) -> Settled {
        let mut state = self.lock();
        state.requesting = false;
        if state.abandoned {
            return Settled::Nothing;
        }
        let now = state.began.elapsed();
        let Some(mut flight) = state.flight.take() else { return Settled::Nothing };
        state.stats.requests += 1;
        if flight.parts.current().is_some_and(|part| part.attempts > 0) {
            state.stats.retries += 1;
        }
        let settled = pace.settle(&mut flight.parts, outcome, limits, now, chance);
        if let Settled::Delivered(parts) | Settled::Failed(parts) = &settled {
            for part in parts {
                let messages = part.messages.len() as u64;
                let bytes: usize = part_of(&flight.chunk, part).map(|message| message.len() + 1).sum();
                state.take_off(messages, bytes as u64);
                match settled {
                    Settled::Delivered(_) => state.stats.delivered += messages,
                    _ => state.stats.failed += messages,
                }
            }
        }
        state.flight = Some(flight);
        settled
    }

    /// Whoever waits may know: what was settled last has been reported.
    pub(crate) fn landed(&self) {
        let mut state = self.lock();
        let landed = state.flight.take_if(|flight| flight.parts.current().is_none());
        if let Some(chunk) = landed.and_then(|flight| Arc::into_inner(flight.chunk)) {
            state.ready.get_or_insert(chunk);
        }
        drop(state);
        self.settled.notify_all();
    }

    /// Takes everything that is left out of the queue, as failed.
    pub(crate) fn give_up_all(&self) -> Vec<(Arc<Chunk>, Part)> {
        let mut state = self.lock();
        let mut left = Vec::new();
        if let Some(mut flight) = state.flight.take() {
            left.extend(flight.parts.take_all().into_iter().map(|part| (flight.chunk.clone(), part)));
        }
        state.seal(0);
        for chunk in std::mem::take(&mut state.sealed) {
            let parts = Parts::new(chunk.messages() as usize).take_all();
            let chunk = Arc::new(chunk);
            left.extend(parts.into_iter().map(|part| (chunk.clone(), part)));
        }
        state.stats.failed += state.stats.queued;
        state.stats.queued = 0;
        state.stats.queued_bytes = 0;
        drop(state);
        self.settled.notify_all();
        left
    }

    /// Waits until all messages accepted so far are settled; whether they are. Without time it only starts the sending.
    pub(crate) fn flush(&self, time: Duration) -> bool {
        let mut state = self.lock();
        let target = state.newest();
        if state.is_settled(target) {
            return true;
        }
        state.flush_up_to = state.flush_up_to.max(target);
        self.work.notify_one();
        let (state, _) = self
            .settled
            .wait_timeout_while(state, time, |state| !state.is_settled(target))
            .unwrap_or_else(PoisonError::into_inner);
        state.is_settled(target)
    }

    /// Takes no more messages, and goes on sending for this long; whether nothing is left.
    pub(crate) fn close(&self, time: Duration) -> bool {
        let mut state = self.lock();
        let until = Instant::now().checked_add(time);
        state.last_chance |= !state.closed;
        // The longest of several calls counts; a time beyond the clock is none.
        state.deliver_until = match (state.closed, state.deliver_until) {
            (true, None) => None,
            (_, before) => until.map(|until| before.map_or(until, |before| before.max(until))),
        };
        state.closed = true;
        self.work.notify_one();
        let (state, _) = self
            .settled
            .wait_timeout_while(state, time, |state| !state.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Tells the worker to end, whatever is left.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        drop(state);
        self.work.notify_one();
    }

    /// Waits for the worker to have ended; whether it has. Only a request can keep it: after this time in one, it is left
    /// behind, if that is wanted.
    pub(crate) fn wait_for_end(&self, time: Duration, abandon: bool) -> bool {
        let mut state = self.lock();
        let until = Instant::now() + time;
        while state.working {
            let left = until.saturating_duration_since(Instant::now());
            if !state.requesting {
                state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if left.is_zero() {
                state.abandoned = abandon;
                return false;
            } else {
                state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        true
    }

    /// Notes that the worker runs, or has ended.
    pub(crate) fn set_working(&self, working: bool) {
        self.lock().working = working;
        self.settled.notify_all();
    }

    pub(crate) fn stats(&self) -> Stats {
        let stats = self.lock().stats;
        Stats { in_memory: stats.queued, ..stats }
    }

    fn note(&self, state: &mut State, level: Level, line: String) {
        if state.log.len() < LOG_LINES_MAX {
            state.log.push((level, line));
        } else {
            state.log_lost += 1;
        }
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held was a bug of ours; the host's messages are worth more than its consequences.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of a part.
pub(crate) fn part_of<'a>(chunk: &'a Chunk, part: &Part) -> impl Iterator<Item = &'a [u8]> {
    chunk.iter().skip(part.messages.start).take(part.messages.len())
}

impl State {
    /// Moves the active chunk to those that wait, if it holds anything.
    fn seal(&mut self, room: usize) {
        if self.active.messages() == 0 {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let fresh = match self.ready.take() {
            Some(ready) => ready.reuse(number),
            None => Chunk::new(number, room),
        };
        self.sealed.push_back(std::mem::replace(&mut self.active, fresh));
    }

    fn take_off_to_send(&mut self, room: usize) -> (Arc<Chunk>, Part) {
        if self.flight.is_none() {
            if self.sealed.is_empty() {
                self.seal(room);
            }
            let chunk = self.sealed.pop_front().unwrap_or_else(|| Chunk::new(0, 0));
            let parts = Parts::new(chunk.messages() as usize);
            self.flight = Some(Flight { chunk: Arc::new(chunk), parts });
        }
        self.requesting = true;
        let flight = self.flight.as_ref().expect("it was filled above");
        let part = flight.parts.current().expect("an empty flight has landed").clone();
        (flight.chunk.clone(), part)
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            sealed: self.flight.is_some() || !self.sealed.is_empty(),
            active: self.active.messages(),
            since: self.active_since.saturating_duration_since(self.began),
            flush: self.closed || self.active.number <= self.flush_up_to,
        }
    }

    fn take_off(&mut self, messages: u64, bytes: u64) {
        self.stats.queued -= messages;
        self.stats.queued_bytes -= bytes;
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let active = (self.active.messages() > 0).then_some(self.active.number);
        let flight = self.flight.as_ref().map(|flight| flight.chunk.number);
        self.sealed.iter().map(|chunk| chunk.number).chain(active).chain(flight)
    }

    fn newest(&self) -> u64 {
        self.numbers().max().unwrap_or(0)
    }

    fn is_settled(&self, target: u64) -> bool {
        self.numbers().all(|number| number > target)
    }

    fn is_empty(&self) -> bool {
        self.stats.queued == 0 && self.flight.is_none()
    }

    fn take_log(&mut self) -> Vec<(Level, String)> {
        let mut lines = std::mem::take(&mut self.log);
        let lost = std::mem::take(&mut self.log_lost);
        if lost > 0 {
            lines.push((Level::Warning, format!("{lost} more log lines were lost: too many at once")));
        }
        lines
    }
}
