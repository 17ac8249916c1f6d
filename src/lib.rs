//! The C boundary of segment-native: `libsegment`, `<segment.h>`.
//!
//! It only translates between the languages. [`text`] and [`sized`] read what comes from C, [`error`] stores what goes
//! wrong, and the bodies of the functions are ordinary safe Rust over the core's `Client` and `Object`. The doc
//! comments are the text of the header.

// The names are C's. Safety is what the header says once for all functions, and `*const T` is what C passes.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

// The modules stand in the order of the header; blank lines keep rustfmt from sorting them.

pub mod error;

pub mod version;

pub mod text;

pub mod sized;

pub mod object;

pub mod member;

pub mod hooks;

pub mod config;

pub mod client;

pub mod message;

pub mod user;

pub mod call;

pub mod response;

pub mod transport;
