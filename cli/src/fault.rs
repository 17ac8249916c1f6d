//! Faults that can be switched on, so that one sees how an app behaves in an outage.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::body::Received;
use crate::collector::Collector;
use crate::journal::Journal;
use crate::line::Scissors;
use crate::lock::lock;
use crate::note::{Note, Slowed};

/// Longer than this nobody waits, neither for an answer nor for us to recover.
const MAX_SECONDS: u32 = 3600;

/// What befalls requests.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Nothing.
    None,
    /// The answer is 500.
    Error,
    /// The answer is 429 with `Retry-After`.
    Limit,
    /// The request is read, and the connection is cut before the answer.
    Drop,
    /// The request is taken, and the answer comes late.
    Slow,
    /// The connection is cut before the request is read.
    Offline,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::None => "none",
            Kind::Error => "error",
            Kind::Limit => "limit",
            Kind::Drop => "drop",
            Kind::Slow => "slow",
            Kind::Offline => "offline",
        }
    }
}

/// A fault as it is switched on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    kind: Kind,
    /// `Retry-After` of 429, and how late a slow answer comes.
    #[serde(default)]
    seconds: u32,
    /// How many more requests it befalls; none if all.
    #[serde(default)]
    times: Option<u32>,
    /// How many it befell.
    #[serde(default, skip_deserializing)]
    hits: u64,
}

/// The switch.
pub(crate) struct Faults {
    now: Mutex<Fault>,
    journal: Arc<Journal>,
}

impl Faults {
    /// Nothing is switched on. Changes are told to those who watch the journal.
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Faults { now: Mutex::new(Fault { kind: Kind::None, seconds: 0, times: None, hits: 0 }), journal }
    }

    /// What is switched on.
    pub(crate) fn now(&self) -> Fault {
        lock(&self.now).clone()
    }

    /// Switches a fault on, or all off.
    pub(crate) fn switch(&self, fault: Fault) {
        let fault = Fault { seconds: fault.seconds.min(MAX_SECONDS), ..fault };
        *lock(&self.now) = fault;
        self.journal.tell();
    }

    /// What befalls the next request.
    fn strike(&self) -> Option<Fault> {
        let mut now = lock(&self.now);
        if now.kind == Kind::None {
            return None;
        }
        now.hits += 1;
        let fault = now.clone();
        if let Some(times) = &mut now.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                now.kind = Kind::None;
            }
        }
        drop(now);
        self.journal.tell();
        Some(fault)
    }
}

/// What the middleware needs.
#[derive(Clone)]
pub(crate) struct Outage {
    pub(crate) faults: Arc<Faults>,
    pub(crate) collector: Arc<Collector>,
}

/// Lets a request through, unless a fault befalls it.
pub(crate) async fn befall(State(outage): State<Outage>, mut request: Request, next: Next) -> Response {
    let Some(fault) = outage.faults.strike() else {
        return next.run(request).await;
    };
    match fault.kind {
        Kind::None => next.run(request).await,
        Kind::Slow => {
            request.extensions_mut().insert(Slowed(fault.kind.name()));
            let response = next.run(request).await;
            sleep(Duration::from_secs(fault.seconds.into())).await;
            response
        }
        Kind::Offline => {
            let scissors = scissors(&request);
            let mut note = Note::new(request.method(), request.uri(), request.headers());
            note.fault = Some(fault.kind.name());
            outage.collector.fail(&note, None, 0);
            cut(scissors)
        }
        Kind::Drop | Kind::Error | Kind::Limit => {
            let scissors = scissors(&request);
            let mut received = match Received::from_request(request, &()).await {
                Ok(received) => received,
                Err(never) => match never {},
            };
            received.note.fault = Some(fault.kind.name());
            let answer = match fault.kind {
                Kind::Error => Some(StatusCode::INTERNAL_SERVER_ERROR),
                Kind::Limit => Some(StatusCode::TOO_MANY_REQUESTS),
                _ => None,
            };
            let events = received.text.as_deref().map_or(0, events);
            outage.collector.fail(&received.note, answer.map(|status| status.as_u16()), events);
            answer.map_or_else(|| cut(scissors), |status| refusal(status, fault.seconds))
        }
    }
}

fn scissors(request: &Request) -> Option<Scissors> {
    request.extensions().get::<ConnectInfo<Scissors>>().map(|ConnectInfo(scissors)| scissors.clone())
}

/// The answer is never seen: the connection is cut when it is written.
fn cut(scissors: Option<Scissors>) -> Response {
    if let Some(scissors) = scissors {
        scissors.cut();
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn refusal(status: StatusCode, seconds: u32) -> Response {
    let body = json!({"code": "fault", "message": "a fault is switched on in segment inspect"}).to_string();
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response.headers_mut().insert("x-ratelimit-reset", seconds.into());
    }
    response
}

/// How many events a body holds.
fn events(body: &str) -> usize {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        batch: Option<Vec<&'a RawValue>>,
    }
    serde_json::from_str(body).map_or(0, |Batch { batch }| batch.map_or(1, |batch| batch.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_befalls_as_many_requests_as_it_was_told() {
        let faults = Faults::new(Arc::new(Journal::new(1, None).expect("a journal")));
        assert!(faults.strike().is_none());
        faults.switch(Fault { kind: Kind::Error, seconds: 0, times: Some(2), hits: 0 });
        assert!(faults.strike().is_some());
        assert!(faults.strike().is_some());
        assert!(faults.strike().is_none());
        assert_eq!(faults.now().hits, 2);
    }

    #[test]
    fn events_are_counted() {
        assert_eq!(events(r#"{"batch":[{},{}]}"#), 2);
        assert_eq!(events(r#"{"event":"E"}"#), 1);
        assert_eq!(events("?"), 0);
    }
}
