//! Many processes share a folder: each delivers its own messages and takes none of a running process, and what dead
//! processes have left is delivered by the others.

#![cfg(unix)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::child::*;
use segment_native::{Client, Config};

/// The programs that share a folder.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("track until told") => track_until_told(),
        Some("wait for the server") => wait_for_the_server(),
        Some("leave a child behind") => leave_a_child_behind(),
        Some("leave children of the first moment behind") => leave_children_of_the_first_moment_behind(),
        Some("leave many children behind") => leave_many_children_behind(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Tracks until its time is over or all are told to end. Its last note says that it ended normally, with nothing left.
fn track_until_told() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let (notes, go, run) = (Notes::open(&told("NOTES")), told("GO"), told("RUN"));
    let until = Instant::now() + Duration::from_millis(told_number("LIFE") as u64);
    let mut random = Random(until.elapsed().as_nanos() as u64 + u64::from(std::process::id()));
    for n in 0.. {
        let id = format!("{run}-{n}");
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
        if n % 20 == 0 && (Instant::now() > until || Path::new(&go).exists()) {
            break;
        }
        std::thread::sleep(Duration::from_micros(random.below(5_000)));
    }
    client.flush(patience()).expect("all is delivered");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.queued, stats.failed, stats.dropped), (0, 0, 0), "{stats:?}");
    notes.write(&format!("ended {run}"));
}

fn wait_for_the_server() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    for n in 0..5 {
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
    }
    client.flush(patience()).expect("delivered at last");
}

/// Dies, and leaves a child that has a copy of everything and uses none of it.
fn leave_a_child_behind() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    for n in 0..5 {
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
    }
    match fork() {
        Forked::Child => be_there(&notes),
        Forked::Parent(pid) => notes.write(&format!("child {pid}")),
    }
    die();
}

/// The same with children that were forked while this process made its first client, and registered its fork handler.
fn leave_children_of_the_first_moment_behind() {
    let notes = Notes::open(&told("NOTES"));
    let made = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            let client = client(&told("URL"), Path::new(&told("FOLDER")));
            made.store(true, Ordering::SeqCst);
            assert!(track(&client, &told("RUN")));
            notes.write(&told("RUN"));
            client
        });
        for _ in 0..100 {
            match fork() {
                Forked::Child => be_there(&notes),
                Forked::Parent(pid) => notes.write(&format!("child {pid}")),
            }
            if made.load(Ordering::SeqCst) {
                break;
            }
        }
        let _client = making.join().expect("no panic");
        die();
    });
}

