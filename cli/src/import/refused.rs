//! The file of rows that were refused, each with its line and the reason.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::import::journal::private;
use crate::input::Row;

/// A file that is there only if there is something in it.
pub(crate) struct Refused {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    reason: &'a str,
    /// The row as it was, if it could be read.
    row: Option<&'a str>,
}

impl Refused {
    /// The file, cut to what the journal knows of it: what was written later will be written again.
    pub(crate) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut refused = Refused { path: path.to_owned(), file: None, bytes };
        if bytes == 0 {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused.about(&error)),
                _ => {}
            }
        } else {
            let file = refused.made()?;
            let there = file.metadata().map_err(|error| refused.about(&error))?.len();
            file.set_len(there.min(bytes)).map_err(|error| refused.about(&error))?;
            refused.bytes = there.min(bytes);
            refused.file = Some(file);
        }
        Ok(refused)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: &Row, reason: &str) -> io::Result<()> {
        let line = Line { line: row.line, reason, row: row.text.as_deref().ok() };
        let text = serde_json::to_string(&line)? + "\n";
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.made()?,
        };
        file.write_all(text.as_bytes()).map_err(|error| self.about(&error))?;
        self.file = Some(file);
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn made(&self) -> io::Result<File> {
        private().open(&self.path).map_err(|error| self.about(&error))
    }

    fn about(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", self.path.display()))
    }
}
