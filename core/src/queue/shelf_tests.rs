//! The shelf alone: each way through it, and a long random walk along all of them.

use super::*;
use crate::queue::chunk::write_lines;

const ROOM: usize = 1000;
const SPOOLED: Limits = Limits { retry_max: 0, spooled: true, oauth: false };

struct Nowhere;

impl Appended for Nowhere {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

fn memory() -> Chunk {
    Chunk::in_memory(ROOM).expect("memory")
}

fn written(name: &str) -> Chunk {
    Chunk::written(Box::new(Nowhere), PathBuf::from(name))
}

/// The content of a file with these messages.
fn content(messages: &[String]) -> Arc<Batch> {
    Arc::new(Batch::checked(write_lines(messages.iter().map(|message| message.as_bytes()))))
}

impl Shelf {
    /// The counts, computed from the slots.
    fn recount(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in &self.slots {
            if slot.is_unread {
                counts.unread_bytes += slot.bytes;
            } else {
                counts.messages += slot.messages;
                counts.bytes += slot.bytes;
                counts.in_memory += if slot.file.is_none() { slot.messages } else { 0 };
            }
        }
        counts
    }

    fn check(&self) {
        assert_eq!(self.counts, self.recount());
        assert!(self.slots.iter().is_sorted_by(|a, b| a.number < b.number), "the oldest first");
        let is_filling = |slot: &Slot| slot.phase == Phase::Filling;
        let before_last = self.slots.len().saturating_sub(1);
        assert!(!self.slots.iter().take(before_last).any(is_filling), "only the last is being filled");
        for slot in self.slots.iter().filter(|slot| slot.phase == Phase::Leaving) {
            assert_eq!(slot.messages, 0);
            assert!(slot.leaving > 0 || slot.is_rescued, "a thread is going to remove it");
        }
    }

    fn append_text(&mut self, text: &str) {
        self.append(text.as_bytes()).expect("room");
    }

