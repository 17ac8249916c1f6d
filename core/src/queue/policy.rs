//! The policy of delivery: what an answer means, and when to do what. Pure: time, answers and chance come in as
//! arguments, so everything here is tested without a network and without waiting.
//!
//! The rules are those of Segment's newest SDKs (2026), see [`judge`]; beyond them, a batch that is refused as a whole
//! is taken apart until the message that spoils it is alone ([`Parts`]).
//!
//! Times are durations since the client began.

use std::ops::Range;
use std::time::Duration;

use crate::message::rules::MAX_BATCH_MESSAGES;
use crate::net::denied::TokenVerdict;
use crate::net::header::RETRY_AFTER_MAX;

/// The first wait after a failure; each further one is twice as long.
pub(crate) const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Chance changes a wait by up to this fraction, so that clients do not come back all at once after an outage.
pub(crate) const JITTER: f64 = 0.1;
/// Messages in memory are given up when they have failed for this long, however often they were tried.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(12 * 3600);
/// After this many failures in a row a restart goes on with their back-off. Fewer are not worth remembering.
pub(crate) const SAVED_FAILURES: u32 = 3;
/// How many batches may be under way at once, unless the settings say how many.
pub(crate) const UPLOADS_AUTOMATIC_MAX: u32 = 16;
/// A flush cuts the wait after a failure short, but not more often than this.
pub(crate) const HURRY_INTERVAL: Duration = Duration::from_millis(500);
/// After this many messages refused one by one and none accepted, the rest of their chunk is given up too.
pub(crate) const REFUSALS_MAX: u32 = 32;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was an answer.
    Answer {
        /// Its HTTP status.
        status: u16,
        /// The pause that its `Retry-After` demands, if it has one that can be read.
        retry_after: Option<Duration>,
        /// Whether it is a web page: then it is not Segment's, but a captive portal's or a gateway's.
        html: bool,
    },
    /// There was none, or none that could be read.
    Unreached,
    /// No request was made, for want of a token or of memory. It counts as a failure, unless the authorization server
    /// demands a pause.
    NoToken(TokenVerdict),
}

impl Outcome {
    /// Whether there was a request for the messages.
    pub(crate) fn was_made(self) -> bool {
        !matches!(self, Outcome::NoToken(_))
    }

    /// The status of the answer, if there was one.
    fn http_status(self) -> Option<u16> {
        match self {
            Outcome::Answer { status, .. } => Some(status),
            Outcome::Unreached | Outcome::NoToken(_) => None,
        }
    }
}

/// What an outcome means for the messages of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Segment has them.
    Delivered,
    /// Try again after a growing wait; it counts against the limit.
    Retry,
    /// Try again after this pause, in which nothing at all is sent; it does not count against the limit.
    Pause(Duration),
    /// Segment will not take them.
    Refused,
    /// Segment will not take the request; one message may be the cause.
    Spoilt,
}

/// What an outcome means. The newest SDKs agree on all statuses but 3xx, where we take the stricter reading: a redirect
/// is not a delivery, and it is never followed, because the body holds the write key.
pub(crate) fn judge(outcome: Outcome, limits: Limits) -> Verdict {
    let oauth = limits.oauth;
    let (status, retry_after, html) = match outcome {
        Outcome::Answer { status, retry_after, html } => (status, retry_after, html),
        Outcome::NoToken(TokenVerdict::Wait(pause)) => return Verdict::Pause(pause),
        // With a spool, the messages wait there until the settings are corrected.
        Outcome::NoToken(TokenVerdict::Unrecoverable) if !limits.spooled => return Verdict::Refused,
        Outcome::NoToken(_) | Outcome::Unreached => return Verdict::Retry,
    };
    match status {
        413 => Verdict::Spoilt,
        // A web page in place of an answer comes from something in between, not from Segment: a login page, a gateway
        // that is being set up, a filter. It says nothing about the messages, and goes away.
        _ if html => retry_after.map_or(Verdict::Retry, Verdict::Pause),
        200..=299 => Verdict::Delivered,
        400 => Verdict::Spoilt,
        501 | 505 => Verdict::Refused,
        511 if !oauth => Verdict::Refused,
        // Statuses below 200 go away too.
        100..=199 | 408 | 410 | 429 | 460 | 500..=599 => retry_after.map_or(Verdict::Retry, Verdict::Pause),
        _ => Verdict::Refused,
    }
}

/// The wait after this many failures in a row. `chance` is a random number from 0 to 1.
pub(crate) fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = BACKOFF_BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    let jittered = doubled.mul_f64(1.0 + JITTER * chance);
    // At the limit chance shortens the wait: it must neither exceed the limit nor be the same for all clients.
    if jittered > BACKOFF_MAX { BACKOFF_MAX.mul_f64(1.0 - JITTER * chance) } else { jittered }
}

