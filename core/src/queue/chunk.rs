//! A chunk: a run of messages that will travel as one batch. Its content is JSON Lines, in memory or in a file.
//!
//! In a file each line is a message, a TAB, its CRC-32C in hex, and a newline. The JSON text of a message holds neither
//! TAB nor newline, and bytes never written are NUL: half a line cannot look whole.
//! `tr -d '\0' <FILE | cut -f1 | jq` reads it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::kill;
use crate::base::storage::{Appended, Map};

/// What follows the message in a line of a file: TAB, eight digits, newline.
pub(crate) const TRAILER_BYTES: usize = 10;

/// A chunk that is being filled, or one that waits.
pub(crate) struct Chunk {
    place: Place,
    messages: u32,
    bytes: usize,
}

enum Place {
    /// The buffer has its full size from the start, so that appending never allocates.
    Memory(Vec<u8>),
    /// Stores into a map reach the kernel at once: they survive the process, however it ends.
    Mapped { map: Map, used: usize, path: PathBuf, identity: Option<(u64, u64)> },
    /// None while a caller is writing to it.
    Written { file: Option<Box<dyn Appended>>, path: PathBuf },
    /// Nothing is appended any more; the content is in the file.
    File { path: PathBuf },
}

/// The file of a chunk to which nothing is appended any more. Dropping its map takes the system a while.
pub(crate) struct Retired {
    pub(crate) path: PathBuf,
    /// The length of its content.
    pub(crate) bytes: usize,
    /// Which file it was when it was made: there may be another at this path now, or none.
    pub(crate) identity: Option<(u64, u64)>,
    map: Map,
}

impl Retired {
    /// Its content, as lines of a file.
    pub(crate) fn content(&self) -> &[u8] {
        self.map.bytes().get(..self.bytes).unwrap_or_default()
    }
}

