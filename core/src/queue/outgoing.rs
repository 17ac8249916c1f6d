//! The queue as the delivery thread sees it: what to do next, and what came of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::base::hooks::Level;
use crate::base::kill;
use crate::base::threads;
use crate::base::time;
use crate::queue::chunk::{Batch, Chunk};
use crate::queue::flight::Landed;
use crate::queue::policy::{self, Limits, Outcome, Pace, Part, Settled, Step};
use crate::queue::queue::{Guard, NEVER, Queue, Settings};
use crate::queue::shelf::{Change, Taken};
use crate::queue::spool::LOOK_INTERVAL;
use crate::queue::state::{Errand, News, State};
use crate::user::person::Wish;

/// What the delivery thread is to do.
pub(crate) enum Work {
    /// Send these messages of a slot, within this time.
    Send { number: u64, batch: Arc<Batch>, part: Part, within: Option<Duration> },
    /// Process what came of a request that another thread has made.
    Land(Landed),
    /// Hand these lines to the log, and tell the host of messages that were dropped for room, if there are any.
    Tell(Vec<(Level, String)>),
    /// Check whether the user's wish has changed.
    Ask,
    /// Report what is left, and end.
    End,
}

/// Only a full chunk wakes the delivery thread.
const ON_FULL: u64 = NEVER - 1;

/// How long to wait before the user's wish is read again, if it could not be read.
const UNSURE_PAUSE: Duration = Duration::from_millis(100);

/// How often to check whether another process was told the answer that this one waits for: it must know within half a
/// minute, even on a busy machine.
const ANSWER_INTERVAL: Duration = Duration::from_secs(15);

/// How long a chunk that could be sent is kept open while the next one is not ready.
const NEXT_CHUNK_PATIENCE: Duration = Duration::from_millis(500);

/// How long the first request waits for a look into the folder.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

impl Queue {
    /// Waits until there is something to do.
    pub(crate) fn next(&self, pace: &mut Pace) -> Work {
        let mut state = self.lock();
        loop {
            if self.spool.is_none() && state.buffers.is_empty() && state.shelf.filling().0 > 0 {
                // So that no caller has to allocate so much memory. Done first: a notification in the meantime is lost
                // on a thread that does not sleep, but everything is checked again below.
                drop(state);
                let buffer = Chunk::in_memory(self.settings.room);
                state = self.lock();
                if let Some(buffer) = buffer {
                    self.keep_buffer(&mut state, buffer);
                }
            }
            // Once after each other step: a host that causes more and more telling must not hold up requests.
            let is_free = state.ended || state.is_paused || state.choice.wish.is_unsure;
            let has_told = std::mem::take(&mut state.worker.has_told);
            if state.owes_telling() && (is_free || !has_told) {
                state.worker.has_told = true;
                let untold = state.reports.take_untold().map(|sentence| (Level::Warning, sentence));
                return Work::Tell(state.take_log().into_iter().chain(untold).collect());
            }
            if let Some(landed) = state.worker.landed.pop_front() {
                return Work::Land(landed);
            }
            if state.ended || (state.closed && state.is_empty()) {
                if state.worker.requests == 0 || state.worker.abandoned {
                    return Work::End;
                }
                // The thread that ends the client breaks requests off, or leaves them behind.
                state.worker.awaits_answers = true;
                self.settled.notify_all();
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.worker.awaits_answers = false;
                continue;
            }
            if std::mem::take(&mut state.choice.asks) {
                return Work::Ask;
            }
            if let Some(pause) = self.pause_before_asking(&state.choice.wish) {
                // Nothing that waits may be sent or thrown away.
                let woken = self.work.wait_timeout(state, pause);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
                return Work::Ask;
            }
            if state.choice.wish.is_unanswered {
                state = self.sleep(state, None, NEVER); // without a folder no other process can have the answer
                continue;
            }
            let now = threads::now();
            if state.is_paused {
                state = self.sleep(state, None, NEVER);
                continue;
            }
            if std::mem::take(&mut state.worker.hurry) {
                pace.hurry(now - state.began);
            }
            if std::mem::take(&mut state.worker.last_chance) {
                pace.last_chance();
            }
            if state.closed && state.deliver_until.is_some_and(|until| until <= now) {
                state = self.sleep(state, None, NEVER);
                continue;
            }
            let clock = now - state.began;
            state.news.follow(pace, clock);
            let Settings { flush_at, flush_interval, .. } = self.settings;
            match policy::next(pace, state.waiting(self.settings.in_flight_max()), flush_at, flush_interval, clock) {
                Step::Send => {
                    let flight = match state.shelf.in_flight() {
                        Some(flight) => Some(flight),
                        None => {
                            state = self.load(state);
                            state.shelf.in_flight()
                        }
                    };
                    let within = state.deliver_until.map(|until| until.saturating_duration_since(threads::now()));
                    match flight {
                        Some((number, batch, Some(part))) => {
                            state.shelf.set_under_way(number, true);
                            state.worker.requests += 1;
                            return Work::Send { number, batch, part, within };
                        }
                        // Only a bug that was contained can leave such a slot; its file is found at the next start.
                        Some((number, _, None)) => _ = state.shelf.abandon(number),
                        None => {}
                    }
                }
                Step::Gather(until) => state = self.sleep(state, Some(until - clock), u64::from(flush_at)),
                Step::Wait(until) => state = self.sleep(state, Some(until - clock), NEVER),
                Step::Await => state = self.sleep(state, None, NEVER),
                Step::AwaitOrFill => state = self.sleep(state, None, ON_FULL),
                // While messages keep coming, the thread looks again without being woken, so that the first message of
                // a batch need not wake it.
                Step::Idle if state.worker.idle_since != state.stats.accepted => {
                    state.worker.idle_since = state.stats.accepted;
                    state = self.sleep(state, Some(flush_interval), u64::from(flush_at));
                }
                Step::Idle => state = self.sleep(state, None, 1),
            }
        }
    }

