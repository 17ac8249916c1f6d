//! What is done on the disk, by a thread of ours and outside of the queue's lock: chunks are made ahead, cut and
//! deleted, what is in memory is written out, and the folder is looked into. No caller waits for any of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::base::hooks::Level;
use crate::base::kill;
use crate::base::storage::Stopwatch;
use crate::base::threads;
use crate::queue::chunk::{Batch, Chunk, Retired};
use crate::queue::queue::{Guard, Queue};
use crate::queue::shelf::{Dropped, Leaving, Taken};
use crate::queue::spool::{LOOK_INTERVAL, Spool, begun_ms};
use crate::queue::state::{DISK_REST, Errand, State};

/// Chunks that were made ahead are deleted if none was used for so long.
const SPARE_MAX: Duration = Duration::from_secs(1);

/// One thing to do.
enum Task {
    Errand(Errand),
    Look,
    Cut(u64, Retired),
    Shorten(PathBuf, usize),
    Make,
    Rescue(u64, i64, Taken),
}

impl Queue {
    /// The main function of the errand thread.
    pub(crate) fn run_errands(&self) {
        let Some(spool) = &self.spool else { return };
        let mut state = self.lock();
        state.errands.is_at_one = false; // it starts over after a bug that was contained
        loop {
            if let Some(task) = self.next_task(&mut state) {
                state.errands.is_at_one = true;
                state = self.perform(spool, state, task);
                state.errands.is_at_one = false;
                if state.errands.list.is_empty() {
                    self.settled.notify_all();
                }
            } else if state.errands.put_away && !state.sync.runs {
                break; // not before: what could not be synced at the end is written to new files
            } else {
                state = self.sleep_until_needed(state);
            }
        }
        drop(state);
        self.tidy(spool);
        self.lock().errands.runs = false;
        self.settled.notify_all();
    }

