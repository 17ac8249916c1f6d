//! What was promised for each message, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::simulator::disk::Disk;
use crate::simulator::threads::World;

/// The ids of messages that the server refuses begin with this.
pub(crate) const REFUSED: &str = "refused";

#[derive(Debug, Default)]
struct Message {
    process: usize,
    began: Duration,
    waits: bool,
    /// The user's choices that its process knew then were those in the folder at this time.
    knew: Duration,
    /// When the call returned, and whether the message was taken.
    returned: Option<(Duration, bool)>,
    /// The bytes that were sent, the same each time.
    content: Option<String>,
    arrived: u32,
    /// Whether the host was told that it was given up; and how often the host was told anything about it.
    failed: bool,
    reports: u32,
    /// The processes that told of it; and the one that told that it was dropped for room.
    told_by: BTreeSet<usize>,
    dropped_by: Option<usize>,
    /// It was settled when a flush returned.
    settled: Option<Duration>,
    /// It may be lost: it was in memory only, or the power was lost before it was synced.
    may_be_lost: bool,
}

/// A choice of the user: in which process, whether it was a no, when the call began, and when it returned after storing
/// it.
#[derive(Debug, Clone, Copy)]
struct Choice {
    process: usize,
    out: bool,
    began: Duration,
    kept: Option<Duration>,
}

#[derive(Default)]
struct Pages {
    messages: BTreeMap<String, Message>,
    choices: Vec<Choice>,
    /// How many messages of each process may be lost.
    losses: BTreeMap<usize, u64>,
    /// How many were dropped by a full queue without the host being told.
    dropped: u64,
    /// How many messages the host of each process was told of as dropped for room.
    told: BTreeMap<usize, u64>,
    /// Some host was not told of all that was dropped.
    is_untold: bool,
    /// Processes that ended normally, with everything synced.
    ended: BTreeSet<usize>,
    /// The power was lost: files that were deleted may be back.
    is_powerless: bool,
    /// Nothing may be sent before the user has said yes.
    is_asked_first: bool,
}

/// What a process may report about messages that the server does not refuse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct May {
    pub(crate) give_up: bool,
    pub(crate) drop: bool,
    pub(crate) repeat: bool,
}

pub(crate) struct Book {
    world: Arc<World>,
    disk: Arc<Disk>,
    pages: Mutex<Pages>,
}

fn id_of(message: &str) -> String {
    let rest = message.split_once("\"messageId\":\"").map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}

impl Book {
    pub(crate) fn new(world: Arc<World>, disk: Arc<Disk>) -> Self {
        Book { world, disk, pages: Mutex::default() }
    }

    /// The user is to be asked first.
    pub(crate) fn asks_first(&self) {
        self.pages().is_asked_first = true;
        self.disk.set_untouchable(true);
    }