    /// How long to wait before the user's wish is read from the folder again; none if it is known, or there is no
    /// folder.
    fn pause_before_asking(&self, wish: &Wish) -> Option<Duration> {
        match (wish.is_unanswered, wish.is_damaged) {
            _ if !wish.may_not_look() || self.spool.is_none() => None,
            (true, _) => Some(ANSWER_INTERVAL),
            (false, true) => Some(LOOK_INTERVAL),
            (false, false) => Some(UNSURE_PAUSE),
        }
    }

    fn sleep<'a>(&self, mut state: Guard<'a>, time: Option<Duration>, wake_at: u64) -> Guard<'a> {
        if state.owes_telling() {
            return state;
        }
        state.worker.wake_at = wake_at;
        let left = state.deliver_until.map(|until| until.saturating_duration_since(threads::now()));
        let time = time.into_iter().chain(left.filter(|left| !left.is_zero())).min();
        let mut state = match time {
            Some(time) => self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.worker.wake_at = NEVER;
        state
    }

    /// How long the chunk that is being filled is to stay open because the next one is still being made; none if it can
    /// be sealed. If it were sealed sooner, the next caller would have to wait for the disk.
    fn awaits_next_chunk(&self, state: &mut State) -> Option<Duration> {
        let can_have = self.spool.is_some() && state.errands.runs && !state.closed && !state.choice.wish.opted_out;
        if !can_have || !state.ahead.ready.is_empty() || state.disk.is_troubled() || state.shelf.is_filling_memory() {
            return None;
        }
        let since = *state.ahead.seal_wanted.get_or_insert_with(threads::now);
        self.wake_errands(state);
        NEXT_CHUNK_PATIENCE.checked_sub(threads::since(since)).filter(|left| !left.is_zero())
    }

    /// Puts the next slot in flight, if it can be read.
    fn load<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        // What owners that are gone have left is older, and comes first; but a slow folder must not delay the rest for
        // long.
        let left = LOOK_PATIENCE.saturating_sub(threads::since(state.look.wanted));
        if state.look.last.is_none() && state.errands.runs && !left.is_zero() {
            return self.wait_for_work(state, left);
        }
        if !state.shelf.is_any_waiting() && state.shelf.filling().0 > 0 {
            if let Some(left) = self.awaits_next_chunk(&mut state) {
                return self.wait_for_work(state, left);
            }
            state.ahead.seal_wanted = None;
            self.seal(&mut state);
        }
        let Some((number, taken)) = state.shelf.next() else {
            // Its file is being written to or cut: it is free in a moment.
            return self.wait_for_work(state, UNSURE_PAUSE);
        };
        drop(state);
        let loaded = self.at_disk(|| self.read_taken(taken));
        kill::point("read");
        let mut state = self.lock();
        match loaded {
            Ok(batch) => self.put_in_flight(&mut state, number, &batch),
            Err((file, error)) => self.unreadable(&mut state, number, &file, &error),
        }
        self.settled.notify_all();
        // The folder may have been tidied up before this was read.
        if state.errands.put_away
            && let (Some(spool), Some((file, bytes))) = (&self.spool, state.shelf.uncut(true))
        {
            drop(state);
            let _ = spool.cut(&file, bytes); // a failure does no harm: the file is only longer than needed
            return self.lock();
        }
        state
    }

    /// Waits until something changes, unless there is something to tell the host.
    fn wait_for_work<'a>(&self, state: Guard<'a>, time: Duration) -> Guard<'a> {
        if state.owes_telling() {
            return state;
        }
        self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Reads what was taken from the shelf, or says which file cannot be read, and why.
    pub(crate) fn read_taken(&self, taken: Taken) -> Result<Arc<Batch>, (PathBuf, io::Error)> {
        let path = match &taken {
            Taken::Own(chunk) => chunk.path().map(Path::to_owned),
            Taken::Found(path) | Taken::Again(path) => Some(path.clone()),
            Taken::Batch(_) => None,
        };
        let batch = match taken {
            Taken::Own(chunk) => chunk.into_batch(|path| self.read(path)),
            Taken::Found(path) | Taken::Again(path) => self.read(&path).map(Batch::checked),
            Taken::Batch(batch) => return Ok(batch),
        };
        batch.map(Arc::new).map_err(|error| (path.unwrap_or_default(), error))
    }

    fn put_in_flight(&self, state: &mut State, number: u64, batch: &Arc<Batch>) {
        let (change, damaged) = (state.shelf.fly(number, batch, self.settings.room), batch.damaged().len() as u64);
        match change {
            None => {} // thrown away while it was being read
            Some(Change::Found(messages)) => {
                state.stats.accepted += messages + damaged;
                state.stats.recovered += messages + damaged;
                state.stats.failed += damaged;
                state.stats.damaged += damaged;
            }
            Some(Change::Lost(messages)) => {
                state.stats.failed += messages;
                state.stats.damaged += messages;
                state.note(Level::Error, format!("{messages} messages were lost: their lines were damaged"));
            }
            Some(Change::None) => {}
        }
        if damaged > 0 && change.is_some() {
            self.add_errands(state, [Errand::KeepDamaged(batch.clone())]);
        }
        if change.is_some() && batch.len() == 0 {
            self.leave(state, number);
        }
    }

    fn unreadable(&self, state: &mut State, number: u64, file: &Path, error: &io::Error) {
        if is_passing(error) {
            state.look.unreadable.push((threads::now(), number));
            return self.wake_errands(state);
        }
        let messages = state.shelf.abandon(number);
        state.stats.failed += messages;
        let file = file.display();
        match (error.kind(), messages) {
            // Another process has delivered what was found.
            (io::ErrorKind::NotFound, 0) => {}
            (io::ErrorKind::NotFound, _) => {
                let line = format!("{messages} messages are gone: {file} was deleted or taken by another process");
                state.note(Level::Error, line);
            }
            (_, 0) => {
                state.note(Level::Error, format!("{file} cannot be read and is left where it is: {error}"));
            }
            (_, _) => {
                let line =
                    format!("{messages} messages are given up: {file} cannot be read and is left there: {error}");
                state.note(Level::Error, line);
            }
        }
    }

    /// Removes a slot with nothing left, and its file.
    fn leave(&self, state: &mut State, number: u64) {
        if let Some(leaving) = state.shelf.leave(number) {
            self.add_errands(state, [Errand::Remove(leaving)]);
        }
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.spool.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), |spool| spool.read(path))
    }

    /// Whether a slot is still to be sent, or was thrown away since it was put in flight.
    pub(crate) fn is_in_flight(&self, number: u64) -> bool {
        self.lock().shelf.is_in_flight(number)
    }

    /// The same, and the user is known to allow it.
    pub(crate) fn may_be_sent(&self, number: u64) -> bool {
        let state = self.lock();
        !state.choice.wish.may_not_look() && state.shelf.is_in_flight(number)
    }

    /// Notes that the delivery thread makes a request itself, or comes back from one.
    pub(crate) fn set_requesting(&self, requesting: bool) {
        self.lock().worker.requesting = requesting;
    }

    /// Takes a request from a thread that comes back from it.
    pub(crate) fn land(&self, landed: Landed) {
        let mut state = self.lock();
        state.worker.landed.push_back(landed);
        drop(state);
        self.work.notify_one();
    }

    /// Notes that a request is over, or was not made.
    pub(crate) fn not_under_way(&self, number: u64) {
        let mut state = self.lock();
        state.worker.requests = state.worker.requests.saturating_sub(1);
        state.shelf.set_under_way(number, false);
    }

    /// Processes what came of a request that began in this `epoch` of the pace: the counts change, and what was settled
    /// is returned, for the host to be told before [`Queue::landed`] wakes those who wait. None if it does not matter
    /// any more.
    pub(crate) fn settle(
        &self,
        number: u64,
        pace: &mut Pace,
        outcome: Outcome,
        epoch: u64,
        limits: Limits,
        chance: f64,
    ) -> Option<Settled> {
        let mut state = self.lock();
        if state.worker.abandoned {
            return None;
        }
        let now = threads::since(state.began);
        let was_made = outcome.was_made();
        state.stats.requests += u64::from(was_made);
        let parts = state.shelf.parts(number)?;
        let is_retry = was_made && parts.current().is_some_and(|part| part.attempts > 0);
        let settled = pace.settle(parts, outcome, epoch, limits, now, chance);
        state.news.follow(pace, now);
        state.stats.retries += u64::from(is_retry);
        match &settled {
            Settled::Delivered(parts) => {
                let messages = state.shelf.settle(number, parts);
                state.stats.delivered += messages;
                pace.widen(state.shelf.is_anything_waiting());
            }
            Settled::Failed(parts) => {
                let messages = state.shelf.settle(number, parts);
                state.stats.failed += messages;
            }
            Settled::Nothing => {}
        }
        Some(settled)
    }

    /// Notes what an answer said, or why there is none, and whether it delivered anything.
    pub(crate) fn learn(&self, status: Option<u16>, reason: &str, delivered: bool) {
        let mut state = self.lock();
        let now_ms = time::now_ms();
        if status.is_some() {
            state.stats.last_http_status = status;
        }
        if delivered {
            state.stats.last_success_ms = Some(now_ms);
        }
        state.news.problem = (!delivered).then(|| (reason.to_owned(), now_ms));
    }

    /// Why the last request delivered nothing; empty if it delivered.
    pub(crate) fn reason(&self) -> String {
        self.lock().news.problem.as_ref().map_or_else(String::new, |(reason, _)| reason.clone())
    }

    /// What was settled last has been reported: removes the slot if nothing is left of it, and wakes those who wait.
    pub(crate) fn landed(&self, number: u64, batch: Arc<Batch>, limits: Limits) {
        let mut state = self.lock();
        if state.worker.abandoned {
            return;
        }
        if let Some(leaving) = state.shelf.put_back(number, limits) {
            self.add_errands(&mut state, [Errand::Remove(leaving)]);
            if !state.errands.runs {
                state = self.run_errands_here(state);
            }
        }
        if self.spool.is_none()
            && let Some(buffer) = Arc::into_inner(batch).and_then(|batch| batch.into_chunk(self.settings.room))
        {
            self.keep_buffer(&mut state, buffer);
        }
        drop(state);
        self.settled.notify_all();
    }

    /// Takes out what was dropped for room, for the host to be told: see [`Queue::has_told_dropped`].
    pub(crate) fn take_dropped(&self) -> Option<(Arc<Batch>, Vec<Part>)> {
        let mut dropped = self.lock().reports.take()?;
        let taken = std::mem::replace(&mut dropped.taken, Taken::Batch(Arc::default()));
        let batch = self.read_taken(taken).unwrap_or_default(); // it is in memory
        let parts = dropped.parts(&batch);
        let named: usize = parts.iter().map(|part| part.messages.len()).sum();
        self.lock().reports.lack(dropped.messages.saturating_sub(named as u64));
        Some((batch, parts))
    }

    /// The host was told of what was taken out: wakes those who wait.
    pub(crate) fn has_told_dropped(&self) {
        self.lock().reports.told();
        self.settled.notify_all();
    }

    /// Takes everything out of the queue that would be lost with the process, and counts it as failed.
    pub(crate) fn give_up_all(&self) -> Vec<(Arc<Batch>, Part)> {
        let mut state = self.lock();
        let left = state.shelf.take_lost();
        state.stats.failed += left.iter().map(|(_, part)| part.messages.len() as u64).sum::<u64>();
        drop(state);
        self.settled.notify_all();
        left
    }
}

impl News {
    fn follow(&mut self, pace: &Pace, now: Duration) {
        (self.next_at, self.paused_until) = (pace.wait(now), pace.paused_until(now));
    }
}

/// Whether an error is about this moment rather than the file: out of descriptors or memory, for example.
fn is_passing(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) {
        return true;
    }
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::ResourceBusy
    )
}
