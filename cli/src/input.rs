//! Files of many rows: plain or packed with gzip, or a pipe; read line by line without ever holding more than a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

/// A longer row is none that Segment takes, whatever can be left out of it.
pub(crate) const MAX_ROW_BYTES: usize = 256 * 1024;

/// The first row, which tells one content from another, is looked for in so many bytes.
const BEGINNING_BYTES: usize = 64 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file, or standard input, as it was named on the command line.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Pipe,
    File(PathBuf),
}

/// An input that is open, and how it begins.
pub(crate) struct Opened {
    pub(crate) content: Box<dyn BufRead + Send>,
    /// Its first bytes, unpacked; they are in the content, too.
    pub(crate) beginning: Vec<u8>,
    /// Whether it can be begun anywhere: it is a file and not packed.
    pub(crate) is_plain_file: bool,
}

impl Input {
    pub(crate) fn named(name: &str) -> Self {
        if name == "-" { Input::Pipe } else { Input::File(name.into()) }
    }

    /// How it is called in sentences.
    pub(crate) fn name(&self) -> String {
        match self {
            Input::Pipe => "standard input".to_owned(),
            Input::File(path) => path.display().to_string(),
        }
    }

    /// Its name without the folder: what is made beside it is called after it.
    pub(crate) fn file_name(&self) -> String {
        match self {
            Input::Pipe => "stdin".to_owned(),
            Input::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The folder it lies in; empty if that is the current one.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Input::Pipe => Path::new(""),
            Input::File(path) => path.parent().unwrap_or(Path::new("")),
        }
    }

    /// How large it is on the disk, if it is there.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Input::Pipe => None,
            Input::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len()),
        }
    }

    /// Whether it can be read twice.
    pub(crate) fn is_file(&self) -> bool {
        self.bytes().is_some()
    }

    /// Opens it, and reads its beginning.
    pub(crate) fn open(&self) -> io::Result<Opened> {
        let mut opened = self.open_at_once()?;
        let mut beginning = Vec::new();
        opened.content.by_ref().take(BEGINNING_BYTES as u64).read_to_end(&mut beginning).map_err(|e| self.about(&e))?;
        let content = io::Cursor::new(beginning.clone()).chain(opened.content);
        Ok(Opened { content: Box::new(content), beginning, ..opened })
    }

    /// Opens it without waiting for its beginning, which a pipe may take long to bring.
    pub(crate) fn open_at_once(&self) -> io::Result<Opened> {
        let source: Box<dyn Read + Send> = match self {
            Input::Pipe => Box::new(io::stdin()),
            Input::File(path) => Box::new(File::open(path).map_err(|error| self.about(&error))?),
        };
        let mut content = BufReader::with_capacity(128 * 1024, source);
        let start = content.fill_buf().map_err(|error| self.about(&error))?;
        let is_packed = start.starts_with(&GZIP);
        let content: Box<dyn BufRead + Send> = if is_packed {
            Box::new(BufReader::with_capacity(128 * 1024, Members::new(content)))
        } else {
            Box::new(content)
        };
        Ok(Opened { content, beginning: Vec::new(), is_plain_file: !is_packed && self.is_file() })
    }

    /// Opens a plain file at a place behind its beginning.
    pub(crate) fn open_at(&self, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
        let Input::File(path) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut file = File::open(path).map_err(|error| self.about(&error))?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| self.about(&error))?;
        Ok(Box::new(BufReader::with_capacity(128 * 1024, file)))
    }

    /// The error with the name of the input.
    pub(crate) fn about(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{} cannot be read: {error}", self.name()))
    }
}

/// The members of a gzip file, one after the other. Zeros behind the last pad it: tapes and some tools write them.
struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(content: R) -> Self {
        Members { member: Some(GzDecoder::new(content)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let bytes = member.read(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::InvalidData, error),
                _ => error,
            })?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            let more = skip_zeros(member.get_mut())?;
            self.member = self.member.take().filter(|_| more).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Passes zeros; whether something else follows.
fn skip_zeros(content: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = content.fill_buf()?;
        let (zeros, bytes) = (buffer.iter().take_while(|byte| **byte == 0).count(), buffer.len());
        content.consume(zeros);
        if zeros < bytes || bytes == 0 {
            return Ok(bytes > 0);
        }
    }
}

