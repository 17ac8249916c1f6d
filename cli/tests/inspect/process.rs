//! The program under test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use crate::http::{self, Answer};
use crate::patience::{self, ended, patience};

/// A collector that runs until it is ended or dropped.
pub(crate) struct Collector {
    child: Child,
    lines: Receiver<String>,
    pub(crate) port: u16,
}

/// The command, not started yet.
pub(crate) fn inspect(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segment"));
    command.arg("inspect").args(arguments).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    command
}

impl Collector {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(inspect(arguments).args(["--port", "0"]))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("its output");
        let (sender, lines) = channel();
        thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let mut collector = Collector { child, lines, port: 0 };
        let first = collector.line("listening");
        let port = first.strip_prefix("segment inspect listening on http://127.0.0.1:").expect("the address");
        collector.port = port.parse().expect("a port");
        collector
    }

    /// Waits for the next line that holds `part`.
    pub(crate) fn line(&mut self, part: &str) -> String {
        let end = Instant::now() + patience();
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {part:?} in {seen:#?}");
    }

    /// Posts a body that needs no header, and expects `200 {"success": true}`.
    pub(crate) fn accepts(&self, path: &str, body: &str) {
        let answer = self.post(path, "", body.as_bytes());
        assert_eq!((answer.status, answer.text()), (200, r#"{"success": true}"#), "{path} {body}");
    }

    pub(crate) fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        http::send(self.port, "POST", path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::send(self.port, "GET", path, "", b"")
    }

    /// Ends it with a signal; all lines that were not taken. The last one is the summary.
    #[cfg(unix)]
    pub(crate) fn end(mut self, signal: &str) -> Vec<String> {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(patience()) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{signal} did not end it: {lines:#?}"),
            }
        }
        let status = ended(&mut self.child);
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        lines
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Runs the command to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    patience::output(&mut inspect(arguments), b"")
}
