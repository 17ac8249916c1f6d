//! A chunk: a run of messages that will travel as one batch. Its content is JSON Lines.

/// Messages in a buffer, one a line. The buffer has its full size from the start, so that appending asks for no memory.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Chunks are numbered in the order in which they were begun.
    pub(crate) number: u64,
    lines: Vec<u8>,
    messages: u32,
}

impl Chunk {
    /// An empty chunk for this many bytes of messages.
    pub(crate) fn new(number: u64, room: usize) -> Self {
        Chunk { number, lines: Vec::with_capacity(room), messages: 0 }
    }

    /// The same chunk, empty again under another number.
    pub(crate) fn reuse(mut self, number: u64) -> Self {
        self.lines.clear();
        self.messages = 0;
        self.number = number;
        self
    }

    /// How many messages it holds.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// How many bytes they have, each with the comma that will stand behind it.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Appends a message, which holds no newline.
    pub(crate) fn append(&mut self, message: &[u8]) {
        debug_assert!(!message.contains(&b'\n'));
        self.lines.extend_from_slice(message);
        self.lines.push(b'\n');
        self.messages += 1;
    }

    /// Its messages, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.lines.as_slice();
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let (message, after) = rest.split_at(end);
            rest = &after[1..];
            Some(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_appended() {
        let mut chunk = Chunk::new(1, 100);
        assert_eq!(chunk.iter().count(), 0);
        chunk.append(b"{\"a\":1}");
        chunk.append(b"{}");
        assert_eq!(chunk.iter().collect::<Vec<_>>(), [b"{\"a\":1}".as_slice(), b"{}"]);
        assert_eq!((chunk.messages(), chunk.bytes()), (2, 11));
        let chunk = chunk.reuse(2);
        assert_eq!((chunk.number, chunk.messages(), chunk.bytes(), chunk.iter().count()), (2, 0, 0, 0));
    }

    #[test]
    fn asks_for_no_memory_once_made() {
        let mut chunk = Chunk::new(1, 1000);
        let capacity = chunk.lines.capacity();
        for _ in 0..100 {
            chunk.append(b"123456789");
        }
        assert_eq!(chunk.lines.capacity(), capacity);
    }
}
