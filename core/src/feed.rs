//! The queue as the delivery thread sees it: what to do next, and what has become of it. Everything that touches the
//! disk happens outside the lock.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::chunk::{Batch, Chunk};
use crate::delivery::{self, Limits, Outcome, Pace, Part, Parts, Settled, Step};
use crate::kill;
use crate::load::Guard;
use crate::queue::{DISK_REST, NEVER, Queue, Settings};
use crate::report::Level;
use crate::spool::{LOOK_INTERVAL, Spool};
use crate::state::{Deferred, Flight};

/// What the worker is to do.
pub(crate) enum Work {
    /// Send these messages, within this time.
    Send { batch: Arc<Batch>, part: Part, within: Option<Duration> },
    /// Hand these lines to the log.
    Log(Vec<(Level, String)>),
    /// Look whether the user wants something else by now.
    Ask,
    /// Nothing any more: report what is left, and end.
    End,
}

/// How long to wait before what the user wants is read again, where it could not be read.
const UNSURE_PAUSE: Duration = Duration::from_millis(100);

impl Queue {
    /// Waits until there is something to do.
    pub(crate) fn next(&self, pace: &mut Pace) -> Work {
        let mut state = self.lock();
        loop {
            if !state.log.is_empty() {
                return Work::Log(state.take_log());
            }
            if state.ended || (state.closed && state.is_empty()) {
                return Work::End;
            }
            if std::mem::take(&mut state.asks) {
                return Work::Ask;
            }
            if state.wish.is_unsure {
                // Nothing that is there may be sent, nor thrown away.
                let woken = self.work.wait_timeout(state, UNSURE_PAUSE);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
                return Work::Ask;
            }
            let busy;
            (state, busy) = self.keep_house(state);
            if busy {
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
                    if state.flight.is_none() {
                        state = self.load(state);
                    }
                    let within = state.deliver_until.map(|until| until.saturating_duration_since(Instant::now()));
                    let Some(flight) = &state.flight else { continue };
                    let Some(part) = flight.parts.current().cloned() else {
                        // Only a bug that was contained can leave this behind; its file is found at the next start.
                        state.flight = None;
                        continue;
                    };
                    let batch = flight.batch.clone();
                    state.requesting = true;
                    return Work::Send { batch, part, within };
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

    fn sleep<'a>(&self, mut state: Guard<'a>, time: Option<Duration>, wake_at: u32) -> Guard<'a> {
        state.wake_at = wake_at;
        state.wake_on_seal = self.spool.is_some();
        let left = state.deliver_until.map(|until| until.saturating_duration_since(Instant::now()));
        let look = self.spool.is_some() && state.look_again && !state.closed;
        let look = look.then_some(LOOK_INTERVAL);
        let time = time.into_iter().chain(left.filter(|left| !left.is_zero())).chain(look).min();
        let mut state = match time {
            Some(time) => self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.wake_at = NEVER;
        state.wake_on_seal = false;
        state
    }

    /// Does one thing of what keeps callers from having to: looks into the folder, cuts sealed chunks to their content,
    /// makes the next chunk ready. Whether there was something to do; then the lock was let go of meanwhile.
    fn keep_house<'a>(&'a self, mut state: Guard<'a>) -> (Guard<'a>, bool) {
        let Some(spool) = &self.spool else {
            if state.ready.is_some() || state.active.messages() == 0 {
                return (state, false);
            }
            drop(state);
            let chunk = Chunk::in_memory(0, self.settings.room);
            let mut state = self.lock();
            state.ready.get_or_insert(chunk);
            return (state, true);
        };
        let look_again = state.look_again && state.looked.is_some_and(|looked| looked.elapsed() >= LOOK_INTERVAL);
        if state.looked.is_none() || look_again {
            drop(state);
            return (self.look(spool), true);
        }
        if let Some(retired) = state.sealed.iter_mut().find(|chunk| !chunk.is_retired()).and_then(Chunk::retire) {
            drop(state);
            kill::point("sealed");
            let _ = spool.cut(&retired.path, retired.bytes); // what is too long is only too long
            drop(retired);
            kill::point("cut");
            return (self.lock(), true);
        }
        let rests = state.disk_failed.is_some_and(|failed| failed.elapsed() < DISK_REST);
        let wanted = state.ready.is_none() && (state.active.messages() > 0 || state.active.is_in_memory());
        if !wanted || rests || state.closed || state.opted_out {
            return (state, false);
        }
        let purges = state.purges;
        drop(state);
        let made = spool.chunk();
        let mut state = self.lock();
        match made {
            // The user opted out meanwhile. What is made now must be younger than that, or it will be thrown away with
            // the rest.
            Ok(chunk) if state.purges != purges => {
                drop(state);
                chunk.path().into_iter().for_each(|path| spool.remove(path));
                state = self.lock();
            }
            Ok(chunk) => {
                if state.disk_failed.take().is_some() {
                    state.note(Level::Info, "the spool can be written again".to_owned());
                }
                state.ready.get_or_insert(chunk);
            }
            Err(error) => self.disk_failed(&mut state, &error),
        }
        (state, true)
    }

    /// Looks into the folder, and adopts what owners that are gone have left.
    fn look(&self, spool: &Spool) -> Guard<'_> {
        let purges = self.lock().purges;
        let look = spool.look();
        let rejected_bytes = spool.rejected_bytes();
        let mut state = self.lock();
        if state.purges != purges {
            // The user opted out while it was being looked at: it is looked at again, with other eyes.
            drop(state);
            look.into_iter().flat_map(|look| look.found).for_each(|found| spool.remove(&found.path));
            return self.lock();
        }
        state.rejected_bytes = rejected_bytes;
        state.looked = Some(Instant::now());
        match look {
            Ok(look) => {
                if look.discarded > 0 {
                    let line = format!("{} files of before the user opted out were deleted", look.discarded);
                    state.note(Level::Info, line);
                }
                if !look.found.is_empty() {
                    let line = format!("{} chunks of an earlier run were found in the spool", look.found.len());
                    state.note(Level::Info, line);
                }
                state.find(look.found);
                state.foreign_bytes = look.foreign_bytes;
                state.look_again = look.others;
            }
            Err(error) => {
                // Said once: where it cannot be written either, that is said too.
                if !std::mem::replace(&mut state.look_again, true) {
                    state.note(Level::Warning, format!("the spool cannot be read: {error}"));
                }
            }
        }
        self.settled.notify_all();
        state
    }

