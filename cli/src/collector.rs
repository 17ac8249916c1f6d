//! What all requests share: the counts, the message ids that came lately, the printer and the journal.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::batch::{Delivery, Refusal};
use crate::journal::Journal;
use crate::lock::lock;
use crate::note::Note;
use crate::plan::Plan;
use crate::print::Printer;
use crate::recent::Recent;
use crate::row::{self, Outcome};
use crate::warning::Warning;

/// Takes what the requests bring.
pub(crate) struct Collector {
    state: Mutex<State>,
    journal: Arc<Journal>,
    plan: Option<Plan>,
}

struct State {
    printer: Printer,
    recent: Recent,
    requests: u64,
    events: u64,
    with_warnings: u64,
    repeated: u64,
}

impl Collector {
    /// Tells everything to `printer` and to `journal`, and compares it with `plan`.
    pub(crate) fn new(printer: Printer, journal: Arc<Journal>, plan: Option<Plan>) -> Self {
        let recent = Recent::default();
        let state = State { printer, recent, requests: 0, events: 0, with_warnings: 0, repeated: 0 };
        Collector { state: Mutex::new(state), journal, plan }
    }

    /// Takes what is answered with 200.
    pub(crate) fn take(&self, note: &Note, mut delivery: Delivery<'_>) {
        if let Some(plan) = &self.plan {
            for event in &mut delivery.events {
                event.warnings.extend(plan.check(event).into_iter().map(Warning::Unplanned));
            }
        }
        let mut state = self.state();
        state.requests += 1;
        state.events += delivery.events.len() as u64;
        if delivery.is_lost() {
            state.with_warnings += delivery.events.len() as u64;
        } else {
            state.compare(&mut delivery);
        }
        state.printer.delivery(note, &delivery);
        let outcome = Outcome {
            status: Some(200),
            events: delivery.events.len(),
            fault: note.fault,
            warnings: &delivery.warnings,
        };
        self.journal.add(|writer| {
            let request = writer.row(false, |n| row::request(n, note, &outcome));
            for event in &delivery.events {
                writer.row(true, |n| row::event(n, request, note, event, &delivery.warnings));
            }
        });
    }

    /// Takes what is answered with an error.
    pub(crate) fn refuse(&self, note: &Note, refusal: &Refusal) {
        let mut state = self.state();
        state.requests += 1;
        state.printer.refusal(note, refusal);
        self.note_refusal(note, refusal);
    }

    /// Takes note of a request that is none of the Tracking API's, and so none of those we count.
    pub(crate) fn unknown(&self, note: &Note, refusal: &Refusal) {
        self.state().printer.refusal(note, refusal);
        self.note_refusal(note, refusal);
    }

    /// Takes note of a request that a fault hit, with so many events. `status` is what it was answered with.
    pub(crate) fn fail(&self, note: &Note, status: Option<u16>, events: usize) {
        let mut state = self.state();
        state.requests += 1;
        state.printer.fault(note, status);
        let outcome = Outcome { status, events, fault: note.fault, warnings: &[] };
        self.journal.add(|writer| writer.row(false, |n| row::request(n, note, &outcome)));
    }

    fn note_refusal(&self, note: &Note, refusal: &Refusal) {
        let warnings = [Warning::Refused(refusal.message.clone())];
        let outcome =
            Outcome { status: Some(refusal.status.as_u16()), events: 0, fault: note.fault, warnings: &warnings };
        self.journal.add(|writer| writer.row(false, |n| row::request(n, note, &outcome)));
    }

    /// Prints the last line, and waits until all are written.
    pub(crate) fn sum_up(&self) -> io::Result<()> {
        let mut state = self.state();
        let State { requests, events, with_warnings, repeated, .. } = *state;
        let output = state.printer.end();
        drop(state); // requests that still run must not wait, too
        let sums =
            format!("{requests} requests, {events} events, {with_warnings} with warnings, {repeated} repeated\n");
        output.map_or(Ok(()), |output| output.end(&sums))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is half changed when a thread panics.
        lock(&self.state)
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
