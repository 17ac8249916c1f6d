//! The folder in which messages survive their process.
//!
//! ```text
//! SPOOL_DIR/<hash of write key and endpoint>/
//!     <owner>.lock                                    locked by its owner for as long as it lives
//!     <milliseconds>-<sequence>-<owner>.v1.jsonl      a chunk: one message a line, TAB, its CRC-32C
//!     pace                                            until when nothing is sent, across restarts
//!     rejected/                                       messages given up for good, and why
//! ```
//!
//! An owner is a client in a process. Whoever gets the lock of an owner that is gone adopts its chunks. A file of
//! another version is nobody's business here.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chunk::{self, Batch, Chunk, TRAILER_BYTES};
use crate::delivery::SavedPace;
use crate::kill;
use crate::rules::MAX_BATCH_MESSAGES;
use crate::storage::{Appending, Entry, Lock, Storage};
use crate::{id, time};

/// The end of a chunk's name; the number is the version of the format.
pub(crate) const CHUNK: &str = ".v1.jsonl";
pub(crate) const LOCK: &str = ".lock";
pub(crate) const REASON: &str = ".reason.txt";
pub(crate) const REJECTED: &str = "rejected";
/// The end of a file that is about to take another's place.
const UNFINISHED: &str = ".new";

/// How much is kept of what was given up.
const REJECTED_MAX_BYTES: u64 = 1 << 20;

pub(crate) struct Spool {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    /// The size of a chunk's file until it is full.
    file_bytes: usize,
    /// What was kept up to this time, in milliseconds since 1970, must not be sent: the user opted out then.
    discard_up_to_ms: AtomicI64,
    open: Mutex<Option<Open>>,
}

/// What there is once the folder could be used.
struct Open {
    appending: Appending,
    owner: String,
    _lock: Lock,
    sequence: u64,
    /// The locks of owners that are gone, each with the number of their chunks that are still there.
    adopted: HashMap<String, (Lock, usize)>,
}

/// A chunk of an owner that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// What a look into the folder shows.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Chunks adopted just now, the oldest first.
    pub(crate) found: Vec<Found>,
    /// What others have in the folder.
    pub(crate) foreign_bytes: u64,
    /// Whether others live that use the folder.
    pub(crate) others: bool,
    /// How many files were deleted because the user has opted out since.
    pub(crate) discarded: usize,
}

