//! How far an import has come: a file of lines, the last whole one of which counts. So it can end at any moment.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A longer file is written anew.
const MAX_BYTES: u64 = 256 * 1024;

/// How far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// All rows up to this number are settled, those of other shards not counted.
    pub(crate) row: u64,
    /// The line on which the last of them begins.
    pub(crate) line: u64,
    /// Where the last of them begins, for a plain file of lines.
    pub(crate) offset: u64,
    /// What its text was: whether the file is still the same.
    pub(crate) mark: Option<String>,
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    /// Whether one more row was refused, the last, which had no end: it is read again when there is more.
    pub(crate) unfinished: bool,
    /// The size of the file of refused rows, without that one.
    pub(crate) refused_bytes: u64,
    /// How many rows there are to send, if they were counted.
    pub(crate) total: Option<u64>,
    /// The size of the input before it was read to its end.
    pub(crate) done_at_bytes: Option<u64>,
    pub(crate) done: bool,
}

/// The file, locked: no other process can import the same.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    last: Progress,
}

impl Journal {
    /// Opens it, or makes it. `anew`: what it says is forgotten.
    pub(crate) fn open(path: &Path, anew: bool) -> io::Result<Self> {
        let about = |error: io::Error| {
            let sentence =
                format!("the journal {} cannot be used: {error}; --journal DIR puts it elsewhere", path.display());
            io::Error::new(error.kind(), sentence)
        };
        let mut file = locked(path).map_err(about)?;
        if anew {
            file.set_len(0).map_err(about)?;
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(about)?;
        let text = String::from_utf8_lossy(&text);
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        // What was written when the process was killed.
        file.set_len(whole as u64).map_err(about)?;
        let last = text[..whole].lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        Ok(Journal { path: path.to_owned(), file, bytes: whole as u64, last })
    }

    /// What it says.
    pub(crate) fn progress(&self) -> &Progress {
        &self.last
    }

    /// Says something new.
    pub(crate) fn write(&mut self, progress: &Progress) -> io::Result<()> {
        if *progress == self.last {
            return Ok(());
        }
        let line = serde_json::to_string(progress)? + "\n";
        if self.bytes > MAX_BYTES {
            self.write_anew(&line)?;
        } else {
            self.file.write_all(line.as_bytes())?;
            self.bytes += line.len() as u64;
        }
        self.last = progress.clone();
        Ok(())
    }

    /// The new file is locked before it takes the place of the old one, so that it is never free.
    fn write_anew(&mut self, line: &str) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = locked(&new)?;
        file.set_len(0)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        (self.file, self.bytes) = (file, line.len() as u64);
        Ok(())
    }
}

/// How files are made: what is in them is for nobody else.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn locked(path: &Path) -> io::Result<File> {
    let file = private().read(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is importing the same"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("segment-journal-{}-{name}", std::process::id()));
            let _ = fs::remove_file(&path);
            Place(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn at(row: u64) -> Progress {
        Progress { row, delivered: row, ..Progress::default() }
    }

    #[test]
    fn it_says_what_it_was_told_last() {
        let place = Place::new("last");
        let mut journal = Journal::open(&place.0, false).expect("open");
        assert_eq!(*journal.progress(), Progress::default());
        for row in 1..=10_000 {
            journal.write(&at(row)).expect("written");
        }
        drop(journal);
        assert!(fs::metadata(&place.0).expect("there").len() < 2 * MAX_BYTES);
        assert_eq!(*Journal::open(&place.0, false).expect("open").progress(), at(10_000));
        assert_eq!(*Journal::open(&place.0, true).expect("open").progress(), Progress::default());
    }

    #[test]
    fn half_a_line_does_not_count() {
        let place = Place::new("half");
        let mut journal = Journal::open(&place.0, false).expect("open");
        journal.write(&at(1)).expect("written");
        journal.write(&at(2)).expect("written");
        drop(journal);
        let whole = fs::read(&place.0).expect("read");
        let first = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        for end in first..whole.len() {
            fs::write(&place.0, &whole[..end]).expect("written");
            assert_eq!(*Journal::open(&place.0, false).expect("open").progress(), at(1), "{end}");
        }
    }

    #[test]
    fn two_cannot_have_it() {
        let place = Place::new("two");
        let _journal = Journal::open(&place.0, false).expect("open");
        let error = Journal::open(&place.0, false).err().expect("refused");
        assert!(error.to_string().contains("another process is importing the same"), "{error}");
    }
}
