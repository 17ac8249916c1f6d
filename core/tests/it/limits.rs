//! Limits that the system sets for the host, and files that are too large: none of it ends the host, and nothing
//! accepted is lost.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // handlers of signals, and what is pending

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::child::*;
use segment_native::{Client, Config, HttpRequest, HttpResponse, Object, Options};

/// The programs that are limited.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("track beyond the size of a file") => track_beyond_the_size_of_a_file(),
        Some("track into small files") => track_into_small_files(),
        Some("track without descriptors") => track_without_descriptors(),
        Some("find a large file") => find_a_large_file(),
        Some("count threads") => count_threads(),
        Some("end clients at all moments") => end_clients_at_all_moments(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Tracks this many messages of 3 kB, all of which are taken.
fn track_some(client: &Client, name: &str, messages: usize) {
    let filler = Object::from([("filler", "x".repeat(3_000).as_str())]);
    for n in 0..messages {
        let id = format!("{name}-{n}");
        let options = Options { message_id: Some(&id), ..Options::default() };
        client.track("u", &format!("Event {id}"), Some(&filler), options).expect("taken");
    }
}

/// A client, and its log so far.
fn logged(config: Config) -> (Client, impl Fn() -> Vec<String>) {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = lines.clone();
    let on_log = move |_, line: &str| log.lock().expect("no panic").push(line.to_owned());
    let client = Client::new(Config { on_log: Some(Box::new(on_log)), ..config }).expect("good settings");
    (client, move || lines.lock().expect("no panic").clone())
}

// ---- The size of files ----

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// Writes more than the limit, as a host might do: it gets the signal.
fn write_too_much(beside: &str) {
    let error = File::create(beside).and_then(|mut file| file.write_all(&[0; 600_000])).expect_err("too much");
    assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    fs::remove_file(beside).expect("gone");
}

fn set_of_sigxfsz() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is made empty, and then changed.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
        set.assume_init()
    }
}

fn is_pending() -> bool {
    let mut set = set_of_sigxfsz();
    // SAFETY: the set is written, and then read.
    unsafe { libc::sigpending(&raw mut set) == 0 && libc::sigismember(&raw const set, libc::SIGXFSZ) == 1 }
}

fn track_beyond_the_size_of_a_file() {
    let (beside, host) = (told("BESIDE"), told("HOST"));
    if host == "handles the signal" {
        // SAFETY: the handler only counts.
        unsafe { libc::signal(libc::SIGXFSZ, count as *const () as libc::sighandler_t) };
    }
    limit(libc::RLIMIT_FSIZE, Some(told_number("LIMIT") as u64));
    if host == "waits for the signal" {
        // SAFETY: the set is only read.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set_of_sigxfsz(), std::ptr::null_mut()) };
        write_too_much(&beside);
    }
    let (client, lines) = logged(Config { sync: true, ..config(&told("URL"), Path::new(&told("FOLDER"))) });
    track_some(&client, "limited", 400);
    client.flush(patience()).expect("delivered");
    let _ = client.identify("u", None, None);
    balanced(&client.stats());
    drop(client);
    let is_too_little = told_number("LIMIT") < 50_000;
    assert_eq!(lines().iter().any(|line| line.contains("kept in memory")), is_too_little, "{:?}", lines());
    assert_eq!(SIGNALS.load(Ordering::SeqCst), 0, "what the library writes gives the host no signal");
    match host.as_str() {
        "handles the signal" => {
            write_too_much(&beside);
            assert_eq!(SIGNALS.load(Ordering::SeqCst), 1, "what the host writes is");
        }
        "waits for the signal" => assert!(is_pending(), "it is the host's"),
        _ => assert!(!is_pending()),
    }
}

#[test]
fn a_host_that_may_write_small_files_only_survives_and_delivers() {
    let name = format!("segment-limits-{}", std::process::id());
    // Whether files are mapped or written depends on the file system.
    for place in [std::env::temp_dir().join(&name), PathBuf::from("/dev/shm").join(&name)] {
        for host in ["knows of no signal", "handles the signal", "waits for the signal"] {
            // Nothing at all; a few messages of a chunk that is written; almost a whole chunk.
            for bytes in [0, 20_000, 400_000] {
                fs::create_dir_all(&place).expect("made");
                let (sink, folder) = (Sink::new(Mode::Good), Folder(place.clone()));
                let (url, beside, bytes) = (sink.url(), folder.beside("go"), bytes.to_string());
                let told = [
                    ("URL", url.as_str()),
                    ("FOLDER", folder.text()),
                    ("BESIDE", &beside),
                    ("HOST", host),
                    ("LIMIT", &bytes),
                ];
                Program::start(program("track beyond the size of a file", &told)).succeeded();
                let received = sink.received();
                assert_eq!((0..400).filter(|n| received.contains_key(&format!("limited-{n}"))).count(), 400);
            }
        }
    }
}

fn track_into_small_files() {
    limit(libc::RLIMIT_FSIZE, Some(204_800));
    let (client, lines) = logged(config(&told("URL"), Path::new(&told("FOLDER"))));
    track_some(&client, "small", 1_000);
    assert!(wait_until(|| client.stats().in_memory == 0), "{:?}", lines());
    exit_now(0);
}

#[test]
fn where_files_must_be_small_chunks_are_and_nothing_is_lost() {
    let name = format!("segment-small-{}", std::process::id());
    for place in [std::env::temp_dir().join(&name), PathBuf::from("/dev/shm").join(&name)] {
        fs::create_dir_all(&place).expect("made");
        let (sink, folder) = (Sink::new(Mode::Refuse(503)), Folder(place));
        let url = sink.url();
        let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
        Program::start(program("track into small files", &told)).succeeded();
        deliver(&sink, &folder);
        let received = sink.received();
        assert_eq!((0..1_000).filter(|n| received.contains_key(&format!("small-{n}"))).count(), 1_000);
    }
}

