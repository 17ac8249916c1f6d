//! A spool folder made by the library, and the program that looks into it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use segment_native::{Client, Config};

use crate::patience::{STARTING, output, patience, until};
use crate::server::{Answers, Segment};

/// A folder that goes away with the test.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Where the messages are meant to go. It answers nobody until it is told to.
    pub(crate) segment: Segment,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("segment-cli-spool-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("made");
        Folder { path, segment: Segment::new(Answers::None) }
    }

    /// A client that lives, with a queue of its own: it would adopt what others left in another.
    pub(crate) fn living(&self, events: std::ops::Range<usize>) -> Client {
        let before = self.chunks().len();
        let client = self.client("http://127.0.0.1:1");
        track(&client, events);
        until("there is its chunk", || self.chunks().len() == before + 1);
        client
    }

    fn client(&self, endpoint: &str) -> Client {
        let config = Config {
            endpoint: endpoint.to_owned(),
            spool_dir: Some(self.path.clone()),
            flush_interval: patience() * 9, // never
            shutdown: Duration::ZERO,
            ..Config::new("WRITE_KEY")
        };
        Client::new(config).expect("good settings")
    }

    /// Leaves messages behind in one chunk.
    pub(crate) fn offline(&self, events: std::ops::Range<usize>) {
        let client = self.client(&self.segment.url);
        track(&client, events);
        let _ = client.shutdown(Duration::ZERO); // nobody answers
        self.end(client);
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_millis();
        let before = now();
        until("the clock shows another millisecond", || now() != before); // the names of files count them
    }

    /// Leaves messages behind that were given up, in another queue.
    pub(crate) fn refused(&self, events: std::ops::Range<usize>) {
        let client = self.client(&Segment::new(Answers::Status(403)).url);
        track(&client, events);
        client.flush(patience()).expect("settled");
        self.end(client);
    }

    /// Ends the only client that runs. Its thread may take a moment longer, and with it its lock.
    pub(crate) fn end(&self, client: Client) {
        drop(client);
        let mut locks = self.files();
        locks.retain(|file| file.extension().is_some_and(|end| end == "lock"));
        until("its lock is free", || {
            let _nobody_has_a_copy = STARTING.write();
            locks.iter().all(|lock| fs::File::open(lock).map_or(true, |file| file.try_lock_shared().is_ok()))
        });
    }

    /// All files, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.sort();
        files
    }

    /// What waits.
    pub(crate) fn chunks(&self) -> Vec<PathBuf> {
        self.named(false)
    }

    /// What was given up.
    pub(crate) fn rejected(&self) -> Vec<PathBuf> {
        self.named(true)
    }

    fn named(&self, rejected: bool) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|file| file.to_string_lossy().ends_with(".v1.jsonl"));
        files.retain(|file| file.parent().is_some_and(|folder| folder.ends_with("rejected")) == rejected);
        files
    }

    /// Everything that could change: names, sizes, a hash of the content, and times but for a chunk in which nothing is
    /// yet: its client may still be touching its pages.
    pub(crate) fn state(&self) -> Vec<(PathBuf, u64, Option<SystemTime>, u64)> {
        let state = |path: PathBuf| {
            let metadata = fs::metadata(&path).expect("there");
            let content = if metadata.is_dir() { Vec::new() } else { fs::read(&path).expect("readable") };
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            let is_used = metadata.is_dir() || content.iter().any(|byte| *byte != 0);
            (path, metadata.len(), is_used.then(|| metadata.modified().expect("a time")), hasher.finish())
        };
        let mut paths = self.files();
        let folders: Vec<PathBuf> =
            paths.iter().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        paths.extend(folders.into_iter().filter(|folder| folder.starts_with(&self.path)));
        paths.sort();
        paths.dedup();
        paths.into_iter().map(state).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Has a client take some events.
pub(crate) fn track(client: &Client, events: std::ops::Range<usize>) {
    for n in events {
        client.track("u", &format!("Event {n}"), None, None).expect("taken");
    }
}

/// Flips a bit in the middle of a message.
pub(crate) fn damage(chunk: &Path, event: &str) {
    let mut content = fs::read(chunk).expect("readable");
    let at = content.windows(event.len()).position(|bytes| bytes == event.as_bytes()).expect("the event is there");
    content[at] ^= 0x20;
    fs::write(chunk, content).expect("written");
}

/// Changes a file in its place: whoever has it mapped sees it, and never a shorter one.
pub(crate) fn overwrite(chunk: &Path, content: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(chunk).expect("open");
    file.write_all(content).expect("written");
}

/// What the program said.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// What it printed, if that was all and all is well.
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }
}

/// The command, not started yet.
pub(crate) fn command(arguments: &[&str], path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segment"));
    command.arg("spool").args(arguments).arg(path).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    command
}

/// Runs the command to its end.
pub(crate) fn run(arguments: &[&str], path: &Path) -> Done {
    done(&mut command(arguments, path))
}

/// Runs a command to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    let output = output(command, b"");
    Done {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}
