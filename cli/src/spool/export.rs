//! `segment spool export`: messages out of the folder, into a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;
use segment_native::bindings::survey::{self, Kind};

use crate::human;
use crate::spool::gone;
use crate::terminal::{self, complain};

/// Write the messages of clients that are gone into a file, as JSON Lines
///
/// `segment import` and `segment send` read it. What a running client has is left to it. Damaged lines are skipped and
/// told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A spool folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write; the file must not be there yet. A name that ends with .gz is packed
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What was given up instead of what waits
    #[arg(long)]
    rejected: bool,
    /// Delete from the folder what was written, once it is safe on the disk
    #[arg(long)]
    remove: bool,
}

#[derive(Default)]
struct Sums {
    messages: usize,
    files: usize,
    damaged: usize,
    unreadable: usize,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let queues = survey::queues(&options.folder)?;
    let about = |error: io::Error| {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", options.output.display()))
    };
    let file = OpenOptions::new().write(true).create_new(true).open(&options.output).map_err(about)?;
    let mut sums = Sums::default();
    let is_packed = options.output.extension().is_some_and(|end| end == "gz");
    let mut out: Box<dyn Write> = match is_packed {
        true => Box::new(BufWriter::new(GzEncoder::new(file.try_clone().map_err(about)?, Compression::default()))),
        false => Box::new(BufWriter::new(file.try_clone().map_err(about)?)),
    };
    let is_rejected = |file: &&survey::File| matches!(file.kind, Kind::Rejected { .. });
    let rejected: Vec<&survey::File> = queues.iter().flat_map(|queue| &queue.files).filter(is_rejected).collect();
    let (waiting, living) = if options.rejected { (Vec::new(), 0) } else { gone::hold(&queues)? };
    let files =
        waiting.iter().flat_map(|gone| &gone.files).chain(rejected.iter().copied().filter(|_| options.rejected));
    for file in files {
        sums.write(file, &mut out).map_err(about)?;
    }
    finish(out, &file).map_err(about)?;
    // What cannot be read whole stays.
    if options.remove && sums.damaged + sums.unreadable == 0 {
        waiting.into_iter().try_for_each(|gone| gone.remove(true))?;
        rejected.into_iter().filter(|_| options.rejected).try_for_each(gone::remove_rejected)?;
    } else if options.remove {
        complain("nothing was deleted, because not all could be read");
    }
    if living > 0 {
        complain(&format!("{} left to clients that run", human::count(living, "file")));
    }
    let sums_said = format!("{} from {}", human::count(sums.messages, "message"), human::count(sums.files, "file"));
    terminal::say(&format!("{sums_said} written to {}", options.output.display()))?;
    Ok(if sums.damaged + sums.unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Sums {
    fn write(&mut self, file: &survey::File, out: &mut dyn Write) -> io::Result<()> {
        let content = match file.read() {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.unreadable += 1;
                complain(&format!("{} cannot be read: {error}", file.path.display()));
                return Ok(());
            }
        };
        for message in &content.messages {
            writeln!(out, "{message}")?;
        }
        self.files += 1;
        self.messages += content.messages.len();
        self.damaged += content.damaged_lines;
        if content.damaged_lines > 0 {
            let lines = human::count(content.damaged_lines, "damaged line");
            complain(&format!("{lines} in {} not written", file.path.display()));
        }
        Ok(())
    }
}

/// Once this is over the file survives a loss of power.
fn finish(mut out: Box<dyn Write>, file: &File) -> io::Result<()> {
    out.flush()?;
    drop(out); // ends what is packed
    file.sync_all()
}
