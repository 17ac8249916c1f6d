//! Lifetimes: processes that begin, are used by several threads, end or are killed, on one disk and with one server.
//! Then everything works, and all that was promised must turn out to be true.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::storage::Appending;
use crate::net::transport::Transport;
use crate::simulator::book::{Book, May, REFUSED};
use crate::simulator::disk::{Access, Disk, Trouble, is_chunk, is_rejected};
use crate::simulator::server::{Server, Way};
use crate::simulator::threads::{self, Random, World};
use crate::{Choice, Client, Config, Object, Options, Overflow, Stats};

const TROUBLES: [Trouble; 7] = [
    Trouble::Slow(20),
    Trouble::Slow(800),
    Trouble::Stuck,
    Trouble::Full,
    Trouble::Broken,
    Trouble::Shared,
    Trouble::NoDescriptors,
];

/// The server demands no longer pause than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// The process that delivers all that is left.
const LAST: usize = 1_000;

/// The properties of a world.
#[derive(Debug, Clone)]
struct Plan {
    troubles: Vec<Trouble>,
    appending: Appending,
    holds_mapped: bool,
    moody: usize,
    latency: Duration,
    has_spool: bool,
    sync: bool,
    overflow: Overflow,
    queue_max_bytes: u64,
    stateful: bool,
    ask_first: bool,
    /// One call in so many is a choice of the user; 0: none.
    choices: usize,
    kills: bool,
    loses_power: bool,
    sets_clock: bool,
    beside: usize,
    no_threads: usize,
    /// An update changes the write key: some processes run with the former one, and others deliver what those leave.
    moves: bool,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let has_spool = !random.once_in(8);
        let ask_first = random.once_in(4);
        let mut troubles = Vec::new();
        if random.once_in(2) {
            for trouble in TROUBLES {
                if random.once_in(3) {
                    troubles.push(trouble);
                }
            }
        }
        Plan {
            troubles,
            appending: if random.once_in(3) { Appending::Written } else { Appending::Mapped },
            holds_mapped: random.once_in(4),
            moody: random.pick(&[0, 0, 1, 3, 6]),
            latency: Duration::from_millis(random.pick(&[1, 20, 200, 2_000])),
            has_spool,
            sync: has_spool && random.once_in(3),
            overflow: if random.once_in(3) { Overflow::DropOldest } else { Overflow::Refuse },
            queue_max_bytes: random.pick(&[40_000, 150_000, 600_000, 4 << 20]),
            stateful: random.once_in(3),
            ask_first,
            choices: if ask_first { random.pick(&[0, 40, 40, 12]) } else { random.pick(&[0, 0, 0, 40, 12]) },
            kills: random.once_in(2),
            loses_power: has_spool && random.once_in(5),
            sets_clock: random.once_in(5),
            beside: 1 + random.below(3),
            no_threads: random.pick(&[0, 0, 0, 3, 20]),
            moves: has_spool && random.once_in(4),
        }
    }
}

/// What the threads of one machine share.
struct Machine {
    world: Arc<World>,
    plan: Plan,
    disk: Arc<Disk>,
    server: Arc<Server>,
    book: Arc<Book>,
    /// The clients that are alive, by their processes.
    clients: Mutex<Vec<(usize, Arc<Client>)>>,
    /// No client has ended before all was delivered.
    is_once: AtomicBool,
}

pub(crate) fn live(seed: u64) -> Result<u64, String> {
    World::run(seed, move |world| {
        let plan = world.draw(Plan::draw);
        world.note(|| format!("{plan:?}"));
        let Plan { troubles, appending, holds_mapped, .. } = plan.clone();
        let disk = Arc::new(Disk::new(world.clone(), troubles, appending, holds_mapped));
        let book = Arc::new(Book::new(world.clone(), disk.clone()));
        if plan.ask_first {
            book.asks_first();
        }
        let server = Arc::new(Server::new(world.clone(), book.clone(), plan.moody, plan.latency));
        let clients = Mutex::default();
        world.set_no_threads(plan.no_threads);
        let machine = Arc::new(Machine {
            world: world.clone(),
            plan,
            disk,
            server,
            book,
            clients,
            is_once: AtomicBool::new(true),
        });
        machine.turmoil();
        machine.peace();
    })
}

