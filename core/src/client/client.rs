//! The client: what programs call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::fork::PerProcess;
use crate::base::home::Home;
use crate::base::hooks::{Edit, Level};
use crate::base::storage::{Disk, Storage};
use crate::base::time;
use crate::client::callbacks::Host;
use crate::client::config::{Config, Prepared};
use crate::client::process::{MakeTransport, Process, Template};
use crate::json::object::{Object, Value};
use crate::message::device;
use crate::message::doubts::{self, Doubt};
use crate::message::message::{self, Base, Message, Options};
use crate::message::rules::{self, Call};
use crate::net::endpoint::Endpoint;
#[cfg(feature = "oauth")]
use crate::net::oauth;
use crate::net::transport::{ByHost, DryRun, Transport};
use crate::queue::queue::Settings;
use crate::queue::state::Stats;
use crate::user::context::Change;
use crate::user::identity::{Identity, Known};
use crate::user::person::Silence;

/// A queue of messages, and the thread that delivers them.
///
/// Every call writes its message into the queue and returns; only [`flush`](Client::flush),
/// [`shutdown`](Client::shutdown) and dropping the client wait for the network. A client can be used from all threads
/// at once.
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
    process: PerProcess<Process>,
}
/// Is shown a message before it is queued, and may refuse it.
pub type Seen<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

impl Client {
    /// Makes a client. Without a spool nothing is sent, and no thread started, before the first message.
    pub fn new(mut config: Config) -> Result<Client, Error> {
        let storage = Arc::new(Disk);
        let transport = transport(&mut config, &*storage)?;
        Client::with(config, storage, transport)
    }

    pub(crate) fn with(
        mut config: Config,
        storage: Arc<dyn Storage>,
        transport: MakeTransport,
    ) -> Result<Client, Error> {
        config.bound_times();
        let unusable = config.pin_spool_dir()?;
        if config.device_context {
            let device = device::context(&*storage);
            config.context = device.merged(&config.context);
        }
        let mut prepared = config.prepare()?;
        #[cfg(feature = "oauth")]
        let signer = config.oauth.as_ref().map(oauth::Signer::new).transpose()?.map(Arc::new);
        let settings = Settings {
            room: prepared.envelope.room(),
            queue_max_bytes: config.queue_max_bytes,
            overflow: config.overflow,
            flush_at: config.flush_at,
            flush_interval: config.flush_interval,
            uploads: match config.uploads {
                // A host's own HTTP may not support several threads; and a dry run waits for nothing.
                0 if config.transport.is_some() || config.dry_run => 1,
                uploads => uploads,
            },
            sync: config.sync,
            tells_dropped: config.on_delivery.is_some(),
        };
        let context = std::mem::take(&mut prepared.context);
        let home = config.spool_dir.as_deref().map(|folder| Arc::new(Home::new(storage.clone(), folder)));
        let is_asked_to_keep = home.is_some() || unusable.is_some();
        let refusal = home.as_ref().and_then(|home| home.refusal());
        let home = home.filter(|_| refusal.is_none());
        let silence = if config.ask_first { silence() } else { Silence::Consents };
        let identity =
            Identity::open(storage.clone(), home.clone(), is_asked_to_keep, config.stateful, silence, context);
        let host = Arc::new(Host::new(config.on_delivery.take(), config.on_log.take()));
        let template = Template {
            prepared,
            settings: settings.adjusted(),
            is_paused: AtomicBool::new(false),
            config,
            #[cfg(feature = "oauth")]
            signer,
            identity: Arc::new(identity),
            host,
            storage,
            home,
            transport,
        };
        let process = PerProcess::new(|| template.process());
        let client = Client { process, template };
        if let Some(why) = refusal.or(unusable.map(|error| error.to_string())) {
            let line = format!("spool_dir cannot be used, messages are kept in memory only: {why}");
            client.process().note(Level::Warning, line);
        }
        for name in client.plain_endpoints() {
            let line = format!("the {name} is plain http: what is sent can be read on the way");
            client.process().note(Level::Warning, line);
        }
        client.track_lifecycle();
        // So that what an earlier run has left is delivered without waiting for a new message.
        client.process().start_if_needed();
        Ok(client)
    }

