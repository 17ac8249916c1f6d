//! The folder in which messages survive their process.
//!
//! ```text
//! SPOOL_DIR/segment-native/<hash of write key and endpoint>/
//!     <owner>.lock                                    locked by its owner for as long as it lives
//!     <milliseconds>-<sequence>-<owner>.v1.jsonl      a chunk: one message a line, TAB, its CRC-32C
//!     pace                                            until when nothing is sent, across restarts
//!     rejected/                                       messages given up for good, and why
//! ```
//!
//! An owner is a client in a process. A client that gets the lock of an owner that is gone adopts its chunks. It never
//! cuts or rewrites them: an owner that lost its lock may still be alive, with its chunks mapped. Files of another
//! version are left alone.
//!
//! The folders beside this one belong to other write keys and endpoints. The settings may name those that the program
//! used before: what waits in them is adopted too, under the same locks. Nothing is ever written there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::base::home::{self, Home, MARK, is_absence};
use crate::base::kill;
use crate::base::storage::{Appending, Entry, Lock, Storage, UNFINISHED};
use crate::base::threads::{Mutex, MutexGuard};
use crate::base::{id, time};
use crate::message::rules::{MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES};
use crate::queue::chunk::{self, Batch, Chunk, Retired, TRAILER_BYTES};
use crate::queue::policy::SavedPace;

/// The end of a chunk's name; the number is the version of the format.
pub(crate) const CHUNK: &str = ".v1.jsonl";
pub(crate) const LOCK: &str = ".lock";
pub(crate) const REASON: &str = ".reason.txt";
pub(crate) const REJECTED: &str = "rejected";
pub(crate) const PACE: &str = "pace";

/// An unfinished file older than this was left by a process that died: writing a small file never takes so long.
const UNFINISHED_MAX_MS: u64 = 60_000;

/// How many bytes of rejected messages are stored, in addition to the quota; less where the quota is small.
const REJECTED_MAX_BYTES: u64 = 1 << 20;

/// A chunk of an owner that is gone is copied together with others if it fills no more than one part in this many: a
/// crash leaves a few hundred bytes in half a megabyte.
const SMALL_PART: usize = 2;

pub(crate) struct Spool {
    storage: Arc<dyn Storage>,
    home: Arc<Home>,
    folder: PathBuf,
    /// The folders beside it of a write key or endpoint that the program used before.
    formers: Vec<PathBuf>,
    /// Bytes of messages in a chunk.
    room: usize,
    /// The size of a chunk's file until it is full.
    file_bytes: usize,
    rejected_max_bytes: u64,
    /// What was stored up to this time, in milliseconds since 1970, must not be sent: the user opted out then.
    discard_up_to_ms: AtomicI64,
    /// Locked for moments only, and never while the disk is used.
    open: Mutex<Option<Open>>,
    /// Whether the log says what waits for other sources.
    beside_told: Mutex<bool>,
    /// Whether the log says that a former folder cannot be read.
    formers_told: Mutex<bool>,
}

/// What exists once the folder is in use.
struct Open {
    appending: Appending,
    owner: String,
    lock: Arc<Lock>,
    sequence: u64,
    /// The locks of owners that are gone, by their paths, each with the number of their chunks that are still there.
    adopted: BTreeMap<PathBuf, (Lock, usize)>,
}

/// A chunk of an owner that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// What it occupies on the disk.
    pub(crate) bytes: u64,
}

/// What a look into the folder finds.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Chunks adopted just now, the oldest first.
    pub(crate) found: Vec<Found>,
    /// How many bytes other owners have in the folder.
    pub(crate) foreign_bytes: u64,
    /// How many files were deleted because the user has opted out since.
    pub(crate) discarded: usize,
    /// Lines for the log.
    pub(crate) log: Vec<String>,
}

/// A small chunk of an owner that is gone, to be copied together with others.
struct Leftover {
    file: Found,
    /// How long it was when it was read, and what its lines need.
    file_bytes: u64,
    lines_bytes: usize,
    messages: usize,
}

