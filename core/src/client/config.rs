//! The settings of a client, their defaults, and the checks before a client is made.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::hooks::{BeforeSend, OnDelivery, OnLog};
use crate::base::more::More;
use crate::json::object::Object;
use crate::json::{scan, write};
use crate::message::message;
use crate::message::rules::{MAX_BATCH_BYTES, MAX_MESSAGE_BYTES};
use crate::net::endpoint::{Endpoint, Region, US_ENDPOINT};
use crate::net::header;
use crate::net::transport::{OnHttp, UPLOADS_MAX};
use crate::queue::queue::Overflow;
use crate::queue::spool;

/// Longer than any client lives, but short enough to be added to any time.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The settings of a [`Client`](crate::Client). Only the write key has no default. Settings may be added: a literal
/// ends with `..Config::new(key)`.
///
/// ```
/// use segment_native::Config;
///
/// let config = Config { flush_at: 20, ..Config::new("WRITE_KEY") };
/// ```
pub struct Config {
    /// The write key of your source.
    pub write_key: String,
    /// Where to send: `https://api.segment.io`. `"eu"` is short for the EU's host; a proxy of your own is given by its
    /// URL, with or without `/v1`. A URL whose path ends in `/batch` or `/b` is taken whole, with its query if it has
    /// one: `https://api.segment.io/v1/b` is where Segment's libraries for devices send.
    pub endpoint: String,
    /// A folder in which accepted messages are stored until they are delivered; they survive the process, however it
    /// ends. It is made if it does not exist; use a folder of its own. A relative path is resolved when the client is
    /// made, and stays there when the working folder changes. None: in memory only.
    pub spool_dir: Option<PathBuf>,
    /// With a spool: what is accepted survives a loss of power too, except for the last tenth of a second: no.
    pub sync: bool,
    /// How many bytes of messages may wait, in memory or in the spool: 64 MiB.
    pub queue_max_bytes: u64,
    /// What happens to a message when the queue is full: it is refused.
    pub overflow: Overflow,
    /// Send when this many messages wait: 100.
    pub flush_at: u32,
    /// Send what waits this often: 5 s.
    pub flush_interval: Duration,
    /// How many batches may be under way at once, each in a request of its own; at most 64. 0, which is the default:
    /// one at first, and up to 16 while more waits than one carries and the server takes it; with a `transport` of your
    /// own, one. Together they carry a quarter of `queue_max_bytes` at most. Parallel batches arrive in any order: set
    /// 1 if order matters, as it may for `alias` and `identify`. (Segment recommends at most 1,000 events a second for
    /// a workspace.)
    pub uploads: u32,
    /// How often a request is tried again before its messages are given up: 10, and for 12 hours at most. A pause that
    /// Segment demands is not counted. With a spool nothing is given up because it failed often; other messages are
    /// then tried first.
    pub retry_max: u32,
    /// For one whole request, including the name look-up: 15 s.
    pub timeout: Duration,
    /// How long dropping the client may go on delivering: 2 s.
    pub shutdown: Duration,
    /// Whether bodies are compressed: yes.
    pub gzip: bool,
    /// Do everything except send; what would be sent counts as delivered: no.
    pub dry_run: bool,
    /// Part of every message's context.
    pub context: Object,
    /// Every message's integrations.
    pub integrations: Object,
    /// The client remembers who the user is: see [`Client::reset`](crate::Client::reset). No: the caller provides both
    /// ids, and nothing is remembered.
    pub stateful: bool,
    /// Nothing is stored or sent before the user has been asked: no. Until [`Client::opt_in`](crate::Client::opt_in) or
    /// [`Client::opt_out`](crate::Client::opt_out) was called once, in this run or an earlier one with the same spool,
    /// messages, ids and consent are held in memory, within `queue_max_bytes`, nothing is written below `spool_dir`,
    /// and nothing is sent. A yes releases what is held; a no, or the end of the client, drops it. A spool that cannot
    /// be read when the client is made counts as a no until it can be read; so does `DO_NOT_TRACK` in the environment,
    /// unless it is empty or `0`, until the user opts in. A forked child begins in its parent's state; what is held
    /// stays with the parent. See [`Client::opt_state`](crate::Client::opt_state). Without this, a user who has not
    /// answered counts as one who has agreed.
    pub ask_first: bool,
    /// Refuse what is only doubtful, not just what Segment would discard: no. Doubtful are reserved traits and
    /// e-commerce properties of the wrong type, custom traits that are reserved ones in another spelling, amounts that
    /// are not numbers, currencies that are not ISO 4217, times in the future, e-mail addresses as user ids. Without
    /// this, the log warns of them, once for each kind and name.
    pub strict: bool,
    /// Add the operating system, the device, what stands between it and the program (Wine, a sandbox, a container, an
    /// emulator), the locale and the time zone to every message's context: no. `docs/device.md` lists the members.
    pub device_context: bool,
    /// With `stateful`: track `Application Installed`, `Application Updated` and `Application Opened`, with the `app`
    /// in the context: no. The first two only with a spool that can be written.
    pub lifecycle: bool,
    /// `http://[user:password@]host:port`, `https://...` or `socks5://...` (`socks5h://...`: the proxy looks names up).
    /// Empty: no proxy. None: what the environment says: `https_proxy` for https, `http_proxy` for http, `all_proxy`
    /// for the rest, in lower or upper case, except for the hosts, domains, addresses and networks (`10.0.0.0/8`) in
    /// `no_proxy`, each with a port if need be. An empty variable means no proxy; one that is not the URL of a proxy is
    /// ignored. `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set: in a CGI program any visitor can set it.
    pub proxy: Option<String>,
    /// A file with PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Headers on every request to the Tracking API, for a gateway of your own. They replace ours.
    pub headers: Vec<(String, String)>,
    /// OAuth 2.0 instead of Basic authentication.
    #[cfg(feature = "oauth")]
    pub oauth: Option<crate::net::oauth::OAuth>,
    /// For [`Client::call`](crate::Client::call) to the Public API.
    pub access_token: Option<String>,
    /// For [`Client::call`](crate::Client::call) to the Profile API.
    pub profile_token: Option<String>,
    /// The Public API: `https://api.segmentapis.com`, or the EU's if the endpoint of the Tracking API is there.
    pub public_endpoint: String,
    /// The Profile API: `https://profiles.segment.com`, or the EU's.
    pub profile_endpoint: String,
    /// Sees each message before it is queued.
    pub before_send: Option<BeforeSend>,
    /// The host's own HTTP instead of ours.
    pub transport: Option<OnHttp>,
    /// Told what became of messages: delivered, given up, or dropped for room (see
    /// [`Overflow::DropOldest`](crate::Overflow::DropOldest)).
    pub on_delivery: Option<OnDelivery>,
    /// Told what a person may want to read. That includes calls that fail, once for each kind of error, unless the
    /// queue is full, the client was shut down or the user opted out.
    pub on_log: Option<OnLog>,
    /// With a spool: the write key that the program used before. What waits in the folder for it is delivered too, with
    /// the present write key to the present endpoint, with the same message ids, and counted as recovered. Without
    /// this, it waits for a client with that key. Processes that still run with that key keep their messages until they
    /// end. None, or the same as `write_key`: nothing.
    pub former_write_key: Option<String>,
    /// The same for an endpoint that the program used before, in another region for example: what waits in the folder
    /// for it is sent to the present endpoint. With both, what waits for either key at either endpoint is.
    pub former_endpoint: Option<String>,
    #[doc(hidden)]
    pub _more: More,
}

