//! What was promised of each message, and what has become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::simulator::disk::Disk;
use crate::simulator::threads::World;

/// Ids of messages that the server refuses begin so.
pub(crate) const REFUSED: &str = "refused";

#[derive(Debug, Default)]
struct Message {
    process: usize,
    began: Duration,
    waits: bool,
    /// Its process knew then what the folder had said at this time about the user's choices.
    knew: Duration,
    /// When the call returned, and whether the message was taken.
    returned: Option<(Duration, bool)>,
    /// The bytes that have left, the same each time.
    content: Option<String>,
    arrived: u32,
    /// The host was told that it was given up; and how often it was told anything of it.
    failed: bool,
    reports: u32,
    /// Who has told of it; and who, that it was dropped for room.
    told_by: BTreeSet<usize>,
    dropped_by: Option<usize>,
    /// It was settled when a flush returned.
    settled: Option<Duration>,
    /// It may be lost: it was kept in memory only, or the power went before it was synced.
    may_be_lost: bool,
}

/// A choice of the user's: whose, whether it was a no, when the call began and when it came back, kept.
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
    /// So many may be lost, of those of a process.
    losses: BTreeMap<usize, u64>,
    /// So many were dropped by a queue that was full, and the host was not told of them.
    dropped: u64,
    /// So many messages the host of a process was told of as dropped for room.
    told: BTreeMap<usize, u64>,
    /// Somebody was not told of all that was dropped.
    is_untold: bool,
    /// Processes that ended as they should, and had everything synced by then.
    ended: BTreeSet<usize>,
    /// Files that were deleted may be back.
    is_powerless: bool,
}

/// What a process may tell its host of messages that the server does not refuse.
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

    /// What a process has been promised so far, as of now, and is settled by a flush.
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

    /// The host of a process was told of some messages. Where the disk is in trouble a message may be in two files.
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
                    failure.get_or_insert_with(|| format!("{id} was dropped, and told of twice"));
                }
                if is_dropped {
                    message.dropped_by = Some(process);
                    if message.process != process {
                        failure.get_or_insert_with(|| format!("{id} was dropped, and is another's"));
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

    /// A flush has come back, and nothing that was dropped is untold: the host was told of each of these.
    pub(crate) fn is_told(&self, process: usize, ids: &[String]) {
        let pages = self.pages();
        let untold = ids.iter().find(|id| !pages.messages[*id].told_by.contains(&process)).cloned();
        drop(pages);
        if let Some(id) = untold {
            self.world.fail(&format!("a flush came back before the host was told of {id}"));
        }
    }

    pub(crate) fn ends(&self, process: usize) {
        self.pages().ended.insert(process);
    }

    /// A process ends that has dropped so many for room, and does not tell its host of so many of them.
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

    /// A choice begins; what is returned is to be given back when it is kept.
    pub(crate) fn chooses(&self, process: usize, out: bool) -> usize {
        let began = self.world.now();
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

    /// A request leaves: the messages in it. None of them may be of somebody who has said no since.
    pub(crate) fn departs(&self, process: usize, body: &[u8]) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_slice(body).expect("the body is JSON");
        let batch = body["batch"].as_array().expect("it has a batch");
        let messages: Vec<String> = batch.iter().map(ToString::to_string).collect();
        let looked = self.disk.knows_privacy_of(process);
        let now = self.world.now();
        let mut pages = self.pages();
        let is_excused = pages.is_powerless || self.disk.has_troubles();
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
            // Who reads the choice of another process before that is made may send what it has in hand.
            // A yes that could not be written down counts in its process alone, which hears no other's no then.
            let is_overruled = choices.iter().any(|choice| {
                [process, message.process].contains(&choice.process) && !choice.out && choice.kept.is_none()
            });
            // Where a call waits for those that choose, its message is made when it has waited.
            let made = if message.waits { message.returned.map_or(now, |(when, _)| when) } else { message.began };
            let forbidden = choices.iter().find(|choice| {
                let is_known = choice.process == process || looked.is_some_and(|looked| Some(looked) > choice.kept);
                let is_known = is_known && (choice.process == message.process || !is_overruled);
                choice.out && made < choice.began && choice.kept.is_some_and(|kept| kept < now) && is_known
            });
            let (forbidden, settled) = (forbidden.copied(), message.settled.filter(|settled| *settled < now));
            let failure = match () {
                () if refused => format!("{id} was refused, and is sent"),
                () if !same => format!("{id} is another than before: {before:?}, {text}"),
                () if forbidden.is_some() => format!("{id} leaves after the user said no: {forbidden:?}"),
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

    /// A process was killed that kept so many in memory only.
    pub(crate) fn kills(&self, process: usize, in_memory: u64) {
        *self.pages().losses.entry(process).or_default() += in_memory;
    }

    /// The power has gone: all that is not on the disk now may be lost. What was to be synced must be there: all that
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

    /// Everything is delivered that ever will be. Any number may have been dropped, or those that were counted. Where
    /// nothing was in the way, each message has arrived `once` or was dropped, and the host was told of it once.
    pub(crate) fn closes(&self, drops_any: bool, once: bool) {
        let pages = self.pages();
        let is_twice =
            |message: &Message| message.arrived + u32::from(message.dropped_by.is_some()) != 1 || message.reports != 1;
        let once = once && !pages.is_untold;
        let is_taken = |message: &Message| message.returned.is_some_and(|(_, taken)| taken);
        let twice = pages.messages.iter().find(|(_, message)| once && is_taken(message) && is_twice(message));
        if let Some((id, Message { arrived, reports, .. })) = twice {
            let failure = format!("{id} has arrived {arrived} times and was told of {reports} times");
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
    /// Whether it may have been thrown away: the user said no after it was begun, or in another process before that
    /// which its own had not learned yet, or their yes could not be written down.
    fn is_void(&self, choices: &[Choice]) -> bool {
        choices.iter().any(|choice| match (choice.out, choice.kept) {
            (true, Some(kept)) if choice.process == self.process => kept >= self.began,
            (true, kept) => kept.is_none_or(|kept| kept >= self.began.min(self.knew)),
            (false, None) => choice.process == self.process,
            (false, Some(_)) => false,
        })
    }
}
