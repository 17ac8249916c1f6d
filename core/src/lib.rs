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
//! # What stays
//!
//! Within a major version, what compiles goes on compiling and means the same. The structs that you fill in
//! ([`Config`], [`Options`], [`Request`], [`HttpResponse`], `OAuth`, [`Address`], [`Company`], [`Product`]) may get
//! further fields: end a literal of them with `..`, as in `Config { flush_at: 20, ..Config::new(key) }`. So may those
//! that you are given ([`Stats`], [`Delivery`], [`HttpRequest`]), and the enums that are marked `#[non_exhaustive]` may
//! get further variants. [`Message`], [`Revenue`], [`Call`] and [`Level`] stay as they are. The promise does not cover
//! what this documentation does not show.
//!
//! # Where things are
//!
//! The code is in seven rooms, each a folder. ARCHITECTURE.md lists them: a file uses its own room and those above it
//! in that list.

mod base;
mod client;
mod json;
mod message;
mod net;
mod queue;
mod user;

pub use base::error::{Error, ErrorKind};
pub use base::hooks::{BeforeSend, Delivery, Edit, Level, OnDelivery, OnLog};
#[doc(hidden)]
pub use client::bindings;
pub use client::call::{Api, Pages, Request};
pub use client::client::Client;
pub use client::config::Config;
pub use json::object::{Object, Value};
pub use message::message::{Message, Options, Time};
pub use message::rules::Call;
pub use message::typed::{Address, Company, GroupTraits, Product, Revenue, Traits};
pub use net::endpoint::{EU_ENDPOINT, US_ENDPOINT};
#[cfg(feature = "oauth")]
pub use net::oauth::OAuth;
pub use net::transport::{HttpRequest, HttpResponse, OnHttp};
pub use queue::queue::Overflow;
pub use queue::state::Stats;
pub use user::person::Choice;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long tests wait: the same for those of this crate and those in `tests/`.
#[cfg(test)]
#[path = "../tests/it/patience.rs"]
mod patience;
#[cfg(test)]
use patience::rounds;

/// Lifetimes of clients on a simulated disk, network and clock.
#[cfg(test)]
#[path = "../tests/simulator/mod.rs"]
mod simulator;
