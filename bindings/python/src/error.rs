//! From the core's errors to Python's exceptions, which are classes of `segment_native.errors`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use segment_native::{Error, ErrorKind};

use crate::once::once;

/// Why a value could not be taken.
pub(crate) enum Problem {
    Core(Error),
    Python(PyErr),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Core(error)
    }
}

impl From<PyErr> for Problem {
    fn from(error: PyErr) -> Self {
        Problem::Python(error)
    }
}

impl From<pyo3::CastError<'_, '_>> for Problem {
    fn from(error: pyo3::CastError<'_, '_>) -> Self {
        Problem::Python(error.into())
    }
}

impl Problem {
    /// Says which argument it was found in.
    pub(crate) fn in_argument(self, argument: &str) -> Self {
        match self {
            Problem::Core(error) => Problem::Core(Error::new(error.kind(), format!("{argument}: {}", error.message()))),
            python => python,
        }
    }

    /// As an error of the core, for its log.
    pub(crate) fn to_error(&self, py: Python<'_>) -> Error {
        match self {
            Problem::Core(error) => error.clone(),
            Problem::Python(error) => Error::invalid(error.value(py).to_string()),
        }
    }

    /// As an exception.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Problem::Core(error) => raise(py, &error),
            Problem::Python(error) => error,
        }
    }
}

/// The module with the Python side of rare cases.
pub(crate) fn support(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static SUPPORT: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let import = || py.import("segment_native._support").map(Bound::unbind);
    Ok(once(py, &SUPPORT, import)?.bind(py))
}

/// The name of a kind of error, as in `Error.kind`.
pub(crate) fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::QueueFull => "queue_full",
        ErrorKind::Closed => "closed",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Network => "network",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Storage => "storage",
        ErrorKind::OptedOut => "opted_out",
        _ => "internal",
    }
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    raise_answer(py, error, None)
}

/// The exception for an error with an HTTP status.
pub(crate) fn raise_answer(py: Python<'_>, error: &Error, status: Option<u16>) -> PyErr {
    let made = support(py)
        .and_then(|support| support.call_method1("error", (name(error.kind()), error.message(), status)))
        .map(PyErr::from_value);
    made.unwrap_or_else(|problem| problem)
}

/// Runs `what`; a panic, which is a bug of ours, becomes an ordinary exception.
pub(crate) fn guard<T>(py: Python<'_>, what: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| Err(panicked(py, &*panic)))
}

#[cold]
fn panicked(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    raise(py, &Error::new(ErrorKind::Internal, text.unwrap_or("a panic").to_owned()))
}

/// Writes a line to Python's logger `segment`.
pub(crate) fn log(py: Python<'_>, level: &str, line: &str) {
    let written = support(py).and_then(|support| support.call_method1("log", (level, line)));
    if let Err(error) = written {
        error.write_unraisable(py, None);
    }
}
