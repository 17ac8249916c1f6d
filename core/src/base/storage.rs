//! The disk, and what differs between systems: every file call, mapping and lock of this crate is made here.

// A mapped file must not be shortened by another program, which no type can guarantee.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::base::fork::{self, ClosedInChild, Hold};
use crate::base::kill;
use crate::base::signals::extending;
use crate::base::threads;

/// No more than this is read of a file, whatever its name and its size say: a chunk is one batch, of half a megabyte.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 20;

/// The suffix of a file that is about to replace another.
pub(crate) const UNFINISHED: &str = ".new";

/// How files on a file system are appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appending {
    /// Files are mapped: once space is reserved, a store into it cannot fail.
    Mapped,
    /// Files are written with system calls: on a network, copy-on-write or user-space file system a reservation
    /// guarantees nothing, and a store into a map could kill the host.
    Written,
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// What it occupies on the disk: more than its content where space is reserved, less where there are holes.
    pub(crate) blocks_bytes: u64,
    /// When it was last written to, in milliseconds since 1970, if the file system knows.
    pub(crate) modified_ms: Option<i64>,
}

/// The disk, or one that fails in tests.
pub(crate) trait Storage: Send + Sync {
    /// Makes a folder, and those above it, for this user alone.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// How files in this folder are appended to.
    fn appending(&self, folder: &Path) -> io::Result<Appending>;
    /// The files in a folder, without links and unreadable entries.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// The folders in a folder, without links and unreadable entries.
    fn folders(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// A new file of this size, for this user alone, mapped, all zero, with space reserved for every byte.
    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map>;
    /// A new, empty file for this user alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>>;
    /// All of a file; one of more than [`MAX_FILE_BYTES`] is `FileTooLarge`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces a file, or makes it if there is none: wholly or not at all.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// The same; the file survives a loss of power once it returns, and until then the former one does.
    fn replace_synced(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Deletes unfinished replacements of this file, left by processes that died. No process may be replacing it now.
    fn remove_unfinished(&self, path: &Path);
    /// Cuts a file.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Locks a file, which is made if it does not exist; none if another process, or another client of this one, has
    /// the lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Makes a file, or the names in a folder, survive a loss of power.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Which file has this name: device and inode. A link is not followed: it has an identity of its own. Where the
    /// system has no such thing, it is always the same.
    fn identity(&self, path: &Path) -> io::Result<(u64, u64)>;
    /// Renames a file, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes one folder, for this user alone; `AlreadyExists` if there is something with this name.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
}

/// How large a file may become when this process writes to it.
pub(crate) fn file_size_limit() -> u64 {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit};
        getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(most, _)| most)
    }
    #[cfg(not(unix))]
    u64::MAX
}

/// Wine's version, if Wine runs this Windows program: its ntdll has a function that Windows does not have (winehq.org,
/// Developer FAQ: How can I detect Wine?).
pub(crate) fn wine_version() -> Option<String> {
    #[cfg(windows)]
    return windows::wine_version();
    #[cfg(not(windows))]
    None
}

/// The processor's architecture, where a system call reports it and it may differ from the program's.
pub(crate) fn processor() -> Option<&'static str> {
    #[cfg(windows)]
    return windows::processor();
    // developer.apple.com, About the Rosetta translation environment: Determine whether your app is running as a
    // translated binary.
    #[cfg(target_os = "macos")]
    {
        let (mut is_translated, mut bytes) = (0 as std::ffi::c_int, size_of::<std::ffi::c_int>());
        let (value, name) = ((&raw mut is_translated).cast(), c"sysctl.proc_translated");
        // SAFETY: there are `bytes` bytes at `value`, and nothing is set.
        let read = unsafe { libc::sysctlbyname(name.as_ptr(), value, &raw mut bytes, std::ptr::null_mut(), 0) };
        return (read == 0 && is_translated == 1).then_some("aarch64");
    }
    #[cfg(not(any(windows, target_os = "macos")))]
    None
}

