//! The messages that wait, in memory and on the disk, and what to do with them next.

pub(crate) mod chunk;
pub(crate) mod errands;
pub(crate) mod flight;
pub(crate) mod outgoing;
pub(crate) mod policy;
#[allow(clippy::module_inception)] // its main file
pub(crate) mod queue;
pub(crate) mod reports;
pub(crate) mod shelf;
pub(crate) mod spool;
pub(crate) mod state;
pub mod survey;
pub(crate) mod sync;
