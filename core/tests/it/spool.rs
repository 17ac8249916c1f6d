//! The spool: what is accepted arrives, whatever happens to client, server and folder in between.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::patience::{NEVER, campaign, patience, wait_for_the_end, wait_until};
use crate::server::{Reply, Server, nobody};
use segment_native::{Client, Config, Level, Object, Overflow, Stats};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("segment-spool-{}", unique()));
        Folder(folder)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.retain(|path| !path.ends_with("segment-native/mark")); // it stays, to mark the folder as ours
        files.sort();
        files
    }

    fn chunks(&self) -> Vec<PathBuf> {
        let is_chunk = |path: &PathBuf| path.to_string_lossy().ends_with(".v1.jsonl");
        self.files().into_iter().filter(is_chunk).filter(|path| !path.to_string_lossy().contains("rejected")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

fn config(endpoint: &str, folder: &Path) -> Config {
    Config {
        endpoint: endpoint.to_owned(),
        spool_dir: Some(folder.to_owned()),
        flush_interval: NEVER,
        timeout: NEVER,
        shutdown: Duration::from_millis(1),
        ..Config::new("WRITE_KEY")
    }
}

fn client(endpoint: &str, folder: &Path) -> Client {
    Client::new(config(endpoint, folder)).expect("good settings")
}

fn track(client: &Client, names: std::ops::Range<usize>) {
    for n in names {
        client.track("u", &format!("Event {n}"), None, None).expect("taken");
    }
}

fn balanced(stats: &Stats) {
    assert_eq!(stats.accepted, stats.delivered + stats.failed + stats.dropped + stats.queued, "{stats:?}");
}

fn names(server: &Server) -> HashSet<String> {
    let requests = server.requests();
    requests.iter().flat_map(|request| request.names()).map(str::to_owned).collect()
}

/// A server that fails until the flag is set. The endpoint is part of the folder's name, so all runs need the same
/// server.
fn server_that_is_down() -> (Server, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    (Server::new(move |_, _| Reply::status(if is_up.load(Ordering::SeqCst) { 200 } else { 503 })), up)
}

#[test]
fn what_could_not_be_delivered_is_delivered_by_the_next_client() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    for run in 0..3 {
        let client = client(&server.url(), &folder.0);
        track(&client, run * 100..run * 100 + 100);
        let stats = client.stats();
        balanced(&stats);
        assert_eq!((stats.in_memory, stats.failed), (0, 0));
        drop(client);
        wait_for_the_end(&folder.0);
    }
    // What the runs before have left may have been copied together.
    let sizes = folder.chunks().into_iter().map(|chunk| fs::metadata(chunk).expect("there").len());
    assert!((1..100_000).contains(&sizes.sum::<u64>()), "cut to its content: {:?}", folder.files());
    up.store(true, Ordering::SeqCst);
    let client = client(&server.url(), &folder.0);
    client.flush(patience()).expect("all is delivered");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.accepted, stats.recovered, stats.delivered, stats.queued), (300, 300, 300, 0));
    assert_eq!(server.acknowledged().len(), 300);
    drop(client);
    assert_eq!(folder.files(), Vec::<PathBuf>::new(), "nothing is left behind");
}

#[test]
fn what_was_being_sent_at_the_end_is_cut_to_its_content_too() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::Silence);
    let client = client(&server.url(), &folder.0);
    track(&client, 0..3);
    let _ = client.flush(Duration::ZERO);
    assert!(wait_until(|| server.begun() == 1));
    drop(client);
    let bytes = || folder.chunks().iter().map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum::<u64>();
    assert!(wait_until(|| (1..10_000).contains(&bytes())), "{}", bytes());
}

#[test]
fn recovered_messages_come_in_their_order_and_with_their_ids() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let offline = Client::new(config(&server.url(), &folder.0)).expect("good settings");
    track(&offline, 0..3);
    let _ = offline.shutdown(Duration::ZERO);
    drop(offline);
    wait_for_the_end(&folder.0);
    let text = fs::read_to_string(&folder.chunks()[0]).expect("a chunk");
    up.store(true, Ordering::SeqCst);
    let client = client(&server.url(), &folder.0);
    client.flush(patience()).expect("all is delivered");
    let request = server.requests().pop().expect("one at least");
    assert_eq!(request.names(), ["Event 0", "Event 1", "Event 2"]);
    for id in request.ids() {
        assert!(text.contains(&id), "{id} is not the id it was accepted with");
    }
}