/// The same with children that were forked at any moment, while clients were being made.
fn leave_many_children_behind() {
    let (url, folder, run) = (told("URL"), told("FOLDER"), told("RUN"));
    let notes = Arc::new(Notes::open(&told("NOTES")));
    let stop = Arc::new(AtomicBool::new(false));
    let making: Vec<_> = (0..2)
        .map(|thread| {
            let (url, folder, run) = (url.clone(), folder.clone(), run.clone());
            let (notes, stop) = (notes.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut clients = Vec::new();
                while clients.len() < 100 && !stop.load(Ordering::SeqCst) {
                    let config = Config { flush_interval: NEVER, ..config(&url, Path::new(&folder)) };
                    let client = Client::new(config).expect("good settings");
                    let id = format!("{run}-{thread}-{}", clients.len());
                    assert!(track(&client, &id));
                    notes.accepted(&client, &id);
                    clients.push(client);
                }
                clients
            })
        })
        .collect();
    for _ in 0..300 {
        match fork() {
            Forked::Child => be_there(&notes),
            Forked::Parent(pid) => notes.write(&format!("child {pid}")),
        }
        if making.iter().all(|thread| thread.is_finished()) {
            break;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let clients: Vec<_> = making.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert!(clients.iter().all(|clients| !clients.is_empty()));
    die();
}

/// A child that does nothing. Its note shows that the library's fork handler has run.
fn be_there(notes: &Notes) -> ! {
    notes.write(&format!("there {}", std::process::id()));
    pause()
}

fn die() {
    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
}

struct Scene {
    folder: Folder,
    sink: Sink,
    notes: String,
    go: String,
}

impl Scene {
    fn new(mode: Mode) -> Scene {
        let folder = Folder::new();
        let (notes, go) = (folder.beside("notes"), folder.beside("go"));
        Scene { folder, sink: Sink::new(mode), notes, go }
    }

    fn start(&self, part: &str, run: &str, life: Duration) -> Program {
        let (url, life) = (self.sink.url(), life.as_millis().to_string());
        let told = [("URL", url.as_str()), ("FOLDER", self.folder.text()), ("NOTES", &self.notes), ("GO", &self.go)];
        Program::start(program(part, &[told.as_slice(), &[("RUN", run), ("LIFE", &life)]].concat()))
    }

    /// The ids of accepted messages, and the other notes.
    fn noted(&self) -> (Vec<String>, Vec<String>) {
        read_notes(&self.notes).into_iter().partition(|note| !note.contains(' '))
    }

    /// The notes that begin with this.
    fn noted_as(&self, title: &str) -> HashSet<String> {
        self.noted().1.iter().filter_map(|note| note.strip_prefix(title)).map(str::to_owned).collect()
    }

    fn children(&self) -> Vec<i32> {
        self.noted_as("child ").iter().map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// Nothing is lost, and messages of processes that were not killed were stored once. Returns how many messages
    /// there were, and how many were stored more than once.
    fn check(&self) -> (usize, usize) {
        let (accepted, _) = self.noted();
        nothing_is_lost(&accepted, &self.sink, &HashSet::new());
        let ended = self.noted_as("ended ");
        let received = self.sink.received();
        let repeated: Vec<_> = received.iter().filter(|(_, message)| message.stored > 1).map(|(id, _)| id).collect();
        let robbed: Vec<_> =
            repeated.iter().filter(|id| id.rsplit_once('-').is_some_and(|(run, _)| ended.contains(run))).collect();
        assert!(
            robbed.is_empty(),
            "delivered more than once, although their process was never killed: {:?}",
            some(&robbed)
        );
        (accepted.len(), repeated.len())
    }
}

/// S26.
#[test]
fn twenty_processes_share_a_folder_and_are_killed_at_random() {
    const PROCESSES: usize = 20;
    const SEED: u64 = 26;
    let scene = Scene::new(Mode::Good);
    let mut random = Random(SEED);
    let mut runs = 0;
    let mut start = || {
        runs += 1;
        scene.start("track until told", &format!("run{runs}"), NEVER)
    };
    let mut programs: Vec<Program> = (0..PROCESSES).map(|_| start()).collect();
    let kills = rounds(60);
    for _ in 0..kills {
        scene.sink.set([Mode::Good, Mode::Good, Mode::Refuse(503), Mode::Close][random.below(4) as usize]);
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        let victim = random.below(PROCESSES as u64) as usize;
        std::mem::replace(&mut programs[victim], start()).kill();
    }
    scene.sink.set(Mode::Good);
    std::fs::write(&scene.go, "").expect("written");
    programs.into_iter().for_each(Program::succeeded);
    assert_eq!(scene.noted_as("ended ").len(), PROCESSES);
    let left = deliver(&scene.sink, &scene.folder).recovered;
    let (accepted, repeated) = scene.check();
    assert_eq!(scene.folder.left(), Vec::<PathBuf>::new());
    let size = [
        (kills, "kills"),
        (accepted, "accepted"),
        (repeated, "sent twice"),
        (usize::try_from(left).expect("few"), "left for the last"),
    ];
    campaign("20 of them, killed at random", &size, Some(SEED), "0 lost");
}

/// S26.
#[test]
fn processes_that_come_and_go_deliver_everything_once() {
    const PROCESSES: usize = 8;
    const SEED: u64 = 8;
    let scene = Scene::new(Mode::Good);
    let mut random = Random(SEED);
    let mut runs = 0;
    let mut start = |life| {
        runs += 1;
        scene.start("track until told", &format!("run{runs}"), Duration::from_millis(life))
    };
    let mut programs: Vec<Program> = (0..PROCESSES as u64).map(|n| start(n * 20)).collect();
    for n in 0..rounds(100) {
        std::mem::replace(&mut programs[n % PROCESSES], start(random.below(200))).succeeded();
    }
    programs.into_iter().for_each(Program::succeeded);
    let (accepted, repeated) = scene.check();
    assert_eq!(repeated, 0);
    assert_eq!(scene.folder.left(), Vec::<PathBuf>::new());
    assert_eq!(deliver(&scene.sink, &scene.folder).recovered, 0);
    let size = [(runs, "processes"), (accepted, "accepted")];
    campaign("8 at a time, which come and go", &size, Some(SEED), "0 lost, 0 sent twice");
}

/// S26: a look into the folder tries all locks, including those of clients that are just being made.
#[test]
fn clients_that_start_at_the_same_time_all_keep_their_messages_on_disk() {
    let scene = Scene::new(Mode::Good);
    let barrier = Barrier::new(6);
    let refused = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (scene, barrier, refused) = (&scene, &barrier, &refused);
            scope.spawn(move || {
                for n in 0..rounds(50) {
                    barrier.wait();
                    let mut config = config(&scene.sink.url(), &scene.folder.0);
                    let counting = refused.clone();
                    // A stalled disk is not what this test is about.
                    config.on_log = Some(Box::new(move |_, line| {
                        let is_refused = line.contains("the spool cannot be written");
                        counting.fetch_add(u64::from(is_refused), Ordering::SeqCst);
                    }));
                    let client = Client::new(config).expect("good settings");
                    assert!(track(&client, &format!("{thread}-{n}")));
                    client.flush(patience()).expect("delivered");
                }
            });
        }
    });
    let (clients, refused) = (rounds(50) * 6, refused.load(Ordering::SeqCst));
    assert_eq!(refused, 0, "of {clients} clients this many would have lost a message by a kill");
    campaign("6 clients at a time, which start at once", &[(clients, "clients")], None, "0 without a file");
}

