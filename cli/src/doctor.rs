//! `segment doctor`: what is wrong between this machine and Segment, and what to do about it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::connection::Connection;
use crate::one;
use crate::spool::unless_closed;
use crate::text;

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

/// What was found out about one thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    verdict: Verdict,
    sentence: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Good,
    /// It works, but somebody should know.
    Doubtful,
    Bad,
}

impl Finding {
    pub(crate) fn good(check: &'static str, sentence: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Good, sentence: sentence.into(), advice: None }
    }

    pub(crate) fn doubtful(check: &'static str, sentence: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Finding { check, verdict: Verdict::Doubtful, sentence: sentence.into(), advice }
    }

    pub(crate) fn bad(check: &'static str, sentence: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Bad, ..Finding::doubtful(check, sentence, advice) }
    }

    fn lines(&self) -> String {
        let mark = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Doubtful => "warn",
            Verdict::Bad => "BAD",
        };
        let mut lines = format!("{mark:<5}{:<12}{}\n", self.check, text::escaped(&self.sentence));
        if let Some(advice) = &self.advice {
            lines += &format!("{:17}-> {}\n", "", text::escaped(advice));
        }
        lines
    }
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut findings = vec![key::look(options.connection.write_key.as_deref())];
    findings.extend(network::look(&options.connection, options.send));
    if let Some(spool) = &options.spool {
        findings.extend(folder::look(spool));
    }
    if options.json {
        one::say(&serde_json::to_string(&findings)?)?;
    } else {
        let page: String = findings.iter().map(Finding::lines).collect();
        unless_closed(io::stdout().write_all(page.as_bytes()))?;
    }
    let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
