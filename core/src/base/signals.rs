//! Signals: those that the system sends for what this library does are no business of the host's, and the host's are no
//! business of our threads.

// What the system offers to look at a pending signal, and to take it away, has no safe wrapper.
#![allow(unsafe_code)]

use std::io;

/// Makes a call that may make a file longer. Beyond what the process may write (RLIMIT_FSIZE) it fails, and the signal
/// that comes with it, and that ends a host that has no handler for it, does not come.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn extending<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    let mut too_large = SigSet::empty();
    too_large.add(Signal::SIGXFSZ);
    let Ok(before) = too_large.thread_swap_mask(SigmaskHow::SIG_BLOCK) else { return call() };
    // One that the host has blocked itself, and may be waiting for.
    let is_hosts = before.contains(Signal::SIGXFSZ) && is_pending(Signal::SIGXFSZ);
    let result = call();
    if !is_hosts && result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time live until it returns, which it does at once; it may have nowhere to say which
        // signal it was. The signal was sent to this thread, so no other can have taken it.
        unsafe { libc::sigtimedwait(too_large.as_ref(), std::ptr::null_mut(), &raw const now) };
    }
    let _ = before.thread_set_mask();
    result
}

/// Whether a signal waits for this thread, or for any thread of this process.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_pending(signal: nix::sys::signal::Signal) -> bool {
    let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it is written where it can be, whole unless it fails; then a set is looked at.
    unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), signal as libc::c_int) == 1
    }
}

/// Makes a call that may make a file longer. Elsewhere the signal, if there is one, is sent to the whole process, and
/// what one thread blocks does not keep it from the others.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn extending<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// The mask of this thread as it was, to be put back.
#[cfg(unix)]
pub(crate) struct Blocked(Option<nix::sys::signal::SigSet>);

/// Blocks all signals on this thread, so that those it starts are born with them blocked: signals of the host are not
/// for ours. But for those that report a crash of the thread itself.
#[cfg(unix)]
pub(crate) fn block() -> Blocked {
    use nix::sys::signal::{SigSet, Signal};

    let mut all = SigSet::all();
    for crash in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGABRT,
        Signal::SIGSYS,
    ] {
        all.remove(crash);
    }
    let before = SigSet::thread_get_mask().ok();
    Blocked(before.filter(|_| all.thread_block().is_ok()))
}

#[cfg(unix)]
impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = before.thread_set_mask();
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn block() {}
