//! Segment analytics that does not lose events: a client for Segment's Tracking API.
//!
//! ```no_run
//! use segment_native::{Client, Config, Object};
//!
//! let client = Client::new(Config::new("WRITE_KEY"))?;
//! client.identify("u-42", &Object::from([("plan", "pro")]), None)?;
//! client.track("u-42", "Level Completed", &Object::from([("level", 7)]), None)?;
//! drop(client); // delivers what is queued
//! # Ok::<(), segment_native::Error>(())
//! ```
//!
//! # Where things are
//!
//! A file uses only what stands above it here.
//!
//! | file | what it holds |
//! |---|---|
//! | `error` | the one error |
//! | `fork` `signals` `storage` | what differs by system: forks, signals, files, maps, locks |
//! | `time` `id` `json` `scan` `writer` `object` | times, ids and JSON, written into bytes |
//! | `exchange` `report` | one HTTP exchange; what the host is told and asked |
//! | [`rules`] [`doubts`] `currency` | what Segment accepts; what it accepts and others misread |
//! | `endpoint` `header` `config` | URLs, headers and the other settings |
//! | `message` `typed` `device` | from a call to the bytes of a message; reserved traits; the machine |
//! | `delivery` | what an answer means, what to do next and when: pure |
//! | `chunk` | messages that will travel together, in memory or in a file |
//! | `home` `spool` | the folder that is ours; what one source keeps in it |
//! | [`survey`] | what is in such a folder, for those who look from outside |
//! | `flight` `shelf` `state` | a request on its way; what waits, in its order; what else the queue knows |
//! | `queue` `outgoing` | the queue as callers see it, and as the delivery thread does |
//! | `errands` `sync` | what is done on the disk, by threads of their own |
//! | `person` `identity` | who the user is and what they agreed to, and how it is kept |
//! | `proxy` `resolver` `wire` `http` | proxies, names, connections, requests |
//! | `jwt` `oauth` `authorization` | tokens; who sends a request |
//! | `callbacks` `uploads` `worker` | who is told; threads for requests; the delivery thread |
//! | `half` | the part of a client that belongs to one process |
//! | `client` `remember` `call` | what everyone calls: messages; the user; single requests |

mod base;
mod client;
mod json;
mod message;
mod net;
mod queue;
mod user;

pub use base::error::{Error, ErrorKind};
#[doc(hidden)]
pub use base::kill::POINTS as KILL_POINTS;
pub use base::report::{BeforeSend, Delivery, Edit, Level, OnDelivery, OnLog};
pub use client::call::{Api, Pages, Request};
pub use client::client::Client;
pub use client::config::{Config, Overflow};
pub use json::object::{Object, Value};
#[doc(hidden)]
pub use json::pieces::{Mark, Writer};
pub use message::message::{Message, Options, Time};
pub use message::rules::Call;
pub use message::typed::{Address, Company, GroupTraits, Product, Revenue, Traits};
pub use message::{doubts, rules};
pub use net::endpoint::{EU_ENDPOINT, US_ENDPOINT};
pub use net::header::split as split_header;
#[cfg(feature = "oauth")]
pub use net::oauth::OAuth;
pub use net::transport::{HttpRequest, HttpResponse, OnHttp};
pub use queue::state::Stats;
pub use queue::survey;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The tests of this crate and those in `tests/` wait alike.
#[cfg(test)]
#[path = "../tests/it/patience.rs"]
mod patience;
#[cfg(test)]
use patience::rounds;
