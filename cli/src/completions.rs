//! `segment completions`: what a shell needs to complete our arguments.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Arguments;
use crate::terminal::unless_closed;

/// Print what a shell needs to complete the arguments of this command
///
/// bash: segment completions bash > ~/.local/share/bash-completion/completions/segment.
/// zsh: segment completions zsh > a folder of $fpath/_segment.
/// fish: segment completions fish > ~/.config/fish/completions/segment.fish.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "segment", &mut script);
    unless_closed(io::stdout().write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}
