//! Programs that die: this test binary started again to play a part, a server to compare with, and what is left in the
//! folder.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test program uses a part of it
#![allow(unsafe_code)] // fork, kill and waitpid, each in a function of its own below

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use crate::patience::{NEVER, campaign, patience, rounds, wait_until, wait_within};
use flate2::read::GzDecoder;
use segment_native::{Client, Config, Options, Stats};
use serde_json::Value;

/// Numbers that look random, the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

// ---- The settings that all programs share ----

/// A client on this folder that sends soon, waits for an answer as long as it takes, and does not deliver when it is
/// dropped.
///
/// No folder, no spool.
pub fn config(url: &str, folder: &Path) -> Config {
    Config {
        endpoint: url.to_owned(),
        spool_dir: (!folder.as_os_str().is_empty()).then(|| folder.to_owned()),
        queue_max_bytes: 1 << 30,
        flush_interval: Duration::from_millis(5),
        timeout: NEVER,
        gzip: false, // by far the slowest part of an unoptimized test
        shutdown: Duration::from_millis(1),
        ..Config::new("WRITE_KEY")
    }
}

pub fn client(url: &str, folder: &Path) -> Client {
    Client::new(config(url, folder)).expect("good settings")
}

/// Tracks a message with this id, which its content repeats, and returns whether it was taken.
pub fn track(client: &Client, id: &str) -> bool {
    let options = Options { message_id: Some(id), ..Options::default() };
    client.track("u", &format!("Event {id}"), None, options).is_ok()
}

pub fn balanced(stats: &Stats) {
    assert_eq!(stats.accepted, stats.delivered + stats.failed + stats.dropped + stats.queued, "{stats:?}");
}

/// A normal run: delivers all that is in the folder, and ends.
pub fn deliver(sink: &Sink, folder: &Folder) -> Stats {
    folder.age_unfinished();
    deliver_all(sink, config(&sink.url(), &folder.0))
}

pub fn deliver_all(sink: &Sink, config: Config) -> Stats {
    sink.set(Mode::Good);
    let client = Client::new(config).expect("good settings");
    client.flush(patience()).expect("all is settled");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.queued, stats.dropped, stats.failed, stats.in_memory), (0, 0, 0, 0), "{stats:?}");
    stats
}

/// The first few of many.
pub fn some<T>(of: &[T]) -> &[T] {
    &of[..of.len().min(10)]
}

/// Fails unless each of these was received, none of them with two contents. Those that [`Notes::accepted`] saw in
/// memory may be lost.
pub fn nothing_is_lost(accepted: &[String], sink: &Sink, kept: &HashSet<String>) {
    let received = sink.received();
    let is_lost = |id: &&String| !kept.contains(*id) && received.get(*id).is_none_or(|message| message.stored == 0);
    let lost: Vec<&String> = accepted.iter().filter(|id| !id.starts_with(IN_MEMORY)).filter(is_lost).collect();
    assert!(lost.is_empty(), "{} of {} accepted messages are lost: {:?}", lost.len(), accepted.len(), some(&lost));
    assert_eq!(sink.contradictions(), Vec::<String>::new(), "one id, two contents");
}

// ---- Parts and programs ----

/// The part that this process plays, if it is not the test itself. A test that is broken off must not leave such a
/// process behind, because it would go on sending to a port that another test may have by then.
pub fn part() -> Option<String> {
    let part = std::env::var("SEGMENT_CHILD").ok()?;
    end_with_parent();
    if std::os::unix::process::parent_id() != told_number("PARENT") as u32 {
        exit_now(1); // the test was broken off before
    }
    Some(part)
}

/// What the test told this program.
pub fn told(name: &str) -> String {
    std::env::var(format!("SEGMENT_CHILD_{name}")).expect("told by the test")
}

pub fn told_number(name: &str) -> usize {
    told(name).parse().expect("a number")
}

