//! OAuth 2.0 for the Tracking API: an assertion signed with the client's key is exchanged for a token, which goes into
//! `Authorization`. When half of its life is over, a new one is requested, while the old one still serves.
//!
//! What an answer means ([`judge`]), what time it is for the server ([`skew`]) and what to do next ([`State`]) is pure:
//! times come in as arguments.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::error::{Error, ErrorKind};
use crate::base::more::More;
use crate::base::{id, time};
use crate::json::scan;
use crate::net::denied::{Denied, TokenVerdict};
use crate::net::endpoint;
use crate::net::header::parse_retry_after;
use crate::net::jwt::{Claims, Key};
use crate::net::transport::{HttpRequest, HttpResponse, Transport};

/// What a token allows by default.
const SCOPE: &str = "tracking_api:write";

/// No more than this is read of an answer.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// The pause after "too many requests", if the answer names none. Zero does not count as a pause, or the client would
/// ask again at once, forever.
const PAUSE: Duration = Duration::from_secs(5);
/// While the old token serves, no caller waits longer than this for a new one.
const RENEWAL_MAX: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to renew a token that still serves.
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A token is not used in its last moments: it could expire on the way.
const LAST_MOMENTS_MAX: Duration = Duration::from_secs(30);
/// No token is taken to live longer.
const LIFE_MAX: Duration = Duration::from_secs(365 * 86_400);
/// A clock that is off by no more counts as right: an assertion allows for more than this.
const SKEW_MAX_MS: u64 = 3_000;

/// OAuth 2.0 instead of Basic authentication, for a source that demands it.
///
/// ```
/// use segment_native::OAuth;
///
/// let private_key = "-----BEGIN PRIVATE KEY-----\n...";
/// let oauth = OAuth { scope: "tracking_api:write".into(), ..OAuth::new("CLIENT_ID", "KEY_ID", private_key) };
/// ```
#[derive(Clone)]
pub struct OAuth {
    /// The id of the OAuth application, as Segment shows it.
    pub client_id: String,
    /// The id of the key, as Segment shows it where its public half was uploaded.
    pub key_id: String,
    /// The private key: RSA of 2048 to 4096 bits in PEM, PKCS#8 or PKCS#1, not encrypted.
    pub private_key: String,
    /// What the token allows; `tracking_api:write` by default.
    pub scope: String,
    /// The token server. Empty: Segment's, in the region of the client's endpoint.
    pub endpoint: String,
    #[doc(hidden)]
    pub _more: More,
}

impl OAuth {
    /// The defaults for this application and key.
    pub fn new(client_id: impl Into<String>, key_id: impl Into<String>, private_key: impl Into<String>) -> Self {
        OAuth {
            client_id: client_id.into(),
            key_id: key_id.into(),
            private_key: private_key.into(),
            scope: SCOPE.to_owned(),
            endpoint: String::new(),
            _more: More::default(),
        }
    }
}

impl fmt::Debug for OAuth {
    /// Without the private key, which has no business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("client_id", &self.client_id)
            .field("key_id", &self.key_id)
            .field("scope", &self.scope)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What signs requests for tokens: the checked settings and the parsed key.
pub(crate) struct Signer {
    client_id: String,
    key_id: String,
    scope: String,
    key: Key,
}

impl Signer {
    pub(crate) fn new(oauth: &OAuth) -> Result<Self, Error> {
        let OAuth { client_id, key_id, private_key, scope, .. } = oauth;
        for (name, value) in
            [("client_id", client_id), ("key_id", key_id), ("private_key", private_key), ("scope", scope)]
        {
            if value.trim().is_empty() {
                return Err(Error::invalid(format!("oauth: {name} must not be empty")));
            }
        }
        // A line end that was read from a file along with a value would otherwise be noticed only when the server
        // refuses everything.
        for (name, value) in [("client_id", client_id), ("key_id", key_id), ("scope", scope)] {
            if value.trim().len() != value.len() || value.contains(char::is_control) {
                return Err(Error::invalid(format!("oauth: {name} must not hold line ends or spaces around it")));
            }
        }
        let key = Key::from_pem(private_key).map_err(|e| Error::invalid(format!("oauth: private_key {e}")))?;
        Ok(Signer { client_id: client_id.clone(), key_id: key_id.clone(), scope: scope.clone(), key })
    }

    /// The body of a request for a token; `now_ms` is the time by the clock of `server`.
    fn form(&self, server: &str, now_ms: i64) -> Result<String, Error> {
        let id = id::new();
        let claims = Claims {
            key_id: &self.key_id,
            client_id: &self.client_id,
            audience: server,
            id: std::str::from_utf8(&id).unwrap_or_default(),
            now: now_ms.div_euclid(1000),
        };
        let mut form = String::new();
        for (name, value) in [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &claims.sign(&self.key)?),
            ("scope", &self.scope),
        ] {
            form.push_str(if form.is_empty() { "" } else { "&" });
            form.push_str(name);
            form.push('=');
            endpoint::escape_value(value, &mut form);
        }
        Ok(form)
    }
}

