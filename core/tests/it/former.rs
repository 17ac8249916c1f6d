//! A program that was given another write key, or another region, delivers what waits in the folder for the former one.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::*;
use crate::patience::wait_for_the_end;
use crate::server::{Reply, Server};
use segment_native::{Client, Config, Object, Options};

/// The programs from before the change.
#[test]
fn child_main() {
    match part().as_deref() {
        Some("track and die") => {
            let _client = tracked();
            exit_by_kill();
        }
        Some("track and stay") => {
            let _client = tracked();
            Notes::open(&told("NOTES")).write("there");
            pause();
        }
        Some("deliver and die") => {
            // It is killed in the middle of this.
            let _ = client_of_now(&told("URL"), Path::new(&told("FOLDER"))).flush(patience());
        }
        Some(other) => panic!("no such part: {other}"),
        None => {}
    }
}

/// Tracks a few small messages, or enough large ones for full chunks, which are not copied together.
fn tracked() -> Client {
    let config = Config { write_key: told("KEY"), ..config(&told("URL"), Path::new(&told("FOLDER"))) };
    let client = Client::new(config).expect("good settings");
    client.pause(); // full chunks wait too
    let large = Object::from([("filler", "x".repeat(30_000).as_str())]);
    for n in 0..told_number("COUNT") {
        let id = format!("{}-{n}", told("RUN"));
        let options = Options { message_id: Some(&id), ..Options::default() };
        let filler = (told_number("COUNT") > SMALL).then_some(&large);
        client.track("u", &format!("Event {id}"), filler, options).expect("taken");
    }
    client
}

const SMALL: usize = 3;
const LARGE: usize = 40;

fn exit_by_kill() -> ! {
    kill(i32::try_from(std::process::id()).expect("a pid"), libc::SIGKILL);
    pause()
}

fn start(part: &str, key: &str, url: &str, folder: &Folder, run: &str, count: usize) -> Program {
    let (count, notes) = (count.to_string(), folder.beside("notes"));
    let told =
        [("KEY", key), ("URL", url), ("FOLDER", folder.text()), ("RUN", run), ("COUNT", &count), ("NOTES", &notes)];
    Program::start(program(part, &told))
}

/// Runs a process from before the change, which is killed with all that it had taken.
fn leave(key: &str, url: &str, folder: &Folder, run: &str, count: usize) {
    assert!(died_by_kill(start("track and die", key, url, folder, run, count).ended(patience() * 2)));
}

fn ids(run: &str, count: usize) -> HashSet<String> {
    (0..count).map(|n| format!("{run}-{n}")).collect()
}

/// The settings after the change: another key.
fn config_of_now(url: &str, folder: &Path) -> Config {
    Config { write_key: "NEW".into(), former_write_key: Some("OLD".into()), ..config(url, folder) }
}

fn client_of_now(url: &str, folder: &Path) -> Client {
    Client::new(config_of_now(url, folder)).expect("good settings")
}

/// The ids that the server acknowledged; each message must have come with the present write key.
fn arrived(server: &Server) -> HashSet<String> {
    for request in server.requests() {
        assert_eq!(request.body["writeKey"], "NEW");
    }
    server.acknowledged()
}

fn chunks(folder: &Folder) -> Vec<PathBuf> {
    folder.left().into_iter().filter(|path| path.to_string_lossy().ends_with(".v1.jsonl")).collect()
}