    /// Whether a chunk is still to be sent: it may have been thrown away since it was put in flight.
    pub(crate) fn is_in_flight(&self, batch: &Arc<Batch>) -> bool {
        self.lock().flight.as_ref().is_some_and(|flight| Arc::ptr_eq(&flight.batch, batch))
    }

    /// What was to be sent is not.
    pub(crate) fn not_sent(&self) {
        self.lock().requesting = false;
    }

    /// Takes in what came of a request: the counts change, and who has settled is returned, to be told before
    /// [`Queue::landed`] lets others know. None if it is nobody's business any more.
    pub(crate) fn settle(&self, pace: &mut Pace, outcome: Outcome, limits: Limits, chance: f64) -> Option<Settled> {
        let mut state = self.lock();
        state.requesting = false;
        if state.abandoned {
            return None;
        }
        let now = state.began.elapsed();
        let was_made = outcome.was_made();
        state.stats.requests += u64::from(was_made);
        let mut flight = state.flight.take()?;
        if was_made && flight.parts.current().is_some_and(|part| part.attempts > 0) {
            state.stats.retries += 1;
        }
        let settled = pace.settle(&mut flight.parts, outcome, limits, now, chance);
        if let Settled::Delivered(parts) | Settled::Failed(parts) = &settled {
            for part in parts {
                let messages = part.messages.len() as u64;
                let bytes: usize = flight.batch.part(part.messages.clone()).map(|message| message.len() + 1).sum();
                state.take_off(messages, bytes as u64);
                match settled {
                    Settled::Delivered(_) => state.stats.delivered += messages,
                    _ => state.stats.failed += messages,
                }
            }
        }
        state.flight = Some(flight);
        Some(settled)
    }