#[test]
fn a_chunk_is_json_lines() {
    let folder = Folder::new();
    let client = client(&nobody(), &folder.0);
    track(&client, 0..3);
    let _ = client.shutdown(Duration::ZERO);
    drop(client);
    let [chunk] = folder.chunks().try_into().expect("one chunk");
    let text = fs::read_to_string(&chunk).expect("text");
    assert_eq!(text.lines().count(), 3);
    for line in text.lines() {
        let (message, sum) = line.split_once('\t').expect("a TAB");
        assert_eq!(serde_json::from_str::<serde_json::Value>(message).expect("JSON")["type"], "track");
        assert_eq!(sum, format!("{:08x}", crc32c::crc32c(message.as_bytes())));
    }
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&chunk), 0o600);
    assert_eq!(mode(chunk.parent().expect("a folder")), 0o700);
    assert!(!chunk.to_string_lossy().contains("WRITE_KEY"));
}

#[test]
fn several_clients_share_a_folder_and_each_delivers_its_own() {
    let folder = Folder::new();
    let server = Server::good();
    let clients: Vec<Client> = (0..4).map(|_| client(&server.url(), &folder.0)).collect();
    for (n, client) in clients.iter().enumerate() {
        track(client, n * 100..n * 100 + 100);
    }
    for client in &clients {
        client.flush(patience()).expect("settled");
        let stats = client.stats();
        assert_eq!((stats.delivered, stats.recovered), (100, 0), "no client takes chunks of running ones");
    }
    drop(clients);
    assert_eq!(server.requests().iter().map(|request| request.events().len()).sum::<usize>(), 400);
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
}

#[test]
fn another_key_or_endpoint_is_another_queue_and_what_waits_there_is_logged_once() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let offline = client(&server.url(), &folder.0);
    track(&offline, 0..1);
    drop(offline);
    wait_for_the_end(&folder.0);
    up.store(true, Ordering::SeqCst);
    for (key, endpoint) in [("OTHER", server.url()), ("WRITE_KEY", nobody())] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let on_log = move |_, line: &str| log.lock().expect("no panic").push(line.to_owned());
        let other =
            Config { write_key: key.to_owned(), on_log: Some(Box::new(on_log)), ..config(&endpoint, &folder.0) };
        let other = Client::new(other).expect("good settings");
        let told = || {
            let lines = lines.lock().expect("no panic");
            lines.iter().filter(|line| line.contains(" waits for another write key or endpoint; ")).count()
        };
        assert!(wait_until(|| told() == 1), "{:?}", lines.lock().expect("no panic"));
        other.flush(patience()).expect("nothing to do");
        assert_eq!((other.stats().recovered, other.stats().queued), (0, 0));
        // The server may read a request of the first client's last moment only now.
        assert!(server.requests().iter().all(|request| request.body["writeKey"] == "WRITE_KEY"));
        drop(other);
        assert_eq!(told(), 1);
    }
    // The same endpoint, written in other words.
    let same = server.url().replace("http", "HTTP") + "/v1/";
    let same = client(&same, &folder.0);
    same.flush(patience()).expect("delivered");
    assert_eq!((same.stats().recovered, same.stats().delivered), (1, 1));
}

