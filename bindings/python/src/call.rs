//! The answer to a single request.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use segment_native::HttpResponse;

/// The answer to a request that `Client.call` made.
#[pyclass(frozen, module = "segment_native._native")]
pub(crate) struct Response(pub(crate) HttpResponse);

#[pymethods]
impl Response {
    /// The HTTP status, 200 for example.
    #[getter]
    fn status(&self) -> u16 {
        self.0.status
    }

    /// Whether the status is that of a success.
    #[getter]
    fn ok(&self) -> bool {
        (200..300).contains(&self.0.status)
    }

    /// The headers, by their names in lower case.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(py);
        for (name, value) in &self.0.headers {
            headers.set_item(name.to_ascii_lowercase(), value)?;
        }
        Ok(headers)
    }

    /// The body.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.body)
    }

    /// The cursor of the next page, if this is a page of a list and not the last: for `Client.call`.
    #[getter]
    fn cursor(&self) -> Option<String> {
        self.0.next_cursor()
    }

    /// The body, read as JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (self.body(py),))
    }

    fn __repr__(&self) -> String {
        format!("<Response {} with {} bytes>", self.0.status, self.0.body.len())
    }
}
