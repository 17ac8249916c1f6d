//! Surviving a loss of power: the disk is asked in the background to hold what was accepted, several times a second and
//! for all messages of that time at once. No caller waits for it.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::queue::Queue;
use crate::report::Level;
use crate::spool::Spool;

/// So much of what was accepted may be lost with the power.
const INTERVAL: Duration = Duration::from_millis(100);

impl Queue {
    /// The syncing thread's main function.
    pub(crate) fn keep_synced(&self) {
        let Some(spool) = &self.spool else { return };
        loop {
            let mut state = self.lock();
            while state.unsynced.is_empty() && !state.is_active_unsynced() && !state.ended {
                state.sync_sleeps = true;
                state = self.dirty.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.sync_sleeps = false;
            if !state.ended {
                let woken = self.dirty.wait_timeout_while(state, INTERVAL, |state| !state.ended);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            let ended = state.ended;
            let mut paths = std::mem::take(&mut state.unsynced);
            paths.extend(state.mark_active_synced());
            drop(state);
            for path in paths {
                self.sync_or_move(spool, &path);
            }
            if ended {
                return;
            }
        }
    }

    fn sync_or_move(&self, spool: &Spool, path: &Path) {
        match spool.sync(path) {
            Ok(()) => {}
            // It was delivered in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                // After a sync has failed, the system may take for written what never was: asking again would be
                // answered with a lie. The messages are still in memory or in the system's own; they are written anew.
                let line = format!("{} could not be synced, its messages are written anew: {error}", path.display());
                self.lock().note(Level::Warning, line);
                self.work.notify_one();
                self.move_elsewhere(spool, path);
            }
        }
    }

    fn move_elsewhere(&self, spool: &Spool, path: &Path) {
        let mut state = self.lock();
        if state.active.path() == Some(path) {
            let fresh = self.fresh(&mut state);
            state.seal(fresh);
        }
        // What is being sent, or was sent, is on its way to safety already.
        let Some(at) = state.sealed.iter().position(|chunk| chunk.path() == Some(path)) else { return };
        let Some(chunk) = state.sealed.remove(at) else { return };
        let (number, messages, bytes) = (chunk.number, u64::from(chunk.messages()), chunk.bytes() as u64);
        state.moving = Some(number);
        let purges = state.purges;
        drop(state);
        let moved = chunk.into_batch(|path| spool.read(path)).map(|(batch, _)| {
            spool.write_anew(&batch).unwrap_or_else(|_| {
                let mut kept = Chunk::in_memory(number, self.settings.room);
                batch.part(0..batch.len()).for_each(|message| kept.append(message).expect("memory takes everything"));
                kept
            })
        });
        let mut state = self.lock();
        state.moving = None;
        if state.purges != purges {
            // All of it was thrown away in the meantime.
            drop(state);
            [Some(path), moved.as_ref().ok().and_then(Chunk::path)]
                .into_iter()
                .flatten()
                .for_each(|path| spool.remove(path));
            return self.settled.notify_all();
        }
        let kept = moved.as_ref().map_or((0, 0), |chunk| (u64::from(chunk.messages()), chunk.bytes() as u64));
        if kept.0 < messages {
            state.stats.failed += messages - kept.0;
            state.take_off(messages - kept.0, bytes - kept.1);
            state.note(Level::Error, format!("{} messages were lost: their file cannot be read", messages - kept.0));
        }
        if let Ok(chunk) = moved {
            let at = state.sealed.iter().position(|other| other.number > number).unwrap_or(state.sealed.len());
            state.sealed.insert(at, chunk);
        }
        drop(state);
        spool.remove(path);
        self.work.notify_one();
        self.settled.notify_all();
    }
}

impl crate::state::State {
    /// Whether the active chunk holds messages that the disk was not asked to hold yet.
    fn is_active_unsynced(&self) -> bool {
        self.active.path().is_some() && self.active.messages() > 0 && self.synced != self.active_mark()
    }

    /// What there is of the active chunk counts as synced from now on; its file, if it is to be synced.
    fn mark_active_synced(&mut self) -> Option<PathBuf> {
        let unsynced = self.is_active_unsynced();
        self.synced = self.active_mark();
        self.active.path().filter(|_| unsynced).map(Path::to_owned)
    }

    fn active_mark(&self) -> (u64, u32) {
        (self.active.number, self.active.messages())
    }
}
