//! One HTTP exchange: what is asked, what comes back, and whoever can make it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::more::More;

/// More requests for messages are never under way at once.
pub(crate) const UPLOADS_MAX: usize = 64;

/// One HTTP request, to be made as it is.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'a str,
    /// Where to, complete.
    pub url: &'a str,
    /// All headers but those that follow from the rest: `Host`, `Content-Length`.
    pub headers: &'a [(String, String)],
    /// What to send; empty for none.
    pub body: &'a [u8],
    /// For everything: the name look-up, the connection, the body, the answer.
    pub timeout: Duration,
    /// An answer with a larger body is an error.
    pub answer_max_bytes: usize,
    /// A status that is no success says enough: its body may be missing.
    #[cfg_attr(not(feature = "http"), allow(dead_code))] // a host's transport is not told
    pub(crate) status_will_do: bool,
}

impl fmt::Debug for HttpRequest<'_> {
    /// Without headers and body: they hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What came back, whatever its status. Fields may be added: a literal ends with `..HttpResponse::default()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    #[doc(hidden)]
    pub _more: More,
}

impl HttpResponse {
    /// The value of a header, whose name may be written in any case; of several the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// The value of a header, by its name in any case.
pub(crate) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// HTTP by the host: makes one request, or says why there is no answer. It runs on the delivery thread and, for
/// [`Client::call`](crate::Client::call), on the caller's; possibly on both at once, and with
/// [`Config::uploads`](crate::Config::uploads) above 1 on so many threads. It follows no redirects.
pub type OnHttp = Box<dyn Fn(&HttpRequest<'_>) -> Result<HttpResponse, Error> + Send + Sync>;

/// Whatever can make a request.
pub(crate) trait Transport: Send + Sync {
    /// Makes one, or says in a sentence why there is no answer.
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error>;

    /// Breaks off what is under way, and everything after. For the end of a client whose time is up.
    fn abort(&self) {}

    /// Breaks off what is under way; what comes after works.
    fn interrupt(&self) {}

    /// How often that was.
    fn interruptions(&self) -> u64 {
        0
    }

    /// Makes a request that was decided on when there had been so many interruptions: one that came in between breaks
    /// it off.
    fn exchange_since(&self, request: &HttpRequest<'_>, _interruptions: u64) -> Result<HttpResponse, Error> {
        self.exchange(request)
    }
}

/// Sends nothing; everything is acknowledged.
pub(crate) struct DryRun;

impl Transport for DryRun {
    fn exchange(&self, _: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    }
}

/// HTTP by the host.
pub(crate) struct ByHost {
    transport: Arc<OnHttp>,
    /// Held while the host is at it, by however many, so that the end of a client can wait for it: nothing runs
    /// afterwards.
    ended: RwLock<bool>,
    interruptions: AtomicU64,
}

impl ByHost {
    pub(crate) fn new(transport: Arc<OnHttp>) -> Self {
        ByHost { transport, ended: RwLock::new(false), interruptions: AtomicU64::new(0) }
    }
}

impl Transport for ByHost {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        if *ended {
            return Err(Error::new(ErrorKind::Closed, "the client was ended"));
        }
        // Many take no time for time without end.
        if request.timeout < Duration::from_millis(1) {
            return Err(Error::new(ErrorKind::Timeout, "the time ran out before the request could be made"));
        }
        let response = (self.transport)(request)?;
        if !(100..=999).contains(&response.status) {
            let text = format!("transport gave the status {}, which is none", response.status);
            return Err(Error::new(ErrorKind::Network, text));
        }
        if response.body.len() > request.answer_max_bytes {
            let text = format!("the answer is larger than {} bytes", request.answer_max_bytes);
            return Err(Error::new(ErrorKind::Network, text));
        }
        Ok(response)
    }

    fn exchange_since(&self, request: &HttpRequest<'_>, interruptions: u64) -> Result<HttpResponse, Error> {
        if self.interruptions() != interruptions {
            return Err(Error::new(ErrorKind::Network, "the request was broken off"));
        }
        self.exchange(request)
    }

    /// What the host is doing cannot be broken off, but it does not begin any more.
    fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::SeqCst);
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::SeqCst)
    }

    /// What the host is doing cannot be broken off; it is waited for.
    fn abort(&self) {
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}