#[test]
fn damaged_lines_are_skipped_and_all_others_delivered() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let offline = client(&server.url(), &folder.0);
    track(&offline, 0..10);
    let _ = offline.shutdown(Duration::ZERO);
    drop(offline);
    wait_for_the_end(&folder.0);
    up.store(true, Ordering::SeqCst);
    let begun = server.requests().len();
    let chunk = folder.chunks().remove(0);
    let mut content = fs::read(&chunk).expect("a chunk");
    let at = content.windows(7).position(|w| w == b"Event 4").expect("the fifth message");
    content[at] ^= 0x20;
    content.extend_from_slice(b"{\"half a li");
    fs::write(&chunk, content).expect("written");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let mut config = config(&server.url(), &folder.0);
    config.on_log = Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())));
    let client = Client::new(config).expect("good settings");
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    // Half a line at the end was never accepted.
    assert_eq!((stats.recovered, stats.delivered, stats.failed, stats.damaged), (10, 9, 1, 1));
    balanced(&stats);
    let requests = &server.requests()[begun..];
    assert!(!requests.iter().any(|request| request.names().contains(&"Event 4")));
    drop(client);
    let said = "1 damaged line of the spool was set aside".to_owned();
    assert!(lines.lock().expect("no panic").contains(&said), "{lines:?}");
    let rejected =
        |path: &PathBuf| path.to_string_lossy().contains("rejected") && path.to_string_lossy().ends_with(".v1.jsonl");
    let kept: Vec<_> = folder.files().into_iter().filter(|path| rejected(path)).collect();
    assert!(
        !kept.is_empty() && kept.iter().all(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("event 4"))),
        "{kept:?}"
    );
}

#[test]
fn files_of_a_newer_format_and_foreign_files_are_left_alone() {
    let folder = Folder::new();
    let server = Server::good();
    let first = client(&server.url(), &folder.0);
    let lock = || folder.files().into_iter().find(|path| path.extension().is_some_and(|end| end == "lock"));
    assert!(wait_until(|| lock().is_some()), "its lock is there");
    let inside = lock().expect("still there").parent().expect("a folder").to_owned();
    drop(first);
    let strangers = ["0000000000001-000001-abc.v2.jsonl", "notes.txt", ".hidden"];
    for name in strangers {
        fs::write(inside.join(name), "not ours\n").expect("written");
    }
    let client = client(&server.url(), &folder.0);
    client.flush(patience()).expect("nothing to do");
    drop(client);
    for name in strangers {
        assert_eq!(fs::read_to_string(inside.join(name)).expect("still there"), "not ours\n");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn what_is_given_up_for_good_is_kept_aside_with_its_reason() {
    let folder = Folder::new();
    let server = Server::new(|_, request| match request.names().contains(&"Event 3") {
        true => Reply::Body(400, "text/plain", "no such thing".into()),
        false => Reply::status(200),
    });
    let client = client(&server.url(), &folder.0);
    track(&client, 0..10);
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.failed), (9, 1));
    drop(client);
    let files = folder.files();
    let [reason, rejected] = files.as_slice() else { panic!("{files:?}") };
    let text = fs::read_to_string(rejected).expect("text");
    assert!(text.contains("Event 3") && text.lines().count() == 1, "{text}");
    assert_eq!(
        fs::read_to_string(reason).expect("text"),
        "Segment answered with status 400: no such thing\n",
        "{reason:?} stands beside {rejected:?}"
    );
}

#[test]
fn rejected_messages_take_a_mebibyte_at_most_and_the_newest_stay() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::status(403));
    let client = client(&server.url(), &folder.0);
    let properties = Object::from([("filler", "x".repeat(20_000).as_str())]);
    for n in 0..120 {
        client.track("u", &format!("Event {n}"), &properties, None).expect("taken");
        if n % 10 == 9 {
            client.flush(patience()).expect("settled");
        }
    }
    assert_eq!(client.stats().failed, 120);
    drop(client);
    let bytes: u64 = folder.files().iter().map(|path| fs::metadata(path).expect("there").len()).sum();
    assert!(bytes <= 1 << 20 && bytes > 1 << 19, "{bytes}");
    let all: String = folder.files().iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(all.contains("Event 119\"") && !all.contains("Event 0\""));
}

#[test]
fn several_that_have_messages_rejected_at_the_same_time_keep_them_all() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::status(403));
    let log = Arc::new(Mutex::new(Vec::new()));
    let clients: [Client; 4] = std::array::from_fn(|_| {
        let lines = log.clone();
        let on_log = move |level, line: &str| {
            if level == Level::Warning {
                lines.lock().expect("no panic").push(line.to_owned());
            }
        };
        let config = Config { flush_at: 1, on_log: Some(Box::new(on_log)), ..config(&server.url(), &folder.0) };
        Client::new(config).expect("good settings")
    });
    let properties = Object::from([("filler", "x".repeat(1_000).as_str())]);
    std::thread::scope(|scope| {
        for (n, client) in clients.iter().enumerate() {
            let properties = &properties;
            scope.spawn(move || {
                for message in 0..50 {
                    client.track("u", &format!("Event {n}-{message}"), properties, None).expect("taken");
                }
                client.flush(patience()).expect("settled");
                assert_eq!(client.stats().failed, 50);
            });
        }
    });
    drop(clients);
    wait_for_the_end(&folder.0);
    let log = log.lock().expect("no panic");
    let lost: Vec<&String> = log.iter().filter(|line| line.contains("could not be stored")).collect();
    assert_eq!(lost, Vec::<&String>::new());
    let all: String = folder.files().iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let kept =
        (0..4).flat_map(|n| (0..50).map(move |m| format!("\"Event {n}-{m}\""))).filter(|name| all.contains(name));
    assert_eq!(kept.count(), 200);
}

