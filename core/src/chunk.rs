//! A chunk: a run of messages that will travel as one batch. Its content is JSON Lines, in memory or in a file.
//!
//! In a file each line is a message, a TAB, its CRC-32C in hex, and a newline. JSON text holds neither, and what was
//! never written is NUL: half a line cannot look whole. `cut -f1 FILE | jq` reads it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::kill;
use crate::storage::{Appended, Map};

/// What a line of a file has behind the message: TAB, eight digits, newline.
pub(crate) const TRAILER_BYTES: usize = 10;

/// A chunk in the making, or one that waits.
pub(crate) struct Chunk {
    /// Chunks are numbered in the order in which they were begun.
    pub(crate) number: u64,
    place: Place,
    messages: u32,
    bytes: usize,
}

enum Place {
    /// The buffer has its full size from the start, so that appending asks for no memory.
    Memory(Vec<u8>),
    /// Stores into a map reach the kernel at once: they survive whatever becomes of the process.
    Mapped {
        map: Map,
        used: usize,
        path: PathBuf,
    },
    Written {
        file: Box<dyn Appended>,
        path: PathBuf,
    },
    /// Nothing is appended any more; the content is in the file.
    File {
        path: PathBuf,
    },
}

/// The file of a chunk to which nothing is appended any more. Letting its map go takes the system a while.
pub(crate) struct Retired {
    pub(crate) path: PathBuf,
    /// The length of its content.
    pub(crate) bytes: usize,
    _map: Map,
}

impl Chunk {
    /// An empty chunk for this many bytes of messages.
    pub(crate) fn in_memory(number: u64, room: usize) -> Self {
        Chunk::new(number, Place::Memory(Vec::with_capacity(room)))
    }

    pub(crate) fn mapped(map: Map, path: PathBuf) -> Self {
        Chunk::new(0, Place::Mapped { map, used: 0, path })
    }

    pub(crate) fn written(file: Box<dyn Appended>, path: PathBuf) -> Self {
        Chunk::new(0, Place::Written { file, path })
    }

    fn new(number: u64, place: Place) -> Self {
        Chunk { number, place, messages: 0, bytes: 0 }
    }

    /// How many messages it holds.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// How many bytes they have, each with the comma that will stand behind it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it would be lost with the process.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// The file it is in.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Mapped { path, .. } | Place::Written { path, .. } | Place::File { path } => Some(path),
        }
    }

    /// Appends a message, which holds no newline. An error leaves the chunk as it was.
    pub(crate) fn append(&mut self, message: &[u8]) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(lines) => {
                lines.extend_from_slice(message);
                lines.push(b'\n');
            }
            Place::Mapped { map, used, .. } => {
                let end = *used + message.len() + TRAILER_BYTES;
                let line = map.bytes_mut().get_mut(*used..end).ok_or(io::ErrorKind::StorageFull)?;
                let (text, behind) = line.split_at_mut(message.len());
                kill::point("append-before");
                text.copy_from_slice(message);
                kill::point("append-text");
                behind.copy_from_slice(&trailer(message));
                kill::point("append-whole");
                *used = end;
            }
            Place::Written { file, .. } => {
                let mut line = Vec::with_capacity(message.len() + TRAILER_BYTES);
                line.extend_from_slice(message);
                line.extend_from_slice(&trailer(message));
                file.append(&line)?;
            }
            Place::File { .. } => return Err(io::Error::other("the chunk is sealed")),
        }
        self.messages += 1;
        self.bytes += message.len() + 1;
        Ok(())
    }

    /// Ends the appending. A file that is longer than its content is returned, to be let go of and cut.
    pub(crate) fn retire(&mut self) -> Option<Retired> {
        match std::mem::replace(&mut self.place, Place::Memory(Vec::new())) {
            Place::Mapped { map, used, path } => {
                self.place = Place::File { path: path.clone() };
                Some(Retired { path, bytes: used, _map: map })
            }
            Place::Written { path, .. } => {
                self.place = Place::File { path };
                None
            }
            other => {
                self.place = other;
                None
            }
        }
    }

    /// Whether it was retired, or never had to be.
    pub(crate) fn is_retired(&self) -> bool {
        matches!(self.place, Place::Memory(_) | Place::File { .. })
    }

    /// Its content: at once, or by reading the file.
    pub(crate) fn into_batch(self, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> io::Result<(Batch, usize)> {
        let path = match self.place {
            Place::Memory(lines) => return Ok((Batch::trusted(self.number, lines), 0)),
            Place::Mapped { map, used, path } => {
                let content = map.bytes().get(..used).unwrap_or_default().to_vec();
                return Ok(Batch::checked(self.number, content, path));
            }
            Place::Written { path, .. } | Place::File { path } => path,
        };
        let content = read(&path)?;
        Ok(Batch::checked(self.number, content, path))
    }
}