    /// Takes the next slot and puts it in flight.
    fn fly_next(&mut self, read: impl FnOnce(&Path) -> Arc<Batch>) -> (u64, Arc<Batch>) {
        let (number, taken) = self.next().expect("something waits");
        let batch = match taken {
            Taken::Own(chunk) if chunk.path().is_none() => {
                Arc::new(chunk.into_batch(|_| unreachable!("it is in memory")).expect("memory"))
            }
            Taken::Own(chunk) => read(chunk.path().expect("a file")),
            Taken::Batch(batch) => batch,
            Taken::Found(path) | Taken::Again(path) => read(&path),
        };
        self.fly(number, &batch, ROOM).expect("it is there");
        (number, batch)
    }
}

fn counts(messages: u64, bytes: u64, in_memory: u64, unread_bytes: u64) -> Counts {
    Counts { messages, bytes, in_memory, unread_bytes }
}

#[test]
fn a_chunk_is_filled_sealed_sent_and_gone() {
    let mut shelf = Shelf::default();
    assert!(!shelf.has_room(1, ROOM), "nothing is begun");
    assert!(shelf.begin(memory(), 7).is_none());
    assert!(shelf.is_filling_memory() && shelf.is_empty());
    shelf.append_text("{}");
    assert_eq!((shelf.counts(), shelf.is_empty()), (counts(1, 3, 1, 0), false));
    let target = shelf.newest();
    assert!(!shelf.is_settled_up_to(target) && shelf.is_settled_up_to(target - 1));
    assert!(shelf.begin(memory(), 8).is_none());
    shelf.append_text("{\"later\":1}");
    let (number, batch) = shelf.fly_next(|_| unreachable!("it is in memory"));
    assert_eq!((number, batch.len()), (target, 1));
    let (_, _, part) = shelf.in_flight().expect("in flight");
    shelf.settle(number, &[part.expect("all of it")]);
    let parts = shelf.parts(number).expect("in flight").take_all();
    assert_eq!(parts.len(), 1);
    assert_eq!(shelf.put_back(number, SPOOLED), None, "there is no file to delete");
    assert!(shelf.is_settled_up_to(target) && !shelf.is_empty());
    assert_eq!(shelf.counts(), counts(1, 12, 1, 0));
    shelf.check();
}

#[test]
fn an_empty_chunk_is_given_back_and_a_file_counts_until_it_is_gone() {
    let mut shelf = Shelf::default();
    assert!(shelf.begin(written("a"), 0).is_none());
    assert_eq!(shelf.seal().expect("nothing is in it").path(), Some(Path::new("a")));
    shelf.begin(written("b"), 0);
    let (number, file) = shelf.lend_file().expect("free");
    assert!(shelf.lend_file().is_none() && shelf.is_filling_written(), "one at a time");
    assert!(shelf.seal().is_none(), "a caller is writing to it");
    assert!(shelf.next().is_none(), "it cannot be sent meanwhile");
    assert!(shelf.return_file(number, file, Some(3)));
    assert_eq!(shelf.counts(), counts(1, 3, 0, 0));
    let (number, _) = shelf.fly_next(|_| content(&["{}".to_owned()]));
    let parts = shelf.parts(number).expect("in flight").take_all();
    shelf.settle(number, &parts);
    let leaving = shelf.put_back(number, SPOOLED).expect("its file is to be deleted");
    assert_eq!(leaving, Leaving { number, file: PathBuf::from("b"), is_unread: false });
    assert_eq!((shelf.counts(), shelf.is_empty()), (counts(0, 0, 0, 0), false), "not before the file is gone");
    shelf.gone(number);
    assert!(shelf.is_empty());
}

#[test]
fn what_was_found_is_older_than_all_else_and_counted_when_it_is_read() {
    let mut shelf = Shelf::default();
    shelf.begin(memory(), 0);
    shelf.append_text("{}");
    shelf.seal();
    shelf.find([(PathBuf::from("x"), 500), (PathBuf::from("y"), 600)]);
    assert_eq!(shelf.counts(), counts(1, 3, 1, 1100));
    assert!(!shelf.is_settled_up_to(0), "a flush also waits for what was there before");
    let (number, taken) = shelf.next().expect("the oldest");
    let Taken::Found(path) = taken else { panic!("it was not read yet") };
    assert_eq!(path, Path::new("x"));
    let batch = content(&["{}".to_owned(), "{\"b\":1}".to_owned()]);
    assert_eq!(shelf.fly(number, &batch, ROOM), Some(Change::Found(2)));
    assert_eq!(shelf.counts(), counts(3, 14, 1, 600));
    shelf.set_under_way(number, true);
    let (dropped, leaving) = shelf.drop_oldest().expect("y");
    assert_eq!(
        (dropped.messages, leaving.map(|leaving| leaving.is_unread)),
        (0, Some(true)),
        "the thread that deletes it counts it"
    );
    shelf.check();
}

#[test]
fn lines_that_are_missing_are_lost() {
    let mut shelf = Shelf::default();
    shelf.begin(written("a"), 0);
    for _ in 0..3 {
        let (number, file) = shelf.lend_file().expect("free");
        shelf.return_file(number, file, Some(3));
    }
    shelf.seal();
    let (number, _) = shelf.next().expect("it waits");
    assert_eq!(shelf.fly(number, &content(&["{}".to_owned()]), ROOM), Some(Change::Lost(2)));
    assert_eq!(shelf.counts(), counts(1, 3, 0, 0));
}

#[test]
fn the_oldest_slot_that_no_thread_uses_is_dropped_even_if_it_keeps_failing() {
    let mut shelf = Shelf::default();
    for name in ["a", "b", "c"] {
        shelf.begin(written(name), 0);
        let (number, file) = shelf.lend_file().expect("free");
        shelf.return_file(number, file, Some(3));
    }
    let (first, _) = shelf.fly_next(|_| content(&["{}".to_owned()]));
    let pause = crate::queue::policy::Outcome::Unreached;
    let now = std::time::Duration::ZERO;
    let _ = crate::queue::policy::Pace::new(1).settle(shelf.parts(first).expect("there"), pause, 0, SPOOLED, now, 0.0);
    assert_eq!(shelf.put_back(first, SPOOLED), None);
    assert!(!shelf.is_in_flight(first), "its turn is over");
    let (second, _) = shelf.fly_next(|_| content(&["{}".to_owned()]));
    assert_eq!(second, first + 1);
    shelf.set_under_way(second, true);
    assert_eq!(shelf.bytes_under_way(), 3);
    let (_, leaving) = shelf.drop_oldest().expect("the first");
    assert_eq!(leaving.map(|leaving| leaving.number), Some(first));
    assert!(shelf.drop_oldest().is_none(), "one is being sent, one is being filled, one is leaving");
    shelf.set_under_way(second, false);
    let (_, leaving) = shelf.drop_oldest().expect("no thread uses it between two requests");
    assert_eq!((leaving.map(|leaving| leaving.number), shelf.bytes_under_way()), (Some(second), 0));
    assert!(shelf.drop_oldest().is_none());
    shelf.check();
}

#[test]
fn the_host_is_told_what_was_left_of_a_dropped_slot_and_of_its_attempts() {
    let all = content(&["{}".to_owned(), "{\"b\":1}".to_owned(), "{\"c\":2}".to_owned()]);
    let mut shelf = Shelf::default();
    shelf.begin(written("a"), 0);
    for message in all.all() {
        let (number, file) = shelf.lend_file().expect("free");
        shelf.return_file(number, file, Some(message.len() as u64 + 1));
    }
    shelf.seal();
    let (number, _) = shelf.fly_next(|_| all.clone());
    let mut pace = crate::queue::policy::Pace::new(1);
    for status in [400, 200, 503] {
        let answer = crate::queue::policy::Outcome::Answer { status, retry_after: None, html: false };
        let (parts, now) = (shelf.parts(number).expect("there"), std::time::Duration::ZERO);
        if let crate::queue::policy::Settled::Delivered(parts) = pace.settle(parts, answer, 0, SPOOLED, now, 0.0) {
            assert_eq!(shelf.settle(number, &parts), 1, "the first is accepted alone");
        }
    }
    let (dropped, leaving) = shelf.drop_oldest().expect("it waits for its next attempt");
    assert_eq!((dropped.number, dropped.messages, dropped.is_in_memory(), leaving.is_some()), (number, 2, true, true));
    let parts = dropped.parts(&all);
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].messages.clone(), parts[0].attempts, parts[0].http_status), (1..3, 1, Some(503)));
    assert!(dropped.parts(&content(&["{}".to_owned()])).is_empty(), "it cannot be told which are left");
    shelf.check();
}