#[test]
fn what_waits_for_the_former_key_or_endpoint_is_sent_with_the_present_ones() {
    let (before, now) = (Server::new(|_, _| Reply::status(503)), Server::good());
    for (formers, expected) in [
        ([None, None], &["own"][..]),
        ([Some("OLD".to_owned()), None], &["own", "old-key"]),
        ([None, Some(before.url() + "/v1/")], &["own", "old-place"]),
        ([Some("OLD".to_owned()), Some(before.url())], &["own", "old-key", "old-place", "old-both"]),
    ] {
        let folder = Folder::new();
        let all = [
            ("own", "NEW", now.url()),
            ("old-key", "OLD", now.url()),
            ("old-place", "NEW", before.url()),
            ("old-both", "OLD", before.url()),
        ];
        all.iter().for_each(|(run, key, url)| leave(key, url, &folder, run, SMALL));
        let seen = now.requests().len();
        let [former_write_key, former_endpoint] = formers;
        folder.age_unfinished();
        let config = Config { former_write_key, former_endpoint, ..config_of_now(&now.url(), &folder.0) };
        let client = Client::new(config).expect("good settings");
        client.flush(patience()).expect("delivered");
        let stats = client.stats();
        balanced(&stats);
        let wanted: HashSet<String> = expected.iter().flat_map(|run| ids(run, SMALL)).collect();
        assert_eq!((stats.recovered, stats.delivered), (wanted.len() as u64, wanted.len() as u64), "{expected:?}");
        let got: HashSet<String> = now.requests()[seen..].iter().flat_map(|request| request.ids()).collect();
        assert_eq!(got, wanted);
        assert!(now.requests()[seen..].iter().all(|request| request.body["writeKey"] == "NEW"));
        drop(client);
        wait_for_the_end(&folder.0);
        // The chunks of the other owners are still there.
        assert_eq!(chunks(&folder).len(), all.len() - expected.len(), "{:?}", folder.left());
        if expected.len() == all.len() {
            assert_eq!(folder.left(), Vec::<PathBuf>::new(), "no lock is left either");
        }
    }
}

#[test]
fn full_chunks_are_sent_from_where_they_are() {
    let (folder, server) = (Folder::new(), Server::good());
    leave("OLD", &server.url(), &folder, "large", LARGE);
    folder.age_unfinished();
    let client = client_of_now(&server.url(), &folder.0);
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().recovered, LARGE as u64);
    assert_eq!(arrived(&server), ids("large", LARGE));
    drop(client);
    wait_for_the_end(&folder.0);
    assert_eq!(folder.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_process_that_still_runs_with_the_former_key_keeps_its_own() {
    let (folder, server) = (Folder::new(), Server::good());
    let living = start("track and stay", "OLD", &server.url(), &folder, "living", SMALL);
    assert!(wait_until(|| !read_notes(&folder.beside("notes")).is_empty()));
    let client = client_of_now(&server.url(), &folder.0);
    client.flush(patience()).expect("nothing to do");
    assert_eq!(client.stats().recovered, 0);
    assert_eq!(server.requests().len(), 0);
    drop(client);
    living.kill();
    let client = client_of_now(&server.url(), &folder.0);
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().recovered, SMALL as u64);
    assert_eq!(arrived(&server), ids("living", SMALL));
}

#[test]
fn of_two_clients_with_the_same_former_key_one_delivers_it() {
    let (folder, server) = (Folder::new(), Server::good());
    for n in 0..6 {
        leave("OLD", &server.url(), &folder, &format!("dead{n}"), SMALL);
    }
    let clients: Vec<Client> = (0..3).map(|_| client_of_now(&server.url(), &folder.0)).collect();
    clients.iter().for_each(|client| client.flush(patience()).expect("delivered"));
    assert_eq!(clients.iter().map(|client| client.stats().recovered).sum::<u64>(), 6 * SMALL as u64);
    assert_eq!(server.requests().iter().map(|request| request.events().len()).sum::<usize>(), 6 * SMALL);
}