    /// Does the errands on this thread, where none could be started for them.
    pub(crate) fn run_errands_here<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let Some(spool) = &self.spool else { return state };
        while let Some(errand) = state.errands.list.pop_front() {
            state = self.perform(spool, state, Task::Errand(errand));
        }
        state
    }

    fn next_task(&self, state: &mut State) -> Option<Task> {
        if state.choice.wish.is_unanswered {
            return None;
        }
        if let Some(errand) = state.errands.list.pop_front() {
            return Some(Task::Errand(errand));
        }
        let now = threads::now();
        if !state.errands.put_away && self.is_look_due(state, now) {
            return Some(Task::Look);
        }
        if let Some((number, retired)) = state.shelf.retire() {
            return Some(Task::Cut(number, retired));
        }
        if let Some((file, bytes)) = state.shelf.uncut(false) {
            return Some(Task::Shorten(file, bytes));
        }
        let rests = state.disk.rests(now);
        if (!rests || state.errands.last_rescue) && !state.choice.wish.is_unsure {
            // A chunk in memory is sealed as soon as there is something better.
            let is_better = state.errands.last_rescue || !state.ahead.ready.is_empty();
            if state.shelf.is_filling_memory() && state.shelf.filling().0 > 0 && is_better {
                self.seal(state);
            }
            if let Some((number, begun_ms, taken)) = state.shelf.rescue() {
                return Some(Task::Rescue(number, begun_ms, taken));
            }
        }
        if std::mem::take(&mut state.errands.last_rescue) {
            self.settled.notify_all();
        }
        if state.errands.put_away || state.closed || state.choice.wish.opted_out {
            return None;
        }
        let spare = now.saturating_duration_since(state.ahead.used) >= SPARE_MAX;
        if spare {
            state.ahead.wanted = 1;
        }
        let wanted = self.wanted_ahead(state);
        if spare && state.ahead.ready.len() > wanted {
            return state.ahead.ready.pop_back().map(|chunk| Task::Errand(Errand::Discard(chunk)));
        }
        let may = !rests && state.disk.busy_since.is_none();
        (may && state.ahead.ready.len() < wanted).then_some(Task::Make)
    }

    /// How many chunks are to be ready: none while there are no messages, one when the first chunk is half full, more
    /// while they are used up faster than they are made.
    fn wanted_ahead(&self, state: &State) -> usize {
        let (messages, bytes) = state.shelf.filling();
        let is_troubled = state.disk.is_troubled() && state.shelf.counts().in_memory > 0;
        let is_wanted = messages > 0 && (state.shelf.is_filling_memory() || bytes as usize >= self.settings.room / 2);
        if is_wanted || is_troubled || state.ahead.seal_wanted.is_some() || state.ahead.wanted > 1 {
            state.ahead.wanted
        } else {
            0
        }
    }

    fn is_look_due(&self, state: &mut State, now: Instant) -> bool {
        if state.choice.wish.may_not_look() {
            return false; // nothing found there may be sent or thrown away
        }
        state.look.last.is_none_or(|looked| !state.closed && now.saturating_duration_since(looked) >= LOOK_INTERVAL)
    }

    fn sleep_until_needed<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let now = threads::now();
        let mut wait = LOOK_INTERVAL;
        if !state.ahead.ready.is_empty() {
            wait = wait.min(SPARE_MAX);
        }
        if state.disk.failed.is_some() && state.shelf.counts().in_memory > 0 {
            wait = wait.min(DISK_REST);
        }
        for (since, _) in &state.look.unreadable {
            wait = wait.min(DISK_REST.saturating_sub(now.saturating_duration_since(*since)));
        }
        if let Some(looked) = state.look.last {
            wait = wait.min(LOOK_INTERVAL.saturating_sub(now.saturating_duration_since(looked)));
        }
        state.errands.sleeps = true;
        let wait = wait.max(Duration::from_millis(1));
        let (mut state, _) = self.errands.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        state.errands.sleeps = false;
        // Judged by the time that has passed: the thread may be woken early, and often.
        let State { look, shelf, .. } = &mut *state;
        look.unreadable.retain(|(since, number)| {
            let rests = threads::since(*since) < DISK_REST;
            if !rests {
                shelf.unread(*number);
                self.work.notify_one();
            }
            rests
        });
        state
    }

    fn perform<'a>(&'a self, spool: &Spool, state: Guard<'a>, task: Task) -> Guard<'a> {
        match task {
            Task::Make => {
                drop(state);
                return self.make(spool);
            }
            Task::Look => return self.look(spool, state),
            _ => drop(state),
        }
        match task {
            Task::Errand(Errand::Remove(leaving)) => self.remove(spool, leaving, None),
            Task::Errand(Errand::Drop(leaving, dropped)) => self.remove_dropped(spool, leaving, dropped),
            Task::Errand(Errand::Discard(chunk)) => self.discard(spool, chunk),
            Task::Errand(Errand::KeepDamaged(batch)) => {
                let lines = batch.damaged().count();
                let kept = spool.reject_damaged(batch.damaged());
                let mut state = self.lock();
                let (what, were) = if lines == 1 { ("line", "was") } else { ("lines", "were") };
                state.note(Level::Warning, format!("{lines} damaged {what} of the spool {were} set aside"));
                if let Err(error) = kept {
                    state.note(Level::Warning, format!("damaged lines could not be stored: {error}"));
                }
                self.work.notify_one();
            }
            Task::Cut(number, retired) => self.cut(spool, number, retired),
            // A failure does no harm: the file is only longer than needed.
            Task::Shorten(file, bytes) => _ = spool.cut(&file, bytes),
            Task::Rescue(number, begun_ms, taken) => self.rescue_one(spool, number, begun_ms, taken),
            Task::Make | Task::Look => {}
        }
        self.lock()
    }

    /// Reads the file of what was dropped for room, so that the host can be told of it, and deletes it.
    fn remove_dropped(&self, spool: &Spool, leaving: Leaving, mut dropped: Dropped) {
        if !self.lock().reports.begin_reading(&dropped, self.settings.room) {
            return self.remove(spool, leaving, None);
        }
        let taken = std::mem::replace(&mut dropped.taken, Taken::Batch(Arc::default()));
        let read = match self.read_taken(taken) {
            Ok(batch) => Ok(dropped.read(batch)),
            Err((file, error)) => Err(format!("{} cannot be read: {error}", file.display())),
        };
        self.remove(spool, leaving, Some(read));
    }

    /// Deletes a file. `dropped` is what was read from it, if the host is to be told of it.
    fn remove(&self, spool: &Spool, leaving: Leaving, dropped: Option<Result<Dropped, String>>) {
        // What was not read yet is read now, so that its messages are counted.
        let unread = leaving.is_unread.then(|| spool.read(&leaving.file).ok()).flatten();
        let unread = unread.map(Batch::checked).map_or(0, |batch| (batch.len() + batch.damaged().len()) as u64);
        let removed = spool.remove(&leaving.file);
        let mut state = self.lock();
        state.stats.accepted += unread;
        state.stats.recovered += unread;
        state.stats.dropped += unread;
        if let Err(error) = removed {
            if state.look.undeleted.is_empty() {
                let file = leaving.file.display();
                let line = format!("{file} cannot be deleted; its messages may be sent again after a restart: {error}");
                state.note(Level::Warning, line);
                self.work.notify_one();
            }
            state.look.undeleted.push(leaving.file);
        }
        // Before the slot is gone: a flush that waits for it must also wait until the host was told.
        if let Some(read) = dropped {
            state.reports.end_reading(read);
            self.work.notify_one();
        }
        state.shelf.gone(leaving.number);
        let is_over = state.closed && state.is_empty();
        drop(state);
        self.settled.notify_all();
        if is_over {
            self.work.notify_one();
        }
    }

    fn discard(&self, spool: &Spool, chunk: Chunk) {
        let file = chunk.path().map(ToOwned::to_owned);
        drop(chunk);
        if let Some(file) = file
            && spool.remove(&file).is_err()
        {
            self.lock().look.undeleted.push(file);
        }
        self.settled.notify_all();
    }

    /// Cuts a chunk to its content. If its file is not there any more, another process took this owner for gone: the
    /// messages are written to a new file.
    fn cut(&self, spool: &Spool, number: u64, retired: Retired) {
        kill::point("sealed");
        let instead = if spool.is_taken(&retired) {
            let written = spool.write_lines(begun_at(&retired.path), retired.content(), self.settings.sync);
            let line = match &written {
                Ok(_) => format!("{} was taken by another process; it is written anew", retired.path.display()),
                Err(error) => format!("{} is gone and cannot be written anew: {error}", retired.path.display()),
            };
            self.lock().note(Level::Warning, line);
            self.work.notify_one();
            written.ok()
        } else {
            let (path, bytes) = (retired.path.clone(), retired.bytes);
            drop(retired); // a mapped file must not be cut
            let _ = spool.cut(&path, bytes); // a failure does no harm: the file is only longer than needed
            None
        };
        kill::point("cut");
        let mut state = self.lock();
        let leaving = state.shelf.cut(number, instead);
        self.add_errands(&mut state, leaving.map(Errand::Remove));
        drop(state);
        self.work.notify_one();
    }

    /// Writes a slot that is in memory, or in a file that is not to be trusted, to a new file. It may be sent
    /// meanwhile.
    fn rescue_one(&self, spool: &Spool, number: u64, begun_ms: i64, taken: Taken) {
        let was_in_flight = matches!(taken, Taken::Batch(_));
        let batch = match self.read_taken(taken) {
            Ok(batch) => batch,
            Err((file, error)) => {
                let mut state = self.lock();
                let messages = state.shelf.abandon(number);
                state.stats.failed += messages;
                let file = file.display();
                state.note(Level::Error, format!("{messages} messages are given up: {file} cannot be read: {error}"));
                drop(state);
                self.settled.notify_all();
                return self.work.notify_one();
            }
        };
        if !was_in_flight {
            if !self.lock().shelf.rescued_from(number, &batch) {
                return; // thrown away while it was being read
            }
            self.work.notify_one();
        }
        let began = Stopwatch::start();
        let written = spool.write_anew(begun_ms, batch.all(), self.settings.sync);
        kill::point("rescued");
        let mut state = self.lock();
        let file = match written {
            Ok(file) => {
                self.disk_worked(&mut state, began.elapsed());
                Some(file)
            }
            Err(error) => {
                self.disk_failed(&mut state, &error);
                state.errands.last_rescue = false;
                None
            }
        };
        let leaving = state.shelf.rescued(number, file);
        self.add_errands(&mut state, leaving.into_iter().map(Errand::Remove));
        drop(state);
        self.settled.notify_all();
        self.work.notify_one();
    }

    /// Looks into the folder, and adopts the chunks of owners that are gone.
    fn look<'a>(&'a self, spool: &Spool, mut state: Guard<'a>) -> Guard<'a> {
        let purges = state.choice.purges;
        let undeleted = std::mem::take(&mut state.look.undeleted);
        drop(state);
        let prepared = spool.prepare();
        let undeleted: Vec<PathBuf> = undeleted.into_iter().filter(|file| spool.remove(file).is_err()).collect();
        let look = prepared.and_then(|()| spool.look());
        let mut state = self.lock();
        state.look.undeleted.extend(undeleted);
        if state.choice.purges != purges {
            // The user opted out meanwhile: what was found is deleted, and the folder is looked into again.
            let found = look.into_iter().flat_map(|look| look.found);
            let leaving = found.map(|found| Leaving { number: 0, file: found.path, is_unread: false });
            self.add_errands(&mut state, leaving.map(Errand::Remove));
            return state;
        }
        state.look.last = Some(threads::now());
        match look {
            Ok(look) => {
                state.look.failed = false;
                for line in look.log {
                    state.note(Level::Warning, line);
                }
                if look.discarded > 0 {
                    let line = format!("{} files from before the user opted out were deleted", look.discarded);
                    state.note(Level::Info, line);
                }
                if !look.found.is_empty() {
                    let line = format!("{} chunks from an earlier run were found in the spool", look.found.len());
                    state.note(Level::Info, line);
                }
                state.shelf.find(look.found.into_iter().map(|found| (found.path, found.bytes)));
                state.look.foreign_bytes = look.foreign_bytes;
            }
            Err(error) => {
                // Logged once. That it cannot be written either is logged separately.
                if !std::mem::replace(&mut state.look.failed, true) {
                    state.note(Level::Warning, format!("the spool cannot be read: {error}"));
                }
            }
        }
        self.settled.notify_all();
        self.work.notify_one();
        state
    }

    /// Tidies up the folder for the next owner: chunks cut to their content, empty ones deleted, the lock free.
    pub(crate) fn tidy(&self, spool: &Spool) {
        let mut state = self.lock();
        self.seal(&mut state);
        let ready = std::mem::take(&mut state.ahead.ready);
        self.add_errands(&mut state, ready.into_iter().map(Errand::Discard));
        loop {
            if let Some(errand) = state.errands.list.pop_front() {
                state = self.perform(spool, state, Task::Errand(errand));
            } else if let Some((number, retired)) = state.shelf.retire() {
                state = self.perform(spool, state, Task::Cut(number, retired));
            } else if let Some((file, bytes)) = state.shelf.uncut(true) {
                state = self.perform(spool, state, Task::Shorten(file, bytes));
            } else {
                break;
            }
        }
        let is_empty = state.shelf.is_empty();
        drop(state);
        spool.close(is_empty);
    }
}

/// When a chunk was begun, by its name.
fn begun_at(path: &Path) -> i64 {
    path.file_name().and_then(|name| name.to_str()).and_then(begun_ms).unwrap_or(0)
}