/// How often and how long messages are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Counted attempts after the first.
    pub retry_max: u32,
    /// Whether the messages are on the disk: then neither count nor time ends the attempts.
    pub spooled: bool,
    /// Whether OAuth is in use: then 511 asks for a new token.
    pub oauth: bool,
}

/// Some messages of a chunk that travel in one request, and the history of their attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which messages of the chunk.
    pub messages: Range<usize>,
    /// How many requests were made for them.
    pub attempts: u32,
    /// The HTTP status that answered the last of these, if there was an answer.
    pub http_status: Option<u16>,
    /// How many of these failed in a way that counts against the limit.
    failures: u32,
    first_failure: Option<Duration>,
}

impl Part {
    fn new(messages: Range<usize>) -> Self {
        Part { messages, attempts: 0, http_status: None, failures: 0, first_failure: None }
    }

    /// The value of `X-Retry-Count`: absent at first, then how many requests were made before.
    pub(crate) fn retry_count(&self) -> Option<u32> {
        Some(self.attempts).filter(|attempts| *attempts > 0)
    }

    /// Whether the messages may be tried again at `next`.
    fn goes_on(&self, limits: Limits, next: Duration) -> bool {
        if limits.spooled {
            return true;
        }
        let since = self.first_failure.unwrap_or(next);
        limits.retry_max > 0 && self.failures <= limits.retry_max && next.saturating_sub(since) <= GIVE_UP_AFTER
    }
}

/// What is left of a chunk: one part with all its messages at first, later the parts that bisecting made.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    parts: Vec<Part>,
    refusals: u32,
    accepted: bool,
}

impl Parts {
    /// All messages of a chunk, to travel in one request.
    pub(crate) fn new(messages: usize) -> Self {
        Parts { parts: vec![Part::new(0..messages)], refusals: 0, accepted: false }
    }

    /// Messages of these sizes, to travel in as few requests as the limits allow: a chunk that was found may hold more
    /// than one of ours.
    pub(crate) fn of_sizes(sizes: impl Iterator<Item = usize>, room: usize) -> Self {
        let mut parts = Vec::new();
        let (mut start, mut end, mut bytes) = (0, 0, 0);
        for size in sizes {
            if end > start && (bytes + size > room || end - start >= MAX_BATCH_MESSAGES) {
                parts.push(Part::new(start..end));
                (start, bytes) = (end, 0);
            }
            end += 1;
            bytes += size;
        }
        if end > start {
            parts.push(Part::new(start..end));
        }
        parts.reverse();
        Parts { parts, refusals: 0, accepted: false }
    }

    /// How many messages are left.
    pub(crate) fn messages(&self) -> usize {
        self.parts.iter().map(|part| part.messages.len()).sum()
    }

    /// Whether the current part has failed so often that others should have their turn.
    pub(crate) fn is_stuck(&self, limits: Limits) -> bool {
        self.current().is_some_and(|part| part.failures > limits.retry_max)
    }

    /// Begins the next turn: failures are counted from zero again.
    pub(crate) fn next_turn(&mut self) {
        self.parts.iter_mut().for_each(|part| part.failures = 0);
    }

    /// Whether the current part is one message.
    fn is_single(&self) -> bool {
        self.current().is_some_and(|part| part.messages.len() == 1)
    }

    /// The part to send next.
    pub(crate) fn current(&self) -> Option<&Part> {
        self.parts.last()
    }

    /// Everything that is left.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Takes out everything that is left.
    pub(crate) fn take_all(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    fn settle(&mut self) -> Vec<Part> {
        self.parts.pop().into_iter().collect()
    }

    /// Replaces the current part by its halves; the first comes next.
    fn split(&mut self) {
        if let Some(Part { messages: Range { start, end }, .. }) = self.parts.pop() {
            let middle = start + (end - start) / 2;
            self.parts.push(Part::new(middle..end));
            self.parts.push(Part::new(start..middle));
        }
    }

    /// Takes out the one message that is refused. As long as none was accepted, the largest part that is left comes
    /// next: that finds an acceptable message soonest, if there is one.
    fn refuse(&mut self) -> Vec<Part> {
        let refused = self.settle();
        self.refusals += 1;
        if !self.accepted {
            if self.refusals >= REFUSALS_MAX {
                return refused.into_iter().chain(self.take_all()).collect();
            }
            self.parts.sort_by_key(|part| part.messages.len());
        }
        refused
    }
}

/// What has become of messages after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing yet: they are tried again.
    Nothing,
    /// These were delivered.
    Delivered(Vec<Part>),
    /// These are given up.
    Failed(Vec<Part>),
}