#[test]
fn the_quota_counts_what_is_in_the_folder() {
    let folder = Folder::new();
    let endpoint = nobody();
    let limited = || Config { queue_max_bytes: 20_000, ..config(&endpoint, &folder.0) };
    let fill = |client: &Client| (0..1_000).take_while(|_| client.track("u", "Event", None, None).is_ok()).count();
    let first = Client::new(limited()).expect("good settings");
    let filled = fill(&first);
    assert!((80..120).contains(&filled), "{filled}");
    drop(first);
    wait_for_the_end(&folder.0);
    let second = Client::new(limited()).expect("good settings");
    assert!(wait_until(|| second.stats().recovered > 0));
    assert!(fill(&second) <= 1, "the folder was full already");
    let stats = second.stats();
    balanced(&stats);
    assert!(stats.queued_bytes <= 20_000);
}

#[test]
fn chunks_that_others_made_ahead_take_no_room_of_a_smaller_queue() {
    let folder = Folder::new();
    let endpoint = nobody();
    let large = client(&endpoint, &folder.0);
    track(&large, 0..3);
    assert!(wait_until(|| !folder.chunks().is_empty()), "half a megabyte, for three messages");
    // Left by an owner that is gone: once it is recovered the folder was looked into.
    let dead = client(&endpoint, &folder.0);
    track(&dead, 3..4);
    drop(dead);
    let small = Config { queue_max_bytes: 200_000, ..config(&endpoint, &folder.0) };
    let small = Client::new(small).expect("good settings");
    assert!(wait_until(|| small.stats().recovered == 1));
    track(&small, 4..100);
    assert_eq!(small.stats().refused, 0);
}

#[test]
fn a_full_folder_drops_its_oldest_if_that_is_wanted() {
    let folder = Folder::new();
    let endpoint = nobody();
    let limited =
        || Config { queue_max_bytes: 200_000, overflow: Overflow::DropOldest, ..config(&endpoint, &folder.0) };
    for run in 0..2 {
        let client = Client::new(limited()).expect("good settings");
        // What is in the folder counts once it was found.
        assert!(wait_until(|| run == 0 || client.stats().recovered > 0));
        for n in 0..3_000 {
            client.track("u", &format!("Event {n}"), None, None).expect("taken");
            balanced(&client.stats());
        }
        let stats = client.stats();
        assert!(stats.dropped > 0 && stats.refused == 0, "{stats:?}");
        drop(client);
        wait_for_the_end(&folder.0);
    }
    // The checksums of the lines included. The files of what was dropped are deleted a moment later.
    let bytes = || folder.chunks().iter().map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum::<u64>();
    assert!(wait_until(|| bytes() <= 220_000), "{}", bytes());
}

#[test]
fn a_pause_is_kept_across_a_restart() {
    const PAUSE: Duration = Duration::from_secs(1);
    let folder = Folder::new();
    let server = Server::new(|n, _| if n == 0 { Reply::retry_after(429, "1") } else { Reply::status(200) });
    let first = client(&server.url(), &folder.0);
    track(&first, 0..1);
    let _ = first.flush(Duration::ZERO);
    assert!(wait_until(|| folder.files().iter().any(|file| file.ends_with("pace"))), "it is remembered");
    drop(first);
    for run in 1..=3 {
        let again = client(&server.url(), &folder.0);
        track(&again, run..run + 1);
        let _ = again.flush(Duration::from_millis(30));
    }
    let last = client(&server.url(), &folder.0);
    last.flush(patience()).expect("settled after the pause");
    let requests = server.requests();
    let after = requests[1].at - requests[0].at;
    assert!(after >= PAUSE * 9 / 10, "a program that starts again and again does not hammer the server: {after:?}");
    assert_eq!(names(&server).len(), 4);
}

