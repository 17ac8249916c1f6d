//! One POST: the network, and nothing but it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Answers are read so far and no further; Segment's have some twenty bytes.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// Connections are not kept longer than this, so that a change of address is noticed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// Load balancers close what is idle for a minute; a request must not run into that.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(50);

/// The value of `Authorization` for a user name without password.
pub(crate) fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:")))
}

/// What to POST.
pub(crate) struct Post<'a> {
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: &'a [u8],
    /// For everything: the name look-up, the connection, the body, the answer.
    pub(crate) timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// Whether the body is a web page.
    pub(crate) html: bool,
    /// The beginning of the body, for a person to read.
    pub(crate) text: String,
}

/// Whatever can make a POST.
pub(crate) trait Transport: Send + Sync {
    /// Makes one, or says in a sentence why there is no answer.
    fn post(&self, post: &Post<'_>) -> Result<Answer, String>;

    /// Breaks off what is under way, and everything after. For the end of a client whose time is up.
    fn abort(&self) {}
}

/// Sends nothing; everything is acknowledged.
pub(crate) struct DryRun;

impl Transport for DryRun {
    fn post(&self, _: &Post<'_>) -> Result<Answer, String> {
        Ok(Answer { status: 200, retry_after: None, html: false, text: String::new() })
    }
}

/// The real network.
pub(crate) struct Network {
    connections: Mutex<Connections>,
}

struct Connections {
    agent: Agent,
    made: Instant,
    roots: Roots,
    aborted: bool,
}

/// Whom to trust: the system's certificates, or the ones built in where a machine has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roots {
    System,
    BuiltIn,
}

impl Network {
    pub(crate) fn new() -> Self {
        let connections =
            Connections { agent: agent(Roots::System), made: Instant::now(), roots: Roots::System, aborted: false };
        Network { connections: Mutex::new(connections) }
    }

    /// The agent to use, made anew when its connections have become old, or to trust other roots.
    fn agent(&self, roots: Option<Roots>) -> Result<(Agent, Roots), String> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.aborted {
            return Err("the client was ended".to_owned());
        }
        let wanted = roots.unwrap_or(connections.roots);
        if wanted != connections.roots || connections.made.elapsed() > CONNECTION_AGE_MAX {
            connections.agent = agent(wanted);
            connections.made = Instant::now();
            connections.roots = wanted;
        }
        Ok((connections.agent.clone(), wanted))
    }
}

impl Transport for Network {
    fn post(&self, post: &Post<'_>) -> Result<Answer, String> {
        let (agent, roots) = self.agent(None)?;
        match attempt(&agent, post) {
            // This is what the system's verifier says on a machine without any certificates: an empty container, a game
            // console. It says so before anything was sent.
            Err(reason) if roots == Roots::System && reason.contains("No CA certificates") => {
                attempt(&self.agent(Some(Roots::BuiltIn))?.0, post)
            }
            result => result,
        }
    }

    fn abort(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.aborted = true;
        connections.agent.clone().shutdown();
    }
}

fn agent(roots: Roots) -> Agent {
    let roots = match roots {
        Roots::System => RootCerts::PlatformVerifier,
        Roots::BuiltIn => RootCerts::WebPki,
    };
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("segment-native/", env!("CARGO_PKG_VERSION")))
        .max_idle_age(CONNECTION_IDLE_MAX)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .input_buffer_size(16 * 1024)
        .output_buffer_size(64 * 1024)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}

fn attempt(agent: &Agent, post: &Post<'_>) -> Result<Answer, String> {
    let mut request = agent.post(post.url).config().timeout_global(Some(post.timeout)).build();
    for (name, value) in post.headers {
        request = request.header(*name, value);
    }
    let mut response = request.send(post.body).map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let retry_after = header("retry-after");
    let html = header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let body = match read(response.body_mut()) {
        Ok(body) => body,
        // A status that is no success says all there is to know. A success must have arrived whole to be believed.
        Err(_) if !(200..300).contains(&status) => Vec::new(),
        Err(error) => return Err(format!("the answer could not be read: {error}")),
    };
    let html = html || body.trim_ascii_start().starts_with(b"<");
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok(Answer { status, retry_after, html, text })
}

fn read(body: &mut Body) -> Result<Vec<u8>, ureq::Error> {
    body.with_config().limit(ANSWER_MAX_BYTES).read_to_vec()
}
