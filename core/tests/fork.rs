//! A process that forks, and its children: none hangs, nothing is lost, and each message is sent by its own process
//! only.
//!
//! The `main` of this program is C's, as in programs in C, C++ and Python that fork. With a `main` of Rust's, the
//! standard library takes a lock of its own whenever a thread starts or ends; in a child forked at that moment it is
//! never released, and no thread can be started by the standard library, which includes ours.

#![cfg(unix)]
#![no_main]
#![allow(unsafe_code)] // a client that a forked child drops
#![allow(clippy::print_stdout)] // it is its own harness

#[path = "it/child.rs"]
mod child;
#[path = "it/patience.rs"]
mod patience;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use child::*;
use segment_native::{Choice, Client, Config, Edit, Object, Stats, bindings};

/// Runs the tests, or one of the programs that they start.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    if part().is_some() {
        return if catch_unwind(child_main).is_ok() { 0 } else { 101 };
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let good = catch_unwind(test).is_ok();
        *(if good { &mut passed } else { &mut failed }) += 1;
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
    }
    println!("{passed} passed, {failed} failed");
    i32::from(failed > 0)
}

/// The programs that fork.
fn child_main() {
    match part().as_deref() {
        Some("fork while threads track") => fork_while_threads_track(),
        Some("fork while threads start and end") => fork_while_threads_start_and_end(),
        Some("fork in a callback") => fork_in_a_callback(),
        Some("fork in a callback and return from it") => fork_in_a_callback_and_return_from_it(),
        Some("fork in before_send and return from it") => fork_in_before_send_and_return_from_it(),
        Some("fork while a request hangs") => fork_while_a_request_hangs(),
        Some("fork while threads identify") => fork_while_threads_identify(),
        Some("opt out in a child") => opt_out_in_a_child(),
        Some("answer in a child") => answer_in_a_child(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

fn new_client() -> Client {
    client(&told("URL"), Path::new(&told("FOLDER")))
}

/// Tracks with our own id, or one that the library makes, and notes the message's name once it is accepted.
fn track_and_note(client: &Client, notes: &Notes, name: &str, own_id: bool) {
    let taken =
        if own_id { track(client, name) } else { client.track("u", &format!("Event {name}"), None, None).is_ok() };
    assert!(taken, "{:?}", client.stats());
    match told("FOLDER").is_empty() {
        true => notes.write(name), // it need not survive the process
        false => notes.accepted(client, name),
    }
}

fn track_three(client: &Client, notes: &Notes, name: &str) {
    for n in 0..3 {
        track_and_note(client, notes, &format!("{name}-{n}"), n > 0);
    }
}

/// Forks a child that does this. The child never returns to its copy of the harness.
fn fork_to(what: impl FnOnce()) -> i32 {
    match fork() {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            end_with_parent();
            let done = catch_unwind(AssertUnwindSafe(what));
            exit_now(if done.is_ok() { 0 } else { 101 })
        }
    }
}

/// Waits for a forked child, which must end as expected.
fn expect_end(pid: i32, what: &str, by_kill: bool) {
    let Some(status) = ended(pid, patience()) else { panic!("deadlock: {what}") };
    assert!(if by_kill { died_by_kill(status) } else { status.success() }, "{what}: {status}");
}

/// A client that several threads use, and that a forked child can drop as its own.
#[derive(Clone, Copy)]
struct Inherited(*const Client);

// SAFETY: a client can be used from all threads.
unsafe impl Send for Inherited {}

impl Inherited {
    fn new(client: Client) -> Inherited {
        Inherited(Box::into_raw(Box::new(client)))
    }

    fn get(&self) -> &'static Client {
        // SAFETY: it is dropped at the end of a process only, by the only thread that still uses it.
        unsafe { &*self.0 }
    }

    fn drop_in_this_process(self) {
        // SAFETY: it was made by Box::into_raw in `new`; in this process no other thread uses it any more.
        drop(unsafe { Box::from_raw(self.0.cast_mut()) });
    }
}

fn fork_while_threads_track() {
    let spooled = !told("FOLDER").is_empty();
    let inherited = Inherited::new(new_client());
    let notes = Arc::new(Notes::open(&told("NOTES")));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (notes, stop) = (notes.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut random = Random(thread);
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    track_and_note(inherited.get(), &notes, &format!("parent-{thread}-{n}"), n % 2 == 0);
                    std::thread::sleep(Duration::from_micros(random.below(6_000)));
                }
            })
        })
        .collect();
    let (mut wait_here, mut go_on) = std::io::pipe().expect("a pipe");
    let mut outlives = None;
    for n in 0..told_number("FORKS") {
        let name = format!("child{n}");
        let client = inherited.get();
        let kind = n % 5;
        let pid = fork_to(|| {
            if !spooled {
                // The parent's messages are not in the child's counts.
                assert!(kind == 4 || client.stats() == Stats::default(), "{:?}", client.stats());
            }
            match kind {
                // With a spool a message survives all of these ends; without one the child has to wait for it.
                0..=2 if !spooled => {
                    track_three(client, &notes, &name);
                    client.flush(patience()).expect("delivered");
                    assert_eq!((client.stats().accepted, client.stats().delivered), (3, 3));
                }
                0 => track_three(client, &notes, &name),
                1 => {
                    track_three(client, &notes, &name);
                    exec_true();
                }
                2 => {
                    track_three(client, &notes, &name);
                    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
                }
                3 => {
                    track_three(client, &notes, &name);
                    client.flush(patience()).expect("delivered");
                    let stats = client.stats();
                    balanced(&stats);
                    assert_eq!(stats.accepted - stats.recovered, 3);
                    inherited.drop_in_this_process();
                }
                // Has a copy of the client, does not use it, and outlives its next sibling.
                _ => {
                    wait_here.read_exact(&mut [0]).expect("the parent's word");
                    if n % 2 == 0 {
                        inherited.drop_in_this_process();
                    }
                }
            }
        });
        if kind == 4 {
            outlives = Some(pid);
            continue;
        }
        expect_end(pid, &name, kind == 2 && spooled);
        if let Some(older) = outlives.take() {
            go_on.write_all(&[0]).expect("a pipe");
            expect_end(older, "a child that uses nothing", false);
        }
    }
    if let Some(older) = outlives.take() {
        go_on.write_all(&[0]).expect("a pipe");
        expect_end(older, "a child that uses nothing", false);
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let client = inherited.get();
    client.flush(patience()).expect("all is delivered");
    balanced(&client.stats());
    assert_eq!(client.stats().queued, 0);
    inherited.drop_in_this_process();
}

