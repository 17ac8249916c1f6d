//! What is made once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What is in the cell, or what `make` makes. A fork must not find the cell while it is filled: nobody would go on in
/// the child, where whoever asks would wait for ever. Python may switch threads while something is made, so that is
/// done first; not while it is kept.
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
