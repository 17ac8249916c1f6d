//! The disk, and what differs between systems: every file call, mapping and lock of this crate is made here.

// Mapping a file: that nobody shortens it meanwhile is a promise between programs, which no type can hold.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::fork::{ClosedInChild, Hold};
use crate::kill;

/// How a file system takes what is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appending {
    /// Files can be mapped: once room is reserved, storing into it cannot fail.
    Mapped,
    /// It must be asked each time: on a network, copy-on-write or user-space file system a reservation is no promise,
    /// and a store into a map could then kill the host.
    Written,
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// The disk, or one that fails in tests.
pub(crate) trait Storage: Send + Sync {
    /// Makes a folder, and those above it, for this user alone.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// How files in this folder take what is appended.
    fn appending(&self, folder: &Path) -> io::Result<Appending>;
    /// The files in a folder; what cannot be looked at is left out.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// The folders in a folder; what cannot be looked at is left out.
    fn folders(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// A new file of this size, for this user alone, all zero, with room reserved for every byte of it, mapped.
    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map>;
    /// A new, empty file for this user alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>>;
    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Puts a file in the place of another, or where there was none: wholly or not at all.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Locks a file, which is made if it is not there; none if another process, or another client of this one, has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Has a file, or a folder's names, survive a loss of power.
    fn sync(&self, path: &Path) -> io::Result<()>;
}

/// A file that is appended to by asking each time.
pub(crate) trait Appended: Send + Sync {
    /// Appends all of it or, on an error, nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A mapped file. The file itself is not kept open: there is no descriptor that a host could close or reuse.
#[derive(Debug)]
pub(crate) struct Map(memmap2::MmapMut);

impl Map {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A lock on a file, held until it is dropped or the process ends; a forked child has no part of it.
#[derive(Debug)]
pub(crate) struct Lock {
    held: Option<(ClosedInChild, File)>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _hold = Hold::new();
        // First the note, then the file: a child must not close what another file's number has become.
        if let Some((noted, file)) = self.held.take() {
            drop(noted);
            drop(file);
        }
    }
}

/// The real disk.
#[derive(Debug)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }

    fn appending(&self, folder: &Path) -> io::Result<Appending> {
        system::appending(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if metadata.is_file() {
                entries.push(Entry { name, bytes: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map> {
        let file = private().read(true).write(true).create_new(true).open(path)?;
        kill::point("create-named");
        let mapped = system::reserve(&file, bytes as u64).and_then(|()| {
            kill::point("create-reserved");
            // SAFETY: the file is new, ours alone (0600), and all its blocks are reserved, so that a store cannot fail.
            // A program of the same user that shortens it would harm us; the documentation says so.
            unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&file) }
        });
        if mapped.is_err() {
            let _ = fs::remove_file(path);
        }
        kill::point("create-mapped");
        // Nobody is to pay for the first touch of a page when a message is stored. Where this cannot be had, somebody
        // does.
        #[cfg(target_os = "linux")]
        let _ = mapped.as_ref().map(|map| map.advise(memmap2::Advice::PopulateWrite));
        mapped.map(Map)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>> {
        let file = private().append(true).create_new(true).open(path)?;
        let identity = system::identity(&file)?;
        Ok(Box::new(AppendedFile { file, identity, bytes: 0 }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = private().write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(content)?;
        drop(file);
        kill::point("replace-written");
        fs::rename(&beside, path)?;
        kill::point("replaced");
        Ok(())
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let _hold = Hold::new();
        let file = private().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had the lock before may have deleted the file in between: then this is a lock on nothing.
        let now = File::open(path).and_then(|file| system::identity(&file));
        if !now.is_ok_and(|now| system::identity(&file).is_ok_and(|ours| ours == now)) {
            return Ok(None);
        }
        let noted = ClosedInChild::note(system::descriptor(&file))
            .ok_or_else(|| io::Error::other("too many files are locked at once"))?;
        kill::point("lock-made");
        Ok(Some(Lock { held: Some((noted, file)) }))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// What only those ask who look at a spool from outside.
impl Disk {
    /// Whether somebody has this file locked right now. Makes no file.
    pub(crate) fn is_locked(&self, path: &Path) -> bool {
        // Opening a pipe would wait for its other end.
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return false;
        }
        // Shared, so that two who ask do not take each other for owners; let go with the file.
        let tried = File::open(path).map(|file| file.try_lock_shared());
        matches!(tried, Ok(Err(fs::TryLockError::WouldBlock)))
    }
}

struct AppendedFile {
    file: File,
    identity: (u64, u64),
    bytes: u64,
}

impl Appended for AppendedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A host that closes all files to become a daemon, and opens others, gives our number to one of them.
        if system::identity(&self.file).ok() != Some(self.identity) {
            return Err(io::Error::other("the file was closed by somebody else"));
        }
        if let Err(error) = self.file.write_all(bytes) {
            let _ = self.file.set_len(self.bytes); // half a line would be skipped by a reader anyway
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Options for files that no other user may read.
fn private() -> OpenOptions {
    #[allow(unused_mut)]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};

    use super::Appending;

    /// The local file systems on which a reservation is known to be a promise. All others are asked each time.
    pub(super) fn appending(folder: &Path) -> io::Result<Appending> {
        let kind = statfs(folder)?.filesystem_type();
        let known = [EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC].contains(&kind);
        Ok(if known { Appending::Mapped } else { Appending::Written })
    }

    /// Not posix_fallocate, which writes zeros where the file system cannot reserve.
    pub(super) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
    }

    pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
        let metadata = file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    pub(super) fn descriptor(file: &File) -> i32 {
        file.as_raw_fd()
    }
}

/// Elsewhere nothing is known yet: files are written.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use super::Appending;

    pub(super) fn appending(_: &Path) -> io::Result<Appending> {
        Ok(Appending::Written)
    }

    pub(super) fn reserve(_: &File, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    #[cfg(not(unix))]
    pub(super) fn identity(_: &File) -> io::Result<(u64, u64)> {
        Ok((0, 0)) // files cannot be deleted, or their handles reused, while they are open
    }

    #[cfg(unix)]
    pub(super) fn descriptor(file: &File) -> i32 {
        use std::os::fd::AsRawFd;
        file.as_raw_fd()
    }

    #[cfg(not(unix))]
    pub(super) fn descriptor(_: &File) -> i32 {
        0 // there is no fork
    }
}