/// This test binary, to play a part that `child_main` of the calling file knows. Its standard error is shown, the
/// harness's output is not.
#[track_caller]
pub fn program(part: &str, told: &[(&str, &str)]) -> Command {
    let file = Path::new(std::panic::Location::caller().file()).file_stem().expect("a file").to_string_lossy();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([&format!("{file}::child_main"), "--exact", "--nocapture", "--test-threads", "1"]);
    command
        .env("SEGMENT_CHILD", part)
        .env("SEGMENT_CHILD_PARENT", std::process::id().to_string())
        .env_remove("SEGMENT_KILL_AT")
        .env("RUST_BACKTRACE", "0");
    command.envs(told.iter().map(|(name, value)| (format!("SEGMENT_CHILD_{name}"), value)));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Makes the system kill this process when its parent dies.
pub fn end_with_parent() {
    // SAFETY: it concerns only this process.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
}

/// A program that was started, and does not outlive the test.
pub struct Program(std::process::Child);

impl Program {
    pub fn start(mut command: Command) -> Program {
        Program(command.spawn().expect("started"))
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Ends it by SIGKILL. Fails if it had ended before.
    pub fn kill(mut self) {
        self.0.kill().expect("it is ours");
        let status = self.0.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended before it was killed: {status}");
    }

    /// How it ended; fails if it does not.
    pub fn ended(mut self, time: Duration) -> ExitStatus {
        let mut status = None;
        let _ = wait_within(time, || {
            status = self.0.try_wait().expect("it is ours");
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("the program {} hangs", self.pid()))
    }

    pub fn succeeded(self) {
        // Twice as long as the program itself waits, so that it can report what it waited for in vain.
        let status = self.ended(patience() * 2);
        assert!(status.success(), "{status}");
    }

    /// How it ended, and its standard error, which is little enough for the pipe.
    pub fn output(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let mut stderr = self.0.stderr.take().expect("a pipe");
        // Twice as long as the program itself waits, so that it can report what it waited for in vain.
        let status = self.ended(patience() * 2);
        stderr.read_to_string(&mut text).expect("text");
        (status, text)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn died_by_kill(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGKILL)
}

// ---- What programs report ----

/// Where programs note what was accepted, one line and one write(2) each, after the call has returned. It is a file and
/// not a pipe: what is written survives the writer, many can write, and no writer waits for a reader.
pub struct Notes(File);

/// Ends a note that was written whole.
const WHOLE: char = ';';

/// Begins the note of a message that a stalled disk has kept in memory.
pub const IN_MEMORY: char = '~';

impl Notes {
    pub fn open(path: &str) -> Notes {
        Notes(OpenOptions::new().append(true).create(true).open(path).expect("the notes"))
    }

    /// Takes no lock and allocates nothing, because it is used between fork and exec. A kill can cut a write where a
    /// page of the file ends, so a note has a mark at its end, and begins on a line of its own, whatever comes before
    /// it.
    pub fn write(&self, line: &str) {
        let mut bytes = [b'\n'; 128];
        let end = line.len() + 1;
        bytes[1..end].copy_from_slice(line.as_bytes());
        bytes[end] = WHOLE as u8;
        // SAFETY: the descriptor is open as long as `self`, and the bytes are those of the array.
        let written = unsafe { libc::write(self.0.as_raw_fd(), bytes.as_ptr().cast(), end + 2) };
        assert_eq!(written, end as isize + 2);
    }

    /// Notes a message that was taken, and whether it is in memory only, so that a kill may lose it: if the disk holds
    /// up one caller for longer than others wait, memory takes messages until it answers.
    pub fn accepted(&self, client: &Client, id: &str) {
        match client.stats().in_memory {
            0 => self.write(id),
            _ => self.write(&format!("{IN_MEMORY}{id}")),
        }
    }
}

pub fn read_notes(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_suffix(WHOLE)).map(str::to_owned).collect()
}

pub fn notes_bytes(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

// ---- The folder ----

/// A folder that goes away with the test. It is on a file system where the library maps files, if this machine has one,
/// because there a message takes the most steps.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("segment-child-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let places = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
        let place = places.iter().find(|place| maps(place)).unwrap_or(&places[0]);
        let folder = place.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    /// The folder of the library's files.
    pub fn home(&self) -> PathBuf {
        self.0.join("segment-native")
    }

    pub fn text(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// A file beside the spool, not in it.
    pub fn beside(&self, name: &str) -> String {
        format!("{}.{name}", self.text())
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.sort();
        files
    }

    /// All files but those of rejected messages.
    pub fn left(&self) -> Vec<PathBuf> {
        // The mark stays: it says that the folder is ours.
        let mark = self.home().join("mark");
        self.files().into_iter().filter(|path| !is_rejected(path) && *path != mark).collect()
    }

    /// Makes unfinished files look older than a minute. The file that a killed process was about to put in another's
    /// place stays that long, because its process might be alive.
    pub fn age_unfinished(&self) {
        for path in self.files().iter().filter(|path| path.extension().is_some_and(|kind| kind == "new")) {
            let Ok(file) = File::options().write(true).open(path) else { continue };
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).expect("possible");
        }
    }

    /// The ids of rejected messages.
    pub fn rejected(&self) -> HashSet<String> {
        let files =
            self.files().into_iter().filter(|path| is_rejected(path) && path.to_string_lossy().ends_with("jsonl"));
        let text: String = files.map(|path| fs::read_to_string(path).expect("text")).collect();
        let ids = text.lines().map(|line| {
            let message = line.split('\t').next().unwrap_or_default();
            serde_json::from_str::<Value>(message).expect("JSON")["messageId"].as_str().expect("an id").to_owned()
        });
        ids.collect()
    }
}

fn is_rejected(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("rejected"))
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        for name in ["notes", "go"] {
            let _ = fs::remove_file(self.beside(name));
        }
    }
}

#[cfg(target_os = "linux")]
fn maps(folder: &Path) -> bool {
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};
    let known = [EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC];
    statfs(folder).is_ok_and(|kind| known.contains(&kind.filesystem_type()))
}

