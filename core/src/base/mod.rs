//! What everything builds on: errors, the system, times and ids.

pub(crate) mod error;
pub(crate) mod fork;
pub(crate) mod home;
pub(crate) mod hooks;
pub(crate) mod id;
pub(crate) mod kill;
pub(crate) mod more;
pub(crate) mod signals;
pub(crate) mod storage;
pub(crate) mod threads;
pub(crate) mod time;
