//! The delivery thread: asks the queue what to do, does it, and reports.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::error::{Error, ErrorKind};
use crate::base::fork;
use crate::base::hooks::Level;
use crate::base::kill;
use crate::base::threads::{self, JoinHandle};
use crate::base::{id, time};
use crate::client::answer::{Answer, Objection};
use crate::client::callbacks::Callbacks;
use crate::client::config::Envelope;
use crate::client::uploads::{Job, Uploads};
use crate::net::authorization::Authorization;
use crate::net::header;
use crate::net::transport::{HttpRequest, Transport, find};
use crate::queue::chunk::Batch;
use crate::queue::flight::{Flight, Landed};
use crate::queue::outgoing::Work;
use crate::queue::policy::{self, Limits, Outcome, Pace, Part, SavedPace, Settled};
use crate::queue::queue::Queue;
use crate::queue::spool::Spool;
use crate::user::identity::Identity;

/// Measured: level 3 shrinks 1.6 times more than level 1, and level 6 gains nothing over it.
const GZIP_LEVEL: Compression = Compression::new(3);

/// More than the compressor allocates; it panics if it cannot.
const GZIP_MEMORY_BYTES: usize = 400_000;

/// More than the envelope around the messages of a batch needs.
const ENVELOPE_BYTES: usize = 1_024;

/// Answers are read up to here and no further; Segment's have some twenty bytes.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// How many kinds of objections are logged, each once.
const OBJECTIONS_MAX: usize = 16;

/// What the client and its threads share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) uploads: Uploads,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) callbacks: Callbacks,
    pub(crate) identity: Arc<Identity>,
    pub(crate) url: String,
    /// The caller's own headers.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) authorization: Authorization,
    pub(crate) envelope: Envelope,
    pub(crate) limits: Limits,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

impl Shared {
    /// Reads what other processes have changed. If the user has opted out there, or in again, what was queued before is
    /// thrown away here too.
    pub(crate) fn refresh_identity(&self) {
        self.identity.refresh();
        self.apply_privacy();
    }

    /// Has the queue do what the user wants.
    pub(crate) fn apply_privacy(&self) {
        for (level, line) in self.identity.take_lines() {
            self.queue.lock().note(level, line);
            self.queue.work.notify_one();
        }
        if self.queue.heed(|| self.identity.known().wish) {
            // What was thrown away may be in a request that another thread is about to begin.
            self.transport.interrupt();
        }
    }
}

/// The delivery thread's main function.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker::new(shared);
    let generation = worker.generation;
    loop {
        // A panic in here is a bug, ours or a library's (it has been seen); it counts as a failure of the messages in
        // hand.
        match catch_unwind(AssertUnwindSafe(|| worker.turn(shared))) {
            Ok(true) => {}
            // A callback has forked: this is a copy of the thread in the child. Queue and files are the parent's.
            Ok(false) if fork::generation() != generation => return,
            Ok(false) => break,
            Err(_) => {
                shared.callbacks.log(Level::Error, || "a bug on the delivery thread was contained".to_owned());
                let failed = catch_unwind(AssertUnwindSafe(|| worker.failed(shared)));
                if failed.is_err() {
                    threads::sleep(policy::BACKOFF_BASE);
                }
            }
        }
    }
    shared.queue.set_working(false);
}

/// Takes everything that would be lost with the process out of the queue, and reports that there was no time for it.
/// Both happen while the callbacks are locked: they cannot be silenced in between.
pub(crate) fn give_up_all(shared: &Shared) {
    let error = Error::new(ErrorKind::Timeout, "the client ended before the messages could be delivered");
    shared.callbacks.tell(|host| {
        let left = shared.queue.give_up_all();
        let lost: usize = left.iter().map(|(_, part)| part.messages.len()).sum();
        if lost > 0 {
            host.log(Level::Error, || format!("{} lost: {error}", messages(lost, "was", "were")));
        }
        for (batch, part) in left {
            host.delivery(&batch, &part, Some(&error), part.http_status, 0);
        }
    });
}

