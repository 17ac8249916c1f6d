//! What arrived lately, for those who look at it later: rows with consecutive numbers, of which the last are kept.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use uuid::Uuid;

use crate::lock::lock;
use crate::store::{Kept, Store};
use crate::terminal;

/// Rows never take more memory than this, however few events that are.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The rows, shared by those who add them and those who read them.
pub(crate) struct Journal {
    rows: Mutex<Rows>,
    /// Whether it is over.
    changed: watch::Sender<bool>,
    /// Numbers belong to a journal: where it has another name, they begin anew.
    pub(crate) name: String,
    /// How many events are kept.
    pub(crate) keep: usize,
}

struct Rows {
    kept: VecDeque<Row>,
    /// The number of the next row.
    next: u64,
    events: usize,
    bytes: usize,
    keep: usize,
    store: Option<Store>,
    /// Why rows are no longer stored.
    trouble: Option<String>,
}

struct Row {
    text: Arc<str>,
    is_event: bool,
}

/// Some rows that follow each other.
pub(crate) struct Page {
    /// The number of the oldest row that is kept.
    pub(crate) first: u64,
    /// The number of the last row here, or of the one that was asked for.
    pub(crate) last: u64,
    pub(crate) rows: Vec<Arc<str>>,
}

impl Journal {
    /// A journal of the last `keep` events; in a file, too, if there is a path.
    pub(crate) fn new(keep: usize, store: Option<&Path>) -> io::Result<Journal> {
        let mut name = Uuid::new_v4().to_string();
        let mut rows = Rows { kept: VecDeque::new(), next: 1, events: 0, bytes: 0, keep, store: None, trouble: None };
        if let Some(path) = store {
            let store = Store::open(path, &name, |kept| match kept {
                Kept::Row { n, is_event, text } => {
                    if n != rows.next {
                        rows.clear(); // rows are missing, so what stood before them does not belong to them
                        rows.next = n;
                    }
                    rows.push(Row { text: text.into(), is_event });
                }
                Kept::Cleared => rows.clear(),
            })?;
            name.clone_from(&store.journal);
            rows.store = Some(store);
        }
        Ok(Journal { rows: Mutex::new(rows), changed: watch::Sender::new(false), name, keep })
    }

    /// Adds rows that belong together: nothing comes between them.
    pub(crate) fn add<T>(&self, write: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        let mut rows = self.rows();
        let written = write(&mut Writer(&mut rows));
        rows.keep_trouble(|store| store.flush());
        drop(rows);
        self.tell();
        written
    }

    /// Forgets all rows. A file keeps them, and that they were cleared.
    pub(crate) fn clear(&self) {
        let mut rows = self.rows();
        rows.clear();
        let last = rows.next - 1;
        rows.keep_trouble(|store| store.clear(last).and_then(|()| store.flush()));
        drop(rows);
        self.tell();
    }

    /// The rows after number `after`: about as many as fit into `bytes`, but at least one if there is one.
    pub(crate) fn after(&self, after: u64, bytes: usize) -> Page {
        let rows = self.rows();
        let first = rows.first();
        let start = after.saturating_add(1).clamp(first, rows.next);
        let mut page = Page { first, last: start - 1, rows: Vec::new() };
        let mut taken = 0;
        for row in rows.kept.range((start - first) as usize..) {
            if taken >= bytes {
                break;
            }
            taken += row.text.len();
            page.rows.push(row.text.clone());
            page.last += 1;
        }
        page
    }

    /// Why rows are no longer stored, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.rows().trouble.clone()
    }

    /// Says that there is something new, here or elsewhere.
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|_| {});
    }

    /// Says that nothing will come any more.
    pub(crate) fn close(&self) {
        self.changed.send_replace(true);
    }

    /// Wakes up when there is something new.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing in it is half changed when a thread panics.
        lock(&self.rows)
    }
}

/// Adds rows to a journal that is locked.
pub(crate) struct Writer<'a>(&'a mut Rows);

impl Writer<'_> {
    /// Adds a row, which is written once its number is known; the number.
    pub(crate) fn row(&mut self, is_event: bool, text: impl FnOnce(u64) -> String) -> u64 {
        let n = self.0.next;
        let text = text(n);
        self.0.keep_trouble(|store| store.add(&text));
        self.0.push(Row { text: text.into(), is_event });
        n
    }
}

impl Rows {
    fn first(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    fn push(&mut self, row: Row) {
        self.next += 1;
        self.events += usize::from(row.is_event);
        self.bytes += row.text.len();
        self.kept.push_back(row);
        while self.events > self.keep || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.events -= usize::from(oldest.is_event);
            self.bytes -= oldest.text.len();
        }
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.events = 0;
        self.bytes = 0;
    }

    /// A full disk must not end the collector: it is told, and nothing is stored any more.
    fn keep_trouble(&mut self, write: impl FnOnce(&mut Store) -> io::Result<()>) {
        if let Some(store) = &mut self.store
            && let Err(error) = write(store)
        {
            terminal::complain(&format!("events are no longer stored: {error}"));
            self.trouble = Some(error.to_string());
            self.store = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(keep: usize) -> Journal {
        Journal::new(keep, None).expect("a journal")
    }

    fn add(journal: &Journal, is_event: bool) -> u64 {
        journal.add(|writer| writer.row(is_event, |n| format!("row {n}")))
    }

    fn texts(page: &Page) -> Vec<&str> {
        page.rows.iter().map(|row| &**row).collect()
    }

    #[test]
    fn rows_are_read_from_where_one_stopped() {
        let journal = journal(10);
        assert_eq!([add(&journal, false), add(&journal, true), add(&journal, true)], [1, 2, 3]);
        let page = journal.after(1, 5);
        assert_eq!((texts(&page), page.first, page.last), (vec!["row 2"], 1, 2));
        let page = journal.after(2, 500);
        assert_eq!((texts(&page), page.last), (vec!["row 3"], 3));
        let page = journal.after(3, 500);
        assert_eq!((texts(&page), page.last), (vec![], 3));
        assert_eq!(journal.after(99, 500).last, 3);
    }

    #[test]
    fn the_oldest_rows_are_forgotten() {
        let journal = journal(2);
        for is_event in [true, false, true, true] {
            add(&journal, is_event);
        }
        let page = journal.after(0, 500);
        assert_eq!((texts(&page), page.first), (vec!["row 2", "row 3", "row 4"], 2));
    }

    #[test]
    fn numbers_go_on_after_a_clearing() {
        let journal = journal(2);
        add(&journal, true);
        journal.clear();
        let page = journal.after(0, 500);
        assert_eq!((page.first, page.last, page.rows.len()), (2, 1, 0));
        assert_eq!(add(&journal, true), 2);
    }

    #[test]
    fn a_stored_journal_goes_on() {
        let path = std::env::temp_dir().join(format!("segment-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path); // of an earlier run
        let row = |n| format!(r#"{{"n":{n},"kind":"event"}}"#);
        let before = Journal::new(2, Some(&path)).expect("a journal");
        for n in 1..=3 {
            assert_eq!(before.add(|writer| writer.row(true, row)), n);
        }
        let name = before.name.clone();
        drop(before);
        let after = Journal::new(2, Some(&path)).expect("a journal");
        assert_eq!(after.name, name);
        assert_eq!(after.after(0, 500).rows.iter().map(|row| row.to_string()).collect::<Vec<_>>(), [row(2), row(3)]);
        assert_eq!(after.add(|writer| writer.row(true, row)), 4);
        std::fs::remove_file(path).expect("removed");
    }
}
