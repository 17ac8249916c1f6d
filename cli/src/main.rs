//! The `segment` command: tools for those who build on the Segment client.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod api;
mod batch;
mod body;
mod collector;
mod event;
mod inspect;
mod json;
mod print;
mod recent;
mod spool;
mod text;
mod warning;

/// Tools for Segment's Tracking API
#[derive(Parser)]
#[command(name = "segment", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Options),
    Spool(spool::Options),
}

fn main() -> ExitCode {
    let (result, failure) = match Arguments::parse().command {
        Command::Inspect(options) => (inspect::run(&options).map(|()| ExitCode::SUCCESS), ExitCode::FAILURE),
        Command::Spool(options) => (spool::run(&options), spool::trouble()),
    };
    result.unwrap_or_else(|error| {
        complain(&error.to_string());
        failure
    })
}

/// Says on standard error what is wrong.
fn complain(sentence: &str) {
    // Nobody is left to tell if standard error is closed, too.
    let _ = writeln!(std::io::stderr(), "segment: {}", text::escaped(sentence));
}
