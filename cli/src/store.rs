//! The file that keeps what `segment inspect` received: a line of JSON for each row.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The first line of a store.
#[derive(Serialize, Deserialize)]
struct Head {
    segment_inspect: u32,
    journal: String,
}

/// As much of a line as is read back.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Event {
        n: u64,
    },
    Request {
        n: u64,
    },
    /// All rows before were cleared.
    Cleared {},
}

/// What a line of a store says.
pub(crate) enum Kept {
    Row { n: u64, is_event: bool, text: String },
    Cleared,
}

/// A store that is open, and ours alone.
pub(crate) struct Store {
    file: BufWriter<File>,
    /// The name of the journal that it holds.
    pub(crate) journal: String,
}

impl Store {
    /// Opens a store, or makes a new one for a journal of the name `fresh`; `see` is called with what it holds.
    pub(crate) fn open(path: &Path, fresh: &str, see: impl FnMut(Kept)) -> io::Result<Store> {
        let in_file = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Store::open_file(path, fresh, see).map_err(in_file)
    }

    fn open_file(path: &Path, fresh: &str, mut see: impl FnMut(Kept)) -> io::Result<Store> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)] // what users do is nobody else's business
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another segment inspect uses it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // What has no end was cut off when we were killed. It goes, so that the next row begins a line.
        let (mut whole, mut number, mut journal) = (0_u64, 0_u64, None);
        while next(&mut lines, &mut line)? {
            number += 1;
            whole += line.len() as u64;
            let bad = |error: serde_json::Error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {number} is none of segment inspect's: {error}"),
                )
            };
            if journal.is_none() {
                let head: Head = serde_json::from_str(&line).map_err(bad)?;
                journal = Some(head.journal);
                continue;
            }
            match serde_json::from_str(&line).map_err(bad)? {
                Line::Event { n } => see(Kept::Row { n, is_event: true, text: line.trim_end().to_owned() }),
                Line::Request { n } => see(Kept::Row { n, is_event: false, text: line.trim_end().to_owned() }),
                Line::Cleared { .. } => see(Kept::Cleared),
            }
        }
        let mut file = lines.into_inner();
        if journal.is_none() && file.metadata()?.len() > 0 && !line.starts_with(r#"{"segment_inspect":"#) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is a file of another program"));
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        let mut store =
            Store { file: BufWriter::new(file), journal: journal.clone().unwrap_or_else(|| fresh.to_owned()) };
        if journal.is_none() {
            let head = Head { segment_inspect: 1, journal: fresh.to_owned() };
            store.add(&serde_json::to_string(&head)?)?;
            store.flush()?;
        }
        Ok(store)
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, row: &str) -> io::Result<()> {
        self.file.write_all(row.as_bytes())?;
        self.file.write_all(b"\n")
    }

    /// Adds that all rows up to `n` were cleared.
    pub(crate) fn clear(&mut self, n: u64) -> io::Result<()> {
        self.add(&format!(r#"{{"kind":"cleared","n":{n}}}"#))
    }

    /// Gives what was added to the system: it survives our death, though not that of the machine.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a line with its end; false if there is none, and then what has no end is in `line`.
fn next(lines: &mut impl BufRead, line: &mut String) -> io::Result<bool> {
    let mut bytes = Vec::new();
    lines.read_until(b'\n', &mut bytes)?;
    let is_whole = bytes.ends_with(b"\n");
    *line = String::from_utf8_lossy(&bytes).into_owned();
    Ok(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("segment-store-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path); // of an earlier run
        path
    }

    fn rows(path: &Path) -> Vec<u64> {
        let mut rows = Vec::new();
        let see = |kept| match kept {
            Kept::Row { n, .. } => rows.push(n),
            Kept::Cleared => rows.clear(),
        };
        Store::open(path, "fresh", see).expect("a store");
        rows
    }

    #[test]
    fn rows_are_read_back_and_half_a_row_goes() {
        let path = path("torn");
        let mut store = Store::open(&path, "a", |_| {}).expect("a store");
        store.add(r#"{"n":1,"kind":"event"}"#).and_then(|()| store.flush()).expect("written");
        drop(store);
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        file.write_all(br#"{"n":2,"ki"#).expect("written");
        assert_eq!(rows(&path), [1]);
        let mut store = Store::open(&path, "b", |_| {}).expect("a store");
        assert_eq!(store.journal, "a");
        store.clear(1).and_then(|()| store.add(r#"{"n":2,"kind":"request"}"#)).expect("written");
        drop(store);
        assert_eq!(rows(&path), [2]);
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_store_has_one_owner() {
        let path = path("owner");
        let _store = Store::open(&path, "a", |_| {}).expect("a store");
        let error = Store::open(&path, "a", |_| {}).err().expect("an error");
        assert!(error.to_string().ends_with("another segment inspect uses it"), "{error}");
    }

    #[test]
    fn files_of_other_programs_are_left_alone() {
        let path = path("other");
        for text in ["{\"a\":1}\n", "no end", "\u{0}\n"] {
            fs::write(&path, text).expect("written");
            assert!(Store::open(&path, "a", |_| {}).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        fs::remove_file(path).expect("removed");
    }
}
