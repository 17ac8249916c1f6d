//! The Python boundary of segment-native: the module `segment_native._native`.
//!
//! It only translates between the languages: [`value`] writes Python's values as JSON straight into the core's objects,
//! [`client`] has the calls, [`hooks`] leads back from the core's threads into Python. What Python programs see is the
//! package in `python/segment_native`.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

mod call;
mod client;
mod ending;
mod error;
mod hooks;
mod message;
mod once;
mod settings;
mod stats;
mod time;
mod value;

/// The native half of `segment_native`: use that package instead.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_subinterpreters(module.py())?;
    module.add("__version__", segment_native::VERSION)?;
    module.add_class::<client::Client>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<hooks::Delivery>()?;
    module.add_class::<stats::Stats>()?;
    module.add_class::<call::Response>()?;
    module.add_function(wrap_pyfunction!(ending::_end_calls, module)?)?;
    module.add_function(wrap_pyfunction!(ending::_after_fork, module)?)?;
    Ok(())
}

/// From Python 3.12 on the interpreter does this itself.
fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    if py.version_info() >= (3, 12) {
        return Ok(());
    }
    let Ok(interpreters) = py.import("_xxsubinterpreters") else { return Ok(()) };
    if interpreters.call_method0("get_current")?.ne(interpreters.call_method0("get_main")?)? {
        return Err(PyImportError::new_err("segment_native does not support loading in subinterpreters"));
    }
    Ok(())
}
