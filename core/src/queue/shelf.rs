//! The shelf: all that waits, as a row of slots, the oldest first. A slot is a chunk on its way from the caller to the
//! server. The shelf knows no disk and no clock. A thread that takes a slot's content out brings it back later, and may
//! find that the slot is gone.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::storage::Appended;
use crate::message::rules::MAX_BATCH_MESSAGES;
use crate::queue::chunk::{Batch, Chunk, Retired};
use crate::queue::policy::{Limits, Part, Parts};

/// Own chunks are numbered from here on, in the order in which they were begun. What was found in the folder has lower
/// numbers: it is older than anything that a flush waits for.
const FIRST_OWN: u64 = 1 << 32;

/// What is happening to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages are appended; only the last slot can be in it.
    Filling,
    Waiting,
    /// A thread has its content outside of the lock, to send it or to write it to the disk.
    Reading,
    /// It is to be sent next, now or after a wait.
    InFlight,
    /// It kept failing: all that are Waiting come first.
    Later,
    /// Only its file is left, and is about to be deleted.
    Leaving,
}

/// Where the messages are.
enum Content {
    Chunk(Chunk),
    Batch(Arc<Batch>),
    /// Only in the file, or with the thread that is reading it.
    Elsewhere,
}

struct Slot {
    number: u64,
    phase: Phase,
    content: Content,
    /// The file it is in; none: it would be lost with the process.
    file: Option<PathBuf>,
    /// What is left of it, once it was in flight.
    parts: Option<Parts>,
    /// How many messages it has in all, settled ones included.
    in_file: usize,
    /// When it was begun, in milliseconds since 1970.
    begun_ms: i64,
    /// How many of its files are about to be deleted.
    leaving: u32,
    /// How many messages are left, and their bytes, each with the comma that follows it.
    messages: u64,
    bytes: u64,
    /// It was found, and not read yet: the number of its messages is not known, and `bytes` is what it occupies on the
    /// disk.
    is_unread: bool,
    /// A caller is writing a message to its file, outside of the lock.
    is_busy: bool,
    /// Its file is being cut to its content.
    is_cut: bool,
    /// Its file is longer than its content, which has so many bytes: it was put in flight before it was cut.
    uncut: Option<usize>,
    /// It is being written to a new file.
    is_rescued: bool,
    /// Its file is not to be trusted: it could not be synced.
    is_doubtful: bool,
    /// A request for a part of it is under way.
    is_under_way: bool,
}

impl Slot {
    fn new(number: u64, phase: Phase, content: Content, file: Option<PathBuf>) -> Self {
        Slot {
            number,
            phase,
            content,
            file,
            parts: None,
            in_file: 0,
            begun_ms: 0,
            leaving: 0,
            messages: 0,
            bytes: 0,
            is_unread: false,
            is_busy: false,
            is_cut: false,
            uncut: None,
            is_rescued: false,
            is_doubtful: false,
            is_under_way: false,
        }
    }

    /// Whether it is sealed, and in no request.
    fn can_be_sent(&self) -> bool {
        match self.phase {
            Phase::Waiting | Phase::Later => true,
            Phase::InFlight => !self.is_under_way,
            _ => false,
        }
    }

    /// Takes its content out.
    fn take(&mut self) -> Option<Taken> {
        match (std::mem::replace(&mut self.content, Content::Elsewhere), &self.file) {
            (Content::Chunk(chunk), _) => Some(Taken::Own(chunk)),
            (Content::Batch(batch), _) => Some(Taken::Batch(batch)),
            (Content::Elsewhere, Some(file)) if self.is_unread => Some(Taken::Found(file.clone())),
            (Content::Elsewhere, Some(file)) => Some(Taken::Again(file.clone())),
            (Content::Elsewhere, None) => None,
        }
    }

    /// Whether no thread is changing its file.
    fn is_free(&self) -> bool {
        !self.is_busy && !self.is_cut
    }
}

/// The counts of what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Of the messages, those that would be lost with the process.
    pub(crate) in_memory: u64,
    /// The size on the disk of what was found and not read yet.
    pub(crate) unread_bytes: u64,
}

