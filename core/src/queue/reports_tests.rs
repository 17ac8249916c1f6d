//! What the host is told of messages that were dropped for room: the reports alone, and those of a queue. No thread
//! runs here.

use std::time::Duration;

use super::*;
use crate::queue::outgoing::Work;
use crate::queue::policy::Pace;
use crate::queue::queue::{Overflow, Queue, Settings};
use crate::user::person::Wish;

const MESSAGE: &[u8] = br#"{"messageId":"m"}"#;

/// A queue for ten messages, so that it soon drops some.
fn queue(tells_dropped: bool) -> Queue {
    let settings = Settings {
        room: 4 * (MESSAGE.len() + 1),
        queue_max_bytes: 10 * (MESSAGE.len() as u64 + 1),
        overflow: Overflow::DropOldest,
        flush_at: u32::MAX,
        flush_interval: Duration::from_secs(3_600),
        uploads: 1,
        sync: false,
        tells_dropped,
    };
    Queue::new(settings, None, Wish::NEVER_ASKED)
}

/// Makes it drop a chunk of four.
fn fill(queue: &Queue) {
    (0..11).for_each(|_| queue.push(MESSAGE, Wish::NEVER_ASKED.period).expect("taken"));
    assert_eq!(queue.stats().dropped, 4);
}

/// A dropped chunk of so many messages that holds so many bytes of memory.
fn dropped(number: u64, messages: u64, bytes: usize) -> Dropped {
    let mut shelf = Shelf::default();
    shelf.begin(crate::queue::chunk::Chunk::in_memory(bytes).expect("memory"), 0);
    (0..messages).for_each(|_| shelf.append(MESSAGE).expect("room"));
    shelf.seal();
    let (mut dropped, _) = shelf.drop_oldest().expect("it waits");
    dropped.number = number;
    dropped
}

#[test]
fn the_host_is_told_once_of_what_is_dropped_and_a_flush_waits_for_it() {
    let queue = queue(true);
    fill(&queue);
    drop(queue.stop_taking()); // nothing else is left to wait for
    assert!(!queue.flush(Duration::ZERO), "the host was not told yet");
    assert!(!queue.close(Duration::ZERO, Duration::ZERO));
    let (batch, parts) = queue.take_dropped().expect("a chunk");
    assert_eq!((batch.len(), parts.len(), parts[0].messages.clone(), parts[0].attempts), (4, 1, 0..4, 0));
    assert!(batch.all().all(|message| message == MESSAGE));
    assert!(!queue.flush(Duration::ZERO), "the host is being told");
    assert!(queue.take_dropped().is_none(), "once");
    queue.has_told_dropped();
    assert!(queue.flush(Duration::ZERO) && queue.close(Duration::ZERO, Duration::ZERO));
    assert!(!queue.owes_reports() && queue.close_reports().is_none());
}

#[test]
fn nothing_is_held_for_a_host_that_does_not_want_to_know() {
    let queue = queue(false);
    fill(&queue);
    assert!(queue.lock().reports.is_empty() && !queue.owes_reports());
}

#[test]
fn what_waits_to_be_told_is_bounded_and_the_rest_is_reported() {
    let mut reports = Reports::default();
    let half = HELD_MAX_BYTES / 2;
    for number in 1..=5 {
        reports.add(dropped(number, 10, half));
    }
    assert_eq!((reports.list.len(), reports.held_bytes, reports.untold()), (2, 2 * half, 30));
    let sentence = "on_delivery is not told of 30 messages that were dropped for room: too many at once";
    assert_eq!(reports.take_untold().as_deref(), Some(sentence));
    assert_eq!(reports.take_untold(), None, "once");
    // What is being told stays in memory until the host was told.
    assert_eq!(reports.take().map(|dropped| dropped.number), Some(1));
    reports.add(dropped(6, 1, half));
    let sentence = "on_delivery is not told of 1 message that was dropped for room: too many at once";
    assert_eq!(reports.take_untold().as_deref(), Some(sentence));
    reports.told();
    reports.add(dropped(7, 1, half));
    assert_eq!(reports.list.iter().map(|dropped| dropped.number).collect::<Vec<_>>(), [2, 7]);
    while reports.take().is_some() {
        reports.told();
    }
    assert_eq!((reports.held_bytes, reports.is_settled()), (0, true));
}

