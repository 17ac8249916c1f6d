//! The state of the queue: what waits, what was made ahead, how the disk does, and the counts of it all. Everything
//! here happens under the queue's lock, and nothing here waits.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::hooks::Level;
use crate::base::threads;
use crate::base::time;
use crate::queue::chunk::{Batch, Chunk};
use crate::queue::flight::Landed;
use crate::queue::policy::Waiting;
use crate::queue::reports::Reports;
use crate::queue::shelf::{Dropped, Leaving, Shelf};
use crate::user::person::Wish;

/// At most this many log lines wait for the delivery thread.
const LOG_LINES_MAX: usize = 64;

/// Counts of messages since the client was made. `accepted == delivered + failed + dropped + queued` at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that succeeded, and messages found in the spool.
    pub accepted: u64,
    /// Acknowledged by Segment.
    pub delivered: u64,
    /// Refused for good, or given up.
    pub failed: u64,
    /// Dropped for room, by [`Config::before_send`](crate::Config::before_send), or because the user opted out.
    pub dropped: u64,
    /// Waiting now.
    pub queued: u64,
    /// The size of what is waiting.
    pub queued_bytes: u64,
    /// Calls that failed.
    pub refused: u64,
    /// Of the accepted: those found in the spool.
    pub recovered: u64,
    /// HTTP requests.
    pub requests: u64,
    /// HTTP requests that repeated an earlier one.
    pub retries: u64,
    /// Of the queued: those that would not survive the process.
    pub in_memory: u64,
    /// Of the queued: those held until the user has answered, see [`Config::ask_first`](crate::Config::ask_first).
    pub held: u64,
    /// The HTTP status of the last answer to a batch.
    pub last_http_status: Option<u16>,
    /// When a batch was acknowledged last, in milliseconds since 1970.
    pub last_success_ms: Option<i64>,
    /// Until when nothing is sent because the server demanded a pause, in milliseconds since 1970, unless it is over.
    pub paused_until_ms: Option<i64>,
    /// How many requests for messages are under way.
    pub uploads: u32,
    /// Of the failed: those whose lines in the spool were damaged.
    pub damaged: u64,
}

/// What the errand thread is to do on the disk.
pub(crate) enum Errand {
    /// Delete a file, and then its slot.
    Remove(Leaving),
    /// The same, but first read the file, so that the host can be told of what was dropped.
    Drop(Leaving, Dropped),
    /// Delete the file of an empty chunk.
    Discard(Chunk),
    /// Store damaged lines, for a person to look at.
    KeepDamaged(Arc<Batch>),
}

pub(crate) struct State {
    pub(crate) began: Instant,
    pub(crate) shelf: Shelf,
    /// When the oldest message of the chunk that is being filled was accepted.
    pub(crate) active_since: Instant,
    pub(crate) ahead: Ahead,
    /// Buffers for chunks in memory, made ahead or used before.
    pub(crate) buffers: Vec<Chunk>,
    /// Bytes of messages that are being written to files, outside of the lock: their room is taken already.
    pub(crate) bytes_written: u64,
    pub(crate) disk: DiskHealth,
    pub(crate) errands: Errands,
    pub(crate) look: Look,
    pub(crate) sync: Syncing,
    pub(crate) worker: WorkerState,
    pub(crate) choice: Choice,
    /// All counts but those of waiting messages, which are the shelf's.
    pub(crate) stats: Stats,
    pub(crate) news: News,
    /// What was dropped for room, until the host was told of it.
    pub(crate) reports: Reports,
    /// The host has paused the client.
    pub(crate) is_paused: bool,
    /// The log says that the queue is full.
    pub(crate) full: bool,
    /// No more messages are taken.
    pub(crate) closed: bool,
    /// What is left is sent until then; none: for as long as it takes.
    pub(crate) deliver_until: Option<Instant>,
    /// Nothing more is sent.
    pub(crate) ended: bool,
    pub(crate) log: Log,
}

/// Chunks on the disk, made ahead so that no caller has to make them.
pub(crate) struct Ahead {
    pub(crate) ready: VecDeque<Chunk>,
    /// How many should be ready while they are used up.
    pub(crate) wanted: usize,
    /// When one was used last.
    pub(crate) used: Instant,
    /// Since when the delivery thread waits for one of them, to seal the chunk that is being filled.
    pub(crate) seal_wanted: Option<Instant>,
}