/// How many requests may be under way at once.
#[derive(Debug, Clone, Copy)]
struct Width {
    /// How many there may be while the server works.
    allowed: u32,
    /// The largest number there may ever be.
    max: u32,
    /// It begins with one and grows; otherwise the settings say how many.
    is_automatic: bool,
    /// Acknowledged since it grew last.
    acknowledged: u32,
    /// It is not known whether the server works: one request is to find out.
    probes: bool,
}

/// The pace of the whole client: when the next requests may be made, and how many.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    failures: u32,
    retry_at: Duration,
    paused_until: Duration,
    width: Width,
    /// How often it slowed down. Several requests may fail for the same reason: one that began before the last time
    /// says nothing new about the server.
    epoch: u64,
    /// When a wait was cut short last.
    hurried: Option<Duration>,
}

impl Pace {
    /// For this many requests at once; 0: as many as it takes.
    pub(crate) fn new(uploads: u32) -> Pace {
        let is_automatic = uploads == 0;
        let max = if is_automatic { UPLOADS_AUTOMATIC_MAX } else { uploads };
        let allowed = if is_automatic { 1 } else { uploads };
        let width = Width { allowed, max, is_automatic, acknowledged: 0, probes: true };
        let never = Duration::ZERO;
        Pace { failures: 0, retry_at: never, paused_until: never, width, epoch: 0, hurried: None }
    }

    /// The epoch to which a request that begins now belongs.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many requests may be under way.
    pub(crate) fn width(&self) -> u32 {
        if self.width.probes { 1 } else { self.width.allowed }
    }

    /// Processes what came of the request for the current part of `parts`, which began in this `epoch`.
    pub(crate) fn settle(
        &mut self,
        parts: &mut Parts,
        outcome: Outcome,
        epoch: u64,
        limits: Limits,
        now: Duration,
        chance: f64,
    ) -> Settled {
        let verdict = match (judge(outcome, limits), outcome) {
            // It cannot be made smaller, and the limit may be that of something in between, not Segment's.
            (Verdict::Spoilt, Outcome::Answer { html: true, .. }) if parts.is_single() => Verdict::Retry,
            (verdict, _) => verdict,
        };
        let is_news = epoch == self.epoch;
        let Some(part) = parts.parts.last_mut() else { return Settled::Nothing };
        if outcome.was_made() {
            part.attempts += 1;
            part.http_status = outcome.http_status();
        }
        let next = match verdict {
            Verdict::Delivered => {
                if is_news {
                    self.answered();
                    self.paused_until = Duration::ZERO;
                    self.width.acknowledged += 1;
                }
                parts.accepted = true;
                return Settled::Delivered(parts.settle());
            }
            Verdict::Refused => {
                if is_news {
                    self.answered();
                }
                return Settled::Failed(parts.settle());
            }
            Verdict::Spoilt => {
                if is_news {
                    self.answered();
                }
                if part.messages.len() == 1 {
                    return Settled::Failed(parts.refuse());
                }
                parts.split();
                return Settled::Nothing;
            }
            Verdict::Pause(pause) => {
                if is_news {
                    self.paused_until = now + pause;
                    self.slow_down(self.width.allowed / 2);
                } else {
                    self.paused_until = self.paused_until.max(now + pause);
                }
                self.paused_until
            }
            Verdict::Retry => {
                part.failures += 1;
                if is_news {
                    self.failures = self.failures.saturating_add(1);
                    self.retry_at = now + backoff(self.failures, chance);
                    self.slow_down(1);
                }
                self.retry_at.max(now)
            }
        };
        part.first_failure.get_or_insert(now);
        if part.goes_on(limits, next) { Settled::Nothing } else { Settled::Failed(parts.settle()) }
    }

    /// Allows more requests at once, when as many as are allowed were acknowledged and more waits than one carries.
    pub(crate) fn widen(&mut self, more_waits: bool) {
        let Width { allowed, max, is_automatic, acknowledged, .. } = self.width;
        if is_automatic && acknowledged >= allowed {
            self.width.acknowledged = 0;
            if more_waits {
                self.width.allowed = allowed.saturating_mul(2).min(max);
            }
        }
    }

    /// The server does not do well: requests under way say nothing more about it, and the next one goes alone.
    fn slow_down(&mut self, allowed: u32) {
        self.epoch += 1;
        self.width.probes = true;
        self.width.acknowledged = 0;
        if self.width.is_automatic {
            self.width.allowed = allowed.max(1);
        }
    }

    /// When the next request may be made, if not now.
    pub(crate) fn wait(&self, now: Duration) -> Option<Duration> {
        Some(self.retry_at.max(self.paused_until)).filter(|until| *until > now)
    }