/// Tells the host of a chunk that was dropped for room, if there is one. Returns whether there was one, and this is
/// still the same process. It is taken out while the callbacks are locked, as above.
fn tell_dropped(shared: &Shared) -> bool {
    let generation = fork::generation();
    let mut is_told = false;
    shared.callbacks.tell(|host| {
        let Some((batch, parts)) = shared.queue.take_dropped() else { return };
        let error = Error::new(ErrorKind::QueueFull, "the queue was full: the oldest messages were dropped");
        for part in &parts {
            host.delivery(&batch, part, Some(&error), part.http_status, 0);
        }
        is_told = fork::generation() == generation;
        if is_told {
            shared.queue.has_told_dropped();
        }
    });
    is_told
}

/// Tells the host of all that was dropped for room, in place of the delivery thread, and logs how much is missing.
pub(crate) fn tell_rest(shared: &Shared) {
    while tell_dropped(shared) {}
    if let Some(sentence) = shared.queue.close_reports() {
        shared.callbacks.log(Level::Warning, || sentence);
    }
}

struct Worker {
    pace: Pace,
    /// What a body is written into before it is compressed.
    plain: Vec<u8>,
    /// What the body of the next request is written into, while others are under way.
    body: Vec<u8>,
    /// The slot in hand, and the epoch of the pace when its request began.
    number: u64,
    epoch: u64,
    /// A request for it counts as under way, but is not: no other thread will come back with it.
    is_departing: bool,
    /// The pace that is stored in the folder.
    saved: Option<SavedPace>,
    /// The kinds of objections that were logged.
    objections: Vec<u64>,
    /// The process to which this thread belongs.
    generation: u32,
}

impl Worker {
    fn new(shared: &Shared) -> Self {
        let saved = shared.queue.at_disk(|| shared.queue.spool.as_ref().and_then(Spool::load_pace));
        let now_ms = time::now_ms();
        let pace = Pace::new(shared.queue.settings.uploads);
        let mut worker = Worker {
            pace: match saved {
                Some(saved) => pace.restore(saved, shared.queue.elapsed(), now_ms),
                None => pace,
            },
            plain: Vec::new(),
            body: Vec::new(),
            number: 0,
            epoch: 0,
            is_departing: false,
            saved,
            objections: Vec::new(),
            generation: fork::generation(),
        };
        if saved.is_some_and(|saved| Pace::is_beyond_limits(saved, now_ms)) {
            // Otherwise each run that is shorter than the longest pause would read it again, and send nothing until
            // that date.
            worker.save_pace(shared);
        }
        worker
    }

    /// Does one thing, and returns whether there may be more.
    fn turn(&mut self, shared: &Arc<Shared>) -> bool {
        shared.queue.at_disk(|| shared.refresh_identity());
        match shared.queue.next(&mut self.pace) {
            Work::Send { number, batch, part, within } => {
                (self.number, self.epoch, self.is_departing) = (number, self.pace.epoch(), true);
                self.send(shared, batch, part, within);
                !self.is_forked()
            }
            Work::Land(landed) => {
                (self.number, self.epoch, self.is_departing) = (landed.flight.number, landed.flight.epoch, true);
                self.land(shared, landed);
                !self.is_forked()
            }
            Work::Tell(lines) => {
                if !lines.is_empty() {
                    shared.callbacks.tell(|host| lines.into_iter().for_each(|(level, line)| host.log(level, || line)));
                }
                if !self.is_forked() {
                    tell_dropped(shared);
                }
                !self.is_forked()
            }
            Work::Ask => true, // every turn begins with it
            Work::End => {
                give_up_all(shared);
                false
            }
        }
    }

