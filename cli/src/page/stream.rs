//! What the page is told while it is open: server-sent events. Nothing is queued for it: it is told what it has not
//! seen whenever it has read what it was told, so a slow reader costs nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::fault::Fault;
use crate::page::shown::Page;

/// As much is told at once. The page reads it between two frames.
const MAX_BYTES: usize = 128 * 1024;
/// What comes within this time is told together.
const PAUSE: Duration = Duration::from_millis(50);
/// A reader that has gone away is noticed by this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct From {
    /// The journal that the page knows.
    #[serde(default)]
    journal: String,
    /// The last row that it has seen of it.
    #[serde(default)]
    after: u64,
}

/// Where a reader is.
struct Reader {
    page: Arc<Page>,
    changed: watch::Receiver<bool>,
    greeted: bool,
    after: u64,
    first: u64,
    fault: Option<Fault>,
    trouble: Option<String>,
}

/// Tells a page everything after what it has seen.
pub(super) async fn stream(
    State(page): State<Arc<Page>>,
    Query(from): Query<From>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A store that could not be written may have less than the page.
    let is_known = from.journal == page.journal.name && from.after <= page.journal.after(u64::MAX, 0).last;
    let after = if is_known { from.after } else { 0 };
    let changed = page.journal.watch();
    let reader = Reader { page, changed, greeted: false, after, first: 0, fault: None, trouble: None };
    let told = unfold(reader, |mut reader| async { reader.next().await.map(|event| (Ok(event), reader)) });
    Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

impl Reader {
    /// The next thing to tell.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(self.greeting());
        }
        loop {
            if *self.changed.borrow_and_update() {
                return None;
            }
            if let Some(event) = self.news() {
                return Some(event);
            }
            self.changed.changed().await.ok()?;
            sleep(PAUSE).await;
        }
    }

    fn greeting(&self) -> Event {
        let Page { journal, plan, store, .. } = &*self.page;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let hello = json!({
            "journal": journal.name,
            "version": env!("CARGO_PKG_VERSION"),
            "keep": journal.keep,
            "after": self.after,
            "plan": plan,
            "store": store,
            "now": u64::try_from(now).unwrap_or(u64::MAX),
        });
        Event::default().event("hello").data(hello.to_string())
    }

    fn news(&mut self) -> Option<Event> {
        let fault = self.page.faults.now();
        if self.fault.as_ref() != Some(&fault) {
            let text = serde_json::to_string(&fault).expect("a fault can be written as JSON");
            self.fault = Some(fault);
            return Some(Event::default().event("fault").data(text));
        }
        let trouble = self.page.journal.trouble();
        if self.trouble != trouble {
            self.trouble.clone_from(&trouble);
            return Some(Event::default().event("trouble").data(json!(trouble).to_string()));
        }
        let page = self.page.journal.after(self.after, MAX_BYTES);
        if page.rows.is_empty() && page.first == self.first {
            return None;
        }
        self.first = page.first;
        self.after = page.last;
        Some(Event::default().event("rows").data(format!(
            r#"{{"first":{},"rows":[{}]}}"#,
            page.first,
            page.rows.join(",")
        )))
    }
}