#[test]
fn what_a_failed_call_has_left_in_a_dropped_file_is_not_told() {
    let mut shelf = Shelf::default();
    shelf.begin(written("a"), 0);
    for written in [Some(3), None] {
        let (number, file) = shelf.lend_file().expect("free");
        shelf.return_file(number, file, written);
    }
    shelf.seal();
    let (dropped, _) = shelf.drop_oldest().expect("it waits");
    assert!(!dropped.is_in_memory() && dropped.is_own());
    let parts = dropped.parts(&content(&["{}".to_owned(), "{\"again\":1}".to_owned()]));
    assert_eq!((parts.len(), parts[0].messages.clone()), (1, 0..1), "it is told of when it is settled elsewhere");
    shelf.find([(PathBuf::from("x"), 500)]);
    assert!(!shelf.drop_oldest().expect("x").0.is_own(), "another client has accepted it");
}

#[test]
fn a_slot_is_sent_while_it_is_written_out_and_whichever_ends_last_cleans_up() {
    for delivered_first in [true, false] {
        let mut shelf = Shelf::default();
        shelf.begin(memory(), 77);
        shelf.append_text("{}");
        shelf.seal();
        let (number, begun_ms, taken) = shelf.rescue().expect("it is in memory");
        assert!(begun_ms == 77 && shelf.rescue().is_none() && shelf.next().is_none());
        let Taken::Own(chunk) = taken else { panic!("it was not read yet") };
        let batch = Arc::new(chunk.into_batch(|_| unreachable!("it is in memory")).expect("memory"));
        assert!(shelf.rescued_from(number, &batch));
        let (same, _) = shelf.fly_next(|_| unreachable!("it is in memory"));
        assert_eq!((same, shelf.counts().in_memory), (number, 1));
        let file = PathBuf::from("new");
        if delivered_first {
            let parts = shelf.parts(number).expect("there").take_all();
            shelf.settle(number, &parts);
            assert_eq!(shelf.put_back(number, SPOOLED), None);
            assert!(!shelf.is_empty(), "it is still being written");
            let leaving = shelf.rescued(number, Some(file));
            assert_eq!(leaving.len(), 1);
        } else {
            assert_eq!(shelf.rescued(number, Some(file)), []);
            assert_eq!(shelf.counts(), counts(1, 3, 0, 0));
            let parts = shelf.parts(number).expect("there").take_all();
            shelf.settle(number, &parts);
            assert!(shelf.put_back(number, SPOOLED).is_some());
        }
        assert!(!shelf.is_empty(), "not before the file is gone");
        shelf.gone(number);
        assert!(shelf.is_empty());
        shelf.check();
    }
}

#[test]
fn everything_is_thrown_away_wherever_it_is() {
    let mut shelf = Shelf::default();
    shelf.find([(PathBuf::from("found"), 500)]);
    for name in ["a", "b"] {
        shelf.begin(written(name), 0);
        let (number, file) = shelf.lend_file().expect("free");
        shelf.return_file(number, file, Some(3));
    }
    shelf.begin(memory(), 0);
    shelf.append_text("{}");
    let (reading, _) = shelf.next().expect("found");
    let (messages, leaving) = shelf.purge();
    assert_eq!((messages, leaving.len()), (3, 3));
    assert_eq!(shelf.fly(reading, &content(&["{}".to_owned()]), ROOM), None, "it is gone when it was read");
    assert_eq!(shelf.counts(), Counts::default());
    for leaving in leaving {
        shelf.gone(leaving.number);
    }
    assert!(shelf.is_empty());
}

