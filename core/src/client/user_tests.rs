//! What a real disk and a real network do not offer: file calls that fail, each in turn, and a user who opts out while
//! the delivery thread is in the middle of something.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Told, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::Config;
use crate::base::storage::{Appended, Appending, Disk, Entry, Lock, Map, Storage};
use crate::net::transport::{HttpRequest, HttpResponse, Transport};
use crate::patience::{patience, wait_for_the_end};
use crate::queue::spool::tests::{Faulty, Folder, Receiver, balanced, client, config, track, wait_for};

const SHORT: Duration = Duration::from_millis(200);

fn stateful(folder: &Folder) -> Config {
    Config { stateful: true, ..config(folder) }
}

fn arrived(receiver: &Receiver) -> HashSet<String> {
    receiver.ids.lock().expect("no panic").iter().cloned().collect()
}

/// Tracks as the known user, and returns whether it was taken. It may be refused only if the user has opted out, or
/// may have.
fn track_as_known(client: &Client, id: &str) -> bool {
    let options = Options { message_id: Some(id), ..Options::default() };
    match client.track(None, "E", None, options) {
        Ok(()) => true,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::OptedOut | ErrorKind::Storage), "{error}");
            false
        }
    }
}

/// An earlier life, with a user and five messages that were not delivered.
fn prepare(folder: &Folder) {
    let earlier = client(stateful(folder), Disk, &Receiver { offline: true, ..Receiver::default() });
    earlier.identify("u", &Object::from([("plan", "pro")]), None).expect("taken");
    (0..5).for_each(|n| assert!(track(&earlier, &format!("earlier {n}"))));
    drop(earlier);
    wait_for("its messages are in a file", || chunks(&folder.0).len() == 1);
    wait_for_the_end(&folder.0);
}

/// A failing disk, and the log lines that speak of a bug.
fn failing(folder: &Folder, fails_at: usize, for_ever: bool, errno: i32) -> (Config, Faulty, Arc<Mutex<Vec<String>>>) {
    let bugs = Arc::new(Mutex::new(Vec::new()));
    let log = bugs.clone();
    let mut config = stateful(folder);
    config.on_log = Some(Box::new(move |_, line: &str| {
        if line.contains("bug") {
            log.lock().expect("no panic").push(line.to_owned());
        }
    }));
    (config, Faulty { fails_at, for_ever, errno, ..Faulty::default() }, bugs)
}

/// Changes what is known of the user, on a disk that fails. Returns how many calls were made.
fn life(fails_at: usize, for_ever: bool, errno: i32) -> usize {
    let case = format!("call {fails_at}, for ever: {for_ever}, errno {errno}");
    let (folder, receiver) = (Folder::new(), Receiver::default());
    prepare(&folder);
    let mut accepted: HashSet<String> = (0..5).map(|n| format!("earlier {n}")).collect();
    let (config, faulty, bugs) = failing(&folder, fails_at, for_ever, errno);
    let calls = faulty.calls.clone();
    let living = client(config, faulty, &receiver);
    for n in 0..12 {
        let id = format!("{n}");
        if track_as_known(&living, &id) {
            accepted.insert(id);
        }
        let changed = match n {
            2 => living.identify(None, &Object::from([("seats", 3)]), None),
            4 => living.set_consent(&Object::from([("ads", false)])),
            5 => living.opt_in(),
            6 => living.alias("v", None, None),
            8 => living.reset(),
            _ => Ok(()),
        };
        if let Err(error) = changed {
            assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::OptedOut), "{case}: {error}");
        }
        if n % 4 == 3 {
            // While the disk does not say whether the user has opted out, nothing settles.
            let _ = living.flush(if living.is_opted_out() { Duration::ZERO } else { SHORT });
        }
        balanced(&living);
    }
    // What the disk does not take is delivered; otherwise it would be reported as lost when the client ends.
    wait_for("nothing is left in memory", || {
        let _ = living.flush(Duration::from_millis(10));
        living.stats().in_memory == 0
    });
    drop(living);
    wait_for_the_end(&folder.0);
    let calls = calls.load(Ordering::SeqCst);

    let next = client(stateful(&folder), Disk, &receiver);
    next.flush(patience()).expect("a disk that works again");
    assert!(!next.is_opted_out(), "{case}: the user has not opted out");
    assert!(next.user_id().is_none_or(|user| user == "u" || user == "v"), "{case}: {:?}", next.user_id());
    assert!(track_as_known(&next, "next"));
    balanced(&next);
    drop(next);
    let arrived = arrived(&receiver);
    let lost: Vec<_> = accepted.difference(&arrived).collect();
    assert!(lost.is_empty(), "{case}: lost {} {:?}", lost.len(), lost.first());
    assert_eq!(*bugs.lock().expect("no panic"), Vec::<String>::new(), "{case}");
    calls
}

