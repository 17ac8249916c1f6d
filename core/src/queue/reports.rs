//! Messages that were dropped for room, and that the host is still to be told of. They are held in memory until the
//! delivery thread comes to them, so there is a limit: a host that tracks faster than it can be told is told of a part,
//! and the log says how many are missing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::queue::chunk::Batch;
use crate::queue::shelf::{Dropped, Shelf, Taken};

/// How many bytes may wait to be told, or one chunk if that is larger.
pub(crate) const HELD_MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(crate) struct Reports {
    /// The oldest first. They are in memory.
    list: VecDeque<Dropped>,
    /// The bytes of these, and of what is being told.
    held_bytes: usize,
    /// The slot of which the host is being told, and its bytes.
    telling: Option<(u64, usize)>,
    /// Messages in a file that is being read, to be told of.
    reading: u64,
    /// How many messages the host is never told of, and why, for the last of them.
    untold: u64,
    why: String,
    /// How many of these the log has mentioned.
    said: u64,
    /// The host is told nothing more.
    is_closed: bool,
}

impl Reports {
    /// Adds what is in memory, if there is room.
    pub(crate) fn add(&mut self, dropped: Dropped) {
        let bytes = dropped.held_bytes();
        if self.has_room(bytes) {
            self.held_bytes += bytes;
            self.list.push_back(dropped);
        } else {
            self.lose(dropped.messages, "too many at once");
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let is_idle = self.list.is_empty() && self.telling.is_none();
        !self.is_closed && (is_idle || self.held_bytes + bytes <= HELD_MAX_BYTES)
    }

    /// A thread is about to read what is in a file; false if there is no room for it, so that it need not be read.
    pub(crate) fn begin_reading(&mut self, dropped: &Dropped, bytes: usize) -> bool {
        if self.has_room(bytes) {
            self.reading = dropped.messages;
            return true;
        }
        self.lose(dropped.messages, "too many at once");
        false
    }

    /// The file was read, or could not be.
    pub(crate) fn end_reading(&mut self, read: Result<Dropped, String>) {
        let messages = std::mem::take(&mut self.reading);
        match read {
            _ if self.is_closed => {} // closing has counted it
            Ok(dropped) => self.add(dropped),
            Err(why) => self.lose(messages, &why),
        }
    }

    /// The host will not be told of these messages.
    fn lose(&mut self, messages: u64, why: &str) {
        self.untold += messages;
        why.clone_into(&mut self.why);
    }

    /// What the host is to be told of next. It stays counted until [`Reports::told`].
    pub(crate) fn take(&mut self) -> Option<Dropped> {
        let dropped = self.list.pop_front()?;
        self.telling = Some((dropped.number, dropped.held_bytes()));
        Some(dropped)
    }

    /// How many of the messages that were taken cannot be named, because their lines are damaged.
    pub(crate) fn lack(&mut self, messages: u64) {
        if messages > 0 {
            self.lose(messages, "their lines were damaged");
        }
    }

    /// The host was told of what was taken.
    pub(crate) fn told(&mut self) {
        if let Some((_, bytes)) = self.telling.take() {
            self.held_bytes -= bytes;
        }
    }

    /// Whether the host is still to be told of anything in the list.
    pub(crate) fn is_anything_waiting(&self) -> bool {
        !self.list.is_empty()
    }

    /// Whether the host was told of all up to this slot.
    pub(crate) fn is_settled_up_to(&self, number: u64) -> bool {
        self.numbers().all(|own| own > number)
    }

    /// Whether the host was told of everything, and the log says how much it was not told.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_empty() && self.reading == 0 && !self.is_anything_unsaid()
    }

    /// Whether [`Reports::take_untold`] has something to say.
    pub(crate) fn is_anything_unsaid(&self) -> bool {
        self.said < self.untold
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers().next().is_none()
    }

    /// The newest slot that the host is still to be told of; 0: none.
    pub(crate) fn newest(&self) -> u64 {
        self.numbers().max().unwrap_or(0)
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.list.iter().map(|dropped| dropped.number).chain(self.telling.map(|(number, _)| number))
    }

    /// A sentence about the messages that the host is never told of, if there are any that no sentence has covered.
    pub(crate) fn take_untold(&mut self) -> Option<String> {
        let messages = self.untold - std::mem::replace(&mut self.said, self.untold);
        let what = if messages == 1 { "1 message that was" } else { &format!("{messages} messages that were") };
        (messages > 0).then(|| format!("on_delivery is not told of {what} dropped for room: {}", self.why))
    }

    /// The host is told nothing more, nor of the `unread` messages whose files were not read yet.
    pub(crate) fn close(&mut self, unread: u64) {
        let left: u64 = self.list.drain(..).map(|dropped| dropped.messages).sum();
        let late = left + unread + self.reading;
        if late > 0 && !self.is_closed {
            self.lose(late, "the disk did not answer in time");
        }
        self.is_closed = true;
    }

    /// How many messages the host is never told of.
    #[cfg(test)]
    pub(crate) fn untold(&self) -> u64 {
        self.untold
    }
}

impl Dropped {
    /// The same, with what was read from its file.
    pub(crate) fn read(mut self, batch: Arc<Batch>) -> Self {
        self.taken = Taken::Batch(batch);
        self
    }

    /// Whether the host may be told of it: what was found in the folder was accepted by another client.
    pub(crate) fn is_own(&self) -> bool {
        Shelf::is_own(self.number)
    }

    fn held_bytes(&self) -> usize {
        match &self.taken {
            Taken::Own(chunk) => chunk.held_bytes(),
            Taken::Batch(batch) => batch.held_bytes(),
            Taken::Found(_) | Taken::Again(_) => 0,
        }
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
