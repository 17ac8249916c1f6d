//! Threads of which only one runs at a time, and a clock that moves only when all of them wait. The thread that goes on
//! at each lock, wait and call of the disk is drawn from the seed: a lifetime can be repeated step by step.
//!
//! Each simulated thread is a real one that is parked until its turn. Locks are real locks, which are only ever found
//! taken if a parked thread has them. All other threads of the test program use the standard library's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, LazyLock, LockResult, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

/// Not zero, so that there are times before it.
static EPOCH: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(1_000_000));
const EPOCH_MS: u64 = 1_800_000_000_000;

/// A step takes some of this.
const STEP: Duration = Duration::from_micros(20);
/// How many lines of the trace are kept; all of them if one seed is run again.
const TRACE_MAX: usize = 300;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in `times` on average.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn up_to(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.below(1_001) as f64 / 1_000.0)
    }
}

/// What a killed thread unwinds with.
struct Killed;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Ready,
    /// Until the lock at this address is free.
    Locked(usize),
    /// Until a thread that waits here is woken, or until then.
    Waiting(usize, Option<Duration>),
    Joining(usize),
    Ended,
}

struct Thread {
    name: String,
    process: usize,
    state: State,
    is_killed: bool,
    timed_out: bool,
    handle: Option<std::thread::Thread>,
}

struct Core {
    random: Random,
    now: Duration,
    skew_ms: i64,
    threads: Vec<Thread>,
    current: usize,
    /// Once in so many steps another thread goes on.
    patience: usize,
    steps: u64,
    failure: Option<String>,
    trace: VecDeque<String>,
    trace_max: usize,
    /// Once in so many times no thread can be started; 0: never.
    no_threads: usize,
}

/// One simulated machine.
pub(crate) struct World {
    core: std::sync::Mutex<Core>,
    over: std::sync::Condvar,
}

#[derive(Clone)]
struct Current {
    world: Arc<World>,
    number: usize,
    /// What a killed process has left is being dropped: nothing waits, nothing works, and time does not matter.
    is_ghost: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static GHOST_TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// How long this thread was using the disk.
    static AT_DISK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn current() -> Option<Current> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

pub(crate) fn is_simulated() -> bool {
    current().is_some()
}

impl World {
    /// Runs `main` as the first thread of a world, and all threads that it starts, to their end. Returns what went
    /// wrong, with the trace before it.
    pub(crate) fn run(seed: u64, main: impl FnOnce(&Arc<World>) + Send + 'static) -> Result<u64, String> {
        let mut random = Random::new(seed);
        let patience = random.pick(&[2, 4, 8, 16, 64]);
        let world = Arc::new(World {
            core: std::sync::Mutex::new(Core {
                random,
                now: Duration::ZERO,
                skew_ms: 0,
                threads: Vec::new(),
                current: 0,
                patience,
                steps: 0,
                failure: None,
                trace: VecDeque::new(),
                trace_max: if std::env::var_os("SEGMENT_TEST_SEED").is_some() { usize::MAX } else { TRACE_MAX },
                no_threads: 0,
            }),
            over: std::sync::Condvar::new(),
        });
        let first = world.clone();
        let thread = world.start("main", 0, move || main(&first)).map_err(|error| error.to_string())?;
        world.core().threads[0].handle.clone().expect("it was started").unpark();
        let is_going = |core: &mut Core| core.threads.iter().any(|thread| thread.state != State::Ended);
        let over = world.over.wait_timeout_while(world.core(), crate::patience::patience(), is_going);
        if over.is_ok_and(|(core, _)| core.threads.iter().any(|thread| thread.state != State::Ended)) {
            return Err(format!("{}\nthe world hangs", world.core().states()));
        }
        let _ = thread.join();
        let core = world.core();
        match &core.failure {
            Some(failure) => {
                let trace: Vec<_> = core.trace.iter().map(String::as_str).collect();
                Err(format!("{}\n{failure}", trace.join("\n")))
            }
            None => Ok(core.steps),
        }
    }

