//! The files that clients keep open: one for each client, none of them in a forked child, and never a file of the host.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // descriptors by their numbers, as a host that becomes a daemon treats them

use std::fs::{self, File};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::child::*;
use segment_native::{Client, Config, Edit};

/// The programs that fork.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("close all files and fork") => close_all_files_and_fork(),
        Some("have many clients") => have_many_clients(),
        Some("fork with a mapped file") => fork_with_a_mapped_file(),
        Some("fork before a message is sent") => fork_before_a_message_is_sent(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// The settings of a client that makes no request without a flush.
fn quiet(url: &str, folder: &Path) -> Config {
    Config { flush_interval: NEVER, ..config(url, folder) }
}

/// Runs a check in a forked child, which reports by its exit code and runs nothing else of this program.
fn in_child(check: impl FnOnce() -> bool) {
    match fork() {
        Forked::Child => exit_now(i32::from(!check())),
        Forked::Parent(pid) => {
            let status = ended(pid, patience()).expect("it ends");
            assert_eq!(status.code(), Some(0), "{status}");
        }
    }
}

fn is_open(descriptor: &i32) -> bool {
    // SAFETY: it changes nothing.
    unsafe { libc::fcntl(*descriptor, libc::F_GETFD) != -1 }
}

// ---- Files of the host ----

/// Whether all other threads of this process are idle, and so use no file for a moment.
fn others_are_idle() -> bool {
    // SAFETY: it has no preconditions.
    let own = unsafe { libc::gettid() }.to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("readable").flatten();
    let waits = format!("{} ", libc::SYS_futex);
    tasks
        .filter(|task| *task.file_name() != *own)
        .all(|task| fs::read_to_string(task.path().join("syscall")).is_ok_and(|call| call.starts_with(&waits)))
}

/// As programs do that turn themselves into a daemon.
fn close_all_files_and_fork() {
    let client = Client::new(quiet(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings");
    assert!(track(&client, "before"));
    assert!(wait_until(others_are_idle));
    // SAFETY: this program uses none of them any more; that the library survives it is what the test is about.
    (3..200).for_each(|descriptor| _ = unsafe { libc::close(descriptor) });
    let hosts: Vec<i32> = (0..100).map(|_| File::open("/dev/null").expect("there").into_raw_fd()).collect();
    assert_eq!(hosts[0], 3, "they have the numbers of the library's files");
    in_child(|| hosts.iter().all(is_open));
    assert!(track(&client, "after"));
    drop(client);
    assert!(hosts.iter().all(is_open), "they were the host's by then");
}

#[test]
fn a_host_that_closes_all_files_and_opens_its_own_keeps_them() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    let url = sink.url();
    let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
    Program::start(program("close all files and fork", &told)).succeeded();
    deliver(&sink, &folder);
    assert!(["before", "after"].iter().all(|id| sink.received().contains_key(*id)));
}

// ---- Many clients ----

const MANY: usize = 300;

fn have_many_clients() {
    let (url, folder) = (told("URL"), told("FOLDER"));
    limit(libc::RLIMIT_NOFILE, None);
    let clients: Vec<Client> = (0..MANY)
        .map(|n| {
            let config = Config { write_key: format!("KEY{n}"), ..quiet(&url, Path::new(&folder)) };
            let client = Client::new(config).expect("good settings");
            assert!(track(&client, &format!("of {n}")));
            client
        })
        .collect();
    assert!(wait_until(|| clients.iter().all(|client| client.stats().in_memory == 0)), "all of them have a file");
    match fork() {
        // It outlives its parent, and holds none of its files.
        Forked::Child => pause(),
        Forked::Parent(pid) => {
            Notes::open(&told("NOTES")).write(&pid.to_string());
            exit_now(0);
        }
    }
}

#[test]
fn hundreds_of_clients_have_their_files_and_a_child_has_none_of_their_locks() {
    let (folder, notes) = (Folder::new(), Folder::new().beside("notes"));
    let told = [("URL", "http://127.0.0.1:9"), ("FOLDER", folder.text()), ("NOTES", &notes)];
    Program::start(program("have many clients", &told)).succeeded();
    let pid: i32 = read_notes(&notes)[0].parse().expect("a pid");
    let _ = fs::remove_file(&notes);
    let locks: Vec<PathBuf> =
        folder.files().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "lock")).collect();
    let free = locks.iter().filter(|path| File::open(path).expect("there").try_lock().is_ok()).count();
    assert!(is_alive(pid), "the child lives");
    kill(pid, libc::SIGKILL);
    // Two threads of a client may each have made one, and the process may have ended before the second was deleted.
    assert!(locks.len() >= MANY, "{} locks", locks.len());
    assert_eq!(free, locks.len());
}

// ---- Mapped files ----

/// Whether this process has a chunk mapped.
fn has_a_map() -> bool {
    fs::read_to_string("/proc/self/maps").expect("readable").contains(".v1.jsonl")
}

fn fork_with_a_mapped_file() {
    let client = Arc::new(Client::new(quiet(&told("URL"), Path::new(&told("FOLDER")))).expect("good settings"));
    assert!(track(&client, "parent"));
    if !has_a_map() {
        return; // this machine has no file system for mapped files
    }
    in_child(|| {
        let parents = has_a_map();
        let (taken, own) = (track(&client, "child"), has_a_map());
        drop(client.clone());
        !parents && taken && own && client.flush(patience()).is_ok()
    });
    assert!(has_a_map() && track(&client, "parent again"));
    client.flush(patience()).expect("delivered");
}

#[test]
fn a_child_has_no_part_of_its_parents_files() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    let url = sink.url();
    let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
    Program::start(program("fork with a mapped file", &told)).succeeded();
    deliver(&sink, &folder);
    assert!(sink.received().values().all(|message| message.stored == 1), "{:?}", sink.received());
    assert!(["parent", "parent again"].iter().all(|id| sink.received().contains_key(*id)));
}

fn fork_before_a_message_is_sent() {
    static CHILD: AtomicI32 = AtomicI32::new(-1);
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let edit = |message: &str| {
        if message.contains("forks") {
            CHILD.store(if let Forked::Parent(pid) = fork() { pid } else { 0 }, Ordering::SeqCst);
        }
        Ok(Edit::Keep)
    };
    let settings = quiet(&told("URL"), Path::new(&told("FOLDER")));
    let client = CLIENT
        .get_or_init(|| Client::new(Config { before_send: Some(Box::new(edit)), ..settings }).expect("good settings"));
    assert!(track(client, "first"));
    // Both go on from here: the parent's file was the right one when the call began.
    assert!(track(client, "forks"));
    match CHILD.load(Ordering::SeqCst) {
        0 => exit_now(i32::from(!track(client, "child"))),
        pid => assert_eq!(ended(pid, patience()).expect("it ends").code(), Some(0)),
    }
    assert!(track(client, "last"));
    client.flush(patience()).expect("delivered");
}

#[test]
fn a_child_that_returns_from_before_send_touches_no_map_of_its_parents() {
    let (sink, folder) = (Sink::new(Mode::Good), Folder::new());
    let url = sink.url();
    let told = [("URL", url.as_str()), ("FOLDER", folder.text())];
    Program::start(program("fork before a message is sent", &told)).succeeded();
    deliver(&sink, &folder);
    // Parent and child have both taken the same message, each in a file of its own.
    let expected = [("first", 1), ("forks", 2), ("child", 1), ("last", 1)];
    assert!(expected.iter().all(|(id, stored)| sink.received()[*id].stored == *stored), "{:?}", sink.received());
}