impl Config {
    /// The defaults for this write key.
    pub fn new(write_key: impl Into<String>) -> Self {
        Config {
            write_key: write_key.into(),
            endpoint: US_ENDPOINT.to_owned(),
            spool_dir: None,
            sync: false,
            queue_max_bytes: 64 << 20,
            overflow: Overflow::Refuse,
            flush_at: 100,
            flush_interval: Duration::from_secs(5),
            uploads: 0,
            retry_max: 10,
            timeout: Duration::from_secs(15),
            shutdown: Duration::from_secs(2),
            gzip: true,
            dry_run: false,
            context: Object::new(),
            integrations: Object::new(),
            stateful: false,
            ask_first: false,
            strict: false,
            device_context: false,
            lifecycle: false,
            proxy: None,
            ca_file: None,
            headers: Vec::new(),
            #[cfg(feature = "oauth")]
            oauth: None,
            access_token: None,
            profile_token: None,
            public_endpoint: String::new(),
            profile_endpoint: String::new(),
            before_send: None,
            transport: None,
            on_delivery: None,
            on_log: None,
            former_write_key: None,
            former_endpoint: None,
            _more: More::default(),
        }
    }

    /// Shortens times that never end in practice, so that they can be calculated with.
    pub(crate) fn bound_times(&mut self) {
        for time in [&mut self.flush_interval, &mut self.timeout, &mut self.shutdown] {
            *time = (*time).min(TIME_MAX);
        }
    }

