//! Locks, threads, and the clock that they wait by. They are the standard library's; in the tests of this crate a
//! simulator takes their place on the threads that it has started (`tests/simulator`).

use std::io;
#[cfg(not(test))]
use std::time::SystemTime;
use std::time::{Duration, Instant};

use crate::base::signals;

#[cfg(not(test))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{JoinHandle, sleep},
};

#[cfg(test)]
pub(crate) use crate::simulator::threads::{Condvar, JoinHandle, Mutex, MutexGuard, sleep};

/// The time, for everything that waits.
#[cfg(not(test))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The same by the system's clock, which can be set.
#[cfg(not(test))]
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
pub(crate) use crate::simulator::threads::{now, system_time};

/// How long ago that was.
pub(crate) fn since(instant: Instant) -> Duration {
    now().saturating_duration_since(instant)
}

/// Starts a thread that the host's signals do not interrupt.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let _blocked = signals::block();
    #[cfg(test)]
    return crate::simulator::threads::spawn(name, run);
    #[cfg(not(test))]
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}