/// A file that is to be deleted, and then its slot is [`Shelf::gone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) number: u64,
    pub(crate) file: PathBuf,
    /// Its messages were not counted yet.
    pub(crate) is_unread: bool,
}

/// The content of a slot, to be read outside of the lock.
pub(crate) enum Taken {
    Own(Chunk),
    Batch(Arc<Batch>),
    /// It was not read yet.
    Found(PathBuf),
    /// It was in flight before.
    Again(PathBuf),
}

/// What was dropped for room, and the host is to be told of.
pub(crate) struct Dropped {
    /// Its slot.
    pub(crate) number: u64,
    /// How many messages were left.
    pub(crate) messages: u64,
    /// Where they are.
    pub(crate) taken: Taken,
    /// What was left of the slot, if it was in flight before, and how many messages it had in all.
    parts: Option<Parts>,
    in_file: usize,
}

impl Dropped {
    /// Whether they are in memory, and need not be read from the disk.
    pub(crate) fn is_in_memory(&self) -> bool {
        match &self.taken {
            Taken::Own(chunk) => chunk.path().is_none(),
            Taken::Batch(_) => true,
            Taken::Found(_) | Taken::Again(_) => false,
        }
    }

    /// Which messages of the batch that was read were dropped, the oldest first. None if some were settled and the file
    /// has lost lines since: it cannot be told which are left.
    pub(crate) fn parts(&self, batch: &Batch) -> Vec<Part> {
        let mut parts = match &self.parts {
            Some(parts) if self.in_file == batch.len() => parts.clone().take_all(),
            Some(_) => Vec::new(),
            // A message after these was written by a call that then failed, and queued it elsewhere.
            None => Parts::new(batch.len().min(usize::try_from(self.messages).unwrap_or(usize::MAX))).take_all(),
        };
        parts.retain(|part| !part.messages.is_empty());
        parts.sort_by_key(|part| part.messages.start);
        parts
    }
}

#[derive(Default)]
pub(crate) struct Shelf {
    slots: VecDeque<Slot>,
    next_found: u64,
    next_own: u64,
    counts: Counts,
}

impl Shelf {
    /// Begins a chunk, and seals the one before, which is given back if it is empty.
    pub(crate) fn begin(&mut self, chunk: Chunk, begun_ms: i64) -> Option<Chunk> {
        let unused = self.seal();
        let file = chunk.path().map(Path::to_owned);
        self.next_own += 1;
        let slot = Slot::new(FIRST_OWN + self.next_own, Phase::Filling, Content::Chunk(chunk), file);
        self.slots.push_back(Slot { begun_ms, ..slot });
        unused
    }

    /// Seals the chunk that is being filled; if it is empty, it is given back.
    pub(crate) fn seal(&mut self) -> Option<Chunk> {
        let last = self.slots.back_mut().filter(|slot| slot.phase == Phase::Filling)?;
        if last.messages > 0 || last.is_busy {
            last.phase = Phase::Waiting;
            return None;
        }
        match self.slots.pop_back()?.content {
            Content::Chunk(chunk) => Some(chunk),
            _ => None,
        }
    }

    /// Adds what was found in the folder: files and their sizes on the disk, the oldest first.
    pub(crate) fn find(&mut self, found: impl IntoIterator<Item = (PathBuf, u64)>) {
        for (file, bytes) in found {
            self.next_found += 1;
            let number = self.next_found;
            let at = self.slots.partition_point(|slot| slot.number < number);
            self.counts.unread_bytes += bytes;
            let slot = Slot::new(number, Phase::Waiting, Content::Elsewhere, Some(file));
            self.slots.insert(at, Slot { bytes, is_unread: true, ..slot });
        }
    }

    fn active(&self) -> Option<&Slot> {
        self.slots.back().filter(|slot| slot.phase == Phase::Filling)
    }

    fn active_mut(&mut self) -> Option<&mut Slot> {
        self.slots.back_mut().filter(|slot| slot.phase == Phase::Filling)
    }

    /// Whether the chunk that is being filled has room for a message of this size, in chunks of `room` bytes.
    pub(crate) fn has_room(&self, bytes: usize, room: usize) -> bool {
        self.active().is_some_and(|slot| {
            slot.messages == 0 || slot.bytes as usize + bytes <= room && slot.messages < MAX_BATCH_MESSAGES as u64
        })
    }

