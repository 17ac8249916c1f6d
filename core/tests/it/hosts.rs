//! What a host may do to its own process: another root, another user, a mask for new files, locked memory, small
//! stacks. It survives, and nothing accepted is lost.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // what only C's functions do

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child::*;
use segment_native::{Client, Config, Object, Options};

/// The id of the user `nobody`.
const NOBODY: u32 = 65_534;

/// The programs that do it.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("as nobody, with a mask") => as_nobody_with_a_mask(),
        Some("as nobody, deliver") => as_nobody_deliver(),
        Some("change in the middle") => change_in_the_middle(),
        Some("have no memory to compress") => have_no_memory_to_compress(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Only root may become another user.
fn is_root() -> bool {
    // SAFETY: it has no conditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    assert!(is_root || std::env::var_os("CI").is_none(), "in CI the tests run as root");
    is_root
}

fn become_nobody() {
    // SAFETY: they have no conditions. Every thread changes with this one.
    let done = unsafe { libc::setgid(NOBODY) == 0 && libc::setuid(NOBODY) == 0 };
    assert!(done, "{}", std::io::Error::last_os_error());
}

fn new_client() -> Client {
    client(&told("URL"), Path::new(&told("FOLDER")))
}

/// Fills a few chunks.
fn track_much(client: &Client, notes: &Notes, name: &str) {
    let filler = Object::from([("filler", "x".repeat(20_000).as_str())]);
    for n in 0..60 {
        let id = format!("{name}-{n}");
        let options = Options { message_id: Some(&id), ..Options::default() };
        client.track("u", &format!("Event {id}"), Some(&filler), options).expect("taken");
        notes.write(&id);
    }
}

fn start(part: &str, sink: &Sink, folder: &Folder, more: &[(&str, &str)]) -> Program {
    let (url, notes) = (sink.url(), folder.beside("notes"));
    let told = [("URL", url.as_str()), ("FOLDER", folder.text()), ("NOTES", &notes)];
    Program::start(program(part, &[&told, more].concat()))
}

fn as_nobody_with_a_mask() {
    let notes = Notes::open(&told("NOTES"));
    become_nobody();
    // SAFETY: it has no conditions.
    unsafe { libc::umask(0o777) };
    let client = new_client();
    track_much(&client, &notes, "masked");
    assert!(wait_until(|| client.stats().requests > 0), "refused");
    assert!(wait_until(|| client.stats().in_memory == 0), "the spool can be used");
    exit_now(0);
}

fn as_nobody_deliver() {
    become_nobody();
    let client = new_client();
    client.flush(patience()).expect("delivered");
}

/// Daemons set their mask for their own files; ours must be readable for us, and only for us.
#[test]
fn a_mask_for_new_files_makes_no_difference() {
    if !is_root() {
        return;
    }
    let (folder, sink) = (Folder::new(), Sink::new(Mode::Refuse(503)));
    std::os::unix::fs::chown(&folder.0, Some(NOBODY), Some(NOBODY)).expect("root may");
    start("as nobody, with a mask", &sink, &folder, &[]).succeeded();
    sink.set(Mode::Good);
    start("as nobody, deliver", &sink, &folder, &[]).succeeded();
    nothing_is_lost(&read_notes(&folder.beside("notes")), &sink, &folder.rejected());
    assert_eq!(folder.left(), Vec::<std::path::PathBuf>::new());
}

fn change_in_the_middle() {
    let notes = Notes::open(&told("NOTES"));
    let client = new_client();
    track_much(&client, &notes, "before");
    match told("CHANGE").as_str() {
        "root" => {
            let root = CString::new(Path::new(&told("ROOT")).as_os_str().as_bytes()).expect("no NUL");
            // SAFETY: the text ends with a NUL.
            let done = unsafe { libc::chroot(root.as_ptr()) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
        "user" => become_nobody(),
        "memory" => {
            // SAFETY: it has no conditions.
            let done = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
        "stacks" => {
            let tracking = || track_much(&client, &notes, "small");
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, tracking);
                thread.expect("started").join().expect("no panic");
            });
        }
        other => panic!("no such change: {other}"),
    }
    track_much(&client, &notes, "after");
    client.flush(patience()).expect("delivered");
    balanced(&client.stats());
    client.shutdown(patience()).expect("nothing is left");
    exit_now(0);
}

#[test]
fn another_root_another_user_locked_memory_and_small_stacks_lose_nothing() {
    for change in ["root", "user", "memory", "stacks"] {
        if matches!(change, "root" | "user") && !is_root() {
            continue;
        }
        for mode in [Mode::Good, Mode::Refuse(503)] {
            let (folder, root, sink) = (Folder::new(), Folder::new(), Sink::new(mode));
            let program = start("change in the middle", &sink, &folder, &[("CHANGE", change), ("ROOT", root.text())]);
            let accepted = || read_notes(&folder.beside("notes"));
            assert!(wait_until(|| accepted().contains(&"after-59".to_owned())), "{change}: it goes on");
            sink.set(Mode::Good);
            program.succeeded();
            // What was where the process may not go any more is still there.
            deliver(&sink, &folder);
            nothing_is_lost(&accepted(), &sink, &folder.rejected());
            assert_eq!(root.files(), Vec::<std::path::PathBuf>::new(), "{change}: nothing is begun elsewhere");
        }
    }
}

fn have_no_memory_to_compress() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| _ = PANICS.fetch_add(1, Ordering::SeqCst)));
    let lines = Arc::new(Mutex::new(Vec::with_capacity(100)));
    let log = lines.clone();
    let on_log = move |_, line: &str| log.lock().expect("no panic").push(line.to_owned());
    let config = Config {
        gzip: true,
        flush_interval: NEVER,
        on_log: Some(Box::new(on_log)),
        ..config(&told("URL"), Path::new(""))
    };
    let client = Client::new(config).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    // From now on the 380 kB of a compressor cannot be allocated, but small pieces can.
    // SAFETY: it has no conditions.
    let done = unsafe { libc::mlockall(libc::MCL_FUTURE) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    limit(libc::RLIMIT_MEMLOCK, Some(256 << 10));
    become_nobody();
    let _ = client.flush(Duration::ZERO);
    let is_said =
        || lines.lock().expect("no panic").iter().any(|line| line.contains("there is no memory for a request"));
    assert!(wait_until(is_said), "{:?}", lines.lock().expect("no panic"));
    limit(libc::RLIMIT_MEMLOCK, None);
    client.flush(patience()).expect("delivered");
    assert_eq!((client.stats().delivered, PANICS.load(Ordering::SeqCst)), (1, 0));
    exit_now(0);
}

/// A request waits for memory; the process goes on.
#[test]
#[cfg(target_env = "gnu")] // it depends on the allocator
fn where_there_is_no_memory_to_compress_the_request_waits() {
    if !is_root() {
        return;
    }
    let sink = Sink::new(Mode::Good);
    let mut program = program("have no memory to compress", &[("URL", &sink.url())]);
    program.env("MALLOC_ARENA_MAX", "1"); // an arena of its own would give a thread sixty megabytes
    Program::start(program).succeeded();
    assert_eq!(sink.received().len(), 1);
}
