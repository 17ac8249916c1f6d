//! The end of the interpreter. A thread that waits for the GIL then is ended by Python (before 3.14), and must not have
//! Rust frames on its stack, or the process is aborted. So no thread may be inside a call when the interpreter goes on
//! ending.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How many calls are running.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);
/// The thread that ends the interpreter, which may go on calling.
static ENDER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// A call takes microseconds; Python code that it runs may take longer.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A call that is running.
pub(crate) struct Inside(());

impl Inside {
    /// None if the interpreter is ending: then no Python code may run any more.
    pub(crate) fn enter() -> Option<Self> {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(());
        (!ENDING.load(Ordering::SeqCst) || is_ender()).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cold]
fn is_ender() -> bool {
    *ENDER.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id())
}

/// Lets no other thread begin a call any more, and waits for those that are inside one.
#[pyfunction]
pub(crate) fn _end_calls(py: Python<'_>) {
    *ENDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let start = Instant::now();
        while INSIDE.load(Ordering::SeqCst) > 0 && start.elapsed() < WAIT_MAX {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// In a child no thread is inside a call: those that were are the parent's.
#[pyfunction]
pub(crate) fn _after_fork() {
    INSIDE.store(0, Ordering::SeqCst);
    ENDING.store(false, Ordering::SeqCst);
}