    fn core(&self) -> std::sync::MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws something that depends on the seed.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.core().random)
    }

    pub(crate) fn now(&self) -> Duration {
        self.core().now
    }

    pub(crate) fn set_clock(&self, skew_ms: i64) {
        self.core().skew_ms = skew_ms;
    }

    pub(crate) fn clock_ms(&self) -> i64 {
        self.core().skew_ms
    }

    pub(crate) fn set_no_threads(&self, once_in: usize) {
        self.core().no_threads = once_in;
    }

    /// Adds a line to the trace, which is shown if something goes wrong.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let line = line();
        let mut core = self.core();
        let name = core.threads.get(core.current).map_or("", |thread| thread.name.as_str());
        let line = format!("{:>12.6} {name}: {line}", core.now.as_secs_f64());
        if core.trace.len() >= core.trace_max {
            core.trace.pop_front();
        }
        core.trace.push_back(line);
    }

    /// Ends this world with a failure.
    pub(crate) fn fail(&self, failure: &str) -> ! {
        self.core().fail(failure);
        resume_unwind(Box::new(Killed));
    }

    pub(crate) fn check(&self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds {
            self.fail(&failure());
        }
    }

    fn start(
        self: &Arc<Self>,
        name: &str,
        process: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let mut core = self.core();
        let (number, world) = (core.threads.len(), self.clone());
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            CURRENT.set(Some(Current { world: world.clone(), number, is_ghost: false }));
            if !world.await_turn(number) {
                let ended = catch_unwind(AssertUnwindSafe(run));
                if ended.is_err_and(|payload| !payload.is::<Killed>()) {
                    world.core().fail("a thread panicked");
                }
            }
            CURRENT.set(None);
            world.end(number);
        })?;
        core.threads.push(Thread {
            name: format!("{process}:{name}"),
            process,
            state: State::Ready,
            is_killed: false,
            timed_out: false,
            handle: Some(handle.thread().clone()),
        });
        Ok(handle)
    }

    /// Starts a thread of a process; it begins when it is its turn.
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, process: usize, run: impl FnOnce() + Send + 'static) -> usize {
        let number = self.core().threads.len();
        self.start(name, process, run).expect("a thread");
        number
    }

    pub(crate) fn join(&self, number: usize) {
        if self.core().threads[number].state != State::Ended {
            self.pause(State::Joining(number));
        }
    }

    /// Waits until it is a thread's turn; true if it is to die instead.
    fn await_turn(&self, number: usize) -> bool {
        loop {
            {
                let core = self.core();
                if core.current == number {
                    return core.threads[number].is_killed;
                }
            }
            std::thread::park();
        }
    }

    fn end(&self, number: usize) {
        let mut core = self.core();
        core.threads[number].state = State::Ended;
        for thread in &mut core.threads {
            if thread.state == State::Joining(number) {
                thread.state = State::Ready;
            }
        }
        if core.next(number) {
            let handle = core.threads[core.current].handle.clone();
            drop(core);
            handle.into_iter().for_each(|handle| handle.unpark());
        } else {
            drop(core);
            self.over.notify_all();
        }
    }

    /// Lets another thread go on, if this one cannot, or by chance; returns when it is this one's turn.
    fn pause(&self, state: State) -> bool {
        let number = current().map_or(0, |current| current.number);
        let mut core = self.core();
        core.threads[number].state = state;
        core.next(number);
        if core.current != number {
            let handle = core.threads[core.current].handle.clone();
            drop(core);
            handle.into_iter().for_each(|handle| handle.unpark());
            self.await_turn(number);
            core = self.core();
        }
        let thread = &mut core.threads[number];
        thread.state = State::Ready;
        let (is_killed, timed_out) = (thread.is_killed, std::mem::take(&mut thread.timed_out));
        drop(core);
        if is_killed && !std::thread::panicking() {
            resume_unwind(Box::new(Killed));
        }
        timed_out
    }

    /// One step: time goes on, and perhaps it becomes another thread's turn.
    pub(crate) fn step(&self) {
        let number = current().map_or(0, |current| current.number);
        let goes_on = {
            let mut core = self.core();
            core.steps += 1;
            if core.steps > 2_000_000 && core.failure.is_none() {
                core.fail("the world does not end");
            }
            let time = core.random.up_to(STEP);
            core.now += time;
            if core.random.once_in(500) {
                core.wake_at_random();
            }
            let patience = core.patience;
            !core.threads[number].is_killed && core.failure.is_none() && !core.random.once_in(patience)
        };
        if !goes_on {
            self.pause(State::Ready);
        }
    }

    pub(crate) fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        self.pause(State::Waiting(0, Some(until)));
    }

    /// Ends all threads of a process where they are, without another step, and returns when they are gone.
    pub(crate) fn kill(&self, process: usize) {
        let number = current().map_or(0, |current| current.number);
        loop {
            let mut core = self.core();
            let mut left = false;
            for (other, thread) in core.threads.iter_mut().enumerate() {
                if thread.process == process && other != number && thread.state != State::Ended {
                    thread.is_killed = true;
                    left = true;
                }
            }
            drop(core);
            if !left {
                return;
            }
            self.pause(State::Ready);
        }
    }

    /// Drops what a killed process has left.
    pub(crate) fn bury(&self, what: impl FnOnce()) {
        let set =
            |is_ghost| CURRENT.with_borrow_mut(|current| current.iter_mut().for_each(|it| it.is_ghost = is_ghost));
        set(true);
        what();
        set(false);
    }

    fn free(&self, address: usize) {
        for thread in &mut self.core().threads {
            if thread.state == State::Locked(address) {
                thread.state = State::Ready;
            }
        }
    }

    fn wake(&self, address: usize, all: bool) {
        let mut core = self.core();
        let waiting = |thread: &Thread| matches!(thread.state, State::Waiting(at, _) if at == address);
        let mut who: Vec<usize> = (0..core.threads.len()).filter(|number| waiting(&core.threads[*number])).collect();
        if !all && !who.is_empty() {
            let chosen = core.random.below(who.len());
            who = vec![who[chosen]];
        }
        who.into_iter().for_each(|number| core.threads[number].state = State::Ready);
    }
}