#[test]
fn after_an_opt_out_nothing_of_it_is_sent() {
    let (folder, server) = (Folder::new(), Server::good());
    leave("OLD", &server.url(), &folder, "before", SMALL);
    let opted_out = r#"{"optedOut":true,"changes":1,"changedAt":1}"#;
    fs::write(folder.home().join("privacy.json"), opted_out).expect("written");
    let client = client_of_now(&server.url(), &folder.0);
    assert!(client.is_opted_out());
    assert!(wait_until(|| chunks(&folder).is_empty()), "{:?}", folder.left());
    client.opt_in().expect("kept");
    client.flush(patience()).expect("nothing to do");
    assert_eq!((client.stats().recovered, server.requests().len()), (0, 0));
    drop(client);

    // What was taken before the last opt-in does not come back.
    leave("OLD", &server.url(), &folder, "again", SMALL);
    let other = Config { former_write_key: None, ..config_of_now(&server.url(), &folder.0) };
    let at = Client::new(other).expect("good settings");
    at.opt_out().and_then(|()| at.opt_in()).expect("kept");
    drop(at);
    let client = client_of_now(&server.url(), &folder.0);
    client.flush(patience()).expect("nothing to do");
    assert_eq!((client.stats().recovered, server.requests().len()), (0, 0));
    assert_eq!(chunks(&folder), Vec::<PathBuf>::new());
}

#[test]
fn it_counts_for_the_quota() {
    let (folder, server) = (Folder::new(), Server::new(|_, _| Reply::status(503)));
    leave("OLD", &server.url(), &folder, "large", LARGE);
    for (former, room) in [(None, true), (Some("OLD".to_owned()), false)] {
        let now = Config {
            former_write_key: former,
            queue_max_bytes: LARGE as u64 * 31_000,
            shutdown: Duration::ZERO,
            ..config_of_now(&server.url(), &folder.0)
        };
        let client = Client::new(now).expect("good settings");
        let (seen, large) = (server.requests().len(), Object::from([("filler", "x".repeat(30_000).as_str())]));
        if !room {
            // The folder is looked into before the first request.
            assert!(wait_until(|| server.requests().len() > seen), "{:?}", client.stats());
        }
        let taken = (0..8).take_while(|_| client.track("u", "Event", &large, None).is_ok()).count();
        assert_eq!(taken == 8, room, "{taken} of 8, {:?}", client.stats());
        drop(client);
        wait_for_the_end(&folder.0);
    }
}

/// At each step of a recovery.
#[test]
#[cfg(feature = "kill-points")]
fn killed_at_any_step_of_it_nothing_is_lost() {
    let points = ["listed", "adopted", "copied", "read", "remove-before", "removed", "unlock-before", "unlocked"];
    let (mut kills, mut accepted) = (0, 0);
    for point in points {
        for time in [1, 2] {
            if point == "copied" && time > 1 {
                continue; // what several owners have left is copied at once
            }
            let (folder, sink) = (Folder::new(), Sink::new(Mode::Good));
            let url = sink.url();
            leave("OLD", &url, &folder, "small", SMALL);
            leave("OLD", &url, &folder, "little", SMALL);
            leave("OLD", &url, &folder, "large", LARGE);
            let mut command = program("deliver and die", &[("URL", url.as_str()), ("FOLDER", folder.text())]);
            command.env("SEGMENT_KILL_AT", format!("{point}:{time}"));
            let status = Program::start(command).ended(patience() * 2);
            assert!(died_by_kill(status), "{point}:{time} was not reached: {status}");
            kills += 1;
            folder.age_unfinished();
            deliver_all(&sink, config_of_now(&url, &folder.0));
            let all: Vec<String> = [("small", SMALL), ("little", SMALL), ("large", LARGE)]
                .iter()
                .flat_map(|(run, count)| ids(run, *count))
                .collect();
            nothing_is_lost(&all, &sink, &HashSet::new());
            wait_for_the_end(&folder.0);
            assert_eq!(folder.left(), Vec::<PathBuf>::new(), "{point}:{time}");
            accepted += all.len();
        }
    }
    let size = [(kills, "kills"), (accepted, "accepted")];
    campaign("at each step of a recovery under another write key", &size, None, "0 lost");
}
