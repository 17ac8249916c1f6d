//! The client: what everyone calls.

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

/// A queue of messages, and the thread that delivers them.
///
/// Every call writes its message into the queue and returns; nothing waits for the network but
/// [`flush`](Client::flush), [`shutdown`](Client::shutdown) and dropping the client. A client can be used from all
/// threads at once.
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
/// Who is shown a message before it is queued, and may refuse it.
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
                // A host's own HTTP need not stand several threads; and where nothing is sent nothing is waited for.
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
        let identity = Identity::open(storage.clone(), home.clone(), is_asked_to_keep, config.stateful, context);
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
        // What an earlier run has left is delivered without waiting for a new message.
        client.process().start_if_needed();
        Ok(client)
    }

    /// Where what is sent can be read by others.
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

    /// The same, and shows the message as it was written, once more if `before_send` put another in its place; before
    /// it is queued, so that one which the queue does not take is seen too. An error refuses it.
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

    /// Queues a whole message in JSON, `{"type":"track",...}`. What it lacks of `messageId`, `timestamp` and `context`
    /// is added; and the ids, if the client is [stateful](Config::stateful). What it says of the user is not
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
    /// It goes over [`Config::context`], merged with it where both have an object of this name, and under the
    /// [`Options::context`] of a message. What this sets has at most 16,000 bytes of JSON together. It is about the
    /// program, not its user: [`reset`](Client::reset) and [`opt_out`](Client::opt_out) leave it as it is. It lasts as
    /// long as the client; a forked child begins with its parent's.
    ///
    /// It waits for nothing, and calls of other threads go on meanwhile.
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
    /// [`ErrorKind::TooLarge`] for too much, or if no room would be left for a message. Nothing has changed then.
    pub fn set_context<'a>(&self, key: &str, value: impl Into<Option<Value<'a>>>) -> Result<(), Error> {
        let set = Change::new(key, value.into()).and_then(|change| {
            self.identity().set_context(&change, |before, after| self.refuse_without_room(key, before, after))
        });
        set.map_err(|error| self.refuse(error))
    }

    /// What takes room away must leave enough for a message.
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

    /// Counts a call that failed, and gives the error back. The log says it once for each kind of error: not everybody
    /// looks at what each call returns.
    pub(crate) fn refuse(&self, error: Error) -> Error {
        let process = self.process();
        process.refused.fetch_add(1, Ordering::Relaxed);
        // A queue that is full says so itself, each time anew. The others are no mistakes.
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

    /// Who has opted out has no ids that a message could lack; that is not what is wrong with it.
    fn refuse_opted_out(&self, process: &Process, known: &Known) -> Result<(), Error> {
        if known.privacy.opted_out || known.person.is_none() && self.identity().is_stateful() {
            process.start_if_needed(); // it sees when the user opts in elsewhere
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

    /// Queues a message that is written, if the host lets it pass.
    fn push(&self, process: &Process, message: &[u8], known: &Known, seen: Seen<'_>) -> Result<(), Error> {
        let period = known.privacy.wish().period;
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

    /// Whether anybody wants to know of doubts.
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
    /// reported. Without time it only starts the sending. A pause that Segment demanded is not cut short.
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

    /// The same, but waits no longer than `wait` meanwhile.
    pub(crate) fn shutdown_waiting(&self, timeout: Duration, wait: Duration) -> Result<(), Error> {
        self.refuse_in_callback("shutdown")?;
        let process = self.process();
        process.start_if_needed();
        if process.shared.queue.close(timeout, wait) {
            return Ok(());
        }
        Err(self.not_in_time("not all messages were delivered in time"))
    }

    /// Does what dropping the client does, while others may still hold it: afterwards no callback runs.
    pub(crate) fn end(&self) {
        let in_callback = self.is_in_callback();
        // A child that never used its parent's client has nothing to end.
        let Some(process) = self.process.own() else { return };
        if in_callback {
            // Nobody can wait here for the callback to return.
            return process.shared.queue.end();
        }
        process.end(self.template.config.shutdown);
    }

    /// Sends nothing from now on, until [`Client::resume`]: in a match, say, or on a metered line. Everything is kept,
    /// and taken as long as there is room; a request that is under way may end. Nobody is kept waiting for what is not
    /// sent: [`Client::flush`] and [`Client::shutdown`] return at once. It does not outlive the client; a forked child
    /// begins as its parent was.
    pub fn pause(&self) {
        self.template.is_paused.store(true, Ordering::SeqCst);
        self.process().shared.queue.set_paused(true);
    }

    /// Sends again what waits.
    pub fn resume(&self) {
        self.template.is_paused.store(false, Ordering::SeqCst);
        let process = self.process();
        process.shared.queue.set_paused(false);
        process.start_if_needed();
    }

    /// Whether it was paused.
    pub fn is_paused(&self) -> bool {
        self.template.is_paused.load(Ordering::SeqCst)
    }

    /// Why nothing arrives: what stands in the way right now, as a sentence for a person. None if nothing does, or
    /// nobody knows yet. It says what the last answer was and when, how much waits, and when the next attempt is made.
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
        let is_paused = self.is_paused();
        Error::new(ErrorKind::Timeout, if is_paused { "the client is paused: nothing is sent" } else { sentence })
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
    /// is kept by the spool or, without one, reported as [`ErrorKind::Timeout`]. Waits for a callback that is running;
    /// none runs afterwards.
    fn drop(&mut self) {
        self.end();
    }
}
/// What the client sends with: the host's own HTTP, nothing at all, or the network.
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