impl Chunk {
    /// An empty chunk for this many bytes of messages; none if there is no memory for it.
    pub(crate) fn in_memory(room: usize) -> Option<Self> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(room).ok()?;
        Some(Chunk::new(Place::Memory(lines)))
    }

    pub(crate) fn mapped(map: Map, path: PathBuf, identity: Option<(u64, u64)>) -> Self {
        Chunk::new(Place::Mapped { map, used: 0, path, identity })
    }

    pub(crate) fn written(file: Box<dyn Appended>, path: PathBuf) -> Self {
        Chunk::new(Place::Written { file: Some(file), path })
    }

    fn new(place: Place) -> Self {
        Chunk { place, messages: 0, bytes: 0 }
    }

    /// The file it is in.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Mapped { path, .. } | Place::Written { path, .. } | Place::File { path } => Some(path),
        }
    }

    /// Whether it is appended to by writing to its file, see [`Chunk::lend_file`].
    pub(crate) fn is_written(&self) -> bool {
        matches!(self.place, Place::Written { .. })
    }

    /// The length of its content, if its file is longer.
    pub(crate) fn mapped_bytes(&self) -> Option<usize> {
        match self.place {
            Place::Mapped { used, .. } => Some(used),
            _ => None,
        }
    }

    /// Appends a message, which has no newline, in memory or to a map. After an error the chunk is as it was.
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
            Place::Written { .. } | Place::File { .. } => return Err(io::Error::other("the chunk is sealed")),
        }
        self.messages += 1;
        self.bytes += message.len() + 1;
        Ok(())
    }

    /// The file of a chunk that is written, to be appended to by [`append_to`] outside of any lock.
    pub(crate) fn lend_file(&mut self) -> Option<Box<dyn Appended>> {
        match &mut self.place {
            Place::Written { file, .. } => file.take(),
            _ => None,
        }
    }

    /// Takes the file back; `bytes` is the size of a message that was appended.
    pub(crate) fn return_file(&mut self, returned: Box<dyn Appended>, bytes: Option<u64>) {
        if let Place::Written { file, .. } = &mut self.place {
            *file = Some(returned);
        }
        if let Some(bytes) = bytes {
            self.messages += 1;
            self.bytes += bytes as usize;
        }
    }

    /// How many bytes of memory it uses.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.place {
            Place::Memory(lines) => lines.capacity(),
            _ => 0,
        }
    }

    /// Ends the appending. A file that is longer than its content is returned, to be unmapped and cut.
    pub(crate) fn retire(&mut self) -> Option<Retired> {
        match std::mem::replace(&mut self.place, Place::Memory(Vec::new())) {
            Place::Mapped { map, used, path, identity } => {
                self.place = Place::File { path: path.clone() };
                Some(Retired { path, bytes: used, identity, map })
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

    /// Its content: at once, or by reading the file.
    pub(crate) fn into_batch(self, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> io::Result<Batch> {
        let path = match self.place {
            Place::Memory(lines) => return Ok(Batch::trusted(lines)),
            Place::Mapped { map, used, .. } => {
                return Ok(Batch::checked(map.bytes().get(..used).unwrap_or_default().to_vec()));
            }
            Place::Written { path, .. } | Place::File { path } => path,
        };
        Ok(Batch::checked(read(&path)?))
    }
}

/// Appends a message to a file that was lent.
pub(crate) fn append_to(file: &mut dyn Appended, message: &[u8]) -> io::Result<()> {
    let mut line = Vec::with_capacity(message.len() + TRAILER_BYTES);
    line.extend_from_slice(message);
    line.extend_from_slice(&trailer(message));
    file.append(&line)
}

/// A chunk's content, to be sent.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    content: Vec<u8>,
    messages: Vec<Range<usize>>,
    /// Damaged lines.
    damaged: Vec<Range<usize>>,
}

impl Batch {
    /// Lines that were only ever in memory.
    fn trusted(content: Vec<u8>) -> Self {
        let mut messages = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &content) {
            messages.push(start..end);
            start = end + 1;
        }
        Batch { content, messages, damaged: Vec::new() }
    }

    /// The lines of a file. What follows the last newline is either a whole line or one that was never finished. The
    /// latter is not damage, because no call has reported it as accepted; nor are bytes that were never written.
    pub(crate) fn checked(content: Vec<u8>) -> Self {
        let (mut messages, mut damaged) = (Vec::new(), Vec::new());
        let mut start = 0;
        let mut end = 0;
        for newline in memchr::memchr_iter(b'\n', &content) {
            end = newline + 1;
            let message = message_in(&content, start..newline);
            let other = start..message.as_ref().map_or(newline, |message| message.start);
            if content[other.clone()].iter().any(|byte| *byte != 0) {
                damaged.push(other);
            }
            messages.extend(message);
            start = end;
        }
        let used = content[end..].iter().rposition(|byte| *byte != 0).map_or(end, |last| end + last + 1);
        messages.extend(message_in(&content, end..used));
        Batch { content, messages, damaged }
    }

    /// How many bytes of memory its content uses, without the index of messages.
    pub(crate) fn held_bytes(&self) -> usize {
        self.content.capacity()
    }

    /// How many messages.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Some of its messages.
    pub(crate) fn part(&self, messages: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.messages[messages].iter().map(|range| &self.content[range.clone()])
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.part(0..self.len())
    }

    /// The sizes of its messages, each with the comma that will follow it.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.messages.iter().map(|range| range.len() + 1)
    }

    /// The damaged lines.
    pub(crate) fn damaged(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.damaged.iter().map(|range| &self.content[range.clone()])
    }

    /// The buffer, for another chunk in memory.
    pub(crate) fn into_chunk(mut self, room: usize) -> Option<Chunk> {
        self.content.clear();
        (self.content.capacity() >= room).then(|| Chunk::new(Place::Memory(self.content)))
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

/// The message of a line, if the line is not damaged. Bytes before it that were never written are skipped: a line
/// begins after its last NUL, with the brace of its message.
fn message_in(content: &[u8], line: Range<usize>) -> Option<Range<usize>> {
    let text = &content[line.clone()];
    let start = memchr::memrchr(0, text).map_or(0, |nul| nul + 1);
    let (message, behind) = text[start..].split_at_checked(text[start..].len().checked_sub(TRAILER_BYTES - 1)?)?;
    let is_whole = message.first() == Some(&b'{') && behind == &trailer(message)[..TRAILER_BYTES - 1];
    is_whole.then(|| line.start + start..line.start + start + message.len())
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
        let batch = Batch::checked(content);
        (texts(&batch), batch.damaged().len())
    }

    #[test]
    fn gives_back_what_was_appended() {
        let mut chunk = Chunk::in_memory(100).expect("memory");
        chunk.append(b"{\"a\":1}").expect("memory");
        chunk.append(b"{}").expect("memory");
        assert_eq!((chunk.messages, chunk.bytes, chunk.path()), (2, 11, None));
        let batch = chunk.into_batch(|_| unreachable!("it is in memory")).expect("memory");
        assert_eq!(texts(&batch), ["{\"a\":1}", "{}"]);
        assert_eq!(batch.sizes().collect::<Vec<_>>(), [8, 3]);
        let again = batch.into_chunk(100).expect("it has room");
        assert_eq!((again.messages, again.bytes), (0, 0));
    }

    #[test]
    fn appending_never_allocates() {
        let mut chunk = Chunk::in_memory(1000).expect("memory");
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
        assert_eq!(read(lines(&["123456789"])), (vec![], 1), "a message is an object");
        assert_eq!(read(b"\t00000000\n".to_vec()), (vec![], 1), "the sum is right, but there is no message");
    }

    #[test]
    fn unwritten_bytes_between_two_lines_damage_neither() {
        let content = [&lines(&["{}"])[..], &[0; 100], &lines(&["{\"b\":2}"])].concat();
        assert_eq!(read(content), (vec!["{}".to_owned(), "{\"b\":2}".to_owned()], 0));
    }

    #[test]
    fn the_nul_bytes_after_the_lines_are_no_damage() {
        let mut content = lines(&["{\"a\":1}", "{}"]);
        content.resize(4096, 0);
        assert_eq!(read(content), (vec!["{\"a\":1}".to_owned(), "{}".to_owned()], 0));
        assert_eq!(read(Vec::new()), (vec![], 0));
        assert_eq!(read(vec![0; 4096]), (vec![], 0));
    }

    #[test]
    fn a_changed_byte_damages_the_lines_it_touches_and_no_other() {
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
                // Changing a newline joins two lines; if it is NUL now, the second still begins after it.
                let joins = |n: usize| n > 0 && at == ends[n - 1] && value != 0;
                let touches = |n: usize| at <= ends[n] && (n == 0 || at > ends[n - 1]) || joins(n);
                // The last line is whole without its newline.
                let is_last_end = at == content.len() - 1 && value == 0;
                let expected: Vec<&str> = (0..3).filter(|n| !touches(*n) || is_last_end).map(|n| messages[n]).collect();
                assert_eq!(kept, expected, "byte {at} set to {value}");
                // After the last newline nothing is damage.
                let was_ended = at < ends[2] || value == b'\n';
                assert_eq!(damaged >= 1, was_ended, "byte {at} set to {value}");
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
            // A line is whole without its newline.
            let whole = ends.iter().filter(|end| length >= **end).count();
            assert_eq!(kept, messages[..whole], "{length}");
            assert_eq!(damaged, 0, "a line that was never finished is no damage: {length}");
        }
    }

    #[test]
    fn any_content_of_a_file_is_read_without_a_panic() {
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