/// The standard library takes a lock of its own when a thread starts or ends. In a child forked at that moment it is
/// never released, and the standard library cannot start threads.
fn fork_while_threads_start_and_end() {
    let inherited = Inherited::new(new_client());
    let notes = Notes::open(&told("NOTES"));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let others = std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            let _ = std::thread::spawn(|| {}).join();
        }
    });
    for n in 0..told_number("FORKS") {
        let name = format!("child{n}");
        let pid = fork_to(|| {
            track_three(inherited.get(), &notes, &name);
            inherited.get().flush(patience()).expect("delivered");
        });
        expect_end(pid, &name, false);
    }
    stop.store(true, Ordering::SeqCst);
    others.join().expect("no panic");
}

static CLIENT: OnceLock<Client> = OnceLock::new();

/// Forks on the delivery thread: the child has a copy of it in the middle of a callback.
fn fork_in_a_callback() {
    static FORKS: AtomicUsize = AtomicUsize::new(0);
    let notes = Arc::new(Notes::open(&told("NOTES")));
    let forks = told_number("FORKS");
    let mut config = config(&told("URL"), Path::new(&told("FOLDER")));
    config.flush_at = 1;
    let noting = notes.clone();
    config.on_delivery = Some(Box::new(move |_| {
        // A child has the callback too, for its own messages.
        if noting_is_over() || FORKS.fetch_add(1, Ordering::SeqCst) >= forks {
            return;
        }
        let name = format!("child{}", FORKS.load(Ordering::SeqCst));
        let client = CLIENT.get().expect("made");
        let pid = fork_to(|| {
            IS_CHILD.store(true, Ordering::SeqCst);
            assert!(!bindings::is_in_callback(client), "the callback is the parent's");
            track_three(client, &noting, &name);
            client.flush(patience()).expect("delivered");
        });
        if !matches!(ended(pid, patience()), Some(status) if status.success()) {
            noting.write(&format!("the child {name} failed"));
        }
    }));
    let client = CLIENT.get_or_init(|| Client::new(config).expect("good settings"));
    for n in 0.. {
        track_and_note(client, &notes, &format!("parent-{n}"), n % 2 == 0);
        client.flush(patience()).expect("delivered");
        if FORKS.load(Ordering::SeqCst) >= forks {
            break;
        }
    }
}

/// The child did not end.
const STILL_THERE: i32 = 3;

