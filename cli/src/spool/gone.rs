//! Files of clients that are gone. While they are held no client adopts them; what a running client has is never
//! touched.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use segment_native::bindings::survey::{self, Kind};

const CHUNK: &str = ".v1.jsonl";
const LOCK: &str = ".lock";
const REASON: &str = ".reason.txt";

/// The files of one client that is gone, held.
pub(crate) struct Gone {
    pub(crate) files: Vec<survey::File>,
    lock: PathBuf,
    _held: File,
}

impl Gone {
    /// Removes the files. `all` says that the client has no others: nothing is left of it then.
    pub(crate) fn remove(self, all: bool) -> io::Result<()> {
        for file in &self.files {
            removed(&file.path)?;
        }
        // First the file, then the lock, as clients do: nobody can get hold of a lock file that is about to be deleted.
        if all { removed(&self.lock) } else { Ok(()) }
    }
}

/// What waits in a folder of which the clients are gone, and how many files belong to clients that run.
pub(crate) fn hold(queues: &[survey::Queue]) -> io::Result<(Vec<Gone>, usize)> {
    let mut owners: BTreeMap<PathBuf, Vec<survey::File>> = BTreeMap::new();
    for file in queues.iter().flat_map(|queue| &queue.files).filter(|file| file.kind == Kind::Waiting) {
        if let Some(lock) = lock_of(&file.path) {
            owners.entry(lock).or_default().push(file.clone());
        }
    }
    let (mut gone, mut living) = (Vec::new(), 0);
    for (lock, files) in owners {
        match held(&lock)? {
            Some(held) => gone.push(Gone { files, lock, _held: held }),
            None => living += files.len(),
        }
    }
    Ok((gone, living))
}

/// Removes a file of rejected messages, and why they were rejected.
pub(crate) fn remove_rejected(file: &survey::File) -> io::Result<()> {
    removed(&file.path)?;
    let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_suffix(CHUNK) {
        Some(stem) => removed(&file.path.with_file_name(format!("{stem}{REASON}"))),
        None => Ok(()),
    }
}

/// It may be gone already: that was the aim.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{} cannot be deleted: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn lock_of(chunk: &Path) -> Option<PathBuf> {
    let owner = chunk.file_name()?.to_str()?.strip_suffix(CHUNK)?.rsplit('-').next()?;
    Some(chunk.with_file_name(format!("{owner}{LOCK}")))
}

/// The lock, if nobody has it.
fn held(path: &Path) -> io::Result<Option<File>> {
    let about =
        |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be locked: {error}", path.display()));
    let file = private().open(path).map_err(about)?;
    match file.try_lock() {
        Ok(()) if is_still_there(&file, path) => Ok(Some(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(about(error)),
    }
}

fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Whoever had the lock before may have deleted the file in between: then this is a lock on nothing.
#[cfg(unix)]
fn is_still_there(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (ours, now) = (file.metadata().map(identity), fs::metadata(path).map(identity));
    ours.is_ok_and(|ours| now.is_ok_and(|now| now == ours))
}

#[cfg(not(unix))]
fn is_still_there(_: &File, path: &Path) -> bool {
    path.exists()
}