/// S27.
#[test]
fn the_messages_of_a_process_that_is_only_stopped_are_not_taken() {
    let scene = Scene::new(Mode::HangFor("owner"));
    let owner = scene.start("wait for the server", "owner", NEVER);
    assert!(wait_until(|| scene.noted().0.len() == 5 && scene.sink.requests() > 0));
    owner.signal(libc::SIGSTOP);
    assert!(is_stopped(owner.pid()));
    for n in 0..3 {
        let client = client(&scene.sink.url(), &scene.folder.0);
        assert!(track(&client, &format!("other-{n}")));
        client.flush(patience()).expect("its own is delivered");
        let stats = client.stats();
        assert_eq!((stats.delivered, stats.recovered), (1, 0), "{stats:?}");
    }
    let stored =
        |owner: &str| scene.sink.received().iter().filter(|(id, m)| id.starts_with(owner) && m.stored > 0).count();
    assert_eq!((stored("owner"), stored("other")), (0, 3));
    owner.signal(libc::SIGCONT);
    scene.sink.set(Mode::Good);
    owner.succeeded();
    assert_eq!(stored("owner"), 5);
    assert_eq!(scene.check(), (5, 0));
    assert_eq!(scene.folder.left(), Vec::<PathBuf>::new());
}

/// S27.
#[test]
fn a_dead_process_is_adopted_at_once_though_a_child_of_it_lives() {
    let first = ["leave children of the first moment behind"; 20];
    for part in ["leave a child behind", "leave many children behind"].into_iter().chain(first) {
        let scene = Scene::new(Mode::Refuse(503));
        let status = scene.start(part, "parent", NEVER).ended(patience());
        let children = scene.children();
        let _ending = Ending(&children);
        assert!(died_by_kill(status), "{status}");
        assert!(wait_until(|| scene.noted_as("there ").len() == children.len()), "all children have begun");
        scene.sink.set(Mode::Good);
        let stats = deliver(&scene.sink, &scene.folder);
        assert!(!children.is_empty() && children.iter().all(|pid| is_alive(*pid)), "the children live");
        assert_eq!(stats.recovered, scene.noted().0.len() as u64, "{part}, with {} children", children.len());
        scene.check();
        assert_eq!(scene.folder.left(), Vec::<PathBuf>::new());
    }
}

/// Ends programs whose parents are gone.
struct Ending<'a>(&'a [i32]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
    }
}