/// A file with the name of a chunk, larger than any chunk.
fn large_file(folder: &Folder) -> PathBuf {
    let queue = fs::read_dir(folder.home()).expect("a folder").flatten().find(|entry| entry.path().is_dir());
    let path = queue.expect("a queue").path().join("1700000000000-000001-0123456789abcdef.v1.jsonl");
    File::create(&path).and_then(|file| file.set_len(1_500 << 20)).expect("a file with nothing in it");
    path
}

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim_end_matches("kB").trim().parse::<usize>().expect("a number") << 10
}

fn find_a_large_file() {
    let (client, lines) = logged(config(&told("URL"), Path::new(&told("FOLDER"))));
    track_some(&client, "own", 3);
    assert!(wait_until(|| lines().iter().any(|line| line.contains("larger than 64 MiB"))), "{:?}", lines());
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
    assert!(peak() < 400 << 20, "{} bytes", peak());
}

#[test]
fn a_large_file_with_the_name_of_a_chunk_is_not_read() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    track_some(&client(&sink.url(), &folder.0), "before", 1);
    let path = large_file(&folder);
    Program::start(program("find a large file", &[("URL", &sink.url()), ("FOLDER", folder.text())])).succeeded();
    assert!((0..3).all(|n| sink.received().contains_key(&format!("own-{n}"))));
    assert!(path.exists(), "an unknown file is not deleted");
}

// ---- Threads ----

/// The names of our threads, sorted.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("readable").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let mut ours: Vec<String> =
        names.map(|name| name.trim_end().to_owned()).filter(|name| name.starts_with("segment")).collect();
    ours.sort();
    ours
}

/// README says how many there are, and when.
fn count_threads() {
    let folder = told("FOLDER");
    let expect = |names: &[&str]| assert!(wait_until(|| threads() == names), "{:?}, not {names:?}", threads());
    let memory = client(&told("URL"), Path::new(""));
    expect(&[]);
    track_some(&memory, "memory", 1);
    expect(&["segment"]);
    drop(memory);
    expect(&[]);
    let spooled = client(&told("URL"), Path::new(&folder));
    expect(&["segment", "segment-disk"]);
    track_some(&spooled, "spooled", 500);
    spooled.flush(patience()).expect("delivered");
    expect(&["segment", "segment-disk"]);
    drop(spooled);
    let synced = Client::new(Config { sync: true, ..config(&told("URL"), Path::new(&folder)) }).expect("good settings");
    expect(&["segment", "segment-disk", "segment-sync"]);
    drop(synced);
    expect(&[]);
    // Three requests under way have a thread each; without work the threads end.
    let (requests, is_open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, opening) = (requests.clone(), is_open.clone());
    let transport = move |_: &HttpRequest<'_>| {
        let is_first = counting.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(is_first || wait_until(|| opening.load(Ordering::SeqCst)));
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    };
    let config = Config { uploads: 3, transport: Some(Box::new(transport)), ..config("", Path::new("")) };
    let far = Client::new(config).expect("good settings");
    track_some(&far, "far", 20_000);
    expect(&["segment", "segment-upload", "segment-upload", "segment-upload"]);
    is_open.store(true, Ordering::SeqCst);
    far.flush(patience()).expect("delivered");
    expect(&["segment"]);
    drop(far);
    expect(&[]);
}

/// The seed of the moments at which clients end.
const SEED: u64 = 1;

fn end_clients_at_all_moments() {
    let mut random = Random(SEED);
    for n in 0..rounds(400) {
        let folder = if n % 4 == 0 { told("FOLDER") } else { String::new() };
        let config = Config { shutdown: Duration::ZERO, ..config(&told("URL"), Path::new(&folder)) };
        let client = Client::new(config).expect("good settings");
        track_some(&client, &format!("client {n}"), 1);
        let until = Instant::now() + Duration::from_micros(random.below(100));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        drop(client);
    }
    assert!(wait_until(|| threads().is_empty()), "{:?}", threads());
}

#[test]
fn no_thread_outlives_its_client_whenever_that_ends() {
    let folder = Folder::new();
    let told = [("URL", "http://127.0.0.1:9"), ("FOLDER", folder.text())];
    Program::start(program("end clients at all moments", &told)).succeeded();
    campaign("clients that end at any moment", &[(rounds(400), "clients")], Some(SEED), "0 threads left");
}

#[test]
fn there_are_as_many_threads_as_the_documentation_says() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    Program::start(program("count threads", &[("URL", &sink.url()), ("FOLDER", folder.text())])).succeeded();
}

// ---- Descriptors ----

fn track_without_descriptors() {
    let (client, lines) = logged(config(&told("URL"), Path::new(&told("FOLDER"))));
    track_some(&client, "before", 1);
    limit(libc::RLIMIT_NOFILE, Some(0));
    track_some(&client, "without", 400);
    assert!(wait_until(|| lines().iter().any(|line| line.contains("kept in memory"))), "{:?}", lines());
    limit(libc::RLIMIT_NOFILE, None);
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
}

#[test]
fn a_host_that_has_no_descriptor_left_survives_and_delivers_later() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    let url = sink.url();
    let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
    Program::start(program("track without descriptors", &told)).succeeded();
    let received = sink.received();
    assert!(received.contains_key("before-0"));
    assert!((0..400).all(|n| received.contains_key(&format!("without-{n}"))), "{}", received.len());
}
