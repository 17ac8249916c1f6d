//! The queue as callers see it: messages go in, and some calls wait for them to be settled.
//!
//! One lock guards it all, so that the counts always add up. It is held for a copy of a message at most; never while
//! anything is sent, and never while a callback runs.

use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chunk::{Batch, Chunk};
use crate::config::Overflow;
use crate::error::{Error, ErrorKind};
use crate::report::Level;
use crate::rules::{MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES};
use crate::spool::Spool;
use crate::state::{Period, State, Stats, Wish};

/// No number of messages wakes the worker: it is awake, or waits for something else.
pub(crate) const NEVER: u32 = u32::MAX;

/// What the worker does between two requests takes no time, but for callbacks.
const OWN_STEPS_MAX: Duration = Duration::from_secs(2);

/// Whether the user still wants to be left alone is looked at so often, while there are messages to refuse.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// For so long the disk is left alone after it failed.
pub(crate) const DISK_REST: Duration = Duration::from_secs(1);

pub(crate) struct Queue {
    pub(crate) settings: Settings,
    /// Where messages survive the process; none: in memory only.
    pub(crate) spool: Option<Spool>,
    pub(crate) state: Mutex<State>,
    /// The worker sleeps here.
    pub(crate) work: Condvar,
    /// Who waits for messages to be settled, or for the worker to end, sleeps here.
    pub(crate) settled: Condvar,
    /// The syncing thread sleeps here.
    pub(crate) dirty: Condvar,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Bytes of messages in a chunk.
    pub(crate) room: usize,
    pub(crate) queue_max_bytes: u64,
    pub(crate) overflow: Overflow,
    pub(crate) flush_at: u32,
    pub(crate) flush_interval: Duration,
    /// Whether what is accepted is to survive a loss of power.
    pub(crate) sync: bool,
}

impl Settings {
    /// With a small queue that drops its oldest chunks, a chunk must be a part of it, or there would be none to drop.
    pub(crate) fn adjusted(self) -> Self {
        let share = usize::try_from(self.queue_max_bytes / 4).unwrap_or(usize::MAX);
        Settings { room: self.room.min(share.max(MAX_MESSAGE_BYTES + 1)), ..self }
    }
}

impl Queue {
    pub(crate) fn new(settings: Settings, spool: Option<Spool>, wish: Wish) -> Self {
        let mut state = State::new(Chunk::in_memory(1, 0));
        state.wish = wish;
        state.opted_out = wish.opted_out;
        spool.iter().for_each(|spool| spool.discard_up_to(wish.discard_up_to_ms));
        // Without a folder there is nothing to look for.
        state.looked = spool.is_none().then(Instant::now);
        state.syncs = settings.sync;
        let queue = Queue {
            settings,
            spool,
            state: Mutex::new(state),
            work: Condvar::new(),
            settled: Condvar::new(),
            dirty: Condvar::new(),
        };
        if !wish.opted_out {
            let mut state = queue.lock();
            let first = queue.fresh(&mut state);
            state.seal(first);
        }
        queue
    }

    /// Takes a message, or says why not. Wakes the worker once a batch.
    pub(crate) fn push(&self, message: &[u8], period: Period) -> Result<(), Error> {
        let bytes = message.len() + 1;
        let mut state = self.lock();
        self.check_period(&mut state, period)?;
        self.check(&mut state)?;
        if state.occupied_bytes() + bytes as u64 > self.settings.queue_max_bytes {
            self.make_room(&mut state, bytes as u64)?;
        }
        state.full = false;
        let (held_bytes, held) = (state.active.bytes(), state.active.messages() as usize);
        let is_full = held > 0 && (held_bytes + bytes > self.settings.room || held >= MAX_BATCH_MESSAGES);
        // Messages are kept in memory only for as long as there is nothing better.
        let is_makeshift = self.spool.is_some() && state.active.is_in_memory() && state.ready.is_some();
        let mut sealed = false;
        if is_full || is_makeshift {
            let fresh = self.fresh(&mut state);
            state.seal(fresh);
            sealed = true;
        }
        if state.active.messages() == 0 {
            state.active_since = Instant::now();
        }
        self.append(&mut state, message);
        state.take_on(1, bytes as u64);
        let wake =
            state.active.messages() >= state.wake_at || (sealed && (state.wake_on_seal || state.wake_at != NEVER));
        if wake {
            state.wake_at = NEVER;
            state.wake_on_seal = false;
        }
        // The worker is to see whether the disk works again.
        let rested = state.disk_failed.is_some_and(|failed| failed.elapsed() >= DISK_REST);
        let dirty = std::mem::take(&mut state.sync_sleeps);
        drop(state);
        if wake || rested {
            self.work.notify_one();
        }
        if dirty {
            self.dirty.notify_one();
        }
        Ok(())
    }

