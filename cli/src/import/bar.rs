//! The progress bar; where nobody watches a terminal, a line now and then.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::lock::lock;
use crate::terminal::{SHOWN, complain};

/// How often a log gets a line.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// How far something has come.
pub(crate) struct Bar {
    bar: ProgressBar,
    name: String,
    began: Instant,
    last_line: Instant,
    at_first: u64,
    is_quiet: bool,
}

impl Bar {
    /// For so many rows, of which `done` need no work any more.
    pub(crate) fn new(name: &str, what: &str, total: Option<u64>, done: u64, is_quiet: bool) -> Self {
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let bar = ProgressBar::with_draw_target(total, target).with_position(done);
        let template = match total {
            Some(_) => "{prefix} {bar:30} {human_pos}/{human_len}  {rate}  {eta} left{msg}",
            None => "{prefix} {spinner} {human_pos}  {rate}{msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0}/s", state.per_sec()); // a bar without a rate is a bar
            }));
        }
        bar.set_prefix(format!("{what} {name}"));
        bar.reset_eta();
        *lock(&SHOWN) = Some(bar.clone());
        let now = Instant::now();
        Bar { bar, name: format!("{what} {name}"), began: now, last_line: now, at_first: done, is_quiet }
    }

    /// So many rows need no work any more, so many of them because they were refused.
    pub(crate) fn set(&mut self, done: u64, refused: u64) {
        self.bar.set_position(done);
        if refused > 0 {
            self.bar.set_message(format!("  {refused} refused"));
        }
        if self.bar.is_hidden() && !self.is_quiet && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let rate = (done - self.at_first) as f64 / self.began.elapsed().as_secs_f64();
            let of = self.bar.length().map_or(String::new(), |total| format!(" of {total}"));
            complain(&format!("{}: {done}{of} rows, {rate:.0} a second, {refused} refused", self.name));
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        lock(&SHOWN).take();
        self.bar.finish_and_clear();
    }
}