    /// Prepares a request, and has it made: by another thread if several may be under way, otherwise by this one.
    fn send(&mut self, shared: &Arc<Shared>, batch: Arc<Batch>, part: Part, within: Option<Duration>) {
        let timeout = within.map_or(shared.timeout, |within| within.min(shared.timeout));
        let until = threads::now() + timeout;
        // It may be the host's own HTTP: a callback like any other. No token is requested if a header of the caller's
        // replaces it.
        let authorized = match find(&shared.headers, "authorization") {
            Some(own) => Ok(own.to_owned()),
            None => shared.callbacks.mark(|| shared.authorization.value(&*shared.transport, timeout)),
        };
        if let Some(error) = shared.authorization.take_trouble() {
            shared.callbacks.log(Level::Warning, || format!("the token still works, but cannot be renewed: {error}"));
        }
        let body = self.write_body(shared, &batch, &part);
        // An opt-out in this process from now on breaks the request off, even if it has not begun yet.
        let since = shared.transport.interruptions();
        // The last check before anything leaves: the user may have opted out in another process.
        shared.queue.at_disk(|| shared.refresh_identity());
        if !shared.queue.may_be_sent(self.number) {
            self.body = body.unwrap_or_default();
            self.is_back(shared);
            return shared.queue.landed(self.number, batch, shared.limits);
        }
        let (authorization, body) = match (authorized, body) {
            (Ok(authorization), Some(body)) => (authorization, body),
            (Ok(_), None) => return self.take_in(shared, batch, &part, &Answer::no_memory(), 0),
            (Err(denied), body) => {
                self.body = body.unwrap_or_default();
                return self.take_in(shared, batch, &part, &Answer::no_token(denied), 0);
            }
        };
        let headers = headers(shared, &part, &authorization);
        let flight = Flight { number: self.number, batch, part, epoch: self.epoch, authorization };
        let job = {
            let shared = shared.clone();
            Box::new(move || request(&shared, flight, &headers, body, until, since))
        };
        self.is_departing = false; // it comes back through `Queue::land`
        let here = if self.pace.width() > 1 { shared.uploads.start(job).err() } else { Some(job as Job) };
        if let Some(job) = here {
            shared.queue.set_requesting(true);
            job();
            if !self.is_forked() {
                shared.queue.set_requesting(false);
            }
        }
    }

    /// Processes what came of a request that was made.
    fn land(&mut self, shared: &Shared, landed: Landed) {
        let Landed { flight: Flight { batch, part, authorization, .. }, body, response } = landed;
        if let Ok(response) = &response {
            shared.authorization.answered(response.status, &authorization);
        }
        let body_bytes = body.len();
        self.body = body;
        self.take_in(shared, batch, &part, &Answer::read(response), body_bytes);
    }

    /// Processes what came of a request, or why none was made.
    fn take_in(&mut self, shared: &Shared, batch: Arc<Batch>, part: &Part, answer: &Answer, body_bytes: usize) {
        self.is_back(shared);
        self.settle(shared, &batch, part, answer, body_bytes);
        kill::point("settled");
        if !self.is_forked() {
            self.save_pace(shared);
            shared.queue.landed(self.number, batch, shared.limits);
        }
    }

    /// The request for the slot in hand is not under way any more.
    fn is_back(&mut self, shared: &Shared) {
        self.is_departing = false;
        shared.queue.not_under_way(self.number);
    }

