//! A process may end in any way: it ends at once, as it would without the library and without output of ours, and with
//! a spool nothing that was accepted is lost.

#![cfg(unix)]
#![allow(unsafe_code)] // crashes, and a handler at exit

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::child::*;
use segment_native::Client;

static CLIENT: OnceLock<Client> = OnceLock::new();
static NOTES: OnceLock<Notes> = OnceLock::new();

/// Programs that end, each in its own way, with messages that are not delivered yet.
#[test]
fn child_main() {
    let Some(ending) = part() else { return };
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let _ = NOTES.set(Notes::open(&told("NOTES")));
    if ending == "panic" {
        // The only one whose client is dropped.
        track_and_note(&client, "main-0");
        panic!("a mistake of the host's");
    }
    let client = CLIENT.get_or_init(|| client);
    (0..10).for_each(|n| track_and_note(client, &format!("main-{n}")));
    match ending.as_str() {
        "abort" => std::process::abort(),
        "crash" => {
            // SAFETY: none; that is what is tested.
            unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u64>(8)).write_volatile(1) }
        }
        "stack overflow" => std::process::exit(overflow(std::hint::black_box(1))),
        "exit" => std::process::exit(7),
        "_exit" => exit_now(7),
        "return while threads track" => track_on_threads(),
        "exit while threads track" => {
            track_on_threads();
            std::process::exit(7);
        }
        "_exit while threads track" => {
            track_on_threads();
            exit_now(7);
        }
        "exit on another thread" => {
            track_on_threads();
            let _ = std::thread::spawn(|| std::process::exit(7)).join();
        }
        "track in a handler at exit" => {
            // SAFETY: the function is there as long as the program.
            unsafe { libc::atexit(track_at_exit) };
            std::process::exit(7);
        }
        "track in destructors of threads" => {
            let _ = std::thread::spawn(track_in_destructors).join();
            // And on this thread, whose destructors run in exit().
            track_in_destructors();
            std::process::exit(7);
        }
        other => panic!("no such ending: {other}"),
    }
}

fn track_and_note(client: &Client, id: &str) {
    if track(client, id) {
        NOTES.get().expect("open").accepted(client, id);
    }
}

