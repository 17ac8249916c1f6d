//! Signals: the host must not get those that this library causes, and our threads must not get the host's.

// The system calls that check for a pending signal and consume it have no safe wrapper.
#![allow(unsafe_code)]

use std::io;

/// Makes a call that may extend a file. Beyond the limit of the process (RLIMIT_FSIZE) the call fails, but without the
/// SIGXFSZ that would end a host that has no handler for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn extending<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    let mut too_large = SigSet::empty();
    too_large.add(Signal::SIGXFSZ);
    let Ok(before) = too_large.thread_swap_mask(SigmaskHow::SIG_BLOCK) else { return call() };
    // A signal that the host has blocked itself, and may be waiting for.
    let is_hosts = before.contains(Signal::SIGXFSZ) && is_pending(Signal::SIGXFSZ);
    let result = call();
    if !is_hosts && result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time live until it returns, which it does at once; the pointer to signal details may
        // be null. The signal was sent to this thread, so no other can have taken it.
        unsafe { libc::sigtimedwait(too_large.as_ref(), std::ptr::null_mut(), &raw const now) };
    }
    let _ = before.thread_set_mask();
    result
}

/// Whether a signal is pending for this thread, or for the whole process.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_pending(signal: nix::sys::signal::Signal) -> bool {
    let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: there is room for the set, which sigpending writes unless it fails; only then is it read.
    unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), signal as libc::c_int) == 1
    }
}

/// Makes a call that may extend a file. Other systems send the signal, if they have it, to the whole process, and
/// blocking it on one thread does not keep it from the others.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn extending<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// The former signal mask of this thread, restored on drop.
#[cfg(unix)]
pub(crate) struct Blocked(Option<nix::sys::signal::SigSet>);

/// Blocks all signals on this thread but those that report a crash of the thread itself. Threads that it starts inherit
/// the mask, and so never get the host's signals.
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