#[cfg(not(target_os = "linux"))]
fn maps(_: &Path) -> bool {
    false
}

// ---- The server ----

/// What the server does with a request that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Stores the messages and acknowledges them.
    Good,
    /// The same, with so many milliseconds of delay.
    Far(u64),
    /// Stores nothing, answers with this status.
    Refuse(u16),
    /// Answers with 429 and a pause of so many seconds.
    Pause(u32),
    /// Stores nothing, closes the connection.
    Close,
    /// Stores the messages, and closes the connection without an answer.
    StoreAndClose,
    /// No answer until the mode changes.
    Hang,
    /// The same for requests with a message whose event holds this text; all others are good.
    HangFor(&'static str),
}

/// What the server knows of a message.
#[derive(Debug, Clone)]
pub struct Received {
    pub event: String,
    /// How often it was stored.
    pub stored: u32,
    /// How often it arrived, stored or not.
    pub seen: u32,
    content: u64,
}

/// A server on loopback that remembers only what is needed of each message, because hundreds of thousands of them come.
pub struct Sink {
    address: SocketAddr,
    state: Arc<SinkState>,
}

struct SinkState {
    mode: Mutex<Mode>,
    received: Mutex<HashMap<String, Received>>,
    contradictions: Mutex<Vec<String>>,
    requests: AtomicUsize,
    stop: AtomicBool,
}

impl Sink {
    pub fn new(mode: Mode) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(SinkState {
            mode: Mutex::new(mode),
            received: Mutex::default(),
            contradictions: Mutex::default(),
            requests: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let state = serving.clone();
                std::thread::spawn(move || {
                    let _ = state.serve(stream);
                });
            }
        });
        Sink { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("no panic") = mode;
    }

    /// How many requests were read whole.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn received(&self) -> HashMap<String, Received> {
        self.state.received.lock().expect("no panic").clone()
    }

    /// Messages that have the same id and differ.
    pub fn contradictions(&self) -> Vec<String> {
        self.state.contradictions.lock().expect("no panic").clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // so that it notices
    }
}

