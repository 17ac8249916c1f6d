//! Sending many rows in order with bounded memory, and knowing of each what became of it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use segment_native::{Client, Config, Delivery, Edit, ErrorKind};

use crate::connection;
use crate::input::Row;
use crate::lock::lock;
use crate::one;

/// How many bytes of messages wait at most.
const QUEUE_BYTES: u64 = 8 << 20;

/// How many bytes of rows are kept at most behind one of which nothing is known yet.
const ROWS_BYTES: usize = 16 << 20;

/// So many messages that are refused one after the other, without one that is delivered in between, are not to blame.
const REFUSALS_MAX: usize = 20;

/// How long a loop waits before it looks whether it should stop.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

/// Rows on their way.
pub(crate) struct Shipment {
    client: Client,
    window: Arc<Window>,
    /// How many rows may be on their way.
    room: usize,
}

/// What is known of the rows on their way.
#[derive(Default)]
struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The rows that are not taken out yet, in order.
    rows: VecDeque<(Row, Option<Fate>)>,
    /// Of how many of them it is not known what became of them.
    unknown: usize,
    /// The size of their texts.
    bytes: usize,
    /// The number that the first of them has in the order in which they were given.
    first: u64,
    /// Which rows a message id stands for: it may not be unique.
    by_id: HashMap<String, VecDeque<u64>>,
    /// The message id of the last row, if it has one.
    last_id: Option<String>,
    /// The rows that Segment refused since the last delivery, and why. It is believed once it takes another.
    doubtful: Vec<(u64, String)>,
    /// Whether anything was delivered.
    is_proven: bool,
    /// Why nothing more can be delivered.
    trouble: Option<String>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// It was refused, here or by Segment; why.
    Refused(String),
}

impl Shipment {
    /// Nothing is sent yet. With no `room`, only bytes bound what is on its way. `is_proven`: an earlier run has
    /// delivered rows.
    pub(crate) fn new(mut config: Config, room: Option<usize>, is_proven: bool) -> io::Result<Self> {
        let window = Arc::new(Window::default());
        lock(&window.state).is_proven = is_proven;
        let (of_delivery, of_message) = (window.clone(), window.clone());
        config.queue_max_bytes = QUEUE_BYTES;
        config.on_delivery = Some(Box::new(move |delivery| of_delivery.settle(delivery)));
        config.before_send = Some(Box::new(move |json| {
            of_message.expect(json);
            Ok(Edit::Keep)
        }));
        let client = Client::new(config).map_err(|error| connection::trouble(&error))?;
        Ok(Shipment { client, window, room: room.unwrap_or(usize::MAX) })
    }

    /// Sends a row as this message; waits while there is no room. Whether it was taken: not if `stop` says so first, or
    /// nothing can be delivered any more.
    pub(crate) fn give(&self, row: Row, message: Result<&str, String>, stop: impl Fn() -> bool) -> bool {
        if !self.wait_for_room(&stop) {
            return false;
        }
        self.window.begin(row);
        let message = match message {
            Ok(message) => message,
            Err(reason) => {
                self.window.end_last(Fate::Refused(reason));
                return true;
            }
        };
        loop {
            match self.client.enqueue(message) {
                Ok(()) => return true,
                Err(error) if error.kind() == ErrorKind::QueueFull => {
                    self.window.forget_last();
                    self.window.wait();
                    if stop() || self.trouble().is_some() {
                        self.window.take_back();
                        return false;
                    }
                }
                Err(error) => {
                    self.window.end_last(Fate::Refused(error.to_string()));
                    return true;
                }
            }
        }
    }

    fn wait_for_room(&self, stop: impl Fn() -> bool) -> bool {
        loop {
            if stop() || self.trouble().is_some() {
                return false;
            }
            if lock(&self.window.state).has_room(self.room) {
                return true;
            }
            self.window.wait();
            self.judge();
        }
    }

    /// If nothing is on its way but rows that were refused since the last delivery, no other will tell whether they are
    /// to blame: they are, if anything was ever delivered, or there is but one.
    pub(crate) fn judge(&self) {
        let mut state = lock(&self.window.state);
        if state.unknown == state.doubtful.len() {
            if state.is_proven || state.unknown == 1 {
                state.believe();
            } else {
                state.blame_the_endpoint();
            }
        }
    }

    /// Takes the rows out of which it is known what became of them and of all before them.
    pub(crate) fn settled(&self) -> Vec<(Row, Fate)> {
        let mut state = lock(&self.window.state);
        let mut settled = Vec::new();
        while let Some((_, Some(_))) = state.rows.front() {
            if let Some((row, Some(fate))) = state.rows.pop_front() {
                state.bytes -= bytes_of(&row);
                state.first += 1;
                settled.push((row, fate));
            }
        }
        settled
    }