impl Machine {
    fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        self.world.draw(draw)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Arc<Client>)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several processes, each with several lives, and all kinds of trouble.
    fn turmoil(self: &Arc<Self>) {
        let mut process = 0;
        for _ in 0..self.draw(|random| 1 + random.below(3)) {
            let mut running = Vec::new();
            for _ in 0..self.draw(|random| 1 + random.below(self.plan.beside)) {
                process += 1;
                let (machine, number) = (self.clone(), process);
                running.push((number, self.world.spawn("host", number, move || machine.run(number, true))));
            }
            let longest = Duration::from_secs(self.draw(|random| random.pick(&[1, 10, 60])));
            self.world.sleep(self.draw(|random| random.up_to(longest)));
            if self.plan.sets_clock {
                // If it is set back, files that come back with the power may be younger than a yes: see README, Limits.
                let hours = self.draw(|random| random.below(400)) as i64;
                let hours =
                    if self.plan.choices == 0 { hours - 200 } else { self.world.clock_ms() / 3_600_000 + hours };
                self.world.note(|| format!("the clock is set by {hours} hours"));
                self.world.set_clock(hours * 3_600_000);
            }
            let (kills, loses_power) =
                self.draw(|random| (self.plan.kills && random.once_in(2), self.plan.loses_power && random.once_in(2)));
            if loses_power {
                if self.draw(|random| random.once_in(3)) {
                    self.world.join(running[0].1); // at the moment at which it has ended
                }
                self.lose_power(&running);
            } else if kills {
                self.kill(running[0].0);
            }
            running.into_iter().for_each(|(_, thread)| self.world.join(thread));
        }
    }

    /// Kills a process between two steps of it.
    fn kill(&self, process: usize) {
        let client = {
            let mut clients = self.clients();
            let at = clients.iter().position(|(number, _)| *number == process);
            at.map(|at| clients.swap_remove(at).1)
        };
        // On a disk that takes everything nothing is in memory only, unless the user is asked first: then the process
        // is killed in the middle of any step. Otherwise it takes no step from here to the death of its threads, so
        // that its counts stay true.
        let is_asked = !self.takes_everything() || self.plan.overflow == Overflow::DropOldest || self.plan.ask_first;
        let stats = client.as_ref().filter(|_| is_asked || self.draw(|random| random.once_in(2)));
        let stats = stats.map(|client| client.stats());
        if let Some(stats) = &stats {
            self.check(stats);
            self.book.kills(process, stats.in_memory);
            self.book.ends_unanswered(process, stats.dropped);
            let untold = client.as_ref().map_or(0, |client| untold(client));
            self.drops(process, stats, untold);
        }
        self.world.note(|| format!("process {process} is killed: {stats:?}"));
        self.world.kill(process);
        self.disk.kill(process);
        self.world.bury(|| drop(client));
    }

    fn lose_power(&self, running: &[(usize, usize)]) {
        // What was taken so long ago must be synced by now, if nothing has gone wrong.
        let now = self.world.now();
        let refuses = self.plan.overflow == Overflow::Refuse;
        let is_sound = self.plan.sync && self.takes_everything() && refuses && !self.plan.ask_first;
        let synced = is_sound.then(|| now.saturating_sub(Duration::from_secs(2)));
        self.world.note(|| "the power is lost".to_owned());
        running.iter().for_each(|(process, _)| self.kill(*process));
        self.disk.lose_power();
        self.book.loses_power(synced);
    }

    /// If a full queue refuses messages, only the user's choices drop any. Dropped messages that were found in the
    /// folder are only counted.
    fn drops(&self, process: usize, stats: &Stats, untold: u64) {
        if self.plan.overflow == Overflow::DropOldest {
            let known = self.book.told_dropped(process) + untold;
            let is_plausible = known <= stats.dropped;
            self.world.check(is_plausible, || format!("the host knows of {known} dropped messages: {stats:?}"));
            self.book.drops(process, stats.dropped, untold);
        }
    }

    /// Whether every message is on the disk when its call returns.
    fn takes_everything(&self) -> bool {
        self.plan.has_spool && !self.disk.has_troubles() && self.plan.no_threads == 0
    }

    fn check(&self, stats: &Stats) {
        let Stats { accepted, delivered, failed, dropped, queued, .. } = *stats;
        self.world
            .check(accepted == delivered + failed + dropped + queued, || format!("it does not add up: {stats:?}"));
        let max = self.plan.queue_max_bytes;
        let is_held_right = [0, queued].contains(&stats.held) && stats.held <= stats.in_memory;
        self.world.check(is_held_right, || format!("it is held and not held: {stats:?}"));
        self.world.check(stats.in_memory <= queued, || format!("more in memory than there is: {stats:?}"));
        // Messages that were found are never refused.
        let is_own = stats.recovered == 0;
        self.world.check(!is_own || stats.queued_bytes <= max, || format!("the queue holds over {max}: {stats:?}"));
    }

    fn client(&self, process: usize) -> Result<Client, crate::Error> {
        let plan = &self.plan;
        let (book, world) = (self.book.clone(), self.world.clone());
        // If the disk takes everything, only what the server refuses is given up.
        let is_troubled = !self.takes_everything();
        let may = May { give_up: is_troubled, drop: plan.overflow == Overflow::DropOldest, repeat: is_troubled };
        let on_delivery: crate::OnDelivery = Box::new(move |delivery| {
            if !threads::is_ghost() {
                book.told(process, delivery.message_ids, delivery.error, may);
            }
        });
        let noted = world.clone();
        let on_log: crate::OnLog = Box::new(move |_, line| {
            noted.note(|| format!("log: {line}"));
            noted.check(threads::is_ghost() || !line.contains("a bug"), || line.to_owned());
        });
        let is_former = plan.moves && process != LAST && self.draw(|random| random.once_in(2));
        let config = self.draw(|random| Config {
            spool_dir: plan.has_spool.then(|| PathBuf::from("/spool")),
            sync: plan.sync,
            overflow: plan.overflow,
            queue_max_bytes: plan.queue_max_bytes,
            stateful: plan.stateful,
            ask_first: plan.ask_first,
            uploads: random.pick(&[0, 1, 1, 2, 5, 16]),
            flush_at: random.pick(&[1, 5, 20, 100]),
            flush_interval: Duration::from_millis(random.pick(&[10, 500, 10_000])),
            timeout: Duration::from_secs(random.pick(&[1, 10])),
            retry_max: random.pick(&[0, 3, 10]),
            shutdown: Duration::from_millis(random.pick(&[0, 100, 2_000, 30_000])),
            gzip: false,
            on_delivery: Some(on_delivery),
            on_log: Some(on_log),
            former_write_key: (plan.moves && !is_former).then(|| "former".to_owned()),
            ..Config::new(if is_former { "former" } else { "key" })
        });
        let server = self.server.clone();
        let transport = move || Box::new(Way::new(server.clone(), process)) as Box<dyn Transport>;
        let storage = Arc::new(Access { disk: self.disk.clone(), process });
        Client::with(config, storage, Box::new(transport))
    }

    /// The life of one process: several threads use its client, and then it ends.
    fn run(self: &Arc<Self>, process: usize, may_choose: bool) {
        let client = match self.client(process) {
            Ok(client) => Arc::new(client),
            Err(error) => self.world.fail(&format!("no client: {error}")),
        };
        self.clients().push((process, client.clone()));
        let calls = self.draw(|random| random.pick(&[0, 5, 40, 150]));
        let users: Vec<usize> = (0..self.draw(|random| 1 + random.below(3)))
            .map(|user| {
                let (machine, client) = (self.clone(), client.clone());
                self.world.spawn("user", process, move || machine.use_client(process, user, calls, &client, may_choose))
            })
            .collect();
        users.into_iter().for_each(|user| self.world.join(user));
        let is_idyll = self.plan.moody == 0 && self.plan.choices == 0 && self.plan.no_threads == 0;
        let is_idyll = is_idyll && !self.plan.ask_first;
        if is_idyll && !self.disk.has_troubles() && self.draw(|random| random.once_in(4)) {
            self.await_delivery(&client);
        }
        self.end(process, client);
    }

    /// Without any trouble all is delivered without a flush.
    fn await_delivery(&self, client: &Client) {
        let began = self.world.now();
        loop {
            let stats = client.stats();
            if stats.queued == 0 {
                return;
            }
            let most = client.config().flush_interval
                + (self.plan.latency + Duration::from_millis(200)) * (stats.requests as u32 + 2);
            let took = self.world.now() - began;
            self.world.check(took <= most, || format!("after {took:?} this is not delivered: {stats:?}"));
            self.world.sleep(Duration::from_millis(100));
        }
    }

    fn use_client(&self, process: usize, user: usize, calls: usize, client: &Client, may_choose: bool) {
        for call in 0..calls {
            let kind = self.draw(|random| random.below(100));
            let chooses = self.plan.choices > 0 && may_choose && self.draw(|random| random.once_in(self.plan.choices));
            match kind {
                _ if chooses => self.choose(process, client),
                0..3 => self.flush(process, client),
                3..6 => {
                    client.pause();
                    self.world.sleep(self.draw(|random| random.up_to(Duration::from_secs(2))));
                    client.resume();
                }
                6..10 => {
                    let longest = Duration::from_millis(self.draw(|random| random.pick(&[1, 100, 5_000])));
                    self.world.sleep(self.draw(|random| random.up_to(longest)));
                }
                10..12 => self.check(&client.stats()),
                12 => _ = client.last_problem(),
                13 if self.plan.stateful => self.identify(process, user, call, client),
                _ => self.track(process, user, call, client),
            }
        }
    }

    fn track(&self, process: usize, user: usize, call: usize, client: &Client) {
        let (poisoned, size) = self.draw(|random| {
            (self.plan.moody > 0 && random.once_in(40), random.pick(&[10, 200, 200, 2_000, 9_000, 30_000]))
        });
        let id = format!("{}{process}-{user}-{call}", if poisoned { REFUSED } else { "" });
        let text = "x".repeat(size);
        self.book.begins(process, &id, false);
        let began = self.world.now();
        threads::take_disk_time();
        let options = Options { message_id: Some(&id), ..Options::default() };
        let taken = client.track("user", "Event", &Object::from([("text", text.as_str())]), options);
        let took = (self.world.now() - began).saturating_sub(threads::take_disk_time());
        self.book.returns(&id, taken.is_ok());
        // A call that uses the disk itself waits for that; all others for a second at most.
        self.world.check(took <= Duration::from_millis(1_300), || format!("a call took {took:?} without the disk"));
    }

    fn identify(&self, process: usize, user: usize, call: usize, client: &Client) {
        let id = format!("{process}-{user}-{call}");
        self.book.begins(process, &id, true);
        let options = Options { message_id: Some(&id), ..Options::default() };
        let taken = client.identify("user", &Object::from([("plan", "pro")]), options);
        self.book.returns(&id, taken.is_ok());
    }

    fn flush(&self, process: usize, client: &Client) {
        let time = self.draw(|random| Duration::from_millis(random.pick(&[0, 100, 3_000, 60_000])));
        let (began, taken) = (self.world.now(), self.book.taken_so_far(process));
        let flushed = client.flush(time);
        let took = self.world.now() - began;
        if flushed.is_ok() {
            self.book.settles(&taken);
            if self.takes_everything() && self.plan.choices == 0 && untold(client) == 0 {
                self.book.is_told(process, &taken);
            }
        }
        self.world.check(took <= time + Duration::from_millis(50), || format!("a flush of {time:?} took {took:?}"));
    }

    fn choose(&self, process: usize, client: &Client) {
        let out = self.draw(|random| random.once_in(2));
        let choice = self.book.chooses(process, out);
        self.world.note(|| format!("the user says {}", if out { "no" } else { "yes" }));
        let kept = if out { client.opt_out() } else { client.opt_in() };
        if kept.is_ok() {
            self.book.keeps(choice);
        }
    }

    /// Ends a client, as hosts do.
    fn end(&self, process: usize, client: Arc<Client>) {
        let time = self.draw(|random| Duration::from_millis(random.pick(&[0, 500, 5_000])));
        if self.draw(|random| random.once_in(2)) {
            let _ = client.shutdown(time);
        }
        // Another process that ends meanwhile may leave something to do.
        let is_alone = self.plan.beside == 1 && self.disk.messages().is_empty();
        let Stats { queued, held, .. } = client.stats();
        let is_done = queued == held && is_alone && !self.disk.has_troubles();
        self.is_once.fetch_and(client.stats().queued == 0, Ordering::SeqCst);
        let shutdown = client.config().shutdown;
        let bound = if is_done { Duration::from_millis(600) } else { shutdown + Duration::from_secs(5) };
        let began = self.world.now();
        threads::take_disk_time();
        client.end();
        let took = (self.world.now() - began).saturating_sub(threads::take_disk_time());
        self.world.check(took <= bound, || format!("the end took {took:?}, {bound:?} are allowed"));
        let stats = client.stats();
        self.world.note(|| format!("ended with {stats:?}"));
        self.check(&stats);
        let untold = untold(&client);
        self.drops(process, &stats, untold);
        // What was held for an answer that never came is no news to the host.
        if self.plan.choices == 0 && !self.plan.ask_first && stats.recovered == 0 {
            let told = self.book.told_dropped(process);
            let is_told = told + untold == stats.dropped;
            self.world.check(is_told, || format!("the host was told of {told} dropped, not of {untold}: {stats:?}"));
        }
        self.book.ends_unanswered(process, stats.dropped);
        self.book.ends(process);
        self.clients().retain(|(number, _)| *number != process);
        drop(client);
        // The process ends, and with it any thread that was left behind.
        self.world.kill(process);
        self.disk.kill(process);
    }

    /// Everything works, and the user has said yes: all that was stored is delivered.
    fn peace(self: &Arc<Self>) {
        let long = Duration::from_secs(86_400);
        self.world.note(|| "peace".to_owned());
        self.world.set_no_threads(0);
        self.world.set_clock(10_000 * 3_600_000);
        self.disk.make_peace(long);
        self.server.make_peace(long);
        // If the disk failed to sync the mark, and then lost power, it is not known any more whose folder it is.
        let is_marked = self.disk.files().iter().any(|(path, _)| path.ends_with("segment-native/mark"));
        if !is_marked && self.plan.loses_power && self.plan.troubles.contains(&Trouble::Broken) {
            return;
        }
        let machine = self.clone();
        let last = self.world.spawn("last", LAST, move || machine.deliver(LAST));
        self.world.join(last);
        if self.plan.has_spool {
            let left: Vec<PathBuf> =
                self.disk.files().into_iter().map(|(path, _)| path).filter(|path| is_chunk(path)).collect();
            self.world.check(left.is_empty(), || format!("these are left in the folder: {left:?}"));
            let rejected: usize =
                self.disk.files().iter().filter(|(path, _)| is_rejected(path)).map(|(_, c)| c.len()).sum();
            let queues = if self.plan.moves { 2 } else { 1 };
            let most = queues * (1 << 20).min(self.plan.queue_max_bytes / 8);
            // A process that was killed right after it stored something has not deleted the oldest.
            let is_cut_short = self.plan.kills || self.plan.loses_power || self.disk.has_troubles();
            let holds = rejected as u64 <= most || is_cut_short;
            self.world.check(holds, || format!("{rejected} bytes are kept of what was rejected, {most} are the most"));
        }
        // On a slow disk a process may end before it has counted what was dropped unread.
        let drops_any = self.plan.overflow == Overflow::DropOldest && self.disk.has_troubles();
        let Plan { moody, kills, loses_power, choices, latency, .. } = self.plan;
        let is_easy = self.takes_everything() && moody == 0 && !kills && !loses_power && choices == 0;
        let is_easy = is_easy && !self.plan.ask_first;
        let is_once = is_easy && latency < Duration::from_secs(1) && self.is_once.load(Ordering::SeqCst);
        self.book.closes(drops_any, is_once);
    }

    fn deliver(&self, process: usize) {
        let client = match self.client(process) {
            Ok(client) => client,
            Err(error) => self.world.fail(&format!("no client: {error}")),
        };
        if client.is_opted_out() || self.plan.ask_first && client.opt_state() != Choice::In {
            let choice = self.book.chooses(process, false);
            match client.opt_in() {
                Ok(()) => self.book.keeps(choice),
                Err(error) => self.world.fail(&format!("opting in failed: {error}")),
            }
        }
        let began = self.world.now();
        let flushed = client.flush(Duration::from_secs(3_600));
        let (took, stats) = (self.world.now() - began, client.stats());
        self.world
            .check(flushed.is_ok(), || format!("not all could be delivered: {:?}, {stats:?}", client.last_problem()));
        // It waits only for answers, and for a pause that the server demanded of an earlier process.
        let most = LONGEST_PAUSE + (self.plan.latency + Duration::from_millis(100)) * stats.requests as u32;
        self.world.check(took <= most, || format!("delivered after {took:?}, {most:?} are allowed: {stats:?}"));
        self.drops(process, &client.stats(), untold(&client));
        self.check(&client.stats());
    }
}