/// Returns while the threads are tracking. They never end.
fn track_on_threads() {
    static TRACKED: AtomicUsize = AtomicUsize::new(0);
    for thread in 0..8 {
        std::thread::spawn(move || {
            for n in 0.. {
                track_and_note(CLIENT.get().expect("made"), &format!("thread-{thread}-{n}"));
                TRACKED.fetch_add(1, Ordering::SeqCst);
                if n % 10 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
    }
    assert!(wait_until(|| TRACKED.load(Ordering::SeqCst) > 100));
}

#[allow(unconditional_recursion)]
fn overflow(n: i32) -> i32 {
    let deeper = std::hint::black_box([n; 1000]);
    overflow(deeper[1]) + deeper[2]
}

extern "C" fn track_at_exit() {
    let client = CLIENT.get().expect("made");
    (0..10).for_each(|n| track_and_note(client, &format!("atexit-{n}")));
    let _ = client.flush(Duration::from_millis(10));
    let _ = client.shutdown(Duration::from_millis(10));
}

struct TracksWhenDropped(&'static str);

impl Drop for TracksWhenDropped {
    fn drop(&mut self) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{}-{}", self.0, COUNT.fetch_add(1, Ordering::SeqCst));
        track_and_note(CLIENT.get().expect("made"), &id);
    }
}

thread_local! {
    static EARLY: RefCell<Option<TracksWhenDropped>> = const { RefCell::new(None) };
    static LATE: RefCell<Option<TracksWhenDropped>> = const { RefCell::new(None) };
}

/// Values of a thread are dropped in the order in which they were made, or in reverse: one of these two is dropped
/// after those of the library.
fn track_in_destructors() {
    EARLY.with_borrow_mut(|value| *value = Some(TracksWhenDropped("early")));
    CLIENT.get().expect("made").track("u", "makes the library's own", None, None).expect("taken");
    LATE.with_borrow_mut(|value| *value = Some(TracksWhenDropped("late")));
}

/// How a program must end: with this status or signal, and with this and no more on standard error.
struct End {
    code: Option<i32>,
    signal: Option<i32>,
    says: &'static [&'static str],
    /// At least so many messages are accepted.
    accepts: usize,
}

const fn code(code: i32) -> End {
    End { code: Some(code), signal: None, says: &[], accepts: 10 }
}

const fn signal(signal: i32) -> End {
    End { code: None, signal: Some(signal), says: &[], accepts: 10 }
}

const OVERFLOW: End = End {
    says: &["child_main'", "has overflowed its stack", "fatal runtime error: stack overflow"],
    ..signal(libc::SIGABRT)
};

const PANIC: End = End { says: &["child_main'", "a mistake of the host's", "note: run with"], accepts: 1, ..code(101) };

/// Runs a program that ends in this way, with and without a spool, with a server that answers, refuses or hangs.
fn ends(ending: &str, end: &End, times: usize) {
    let mut accepted = 0;
    for n in 0..times {
        for spooled in [true, false] {
            let mode = [Mode::Hang, Mode::Good, Mode::Refuse(503)][n % 3];
            let (beside, sink) = (Folder::new(), Sink::new(mode));
            let (url, notes) = (sink.url(), beside.beside("notes"));
            let folder = if spooled { beside.text() } else { "" };
            let mut command = program(ending, &[("URL", &url), ("FOLDER", folder), ("NOTES", &notes)]);
            command.stderr(Stdio::piped());
            let (status, text) = Program::start(command).output();
            let what = format!("{ending}, {mode:?}, with a spool: {spooled}: {status}: {text}");
            assert_eq!((status.code(), status.signal()), (end.code, end.signal), "{what}");
            let is_known = |line: &str| line.is_empty() || end.says.iter().any(|known| line.contains(known));
            assert!(text.lines().all(is_known), "{what}");
            let noted = read_notes(&notes);
            assert!(noted.len() >= end.accepts, "{} accepted: {what}", noted.len());
            if spooled {
                deliver(&sink, &beside);
                nothing_is_lost(&noted, &sink, &HashSet::new());
                assert_eq!(beside.left(), Vec::<PathBuf>::new(), "{what}");
                accepted += noted.len();
            }
        }
    }
    campaign(ending, &[(times * 2, "ends"), (accepted, "accepted with a spool")], None, "0 lost");
}

// S5: a crash of the host ends as it would without the library.

#[test]
fn a_host_that_aborts_loses_nothing() {
    ends("abort", &signal(libc::SIGABRT), 3);
}

#[test]
fn a_host_that_crashes_loses_nothing() {
    ends("crash", &signal(libc::SIGSEGV), 3);
}

#[test]
fn a_host_whose_stack_overflows_loses_nothing() {
    ends("stack overflow", &OVERFLOW, 3);
}

#[test]
fn a_host_that_panics_loses_nothing() {
    ends("panic", &PANIC, 3);
}

// S6: ends without a close.

#[test]
fn exit_without_a_close_loses_nothing() {
    ends("exit", &code(7), 3);
    ends("_exit", &code(7), 3);
}

#[test]
fn exit_while_threads_track_is_quick_and_loses_nothing() {
    ends("exit while threads track", &code(7), rounds(50));
}

#[test]
fn returning_from_main_while_threads_track_is_quick_and_loses_nothing() {
    ends("return while threads track", &code(0), rounds(15));
}

#[test]
fn other_ways_out_while_threads_track_are_quick_and_lose_nothing() {
    ends("_exit while threads track", &code(7), rounds(10));
    ends("exit on another thread", &code(7), rounds(10));
}

// S7: calls while the process is being torn down.

#[test]
fn a_handler_at_exit_can_track() {
    ends("track in a handler at exit", &End { accepts: 20, ..code(7) }, rounds(5));
}

#[test]
fn destructors_of_threads_can_track() {
    ends("track in destructors of threads", &End { accepts: 14, ..code(7) }, rounds(5));
}
