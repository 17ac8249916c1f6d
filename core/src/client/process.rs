//! The part of a client that belongs to one process, and the template that it is made from, anew in each forked child.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::home::Home;
use crate::base::hooks::{BeforeSend, Edit, Level};
use crate::base::storage::{self, Storage};
use crate::base::threads::{self, JoinHandle, Mutex};
use crate::client::callbacks::{Callbacks, Host};
use crate::client::config::{Config, Prepared};
use crate::client::uploads::Uploads;
use crate::client::worker::{self, Shared};
use crate::net::authorization::{self, Authorization};
#[cfg(feature = "oauth")]
use crate::net::oauth;
use crate::net::transport::Transport;
use crate::queue::policy::Limits;
use crate::queue::queue::{Queue, Settings};
use crate::queue::spool::Spool;
use crate::user::identity::Identity;

/// How long a request may go on after the time is up before it is broken off; and after that, before its thread is
/// left behind.
const GRACE: Duration = Duration::from_millis(20);

/// What a client's [`Process`] is made from, anew in each forked child.
pub(crate) struct Template {
    pub(crate) prepared: Prepared,
    pub(crate) settings: Settings,
    /// The host has paused the client.
    pub(crate) is_paused: AtomicBool,
    pub(crate) config: Config,
    #[cfg(feature = "oauth")]
    pub(crate) signer: Option<Arc<oauth::Signer>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) host: Arc<Host>,
    pub(crate) storage: Arc<dyn Storage>,
    /// The folder below the host's `spool_dir`; none without a `spool_dir`, or if the folder is not ours.
    pub(crate) home: Option<Arc<Home>>,
    pub(crate) transport: MakeTransport,
}

/// Makes what a process sends with.
pub(crate) type MakeTransport = Box<dyn Fn() -> Box<dyn Transport> + Send + Sync>;

/// What belongs to one process: locks, files, connections, counts and the thread.
pub(crate) struct Process {
    pub(crate) shared: Arc<Shared>,
    /// For single calls to the Tracking API, so that they and the delivery do not wait for each other; and for calls to
    /// the other APIs, which an opt-out does not interrupt.
    tracking_calls: OnceLock<Box<dyn Transport>>,
    other_calls: OnceLock<Box<dyn Transport>>,
    pub(crate) refused: AtomicU64,
    started: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    ended: OnceLock<()>,
    /// The warnings that were logged: kind and name.
    warned: Mutex<Vec<(&'static str, String)>>,
}

/// How many doubts and errors are told apart. After that there are no further warnings.
const WARNED_MAX: usize = 256;

thread_local! {
    /// The client whose `before_send` is running on this thread.
    static EDITING: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}
impl Template {
    pub(crate) fn process(&self) -> Process {
        let config = &self.config;
        let settings = match &self.home {
            Some(_) => self.settings.within(storage::file_size_limit()),
            None => self.settings,
        };
        let spool = self.home.as_ref().map(|home| {
            let (key, endpoint) = (&config.write_key, &self.prepared.tracking.identity());
            let Settings { room, queue_max_bytes, .. } = settings;
            Spool::new(self.storage.clone(), home.clone(), key, endpoint, room, queue_max_bytes)
                .with_formers(&self.prepared.former_queues)
        });
        let authorization = self.authorization();
        let oauth = !matches!(authorization, Authorization::Basic(_));
        let limits = Limits { retry_max: config.retry_max, spooled: spool.is_some(), oauth };
        let queue = Queue::new(settings, spool, self.identity.known().wish);
        queue.set_paused(self.is_paused.load(Ordering::SeqCst));
        let shared = Shared {
            queue,
            uploads: Uploads::default(),
            transport: (self.transport)(),
            callbacks: Callbacks::new(self.host.clone()),
            identity: self.identity.clone(),
            url: self.prepared.tracking.batch(),
            headers: config.headers.clone(),
            authorization,
            envelope: self.prepared.envelope.clone(),
            limits,
            timeout: config.timeout,
            gzip: config.gzip,
        };
        Process {
            shared: Arc::new(shared),
            tracking_calls: OnceLock::new(),
            other_calls: OnceLock::new(),
            refused: AtomicU64::new(0),
            started: AtomicBool::new(false),
            thread: Mutex::new(None),
            ended: OnceLock::new(),
            warned: Mutex::new(Vec::new()),
        }
    }

    fn authorization(&self) -> Authorization {
        // Where nothing is sent, no token is asked for either.
        #[cfg(feature = "oauth")]
        if let (Some(signer), Some(endpoint), false) = (&self.signer, &self.prepared.oauth, self.config.dry_run) {
            return Authorization::OAuth(Box::new(oauth::Tokens::new(signer.clone(), endpoint.as_str())));
        }
        Authorization::Basic(authorization::basic(&self.config.write_key))
    }
}

impl Process {
    /// What single calls are made with.
    pub(crate) fn calls(&self, is_tracking: bool, make: &MakeTransport) -> &dyn Transport {
        let calls = if is_tracking { &self.tracking_calls } else { &self.other_calls };
        &**calls.get_or_init(make)
    }

