//! A spool folder made by the library, and the program that looks into it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use segment_native::{Client, Config};

const LONG: Duration = Duration::from_secs(60);

/// A folder that goes away with the test.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Where nobody listens.
    pub(crate) endpoint: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("segment-cli-spool-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("made");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        Folder { path, endpoint: format!("http://127.0.0.1:{port}") }
    }

    /// A client that lives, with a queue of its own: it would adopt what others left in another.
    pub(crate) fn living(&self, events: std::ops::Range<usize>) -> Client {
        let before = self.chunks().len();
        let client = self.client("http://127.0.0.1:1");
        track(&client, events);
        // It makes the next chunk in the background, and has nothing to do from then on.
        let end = Instant::now() + Duration::from_secs(2);
        while self.chunks().len() < before + 2 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        client
    }

    fn client(&self, endpoint: &str) -> Client {
        let config = Config {
            endpoint: endpoint.to_owned(),
            spool_dir: Some(self.path.clone()),
            flush_interval: LONG,
            shutdown: Duration::ZERO,
            ..Config::new("WRITE_KEY")
        };
        Client::new(config).expect("good settings")
    }

    /// Leaves messages behind in one chunk.
    pub(crate) fn offline(&self, events: std::ops::Range<usize>) {
        let client = self.client(&self.endpoint);
        track(&client, events);
        let _ = client.shutdown(Duration::ZERO); // nobody listens
        drop(client);
        std::thread::sleep(Duration::from_millis(2)); // the names of files count milliseconds
    }

    /// Leaves messages behind that were given up, in another queue.
    pub(crate) fn refused(&self, events: std::ops::Range<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        // Lives as long as the test program does.
        std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(forbid));
        let client = self.client(&endpoint);
        track(&client, events);
        client.flush(LONG).expect("settled");
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

    /// Everything that could change: names, sizes, times, and a hash of the content.
    pub(crate) fn state(&self) -> Vec<(PathBuf, u64, SystemTime, u64)> {
        let state = |path: PathBuf| {
            let metadata = fs::metadata(&path).expect("there");
            let content = if metadata.is_dir() { Vec::new() } else { fs::read(&path).expect("readable") };
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            (path, metadata.len(), metadata.modified().expect("a time"), hasher.finish())
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

/// Answers whatever comes with 403.
fn forbid(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..bytes]);
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
        if request.len() - head - 4 == length.trim().parse::<usize>().expect("a number") {
            let answer = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nno way";
            let _ = stream.write_all(answer.as_bytes()); // the client may have given up
            return;
        }
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
    let output = command(arguments, path).output().expect("the program runs");
    Done {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}
