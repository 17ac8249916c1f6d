//! Python's times.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::error::{self, Problem};
use crate::once::once;

/// A class of a module that may not be loaded: then nothing can be an instance of it, and it is not loaded for this.
pub(crate) struct Class {
    module: &'static str,
    name: &'static str,
    class: PyOnceLock<Py<PyType>>,
}

impl Class {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Class { module, name, class: PyOnceLock::new() }
    }

    /// The class, if its module is loaded.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyType>> {
        if let Some(class) = self.class.get(py) {
            return Some(class.bind(py));
        }
        static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        let modules = || Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind());
        let module = once(py, &MODULES, modules).ok()?.bind(py).get_item(self.module).ok()??;
        // A module that is being loaded may not have it yet.
        let class = module.getattr(self.name).ok()?.cast_into::<PyType>().ok()?;
        Some(once(py, &self.class, || Ok(class.unbind())).ok()?.bind(py))
    }

    pub(crate) fn has(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.get(value.py()).map_or(Ok(false), |class| value.is_instance(class))
    }
}

pub(crate) static DATETIME: Class = Class::new("datetime", "datetime");
pub(crate) static DATE: Class = Class::new("datetime", "date");

/// A datetime in milliseconds since 1970; none for "not a time", which pandas has.
///
/// Without a zone it is read as segment-analytics-python reads it: the last five seconds and the future are local time,
/// older times are UTC. That is a guess, so there is one warning.
pub(crate) fn milliseconds(time: &Bound<'_, PyAny>) -> Result<Option<i64>, Problem> {
    let py = time.py();
    let Some(plain) = plain(time)? else { return Ok(None) };
    let is_naive = plain.getattr("tzinfo")?.is_none() || plain.call_method0("utcoffset")?.is_none();
    let aware = if is_naive { error::support(py)?.call_method1("naive", (plain,))? } else { plain };
    static EPOCH: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let epoch = || error::support(py)?.call_method0("epoch")?.extract::<(Py<PyAny>, Py<PyAny>)>();
    let (epoch, millisecond) = once(py, &EPOCH, epoch)?;
    // Pendulum has a subtraction of its own.
    let since = error::support(py)?.call_method1("minus", (aware, epoch))?;
    Ok(Some(since.floor_div(millisecond)?.extract()?))
}

/// The datetime itself, or one converted from a richer type (pandas).
fn plain<'py>(time: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !time.hasattr("to_pydatetime")? {
        return Ok(Some(time.clone()));
    }
    if time.ne(time)? {
        return Ok(None);
    }
    // Without a warning that the nanoseconds are lost.
    time.call_method1("to_pydatetime", (false,)).map(Some)
}
