//! The rows of an input as messages, from where an earlier run stopped.

use std::io::{self, BufRead};

use clap::ValueEnum;

use crate::import::journal::Progress;
use crate::import::mapping::{Made, Mapping};
use crate::import::shard::Shard;
use crate::import::stable::{Ids, mark};
use crate::import::table::{self, Table};
use crate::input::{BYTE_ORDER_MARK, Input, Lines, Row};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One message in JSON a line
    Jsonl,
    /// A header, and a row of values for each message
    Csv,
}

impl Format {
    /// By the name of the input.
    pub(crate) fn of(input: &Input) -> Self {
        let name = input.file_name().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.ends_with(".csv") || name.ends_with(".tsv") { Format::Csv } else { Format::Jsonl }
    }

    /// What no later append changes: the first line that is not empty; of a table the header and the first row.
    pub(crate) fn first_row(self, beginning: &[u8], delimiter: u8) -> &[u8] {
        let text = beginning.strip_prefix(BYTE_ORDER_MARK).unwrap_or(beginning);
        match self {
            Format::Jsonl => {
                let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                lines.find(|line| !line.is_empty()).unwrap_or_default()
            }
            Format::Csv => text[..table::first_row_end(text, delimiter)].trim_ascii(),
        }
    }
}

/// A row and the message made of it, or why there is none.
pub(crate) struct Ready {
    pub(crate) row: Row,
    pub(crate) made: Result<Made, String>,
}

/// How an input is read.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) delimiter: u8,
    pub(crate) mapping: Mapping,
    pub(crate) shard: Shard,
    pub(crate) ids: Ids,
}

type Rows = Box<dyn Iterator<Item = io::Result<Ready>> + Send>;

impl Reading {
    /// The rows of this shard behind those that are settled, of which the last must be as it was. `content` is the
    /// input from its beginning.
    pub(crate) fn rows(&self, input: &Input, content: Content, from: &Progress) -> io::Result<Rows> {
        let mut rows = match self.format {
            Format::Jsonl if from.row > 0 && content.is_plain_file => {
                let lines =
                    Lines::resumed(input.open_at(from.offset)?, from.row - 1, from.line.saturating_sub(1), from.offset);
                self.of_lines(lines, from.row)
            }
            Format::Jsonl => self.of_lines(Lines::new(content.bytes), from.row),
            Format::Csv => self.of_table(input, content, from.row)?,
        };
        let Some(last) = from.mark.clone() else { return Ok(rows) };
        let (number, mut is_known, name) = (from.row, false, input.name());
        Ok(Box::new(std::iter::from_fn(move || {
            if !is_known {
                match rows.next() {
                    Some(Ok(Ready { row, .. })) if row.number == number && mark(&row) == last => is_known = true,
                    Some(Err(error)) => return Some(Err(error)),
                    _ => {
                        let sentence = format!(
                            "{name} is another file than the journal knows: row {number} is not the \
                             one that was imported; --anew begins at the first row"
                        );
                        return Some(Err(io::Error::new(io::ErrorKind::InvalidInput, sentence)));
                    }
                }
            }
            rows.next()
        })))
    }

    /// The rows from the last settled one on.
    fn of_lines<R: BufRead + Send + 'static>(&self, lines: Lines<R>, settled: u64) -> Rows {
        let Reading { mapping, shard, ids, .. } = self.clone();
        let is_ours = move |row: &Row| row.number >= settled && shard.has(row.number);
        let rows = lines.filter(move |row| row.as_ref().map_or(true, is_ours));
        Box::new(rows.map(move |row| {
            let row = row?;
            let made = row.text.as_deref().map_err(|reason| reason.to_owned());
            let made = made.map(|text| mapping.of_json(text, &ids, row.number));
            Ok(Ready { row, made })
        }))
    }

    fn of_table(&self, input: &Input, content: Content, settled: u64) -> io::Result<Rows> {
        let mut table =
            Table::open(content.bytes, self.delimiter, &self.mapping).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => io::Error::new(error.kind(), format!("{}: {error}", input.name())),
                _ => input.about(&error),
            })?;
        let (shard, ids) = (self.shard, self.ids);
        Ok(Box::new(std::iter::from_fn(move || {
            loop {
                match table.next_record() {
                    Err(error) => return Some(Err(error)),
                    Ok(None) => return None,
                    Ok(Some(record)) if record.number < settled || !shard.has(record.number) => {}
                    Ok(Some(record)) => {
                        let (row, made) = table.read(&record, &ids);
                        return Some(Ok(Ready { row, made }));
                    }
                }
            }
        })))
    }
}

/// The error with the name of the input, unless it is about more than reading.
pub(crate) fn about(input: &Input, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidInput { error } else { input.about(&error) }
}

/// An input that is open.
pub(crate) struct Content {
    pub(crate) bytes: Box<dyn BufRead + Send>,
    pub(crate) is_plain_file: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_stays_when_a_file_grows() {
        let of = |format: Format, text: &str| format.first_row(text.as_bytes(), b',').escape_ascii().to_string();
        for text in ["{1}", "{1}\n", "\u{feff}{1}\r\n{2}", "\n \n{1}\n{2}\n"] {
            assert_eq!(of(Format::Jsonl, text), "{1}", "{text:?}");
        }
        for text in ["a,b\n1,2", "a,b\n1,2\n", "\u{feff}a,b\n1,2\n3,4\n"] {
            assert_eq!(of(Format::Csv, text), r"a,b\n1,2", "{text:?}");
        }
        assert_eq!(of(Format::Csv, "a\r\n\"1\n2\"\r\n3\r\n"), r#"a\r\n\"1\n2\""#, "a row may have many lines");
        assert_eq!(
            (of(Format::Jsonl, ""), of(Format::Csv, ""), of(Format::Csv, "a\n")),
            (String::new(), String::new(), "a".to_owned())
        );
    }
}