    /// Writes the body of a request, stamped with the time of this attempt; none if there is no memory for it.
    fn write_body(&mut self, shared: &Shared, batch: &Batch, part: &Part) -> Option<Vec<u8>> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        self.plain.clear();
        let plain = if shared.gzip { &mut self.plain } else { &mut body };
        let bytes = batch.part(part.messages.clone()).map(|message| message.len() + 1).sum::<usize>() + ENVELOPE_BYTES;
        plain.try_reserve(bytes).ok()?;
        shared.envelope.write(batch.part(part.messages.clone()), time::now_ms(), plain);
        if shared.gzip {
            // Incompressible content grows by less than this.
            body.try_reserve(bytes + bytes / 100 + 1_024).ok()?;
            let mut tried = Vec::<u8>::new();
            tried.try_reserve_exact(GZIP_MEMORY_BYTES).ok()?;
            drop(std::hint::black_box(tried)); // so that the optimizer does not remove the allocation
            let mut gzip = GzEncoder::new(&mut body, GZIP_LEVEL);
            let written = gzip.write_all(&self.plain).and_then(|()| gzip.try_finish());
            written.expect("writing to memory does not fail");
        }
        Some(body)
    }

    fn settle(&mut self, shared: &Shared, batch: &Arc<Batch>, part: &Part, answer: &Answer, body_bytes: usize) {
        let status = answer.status;
        let sent = part.messages.len();
        let settled =
            shared.queue.settle(self.number, &mut self.pace, answer.outcome, self.epoch, shared.limits, id::fraction());
        let Some(settled) = settled else { return };
        shared.queue.learn(status, &answer.reason, matches!(settled, Settled::Delivered(_)));
        match settled {
            Settled::Nothing => shared.callbacks.log(Level::Warning, || {
                format!("{} to be sent again: {}", messages(sent, "waits", "wait"), answer.reason)
            }),
            Settled::Delivered(parts) => {
                let objection = answer.objection.as_ref().filter(|objection| self.is_news(objection));
                shared.callbacks.tell(|host| {
                    if let Some(Objection { words, .. }) = objection {
                        let count = messages(sent, "counts", "count");
                        host.log(Level::Warning, || format!("{count} as delivered, but the answer denies it: {words}"));
                    }
                    host.log(Level::Debug, || {
                        format!("{} delivered in {body_bytes} bytes", messages(sent, "was", "were"))
                    });
                    for part in parts {
                        host.delivery(batch, &part, None, status, body_bytes);
                    }
                });
            }
            Settled::Failed(parts) => {
                let error = Error::new(answer.kind, answer.reason.clone());
                // The host is told before the disk is used: the end of the client waits for callbacks, not for the
                // disk.
                shared.callbacks.tell(|host| {
                    let lost: usize = parts.iter().map(|part| part.messages.len()).sum();
                    host.log(Level::Error, || format!("{} given up: {error}", messages(lost, "was", "were")));
                    for part in &parts {
                        host.delivery(batch, part, Some(&error), status, body_bytes);
                    }
                });
                if !self.is_forked() {
                    self.keep_rejected(shared, batch, &parts, &error);
                }
            }
        }
    }

    /// Whether this is the first objection of its kind; notes it.
    fn is_news(&mut self, objection: &Objection) -> bool {
        let is_news = self.objections.len() < OBJECTIONS_MAX && !self.objections.contains(&objection.kind);
        if is_news {
            self.objections.push(objection.kind);
        }
        is_news
    }

    /// Stores messages that are given up for good, for a person to look at; but not if the user has opted out
    /// meanwhile.
    fn keep_rejected(&self, shared: &Shared, batch: &Batch, parts: &[Part], reason: &Error) {
        let Some(spool) = shared.queue.spool.as_ref().filter(|_| shared.queue.is_in_flight(self.number)) else {
            return;
        };
        let messages = parts.iter().flat_map(|part| batch.part(part.messages.clone()));
        if let Err(error) = shared.queue.at_disk(|| spool.reject(messages, reason.message())) {
            shared.callbacks.log(Level::Warning, || format!("rejected messages could not be stored: {error}"));
        }
    }

    /// Counts a failure against what was in hand when the thread panicked.
    fn failed(&mut self, shared: &Shared) {
        if self.is_departing {
            self.is_back(shared);
        }
        shared.queue.has_told_dropped();
        let (outcome, chance) = (Outcome::Unreached, id::fraction());
        shared.queue.settle(self.number, &mut self.pace, outcome, self.epoch, shared.limits, chance);
        shared.queue.landed(self.number, Arc::default(), shared.limits);
        self.save_pace(shared);
    }

    /// Whether this is a child's copy of the thread, because one of the callbacks has forked and returned.
    fn is_forked(&self) -> bool {
        fork::generation() != self.generation
    }

    /// Stores how long nothing is to be sent, for a restart.
    fn save_pace(&mut self, shared: &Shared) {
        let Some(spool) = shared.queue.spool.as_ref().filter(|_| !shared.queue.is_unanswered()) else { return };
        let pace = self.pace.save(shared.queue.elapsed(), time::now_ms());
        if pace != self.saved && shared.queue.at_disk(|| spool.save_pace(pace, &shared.queue.reason())).is_ok() {
            self.saved = pace;
        }
    }
}

