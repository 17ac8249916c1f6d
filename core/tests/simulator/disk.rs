//! A disk in memory: slow, stuck, full, broken or used by others as the seed wants it, and what is left of it after a
//! loss of power.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use crate::base::storage::{Appended, Appending, Entry, Held, Lock, MAX_FILE_BYTES, Map, Storage, UNFINISHED};
use crate::queue::chunk::Batch;
use crate::simulator::threads::{self, Random, World};

/// What can be wrong with a disk for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// Calls take up to this many milliseconds.
    Slow(u64),
    /// Calls do not return before it is over.
    Stuck,
    Full,
    /// Every third call fails.
    Broken,
    /// Another program has files open that are to be deleted, cut or renamed.
    Shared,
    /// The process has no descriptors left.
    NoDescriptors,
}

impl Trouble {
    fn error(self, random: &mut Random, grows: bool, moves: bool) -> Option<io::Error> {
        let errno = match self {
            Trouble::Full if grows => libc::ENOSPC,
            Trouble::Broken if random.once_in(3) => libc::EIO,
            Trouble::Shared if moves && random.once_in(2) => libc::EACCES,
            Trouble::NoDescriptors if random.once_in(2) => libc::EMFILE,
            _ => return None,
        };
        Some(io::Error::from_raw_os_error(errno))
    }
}

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    Mapped(Arc<File>, usize),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Content::Bytes(bytes) => bytes.len(),
            Content::Mapped(_, bytes) => *bytes,
        }
    }

    fn read(&self) -> Vec<u8> {
        match self {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Mapped(file, bytes) => {
                let mut content = vec![0; *bytes];
                file.read_exact_at(&mut content, 0).expect("a file in memory");
                content
            }
        }
    }

    fn is_mapped(&self) -> bool {
        matches!(self, Content::Mapped(file, _) if Arc::strong_count(file) > 1)
    }
}

struct Node {
    content: Content,
    modified_ms: i64,
    /// What a loss of power leaves: none before it was ever synced.
    durable: Option<Vec<u8>>,
    /// A sync failed: later ones report a success without syncing.
    is_lost: bool,
    /// The process that has it locked, and by which of its locks.
    lock: Option<(usize, u64)>,
}

#[derive(Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    nodes: HashMap<u64, Node>,
    next: u64,
    trouble: Option<Trouble>,
    until: Duration,
    /// When the delivery thread of each process last began to read whether the user opted out, and the time before.
    privacy_reads: HashMap<usize, (Duration, Duration)>,
}

/// Whether a file holds waiting messages.
pub(crate) fn is_chunk(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".v1.jsonl") && !is_rejected(path)
}

/// Whether a file is one of rejected messages.
pub(crate) fn is_rejected(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "rejected")
}

pub(crate) struct Disk {
    world: Arc<World>,
    /// The troubles that may happen to it.
    troubles: Vec<Trouble>,
    /// How files on it are appended to.
    pub(crate) appending: Appending,
    /// Mapped files can be neither deleted nor cut.
    pub(crate) holds_mapped: bool,
    /// Nothing may be changed on it: the user is to be asked first, and has not answered.
    is_untouchable: AtomicBool,
    state: Mutex<State>,
}

/// The disk as a process sees it.
pub(crate) struct Access {
    pub(crate) disk: Arc<Disk>,
    pub(crate) process: usize,
}

fn error<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

impl Disk {
    pub(crate) fn new(world: Arc<World>, troubles: Vec<Trouble>, appending: Appending, holds_mapped: bool) -> Self {
        let state = State { folders: BTreeSet::from([PathBuf::from("/")]), ..State::default() };
        let is_untouchable = AtomicBool::new(false);
        Disk { world, troubles, appending, holds_mapped, is_untouchable, state: Mutex::new(state) }
    }

    /// Forbids or allows all changes on it from now on.
    pub(crate) fn set_untouchable(&self, is_untouchable: bool) {
        self.is_untouchable.store(is_untouchable, Ordering::SeqCst);
    }