    /// The endpoints that others can read what is sent to.
    fn plain_endpoints(&self) -> impl Iterator<Item = &'static str> {
        let prepared = &self.template.prepared;
        let endpoints = [
            ("endpoint", Some(&prepared.tracking)),
            ("public_endpoint", Some(&prepared.public)),
            ("profile_endpoint", Some(&prepared.profile)),
            #[cfg(feature = "oauth")]
            ("oauth endpoint", prepared.oauth.as_ref()),
        ];
        let is_sent = !self.template.config.dry_run;
        endpoints.into_iter().filter(move |(_, e)| is_sent && e.is_some_and(Endpoint::is_plain)).map(|(name, _)| name)
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.get(|| self.template.process())
    }

    /// What single calls are made with.
    pub(crate) fn calls(&self, is_tracking: bool) -> &dyn Transport {
        self.process().calls(is_tracking, &self.template.transport)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.template.config
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.template.prepared
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.template.identity
    }

    /// Says who the user is, and what is known about them. A client that is [stateful](Config::stateful) remembers the
    /// user id, and the traits for as long as all of them together have at most 8192 bytes of JSON. Traits beyond that
    /// are sent and not remembered; those known before stay.
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

    /// Says that the user was known by another id before: one that is given or, for a client that is
    /// [stateful](Config::stateful), the one it knows.
    pub fn alias<'a>(
        &self,
        user_id: impl Into<Option<&'a str>>,
        previous_id: impl Into<Option<&'a str>>,
        options: impl Into<Option<Options<'a>>>,
    ) -> Result<(), Error> {
        self.send(&Message {
            call: Call::Alias,
            user_id: user_id.into(),
            subject: previous_id.into(),
            payload: None,
            options: options.into().unwrap_or_default(),
        })
    }

    /// Queues the message of one of the six calls.
    pub fn send(&self, message: &Message<'_>) -> Result<(), Error> {
        self.send_seen(message, &mut |_| Ok(()))
    }

    /// The same, and shows the message as it was written, and again if `before_send` replaced it. It is shown before it
    /// is queued, so that one that the queue refuses is seen too. An error of `seen` refuses it.
    pub(crate) fn send_seen(&self, message: &Message<'_>, seen: Seen<'_>) -> Result<(), Error> {
        let process = self.process();
        let sent = match message.call {
            Call::Identify | Call::Alias if self.identity().is_stateful() => {
                self.send_and_remember(process, message, seen)
            }
            _ => self.write(process, message, &self.identity().known(), seen),
        };
        sent.map_err(|error| self.refuse(error))
    }

    /// Queues a whole message in JSON, `{"type":"track",...}`. If it lacks `messageId`, `timestamp` or `context`, they
    /// are added; so are the ids, if the client is [stateful](Config::stateful). What it says about the user is not
    /// remembered.
    pub fn enqueue(&self, json: &str) -> Result<(), Error> {
        let process = self.process();
        let known = self.identity().known();
        let base = self.base(&known, false);
        let queued = message::with_buffer(|out| {
            self.refuse_opted_out(process, &known)?;
            message::write_json(json, base, time::now_ms(), out)?;
            self.check_doubts_of_json(process, out)?;
            self.push(process, out, &known, &mut |_| Ok(()))
        });
        queued.map_err(|error| self.refuse(error))
    }

    /// Sets one member of the context of every later message (a level, a build, an experiment), or removes it (None).
    /// It takes precedence over [`Config::context`], merged with it where both have an object of this name; the
    /// [`Options::context`] of a message takes precedence over it. All members set by this have at most 16,000 bytes of
    /// JSON together. They are about the program, not its user: [`reset`](Client::reset) and
    /// [`opt_out`](Client::opt_out) leave them as they are. They last as long as the client; a forked child begins with
    /// its parent's.
    ///
    /// The call does not wait, and does not hold up calls of other threads.
    ///
    /// ```
    /// use segment_native::{Client, Config, Object, Value};
    ///
    /// # let client = Client::new(Config { dry_run: true, ..Config::new("WRITE_KEY") })?;
    /// client.set_context("level", Value::from("E1M1"))?;
    /// client.set_context("app", Value::from(&Object::from([("build", 512)])))?;
    /// client.set_context("level", None)?;
    /// # Ok::<(), segment_native::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for `consent`, `traits` and `library`, which are set in other ways;
    /// [`ErrorKind::TooLarge`] for too much, or if no room would be left for a message. Then nothing changes.
    pub fn set_context<'a>(&self, key: &str, value: impl Into<Option<Value<'a>>>) -> Result<(), Error> {
        let set = Change::new(key, value.into()).and_then(|change| {
            self.identity().set_context(&change, |before, after| self.refuse_without_room(key, before, after))
        });
        set.map_err(|error| self.refuse(error))
    }

    /// A larger context must leave enough room for a message.
    fn refuse_without_room(&self, key: &str, before: &Known, after: &Known) -> Result<(), Error> {
        let (before, after) = (before.context_for(false), after.context_for(false));
        let smallest = message::smallest_bytes(after, &self.prepared().integrations, self.identity().is_stateful());
        if smallest <= rules::MAX_MESSAGE_BYTES || after.len() <= before.len() {
            return Ok(());
        }
        let text = format!(
            "\"{key}\" leaves no room for a message: the smallest would have {smallest} bytes with all its fields; \
             Segment takes {}",
            rules::MAX_MESSAGE_BYTES
        );
        Err(Error::new(ErrorKind::TooLarge, text))
    }

    /// Counts a call that failed, and returns the error. It is logged once for each kind of error, because not every
    /// program checks what each call returns.
    pub(crate) fn refuse(&self, error: Error) -> Error {
        let process = self.process();
        process.refused.fetch_add(1, Ordering::Relaxed);
        // A full queue is logged by the queue itself, each time it fills up. The others are no mistakes.
        let is_expected = matches!(error.kind(), ErrorKind::QueueFull | ErrorKind::Closed | ErrorKind::OptedOut);
        if self.template.host.logs() && !is_expected {
            process.warn_of_failed_call(&error);
        }
        error
    }

    pub(crate) fn write(
        &self,
        process: &Process,
        message: &Message<'_>,
        known: &Known,
        seen: Seen<'_>,
    ) -> Result<(), Error> {
        self.refuse_opted_out(process, known)?;
        let base = self.base(known, message.call == Call::Identify);
        let now = time::now_ms();
        message::with_buffer(|out| {
            message.write(base, now, out)?;
            if self.looks_for_doubts() {
                self.check_doubts(process, message, base, now)?;
            }
            seen(out)?;
            self.push(process, out, known, seen)
        })
    }

    /// Refuses a message if the user has opted out. Checked before the message is written, because there are no ids
    /// then, and the error would be about a missing id.
    fn refuse_opted_out(&self, process: &Process, known: &Known) -> Result<(), Error> {
        if known.wish.opted_out || known.person.is_none() && self.identity().is_stateful() {
            process.start_if_needed(); // the delivery thread sees when the user opts in through another process
            return Err(process.shared.queue.refuse_opted_out());
        }
        Ok(())
    }

    fn base<'a>(&'a self, known: &'a Known, is_identify: bool) -> Base<'a> {
        Base {
            context: known.context_for(is_identify),
            context_of_others: &known.context,
            integrations: &self.template.prepared.integrations,
            user_id: known.person.as_ref().and_then(|person| person.user_id.as_deref()),
            anonymous_id: known.person.as_ref().map(|person| person.anonymous_id.as_str()),
        }
    }

    /// Queues a message that was written, if the host's `before_send` lets it pass.
    fn push(&self, process: &Process, message: &[u8], known: &Known, seen: Seen<'_>) -> Result<(), Error> {
        let period = known.wish.period;
        let Some(edit) = &self.template.config.before_send else {
            process.shared.queue.push(message, period)?;
            process.start_if_needed();
            return Ok(());
        };
        process.shared.queue.check_open()?;
        let edited = process.edit(message, edit)?;
        // If it has forked, this may be the child, which has a queue of its own.
        let process = self.process();
        match edited {
            Edit::Keep => process.shared.queue.push(message, period)?,
            Edit::Drop => process.shared.queue.drop_unkept(period)?,
            Edit::Replace(json) => {
                let mut replaced = Vec::new();
                message::write_json(&json, Base::NONE, time::now_ms(), &mut replaced)
                    .map_err(|error| error.in_argument("what before_send returned"))?;
                self.check_doubts_of_json(process, &replaced)?;
                seen(&replaced)?;
                process.shared.queue.push(&replaced, period)?;
            }
        }
        process.start_if_needed();
        Ok(())
    }

    /// Whether doubts are refused or logged.
    fn looks_for_doubts(&self) -> bool {
        self.template.config.strict || self.template.host.logs()
    }

    fn check_doubts(&self, process: &Process, message: &Message<'_>, base: Base<'_>, now: i64) -> Result<(), Error> {
        let mut first = None;
        message.doubts(base, now, |doubt| self.doubt(process, doubt, &mut first));
        first.map_or(Ok(()), Err)
    }

    fn check_doubts_of_json(&self, process: &Process, message: &[u8]) -> Result<(), Error> {
        if !self.looks_for_doubts() {
            return Ok(());
        }
        let mut first = None;
        doubts::find_in(message, time::now_ms(), |doubt| self.doubt(process, doubt, &mut first));
        first.map_or(Ok(()), Err)
    }

    /// Refuses what is doubtful, or warns about it, once.
    fn doubt(&self, process: &Process, doubt: Doubt, first: &mut Option<Error>) {
        if self.template.config.strict {
            first.get_or_insert_with(|| Error::invalid(doubt.sentence));
        } else {
            process.warn_once(doubt.kind, doubt.name, doubt.sentence);
        }
    }

    /// Sends what waits, and waits until every message accepted before is settled: delivered, failed or dropped, and
    /// reported. With a `timeout` of zero it only starts the sending. A pause that Segment demanded is not cut short.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if the time ran out first; [`ErrorKind::Invalid`] from inside a callback of this client.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.refuse_in_callback("flush")?;
        let process = self.process();
        process.start_if_needed();
        if process.shared.queue.flush(timeout) {
            return Ok(());
        }
        Err(self.not_in_time("not all messages were settled in time"))
    }

    /// Takes no more messages, and goes on delivering for this long. May be repeated.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if messages are left; [`ErrorKind::Invalid`] from inside a callback of this client.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.shutdown_waiting(timeout, timeout)
    }

    /// The same, but returns after `wait` at the latest.
    pub(crate) fn shutdown_waiting(&self, timeout: Duration, wait: Duration) -> Result<(), Error> {
        self.refuse_in_callback("shutdown")?;
        let process = self.process();
        process.start_if_needed();
        if process.shared.queue.close(timeout, wait) {
            return Ok(());
        }
        Err(self.not_in_time("not all messages were delivered in time"))
    }

    /// Does what dropping the client does, while other references to it may exist: afterwards no callback runs.
    pub(crate) fn end(&self) {
        let in_callback = self.is_in_callback();
        // A child that never used its parent's client has nothing to end.
        let Some(process) = self.process.own() else { return };
        if in_callback {
            // Waiting here for the callback to return would never end.
            return process.shared.queue.end();
        }
        process.end(self.template.config.shutdown);
    }

    /// Sends nothing from now on until [`Client::resume`]: during a match, for example, or on a metered line. Messages
    /// are still taken as long as there is room; a request that is under way may finish. [`Client::flush`] and
    /// [`Client::shutdown`] return at once rather than wait for what is not sent. A pause does not outlive the client;
    /// a forked child begins paused if its parent was.
    pub fn pause(&self) {
        self.template.is_paused.store(true, Ordering::SeqCst);
        self.process().shared.queue.set_paused(true);
    }

    /// Goes on sending.
    pub fn resume(&self) {
        self.template.is_paused.store(false, Ordering::SeqCst);
        let process = self.process();
        process.shared.queue.set_paused(false);
        process.start_if_needed();
    }

    /// Whether the client is paused.
    pub fn is_paused(&self) -> bool {
        self.template.is_paused.load(Ordering::SeqCst)
    }

    /// Why nothing arrives: what keeps messages from being delivered right now, as a sentence for a person. None if
    /// nothing does, or it is not known yet. It says what the last answer was and when, how much waits, and when the
    /// next attempt is made.
    pub fn last_problem(&self) -> Option<String> {
        self.process().shared.queue.problem()
    }

    /// Counts of messages.
    pub fn stats(&self) -> Stats {
        let process = self.process();
        Stats { refused: process.refused.load(Ordering::Relaxed), ..process.shared.queue.stats() }
    }

    /// Whether this thread is inside a callback of this client.
    pub(crate) fn is_in_callback(&self) -> bool {
        self.process.own().is_some_and(|process| process.shared.callbacks.is_running_here())
    }

    fn not_in_time(&self, sentence: &'static str) -> Error {
        let sentence = match (self.identity().known().wish.holds(), self.is_paused()) {
            (true, _) => "the user has not answered yet: nothing is sent",
            (false, true) => "the client is paused: nothing is sent",
            (false, false) => sentence,
        };
        Error::new(ErrorKind::Timeout, sentence)
    }

    fn refuse_in_callback(&self, call: &str) -> Result<(), Error> {
        if self.is_in_callback() {
            return Err(Error::invalid(format!("{call} must not be called from a callback of the same client")));
        }
        Ok(())
    }
}

