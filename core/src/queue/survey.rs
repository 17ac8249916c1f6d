//! What is in a spool folder, for programs that look at it from outside. Nothing is adopted, changed or made, and
//! nothing is locked for longer than a moment.
//!
//! ```no_run
//! let mut messages = 0;
//! for queue in segment_native::bindings::survey::queues("/var/lib/game/segment".as_ref())? {
//!     for file in &queue.files {
//!         messages += file.read()?.map_or(0, |content| content.messages.len());
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::base::home::HOME;
use crate::base::storage::{Disk, Entry, MAX_FILE_BYTES, Storage};
use crate::base::time;
use crate::net::endpoint::Endpoint;
use crate::queue::chunk::Batch;
use crate::queue::spool::{self, CHUNK, LOCK, PACE, REASON, REJECTED, is_hash};

/// How often a chunk is read again while its owner fills it, because a read may see a line half written.
const READ_AGAIN: usize = 3;

/// A folder inside a `spool_dir`: the messages of one write key for one endpoint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Queue {
    /// The name of the folder, a hash of the write key and the endpoint.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// Its files, the oldest first. Files that no spool makes are left out.
    pub files: Vec<File>,
    /// Until when nothing of it is sent, if that time is still to come.
    pub pause: Option<Pause>,
}

/// Nothing is sent for now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// When it ends, in milliseconds since 1970.
    pub until_ms: i64,
    /// Why: the last answer, or why there was none.
    pub reason: Option<String>,
}

impl Pause {
    /// When it ends, as `2026-01-02T03:04:05.678Z`.
    pub fn until(&self) -> String {
        time::format(self.until_ms).iter().map(|byte| char::from(*byte)).collect()
    }
}

/// A file of messages.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct File {
    /// The file.
    pub path: PathBuf,
    /// Why it is there.
    pub kind: Kind,
    /// When it was begun, in milliseconds since 1970, if its name says so.
    pub created_ms: Option<i64>,
    /// Its size on the disk. A chunk that is still being filled has its full size.
    pub file_bytes: u64,
}

/// Why a file is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Its messages wait for delivery.
    Waiting,
    /// Its messages were given up for good.
    Rejected {
        /// Why, if that is known.
        reason: Option<String>,
    },
    /// It has a format that this version cannot read; it is left alone.
    Newer {
        /// The version of the format.
        version: u32,
    },
}

/// What is in a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Content {
    /// The messages, each as JSON in one line.
    pub messages: Vec<String>,
    /// How many lines are damaged. The line that a running owner is just writing does not count.
    pub damaged_lines: usize,
    /// How many bytes the lines have, without the room behind them.
    pub bytes: u64,
    /// Whether a running client takes care of the file: its owner or, if that is gone, its adopter.
    pub owner_runs: bool,
}