#[test]
fn a_chunk_that_is_larger_than_the_bound_is_told_alone() {
    let mut reports = Reports::default();
    reports.add(dropped(1, 1, 2 * HELD_MAX_BYTES));
    reports.add(dropped(2, 1, 100));
    assert_eq!((reports.list.len(), reports.untold()), (1, 1));
}

#[test]
fn a_flush_waits_for_what_is_as_old_or_older() {
    let mut reports = Reports::default();
    assert!(reports.is_empty() && reports.newest() == 0);
    reports.add(dropped(5, 1, 100));
    reports.add(dropped(7, 1, 100));
    assert_eq!(reports.newest(), 7);
    assert!(reports.is_settled_up_to(4) && !reports.is_settled_up_to(5));
    reports.take();
    assert!(!reports.is_settled_up_to(5), "the host is being told");
    reports.told();
    assert!(reports.is_settled_up_to(6) && !reports.is_settled_up_to(7));
}

#[test]
fn what_cannot_be_read_or_comes_too_late_is_reported() {
    let mut reports = Reports::default();
    assert!(reports.begin_reading(&dropped(1, 3, 100), 100));
    assert!(!reports.is_settled());
    reports.end_reading(Err("a file cannot be read".to_owned()));
    let sentence = "on_delivery is not told of 3 messages that were dropped for room: a file cannot be read";
    assert_eq!(reports.take_untold().as_deref(), Some(sentence));
    // At the end one chunk is in memory, one is being read, and one was not read yet.
    reports.add(dropped(2, 10, 100));
    assert!(reports.begin_reading(&dropped(3, 5, 100), 100));
    reports.close(7);
    let sentence = "on_delivery is not told of 22 messages that were dropped for room: the disk did not answer in time";
    assert_eq!(reports.take_untold().as_deref(), Some(sentence));
    reports.end_reading(Ok(dropped(3, 5, 100)));
    reports.close(0);
    assert_eq!((reports.take_untold(), reports.is_empty(), reports.untold()), (None, true, 25));
}

#[test]
fn without_room_to_report_it_a_file_is_not_read() {
    let mut reports = Reports::default();
    reports.add(dropped(1, 1, HELD_MAX_BYTES));
    assert!(!reports.begin_reading(&dropped(2, 3, 100), 100));
    assert_eq!(reports.untold(), 3);
}

#[test]
fn telling_holds_up_nothing_else_and_nothing_else_holds_up_telling() {
    let (queue, mut pace) = (queue(true), Pace::new(1));
    fill(&queue);
    for round in 0..3 {
        let Work::Tell(lines) = queue.next(&mut pace) else { panic!("there is something to tell, round {round}") };
        assert_eq!(lines.len(), usize::from(round == 0));
        // The host is slow, and more is dropped all the time: sending has its turn too.
        let Work::Send { number, .. } = queue.next(&mut pace) else { panic!("and to send, round {round}") };
        queue.not_under_way(number);
    }
    queue.set_paused(true);
    assert!((0..3).all(|_| matches!(queue.next(&mut pace), Work::Tell(_))), "paused, there is nothing else to do");
    queue.set_paused(false);
    drop(queue.stop_taking());
    assert!((0..3).all(|_| matches!(queue.next(&mut pace), Work::Tell(_))), "it does not sleep before that");
    queue.end();
    assert!(matches!(queue.next(&mut pace), Work::Tell(_)), "at the end the host is told too");
    queue.take_dropped().expect("a chunk");
    queue.has_told_dropped();
    assert!(matches!(queue.next(&mut pace), Work::End));
}
