//! Surviving `fork()`. A child has a copy of its parent's memory as it was at one moment, and only the thread that
//! forked: a lock that another thread held stays locked forever, generators would repeat the parent's numbers, and open
//! files are shared. So a child uses nothing of its parent's: it notices the fork, leaves everything where it is, and
//! makes its own.

// No type can express what a fork handler may do between fork and exec.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::{io, ptr};

/// How many forks lie between the first process that used this library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The number of those forks. What was made under another number belongs to a parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Files that a child must close: locks, which would otherwise outlive the parent. The list never shrinks, so a child
/// can walk it whatever the parent's threads were doing.
static INHERITED: Block = Block::new();

struct Block {
    places: [Place; 256],
    next: AtomicPtr<Block>,
}

#[derive(Debug)]
struct Place {
    descriptor: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// Instead of a descriptor: the place is free, or is being filled in.
const NONE: i32 = -1;
const TAKEN: i32 = -2;

impl Place {
    const fn new() -> Self {
        Place { descriptor: AtomicI32::new(NONE), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }
}

impl Block {
    const fn new() -> Self {
        Block { places: [const { Place::new() }; 256], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Block> {
        // SAFETY: it is null, or a block that `next_or_new` leaked, which is never freed and only changed atomically.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// The next block, which is made and leaked if there is none.
    fn next_or_new(&self) -> &'static Block {
        if let Some(next) = self.next() {
            return next;
        }
        let made = Box::into_raw(Box::new(Block::new()));
        let won = self.next.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
        let next = won.map_or_else(
            |others| {
                // SAFETY: `made` was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(made) });
                others
            },
            |_| made,
        );
        // SAFETY: as in `next`.
        unsafe { &*next }
    }

    fn all() -> impl Iterator<Item = &'static Block> {
        std::iter::successors(Some(&INHERITED), |block| block.next())
    }
}

/// An open file that a forked child closes at once.
#[derive(Debug)]
pub(crate) struct ClosedInChild {
    place: &'static Place,
    generation: u32,
}

impl ClosedInChild {
    /// Notes an open file and its identity: by the time of a fork its descriptor may belong to another file.
    pub(crate) fn note(descriptor: i32) -> io::Result<Self> {
        let (device, inode) = identity(descriptor).ok_or_else(io::Error::last_os_error)?;
        let is_free = |place: &&Place| {
            let (descriptor, free) = (&place.descriptor, Ordering::Relaxed);
            descriptor.load(free) == NONE && descriptor.compare_exchange(NONE, TAKEN, Ordering::Acquire, free).is_ok()
        };
        let mut block = &INHERITED;
        let place = loop {
            match block.places.iter().find(is_free) {
                Some(place) => break place,
                None => block = block.next_or_new(),
            }
        };
        place.device.store(device, Ordering::Relaxed);
        place.inode.store(inode, Ordering::Relaxed);
        place.descriptor.store(descriptor, Ordering::Release);
        Ok(ClosedInChild { place, generation: generation() })
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        // A child has cleared its parent's places already, and this one may be in use again.
        if self.generation == generation() {
            self.place.descriptor.store(NONE, Ordering::Release);
        }
    }
}

/// The file behind a descriptor, as device and inode; none if it is not open.
#[cfg(unix)]
fn identity(descriptor: i32) -> Option<(u64, u64)> {
    #[cfg(not(target_os = "linux"))]
    use libc::{fstat, stat};
    #[cfg(target_os = "linux")]
    use libc::{fstat64 as fstat, stat64 as stat};

    let mut status = std::mem::MaybeUninit::<stat>::uninit();
    // SAFETY: there is room for the status that fstat writes. It may be called between fork and exec.
    if unsafe { fstat(descriptor, status.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: fstat did not fail.
    let status = unsafe { status.assume_init() };
    #[allow(clippy::unnecessary_cast)] // the types differ by system
    Some((status.st_dev as u64, status.st_ino as u64))
}

#[cfg(not(unix))]
fn identity(_: i32) -> Option<(u64, u64)> {
    Some((0, 0)) // there is no fork
}

/// How many threads hold forks off, and how many forks are under way.
static HOLDING: AtomicU32 = AtomicU32::new(0);
static FORKING: AtomicU32 = AtomicU32::new(0);

/// No fork happens while one of these exists: for steps that a child must not inherit half done, such as opening a file
/// and noting it. A fork waits for it, though not for long, so it must be short.
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

/// The longest that a fork waits. A thread that is stuck on a disk must not hold up the host too. A lock may then live
/// on in the child, which is the lesser evil.
#[cfg(unix)]
const HOLD_MAX: std::time::Duration = std::time::Duration::from_millis(200);

/// Makes sure that forks are counted from now on; false if they cannot be.
pub(crate) fn watch() -> bool {
    static WATCHED: OnceLock<bool> = OnceLock::new();
    *WATCHED.get_or_init(register)
}

#[cfg(unix)]
fn register() -> bool {
    // SAFETY: the handlers only touch atomics, yield, and call fstat() and close(), all of which is allowed between
    // fork and exec. The library is never unloaded, so the functions are always there. Without memory for them nothing
    // is registered, and a child that goes on using its parent's client may hang, as with any other library.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) == 0 }
}

#[cfg(not(unix))]
fn register() -> bool {
    true // there is no fork
}

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
    // The threads that hold or fork are the parent's.
    FORKING.store(0, Ordering::SeqCst);
    HOLDING.store(0, Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in Block::all().flat_map(|block| &block.places) {
        let descriptor = place.descriptor.swap(NONE, Ordering::Acquire);
        let noted = (place.device.load(Ordering::Relaxed), place.inode.load(Ordering::Relaxed));
        // If the host has closed all descriptors and opened files of its own, one of them may have our number.
        if descriptor >= 0 && identity(descriptor) == Some(noted) {
            // SAFETY: the descriptor is that of the noted file, and its place is cleared before it is closed. The
            // parent's stays open.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// A value of which each process has its own: a child makes a new one on first use, and never touches the parent's
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
    /// Makes the first value, once forks are counted.
    pub(crate) fn new(make: impl FnOnce() -> T) -> Self {
        watch();
        PerProcess { value: AtomicPtr::new(Self::made(make())) }
    }

    fn made(value: T) -> *mut Made<T> {
        Box::into_raw(Box::new(Made { generation: generation(), value }))
    }

    /// This process's value; a child makes its own on first use.
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
                // SAFETY: `own` was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(own) });
                others
            }
        };
        // SAFETY: as in `get`.
        unsafe { &(*made).value }
    }

    /// This process's value; none in a child that has not used it yet.
    pub(crate) fn own(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        let made = unsafe { &*self.value.load(Ordering::Acquire) };
        (made.generation == generation()).then_some(&made.value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.own().is_some() {
            // SAFETY: `self` is going away, so there are no references left; a parent's value was filtered out.
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
        // All that a fork changes about this value.
        // SAFETY: the pointer was made by `new`, and no other thread uses it.
        unsafe { (**value.value.as_ptr()).generation = generation().wrapping_sub(1) };
        assert!(value.own().is_none());
        assert_eq!(**value.get(|| Arc::new("child")), "child");
        assert_eq!(**value.get(|| Arc::new("never made")), "child");
        drop(value);
        assert_eq!(Arc::strong_count(&parents), 2, "a child must not free what a parent's thread may be using");
    }

    #[test]
    #[cfg(unix)]
    fn any_number_of_files_is_noted_and_forgotten_when_they_are_closed() {
        let file = std::fs::File::open("/dev/null").expect("there");
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        let ours = |place: &&Place| place.descriptor.load(Ordering::Relaxed) == descriptor;
        let places = || Block::all().flat_map(|block| &block.places);
        for _ in 0..2 {
            let noted: Vec<_> = (0..1_000).map(|_| ClosedInChild::note(descriptor).expect("noted")).collect();
            assert_eq!(places().filter(ours).count(), noted.len());
            drop(noted);
            assert_eq!(places().filter(ours).count(), 0);
        }
        // Other tests note locks too, but too few for the second thousand to need new blocks.
        assert!(places().count() < 2_000);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_not_open_is_not_noted() {
        assert_eq!(ClosedInChild::note(i32::MAX).expect_err("no such file").raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    #[cfg(unix)]
    fn a_child_leaves_its_parents_notes_alone() {
        let file = std::fs::File::open("/dev/null").expect("there");
        let mut noted = ClosedInChild::note(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("noted");
        let place = noted.place;
        noted.generation = noted.generation.wrapping_sub(1);
        drop(noted);
        assert_ne!(place.descriptor.swap(NONE, Ordering::Relaxed), NONE, "by now it may be a note of the child's");
    }
}