    /// What a restart must know, in milliseconds since 1970: a program that crashes and starts again and again must not
    /// hammer the server. None if there is nothing to wait for, or only a wait after the first failures.
    pub(crate) fn save(&self, now: Duration, now_ms: i64) -> Option<SavedPace> {
        let at = |time: Duration| now_ms.saturating_add(time.saturating_sub(now).as_millis() as i64);
        let worth = self.paused_until > now || self.failures >= SAVED_FAILURES;
        self.wait(now).filter(|_| worth)?;
        let (retry_at_ms, paused_until_ms) = (at(self.retry_at), at(self.paused_until));
        Some(SavedPace { failures: self.failures, retry_at_ms, paused_until_ms })
    }

    /// Whether the clock was wrong when this was saved, or is now: no wait of ours is so long.
    pub(crate) fn is_beyond_limits(saved: SavedPace, now_ms: i64) -> bool {
        let ahead = |ms: i64| Duration::from_millis(u64::try_from(ms.saturating_sub(now_ms)).unwrap_or(0));
        ahead(saved.retry_at_ms) > BACKOFF_MAX || ahead(saved.paused_until_ms) > RETRY_AFTER_MAX
    }

    /// Goes on where an earlier process left off. A clock that was set meanwhile cannot lengthen a wait beyond its
    /// limit.
    pub(crate) fn restore(self, saved: SavedPace, now: Duration, now_ms: i64) -> Pace {
        let until = |ms: i64, max: Duration| {
            let ahead = u64::try_from(ms.saturating_sub(now_ms)).unwrap_or(0);
            now + Duration::from_millis(ahead).min(max)
        };
        Pace {
            failures: saved.failures,
            retry_at: until(saved.retry_at_ms, BACKOFF_MAX),
            paused_until: until(saved.paused_until_ms, RETRY_AFTER_MAX),
            ..self
        }
    }

    /// A caller waits: cuts a wait of our own short, but not a pause that the server demanded. Callers that flush again
    /// and again do not make as many requests.
    pub(crate) fn hurry(&mut self, now: Duration) {
        let soon = self.hurried.map_or(now, |hurried| now.max(hurried + HURRY_INTERVAL));
        if soon < self.retry_at {
            self.retry_at = soon;
            self.hurried = Some(soon);
        }
    }

    /// The client ends: cuts a wait of our own short, however often that was done before.
    pub(crate) fn last_chance(&mut self) {
        self.retry_at = Duration::ZERO;
    }

    /// When the pause that the server demanded ends, if there is one.
    pub(crate) fn paused_until(&self, now: Duration) -> Option<Duration> {
        Some(self.paused_until).filter(|until| *until > now)
    }

    /// The server works: it gave an answer after which there is no need to wait.
    fn answered(&mut self) {
        self.failures = 0;
        self.retry_at = Duration::ZERO;
        self.width.probes = false;
    }
}

/// A pace that outlives its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavedPace {
    pub(crate) failures: u32,
    pub(crate) retry_at_ms: i64,
    pub(crate) paused_until_ms: i64,
}

/// What waits to be sent, and what is under way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    /// How many requests are under way.
    pub under_way: u32,
    /// These carry as many bytes as may be under way at once.
    pub is_enough: bool,
    /// There is a sealed chunk that is in no request.
    pub sealed: bool,
    /// How many messages are in the active chunk.
    pub active: u32,
    /// When the oldest of them was accepted.
    pub since: Duration,
    /// A caller waits for the active chunk to be sent.
    pub flush: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a request.
    Send,
    /// Wait until then, or until enough messages have come together.
    Gather(Duration),
    /// Wait until then, however many messages come.
    Wait(Duration),
    /// Wait until a request that is under way was answered.
    Await,
    /// The same, or until a chunk is full.
    AwaitOrFill,
    /// There is nothing to send.
    Idle,
}

/// What to do next, and when.
pub(crate) fn next(pace: &Pace, waiting: Waiting, flush_at: u32, flush_interval: Duration, now: Duration) -> Step {
    if !waiting.sealed && waiting.active == 0 {
        return Step::Idle;
    }
    if let Some(until) = pace.wait(now) {
        return Step::Wait(until);
    }
    if waiting.under_way > 0 {
        // While another request is under way only full chunks are sent: otherwise there would be many small requests.
        return match (waiting.under_way >= pace.width() || waiting.is_enough, waiting.sealed) {
            (true, _) => Step::Await,
            (false, true) => Step::Send,
            (false, false) => Step::AwaitOrFill,
        };
    }
    let due = waiting.since + flush_interval;
    if waiting.sealed || waiting.flush || waiting.active >= flush_at || due <= now {
        return Step::Send;
    }
    Step::Gather(due)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