    fn check_touch(&self, what: &str, path: &Path) {
        let may = !self.is_untouchable.load(Ordering::SeqCst) || threads::is_ghost();
        self.world.check(may, || format!("before the user has answered: {what} {path:?}"));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_troubles(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// From now on everything works, for so long.
    pub(crate) fn make_peace(&self, time: Duration) {
        let mut state = self.state();
        (state.trouble, state.until) = (None, self.world.now() + time);
    }

    /// What is wrong with it right now.
    fn trouble(&self) -> Option<Trouble> {
        let now = self.world.now();
        let mut state = self.state();
        if now >= state.until {
            let (trouble, time) = self.world.draw(|random| {
                let trouble = (!self.troubles.is_empty() && random.once_in(2)).then(|| random.pick(&self.troubles));
                let longest = Duration::from_secs(if random.once_in(8) { 100 } else { 6 });
                (trouble, random.up_to(longest))
            });
            if trouble != state.trouble {
                self.world.note(|| format!("the disk: {trouble:?} for {time:?}"));
            }
            (state.trouble, state.until) = (trouble, now + time);
        }
        state.trouble
    }

    /// The beginning of every call.
    fn call(&self, what: &str, path: &Path, grows: bool, moves: bool) -> io::Result<()> {
        if threads::is_ghost() {
            return error(io::ErrorKind::NotConnected);
        }
        let began = self.world.now();
        self.world.step();
        let trouble = self.trouble();
        match trouble {
            Some(Trouble::Slow(ms)) => {
                let time = self.world.draw(|random| random.up_to(Duration::from_millis(ms)));
                self.world.sleep(time);
            }
            Some(Trouble::Stuck) => {
                let until = self.state().until;
                self.world.sleep(until.saturating_sub(self.world.now()));
            }
            _ => {
                let time = self.world.draw(|random| random.once_in(8).then(|| random.up_to(Duration::from_millis(2))));
                time.into_iter().for_each(|time| self.world.sleep(time));
            }
        }
        threads::add_disk_time(self.world.now() - began);
        let fault = trouble.and_then(|trouble| self.world.draw(|random| trouble.error(random, grows, moves)));
        self.world.note(|| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{what} {name}{}", fault.as_ref().map_or(String::new(), |error| format!(": {error}")))
        });
        fault.map_or(Ok(()), Err)
    }

    /// The files, as they are.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        state.names.iter().map(|(path, node)| (path.clone(), state.nodes[node].content.read())).collect()
    }

    /// The messages that wait in the folders of queues, as they were written.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let files = self.files().into_iter().filter(|(path, _)| is_chunk(path));
        files.flat_map(|(_, content)| Batch::checked(content).all().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
    }

    /// Since when a process knows what is there: it has read it, and begun another turn since.
    pub(crate) fn knows_privacy_of(&self, process: usize) -> Option<Duration> {
        self.state().privacy_reads.get(&process).map(|(_, before)| *before)
    }

    /// A process is gone: its locks are free.
    pub(crate) fn kill(&self, process: usize) {
        for node in self.state().nodes.values_mut() {
            node.lock.take_if(|(owner, _)| *owner == process);
        }
    }

    /// Leaves what a loss of power leaves: all that was synced; each other sector and each name as it was then or as it
    /// is now.
    pub(crate) fn lose_power(&self) {
        const SECTOR: usize = 512;
        let mut state = self.state();
        let State { names, durable_names, nodes, .. } = &mut *state;
        self.world.draw(|random| {
            let changed: BTreeSet<PathBuf> = names.keys().chain(durable_names.keys()).cloned().collect();
            for path in changed {
                if names.get(&path) != durable_names.get(&path) && random.once_in(2) {
                    match durable_names.get(&path) {
                        Some(node) => _ = names.insert(path, *node),
                        None => _ = names.remove(&path),
                    }
                }
            }
            durable_names.clone_from(names);
            let mut ordered: Vec<_> = nodes.iter_mut().collect();
            ordered.sort_by_key(|(number, _)| **number);
            for (_, node) in ordered {
                let (now, before) = (node.content.read(), node.durable.take().unwrap_or_default());
                let mut left = if random.once_in(2) { vec![0; now.len()] } else { vec![0; before.len()] };
                for (at, sector) in left.chunks_mut(SECTOR).enumerate() {
                    let old = before.get(at * SECTOR..).unwrap_or_default();
                    let new = now.get(at * SECTOR..).unwrap_or_default();
                    let from = if random.once_in(2) { old } else { new };
                    let length = sector.len().min(from.len());
                    sector[..length].copy_from_slice(&from[..length]);
                }
                // A file of which nothing was ever synced may be empty, and a synced one is not shorter than it was.
                if left.len() < before.len() {
                    left.extend_from_slice(&before[left.len()..]);
                }
                node.durable = Some(left.clone());
                (node.content, node.lock, node.is_lost) = (Content::Bytes(left), None, false);
            }
        });
    }
}

