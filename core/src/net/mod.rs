//! HTTP: what can make a request, and what a request needs.

pub(crate) mod authorization;
pub(crate) mod denied;
pub(crate) mod endpoint;
pub(crate) mod header;
#[cfg(feature = "oauth")]
pub(crate) mod jwt;
#[cfg(feature = "http")]
pub(crate) mod network;
#[cfg(feature = "oauth")]
pub(crate) mod oauth;
#[cfg(feature = "http")]
pub(crate) mod proxy;
#[cfg(feature = "http")]
pub(crate) mod resolver;
pub(crate) mod transport;
#[cfg(feature = "http")]
pub(crate) mod wire;
