//! The client: what everyone calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::{Config, Prepared};
use crate::delivery::Limits;
use crate::error::{Error, ErrorKind};
use crate::fork::PerProcess;
use crate::http::{DryRun, Network, Transport};
use crate::message::{self, Message, Options};
use crate::object::Object;
use crate::queue::{Queue, Settings};
use crate::rules::Call;
use crate::spool::Spool;
use crate::state::Stats;
use crate::storage::{Disk, Storage};
use crate::worker::{self, Callbacks, Host, Shared};
use crate::{http, time};

/// How long a request may go on after the time is up, before it is broken off; and again, before its thread is left behind.
const GRACE: Duration = Duration::from_millis(20);

/// A queue of messages, and the thread that delivers them.
///
/// Every call writes its message into the queue and returns; nothing waits for the network but [`flush`](Client::flush),
/// [`shutdown`](Client::shutdown) and dropping the client. A client can be used from all threads at once.
///
/// ```no_run
/// use segment_native::{Client, Config, Object};
///
/// let client = Client::new(Config::new("WRITE_KEY"))?;
/// client.track("u-42", "Level Completed", &Object::from([("level", 7)]), None)?;
/// # Ok::<(), segment_native::Error>(())
/// ```
pub struct Client {
    template: Template,
    half: PerProcess<Half>,
}

/// What a client is made of, again in each process that is forked off.
struct Template {
    prepared: Prepared,
    settings: Settings,
    config: Config,
    host: Arc<Host>,
    storage: Arc<dyn Storage>,
    transport: Box<dyn Fn() -> Box<dyn Transport> + Send + Sync>,
}

/// What belongs to one process: locks, files, connections, counts and the thread.
struct Half {
    shared: Arc<Shared>,
    refused: AtomicU64,
    started: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Makes a client. Without a spool nothing is sent, and no thread started, before the first message.
    pub fn new(config: Config) -> Result<Client, Error> {
        if config.dry_run {
            return Client::with(config, Arc::new(Disk), Box::new(|| Box::new(DryRun)));
        }
        Client::with(config, Arc::new(Disk), Box::new(|| Box::new(Network::new())))
    }

    pub(crate) fn with(
        mut config: Config,
        storage: Arc<dyn Storage>,
        transport: Box<dyn Fn() -> Box<dyn Transport> + Send + Sync>,
    ) -> Result<Client, Error> {
        let prepared = config.prepare()?;
        let settings = Settings {
            room: prepared.envelope.room(),
            queue_max_bytes: config.queue_max_bytes,
            overflow: config.overflow,
            flush_at: config.flush_at,
            flush_interval: config.flush_interval,
            sync: config.sync,
        };
        let host = Arc::new(Host::new(config.on_delivery.take(), config.on_log.take()));
        let template = Template { prepared, settings: settings.adjusted(), config, host, storage, transport };
        let half = PerProcess::new(|| template.half());
        let client = Client { half, template };
        // What an earlier run has left is delivered without waiting for a new message.
        client.half().start_if_needed();
        Ok(client)
    }

    fn half(&self) -> &Half {
        self.half.get(|| self.template.half())
    }

    /// Says who the user is, and what is known about them.
    pub fn identify<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        traits: impl Into<Option<&'a Object>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Identify,
            user_id: user_id.into(),
            subject: None,
            payload: traits.into(),
            options: options.into().unwrap_or_default(),
        })
    }

    /// Says what the user did.
    pub fn track<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        event: &'a str,
        properties: impl Into<Option<&'a Object>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Track,
            user_id: user_id.into(),
            subject: Some(event),
            payload: properties.into(),
            options: options.into().unwrap_or_default(),
        })
    }

    /// Says which web page the user saw.
    pub fn page<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        name: impl Into<Option<&'a str>>,
        properties: impl Into<Option<&'a Object>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Page,
            user_id: user_id.into(),
            subject: name.into(),
            payload: properties.into(),
            options: options.into().unwrap_or_default(),
        })
    }

    /// Says which screen of an app the user saw.
    pub fn screen<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        name: impl Into<Option<&'a str>>,
        properties: impl Into<Option<&'a Object>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Screen,
            user_id: user_id.into(),
            subject: name.into(),
            payload: properties.into(),
            options: options.into().unwrap_or_default(),
        })
    }

    /// Says which company, team or account the user belongs to, and what is known about it.
    pub fn group<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        group_id: &'a str,
        traits: impl Into<Option<&'a Object>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Group,
            user_id: user_id.into(),
            subject: Some(group_id),
            payload: traits.into(),
            options: options.into().unwrap_or_default(),
        })
    }

    /// Says that the user was known by another id before.
    pub fn alias<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        previous_id: &'a str,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Alias,
            user_id: user_id.into(),
            subject: Some(previous_id),
            payload: None,
            options: options.into().unwrap_or_default(),
        })
    }

    /// Queues the message of one of the six calls.
    pub fn send(&self, message: &Message<'_>) -> Result<(), Error> {
        self.push(|out| message.write(&self.template.prepared, time::now_ms(), out))
    }

    /// Queues a whole message in JSON, `{"type":"track",...}`. What it lacks of `messageId`, `timestamp` and `context` is
    /// added.
    pub fn enqueue(&self, json: &str) -> Result<(), Error> {
        self.push(|out| message::write_json(json, &self.template.prepared, time::now_ms(), out))
    }

    /// Counts a call that failed before it got here, and gives the error back. For bindings, whose arguments may be wrong in
    /// ways that Rust's cannot.
    pub fn refuse(&self, error: Error) -> Error {
        self.half().refused.fetch_add(1, Ordering::Relaxed);
        error
    }

    fn push(&self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        let half = self.half();
        let pushed = message::with_buffer(|out| {
            write(out)?;
            half.shared.queue.push(out)
        });
        pushed.map_err(|error| self.refuse(error))?;
        half.start_if_needed();
        Ok(())
    }

    /// Sends what waits, and waits until every message accepted before is settled: delivered, failed or dropped, and
    /// reported. Without time it only starts the sending. A pause that Segment demanded is not cut short.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if the time ran out first; [`ErrorKind::Invalid`] from inside a callback of this client.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.refuse_in_callback("flush")?;
        let half = self.half();
        half.start_if_needed();
        if half.shared.queue.flush(timeout) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Timeout, "not all messages were settled in time"))
    }

    /// Takes no more messages, and goes on delivering for this long. May be repeated.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if messages are left; [`ErrorKind::Invalid`] from inside a callback of this client.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.refuse_in_callback("shutdown")?;
        let half = self.half();
        half.start_if_needed();
        if half.shared.queue.close(timeout) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Timeout, "not all messages were delivered in time"))
    }

    /// Counts of messages.
    pub fn stats(&self) -> Stats {
        let half = self.half();
        Stats { refused: half.refused.load(Ordering::Relaxed), ..half.shared.queue.stats() }
    }

    /// Whether this thread is inside a callback of this client.
    pub fn is_in_callback(&self) -> bool {
        self.half.own().is_some_and(|half| half.shared.callbacks.is_running_here())
    }

    fn refuse_in_callback(&self, call: &str) -> Result<(), Error> {
        if self.is_in_callback() {
            return Err(Error::invalid(format!("{call} must not be called from a callback of the same client")));
        }
        Ok(())
    }
}

