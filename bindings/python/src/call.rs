//! The answer to a single request.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// The answer to a request that `Client.call` made.
#[pyclass(frozen, module = "segment_native._native")]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[pymethods]
impl Response {
    /// The HTTP status, 200 for example.
    #[getter]
    fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is that of a success.
    #[getter]
    fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The headers, by their names in lower case.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(py);
        for (name, value) in &self.headers {
            headers.set_item(name.to_ascii_lowercase(), value)?;
        }
        Ok(headers)
    }

    /// The body.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }

    /// The body, read as JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (self.body(py),))
    }

    fn __repr__(&self) -> String {
        format!("<Response {} with {} bytes>", self.status, self.body.len())
    }
}
