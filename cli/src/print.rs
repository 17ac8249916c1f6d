//! What the developer sees: a line for each event, and below it what is wrong.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use axum::http::StatusCode;
use segment_native::Call;
use serde_json::value::RawValue;

use crate::batch::{Delivery, Refusal};
use crate::event::Event;
use crate::json;
use crate::note::Note;
use crate::output::Output;
use crate::text::{self, Fitted};
use crate::warning::Warning;

/// How wide a line may be where no terminal says so.
const COLUMNS: usize = 120;
/// What stands below an event begins where its type begins.
const MARGIN: usize = 14;
const KIND_COLUMNS: usize = 8;
const SIZE_COLUMNS: usize = 5;

const DIM: Style = Style::new().dimmed();
const LOSS: Style = AnsiColor::Red.on_default();
const LOUD: Style = AnsiColor::Red.on_default().bold();
const ADVICE: Style = AnsiColor::Yellow.on_default();

/// What is shown of the events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing.
    Nothing,
    /// A line each.
    Lines,
    /// A line each, and the whole JSON.
    Json,
}

/// Writes to standard output.
pub(crate) struct Printer {
    /// None at the end.
    output: Option<Output>,
    show: Show,
}

impl Printer {
    /// Shows this much of the events.
    pub(crate) fn new(show: Show) -> io::Result<Self> {
        Ok(Printer { output: Some(Output::new()?), show })
    }

    /// Prints a line, whatever is shown of the events.
    pub(crate) fn sentence(&mut self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// Prints nothing any more: who takes the output writes the last line.
    pub(crate) fn end(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Prints the events of a request, and a line about the request if there is something to say about it.
    pub(crate) fn delivery(&mut self, note: &Note, delivery: &Delivery<'_>) {
        if self.show == Show::Nothing {
            return;
        }
        let mut page = String::new();
        if note.retry.is_some() || note.fault.is_some() || !delivery.warnings.is_empty() {
            request(&mut page, note, StatusCode::OK.as_str());
            delivery.warnings.iter().for_each(|flaw| warning(&mut page, flaw));
        }
        // Thousands of lines would hide the one that matters.
        if !delivery.warnings.iter().any(|flaw| matches!(flaw, Warning::TooMany(_))) {
            let clock = clock(note.received);
            let columns = columns();
            delivery.events.iter().for_each(|event| self.event(&mut page, event, &clock, columns));
        }
        self.write(&page);
    }

    /// Prints the line about a request that is not answered with 200.
    pub(crate) fn refusal(&mut self, note: &Note, refusal: &Refusal) {
        if self.show == Show::Nothing {
            return;
        }
        let mut page = String::new();
        request(&mut page, note, refusal.status.as_str());
        warning(&mut page, &Warning::Refused(refusal.message.clone()));
        self.write(&page);
    }

    /// Prints the line about a request that a fault hit; `status` is what it was answered with.
    pub(crate) fn fault(&mut self, note: &Note, status: Option<u16>) {
        if self.show == Show::Nothing {
            return;
        }
        let mut page = String::new();
        request(&mut page, note, &status.map_or("cut".to_owned(), |status| status.to_string()));
        self.write(&page);
    }

    fn event(&self, page: &mut String, event: &Event<'_>, clock: &str, columns: usize) {
        line(page, event, clock, columns);
        event.warnings.iter().for_each(|flaw| warning(page, flaw));
        if self.show == Show::Json {
            text::pretty(page, &event.shown(), MARGIN);
        }
    }

    fn write(&mut self, page: &str) {
        if let Some(output) = &mut self.output {
            output.put(page);
        }
    }
}

fn request(page: &mut String, note: &Note, outcome: &str) {
    let Note { received, method, path, retry, fault, .. } = note;
    let fault = fault.map(|fault| format!("  fault {fault}")).unwrap_or_default();
    let retry = retry.as_ref().map(|count| format!("  retry {}", text::escaped(count))).unwrap_or_default();
    let (clock, path) = (clock(*received), text::escaped(path));
    put(page, format_args!("{DIM}{clock}  {method} {path}  {outcome}{retry}{fault}{DIM:#}\n"));
}

fn warning(page: &mut String, flaw: &Warning) {
    let style = match flaw {
        Warning::TooMany(_) => LOUD,
        flaw if flaw.is_loss() => LOSS,
        _ => ADVICE,
    };
    put(page, format_args!("{:MARGIN$}{style}! {}{style:#}\n", "", text::escaped(&flaw.to_string())));
}

fn line(page: &mut String, event: &Event<'_>, clock: &str, columns: usize) {
    let (name_columns, user_columns) = ((columns / 5).clamp(10, 40), (columns / 6).clamp(10, 36));
    let (kind, style) = kind(event);
    put(page, format_args!("{DIM}{clock}{DIM:#}  "));
    column(page, &kind, KIND_COLUMNS, style);
    column(page, &shown(event.name()), name_columns, Style::new());
    let user = event.members.user_id.map(|id| (id, Style::new()));
    let anonymous = event.members.anonymous_id.map(|id| (id, DIM));
    let (id, style) = user.or(anonymous).unzip();
    column(page, &shown(id), user_columns, style.unwrap_or_default());
    put(page, format_args!("{:>SIZE_COLUMNS$} B", event.json.len()));
    if let Some(payload) = event.payload() {
        let taken = MARGIN + KIND_COLUMNS + 2 + name_columns + 2 + user_columns + 2 + SIZE_COLUMNS + 4;
        let excerpt = text::fit(text::compact(payload.get()), columns.saturating_sub(taken));
        put(page, format_args!("  {DIM}{}{DIM:#}", excerpt.text));
    }
    page.push('\n');
}

/// The type as it was sent, if it is none of the six.
fn kind<'a>(event: &Event<'a>) -> (Cow<'a, str>, Style) {
    match event.call {
        Some(call) => (Cow::Borrowed(call.name()), color(call).on_default()),
        None => (event.members.kind.map_or(Cow::Borrowed("?"), |kind| shown(Some(kind))), LOSS),
    }
}

fn color(call: Call) -> AnsiColor {
    match call {
        Call::Identify => AnsiColor::Blue,
        Call::Track => AnsiColor::Green,
        Call::Page => AnsiColor::Cyan,
        Call::Screen => AnsiColor::Magenta,
        Call::Group => AnsiColor::Yellow,
        Call::Alias => AnsiColor::BrightBlue,
    }
}

fn shown(value: Option<&RawValue>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), json::shown)
}

fn column(page: &mut String, content: &str, columns: usize, style: Style) {
    let Fitted { text, columns: taken } = text::fit(content.chars(), columns);
    put(page, format_args!("{style}{text}{style:#}{:1$}  ", "", columns - taken));
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text); // a string takes everything
}

fn columns() -> usize {
    let terminal = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    terminal.map_or(COLUMNS, |(width, _)| usize::from(width.0))
}

/// The time of day in UTC.
fn clock(time: SystemTime) -> String {
    let ms = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (seconds, minutes, hours) = (ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000 % 24);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1000)
}
