//! The delivery thread: asks the queue what to do, does it, and reports.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::chunk::Batch;
use crate::config::Envelope;
use crate::delivery::{self, Limits, Outcome, Pace, Part, SavedPace, Settled};
use crate::error::{Error, ErrorKind};
use crate::feed::Work;
use crate::fork;
use crate::http::{Answer, Post, Transport};
use crate::kill;
use crate::queue::Queue;
use crate::report::{Delivery, Level, OnDelivery, OnLog};
use crate::spool::Spool;
use crate::{id, message, time};

/// Measured: level 3 shrinks 1.6 times more than level 1, and level 6 gains nothing over it.
const GZIP_LEVEL: Compression = Compression::new(3);

/// What the client and its delivery thread have in common.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) callbacks: Callbacks,
    pub(crate) url: String,
    pub(crate) authorization: String,
    pub(crate) envelope: Envelope,
    pub(crate) limits: Limits,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

/// The host's callbacks. One runs at a time, and none after [`Callbacks::silence`].
pub(crate) struct Callbacks {
    host: Mutex<Option<Arc<Host>>>,
}

/// Whom to tell. A forked child tells the same host, by locks of its own.
pub(crate) struct Host {
    on_delivery: Option<OnDelivery>,
    on_log: Option<OnLog>,
}

thread_local! {
    /// Whose callbacks are running on this thread.
    static RUNNING: Cell<*const Callbacks> = const { Cell::new(std::ptr::null()) };
}

impl Callbacks {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Callbacks { host: Mutex::new(Some(host)) }
    }

    /// Whether this thread is inside one of these callbacks.
    pub(crate) fn is_running_here(&self) -> bool {
        RUNNING.try_with(Cell::get).is_ok_and(|running| std::ptr::eq(running, self))
    }

    /// Waits for a callback that is running; after that none runs any more.
    pub(crate) fn silence(&self) {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Tells the host something, unless it was silenced.
    fn tell(&self, what: impl FnOnce(&Host)) {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = &*host {
            let before = RUNNING.replace(self);
            what(host);
            RUNNING.set(before);
        }
    }

    fn log(&self, level: Level, line: impl FnOnce() -> String) {
        self.tell(|host| host.log(level, line));
    }
}

// A callback that panics must not end the delivery, nor keep the host from being told the rest.
impl Host {
    pub(crate) fn new(on_delivery: Option<OnDelivery>, on_log: Option<OnLog>) -> Self {
        Host { on_delivery, on_log }
    }

    fn log(&self, level: Level, line: impl FnOnce() -> String) {
        if let Some(on_log) = &self.on_log {
            let _ = catch_unwind(AssertUnwindSafe(|| on_log(level, &line())));
        }
    }

    fn delivery(&self, batch: &Batch, part: &Part, error: Option<&Error>, http_status: Option<u16>, body_bytes: usize) {
        if let Some(on_delivery) = &self.on_delivery {
            let message_ids: Vec<String> = batch.part(part.messages.clone()).map(message::id_of).collect();
            let delivery =
                Delivery { error, http_status, attempts: part.attempts, body_bytes, message_ids: &message_ids };
            let _ = catch_unwind(AssertUnwindSafe(|| on_delivery(&delivery)));
        }
    }
}

/// The delivery thread's main function.
pub(crate) fn run(shared: &Shared) {
    let mut worker = Worker::new(shared);
    let generation = worker.generation;
    loop {
        // A panic in here is a bug, of ours or of a library (it has been seen); the messages in flight count one failure.
        match catch_unwind(AssertUnwindSafe(|| worker.turn(shared))) {
            Ok(true) => {}
            // A callback has forked: this is a copy of the thread, in the child. Queue and files are the parent's.
            Ok(false) if fork::generation() != generation => return,
            Ok(false) => break,
            Err(_) => {
                shared.callbacks.log(Level::Error, || "a bug on the delivery thread was contained".to_owned());
                let failed = catch_unwind(AssertUnwindSafe(|| worker.failed(shared)));
                if failed.is_err() {
                    std::thread::sleep(delivery::BACKOFF_BASE);
                }
            }
        }
    }
    shared.queue.set_working(false);
}

