//! One input, and how it is to be imported.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;

use crate::import::bar::Bar;
use crate::import::check::{Check, Checker};
use crate::import::journal::{Journal, Progress};
use crate::import::mapping::Mapping;
use crate::import::options::Options;
use crate::import::refused::Refused;
use crate::import::rows::{self, Content, Format, Reading};
use crate::import::stable::Ids;
use crate::input::Input;
use crate::interrupt;
use crate::send::read_ahead;
use crate::shipment::GLANCE;
use crate::terminal::complain;

/// What is to be done with one input.
pub(crate) struct Job {
    pub(crate) input: Input,
    pub(crate) reading: Reading,
    content: Option<Content>,
    pub(crate) journal: Option<Journal>,
    pub(crate) refused: PathBuf,
    pub(crate) check: Option<Check>,
}

impl Job {
    /// Opens the input and its journal.
    pub(crate) fn open(options: &Options, input: Input, key: &str) -> io::Result<Self> {
        let opened = input.open()?;
        let is_tab = input.file_name().trim_end_matches(".gz").ends_with(".tsv");
        let delimiter = options.delimiter.unwrap_or(if is_tab { '\t' } else { ',' });
        let delimiter = u8::try_from(delimiter).map_err(|_| io::Error::other("--delimiter must be one byte"))?;
        let format = options.format.unwrap_or_else(|| Format::of(&input));
        let ids = Ids::new(key, format.first_row(&opened.beginning, delimiter));
        let endpoint = options.connection.endpoint.as_deref().unwrap_or_default();
        let folder = options.journal.as_deref().unwrap_or(input.folder());
        let hash = ids.of_job(endpoint, &options.shard.to_string());
        let base = format!("{}.import-{}", input.file_name(), &hash[..8]);
        let has_journal = !options.dry_run && (input.is_file() || options.journal.is_some());
        let journal = has_journal.then(|| Journal::open(&folder.join(format!("{base}.journal")), options.anew));
        let reading = Reading {
            format,
            delimiter,
            mapping: Mapping {
                map: options.map.clone(),
                set: options.set.clone(),
                only_mapped: options.only_mapped,
                id_column: options.id_column.clone(),
                time: options.time,
            },
            shard: options.shard,
            ids,
        };
        if reading.format == Format::Jsonl && (!options.map.is_empty() || options.only_mapped) {
            return Err(io::Error::other(format!(
                "--map and --only-mapped are for CSV, and {} is read as JSON Lines",
                input.name()
            )));
        }
        Ok(Job {
            reading,
            // A file is opened again when its turn has come.
            content: (!input.is_file()).then(|| Content { bytes: opened.content, is_plain_file: opened.is_plain_file }),
            journal: journal.transpose()?,
            refused: folder.join(format!("{base}.refused.jsonl")),
            check: None,
            input,
        })
    }

    /// Checks the rows that are left, unless that was done before or cannot be done; whether it came to the end.
    pub(crate) fn check(&mut self, options: &Options, key: &str) -> io::Result<bool> {
        let can_be = self.input.is_file() || options.dry_run;
        let progress = self.progress();
        // What an earlier run left was checked then, but maybe not for --strict.
        let is_new = progress.done || options.strict || progress.row == 0 && progress.total.is_none();
        if options.no_check || !can_be || self.is_done() || !is_new {
            return Ok(true);
        }
        let mut refused = match options.dry_run {
            true => None,
            false => Some(Refused::open(&self.refused, progress.refused_bytes)?),
        };
        let checker = Checker::new(key)?;
        let mut check = Check::default();
        let content = self.content()?;
        let ahead = read_ahead(self.reading.rows(&self.input, content, &progress)?);
        let mut bar = Bar::new(&self.input.name(), "checking", None, 0, options.quiet);
        loop {
            match ahead.recv_timeout(GLANCE) {
                _ if interrupt::came() => return Ok(false),
                Ok(ready) => {
                    let ready = ready.map_err(|error| rows::about(&self.input, error))?;
                    if let (Some(reason), Some(refused)) = (checker.look(&ready, &mut check), &mut refused) {
                        refused.add(&ready.row, &reason)?;
                    }
                    if check.rows.is_multiple_of(1024) {
                        bar.set(check.rows, check.refused);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        bar.end();
        if !options.json {
            for line in check.lines(&self.input.name()) {
                complain(&line);
            }
        }
        self.check = Some(check);
        Ok(true)
    }

    /// Whether all was imported before. Of a pipe nobody knows.
    pub(crate) fn is_done(&self) -> bool {
        let (progress, bytes) = (self.progress(), self.input.bytes());
        progress.done && bytes.is_some() && bytes == progress.done_at_bytes
    }

    /// How far it had come before.
    pub(crate) fn progress(&self) -> Progress {
        self.journal.as_ref().map(|journal| journal.progress().clone()).unwrap_or_default()
    }

    /// Its content from the beginning.
    pub(crate) fn content(&mut self) -> io::Result<Content> {
        if let Some(content) = self.content.take() {
            return Ok(content);
        }
        let opened = self.input.open()?;
        Ok(Content { bytes: opened.content, is_plain_file: opened.is_plain_file })
    }
}
