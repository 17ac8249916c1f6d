//! The host's callbacks: one runs at a time, and none after the end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use crate::base::error::Error;
use crate::base::hooks::{Delivery, Level, OnDelivery, OnLog};
use crate::base::threads::Mutex;
use crate::message::message;
use crate::queue::chunk::Batch;
use crate::queue::policy::Part;

/// The host's callbacks. One runs at a time, and none after [`Callbacks::silence`].
pub(crate) struct Callbacks {
    host: Mutex<Option<Arc<Host>>>,
}

/// The callbacks themselves. A forked child calls the same ones, under locks of its own.
pub(crate) struct Host {
    on_delivery: Option<OnDelivery>,
    on_log: Option<OnLog>,
}

thread_local! {
    /// The client whose callbacks are running on this thread.
    static RUNNING: Cell<*const Callbacks> = const { Cell::new(std::ptr::null()) };
}

/// The client whose callbacks were running before. Dropping this restores it, after a panic too.
struct Before(*const Callbacks);

impl Drop for Before {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

impl Callbacks {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Callbacks { host: Mutex::new(Some(host)) }
    }

    /// Whether this thread is inside one of these callbacks.
    pub(crate) fn is_running_here(&self) -> bool {
        RUNNING.try_with(Cell::get).is_ok_and(|running| std::ptr::eq(running, self))
    }

    /// Waits for a callback that is running; none runs afterwards.
    pub(crate) fn silence(&self) {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Runs the host's code on the current thread, as a callback.
    pub(crate) fn mark<T>(&self, what: impl FnOnce() -> T) -> T {
        let _before = Before(RUNNING.replace(self));
        what()
    }

    /// Tells the host something, unless it was silenced.
    pub(crate) fn tell(&self, what: impl FnOnce(&Host)) {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = &*host {
            self.mark(|| what(host));
        }
    }

    pub(crate) fn log(&self, level: Level, line: impl FnOnce() -> String) {
        self.tell(|host| host.log(level, line));
    }
}

// A callback that panics must not end the delivery, nor keep the host from being told the rest.
impl Host {
    pub(crate) fn new(on_delivery: Option<OnDelivery>, on_log: Option<OnLog>) -> Self {
        Host { on_delivery, on_log }
    }

    /// Whether there is a callback for log lines.
    pub(crate) fn logs(&self) -> bool {
        self.on_log.is_some()
    }

    pub(crate) fn log(&self, level: Level, line: impl FnOnce() -> String) {
        if let Some(on_log) = &self.on_log {
            let _ = catch_unwind(AssertUnwindSafe(|| on_log(level, &line())));
        }
    }

    pub(crate) fn delivery(
        &self,
        batch: &Batch,
        part: &Part,
        error: Option<&Error>,
        http_status: Option<u16>,
        body_bytes: usize,
    ) {
        if let Some(on_delivery) = &self.on_delivery {
            let messages: Vec<&[u8]> = batch.part(part.messages.clone()).collect();
            let message_ids: Vec<String> = messages.iter().map(|message| message::id_of(message)).collect();
            let attempts = part.attempts;
            let (message_ids, messages) = (message_ids.as_slice(), messages.as_slice());
            let delivery = Delivery { error, http_status, attempts, body_bytes, message_ids, messages };
            let _ = catch_unwind(AssertUnwindSafe(|| on_delivery(&delivery)));
        }
    }
}