/// Opts out, on a disk that fails. Returns how many calls were made.
fn life_with_an_opt_out(fails_at: usize, for_ever: bool, errno: i32) -> usize {
    let case = format!("call {fails_at}, for ever: {for_ever}, errno {errno}");
    let (folder, receiver) = (Folder::new(), Receiver::default());
    prepare(&folder);
    let (config, faulty, bugs) = failing(&folder, fails_at, for_ever, errno);
    let calls = faulty.calls.clone();
    let living = client(config, faulty, &Receiver { offline: true, ..receiver.clone() });
    for n in 0..3 {
        track_as_known(&living, &format!("before {n}"));
    }
    let kept = living.opt_out();
    let is_known = kept.is_ok();
    if let Err(error) = kept {
        assert_eq!(error.kind(), ErrorKind::Storage, "{case}: {error}");
    }
    for n in 0..3 {
        assert!(living.is_opted_out(), "{case}: in this process at least");
        assert!(!track_as_known(&living, &format!("denied {n}")), "{case}");
        let _ = living.flush(SHORT);
        balanced(&living);
        assert_eq!(living.stats().queued, 0, "{case}");
    }
    assert_eq!((living.anonymous_id(), living.user_id()), (None, None));
    drop(living);
    wait_for_the_end(&folder.0);
    let calls = calls.load(Ordering::SeqCst);

    let next = client(stateful(&folder), Disk, &receiver);
    if is_known {
        assert!(next.is_opted_out(), "{case}: the call had returned without an error");
        assert!(!folder.home().join("identity.json").exists(), "{case}");
        next.flush(patience()).expect("nothing is left");
        assert_eq!(arrived(&receiver).len(), 0, "{case}");
    }
    next.opt_in().expect("a disk that works again");
    assert!(track_as_known(&next, "next"), "{case}");
    next.flush(patience()).expect("delivered");
    balanced(&next);
    drop(next);
    let arrived = arrived(&receiver);
    assert!(arrived.contains("next") && !arrived.iter().any(|id| id.starts_with("denied")), "{case}: {arrived:?}");
    assert!(!is_known || arrived.len() == 1, "{case}: {arrived:?}");
    assert_eq!(*bugs.lock().expect("no panic"), Vec::<String>::new(), "{case}");
    calls
}

fn lives(life: fn(usize, bool, i32) -> usize) {
    for errno in [libc::EIO, libc::ENOSPC] {
        for for_ever in [false, true] {
            let mut fails_at = 0;
            // With each round the failure comes one call later, until there is no such call.
            while life(fails_at, for_ever, errno) > fails_at {
                fails_at += 1;
            }
            assert!(fails_at > 20, "only {fails_at} calls");
        }
    }
}

#[test]
fn whatever_call_of_the_disk_fails_while_the_user_changes_nothing_accepted_is_lost() {
    lives(life);
}

#[test]
fn whatever_call_of_the_disk_fails_an_opt_out_counts_or_returns_an_error() {
    lives(life_with_an_opt_out);
}

/// The real disk, which holds up one of our threads in the first call of one kind.
struct Gate {
    call: &'static str,
    entered: Mutex<Sender<()>>,
    released: Mutex<Told<()>>,
    is_passed: AtomicBool,
    /// A call that fails for files whose names begin like this, and the error; and another.
    refused: Refused,
    also_refused: Refused,
}

type Refused = Arc<Mutex<Option<(&'static str, &'static str, i32)>>>;