impl Core {
    fn states(&self) -> String {
        let states = self.threads.iter().map(|thread| format!("{} {:?}", thread.name, thread.state));
        states.collect::<Vec<_>>().join(", ")
    }

    fn fail(&mut self, failure: &str) {
        let name = self.threads.get(self.current).map_or("", |thread| thread.name.as_str());
        self.failure.get_or_insert_with(|| format!("{name}: {failure}"));
        self.threads.iter_mut().for_each(|thread| thread.is_killed = true);
    }

    /// Wakes a waiting thread without a reason, as real systems sometimes do.
    fn wake_at_random(&mut self) {
        let waits = |thread: &Thread| matches!(thread.state, State::Waiting(address, _) if address != 0);
        let waiting: Vec<usize> = (0..self.threads.len()).filter(|number| waits(&self.threads[*number])).collect();
        if !waiting.is_empty() {
            let chosen = self.random.below(waiting.len());
            self.threads[waiting[chosen]].state = State::Ready;
        }
    }

    /// Chooses the thread that goes on; false if all have ended.
    fn next(&mut self, number: usize) -> bool {
        let mut is_stuck = false;
        loop {
            // Threads that are to die do so at once.
            let dying = |thread: &&Thread| thread.is_killed && thread.state != State::Ended;
            let is_free = |thread: &&Thread| !matches!(thread.state, State::Locked(_));
            let position = |wanted: &dyn Fn(&&Thread) -> bool| self.threads.iter().position(|thread| wanted(&thread));
            let other = position(&|thread| dying(thread) && is_free(thread)).or_else(|| position(&dying));
            if let Some(other) = other {
                self.current = other;
                return true;
            }
            let now = self.now;
            for thread in &mut self.threads {
                if let State::Waiting(_, Some(until)) = thread.state
                    && until <= now
                {
                    thread.state = State::Ready;
                    thread.timed_out = true;
                }
            }
            let ready: Vec<usize> =
                (0..self.threads.len()).filter(|other| self.threads[*other].state == State::Ready).collect();
            if !ready.is_empty() {
                let chosen = self.random.below(ready.len());
                self.current = ready[chosen];
                return true;
            }
            let until = |thread: &Thread| match thread.state {
                State::Waiting(_, until) => until,
                _ => None,
            };
            if let Some(until) = self.threads.iter().filter_map(until).min() {
                self.now = self.now.max(until);
                continue;
            }
            if self.threads.iter().all(|thread| thread.state == State::Ended) {
                return false;
            }
            if is_stuck {
                self.current = number;
                return true;
            }
            is_stuck = true;
            let states = self.states();
            self.fail(&format!("deadlock: {states}"));
        }
    }
}

/// How long this thread has used the disk since this was last called.
pub(crate) fn take_disk_time() -> Duration {
    AT_DISK.take()
}

pub(crate) fn add_disk_time(time: Duration) {
    AT_DISK.set(AT_DISK.get() + time);
}

/// Whether this runs while what a killed process has left is being dropped.
pub(crate) fn is_ghost() -> bool {
    current().is_some_and(|current| current.is_ghost) || std::thread::panicking() && is_simulated()
}

/// A moment at which a process may be killed.
pub(crate) fn point() {
    let _ = step();
}

/// Takes the step before anything that other threads can notice.
fn step() -> Option<Current> {
    let current = current()?;
    if !current.is_ghost && !std::thread::panicking() {
        current.world.step();
    }
    Some(current)
}

pub(crate) fn now() -> Instant {
    match current() {
        None => Instant::now(),
        Some(current) if current.is_ghost || std::thread::panicking() => {
            *EPOCH + current.world.now() + GHOST_TIME.get()
        }
        Some(current) => *EPOCH + current.world.now(),
    }
}

pub(crate) fn system_time() -> SystemTime {
    let Some(current) = current() else { return SystemTime::now() };
    let core = current.world.core();
    let ms = (EPOCH_MS as i64 + core.skew_ms) as u64;
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms) + core.now
}