    /// Makes `spool_dir` absolute, so that a change of the working folder, which a file dialog may make, does not move
    /// the spool. Links are left as they are. If that is impossible because the working folder is gone, there is no
    /// spool, and the reason is returned.
    pub(crate) fn pin_spool_dir(&mut self) -> Result<Option<io::Error>, Error> {
        let Some(given) = &mut self.spool_dir else { return Ok(None) };
        if given.as_os_str().is_empty() {
            return Err(Error::invalid("spool_dir must not be empty"));
        }
        match std::path::absolute(&*given) {
            Ok(pinned) => {
                *given = pinned;
                Ok(None)
            }
            Err(error) => {
                (self.spool_dir, self.sync) = (None, false);
                (self.former_write_key, self.former_endpoint) = (None, None);
                Ok(Some(error))
            }
        }
    }

    /// Checks the settings, and prepares what every message needs.
    pub(crate) fn prepare(&self) -> Result<Prepared, Error> {
        check_write_key(&self.write_key)?;
        for (name, value) in [("flush_interval", self.flush_interval), ("timeout", self.timeout)] {
            if value.is_zero() {
                return Err(Error::invalid(format!("{name} must not be zero")));
            }
        }
        if self.flush_at == 0 || self.queue_max_bytes == 0 {
            let name = if self.flush_at == 0 { "flush_at" } else { "queue_max_bytes" };
            return Err(Error::invalid(format!("{name} must not be zero")));
        }
        if self.uploads as usize > UPLOADS_MAX {
            return Err(Error::invalid(format!("uploads must be at most {UPLOADS_MAX}")));
        }
        if self.sync && self.spool_dir.is_none() {
            return Err(Error::invalid("sync needs a spool_dir"));
        }
        if self.lifecycle && !self.stateful {
            return Err(Error::invalid("lifecycle needs stateful"));
        }
        for (name, token) in [("access_token", &self.access_token), ("profile_token", &self.profile_token)] {
            if let Some(token) = token {
                check_credential(name, token)?;
            }
        }
        for (name, value) in &self.headers {
            header::check("headers", name, value)?;
        }
        let mut own = Vec::new();
        self.context.append_to(&mut own).map_err(|e| e.in_argument("context"))?;
        let mut context = Vec::new();
        scan::merge(LIBRARY.as_bytes(), &own, &mut context);
        let mut integrations = Vec::new();
        if !self.integrations.is_empty() || self.integrations.error().is_some() {
            self.integrations.append_to(&mut integrations).map_err(|e| e.in_argument("integrations"))?;
        }
        let smallest = message::smallest_bytes(&context, &integrations, self.stateful);
        if smallest > MAX_MESSAGE_BYTES {
            let which = if integrations.is_empty() { "context leaves" } else { "context and integrations leave" };
            let text = format!(
                "{which} no room for a message: the smallest has {smallest} bytes with all its fields; Segment takes \
                 {MAX_MESSAGE_BYTES}"
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let envelope = Envelope::new(&self.write_key);
        let region = Region::of(&self.endpoint);
        let read = Endpoint::read;
        let tracking = Endpoint::tracking("endpoint", &self.endpoint)?;
        Ok(Prepared {
            former_queues: self.former_queues(&tracking)?,
            tracking,
            public: read("public_endpoint", &self.public_endpoint, region.public, Region::of("eu").public)?,
            profile: read("profile_endpoint", &self.profile_endpoint, region.profile, Region::of("eu").profile)?,
            #[cfg(feature = "oauth")]
            oauth: self
                .oauth
                .as_ref()
                .map(|oauth| read("oauth: endpoint", &oauth.endpoint, region.oauth, Region::of("eu").oauth))
                .transpose()?,
            context,
            integrations,
            envelope,
        })
    }
}

impl Config {
    /// The names of the queues that the program used before: those of the former write key or endpoint, or of both.
    fn former_queues(&self, tracking: &Endpoint) -> Result<Vec<String>, Error> {
        let (mut keys, mut endpoints) = (vec![self.write_key.as_str()], vec![tracking.identity()]);
        if let Some(key) = &self.former_write_key {
            check_credential("former_write_key", key)?;
            keys.push(key);
        }
        if let Some(endpoint) = &self.former_endpoint {
            if endpoint.is_empty() {
                return Err(Error::invalid("former_endpoint must not be empty"));
            }
            endpoints.push(Endpoint::tracking("former_endpoint", endpoint)?.identity());
        }
        let given = self.former_write_key.as_ref().map(|_| "former_write_key");
        if let (Some(name), None) =
            (given.or(self.former_endpoint.as_ref().map(|_| "former_endpoint")), &self.spool_dir)
        {
            return Err(Error::invalid(format!("{name} needs a spool_dir")));
        }
        let pairs = endpoints.iter().flat_map(|endpoint| keys.iter().map(move |key| spool::queue_name(endpoint, key)));
        let mut names: Vec<String> = pairs.collect();
        let own = names.remove(0);
        names.retain(|name| *name != own);
        names.sort();
        names.dedup();
        Ok(names)
    }
}

impl fmt::Debug for Config {
    /// Without the write key and the endpoint's query, which may hold one: they must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint.split('?').next().unwrap_or_default())
            .field("flush_at", &self.flush_at)
            .field("flush_interval", &self.flush_interval)
            .field("uploads", &self.uploads)
            .field("queue_max_bytes", &self.queue_max_bytes)
            .finish_non_exhaustive()
    }
}

/// The part of the context that every message must have.
const LIBRARY: &str =
    concat!(r#"{"library":{"name":"segment-native","version":""#, env!("CARGO_PKG_VERSION"), r#""}}"#);

/// What is derived from the settings once.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tracking: Endpoint,
    /// The names of the former queues, whose messages are delivered too.
    pub(crate) former_queues: Vec<String>,
    pub(crate) public: Endpoint,
    pub(crate) profile: Endpoint,
    #[cfg(feature = "oauth")]
    pub(crate) oauth: Option<Endpoint>,
    /// The context of a message that has none of its own.
    pub(crate) context: Vec<u8>,
    /// The same for its integrations; empty if there are none.
    pub(crate) integrations: Vec<u8>,
    pub(crate) envelope: Envelope,
}

/// What surrounds the messages of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    write_key: Vec<u8>,
}