static IS_CHILD: AtomicBool = AtomicBool::new(false);

fn noting_is_over() -> bool {
    IS_CHILD.load(Ordering::SeqCst)
}

/// The child goes on as if nothing had happened, with a copy of all that its parent had still to send.
fn fork_in_a_callback_and_return_from_it() {
    static FORKED: AtomicUsize = AtomicUsize::new(0);
    let notes = Notes::open(&told("NOTES"));
    let config = Config {
        on_delivery: Some(Box::new(move |_| {
            if FORKED.load(Ordering::SeqCst) == 0 {
                // More is waiting, which the wrong process could send.
                track(CLIENT.get().expect("made"), "parent-second");
                match fork() {
                    Forked::Parent(pid) => FORKED.store(usize::try_from(pid).expect("a pid"), Ordering::SeqCst),
                    Forked::Child => FORKED.store(1, Ordering::SeqCst),
                }
            }
        })),
        ..config(&told("URL"), Path::new(&told("FOLDER")))
    };
    let client = CLIENT.get_or_init(|| Client::new(config).expect("good settings"));
    track_and_note(client, &notes, "parent-first", true);
    client.flush(patience()).expect("delivered");
    notes.write("parent-second");
    client.flush(patience()).expect("delivered");
    let pid = i32::try_from(FORKED.load(Ordering::SeqCst)).expect("a pid");
    // Its only thread is the copy of its parent's delivery thread. When that ends, so does the child.
    if ended(pid, patience() / 2).is_none() {
        exit_now(STILL_THERE);
    }
}

/// Both go on, and in both the message that before_send saw is accepted.
fn fork_in_before_send_and_return_from_it() {
    static CHILD: AtomicUsize = AtomicUsize::new(0);
    let notes = Notes::open(&told("NOTES"));
    let config = Config {
        before_send: Some(Box::new(|message| {
            if message.contains("Event split") {
                match fork() {
                    Forked::Parent(pid) => CHILD.store(usize::try_from(pid).expect("a pid"), Ordering::SeqCst),
                    Forked::Child => IS_CHILD.store(true, Ordering::SeqCst),
                }
            }
            Ok(Edit::Keep)
        })),
        ..config(&told("URL"), Path::new(&told("FOLDER")))
    };
    let client = CLIENT.get_or_init(|| Client::new(config).expect("good settings"));
    track_and_note(client, &notes, "before", true);
    track_and_note(client, &notes, "split", true);
    if IS_CHILD.load(Ordering::SeqCst) {
        assert_eq!(client.stats().accepted, 1, "it is in the child's own queue");
        track_three(client, &notes, "child");
        client.flush(patience()).expect("delivered");
        exit_now(0);
    }
    track_three(client, &notes, "parent");
    client.flush(patience()).expect("delivered");
    expect_end(i32::try_from(CHILD.load(Ordering::SeqCst)).expect("a pid"), "child", false);
}

fn fork_while_a_request_hangs() {
    let client = Inherited::new(new_client());
    let notes = Notes::open(&told("NOTES"));
    for n in 0..3 {
        track_and_note(client.get(), &notes, &format!("parent-{n}"), n > 0);
    }
    let _ = client.get().flush(Duration::ZERO);
    assert!(wait_until(|| Path::new(&told("GO")).exists()), "told that the server has the request");
    for n in 0..told_number("FORKS") {
        let name = format!("child{n}");
        let pid = fork_to(|| {
            if n % 4 != 0 {
                track_three(client.get(), &notes, &name);
                client.get().flush(patience()).expect("delivered");
            }
            client.drop_in_this_process();
        });
        expect_end(pid, &name, false);
    }
    notes.write("parent-all children have ended");
    track(client.get(), "parent-all children have ended");
    client.get().flush(patience()).expect("delivered");
    client.drop_in_this_process();
}

fn new_stateful_client() -> Client {
    let config = Config { stateful: true, ..config(&told("URL"), Path::new(&told("FOLDER"))) };
    Client::new(config).expect("good settings")
}