/// In any order of steps the counts are the sums of the slots, and no slot is forgotten.
#[test]
fn the_counts_are_the_sums_after_every_step_of_a_random_walk() {
    let mut state = 11u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut shelf = Shelf::default();
    let mut files: std::collections::HashMap<PathBuf, Vec<String>> = Default::default();
    let (mut taken, mut lent, mut rescues, mut leaving) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut accepted, mut settled) = (0u64, 0u64);
    for step in 0..crate::rounds(40_000) {
        match random(14) {
            0 => {
                let name = PathBuf::from(format!("{step}"));
                let chunk = if random(2) == 0 { memory() } else { written(&name.display().to_string()) };
                files.insert(name, Vec::new());
                shelf.begin(chunk, 0);
            }
            1..=4 if shelf.has_room(20, ROOM) => {
                let message = format!("{{\"n\":{step}}}");
                if let Some((number, file)) = shelf.lend_file() {
                    lent.push((number, file, message, shelf.filling_file().expect("a file").to_owned()));
                } else if !shelf.is_filling_written() {
                    shelf.append_text(&message);
                    accepted += 1;
                }
            }
            5 | 6 if !lent.is_empty() => {
                let (number, file, message, path) = lent.swap_remove(random(lent.len() as u64) as usize);
                let bytes = (random(5) > 0).then_some(message.len() as u64 + 1);
                if shelf.return_file(number, file, bytes) && bytes.is_some() {
                    files.get_mut(&path).expect("made").push(message);
                    accepted += 1;
                } else if let Some(gone) = shelf.leave_if_empty(number) {
                    leaving.push(gone);
                }
            }
            7 => drop(shelf.seal()),
            8 => taken.extend(shelf.next()),
            9 if !taken.is_empty() => {
                let (number, content_of) = taken.swap_remove(random(taken.len() as u64) as usize);
                let batch = match content_of {
                    Taken::Own(chunk) => match chunk.path().map(Path::to_owned) {
                        Some(path) => content(&files[&path]),
                        None => Arc::new(chunk.into_batch(|_| unreachable!("in memory")).expect("memory")),
                    },
                    Taken::Batch(batch) => batch,
                    Taken::Found(path) | Taken::Again(path) => content(&files[&path]),
                };
                match shelf.fly(number, &batch, ROOM) {
                    Some(Change::Found(messages)) => accepted += messages,
                    Some(Change::Lost(messages)) => settled += messages,
                    _ => {}
                }
            }
            10 => {
                if let Some((number, _, part)) = shelf.in_flight() {
                    if let Some(part) = part.filter(|_| random(2) == 0) {
                        let _ = shelf.parts(number).expect("there").take_all();
                        // This part is all that is left of it.
                        settled += shelf.settle(number, &[part]);
                    }
                    leaving.extend(shelf.put_back(number, SPOOLED));
                }
            }
            11 => match shelf.rescue() {
                Some((number, _, Taken::Own(chunk))) => {
                    let batch = match chunk.path().map(Path::to_owned) {
                        Some(path) => content(&files[&path]),
                        None => Arc::new(chunk.into_batch(|_| unreachable!("in memory")).expect("memory")),
                    };
                    if shelf.rescued_from(number, &batch) {
                        rescues.push((number, batch));
                    }
                }
                Some((number, _, Taken::Batch(batch))) => rescues.push((number, batch)),
                Some(_) => unreachable!("nothing is doubtful here"),
                None => {
                    let name = PathBuf::from(format!("found {step}"));
                    files.insert(name.clone(), vec![format!("{{\"found\":{step}}}")]);
                    shelf.find([(name, 500)]);
                }
            },
            12 if !rescues.is_empty() => {
                let (number, batch) = rescues.swap_remove(random(rescues.len() as u64) as usize);
                let name = PathBuf::from(format!("rescued {step}"));
                files.insert(
                    name.clone(),
                    batch.all().map(|message| String::from_utf8_lossy(message).into_owned()).collect(),
                );
                leaving.extend(shelf.rescued(number, (random(3) > 0).then_some(name)));
            }
            13 if random(40) == 0 => {
                let (messages, gone) = shelf.purge();
                settled += messages;
                leaving.extend(gone);
            }
            13 if random(4) == 0 => {
                if let Some((dropped, gone)) = shelf.drop_oldest() {
                    settled += dropped.messages;
                    leaving.extend(gone);
                }
            }
            _ => {
                if !leaving.is_empty() {
                    let gone: Leaving = leaving.swap_remove(random(leaving.len() as u64) as usize);
                    shelf.gone(gone.number);
                }
            }
        }
        shelf.check();
        assert_eq!(accepted, settled + shelf.counts().messages, "step {step}");
    }
    let (messages, gone) = shelf.purge();
    assert_eq!(accepted, settled + messages);
    leaving.extend(gone);
    rescues.into_iter().for_each(|(number, _)| leaving.extend(shelf.rescued(number, None)));
    leaving.into_iter().for_each(|gone| shelf.gone(gone.number));
    assert!(shelf.is_empty() && accepted > 1_000);
}