    /// Breaks off all requests that say anything about the user.
    pub(crate) fn interrupt(&self) {
        self.shared.transport.interrupt();
        self.tracking_calls.get().into_iter().for_each(|calls| calls.interrupt());
    }

    /// Adds a line for the log, if there is room, and returns whether there was.
    pub(crate) fn note(&self, level: Level, line: String) -> bool {
        let has_room = self.shared.queue.lock().note(level, line);
        self.shared.queue.work.notify_one();
        has_room
    }

    /// Logs that a call failed, once for each kind of error.
    pub(crate) fn warn_of_failed_call(&self, error: &Error) {
        let line = format!("a call failed: {error} (logged once)");
        // If no call ever succeeds, nothing else starts the thread that hands the line over.
        if self.warn_once("call", error.sentence_kind(), line)
            && !self.started.load(Ordering::Relaxed)
            && !self.shared.queue.is_closed()
        {
            self.start();
        }
    }

    /// Adds a line for the log, if it is the first of this kind and name, and returns whether it did.
    pub(crate) fn warn_once(&self, kind: &'static str, name: String, sentence: String) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = warned.iter().any(|(other_kind, other)| *other_kind == kind && *other == name);
        // A line that found no room in the log is tried again the next time.
        let is_said = !is_known && warned.len() < WARNED_MAX && self.note(Level::Warning, sentence);
        if is_said {
            warned.push((kind, name));
        }
        is_said
    }

    /// A client that is used in its own `before_send` would deadlock or recurse without end.
    pub(crate) fn refuse_in_before_send(&self) -> Result<(), Error> {
        if EDITING.get() == Arc::as_ptr(&self.shared) {
            return Err(Error::invalid("before_send must not use the same client"));
        }
        Ok(())
    }

    /// Shows a message to the host's `before_send`, which decides.
    pub(crate) fn edit(&self, message: &[u8], edit: &BeforeSend) -> Result<Edit, Error> {
        self.refuse_in_before_send()?;
        let json =
            std::str::from_utf8(message).map_err(|_| Error::new(ErrorKind::Internal, "a message is not UTF-8"))?;
        let before = EDITING.replace(Arc::as_ptr(&self.shared));
        let edited = self.shared.callbacks.mark(|| catch_unwind(AssertUnwindSafe(|| edit(json))));
        EDITING.set(before);
        edited.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "before_send panicked")))
    }

    pub(crate) fn start_if_needed(&self) {
        let queue = &self.shared.queue;
        if !self.started.load(Ordering::Relaxed) && queue.needs_worker() {
            self.start();
        }
    }

    /// Starts the delivery thread. If it cannot be started now, the message waits and the next call tries again.
    #[cold]
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            self.shared.queue.set_working(true);
            match worker::start(self.shared.clone()) {
                Ok(handle) => {
                    *thread = Some(handle);
                    if self.shared.queue.settings.sync && self.shared.queue.spool.is_some() {
                        worker::start_syncing(&self.shared);
                    }
                }
                Err(_) => self.shared.queue.set_working(false),
            }
        }
        let has_errands = !self.shared.queue.lacks_errands() || worker::start_errands(&self.shared);
        self.started.store(thread.is_some() && has_errands, Ordering::Relaxed);
    }

    /// Delivers for so long, then releases everything. Done once: a second call waits for the first.
    pub(crate) fn end(&self, shutdown: Duration) {
        self.ended.get_or_init(|| self.end_once(shutdown));
    }

    fn end_once(&self, shutdown: Duration) {
        let shared = &self.shared;
        let until = threads::now().checked_add(shutdown);
        if shared.queue.is_unanswered() {
            shared.refresh_identity(); // another process may have been given the answer
        }
        if !shared.queue.is_closed() {
            shared.queue.close(shutdown, shutdown);
        }
        // What is in memory may find room on the disk now.
        let left = || until.map_or(shutdown, |until| until.saturating_duration_since(threads::now()));
        shared.queue.rescue(left());
        shared.queue.end();
        let start = threads::now();
        let mut ended = shared.queue.wait_for_end(start, GRACE, false);
        if !ended {
            shared.transport.abort();
            ended = shared.queue.wait_for_end(start, GRACE, true);
        }
        // Messages are left if the thread is held up, looking up a name perhaps, or if none could be started.
        if shared.queue.stats().in_memory > 0 {
            elsewhere(shared, worker::give_up_all);
        }
        shared.uploads.end(shared.queue.is_abandoned());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|_| ended) {
            let _ = thread.join();
        }
        shared.queue.put_away(left());
        // What was dropped for room and read from its file only now is still to be told, and the delivery thread is
        // gone.
        if shared.queue.owes_reports() {
            elsewhere(shared, worker::tell_rest);
        }
        shared.callbacks.silence();
    }
}

/// Reports something on a thread of its own, in place of the delivery thread: callbacks must never run on the host's
/// threads.
fn elsewhere(shared: &Arc<Shared>, report: fn(&Shared)) {
    let successor = shared.clone();
    match threads::spawn("segment", move || report(&successor)) {
        Ok(thread) => drop(thread.join()),
        Err(_) => report(shared),
    }
}