#[test]
fn the_end_of_a_client_is_a_last_chance_in_a_backoff() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let before = client(&server.url(), &folder.0);
    track(&before, 0..1);
    drop(before);
    wait_for_the_end(&folder.0);
    up.store(true, Ordering::SeqCst);
    // Another failure after many: without the last chance the next attempt would come after a minute.
    let inside = folder.chunks()[0].parent().expect("a folder").to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").as_millis();
    fs::write(inside.join("pace"), format!("1 8 {} 0\n", now + 60_000)).expect("written");
    let begun = server.begun();
    let client = client(&server.url(), &folder.0);
    track(&client, 1..2);
    assert!(client.flush(Duration::ZERO).is_err() && server.begun() == begun, "it keeps to the back-off");
    let start = Instant::now();
    client.shutdown(patience()).expect("settled");
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    assert_eq!(names(&server).len(), 2);
}

#[test]
fn a_flush_cuts_a_back_off_short() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let before = client(&server.url(), &folder.0);
    track(&before, 0..1);
    drop(before);
    wait_for_the_end(&folder.0);
    up.store(true, Ordering::SeqCst);
    let inside = folder.chunks()[0].parent().expect("a folder").to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").as_millis();
    fs::write(inside.join("pace"), format!("1 8 {} 0\n", now + 60_000)).expect("written");
    let client = client(&server.url(), &folder.0);
    let start = Instant::now();
    client.flush(patience()).expect("delivered");
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    assert_eq!(names(&server).len(), 1);
}

#[test]
fn a_pause_saved_under_a_clock_that_was_ahead_is_cut_at_once() {
    let folder = Folder::new();
    let (server, up) = server_that_is_down();
    let before = client(&server.url(), &folder.0);
    track(&before, 0..1);
    drop(before);
    wait_for_the_end(&folder.0);
    up.store(true, Ordering::SeqCst);
    let pace = folder.chunks()[0].with_file_name("pace");
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.expect("later").as_millis()).expect("a number")
    };
    const YEAR_MS: u64 = 365 * 86_400_000;
    for saved in [format!("1 0 0 {}\n", now() + YEAR_MS), format!("1 9 {} 0\n", now() + YEAR_MS)] {
        fs::write(&pace, saved).expect("written");
        let client = client(&server.url(), &folder.0);
        let ahead = || {
            let text = fs::read_to_string(&pace).unwrap_or_default();
            let ms = text.split_ascii_whitespace().skip(2).filter_map(|number| number.parse::<u64>().ok()).max();
            ms.unwrap_or(u64::MAX).saturating_sub(now())
        };
        assert!(wait_until(|| ahead() <= 300_000), "a session shorter than the pause must not find it again");
        drop(client);
    }
}

#[test]
fn an_owner_that_lost_its_lock_is_not_killed_and_loses_nothing() {
    let folder = Folder::new();
    let server = Server::good();
    let living = client(&server.url(), &folder.0);
    track(&living, 3_000..3_001);
    living.flush(patience()).expect("delivered: it has looked into the folder, and will not for half a minute");
    track(&living, 0..10);
    for lock in folder.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "lock")) {
        fs::remove_file(lock).expect("removed"); // as a cleaner of old files would
    }
    let other = client(&server.url(), &folder.0);
    other.flush(patience()).expect("it takes the first owner for gone, and delivers");
    assert_eq!(other.stats().recovered, 10);
    drop(other);
    // Far beyond the page that holds the ten.
    track(&living, 10..3_000);
    living.flush(patience()).expect("delivered");
    let stats = living.stats();
    balanced(&stats);
    assert_eq!((stats.accepted, stats.delivered, stats.failed), (3_001, 3_001, 0));
    assert_eq!(names(&server).len(), 3_001);
}