impl Gate {
    /// One that holds no thread up.
    fn failing() -> (Gate, Refused) {
        let (gate, ..) = Gate::new("nothing");
        let refused = gate.refused.clone();
        (gate, refused)
    }

    fn refuse(&self, call: &str, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for refused in [&self.refused, &self.also_refused] {
            if let Some((refused, start, errno)) = *refused.lock().expect("no panic")
                && refused == call
                && name.starts_with(start)
            {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(())
    }

    fn new(call: &'static str) -> (Gate, Told<()>, Sender<()>) {
        let ((entered, wait), (release, released)) = (channel(), channel());
        let is_passed = AtomicBool::new(false);
        (
            Gate {
                call,
                entered: Mutex::new(entered),
                released: Mutex::new(released),
                is_passed,
                refused: Refused::default(),
                also_refused: Refused::default(),
            },
            wait,
            release,
        )
    }

    fn pass(&self, call: &str, path: &Path) {
        let is_remembered = path.extension().is_some_and(|kind| kind == "json") || path.ends_with("mark");
        if self.call == call
            && !is_remembered
            && std::thread::current().name().is_some_and(|name| name.starts_with("segment"))
        {
            if self.is_passed.swap(true, Ordering::SeqCst) {
                return;
            }
            self.entered.lock().expect("no panic").send(()).expect("the test waits");
            let _ = self.released.lock().expect("no panic").recv(); // or the test has failed
        }
    }
}

impl Storage for Gate {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Disk.create_folder(folder)
    }

    fn appending(&self, folder: &Path) -> io::Result<Appending> {
        Disk.appending(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.pass("list", folder);
        let listed = Disk.list(folder);
        self.pass("listed", folder);
        listed
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        Disk.folders(folder)
    }

    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map> {
        self.pass("create", path);
        Disk.create_mapped(path, bytes)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>> {
        self.pass("create", path);
        Disk.create(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.refuse("read", path)?;
        let content = Disk.read(path);
        self.pass("read", path);
        content
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.pass("replace", path);
        Disk.replace(path, content)
    }

    fn replace_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.refuse("replace", path)?;
        self.pass("replace", path);
        Disk.replace_synced(path, content)?;
        self.refuse("sync", path) // the file is there, but may not be on the disk
    }

    fn remove_unfinished(&self, path: &Path) {
        Disk.remove_unfinished(path);
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.refuse("rename", from)?;
        Disk.rename(from, to)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.pass("truncate", path);
        Disk.truncate(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass("remove", path);
        Disk.remove(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.pass("lock", path);
        Disk.lock(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        Disk.sync(path)
    }

    fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        Disk.identity(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }
}

/// Answers with a status, and remembers the ids that it got.
#[derive(Clone)]
struct Answering {
    status: Arc<AtomicU64>,
    receiver: Receiver,
}

impl Transport for Answering {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let status = u16::try_from(self.status.load(Ordering::SeqCst)).expect("a status");
        if status != 503 {
            self.receiver.exchange(request)?;
        }
        Ok(HttpResponse { status, ..HttpResponse::default() })
    }
}

fn client_on_gate(folder: &Folder, gate: Gate, transport: &Answering) -> Client {
    let transport = transport.clone();
    // Small chunks, and something to be sent at once.
    let config = Config { queue_max_bytes: 200_000, flush_interval: Duration::from_millis(1), ..stateful(folder) };
    let make = Box::new(move || -> Box<dyn Transport> { Box::new(transport.clone()) });
    Client::with(config, Arc::new(gate), make).expect("good settings")
}

fn large() -> Object {
    Object::from([("filler", "x".repeat(20_000).as_str())])
}

fn track_large(client: &Client, id: &str) {
    let options = Options { message_id: Some(id), ..Options::default() };
    client.track(None, "E", &large(), options).expect("taken");
}

/// A copy of a folder, as it would be if its owner were killed: no lock is held.
fn as_a_kill_would_leave_it(folder: &Folder) -> Folder {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("there").flatten() {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() { copy(&entry.path(), &to) } else { _ = std::fs::copy(entry.path(), to) }
        }
    }
    let dead = Folder::new();
    copy(&folder.0, &dead.0);
    dead
}

fn chunks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(chunks(&entry.path()));
        } else if name.ends_with(".jsonl") && std::fs::read(entry.path()).is_ok_and(|text| text.contains(&b'{')) {
            found.push(name);
        }
    }
    found
}

/// At any moment of the delivery thread, the user opts out, or out and in again, and new messages are tracked.
#[test]
fn after_an_opt_out_at_any_moment_nothing_is_sent_and_later_messages_survive() {
    let calls = [
        ("list", 503),
        ("listed", 503),
        ("lock", 503),
        ("create", 503),
        ("read", 503),
        ("truncate", 503),
        ("remove", 200),
        ("replace", 400), // rejected messages
        ("replace", 503), // the pace
    ];
    // Opting out waits for the disk for a while, in vain here: so all cases run at once.
    std::thread::scope(|scope| {
        for (call, status) in calls {
            for opts_in in [false, true] {
                scope.spawn(move || opt_out_in_the_middle_of(call, status, opts_in));
            }
        }
    });
}

fn opt_out_in_the_middle_of(call: &'static str, status: u64, opts_in: bool) {
    let case = format!("{call}, {status}, {opts_in}");
    let folder = Folder::new();
    prepare(&folder);
    let receiver = Receiver::default();
    let answering = Answering { status: Arc::new(AtomicU64::new(status)), receiver: receiver.clone() };
    let (gate, entered, release) = Gate::new(call);
    let living = client_on_gate(&folder, gate, &answering);
    let release = release; // dropped before the client, which waits for the thread that it holds up
    (0..4).for_each(|n| track_large(&living, &format!("before {n}")));
    entered.recv_timeout(patience()).unwrap_or_else(|_| panic!("{case}: it never gets there"));
    let time = crate::base::time::now_ms();
    wait_for("the names of files differ", || crate::base::time::now_ms() > time);
    let mut seen = HashSet::new();
    std::thread::scope(|scope| {
        living.opt_out().expect("kept");
        assert!(!track_as_known(&living, "denied"), "{case}");
        seen = arrived(&receiver);
        answering.status.store(503, Ordering::SeqCst);
        let opting_in = scope.spawn(|| {
            if opts_in {
                living.opt_in().expect("kept");
                (0..4).for_each(|n| track_large(&living, &format!("after {n}")));
            }
        });
        opting_in.join().expect("no panic");
        balanced(&living);
        release.send(()).expect("it waits");
    });
    if opts_in {
        wait_for("it has done something", || {
            let stats = living.stats();
            stats.requests > 0 && stats.queued == 4
        });
        (4..8).for_each(|n| track_large(&living, &format!("after {n}")));
        wait_for("all is on the disk", || living.stats().in_memory == 0);
        let dead = as_a_kill_would_leave_it(&folder);
        let heir = client(stateful(&dead), Disk, &receiver);
        heir.flush(patience()).expect("delivered");
        let after: HashSet<String> = arrived(&receiver).difference(&seen).cloned().collect();
        let expected: HashSet<String> = (0..8).map(|n| format!("after {n}")).collect();
        assert_eq!(after, expected, "{case}: what a kill at this moment would have left");
        receiver.ids.lock().expect("no panic").retain(|id| !id.starts_with("after"));
        answering.status.store(200, Ordering::SeqCst);
    }
    living.shutdown(patience()).expect("all is settled");
    balanced(&living);
    let after: HashSet<String> = arrived(&receiver).difference(&seen).cloned().collect();
    assert_eq!(after.len(), if opts_in { 8 } else { 0 }, "{case}: {after:?}");
    assert!(after.iter().all(|id| id.starts_with("after")), "{case}: {after:?}");
    drop(living);
    assert_eq!(chunks(&folder.0), Vec::<String>::new(), "{case}");
}

#[test]
fn the_end_of_a_client_does_not_wait_for_rejected_messages_to_be_stored() {
    let folder = Folder::new();
    prepare(&folder); // so that the first file to be replaced is that of the rejected messages
    let answering = Answering { status: Arc::new(AtomicU64::new(400)), receiver: Receiver::default() };
    let (gate, entered, release) = Gate::new("replace");
    let (report, reported) = channel();
    let on_delivery: crate::OnDelivery =
        Box::new(move |delivery| report.send(delivery.error.is_some()).expect("heard"));
    let make = Box::new(move || -> Box<dyn Transport> { Box::new(answering.clone()) });
    let config = Config { on_delivery: Some(on_delivery), flush_at: 1, ..stateful(&folder) };
    let living = Client::with(config, Arc::new(gate), make).expect("good settings");
    track_large(&living, "refused");
    entered.recv_timeout(patience()).expect("it is being stored");
    assert_eq!(reported.try_recv(), Ok(true), "the host was told first: after the end it may not be told");
    let (tell, ended) = channel();
    std::thread::spawn(move || {
        drop(living);
        tell.send(()).expect("the test waits");
    });
    let ended = ended.recv_timeout(patience());
    drop(release);
    ended.expect("it ends although the disk does not answer");
}

/// Decides to make a request, and makes it after the user has opted out.
struct Late {
    interruptions: Arc<AtomicU64>,
    entered: Mutex<Sender<()>>,
    released: Mutex<Told<()>>,
    made: Arc<AtomicUsize>,
}

impl Transport for Late {
    fn exchange(&self, _: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        self.made.fetch_add(1, Ordering::SeqCst);
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    }

    fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::SeqCst);
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::SeqCst)
    }

    fn exchange_since(&self, request: &HttpRequest<'_>, interruptions: u64) -> Result<HttpResponse, Error> {
        self.entered.lock().expect("no panic").send(()).expect("the test waits");
        self.released.lock().expect("no panic").recv().expect("the test releases it");
        if self.interruptions() != interruptions {
            return Err(Error::new(ErrorKind::Network, "broken off"));
        }
        self.exchange(request)
    }
}

/// A client whose requests say when they are about to be made, wait to be released, and are counted when they are made.
fn late_client(config: Config) -> (Client, Told<()>, Sender<()>, Arc<AtomicUsize>) {
    let ((entered, wait), (release, released)) = (channel(), channel());
    let made = Arc::new(AtomicUsize::new(0));
    let late = Late {
        interruptions: Arc::default(),
        entered: Mutex::new(entered),
        released: Mutex::new(released),
        made: made.clone(),
    };
    let once = Mutex::new(Some(late));
    let make =
        Box::new(move || -> Box<dyn Transport> { Box::new(once.lock().expect("no panic").take().expect("no fork")) });
    (Client::with(config, Arc::new(Disk), make).expect("good settings"), wait, release, made)
}

#[test]
fn no_request_begins_after_the_user_has_opted_out() {
    let (client, wait, release, made) = late_client(Config { flush_at: 1, ..Config::new("k") });
    assert!(track(&client, "before"));
    wait.recv_timeout(patience()).expect("it has been decided");
    client.opt_out().expect("in memory");
    release.send(()).expect("it waits");
    client.flush(patience()).expect("nothing is left");
    client.opt_in().expect("in memory");
    assert!(track(&client, "after"));
    wait.recv_timeout(patience()).expect("it has been decided");
    release.send(()).expect("it waits");
    client.flush(patience()).expect("delivered");
    assert_eq!((made.load(Ordering::SeqCst), client.stats().dropped, client.stats().delivered), (1, 1, 1));
}