impl Drop for Client {
    /// Delivers for as long as [`Config::shutdown`] allows, unless [`Client::shutdown`] was called before. What is left is
    /// kept by the spool or, without one, reported as [`ErrorKind::Timeout`]. Waits for a callback that is running; none runs
    /// afterwards.
    fn drop(&mut self) {
        let in_callback = self.is_in_callback();
        // A child that never used its parent's client has nothing to end.
        let Some(half) = self.half.own() else { return };
        if in_callback {
            // The last reference to the client went away in its own callback: nobody can wait for that here.
            return half.shared.queue.end();
        }
        half.end(self.template.config.shutdown);
    }
}

impl Template {
    fn half(&self) -> Half {
        let config = &self.config;
        let spool = config.spool_dir.as_deref().map(|dir| {
            let (key, url) = (&config.write_key, &self.prepared.batch_url);
            Spool::new(self.storage.clone(), dir, key, url, self.settings.room)
        });
        let limits = Limits { retry_max: config.retry_max, spooled: spool.is_some(), oauth: false };
        let shared = Shared {
            queue: Queue::new(self.settings, spool),
            transport: (self.transport)(),
            callbacks: Callbacks::new(self.host.clone()),
            url: self.prepared.batch_url.clone(),
            authorization: http::basic(&config.write_key),
            envelope: self.prepared.envelope.clone(),
            limits,
            timeout: config.timeout,
            gzip: config.gzip,
        };
        let (refused, started) = (AtomicU64::new(0), AtomicBool::new(false));
        Half { shared: Arc::new(shared), refused, started, thread: Mutex::new(None) }
    }
}

impl Half {
    fn start_if_needed(&self) {
        let queue = &self.shared.queue;
        if !self.started.load(Ordering::Relaxed) && (queue.spool.is_some() || queue.stats().queued > 0) {
            self.start();
        }
    }

    /// Starts the delivery thread. Where none can be had now, the message waits and the next call tries again.
    #[cold]
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            self.shared.queue.set_working(true);
            match worker::start(self.shared.clone()) {
                Ok(handle) => {
                    *thread = Some(handle);
                    if self.shared.queue.settings.sync {
                        worker::start_syncing(&self.shared);
                    }
                }
                Err(_) => self.shared.queue.set_working(false),
            }
        }
        self.started.store(thread.is_some(), Ordering::Relaxed);
    }

    /// Delivers for so long, and lets go of everything.
    fn end(&self, shutdown: Duration) {
        let shared = &self.shared;
        if !shared.queue.is_closed() {
            shared.queue.close(shutdown);
        }
        shared.queue.end();
        let mut ended = shared.queue.wait_for_end(GRACE, false);
        if !ended {
            shared.transport.abort();
            ended = shared.queue.wait_for_end(GRACE, true);
        }
        // Messages are left where the thread is held up, looking up a name perhaps, or where none could be started.
        give_up_elsewhere(shared);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|_| ended) {
            let _ = thread.join();
        }
        shared.queue.put_away();
        shared.callbacks.silence();
    }
}

/// Reports what is left on a thread of its own, in the place of the delivery thread: the host was promised that its callbacks
/// never run on a thread of the host's.
fn give_up_elsewhere(shared: &Arc<Shared>) {
    if shared.queue.stats().in_memory == 0 {
        return;
    }
    let successor = shared.clone();
    let thread = std::thread::Builder::new().name("segment".to_owned()).spawn(move || worker::give_up_all(&successor));
    match thread {
        Ok(thread) => drop(thread.join()),
        Err(_) => worker::give_up_all(shared),
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