#[test]
fn in_a_long_outage_the_oldest_is_dropped_and_the_newest_taken() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::status(503));
    let max = 200 * 1024;
    let config = Config {
        overflow: Overflow::DropOldest,
        queue_max_bytes: max,
        retry_max: 0, // each chunk has one turn, then others have theirs
        flush_interval: Duration::from_millis(1),
        ..config(&server.url(), &folder.0)
    };
    let client = Client::new(config).expect("good settings");
    let filler = Object::from([("filler", "x".repeat(10_000).as_str())]);
    let mut sent = 0;
    while client.stats().requests < 3 || client.stats().dropped < 100 {
        client.track("u", &format!("Event {sent}"), &filler, None).expect("the newest is always taken");
        sent += 1;
        let _ = client.flush(Duration::from_millis(1)); // cuts a back-off short
    }
    let stats = client.stats();
    balanced(&stats);
    assert_eq!(stats.refused, 0);
    drop(client);
    let kept: String = folder.chunks().iter().map(|chunk| fs::read_to_string(chunk).expect("text")).collect();
    assert!(kept.contains(&format!("\"Event {}\"", sent - 1)), "the newest is there");
    assert!(!kept.contains("\"Event 0\""), "the oldest is not");
}

#[test]
fn what_waits_for_its_next_attempt_is_dropped_by_its_age() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::status(503));
    let config = Config {
        overflow: Overflow::DropOldest,
        queue_max_bytes: 200 * 1024,
        flush_interval: Duration::from_millis(1),
        ..config(&server.url(), &folder.0)
    };
    let client = Client::new(config).expect("good settings");
    track(&client, 0..1);
    assert!(wait_until(|| server.begun() > 0), "the oldest is in flight, and will be for long");
    let filler = Object::from([("filler", "x".repeat(10_000).as_str())]);
    for n in 1..100 {
        client.track("u", &format!("Event {n}"), &filler, None).expect("the newest is always taken");
    }
    // It is being sent now and then.
    let is_gone = || {
        let kept = folder.chunks().into_iter().filter_map(|chunk| fs::read_to_string(chunk).ok()).collect::<String>();
        !kept.contains("\"Event 0\"")
    };
    let mut n = 100;
    assert!(wait_until(|| {
        client.track("u", &format!("Event {n}"), &filler, None).expect("the newest is always taken");
        n += 1;
        is_gone()
    }));
    balanced(&client.stats());
}

#[test]
fn what_was_rejected_never_takes_the_room_of_what_is_new() {
    let folder = Folder::new();
    let server = Server::new(|_, _| Reply::status(400));
    let max = 256 * 1024;
    for _ in 0..2 {
        let config = Config { queue_max_bytes: max, ..config(&server.url(), &folder.0) };
        let client = Client::new(config).expect("good settings");
        let filler = Object::from([("filler", "x".repeat(3_000).as_str())]);
        for n in 0..200 {
            client.track("u", &format!("Event {n}"), &filler, None).expect("taken");
            if n % 40 == 39 {
                client.flush(patience()).expect("all are refused for good");
            }
        }
        assert_eq!((client.stats().failed, client.stats().queued), (200, 0));
    }
    let rejected = folder.files().into_iter().filter(|path| path.to_string_lossy().contains("rejected"));
    let bytes: u64 = rejected.map(|path| fs::metadata(path).expect("there").len()).sum();
    assert!((1..=max / 8).contains(&bytes), "{bytes} bytes are kept of them");
}

#[test]
fn a_folder_that_cannot_be_used_is_logged_and_the_client_works_in_memory() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).expect("made");
    let file = folder.0.join("a file");
    fs::write(&file, "in the way").expect("written");
    let link = folder.0.join("dangling");
    std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("linked");
    for spool_dir in [file.clone(), file.join("below"), link, PathBuf::from("/proc/nothing/here")] {
        let server = Server::good();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let mut config = config(&server.url(), &spool_dir);
        config.on_log = Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned())));
        let client = Client::new(config).expect("a client all the same");
        track(&client, 0..10);
        let stats = client.stats();
        balanced(&stats);
        assert_eq!(stats.in_memory + stats.delivered, 10, "{spool_dir:?}");
        client.flush(patience()).expect("delivered");
        assert_eq!(client.stats().delivered, 10);
        drop(client);
        let lines = lines.lock().expect("no panic");
        let says = |line: &String| {
            line.starts_with("the spool cannot be written, new messages are kept in memory only: ")
                || line.starts_with("spool_dir cannot be used, messages are kept in memory only: ")
        };
        assert!(lines.iter().any(says), "{lines:?}");
    }
    assert_eq!(fs::read_to_string(file).expect("still there"), "in the way");
}