/// Takes everything that would be lost with the process out of the queue and reports it as given up for want of time. Both in one telling: whoever
/// silences the callbacks does so before or after it, never in between.
pub(crate) fn give_up_all(shared: &Shared) {
    let error = Error::new(ErrorKind::Timeout, "the client ended before the messages could be delivered");
    shared.callbacks.tell(|host| {
        let left = shared.queue.give_up_all();
        let lost: usize = left.iter().map(|(_, part)| part.messages.len()).sum();
        if lost > 0 {
            host.log(Level::Error, || format!("{} lost: {error}", messages(lost, "was", "were")));
        }
        for (batch, part) in left {
            host.delivery(&batch, &part, Some(&error), None, 0);
        }
    });
}

#[derive(Default)]
struct Worker {
    pace: Pace,
    body: Vec<u8>,
    compressed: Vec<u8>,
    /// The pace that stands in the folder.
    saved: Option<SavedPace>,
    /// The process to which this thread belongs.
    generation: u32,
}

impl Worker {
    fn new(shared: &Shared) -> Self {
        let saved = shared.queue.spool.as_ref().and_then(Spool::load_pace);
        let pace = saved.map(|saved| Pace::restore(saved, shared.queue.elapsed(), time::now_ms()));
        Worker { pace: pace.unwrap_or_default(), saved, generation: fork::generation(), ..Worker::default() }
    }

    /// Does one thing; whether there may be more.
    fn turn(&mut self, shared: &Shared) -> bool {
        match shared.queue.next(&mut self.pace) {
            Work::Send { batch, part, within } => {
                self.send(shared, &batch, &part, within);
                if self.is_forked() {
                    return false;
                }
                self.save_pace(shared);
                drop(batch); // so that its memory can be used again
                shared.queue.landed(shared.limits);
                true
            }
            Work::Log(lines) => {
                shared.callbacks.tell(|host| lines.into_iter().for_each(|(level, line)| host.log(level, || line)));
                !self.is_forked()
            }
            Work::End => {
                give_up_all(shared);
                false
            }
        }
    }

    fn send(&mut self, shared: &Shared, batch: &Batch, part: &Part, within: Option<Duration>) {
        self.write_body(shared, batch, part);
        let body = if shared.gzip { &self.compressed } else { &self.body };
        let mut headers =
            vec![("content-type", "application/json".to_owned()), ("authorization", shared.authorization.clone())];
        if shared.gzip {
            headers.push(("content-encoding", "gzip".to_owned()));
        }
        if let Some(count) = part.retry_count() {
            headers.push(("x-retry-count", count.to_string()));
        }
        let timeout = within.map_or(shared.timeout, |within| within.min(shared.timeout));
        let post = Post { url: &shared.url, headers: &headers, body, timeout };
        kill::point("send");
        let answer = shared.transport.post(&post);
        kill::point("answered");
        let body_bytes = body.len();
        self.settle(shared, batch, part, &answer, body_bytes);
        kill::point("settled");
    }

    /// Writes the body of a request, stamped with the time of this attempt.
    fn write_body(&mut self, shared: &Shared, batch: &Batch, part: &Part) {
        self.body.clear();
        shared.envelope.write(batch.part(part.messages.clone()), time::now_ms(), &mut self.body);
        if shared.gzip {
            self.compressed.clear();
            let mut gzip = GzEncoder::new(&mut self.compressed, GZIP_LEVEL);
            let written = gzip.write_all(&self.body).and_then(|()| gzip.try_finish());
            written.expect("writing to memory does not fail");
        }
    }

