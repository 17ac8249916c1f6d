//! How long tests wait, how many rounds they run, and what they report. The unit tests use this file too.

#![allow(dead_code, unreachable_pub)] // each test program uses a part of it

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any test: for an interval that never ends, or a server that never answers.
pub const NEVER: Duration = Duration::from_secs(24 * 3600);

/// The bound of every wait for something that becomes true. Only a hang reaches it. `SEGMENT_TEST_PATIENCE` multiplies
/// it for slow machines.
pub fn patience() -> Duration {
    let times = std::env::var("SEGMENT_TEST_PATIENCE");
    let times = times.map_or(1.0, |times| times.parse().expect("SEGMENT_TEST_PATIENCE must be a number"));
    Duration::from_secs(120).mul_f64(times)
}

/// Waits until something is true, and returns whether it became so.
#[must_use]
pub fn wait_until(is_so: impl FnMut() -> bool) -> bool {
    wait_within(patience(), is_so)
}

/// The same with its own bound, for what takes several steps.
#[must_use]
pub fn wait_within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + time;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// The usual number of rounds, multiplied in `./test long`.
pub fn rounds(usual: usize) -> usize {
    let times = std::env::var("SEGMENT_TEST_ROUNDS").ok().and_then(|times| times.parse().ok());
    usual * times.unwrap_or(1)
}

/// Prints what a test that passed has done, and its result: a line of `docs/proof.md`, which `./test long` collects.
/// The seed is that of its random choices.
#[allow(clippy::print_stdout)] // not shown in an ordinary run
pub fn campaign(name: &str, size: &[(usize, &str)], seed: Option<u64>, result: &str) {
    let size: Vec<_> = size.iter().map(|(count, of)| format!("{count} {of}")).collect();
    let seed = seed.map(|seed| seed.to_string()).unwrap_or_default();
    println!("campaign: {name} | {} | {seed} | {result}", size.join(", "));
}

/// Waits until no lock is held in a folder, or below. On a busy machine a client that has ended may leave a thread
/// behind for a while, and with it its lock: until then its chunks are not adopted.
pub fn wait_for_the_end(folder: &Path) {
    fn is_over(folder: &Path) -> bool {
        fs::read_dir(folder).into_iter().flatten().flatten().all(|entry| match entry.path() {
            path if path.is_dir() => is_over(&path),
            path if path.extension().is_some_and(|kind| kind == "lock") => {
                File::open(path).map_or(true, |file| file.try_lock_shared().is_ok())
            }
            _ => true,
        })
    }
    assert!(wait_until(|| is_over(folder)), "{} is still in use", folder.display());
}