impl Denied {
    fn by_answer(answer: &HttpResponse, verdict: TokenVerdict, why: &str) -> Self {
        let colon = if why.is_empty() { "" } else { ": " };
        let sentence = format!("the token server answered with status {}{colon}{why}", answer.status);
        Denied { error: Error::new(ErrorKind::Rejected, sentence), http_status: Some(answer.status), verdict }
    }

    fn unreached(error: &Error) -> Self {
        let kind = if error.kind() == ErrorKind::Timeout { ErrorKind::Timeout } else { ErrorKind::Network };
        let error = Error::new(kind, format!("the token server could not be reached: {error}"));
        Denied { error, http_status: None, verdict: TokenVerdict::Retry }
    }

    fn late() -> Self {
        let error = Error::new(ErrorKind::Timeout, "the token server did not answer in time");
        Denied { error, http_status: None, verdict: TokenVerdict::Retry }
    }

    fn held(rest: Duration) -> Self {
        let error = Error::new(ErrorKind::Rejected, "the token server asked for a pause that is not over yet");
        Denied { error, http_status: Some(429), verdict: TokenVerdict::Wait(rest) }
    }
}

/// The result of one request for a token.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Granted(Granted),
    /// Denied because of the time in the request; with a corrected clock it may be granted.
    Untimely(Denied),
    /// Denied, but a second attempt may be granted.
    Passing(Denied),
    Denied(Denied),
}

#[derive(PartialEq, Eq)]
struct Granted {
    access_token: String,
    life: Duration,
}

impl fmt::Debug for Granted {
    /// Without the token, which has no business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What an answer means. `corrected` says that its date has shown our clock to be off; `now_ms` is the time by the
/// server's.
fn judge(answer: &HttpResponse, corrected: bool, now_ms: i64) -> Meaning {
    let denied = |verdict| Denied::by_answer(answer, verdict, &said(&answer.body));
    match answer.status {
        200..=299 => match read(&answer.body) {
            Ok(granted) => Meaning::Granted(granted),
            Err(flaw) => Meaning::Denied(Denied::by_answer(answer, TokenVerdict::Retry, flaw)),
        },
        400 | 401 if corrected || blames_time(&answer.body) => Meaning::Untimely(denied(TokenVerdict::Unrecoverable)),
        400 | 401 | 415 => Meaning::Denied(denied(TokenVerdict::Unrecoverable)),
        429 => {
            let pause = ["retry-after", "x-ratelimit-reset"]
                .into_iter()
                .find_map(|name| parse_retry_after(answer.header(name)?, now_ms));
            Meaning::Denied(denied(TokenVerdict::Wait(pause.unwrap_or(PAUSE))))
        }
        500..=599 => Meaning::Passing(denied(TokenVerdict::Retry)),
        _ => Meaning::Denied(denied(TokenVerdict::Retry)),
    }
}

/// Reads the answer that grants a token.
fn read(body: &[u8]) -> Result<Granted, &'static str> {
    let mut object = Vec::new();
    let is_object = std::str::from_utf8(body).is_ok_and(|text| scan::compact_object(text, &mut object).is_ok());
    if !is_object {
        return Err("it is not a JSON object");
    }
    let access_token = scan::text_member(&object, "access_token").filter(|token| !token.is_empty());
    let access_token = access_token.ok_or("it holds no access_token")?;
    if !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its access_token cannot be sent in a header");
    }
    let seconds =
        scan::member(&object, "expires_in").and_then(|number| std::str::from_utf8(number).ok()?.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| *seconds > 0.0).ok_or("it holds no expires_in")?;
    Ok(Granted { access_token, life: Duration::from_secs_f64(seconds.min(LIFE_MAX.as_secs_f64())) })
}

/// What an answer says in words.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut object = Vec::new();
    let said = if scan::compact_object(&text, &mut object).is_ok() {
        let members = ["error", "error_description", "message"].into_iter();
        members.filter_map(|name| scan::text_member(&object, name)).collect::<Vec<_>>().join(": ")
    } else {
        text.into_owned()
    };
    // Every assertion begins like this: an answer that repeats ours must not be logged.
    if said.contains("eyJ") {
        return String::new();
    }
    said.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn blames_time(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    text.contains("token is expired") || text.contains("token used before issued")
}

