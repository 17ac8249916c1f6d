//! What the program says to whoever runs it: lines on standard output, complaints on standard error, and how it ends.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;

use indicatif::ProgressBar;

use crate::lock::lock;
use crate::text::escaped;

/// A line on standard output.
pub(crate) fn say(line: &str) -> io::Result<()> {
    unless_closed(writeln!(io::stdout(), "{}", escaped(line)))
}

/// Says on standard error what is wrong.
pub(crate) fn complain(sentence: &str) {
    // Nobody is left to tell if standard error is closed, too.
    let _ = aside(|| writeln!(io::stderr(), "segment: {}", escaped(sentence)));
}

/// Whoever reads our output may have seen enough, as `head` has: that is no error.
pub(crate) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// What the program ends with if it could not do its work; 1 says that something is damaged.
pub(crate) fn trouble() -> ExitCode {
    ExitCode::from(2)
}

/// The bar that is shown.
pub(crate) static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Has something written to the terminal without a bar in its way.
fn aside<T>(write: impl FnOnce() -> T) -> T {
    let shown = lock(&SHOWN).clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
