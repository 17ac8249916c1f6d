//! The queue as callers see it: messages go in, and some calls wait for them to be settled.
//!
//! One lock guards it all, so that the counts always add up. It is held for a copy of a message at most; never while
//! anything is sent, never while a callback runs, and never while the disk is used.

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::base::error::{Error, ErrorKind};
use crate::base::hooks::Level;
use crate::base::storage::Stopwatch;
use crate::base::threads::{self, Condvar, Mutex, MutexGuard};
use crate::base::time;
use crate::message::rules::MAX_MESSAGE_BYTES;
use crate::queue::chunk::{self, Chunk};
use crate::queue::shelf::{Dropped, Leaving};
use crate::queue::spool::{self, Spool};
use crate::queue::state::{Advice, Errand, State, Stats, Waited, WorkerState};
use crate::user::person::{Period, Wish};

/// No number of messages wakes the delivery thread: it is awake, or waits for something else.
pub(crate) const NEVER: u64 = u64::MAX;

/// A bound on what the delivery thread does between two requests. That takes no time, but for callbacks.
const OWN_STEPS_MAX: Duration = Duration::from_secs(2);

/// How long the disk may take at the end, when the time is up. A thread that waits longer for it is left behind.
const DISK_GRACE: Duration = Duration::from_millis(250);
const END_SLICES: u32 = 50;

/// How often it is checked whether a user who opted out has opted in again, while messages are refused.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How many buffers for chunks in memory are kept for reuse.
const BUFFERS_MAX: usize = 2;

/// How many chunks are made ahead at most.
const AHEAD_MAX: usize = 16;

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

pub(crate) struct Queue {
    pub(crate) settings: Settings,
    /// Where messages survive the process; none: in memory only.
    pub(crate) spool: Option<Spool>,
    state: Mutex<State>,
    /// The delivery thread sleeps here.
    pub(crate) work: Condvar,
    /// The errand thread sleeps here.
    pub(crate) errands: Condvar,
    /// Callers wait here for another caller that is using the disk.
    disk_free: Condvar,
    /// Callers that wait for messages to be settled, or for a thread to end, sleep here.
    pub(crate) settled: Condvar,
    /// The syncing thread sleeps here.
    pub(crate) dirty: Condvar,
}

/// What to do with a new message when the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Refuse it.
    #[default]
    Refuse,
    /// Drop the oldest messages that are in no request, if there are any. [`Config::on_delivery`] is told of them, with
    /// [`ErrorKind::QueueFull`]. Messages that an earlier run or another process had left in the spool are only
    /// counted. At most 4 MiB of messages are held for it. Of more than that, and of those in files that cannot be
    /// read, it is not told; the log says how many.
    ///
    /// [`Config::on_delivery`]: crate::Config::on_delivery
    DropOldest,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Bytes of messages in a chunk.
    pub(crate) room: usize,
    pub(crate) queue_max_bytes: u64,
    pub(crate) overflow: Overflow,
    pub(crate) flush_at: u32,
    pub(crate) flush_interval: Duration,
    /// How many batches may be under way at once; 0: as many as it takes.
    pub(crate) uploads: u32,
    /// Whether what is accepted is to survive a loss of power.
    pub(crate) sync: bool,
    /// Whether the host is to be told of messages that are dropped for room.
    pub(crate) tells_dropped: bool,
}

impl Settings {
    /// A small queue needs chunks of a fraction of its size, or there would be no chunk to drop when it is full.
    pub(crate) fn adjusted(self) -> Self {
        let share = usize::try_from(self.queue_max_bytes / 4).unwrap_or(usize::MAX);
        Settings { room: self.room.min(share.max(MAX_MESSAGE_BYTES + 1)), ..self }
    }

    /// Where files may not become as large as a chunk, chunks are smaller. Where files cannot even hold a few messages,
    /// all are held in memory, and written out if that changes.
    pub(crate) fn within(self, file_bytes: u64) -> Self {
        Settings { room: spool::room_in_file(file_bytes).map_or(self.room, |room| self.room.min(room)), ..self }
    }

