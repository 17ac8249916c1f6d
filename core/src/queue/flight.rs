//! A request for messages under way, and what comes back.

use std::sync::Arc;

use crate::base::error::Error;
use crate::net::transport::HttpResponse;
use crate::queue::chunk::Batch;
use crate::queue::policy::Part;

/// What a request is about.
#[derive(Clone)]
pub(crate) struct Flight {
    /// The slot, and what of it is sent.
    pub(crate) number: u64,
    pub(crate) batch: Arc<Batch>,
    pub(crate) part: Part,
    /// The epoch of the pace when it began, see [`Pace`](crate::queue::policy::Pace).
    pub(crate) epoch: u64,
    /// The value of its `Authorization` header.
    pub(crate) authorization: String,
}

/// A request that is over.
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    /// The body that was sent.
    pub(crate) body: Vec<u8>,
    pub(crate) response: Result<HttpResponse, Error>,
}