/// At the moment of a fork some thread is always about to change who the user is.
fn fork_while_threads_identify() {
    let spooled = !told("FOLDER").is_empty();
    let inherited = Inherited::new(new_stateful_client());
    let notes = Arc::new(Notes::open(&told("NOTES")));
    let client = inherited.get();
    client.identify("u", None, None).expect("taken");
    let anonymous = client.anonymous_id();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let traits = Object::from([("thread", thread), ("n", n)]);
                    inherited.get().identify(None, &traits, None).expect("taken");
                    std::thread::sleep(Duration::from_micros(300));
                }
            })
        })
        .collect();
    for n in 0..told_number("FORKS") {
        let name = format!("child{n}");
        let pid = fork_to(|| {
            assert_eq!((client.user_id().as_deref(), client.anonymous_id()), (Some("u"), anonymous.clone()));
            client.track(None, &format!("Event {name}"), None, None).expect("taken");
            notes.write(&name);
            client.identify(None, &Object::from([("child", n as u64)]), None).expect("taken");
            client.flush(patience()).expect("delivered");
            assert_eq!((client.user_id().as_deref(), client.anonymous_id()), (Some("u"), anonymous.clone()));
            if !spooled {
                client.identify("v", None, None).expect("taken"); // in this process only
                client.opt_out().expect("nothing to keep");
            }
        });
        expect_end(pid, &name, false);
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!((client.user_id().as_deref(), client.anonymous_id()), (Some("u"), anonymous));
    client.flush(patience()).expect("delivered");
    inherited.drop_in_this_process();
}

/// A choice in a child counts in its parent, and the other way round.
fn opt_out_in_a_child() {
    let inherited = Inherited::new(new_stateful_client());
    let notes = Notes::open(&told("NOTES"));
    let client = inherited.get();
    for turn in 0..20 {
        let name = format!("child{turn}");
        expect_end(fork_to(|| client.opt_out().expect("kept")), &name, false);
        // It was forked before the choice was checked there.
        let pid = fork_to(|| {
            assert!(wait_until(|| client.track(None, "Event never", None, None).is_err()), "it notices");
        });
        expect_end(pid, &name, false);
        assert!(wait_until(|| client.track(None, "Event never", None, None).is_err()), "the parent notices");
        client.opt_in().expect("kept");
        let pid = fork_to(|| {
            client.track(None, &format!("Event {name}"), None, None).expect("taken");
            notes.write(&name);
            client.flush(patience()).expect("delivered");
        });
        expect_end(pid, &name, false);
    }
    inherited.drop_in_this_process();
}

/// What is held is the parent's alone; but the child knows the user's ids, and that there is no answer yet.
fn answer_in_a_child() {
    let config =
        Config { ask_first: true, stateful: true, shutdown: NEVER, ..config(&told("URL"), Path::new(&told("FOLDER"))) };
    let inherited = Inherited::new(Client::new(config).expect("good settings"));
    let client = inherited.get();
    let anonymous = client.anonymous_id();
    let held = |name: &str| client.track(None, &format!("Event {name}"), None, None).expect("held");
    (0..3).for_each(|_| held("parent"));
    let pid = fork_to(|| {
        assert_eq!((client.opt_state(), client.stats().held), (Choice::None, 0));
        assert_eq!(client.anonymous_id(), anonymous);
        held("never");
        client.flush(NEVER).expect_err("held");
        bindings::end(client); // at once
        assert_eq!(client.stats().dropped, 1);
    });
    expect_end(pid, "one without an answer", false);
    assert!(!Path::new(&told("FOLDER")).join("segment-native").exists());
    let pid = fork_to(|| {
        held("child");
        client.opt_in().expect("kept");
        client.flush(patience()).expect("delivered");
        assert_eq!((client.stats().delivered, client.anonymous_id()), (1, anonymous.clone()));
    });
    expect_end(pid, "one that is told", false);
    assert_eq!(client.stats().held, 3);
    client.set_consent(None).expect("as it is"); // it reads the folder first
    assert_eq!((client.opt_state(), client.anonymous_id()), (Choice::In, anonymous));
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().delivered, 3);
    inherited.drop_in_this_process();
}

/// How long a program that forks thousands of times may take. Each of its own waits has the usual bound.
fn bound() -> Duration {
    patience() * 10 * u32::try_from(rounds(1)).expect("few")
}

/// Starts a program that forks.
fn start(part: &str, sink: &Sink, folder: &str, beside: &Folder, forks: usize) -> Program {
    let (url, notes, go, forks) = (sink.url(), beside.beside("notes"), beside.beside("go"), forks.to_string());
    let told = [("URL", url.as_str()), ("FOLDER", folder), ("NOTES", &notes), ("GO", &go), ("FORKS", &forks)];
    Program::start(program(part, &told))
}

