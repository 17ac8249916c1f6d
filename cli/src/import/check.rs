//! The dry check: what Segment would refuse, and what it would misread, before anything is sent.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use segment_native::bindings::doubts;
use segment_native::{Client, Config, Edit};
use serde::Serialize;

use crate::connection;
use crate::human::count;
use crate::import::rows::Ready;
use crate::text;

/// So many rows that would be refused are told one by one.
const EXAMPLES: usize = 10;

/// What was found.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    pub(crate) rows: u64,
    pub(crate) refused: u64,
    /// The first rows that would be refused, and why.
    pub(crate) examples: Vec<Example>,
    /// Rows without a time: they would count as happening now.
    pub(crate) without_time: u64,
    pub(crate) doubts: BTreeMap<&'static str, Doubts>,
}

#[derive(Serialize)]
pub(crate) struct Example {
    line: u64,
    reason: String,
}

/// Doubts of one kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Doubts {
    rows: u64,
    first_line: u64,
    sentence: String,
}

/// Says of each row what the library would say when sending it, because it is the library that is asked.
pub(crate) struct Checker {
    client: Client,
    now_ms: i64,
}

impl Checker {
    pub(crate) fn new(write_key: &str) -> io::Result<Self> {
        let config =
            Config { dry_run: true, before_send: Some(Box::new(|_| Ok(Edit::Drop))), ..Config::new(write_key) };
        let client = Client::new(config).map_err(|error| connection::trouble(&error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Checker { client, now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX) })
    }

    /// Looks at a row; why it would be refused, if so.
    pub(crate) fn look(&self, ready: &Ready, check: &mut Check) -> Option<String> {
        check.rows += 1;
        let line = ready.row.line;
        let taken = match &ready.made {
            Ok(made) => self.client.enqueue(&made.json).map(|()| made).map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        };
        match taken {
            Err(reason) => {
                check.refused += 1;
                if check.examples.len() < EXAMPLES {
                    check.examples.push(Example { line, reason: reason.clone() });
                }
                Some(reason)
            }
            Ok(made) => {
                check.without_time += u64::from(!made.has_time);
                for doubt in doubts::check_json(&made.json, self.now_ms).unwrap_or_default() {
                    let first = || Doubts { rows: 0, first_line: line, sentence: doubt.sentence };
                    check.doubts.entry(doubt.kind).or_insert_with(first).rows += 1;
                }
                None
            }
        }
    }
}

impl Check {
    /// What a person should know, in lines.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let rows = |rows: u64| count(usize::try_from(rows).unwrap_or(usize::MAX), "row");
        let mut lines = vec![format!("{name}: {} checked, {} would be refused", rows(self.rows), self.refused)];
        lines.extend(self.examples.iter().map(|example| format!("  line {}: {}", example.line, example.reason)));
        let more = self.refused - self.examples.len() as u64;
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        if self.without_time > 0 {
            lines.push(format!(
                "  doubtful: {} without a timestamp: they would count as happening now",
                rows(self.without_time)
            ));
        }
        for Doubts { rows: number, first_line, sentence } in self.doubts.values() {
            lines.push(format!("  doubtful: {}, the first on line {first_line}: {sentence}", rows(*number)));
        }
        lines.into_iter().map(|line| text::escaped(&line)).collect()
    }
}