/// The errand thread, and what it is to do.
#[derive(Default)]
pub(crate) struct Errands {
    pub(crate) list: VecDeque<Errand>,
    /// It is doing one.
    pub(crate) is_at_one: bool,
    /// It sleeps until there is one.
    pub(crate) sleeps: bool,
    /// It runs.
    pub(crate) runs: bool,
    /// It is to tidy up the folder for the next owner, and end.
    pub(crate) put_away: bool,
    /// It is to try once more to write out what is in memory, whether the disk rests or not.
    pub(crate) last_rescue: bool,
}

/// What is known of the folder, and what is to be tried there again.
pub(crate) struct Look {
    /// When it was looked into last; none before the first time.
    pub(crate) last: Option<Instant>,
    /// Since when a look is due, if there was none.
    pub(crate) wanted: Instant,
    /// The last look failed, and the log says so.
    pub(crate) failed: bool,
    /// How many bytes other owners have in it.
    pub(crate) foreign_bytes: u64,
    /// Files that could not be deleted.
    pub(crate) undeleted: Vec<PathBuf>,
    /// Slots that could not be read for now, and when that was.
    pub(crate) unreadable: Vec<(Instant, u64)>,
}

/// What was synced, with `SEGMENT_SYNC`.
#[derive(Default)]
pub(crate) struct Syncing {
    /// The settings ask for it.
    pub(crate) is_on: bool,
    /// The thread runs.
    pub(crate) runs: bool,
    /// Sealed chunks that were not synced yet.
    pub(crate) sealed: Vec<PathBuf>,
    /// The number of the chunk that is being filled, and how many of its messages were synced.
    pub(crate) done: (u64, u64),
    /// The thread sleeps until a message comes.
    pub(crate) sleeps: bool,
}

/// The delivery thread.
pub(crate) struct WorkerState {
    /// It runs.
    pub(crate) runs: bool,
    /// It is making a request itself.
    pub(crate) requesting: bool,
    /// It has nothing to do before a request is answered.
    pub(crate) awaits_answers: bool,
    /// How many requests are under way, its own included.
    pub(crate) requests: u32,
    /// Requests that other threads have finished, and that it has not taken in yet.
    pub(crate) landed: VecDeque<Landed>,
    /// It is using the disk.
    pub(crate) at_disk: bool,
    /// The requests under way were left behind: their answers are ignored.
    pub(crate) abandoned: bool,
    /// It sleeps until the chunk that is being filled has so many messages.
    pub(crate) wake_at: u64,
    /// How many messages had been accepted when it last found nothing to do.
    pub(crate) idle_since: u64,
    /// Chunks up to this number are to be sent without waiting for more messages.
    pub(crate) flush_up_to: u64,
    /// A caller waits in a flush: the wait after a failure is to be cut short.
    pub(crate) hurry: bool,
    /// The client ends: the same, however often waits were cut short before.
    pub(crate) last_chance: bool,
    /// The last thing it did was to tell the host something.
    pub(crate) has_told: bool,
}

/// Whether the user wants to be tracked.
pub(crate) struct Choice {
    /// The wish that the queue follows now.
    pub(crate) wish: Wish,
    /// The last wish that was known for certain. Only a change of this throws messages away.
    pub(crate) certain: Option<Wish>,
    /// How many calls are opting out right now. Until their choice is written, an earlier wish does not count.
    pub(crate) opting_out: u32,
    /// How often everything was thrown away: what was made or read before that is not wanted any more.
    pub(crate) purges: u64,
    /// The delivery thread is to check whether the wish has changed.
    pub(crate) asks: bool,
    /// When it was last told to.
    pub(crate) asked: Option<Instant>,
    /// The log says that messages are held until the user has answered.
    pub(crate) is_told: bool,
}

/// How the delivery does, for callers that ask why nothing arrives. Times are since the queue began.
#[derive(Default)]
pub(crate) struct News {
    /// Why the last request delivered nothing, and when, in milliseconds since 1970; none if it delivered.
    pub(crate) problem: Option<(String, i64)>,
    /// When the next request may be made.
    pub(crate) next_at: Option<Duration>,
    /// When the pause that the server demanded ends.
    pub(crate) paused_until: Option<Duration>,
}

/// Lines for the host's log, until the delivery thread hands them over.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<(Level, String)>,
    /// How many found no room.
    pub(crate) lost: u64,
}

