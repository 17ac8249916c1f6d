//! A request for messages on its way, and what comes back.

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
    /// What the pace was when it began, see [`Pace`](crate::queue::policy::Pace).
    pub(crate) epoch: u64,
    /// What it says of who sends it.
    pub(crate) authorization: String,
}

/// A request that is over.
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    /// What was sent, as bytes.
    pub(crate) body: Vec<u8>,
    pub(crate) response: Result<HttpResponse, Error>,
}