#[test]
fn while_one_thread_opts_out_another_with_the_old_wish_cannot_undo_it() {
    let client = client(Config::new("k"), Disk, &Receiver::default());
    let shared = &client.process().shared;
    let opting_out = shared.queue.stop_taking();
    shared.apply_privacy(); // as the delivery thread does at each turn
    let error = client.track("u", "E", None, None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::OptedOut);
    drop(opting_out);
    shared.apply_privacy();
    assert!(track(&client, "the opt-out was not stored"));
}

/// With several uploads the delivery thread may have decided on a request that its thread has not begun yet.
#[test]
fn no_request_begins_after_another_process_has_said_that_the_user_opted_out() {
    let folder = Folder::new();
    let (first, wait, release, made) = late_client(Config { flush_at: 1, uploads: 2, ..config(&folder) });
    let other = client(stateful(&folder), Disk, &Receiver::default());
    assert!(track(&first, "before"));
    wait.recv_timeout(patience()).expect("it has been decided");
    other.opt_out().expect("kept");
    first.process().shared.refresh_identity(); // as the delivery thread does before it sends something else
    assert_eq!(first.stats().dropped, 1);
    release.send(()).expect("it waits");
    drop(first);
    assert_eq!(made.load(Ordering::SeqCst), 0);
}