/// What only Windows knows. Functions that not every version of Windows has are looked up by name.
#[cfg(windows)]
mod windows {
    use std::ffi::{CStr, c_char, c_void};
    use std::mem::transmute;
    use std::ptr::NonNull;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetModuleHandleA(name: *const c_char) -> *mut c_void;
        fn GetProcAddress(module: *mut c_void, name: *const c_char) -> Option<NonNull<c_void>>;
        fn GetCurrentProcess() -> *mut c_void;
    }

    /// A function of a library that every Windows program has loaded until it ends.
    fn function(library: &CStr, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the name is a string that ends with a NUL.
        let library = NonNull::new(unsafe { GetModuleHandleA(library.as_ptr()) })?;
        // SAFETY: as above, and the library is there.
        unsafe { GetProcAddress(library.as_ptr(), name.as_ptr()) }
    }

    pub(super) fn wine_version() -> Option<String> {
        let function = function(c"ntdll.dll", c"wine_get_version")?;
        // SAFETY: Wine declares it as `const char * CDECL wine_get_version(void)`, and it returns a constant.
        let version = unsafe {
            let version: unsafe extern "C" fn() -> *const c_char = transmute(function);
            version()
        };
        // SAFETY: it is NULL or a constant that ends with a NUL.
        let version = (!version.is_null()).then(|| unsafe { CStr::from_ptr(version) })?;
        Some(version.to_string_lossy().into_owned())
    }

    /// learn.microsoft.com, IsWow64Process2: since Windows 10, version 1511; the names of machines are
    /// "Image File Machine Constants".
    pub(super) fn processor() -> Option<&'static str> {
        let function = function(c"kernel32.dll", c"IsWow64Process2")?;
        let (mut program, mut machine) = (0u16, 0u16);
        // SAFETY: Windows declares it like this, and writes to the two numbers.
        let is_known = unsafe {
            let is_wow64: unsafe extern "system" fn(*mut c_void, *mut u16, *mut u16) -> i32 = transmute(function);
            is_wow64(GetCurrentProcess(), &raw mut program, &raw mut machine)
        };
        match machine {
            _ if is_known == 0 => None,
            0x014c => Some("x86"),
            0x8664 => Some("x86_64"),
            0x01c0..=0x01c4 => Some("arm"),
            0xaa64 => Some("aarch64"),
            _ => None,
        }
    }
}

/// A file that is appended to with system calls.
pub(crate) trait Appended: Send + Sync {
    /// Appends all of it or, on an error, nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A mapped file. The file itself is not kept open: there is no descriptor that a host could close or reuse.
///
/// A forked child does not inherit it, because the file would occupy the disk for as long as the child lives. In a
/// child its parent's maps are empty, and are never unmapped, since something else may be at their addresses by then.
#[derive(Debug)]
pub(crate) struct Map {
    /// None once it was let go of.
    memory: Option<memmap2::MmapMut>,
    generation: u32,
    #[cfg(test)]
    simulated: Option<std::sync::Arc<File>>,
}

impl Map {
    fn new(memory: memmap2::MmapMut) -> Self {
        // Where forks are not counted, a child would not know that it must not touch the map.
        #[cfg(target_os = "linux")]
        if fork::watch() {
            let _ = memory.advise(memmap2::Advice::DontFork);
        }
        // Saves the caller that stores a message a page fault. Kernels before 5.14 cannot do this.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::PopulateWrite);
        Map {
            memory: Some(memory),
            generation: fork::generation(),
            #[cfg(test)]
            simulated: None,
        }
    }

    /// A map of one of the simulator's files.
    #[cfg(test)]
    pub(crate) fn simulated(file: std::sync::Arc<File>, bytes: usize) -> io::Result<Self> {
        // SAFETY: the file has no name, and is never shortened.
        let memory = unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&*file) }?;
        let mut map = Map::new(memory);
        map.simulated = Some(file);
        Ok(map)
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.as_deref().filter(|_| self.is_ours()).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let is_ours = self.is_ours();
        self.memory.as_deref_mut().filter(|_| is_ours).unwrap_or_default()
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.memory.take());
        }
    }
}