impl Envelope {
    const HEAD: &[u8] = b"{\"batch\":[";
    const SENT_AT: &[u8] = b"],\"sentAt\":";
    const WRITE_KEY: &[u8] = b",\"writeKey\":";

    fn new(write_key: &str) -> Self {
        let mut quoted = Vec::new();
        write::string(&mut quoted, write_key);
        Envelope { write_key: quoted }
    }

    /// How many bytes of messages fit into a batch, each followed by a comma.
    pub(crate) fn room(&self) -> usize {
        let around = Self::HEAD.len() + Self::SENT_AT.len() + 26 + Self::WRITE_KEY.len() + self.write_key.len() + 1;
        MAX_BATCH_BYTES - around
    }

    /// Writes a batch. `sent_at` is the time of this attempt: Segment uses it to correct for a wrong clock.
    pub(crate) fn write<'a>(&self, messages: impl Iterator<Item = &'a [u8]>, sent_at: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(Self::HEAD);
        for (n, message) in messages.enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(message);
        }
        out.extend_from_slice(Self::SENT_AT);
        write::time(out, sent_at.max(0));
        out.extend_from_slice(Self::WRITE_KEY);
        out.extend_from_slice(&self.write_key);
        out.push(b'}');
    }
}

fn check_write_key(write_key: &str) -> Result<(), Error> {
    check_credential("write_key", write_key)
}

