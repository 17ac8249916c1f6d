//! The program under test, and a folder for it.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::patience;

pub(crate) const KEY: &str = "very-secret-write-key";

/// The command, not started yet, on its way to `endpoint`.
pub(crate) fn command(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segment"));
    for variable in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"] {
        command.env_remove(variable);
    }
    command.args(arguments).env("SEGMENT_WRITE_KEY", KEY).env("SEGMENT_ENDPOINT", endpoint);
    command
}

/// What the program said.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// What it printed as JSON.
    pub(crate) fn json(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

/// Runs the command to its end.
pub(crate) fn run(endpoint: &str, arguments: &[&str]) -> Done {
    run_with(endpoint, arguments, "")
}

/// The same with this on standard input.
pub(crate) fn run_with(endpoint: &str, arguments: &[&str], input: &str) -> Done {
    finish(&mut command(endpoint, arguments), input.as_bytes())
}

pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Done {
    let output = patience::output(command, input);
    let done = Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    };
    assert!(!done.out.contains(KEY) && !done.err.contains(KEY), "the write key is shown: {}{}", done.out, done.err);
    assert!(!done.err.contains("panicked"), "{}", done.err);
    done
}

/// A folder that goes away with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("segment-cli-tool-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("made");
        Folder(path)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("text").to_owned()
    }

    /// The content of the one file whose name ends so.
    pub(crate) fn read(&self, end: &str) -> String {
        let mut files = self.names();
        files.retain(|name| name.ends_with(end));
        assert_eq!(files.len(), 1, "{:?}", self.names());
        fs::read_to_string(self.0.join(&files[0])).expect("readable")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Says what is not tested; in CI nothing may be skipped.
pub(crate) fn skip(what: &str) {
    // Not by a macro, whose output only shows if the test fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
    assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped: {what}");
}

/// Where nobody listens: no system gives this port away.
pub(crate) fn nowhere() -> String {
    "http://127.0.0.1:1".to_owned()
}