/// Makes a request, on any thread, and gives the result to the delivery thread.
fn request(shared: &Shared, flight: Flight, headers: &[(String, String)], body: Vec<u8>, until: Instant, since: u64) {
    let generation = fork::generation();
    // A panic in here is a bug, ours or a library's.
    let response = catch_unwind(AssertUnwindSafe(|| {
        let request = HttpRequest {
            method: "POST",
            url: &shared.url,
            headers,
            body: &body,
            timeout: until.saturating_duration_since(threads::now()),
            answer_max_bytes: ANSWER_MAX_BYTES,
            status_will_do: true,
        };
        kill::point("send");
        let response = shared.callbacks.mark(|| shared.transport.exchange_since(&request, since));
        kill::point("answered");
        response
    }));
    let response =
        response.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a bug in the request was contained")));
    // The host's own HTTP may have forked and returned in the child.
    if fork::generation() == generation {
        shared.queue.land(Landed { flight, body, response });
    }
}

/// A number of messages and a verb, for a person.
fn messages(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 message {one}") } else { format!("{count} messages {more}") }
}

/// The headers of an upload. The caller's own replace ours.
fn headers(shared: &Shared, part: &Part, authorization: &str) -> Vec<(String, String)> {
    let mut headers = shared.headers.clone();
    header::add_unless_given(&mut headers, "content-type", || "application/json".to_owned());
    header::add_unless_given(&mut headers, "authorization", || authorization.to_owned());
    if shared.gzip {
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    if let Some(count) = part.retry_count() {
        headers.push(("x-retry-count".to_owned(), count.to_string()));
    }
    headers
}

/// Starts the delivery thread.
pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    threads::spawn("segment", move || run(&shared))
}

/// Starts the errand thread, and returns whether it could.
pub(crate) fn start_errands(shared: &Arc<Shared>) -> bool {
    let errands = shared.clone();
    let run = move || {
        while catch_unwind(AssertUnwindSafe(|| errands.queue.run_errands())).is_err() {
            errands.callbacks.log(Level::Error, || "a bug on the errand thread was contained".to_owned());
            threads::sleep(policy::BACKOFF_BASE);
        }
    };
    shared.queue.lock().errands.runs = true;
    let started = threads::spawn("segment-disk", run);
    if let Err(error) = &started {
        let mut state = shared.queue.lock();
        state.errands.runs = false;
        state.note(Level::Warning, format!("the spool is not maintained for now: no thread could be started: {error}"));
    }
    started.is_ok()
}

/// Starts the syncing thread. Without it everything works, but does not survive a loss of power, and the log says so.
pub(crate) fn start_syncing(shared: &Arc<Shared>) {
    let syncing = shared.clone();
    let run = move || {
        while catch_unwind(AssertUnwindSafe(|| syncing.queue.keep_synced())).is_err() {
            syncing.callbacks.log(Level::Error, || "a bug on the syncing thread was contained".to_owned());
            threads::sleep(policy::BACKOFF_BASE);
        }
    };
    shared.queue.lock().sync.runs = true;
    if let Err(error) = threads::spawn("segment-sync", run) {
        let mut state = shared.queue.lock();
        state.sync.runs = false;
        state.note(Level::Warning, format!("nothing is synced: no thread could be started: {error}"));
    }
}
