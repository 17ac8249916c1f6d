//! The rows of a CSV file.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, Reader, ReaderBuilder, Writer};

use crate::import::mapping::{Columns, Made, Mapping};
use crate::import::stable::Ids;
use crate::input::{MAX_ROW_BYTES, Row};

/// The reader reads ahead by so much.
const BUFFER_BYTES: usize = 64 * 1024;

/// A table, row by row.
pub(crate) struct Table {
    reader: Reader<Bounded>,
    columns: Columns,
    read: Arc<AtomicU64>,
    limit: Arc<AtomicU64>,
    row: u64,
}

impl Table {
    /// Reads the header.
    pub(crate) fn open(content: Box<dyn BufRead + Send>, delimiter: u8, mapping: &Mapping) -> Result<Self, io::Error> {
        let (read, limit) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let bounded = Bounded { content, read: read.clone(), limit: limit.clone(), last: 0 };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(bounded);
        allow_a_row(&read, &limit);
        let names = reader.byte_headers().map_err(flaw)?.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        let columns = Columns::new(mapping, names.collect());
        let columns = columns.map_err(|flaw| io::Error::new(io::ErrorKind::InvalidInput, flaw))?;
        Ok(Table { reader, columns, read, limit, row: 0 })
    }

    /// The next row, without looking into it.
    pub(crate) fn next_record(&mut self) -> io::Result<Option<Record>> {
        allow_a_row(&self.read, &self.limit);
        let mut record = ByteRecord::new();
        if !self.reader.read_byte_record(&mut record).map_err(flaw)? {
            return Ok(None);
        }
        // Behind the last byte that was read, only its being a line break says that the row had an end.
        let is_whole = self.reader.position().byte() < self.read.load(Ordering::Relaxed)
            || matches!(self.reader.get_ref().last, b'\n' | b'\r');
        self.row += 1;
        let line = record.position().map_or(0, csv::Position::line);
        Ok(Some(Record { cells: record, number: self.row, line, is_whole }))
    }

    /// Looks into a row.
    pub(crate) fn read(&self, record: &Record, ids: &Ids) -> (Row, Result<Made, String>) {
        let mut text = Writer::from_writer(Vec::new());
        let written = text.write_byte_record(&record.cells).ok().and_then(|()| text.into_inner().ok());
        let text = String::from_utf8(written.unwrap_or_default());
        let text =
            text.map(|text| text.trim_end_matches('\n').to_owned()).map_err(|_| "the row is not UTF-8".to_owned());
        let made = text.as_deref().map_err(|reason| reason.to_owned()).and_then(|text| self.made(record, ids, text));
        (Row { number: record.number, line: record.line, start: 0, is_whole: record.is_whole, text }, made)
    }

    fn made(&self, record: &Record, ids: &Ids, text: &str) -> Result<Made, String> {
        if record.cells.len() != self.columns.count() {
            return Err(format!("the row has {} fields, and the header {}", record.cells.len(), self.columns.count()));
        }
        let cells = record.cells.iter().map(std::str::from_utf8).collect::<Result<Vec<&str>, _>>();
        let cells = cells.map_err(|_| "the row is not UTF-8".to_owned())?;
        self.columns.message(&cells, ids, record.number, text)
    }
}

/// A row that nobody has looked into.
pub(crate) struct Record {
    cells: ByteRecord,
    pub(crate) number: u64,
    line: u64,
    is_whole: bool,
}

/// A quote that is never closed makes one row of all that follows: this ends it.
struct Bounded {
    content: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
    limit: Arc<AtomicU64>,
    /// The last byte that was read.
    last: u8,
}

fn allow_a_row(read: &AtomicU64, limit: &AtomicU64) {
    limit.store(read.load(Ordering::Relaxed) + (MAX_ROW_BYTES + 2 * BUFFER_BYTES) as u64, Ordering::Relaxed);
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.load(Ordering::Relaxed) > self.limit.load(Ordering::Relaxed) {
            let sentence = format!("a row has more than {MAX_ROW_BYTES} bytes; is a quote missing?");
            return Err(io::Error::other(sentence));
        }
        let bytes = self.content.read(buffer)?;
        self.last = buffer[..bytes].last().copied().unwrap_or(self.last);
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Where the first row behind the header ends, as far as it is here.
pub(crate) fn first_row_end(text: &[u8], delimiter: u8) -> usize {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text);
    let _ = reader.read_byte_record(&mut ByteRecord::new()); // whoever reads the rows says what is wrong with them
    usize::try_from(reader.position().byte()).map_or(text.len(), |end| end.min(text.len()))
}

fn flaw(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
