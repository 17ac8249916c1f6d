//! From a call to the bytes of a message, and what Segment says about it.

pub(crate) mod currency;
pub(crate) mod device;
pub mod doubts;
#[allow(clippy::module_inception)] // its main file
pub(crate) mod message;
pub mod rules;
pub(crate) mod typed;