impl Spool {
    /// A spool below a home, for chunks of this many bytes, with this quota. Does not touch the disk yet.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        home: Arc<Home>,
        write_key: &str,
        endpoint: &str,
        room: usize,
        quota: u64,
    ) -> Self {
        let file_bytes = file_bytes(room);
        Spool {
            storage,
            folder: home.path().join(queue_name(endpoint, write_key)),
            formers: Vec::new(),
            home,
            room,
            file_bytes,
            rejected_max_bytes: REJECTED_MAX_BYTES.min(quota / 8),
            discard_up_to_ms: AtomicI64::new(i64::MIN),
            open: Mutex::new(None),
            beside_told: Mutex::new(false),
            formers_told: Mutex::new(false),
        }
    }

    /// Also adopts what waits in the folders of these names, which do not include its own.
    pub(crate) fn with_formers(self, names: &[String]) -> Self {
        let formers = names.iter().map(|name| self.home.path().join(name)).collect();
        Spool { formers, ..self }
    }

    /// The folders whose chunks this spool delivers, its own first.
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.folder).chain(&self.formers)
    }

    /// What was stored up to this time is deleted when it is found.
    pub(crate) fn discard_up_to(&self, ms: i64) {
        self.discard_up_to_ms.store(ms, Ordering::SeqCst);
    }

    /// Whether a file was made before the user opted out.
    fn is_discarded(&self, name: &str) -> bool {
        begun_ms(name).is_some_and(|made| made <= self.discard_up_to_ms.load(Ordering::SeqCst))
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the folder exists and our part of it is locked.
    fn is_prepared(&self) -> bool {
        self.open().is_some()
    }

    /// Makes the folder, and locks our part of it.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        if self.is_prepared() {
            return Ok(());
        }
        self.home.make()?;
        // Not what is above it: after a chroot in between, the path leads elsewhere, and nothing may be begun there.
        home::made(self.storage.make_folder(&self.folder))?;
        let appending = self.storage.appending(&self.folder)?;
        let (owner, lock) = self.take_ownership()?;
        let lock_path = self.lock_path(&owner);
        let lock = Arc::new(lock);
        let mut open = self.open();
        if open.is_none() {
            *open = Some(Open { appending, owner, lock, sequence: 0, adopted: BTreeMap::new() });
        } else {
            drop(open); // another thread was faster
            let _ = self.storage.remove(&lock_path);
        }
        Ok(())
    }

    /// A new owner's name, and its lock. Another process that looks into the folder after the file is made and before
    /// it is locked takes the owner for one that is gone; then another name is tried.
    fn take_ownership(&self) -> io::Result<(String, Lock)> {
        for _ in 0..100 {
            let owner = owner();
            if let Some(lock) = self.storage.lock(&self.lock_path(&owner))? {
                return Ok((owner, lock));
            }
        }
        Err(io::Error::other("no lock could be taken"))
    }

    fn lock_path(&self, owner: &str) -> PathBuf {
        self.folder.join(format!("{owner}{LOCK}"))
    }

    /// The path of a new file, and how to append to it.
    fn next_path(&self, end: &str, begun_ms: i64) -> io::Result<(PathBuf, Appending)> {
        self.prepare()?;
        let mut guard = self.open();
        let open = guard.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let name = open.next_name(end, begun_ms, self.discard_up_to_ms.load(Ordering::SeqCst));
        Ok((self.folder.join(name), open.appending))
    }

    /// A new, empty chunk on the disk.
    pub(crate) fn chunk(&self) -> io::Result<Chunk> {
        let (path, appending) = self.next_path(CHUNK, time::now_ms())?;
        if appending == Appending::Mapped {
            match self.storage.create_mapped(&path, self.file_bytes) {
                Ok(map) => {
                    let identity = self.storage.identity(&path).ok();
                    return Ok(Chunk::mapped(map, path, identity));
                }
                Err(error) if cannot_reserve(&error) => {
                    self.open().iter_mut().for_each(|open| open.appending = Appending::Written);
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
        match self.storage.create(&path) {
            Ok(file) => Ok(Chunk::written(file, path)),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// If the folder itself is gone, the next try makes it again, and takes a new lock.
    fn lost(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::NotFound {
            drop(self.open().take());
        }
        error
    }

    /// Whether another process took this chunk of ours for one of an owner that is gone, and deleted its file.
    pub(crate) fn is_taken(&self, chunk: &Retired) -> bool {
        match self.storage.identity(&chunk.path) {
            Ok(identity) => chunk.identity.is_some_and(|own| own != identity),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Cuts a chunk of our own, which is not mapped any more, to its content.
    pub(crate) fn cut(&self, path: &Path, bytes: usize) -> io::Result<()> {
        self.storage.truncate(path, bytes as u64)
    }

    /// The content of a chunk.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.storage.read(path)
    }

    /// Deletes a chunk, and the lock of its owner, if the owner is gone and this was its last chunk.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        kill::point("remove-before");
        let removed = match self.storage.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        kill::point("removed");
        if let (Some(owner), Ok(())) = (owner_of(path), &removed) {
            let lock_path = lock_beside(path, owner);
            let last = self.open().as_mut().and_then(|open| {
                let (_, left) = open.adopted.get_mut(&lock_path)?;
                *left = left.saturating_sub(1);
                if *left == 0 { open.adopted.remove(&lock_path) } else { None }
            });
            last.into_iter().for_each(|(lock, _)| self.unlock(&lock_path, lock));
        }
        removed
    }

    /// Releases the lock of an owner that has no chunks left. The file is deleted while it is still locked, so that no
    /// other process can lock a file that is about to be deleted.
    fn unlock(&self, path: &Path, lock: Lock) {
        kill::point("unlock-before");
        let _ = self.storage.remove(path);
        kill::point("unlocked");
        drop(lock);
    }

    /// Looks into the folder, which is prepared: adopts the chunks of owners that are gone, and adds up the bytes of
    /// the others.
    pub(crate) fn look(&self) -> io::Result<Look> {
        let mut look = Look::default();
        look.log.extend(self.keep_lock());
        let mut leftovers = Vec::new();
        self.look_into(&self.folder, &mut look, &mut leftovers)?;
        for former in &self.formers {
            match self.look_into(former, &mut look, &mut leftovers) {
                Err(error) if !is_absence(&error) => look.log.extend(self.tell_of_former(former, &error)),
                _ => {}
            }
        }
        self.copy_together(leftovers, &mut look);
        self.let_go_of_the_empty();
        look.found.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
        look.discarded += self.folders().map(|folder| self.discard_rejected(folder)).sum::<usize>();
        look.discarded += self.discard_elsewhere();
        for folder in self.folders() {
            self.remove_unfinished(folder);
            self.remove_unfinished(&folder.join(REJECTED));
        }
        self.remove_unfinished(self.home.path());
        look.log.extend(self.tell_of_others());
        Ok(look)
    }

    /// Adopts the chunks of owners that are gone in one folder.
    fn look_into(&self, folder: &Path, look: &mut Look, leftovers: &mut Vec<Leftover>) -> io::Result<()> {
        let known: Vec<PathBuf> = match self.open().as_ref() {
            Some(open) => open.adopted.keys().cloned().chain([self.lock_path(&open.owner)]).collect(),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let owners = self.owners_in(folder)?;
        kill::point("listed");
        for (owner, chunks) in owners {
            let lock_path = folder.join(format!("{owner}{LOCK}"));
            if known.contains(&lock_path) {
                continue;
            }
            // One owner that cannot be locked must not keep the others from being adopted.
            let Ok(Some(lock)) = self.storage.lock(&lock_path) else {
                // A chunk that is still being filled has whole pages, its full size, and is outside the quota.
                let sealed = chunks.iter().filter(|chunk| chunk.bytes % PAGE_BYTES as u64 != 0);
                look.foreign_bytes += sealed.map(|chunk| chunk.blocks_bytes).sum::<u64>();
                continue;
            };
            kill::point("adopted");
            // Listed again: the owner may have made more chunks before it ended.
            let chunks = self.owners_in(folder)?.remove(&owner).unwrap_or_default();
            if let Some(open) = &mut *self.open() {
                open.adopted.insert(lock_path, (lock, chunks.len()));
            }
            self.adopt(folder, chunks, look, leftovers);
        }
        Ok(())
    }

    /// Says once why a former folder's chunks are not delivered.
    fn tell_of_former(&self, former: &Path, error: &io::Error) -> Option<String> {
        let mut told = self.formers_told.lock().unwrap_or_else(PoisonError::into_inner);
        let line = || format!("{}, of the former write key or endpoint, cannot be read: {error}", former.display());
        (!std::mem::replace(&mut *told, true)).then(line)
    }

    /// Takes the lock again if it was lost: a cleaner of old files may have deleted its file, or the host may have
    /// closed all descriptors. If another process has it by now, takes a new name.
    fn keep_lock(&self) -> Option<String> {
        let (owner, lock) = self.open().as_ref().map(|open| (open.owner.clone(), open.lock.clone()))?;
        if lock.is_held() {
            return None;
        }
        let again = match self.storage.lock(&self.lock_path(&owner)) {
            Ok(Some(lock)) => Ok((owner, lock)),
            _ => self.take_ownership(),
        };
        match again {
            Ok((owner, lock)) => {
                if let Some(open) = self.open().as_mut() {
                    (open.owner, open.lock) = (owner, Arc::new(lock));
                }
                Some("the lock of this process's part of the spool was lost; it is locked again".to_owned())
            }
            Err(error) => Some(format!("the lock of the spool was lost and cannot be taken again: {error}")),
        }
    }

    /// Takes over the chunks of an owner that is gone.
    fn adopt(&self, folder: &Path, chunks: Vec<Entry>, look: &mut Look, leftovers: &mut Vec<Leftover>) {
        for chunk in chunks {
            let path = folder.join(&chunk.name);
            if self.is_discarded(&chunk.name) {
                look.discarded += 1;
                let _ = self.remove(&path);
                continue;
            }
            let found = Found { path: path.clone(), bytes: chunk.blocks_bytes };
            // It may be readable when its turn comes; if not, that is reported then.
            let Ok(content) = self.storage.read(&path) else {
                look.found.push(found);
                continue;
            };
            if content.iter().all(|byte| *byte == 0) {
                let _ = self.remove(&path);
                continue;
            }
            let batch = Batch::checked(content);
            let lines_bytes = batch.sizes().sum::<usize>() + batch.len() * TRAILER_BYTES;
            if lines_bytes > self.room / SMALL_PART || batch.damaged().len() > 0 {
                look.found.push(found);
                continue;
            }
            let messages = batch.len();
            leftovers.push(Leftover { file: found, file_bytes: chunk.bytes, lines_bytes, messages });
        }
    }

    /// Copies small chunks into chunks of our own, the oldest first.
    fn copy_together(&self, mut leftovers: Vec<Leftover>, look: &mut Look) {
        leftovers.sort_by(|a, b| a.file.path.file_name().cmp(&b.file.path.file_name()));
        let (mut bytes, mut messages, mut some) = (0, 0, Vec::new());
        for leftover in leftovers {
            let is_full = bytes + leftover.lines_bytes > self.room || messages + leftover.messages > MAX_BATCH_MESSAGES;
            if is_full {
                self.copy_into_one(std::mem::take(&mut some), look);
                (bytes, messages) = (0, 0);
            }
            bytes += leftover.lines_bytes;
            messages += leftover.messages;
            some.push(leftover);
        }
        self.copy_into_one(some, look);
    }

    /// Copies chunks into one of our own, then deletes them. A kill in between leaves both, with the same message ids.
    fn copy_into_one(&self, leftovers: Vec<Leftover>, look: &mut Look) {
        let is_worth_it = match &leftovers[..] {
            [] => return,
            [one] => one.file_bytes > one.lines_bytes as u64, // the file is longer than its content
            _ => true,
        };
        let copied = is_worth_it.then(|| self.copy(&leftovers)).and_then(Result::ok);
        match copied {
            Some(copy) => {
                kill::point("copied");
                look.found.push(copy);
                leftovers.iter().for_each(|leftover| _ = self.remove(&leftover.file.path));
            }
            // Without room for a copy they are sent from where they are.
            None => look.found.extend(leftovers.into_iter().map(|leftover| leftover.file)),
        }
    }

    fn copy(&self, leftovers: &[Leftover]) -> io::Result<Found> {
        let mut lines = Vec::new();
        for leftover in leftovers {
            lines.extend(chunk::write_lines(Batch::checked(self.storage.read(&leftover.file.path)?).all()));
        }
        let oldest = leftovers.first().and_then(|leftover| leftover.file.path.file_name()?.to_str());
        let path = self.write_lines(oldest.and_then(begun_ms).unwrap_or(0), &lines, true)?;
        Ok(Found { path, bytes: lines.len() as u64 })
    }

    /// Releases the locks of owners that left nothing.
    fn let_go_of_the_empty(&self) {
        let empty = match self.open().as_mut() {
            Some(open) => {
                let (kept, empty) = std::mem::take(&mut open.adopted).into_iter().partition(|(_, (_, left))| *left > 0);
                open.adopted = kept;
                empty
            }
            None => BTreeMap::new(),
        };
        empty.into_iter().for_each(|(path, (lock, _))| self.unlock(&path, lock));
    }

    /// Says once what waits for other write keys or endpoints: this client does not deliver it.
    fn tell_of_others(&self) -> Option<String> {
        let mut told = self.beside_told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told || self.discard_up_to_ms.load(Ordering::SeqCst) == i64::MAX {
            return None;
        }
        *told = true;
        let mut files = 0;
        for name in self.storage.folders(self.home.path()).ok()?.iter().filter(|name| is_hash(name)) {
            let folder = self.home.path().join(name);
            if self.folders().any(|own| *own == folder) {
                continue;
            }
            for (owner, chunks) in self.owners_in(&folder).unwrap_or_default() {
                // Owners that run deliver their own.
                let is_gone = matches!(self.storage.lock(&folder.join(format!("{owner}{LOCK}"))), Ok(Some(_)));
                files += if is_gone { chunks.len() } else { 0 };
            }
        }
        (files > 0).then(|| {
            let home = self.home.path().display();
            let (files, wait, them) = match files {
                1 => ("a file".to_owned(), "waits", "it"),
                _ => (format!("{files} files"), "wait", "them"),
            };
            format!(
                "{files} in {home} {wait} for another write key or endpoint; `segment spool ls` shows {them}, and \
                 former_write_key, former_endpoint or `segment spool send` delivers {them}"
            )
        })
    }

    /// The owners that have a lock or chunks in a folder, each with its chunks.
    fn owners_in(&self, folder: &Path) -> io::Result<BTreeMap<String, Vec<Entry>>> {
        let mut owners: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for entry in self.storage.list(folder)? {
            if let Some(owner) = owner_of(Path::new(&entry.name)) {
                owners.entry(owner.to_owned()).or_default().push(entry);
            } else if let Some(owner) = entry.name.strip_suffix(LOCK).filter(|owner| is_owner(owner)) {
                owners.entry(owner.to_owned()).or_default();
            }
        }
        Ok(owners)
    }

    /// Deletes files that a process was writing when it died.
    fn remove_unfinished(&self, folder: &Path) {
        for entry in self.storage.list(folder).unwrap_or_default() {
            let age_ms = time::now_ms().saturating_sub(entry.modified_ms.unwrap_or_default());
            if is_unfinished(&entry.name) && age_ms.unsigned_abs() > UNFINISHED_MAX_MS {
                let _ = self.storage.remove(&folder.join(&entry.name));
            }
        }
    }

    /// Deletes what was rejected before the user opted out, and returns how many files that were.
    fn discard_rejected(&self, folder: &Path) -> usize {
        if self.discard_up_to_ms.load(Ordering::SeqCst) == i64::MIN {
            return 0;
        }
        let folder = folder.join(REJECTED);
        let kept = self.storage.list(&folder).unwrap_or_default();
        let discarded = kept
            .iter()
            .filter(|entry| owner_of_rejected(&entry.name).is_some())
            .filter(|entry| self.is_discarded(&entry.name));
        discarded.filter(|entry| self.storage.remove(&folder.join(&entry.name)).is_ok()).count()
    }

    /// While the user has opted out, deletes what is stored for other sources too, an earlier write key for example,
    /// and returns how many files that were. Owners that are alive delete their own.
    fn discard_elsewhere(&self) -> usize {
        if self.discard_up_to_ms.load(Ordering::SeqCst) != i64::MAX {
            return 0;
        }
        let above = self.home.path();
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

    /// Stores messages that are given up for good, and why; the oldest are deleted when there are too many.
    pub(crate) fn reject<'a>(&self, messages: impl Iterator<Item = &'a [u8]>, reason: &str) -> io::Result<()> {
        self.keep_rejected(&chunk::write_lines(messages), reason)
    }

    /// Stores damaged lines, as they are.
    pub(crate) fn reject_damaged<'a>(&self, lines: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut kept = Vec::new();
        for line in lines {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
        self.keep_rejected(&kept, "the lines are damaged: they are not as they were written")
    }

    fn keep_rejected(&self, lines: &[u8], reason: &str) -> io::Result<()> {
        let folder = self.folder.join(REJECTED);
        let (path, _) = self.next_path("", time::now_ms())?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        home::made(self.storage.make_folder(&folder))?;
        self.storage.replace(&folder.join(format!("{name}{REASON}")), format!("{reason}\n").as_bytes())?;
        kill::point("reject-reason");
        self.storage.replace(&folder.join(format!("{name}{CHUNK}")), lines)?;
        kill::point("rejected");
        if self.is_discarded(name) {
            // The user opted out while it was being written.
            [REASON, CHUNK].iter().for_each(|end| _ = self.storage.remove(&folder.join(format!("{name}{end}"))));
            return Ok(());
        }
        let mut kept = self.storage.list(&folder)?;
        kept.retain(|entry| owner_of_rejected(&entry.name).is_some());
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        let mut bytes: u64 = kept.iter().map(|entry| entry.bytes).sum();
        for entry in kept {
            if bytes <= self.rejected_max_bytes {
                break;
            }
            if self.storage.remove(&folder.join(&entry.name)).is_ok() {
                bytes -= entry.bytes;
            }
        }
        Ok(())
    }

    /// Stores until when nothing is sent, and why in one line; none deletes what was stored.
    pub(crate) fn save_pace(&self, pace: Option<SavedPace>, reason: &str) -> io::Result<()> {
        let path = self.folder.join(PACE);
        match pace {
            Some(SavedPace { failures, retry_at_ms, paused_until_ms }) => {
                let text = format!("1 {failures} {retry_at_ms} {paused_until_ms}\n{reason}\n");
                self.storage.replace(&path, text.as_bytes())
            }
            None => self.storage.remove(&path),
        }
    }

    /// The stored pace, if it can be read.
    pub(crate) fn load_pace(&self) -> Option<SavedPace> {
        read_pace(&self.storage.read(&self.folder.join(PACE)).ok()?).map(|(pace, _)| pace)
    }

    /// Syncs a chunk and its name, so that they survive a loss of power.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        self.storage.sync(path)?;
        self.storage.sync(&self.folder)
    }

    /// Writes messages to a new file, named by the time at which their chunk was begun; synced, if that is wanted.
    pub(crate) fn write_anew<'a>(
        &self,
        begun_ms: i64,
        messages: impl Iterator<Item = &'a [u8]>,
        sync: bool,
    ) -> io::Result<PathBuf> {
        self.write_lines(begun_ms, &chunk::write_lines(messages), sync)
    }

    /// The same, with lines as they stand in a file.
    pub(crate) fn write_lines(&self, begun_ms: i64, lines: &[u8], sync: bool) -> io::Result<PathBuf> {
        let (path, _) = self.next_path(CHUNK, begun_ms)?;
        let mut file = self.storage.create(&path).map_err(|error| self.lost(error))?;
        let written = file.append(lines).and_then(|()| if sync { self.sync(&path) } else { Ok(()) });
        drop(file);
        if let Err(error) = written {
            let _ = self.storage.remove(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// Releases the folder: what is left may be adopted. `empty` says that this owner has left nothing.
    pub(crate) fn close(&self, empty: bool) {
        let open = self.open().take();
        if let Some(open) = open.filter(|_| empty) {
            let _ = self.storage.remove(&self.lock_path(&open.owner));
        }
    }
}

impl Open {
    /// Names sort by age. A new file is always younger than what an opt-out deletes, whatever the clock says.
    fn next_name(&mut self, end: &str, begun_ms: i64, discard_up_to_ms: i64) -> String {
        self.sequence += 1;
        let ms = match discard_up_to_ms {
            i64::MAX => begun_ms,
            discarded => begun_ms.max(discarded.saturating_add(1)),
        };
        format!("{:013}-{:06}-{}{end}", ms.clamp(0, MS_MAX), self.sequence, self.owner)
    }
}

/// The largest number of thirteen digits.
const MS_MAX: i64 = 9_999_999_999_999;

fn owner() -> String {
    let id = id::new();
    id.iter().filter(|byte| **byte != b'-').take(16).map(|byte| char::from(*byte)).collect()
}

/// The name of the queue of one write key and endpoint. A hash, because file names are seen by many, and a write key
/// should not be. The endpoint is part of it, so that what was meant for one region is not sent to another unless the
/// host asks for that.
pub(crate) fn queue_name(endpoint: &str, write_key: &str) -> String {
    let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("{endpoint}#{write_key}").as_bytes());
    name.simple().to_string()
}

/// Whether a folder's name is that of a queue.
pub(crate) fn is_hash(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The owner of a chunk; none if the file is no chunk of this version.
fn owner_of(path: &Path) -> Option<&str> {
    stem_of(path.file_name()?.to_str()?.strip_suffix(CHUNK)?)
}

/// What a file [`PACE`] says: until when nothing is to be sent, and why.
pub(crate) fn read_pace(content: &[u8]) -> Option<(SavedPace, Option<String>)> {
    let text = String::from_utf8_lossy(content);
    let (first, rest) = text.split_once('\n')?;
    let mut numbers = first.split_ascii_whitespace();
    if numbers.next() != Some("1") {
        return None;
    }
    let pace = SavedPace {
        failures: numbers.next()?.parse().ok()?,
        retry_at_ms: numbers.next()?.parse().ok()?,
        paused_until_ms: numbers.next()?.parse().ok()?,
    };
    Some((pace, rest.lines().next().filter(|reason| !reason.is_empty()).map(str::to_owned)))
}

/// The owner that wrote a file of `rejected/`.
fn owner_of_rejected(name: &str) -> Option<&str> {
    stem_of(name.strip_suffix(CHUNK).or_else(|| name.strip_suffix(REASON))?)
}

/// The owner in `<13 digits>-<6 or more digits>-<owner>`.
fn stem_of(stem: &str) -> Option<&str> {
    let mut parts = stem.split('-');
    let (ms, sequence, owner) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |text: &str, digits| text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = is_number(ms, 13) && is_number(sequence, 6) && is_owner(owner) && parts.next().is_none();
    is_ours.then_some(owner)
}

/// The path of the lock of a chunk's owner.
fn lock_beside(chunk: &Path, owner: &str) -> PathBuf {
    chunk.with_file_name(format!("{owner}{LOCK}"))
}

/// Whether a file was to replace one of ours: `NAME.PROCESS-NUMBER.new`.
fn is_unfinished(name: &str) -> bool {
    let Some((name, tag)) = name.strip_suffix(UNFINISHED).and_then(|name| name.rsplit_once('.')) else { return false };
    let is_tag = tag.split('-').all(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    is_tag && (name == PACE || name == MARK || owner_of_rejected(name).is_some())
}

fn is_owner(owner: &str) -> bool {
    owner.len() == 16 && owner.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// When a file was begun, by its name.
pub(crate) fn begun_ms(name: &str) -> Option<i64> {
    name.split('-').next().and_then(|ms| ms.parse().ok())
}

/// Whether the file system cannot reserve room at all, rather than having none left.
fn cannot_reserve(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// The file of a chunk that is being filled consists of whole pages.
const PAGE_BYTES: usize = 4096;

/// How many bytes a chunk with this room may need in a file.
fn file_bytes(room: usize) -> usize {
    (room + MAX_BATCH_MESSAGES * (TRAILER_BYTES - 1)).next_multiple_of(PAGE_BYTES)
}

/// The largest room of a chunk whose file has at most so many bytes; none if that is too little for a message.
pub(crate) fn room_in_file(bytes: u64) -> Option<usize> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX) / PAGE_BYTES * PAGE_BYTES;
    bytes.checked_sub(MAX_BATCH_MESSAGES * (TRAILER_BYTES - 1)).filter(|room| *room > MAX_MESSAGE_BYTES)
}

/// How often the folder is looked into: other owners may have died.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "spool_tests.rs"]
pub(crate) mod tests;