impl File {
    /// Reads it; none if it is gone, because its messages were delivered meanwhile for example.
    pub fn read(&self) -> io::Result<Option<Content>> {
        if self.file_bytes > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than a chunk can be"));
        }
        match read(&self.path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When it was begun, as `2026-01-02T03:04:05.678Z`.
    pub fn created(&self) -> Option<String> {
        let text = time::format(self.created_ms?);
        Some(text.iter().map(|byte| char::from(*byte)).collect())
    }
}

/// The queues in a folder, which is a `spool_dir` or one queue. An error names the folder.
pub fn queues(folder: &Path) -> io::Result<Vec<Queue>> {
    let mut queues = Vec::new();
    let files = files(folder)?;
    // Without this, "." would have no name.
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !files.is_empty() || is_hash(&name) {
        queues.push(Queue { name, path: folder.to_owned(), files, pause: pause(folder) });
    }
    // All queues are below one folder of ours; the very first versions put them into `folder` itself.
    let home = folder.join(HOME);
    let folders = Disk.folders(folder).map_err(|error| named(folder, &error))?;
    let is_home_there = folders.iter().any(|name| name == HOME);
    for above in [Some(folder), Some(home.as_path()).filter(|_| is_home_there)].into_iter().flatten() {
        let mut names = Disk.folders(above).map_err(|error| named(above, &error))?;
        names.retain(|name| is_hash(name));
        names.sort();
        for name in names {
            let path = above.join(&name);
            queues.push(Queue { name, files: self::files(&path)?, pause: pause(&path), path });
        }
    }
    Ok(queues)
}

fn pause(folder: &Path) -> Option<Pause> {
    let (pace, reason) = spool::read_pace(&Disk.read(&folder.join(PACE)).ok()?)?;
    let until_ms = pace.retry_at_ms.max(pace.paused_until_ms);
    Some(Pause { until_ms, reason }).filter(|pause| pause.until_ms > time::now_ms())
}

/// The name of the queue of a client with these settings; an error if `endpoint` is no URL.
pub fn queue_name(endpoint: &str, write_key: &str) -> Result<String, Error> {
    Ok(spool::queue_name(&Endpoint::tracking("endpoint", endpoint)?.identity(), write_key))
}

/// The `spool_dir` that a folder belongs to, which may be a queue or the folder above the queues.
pub fn spool_dir(folder: &Path) -> io::Result<PathBuf> {
    let mut folder = std::path::absolute(folder)?;
    let is_called =
        |folder: &Path, is: fn(&str) -> bool| folder.file_name().and_then(|name| name.to_str()).is_some_and(is);
    if is_called(&folder, is_hash) {
        folder.pop();
    }
    if is_called(&folder, |name| name == HOME) {
        folder.pop();
    }
    Ok(folder)
}

/// The messages of a file, whatever its name is; an error if the name says that it has another format.
pub fn read(path: &Path) -> io::Result<Content> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(Kind::Newer { version }) = kind(name, || Kind::Waiting) {
        let sentence = format!("it has format {version}, which this version cannot read");
        return Err(io::Error::new(io::ErrorKind::Unsupported, sentence));
    }
    // Checked before reading: an owner that ends in between has written its last line before the file is read.
    let owner_runs = owner_runs(path);
    let mut content = check(Disk.read(path)?, owner_runs);
    // Nothing is locked, so parts of a line may become visible in another order than they were written in. A line that
    // is really damaged stays damaged.
    for _ in 0..READ_AGAIN {
        if !owner_runs || content.damaged_lines == 0 {
            break;
        }
        content = check(Disk.read(path)?, owner_runs);
    }
    Ok(content)
}

fn check(bytes: Vec<u8>, owner_runs: bool) -> Content {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let batch = Batch::checked(bytes);
    Content {
        messages: batch.all().map(|message| String::from_utf8_lossy(message).into_owned()).collect(),
        damaged_lines: batch.damaged().len(),
        bytes: used as u64,
        owner_runs,
    }
}

/// Whether the lock of a chunk's owner is held.
///
/// The check takes the lock for an instant if it is free. That does no harm: an owner locks it before it makes its
/// first chunk, and while the owner runs the attempt fails. A client that tries to adopt the chunk at that very instant
/// takes the owner for alive, and looks again after `spool::LOOK_INTERVAL`.
fn owner_runs(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let owner = name.and_then(|name| name.strip_suffix(CHUNK)).and_then(|stem| stem.rsplit('-').next());
    owner.is_some_and(|owner| Disk.is_locked(&path.with_file_name(format!("{owner}{LOCK}"))))
}

/// The files of a queue, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for entry in Disk.list(folder).map_err(|error| named(folder, &error))? {
        files.extend(kind(&entry.name, || Kind::Waiting).map(|kind| file(folder, &entry, kind)));
    }
    let rejected = folder.join(REJECTED);
    let entries = match Disk.list(&rejected) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        entries => entries.map_err(|error| named(&rejected, &error))?,
    };
    for entry in &entries {
        let kind = kind(&entry.name, || Kind::Rejected { reason: reason(&rejected, &entries, &entry.name) });
        files.extend(kind.map(|kind| file(&rejected, entry, kind)));
    }
    files.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    Ok(files)
}

fn file(folder: &Path, entry: &Entry, kind: Kind) -> File {
    let number = entry.name.split('-').next().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    File {
        path: folder.join(&entry.name),
        kind,
        created_ms: number.and_then(|number| number.parse().ok()),
        file_bytes: entry.bytes,
    }
}

/// What a file is, by its name; none if no spool made it. In this version's format, it is `ours`.
fn kind(name: &str, ours: impl FnOnce() -> Kind) -> Option<Kind> {
    let (stem, version) = name.strip_suffix(".jsonl")?.rsplit_once(".v")?;
    let (created, owner) = (stem.split('-').next()?, stem.rsplit('-').next()?);
    match version {
        // The same rule by which chunks are adopted.
        "1" => Some(ours()).filter(|_| !owner.is_empty()),
        other => {
            let is_number = !created.is_empty() && created.bytes().all(|byte| byte.is_ascii_digit());
            let version = other.parse().ok().filter(|version| is_number && *version > 1)?;
            Some(Kind::Newer { version })
        }
    }
}