/// If the disk takes this long once, callers do not use it until it is quick again.
const TOO_LONG: Duration = Duration::from_millis(200);
/// The same if it takes this long twice in a row.
const LONG: Duration = Duration::from_millis(100);
/// How many slices a caller waits for another that is using the disk; then memory takes the message. Slices are counted
/// rather than time: where many threads want a processor, a slice takes longer than its millisecond, and so does the
/// other caller, however quick the disk is. After a second the wait ends in any case.
const PATIENCE: u32 = 100;
const PATIENCE_MAX: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_millis(1);

/// How many slices a caller has waited.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waited(u32);

/// How long the disk is left alone after it failed.
pub(crate) const DISK_REST: Duration = Duration::from_secs(1);

/// How the disk does. While it does badly, new messages are held in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DiskHealth {
    /// Since when a caller is making a chunk or writing to one. Nothing waits for the thread that makes them ahead.
    pub(crate) busy_since: Option<Instant>,
    /// When it last failed, if it has not worked since.
    pub(crate) failed: Option<Instant>,
    /// It is too slow for callers to wait for it.
    pub(crate) is_slow: bool,
    is_suspected: bool,
}

/// What a caller that needs the disk is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Use it.
    Ask,
    /// Another caller is using it: wait for so long, and try again.
    Wait(Duration),
    /// Do without it.
    Avoid,
}

impl DiskHealth {
    pub(crate) fn advice(&mut self, now: Instant, waited: &mut Waited) -> Advice {
        if self.is_slow || self.rests(now) {
            return Advice::Avoid;
        }
        let Some(since) = self.busy_since else { return Advice::Ask };
        if waited.0 >= PATIENCE || now.saturating_duration_since(since) >= PATIENCE_MAX {
            self.is_slow = true;
            return Advice::Avoid;
        }
        waited.0 += 1;
        Advice::Wait(SLICE)
    }

    /// Whether it is left alone because it failed a moment ago.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.failed.is_some_and(|failed| now.saturating_duration_since(failed) < DISK_REST)
    }

    /// Whether it does badly.
    pub(crate) fn is_troubled(&self) -> bool {
        self.failed.is_some() || self.is_slow
    }

    /// Notes that it worked, and how long it took. Returns whether it had failed before and does well now.
    pub(crate) fn worked(&mut self, took: Duration) -> bool {
        let was_failed = self.failed.take().is_some();
        self.is_slow = took > TOO_LONG || took > LONG && (self.is_suspected || self.is_slow);
        self.is_suspected = took > LONG;
        was_failed && !self.is_slow
    }
}

impl State {
    pub(crate) fn new() -> Self {
        let now = threads::now();
        State {
            began: now,
            shelf: Shelf::default(),
            active_since: now,
            ahead: Ahead { ready: VecDeque::new(), wanted: 1, used: now, seal_wanted: None },
            buffers: Vec::new(),
            bytes_written: 0,
            disk: DiskHealth::default(),
            errands: Errands::default(),
            look: Look {
                last: None,
                wanted: now,
                failed: false,
                foreign_bytes: 0,
                undeleted: Vec::new(),
                unreadable: Vec::new(),
            },
            sync: Syncing::default(),
            worker: WorkerState {
                runs: false,
                requesting: false,
                awaits_answers: false,
                requests: 0,
                landed: VecDeque::new(),
                at_disk: false,
                abandoned: false,
                wake_at: u64::MAX,
                idle_since: 0,
                flush_up_to: 0,
                hurry: false,
                last_chance: false,
                has_told: false,
            },
            choice: Choice {
                wish: Wish::NEVER_ASKED,
                certain: None,
                opting_out: 0,
                purges: 0,
                asks: false,
                asked: None,
                is_told: false,
            },
            stats: Stats::default(),
            news: News::default(),
            reports: Reports::default(),
            is_paused: false,
            full: false,
            closed: false,
            deliver_until: None,
            ended: false,
            log: Log::default(),
        }
    }

    /// `in_flight_max` is how many bytes may be under way at once, beyond the first request.
    pub(crate) fn waiting(&self, in_flight_max: u64) -> Waiting {
        Waiting {
            under_way: self.worker.requests,
            is_enough: self.shelf.bytes_under_way() >= in_flight_max,
            sealed: self.shelf.is_anything_sealed(),
            active: u32::try_from(self.shelf.filling().0).unwrap_or(u32::MAX),
            since: self.active_since.saturating_duration_since(self.began),
            flush: self.closed || self.shelf.filling_number().is_some_and(|number| number <= self.worker.flush_up_to),
        }
    }