#[test]
#[cfg(feature = "http")]
fn the_network_makes_no_request_that_was_decided_on_before_an_interruption() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("possible");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let route = crate::net::network::Route::new(Some(""), None, &Disk).expect("no proxy");
    let network = crate::net::network::Network::new(route);
    let request = HttpRequest {
        method: "POST",
        url: &url,
        headers: &[],
        body: b"{}",
        timeout: SHORT,
        answer_max_bytes: 100,
        status_will_do: true,
    };
    let decided = network.interruptions();
    network.interrupt();
    let error = network.exchange_since(&request, decided).expect_err("broken off");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Network, "the request was interrupted"));
    assert!(listener.accept().is_err(), "there was no connection");
    assert!(network.exchange(&request).is_err(), "there is no answer");
    assert!(listener.accept().is_ok(), "a request that is decided on later is made");
}

#[test]
fn threads_that_cannot_agree_leave_the_queue_as_the_last_of_them_wants_it() {
    for _ in 0..crate::rounds(20) {
        let folder = Folder::new();
        let client = client(stateful(&folder), Disk, &Receiver::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let client = &client;
                scope.spawn(move || {
                    for n in 0..5 {
                        let changed = if (n + thread) % 2 == 0 { client.opt_out() } else { client.opt_in() };
                        changed.expect("kept");
                        track_as_known(client, &format!("{thread} {n}"));
                    }
                });
            }
        });
        assert_eq!(track_as_known(&client, "last"), !client.is_opted_out());
        balanced(&client);
    }
}

fn known_to(folder: &Folder) -> (Option<String>, bool) {
    let client = client(stateful(folder), Disk, &Receiver::default());
    (client.user_id(), client.is_opted_out())
}

fn on_gate(folder: &Folder) -> (Client, Refused) {
    let (gate, refused) = Gate::failing();
    (client(stateful(folder), gate, &Receiver::default()), refused)
}

#[test]
fn a_folder_that_cannot_be_written_any_more_does_not_bring_back_the_earlier_user() {
    let folder = Folder::new();
    let (client, refused) = on_gate(&folder);
    client.identify("first", None, None).expect("taken");
    *refused.lock().expect("no panic") = Some(("replace", "identity.json", libc::ENOSPC));
    client.identify("second", None, None).expect("taken");
    for n in 0..5 {
        assert!(track_as_known(&client, &format!("{n}")));
        client.flush(patience()).expect("delivered");
    }
    assert_eq!(client.user_id().as_deref(), Some("second"));
    assert_eq!(known_to(&folder).0.as_deref(), Some("first"));
    *refused.lock().expect("no panic") = None;
    client.identify(None, &Object::from([("a", 1)]), None).expect("taken");
    assert_eq!(known_to(&folder).0.as_deref(), Some("second"), "it is stored as soon as it can be");
}

#[test]
fn an_opt_out_that_cannot_be_stored_counts_in_this_process() {
    for earlier in ["nothing", "out and in", "damaged"] {
        let folder = Folder::new();
        let (client, refused) = on_gate(&folder);
        if earlier == "out and in" {
            client.opt_out().expect("kept");
            client.opt_in().expect("kept");
        } else if earlier == "damaged" {
            std::fs::write(folder.home().join("privacy.json"), "").expect("written");
        }
        *refused.lock().expect("no panic") = Some(("replace", "privacy.json", libc::ENOSPC));
        for _ in 0..2 {
            assert_eq!(client.opt_out().expect_err("not kept").kind(), ErrorKind::Storage);
            for _ in 0..3 {
                let error = client.track("u", "E", None, None).expect_err("refused");
                assert_eq!(error.kind(), ErrorKind::OptedOut, "{earlier}, whatever the folder says");
                client.flush(patience()).expect("nothing is left");
                client.identity().refresh();
            }
        }
        assert_eq!(known_to(&folder).1, earlier == "damaged");
        *refused.lock().expect("no panic") = None;
        client.opt_out().expect("kept at last");
        assert!(known_to(&folder).1);
    }
}

