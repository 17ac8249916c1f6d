//! From the core back into Python: the host's callbacks. Most of them run on the delivery thread.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3::{PyTraverseError, PyVisit};
use segment_native::{Config, Edit, Error, Level};

use crate::error;
use crate::message::{self, Message};

/// Python's callables. Only attached threads lock them, and stay attached meanwhile, so no fork finds them locked.
#[derive(Default)]
pub(crate) struct Hooks {
    on_error: Slot,
    on_delivery: Slot,
    before_send: Slot,
    /// In sync mode: why messages were given up.
    failed: Mutex<HashMap<Box<[u8]>, Failure>>,
}

/// Why a message was given up, and the HTTP status of the last answer.
pub(crate) type Failure = (Error, Option<u16>);

/// More failures than threads that wait for them at once.
const FAILED_MAX: usize = 10_000;

#[derive(Default)]
struct Slot(Mutex<Option<Py<PyAny>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.lock().as_ref().map(|callable| callable.bind(py).clone())
    }
}

thread_local! {
    /// What `before_send` raised on this thread.
    static RAISED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Takes what `before_send` has raised on this thread.
pub(crate) fn take_raised() -> Option<PyErr> {
    RAISED.try_with(Cell::take).ok().flatten()
}

impl Hooks {
    /// Takes the callables out of the settings and has the core call them.
    pub(crate) fn install(self: &Arc<Self>, settings: &Bound<'_, PyDict>, config: &mut Config) -> PyResult<()> {
        let take = |name: &str, slot: &Slot| -> PyResult<bool> {
            let callable = settings.get_item(name)?.filter(|callable| !callable.is_none());
            *slot.lock() = callable.map(Bound::unbind);
            Ok(slot.lock().is_some())
        };
        let on_error = take("on_error", &self.on_error)?;
        let on_delivery = take("on_delivery", &self.on_delivery)?;
        let before_send = take("before_send", &self.before_send)?;
        let sync_mode: bool = settings.get_item("sync_mode")?.is_some_and(|sync| sync.is_truthy().unwrap_or(false));
        if on_error || on_delivery || sync_mode {
            let hooks = self.clone();
            config.on_delivery = Some(Box::new(move |delivery| hooks.deliver(delivery, on_delivery, sync_mode)));
        }
        if before_send {
            let hooks = self.clone();
            config.before_send = Some(Box::new(move |json| hooks.edit(json)));
        }
        config.on_log = Some(Box::new(log));
        Ok(())
    }

    fn deliver(&self, delivery: &segment_native::Delivery<'_>, tells_all: bool, sync_mode: bool) {
        if delivery.error.is_none() && !tells_all {
            return;
        }
        // When the interpreter is ending, no callback can run.
        Python::try_attach(|py| {
            if sync_mode && let Some(error) = delivery.error {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                // Too many to be waited for: their calls did not wait long enough.
                if failed.len() >= FAILED_MAX {
                    failed.clear();
                }
                for message in delivery.messages {
                    failed.insert((*message).into(), (error.clone(), delivery.http_status));
                }
            }
            let messages = || -> PyResult<Bound<'_, PyList>> {
                let messages = delivery.messages.iter().map(|json| Message::new((*json).into()).into_pyobject(py));
                PyList::new(py, messages.collect::<PyResult<Vec<_>>>()?)
            };
            let failure = delivery.error.map(|error| error::raise_answer(py, error, delivery.http_status));
            if let (Some(on_error), Some(failure)) = (self.on_error.get(py), &failure) {
                let told = messages().and_then(|messages| on_error.call1((failure.clone_ref(py), messages)));
                report(py, told, &on_error);
            }
            if let Some(on_delivery) = self.on_delivery.get(py) {
                let told = messages().and_then(|messages| {
                    on_delivery.call1((Delivery {
                        error: failure.map(|failure| failure.into_value(py).into_any()),
                        http_status: delivery.http_status,
                        attempts: delivery.attempts,
                        body_bytes: delivery.body_bytes,
                        message_ids: delivery.message_ids.to_vec(),
                        messages: messages.unbind(),
                    },))
                });
                report(py, told, &on_delivery);
            }
        });
    }

    fn edit(&self, json: &str) -> Result<Edit, Error> {
        let edited = Python::try_attach(|py| -> PyResult<Edit> {
            let Some(before_send) = self.before_send.get(py) else { return Ok(Edit::Keep) };
            let before = Message::new(json.as_bytes().into()).into_pyobject(py)?;
            let after = before_send.call1((&before,))?;
            if after.is(&before) {
                return Ok(Edit::Keep);
            }
            if after.is_none() {
                return Ok(Edit::Drop);
            }
            let expected = "before_send must return the message, a dict or None";
            let json = message::text(&after, "what before_send returned", expected);
            Ok(Edit::Replace(json.map_err(|problem| problem.raise(py))?.into_owned()))
        });
        match edited {
            Some(Ok(edit)) => Ok(edit),
            Some(Err(raised)) => {
                RAISED.set(Some(raised));
                Err(Error::invalid("before_send raised an exception"))
            }
            None => Ok(Edit::Keep),
        }
    }

    /// In sync mode: why this message was given up, if it was.
    pub(crate) fn take_failure(&self, json: &[u8]) -> Option<Failure> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(json)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in [&self.on_error, &self.on_delivery, &self.before_send] {
            // If it is locked, it is being called: then nothing here is garbage.
            if let Ok(callable) = slot.0.try_lock() {
                visit.call(&*callable)?;
            }
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        for slot in [&self.on_error, &self.on_delivery, &self.before_send] {
            let callable = slot.lock().take();
            drop(callable);
        }
    }
}

/// No caller can catch what a callback raised: it goes to `sys.unraisablehook`.
fn report(py: Python<'_>, told: PyResult<Bound<'_, PyAny>>, callable: &Bound<'_, PyAny>) {
    if let Err(error) = told {
        error.write_unraisable(py, Some(callable));
    }
}

fn log(level: Level, line: &str) {
    let level = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    Python::try_attach(|py| error::log(py, level, line));
}

/// What became of some messages.
#[pyclass(frozen, get_all, module = "segment_native._native")]
pub(crate) struct Delivery {
    /// None: Segment acknowledged them. Otherwise why they were given up, or dropped for room: an `Error`.
    error: Option<Py<PyAny>>,
    /// The HTTP status of the last answer; None if there was no answer.
    http_status: Option<u16>,
    /// How many requests were made for them.
    attempts: u32,
    /// The size of the last request's body, as sent; 0 if no longer known.
    body_bytes: usize,
    /// Their ids.
    message_ids: Vec<String>,
    /// The messages.
    messages: Py<PyList>,
}

#[pymethods]
impl Delivery {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let error = match &self.error {
            Some(error) => error.bind(py).repr()?.to_string(),
            None => "None".to_owned(),
        };
        let status = self.http_status.map_or("None".to_owned(), |status| status.to_string());
        let messages = self.message_ids.len();
        Ok(format!(
            "<Delivery of {messages} messages, error={error}, http_status={status}, attempts={}>",
            self.attempts
        ))
    }
}