impl State {
    fn node(&mut self, path: &Path) -> io::Result<&mut Node> {
        let number = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.nodes.get_mut(number).ok_or(io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, path: &Path, content: Content) -> io::Result<u64> {
        if !path.parent().is_some_and(|folder| self.folders.contains(folder)) {
            return error(io::ErrorKind::NotFound);
        }
        if self.names.contains_key(path) || self.folders.contains(path) {
            return error(io::ErrorKind::AlreadyExists);
        }
        self.next += 1;
        let node = Node { content, modified_ms: wall_ms(), durable: None, is_lost: false, lock: None };
        self.nodes.insert(self.next, node);
        self.names.insert(path.to_owned(), self.next);
        Ok(self.next)
    }
}

fn wall_ms() -> i64 {
    threads::system_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Access {
    fn call(&self, what: &str, path: &Path) -> io::Result<()> {
        self.disk.call(what, path, false, false)
    }

    fn grow(&self, what: &str, path: &Path) -> io::Result<()> {
        self.disk.check_touch(what, path);
        self.disk.call(what, path, true, false)
    }

    fn change(&self, what: &str, path: &Path) -> io::Result<()> {
        self.disk.check_touch(what, path);
        self.disk.call(what, path, false, true)
    }

    fn is_held_back(&self, state: &mut State, path: &Path) -> bool {
        self.disk.holds_mapped && state.node(path).is_ok_and(|node| node.content.is_mapped())
    }

    fn put(&self, path: &Path, content: &[u8], synced: bool) -> io::Result<()> {
        let number = self.disk.world.draw(Random::next) % 1_000_000;
        let beside = PathBuf::from(format!("{}.1-{number}{UNFINISHED}", path.display()));
        self.grow("create", &beside)?;
        self.disk.state().make(&beside, Content::Bytes(Vec::new()))?;
        let written = self.grow("write", &beside).and_then(|()| {
            self.disk.state().node(&beside)?.content = Content::Bytes(content.to_vec());
            if synced { self.sync(&beside) } else { Ok(()) }
        });
        let renamed = written.and_then(|()| self.rename(&beside, path));
        if renamed.is_err() {
            let _ = self.remove(&beside);
        }
        renamed
    }
}

impl Storage for Access {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.grow("create_folder", folder)?;
        let mut state = self.disk.state();
        if folder.ancestors().any(|above| state.names.contains_key(above)) {
            return error(io::ErrorKind::NotADirectory);
        }
        state.folders.extend(folder.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn appending(&self, folder: &Path) -> io::Result<Appending> {
        self.call("statfs", folder)?;
        Ok(self.disk.appending)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.call("list", folder)?;
        let state = self.disk.state();
        if !state.folders.contains(folder) {
            return error(io::ErrorKind::NotFound);
        }
        let names = state.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        let entry = |(path, node): (&PathBuf, &u64)| {
            let (node, name) = (&state.nodes[node], path.file_name().unwrap_or_default());
            let bytes = node.content.len() as u64;
            let blocks_bytes = bytes.next_multiple_of(4096);
            let name = name.to_string_lossy().into_owned();
            Entry { name, bytes, blocks_bytes, modified_ms: Some(node.modified_ms) }
        };
        Ok(names.map(entry).collect())
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.call("folders", folder)?;
        let state = self.disk.state();
        let names = state.folders.iter().filter(|path| path.parent() == Some(folder));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map> {
        self.grow("create_mapped", path)?;
        self.disk.state().make(path, Content::Bytes(Vec::new()))?;
        if let Err(error) = self.grow("reserve", path) {
            let _ = self.remove(path);
            return Err(error);
        }
        let memory = nix::sys::memfd::memfd_create("simulated", nix::sys::memfd::MFdFlags::empty())?;
        let file = Arc::new(File::from(memory));
        file.set_len(bytes as u64)?;
        let map = Map::simulated(file.clone(), bytes)?;
        self.disk.state().node(path)?.content = Content::Mapped(file, bytes);
        Ok(map)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>> {
        self.grow("create", path)?;
        let node = self.disk.state().make(path, Content::Bytes(Vec::new()))?;
        let access = Access { disk: self.disk.clone(), process: self.process };
        Ok(Box::new(Written { access, node, path: path.to_owned() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let began = self.disk.world.now();
        self.call("read", path)?;
        let mut state = self.disk.state();
        if path.ends_with("privacy.json") && std::thread::current().name() == Some("segment") {
            let reads = state.privacy_reads.entry(self.process).or_default();
            *reads = (began, reads.0);
        }
        let content = state.node(path)?.content.read();
        if content.len() as u64 > MAX_FILE_BYTES { error(io::ErrorKind::FileTooLarge) } else { Ok(content) }
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.put(path, content, false)
    }

    fn replace_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.put(path, content, true)?;
        self.sync(path.parent().expect("a folder"))
    }

    fn remove_unfinished(&self, path: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        for entry in self.list(folder).unwrap_or_default() {
            let tag = entry.name.strip_prefix(&*name.to_string_lossy()).and_then(|rest| rest.strip_suffix(UNFINISHED));
            if tag.is_some_and(|tag| tag.starts_with('.')) {
                let _ = self.remove(&folder.join(&entry.name));
            }
        }
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.change("truncate", path)?;
        let mut state = self.disk.state();
        if self.is_held_back(&mut state, path) {
            return error(io::ErrorKind::PermissionDenied);
        }
        let node = state.node(path)?;
        let is_mapped = node.content.is_mapped();
        let mut content = node.content.read();
        self.disk.world.check(!is_mapped || content.len() <= bytes as usize, || format!("{path:?} is mapped and cut"));
        content.resize(bytes as usize, 0);
        node.content = Content::Bytes(content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path)?;
        let mut state = self.disk.state();
        if self.is_held_back(&mut state, path) {
            return error(io::ErrorKind::PermissionDenied);
        }
        let number = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        if let Some(node) = state.nodes.get_mut(&number).filter(|node| !node.content.is_mapped()) {
            node.content = Content::Bytes(node.content.read()); // one descriptor less
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.grow("lock", path)?;
        let serial = self.disk.world.draw(Random::next);
        let mut state = self.disk.state();
        let node = match state.names.get(path) {
            Some(node) => *node,
            None => state.make(path, Content::Bytes(Vec::new()))?,
        };
        let lock = &mut state.nodes.get_mut(&node).expect("it is there").lock;
        if lock.is_some() {
            return Ok(None);
        }
        *lock = Some((self.process, serial));
        let access = Access { disk: self.disk.clone(), process: self.process };
        Ok(Some(Box::new(Locked { access, path: path.to_owned(), node, serial })))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let asked = self.call("sync", path);
        let mut state = self.disk.state();
        if state.folders.contains(path) {
            asked?;
            let State { names, durable_names, .. } = &mut *state;
            durable_names.retain(|name, _| name.parent() != Some(path));
            let now = names.iter().filter(|(name, _)| name.parent() == Some(path));
            durable_names.extend(now.map(|(name, node)| (name.clone(), *node)));
            return Ok(());
        }
        let node = state.node(path)?;
        if asked.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EIO)) {
            node.is_lost = true;
        }
        asked?;
        if !node.is_lost {
            node.durable = Some(node.content.read());
        }
        Ok(())
    }

    fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.call("stat", path)?;
        let state = self.disk.state();
        match state.names.get(path) {
            Some(node) => Ok((1, *node)),
            None if state.folders.contains(path) => Ok((1, 0)),
            None => error(io::ErrorKind::NotFound),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", to)?;
        let mut state = self.disk.state();
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.grow("make_folder", path)?;
        let mut state = self.disk.state();
        if !path.parent().is_some_and(|folder| state.folders.contains(folder)) {
            return error(io::ErrorKind::NotFound);
        }
        if state.names.contains_key(path) || !state.folders.insert(path.to_owned()) {
            return error(io::ErrorKind::AlreadyExists);
        }
        Ok(())
    }
}

/// A file that is written to, whatever name it has now.
struct Written {
    access: Access,
    node: u64,
    path: PathBuf,
}

impl Appended for Written {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.access.grow("append", &self.path)?;
        // A kill in the middle leaves half a line.
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        for part in [first, rest] {
            let mut state = self.access.disk.state();
            let node = state.nodes.get_mut(&self.node).ok_or(io::ErrorKind::NotFound)?;
            node.modified_ms = wall_ms();
            let mut content = node.content.read();
            content.extend_from_slice(part);
            node.content = Content::Bytes(content);
            drop(state);
            threads::point();
        }
        Ok(())
    }
}

struct Locked {
    access: Access,
    path: PathBuf,
    node: u64,
    serial: u64,
}

impl Held for Locked {
    fn is_held(&self) -> bool {
        let state = self.access.disk.state();
        let is_ours = state.nodes[&self.node].lock == Some((self.access.process, self.serial));
        is_ours && state.names.get(&self.path) == Some(&self.node)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.access.disk.state();
        if let Some(node) = state.nodes.get_mut(&self.node) {
            node.lock.take_if(|held| *held == (self.access.process, self.serial));
        }
    }
}