    /// How many messages the chunk that is being filled has, and their bytes.
    pub(crate) fn filling(&self) -> (u64, u64) {
        self.active().map_or((0, 0), |slot| (slot.messages, slot.bytes))
    }

    /// Whether the chunk that is being filled is in memory.
    pub(crate) fn is_filling_memory(&self) -> bool {
        self.active().is_some_and(|slot| slot.file.is_none())
    }

    pub(crate) fn filling_number(&self) -> Option<u64> {
        self.active().map(|slot| slot.number)
    }

    pub(crate) fn is_filling(&self, file: &Path) -> bool {
        self.active().is_some_and(|slot| slot.file.as_deref() == Some(file))
    }

    pub(crate) fn filling_file(&self) -> Option<&Path> {
        self.active()?.file.as_deref()
    }

    /// Whether messages must be written to the file of the chunk that is being filled, see [`Shelf::lend_file`].
    pub(crate) fn is_filling_written(&self) -> bool {
        self.active()
            .is_some_and(|slot| slot.is_busy || matches!(&slot.content, Content::Chunk(chunk) if chunk.is_written()))
    }

    /// Appends to the chunk that is being filled, which has room and is in memory or mapped.
    pub(crate) fn append(&mut self, message: &[u8]) -> io::Result<()> {
        let slot = self.active_mut().ok_or(io::ErrorKind::StorageFull)?;
        let Content::Chunk(chunk) = &mut slot.content else { return Err(io::ErrorKind::StorageFull.into()) };
        chunk.append(message)?;
        let bytes = message.len() as u64 + 1;
        slot.messages += 1;
        slot.bytes += bytes;
        let in_memory = u64::from(slot.file.is_none());
        self.counts.messages += 1;
        self.counts.bytes += bytes;
        self.counts.in_memory += in_memory;
        Ok(())
    }

    /// The file of the chunk that is being filled, to be written to outside of the lock; none while another caller has
    /// it.
    pub(crate) fn lend_file(&mut self) -> Option<(u64, Box<dyn Appended>)> {
        let slot = self.active_mut()?;
        let Content::Chunk(chunk) = &mut slot.content else { return None };
        let file = chunk.lend_file()?;
        slot.is_busy = true;
        Some((slot.number, file))
    }

    /// Takes a file back, and counts what was written to it. False if the slot is gone, because the user opted out
    /// meanwhile.
    pub(crate) fn return_file(&mut self, number: u64, file: Box<dyn Appended>, bytes: Option<u64>) -> bool {
        let Some(slot) = self.slot(number).filter(|slot| slot.phase != Phase::Leaving) else { return false };
        slot.is_busy = false;
        if let Content::Chunk(chunk) = &mut slot.content {
            chunk.return_file(file, bytes);
        }
        if let Some(bytes) = bytes {
            slot.messages += 1;
            slot.bytes += bytes;
            self.counts.messages += 1;
            self.counts.bytes += bytes;
        }
        true
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let at = self.slots.binary_search_by_key(&number, |slot| slot.number).ok()?;
        self.slots.get_mut(at)
    }

    /// Whether something could be sent, apart from the chunk that is being filled.
    pub(crate) fn is_anything_sealed(&self) -> bool {
        self.slots.iter().any(Slot::can_be_sent)
    }

    /// Whether anything could be sent apart from this slot.
    pub(crate) fn has_others(&self, number: u64) -> bool {
        let can_go = |slot: &Slot| match slot.phase {
            Phase::Waiting => true,
            Phase::Filling => slot.messages > 0,
            _ => false,
        };
        self.slots.iter().any(|slot| slot.number != number && can_go(slot))
    }

    /// Whether a whole chunk waits for its first turn.
    pub(crate) fn is_anything_waiting(&self) -> bool {
        self.slots.iter().any(|slot| slot.phase == Phase::Waiting)
    }

    /// Whether a slot is Waiting and free. If not, the one that is being filled is to be sealed before [`Shelf::next`].
    pub(crate) fn is_any_waiting(&self) -> bool {
        self.slots.iter().any(|slot| slot.phase == Phase::Waiting && slot.is_free())
    }

