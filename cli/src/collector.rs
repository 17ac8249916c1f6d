//! What all requests share: the counts, the message ids that came lately, and the printer.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::http::{HeaderMap, Method, Uri};

use crate::batch::{Delivery, Refusal};
use crate::print::Printer;
use crate::recent::Recent;
use crate::warning::Warning;

/// What a line about a request says.
pub(crate) struct Note {
    pub(crate) received: SystemTime,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// `X-Retry-Count`: how often the request was tried before.
    pub(crate) retry: Option<String>,
}

impl Note {
    /// Notes a request that has just been received.
    pub(crate) fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let retry = headers.get("x-retry-count").map(|count| String::from_utf8_lossy(count.as_bytes()).into_owned());
        Note { received: SystemTime::now(), method: method.clone(), path: uri.path().to_owned(), retry }
    }
}

/// Takes what the requests bring.
pub(crate) struct Collector(Mutex<State>);

struct State {
    printer: Printer,
    recent: Recent,
    requests: u64,
    events: u64,
    with_warnings: u64,
    repeated: u64,
}

impl Collector {
    /// Tells everything to `printer`.
    pub(crate) fn new(printer: Printer) -> Self {
        let recent = Recent::default();
        Collector(Mutex::new(State { printer, recent, requests: 0, events: 0, with_warnings: 0, repeated: 0 }))
    }

    /// Takes what is answered with 200.
    pub(crate) fn take(&self, note: &Note, mut delivery: Delivery<'_>) {
        let mut state = self.state();
        state.requests += 1;
        state.events += delivery.events.len() as u64;
        if delivery.is_lost() {
            state.with_warnings += delivery.events.len() as u64;
        } else {
            state.compare(&mut delivery);
        }
        state.printer.delivery(note, &delivery);
    }

    /// Takes what is answered with an error.
    pub(crate) fn refuse(&self, note: &Note, refusal: &Refusal) {
        let mut state = self.state();
        state.requests += 1;
        state.printer.refusal(note, refusal);
    }

    /// Takes note of a request that is none of the Tracking API's, and so none of those we count.
    pub(crate) fn unknown(&self, note: &Note, refusal: &Refusal) {
        self.state().printer.refusal(note, refusal);
    }

    /// Prints the last line.
    pub(crate) fn sum_up(&self) -> io::Result<()> {
        let mut state = self.state();
        let State { requests, events, with_warnings, repeated, .. } = *state;
        state.printer.sentence(&format!(
            "{requests} requests, {events} events, {with_warnings} with warnings, {repeated} repeated"
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is half changed when a thread panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Finds the events that came before. Of a lost request nothing came, so its events are not compared.
    fn compare(&mut self, delivery: &mut Delivery<'_>) {
        for event in &mut delivery.events {
            if event.message_id().is_some_and(|id| !id.is_empty() && !self.recent.is_new(&id)) {
                self.repeated += 1;
                event.warnings.push(Warning::Repeated);
            }
            self.with_warnings += u64::from(!event.warnings.is_empty());
        }
    }
}