    /// What counts against the quota: what waits, read or not, what is being written, and what other owners have.
    pub(crate) fn occupied_bytes(&self) -> u64 {
        let counts = self.shelf.counts();
        counts.bytes + counts.unread_bytes + self.bytes_written + self.look.foreign_bytes
    }

    /// Throws away everything that waits, and counts it as dropped. Errands delete the files.
    pub(crate) fn purge(&mut self) {
        self.choice.purges += 1;
        let unused = self.shelf.seal();
        self.errands.list.extend(self.ahead.ready.drain(..).chain(unused).map(Errand::Discard));
        let (messages, leaving) = self.shelf.purge();
        self.errands.list.extend(leaving.into_iter().map(Errand::Remove));
        self.sync.sealed.clear();
        self.stats.dropped += messages;
    }

    /// Whether nothing is left of the chunks up to this number and of what was found, and the host was told of them.
    pub(crate) fn is_settled(&self, number: u64) -> bool {
        self.has_looked() && self.shelf.is_settled_up_to(number) && self.reports.is_settled_up_to(number)
    }

    /// Whether nothing is left at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.has_looked() && self.shelf.is_empty() && self.reports.is_empty()
    }

    /// The newest chunk that holds anything, or that the host is still to be told of.
    pub(crate) fn newest(&self) -> u64 {
        self.shelf.newest().max(self.reports.newest())
    }

    /// How many messages were dropped whose files were not read yet.
    pub(crate) fn unread_drops(&self) -> u64 {
        let unread = self.errands.list.iter().map(|errand| match errand {
            Errand::Drop(_, dropped) => dropped.messages,
            _ => 0,
        });
        unread.sum()
    }

    /// Whether there is anything to tell the host.
    pub(crate) fn owes_telling(&self) -> bool {
        let is_dropped = self.reports.is_anything_waiting() && !self.worker.abandoned;
        !self.log.lines.is_empty() || self.reports.is_anything_unsaid() || is_dropped
    }

    /// Logs once that messages are held, and returns whether it did so now.
    pub(crate) fn tell_of_holding(&mut self) -> bool {
        let is_news = self.choice.wish.holds() && !std::mem::replace(&mut self.choice.is_told, true);
        if is_news {
            self.note(Level::Info, "messages are held in memory until the user has answered: opt in or out".to_owned());
        }
        is_news
    }

    /// Drops what is held in memory because the user has not answered, and counts it. What is in files stays there.
    pub(crate) fn drop_held(&mut self) -> u64 {
        let messages = self.shelf.take_lost().iter().map(|(_, part)| part.messages.len() as u64).sum();
        self.stats.dropped += messages;
        messages
    }

    /// Whether nothing is sent for now, so that no call needs to wait for it.
    pub(crate) fn keeps_back(&self) -> bool {
        self.is_paused || self.choice.wish.is_unanswered
    }

    /// Whether the folder, if there is one, was looked into. It also counts as done while the user's wish is not known,
    /// because nothing found there could be sent, and where no thread could be started to look.
    fn has_looked(&self) -> bool {
        self.look.last.is_some() || self.choice.wish.may_not_look() || !self.errands.runs
    }

    pub(crate) fn stats(&self) -> Stats {
        let counts = self.shelf.counts();
        let now = threads::since(self.began);
        let pause = self.news.paused_until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero());
        Stats {
            queued: counts.messages,
            queued_bytes: counts.bytes,
            in_memory: counts.in_memory,
            held: if self.choice.wish.holds() { counts.messages } else { 0 },
            paused_until_ms: pause.map(|left| time::now_ms().saturating_add(left.as_millis() as i64)),
            uploads: self.worker.requests,
            ..self.stats
        }
    }

    /// Adds a line for the log, if there is room, and returns whether there was.
    pub(crate) fn note(&mut self, level: Level, line: String) -> bool {
        let has_room = self.log.lines.len() < LOG_LINES_MAX;
        if has_room {
            self.log.lines.push((level, line));
        } else {
            self.log.lost += 1;
        }
        has_room
    }

    pub(crate) fn take_log(&mut self) -> Vec<(Level, String)> {
        let mut lines = std::mem::take(&mut self.log.lines);
        let lost = std::mem::take(&mut self.log.lost);
        if lost > 0 {
            lines.push((Level::Warning, format!("{lost} more log lines were lost: too many at once")));
        }
        lines
    }
}