    /// Counts a message that is dropped before it is kept.
    pub(crate) fn drop_unkept(&self, period: Period) -> Result<(), Error> {
        let mut state = self.lock();
        self.check_period(&mut state, period)?;
        self.check(&mut state)?;
        state.stats.accepted += 1;
        state.stats.dropped += 1;
        Ok(())
    }

    /// Appends to the active chunk. One that cannot take it, on a disk that is full, is sealed, and memory takes it.
    fn append(&self, state: &mut State, message: &[u8]) {
        if let Err(error) = state.active.append(message) {
            self.disk_failed(state, &error);
            let makeshift = Chunk::in_memory(0, self.settings.room);
            if let Some(path) = state.seal(makeshift).as_ref().and_then(Chunk::path)
                && let Some(spool) = &self.spool
            {
                spool.remove(path);
            }
            state.active_since = Instant::now();
            state.active.append(message).expect("memory takes everything");
        }
    }

    /// An empty chunk: the one made ahead, or a new one.
    pub(crate) fn fresh(&self, state: &mut State) -> Chunk {
        if let Some(ready) = state.ready.take() {
            return ready;
        }
        match self.on_disk(state) {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                self.disk_failed(state, &error);
                Chunk::in_memory(0, self.settings.room)
            }
            None => Chunk::in_memory(0, self.settings.room),
        }
    }

    /// A new chunk on the disk; none without one, or while it rests.
    fn on_disk(&self, state: &State) -> Option<io::Result<Chunk>> {
        let rests = state.disk_failed.is_some_and(|failed| failed.elapsed() < DISK_REST);
        self.spool.as_ref().filter(|_| !rests).map(Spool::chunk)
    }

    /// Says so once, until the disk works again.
    pub(crate) fn disk_failed(&self, state: &mut State, error: &io::Error) {
        if state.disk_failed.replace(Instant::now()).is_none() {
            let line = format!("the spool cannot be written, new messages are kept in memory only: {error}");
            state.note(Level::Warning, line);
            self.work.notify_one();
        }
    }

    /// Makes room for so many bytes by dropping the oldest chunks, if that is wanted and enough.
    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), Error> {
        let max = self.settings.queue_max_bytes;
        let sealed: u64 = state.sealed.iter().map(|chunk| chunk.bytes() as u64).sum();
        let drops = self.settings.overflow == Overflow::DropOldest && bytes <= max;
        if !drops || state.occupied_bytes() - sealed - state.backlog_bytes + bytes > max {
            if !state.full {
                state.full = true;
                state.note(Level::Warning, format!("the queue is full with {max} bytes: new messages are refused"));
                self.work.notify_one();
            }
            return Err(Error::new(ErrorKind::QueueFull, format!("the queue is full: queue_max_bytes is {max}")));
        }
        let before = state.stats.dropped;
        while state.occupied_bytes() + bytes > max && self.drop_oldest(state) {}
        let dropped = state.stats.dropped - before;
        state.note(Level::Warning, format!("the queue is full: the oldest {dropped} messages were dropped"));
        self.work.notify_one();
        self.settled.notify_all();
        Ok(())
    }

    /// Drops the oldest chunk that is in no request; whether there was one.
    fn drop_oldest(&self, state: &mut State) -> bool {
        if let (Some(found), Some(spool)) = (state.next_found(), &self.spool) {
            // Nothing disappears uncounted, even if nobody has looked at it yet.
            let content = spool.read(&found.path).unwrap_or_default();
            let (batch, _) = Batch::checked(0, content, found.path);
            state.stats.accepted += batch.len() as u64;
            state.stats.recovered += batch.len() as u64;
            state.stats.dropped += batch.len() as u64;
            batch.path().into_iter().for_each(|path| spool.remove(path));
            return true;
        }
        let Some(oldest) = state.sealed.pop_front() else { return false };
        state.stats.dropped += u64::from(oldest.messages());
        state.take_off(u64::from(oldest.messages()), oldest.bytes() as u64);
        if let (Some(path), Some(spool)) = (oldest.path(), &self.spool) {
            spool.remove(path);
        }
        true
    }

    /// Takes nothing from now on, and throws away what waits: the user is about to opt out. The files it was in are
    /// still to be removed.
    pub(crate) fn stop_taking(&self) -> Vec<PathBuf> {
        let mut state = self.lock();
        state.opted_out = true;
        let paths = state.purge();
        drop(state);
        self.settled.notify_all();
        paths
    }

    pub(crate) fn remove_all(&self, paths: &[PathBuf]) {
        if let Some(spool) = &self.spool {
            paths.iter().for_each(|path| spool.remove(path));
        }
        self.work.notify_one();
        self.settled.notify_all();
    }

    /// Does what the user wants. Where that has changed, all that is there is thrown away. The wish is asked for under
    /// the lock: who comes last has asked last.
    pub(crate) fn heed(&self, wish: impl FnOnce() -> Wish) {
        let mut state = self.lock();
        let wish = wish();
        if wish == state.wish {
            return;
        }
        state.wish = wish;
        state.opted_out = wish.opted_out;
        if let Some(spool) = &self.spool {
            spool.discard_up_to(wish.discard_up_to_ms);
        }
        let paths = state.purge();
        if !wish.opted_out {
            // What is taken now must survive as before.
            let fresh = self.fresh(&mut state);
            state.seal(fresh);
        }
        // The dead may have left something too: the worker throws it away when it looks again.
        let is_working = state.working;
        if self.spool.is_some() && is_working {
            state.looked = None;
        }
        drop(state);
        self.remove_all(&paths);
        if let (Some(spool), false, true) = (&self.spool, is_working, wish.opted_out) {
            let _ = spool.look(); // there is no worker any more; what is found is deleted
        }
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

    /// Takes no more messages, and goes on sending for this long; whether nothing is left after waiting.
    pub(crate) fn close(&self, time: Duration, wait: Duration) -> bool {
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
            .wait_timeout_while(state, wait, |state| !state.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_empty()
    }

    /// An error if nothing is taken any more, or for now.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check(&mut self.lock())
    }

    /// A message of somebody who has opted out since it was begun is not taken, even if they opted in again.
    fn check_period(&self, state: &mut State, period: Period) -> Result<(), Error> {
        if state.wish.period == period { Ok(()) } else { Err(self.refuse(state)) }
    }

    fn check(&self, state: &mut State) -> Result<(), Error> {
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the client was shut down"));
        }
        if state.opted_out { Err(self.refuse(state)) } else { Ok(()) }
    }

    /// Why nothing is taken from a user who opted out.
    pub(crate) fn refuse_opted_out(&self) -> Error {
        let mut state = self.lock();
        self.check(&mut state).err().unwrap_or_else(|| self.refuse(&mut state))
    }

    fn refuse(&self, state: &mut State) -> Error {
        // Another process may have opted in, and nothing else would wake the worker to see it.
        if self.spool.is_some() && state.asked.is_none_or(|asked| asked.elapsed() >= ASK_INTERVAL) {
            state.asked = Some(Instant::now());
            state.asks = true;
            self.work.notify_one();
        }
        if state.wish.is_unsure {
            return Error::new(
                ErrorKind::Storage,
                "the spool cannot be read, and so not whether the user has opted out",
            );
        }
        Error::new(ErrorKind::OptedOut, "the user has opted out")
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
        self.dirty.notify_one();
    }

    /// Waits for the worker to have ended; whether it has. What keeps it is a request, for which it has this time, or a
    /// callback, or that its thread never came to run. After that it is left behind, if that is wanted.
    pub(crate) fn wait_for_end(&self, time: Duration, abandon: bool) -> bool {
        let mut state = self.lock();
        let start = Instant::now();
        while state.working {
            let time = if state.requesting { time } else { OWN_STEPS_MAX };
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                state.abandoned = abandon;
                return false;
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Notes that the worker runs, or has ended.
    pub(crate) fn set_working(&self, working: bool) {
        self.lock().working = working;
        self.settled.notify_all();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats(self.spool.is_some())
    }

    /// How long the queue has been there: the clock of everything that has to do with delivery.
    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().began.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held was a bug of ours; the host's messages are worth more than its consequences.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