    /// The next slot to be sent: the oldest that waits, then those that kept failing.
    pub(crate) fn next(&mut self) -> Option<(u64, Taken)> {
        let of = |phase| move |slot: &Slot| slot.phase == phase && slot.is_free();
        let at = self.slots.iter().position(of(Phase::Waiting));
        let at = at.or_else(|| self.slots.iter().position(of(Phase::Later)))?;
        let slot = &mut self.slots[at];
        let taken = slot.take()?;
        if let Taken::Own(chunk) = &taken {
            slot.uncut = chunk.mapped_bytes();
        }
        slot.phase = Phase::Reading;
        Some((slot.number, taken))
    }

    /// Puts what was read in flight. Corrects the counts where the file has more or fewer messages than were counted,
    /// and returns the difference. None if the slot is gone.
    pub(crate) fn fly(&mut self, number: u64, batch: &Arc<Batch>, room: usize) -> Option<Change> {
        let slot = self.slot(number).filter(|slot| slot.phase == Phase::Reading)?;
        let before = (slot.messages, slot.bytes, slot.is_unread, slot.file.is_none());
        let parts = match slot.parts.take() {
            Some(mut parts) if slot.in_file == batch.len() => {
                parts.next_turn();
                parts
            }
            // The file has lost lines, so it cannot be told which messages are settled: all of it is sent once more.
            _ => Parts::of_sizes(batch.sizes(), room),
        };
        let messages = parts.messages() as u64;
        let left = parts.all().flat_map(|part| batch.part(part.messages.clone()));
        let bytes = left.map(|message| message.len() as u64 + 1).sum();
        slot.parts = Some(parts);
        slot.in_file = batch.len();
        (slot.messages, slot.bytes, slot.is_unread) = (messages, bytes, false);
        slot.content = Content::Batch(batch.clone());
        slot.phase = Phase::InFlight;
        let (messages_before, bytes_before, was_unread, is_in_memory) = before;
        if was_unread {
            self.counts.unread_bytes -= bytes_before;
            self.counts.messages += messages;
            self.counts.bytes += bytes;
            return Some(Change::Found(messages));
        }
        self.counts.messages = self.counts.messages + messages - messages_before;
        self.counts.bytes = self.counts.bytes + bytes - bytes_before;
        if is_in_memory {
            self.counts.in_memory = self.counts.in_memory + messages - messages_before;
        }
        match messages.cmp(&messages_before) {
            std::cmp::Ordering::Less => Some(Change::Lost(messages_before - messages)),
            std::cmp::Ordering::Equal => Some(Change::None),
            std::cmp::Ordering::Greater => Some(Change::Found(messages - messages_before)),
        }
    }

    /// What is to be sent next, if a slot is in flight and in no request.
    pub(crate) fn in_flight(&self) -> Option<(u64, Arc<Batch>, Option<Part>)> {
        let slot = self.slots.iter().find(|slot| slot.phase == Phase::InFlight && !slot.is_under_way)?;
        let Content::Batch(batch) = &slot.content else { return None };
        Some((slot.number, batch.clone(), slot.parts.as_ref().and_then(|parts| parts.current().cloned())))
    }

    /// A request for the current part of a slot begins, or is over.
    pub(crate) fn set_under_way(&mut self, number: u64, is_under_way: bool) {
        if let Some(slot) = self.slot(number) {
            slot.is_under_way = is_under_way;
        }
    }

    /// How many bytes the requests that are under way carry.
    pub(crate) fn bytes_under_way(&self) -> u64 {
        self.slots.iter().filter(|slot| slot.is_under_way).map(|slot| slot.bytes).sum()
    }

    pub(crate) fn is_in_flight(&self, number: u64) -> bool {
        self.slots.iter().any(|slot| slot.number == number && slot.phase == Phase::InFlight)
    }

    /// The parts of a slot that is in flight, for the policy to judge.
    pub(crate) fn parts(&mut self, number: u64) -> Option<&mut Parts> {
        self.slot(number).filter(|slot| slot.phase == Phase::InFlight)?.parts.as_mut()
    }