    /// How many bytes may be under way at once: in a small queue, most of it is to wait where it is safe and can be
    /// dropped.
    pub(crate) fn in_flight_max(&self) -> u64 {
        (self.queue_max_bytes / 4).saturating_sub(self.room as u64)
    }

    /// How many chunks are made ahead at most: they take room on the disk.
    pub(crate) fn ahead_max(&self) -> usize {
        let share = self.queue_max_bytes / 4 / self.room.max(1) as u64;
        usize::try_from(share).unwrap_or(AHEAD_MAX).clamp(1, AHEAD_MAX)
    }
}

/// The user is about to opt out: until this is dropped, a thread that still has the earlier wish cannot apply it.
pub(crate) struct OptingOut<'a>(&'a Queue);

impl Drop for OptingOut<'_> {
    fn drop(&mut self) {
        self.0.lock().choice.opting_out -= 1;
    }
}

impl Queue {
    pub(crate) fn new(settings: Settings, spool: Option<Spool>, wish: Wish) -> Self {
        let mut state = State::new();
        state.choice.wish = wish;
        state.choice.certain = Some(wish).filter(|wish| !wish.is_unsure);
        spool.iter().for_each(|spool| spool.discard_up_to(wish.discard_up_to_ms));
        // Without a folder there is nothing to look into.
        state.look.last = spool.is_none().then(threads::now);
        state.sync.is_on = settings.sync;
        Queue {
            settings,
            spool,
            state: Mutex::new(state),
            work: Condvar::new(),
            errands: Condvar::new(),
            disk_free: Condvar::new(),
            settled: Condvar::new(),
            dirty: Condvar::new(),
        }
    }

    /// Takes a message, or says why not. Wakes the delivery thread once a batch.
    pub(crate) fn push(&self, message: &[u8], period: Period) -> Result<(), Error> {
        let bytes = message.len() + 1;
        let mut wake = false;
        let mut waited = Waited::default();
        let mut state = self.lock();
        loop {
            self.check_period(&mut state, period)?;
            self.check(&mut state)?;
            if state.occupied_bytes() + bytes as u64 > self.settings.queue_max_bytes {
                self.make_room(&mut state, bytes as u64)?;
            }
            if !state.shelf.has_room(bytes, self.settings.room) || self.is_makeshift(&state) {
                state = self.begin(state, &mut waited)?;
                wake = true;
                continue;
            }
            if state.shelf.filling().0 == 0 {
                state.active_since = threads::now();
            }
            if !state.shelf.is_filling_written() {
                if state.shelf.append(message).is_ok() {
                    break;
                }
                self.give_back(&mut state, |state| state.shelf.seal());
                continue;
            }
            let written;
            (state, written) = self.write(state, message, period, &mut waited)?;
            if written {
                break;
            }
        }
        state.full = false;
        state.stats.accepted += 1;
        let tells = state.tell_of_holding();
        let (messages, filled) = state.shelf.filling();
        let wakes = tells || messages >= state.worker.wake_at || (wake && state.worker.wake_at != NEVER);
        if wakes {
            state.worker.wake_at = NEVER;
        }
        // The next chunk is made while this one still has room.
        let errand = self.spool.is_some()
            && (state.disk.is_troubled() || state.ahead.ready.is_empty() && filled as usize >= self.settings.room / 2);
        let errand = errand && std::mem::take(&mut state.errands.sleeps);
        let dirty = std::mem::take(&mut state.sync.sleeps);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        if errand {
            self.errands.notify_one();
        }
        if dirty {
            self.dirty.notify_one();
        }
        Ok(())
    }

    /// Whether the chunk that is being filled should give way to another. Messages are held in memory only while there
    /// is no usable file, or the user has not answered; and while the disk is slow, a file without a mapping will not
    /// do.
    fn is_makeshift(&self, state: &State) -> bool {
        if state.choice.wish.holds() {
            return !state.shelf.is_filling_memory();
        }
        let is_better = |chunk: &Chunk| !(chunk.is_written() && state.disk.is_slow);
        if state.shelf.is_filling_memory() {
            return self.spool.is_some() && state.ahead.ready.front().is_some_and(is_better);
        }
        state.disk.is_slow && state.shelf.is_filling_written()
    }

