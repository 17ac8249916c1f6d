//! What programs call, and the threads behind it.

pub(crate) mod answer;
pub mod bindings;
pub(crate) mod call;
pub(crate) mod callbacks;
#[allow(clippy::module_inception)] // its main file
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod process;
pub(crate) mod uploads;
pub(crate) mod user;
pub(crate) mod worker;