#[test]
fn while_the_folder_cannot_be_read_a_repeated_no_is_stored_and_a_yes_is_not() {
    let folder = Folder::new();
    let (first, refused) = on_gate(&folder);
    let other = client(stateful(&folder), Disk, &Receiver::default());
    let unreadable = Some(("read", "privacy.json", libc::EIO));
    first.opt_out().expect("kept");
    *refused.lock().expect("no panic") = unreadable;
    other.opt_in().expect("kept");
    first.opt_out().expect("stored, over what cannot be read");
    *refused.lock().expect("no panic") = None;
    assert!(known_to(&folder).1);
    first.opt_in().expect("kept");
    *refused.lock().expect("no panic") = unreadable;
    other.opt_out().expect("kept");
    let error = first.opt_in().expect_err("it would overwrite a no");
    assert_eq!(error.kind(), ErrorKind::Storage);
    *refused.lock().expect("no panic") = None;
    assert!(known_to(&folder).1, "the no stands");
    first.opt_in().expect("kept, now that it is known");
    assert!(!known_to(&folder).1);
}

#[test]
fn a_no_that_may_not_be_on_the_disk_is_written_again_whatever_was_read_since() {
    let folder = Folder::new();
    let (gate, refused) = Gate::failing();
    let also_refused = gate.also_refused.clone();
    let client = client(stateful(&folder), gate, &Receiver::default());
    let set = |which: &Refused, to| *which.lock().expect("no panic") = to;
    set(&refused, Some(("sync", "privacy.json", libc::EMFILE)));
    client.opt_out().expect_err("it may not be stored");
    // Another no, which can be neither read nor written; then the first is read again.
    set(&refused, Some(("read", "privacy.json", libc::EMFILE)));
    set(&also_refused, Some(("replace", "privacy.json", libc::EMFILE)));
    client.opt_out().expect_err("not kept");
    set(&refused, None);
    client.identity().refresh();
    client.opt_out().expect_err("it is to be written, and cannot be");
    set(&also_refused, None);
    client.opt_out().expect("written");
    set(&also_refused, Some(("replace", "privacy.json", libc::EMFILE)));
    client.opt_out().expect("nothing is left to be written");
}

#[test]
fn without_a_spool_the_end_does_not_wait_for_a_sync() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.home()).expect("made");
    std::fs::write(folder.home().join("photos"), "a host's").expect("written");
    let config = Config { sync: true, shutdown: Duration::from_secs(3_600), ..config(&folder) };
    let client = client(config, Disk, &Receiver::default());
    assert!(track(&client, "in memory"));
    client.flush(patience()).expect("delivered");
    let (tell, ended) = channel();
    std::thread::spawn(move || {
        drop(client);
        tell.send(()).expect("the test waits");
    });
    ended.recv_timeout(patience()).expect("it ends");
}

#[test]
fn damage_that_cannot_be_set_aside_does_not_count_as_a_yes() {
    let folder = Folder::new();
    prepare(&folder);
    for name in ["identity.json", "privacy.json"] {
        std::fs::write(folder.home().join(name), "\0\0\0").expect("written");
    }
    let (gate, refused) = Gate::failing();
    *refused.lock().expect("no panic") = Some(("rename", "", libc::EROFS));
    let client = client(stateful(&folder), gate, &Receiver::default());
    for _ in 0..3 {
        assert_eq!(client.track("u", "E", None, None).expect_err("refused").kind(), ErrorKind::Storage);
        client.identity().refresh();
    }
    client.opt_in().expect("written over");
    assert!(track_as_known(&client, "taken"));
    assert!(!known_to(&folder).1);
}