    fn settle(
        &mut self,
        shared: &Shared,
        batch: &Batch,
        part: &Part,
        answer: &Result<Answer, String>,
        body_bytes: usize,
    ) {
        let outcome = match answer {
            Ok(answer) => Outcome::Answer {
                status: answer.status,
                retry_after: answer
                    .retry_after
                    .as_deref()
                    .and_then(|value| delivery::parse_retry_after(value, time::now_ms())),
                html: answer.html,
            },
            Err(_) => Outcome::Unreached,
        };
        let status = answer.as_ref().ok().map(|answer| answer.status);
        let sent = part.messages.len();
        match shared.queue.settle(&mut self.pace, outcome, shared.limits, id::fraction()) {
            Settled::Nothing => shared.callbacks.log(Level::Warning, || {
                format!("{} to be sent again: {}", messages(sent, "waits", "wait"), reason(answer))
            }),
            Settled::Delivered(parts) => shared.callbacks.tell(|host| {
                host.log(Level::Debug, || format!("{} delivered in {body_bytes} bytes", messages(sent, "was", "were")));
                for part in parts {
                    host.delivery(batch, &part, None, status, body_bytes);
                }
            }),
            Settled::Failed(parts) => shared.callbacks.tell(|host| {
                let kind = if status.is_some() { ErrorKind::Rejected } else { ErrorKind::Network };
                let error = Error::new(kind, reason(answer));
                if let Some(spool) = &shared.queue.spool {
                    let messages = parts.iter().flat_map(|part| batch.part(part.messages.clone()));
                    match spool.reject(messages, error.message()) {
                        Ok(bytes) => shared.queue.lock().rejected_bytes = bytes,
                        Err(error) => {
                            host.log(Level::Warning, || format!("rejected messages could not be kept: {error}"));
                        }
                    }
                }
                let lost: usize = parts.iter().map(|part| part.messages.len()).sum();
                host.log(Level::Error, || format!("{} given up: {error}", messages(lost, "was", "were")));
                for part in parts {
                    host.delivery(batch, &part, Some(&error), status, body_bytes);
                }
            }),
        }
    }

    /// Counts a failure against what was in flight when the thread panicked.
    fn failed(&mut self, shared: &Shared) {
        shared.queue.settle(&mut self.pace, Outcome::Unreached, shared.limits, id::fraction());
        shared.queue.landed(shared.limits);
        self.save_pace(shared);
    }

    /// Whether this is a child's copy of the thread: one of the callbacks has forked and come back.
    fn is_forked(&self) -> bool {
        fork::generation() != self.generation
    }

    /// Has a restart know how long nothing is to be sent.
    fn save_pace(&mut self, shared: &Shared) {
        let Some(spool) = &shared.queue.spool else { return };
        let pace = self.pace.save(shared.queue.elapsed(), time::now_ms());
        if pace != self.saved && spool.save_pace(pace).is_ok() {
            self.saved = pace;
        }
    }
}

/// So many messages and what they do, for a person.
fn messages(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 message {one}") } else { format!("{count} messages {more}") }
}

/// Why messages were not delivered, for a person.
fn reason(answer: &Result<Answer, String>) -> String {
    match answer {
        Ok(Answer { status, html: true, .. }) => {
            format!("the answer with status {status} is a web page, not Segment's")
        }
        Ok(Answer { status, text, .. }) if text.is_empty() => format!("Segment answered with status {status}"),
        Ok(Answer { status, text, .. }) => format!("Segment answered with status {status}: {text}"),
        Err(reason) => format!("Segment could not be reached: {reason}"),
    }
}

/// Starts the delivery thread. Signals of the host are not for it: it is born with all of them blocked, but for those that
/// report a crash of the thread itself.
pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let _blocked = signals::block();
    std::thread::Builder::new().name("segment".to_owned()).spawn(move || run(&shared))
}

/// Starts the syncing thread. Without it everything works, and survives all but a loss of power; that is said, then.
pub(crate) fn start_syncing(shared: &Arc<Shared>) {
    let _blocked = signals::block();
    let syncing = shared.clone();
    let run = move || {
        while catch_unwind(AssertUnwindSafe(|| syncing.queue.keep_synced())).is_err() {
            std::thread::sleep(delivery::BACKOFF_BASE);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("segment-sync".to_owned()).spawn(run) {
        shared.queue.lock().note(Level::Warning, format!("nothing is synced: no thread could be had: {error}"));
    }
}

#[cfg(unix)]
mod signals {
    use nix::sys::signal::{SigSet, Signal};

    /// The mask of this thread as it was, to be put back.
    pub(super) struct Blocked(Option<SigSet>);

    pub(super) fn block() -> Blocked {
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

    impl Drop for Blocked {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                let _ = before.thread_set_mask();
            }
        }
    }
}

#[cfg(not(unix))]
mod signals {
    pub(super) fn block() {}
}