/// How many dropped messages a client has not told its host of, and never will.
fn untold(client: &Client) -> u64 {
    client.process().shared.queue.lock().reports.untold()
}

/// A client waits for an answer that another process is told: it must know it within half a minute, with or without
/// messages in the meantime.
pub(crate) fn wait_for_an_answer(seed: u64) -> Result<u64, String> {
    World::run(seed, move |world| {
        let mut plan = world.draw(Plan::draw);
        plan = Plan { troubles: Vec::new(), moody: 0, has_spool: true, ask_first: true, no_threads: 0, ..plan };
        let disk = Arc::new(Disk::new(world.clone(), Vec::new(), plan.appending, plan.holds_mapped));
        let book = Arc::new(Book::new(world.clone(), disk.clone()));
        book.asks_first();
        let server = Arc::new(Server::new(world.clone(), book.clone(), 0, plan.latency));
        let (clients, is_once) = (Mutex::default(), AtomicBool::new(true));
        let machine = Arc::new(Machine { world: world.clone(), plan, disk, server, book, clients, is_once });
        let (out, tracks) = world.draw(|random| (random.once_in(2), random.once_in(2)));
        let waiting = machine.clone();
        let told = world.spawn("host", 1, move || waiting.hold(out, tracks));
        let telling = machine.clone();
        let teller = world.spawn("host", 2, move || telling.tell(out));
        world.join(teller);
        world.join(told);
    })
}

