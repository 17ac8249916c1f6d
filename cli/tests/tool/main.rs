//! The commands that send, from outside: the real program, and a server that plays Segment.

mod call;
mod doctor;
mod e2e;
mod import;
mod import_again;
mod kill;
mod long;
mod message;
#[path = "../common/patience.rs"]
mod patience;
mod peers;
mod program;
mod send;
mod server;
mod shells;