/// By how many milliseconds our clock is ahead of the server's, which wrote `date`, in whole seconds, some time between
/// `sent` and `received`. What was `believed` stays if it can be true: a slow answer does not mean a wrong clock.
/// Otherwise the server is taken to have written the date at the last moment, so that our time is too early rather than
/// too late, which an assertion allows for.
fn skew(believed: i64, sent: i64, received: i64, date: i64) -> i64 {
    let least = sent.saturating_sub(date).saturating_sub(1_000);
    let most = received.saturating_sub(date);
    if (least..=most).contains(&believed) { believed } else { most }
}

/// A time by two clocks. The first never goes back, but may stand still while the machine sleeps; the second can be
/// set.
#[derive(Debug, Clone, Copy)]
struct Moment {
    since_began: Duration,
    wall_ms: i64,
}

struct Token {
    /// The value of `Authorization`.
    value: String,
    /// When it was asked for.
    asked: Moment,
    /// The age at which it is renewed.
    renewed_at: Duration,
    /// The age up to which it serves.
    serves_until: Duration,
    /// The pause after a failed attempt to renew it.
    pause: Duration,
}

impl Token {
    fn new(granted: &Granted, asked: Moment) -> Self {
        let life = granted.life;
        Token {
            value: format!("Bearer {}", granted.access_token),
            asked,
            renewed_at: life / 2,
            serves_until: life - (life / 10).min(LAST_MOMENTS_MAX),
            pause: (life / 16).min(RENEWAL_PAUSE_MAX),
        }
    }

    /// By whichever clock it is older, because an expired token must not be used.
    fn age(&self, now: Moment) -> Duration {
        let by_wall = u64::try_from(now.wall_ms.saturating_sub(self.asked.wall_ms)).unwrap_or(0);
        now.since_began.saturating_sub(self.asked.since_began).max(Duration::from_millis(by_wall))
    }
}

/// What is known about tokens, and what is under way.
#[derive(Default)]
struct State {
    token: Option<Token>,
    /// A thread is asking for a token.
    asking: bool,
    /// How often a thread has asked.
    rounds: u64,
    /// Why the last thread that asked got none.
    denied: Option<Denied>,
    /// No token is requested before this.
    held_until: Duration,
    /// By how many milliseconds our clock is ahead of the server's.
    skew_ms: i64,
    /// Why the token could not be renewed, until it is reported.
    trouble: Option<Error>,
}

/// What a caller that needs a token does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Use this one.
    Use(String),
    /// Ask for a new one, with the old one to fall back on.
    Renew,
    /// Ask for one.
    Ask,
    /// Wait for the thread that asks.
    Await,
    /// Try again after this pause.
    Held(Duration),
}

impl State {
    fn next(&self, now: Moment) -> Next {
        let rest = self.held_until.saturating_sub(now.since_began);
        match &self.token {
            Some(token) if token.age(now) < token.serves_until => {
                let due = token.age(now) >= token.renewed_at;
                if due && !self.asking && rest.is_zero() { Next::Renew } else { Next::Use(token.value.clone()) }
            }
            _ if !rest.is_zero() => Next::Held(rest),
            _ if self.asking => Next::Await,
            _ => Next::Ask,
        }
    }

    fn begin(&mut self) {
        self.asking = true;
        self.denied = None;
    }

    /// Takes in the result of asking. A token that could not be renewed still serves, and is not renewed for a while.
    fn settle(&mut self, asked: Moment, result: Result<Granted, Denied>, now: Moment) -> Result<String, Denied> {
        match result {
            Ok(granted) => {
                let token = Token::new(&granted, asked);
                let value = token.value.clone();
                self.token = Some(token);
                self.trouble = None;
                Ok(value)
            }
            Err(denied) => {
                if let TokenVerdict::Wait(pause) = denied.verdict {
                    self.held_until = now.since_began + pause;
                }
                if let Some(token) = &mut self.token {
                    token.renewed_at = token.age(now) + token.pause;
                    self.trouble = Some(denied.error.clone());
                }
                self.denied = Some(denied.clone());
                Err(denied)
            }
        }
    }
}

/// The tokens of one client in one process. No token is requested before it is needed, and only one at a time.
pub(crate) struct Tokens {
    signer: Arc<Signer>,
    /// The server's URL without a slash at its end, as an assertion names it.
    server: String,
    began: Instant,
    state: Mutex<State>,
    settled: Condvar,
}

impl Tokens {
    pub(crate) fn new(signer: Arc<Signer>, server: &str) -> Self {
        let server = server.trim_end_matches('/').to_owned();
        Tokens { signer, server, began: Instant::now(), state: Mutex::default(), settled: Condvar::new() }
    }

