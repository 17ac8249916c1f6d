//! Where to send, and with which key: the options of all commands that talk to Segment.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use segment_native::{Config, Error, Level};

use crate::terminal::complain;

/// Longer than this is for ever.
const MAX_SECONDS: f64 = 1e9;

/// How Segment is reached.
#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The write key of your source. The environment is the better place for it: arguments can be seen by others
    #[arg(long, value_name = "KEY", env = "SEGMENT_WRITE_KEY", hide_env_values = true)]
    pub(crate) write_key: Option<String>,
    /// Where to send: `eu` for the EU, or the URL of a host of your own, whole if it ends in /batch or /b [default:
    /// https://api.segment.io]
    #[arg(long, value_name = "URL", env = "SEGMENT_ENDPOINT", hide_env_values = true)]
    pub(crate) endpoint: Option<String>,
    /// For one whole request
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// `http://[user:password@]host:port` or `socks5://...` [default: what https_proxy, http_proxy and all_proxy say]
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// PEM certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl Connection {
    /// The settings of a client that says on standard error what a person should know.
    pub(crate) fn config(&self) -> io::Result<Config> {
        let key = self.write_key.as_deref().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a write key is needed: set SEGMENT_WRITE_KEY, or give --write-key",
            )
        })?;
        Ok(self.config_with(key))
    }

    /// The same with this write key.
    pub(crate) fn config_with(&self, write_key: &str) -> Config {
        let is_local = self.is_local();
        Config {
            endpoint: self.endpoint.clone().unwrap_or_default(),
            timeout: self.timeout,
            shutdown: Duration::ZERO,
            proxy: self.proxy.clone(),
            ca_file: self.ca_file.clone(),
            on_log: Some(Box::new(move |level, line| {
                // No other machine sees what is sent to this one. A call that fails is reported by the command itself,
                // and an error as what became of the messages.
                let is_known =
                    is_local && line.starts_with("the endpoint is plain http") || line.starts_with("a call failed: ");
                if level == Level::Warning && !is_known {
                    complain(&format!("warning: {line}"));
                }
            })),
            ..Config::new(write_key)
        }
    }

    /// Whether the endpoint is on this machine.
    fn is_local(&self) -> bool {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        let host = endpoint.split_once("://").map_or("", |(_, rest)| rest);
        ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|local| host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
    }
}

/// Reads a number of seconds, which may have a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("must be a number of seconds, like 15 or 0.5".to_owned()),
    }
}

/// An error of the library's, which names arguments, with the names of our options.
pub(crate) fn said(error: &Error) -> String {
    const ARGUMENTS: [&str; 15] = [
        "write_key",
        "endpoint",
        "public_endpoint",
        "profile_endpoint",
        "access_token",
        "profile_token",
        "user_id",
        "anonymous_id",
        "message_id",
        "group_id",
        "previous_id",
        "proxy",
        "ca_file",
        "event",
        "timestamp",
    ];
    let sentence = error.message();
    let named = ARGUMENTS.iter().find_map(|argument| {
        let rest = sentence.strip_prefix(argument).filter(|rest| rest.starts_with([' ', ':']))?;
        Some(format!("--{}{rest}", argument.replace('_', "-")))
    });
    named.unwrap_or_else(|| sentence.to_owned())
}

/// The same as an error of ours.
pub(crate) fn trouble(error: &Error) -> io::Error {
    io::Error::other(said(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_option() {
        assert_eq!(said(&Error::invalid("user_id must be given")), "--user-id must be given");
        assert_eq!(said(&Error::invalid("events are fine")), "events are fine");
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "NaN", "1e10", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