impl Drop for Client {
    /// Delivers for as long as [`Config::shutdown`] allows, unless [`Client::shutdown`] was called before. What is left
    /// stays in the spool or, without one, is reported as [`ErrorKind::Timeout`]. Waits for a callback that is running;
    /// none runs afterwards.
    fn drop(&mut self) {
        self.end();
    }
}

/// What counts as the answer of a user who is to be asked first, until they have answered (consoledonottrack.com).
fn silence() -> Silence {
    let is_denied = std::env::var_os("DO_NOT_TRACK").is_some_and(|value| !value.is_empty() && value != "0");
    if is_denied { Silence::Denies } else { Silence::Waits }
}

/// What the client sends with: the host's own HTTP, nothing for a dry run, or the network.
fn transport(config: &mut Config, storage: &dyn Storage) -> Result<MakeTransport, Error> {
    #[cfg(feature = "http")]
    let route = crate::net::network::Route::new(config.proxy.as_deref(), config.ca_file.as_deref(), storage)?;
    #[cfg(not(feature = "http"))]
    let _ = storage;
    if config.dry_run {
        return Ok(Box::new(|| Box::new(DryRun)));
    }
    if let Some(transport) = config.transport.take() {
        let transport = Arc::new(transport);
        return Ok(Box::new(move || Box::new(ByHost::new(transport.clone()))));
    }
    #[cfg(feature = "http")]
    return Ok(Box::new(move || Box::new(crate::net::network::Network::new(route.clone()))));
    #[cfg(not(feature = "http"))]
    Err(Error::invalid("transport must be given: this build of the library has no HTTP of its own"))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