impl Spool {
    /// A spool in a folder below `spool_dir`, for chunks of this many bytes. Nothing is done on the disk yet.
    pub(crate) fn new(storage: Arc<dyn Storage>, spool_dir: &Path, write_key: &str, url: &str, room: usize) -> Self {
        // Not the key itself: file names are seen by many. The endpoint is part of it, so that what was meant for one
        // region is never sent to another.
        let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("{url}#{write_key}").as_bytes());
        let file_bytes = (room + MAX_BATCH_MESSAGES * (TRAILER_BYTES - 1)).next_multiple_of(4096);
        Spool {
            storage,
            folder: spool_dir.join(name.simple().to_string()),
            file_bytes,
            discard_up_to_ms: AtomicI64::new(i64::MIN),
            open: Mutex::new(None),
        }
    }

    /// What was kept up to this time is deleted when it is found.
    pub(crate) fn discard_up_to(&self, ms: i64) {
        self.discard_up_to_ms.store(ms, Ordering::SeqCst);
    }

    /// Whether a file was made before the user opted out.
    fn is_discarded(&self, name: &str) -> bool {
        let made: Option<i64> = name.split('-').next().and_then(|ms| ms.parse().ok());
        made.is_some_and(|made| made <= self.discard_up_to_ms.load(Ordering::SeqCst))
    }

    fn open(&self) -> io::Result<MutexGuard<'_, Option<Open>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            self.storage.create_folder(&self.folder)?;
            let appending = self.storage.appending(&self.folder)?;
            let (owner, lock) = self.take_ownership()?;
            *open = Some(Open { appending, owner, _lock: lock, sequence: 0, adopted: HashMap::new() });
        }
        Ok(open)
    }

    /// A name that nobody has, and its lock. Whoever looks into the folder between the making of the file and its
    /// locking takes the owner for one that is gone; then another name is needed.
    fn take_ownership(&self) -> io::Result<(String, Lock)> {
        for _ in 0..100 {
            let owner = owner();
            if let Some(lock) = self.storage.lock(&self.folder.join(format!("{owner}{LOCK}")))? {
                return Ok((owner, lock));
            }
        }
        Err(io::Error::other("no lock could be had"))
    }

    /// A new, empty chunk on the disk.
    pub(crate) fn chunk(&self) -> io::Result<Chunk> {
        let mut guard = self.open()?;
        let Some(open) = guard.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let path = self.folder.join(open.next_name(CHUNK, self.discard_up_to_ms.load(Ordering::SeqCst)));
        if open.appending == Appending::Mapped {
            match self.storage.create_mapped(&path, self.file_bytes) {
                Ok(map) => return Ok(Chunk::mapped(map, path)),
                Err(error) if cannot_reserve(&error) => open.appending = Appending::Written,
                Err(error) => return Err(self.lost(guard, error)),
            }
        }
        match self.storage.create(&path) {
            Ok(file) => Ok(Chunk::written(file, path)),
            Err(error) => Err(self.lost(guard, error)),
        }
    }

    /// Where the folder itself is gone it is made anew at the next try, lock and all.
    fn lost(&self, mut open: MutexGuard<'_, Option<Open>>, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::NotFound {
            *open = None;
        }
        error
    }

    /// Cuts a chunk that is full to its content.
    pub(crate) fn cut(&self, path: &Path, bytes: usize) -> io::Result<()> {
        self.storage.truncate(path, bytes as u64)
    }

    /// The content of a chunk.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.storage.read(path)
    }

    /// Deletes a chunk; and the lock of its owner, if that is gone and this was its last.
    pub(crate) fn remove(&self, path: &Path) {
        kill::point("remove-before");
        let _ = self.storage.remove(path);
        kill::point("removed");
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(open), Some(owner)) = (open.as_mut(), owner_of(path)) else { return };
        if let Some((_, left)) = open.adopted.get_mut(owner) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                // First the file, then the lock: nobody can get hold of a lock file that is about to be deleted.
                kill::point("unlock-before");
                let _ = self.storage.remove(&self.folder.join(format!("{owner}{LOCK}")));
                kill::point("unlocked");
                open.adopted.remove(owner);
            }
        }
    }

    /// Looks into the folder: adopts the chunks of owners that are gone, and adds up what others have. Callers who need
    /// a new chunk meanwhile are not kept waiting.
    pub(crate) fn look(&self) -> io::Result<Look> {
        let known: Vec<String> = match self.open()?.as_ref() {
            Some(open) => open.adopted.keys().chain([&open.owner]).cloned().collect(),
            None => return Ok(Look::default()),
        };
        let mut look = Look::default();
        let owners = self.owners_in(&self.folder)?;
        kill::point("listed");
        for (owner, chunks) in owners {
            if known.contains(&owner) {
                continue;
            }
            let lock_path = self.folder.join(format!("{owner}{LOCK}"));
            // One owner that cannot be locked must not keep the others from being adopted.
            let Ok(Some(lock)) = self.storage.lock(&lock_path) else {
                look.others = true;
                // A chunk in the making is as large as it may become, and outside the quota.
                let sealed = chunks.iter().filter(|chunk| chunk.bytes != self.file_bytes as u64);
                look.foreign_bytes += sealed.map(|chunk| chunk.bytes).sum::<u64>();
                continue;
            };
            kill::point("adopted");
            let (discarded, chunks): (Vec<Entry>, Vec<Entry>) =
                chunks.into_iter().partition(|chunk| self.is_discarded(&chunk.name));
            look.discarded += discarded.len();
            for chunk in discarded {
                let _ = self.storage.remove(&self.folder.join(chunk.name));
            }
            let found: Vec<Found> = chunks.into_iter().filter_map(|chunk| self.trim(chunk)).collect();
            if found.is_empty() {
                let _ = self.storage.remove(&lock_path);
                continue;
            }
            let Some(open) = &mut *self.open()? else { continue };
            open.adopted.insert(owner, (lock, found.len()));
            look.found.extend(found);
        }
        look.found.sort_by(|a, b| a.path.cmp(&b.path));
        look.discarded += self.discard_rejected(&self.folder) + self.discard_elsewhere();
        Ok(look)
    }

    /// Who has something in a folder, or had, and which chunks.
    fn owners_in(&self, folder: &Path) -> io::Result<HashMap<String, Vec<Entry>>> {
        let mut owners: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in self.storage.list(folder)? {
            if let Some(owner) = owner_of(Path::new(&entry.name)) {
                owners.entry(owner.to_owned()).or_default().push(entry);
            } else if let Some(owner) = entry.name.strip_suffix(LOCK) {
                owners.entry(owner.to_owned()).or_default();
            } else if entry.name.ends_with(UNFINISHED) {
                // Whoever was writing it died, or writes it again when it is wanted.
                let _ = self.storage.remove(&folder.join(&entry.name));
            }
        }
        Ok(owners)
    }

    /// Deletes what was rejected before the user opted out; how many files.
    fn discard_rejected(&self, folder: &Path) -> usize {
        if self.discard_up_to_ms.load(Ordering::SeqCst) == i64::MIN {
            return 0;
        }
        let folder = folder.join(REJECTED);
        let kept = self.storage.list(&folder).unwrap_or_default();
        let discarded = kept.iter().filter(|entry| self.is_discarded(&entry.name));
        discarded.filter(|entry| self.storage.remove(&folder.join(&entry.name)).is_ok()).count()
    }

    /// While the user has opted out, deletes what was kept for other sources beside this one, under an earlier write
    /// key perhaps; how many files. An owner that lives sees to its own.
    fn discard_elsewhere(&self) -> usize {
        let Some(above) = self.folder.parent().filter(|_| self.discard_up_to_ms.load(Ordering::SeqCst) == i64::MAX)
        else {
            return 0;
        };
        let beside = self.storage.folders(above).unwrap_or_default();
        let beside = beside.iter().filter(|name| is_hash(name)).map(|name| above.join(name));
        beside.filter(|folder| *folder != self.folder).map(|folder| self.discard_in(&folder)).sum()
    }

    fn discard_in(&self, folder: &Path) -> usize {
        let mut discarded = self.discard_rejected(folder);
        for (owner, chunks) in self.owners_in(folder).unwrap_or_default() {
            let lock_path = folder.join(format!("{owner}{LOCK}"));
            if let Ok(Some(_gone)) = self.storage.lock(&lock_path) {
                let removed = chunks.iter().filter(|chunk| self.storage.remove(&folder.join(&chunk.name)).is_ok());
                discarded += removed.count();
                let _ = self.storage.remove(&lock_path);
            }
        }
        discarded
    }

    /// Cuts a chunk whose owner died before it could do so: the room it had reserved is worth a thousand messages. None
    /// if there is nothing in it.
    fn trim(&self, chunk: Entry) -> Option<Found> {
        let found = Found { path: self.folder.join(chunk.name), bytes: chunk.bytes };
        // A chunk in the making has whole pages. One that was cut seldom has, and then it is read for nothing.
        if !chunk.bytes.is_multiple_of(4096) {
            return Some(found);
        }
        let Ok(content) = self.storage.read(&found.path) else { return Some(found) };
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            let _ = self.storage.remove(&found.path);
            return None;
        }
        let cut = self.storage.truncate(&found.path, used as u64);
        Some(Found { bytes: if cut.is_ok() { used as u64 } else { found.bytes }, ..found })
    }

    /// Keeps messages that are given up for good, and why; the oldest of them go when there are too many. How many
    /// bytes there are of them now.
    pub(crate) fn reject<'a>(&self, messages: impl Iterator<Item = &'a [u8]>, reason: &str) -> io::Result<u64> {
        let folder = self.folder.join(REJECTED);
        let name = match self.open()?.as_mut() {
            Some(open) => open.next_name("", self.discard_up_to_ms.load(Ordering::SeqCst)),
            None => return Ok(0),
        };
        self.storage.create_folder(&folder)?;
        self.storage.replace(&folder.join(format!("{name}{REASON}")), format!("{reason}\n").as_bytes())?;
        kill::point("reject-reason");
        self.storage.replace(&folder.join(format!("{name}{CHUNK}")), &chunk::write_lines(messages))?;
        kill::point("rejected");
        let mut kept = self.storage.list(&folder)?;
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        let mut bytes: u64 = kept.iter().map(|entry| entry.bytes).sum();
        for entry in kept {
            if bytes <= REJECTED_MAX_BYTES && !entry.name.ends_with(UNFINISHED) {
                continue;
            }
            if self.storage.remove(&folder.join(&entry.name)).is_ok() {
                bytes -= entry.bytes;
            }
        }
        Ok(bytes)
    }

    /// How many bytes of rejected messages there are.
    pub(crate) fn rejected_bytes(&self) -> u64 {
        let kept = self.storage.list(&self.folder.join(REJECTED)).unwrap_or_default();
        kept.iter().map(|entry| entry.bytes).sum()
    }

    /// Remembers until when nothing is to be sent; with nothing to remember, forgets.
    pub(crate) fn save_pace(&self, pace: Option<SavedPace>) -> io::Result<()> {
        let path = self.folder.join("pace");
        match pace {
            Some(SavedPace { failures, retry_at_ms, paused_until_ms }) => {
                self.storage.replace(&path, format!("1 {failures} {retry_at_ms} {paused_until_ms}\n").as_bytes())
            }
            None => self.storage.remove(&path),
        }
    }

    /// What was remembered, if it can be read.
    pub(crate) fn load_pace(&self) -> Option<SavedPace> {
        let text = String::from_utf8(self.storage.read(&self.folder.join("pace")).ok()?).ok()?;
        let mut numbers = text.split_ascii_whitespace();
        if numbers.next() != Some("1") {
            return None;
        }
        Some(SavedPace {
            failures: numbers.next()?.parse().ok()?,
            retry_at_ms: numbers.next()?.parse().ok()?,
            paused_until_ms: numbers.next()?.parse().ok()?,
        })
    }

    /// Has a chunk, and its name, survive a loss of power.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        self.storage.sync(path)?;
        self.storage.sync(&self.folder)
    }

    /// Writes a chunk anew, and has it survive a loss of power.
    pub(crate) fn write_anew(&self, batch: &Batch) -> io::Result<Chunk> {
        let path = match self.open()?.as_mut() {
            Some(open) => self.folder.join(open.next_name(CHUNK, self.discard_up_to_ms.load(Ordering::SeqCst))),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let mut chunk = Chunk::written(self.storage.create(&path)?, path.clone());
        for message in batch.part(0..batch.len()) {
            chunk.append(message)?;
        }
        self.sync(&path)?;
        chunk.number = batch.number;
        chunk.retire();
        Ok(chunk)
    }

    /// Lets go of the folder: what is left may be adopted. `empty` says that nothing is left of this owner.
    pub(crate) fn close(&self, empty: bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.take().filter(|_| empty) {
            let _ = self.storage.remove(&self.folder.join(format!("{}{LOCK}", open.owner)));
        }
    }
}

impl Open {
    /// Names sort by age. What is made now is younger than all that was ever to be deleted, whatever the clock says.
    fn next_name(&mut self, end: &str, discard_up_to_ms: i64) -> String {
        self.sequence += 1;
        let ms = match discard_up_to_ms {
            i64::MAX => time::now_ms(),
            discarded => time::now_ms().max(discarded.saturating_add(1)),
        };
        format!("{:013}-{:06}-{}{end}", ms.max(0), self.sequence, self.owner)
    }
}

fn owner() -> String {
    let id = id::new();
    id.iter().filter(|byte| **byte != b'-').take(16).map(|byte| char::from(*byte)).collect()
}

/// Whether a folder is called as those of a spool are.
pub(crate) fn is_hash(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whose chunk a file is; none if it is no chunk of this version.
fn owner_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_suffix(CHUNK)?.rsplit('-').next().filter(|owner| !owner.is_empty())
}

/// Whether the file system cannot reserve room at all, rather than having none.
fn cannot_reserve(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// How often the folder is looked into while others use it too.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "spool_tests.rs"]
pub(crate) mod tests;
