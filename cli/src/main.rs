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
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Inspect(options) => inspect::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed, too.
            let _ = writeln!(std::io::stderr(), "segment: {error}");
            ExitCode::FAILURE
        }
    }
}
