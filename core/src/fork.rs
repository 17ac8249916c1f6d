//! Surviving `fork()`. A child has a copy of its parent's memory as it was at one moment, and only the thread that
//! forked: a lock that another thread held stays locked for ever, generators would repeat the parent's numbers, and
//! open files are shared. So a child uses nothing of its parent's: it notices that it is one, leaves everything where
//! it is, and makes its own.

// The handler of a fork runs between two worlds, and what it may do there no type can say.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// How often this process was forked off another that used this library.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many times this process is a child. What was made under another number belongs to the parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Files that a child must not keep open: locks, which would outlive the parent in it.
static INHERITED: [AtomicI32; 256] = [const { AtomicI32::new(NONE) }; 256];

const NONE: i32 = -1;

/// A file that a forked child closes at once.
#[derive(Debug)]
pub(crate) struct ClosedInChild(&'static AtomicI32);

impl ClosedInChild {
    /// Takes note of an open file; none if too many are noted already.
    pub(crate) fn note(descriptor: i32) -> Option<Self> {
        let free =
            |place: &&AtomicI32| place.compare_exchange(NONE, descriptor, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        INHERITED.iter().find(free).map(ClosedInChild)
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        self.0.store(NONE, Ordering::Release);
    }
}

/// How many threads hold forks off, and how many forks are going on.
static HOLDING: AtomicU32 = AtomicU32::new(0);
static FORKING: AtomicU32 = AtomicU32::new(0);

/// No fork happens while there is one of these. For what must be done before a child can have a part of it: opening a
/// file and taking note of it. It keeps a fork waiting, so it must be short; it cannot keep it for long.
#[derive(Debug)]
pub(crate) struct Hold(());

impl Hold {
    pub(crate) fn new() -> Self {
        loop {
            HOLDING.fetch_add(1, Ordering::SeqCst);
            if FORKING.load(Ordering::SeqCst) == 0 {
                return Hold(());
            }
            HOLDING.fetch_sub(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A fork waits for so long. Whoever is held up on a disk that does not answer must not hold up the host too:
/// then a lock may live on in the child, and that is the lesser evil.
#[cfg(unix)]
const HOLD_MAX: std::time::Duration = std::time::Duration::from_millis(200);

/// Has forks noticed from now on.
fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(register);
}

#[cfg(unix)]
fn register() {
    // SAFETY: the handlers only touch atomics, yield and call close(), all of it allowed between fork and exec. The
    // library stays loaded once loaded, so the function is always there. Without memory for it there is no handler:
    // then a child that goes on using its parent's client may hang, as with any other library.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
}

#[cfg(not(unix))]
fn register() {}

#[cfg(unix)]
extern "C" fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let start = std::time::Instant::now();
    while HOLDING.load(Ordering::SeqCst) > 0 && start.elapsed() < HOLD_MAX {
        std::thread::yield_now();
    }
}

#[cfg(unix)]
extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

#[cfg(unix)]
extern "C" fn in_child() {
    // Those who hold or fork are threads of the parent.
    FORKING.store(0, Ordering::SeqCst);
    HOLDING.store(0, Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in &INHERITED {
        let descriptor = place.swap(NONE, Ordering::Relaxed);
        if descriptor != NONE {
            // SAFETY: the descriptor was open when it was noted, and is forgotten before it is closed. The parent's own
            // stays open.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// A value that each process has for itself: a child gets a new one at its first use, and the parent's is never touched
/// again, not even to free it.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    value: AtomicPtr<Made<T>>,
}

#[derive(Debug)]
struct Made<T> {
    generation: u32,
    value: T,
}

impl<T> PerProcess<T> {
    /// Makes the first value, and has forks noticed before.
    pub(crate) fn new(make: impl FnOnce() -> T) -> Self {
        watch();
        PerProcess { value: AtomicPtr::new(Self::made(make())) }
    }

    fn made(value: T) -> *mut Made<T> {
        Box::into_raw(Box::new(Made { generation: generation(), value }))
    }

    /// This process's value; `make` makes a child's first.
    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &T {
        let current = self.value.load(Ordering::Acquire);
        // SAFETY: what the pointer points to is freed only with `self`, or never.
        let current_made = unsafe { &*current };
        if current_made.generation == generation() {
            return &current_made.value;
        }
        self.replace(current, make)
    }

    #[cold]
    fn replace(&self, parents: *mut Made<T>, make: impl FnOnce() -> T) -> &T {
        let own = Self::made(make());
        let won = self.value.compare_exchange(parents, own, Ordering::AcqRel, Ordering::Acquire);
        let made = match won {
            Ok(_) => own,
            Err(others) => {
                // Another thread of the child was faster.
                // SAFETY: `own` was made above and is known to nobody else.
                drop(unsafe { Box::from_raw(own) });
                others
            }
        };
        // SAFETY: as in `get`.
        unsafe { &(*made).value }
    }

    /// This process's value, if it has one: none in a child that has not used it.
    pub(crate) fn own(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        let made = unsafe { &*self.value.load(Ordering::Acquire) };
        (made.generation == generation()).then_some(&made.value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.own().is_some() {
            // SAFETY: `self` is going away, so nobody has a reference; a parent's value was filtered out.
            drop(unsafe { Box::from_raw(*self.value.get_mut()) });
        }
    }
}

// SAFETY: it owns a T and hands out references to it, like an Arc.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_process_keeps_its_value_and_frees_it() {
        let counted = Arc::new(());
        let value = PerProcess::new(|| counted.clone());
        for _ in 0..3 {
            assert!(Arc::ptr_eq(value.get(|| Arc::new(())), &counted));
        }
        assert!(value.own().is_some());
        drop(value);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn a_child_makes_its_own_and_leaves_the_parents_alone() {
        let parents = Arc::new("parent");
        let value = PerProcess::new(|| parents.clone());
        // What a fork changes, as far as this value can see.
        // SAFETY: the pointer was made by `new` and nobody else looks at it.
        unsafe { (**value.value.as_ptr()).generation = generation().wrapping_sub(1) };
        assert!(value.own().is_none());
        assert_eq!(**value.get(|| Arc::new("child")), "child");
        assert_eq!(**value.get(|| Arc::new("never made")), "child");
        drop(value);
        assert_eq!(Arc::strong_count(&parents), 2, "a child must not free what a parent's thread may be using");
    }

    #[test]
    fn noted_files_are_forgotten_when_they_are_closed() {
        let noted: Vec<_> = (0..300).map_while(|_| ClosedInChild::note(i32::MAX)).collect();
        assert!(noted.len() <= 256 && noted.len() > 200);
        drop(noted);
        assert!(ClosedInChild::note(i32::MAX).is_some());
    }
}
