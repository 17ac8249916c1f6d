//! `segment doctor`: what is wrong between this machine and Segment, and what to do about it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::connection::Connection;
use crate::terminal::{self, unless_closed};
use finding::{Finding, Verdict};

mod finding;
mod folder;
mod key;
mod network;

/// Check what stands between this machine and Segment, and say what to do
///
/// Looks at the write key, the proxy, the name look-up, the connection with its TLS, the clock and, if it is given, the
/// spool folder. Nothing is sent unless --send asks for it. Ends with 0 if all is well, with 1 if something must be
/// done.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Look at this spool folder, too
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Send one test event, `Segment Doctor`
    #[arg(long)]
    send: bool,
    /// Print the findings as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut findings = vec![key::look(options.connection.write_key.as_deref())];
    findings.extend(network::look(&options.connection, options.send));
    if let Some(spool) = &options.spool {
        findings.extend(folder::look(spool));
    }
    if options.json {
        terminal::say(&serde_json::to_string(&findings)?)?;
    } else {
        let page: String = findings.iter().map(Finding::lines).collect();
        unless_closed(io::stdout().write_all(page.as_bytes()))?;
    }
    let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
