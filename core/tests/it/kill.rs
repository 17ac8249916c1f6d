//! A process that is killed, at any moment or at each single step, loses nothing that it had accepted.

#![cfg(unix)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::child::*;
#[cfg(feature = "kill-points")]
use segment_native::bindings::KILL_POINTS;
use segment_native::{Client, Config, Object, Options};

/// The programs that are killed.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("track until killed") => track_until_killed(),
        Some("track much") => track_much(),
        Some("send one by one") => send_one_by_one(),
        Some("recover again and again") => recover_again_and_again(),
        Some("be told to pause") => be_told_to_pause(),
        Some("track three and die") => track_three_and_die(),
        Some("be rescued from memory") => be_rescued_from_memory(),
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Tracks on several threads, in bursts, until it is killed.
fn track_until_killed() {
    let uploads = [0, 8][told_number("THREADS") / 8];
    let config = Config { uploads, ..config(&told("URL"), Path::new(&told("FOLDER"))) };
    let client = Arc::new(Client::new(config).expect("good settings"));
    let notes = Arc::new(Notes::open(&told("NOTES")));
    let threads: Vec<_> = (0..told_number("THREADS"))
        .map(|thread| {
            let (client, notes, run) = (client.clone(), notes.clone(), told("RUN"));
            std::thread::spawn(move || {
                let mut random = Random(thread as u64);
                let small = Object::from([("filler", "x".repeat(200).as_str())]);
                let large = Object::from([("filler", "x".repeat(30_000).as_str())]);
                for n in 0.. {
                    let id = format!("{run}-{thread}-{n}");
                    let filler = match random.below(200) {
                        0 => Some(&large),
                        1..50 => Some(&small),
                        _ => None,
                    };
                    let options = Options { message_id: Some(&id), ..Options::default() };
                    if client.track("u", &format!("Event {id}"), filler, options).is_ok() {
                        notes.accepted(&client, &id);
                    }
                    // As in real programs, not all of the time is spent in the library, so that the server keeps up.
                    if random.below(10) == 0 {
                        std::thread::sleep(Duration::from_micros(random.below(3_000)));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it never ends"));
}

/// Fills a dozen chunks.
fn track_much() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    let large = Object::from([("filler", "x".repeat(30_000).as_str())]);
    for n in 0..200 {
        let id = format!("{}-{n}", told("RUN"));
        let options = Options { message_id: Some(&id), ..Options::default() };
        client.track("u", &format!("Event {id}"), &large, options).expect("taken");
        notes.accepted(&client, &id);
    }
    // Work in the background may take a moment longer than the tracking: the process dies there.
    let _ = wait_until(|| false);
}

/// Sends every message in a request of its own.
fn send_one_by_one() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    for n in 0..8 {
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
        client.flush(patience()).expect("settled");
    }
}

/// Delivers what it finds, and something of its own; several times.
fn recover_again_and_again() {
    let notes = Notes::open(&told("NOTES"));
    for n in 0..6 {
        let client = client(&told("URL"), Path::new(&told("FOLDER")));
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
        client.flush(patience()).expect("settled");
    }
}

/// Is told to pause, once for each of several write keys.
fn be_told_to_pause() {
    let notes = Notes::open(&told("NOTES"));
    let folder = told("FOLDER");
    for n in 0..6 {
        let config = Config { write_key: format!("KEY{n}"), ..config(&told("URL"), Path::new(&folder)) };
        let client = Client::new(config).expect("good settings");
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
        assert!(wait_until(|| paces(Path::new(&folder)) > n), "the pause is remembered");
    }
}

fn paces(folder: &Path) -> usize {
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    inside.filter(|entry| entry.path().join("pace").exists()).count()
}

/// Has no disk for a while, several times: what is held in memory then is written to the disk afterwards.
fn be_rescued_from_memory() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    for n in 0..6 {
        let id = format!("{}-{n}", told("RUN"));
        limit(libc::RLIMIT_FSIZE, Some(0)); // for all users, root included
        // Fills up the files that were made before the limit.
        let large = Object::from([("filler", "x".repeat(30_000).as_str())]);
        for more in 0.. {
            if client.stats().in_memory > 0 {
                break;
            }
            let filler = format!("{id}-{more}");
            let options = Options { message_id: Some(&filler), ..Options::default() };
            let _ = client.track("u", &format!("Event {filler}"), &large, options);
        }
        assert!(track(&client, &id));
        limit(libc::RLIMIT_FSIZE, None);
        assert!(wait_until(|| client.stats().in_memory == 0), "it is rescued");
        notes.write(&id);
    }
}

fn track_three_and_die() {
    let client = client(&told("URL"), Path::new(&told("FOLDER")));
    let notes = Notes::open(&told("NOTES"));
    for n in 0..3 {
        let id = format!("{}-{n}", told("RUN"));
        assert!(track(&client, &id));
        notes.accepted(&client, &id);
    }
    kill(std::process::id().try_into().expect("a pid"), libc::SIGKILL);
}

/// A folder with its notes and its server.
struct Scene {
    folder: Folder,
    sink: Sink,
    notes: String,
}

impl Scene {
    fn new(mode: Mode) -> Scene {
        let folder = Folder::new();
        let notes = folder.beside("notes");
        Scene { folder, sink: Sink::new(mode), notes }
    }

    fn start(&self, part: &str, run: &str, more: &[(&str, &str)]) -> Program {
        self.start_to_die_at("", part, run, more)
    }

    fn start_to_die_at(&self, point: &str, part: &str, run: &str, more: &[(&str, &str)]) -> Program {
        let url = self.sink.url();
        let told = [("URL", url.as_str()), ("FOLDER", self.folder.text()), ("NOTES", &self.notes), ("RUN", run)];
        let mut command = program(part, &[&told, more].concat());
        if !point.is_empty() {
            command.env("SEGMENT_KILL_AT", point);
        }
        Program::start(command)
    }

    /// Runs a program that must kill itself with SIGKILL.
    fn dies(&self, point: &str, part: &str, run: &str) {
        let status = self.start_to_die_at(point, part, run, &[]).ended(patience());
        assert!(died_by_kill(status), "{point} was not reached by the program \"{part}\": {status}");
    }

    /// Owners that are gone, each with three messages.
    fn prepare_dead_owners(&self, count: usize) {
        self.sink.set(Mode::Refuse(503));
        (0..count).for_each(|n| self.dies("", "track three and die", &format!("dead{n}")));
    }

    fn accepted(&self) -> Vec<String> {
        read_notes(&self.notes)
    }

    /// Everything that was accepted has arrived, or is among the rejected messages.
    fn check(&self) {
        nothing_is_lost(&self.accepted(), &self.sink, &self.folder.rejected());
        let received = self.sink.received();
        let strangers: Vec<_> =
            received.iter().filter(|(id, message)| message.event != format!("Event {id}")).collect();
        assert!(strangers.is_empty(), "ids with the content of another message: {strangers:?}");
    }
}

/// S1, S4: at random moments.
#[test]
fn what_was_accepted_before_a_kill_arrives_after_it() {
    const KILLS_A_FOLDER: usize = 20;
    const SEED: u64 = 1;
    let kills = rounds(100);
    let mut random = Random(SEED);
    let (mut accepted, mut in_memory, mut repeated, mut unnoted) = (0, 0, 0, 0);
    for cycle in 0..kills / KILLS_A_FOLDER {
        let threads = [1, 4, 8][cycle % 3];
        let scene = Scene::new(Mode::Good);
        for run in 0..KILLS_A_FOLDER {
            let modes = [Mode::Good, Mode::Refuse(503), Mode::Close, Mode::Far(5), Mode::StoreAndClose, Mode::Hang];
            scene.sink.set(modes[random.below(6) as usize]);
            let before = notes_bytes(&scene.notes);
            let threads = threads.to_string();
            let program = scene.start("track until killed", &format!("run{run}"), &[("THREADS", &threads)]);
            assert!(wait_until(|| notes_bytes(&scene.notes) > before), "it tracks");
            std::thread::sleep(Duration::from_micros(1_000 + random.below(39_000)));
            program.kill();
        }
        let stats = deliver(&scene.sink, &scene.folder);
        assert_eq!(stats.recovered, stats.delivered);
        scene.check();
        assert_eq!(scene.folder.left(), Vec::<PathBuf>::new(), "nothing is left behind");
        // A thread may be killed after its message is safe, and before it could note that.
        let noted: HashSet<String> =
            scene.accepted().iter().map(|id| id.trim_start_matches(IN_MEMORY).to_owned()).collect();
        in_memory += scene.accepted().iter().filter(|id| id.starts_with(IN_MEMORY)).count();
        let received = scene.sink.received();
        let more: Vec<_> = received.keys().filter(|id| !noted.contains(*id)).collect();
        let most = threads * KILLS_A_FOLDER;
        assert!(
            more.len() <= most,
            "{} messages arrived that were not noted as accepted: {:?}",
            more.len(),
            some(&more)
        );
        accepted += noted.len();
        unnoted += more.len();
        repeated += received.values().filter(|message| message.stored > 1).count();
    }
    assert!(in_memory * 4 <= accepted, "memory is only for a disk that stalls");
    let size = [
        (kills, "kills"),
        (accepted, "accepted"),
        (in_memory, "of them for a moment in memory"),
        (unnoted, "killed before saying so"),
        (repeated, "sent twice"),
    ];
    campaign("at random moments, while 1, 4 or 8 threads track", &size, Some(SEED), "0 lost");
}

/// The scene, the program and the server that pass a point several times.
#[cfg(feature = "kill-points")]
fn scene_that_passes(point: &str) -> (Scene, &'static str) {
    let scene = Scene::new(Mode::Good);
    let part = match point {
        "append-before" | "append-text" | "append-whole" | "create-named" | "create-reserved" | "create-mapped" => {
            "track much"
        }
        // Nothing can be sent, so chunks are sealed when they are full, and wait.
        "sealed" | "cut" => {
            scene.sink.set(Mode::Refuse(503));
            "track much"
        }
        "send" | "answered" | "settled" => "send one by one",
        "rescued" => {
            scene.sink.set(Mode::Refuse(503));
            "be rescued from memory"
        }
        "copied" | "lock-made" | "listed" | "adopted" | "read" | "remove-before" | "removed" | "unlock-before"
        | "unlocked" => {
            scene.prepare_dead_owners(6);
            scene.sink.set(Mode::Good);
            "recover again and again"
        }
        "reject-reason" | "rejected" | "replaced" => {
            scene.sink.set(Mode::Refuse(403));
            "send one by one"
        }
        "replace-written" => {
            scene.sink.set(Mode::Pause(1));
            "be told to pause"
        }
        other => panic!("this test does not know how to pass the point {other}"),
    };
    (scene, part)
}

/// A normal run for everything that this program may have left.
#[cfg(feature = "kill-points")]
fn deliver_what_is_left(scene: &Scene, part: &str) {
    deliver(&scene.sink, &scene.folder);
    let keys = if part == "be told to pause" { 0..6 } else { 0..0 };
    for n in keys {
        let config = config(&scene.sink.url(), &scene.folder.0);
        deliver_all(&scene.sink, Config { write_key: format!("KEY{n}"), ..config });
    }
    scene.check();
}

/// S2, S4: at each point.
#[test]
#[cfg(feature = "kill-points")]
fn a_process_killed_at_any_step_loses_nothing() {
    let (mut kills, mut accepted) = (0, 0);
    for point in KILL_POINTS {
        for time in [1, 2, 5] {
            if *point == "copied" && time > 1 {
                continue; // what six owners have left is copied at once
            }
            let (scene, part) = scene_that_passes(point);
            scene.dies(&format!("{point}:{time}"), part, "run");
            kills += 1;
            deliver_what_is_left(&scene, part);
            let left = scene.folder.left();
            assert!(left.is_empty(), "{point}:{time} leaves {left:?}");
            accepted += scene.accepted().len();
        }
    }
    let size = [(KILL_POINTS.len(), "points between steps"), (kills, "kills"), (accepted, "accepted")];
    campaign("at each step, when it is passed first, second and fifth", &size, None, "0 lost");
}

/// How many kills at one step, one after the other. More of them would find nothing new.
#[cfg(feature = "kill-points")]
fn in_a_row() -> usize {
    rounds(4).min(20)
}

/// S3.
#[test]
#[cfg(feature = "kill-points")]
fn a_recovery_killed_again_and_again_at_the_same_step_loses_nothing() {
    let points = ["lock-made", "listed", "adopted", "read", "remove-before", "removed", "unlock-before", "unlocked"];
    let mut accepted = 0;
    for point in points {
        let scene = Scene::new(Mode::Good);
        scene.prepare_dead_owners(6);
        scene.sink.set(Mode::Good);
        for run in 0..in_a_row() {
            scene.dies(point, "recover again and again", &format!("run{run}"));
        }
        deliver(&scene.sink, &scene.folder);
        scene.check();
        assert!(scene.folder.left().is_empty(), "{point} leaves {:?}", scene.folder.left());
        assert!(scene.accepted().len() >= 18);
        accepted += scene.accepted().len();
    }
    let size = [(points.len() * in_a_row(), "kills"), (accepted, "accepted")];
    campaign("a recovery, again and again at the same step", &size, None, "0 lost");
}

/// S1, S2: the same at all other points.
#[test]
#[cfg(feature = "kill-points")]
fn a_process_killed_again_and_again_at_the_same_step_loses_nothing() {
    let (mut kills, mut accepted) = (0, 0);
    for point in KILL_POINTS {
        let (scene, part) = scene_that_passes(point);
        if part == "recover again and again" {
            continue; // tested above, with more to recover
        }
        for run in 0..in_a_row() {
            scene.dies(point, part, &format!("run{run}"));
            kills += 1;
        }
        deliver_what_is_left(&scene, part);
        assert!(scene.folder.left().is_empty(), "{point} leaves {:?}", scene.folder.left());
        accepted += scene.accepted().len();
    }
    let size = [(kills, "kills"), (accepted, "accepted")];
    campaign("again and again at the same step", &size, None, "0 lost");
}

/// S2: what is half written beside a file does not stay there.
#[test]
#[cfg(feature = "kill-points")]
fn a_half_written_pace_is_not_left_behind() {
    let scene = Scene::new(Mode::Pause(1));
    scene.dies("replace-written:2", "be told to pause", "run"); // the first is the mark of the folder
    deliver_what_is_left(&scene, "be told to pause");
    assert_eq!(scene.folder.left(), Vec::<PathBuf>::new());
}

/// A program that crashes at each start while there is no network must still be able to track: each earlier run counts
/// for the few hundred bytes that it left, not for the room that it had reserved.
#[test]
fn crashes_without_a_network_do_not_fill_the_quota() {
    let scene = Scene::new(Mode::Refuse(503));
    scene.prepare_dead_owners(150); // which have reserved more than the quota
    let normal =
        Config { queue_max_bytes: Config::new("k").queue_max_bytes, ..config(&scene.sink.url(), &scene.folder.0) };
    let client = Client::new(normal).expect("good settings");
    // Once a request was made, the folder has been looked into.
    assert!(wait_until(|| client.stats().requests > 0), "{:?}", client.stats());
    let taken = track(&client, "another");
    let content: u64 = scene.accepted().len() as u64 * 400;
    assert!(taken, "the folder holds less than {content} bytes of messages, and the quota of 64 MiB is full");
}

#[test]
#[cfg(feature = "kill-points")]
fn every_kill_point_is_somewhere_in_the_code_and_every_one_in_the_code_is_listed() {
    let mut in_code = HashSet::new();
    for code in crate::layers::modules("core/src").values() {
        for (at, call) in code.match_indices("kill::point(\"") {
            let name = code[at + call.len()..].split('"').next().expect("a name");
            in_code.insert(name.to_owned());
        }
    }
    let listed: HashSet<String> = KILL_POINTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed, in_code);
    assert_eq!(listed.len(), KILL_POINTS.len(), "none is listed twice");
}