    /// The value of `Authorization`, within `timeout`.
    pub(crate) fn authorization(&self, transport: &dyn Transport, timeout: Duration) -> Result<String, Denied> {
        let start = Instant::now();
        let left = || timeout.saturating_sub(start.elapsed());
        let mut state = self.lock();
        loop {
            match state.next(self.now()) {
                Next::Use(value) => return Ok(value),
                Next::Held(rest) => return Err(Denied::held(rest)),
                Next::Ask => {
                    state.begin();
                    drop(state);
                    return self.ask(transport, left());
                }
                Next::Renew => {
                    state.begin();
                    drop(state);
                    if let Ok(value) = self.ask(transport, left().min(RENEWAL_MAX)) {
                        return Ok(value);
                    }
                    state = self.lock();
                }
                Next::Await => {
                    let round = state.rounds;
                    let others = self.settled.wait_timeout_while(state, left(), |state| state.rounds == round);
                    state = others.unwrap_or_else(PoisonError::into_inner).0;
                    if state.rounds == round {
                        return Err(Denied::late());
                    }
                    // The answer to the other thread counts for this one too, unless that one ran out of time.
                    if let Some(denied) = state.denied.as_ref().filter(|d| d.error.kind() != ErrorKind::Timeout) {
                        return Err(denied.clone());
                    }
                }
            }
        }
    }

    /// Segment refused `used`, which came from [`authorization`](Tokens::authorization): the next one will be new. A
    /// token that has arrived in the meantime stays.
    pub(crate) fn drop_token(&self, used: &str) {
        let mut state = self.lock();
        if state.token.as_ref().is_some_and(|token| token.value == used) {
            state.token = None;
        }
    }

    /// Why the token could not be renewed, returned once: the old one still serves, but the log should say so before it
    /// expires.
    pub(crate) fn take_trouble(&self) -> Option<Error> {
        self.lock().trouble.take()
    }

    /// Asks for a token, after [`State::begin`].
    fn ask(&self, transport: &dyn Transport, timeout: Duration) -> Result<String, Denied> {
        let asking = Asking(self);
        let (asked, result) = self.attempts(transport, timeout);
        let settled = self.lock().settle(asked, result, self.now());
        drop(asking);
        settled
    }

    /// At most three attempts: one more after a failure that may pass, one more with a corrected clock. Returns when
    /// the token was requested, and the result.
    fn attempts(&self, transport: &dyn Transport, timeout: Duration) -> (Moment, Result<Granted, Denied>) {
        let start = Instant::now();
        let (mut again, mut corrected) = (false, false);
        let mut last = None;
        loop {
            let asked = self.now();
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                let denied = last.unwrap_or_else(Denied::late);
                // Whatever the reason was, the next attempt might have succeeded.
                return (asked, Err(Denied { verdict: TokenVerdict::Retry, ..denied }));
            }
            let (tried, denied) = match self.attempt(transport, left) {
                Meaning::Granted(granted) => return (asked, Ok(granted)),
                Meaning::Denied(denied) => return (asked, Err(denied)),
                Meaning::Passing(denied) => (&mut again, denied),
                Meaning::Untimely(denied) => (&mut corrected, denied),
            };
            if std::mem::replace(tried, true) {
                return (asked, Err(denied));
            }
            last = Some(denied);
        }
    }

    fn attempt(&self, transport: &dyn Transport, timeout: Duration) -> Meaning {
        let sent = time::now_ms();
        let believed = self.lock().skew_ms;
        let form = match self.signer.form(&self.server, sent.saturating_sub(believed)) {
            Ok(form) => form,
            Err(error) => {
                return Meaning::Denied(Denied { error, http_status: None, verdict: TokenVerdict::Retry });
            }
        };
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", "application/json"),
            ("User-Agent", concat!("segment-native/", env!("CARGO_PKG_VERSION"))),
        ];
        let answer = transport.exchange(&HttpRequest {
            status_will_do: false,
            method: "POST",
            url: &format!("{}/token", self.server),
            headers: &headers.map(|(name, value)| (name.to_owned(), value.to_owned())),
            body: form.as_bytes(),
            timeout,
            answer_max_bytes: ANSWER_MAX_BYTES,
        });
        let received = time::now_ms();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Meaning::Passing(Denied::unreached(&error)),
        };
        let date = answer.header("date").and_then(time::parse_http_date);
        let skew = date.map_or(believed, |date| skew(believed, sent, received, date));
        self.lock().skew_ms = skew;
        judge(&answer, skew.abs_diff(believed) > SKEW_MAX_MS, received.saturating_sub(skew))
    }

    fn now(&self) -> Moment {
        Moment { since_began: self.began.elapsed(), wall_ms: time::now_ms() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exists while a thread asks. When it is dropped, even by a panic, the threads that wait go on.
struct Asking<'a>(&'a Tokens);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.asking = false;
        state.rounds += 1;
        drop(state);
        self.0.settled.notify_all();
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