    /// Takes settled messages of a slot off the counts, and returns how many they were.
    pub(crate) fn settle(&mut self, number: u64, settled: &[Part]) -> u64 {
        let Some(slot) = self.slot(number) else { return 0 };
        let Content::Batch(batch) = &slot.content else { return 0 };
        let sizes = settled.iter().flat_map(|part| batch.part(part.messages.clone())).map(|m| m.len() as u64 + 1);
        let (messages, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        slot.messages -= messages;
        slot.bytes -= bytes;
        let is_in_memory = slot.file.is_none();
        self.take_off(messages, bytes, is_in_memory);
        messages
    }

    fn take_off(&mut self, messages: u64, bytes: u64, is_in_memory: bool) {
        self.counts.messages -= messages;
        self.counts.bytes -= bytes;
        if is_in_memory {
            self.counts.in_memory -= messages;
        }
    }

    /// Ends a turn in flight: a slot with nothing left goes; one that keeps failing is tried again later.
    pub(crate) fn put_back(&mut self, number: u64, limits: Limits) -> Option<Leaving> {
        let others = self.has_others(number);
        let slot = self.slot(number).filter(|slot| slot.phase == Phase::InFlight)?;
        let parts = slot.parts.as_ref()?;
        if parts.current().is_none() {
            return self.leave(number);
        }
        if limits.spooled && others && slot.file.is_some() && !slot.is_rescued && parts.is_stuck(limits) {
            slot.phase = Phase::Later;
            slot.content = Content::Elsewhere;
        }
        None
    }

    /// A slot's content could not be read for now: it waits again, because the disk may work later.
    pub(crate) fn unread(&mut self, number: u64) {
        if let Some(slot) = self.slot(number).filter(|slot| slot.phase == Phase::Reading) {
            slot.phase = Phase::Waiting;
        }
    }

    /// Takes a slot and its messages off the counts; the caller counts them as lost or delivered. Only its file is
    /// left.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Leaving> {
        let at = self.slots.binary_search_by_key(&number, |slot| slot.number).ok()?;
        let slot = &mut self.slots[at];
        if slot.phase == Phase::Leaving {
            return None;
        }
        let (messages, bytes, is_unread) = (slot.messages, slot.bytes, slot.is_unread);
        let is_in_memory = slot.file.is_none();
        (slot.messages, slot.bytes, slot.is_unread) = (0, 0, false);
        slot.phase = Phase::Leaving;
        slot.is_under_way = false;
        slot.content = Content::Elsewhere;
        let (file, is_rescued) = (slot.file.clone(), slot.is_rescued);
        slot.leaving += u32::from(file.is_some());
        if is_unread {
            self.counts.unread_bytes -= bytes;
        } else {
            self.take_off(messages, bytes, is_in_memory);
        }
        match file {
            Some(file) => Some(Leaving { number, file, is_unread }),
            None => {
                // A thread that is writing it to a file comes back with that file, and then the slot goes.
                if !is_rescued {
                    self.slots.remove(at);
                }
                None
            }
        }
    }

    /// The same, if the slot is empty.
    pub(crate) fn leave_if_empty(&mut self, number: u64) -> Option<Leaving> {
        self.slot(number).filter(|slot| slot.messages == 0 && !slot.is_unread)?;
        self.leave(number)
    }

    /// Gives a slot up, and leaves its file where it is for the next look into the folder.
    pub(crate) fn abandon(&mut self, number: u64) -> u64 {
        let messages = self.slot(number).map_or(0, |slot| slot.messages);
        let _ = self.leave(number);
        self.gone(number);
        messages
    }

    /// Notes that the file of a slot that is Leaving is gone.
    pub(crate) fn gone(&mut self, number: u64) {
        if let Ok(at) = self.slots.binary_search_by_key(&number, |slot| slot.number)
            && self.slots[at].phase == Phase::Leaving
        {
            let slot = &mut self.slots[at];
            slot.leaving = slot.leaving.saturating_sub(1);
            if slot.leaving == 0 && !slot.is_rescued {
                self.slots.remove(at);
            }
        }
    }

    /// Whether no thread is using a slot. A slot in flight counts too while it waits for its next attempt, between two
    /// requests.
    fn is_droppable(slot: &Slot) -> bool {
        slot.can_be_sent() && !slot.is_busy
    }

