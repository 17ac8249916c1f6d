//! `segment spool cat`: the messages themselves.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segment_native::bindings::survey::{self, Content, File, Kind};

use crate::human;
use crate::terminal::{complain, trouble, unless_closed};

/// Print the messages that wait for delivery, one JSON a line, the oldest file first
///
/// Damaged lines are left out, and counted on standard error. Ends with 2 if a file could not be read.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder, or one file in it
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// Print what was given up for good instead
    #[arg(long)]
    rejected: bool,
}

/// Prints the messages.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let path = &options.path;
    let queues = match survey::queues(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let content = survey::read(path).map_err(|error| unreadable(path, &error))?;
            unless_closed(print(&mut out, path, &content).and_then(|()| out.flush()))?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let sentence = format!("there is no file or folder {}", path.display());
            return Err(io::Error::new(error.kind(), sentence));
        }
        queues => queues?,
    };
    let mut files: Vec<File> = queues.into_iter().flat_map(|queue| queue.files).collect();
    files.retain(|file| match file.kind {
        Kind::Waiting => !options.rejected,
        Kind::Rejected { .. } => options.rejected,
        _ => true, // and then its reading says that it cannot be read
    });
    // Their names begin with the time.
    files.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    let mut all_read = true;
    unless_closed(print_all(&mut out, &files, &mut all_read))?;
    Ok(if all_read { ExitCode::SUCCESS } else { trouble() })
}

fn print_all(out: &mut impl Write, files: &[File], all_read: &mut bool) -> io::Result<()> {
    for file in files {
        match file.read() {
            Ok(Some(content)) => print(out, &file.path, &content)?,
            Ok(None) => {} // delivered meanwhile
            Err(error) => {
                *all_read &= matches!(file.kind, Kind::Newer { .. }); // which is told, and no fault
                complain(&unreadable(&file.path, &error).to_string());
            }
        }
    }
    out.flush()
}

fn print(out: &mut impl Write, path: &Path, content: &Content) -> io::Result<()> {
    for message in &content.messages {
        writeln!(out, "{message}")?;
    }
    match content.damaged_lines {
        0 => {}
        1 => complain(&format!("1 damaged line was skipped in {}", path.display())),
        many => complain(&format!("{} were skipped in {}", human::count(many, "damaged line"), path.display())),
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()))
}