/// Why messages were given up, from the file beside them.
fn reason(folder: &Path, entries: &[Entry], name: &str) -> Option<String> {
    let beside = format!("{}{REASON}", name.strip_suffix(CHUNK)?);
    let entry = entries.iter().find(|entry| entry.name == beside && entry.bytes <= MAX_FILE_BYTES)?;
    let text = Disk.read(&folder.join(&entry.name)).ok()?;
    Some(String::from_utf8_lossy(&text).trim_end().to_owned())
}

fn named(folder: &Path, error: &io::Error) -> io::Error {
    let folder = folder.display();
    let sentence = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no folder {folder}"),
        io::ErrorKind::NotADirectory => format!("{folder} is not a folder"),
        _ => format!("{folder} cannot be read: {error}"),
    };
    io::Error::new(error.kind(), sentence)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::base::home::Home;
    use crate::queue::chunk::write_lines;
    use crate::queue::spool::Spool;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name = format!("segment-survey-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
            let folder = Folder(std::env::temp_dir().join(name));
            fs::create_dir_all(&folder.0).expect("made");
            folder
        }

        fn spool(&self) -> Spool {
            spool(&self.0, 4096)
        }

        /// The one queue.
        fn queue(&self) -> Queue {
            let [queue] = queues(&self.0).expect("readable").try_into().expect("one queue");
            queue
        }

        fn write(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, content).expect("written");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn spool(folder: &Path, room: usize) -> Spool {
        let home = Arc::new(Home::new(Arc::new(Disk), folder));
        Spool::new(Arc::new(Disk), home, "KEY", "http://localhost", room, 64 << 20)
    }

    fn lines(messages: &[&str]) -> Vec<u8> {
        write_lines(messages.iter().map(|message| message.as_bytes()))
    }

    #[test]
    fn shows_what_a_spool_makes_and_whether_its_owner_runs() {
        let folder = Folder::new();
        let spool = folder.spool();
        let mut chunk = spool.chunk().expect("a chunk");
        chunk.append(b"{\"a\":1}").expect("room");
        spool.reject([&b"{}"[..], b"{}"].into_iter(), "refused\nfor good").expect("kept");
        let queue = folder.queue();
        assert!(is_hash(&queue.name));
        let [waiting, rejected] = queue.files.as_slice() else { panic!("{queue:?}") };
        assert_eq!(waiting.kind, Kind::Waiting);
        assert_eq!(rejected.kind, Kind::Rejected { reason: Some("refused\nfor good".to_owned()) });
        assert!((time::now_ms() - waiting.created_ms.expect("a time")).abs() < 60_000);
        assert!(waiting.created().is_some_and(|text| text.ends_with('Z')));
        let content = waiting.read().expect("readable").expect("there");
        assert_eq!((content.messages, content.damaged_lines, content.bytes), (vec!["{\"a\":1}".to_owned()], 0, 17));
        assert!(content.owner_runs);
        let content = rejected.read().expect("readable").expect("there");
        assert_eq!((content.messages.len(), content.damaged_lines, content.owner_runs), (2, 0, false));
        drop(spool);
        assert!(!read(&waiting.path).expect("readable").owner_runs);
        let inside = queues(&queue.path).expect("a queue is taken, too");
        assert_eq!((inside[0].name.as_str(), inside[0].files.len()), (queue.name.as_str(), 2));
    }

    #[test]
    fn half_a_line_at_the_end_was_never_accepted_and_one_before_another_is_damage() {
        let folder = Folder::new();
        let path = folder.write(
            "0000000000001-000001-0123456789abcdef.v1.jsonl",
            &[&lines(&["{}"])[..], b"{\"half\":", &[0; 9]].concat(),
        );
        let seen = || read(&path).map(|content| (content.messages.len(), content.damaged_lines)).expect("readable");
        assert_eq!(seen(), (1, 0));
        fs::write(&path, [b"{\"half\":\n", &lines(&["{}"])[..]].concat()).expect("written");
        assert_eq!(seen(), (1, 1));
    }

    #[test]
    fn checking_an_owner_does_not_prevent_adoption() {
        let folder = Folder::new();
        let path = folder.write("0000000000001-000001-abc.v1.jsonl", b"");
        assert!(!owner_runs(&path));
        assert!(!folder.0.join("abc.lock").exists(), "no lock is made");
        let lock = folder.write("abc.lock", b"");
        assert!(!owner_runs(&path));
        assert!(Disk.lock(&lock).expect("a lock").is_some());
    }

    #[test]
    fn what_a_spool_does_not_make_is_left_out() {
        let folder = Folder::new();
        for name in
            ["notes.txt", ".hidden", "pace", "x.lock", "-.v1.jsonl", ".v1.jsonl", "a.v2.jsonl", "1-1-a.v0.jsonl"]
        {
            folder.write(name, b"not ours");
        }
        folder.write("other/1-1-a.v1.jsonl", b"not ours");
        fs::create_dir(folder.0.join("1-1-b.v1.jsonl")).expect("made");
        assert!(queues(&folder.0).expect("readable").is_empty());
        folder.write("0000000000007-000001-a.v23.jsonl", b"of the future");
        let queue = folder.queue();
        let [newer] = queue.files.as_slice() else { panic!("{queue:?}") };
        assert_eq!((&newer.kind, newer.created_ms), (&Kind::Newer { version: 23 }, Some(7)));
        let error = newer.read().expect_err("not read");
        assert_eq!(error.to_string(), "it has format 23, which this version cannot read");
    }

    #[test]
    fn an_empty_queue_is_shown_and_a_file_that_is_gone_is_no_error() {
        let folder = Folder::new();
        let hash = "0123456789abcdef0123456789abcdef";
        let path = folder.write(&format!("{hash}/1-1-a.v1.jsonl"), &lines(&["{}"]));
        let queue = folder.queue();
        fs::remove_file(path).expect("removed");
        assert!(queue.files[0].read().expect("no error").is_none());
        assert!(folder.queue().files.is_empty());
        folder.write(&format!("{hash}/{REJECTED}"), b"a file in the way");
        assert!(folder.queue().files.is_empty());
    }

    #[test]
    fn a_queue_is_found_by_the_settings_of_its_client() {
        let folder = Folder::new();
        for (endpoint, same) in [
            ("http://127.0.0.1:1", "HTTP://127.0.0.1:1/v1/"),
            ("http://LOCALHOST:80/x/v1/", "http://localhost/x"),
            ("", "https://API.segment.io:443/"),
            ("https://api.segment.io/v1/batch/", ""),
            ("http://localhost/v1/b/?k=v", "http://LOCALHOST:80/v1/b?k=v"),
        ] {
            let config = crate::Config {
                endpoint: endpoint.to_owned(),
                spool_dir: Some(folder.0.clone()),
                shutdown: std::time::Duration::ZERO,
                dry_run: true,
                ..crate::Config::new("wk")
            };
            let client = crate::Client::new(config).expect("good settings");
            client.track("u", "E", None, None).expect("taken");
            let made = folder.queue();
            drop(client);
            for endpoint in [endpoint, same] {
                assert_eq!(queue_name(endpoint, "wk").expect("a URL"), made.name, "{endpoint}");
            }
            let home = folder.0.join(HOME);
            for inside in [&folder.0, &home, &made.path] {
                assert_eq!(spool_dir(inside).expect("absolute"), folder.0);
            }
            fs::remove_dir_all(home).expect("removed");
        }
    }

    #[test]
    fn errors_name_the_folder() {
        let folder = Folder::new();
        let missing = folder.0.join("missing");
        let error = queues(&missing).expect_err("missing");
        assert_eq!(error.to_string(), format!("there is no folder {}", missing.display()));
        let file = folder.write("file", b"");
        let error = queues(&file).expect_err("a file");
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::NotADirectory, format!("{} is not a folder", file.display()))
        );
    }

    #[test]
    fn what_is_too_large_for_a_chunk_is_not_read() {
        let folder = Folder::new();
        let path = folder.write("1-1-a.v1.jsonl", b"");
        let sparse = fs::OpenOptions::new().write(true).open(path).expect("open");
        sparse.set_len(1 << 40).expect("sparse");
        let error = folder.queue().files[0].read().expect_err("not read");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_line_is_never_reported_damaged_while_its_owner_writes() {
        let folder = Folder::new();
        let spool = spool(&folder.0, 400_000);
        let mut chunk = spool.chunk().expect("a chunk");
        let path = chunk.path().expect("a file").to_owned();
        let writer = std::thread::spawn(move || {
            let message = format!("{{\"x\":\"{}\"}}", "x".repeat(290));
            for _ in 0..1_000 {
                chunk.append(message.as_bytes()).expect("room");
                std::thread::yield_now();
            }
        });
        while !writer.is_finished() {
            assert_eq!(read(&path).expect("readable").damaged_lines, 0);
        }
        writer.join().expect("no panic");
        assert_eq!(read(&path).expect("readable").messages.len(), 1_000);
    }
}