/// When the answer is given, at the latest; and how long after that it counts everywhere.
const ANSWER_MAX: Duration = Duration::from_secs(100);
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);

impl Machine {
    /// The process that waits until the answer must count.
    fn hold(&self, out: bool, tracks: bool) {
        let Ok(client) = self.client(1) else { self.world.fail("no client") };
        self.track(1, 0, 0, &client);
        let until = ANSWER_MAX + FOLLOWS_WITHIN;
        let mut call = 1;
        while self.world.now() < until {
            let longest = Duration::from_secs(if tracks { 5 } else { 200 });
            self.world.sleep(self.draw(|random| random.up_to(longest)).min(until - self.world.now()));
            if tracks {
                self.track(1, 0, call, &client);
                call += 1;
            }
        }
        let (choice, stats) = (client.opt_state(), client.stats());
        let expected = if out { Choice::Out } else { Choice::In };
        self.world.check(choice == expected && stats.held == 0, || format!("it knows {choice:?}, {stats:?}"));
        self.check(&stats);
    }

    /// The process that is told the answer.
    fn tell(&self, out: bool) {
        let Ok(client) = self.client(2) else { self.world.fail("no client") };
        self.world.sleep(self.draw(|random| random.up_to(ANSWER_MAX - Duration::from_secs(1))));
        let choice = self.book.chooses(2, out);
        if if out { client.opt_out() } else { client.opt_in() }.is_ok() {
            self.book.keeps(choice);
        }
    }
}
