//! Surviving a loss of power: what was accepted is synced in the background, several times a second, all messages of
//! that time at once. No caller waits for it. It has a thread of its own, because a sync may take seconds, in which the
//! errand thread must go on making chunks.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use crate::base::hooks::Level;
use crate::queue::queue::Queue;
use crate::queue::spool::Spool;
use crate::queue::state::State;

/// What was accepted within this time may be lost with the power.
const INTERVAL: Duration = Duration::from_millis(100);

impl Queue {
    /// The syncing thread's main function.
    pub(crate) fn keep_synced(&self) {
        let Some(spool) = &self.spool else { return };
        loop {
            let mut state = self.lock();
            while state.sync.sealed.is_empty() && !state.is_filling_unsynced() && !state.ended {
                state.sync.sleeps = true;
                state = self.dirty.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.sync.sleeps = false;
            if !state.ended {
                let woken = self.dirty.wait_timeout_while(state, INTERVAL, |state| !state.ended);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            let ended = state.ended;
            let mut files = std::mem::take(&mut state.sync.sealed);
            files.extend(state.mark_filling_synced());
            drop(state);
            for file in files {
                self.sync_or_doubt(spool, &file);
            }
            if ended {
                break;
            }
        }
        self.lock().sync.runs = false;
        self.settled.notify_all();
        self.errands.notify_one();
    }

    fn sync_or_doubt(&self, spool: &Spool, file: &Path) {
        let Err(error) = spool.sync(file) else { return };
        if error.kind() == std::io::ErrorKind::NotFound {
            return; // it was delivered in the meantime
        }
        // After a failed sync the system may consider written what never was, and a second sync would succeed without
        // writing it. The messages are still in memory, ours or the system's; they are written to a new file.
        let mut state = self.lock();
        let line = format!("{} could not be synced, its messages are written anew: {error}", file.display());
        state.note(Level::Warning, line);
        if state.shelf.is_filling(file) {
            self.seal(&mut state);
            state.sync.sealed.retain(|other| other != file);
        }
        state.shelf.doubt(file);
        drop(state);
        self.work.notify_one();
        self.errands.notify_one();
    }
}

impl State {
    /// Whether the chunk that is being filled holds messages that were not synced yet.
    fn is_filling_unsynced(&self) -> bool {
        let mark = self.filling_mark();
        self.shelf.filling_file().is_some() && mark.1 > 0 && self.sync.done != mark
    }

    /// Marks the chunk that is being filled as synced so far, and returns its file, if it is to be synced.
    fn mark_filling_synced(&mut self) -> Option<PathBuf> {
        let unsynced = self.is_filling_unsynced();
        self.sync.done = self.filling_mark();
        self.shelf.filling_file().filter(|_| unsynced).map(Path::to_owned)
    }

    fn filling_mark(&self) -> (u64, u64) {
        (self.shelf.filling_number().unwrap_or(0), self.shelf.filling().0)
    }
}
