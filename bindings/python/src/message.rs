//! A message as it was written, which becomes a dict on first access.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use segment_native::Error;

use crate::error::{self, Problem};
use crate::once::once;
use crate::value;

/// A message as it was queued: a read-only mapping (`message["userId"]`) over the JSON that is sent. It is parsed on
/// first access, so an unused one costs nothing. `dict(message)` makes a dict of it, `message.json` has the bytes.
#[pyclass(frozen, mapping, module = "segment_native._native")]
pub(crate) struct Message {
    json: Box<[u8]>,
    read: PyOnceLock<Py<PyDict>>,
}

impl Message {
    pub(crate) fn new(json: Box<[u8]>) -> Self {
        Message { json, read: PyOnceLock::new() }
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyDict>> {
        let read = || {
            let read = error::support(py)?.call_method1("read", (PyBytes::new(py, &self.json),))?;
            Ok::<_, PyErr>(read.cast_into::<PyDict>()?.unbind())
        };
        Ok(once(py, &self.read, read)?.bind(py))
    }
}

/// The JSON of a message that was given as a `Message` or as a dict. Errors say what it is, or what was expected.
pub(crate) fn text<'a>(given: &'a Bound<'_, PyAny>, argument: &str, expected: &str) -> Result<Cow<'a, str>, Problem> {
    if let Ok(message) = given.cast::<Message>() {
        return Ok(String::from_utf8_lossy(&message.get().json));
    }
    match given.cast::<PyDict>() {
        Ok(dict) => value::message_json(dict).map(Cow::Owned).map_err(|problem| problem.in_argument(argument)),
        Err(_) => Err(Error::invalid(format!("{expected}, not {}", given.get_type().name()?)).into()),
    }
}

#[pymethods]
impl Message {
    /// The message as it is sent: UTF-8, without white space.
    #[getter]
    fn json<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.json)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(key.py())?.as_any().get_item(key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.dict(py)?.len())
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.dict(key.py())?.contains(key)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.dict(py)?.as_any().try_iter()?.into_any())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = other.py();
        match other.cast::<Message>() {
            Ok(other) => self.dict(py)?.eq(other.get().dict(py)?),
            Err(_) => self.dict(py)?.eq(other),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.dict(py)?.repr()?.to_string())
    }

    /// The member's value, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.dict(key.py())?.get_item(key)?.or(default))
    }

    /// The names of the members.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("keys")
    }

    /// The values of the members.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("values")
    }

    /// The members, as pairs of name and value.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0("items")
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((error::support(py)?.getattr("message")?, (self.json(py),)))
    }

    #[new]
    fn make(json: Vec<u8>) -> Self {
        Message::new(json.into())
    }
}
