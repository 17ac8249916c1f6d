//! A JSON object in the making: properties, traits, context.

use std::time::SystemTime;

use crate::base::error::{Error, ErrorKind};
use crate::base::time;
use crate::json::pieces::Writer;
use crate::json::scan;
use crate::json::write::{self, MAX_DEPTH};

/// An object may grow to the size of a message and no further: what is larger could not be sent.
pub(crate) const MAX_BYTES: usize = 32_000;

/// A longer text is refused unread: it is taken to be too large for an object or a message even without its white
/// space.
pub(crate) const MAX_TEXT_BYTES: usize = 32 * MAX_BYTES;

/// A JSON object: a buffer of bytes with an index of its members; no tree is built.
///
/// Setting a name again replaces its value. What cannot be set (NaN, malformed JSON, too much) marks the object, and
/// the call that uses it says why. So errors are checked in one place, the last one.
///
/// ```
/// use segment_native::Object;
///
/// let mut properties = Object::new();
/// properties.set("price", 19.99).set("quantity", 2).set("sku", "G-32");
/// properties.push("tags", "new").push("tags", "board games");
/// assert_eq!(
///     properties.to_json()?,
///     r#"{"price":19.99,"quantity":2,"sku":"G-32","tags":["new","board games"]}"#,
/// );
/// # Ok::<(), segment_native::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Object {
    /// Members as `"name":value,`, in the order they were set, with replaced ones until there are enough to remove.
    bytes: Vec<u8>,
    members: Vec<Member>,
    /// How many of `bytes` belong to replaced members.
    dead: usize,
    /// How deep the values are nested at most, this object not counted: the deepest may have been replaced.
    depth: usize,
    /// It is a whole message, with nothing around it.
    is_message: bool,
    error: Option<Error>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    value: usize,
    end: usize,
    /// The length and the beginning of the name: nearly always enough to tell it from others.
    tag: u64,
}

fn tag(name: &[u8]) -> u64 {
    let mut tag = [0; 8];
    let shown = name.len().min(7);
    tag[..shown].copy_from_slice(&name[..shown]);
    tag[7] = name.len() as u8;
    u64::from_le_bytes(tag)
}

