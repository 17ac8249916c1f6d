//! Points at which a test can have the process die: between any two steps that change what is on the disk. Without the
//! feature `kill-points`, which only tests switch on, there is nothing here.

/// Dies here by SIGKILL, if the variable SEGMENT_KILL_AT names this point; with `NAME:N`, when it is passed for the Nth
/// time.
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

/// Nothing, but a step for the simulator.
#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub(crate) fn point(_: &str) {
    #[cfg(test)]
    crate::simulator::threads::point();
}

/// All of them, for the tests; a test checks that each is somewhere in the code.
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