    /// Begins a chunk: one that was made ahead or, where there is none, one on the disk that this caller makes outside
    /// of the lock, or one in memory. Afterwards everything may have changed and must be checked again.
    fn begin<'a>(&'a self, mut state: Guard<'a>, waited: &mut Waited) -> Result<Guard<'a>, Error> {
        let is_slow = state.disk.is_slow;
        let holds = state.choice.wish.holds();
        let is_usable = !holds && state.ahead.ready.front().is_some_and(|chunk| !(chunk.is_written() && is_slow));
        if let Some(chunk) = is_usable.then(|| state.ahead.ready.pop_front()).flatten() {
            state.ahead.used = threads::now();
            self.give_back(&mut state, |state| state.shelf.begin(chunk, time::now_ms()));
            return Ok(state);
        }
        let advice = match &self.spool {
            Some(_) if !holds => state.disk.advice(threads::now(), waited),
            _ => Advice::Avoid,
        };
        match (advice, &self.spool) {
            (Advice::Ask, Some(spool)) => {
                if state.shelf.filling().0 > 0 {
                    // Chunks are used up faster than they are made.
                    state.ahead.wanted = (state.ahead.wanted * 2).min(self.settings.ahead_max());
                }
                state.disk.busy_since = Some(threads::now());
                drop(state);
                let mut state = self.make(spool);
                self.disk_free(&mut state);
                Ok(state)
            }
            (Advice::Wait(left), _) => {
                Ok(self.disk_free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
            }
            _ => self.begin_in_memory(state),
        }
    }

    fn begin_in_memory<'a>(&'a self, mut state: Guard<'a>) -> Result<Guard<'a>, Error> {
        if let Some(buffer) = state.buffers.pop() {
            self.give_back(&mut state, |state| state.shelf.begin(buffer, time::now_ms()));
            return Ok(state);
        }
        drop(state);
        let made = Chunk::in_memory(self.settings.room);
        let mut state = self.lock();
        let no_memory = || Error::new(ErrorKind::QueueFull, "there is no memory for more messages");
        state.buffers.push(made.ok_or_else(no_memory)?);
        Ok(state)
    }

    /// Does something that may seal a chunk, or leave one unused, and takes care of that chunk.
    fn give_back(&self, state: &mut State, what: impl FnOnce(&mut State) -> Option<Chunk>) {
        let sealed = state.shelf.filling_file().map(ToOwned::to_owned);
        let before = state.shelf.filling_number();
        let unused = what(state);
        match unused {
            Some(chunk) if chunk.path().is_none() => self.keep_buffer(state, chunk),
            Some(chunk) => self.add_errands(state, [Errand::Discard(chunk)]),
            None if before.is_some() && before != state.shelf.filling_number() => {
                state.sync.sealed.extend(sealed.filter(|_| state.sync.is_on));
            }
            None => {}
        }
        self.wake_errands(state);
    }

    /// Gives the errand thread something to do on the disk.
    pub(crate) fn add_errands(&self, state: &mut State, errands: impl IntoIterator<Item = Errand>) {
        state.errands.list.extend(errands);
        self.wake_errands(state);
    }

    pub(crate) fn wake_errands(&self, state: &mut State) {
        if std::mem::take(&mut state.errands.sleeps) {
            self.errands.notify_one();
        }
    }

    /// Keeps a buffer for the next chunk in memory, while few are kept.
    pub(crate) fn keep_buffer(&self, state: &mut State, buffer: Chunk) {
        if state.buffers.len() < BUFFERS_MAX {
            state.buffers.push(buffer);
        }
    }

    /// Seals the chunk that is being filled.
    pub(crate) fn seal(&self, state: &mut State) {
        self.give_back(state, |state| state.shelf.seal());
    }

    /// Makes a chunk on the disk, outside of the lock.
    pub(crate) fn make(&self, spool: &Spool) -> Guard<'_> {
        let (began, purges) = (Stopwatch::start(), self.lock().choice.purges);
        let made = spool.chunk();
        let mut state = self.lock();
        match made {
            Err(error) => self.disk_failed(&mut state, &error),
            Ok(chunk) => {
                self.disk_worked(&mut state, began.elapsed());
                // A chunk from before a purge would be deleted with the rest. A user who has opted out needs none.
                if state.choice.purges == purges && !state.errands.put_away && !state.choice.wish.opted_out {
                    state.ahead.ready.push_back(chunk);
                    if state.ahead.seal_wanted.is_some() {
                        state.ahead.used = threads::now(); // it is used in a moment
                        self.work.notify_one();
                    }
                } else {
                    self.add_errands(&mut state, [Errand::Discard(chunk)]);
                }
            }
        }
        state
    }