/// What can be a member's value. Booleans, numbers, strings, times, objects and options convert into it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer, kept exactly.
    Int(i64),
    /// An integer, kept exactly.
    UInt(u64),
    /// A number; NaN and the infinities mark the object.
    Double(f64),
    /// A text.
    Str(&'a str),
    /// A time in milliseconds since 1970, written as ISO 8601.
    TimeMs(i64),
    /// JSON, checked and copied as it is.
    Json(&'a str),
    /// A nested object.
    Object(&'a Object),
}

impl Object {
    /// An empty object.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty object that becomes a whole message: it may be one level deeper than one inside a message.
    pub(crate) fn for_message() -> Self {
        Object { is_message: true, ..Self::default() }
    }

    /// An object from JSON text, `{"plan": "pro"}`. Checked once; nested values stay as they are.
    pub fn parse(json: &str) -> Result<Self, Error> {
        if json.len() > MAX_TEXT_BYTES {
            return Err(too_large("the object"));
        }
        let mut compact = Vec::new();
        let depth = scan::compact_object(json, &mut compact)
            .map_err(|flaw| Error::invalid(format!("not a JSON object: {flaw}")))?;
        let mut object = Object { depth: depth - 1, ..Self::default() };
        if depth >= MAX_DEPTH {
            return Err(too_deep(None));
        }
        for (name, value) in scan::members(&compact) {
            let start = object.bytes.len();
            object.bytes.extend_from_slice(name);
            object.bytes.push(b':');
            let value_start = object.bytes.len();
            object.bytes.extend_from_slice(value);
            object.place(start, value_start);
            if let Some(error) = object.error.take() {
                return Err(error);
            }
        }
        Ok(object)
    }

    /// An object that is marked from the start.
    pub(crate) fn failed(error: Error) -> Self {
        Object { error: Some(error), ..Self::default() }
    }

    /// Sets a member, or replaces its value.
    pub fn set<'a>(&mut self, name: &str, value: impl Into<Value<'a>>) -> &mut Self {
        if self.marks_name(name) {
            return self;
        }
        let start = self.bytes.len();
        write::string(&mut self.bytes, name);
        self.bytes.push(b':');
        let value_start = self.bytes.len();
        match self.write(value.into(), 0) {
            Ok(()) => self.place(start, value_start),
            Err(problem) => {
                self.bytes.truncate(start);
                self.mark(problem.about(name));
            }
        }
        self
    }

    /// The same, for building an object in one expression.
    #[must_use]
    pub fn with<'a>(mut self, name: &str, value: impl Into<Value<'a>>) -> Self {
        self.set(name, value);
        self
    }

    /// Appends an item to the list of this name, making the list if there is none. A member that is not a list marks
    /// the object.
    pub fn push<'a>(&mut self, list: &str, item: impl Into<Value<'a>>) -> &mut Self {
        if self.marks_name(list) {
            return self;
        }
        let start = self.bytes.len();
        write::string(&mut self.bytes, list);
        self.bytes.push(b':');
        let value_start = self.bytes.len();
        let at = self.position(start, value_start - 1);
        let before = at.map(|at| self.members[at]);
        let last = before.is_some_and(|member| member.end + 1 == start);
        match before {
            Some(member) if self.bytes[member.value] != b'[' => {
                self.bytes.truncate(start);
                self.mark(Error::invalid(format!("\"{list}\" is not a list")));
                return self;
            }
            // The list is the last member: it grows in place.
            Some(member) if last => {
                self.bytes.truncate(member.end - 1);
                self.push_comma_unless(member.value + 1);
            }
            Some(member) => {
                self.bytes.extend_from_within(member.value..member.end - 1);
                self.push_comma_unless(value_start + 1);
            }
            None => self.bytes.push(b'['),
        }
        let restored = self.bytes.len();
        let written = self.write(item.into(), 1);
        if let Err(problem) = written {
            // The list stays as it was, and the object is marked.
            self.mark(problem.about(list));
            self.bytes.truncate(restored);
            if self.bytes.last() == Some(&b',') {
                self.bytes.pop();
            }
        }
        self.bytes.push(b']');
        self.depth = self.depth.max(1); // even if nothing was pushed
        match before {
            Some(member) if last => {
                let at = at.unwrap_or_default();
                self.members[at].end = self.bytes.len();
                debug_assert_eq!(self.members[at].start, member.start);
                self.bytes.push(b',');
                self.check_size();
            }
            _ => self.place(start, value_start),
        }
        self
    }

    /// Sets a member, or replaces its value, by writing it piece by piece; if `write` returns false, the member is left
    /// out. After an error the object is as it was. If the caller knows that there is no member of this name yet
    /// (`is_new`), the search for it is skipped.
    #[inline]
    pub(crate) fn set_with<E>(
        &mut self,
        name: &str,
        is_new: bool,
        write: impl FnOnce(&mut Writer<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        if self.marks_name(name) {
            return Ok(());
        }
        let start = self.bytes.len();
        write::string(&mut self.bytes, name);
        self.bytes.push(b':');
        let value_start = self.bytes.len();
        let levels = self.levels();
        let mut writer = Writer::new(&mut self.bytes, MAX_BYTES, levels);
        let written = write(&mut writer);
        let depth = writer.finish();
        match written {
            Ok(true) if self.bytes.len() > value_start => {
                self.depth = self.depth.max(depth);
                if is_new {
                    self.place_new(start, value_start);
                } else {
                    self.place(start, value_start);
                }
                Ok(())
            }
            Ok(_) => {
                self.bytes.truncate(start);
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Marks the object, unless it is marked already.
    pub(crate) fn mark(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Removes all members and errors, and keeps the memory for reuse.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.members.clear();
        self.dead = 0;
        self.depth = 0;
        self.error = None;
    }

    /// Whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What marked the object, if anything did.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The object as JSON, or what marked it.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut out = Vec::with_capacity(self.bytes.len() + 2);
        self.append_to(&mut out)?;
        String::from_utf8(out).map_err(|_| Error::new(ErrorKind::Internal, "an object is not UTF-8"))
    }

    /// The JSON of a member's value; none if there is no such member, or the object is marked.
    pub fn get_json(&self, name: &str) -> Option<&str> {
        if self.error.is_some() {
            return None;
        }
        let mut quoted = Vec::new();
        write::string(&mut quoted, name);
        let (_, value) = self.members().find(|(other, _)| *other == quoted)?;
        std::str::from_utf8(value).ok()
    }

    /// The members, as [`scan::members`] gives those of a compact object: the name with its quotes, and the value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.members
            .iter()
            .map(|member| (&self.bytes[member.start..member.value - 1], &self.bytes[member.value..member.end]))
    }

    /// This object with `over` merged over it; marked if one of them is.
    pub(crate) fn merged(&self, over: &Object) -> Object {
        let (mut base, mut own, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        let written = self.append_to(&mut base).and_then(|()| over.append_to(&mut own));
        if let Err(error) = written {
            return Object::failed(error);
        }
        scan::merge(&base, &own, &mut merged);
        let text = String::from_utf8(merged).map_err(|_| Error::new(ErrorKind::Internal, "an object is not UTF-8"));
        text.and_then(|text| Object::parse(&text)).unwrap_or_else(Object::failed)
    }

    /// Appends the object as JSON to `out`; a marked one appends nothing.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        out.push(b'{');
        if self.dead == 0 {
            out.extend_from_slice(&self.bytes[..self.bytes.len().saturating_sub(1)]);
        } else {
            for (n, member) in self.members.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&self.bytes[member.start..member.end]);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Whether a name is too long. Such a name marks the object, and is not even copied.
    fn marks_name(&mut self, name: &str) -> bool {
        let is_too_large = name.len() > MAX_BYTES;
        if is_too_large {
            self.mark(too_large("the name of a member"));
        }
        is_too_large
    }

    /// How deep a member's value may be nested.
    fn levels(&self) -> usize {
        MAX_DEPTH - if self.is_message { 1 } else { 2 }
    }

    /// Writes a value that is nested in this many lists.
    fn write(&mut self, value: Value<'_>, lists: usize) -> Result<(), Problem> {
        let levels = self.levels() - lists;
        let out = &mut self.bytes;
        let mut depth = 0;
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(number) => write::int(out, number),
            Value::UInt(number) => write::uint(out, number),
            Value::Double(number) if write::double(out, number) => {}
            Value::Double(_) => return Err(Problem::NotFinite),
            // Not copied, like a name.
            Value::Str(text) if text.len() > MAX_BYTES => return Err(Problem::TooLarge),
            Value::Str(text) => write::string(out, text),
            Value::TimeMs(ms) if time::is_writable(ms) => write::time(out, ms),
            Value::TimeMs(_) => return Err(Problem::Year),
            Value::Json(text) if text.len() > MAX_TEXT_BYTES => return Err(Problem::TooLarge),
            Value::Json(text) if text.len() > MAX_BYTES => {
                // Compacted in a buffer of its own, so that the object does not grow to the size of the white space.
                let mut compact = Vec::new();
                depth = scan::compact(text, levels, &mut compact).map_err(Problem::Json)?;
                if compact.len() > MAX_BYTES {
                    return Err(Problem::TooLarge);
                }
                out.extend_from_slice(&compact);
            }
            Value::Json(text) => depth = scan::compact(text, levels, out).map_err(Problem::Json)?,
            Value::Object(object) => {
                let start = out.len();
                object.append_to(out).map_err(Problem::Inner)?;
                depth = object.depth + 1;
                if depth > levels {
                    // It is too deep, unless its deepest value has been replaced.
                    depth = scan::depth(&out[start..]);
                }
                if depth > levels {
                    return Err(Problem::TooDeep);
                }
            }
        }
        self.depth = self.depth.max(depth + lists);
        Ok(())
    }

    /// Adds the member written at `start` to the index, in place of an earlier one of that name.
    fn place(&mut self, start: usize, value: usize) {
        let member = Member { start, value, end: self.bytes.len(), tag: tag(&self.bytes[start + 1..value - 2]) };
        self.bytes.push(b',');
        match self.position(start, value - 1) {
            Some(at) => {
                let before = std::mem::replace(&mut self.members[at], member);
                self.dead += before.end + 1 - before.start;
                if self.dead > 1024 && self.dead > self.bytes.len() / 2 {
                    self.tidy();
                }
            }
            None => self.members.push(member),
        }
        self.check_size();
    }

    /// The same where there is no earlier one.
    fn place_new(&mut self, start: usize, value: usize) {
        let member = Member { start, value, end: self.bytes.len(), tag: tag(&self.bytes[start + 1..value - 2]) };
        self.bytes.push(b',');
        self.members.push(member);
        self.check_size();
    }

    /// The place in the index of the member with the name that is written at `start..end`.
    fn position(&self, start: usize, end: usize) -> Option<usize> {
        let name = &self.bytes[start..end];
        let tag = tag(&name[1..name.len() - 1]);
        let same = |m: &Member| m.tag == tag && &self.bytes[m.start..m.value - 1] == name;
        self.members.iter().position(same)
    }

    /// Removes replaced members.
    fn tidy(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for member in &mut self.members {
            let start = bytes.len();
            bytes.extend_from_slice(&self.bytes[member.start..=member.end]);
            *member = Member { start, value: start + member.value - member.start, end: bytes.len() - 1, ..*member };
        }
        self.bytes = bytes;
        self.dead = 0;
    }

    fn check_size(&mut self) {
        if self.bytes.len() - self.dead > MAX_BYTES {
            self.mark(too_large("the object"));
            // A caller that goes on setting members must not fill the memory.
            self.bytes.clear();
            self.members.clear();
            self.dead = 0;
        }
    }

    fn push_comma_unless(&mut self, list_start: usize) {
        if self.bytes.len() > list_start {
            self.bytes.push(b',');
        }
    }
}

/// Why a value could not be written; the caller knows its name.
enum Problem {
    NotFinite,
    TooLarge,
    TooDeep,
    Year,
    Json(scan::Flaw),
    Inner(Error),
}

impl Problem {
    fn about(self, name: &str) -> Error {
        match self {
            Problem::NotFinite => Error::invalid(format!("\"{name}\" is not a finite number")),
            Problem::TooLarge => too_large(&format!("\"{name}\"")),
            Problem::TooDeep => too_deep(Some(name)),
            Problem::Year => Error::invalid(format!("\"{name}\" is a time outside the years 1 to 9999")),
            Problem::Json(flaw) => Error::invalid(format!("\"{name}\" is not JSON: {flaw}")),
            Problem::Inner(error) => error.in_argument(&format!("\"{name}\"")),
        }
    }
}

fn too_large(what: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{what} is larger than 32,000 bytes"))
}

fn too_deep(name: Option<&str>) -> Error {
    let what = name.map_or("the object".to_owned(), |name| format!("\"{name}\""));
    Error::invalid(format!("{what} is nested more than {MAX_DEPTH} deep"))
}

impl<'a, V: Into<Value<'a>>, const N: usize> From<[(&str, V); N]> for Object {
    fn from(members: [(&str, V); N]) -> Self {
        members.into_iter().collect()
    }
}

impl<'n, 'a, V: Into<Value<'a>>> FromIterator<(&'n str, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (&'n str, V)>>(members: I) -> Self {
        let mut object = Object::new();
        for (name, value) in members {
            object.set(name, value);
        }
        object
    }
}