    /// Drops the oldest slot that no thread is using, and returns what was in it, and its file.
    pub(crate) fn drop_oldest(&mut self) -> Option<(Dropped, Option<Leaving>)> {
        let slot = self.slots.iter_mut().find(|slot| Shelf::is_droppable(slot))?;
        let Slot { number, messages, in_file, .. } = *slot;
        let dropped = Dropped { number, messages, taken: slot.take()?, parts: slot.parts.take(), in_file };
        Some((dropped, self.leave(number)))
    }

    /// Whether a slot is this client's own, rather than found in the folder.
    pub(crate) fn is_own(number: u64) -> bool {
        number > FIRST_OWN
    }

    /// How many bytes [`Shelf::drop_oldest`] can make room for.
    pub(crate) fn droppable_bytes(&self) -> u64 {
        self.slots.iter().filter(|slot| Shelf::is_droppable(slot)).map(|slot| slot.bytes).sum()
    }

    /// Throws everything away, and returns how many messages that were, and their files.
    pub(crate) fn purge(&mut self) -> (u64, Vec<Leaving>) {
        let messages = self.counts.messages;
        let numbers: Vec<u64> = self.slots.iter().map(|slot| slot.number).collect();
        let leaving = numbers.into_iter().filter_map(|number| self.leave(number)).collect();
        (messages, leaving)
    }

    /// A sealed chunk whose file is longer than its content, to be unmapped and cut.
    pub(crate) fn retire(&mut self) -> Option<(u64, Retired)> {
        let sealed = self.slots.iter_mut().filter(|slot| slot.phase == Phase::Waiting && !slot.is_busy);
        for slot in sealed {
            if let Content::Chunk(chunk) = &mut slot.content
                && let Some(retired) = chunk.retire()
            {
                slot.is_cut = true;
                return Some((slot.number, retired));
            }
        }
        None
    }

    /// A file that was put in flight before it was cut, and may stay for long, and the length of its content. What is
    /// being sent will probably go soon, and only counts `at_the_end`.
    pub(crate) fn uncut(&mut self, at_the_end: bool) -> Option<(PathBuf, usize)> {
        let stays = |slot: &&mut Slot| {
            let stays = slot.phase == Phase::Later || at_the_end && slot.phase == Phase::InFlight;
            stays && slot.uncut.is_some() && !slot.is_rescued
        };
        let slot = self.slots.iter_mut().find(stays)?;
        slot.file.clone().zip(slot.uncut.take())
    }

    /// Notes that the file of a retired slot is cut; or, if another process had taken it, that it is in another file
    /// now.
    pub(crate) fn cut(&mut self, number: u64, instead: Option<PathBuf>) -> Option<Leaving> {
        let Some(slot) = self.slot(number).filter(|slot| slot.phase != Phase::Leaving) else {
            return instead.map(|file| Leaving { number: 0, file, is_unread: false });
        };
        slot.is_cut = false;
        if let Some(file) = instead {
            slot.file = Some(file);
            slot.content = Content::Elsewhere;
        }
        None
    }

    /// The oldest slot that is to be written to a new file: it is in memory though there is a disk, or its file is not
    /// to be trusted.
    pub(crate) fn rescue(&mut self) -> Option<(u64, i64, Taken)> {
        let wants = |slot: &&mut Slot| {
            let is_free = matches!(slot.phase, Phase::Waiting | Phase::InFlight) && slot.is_free();
            is_free && !slot.is_rescued && (slot.file.is_none() || slot.is_doubtful)
        };
        let slot = self.slots.iter_mut().find(wants)?;
        let content = std::mem::replace(&mut slot.content, Content::Elsewhere);
        let taken = match (content, &slot.file) {
            (Content::Batch(batch), _) => {
                // It may be sent meanwhile.
                slot.content = Content::Batch(batch.clone());
                slot.is_rescued = true;
                return Some((slot.number, slot.begun_ms, Taken::Batch(batch)));
            }
            (Content::Chunk(chunk), _) => Taken::Own(chunk),
            (Content::Elsewhere, Some(file)) => Taken::Again(file.clone()),
            (Content::Elsewhere, None) => return None,
        };
        slot.phase = Phase::Reading;
        Some((slot.number, slot.begun_ms, taken))
    }

