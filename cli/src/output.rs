//! Standard output, written by a thread of its own: whoever does not read it must not hold up the requests.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// While so much waits to be written, lines are left out. It is much, so that only those miss lines who do not read
/// them.
const MAX_PAGES: usize = 1024;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Takes pages, which are lines that belong together, and writes them in their order.
pub(crate) struct Output {
    pages: SyncSender<String>,
    /// How many bytes wait.
    waiting: Arc<AtomicUsize>,
    /// How many lines were left out since the last page that was taken.
    left_out: usize,
    thread: JoinHandle<io::Result<()>>,
}

impl Output {
    /// Starts the thread.
    pub(crate) fn new() -> io::Result<Self> {
        let (pages, taken) = sync_channel(MAX_PAGES);
        let waiting = Arc::<AtomicUsize>::default();
        let written = waiting.clone();
        let thread = thread::Builder::new().name("output".to_owned()).spawn(move || write(&taken, &written))?;
        Ok(Output { pages, waiting, left_out: 0, thread })
    }

    /// Has a page written soon, or leaves it out. Never waits.
    pub(crate) fn put(&mut self, page: &str) {
        let whole = self.after_gap(page);
        let bytes = whole.len();
        let has_room = self.waiting.fetch_add(bytes, Ordering::Relaxed) < MAX_BYTES;
        if has_room && self.pages.try_send(whole).is_ok() {
            self.left_out = 0;
        } else {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.left_out += page.lines().count();
        }
    }

    /// Waits until everything is written, and this page as the last.
    pub(crate) fn end(self, page: &str) -> io::Result<()> {
        let last = self.after_gap(page);
        self.waiting.fetch_add(last.len(), Ordering::Relaxed);
        let _ = self.pages.send(last); // fails only if the thread is gone, and the join says so
        drop(self.pages);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("standard output was not written")))
    }

    /// The page, after a line about what is missing before it.
    fn after_gap(&self, page: &str) -> String {
        match self.left_out {
            0 => page.to_owned(),
            lines => format!("{lines} lines were left out, because nobody read them\n{page}"),
        }
    }
}

/// Writes what comes, until nothing can come any more; how it went with the last page.
fn write(pages: &Receiver<String>, waiting: &AtomicUsize) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let mut written = Ok(());
    for page in pages {
        // Where nobody reads the lines, the collector still answers: a reader like `head` must not end it.
        written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
        waiting.fetch_sub(page.len(), Ordering::Relaxed);
    }
    written
}
