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
//! | `fork` `storage` | what differs by system: forks, files, maps, locks |
//! | `time` `id` `json` `scan` `object` | times, ids and JSON, written into bytes |
//! | `report` | what the host is told |
//! | [`rules`] | what Segment accepts |
//! | `config` `message` | settings; from a call to the bytes of a message |
//! | `delivery` | what an answer means, what to do next and when: pure |
//! | `chunk` `spool` | messages that will travel together, in memory or in a file; the folder of these files |
//! | [`survey`] | what is in such a folder, for those who look from outside |
//! | `state` `queue` `feed` | what waits; as callers see it; as the delivery thread sees it |
//! | `http` | one POST |
//! | `worker` | the delivery thread |
//! | `client` | what everyone calls |

mod chunk;
mod client;
mod config;
mod delivery;
mod error;
mod feed;
mod fork;
mod http;
mod id;
mod json;
mod kill;
mod message;
mod object;
mod queue;
mod report;
pub mod rules;
mod scan;
mod spool;
mod state;
mod storage;
pub mod survey;
mod sync;
mod time;
mod worker;

pub use client::Client;
pub use config::{Config, EU_ENDPOINT, Overflow, US_ENDPOINT};
#[doc(hidden)]
pub use kill::POINTS as KILL_POINTS;

pub use error::{Error, ErrorKind};
pub use message::{Message, Options, Time};
pub use object::{Object, Value};
pub use report::{Delivery, Level, OnDelivery, OnLog};
pub use rules::Call;
pub use state::Stats;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many rounds a test with random input makes: as many as usual, times what `./test long` asks for.
#[cfg(test)]
fn rounds(usual: usize) -> usize {
    let times = std::env::var("SEGMENT_TEST_ROUNDS").ok().and_then(|times| times.parse().ok());
    usual * times.unwrap_or(1)
}
