//! The list as a table.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};

use crate::human;
use crate::spool::listing::{Listing, Queue, Sum, Total};
use crate::spool::row::Row;
use crate::text::{self, Fitted};

const DIM: Style = Style::new().dimmed();
const DAMAGE: Style = AnsiColor::Red.on_default();

/// The names that a spool gives are shorter.
const NAME_COLUMNS: usize = 64;
/// A reason may hold what a server wrote.
const REASON_COLUMNS: usize = 300;

/// A table for each queue, and the sums.
pub(crate) fn page(listing: &Listing) -> String {
    let mut page = String::new();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    for queue in &listing.queues {
        table(&mut page, queue, i64::try_from(now_ms).unwrap_or(i64::MAX));
        page.push('\n');
    }
    page + &total(&listing.total) + "\n"
}

fn table(page: &mut String, queue: &Queue, now_ms: i64) {
    let name = text::escaped(&queue.queue);
    if queue.files.is_empty() {
        put(page, format_args!("queue {name} is empty\n"));
        return;
    }
    put(page, format_args!("queue {name}\n"));
    if let Some(until) = queue.paused_until.as_deref().and_then(|until| until.get(..19)) {
        let reason = queue.pause_reason.as_deref().map(|reason| text::fit(reason.chars(), REASON_COLUMNS).text);
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        put(page, format_args!("  {DAMAGE}nothing is sent before {until}Z{reason}{DAMAGE:#}\n"));
    }
    let names: Vec<Fitted> = queue.files.iter().map(|row| text::fit(row.file.chars(), NAME_COLUMNS)).collect();
    let width = names.iter().map(|name| name.columns).max().unwrap_or_default();
    put(
        page,
        format_args!(
            "  {DIM}{:width$}  {:20}  {:>7}  {:>8}  {:>9}  {:>7}  STATE{DIM:#}\n",
            "FILE", "BEGUN", "AGE", "MESSAGES", "SIZE", "DAMAGED"
        ),
    );
    for (row, name) in queue.files.iter().zip(&names) {
        line(page, row, name, width, now_ms);
    }
}

fn line(page: &mut String, row: &Row, name: &Fitted, width: usize, now_ms: i64) {
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
    // Without the milliseconds.
    let begun = or_unknown(row.created.as_deref().and_then(|time| time.get(..19)).map(|time| format!("{time}Z")));
    let age = or_unknown(row.created_ms.map(|ms| human::age(now_ms.saturating_sub(ms))));
    let messages = or_unknown(row.messages.map(|messages| messages.to_string()));
    let size = human::size(row.bytes.unwrap_or(row.file_bytes));
    let damaged = match row.damaged_lines {
        Some(0) => "-".to_owned(),
        lines => or_unknown(lines.map(|lines| lines.to_string())),
    };
    let style = if row.damaged_lines.is_some_and(|lines| lines > 0) { DAMAGE } else { Style::new() };
    put(page, format_args!("  {}{:2$}", name.text, "", width - name.columns));
    put(page, format_args!("  {begun:20}  {age:>7}  {messages:>8}  {size:>9}  {style}{damaged:>7}{style:#}  "));
    state(page, row);
    page.push('\n');
}

fn state(page: &mut String, row: &Row) {
    let fit = |text: &str| text::fit(text.chars(), REASON_COLUMNS).text;
    let state = match (row.kind, row.owner_runs, &row.reason) {
        ("rejected", _, Some(reason)) => format!("rejected: {}", fit(reason)),
        ("rejected", _, None) => "rejected".to_owned(),
        ("waiting", Some(true), _) => "owner running".to_owned(),
        ("waiting", Some(false), _) => "owner gone".to_owned(),
        ("waiting", None, _) => "waiting".to_owned(),
        _ => "of a newer format".to_owned(),
    };
    page.push_str(&state);
    if let Some(error) = &row.error {
        put(page, format_args!("; {DAMAGE}cannot be read: {}{DAMAGE:#}", fit(error)));
    }
}

fn total(total: &Total) -> String {
    let sum = |sum: &Sum, what: &str| {
        let messages = human::count(sum.messages, "message");
        format!("{messages} {what} in {}, {}", human::count(sum.files, "file"), human::size(sum.bytes))
    };
    let mut sentence = format!("total: {}", sum(&total.waiting, "waiting"));
    if total.rejected.files > 0 {
        sentence += &format!("; {}", sum(&total.rejected, "rejected"));
    }
    if total.damaged_lines > 0 {
        sentence += &format!("; {DAMAGE}{} damaged{DAMAGE:#}", human::count(total.damaged_lines, "line"));
    }
    if total.unreadable_files > 0 {
        let files = human::count(total.unreadable_files, "file");
        sentence += &format!("; {DAMAGE}{files} not readable{DAMAGE:#}");
    }
    if total.newer_files > 0 {
        sentence += &format!("; {} of a newer format", human::count(total.newer_files, "file"));
    }
    sentence
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text); // a string takes everything
}