impl SinkState {
    fn mode(&self) -> Mode {
        *self.mode.lock().expect("no panic")
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (mut length, mut gzip) = (0, false);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let header = header.trim_end().to_ascii_lowercase();
                let Some((name, value)) = header.split_once(':') else { break };
                match name {
                    "content-length" => length = value.trim().parse().expect("a length"),
                    "content-encoding" => gzip = value.trim() == "gzip",
                    _ => {}
                }
            }
            let mut raw = vec![0; length];
            reader.read_exact(&mut raw)?; // a client that was killed sends half a request
            let mut body = Vec::new();
            if gzip {
                GzDecoder::new(raw.as_slice()).read_to_end(&mut body)?;
            } else {
                body = raw;
            }
            let body: Value = serde_json::from_slice(&body).expect("a whole request is JSON");
            let mut mode = match self.mode() {
                Mode::HangFor(text) if holds(&body, text) => Mode::Hang,
                Mode::HangFor(_) => Mode::Good,
                mode => mode,
            };
            let stores = matches!(mode, Mode::Good | Mode::Far(_) | Mode::StoreAndClose);
            self.take(&body, stores);
            self.requests.fetch_add(1, Ordering::SeqCst);
            while mode == Mode::Hang && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
                mode = match self.mode() {
                    Mode::HangFor(_) => Mode::Hang,
                    mode => mode,
                };
            }
            if mode == Mode::Good && !stores {
                self.take(&body, true);
            }
            let answer = match mode {
                Mode::Good | Mode::Far(_) => {
                    if let Mode::Far(ms) = mode {
                        std::thread::sleep(Duration::from_millis(ms));
                    }
                    "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"success\": true}".to_owned()
                }
                Mode::Refuse(status) => format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"),
                Mode::Pause(s) => format!("HTTP/1.1 429 Whatever\r\nRetry-After: {s}\r\nContent-Length: 0\r\n\r\n"),
                Mode::Close | Mode::StoreAndClose | Mode::Hang | Mode::HangFor(_) => return Ok(()),
            };
            writer.write_all(answer.as_bytes())?;
        }
    }

    fn take(&self, body: &Value, stores: bool) {
        let mut received = self.received.lock().expect("no panic");
        for message in body["batch"].as_array().expect("a batch") {
            let id = message["messageId"].as_str().expect("an id");
            let mut hasher = DefaultHasher::new();
            message.to_string().hash(&mut hasher);
            let content = hasher.finish();
            let event = message["event"].as_str().unwrap_or_default();
            let known = received.entry(id.to_owned()).or_insert_with(|| Received {
                event: event.to_owned(),
                stored: 0,
                seen: 0,
                content,
            });
            known.stored += u32::from(stores);
            known.seen += u32::from(!stores || known.stored > known.seen);
            if known.content != content {
                self.contradictions.lock().expect("no panic").push(format!("{id}: {} and {event}", known.event));
            }
        }
    }
}

fn holds(body: &Value, text: &str) -> bool {
    let events = body["batch"].as_array().into_iter().flatten().filter_map(|message| message["event"].as_str());
    events.into_iter().any(|event| event.contains(text))
}

// ---- Processes ----

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// Sets a limit of this process; none: the highest one that it may have.
pub fn limit(resource: Resource, most: Option<u64>) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes to `limit`, which is ours.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    limit.rlim_cur = most.unwrap_or(limit.rlim_max);
    // SAFETY: it is only read.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// What fork() returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    Child,
    Parent(i32),
}

pub fn fork() -> Forked {
    // SAFETY: the tests are about what a child may do after it; all of them end by `exit_now`, exec or a signal.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => Forked::Child,
        pid => Forked::Parent(pid),
    }
}

/// Ends this process: no destructors, no handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Becomes /bin/true.
pub fn exec_true() -> ! {
    let arguments = [c"true".as_ptr(), std::ptr::null()];
    // SAFETY: both are C strings, and the list ends in NULL.
    unsafe { libc::execv(c"/bin/true".as_ptr(), arguments.as_ptr()) };
    exit_now(99)
}

pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "a single process that we started");
    // SAFETY: it has no preconditions.
    unsafe { libc::kill(pid, signal) };
}

pub fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 does nothing.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// How a child ended; none if it has not within this time: then it is killed.
pub fn ended(pid: i32, time: Duration) -> Option<ExitStatus> {
    let mut status = 0;
    // SAFETY: the status is where it can be written.
    let mut has_ended = |options| unsafe { libc::waitpid(pid, &raw mut status, options) == pid };
    if wait_within(time, || has_ended(libc::WNOHANG)) {
        return Some(ExitStatus::from_raw(status));
    }
    if std::env::var_os("SEGMENT_TEST_LEAVE_HANGING").is_some() {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("the process {pid} hangs"); // for a debugger
        }
        std::thread::sleep(patience() * 10);
    }
    kill(pid, libc::SIGKILL);
    has_ended(0);
    None
}

/// Sleeps until a signal ends this process, that of an alarm if there is no other.
pub fn pause() -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::alarm(3600) };
    loop {
        // SAFETY: it has no preconditions.
        unsafe { libc::pause() };
    }
}

/// Waits for a child to have been stopped.
pub fn is_stopped(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: the status is where it can be written.
    let stopped = unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    stopped == pid && libc::WIFSTOPPED(status)
}