    /// Whether all rows were taken out.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.window.state).rows.is_empty()
    }

    /// The lines of the rows of which nothing is known.
    pub(crate) fn left(&self) -> Vec<u64> {
        let state = lock(&self.window.state);
        state.rows.iter().filter(|(_, fate)| fate.is_none()).map(|(row, _)| row.line).collect()
    }

    /// Why nothing more can be delivered.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.window.state).trouble.clone()
    }

    /// Sends what waits, and waits for a glance.
    pub(crate) fn flush(&self) {
        let _ = self.client.flush(GLANCE); // the rows say what is left
    }

    /// How many requests were made, and how many of them repeated another.
    pub(crate) fn requests(&self) -> (u64, u64) {
        let stats = self.client.stats();
        (stats.requests, stats.retries)
    }
}

impl Window {
    fn begin(&self, row: Row) {
        let mut state = lock(&self.state);
        state.unknown += 1;
        state.bytes += bytes_of(&row);
        state.rows.push_back((row, None));
        state.last_id = None;
    }

    /// The last row travels as this message.
    fn expect(&self, json: &str) {
        let mut state = lock(&self.state);
        let (number, id) = (state.last(), one::id(json).unwrap_or_default());
        state.by_id.entry(id.clone()).or_default().push_back(number);
        state.last_id = Some(id);
    }

    fn end_last(&self, fate: Fate) {
        self.forget_last();
        let mut state = lock(&self.state);
        let last = state.rows.len().checked_sub(1);
        if let Some(last) = last {
            state.end(last, fate);
        }
    }

    /// The last row is not on its way after all.
    fn forget_last(&self) {
        let mut state = lock(&self.state);
        let Some(id) = state.last_id.take() else { return };
        if let Some(rows) = state.by_id.get_mut(&id) {
            rows.pop_back();
            if rows.is_empty() {
                state.by_id.remove(&id);
            }
        }
    }

    fn take_back(&self) {
        let mut state = lock(&self.state);
        if let Some((row, None)) = state.rows.pop_back() {
            state.unknown -= 1;
            state.bytes -= bytes_of(&row);
        }
    }

    fn settle(&self, delivery: &Delivery<'_>) {
        let mut state = lock(&self.state);
        match delivery.error {
            None => {
                state.is_proven = true;
                for id in delivery.message_ids {
                    state.settle(id);
                }
                state.believe();
            }
            Some(error) if is_refusal(delivery) => {
                for id in delivery.message_ids {
                    state.doubt(id, error.to_string());
                }
                if state.doubtful.len() >= REFUSALS_MAX {
                    state.blame_the_endpoint();
                }
            }
            Some(error) => {
                state.trouble.get_or_insert_with(|| error.to_string());
            }
        }
        self.changed.notify_all();
    }

    fn wait(&self) {
        let state = lock(&self.state);
        drop(self.changed.wait_timeout(state, GLANCE));
    }
}

impl State {
    fn last(&self) -> u64 {
        (self.first + self.rows.len() as u64).saturating_sub(1)
    }

    fn settle(&mut self, id: &str) {
        let number = self.take(id);
        if let Some(place) = number.and_then(|number| self.place(number)) {
            self.end(place, Fate::Delivered);
        }
    }

    fn doubt(&mut self, id: &str, reason: String) {
        let number = self.take(id);
        self.doubtful.extend(number.map(|number| (number, reason)));
    }

    /// The row for which a message id stands, which is now answered.
    fn take(&mut self, id: &str) -> Option<u64> {
        let rows = self.by_id.get_mut(id)?;
        let number = rows.pop_front();
        if rows.is_empty() {
            self.by_id.remove(id);
        }
        number
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// What was refused was so for its own fault.
    fn believe(&mut self) {
        for (number, reason) in std::mem::take(&mut self.doubtful) {
            if let Some(place) = self.place(number) {
                self.end(place, Fate::Refused(reason));
            }
        }
    }

    /// It was not: whoever answers so refuses everything.
    fn blame_the_endpoint(&mut self) {
        if let Some((_, reason)) = self.doubtful.last() {
            let refused = self.doubtful.len();
            let sentence =
                format!("the endpoint refuses everything, {refused} messages in a row, so no row is blamed: {reason}");
            self.trouble.get_or_insert(sentence);
        }
    }

    fn end(&mut self, place: usize, fate: Fate) {
        if let Some((_, known)) = self.rows.get_mut(place)
            && known.replace(fate).is_none()
        {
            self.unknown -= 1;
        }
    }

    /// What is settled or doubtful does not count: it is taken out by the very thread that asks, or judged by it. But
    /// behind one row that is not, all are kept.
    fn has_room(&self, room: usize) -> bool {
        let is_stuck = self.rows.front().is_some_and(|(_, fate)| fate.is_none());
        self.unknown.saturating_sub(self.doubtful.len()) < room && !(is_stuck && self.bytes >= ROWS_BYTES)
    }
}

fn bytes_of(row: &Row) -> usize {
    size_of::<Row>() + row.text.as_ref().map_or_else(String::len, String::len)
}

/// Whether Segment refused the one message itself. If it refuses many at once, or for a reason that is true for all,
/// the message is not to blame, and the next would fare no better.
fn is_refusal(delivery: &Delivery<'_>) -> bool {
    matches!(delivery.http_status, Some(400 | 413)) && delivery.message_ids.len() == 1
}