fn check_credential(name: &str, credential: &str) -> Result<(), Error> {
    let problem = match credential {
        "" => "must not be empty",
        // It is the user name of Basic authentication, which ends at the colon.
        key if !key.bytes().all(|b| b.is_ascii_graphic() && b != b':') => {
            "must be printable ASCII without spaces and colons"
        }
        key if key.len() > 256 => "must not be longer than 256 characters",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("{name} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::endpoint::EU_ENDPOINT;

    fn problem(config: Config) -> String {
        config.prepare().expect_err("refused").to_string()
    }

    #[test]
    fn a_wrong_setting_is_named() {
        assert_eq!(problem(Config::new("")), "write_key must not be empty");
        assert_eq!(problem(Config::new("a:b")), "write_key must be printable ASCII without spaces and colons");
        assert_eq!(problem(Config::new("a b")), "write_key must be printable ASCII without spaces and colons");
        assert_eq!(problem(Config::new("k".repeat(257))), "write_key must not be longer than 256 characters");
        assert_eq!(problem(Config { flush_at: 0, ..Config::new("k") }), "flush_at must not be zero");
        assert_eq!(problem(Config { queue_max_bytes: 0, ..Config::new("k") }), "queue_max_bytes must not be zero");
        assert_eq!(problem(Config { timeout: Duration::ZERO, ..Config::new("k") }), "timeout must not be zero");
        let url = || "http://127.0.0.1:8080x".to_owned();
        let no_port = |name: &str| format!("{name} must have a port between 1 and 65535, or none");
        assert_eq!(problem(Config { endpoint: url(), ..Config::new("k") }), no_port("endpoint"));
        assert_eq!(problem(Config { public_endpoint: url(), ..Config::new("k") }), no_port("public_endpoint"));
        assert_eq!(problem(Config { profile_endpoint: url(), ..Config::new("k") }), no_port("profile_endpoint"));
        #[cfg(feature = "oauth")]
        {
            let oauth =
                Some(crate::net::oauth::OAuth { endpoint: url(), ..crate::net::oauth::OAuth::new("a", "b", "c") });
            assert_eq!(problem(Config { oauth, ..Config::new("k") }), no_port("oauth: endpoint"));
        }
        let context = Object::new().with("x", f64::NAN);
        assert_eq!(problem(Config { context, ..Config::new("k") }), "context: \"x\" is not a finite number");
    }

    #[test]
    fn a_wrong_former_source_is_named() {
        let config = |key: Option<&str>, endpoint: Option<&str>| Config {
            spool_dir: Some("/spool".into()),
            former_write_key: key.map(str::to_owned),
            former_endpoint: endpoint.map(str::to_owned),
            ..Config::new("k")
        };
        assert_eq!(problem(config(Some(""), None)), "former_write_key must not be empty");
        let colon = "former_write_key must be printable ASCII without spaces and colons";
        assert_eq!(problem(config(Some("a:b"), None)), colon);
        assert_eq!(problem(config(None, Some(""))), "former_endpoint must not be empty");
        assert_eq!(problem(config(None, Some("ftp://x"))), "former_endpoint must begin with https:// or http://");
        for (key, endpoint, name) in
            [(Some("a"), None, "write_key"), (None, Some("eu"), "endpoint"), (Some("a"), Some("eu"), "write_key")]
        {
            let in_memory = Config { spool_dir: None, ..config(key, endpoint) };
            assert_eq!(problem(in_memory), format!("former_{name} needs a spool_dir"));
        }
    }

    #[test]
    fn every_pair_but_the_present_one_was_a_former_source() {
        let names = |key: Option<&str>, endpoint: Option<&str>| {
            let config = Config {
                spool_dir: Some("/spool".into()),
                former_write_key: key.map(str::to_owned),
                former_endpoint: endpoint.map(str::to_owned),
                ..Config::new("k")
            };
            config.prepare().expect("good settings").former_queues
        };
        let sorted = |pairs: &[(&str, &str)]| {
            let mut names: Vec<String> = pairs.iter().map(|(endpoint, key)| spool::queue_name(endpoint, key)).collect();
            names.sort();
            names
        };
        assert_eq!(names(None, None), sorted(&[]));
        assert_eq!(names(Some("k"), Some("https://API.segment.io:443/v1")), sorted(&[]), "the present one");
        assert_eq!(names(Some("a"), None), sorted(&[(US_ENDPOINT, "a")]));
        assert_eq!(names(None, Some("eu")), sorted(&[(EU_ENDPOINT, "k")]));
        assert_eq!(names(Some("a"), Some("eu")), sorted(&[(US_ENDPOINT, "a"), (EU_ENDPOINT, "k"), (EU_ENDPOINT, "a")]));
    }

    #[test]
    fn what_leaves_no_room_for_a_message_is_refused_by_name() {
        let text = |length: usize| Object::from([("k", "x".repeat(length).as_str())]);
        for (stateful, name) in
            [(false, "context leaves"), (true, "context leaves"), (false, "context and integrations")]
        {
            let config = |length: usize| match name {
                "context leaves" => Config { stateful, context: text(length), ..Config::new("k") },
                _ => Config { context: text(10_000), integrations: text(length - 10_000), ..Config::new("k") },
            };
            let fits = (31_000..31_990).rfind(|length| config(*length).prepare().is_ok()).expect("some do");
            assert!(problem(config(fits + 1)).starts_with(name), "{}", problem(config(fits + 1)));
            assert_eq!(config(fits + 1).prepare().expect_err("refused").kind(), ErrorKind::TooLarge);
            // What just fits has room for the smallest message, and for nothing more.
            let client = crate::Client::new(Config { dry_run: true, ..config(fits) }).expect("there is room");
            let id = if stateful { None } else { Some("u") };
            client.page(id, None, None, None).expect("the smallest message");
            let more = client.page(id, "N", None, None).expect_err("a larger one");
            assert_eq!(more.kind(), ErrorKind::TooLarge);
        }
    }

    #[test]
    fn the_envelope_is_counted() {
        let envelope = Envelope::new("key");
        let message = vec![b'x'; MAX_MESSAGE_BYTES - 1];
        let fits = envelope.room() / MAX_MESSAGE_BYTES;
        let mut messages = vec![message.as_slice(); fits];
        let rest = vec![b'x'; envelope.room() % MAX_MESSAGE_BYTES - 1];
        messages.push(&rest);
        let mut body = Vec::new();
        envelope.write(messages.into_iter(), 0, &mut body);
        assert_eq!(body.len(), MAX_BATCH_BYTES - 1); // no comma follows the last message
    }

    #[test]
    fn a_batch_is_json_with_the_time_and_the_key() {
        let mut body = Vec::new();
        Envelope::new("k\\").write([b"1".as_slice(), b"2"].into_iter(), 0, &mut body);
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"batch":[1,2],"sentAt":"1970-01-01T00:00:00.000Z","writeKey":"k\\"}"#
        );
    }

    #[test]
    fn the_write_key_is_not_printed() {
        assert!(!format!("{:?}", Config::new("SECRET")).contains("SECRET"));
        let endpoint = "https://host/batch?key=SECRET".to_owned();
        let shown = format!("{:?}", Config { endpoint, ..Config::new("WRITE_KEY") });
        assert!(shown.contains("https://host/batch") && !shown.contains("SECRET"), "{shown}");
    }
}