/// Every message that was accepted has arrived under one id, and no two share one. Messages of processes that were not
/// killed came once. Returns how many there were.
fn check(sink: &Sink, beside: &Folder, once: impl Fn(&str) -> bool) -> usize {
    let accepted = read_notes(&beside.beside("notes"));
    let received = sink.received();
    let mut by_name: HashMap<&str, Vec<&str>> = HashMap::new();
    for (id, message) in &received {
        by_name.entry(message.event.trim_start_matches("Event ")).or_default().push(id);
    }
    // These were in memory because the disk stalled.
    let (in_memory, accepted): (Vec<_>, Vec<_>) = accepted.into_iter().partition(|name| name.starts_with(IN_MEMORY));
    let lost: Vec<_> = accepted.iter().filter(|name| !by_name.contains_key(name.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} accepted messages are lost: {:?}", lost.len(), accepted.len(), some(&lost));
    let doubled: Vec<_> = by_name.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(doubled.is_empty(), "one message under several ids: {doubled:?}");
    assert_eq!(sink.contradictions(), Vec::<String>::new(), "several messages under one id");
    let repeated: Vec<_> = accepted
        .iter()
        .filter(|name| once(name))
        .filter(|name| received[by_name[name.as_str()][0]].seen != 1)
        .collect();
    assert!(repeated.is_empty(), "sent more than once without a kill: {:?}", some(&repeated));
    accepted.len() + in_memory.len()
}

/// S28.
fn a_process_forks_while_its_threads_track_and_nothing_is_lost() {
    let forks = rounds(400);
    let (folder, sink) = (Folder::new(), Sink::new(Mode::Good));
    let status = start("fork while threads track", &sink, folder.text(), &folder, forks).ended(bound());
    assert!(status.success(), "{status}");
    deliver(&sink, &folder);
    // Children of the kinds 0 to 2 end in the middle of a request, which a client that adopts their messages cannot
    // know.
    let once = |name: &str| match name.strip_prefix("child").and_then(|rest| rest.split('-').next()) {
        Some(number) => number.parse::<usize>().expect("a number") % 5 == 3,
        None => true,
    };
    let accepted = check(&sink, &folder, once);
    assert_eq!(folder.left(), Vec::<std::path::PathBuf>::new());
    campaign("while 8 threads track", &[(forks, "forks"), (accepted, "accepted")], None, "0 lost, 0 deadlocks");
}

/// S28.
fn without_a_spool_a_child_starts_with_nothing_and_delivers_its_own() {
    let forks = rounds(100);
    let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
    let status = start("fork while threads track", &sink, "", &beside, forks).ended(bound());
    assert!(status.success(), "{status}");
    let accepted = check(&sink, &beside, |_| true);
    let size = [(forks, "forks"), (accepted, "accepted")];
    campaign("while 8 threads track, without a spool", &size, None, "0 lost, 0 deadlocks");
}

/// S28.
fn a_child_delivers_whatever_threads_were_starting_or_ending_when_it_was_forked() {
    let (folder, sink) = (Folder::new(), Sink::new(Mode::Good));
    let status = start("fork while threads start and end", &sink, folder.text(), &folder, 200).ended(bound());
    assert!(status.success(), "{status}");
    assert_eq!(check(&sink, &folder, |_| false), 200 * 3);
}

/// S29.
fn a_callback_can_fork_and_the_child_can_deliver() {
    for spooled in [true, false] {
        let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
        let folder = if spooled { beside.text() } else { "" };
        start("fork in a callback", &sink, folder, &beside, 50).succeeded();
        let accepted = check(&sink, &beside, |_| true);
        assert_eq!(accepted, 50 * 3 + 50, "{:?}", read_notes(&beside.beside("notes")));
        assert!(!spooled || deliver(&sink, &beside).recovered == 0);
    }
}

/// S29.
fn a_child_that_returns_from_its_parents_callback_does_not_deliver_for_its_parent() {
    for spooled in [true, false] {
        let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
        let folder = if spooled { beside.text() } else { "" };
        let status = start("fork in a callback and return from it", &sink, folder, &beside, 0).ended(patience());
        assert_eq!(check(&sink, &beside, |_| true), 2);
        assert_ne!(status.code(), Some(STILL_THERE), "the copy of its parent's delivery thread never ends");
        assert!(status.success(), "{status}");
    }
}

/// S29.
fn a_child_that_returns_from_before_send_delivers_that_message_too() {
    for spooled in [true, false] {
        let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
        let folder = if spooled { beside.text() } else { "" };
        start("fork in before_send and return from it", &sink, folder, &beside, 0).succeeded();
        assert_eq!(check(&sink, &beside, |name| name != "split"), 1 + 2 + 3 + 3);
        let split = sink.received().values().find(|message| message.event == "Event split").map(|split| split.seen);
        assert_eq!(split, Some(2), "once by each, under one id");
    }
}

/// S29.
fn a_child_forked_while_a_request_hangs_leaves_its_parents_connection_alone() {
    for spooled in [true, false] {
        let (beside, sink) = (Folder::new(), Sink::new(Mode::HangFor("parent")));
        let folder = if spooled { beside.text() } else { "" };
        let program = start("fork while a request hangs", &sink, folder, &beside, 40);
        assert!(wait_until(|| sink.requests() > 0), "the request of the parent");
        std::fs::write(beside.beside("go"), "").expect("written");
        let done = || read_notes(&beside.beside("notes")).iter().any(|note| note.starts_with("parent-all"));
        assert!(wait_until(done), "the children end while the parent's request hangs");
        sink.set(Mode::Good);
        program.succeeded();
        assert_eq!(check(&sink, &beside, |_| true), 3 + 30 * 3 + 1);
    }
}

/// S28.
fn a_child_knows_its_parents_user_though_it_was_forked_in_the_middle_of_a_change() {
    let forks = rounds(60);
    for spooled in [true, false] {
        let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
        let folder = if spooled { beside.text() } else { "" };
        let status = start("fork while threads identify", &sink, folder, &beside, forks).ended(bound());
        assert!(status.success(), "{status}");
        let received = sink.received();
        let tracked: Vec<_> = received.values().filter(|message| message.event.starts_with("Event child")).collect();
        assert_eq!((tracked.len(), read_notes(&beside.beside("notes")).len()), (forks, forks));
    }
    let size = [(forks * 2, "forks"), (forks * 2, "accepted")];
    campaign("while 4 threads change who the user is", &size, None, "0 lost, 0 deadlocks");
}

/// S69.
fn parents_and_children_heed_each_other_when_the_user_opts_out() {
    let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
    start("opt out in a child", &sink, beside.text(), &beside, 0).succeeded();
    let received = sink.received();
    let events: std::collections::HashSet<_> = received.values().map(|message| message.event.as_str()).collect();
    assert_eq!(events.iter().filter(|event| event.starts_with("Event child")).count(), 20);
}

fn a_child_holds_nothing_of_its_parents_and_each_follows_the_answer() {
    let (beside, sink) = (Folder::new(), Sink::new(Mode::Good));
    start("answer in a child", &sink, beside.text(), &beside, 0).succeeded();
    let received = sink.received();
    let mut events: Vec<_> = received.values().map(|message| message.event.as_str()).collect();
    events.sort_unstable();
    assert_eq!(events, ["Event child", "Event parent", "Event parent", "Event parent"]);
}

const TESTS: &[(&str, fn())] = &[
    (
        "a_child_holds_nothing_of_its_parents_and_each_follows_the_answer",
        a_child_holds_nothing_of_its_parents_and_each_follows_the_answer,
    ),
    (
        "a_process_forks_while_its_threads_track_and_nothing_is_lost",
        a_process_forks_while_its_threads_track_and_nothing_is_lost,
    ),
    (
        "without_a_spool_a_child_starts_with_nothing_and_delivers_its_own",
        without_a_spool_a_child_starts_with_nothing_and_delivers_its_own,
    ),
    (
        "a_child_delivers_whatever_threads_were_starting_or_ending_when_it_was_forked",
        a_child_delivers_whatever_threads_were_starting_or_ending_when_it_was_forked,
    ),
    (
        "a_child_knows_its_parents_user_though_it_was_forked_in_the_middle_of_a_change",
        a_child_knows_its_parents_user_though_it_was_forked_in_the_middle_of_a_change,
    ),
    (
        "parents_and_children_heed_each_other_when_the_user_opts_out",
        parents_and_children_heed_each_other_when_the_user_opts_out,
    ),
    ("a_callback_can_fork_and_the_child_can_deliver", a_callback_can_fork_and_the_child_can_deliver),
    (
        "a_child_that_returns_from_before_send_delivers_that_message_too",
        a_child_that_returns_from_before_send_delivers_that_message_too,
    ),
    (
        "a_child_that_returns_from_its_parents_callback_does_not_deliver_for_its_parent",
        a_child_that_returns_from_its_parents_callback_does_not_deliver_for_its_parent,
    ),
    (
        "a_child_forked_while_a_request_hangs_leaves_its_parents_connection_alone",
        a_child_forked_while_a_request_hangs_leaves_its_parents_connection_alone,
    ),
];