/// A chunk's content, to be sent.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    content: Vec<u8>,
    messages: Vec<Range<usize>>,
    path: Option<PathBuf>,
}

impl Batch {
    /// Lines that were never anywhere but in memory.
    fn trusted(number: u64, content: Vec<u8>) -> Self {
        let mut messages = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &content) {
            messages.push(start..end);
            start = end + 1;
        }
        Batch { number, content, messages, path: None }
    }

    /// The lines of a file that check, and how many do not.
    pub(crate) fn checked(number: u64, content: Vec<u8>, path: PathBuf) -> (Self, usize) {
        let mut messages = Vec::new();
        let mut damaged = 0;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &content).chain([content.len()]) {
            let line = &content[start..end];
            match message_of(line) {
                Some(message) => messages.push(start..start + message.len()),
                None => damaged += usize::from(line.iter().any(|byte| *byte != 0)),
            }
            start = end + 1;
        }
        (Batch { number, content, messages, path: Some(path) }, damaged)
    }

    /// How many messages.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The file it came from.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Some of its messages.
    pub(crate) fn part(&self, messages: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.messages[messages].iter().map(|range| &self.content[range.clone()])
    }

    /// The sizes of its messages.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.messages.iter().map(|range| range.len() + 1)
    }

    /// The buffer, for another chunk in memory.
    pub(crate) fn into_chunk(mut self, room: usize) -> Option<Chunk> {
        self.content.clear();
        let fits = self.path.is_none() && self.content.capacity() >= room;
        fits.then(|| Chunk::new(0, Place::Memory(self.content)))
    }
}

/// Lines as they stand in a file.
pub(crate) fn write_lines<'a>(messages: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut lines = Vec::new();
    for message in messages {
        lines.extend_from_slice(message);
        lines.extend_from_slice(&trailer(message));
    }
    lines
}

fn trailer(message: &[u8]) -> [u8; TRAILER_BYTES] {
    let sum = crc32c::crc32c(message);
    let mut trailer = *b"\t00000000\n";
    for (n, digit) in trailer[1..9].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(sum >> (28 - 4 * n)) as usize & 15];
    }
    trailer
}