    /// Whoever waits may know: what was settled last has been reported. A chunk of which nothing is left goes.
    pub(crate) fn landed(&self, limits: Limits) {
        let mut state = self.lock();
        if state.abandoned {
            return;
        }
        if let Some(flight) = state.flight.take_if(|flight| flight.parts.current().is_none()) {
            state.loading = Some(flight.batch.number); // it counts as there until its file is gone
            drop(state);
            flight.batch.path().into_iter().for_each(|path| self.remove(path));
            state = self.lock();
            state.loading = None;
            let again = Arc::into_inner(flight.batch).and_then(|batch| batch.into_chunk(self.settings.room));
            if let (Some(chunk), None) = (again, &self.spool) {
                state.ready.get_or_insert(chunk);
            }
        } else {
            let others = !state.sealed.is_empty() || !state.backlog.is_empty() || state.active.messages() > 0;
            let stuck = |flight: &mut Flight| limits.spooled && others && flight.parts.is_stuck(limits);
            if let Some(flight) = state.flight.take_if(stuck) {
                match flight.batch.path() {
                    Some(path) => {
                        let path = path.to_owned();
                        state.deferred.push_back(Deferred::new(&flight, path));
                    }
                    None => state.flight = Some(flight),
                }
            }
        }
        drop(state);
        self.settled.notify_all();
    }

    /// Takes everything out of the queue that would be lost with the process, as failed.
    pub(crate) fn give_up_all(&self) -> Vec<(Arc<Batch>, Part)> {
        let mut state = self.lock();
        let mut left = Vec::new();
        if let Some(mut flight) = state.flight.take_if(|flight| flight.batch.path().is_none()) {
            left.extend(flight.parts.take_all().into_iter().map(|part| (flight.batch.clone(), part)));
        }
        if state.active.is_in_memory() {
            state.seal(Chunk::in_memory(0, 0));
        }
        let (lost, kept) = std::mem::take(&mut state.sealed).into_iter().partition(Chunk::is_in_memory);
        state.sealed = kept;
        for chunk in Vec::from_iter::<std::collections::VecDeque<Chunk>>(lost) {
            if let Ok((batch, _)) = chunk.into_batch(|path| self.read(path)) {
                let batch = Arc::new(batch);
                let parts = Parts::new(batch.len()).take_all();
                left.extend(parts.into_iter().map(|part| (batch.clone(), part)));
            }
        }
        for (batch, part) in &left {
            let bytes: usize = batch.part(part.messages.clone()).map(|message| message.len() + 1).sum();
            state.stats.failed += part.messages.len() as u64;
            state.take_off(part.messages.len() as u64, bytes as u64);
        }
        drop(state);
        self.settled.notify_all();
        left
    }

    /// Leaves the folder as whoever comes next should find it: chunks cut to their content, empty ones gone, the lock
    /// free.
    pub(crate) fn put_away(&self) {
        let Some(spool) = &self.spool else { return };
        let mut state = self.lock();
        let fresh = Chunk::in_memory(0, 0);
        let unused = [state.seal(fresh), state.ready.take()];
        for chunk in unused.iter().flatten() {
            chunk.path().into_iter().for_each(|path| spool.remove(path));
        }
        for chunk in &mut state.sealed {
            if let Some(retired) = chunk.retire() {
                let _ = spool.cut(&retired.path, retired.bytes);
            }
        }
        spool.close(state.is_empty());
    }
}
