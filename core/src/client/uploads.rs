//! Threads for requests that are made in parallel. Each does one job after the other, and ends when it had none for
//! long. The delivery thread decides what the jobs are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::base::fork;
use crate::base::threads::{self, Condvar, JoinHandle, Mutex, MutexGuard};

/// A thread ends when it had nothing to do for so long.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A job must not panic.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    pool: Mutex<Pool>,
    /// Threads without a job sleep here.
    work: Condvar,
}

#[derive(Default)]
struct Pool {
    jobs: Vec<Job>,
    /// How many threads wait for one.
    idle: usize,
    threads: Vec<Thread>,
    ended: bool,
}

struct Thread {
    handle: JoinHandle<()>,
    is_busy: Arc<AtomicBool>,
}

impl Uploads {
    /// Has another thread do a job, at once. If none can be started, the job is given back.
    pub(crate) fn start(&self, job: Job) -> Result<(), Job> {
        let mut pool = self.0.lock();
        if pool.idle <= pool.jobs.len() {
            let Some(thread) = self.thread() else { return Err(job) };
            pool.threads.retain(|thread| !thread.handle.is_finished());
            pool.threads.push(thread);
        }
        pool.jobs.push(job);
        drop(pool);
        self.0.work.notify_one();
        Ok(())
    }

    fn thread(&self) -> Option<Thread> {
        let (shared, is_busy) = (self.0.clone(), Arc::new(AtomicBool::new(false)));
        let busy = is_busy.clone();
        let handle = threads::spawn("segment-upload", move || shared.run(&busy)).ok()?;
        Some(Thread { handle, is_busy })
    }

    /// Ends all threads, and waits for them; but not for those that are busy with a job, if they are to be left behind.
    pub(crate) fn end(&self, leave_behind: bool) {
        let mut pool = self.0.lock();
        pool.ended = true;
        if leave_behind {
            pool.jobs.clear(); // no thread has begun them
        }
        let threads = std::mem::take(&mut pool.threads);
        let is_waited_for = |thread: &Thread| !(leave_behind && thread.is_busy.load(Ordering::SeqCst));
        let waited_for: Vec<Thread> = threads.into_iter().filter(is_waited_for).collect();
        drop(pool);
        self.0.work.notify_all();
        for thread in waited_for {
            let _ = thread.handle.join();
        }
    }
}

impl Shared {
    fn run(&self, is_busy: &AtomicBool) {
        let generation = fork::generation();
        while let Some(job) = self.next(is_busy) {
            job();
            if fork::generation() != generation {
                return; // the job has forked: this is a copy of the thread in the child
            }
        }
    }

    fn next(&self, is_busy: &AtomicBool) -> Option<Job> {
        let mut pool = self.lock();
        is_busy.store(false, Ordering::SeqCst);
        pool.idle += 1;
        let waits = |pool: &mut Pool| pool.jobs.is_empty() && !pool.ended;
        let (mut pool, _) = self.work.wait_timeout_while(pool, IDLE_MAX, waits).unwrap_or_else(PoisonError::into_inner);
        pool.idle -= 1;
        let job = pool.jobs.pop();
        is_busy.store(job.is_some(), Ordering::SeqCst);
        job
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;
    use crate::patience::patience;

    #[test]
    fn jobs_are_done_in_parallel_and_threads_are_used_again() {
        let uploads = Uploads::default();
        let (done, answers) = mpsc::channel::<ThreadId>();
        let round = || {
            let together = Arc::new(std::sync::Barrier::new(4));
            for _ in 0..4 {
                let (together, done) = (together.clone(), done.clone());
                let job = move || {
                    together.wait();
                    done.send(std::thread::current().id()).expect("the test listens");
                };
                assert!(uploads.start(Box::new(job)).is_ok());
            }
            let ids: HashSet<ThreadId> = (0..4).map(|_| answers.recv_timeout(patience()).expect("done")).collect();
            assert_eq!(ids.len(), 4);
            ids
        };
        let first = round();
        assert!(crate::patience::wait_until(|| uploads.0.lock().idle == 4));
        assert_eq!(round(), first);
        uploads.end(false);
        assert_eq!(uploads.0.lock().idle, 0);
    }

    #[test]
    fn the_end_waits_for_no_job_that_is_left_behind() {
        let uploads = Uploads::default();
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel::<()>();
        let job = move || {
            begun.send(()).expect("the test listens");
            let _ = released.recv();
        };
        assert!(uploads.start(Box::new(job)).is_ok());
        begins.recv_timeout(patience()).expect("it has begun");
        uploads.end(true);
        release.send(()).expect("it is still there");
    }
}
