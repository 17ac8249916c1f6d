//! Points at which a test can kill the process: between any two steps that change the disk. Without the feature
//! `kill-points`, which only tests enable, they do nothing.

/// Dies here by SIGKILL if the variable SEGMENT_KILL_AT names this point; with `NAME:N`, the Nth time it is reached.
#[cfg(feature = "kill-points")]
pub(crate) fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let wanted = std::env::var("SEGMENT_KILL_AT").ok()?;
        match wanted.split_once(':') {
            Some((name, times)) => Some((name.to_owned(), times.parse().ok()?)),
            None => Some((wanted, 1)),
        }
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);
    #[cfg(test)]
    crate::simulator::threads::point();
    if let Some((wanted, times)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times
    {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Does nothing, except that it is a step for the simulator.
#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub(crate) fn point(_: &str) {
    #[cfg(test)]
    crate::simulator::threads::point();
}

/// All points, for the tests; a test checks that each occurs in the code.
#[cfg(feature = "kill-points")]
pub const POINTS: &[&str] = &[
    "append-before",
    "append-text",
    "append-whole",
    "create-named",
    "create-reserved",
    "create-mapped",
    "lock-made",
    "sealed",
    "cut",
    "send",
    "answered",
    "settled",
    "remove-before",
    "removed",
    "unlock-before",
    "unlocked",
    "listed",
    "adopted",
    "copied",
    "rescued",
    "read",
    "reject-reason",
    "rejected",
    "replace-written",
    "replaced",
];
