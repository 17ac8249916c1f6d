//! `segment spool`: what is in a spool folder, and what to do with it.

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

mod cat;
mod export;
mod gone;
mod listing;
mod ls;
mod purge;
mod row;
mod send;
mod table;
mod verify;

/// Look into a spool folder, and rescue what is in it: what waits for delivery, what was given up, what is damaged
///
/// ls, cat and verify change nothing. Clients that use the folder are not disturbed: what they have is left to them.
/// DIR is the spool_dir of a client, or one of the folders in it.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(ls::Options),
    Cat(cat::Options),
    Verify(verify::Options),
    Export(export::Options),
    Send(send::Options),
    Purge(purge::Options),
}

/// Says what was asked for, on standard output.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    match &options.command {
        Command::Ls(options) => ls::run(options),
        Command::Cat(options) => cat::run(options),
        Command::Verify(options) => verify::run(options),
        Command::Export(options) => export::run(options),
        Command::Send(options) => send::run(options),
        Command::Purge(options) => purge::run(options),
    }
}
