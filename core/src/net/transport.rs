//! One HTTP exchange: the request, the response, and what can make it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::base::more::More;

/// The most requests with messages that are under way at once.
pub(crate) const UPLOADS_MAX: usize = 64;

/// One HTTP request, to be made as it is.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'a str,
    /// The complete URL.
    pub url: &'a str,
    /// All headers but those that follow from the rest: `Host`, `Content-Length`.
    pub headers: &'a [(String, String)],
    /// What to send; empty for none.
    pub body: &'a [u8],
    /// The limit for everything: the name look-up, the connection, the body, the answer.
    pub timeout: Duration,
    /// An answer with a larger body is an error.
    pub answer_max_bytes: usize,
    /// If the status is not a success, it is enough, and the body may be missing.
    #[cfg_attr(not(feature = "http"), allow(dead_code))] // a host's transport does not see it
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
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    #[doc(hidden)]
    pub _more: More,
}

impl HttpResponse {
    /// The value of a header, whose name may be written in any case; the first, if there are several.
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
/// [`Config::uploads`](crate::Config::uploads) above 1 on that many threads. It follows no redirects.
pub type OnHttp = Box<dyn Fn(&HttpRequest<'_>) -> Result<HttpResponse, Error> + Send + Sync>;

/// Something that can make a request.
pub(crate) trait Transport: Send + Sync {
    /// Makes one, or says in a sentence why there is no answer.
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error>;

    /// Interrupts what is under way, and refuses everything after. For the end of a client whose time is up.
    fn abort(&self) {}

    /// Interrupts what is under way; later requests work.
    fn interrupt(&self) {}

    /// How often that has happened.
    fn interruptions(&self) -> u64 {
        0
    }

    /// Makes a request that was decided on after this many interruptions; it fails if there has been another since.
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
    /// Held for reading by each request that the host makes, so that the end of a client can wait for them: none runs
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
        // Many HTTP libraries take a timeout of zero for none.
        if request.timeout < Duration::from_millis(1) {
            return Err(Error::new(ErrorKind::Timeout, "the time ran out before the request could be made"));
        }
        let response = (self.transport)(request)?;
        if !(100..=999).contains(&response.status) {
            let text = format!("transport returned {}, which is not an HTTP status", response.status);
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
            return Err(Error::new(ErrorKind::Network, "the request was interrupted"));
        }
        self.exchange(request)
    }

    /// What the host is doing cannot be interrupted, but requests that have not begun do not begin.
    fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::SeqCst);
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::SeqCst)
    }

    /// What the host is doing cannot be interrupted, so this waits for it.
    fn abort(&self) {
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}
