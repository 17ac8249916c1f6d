//! Values that are made once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What is in the cell, or what `make` makes. A fork must not happen while the cell is being filled: no thread would
/// finish it in the child, and callers there would wait forever. Python may switch threads in `make`, so that runs
/// first; it does not while the value is stored.
pub(crate) fn once<'a, T>(
    py: Python<'_>,
    cell: &'a PyOnceLock<T>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'a T> {
    if let Some(made) = cell.get(py) {
        return Ok(made);
    }
    let made = make()?;
    let _ = cell.set(py, made); // another thread may have been faster
    Ok(cell.get(py).expect("it is set now"))
}
