//! A disk that fails at each call in turn, and a loss of power at any moment.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::base::home::HOME;
use crate::base::storage::{Appended, Disk, Map};
use crate::net::transport::{HttpRequest, HttpResponse, Transport};
use crate::patience::{NEVER, campaign, patience, wait_for_the_end, wait_until};
use crate::{Client, Config, Level};

/// A folder that goes away with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("segment-faults-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        Folder(std::env::temp_dir().join(name))
    }
}

impl Folder {
    /// The folder of the library's files.
    pub(crate) fn home(&self) -> PathBuf {
        self.0.join(HOME)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Acknowledges everything, and remembers the ids.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) ids: Arc<Mutex<Vec<String>>>,
    pub(crate) offline: bool,
}

impl Transport for Receiver {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, crate::Error> {
        if self.offline {
            return Err(crate::Error::new(crate::ErrorKind::Network, "offline"));
        }
        let body: serde_json::Value = serde_json::from_slice(request.body).expect("a JSON body");
        let events = body["batch"].as_array().expect("a batch");
        let ids = events.iter().map(|event| event["messageId"].as_str().expect("an id").to_owned());
        self.ids.lock().expect("no panic").extend(ids);
        Ok(HttpResponse { status: 200, ..HttpResponse::default() })
    }
}

/// The real disk, on which one call fails, or all from that one on.
pub(crate) struct Faulty {
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) fails_at: usize,
    pub(crate) for_ever: bool,
    pub(crate) errno: i32,
    pub(crate) written: bool,
    /// How many syncs there were, and how many more of them fail.
    pub(crate) syncs: Arc<AtomicUsize>,
    pub(crate) sync_faults: Arc<AtomicUsize>,
    /// Listing a folder takes this lock: a test that holds it holds listings up.
    pub(crate) listing: Arc<Mutex<()>>,
    /// What happens right after the first listing that shows a chunk.
    pub(crate) meanwhile: Meanwhile,
}

type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

impl Default for Faulty {
    /// One that works.
    fn default() -> Self {
        Faulty {
            calls: Arc::default(),
            fails_at: usize::MAX,
            for_ever: false,
            errno: libc::EIO,
            written: false,
            syncs: Arc::default(),
            sync_faults: Arc::default(),
            listing: Arc::default(),
            meanwhile: Arc::default(),
        }
    }
}

impl Faulty {
    fn fault(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = call == self.fails_at || self.for_ever && call > self.fails_at;
        if fails { Err(io::Error::from_raw_os_error(self.errno)) } else { Ok(()) }
    }
}