#[test]
fn a_folder_deleted_while_running_costs_no_more_than_what_was_in_it() {
    let folder = Folder::new();
    let server = Server::good();
    let client = client(&server.url(), &folder.0);
    track(&client, 0..100);
    // A file that the client makes in it meanwhile keeps the folder from being deleted.
    assert!(wait_until(|| fs::remove_dir_all(&folder.0).is_ok()));
    track(&client, 100..200);
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!(stats.delivered, 200, "the maps hold what was stored: {stats:?}");
    track(&client, 200..300);
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    balanced(&stats);
    assert_eq!(stats.delivered, 300);
}

#[test]
fn an_outage_costs_few_requests_and_no_message() {
    // Two failures take 1.5 s; in the long campaign six take half a minute.
    let failures = if std::env::var_os("SEGMENT_TEST_ROUNDS").is_some() { 6 } else { 2 };
    let folder = Folder::new();
    let server = Server::new(move |n, _| Reply::status(if n < failures { 503 } else { 200 }));
    let client = Client::new(Config { flush_at: 10, ..config(&server.url(), &folder.0) }).expect("good settings");
    let mut sent = 0;
    let is_over = wait_until(|| {
        track(&client, sent..sent + 10);
        sent += 10;
        balanced(&client.stats());
        std::thread::sleep(Duration::from_millis(10)); // as a program that also does other things
        server.begun() > failures
    });
    assert!(is_over);
    client.flush(patience()).expect("all is delivered");
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.failed, names(&server).len()), (sent as u64, 0, sent));
    // The chunk of the first attempt, and what has come together since: full chunks hold more than a thousand of these.
    let requests = stats.requests as usize;
    assert!(requests <= failures + 5 + sent / 1_000, "{requests} requests for {sent} messages");
    let size = [(failures, "failures in a row"), (sent, "accepted"), (requests, "requests")];
    campaign("a server that fails for a while", &size, None, "0 lost");
}

#[test]
fn acknowledgements_that_are_lost_cost_repetitions_and_nothing_else() {
    let folder = Folder::new();
    let stored = Arc::new(Mutex::new(std::collections::HashMap::<String, (String, u32)>::new()));
    let storing = stored.clone();
    let server = Server::new(move |n, request| {
        let mut stored = storing.lock().expect("no panic");
        for event in request.events() {
            let id = event["messageId"].as_str().expect("an id").to_owned();
            let entry = stored.entry(id).or_insert_with(|| (event.to_string(), 0));
            assert_eq!(entry.0, event.to_string(), "the same id, and the same content");
            entry.1 += 1;
        }
        if n % 5 == 1 { Reply::Close } else { Reply::status(200) }
    });
    for run in 0..10 {
        let client = client(&server.url(), &folder.0);
        for n in 0..5 {
            track(&client, run * 50 + n * 10..run * 50 + n * 10 + 10);
            let _ = client.flush(Duration::from_millis(20));
            balanced(&client.stats());
        }
    }
    let last = client(&server.url(), &folder.0);
    last.flush(patience()).expect("all is delivered");
    let stored = stored.lock().expect("no panic");
    assert_eq!(stored.len(), 500);
    assert!(stored.values().any(|(_, times)| *times > 1), "at least one acknowledgement was lost");
}

#[test]
fn what_keeps_failing_lets_others_pass() {
    let folder = Folder::new();
    let server = Server::new(|_, request| Reply::status(if request.names().contains(&"Event 0") { 500 } else { 200 }));
    let mut config = config(&server.url(), &folder.0);
    config.retry_max = 1;
    config.flush_at = 1;
    let client = Client::new(config).expect("good settings");
    track(&client, 0..1);
    assert!(wait_until(|| server.begun() > 0));
    track(&client, 1..10);
    assert!(wait_until(|| client.stats().delivered == 9));
    let stats = client.stats();
    balanced(&stats);
    assert_eq!((stats.delivered, stats.failed, stats.queued), (9, 0, 1), "and with a spool it is not given up");
}