pub(crate) fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    current()?.world.draw(|random| {
        bytes[..8].copy_from_slice(&random.next().to_le_bytes());
        bytes[8..].copy_from_slice(&random.next().to_le_bytes());
    });
    Some(bytes)
}

pub(crate) fn sleep(time: Duration) {
    match current() {
        None => std::thread::sleep(time),
        Some(current) if current.is_ghost || std::thread::panicking() => GHOST_TIME.set(GHOST_TIME.get() + time),
        Some(current) => current.world.sleep(time),
    }
}

pub(crate) enum JoinHandle<T> {
    Real(std::thread::JoinHandle<T>),
    Simulated(Arc<World>, usize),
}

pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let Some(current) = step() else {
        return std::thread::Builder::new().name(name.to_owned()).spawn(run).map(JoinHandle::Real);
    };
    let world = current.world;
    let none = {
        let mut core = world.core();
        let often = core.no_threads;
        often > 0 && core.random.once_in(often)
    };
    if is_ghost() || none {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let process = world.core().threads[current.number].process;
    let number = world.spawn(name, process, run);
    Ok(JoinHandle::Simulated(world, number))
}

impl JoinHandle<()> {
    pub(crate) fn join(self) -> std::thread::Result<()> {
        match self {
            JoinHandle::Real(handle) => handle.join(),
            JoinHandle::Simulated(world, number) => {
                if !is_ghost() {
                    world.join(number);
                }
                Ok(())
            }
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        match self {
            JoinHandle::Real(handle) => handle.is_finished(),
            JoinHandle::Simulated(world, number) => world.core().threads[*number].state == State::Ended,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    inner: std::sync::Mutex<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    inner: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex { inner: std::sync::Mutex::new(value) }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(&self.inner).addr()
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = |inner| MutexGuard { mutex: self, inner: Some(inner) };
        let Some(current) = step() else {
            return self.inner.lock().map(guard).map_err(|poisoned| PoisonError::new(guard(poisoned.into_inner())));
        };
        loop {
            match self.inner.try_lock() {
                Ok(inner) => return Ok(guard(inner)),
                Err(TryLockError::Poisoned(poisoned)) => return Err(PoisonError::new(guard(poisoned.into_inner()))),
                Err(TryLockError::WouldBlock) => _ = current.world.pause(State::Locked(self.address())),
            }
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is held")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.take().is_some()
            && let Some(current) = current()
        {
            current.world.free(self.mutex.address());
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar {
    inner: std::sync::Condvar,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited(bool);

impl Waited {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

type WaitResult<'a, T> = LockResult<(MutexGuard<'a, T>, Waited)>;

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar::default()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(&self.inner).addr()
    }

    pub(crate) fn notify_one(&self) {
        self.notify(false);
    }

    pub(crate) fn notify_all(&self) {
        self.notify(true);
    }

    fn notify(&self, all: bool) {
        match current() {
            Some(current) => current.world.wake(self.address(), all),
            None if all => self.inner.notify_all(),
            None => self.inner.notify_one(),
        }
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        match self.wait_until(guard, None) {
            Ok((guard, _)) => Ok(guard),
            Err(poisoned) => Err(PoisonError::new(poisoned.into_inner().0)),
        }
    }

    pub(crate) fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, time: Duration) -> WaitResult<'a, T> {
        self.wait_until(guard, Some(time))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> WaitResult<'a, T> {
        let began = now();
        while condition(&mut guard) {
            let left = time.saturating_sub(now().saturating_duration_since(began));
            if left.is_zero() {
                return Ok((guard, Waited(true)));
            }
            guard = self.wait_until(guard, Some(left)).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok((guard, Waited(false)))
    }

    fn wait_until<'a, T>(&self, mut guard: MutexGuard<'a, T>, time: Option<Duration>) -> WaitResult<'a, T> {
        let mutex = guard.mutex;
        let Some(current) = current() else {
            let inner = guard.inner.take().expect("it is held");
            let back = |inner| MutexGuard { mutex, inner: Some(inner) };
            return match time {
                None => Ok((back(self.inner.wait(inner).unwrap_or_else(PoisonError::into_inner)), Waited(false))),
                Some(time) => {
                    let (inner, waited) = self.inner.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
                    Ok((back(inner), Waited(waited.timed_out())))
                }
            };
        };
        if current.is_ghost || std::thread::panicking() {
            GHOST_TIME.set(GHOST_TIME.get() + time.unwrap_or(Duration::from_secs(1)));
            return Ok((guard, Waited(true)));
        }
        let world = current.world;
        drop(guard);
        let until = time.map(|time| world.now() + time);
        let timed_out = world.pause(State::Waiting(self.address(), until));
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((guard, Waited(timed_out)))
    }
}