/// A file of ours in a folder without our mark would make it look like another program's folder from then on.
#[test]
fn where_the_folder_cannot_be_marked_nothing_is_put_into_it() {
    let folder = Folder::new();
    let (gate, refused) = Gate::failing();
    *refused.lock().expect("no panic") = Some(("replace", "mark", libc::ENOSPC));
    let client = client(stateful(&folder), gate, &Receiver::default());
    client.reset().expect_err("it cannot be kept");
    client.opt_out().expect_err("it cannot be kept");
    assert!(client.is_opted_out(), "in this process");
    assert_eq!(std::fs::read_dir(folder.home()).expect("made").count(), 0);
    *refused.lock().expect("no panic") = None;
    client.opt_out().expect("kept");
    assert!(known_to(&folder).1);
}

#[test]
fn a_failed_read_is_no_answer_unless_the_folder_may_not_be_entered() {
    for errno in [libc::EIO, libc::EMFILE, libc::ESTALE, libc::EINTR, libc::ENOTCONN, libc::EACCES] {
        let folder = Folder::new();
        prepare(&folder);
        let (gate, refused) = Gate::failing();
        *refused.lock().expect("no panic") = Some(("read", "privacy.json", errno));
        let receiver = Receiver::default();
        let client = client(stateful(&folder), gate, &receiver);
        let error = client.track("u", "E", None, None).expect_err("refused");
        assert_eq!((error.kind(), client.is_opted_out()), (ErrorKind::Storage, true), "{errno}");
        client.flush(patience()).expect("nothing was accepted");
        *refused.lock().expect("no panic") = None;
        wait_for("it is read again", || client.track("u", "E", None, None).is_ok());
        client.flush(patience()).expect("delivered");
        assert_eq!((client.user_id().as_deref(), client.stats().recovered), (Some("u"), 5 + 1), "{errno}");
    }
    let folder = Folder::new();
    let (gate, refused) = Gate::failing();
    *refused.lock().expect("no panic") = Some(("read", "", libc::EACCES));
    let client = client(stateful(&folder), gate, &Receiver::default());
    client.track("u", "E", None, None).expect("another user's folder, about which nothing can be known");
}

fn opened(folder: &Folder, refused: Option<(&'static str, &'static str, i32)>) -> (Vec<String>, Vec<String>) {
    let (gate, refusal) = Gate::failing();
    *refusal.lock().expect("no panic") = refused;
    let (lines, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (log, see) = (lines.clone(), seen.clone());
    let context = Object::from([("app", &Object::from([("version", "1.0")]))]);
    let config = Config {
        lifecycle: true,
        context,
        on_log: Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned()))),
        before_send: Some(Box::new(move |message| {
            let message: serde_json::Value = serde_json::from_str(message).expect("JSON");
            see.lock().expect("no panic").push(message["event"].as_str().expect("a name").to_owned());
            Ok(crate::Edit::Keep)
        })),
        ..stateful(folder)
    };
    let client = client(config, gate, &Receiver::default());
    client.flush(patience()).expect("delivered");
    drop(client);
    let (seen, lines) = (seen.lock().expect("no panic").clone(), lines.lock().expect("no panic").clone());
    (seen, lines)
}

#[test]
fn an_app_that_cannot_be_remembered_is_opened_and_never_installed() {
    for errno in [libc::EROFS, libc::ENOSPC, libc::EACCES] {
        let folder = Folder::new();
        for _ in 0..3 {
            let (seen, lines) = opened(&folder, Some(("replace", "identity.json", errno)));
            assert_eq!(seen, ["Application Opened"], "{errno}");
            assert!(lines.iter().any(|line| line.starts_with("Application Installed could not be")), "{lines:?}");
        }
        assert_eq!(opened(&folder, None).0, ["Application Installed", "Application Opened"]);
        // From now on it is remembered; a folder that cannot be written any more changes nothing.
        let (seen, lines) = opened(&folder, Some(("replace", "identity.json", errno)));
        assert_eq!(seen, ["Application Opened"]);
        assert!(!lines.iter().any(|line| line.starts_with("Application")), "{lines:?}");
    }
}
