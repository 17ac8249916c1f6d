//! JSON written piece by piece, for bindings to languages with values of their own.

use crate::base::error::{Error, ErrorKind};
use crate::base::time;
use crate::json::write::{self, MAX_DEPTH};

/// Writes one value straight into the bytes of an [`Object`](crate::Object).
///
/// Every value is followed by a comma, which the end of its list or object replaces.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The length of `out` beyond which the value does not fit into a message.
    end: usize,
    depth: usize,
    deepest: usize,
    /// How deep it may be nested.
    levels: usize,
}

/// A place that a [`Writer`] can go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    length: usize,
    depth: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, max_bytes: usize, levels: usize) -> Self {
        let end = out.len() + max_bytes;
        Writer { out, end, depth: 0, deepest: 0, levels }
    }

    /// Removes the last comma, and returns how deep the value is nested.
    pub(crate) fn finish(self) -> usize {
        self.out.pop();
        self.deepest
    }

    /// `null`
    pub fn null(&mut self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        self.comma()
    }

    /// `true` or `false`
    pub fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self.comma()
    }

    /// An integer.
    pub fn int(&mut self, number: i64) -> Result<(), Error> {
        write::int(self.out, number);
        self.comma()
    }

    /// An integer of any size, given by its digits.
    pub fn digits(&mut self, digits: &str) -> Result<(), Error> {
        let positive = digits.strip_prefix('-').unwrap_or(digits);
        if positive.is_empty() || !positive.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::invalid("not the digits of an integer"));
        }
        self.check_size(digits.len())?;
        self.out.extend_from_slice(digits.as_bytes());
        self.comma()
    }

    /// A number; NaN and the infinities are refused.
    pub fn double(&mut self, number: f64) -> Result<(), Error> {
        if !write::double(self.out, number) {
            return Err(Error::invalid("not a finite number"));
        }
        self.comma()
    }

    /// A text.
    pub fn str(&mut self, text: &str) -> Result<(), Error> {
        self.check_size(text.len())?;
        write::string(self.out, text);
        self.comma()
    }

    /// A time, as ISO 8601.
    pub fn time_ms(&mut self, ms: i64) -> Result<(), Error> {
        if !time::is_writable(ms) {
            return Err(Error::invalid("a time outside the years 1 to 9999"));
        }
        write::time(self.out, ms);
        self.comma()
    }

    /// Begins an object.
    pub fn open_object(&mut self) -> Result<(), Error> {
        self.open(b'{')
    }

    /// The name of the next value.
    pub fn name(&mut self, name: &str) -> Result<(), Error> {
        self.check_size(name.len())?;
        write::string(self.out, name);
        self.out.push(b':');
        Ok(())
    }

    /// Ends an object.
    pub fn close_object(&mut self) -> Result<(), Error> {
        self.close(b'{', b'}')
    }

    /// Begins a list.
    pub fn open_list(&mut self) -> Result<(), Error> {
        self.open(b'[')
    }

    /// Ends a list.
    pub fn close_list(&mut self) -> Result<(), Error> {
        self.close(b'[', b']')
    }

    /// Where the writer is now.
    pub fn mark(&self) -> Mark {
        Mark { length: self.out.len(), depth: self.depth }
    }

    /// Removes what was written since.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.length);
        self.depth = mark.depth;
    }

    fn open(&mut self, bracket: u8) -> Result<(), Error> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.depth > self.levels {
            return Err(Error::invalid(format!("nested more than {MAX_DEPTH} deep, or a cycle")));
        }
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, open: u8, bracket: u8) -> Result<(), Error> {
        self.depth = self.depth.saturating_sub(1);
        match self.out.last_mut() {
            Some(comma) if *comma == b',' => *comma = bracket,
            Some(empty) if *empty == open => self.out.push(bracket),
            _ => return Err(Error::new(ErrorKind::Internal, "a list or an object ends where none is open")),
        }
        self.comma()
    }

    fn comma(&mut self) -> Result<(), Error> {
        self.out.push(b',');
        self.check_size(0)
    }

    fn check_size(&self, more: usize) -> Result<(), Error> {
        if self.out.len().saturating_add(more) > self.end {
            return Err(Error::new(ErrorKind::TooLarge, "larger than 32,000 bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::object::Object;

    fn set(object: &mut Object, write: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        object.set_with("v", false, |writer| write(writer).map(|()| true))
    }

    fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>) -> Result<String, String> {
        let mut object = Object::new();
        set(&mut object, write).map_err(|error| error.to_string())?;
        object.to_json().map_err(|error| error.to_string())
    }

    #[test]
    fn pieces_become_json() {
        let json = written(|w| {
            w.open_object()?;
            w.name("a\"b")?;
            w.open_list()?;
            w.null()?;
            w.bool(true)?;
            w.int(-7)?;
            w.digits("-123456789012345678901234567890")?;
            w.double(0.5)?;
            w.str("x\n")?;
            w.time_ms(0)?;
            w.open_list()?;
            w.close_list()?;
            w.close_list()?;
            w.name("empty")?;
            w.open_object()?;
            w.close_object()?;
            w.close_object()
        });
        assert_eq!(
            json.as_deref(),
            Ok(concat!(
                r#"{"v":{"a\"b":[null,true,-7,-123456789012345678901234567890,0.5,"x\n","#,
                r#""1970-01-01T00:00:00.000Z",[]],"empty":{}}}"#
            ))
        );
    }

    #[test]
    fn what_is_rewound_leaves_no_trace() {
        let json = written(|w| {
            w.open_object()?;
            w.name("kept")?;
            w.int(1)?;
            let mark = w.mark();
            w.name("lost")?;
            w.open_list()?;
            w.int(2)?;
            w.rewind(mark);
            w.close_object()
        });
        assert_eq!(json.as_deref(), Ok(r#"{"v":{"kept":1}}"#));
    }

    #[test]
    fn what_json_or_a_message_cannot_hold_is_refused() {
        for (write, problem) in [
            ((|w| w.double(f64::NAN)) as fn(&mut Writer<'_>) -> Result<(), Error>, "not a finite number"),
            (|w| w.digits("1e5"), "not the digits of an integer"),
            (|w| w.time_ms(i64::MAX), "a time outside the years 1 to 9999"),
            (|w| w.str(&"x".repeat(32_001)), "larger than 32,000 bytes"),
            (|w| w.close_list(), "a list or an object ends where none is open"),
            (|w| (0..64).try_for_each(|_| w.open_list()), "nested more than 64 deep, or a cycle"),
            (
                |w| {
                    w.open_list()?;
                    (0..40_000).try_for_each(|_| w.int(1))
                },
                "larger than 32,000 bytes",
            ),
        ] {
            assert_eq!(written(write), Err(problem.to_owned()));
        }
    }

    #[test]
    fn a_refused_value_leaves_the_object_as_it_was() {
        let mut object = Object::from([("v", 1)]);
        set(&mut object, |w| w.double(f64::INFINITY)).expect_err("refused");
        object.set_with("w", false, |_| Ok::<_, Error>(false)).expect("left out");
        assert_eq!(object.to_json().as_deref(), Ok(r#"{"v":1}"#));
        set(&mut object, |w| w.int(2)).expect("good");
        assert_eq!(object.to_json().as_deref(), Ok(r#"{"v":2}"#));
    }
}