impl Storage for Faulty {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.fault().and_then(|()| Disk.create_folder(folder))
    }

    fn appending(&self, folder: &Path) -> io::Result<Appending> {
        self.fault()?;
        if self.written { Ok(Appending::Written) } else { Disk.appending(folder) }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let _allowed = self.listing.lock().expect("no panic");
        let listed = self.fault().and_then(|()| Disk.list(folder))?;
        if listed.iter().any(|entry| owner_of(Path::new(&entry.name)).is_some())
            && let Some(act) = self.meanwhile.lock().expect("no panic").take()
        {
            act();
        }
        Ok(listed)
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.fault().and_then(|()| Disk.folders(folder))
    }

    fn create_mapped(&self, path: &Path, bytes: usize) -> io::Result<Map> {
        self.fault().and_then(|()| Disk.create_mapped(path, bytes))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Appended>> {
        self.fault()?;
        let (syncs, sync_faults) = (self.syncs.clone(), self.sync_faults.clone());
        let (calls, listing, meanwhile) = (self.calls.clone(), self.listing.clone(), self.meanwhile.clone());
        let faulty = Faulty { calls, syncs, sync_faults, listing, meanwhile, ..*self };
        Ok(Box::new(FaultyFile { file: Disk.create(path)?, faulty }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.fault().and_then(|()| Disk.read(path))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.fault().and_then(|()| Disk.replace(path, content))
    }

    fn replace_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.fault().and_then(|()| Disk.replace_synced(path, content))
    }

    fn remove_unfinished(&self, path: &Path) {
        if self.fault().is_ok() {
            Disk.remove_unfinished(path);
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fault().and_then(|()| Disk.rename(from, to))
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.fault().and_then(|()| Disk.truncate(path, bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fault().and_then(|()| Disk.remove(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.fault().and_then(|()| Disk.lock(path))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        let one_less = |left: usize| left.checked_sub(1);
        if self.sync_faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        self.fault().and_then(|()| Disk.sync(path))
    }

    fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.fault().and_then(|()| Disk.identity(path))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.fault().and_then(|()| Disk.make_folder(path))
    }
}

struct FaultyFile {
    file: Box<dyn Appended>,
    faulty: Faulty,
}

impl Appended for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faulty.fault().inspect_err(|_| {
            // A short write: half a line stays, and cannot be taken back.
            let _ = self.file.append(&bytes[..bytes.len() / 2]);
        })?;
        self.file.append(bytes)
    }
}

pub(crate) fn config(folder: &Folder) -> Config {
    Config {
        spool_dir: Some(folder.0.clone()),
        flush_interval: NEVER,
        shutdown: Duration::ZERO,
        gzip: false,
        ..Config::new("k")
    }
}

pub(crate) fn client(config: Config, storage: impl Storage + 'static, receiver: &Receiver) -> Client {
    let receiver = receiver.clone();
    let transport = Box::new(move || -> Box<dyn Transport> { Box::new(receiver.clone()) });
    Client::with(config, Arc::new(storage), transport).expect("good settings")
}

pub(crate) fn track(client: &Client, id: &str) -> bool {
    let options = crate::Options { message_id: Some(id), ..crate::Options::default() };
    client.track("u", "E", None, options).is_ok()
}

pub(crate) fn balanced(client: &Client) {
    let stats = client.stats();
    assert_eq!(stats.accepted, stats.delivered + stats.failed + stats.dropped + stats.queued, "{stats:?}");
}

fn client_takes(client: &Client) -> bool {
    client.stats().refused == 0
}

/// A whole life of a client on a disk that fails: what was accepted must arrive, in this life or the next. Returns how
/// many calls were made.
fn life(fails_at: usize, for_ever: bool, errno: i32, written: bool, sync: bool) -> usize {
    let folder = Folder::new();
    let receiver = Receiver::default();
    let mut accepted = HashSet::new();
    {
        let earlier = client(config(&folder), Disk, &Receiver { offline: true, ..Receiver::default() });
        (0..5).for_each(|n| assert!(track(&earlier, &format!("earlier {n}"))));
    }
    accepted.extend((0..5).map(|n| format!("earlier {n}")));

    let calls = Arc::new(AtomicUsize::new(0));
    let bugs = Arc::new(Mutex::new(Vec::new()));
    let log = bugs.clone();
    let mut config_ = config(&folder);
    config_.sync = sync;
    config_.queue_max_bytes = 200_000; // so that there are several chunks
    config_.on_log = Some(Box::new(move |level: Level, line: &str| {
        if line.contains("bug") {
            log.lock().expect("no panic").push(format!("{level:?} {line}"));
        }
    }));
    let faulty = Faulty { calls: calls.clone(), fails_at, for_ever, errno, written, ..Faulty::default() };
    let living = client(config_, faulty, &receiver);
    for n in 0..300 {
        let id = format!("{n} {}", "x".repeat(60));
        if track(&living, &id) {
            accepted.insert(id);
        }
        if n % 100 == 99 {
            balanced(&living);
            // While the disk does not say whether the user has opted out, nothing is taken and nothing settles.
            if client_takes(&living) {
                let _ = living.flush(Duration::from_millis(50));
            }
        }
    }
    // What the disk does not take is delivered; otherwise it would be reported as lost when the client ends.
    wait_for("nothing is left in memory", || {
        let _ = living.flush(Duration::from_millis(10));
        living.stats().in_memory == 0
    });
    balanced(&living);
    drop(living);
    wait_for_the_end(&folder.0);
    let calls = calls.load(Ordering::SeqCst);

    let next = client(config(&folder), Disk, &receiver);
    next.flush(patience()).expect("a disk that works again");
    balanced(&next);
    drop(next);
    let arrived: HashSet<String> = receiver.ids.lock().expect("no panic").iter().cloned().collect();
    let lost: Vec<_> = accepted.difference(&arrived).collect();
    let case = format!("call {fails_at}, for ever: {for_ever}, errno {errno}, written: {written}, sync: {sync}");
    assert!(lost.is_empty(), "{case}: lost {} {:?}", lost.len(), lost.first());
    assert!(arrived.is_subset(&accepted), "{case}: something was invented");
    assert_eq!(*bugs.lock().expect("no panic"), Vec::<String>::new(), "{case}");
    calls
}

/// Runs lives with a failure at each call, and returns how many there were.
fn lives(written: bool, sync: bool) -> usize {
    let mut lives = 0;
    let kinds = [libc::EIO, libc::ENOSPC, libc::EMFILE, libc::EINTR, libc::EDQUOT];
    // The most frequent errors will do here; the rest is tried in the long campaign.
    for errno in kinds.into_iter().take(if crate::rounds(1) > 1 { 5 } else { 2 }) {
        for for_ever in [false, true] {
            let mut fails_at = 0;
            // With each round the failure comes one call later, until there is no such call.
            while life(fails_at, for_ever, errno, written, sync) > fails_at {
                lives += 1;
                fails_at += if written && fails_at > 20 { 17 } else { 1 };
            }
            assert!(fails_at > 10, "only {fails_at} calls");
        }
    }
    lives
}

#[test]
fn whatever_call_of_the_disk_fails_nothing_accepted_is_lost() {
    let lives = lives(false, false);
    campaign("every call fails in turn", &[(lives, "lives of a client")], None, "0 lost");
}

#[test]
fn the_same_where_files_are_written() {
    let lives = lives(true, false);
    campaign("every call fails in turn, files not mapped", &[(lives, "lives of a client")], None, "0 lost");
}

#[test]
fn the_same_with_syncing() {
    let lives = lives(false, true);
    campaign("every call fails in turn, files are synced", &[(lives, "lives of a client")], None, "0 lost");
}

pub(crate) fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_until(condition), "waited in vain: {what}");
}

#[test]
fn no_call_waits_for_a_slow_look_into_the_folder() {
    let folder = Folder::new();
    let offline = Receiver { offline: true, ..Receiver::default() };
    let earlier = client(config(&folder), Disk, &offline);
    (0..1_000).for_each(|n| assert!(track(&earlier, &format!("earlier {n}"))));
    drop(earlier);
    wait_for_the_end(&folder.0);
    let storage = Faulty::default();
    let listing = storage.listing.clone();
    let taking_long = listing.lock().expect("no panic");
    let receiver = Receiver::default();
    // Enough for several chunks: new ones can be made too.
    let client = client(Config { queue_max_bytes: 200_000, ..config(&folder) }, storage, &receiver);
    (0..500).for_each(|n| assert!(track(&client, &format!("{n}"))));
    assert_eq!((client.stats().accepted, client.stats().recovered), (500, 0));
    drop(taking_long);
    client.flush(patience()).expect("delivered");
    assert_eq!((client.stats().delivered, client.stats().recovered), (1_500, 1_000));
}

#[test]
fn what_is_accepted_is_synced_soon_and_only_if_that_is_wanted() {
    let folders = [Folder::new(), Folder::new()];
    let [(without, none), (with, syncs)] = [(false, &folders[0]), (true, &folders[1])].map(|(sync, folder)| {
        let storage = Faulty::default();
        let syncs = storage.syncs.clone();
        let offline = Receiver { offline: true, ..Receiver::default() };
        let client = client(Config { sync, ..config(folder) }, storage, &offline);
        assert!(track(&client, "first"));
        (client, syncs)
    });
    wait_for("the file and the folder are synced", || syncs.load(Ordering::SeqCst) >= 2);
    // The one that does not sync lives through the same intervals.
    for next in ["second", "third"] {
        let before = syncs.load(Ordering::SeqCst);
        assert!(track(&with, next) && track(&without, next));
        wait_for("and again after the next message", || syncs.load(Ordering::SeqCst) > before);
    }
    assert_eq!(none.load(Ordering::SeqCst), 0);
}

#[test]
fn after_a_failed_sync_the_messages_are_written_anew_elsewhere() {
    let folder = Folder::new();
    let storage = Faulty { sync_faults: Arc::new(AtomicUsize::new(1)), ..Faulty::default() };
    let syncs = storage.syncs.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let on_log: crate::OnLog = Box::new(move |_, line| drop(tell.send(line.to_owned())));
    let offline = Receiver { offline: true, ..Receiver::default() };
    let client_ = client(Config { sync: true, on_log: Some(on_log), ..config(&folder) }, storage, &offline);
    (0..10).for_each(|n| assert!(track(&client_, &format!("id {n}"))));
    let line = std::iter::from_fn(|| told.recv_timeout(patience()).ok()).find(|line| line.contains("written anew"));
    let line = line.expect("the failure is logged");
    let failed = PathBuf::from(line.split(' ').next().expect("the file"));
    wait_for("the file that failed is gone", || !failed.exists());
    assert!(syncs.load(Ordering::SeqCst) >= 3, "the new file was synced, and the folder");
    balanced(&client_);
    wait_for("all is on the disk", || client_.stats().in_memory == 0);
    assert_eq!(client_.stats().queued, 10);
    drop(client_);
    wait_for_the_end(&folder.0);
    let receiver = Receiver::default();
    let next = client(config(&folder), Disk, &receiver);
    next.flush(patience()).expect("delivered");
    drop(next);
    assert_eq!(receiver.ids.lock().expect("no panic").len(), 10);
}

/// After a loss of power each sector that was not synced has either its content at the last sync or its last one.
#[test]
fn after_a_loss_of_power_what_was_synced_is_there_and_nothing_is_invented() {
    const SECTOR: usize = 512;
    const SEED: u64 = 3;
    let images = crate::rounds(20_000);
    let mut state = SEED;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..images {
        let messages: Vec<String> = (0..2 + random(30))
            .map(|n| format!("{{\"messageId\":\"{n}\",\"x\":\"{}\"}}", "y".repeat(random(400))))
            .collect();
        let lines = |messages: &[String]| chunk::write_lines(messages.iter().map(|message| message.as_bytes()));
        let synced = random(messages.len());
        let mut disk = lines(&messages[..synced]);
        let mut last = lines(&messages);
        let length = last.len().next_multiple_of(4096);
        disk.resize(length, 0);
        last.resize(length, 0);
        for sector in 0..length / SECTOR {
            if random(2) == 0 {
                let at = sector * SECTOR..(sector + 1) * SECTOR;
                disk[at.clone()].copy_from_slice(&last[at]);
            }
        }
        if random(4) == 0 {
            // The size of the file was not synced either.
            disk.truncate(lines(&messages[..synced]).len().max(random(length)));
        }
        let batch = Batch::checked(disk);
        let found: Vec<&[u8]> = batch.all().collect();
        let expected: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        assert!(
            found.len() >= synced && found[..synced] == expected[..synced],
            "what was synced is there, in its order"
        );
        assert!(found.iter().all(|message| expected.contains(message)), "nothing is invented");
    }
    campaign("a disk after a loss of power", &[(images, "images")], Some(SEED), "0 lost that was synced, 0 invented");
}

/// A file system that goes away with the test.
struct Mount(Folder);

impl Mount {
    /// None if nothing can be mounted; in CI it must be possible.
    fn new(kind: &str, options: impl FnOnce(&Path) -> String) -> Option<Mount> {
        let folder = Folder::new();
        std::fs::create_dir_all(&folder.0).expect("made");
        let options = options(&folder.0);
        let mount = Mount(folder);
        if run("mount", &["-t", kind, "-o", &options, kind, &mount.0.0.to_string_lossy()]) {
            return Some(mount);
        }
        assert!(std::env::var_os("CI").is_none(), "in CI a file system can be mounted");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[&self.0.0.to_string_lossy()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

#[test]
fn messages_survive_on_a_file_system_whose_reservations_are_no_promise() {
    let layers = Folder::new();
    for name in ["lower", "upper", "work"] {
        std::fs::create_dir_all(layers.0.join(name)).expect("made");
    }
    let layer = |name: &str| layers.0.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
    let Some(mount) = Mount::new("overlay", |_| options) else { return };
    assert_eq!(Disk.appending(&mount.0.0).expect("known"), Appending::Written);
    let offline = Receiver { offline: true, ..Receiver::default() };
    let first = client(config(&mount.0), Disk, &offline);
    (0..100).for_each(|n| assert!(track(&first, &format!("{n}"))));
    wait_for("all is on the disk", || first.stats().in_memory == 0);
    assert_eq!(first.stats().queued, 100);
    drop(first);
    let receiver = Receiver::default();
    let next = client(config(&mount.0), Disk, &receiver);
    next.flush(patience()).expect("delivered");
    drop(next);
    assert_eq!(receiver.ids.lock().expect("no panic").len(), 100);
}

#[test]
fn a_file_system_in_memory_works_like_a_disk_while_the_machine_runs() {
    let Some(mount) = Mount::new("ramfs", |_| "mode=0700".to_owned()) else { return };
    let offline = Receiver { offline: true, ..Receiver::default() };
    let first = client(config(&mount.0), Disk, &offline);
    (0..3_000).for_each(|n| assert!(track(&first, &format!("{n}"))));
    wait_for("all is on the disk", || first.stats().in_memory == 0);
    assert_eq!(first.stats().queued, 3_000);
    drop(first);
    let receiver = Receiver::default();
    let next = client(config(&mount.0), Disk, &receiver);
    next.flush(patience()).expect("delivered");
    assert_eq!((next.stats().recovered, receiver.ids.lock().expect("no panic").len()), (3_000, 3_000));
}

#[test]
fn on_a_disk_that_can_only_be_read_the_client_works_in_memory() {
    let Some(mount) = Mount::new("tmpfs", |_| "ro,size=1m".to_owned()) else { return };
    let receiver = Receiver::default();
    let client = client(config(&mount.0), Disk, &receiver);
    (0..100).for_each(|n| assert!(track(&client, &format!("{n}"))));
    balanced(&client);
    client.flush(patience()).expect("delivered");
    assert_eq!(client.stats().delivered, 100);
}

#[test]
fn a_running_client_finds_what_later_ones_leave_when_they_die() {
    let folder = Folder::new();
    let offline = Receiver { offline: true, ..Receiver::default() };
    let receiver = Receiver::default();
    let first = client(config(&folder), Disk, &receiver);
    assert!(track(&first, "first"));
    first.flush(patience()).expect("delivered");
    let later = client(config(&folder), Disk, &offline);
    assert!(track(&later, "later"));
    drop(later); // it stays in the folder, as after a kill
    let queue = &first.process().shared.queue;
    let half_a_minute_ago = std::time::Instant::now().checked_sub(LOOK_INTERVAL).expect("the clock is older");
    queue.lock().look.last = Some(half_a_minute_ago);
    queue.errands.notify_one();
    wait_for("it is found and sent", || receiver.ids.lock().expect("no panic").contains(&"later".to_owned()));
    assert_eq!(first.stats().recovered, 1);
}

/// The spool of a client.
fn spool(storage: impl Storage + 'static, folder: &Folder) -> Spool {
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let home = Arc::new(Home::new(storage.clone(), &folder.0));
    let spool = Spool::new(storage, home, "k", "https://api.segment.io", 400_000, 1 << 20);
    spool.prepare().expect("a disk that works");
    spool
}

fn write(spool: &Spool, begun_ms: i64, message: &str, sync: bool) -> io::Result<PathBuf> {
    spool.write_anew(begun_ms, std::iter::once(message.as_bytes()), sync)
}

#[test]
fn what_an_owner_makes_after_it_was_listed_is_found_when_it_is_gone() {
    let folder = Folder::new();
    let owner = spool(Disk, &folder);
    write(&owner, 1, r#"{"a":1}"#, false).expect("written");
    let meanwhile: Meanwhile = Arc::new(Mutex::new(Some(Box::new(move || {
        write(&owner, 2, r#"{"b":2}"#, false).expect("written");
        owner.close(false);
    }))));
    let heir = spool(Faulty { meanwhile, ..Faulty::default() }, &folder);
    let look = heir.look().expect("a disk that works");
    let found = look.found.iter().map(|found| Batch::checked(heir.read(&found.path).expect("readable")));
    let messages: Vec<String> = found
        .flat_map(|batch| batch.all().map(|m| String::from_utf8_lossy(m).into_owned()).collect::<Vec<_>>())
        .collect();
    assert_eq!(messages, [r#"{"a":1}"#, r#"{"b":2}"#]);
}

/// The spool of a client with the write key that the program used before, in the same folder.
fn former_spool(folder: &Folder) -> Spool {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let home = Arc::new(Home::new(storage.clone(), &folder.0));
    Spool::new(storage, home, "former", "https://api.segment.io", 400_000, 1 << 20)
}

/// The spool of a client with the present write key.
fn with_former(storage: impl Storage + 'static, folder: &Folder) -> Spool {
    spool(storage, folder).with_formers(&[queue_name("https://api.segment.io", "former")])
}

#[test]
fn under_a_former_key_owners_that_are_gone_are_adopted_and_running_ones_are_not() {
    let folder = Folder::new();
    let (dead, living) = (former_spool(&folder), former_spool(&folder));
    let left = write(&dead, 1, r#"{"a":1}"#, false).expect("written");
    dead.reject(std::iter::once(b"{\"r\":1}".as_slice()), "refused").expect("kept");
    dead.close(false);
    write(&living, 2, r#"{"b":2}"#, false).expect("written");
    let heir = with_former(Disk, &folder);
    let look = heir.look().expect("a disk that works");
    assert_eq!(look.found.iter().map(|found| &found.path).collect::<Vec<_>>(), [&left]);
    assert!(look.foreign_bytes > 0 && look.log.is_empty(), "{look:?}");
    assert!(heir.look().expect("a disk that works").found.is_empty(), "once");
    let of_owner = |path: &Path| lock_beside(path, owner_of(path).expect("a chunk"));
    assert!(Disk.is_locked(&of_owner(&left)), "no other process can adopt it");
    heir.remove(&left).expect("a disk that works");
    assert!(!of_owner(&left).exists(), "the lock of an owner is deleted with its last chunk");
    assert_eq!(std::fs::read_dir(left.with_file_name(REJECTED)).expect("there").count(), 2, "what was given up stays");
}

#[test]
fn what_waited_for_a_former_key_before_the_user_opted_out_is_deleted() {
    let folder = Folder::new();
    let dead = former_spool(&folder);
    let before = write(&dead, 5, r#"{"a":1}"#, false).expect("written");
    let after = write(&dead, 6, r#"{"b":2}"#, false).expect("written");
    dead.reject(std::iter::once(b"{\"r\":1}".as_slice()), "refused").expect("kept");
    dead.close(false);
    let heir = with_former(Disk, &folder);
    heir.discard_up_to(5);
    let look = heir.look().expect("a disk that works");
    assert_eq!((look.discarded, before.exists()), (1, false));
    assert_eq!(look.found.iter().map(|found| &found.path).collect::<Vec<_>>(), [&after]);
    heir.discard_up_to(time::now_ms() + 1);
    assert_eq!(heir.look().expect("a disk that works").discarded, 2, "and what was rejected");
}

#[test]
fn a_former_folder_that_cannot_be_read_is_logged_once_and_holds_up_nothing() {
    let none = Folder::new();
    assert!(with_former(Disk, &none).look().expect("a disk that works").log.is_empty(), "there is none");
    let mut told = 0;
    for fails_at in 0.. {
        let folder = Folder::new();
        let (dead, owner) = (former_spool(&folder), spool(Disk, &folder));
        write(&dead, 1, r#"{"a":1}"#, false).expect("written");
        write(&owner, 2, r#"{"b":2}"#, false).expect("written");
        dead.close(false);
        owner.close(false);
        let heir = with_former(Disk, &folder);
        let calls = Arc::new(AtomicUsize::new(0));
        let faulty = Faulty { calls: calls.clone(), fails_at, for_ever: true, ..Faulty::default() };
        let heir = Spool { storage: Arc::new(faulty), ..heir };
        let looks: Vec<Look> = (0..3).filter_map(|_| heir.look().ok()).collect();
        let lines = looks.iter().flat_map(|look| &look.log).filter(|line| line.contains("former write key")).count();
        assert!(lines <= 1, "{looks:?}");
        // If the disk fails from the former folder on, its own chunk was found before.
        told += usize::from(lines > 0 && looks[0].found.len() == 1);
        if calls.load(Ordering::SeqCst) <= fails_at {
            break;
        }
    }
    assert!(told > 0);
}

/// Otherwise the next start would send it as well as the one that was written in its place.
#[test]
fn a_chunk_that_cannot_be_written_whole_is_not_left_behind() {
    let folder = Folder::new();
    let calls = Arc::new(AtomicUsize::new(0));
    for sync in [false, true] {
        let mut failed = 0;
        for fails_at in 0.. {
            let faulty: Arc<dyn Storage> = Arc::new(Faulty { calls: calls.clone(), fails_at, ..Faulty::default() });
            let spool = Spool { storage: faulty, ..spool(Disk, &folder) };
            calls.store(0, Ordering::SeqCst);
            let written = write(&spool, 1, r#"{"a":1}"#, sync);
            let files = Disk.list(&spool.folder).expect("readable");
            let chunks = files.iter().filter(|file| owner_of(Path::new(&file.name)).is_some()).count();
            assert_eq!(chunks, usize::from(written.is_ok()), "sync: {sync}, call {fails_at}");
            if let Ok(path) = written {
                Disk.remove(&path).expect("removed");
                break;
            }
            failed += 1;
        }
        assert!(failed >= 2, "{failed}");
    }
}

/// A real, small file system, filled to its last block while messages come.
#[test]
fn on_a_disk_that_is_full_nothing_is_lost_and_the_spool_is_used_again_when_there_is_room() {
    let Some(mount) = Mount::new("tmpfs", |_| "size=3m".to_owned()) else { return };
    let folder = &mount.0;
    let ballast = folder.0.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("there is room");
    let receiver = Receiver { offline: true, ..Receiver::default() };
    let client_ = client(config(folder), Disk, &receiver);
    let mut sent = 0;
    while client_.stats().in_memory == 0 && sent < 100_000 {
        assert!(track(&client_, &format!("{sent}")));
        sent += 1;
        balanced(&client_);
    }
    assert!(client_.stats().in_memory > 0, "the disk never was full");
    // Another program takes the last blocks.
    let filler = folder.0.join("filler");
    let _ = std::fs::write(&filler, vec![1; 4 << 20]);
    for _ in 0..1_000 {
        assert!(track(&client_, &format!("{sent}")));
        sent += 1;
    }
    balanced(&client_);
    assert_eq!(client_.stats().accepted, sent);
    std::fs::remove_file(&filler).expect("deleted");
    std::fs::remove_file(&ballast).expect("room again");
    let spooled = |client: &Client| client.stats().queued - client.stats().in_memory;
    let before = spooled(&client_);
    wait_for("the spool is used again", || {
        assert!(track(&client_, &format!("{sent}")));
        sent += 1;
        spooled(&client_) > before
    });
    // What is in memory is written to the disk without a new message.
    wait_for("nothing is in memory any more", || client_.stats().in_memory == 0);
    assert_eq!(client_.stats().queued, sent);
    drop(client_);
    wait_for_the_end(&folder.0);
    let receiver = Receiver::default();
    let next = client(config(folder), Disk, &receiver);
    next.flush(patience()).expect("delivered");
    assert_eq!(next.stats().delivered, sent);
}

/// The disk, with something that is done before each call.
struct Before<F>(F);

macro_rules! before {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        impl<F: Fn(&str) + Send + Sync> Storage for Before<F> {
            $(fn $name(&self, $($argument: $kind),*) -> $result {
                (self.0)(stringify!($name));
                Disk.$name($($argument),*)
            })*
        }
    };
}

before! {
    create_folder(folder: &Path) -> io::Result<()>;
    appending(folder: &Path) -> io::Result<Appending>;
    list(folder: &Path) -> io::Result<Vec<Entry>>;
    folders(folder: &Path) -> io::Result<Vec<String>>;
    create_mapped(path: &Path, bytes: usize) -> io::Result<Map>;
    create(path: &Path) -> io::Result<Box<dyn Appended>>;
    read(path: &Path) -> io::Result<Vec<u8>>;
    replace(path: &Path, content: &[u8]) -> io::Result<()>;
    replace_synced(path: &Path, content: &[u8]) -> io::Result<()>;
    remove_unfinished(path: &Path) -> ();
    truncate(path: &Path, bytes: u64) -> io::Result<()>;
    remove(path: &Path) -> io::Result<()>;
    lock(path: &Path) -> io::Result<Option<Lock>>;
    sync(path: &Path) -> io::Result<()>;
    identity(path: &Path) -> io::Result<(u64, u64)>;
    rename(from: &Path, to: &Path) -> io::Result<()>;
    make_folder(path: &Path) -> io::Result<()>;
}

#[test]
fn the_disk_is_never_used_under_the_queues_lock() {
    let folder = Folder::new();
    let offline = Receiver { offline: true, ..Receiver::default() };
    let earlier = client(config(&folder), Disk, &offline);
    (0..50).for_each(|n| assert!(track(&earlier, &format!("earlier {n}"))));
    drop(earlier);
    wait_for_the_end(&folder.0);
    let (place, calls) = (Arc::new(std::sync::OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let (watched, counted) = (place.clone(), calls.clone());
    // At each call another thread takes the queue's lock: the thread that makes the call must not hold it.
    let storage = Before(move |call: &str| {
        let Some(client) = watched.get().and_then(std::sync::Weak::<Client>::upgrade) else { return };
        counted.fetch_add(1, Ordering::SeqCst);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = client.stats();
            drop(client);
            tell.send(()).expect("the other thread waits");
        });
        assert!(told.recv_timeout(patience()).is_ok(), "{call} is made under the queue's lock");
    });
    let small = Config {
        queue_max_bytes: 200_000,
        overflow: crate::Overflow::DropOldest,
        sync: true,
        stateful: true,
        ..config(&folder)
    };
    let client = Arc::new(client(small, storage, &Receiver::default()));
    place.set(Arc::downgrade(&client)).expect("once");
    for n in 0..2_000 {
        let options =
            crate::Options { message_id: Some(&format!("{n} {}", "x".repeat(60))), ..crate::Options::default() };
        client.track("u", "E", None, options).expect("taken");
    }
    client.flush(patience()).expect("settled");
    client.opt_out().expect("kept");
    client.opt_in().expect("kept");
    assert!(track(&client, "again"));
    client.flush(patience()).expect("settled");
    balanced(&client);
    assert!(calls.load(Ordering::SeqCst) > 50, "it was watched");
}

/// The errand thread leaves the disk to a caller that is writing, while the delivery thread waits for a chunk.
#[test]
fn the_next_chunk_is_made_as_soon_as_a_caller_leaves_the_disk() {
    let folder = Folder::new();
    let offline = Receiver { offline: true, ..Receiver::default() };
    let client = client(config(&folder), Faulty { written: true, ..Faulty::default() }, &offline);
    assert!(track(&client, "first"));
    let queue = &client.process().shared.queue;
    wait_for("the errand thread sleeps", || queue.lock().errands.sleeps);
    let mut state = queue.lock();
    assert!(state.ahead.ready.is_empty());
    state.disk.busy_since = Some(std::time::Instant::now());
    state.ahead.seal_wanted = Some(std::time::Instant::now());
    queue.wake_errands(&mut state);
    drop(state);
    wait_for("it has found a caller using the disk, and sleeps again", || queue.lock().errands.sleeps);
    queue.disk_free(&mut queue.lock());
    let is_made = crate::patience::wait_within(LOOK_INTERVAL / 2, || !queue.lock().ahead.ready.is_empty());
    assert!(is_made, "it was not woken before the next look into the folder");
}

#[test]
fn the_end_of_a_client_waits_for_the_sync() {
    let folder = Folder::new();
    let synced = Arc::new(AtomicUsize::new(0));
    let count = synced.clone();
    let storage = Before(move |call: &str| {
        if call == "sync" {
            std::thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let offline = Receiver { offline: true, ..Receiver::default() };
    let client = client(Config { sync: true, ..config(&folder) }, storage, &offline);
    assert!(track(&client, "first"));
    drop(client);
    assert!(synced.load(Ordering::SeqCst) >= 2, "the file and the folder");
}

#[test]
fn what_was_dropped_and_cannot_be_read_is_counted_and_logged() {
    let folder = Folder::new();
    let (told, lines) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, log) = (told.clone(), lines.clone());
    let small = Config {
        queue_max_bytes: 200_000,
        overflow: crate::Overflow::DropOldest,
        on_delivery: Some(Box::new(move |delivery| _ = count.fetch_add(delivery.message_ids.len(), Ordering::SeqCst))),
        on_log: Some(Box::new(move |_, line| log.lock().expect("no panic").push(line.to_owned()))),
        ..config(&folder)
    };
    let client = client(small, Disk, &Receiver::default());
    client.pause(); // so that nothing is read to be sent
    let queue = &client.process().shared.queue;
    let first: Vec<String> = (0..500).map(|n| format!("{n} {}", "x".repeat(60))).collect();
    assert!(first.iter().all(|id| track(&client, id)) && client.stats().dropped == 0);
    wait_for("what is full is cut", || queue.lock().errands.sleeps);
    let queue_folder = std::fs::read_dir(folder.home()).expect("there").flatten().find(|entry| entry.path().is_dir());
    let chunks = std::fs::read_dir(queue_folder.expect("there").path()).expect("there").flatten().map(|e| e.path());
    let mut chunks: Vec<PathBuf> = chunks.filter(|path| owner_of(path).is_some()).collect();
    chunks.sort();
    let gone = Batch::checked(std::fs::read(&chunks[0]).expect("the oldest")).len();
    std::fs::remove_file(&chunks[0]).expect("deleted");
    let mut n = 0;
    while client.stats().dropped == 0 {
        assert!(track(&client, &format!("more {n} {}", "x".repeat(60))));
        n += 1;
    }
    assert_eq!(client.stats().dropped, gone as u64, "the oldest");
    let what = format!("on_delivery is not told of {gone} messages that were dropped for room: ");
    let said = || lines.lock().expect("no panic").iter().filter(|line| line.starts_with(&what)).cloned().collect();
    wait_for("it is logged", || !Vec::is_empty(&said()));
    let said: Vec<String> = said();
    assert!(said.len() == 1 && said[0].contains(" cannot be read: "), "{said:?}");
    balanced(&client);
    drop(client);
    wait_for_the_end(&folder.0);
    assert_eq!(told.load(Ordering::SeqCst), 0);
}

#[test]
fn the_mark_of_a_folder_survives_a_loss_of_power() {
    let folder = Folder::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let storage = Before(move |call: &str| noted.lock().expect("no panic").push(call.to_owned()));
    Home::new(Arc::new(storage), &folder.0).make().expect("made");
    let calls = calls.lock().expect("no panic");
    let writes: Vec<&str> = calls.iter().map(String::as_str).filter(|call| call.starts_with("replace")).collect();
    assert_eq!(writes, ["replace_synced"]);
}

#[test]
fn a_chunk_is_as_small_as_its_file_must_be() {
    // The number is in README.
    assert_eq!(room_in_file(57_343), None);
    for bytes in [57_344, 204_800, 400_000, u64::MAX] {
        let room = room_in_file(bytes).expect("room for a message");
        assert!(room > MAX_MESSAGE_BYTES);
        assert!(bytes == u64::MAX || file_bytes(room) as u64 <= bytes, "{bytes}");
    }
}

#[test]
#[ignore = "a campaign of ./test long"]
fn a_disk_whose_every_call_takes_300_ms_holds_up_almost_no_call() {
    const CALLS: usize = 1_000_000;
    const THREADS: usize = 4;
    let folder = Folder::new();
    let storage = Before(|_: &str| std::thread::sleep(Duration::from_millis(300)));
    let receiver = Receiver::default();
    let client = client(Config { queue_max_bytes: 1 << 30, ..config(&folder) }, storage, &receiver);
    let mut taken: Vec<Duration> = std::thread::scope(|scope| {
        let tracking: Vec<_> = (0..THREADS)
            .map(|thread| {
                let client = &client;
                scope.spawn(move || {
                    let mut taken = Vec::with_capacity(CALLS / THREADS);
                    for n in 0..CALLS / THREADS {
                        let began = std::time::Instant::now();
                        assert!(track(client, &format!("{thread}-{n}")));
                        taken.push(began.elapsed());
                    }
                    taken
                })
            })
            .collect();
        tracking.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    taken.sort_unstable();
    let over = |ms| taken.iter().filter(|time| **time > Duration::from_millis(ms)).count();
    let (worst, p50, p99) = (taken[CALLS - 1], taken[CALLS / 2], taken[CALLS / 100 * 99]);
    let (long, longer) = (over(10), over(100));
    assert!(longer <= 2 * THREADS, "{longer} calls waited for the disk");
    // Delivering it all would take an hour: each chunk is made, cut and deleted.
    balanced(&client);
    assert_eq!(client.stats().accepted, CALLS as u64);
    let size = [(CALLS, "calls"), (THREADS, "threads"), (long, "calls over 10 ms"), (longer, "over 100 ms")];
    let result = format!("0 refused, p50 {p50:.2?}, p99 {p99:.2?}, worst {worst:.1?}");
    campaign("a disk whose every call takes 300 ms", &size, None, &result);
}