/// A file that is kept open. If a host closes all descriptors to become a daemon, and then opens files, one of them may
/// get our number. So the file's identity is checked before each use, and before it is closed.
#[derive(Debug)]
struct Kept {
    /// None once it was let go of.
    file: Option<File>,
    identity: (u64, u64),
    generation: u32,
}

impl Kept {
    fn new(file: File) -> io::Result<Self> {
        let identity = files::identity(&file)?;
        Ok(Kept { file: Some(file), identity, generation: fork::generation() })
    }

    /// The file, unless its descriptor belongs to another file by now, or to a parent process.
    fn ours(&self) -> Option<&File> {
        let file = self.file.as_ref().filter(|_| self.generation == fork::generation())?;
        files::identity(file).is_ok_and(|now| now == self.identity).then_some(file)
    }

    /// The same, or an error.
    fn file(&self) -> io::Result<&File> {
        self.ours().ok_or_else(|| io::Error::other("the file was closed by other code of this process"))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.ours().is_none()
            && let Some(file) = self.file.take()
        {
            files::forget(file);
        }
    }
}

/// A lock on a file, held until it is dropped or the process ends; a forked child does not inherit it.
pub(crate) type Lock = Box<dyn Held>;

pub(crate) trait Held: Send + Sync {
    /// Whether it still keeps others out: the host has not closed its file, and others still find that file by its
    /// name.
    fn is_held(&self) -> bool;
}

#[derive(Debug)]
struct FileLock {
    held: Option<(ClosedInChild, Kept)>,
    path: PathBuf,
}

impl FileLock {
    /// None if another process, or another client of this one, has the lock.
    fn take(path: &Path) -> io::Result<Option<FileLock>> {
        let _hold = Hold::new();
        let file = unmasked(private().read(true).write(true).create(true).truncate(false).open(path)?)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let kept = Kept::new(file)?;
        // The former holder may have deleted the file between our open and our lock: then this lock protects nothing.
        if !files::identity_at(path).is_ok_and(|now| now == kept.identity) {
            return Ok(None);
        }
        let noted = ClosedInChild::note(files::descriptor(kept.file()?))?;
        kill::point("lock-made");
        Ok(Some(FileLock { held: Some((noted, kept)), path: path.to_owned() }))
    }
}

impl Held for FileLock {
    fn is_held(&self) -> bool {
        let Some(kept) = self.held.as_ref().map(|(_, kept)| kept).filter(|kept| kept.ours().is_some()) else {
            return false;
        };
        files::identity_at(&self.path).is_ok_and(|now| now == kept.identity)
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _hold = Hold::new();
        // First the note, then the file: a child must not close another file that has got this number.
        if let Some((noted, kept)) = self.held.take() {
            drop(noted);
            drop(kept);
        }
    }
}

/// How long the disk takes, on the thread that waits for it. The time that this thread spent waiting for a processor is
/// not the disk's fault, and is subtracted where the system reports it.
pub(crate) struct Stopwatch {
    began: Instant,
    waited: Option<Duration>,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { began: threads::now(), waited: waited_for_a_processor() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let elapsed = threads::since(self.began);
        if elapsed < Duration::from_millis(10) {
            return elapsed; // too short to matter
        }
        let now = self.waited.and_then(|_| waited_for_a_processor());
        let waited = now.zip(self.waited).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        elapsed.saturating_sub(waited)
    }
}

fn waited_for_a_processor() -> Option<Duration> {
    #[cfg(test)]
    if crate::simulator::threads::is_simulated() {
        return None;
    }
    system::waited_for_a_processor()
}