    /// A process has ended, and had dropped so many. It may have held them, unless the user had said yes to it.
    pub(crate) fn ends_unanswered(&self, process: usize, dropped: u64) {
        let mut pages = self.pages();
        let is_yes = |choice: &Choice| choice.process == process && !choice.out && choice.kept.is_some();
        if pages.is_asked_first && !pages.choices.iter().any(is_yes) {
            *pages.losses.entry(process).or_default() += dropped;
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins.
    pub(crate) fn begins(&self, process: usize, id: &str, waits: bool) {
        let knew = self.disk.knows_privacy_of(process).unwrap_or_default();
        let message = Message { process, began: self.world.now(), waits, knew, ..Message::default() };
        self.pages().messages.insert(id.to_owned(), message);
    }

    /// It has returned.
    pub(crate) fn returns(&self, id: &str, taken: bool) {
        let now = self.world.now();
        if let Some(message) = self.pages().messages.get_mut(id) {
            message.returned = Some((now, taken));
        }
    }

    /// The messages that a process has accepted so far, which a flush must settle.
    pub(crate) fn taken_so_far(&self, process: usize) -> Vec<String> {
        let pages = self.pages();
        let is_taken =
            |message: &Message| message.process == process && message.returned.is_some_and(|(_, taken)| taken);
        pages.messages.iter().filter(|(_, message)| is_taken(message)).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn settles(&self, ids: &[String]) {
        let now = self.world.now();
        let mut pages = self.pages();
        for id in ids {
            pages.messages.get_mut(id).expect("it is known").settled.get_or_insert(now);
        }
    }

    /// The host of a process was told of some messages. With `may.repeat`, because the disk is in trouble, a message
    /// may be in two files.
    pub(crate) fn told(&self, process: usize, ids: &[String], error: Option<&Error>, may: May) {
        let is_dropped = error.is_some_and(|error| error.kind() == ErrorKind::QueueFull);
        let mut failure = None;
        let mut pages = self.pages();
        for id in ids {
            if let Some(message) = pages.messages.get_mut(id) {
                message.failed |= error.is_some();
                message.reports += 1;
                let is_again = !message.told_by.insert(process);
                if is_again && (is_dropped || message.dropped_by == Some(process)) && !may.repeat {
                    failure.get_or_insert_with(|| format!("{id} was dropped, and reported twice"));
                }
                if is_dropped {
                    message.dropped_by = Some(process);
                    if message.process != process {
                        failure.get_or_insert_with(|| format!("{id} was dropped, and is another process's"));
                    }
                }
            }
        }
        if is_dropped {
            *pages.told.entry(process).or_default() += ids.len() as u64;
        }
        drop(pages);
        let lost = ids.iter().find(|id| !id.starts_with(REFUSED));
        let is_allowed = if is_dropped { may.drop } else { may.give_up };
        if let (Some(lost), Some(error), false) = (lost, error, is_allowed) {
            failure.get_or_insert_with(|| format!("{lost} was given up: {error}"));
        }
        if let Some(failure) = failure {
            self.world.fail(&failure);
        }
    }

    /// A flush has returned, and no drop is unreported: the host must have been told of each of these.
    pub(crate) fn is_told(&self, process: usize, ids: &[String]) {
        let pages = self.pages();
        let untold = ids.iter().find(|id| !pages.messages[*id].told_by.contains(&process)).cloned();
        drop(pages);
        if let Some(id) = untold {
            self.world.fail(&format!("a flush returned before the host was told of {id}"));
        }
    }

    pub(crate) fn ends(&self, process: usize) {
        self.pages().ended.insert(process);
    }

    /// A process ends. It has dropped `messages` for room, and will not tell its host of `untold` of them.
    pub(crate) fn drops(&self, process: usize, messages: u64, untold: u64) {
        let mut pages = self.pages();
        let told = pages.told.get(&process).copied().unwrap_or_default();
        pages.is_untold |= untold > 0;
        pages.dropped += messages.saturating_sub(told);
    }

    /// How many messages the host of a process was told of as dropped for room.
    pub(crate) fn told_dropped(&self, process: usize) -> u64 {
        self.pages().told.get(&process).copied().unwrap_or_default()
    }

    /// A choice begins; the returned number is passed to [`Book::keeps`] when it is stored.
    pub(crate) fn chooses(&self, process: usize, out: bool) -> usize {
        let began = self.world.now();
        self.disk.set_untouchable(false);
        let mut pages = self.pages();
        pages.choices.push(Choice { process, out, began, kept: None });
        pages.choices.len() - 1
    }

    pub(crate) fn keeps(&self, choice: usize) {
        self.pages().choices[choice].kept = Some(self.world.now());
    }

    pub(crate) fn is_refused(&self, message: &str) -> bool {
        id_of(message).starts_with(REFUSED)
    }

    /// A request is sent: its messages. None of them may be from before a no of the user.
    pub(crate) fn departs(&self, process: usize, body: &[u8]) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_slice(body).expect("the body is JSON");
        let batch = body["batch"].as_array().expect("it has a batch");
        let messages: Vec<String> = batch.iter().map(ToString::to_string).collect();
        let looked = self.disk.knows_privacy_of(process);
        let now = self.world.now();
        let mut pages = self.pages();
        let is_excused = pages.is_powerless || self.disk.has_troubles();
        let is_early = pages.is_asked_first && pages.choices.iter().all(|choice| choice.out);
        for text in &messages {
            let id = id_of(text);
            let choices = pages.choices.clone();
            let Some(message) = pages.messages.get_mut(&id) else {
                drop(pages);
                self.world.fail(&format!("{id} was invented: {text}"));
            };
            let refused = message.returned.is_some_and(|(_, taken)| !taken);
            let same = message.content.as_ref().is_none_or(|before| before == text);
            let before = message.content.replace(text.clone());
            // A process that has read the folder just before another stored a choice may send what it has in hand.
            // A yes that could not be stored counts in its process alone, which then ignores a no of the others.
            let is_overruled = choices.iter().any(|choice| {
                [process, message.process].contains(&choice.process) && !choice.out && choice.kept.is_none()
            });
            // A call that waits for the choices of other threads makes its message after waiting.
            let made = if message.waits { message.returned.map_or(now, |(when, _)| when) } else { message.began };
            let forbidden = choices.iter().find(|choice| {
                let is_known = choice.process == process || looked.is_some_and(|looked| Some(looked) > choice.kept);
                let is_known = is_known && (choice.process == message.process || !is_overruled);
                choice.out && made < choice.began && choice.kept.is_some_and(|kept| kept < now) && is_known
            });
            let (forbidden, settled) = (forbidden.copied(), message.settled.filter(|settled| *settled < now));
            let failure = match () {
                () if is_early => format!("{id} is sent before the user has said yes"),
                () if refused => format!("{id} was refused, and is sent"),
                () if !same => format!("{id} has changed: {before:?}, {text}"),
                () if forbidden.is_some() => format!("{id} is sent after the user said no: {forbidden:?}"),
                () if settled.is_some() && !is_excused => {
                    format!("{id} is sent again, and was settled at {settled:?}")
                }
                () => continue,
            };
            drop(pages);
            self.world.fail(&failure);
        }
        messages
    }

    pub(crate) fn arrives(&self, messages: &[String]) {
        let mut pages = self.pages();
        for text in messages {
            if let Some(message) = pages.messages.get_mut(&id_of(text)) {
                message.arrived += 1;
            }
        }
    }

    /// A process was killed that had so many in memory only.
    pub(crate) fn kills(&self, process: usize, in_memory: u64) {
        *self.pages().losses.entry(process).or_default() += in_memory;
    }

    /// The power was lost: all that is not on the disk now may be lost. What had to be synced must be there: all that
    /// was taken before `synced`, and all of processes that have ended.
    pub(crate) fn loses_power(&self, synced: Option<Duration>) {
        let left: BTreeSet<String> =
            self.disk.messages().iter().map(|message| id_of(&String::from_utf8_lossy(message))).collect();
        let mut missing = None;
        let mut pages = self.pages();
        pages.is_powerless = true;
        let Pages { messages, choices, ended, .. } = &mut *pages;
        for (id, message) in messages.iter_mut().filter(|(id, _)| !left.contains(*id)) {
            let is_excused = std::mem::replace(&mut message.may_be_lost, true);
            let taken = message.returned.filter(|(_, taken)| *taken).map(|(when, _)| when);
            let is_open = !is_excused && message.arrived == 0 && !message.failed && !message.is_void(choices);
            if let (Some(taken), Some(synced)) = (taken, synced)
                && (taken < synced || ended.contains(&message.process))
                && is_open
            {
                missing.get_or_insert_with(|| format!("{id} was taken at {taken:?} and is not on the disk"));
            }
        }
        drop(pages);
        if let Some(missing) = missing {
            self.world.fail(&missing);
        }
    }

    /// All that can be delivered is delivered. Any number may have been dropped, or only those that were counted. With
    /// `once`, because there was no trouble, each message must have arrived once or been dropped, and the host must
    /// have been told of it once.
    pub(crate) fn closes(&self, drops_any: bool, once: bool) {
        let pages = self.pages();
        let is_twice =
            |message: &Message| message.arrived + u32::from(message.dropped_by.is_some()) != 1 || message.reports != 1;
        let once = once && !pages.is_untold;
        let is_taken = |message: &Message| message.returned.is_some_and(|(_, taken)| taken);
        let twice = pages.messages.iter().find(|(_, message)| once && is_taken(message) && is_twice(message));
        if let Some((id, Message { arrived, reports, .. })) = twice {
            let failure = format!("{id} has arrived {arrived} times and was reported {reports} times");
            drop(pages);
            self.world.fail(&failure);
        }
        let mut lost: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (id, message) in &pages.messages {
            let is_taken = message.returned.is_some_and(|(_, taken)| taken);
            let is_there = message.arrived > 0 || message.failed;
            if is_taken && !is_there && !message.may_be_lost && !message.is_void(&pages.choices) {
                lost.entry(message.process).or_default().push(id);
            }
        }
        let mut dropped = if drops_any { u64::MAX } else { pages.dropped };
        let mut failure = None;
        for (process, ids) in &lost {
            let allowed = pages.losses.get(process).copied().unwrap_or_default();
            let more = (ids.len() as u64).saturating_sub(allowed);
            let by_drop = more.min(dropped);
            dropped -= by_drop;
            if more > by_drop {
                failure.get_or_insert_with(|| {
                    format!("{} of process {process} are lost, {allowed} may be: {ids:?}", ids.len())
                });
            }
        }
        drop(lost);
        drop(pages);
        if let Some(failure) = failure {
            self.world.fail(&failure);
        }
    }
}

impl Message {
    /// Whether it may have been thrown away: the user said no after it was begun, or before that in another process, of
    /// which its own had not learned yet, or a yes could not be stored.
    fn is_void(&self, choices: &[Choice]) -> bool {
        choices.iter().any(|choice| match (choice.out, choice.kept) {
            (true, Some(kept)) if choice.process == self.process => kept >= self.began,
            (true, kept) => kept.is_none_or(|kept| kept >= self.began.min(self.knew)),
            (false, None) => choice.process == self.process,
            (false, Some(_)) => false,
        })
    }
}
