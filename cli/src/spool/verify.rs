//! `segment spool verify`: whether all lines are as they were written.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use segment_native::bindings::survey::{self, File, Kind};

use crate::human;
use crate::terminal::say;

/// Check every line in a spool folder
///
/// Ends with 0 if all is as it was written, with 1 if something is damaged or cannot be read, and with 2 if there is no
/// such folder. The line that a running client is writing just now is no damage.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Default)]
struct Sums {
    files: usize,
    messages: usize,
    damaged_files: usize,
    damaged_lines: usize,
    unreadable: usize,
    newer: usize,
}

/// Prints a line for each file with damage, and the sums.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut sums = Sums::default();
    for file in survey::queues(&options.folder)?.iter().flat_map(|queue| &queue.files) {
        if let Some(flaw) = sums.check(file) {
            say(&format!("{} {flaw}", file.path.display()))?;
        }
    }
    say(&sums.sentence())?;
    let good = sums.damaged_files + sums.unreadable == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Sums {
    /// Counts a file; what is wrong with it.
    fn check(&mut self, file: &File) -> Option<String> {
        if let Kind::Newer { .. } = file.kind {
            self.newer += 1;
            return None;
        }
        let content = match file.read() {
            Ok(content) => content?,
            Err(error) => {
                self.unreadable += 1;
                return Some(format!("cannot be read: {error}"));
            }
        };
        self.files += 1;
        self.messages += content.messages.len();
        self.damaged_lines += content.damaged_lines;
        self.damaged_files += usize::from(content.damaged_lines > 0);
        let lines = content.messages.len() + content.damaged_lines;
        (content.damaged_lines > 0)
            .then(|| format!("is damaged: {} of {}", content.damaged_lines, human::count(lines, "line")))
    }

    fn sentence(&self) -> String {
        let mut sentence = format!(
            "{} checked, {} good, {} damaged",
            human::count(self.files, "file"),
            human::count(self.messages, "message"),
            human::count(self.damaged_lines, "line"),
        );
        if self.damaged_files > 0 {
            sentence += &format!(" in {}", human::count(self.damaged_files, "file"));
        }
        if self.unreadable > 0 {
            sentence += &format!(", {} not readable", human::count(self.unreadable, "file"));
        }
        if self.newer > 0 {
            sentence += &format!(", {} of a newer format left alone", human::count(self.newer, "file"));
        }
        sentence
    }
}