/// The real disk.
#[derive(Debug)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let make = || match self.make_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            made => made,
        };
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_folder(folder.parent().ok_or(error)?)?;
                make() // once: in some places, like /proc, nothing can be made
            }
            made => made,
        }
    }

    fn appending(&self, folder: &Path) -> io::Result<Appending> {
        system::appending(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // For a link this is its own metadata, not that of its target.
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if metadata.is_file() {
                let (blocks_bytes, modified_ms) = (files::blocks_bytes(&metadata), modified_ms(&metadata));
                entries.push(Entry { name, bytes: metadata.len(), blocks_bytes, modified_ms });
            }
        }
        Ok(entries)
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let entries = fs::read_dir(folder)?.filter_map(Result::ok).filter(is_folder);
        Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map> {
        let file = unmasked(private().read(true).write(true).create_new(true).open(path)?)?;
        kill::point("create-named");
        let mapped = extending(|| system::reserve(&file, bytes as u64)).and_then(|()| {
            kill::point("create-reserved");
            // SAFETY: the file is new, ours alone (0600), and all its blocks are reserved, so that a store cannot fail.
            // A program of the same user that shortens it would harm us; the documentation says so.
            unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&file) }
        });
        if mapped.is_err() {
            let _ = fs::remove_file(path);
        }
        kill::point("create-mapped");
        mapped.map(Map::new)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>> {
        let kept = Kept::new(unmasked(private().append(true).create_new(true).open(path)?)?);
        if kept.is_err() {
            let _ = fs::remove_file(path);
        }
        Ok(Box::new(AppendedFile { kept: kept?, bytes: 0 }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut content = Vec::new();
        if bytes <= MAX_FILE_BYTES {
            content.try_reserve_exact(usize::try_from(bytes).map_err(io::Error::other)?)?;
            // A file may grow while it is read, and a device reports no size.
            file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
        }
        if bytes.max(content.len() as u64) > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
        }
        Ok(content)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        replace(path, content, |_| Ok(()))
    }

    fn replace_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // Renamed before the sync, it could be empty after a loss of power, and the file that it replaced gone.
        replace(path, content, File::sync_all)?;
        self.sync(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    fn remove_unfinished(&self, path: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else { return };
        for entry in self.list(folder).unwrap_or_default() {
            let tag = entry.name.strip_prefix(name).and_then(|rest| rest.strip_suffix(UNFINISHED));
            if tag.is_some_and(|tag| tag.starts_with('.')) {
                let _ = fs::remove_file(folder.join(&entry.name));
            }
        }
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = private().write(true).open(path)?;
        extending(|| file.set_len(bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        Ok(FileLock::take(path)?.map(|lock| Box::new(lock) as Lock))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        if cfg!(not(unix)) && path.is_dir() {
            return Ok(()); // folders cannot be opened
        }
        let file = File::open(path)?;
        match file.sync_all() {
            // Some file systems cannot sync a folder, and do not need to.
            Err(error) if is_unsupported(&error) && file.metadata()?.is_dir() => Ok(()),
            synced => synced,
        }
    }

    fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        files::identity_at(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        folder_builder().create(path)?;
        unmask(path, &fs::metadata(path)?, 0o700)
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Writes a file beside another, and replaces that with it once it is `ready`.
fn replace(path: &Path, content: &[u8], ready: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let (beside, mut file) = create_beside(path)?;
    let written = extending(|| file.write_all(content)).and_then(|()| ready(&file)).and_then(|()| {
        drop(file);
        kill::point("replace-written");
        fs::rename(&beside, path)
    });
    match written {
        Ok(()) => kill::point("replaced"),
        Err(_) => drop(fs::remove_file(&beside)),
    }
    written
}

/// A new file beside another. No other thread or process writes to it: its name is `NAME.PROCESS-NUMBER.new`, and where
/// a process with the same id in another container has taken that, the next number is tried.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);

    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for _ in 0..100 {
        let mut name = name.to_owned();
        name.push(format!(".{}-{}{UNFINISHED}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let beside = path.with_file_name(name);
        match private().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((beside, unmasked(file)?)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn folder_builder() -> fs::DirBuilder {
    #[allow(unused_mut)]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn modified_ms(metadata: &fs::Metadata) -> Option<i64> {
    let modified = metadata.modified().ok()?;
    match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis()).ok().map(|ms| -ms),
    }
}

/// For programs that look at a spool folder from outside.
impl Disk {
    /// Whether any process has this file locked right now. Makes no file.
    pub(crate) fn is_locked(&self, path: &Path) -> bool {
        // Opening a pipe would wait for its other end.
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return false;
        }
        let _hold = Hold::new(); // a child forked now would go on holding it
        // Shared, so that two such checks do not take each other for owners; released with the file.
        let tried = File::open(path).map(|file| file.try_lock_shared());
        matches!(tried, Ok(Err(fs::TryLockError::WouldBlock)))
    }
}

struct AppendedFile {
    kept: Kept,
    bytes: u64,
}

impl Appended for AppendedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.kept.file()?;
        if let Err(error) = extending(|| file.write_all(bytes)) {
            // If this fails, a reader skips the half line anyway. The descriptor is checked again: another file may
            // have it by now.
            let _ = self.kept.file().and_then(|file| file.set_len(self.bytes));
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// The same file, which we may now read and write whatever the host's umask is.
fn unmasked(file: File) -> io::Result<File> {
    unmask_with(&file.metadata()?, 0o600, |permissions| file.set_permissions(permissions))?;
    Ok(file)
}

fn unmask(path: &Path, metadata: &fs::Metadata, mode: u32) -> io::Result<()> {
    unmask_with(metadata, mode, |permissions| fs::set_permissions(path, permissions))
}

#[cfg(unix)]
fn unmask_with(
    metadata: &fs::Metadata,
    mode: u32,
    set: impl FnOnce(fs::Permissions) -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & mode == mode { Ok(()) } else { set(fs::Permissions::from_mode(mode)) }
}

#[cfg(not(unix))]
fn unmask_with(_: &fs::Metadata, _: u32, _: impl FnOnce(fs::Permissions) -> io::Result<()>) -> io::Result<()> {
    Ok(())
}

/// Options for files that no other user may read. Links are not followed.
fn private() -> OpenOptions {
    #[allow(unused_mut)]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};

    use super::{Appending, Hold};

    /// How long this thread has been ready to run without getting a processor, since it began.
    pub(super) fn waited_for_a_processor() -> Option<Duration> {
        let _hold = Hold::new(); // a child forked now would have the file too
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    }

    /// The local file systems on which a reservation is known to guarantee space. On all others, files are written.
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
}

/// Nothing is known about other systems yet: files are written.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use super::Appending;

    pub(super) fn waited_for_a_processor() -> Option<Duration> {
        None
    }

    pub(super) fn appending(_: &Path) -> io::Result<Appending> {
        Ok(Appending::Written)
    }

    pub(super) fn reserve(_: &File, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(unix)]
mod files {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    fn of(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }

    /// The identity of an open file.
    pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
        file.metadata().map(|metadata| of(&metadata))
    }

    /// Which file has this name. A link has an identity of its own.
    pub(super) fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|metadata| of(&metadata))
    }

    pub(super) fn blocks_bytes(metadata: &Metadata) -> u64 {
        metadata.blocks() * 512
    }

    pub(super) fn descriptor(file: &File) -> i32 {
        file.as_raw_fd()
    }

    /// Drops a file without closing its descriptor, which may be another file's by now.
    pub(super) fn forget(file: File) {
        let _ = file.into_raw_fd();
    }
}

/// Files cannot be deleted, or their handles reused, while they are open; and there is no fork.
#[cfg(not(unix))]
mod files {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::path::Path;

    pub(super) fn identity(_: &File) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }

    pub(super) fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|_| (0, 0))
    }

    pub(super) fn blocks_bytes(metadata: &Metadata) -> u64 {
        metadata.len()
    }

    pub(super) fn descriptor(_: &File) -> i32 {
        0
    }

    pub(super) fn forget(file: File) {
        drop(file);
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
