//! `segment spool`: what is in a spool folder. Nothing in it is changed.

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

mod cat;
mod human;
mod ls;
mod row;
mod table;
mod verify;

/// Look into a spool folder: what waits for delivery, what was given up, what is damaged
///
/// Nothing in the folder is changed, and clients that use it are not disturbed. DIR is the spool_dir of a client, or one of the
/// folders in it.
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
}

/// What the program ends with if it could not do its work; 1 says that something is damaged.
pub(crate) fn trouble() -> ExitCode {
    ExitCode::from(2)
}

/// Says what was asked for, on standard output.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    match &options.command {
        Command::Ls(options) => ls::run(options),
        Command::Cat(options) => cat::run(options),
        Command::Verify(options) => verify::run(options),
    }
}

/// Whoever reads our output may have seen enough, as `head` has: that is no error.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}
