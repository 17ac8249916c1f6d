//! Tests of the whole: clients against real servers, on real folders, in processes that die. It is one program, so that
//! it is built and linked once; `cargo test --test it kill::` runs one file of it. Forks have a program of their own,
//! `fork.rs`.

mod ask;
mod call;
#[cfg(unix)]
mod child;
mod consent;
mod context;
mod delivery;
mod departures;
mod descriptors;
mod doubts;
mod ends;
mod exit;
mod features;
#[cfg(unix)]
mod former;
#[cfg(unix)]
mod front;
mod hosts;
mod identity;
mod kill;
mod layers;
mod limits;
mod nesting;
mod network;
mod oauth;
mod patience;
mod problem;
mod processes;
mod proxy;
mod remember;
mod seed;
mod server;
mod spool;
mod tls;
mod told;
mod typed;
mod uploads;
mod works_with;