    /// Notes that a slot that is being rescued was read: it may be sent while it is written. False if it is gone.
    pub(crate) fn rescued_from(&mut self, number: u64, batch: &Arc<Batch>) -> bool {
        let Some(slot) = self.slot(number).filter(|slot| slot.phase == Phase::Reading) else { return false };
        slot.phase = Phase::Waiting;
        slot.content = Content::Batch(batch.clone());
        slot.is_rescued = true;
        true
    }

    /// Notes that a slot is in a new file now, or could not be written. Returns the file that is to be deleted: the old
    /// one or, if all messages were settled meanwhile, the new one.
    pub(crate) fn rescued(&mut self, number: u64, file: Option<PathBuf>) -> Vec<Leaving> {
        let Ok(at) = self.slots.binary_search_by_key(&number, |slot| slot.number) else {
            return file.map(|file| Leaving { number, file, is_unread: false }).into_iter().collect();
        };
        let slot = &mut self.slots[at];
        slot.is_rescued = false;
        if slot.phase == Phase::Leaving {
            // Its old file, if there was one, is being deleted already.
            slot.leaving += u32::from(file.is_some());
            if slot.leaving == 0 {
                self.slots.remove(at);
            }
            return file.map(|file| Leaving { number, file, is_unread: false }).into_iter().collect();
        }
        let Some(file) = file else { return Vec::new() };
        slot.is_doubtful = false;
        slot.uncut = None;
        let before = slot.file.replace(file);
        if before.is_none() {
            self.counts.in_memory -= slot.messages;
        }
        if slot.phase == Phase::Waiting {
            // What is in a file need not be in memory too.
            slot.content = Content::Elsewhere;
        }
        // It is not the slot's file any more, so the slot need not wait for it.
        before.map(|file| Leaving { number: 0, file, is_unread: false }).into_iter().collect()
    }

    /// Notes that this file could not be synced: its messages are to be written to a new one.
    pub(crate) fn doubt(&mut self, file: &Path) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.file.as_deref() == Some(file)) {
            slot.is_doubtful = true;
        }
    }

    /// Takes out all messages that would be lost with the process.
    pub(crate) fn take_lost(&mut self) -> Vec<(Arc<Batch>, Part)> {
        let _ = self.is_filling_memory().then(|| self.seal());
        let is_lost = |slot: &&Slot| slot.file.is_none() && slot.phase != Phase::Leaving;
        let numbers: Vec<u64> = self.slots.iter().filter(is_lost).map(|slot| slot.number).collect();
        let mut left = Vec::new();
        for number in numbers {
            let Some(slot) = self.slot(number) else { continue };
            let batch = match std::mem::replace(&mut slot.content, Content::Elsewhere) {
                Content::Batch(batch) => batch,
                Content::Chunk(chunk) => match chunk.into_batch(|_| Err(io::ErrorKind::NotFound.into())) {
                    Ok(batch) => Arc::new(batch),
                    Err(_) => continue,
                },
                Content::Elsewhere => continue,
            };
            let mut parts = slot.parts.take().unwrap_or_else(|| Parts::new(batch.len()));
            left.extend(parts.take_all().into_iter().map(|part| (batch.clone(), part)));
            let _ = self.leave(number);
        }
        left
    }

    /// The newest slot that holds anything.
    pub(crate) fn newest(&self) -> u64 {
        let mut newest = self.slots.iter().rev().filter(|slot| slot.phase != Phase::Filling || slot.messages > 0);
        newest.next().map_or(0, |slot| slot.number)
    }

    /// Whether nothing is left of the slots up to this one, nor of what was found.
    pub(crate) fn is_settled_up_to(&self, number: u64) -> bool {
        let oldest = self.slots.front().filter(|slot| slot.phase != Phase::Filling || slot.messages > 0);
        oldest.is_none_or(|slot| slot.number > number.max(FIRST_OWN))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_settled_up_to(u64::MAX)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

/// How what was read differs from what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// This many messages are new.
    Found(u64),
    /// This many are missing.
    Lost(u64),
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