/// A row of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Counted from 1; empty lines are no rows.
    pub(crate) number: u64,
    /// The line on which it begins, counted from 1.
    pub(crate) line: u64,
    /// Where it begins, in a text of lines.
    pub(crate) start: u64,
    /// Whether its end was there, or only the end of the content: then whoever writes it may not have finished.
    pub(crate) is_whole: bool,
    /// Its text, or why it has none.
    pub(crate) text: Result<String, String>,
}

/// The lines of a text as rows.
pub(crate) struct Lines<R> {
    content: R,
    row: u64,
    line: u64,
    offset: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(content: R) -> Self {
        Lines { content, row: 0, line: 0, offset: 0 }
    }

    /// Goes on behind so many rows and lines: the content begins at this offset.
    pub(crate) fn resumed(content: R, row: u64, line: u64, offset: u64) -> Self {
        Lines { content, row, line, offset }
    }

    /// The next line, and whether its end was there.
    fn line(&mut self) -> io::Result<Option<(Result<String, String>, bool)>> {
        let mut line = Vec::new();
        let read = self.content.by_ref().take(MAX_ROW_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        let is_first = self.offset == 0;
        self.line += 1;
        self.offset += read as u64;
        let is_whole = line.last() == Some(&b'\n');
        if !is_whole && line.len() > MAX_ROW_BYTES {
            self.offset += skip_line(&mut self.content)?;
            // Whatever follows, it is too long.
            return Ok(Some((Err(format!("the line has more than {MAX_ROW_BYTES} bytes")), true)));
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        if is_first && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some((String::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned()), is_whole)))
    }
}

/// Passes the rest of a line; how many bytes that were.
fn skip_line(content: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = content.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let bytes = end.unwrap_or(buffer.len());
        content.consume(bytes);
        skipped += bytes as u64;
        if end.is_some() || bytes == 0 {
            return Ok(skipped);
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.offset;
            match self.line() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some((Ok(text), _))) if text.trim_ascii().is_empty() => {}
                Ok(Some((text, is_whole))) => {
                    self.row += 1;
                    return Some(Ok(Row { number: self.row, line: self.line, start, is_whole, text }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<Row> {
        Lines::new(text).map(|row| row.expect("readable")).collect()
    }

    #[test]
    fn rows_are_counted_without_empty_lines_and_lines_with_them() {
        let rows = rows(b"\xef\xbb\xbfa\r\n\n  \nb\nc");
        let seen: Vec<_> = rows.iter().map(|r| (r.number, r.line, r.start, r.is_whole, r.text.as_deref())).collect();
        assert_eq!(seen, [(1, 1, 0, true, Ok("a")), (2, 4, 10, true, Ok("b")), (3, 5, 12, false, Ok("c"))]);
    }

    #[test]
    fn a_line_without_end_is_passed_in_pieces() {
        let mut text = vec![b'x'; 3 * MAX_ROW_BYTES];
        text.extend_from_slice(b"\nnext\n\xff\n");
        let rows = rows(&text);
        assert!(rows[0].text.is_err() && rows[2].text.is_err());
        assert_eq!((rows[1].line, rows[1].text.as_deref()), (2, Ok("next")));
        assert_eq!(rows[1].start, 3 * MAX_ROW_BYTES as u64 + 1);
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        let text = b"a\n\nb\nc\n";
        let second = rows(text)[1].clone();
        let rest = Lines::resumed(&text[second.start as usize..], second.number - 1, second.line - 1, second.start);
        let rest: Vec<Row> = rest.map(|row| row.expect("readable")).collect();
        assert_eq!(rest, rows(text)[1..]);
    }
}
