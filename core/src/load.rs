//! From a chunk that waits, in memory, on the disk or found there, to one that is in flight.

use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use crate::chunk::{Batch, Chunk};
use crate::delivery::Parts;
use crate::kill;
use crate::queue::Queue;
use crate::report::Level;
use crate::spool::Found;
use crate::state::{Deferred, Flight, State};

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

/// Where the next chunk comes from.
enum Source {
    Found(Found),
    Own(Chunk),
    Deferred(Deferred),
}

/// The number of all chunks that were found.
const FOUND: u64 = 0;

impl Queue {
    /// Puts the next chunk in flight, if it can be read.
    pub(crate) fn load<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let Some(source) = self.take_source(&mut state) else { return state };
        let purges = state.purges;
        drop(state);
        match source {
            Source::Own(chunk) => self.load_own(chunk, purges),
            Source::Found(found) => self.load_found(found, purges),
            Source::Deferred(deferred) => self.load_deferred(deferred, purges),
        }
    }

    /// Whether everything was thrown away while this file was being read: then it goes too. What was counted as waiting
    /// has been counted as dropped.
    fn is_purged(&self, state: &mut State, purges: u64, path: Option<&Path>) -> bool {
        state.loading = None;
        if state.purges == purges {
            return false;
        }
        path.into_iter().for_each(|path| self.remove(path));
        self.settled.notify_all();
        true
    }

    fn take_source(&self, state: &mut State) -> Option<Source> {
        if let Some(found) = state.next_found() {
            // What was there before anything else is older than all that anybody waits for.
            state.loading = Some(FOUND);
            return Some(Source::Found(found));
        }
        if state.sealed.is_empty() && state.active.messages() > 0 {
            let fresh = self.fresh(state);
            state.seal(fresh);
        }
        if let Some(chunk) = state.sealed.pop_front() {
            state.loading = Some(chunk.number);
            return Some(Source::Own(chunk));
        }
        let deferred = state.deferred.pop_front()?;
        state.loading = Some(deferred.number);
        Some(Source::Deferred(deferred))
    }

    fn load_own(&self, chunk: Chunk, purges: u64) -> Guard<'_> {
        let (messages, bytes, path) =
            (u64::from(chunk.messages()), chunk.bytes() as u64, chunk.path().map(|p| p.to_owned()));
        let loaded = chunk.into_batch(|path| self.read(path));
        let mut state = self.lock();
        if self.is_purged(&mut state, purges, path.as_deref()) {
            return state;
        }
        let (kept, kept_bytes) = match loaded {
            Ok((batch, _)) => {
                let bytes = batch.sizes().sum::<usize>() as u64;
                let messages = batch.len() as u64;
                self.put_in_flight(&mut state, batch);
                (messages, bytes)
            }
            Err(error) => {
                let place = path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
                let line = format!(
                    "{messages} messages are given up: {place} cannot be read and is left where it is: {error}"
                );
                state.note(Level::Error, line);
                (0, 0)
            }
        };
        // What was accepted and cannot be read any more has failed.
        if kept < messages {
            state.stats.failed += messages - kept;
            state.take_off(messages - kept, bytes.saturating_sub(kept_bytes));
            if kept > 0 {
                state.note(Level::Error, format!("{} messages were lost: their lines were damaged", messages - kept));
            }
        }
        self.settled.notify_all();
        state
    }

    fn load_found(&self, found: Found, purges: u64) -> Guard<'_> {
        let content = self.read(&found.path);
        kill::point("read");
        let mut state = self.lock();
        if self.is_purged(&mut state, purges, Some(&found.path)) {
            return state;
        }
        match content {
            Ok(content) => {
                let (batch, damaged) = Batch::checked(FOUND, content, found.path);
                if damaged > 0 {
                    let file = batch.path().unwrap_or_else(|| "".as_ref()).display();
                    state.note(Level::Warning, format!("{damaged} damaged lines were skipped in {file}"));
                }
                let messages = batch.len() as u64;
                state.take_on(messages, batch.sizes().sum::<usize>() as u64);
                state.stats.recovered += messages;
                self.put_in_flight(&mut state, batch);
            }
            // Somebody else has delivered it in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove(&found.path),
            Err(error) => {
                let file = found.path.display();
                state.note(Level::Error, format!("{file} cannot be read and is left where it is: {error}"));
            }
        }
        self.settled.notify_all();
        state
    }

    fn load_deferred(&self, deferred: Deferred, purges: u64) -> Guard<'_> {
        let content = self.read(&deferred.path);
        let mut state = self.lock();
        if self.is_purged(&mut state, purges, Some(&deferred.path)) {
            return state;
        }
        let (batch, _) = Batch::checked(deferred.number, content.unwrap_or_default(), deferred.path);
        let mut parts = deferred.parts;
        if batch.len() == deferred.messages {
            parts.next_turn();
            state.flight = Some(Flight { batch: Arc::new(batch), parts });
            return state;
        }
        let lost = parts.messages() as u64;
        state.stats.failed += lost;
        state.take_off(lost, deferred.bytes);
        state.note(Level::Error, format!("{lost} messages were lost: their file cannot be read any more"));
        self.settled.notify_all();
        state
    }

    fn put_in_flight(&self, state: &mut State, batch: Batch) {
        let parts = Parts::of_sizes(batch.sizes(), self.settings.room);
        if parts.current().is_some() {
            state.flight = Some(Flight { batch: Arc::new(batch), parts });
        } else if let Some(path) = batch.path() {
            self.remove(path);
        }
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.spool.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), |spool| spool.read(path))
    }

    pub(crate) fn remove(&self, path: &Path) {
        if let Some(spool) = &self.spool {
            spool.remove(path);
        }
    }
}