    pub(crate) fn disk_free(&self, state: &mut State) {
        state.disk.busy_since = None;
        self.disk_free.notify_all();
        if state.ahead.seal_wanted.is_some() {
            self.wake_errands(state); // it may have been woken for that, but found this caller using the disk
        }
    }

    /// Writes a message to the file of the chunk that is being filled, outside of the lock; false if it could not be.
    fn write<'a>(
        &'a self,
        mut state: Guard<'a>,
        message: &[u8],
        period: Period,
        waited: &mut Waited,
    ) -> Result<(Guard<'a>, bool), Error> {
        let Some((number, mut file)) = state.shelf.lend_file() else {
            // Another caller is writing.
            match state.disk.advice(threads::now(), waited) {
                Advice::Wait(left) => {
                    state = self.disk_free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => self.seal(&mut state),
            }
            return Ok((state, false));
        };
        let began = threads::now();
        state.disk.busy_since = Some(began);
        let bytes = message.len() as u64 + 1;
        state.bytes_written += bytes;
        drop(state);
        let written = chunk::append_to(&mut *file, message);
        let mut state = self.lock();
        state.bytes_written -= bytes;
        self.disk_free(&mut state);
        let kept = state.shelf.return_file(number, file, written.is_ok().then_some(bytes));
        match written {
            Ok(()) => {
                self.disk_worked(&mut state, threads::since(began));
                self.work_if_sealed(&state, number);
                self.check_period(&mut state, period)?;
                if kept { Ok((state, true)) } else { Err(self.refuse(&mut state)) }
            }
            Err(error) => {
                self.disk_failed(&mut state, &error);
                if state.shelf.filling_number() == Some(number) {
                    self.seal(&mut state);
                } else if let Some(leaving) = state.shelf.leave_if_empty(number) {
                    self.add_errands(&mut state, [Errand::Remove(leaving)]);
                }
                self.work_if_sealed(&state, number);
                Ok((state, false))
            }
        }
    }

    /// A chunk that was sealed while it was written to can be sent from now on.
    fn work_if_sealed(&self, state: &State, number: u64) {
        if state.shelf.filling_number() != Some(number) {
            self.work.notify_one();
        }
    }

    /// Notes that the disk failed. Logged once, until it works again.
    pub(crate) fn disk_failed(&self, state: &mut State, error: &io::Error) {
        if state.disk.failed.replace(threads::now()).is_none() {
            let line = format!("the spool cannot be written, new messages are kept in memory only: {error}");
            state.note(Level::Warning, line);
            self.work.notify_one();
        }
    }

    /// Notes that the disk worked, and how long it took.
    pub(crate) fn disk_worked(&self, state: &mut State, took: Duration) {
        if state.disk.worked(took) {
            state.note(Level::Info, "the spool can be written again".to_owned());
            self.work.notify_one();
        }
    }

    /// Counts a message that is dropped before it is queued.
    pub(crate) fn drop_unkept(&self, period: Period) -> Result<(), Error> {
        let mut state = self.lock();
        self.check_period(&mut state, period)?;
        self.check(&mut state)?;
        state.stats.accepted += 1;
        state.stats.dropped += 1;
        Ok(())
    }

    /// Makes room for so many bytes by dropping the oldest chunks, if the settings allow it and it is enough.
    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), Error> {
        let max = self.settings.queue_max_bytes;
        let drops = self.settings.overflow == Overflow::DropOldest && bytes <= max;
        if !drops || state.occupied_bytes() - state.shelf.droppable_bytes() + bytes > max {
            if !state.full {
                state.full = true;
                let line = format!("the queue is full: new messages are refused; queue_max_bytes is {max}");
                state.note(Level::Warning, line);
                self.work.notify_one();
            }
            return Err(Error::new(ErrorKind::QueueFull, format!("the queue is full: queue_max_bytes is {max}")));
        }
        let before = state.stats.dropped;
        while state.occupied_bytes() + bytes > max {
            let Some((dropped, leaving)) = state.shelf.drop_oldest() else { break };
            state.stats.dropped += dropped.messages;
            self.report(state, dropped, leaving);
        }
        let dropped = state.stats.dropped - before;
        if dropped > 0 {
            state.note(Level::Warning, format!("the queue is full: the oldest {dropped} messages were dropped"));
        }
        self.work.notify_one();
        self.settled.notify_all();
        Ok(())
    }

    /// Arranges for the host to be told of what was dropped, if it has a callback for it: now, if it is in memory; once
    /// its file was read, if it is only there. What was found in the folder is only counted.
    fn report(&self, state: &mut State, dropped: Dropped, leaving: Option<Leaving>) {
        let is_told = self.settings.tells_dropped && dropped.is_own();
        let errand = match leaving {
            Some(leaving) if is_told && !dropped.is_in_memory() => Some(Errand::Drop(leaving, dropped)),
            leaving => {
                if is_told {
                    state.reports.add(dropped);
                }
                leaving.map(Errand::Remove)
            }
        };
        self.add_errands(state, errand);
    }

    /// From now on the host is told nothing more of what was dropped. Returns a sentence if it was not told of all.
    pub(crate) fn close_reports(&self) -> Option<String> {
        let mut state = self.lock();
        let unread = state.unread_drops();
        state.reports.close(unread);
        state.reports.take_untold()
    }

    /// Whether the host is still to be told of messages that were dropped for room, or how many it is not told of.
    pub(crate) fn owes_reports(&self) -> bool {
        let state = self.lock();
        !state.reports.is_settled() || state.unread_drops() > 0
    }

    /// Takes nothing from now on, and throws away what waits: the user is about to opt out, and has done so when the
    /// returned guard is dropped. The files are deleted later.
    pub(crate) fn stop_taking(&self) -> OptingOut<'_> {
        let mut state = self.lock();
        state.choice.opting_out += 1;
        state.choice.wish.opted_out = true;
        state.choice.wish.is_unsure = false;
        state.purge();
        drop(state);
        self.settled.notify_all();
        self.disk_free.notify_all();
        self.errands.notify_one();
        OptingOut(self)
    }

    /// Does what the user wants. If that has changed, throws away all that waits, and returns true; but a first yes
    /// releases what was held for it. `wish` is called under the lock, so that the newest one counts.
    pub(crate) fn heed(&self, wish: impl FnOnce() -> Wish) -> bool {
        let mut state = self.lock();
        let wish = wish();
        if wish == state.choice.wish || state.choice.opting_out > 0 && !wish.opted_out {
            return false;
        }
        let before = std::mem::replace(&mut state.choice.wish, wish);
        if wish.releases(&before) {
            state.choice.certain = Some(wish);
            state.look.wanted = threads::now(); // the first request waits for a look into the folder, but not for long
        } else if before.holds() && wish.is_unanswered && wish.opted_out {
            state.drop_held(); // the answer in the folder is damaged, which counts as a no
        }
        if wish.may_not_look() || state.choice.certain == Some(wish) {
            drop(state);
            self.work.notify_one();
            self.errands.notify_one();
            self.settled.notify_all();
            return false;
        }
        state.choice.certain = Some(wish);
        if let Some(spool) = &self.spool {
            spool.discard_up_to(wish.discard_up_to_ms);
            // Owners that are gone may have left chunks too: they are thrown away at the next look into the folder.
            state.look.last = None;
            state.look.wanted = threads::now();
        }
        state.purge();
        drop(state);
        self.work.notify_one();
        self.errands.notify_one();
        self.disk_free.notify_all();
        self.settled.notify_all();
        true
    }

    /// Waits until what was thrown away is gone from the disk, but no longer than this: the disk may not answer.
    pub(crate) fn wait_for_errands(&self, time: Duration) {
        let is_busy = |state: &mut State| {
            let has_errands = state.errands.is_at_one || !state.errands.list.is_empty() || state.look.last.is_none();
            state.errands.runs && has_errands && !state.choice.wish.is_unanswered
        };
        drop(self.settled.wait_timeout_while(self.lock(), time, is_busy));
    }

    /// Waits until what was held in memory is in the folder, if there is one, but no longer than this.
    pub(crate) fn wait_for_rescue(&self, time: Duration) {
        let is_busy = |state: &mut State| {
            let is_wanted = state.shelf.counts().in_memory > 0 && !state.choice.wish.opted_out;
            state.errands.runs && is_wanted && !state.disk.is_troubled() && !state.closed
        };
        drop(self.settled.wait_timeout_while(self.lock(), time, is_busy));
    }

    /// Whether the delivery thread has anything to do. Where the user's answer cannot be read, which counts as a no,
    /// nothing will ever be queued, but the thread is needed to log why.
    pub(crate) fn needs_worker(&self) -> bool {
        let state = self.lock();
        let has_reason = state.choice.wish.is_unanswered && !state.log.lines.is_empty();
        self.spool.is_some() || state.shelf.counts().messages > 0 || has_reason
    }

    /// Whether the user is to be asked first, and has not answered.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.lock().choice.wish.is_unanswered
    }

    /// Waits until all messages accepted so far are settled, and returns whether they are. A `time` of zero only starts
    /// the sending.
    pub(crate) fn flush(&self, time: Duration) -> bool {
        let mut state = self.lock();
        let target = state.newest();
        if state.is_settled(target) {
            return true;
        }
        if state.choice.wish.is_unanswered {
            return false;
        }
        state.worker.flush_up_to = state.worker.flush_up_to.max(target);
        // A caller that only starts the sending may do so sixty times a second, and a server that fails must not be
        // tried as often.
        state.worker.hurry |= !time.is_zero();
        self.work.notify_one();
        let (state, _) = self
            .settled
            .wait_timeout_while(state, time, |state| {
                let is_kept_back = state.keeps_back() && !state.shelf.is_settled_up_to(target);
                // If no delivery thread could be started, nothing will be settled.
                state.worker.runs && !state.is_settled(target) && !is_kept_back
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.is_settled(target)
    }

    /// Takes no more messages, and goes on sending for `time`. Waits for `wait`, and returns whether nothing is left.
    pub(crate) fn close(&self, time: Duration, wait: Duration) -> bool {
        let mut state = self.lock();
        let until = threads::now().checked_add(time);
        state.worker.last_chance |= !state.closed;
        state.errands.last_rescue |= !state.closed && state.errands.runs;
        // The longest of several calls counts; a time beyond the clock's range means no limit.
        state.deliver_until = match (state.closed, state.deliver_until) {
            (true, None) => None,
            (_, before) => until.map(|until| before.map_or(until, |before| before.max(until))),
        };
        state.closed = true;
        self.work.notify_one();
        self.errands.notify_one();
        let (state, _) = self
            .settled
            .wait_timeout_while(state, wait, |state| {
                let is_kept_back = state.keeps_back() && !state.shelf.is_empty();
                state.worker.runs && !state.is_empty() && !is_kept_back
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.is_empty()
    }

    /// Pauses or resumes the sending. While it is paused, no call waits for it.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.lock().is_paused = paused;
        self.work.notify_one();
        self.settled.notify_all();
    }

    /// What keeps messages from being delivered right now, as a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.lock();
        let counts = state.shelf.counts();
        let waits = counts.messages > 0 || counts.unread_bytes > 0;
        let waiting = match counts.messages {
            0 if waits => "messages from an earlier run wait".to_owned(),
            0 => "nothing waits".to_owned(),
            1 => "1 message waits".to_owned(),
            messages => format!("{messages} messages wait"),
        };
        if state.choice.wish.opted_out {
            return Some(state.choice.wish.refusal().message().to_owned());
        }
        let mut parts = Vec::new();
        if state.choice.wish.is_unanswered {
            parts.push(format!("the user has not answered yet; {waiting}"));
        } else if state.is_paused {
            parts.push(format!("the client is paused; {waiting}"));
        } else if let Some((reason, at_ms)) = &state.news.problem {
            let at = time::format(*at_ms);
            let at = String::from_utf8_lossy(&at[11..19]);
            let now = threads::since(state.began);
            let left = |until: Option<Duration>| until.map_or(0, |until| until.saturating_sub(now).as_secs() + 1);
            let next = match (state.worker.requests, state.news.paused_until, state.news.next_at) {
                _ if !waits => String::new(),
                (0, Some(_), next) => format!("; the server wants a pause of another {} s", left(next)),
                (0, None, Some(next)) => format!("; next try in {} s", left(Some(next))),
                (0, None, None) => String::new(),
                _ => "; a request is under way".to_owned(),
            };
            parts.push(format!("{} at {at} UTC; {waiting}{next}", reason.trim_end_matches('.')));
        } else if let Some(until) = state.news.paused_until.or(state.news.next_at).filter(|_| waits) {
            // An earlier process has left this wait.
            let left = until.saturating_sub(threads::since(state.began)).as_secs() + 1;
            parts.push(format!("nothing is sent for another {left} s; {waiting}"));
        }
        if state.disk.failed.is_some() && counts.in_memory > 0 {
            parts.push(format!("the spool cannot be written: {} of them in memory only", counts.in_memory));
        }
        let max = self.settings.queue_max_bytes;
        if state.full && state.occupied_bytes() + MAX_MESSAGE_BYTES as u64 > max {
            parts.push(format!("the queue is full: queue_max_bytes is {max}"));
        }
        Some(parts.join("; ")).filter(|sentence| !sentence.is_empty())
    }

    /// An error if messages are refused: the client was shut down, or the user has opted out.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check(&mut self.lock())
    }

    /// The same, and an error too if the user is to be asked first and has not answered.
    pub(crate) fn check_answered(&self) -> Result<(), Error> {
        let mut state = self.lock();
        self.check(&mut state)?;
        if state.choice.wish.is_unanswered { Err(self.refuse(&mut state)) } else { Ok(()) }
    }

    /// If the user has opted out since a message was begun, it is not taken, even if they have opted in again.
    fn check_period(&self, state: &mut State, period: Period) -> Result<(), Error> {
        if state.choice.wish.period == period { Ok(()) } else { Err(self.refuse(state)) }
    }

    fn check(&self, state: &mut State) -> Result<(), Error> {
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the client was shut down"));
        }
        if state.choice.wish.opted_out { Err(self.refuse(state)) } else { Ok(()) }
    }

    /// Why nothing is taken from a user who opted out.
    pub(crate) fn refuse_opted_out(&self) -> Error {
        let mut state = self.lock();
        self.check(&mut state).err().unwrap_or_else(|| self.refuse(&mut state))
    }

    fn refuse(&self, state: &mut State) -> Error {
        // The user may have opted in through another process, and nothing else would wake the delivery thread to check.
        if self.spool.is_some() && state.choice.asked.is_none_or(|asked| threads::since(asked) >= ASK_INTERVAL) {
            state.choice.asked = Some(threads::now());
            state.choice.asks = true;
            self.work.notify_one();
        }
        state.choice.wish.refusal()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Tells the threads to end, whatever is left.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        self.end_of_holding(&mut state);
        drop(state);
        self.work.notify_one();
        self.errands.notify_one();
        self.dirty.notify_one();
    }

    /// What is still held when the client ends is dropped: the user has not allowed it to be stored.
    fn end_of_holding(&self, state: &mut State) {
        if !state.choice.wish.holds() {
            return;
        }
        let dropped = state.drop_held();
        if dropped > 0 {
            let line = format!("{dropped} messages were dropped: the user had not answered when the client ended");
            state.note(Level::Info, line);
        }
    }

    /// Tries once more to write out what is in memory, for so long.
    pub(crate) fn rescue(&self, time: Duration) {
        let mut state = self.lock();
        self.end_of_holding(&mut state);
        if !state.errands.runs || state.shelf.counts().in_memory == 0 {
            return;
        }
        state.errands.last_rescue = true;
        self.errands.notify_one();
        drop(self.wait_for_disk(state, time, |state| state.errands.runs && state.errands.last_rescue));
    }

    /// Waits for the disk for so long, and for a quarter of a second at least. That is counted in slices: on a busy
    /// machine each takes longer, and so does the thread that is using the disk.
    fn wait_for_disk<'a>(
        &'a self,
        mut state: Guard<'a>,
        time: Duration,
        is_at_it: impl Fn(&State) -> bool,
    ) -> Guard<'a> {
        let (start, mut slices) = (threads::now(), 0);
        while is_at_it(&state) {
            let left = match slices < END_SLICES && threads::since(start) < OWN_STEPS_MAX {
                true => DISK_GRACE / END_SLICES,
                false => time.saturating_sub(threads::since(start)),
            };
            if left.is_zero() {
                break;
            }
            let woken = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            slices += u32::from(woken.1.timed_out());
            state = woken.0;
        }
        state
    }

    /// Does something on the disk, on the delivery thread. The end of the client does not wait long for it.
    pub(crate) fn at_disk<T>(&self, call: impl FnOnce() -> T) -> T {
        self.lock().worker.at_disk = true;
        let result = call();
        self.lock().worker.at_disk = false;
        result
    }

    /// Waits for the delivery thread to end, and returns whether it has. It may be busy with a request, for which it
    /// has this time; or with the disk or a callback, or it may not have run yet: for these it has what is left since
    /// `start`. After that, with `abandon`, requests under way are left behind, and so is the thread itself if it is
    /// making one.
    pub(crate) fn wait_for_end(&self, start: Instant, time: Duration, abandon: bool) -> bool {
        let mut state = self.lock();
        let (now, mut slices) = (threads::now(), 0);
        while state.worker.runs {
            let own = OWN_STEPS_MAX.saturating_sub(threads::since(start));
            // What it does now is waited for, but not all that comes after it: each may be a slow callback.
            let WorkerState { requesting, requests, awaits_answers, abandoned, .. } = state.worker;
            let more = requests > 0 && !abandoned && (awaits_answers || !state.worker.landed.is_empty());
            let left = match (requesting || more, state.worker.at_disk) {
                (true, _) => time.saturating_sub(threads::since(now)),
                // In slices: on a busy machine each takes longer, and so does what the thread is doing.
                (_, true) if slices < END_SLICES => own.min(DISK_GRACE / END_SLICES),
                (_, true) => Duration::ZERO,
                (_, false) => own,
            };
            if left.is_zero() {
                if abandon && !state.worker.abandoned {
                    state.worker.abandoned = true;
                    self.work.notify_one();
                    continue;
                }
                return false;
            }
            let woken = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            slices += u32::from(woken.1.timed_out());
            state = woken.0;
        }
        true
    }

    /// Whether the requests under way at the end were left behind.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().worker.abandoned
    }

    /// Has the folder tidied for the next owner, and what was accepted synced if the settings say so. Waits so long for
    /// it, and returns whether the folder is tidy. If the disk does not answer, the threads are left behind.
    pub(crate) fn put_away(&self, time: Duration) -> bool {
        let mut state = self.lock();
        state.errands.put_away = true;
        if !state.errands.runs {
            drop(state);
            self.spool.iter().for_each(|spool| self.tidy(spool));
            state = self.lock();
        }
        self.errands.notify_one();
        let state = self.wait_for_disk(state, time, |state| state.errands.runs || state.sync.runs);
        !state.errands.runs
    }

    /// Whether the errand thread is missing: it was not started, or could not be.
    pub(crate) fn lacks_errands(&self) -> bool {
        let state = self.lock();
        self.spool.is_some() && !state.errands.runs && !state.errands.put_away
    }

    /// Notes that the delivery thread runs, or has ended.
    pub(crate) fn set_working(&self, working: bool) {
        self.lock().worker.runs = working;
        self.settled.notify_all();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats()
    }

    /// How long the queue has existed: the clock of everything that has to do with delivery.
    pub(crate) fn elapsed(&self) -> Duration {
        threads::since(self.lock().began)
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        // A panic while the lock was held is a bug of ours; going on may still deliver the host's messages.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