/// The message of a line, if the line is as it was written.
fn message_of(line: &[u8]) -> Option<&[u8]> {
    let (message, behind) = line.split_at_checked(line.len().checked_sub(TRAILER_BYTES - 1)?)?;
    (behind == &trailer(message)[..TRAILER_BYTES - 1]).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(messages: &[&str]) -> Vec<u8> {
        write_lines(messages.iter().map(|message| message.as_bytes()))
    }

    fn texts(batch: &Batch) -> Vec<String> {
        batch.part(0..batch.len()).map(|message| String::from_utf8_lossy(message).into_owned()).collect()
    }

    fn read(content: Vec<u8>) -> (Vec<String>, usize) {
        let (batch, damaged) = Batch::checked(1, content, PathBuf::new());
        (texts(&batch), damaged)
    }

    #[test]
    fn gives_back_what_was_appended() {
        let mut chunk = Chunk::in_memory(1, 100);
        chunk.append(b"{\"a\":1}").expect("memory");
        chunk.append(b"{}").expect("memory");
        assert_eq!((chunk.messages(), chunk.bytes(), chunk.is_in_memory()), (2, 11, true));
        let (batch, damaged) = chunk.into_batch(|_| unreachable!("it is in memory")).expect("memory");
        assert_eq!((texts(&batch), damaged), (vec!["{\"a\":1}".to_owned(), "{}".to_owned()], 0));
        assert_eq!(batch.sizes().collect::<Vec<_>>(), [8, 3]);
        let again = batch.into_chunk(100).expect("it has room");
        assert_eq!((again.messages(), again.bytes()), (0, 0));
    }

    #[test]
    fn asks_for_no_memory_once_made() {
        let mut chunk = Chunk::in_memory(1, 1000);
        let capacity = |chunk: &Chunk| match &chunk.place {
            Place::Memory(lines) => lines.capacity(),
            _ => 0,
        };
        let before = capacity(&chunk);
        (0..100).for_each(|_| chunk.append(b"123456789").expect("memory"));
        assert_eq!(capacity(&chunk), before);
    }

    #[test]
    fn a_line_is_what_the_documentation_says() {
        // The check value of CRC-32C, as its catalogues give it.
        assert_eq!(lines(&["123456789"]), b"123456789\te3069283\n");
    }

    #[test]
    fn the_nul_bytes_behind_the_lines_are_no_damage() {
        let mut content = lines(&["{\"a\":1}", "{}"]);
        content.resize(4096, 0);
        assert_eq!(read(content), (vec!["{\"a\":1}".to_owned(), "{}".to_owned()], 0));
        assert_eq!(read(Vec::new()), (vec![], 0));
        assert_eq!(read(vec![0; 4096]), (vec![], 0));
    }

    #[test]
    fn each_byte_that_is_changed_costs_the_lines_it_touches_and_no_other() {
        let messages = ["{\"first\":1}", "{\"second\":2}", "{\"third\":3}"];
        let content = lines(&messages);
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', &content).collect();
        for at in 0..content.len() {
            for value in [0, 0xff, content[at] ^ 1, content[at] ^ 0x80, b'\n', b'\t'] {
                if value == content[at] {
                    continue;
                }
                let mut changed = content.clone();
                changed[at] = value;
                let (kept, damaged) = read(changed);
                // A newline that is changed joins two lines.
                let touched: Vec<usize> = (0..3)
                    .filter(|n| {
                        at <= ends[*n] && (*n == 0 || at > ends[*n - 1]) || at == ends[n.saturating_sub(1)] && *n > 0
                    })
                    .collect();
                let expected: Vec<&str> = (0..3).filter(|n| !touched.contains(n)).map(|n| messages[n]).collect();
                let last_newline = at == content.len() - 1;
                if last_newline && value == 0 {
                    // Only NUL bytes may follow a line: "text TAB sum NUL" is no line that was written.
                    assert_eq!(kept, messages[..2], "{at} {value}");
                } else {
                    assert_eq!(kept, expected, "byte {at} set to {value}");
                }
                assert!(damaged >= 1, "byte {at} set to {value}");
            }
        }
    }

    #[test]
    fn cut_at_any_length_the_whole_lines_are_kept() {
        let messages = ["{\"first\":1}", "{\"second\":2}", "{\"third\":3}"];
        let content = lines(&messages);
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', &content).collect();
        for length in 0..content.len() {
            let (kept, damaged) = read(content[..length].to_vec());
            // The newline itself may be missing: the sum is there.
            let whole = ends.iter().filter(|end| length >= **end).count();
            assert_eq!(kept, messages[..whole], "{length}");
            let at_an_end = length == 0 || ends.iter().any(|end| length == *end || length == *end + 1);
            assert_eq!(damaged, usize::from(!at_an_end), "{length}");
        }
    }

    #[test]
    fn whatever_stands_in_a_file_it_is_read_without_a_panic() {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for _ in 0..crate::rounds(2_000) {
            let mut content = lines(&["{\"a\":1}", "{\"b\":\"some more text\"}"]);
            for _ in 0..random() % 4 {
                let at = random() % (content.len() + 1);
                match random() % 3 {
                    0 => content.truncate(at),
                    1 => content.insert(at, random() as u8),
                    _ => content.extend((0..random() % 50).map(|n| (n * 37) as u8)),
                }
            }
            let (kept, _) = read(content);
            assert!(kept.iter().all(|line| line == "{\"a\":1}" || line == "{\"b\":\"some more text\"}"), "{kept:?}");
        }
    }
}
