//! Whole lifetimes of the real client on a simulated machine: its disk, its network, its clock and the order of its
//! threads are drawn from a seed. A lifetime that fails prints its seed; `SEGMENT_TEST_SEED=n` runs the same steps
//! again, and shows them all.

mod book;
mod disk;
mod life;
mod server;
pub(crate) mod threads;

/// How many lifetimes `./test` runs; `./test long` runs a hundred times as many.
const LIVES: u64 = 2_000;

#[test]
fn whatever_happens_every_message_is_accounted_for() {
    if let Some(seed) = std::env::var("SEGMENT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        if let Err(failure) = life::live(seed) {
            panic!("{failure}\nseed {seed}");
        }
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (lives, first) = (crate::rounds(LIVES as usize) as u64, number("SEGMENT_TEST_FIRST_SEED").unwrap_or(0));
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let failed = std::sync::Mutex::new(None::<(u64, String)>);
    let steps = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (failed, steps) = (&failed, &steps);
            scope.spawn(move || {
                stay_on_one_processor(worker as usize);
                for seed in (first + worker..first + lives).step_by(workers as usize) {
                    if failed.lock().expect("no panic").is_some() {
                        return;
                    }
                    match life::live(seed) {
                        Ok(taken) => _ = steps.fetch_add(taken, std::sync::atomic::Ordering::Relaxed),
                        Err(failure) => _ = failed.lock().expect("no panic").get_or_insert((seed, failure)),
                    }
                }
            });
        }
    });
    if let Some((seed, failure)) = failed.into_inner().expect("no panic") {
        panic!("{failure}\nseed {seed}: SEGMENT_TEST_SEED={seed} runs it again");
    }
    let size = [(lives as usize, "lifetimes"), (steps.into_inner() as usize, "steps")];
    crate::patience::campaign("each with a seed of its own", &size, Some(first), "every message accounted for");
}

#[test]
fn another_process_knows_the_answer_within_half_a_minute() {
    for seed in 0..crate::rounds(40) as u64 {
        if let Err(failure) = life::wait_for_an_answer(seed) {
            panic!("{failure}\nseed {seed}");
        }
    }
}

/// Binds this thread, and those that it starts, to one processor: only one thread of a machine runs at a time.
fn stay_on_one_processor(worker: usize) {
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
        use nix::unistd::Pid;
        let this = Pid::from_raw(0);
        let Ok(allowed) = sched_getaffinity(this) else { return };
        let processors: Vec<usize> = (0..CpuSet::count()).filter(|n| allowed.is_set(*n).unwrap_or(false)).collect();
        let mut one = CpuSet::new();
        if one.set(processors[worker % processors.len()]).is_ok() {
            let _ = sched_setaffinity(this, &one); // if it fails, the test takes longer
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = worker;
}