macro_rules! values {
    ($($from:ty => $variant:ident($as:ty)),+ $(,)?) => {$(
        impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                Value::$variant(<$as>::from(value))
            }
        }
    )+};
}

values! {
    bool => Bool(bool),
    i8 => Int(i64), i16 => Int(i64), i32 => Int(i64), i64 => Int(i64),
    u8 => UInt(u64), u16 => UInt(u64), u32 => UInt(u64), u64 => UInt(u64),
    f32 => Double(f64), f64 => Double(f64),
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Value::UInt(value as u64)
    }
}

impl From<isize> for Value<'_> {
    fn from(value: isize) -> Self {
        Value::Int(value as i64)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Str(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Value::Str(value)
    }
}

impl<'a> From<&'a Object> for Value<'a> {
    fn from(value: &'a Object) -> Self {
        Value::Object(value)
    }
}

impl From<SystemTime> for Value<'_> {
    fn from(value: SystemTime) -> Self {
        Value::TimeMs(time::from_system(value))
    }
}

impl<'a, V: Into<Value<'a>>> From<Option<V>> for Value<'a> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(object: &Object) -> String {
        let json = object.to_json().expect("not marked");
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
        json
    }

    fn error(object: &Object) -> String {
        object.to_json().expect_err("marked").to_string()
    }

    #[test]
    fn members_are_those_of_its_json() {
        let mut object = Object::new().with("a", 1).with("b\"", "x").with("a", 2);
        object.push("c", 1).set("d", true).push("c", 2);
        let json = object.to_json().expect("not marked");
        assert!(object.members().eq(scan::members(json.as_bytes())), "{json}");
        assert_eq!(object.members().count(), 4);
        assert_eq!(Object::new().members().count(), 0);
    }

    #[test]
    fn every_kind_of_value_is_written() {
        let inner = Object::from([("x", 1)]);
        let object = Object::new()
            .with("s", "a\"b")
            .with("i", i64::MIN)
            .with("u", u64::MAX)
            .with("d", 19.99)
            .with("b", true)
            .with("n", None::<&str>)
            .with("t", Value::TimeMs(0))
            .with("o", &inner)
            .with("j", Value::Json(" [1, 2] "));
        assert_eq!(
            json(&object),
            concat!(
                r#"{"s":"a\"b","i":-9223372036854775808,"u":18446744073709551615,"d":19.99,"b":true,"n":null,"#,
                r#""t":"1970-01-01T00:00:00.000Z","o":{"x":1},"j":[1,2]}"#
            )
        );
        assert_eq!(json(&Object::new()), "{}");
    }

    #[test]
    fn setting_a_name_again_replaces_its_value() {
        let mut object = Object::from([("a", 1), ("b", 2)]);
        object.set("a", "one").set("b", 3).set("b", 4);
        assert_eq!(json(&object), r#"{"a":"one","b":4}"#);
        let parsed = Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#).expect("JSON");
        assert_eq!(json(&parsed), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn replacing_again_and_again_takes_no_memory() {
        let mut object = Object::from([("first", 0)]);
        for n in 0..100_000 {
            object.set("n", n).set("text", "some text that is not so short");
        }
        assert!(object.bytes.capacity() < 16_384, "{}", object.bytes.capacity());
        assert_eq!(json(&object), r#"{"first":0,"n":99999,"text":"some text that is not so short"}"#);
    }

    #[test]
    fn lists_grow_wherever_they_stand() {
        let mut object = Object::new();
        object.push("l", "a").push("l", 1).set("x", 0).push("l", &Object::from([("p", 2)])).push("m", true);
        object.push("l", None::<&str>).set("e", Value::Json("[]")).push("e", 1);
        assert_eq!(json(&object), r#"{"l":["a",1,{"p":2},null],"x":0,"m":[true],"e":[1]}"#);
        let mut object = Object::new();
        object.set("e", Value::Json("[]")).set("x", 0).push("e", 1);
        assert_eq!(json(&object), r#"{"e":[1],"x":0}"#);
    }

    #[test]
    fn what_cannot_be_set_marks_the_object_and_the_first_reason_stays() {
        let mut object = Object::new();
        object.set("ok", 1).set("price", f64::NAN).set("later", Value::Json("{"));
        assert_eq!(error(&object), "\"price\" is not a finite number");
        object.clear();
        assert_eq!(json(&object), "{}");
        assert_eq!(
            error(&Object::new().with("a", Value::Json("{"))),
            "\"a\" is not JSON: expected a member name in quotes at byte 1"
        );
        assert_eq!(
            error(&Object::new().with("t", Value::TimeMs(i64::MAX))),
            "\"t\" is a time outside the years 1 to 9999"
        );
        let mut list = Object::from([("l", 1)]);
        list.push("l", 2);
        assert_eq!(error(&list), "\"l\" is not a list");
        let inner = Object::from([("nan", f64::NAN)]);
        assert_eq!(error(&Object::new().with("o", &inner)), "\"o\": \"nan\" is not a finite number");
    }

    #[test]
    fn a_failed_push_leaves_no_trace_in_the_list() {
        let mut object = Object::new();
        object.push("l", f64::NAN).push("l", 1).push("l", f64::NAN);
        assert_eq!(object.bytes, br#""l":[1],"#);
        assert!(object.error().is_some());
    }

    #[test]
    fn what_is_too_large_marks_the_object_and_is_not_kept() {
        let large = "x".repeat(5_000_000);
        let spaces = format!("[1,{}2]", " ".repeat(5_000_000));
        let list = format!("[1{}]", ",1".repeat(MAX_TEXT_BYTES / 2 - 10));
        let ways: [fn(&mut Object, &str); 5] = [
            |object, text| _ = object.set(text, 1),
            |object, text| _ = object.push(text, 1),
            |object, text| object.set_with(text, false, |writer| writer.int(1).map(|()| true)).expect("marked"),
            |object, text| _ = object.set("k", text).push("l", text),
            |object, text| _ = object.set("k", Value::Json(text)).push("l", Value::Json(text)),
        ];
        for way in ways {
            for text in [&large, &spaces, &list] {
                let mut object = Object::from([("first", 0)]);
                way(&mut object, text);
                let error = object.error().expect("marked");
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                assert!(error.message().len() < 100, "{error}");
                assert!(object.bytes.capacity() < 4 * MAX_BYTES, "{}", object.bytes.capacity());
                object.clear();
                assert_eq!(json(object.set("k", 1)), r#"{"k":1}"#);
            }
            let mut object = Object::new();
            way(&mut object, "12");
            assert!(object.error().is_none(), "{object:?}");
        }
        for text in [format!("{{\"a\":{spaces}}}"), format!("{{\"a\":{list}}}"), large.clone()] {
            assert_eq!(Object::parse(&text).expect_err("refused").kind(), ErrorKind::TooLarge);
        }
        let spaces = format!("[1,{}2]", " ".repeat(500_000));
        let object = Object::new().with("l", Value::Json(&spaces));
        assert_eq!(json(&object), r#"{"l":[1,2]}"#);
        assert!(object.bytes.capacity() < MAX_BYTES);
        assert_eq!(json(&Object::parse(&format!("{{\"l\":{spaces}}}")).expect("small enough")), r#"{"l":[1,2]}"#);
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let large = "x".repeat(MAX_BYTES + 1);
        assert_eq!(Object::new().with("k", large.as_str()).error().map(Error::kind), Some(ErrorKind::TooLarge));
        let mut object = Object::new();
        for n in 0..100_000 {
            object.set(&format!("key {n}"), n);
        }
        assert_eq!(object.error().map(Error::kind), Some(ErrorKind::TooLarge));
        assert!(object.bytes.capacity() < 4 * MAX_BYTES);

        let mut nested = Object::new();
        for _ in 0..MAX_DEPTH - 2 {
            nested = Object::new().with("o", &nested);
        }
        assert!(nested.error().is_none());
        let deeper = Object::new().with("o", &nested);
        assert_eq!(error(&deeper), "\"o\" is nested more than 64 deep");
        let text = "{\"a\":".repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        assert!(Object::parse(&text).is_err());
    }
}
