//! Reading JSON without building a tree: what callers pass in is checked once and copied without its white space.
//!
//! The output of [`compact`] has no raw control characters, so no newline and no NUL, and fits on one line of a chunk.
//! The functions below [`compact`] take only such text, and are fast because they need not check it again.

use std::borrow::Cow;

use crate::json::write::{self, MAX_DEPTH, plain_prefix};

/// Why a text cannot be sent as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// What is wrong.
    pub what: &'static str,
    /// At which byte.
    pub at: usize,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Checks that `text` is one JSON value, nested at most `max_depth` deep, and appends it to `out` without white space.
/// Returns how deep it is nested; on an error, `out` is as it was.
///
/// Stricter than the grammar in two points, because the receiver's parser would refuse the whole batch: half of a
/// surrogate pair, and a number beyond the range of a double.
pub(crate) fn compact(text: &str, max_depth: usize, out: &mut Vec<u8>) -> Result<usize, Flaw> {
    let before = out.len();
    out.reserve(text.len());
    let mut scan = Scan { text: text.as_bytes(), at: 0, copied: 0, max_depth, deepest: 0, out };
    let result = scan.document();
    let deepest = scan.deepest;
    if result.is_err() {
        out.truncate(before);
    }
    result.map(|()| deepest)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Up to where `text` has been copied to `out`.
    copied: usize,
    max_depth: usize,
    deepest: usize,
    out: &'a mut Vec<u8>,
}

impl Scan<'_> {
    fn document(&mut self) -> Result<(), Flaw> {
        self.space();
        self.value(0)?;
        self.space();
        if self.at < self.text.len() {
            return self.flaw("unexpected text after the value");
        }
        self.copy_up_to(self.at);
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'{') => self.nested(depth, b'}', "expected a comma or a closing brace", Self::member),
            Some(b'[') => self.nested(depth, b']', "expected a comma or a closing bracket", Self::value),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            None => self.flaw("the text ends too early"),
            Some(_) => self.flaw("expected a value"),
        }
    }

    fn nested(
        &mut self,
        depth: usize,
        close: u8,
        expected: &'static str,
        item: fn(&mut Self, usize) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let depth = depth + 1;
        if depth > self.max_depth {
            return self.flaw("nested too deeply");
        }
        self.deepest = self.deepest.max(depth);
        self.at += 1;
        self.space();
        if self.skip(close) {
            return Ok(());
        }
        loop {
            item(self, depth)?;
            self.space();
            if self.skip(close) {
                return Ok(());
            }
            if !self.skip(b',') {
                return self.flaw(if self.at < self.text.len() { expected } else { "the text ends too early" });
            }
            self.space();
        }
    }

    fn member(&mut self, depth: usize) -> Result<(), Flaw> {
        if self.peek() != Some(b'"') {
            return self.flaw("expected a member name in quotes");
        }
        let start = self.at;
        if self.string()? {
            // A name can be escaped in many ways. It is written in only one, so that names can be compared as bytes.
            self.copy_up_to(start);
            let name = unescape(&self.text[start..self.at]);
            write::string(self.out, &name);
            self.copied = self.at;
        }
        self.space();
        if !self.skip(b':') {
            return self.flaw("expected a colon");
        }
        self.space();
        self.value(depth)
    }

    /// Skips a string; true if it contains an escape.
    fn string(&mut self) -> Result<bool, Flaw> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.flaw("a control character in a string"),
                None => return self.flaw("an unterminated string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        let rest = &self.text[self.at..];
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match code_unit(rest) {
                Some(0xd800..0xdc00) => match code_unit(rest.get(6..).unwrap_or_default()) {
                    Some(0xdc00..0xe000) => self.at += 12,
                    _ => return self.flaw("half of a surrogate pair"),
                },
                Some(0xdc00..0xe000) => return self.flaw("half of a surrogate pair"),
                Some(_) => self.at += 6,
                None => return self.flaw("an unknown escape"),
            },
            _ => return self.flaw("an unknown escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        let whole = self.at - start;
        if self.skip(b'.') {
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if !self.skip(b'+') {
                self.skip(b'-');
            }
            self.digits()?;
        }
        if exponent || whole > 300 {
            let finite = std::str::from_utf8(&self.text[start..self.at])
                .is_ok_and(|number| number.parse().is_ok_and(f64::is_finite));
            if !finite {
                self.at = start;
                return self.flaw("a number too large");
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.flaw("expected a digit") } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return self.flaw("expected a value");
        }
        self.at += word.len();
        Ok(())
    }

    /// Skips white space, leaving it out of the copy.
    fn space(&mut self) {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        if self.at > start {
            self.copy_up_to(start);
            self.copied = self.at;
        }
    }

    fn copy_up_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.text[self.copied..end]);
        self.copied = end;
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn flaw<T>(&self, what: &'static str) -> Result<T, Flaw> {
        Err(Flaw { what, at: self.at })
    }
}

/// The four hex digits of `\uXXXX` at the front of `escape`.
fn code_unit(escape: &[u8]) -> Option<u32> {
    let [b'\\', b'u', a, b, c, d, ..] = escape else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some(digit(*a)? << 12 | digit(*b)? << 8 | digit(*c)? << 4 | digit(*d)?)
}

/// The text that a checked JSON string, quotes included, stands for.
pub(crate) fn unescape(string: &[u8]) -> String {
    let mut text = Vec::with_capacity(string.len());
    let mut rest = &string[1..string.len() - 1];
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            let plain = plain_prefix(rest);
            text.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            continue;
        }
        let (meant, length) = match after[0] {
            b'u' => match (code_unit(rest), code_unit(rest.get(6..).unwrap_or_default())) {
                (Some(high @ 0xd800..0xdc00), Some(low)) => {
                    (char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12)
                }
                (unit, _) => (unit.and_then(char::from_u32), 6),
            },
            b'b' => (Some('\u{8}'), 2),
            b'f' => (Some('\u{c}'), 2),
            b'n' => (Some('\n'), 2),
            b'r' => (Some('\r'), 2),
            b't' => (Some('\t'), 2),
            itself => (Some(char::from(itself)), 2),
        };
        let meant = meant.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[length..];
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The same, copied only where it holds escapes.
pub(crate) fn text(string: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(&string[1..string.len() - 1]) {
        Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => Cow::Owned(unescape(string)),
    }
}

/// The members of a compact object, in order: the name with its quotes, and the value.
pub(crate) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = object.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.first() != Some(&b'"') {
            return None;
        }
        let name_end = value_end(rest);
        let (name, after) = rest.split_at(name_end);
        let after = &after[1..]; // the colon
        let (value, after) = after.split_at(value_end(after));
        rest = after.strip_prefix(b",").unwrap_or_default();
        Some((name, value))
    })
}

/// The items of a compact list, in order.
pub(crate) fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list.strip_prefix(b"[").unwrap_or_default();
    std::iter::from_fn(move || {
        if matches!(rest.first(), None | Some(b']')) {
            return None;
        }
        let (item, after) = rest.split_at(value_end(rest));
        rest = after.strip_prefix(b",").unwrap_or_default();
        Some(item)
    })
}

/// A member of a compact object; the last, if several have this name.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut quoted = Vec::with_capacity(name.len() + 2);
    write::string(&mut quoted, name);
    members(object).filter(|(other, _)| *other == quoted).last().map(|(_, value)| value)
}

/// The same, if it is a string.
pub(crate) fn text_member(object: &[u8], name: &str) -> Option<String> {
    member(object, name).filter(|value| value.starts_with(b"\"")).map(unescape)
}

/// Where the first value of a compact text ends.
fn value_end(text: &[u8]) -> usize {
    let mut at = 0;
    let mut depth = 0usize;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = last_of_string(text, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    text.len()
}

/// The place of the quote that ends the string that begins at `start`.
fn last_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        at += plain_prefix(&text[at..]);
        match text.get(at) {
            Some(b'\\') => at += 2,
            _ => return at,
        }
    }
}

/// How deep a compact text is nested.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut at, mut depth, mut deepest) = (0, 0usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = last_of_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Writes the compact object `over` merged over the compact object `base`: members of both are merged where both are
/// objects, else `over` wins. If a name occurs twice in one object, the last counts.
pub(crate) fn merge(base: &[u8], over: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, ours, theirs) in pairs(base, over) {
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(name);
        out.push(b':');
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours[0] == b'{' && theirs[0] == b'{' => merge(ours, theirs, out),
            (ours, theirs) => out.extend_from_slice(theirs.or(ours).unwrap_or(b"null")),
        }
    }
    out.push(b'}');
}

type Pair<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// Each name of two objects once, with its last value in each of them.
fn pairs<'a>(base: &'a [u8], over: &'a [u8]) -> Vec<Pair<'a>> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for (name, value) in members(base) {
        let at = *index.entry(name).or_insert_with(|| {
            pairs.push((name, None, None));
            pairs.len() - 1
        });
        pairs[at].1 = Some(value);
    }
    for (name, value) in members(over) {
        let at = *index.entry(name).or_insert_with(|| {
            pairs.push((name, None, None));
            pairs.len() - 1
        });
        pairs[at].2 = Some(value);
    }
    pairs
}

/// Checks a whole message or object from a caller: it must be an object, nested no deeper than a message may be.
pub(crate) fn compact_object(text: &str, out: &mut Vec<u8>) -> Result<usize, Flaw> {
    let before = out.len();
    let depth = compact(text, MAX_DEPTH, out)?;
    if out.get(before) != Some(&b'{') {
        out.truncate(before);
        return Err(Flaw { what: "expected an object", at: 0 });
    }
    Ok(depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn compacted(text: &str) -> Result<String, Flaw> {
        let mut out = b"kept".to_vec();
        let result = compact(text, MAX_DEPTH, &mut out);
        let out = String::from_utf8(out).expect("UTF-8");
        let out = out.strip_prefix("kept").expect("what was there stays").to_owned();
        assert!(result.is_ok() || out.is_empty());
        result.map(|_| out)
    }

    #[test]
    fn leaves_out_white_space_and_nothing_else() {
        assert_eq!(
            compacted(" { \"a\" : [ 1 , 2.5e3 ,\ttrue ] ,\r\n\"b c\":{} } ").expect("JSON"),
            r#"{"a":[1,2.5e3,true],"b c":{}}"#
        );
        assert_eq!(compacted("\"two  spaces\"").expect("JSON"), "\"two  spaces\"");
        assert_eq!(compacted("-0").expect("JSON"), "-0");
    }

    #[test]
    fn names_are_written_in_one_way() {
        assert_eq!(compacted(r#"{"\u0061\/\u00e9\n" : "\u0061"}"#).expect("JSON"), "{\"a/é\\n\":\"\\u0061\"}");
        assert_eq!(compacted(r#"{"\ud83c\udf89":1}"#).expect("JSON"), "{\"🎉\":1}");
    }

    #[test]
    fn refuses_what_is_no_json_and_says_where() {
        for (text, what, at) in [
            ("", "the text ends too early", 0),
            ("{", "expected a member name in quotes", 1),
            (r#"{"a":1"#, "the text ends too early", 6),
            (r#"{"a" 1}"#, "expected a colon", 5),
            (r#"{"a":1,}"#, "expected a member name in quotes", 7),
            ("[1,]", "expected a value", 3),
            ("[1 2]", "expected a comma or a closing bracket", 3),
            ("01", "unexpected text after the value", 1),
            ("1.", "expected a digit", 2),
            ("-", "expected a digit", 1),
            ("nul", "expected a value", 0),
            ("'a'", "expected a value", 0),
            ("\"a", "an unterminated string", 2),
            ("\"\n\"", "a control character in a string", 1),
            (r#""\x""#, "an unknown escape", 1),
            (r#""\u12G4""#, "an unknown escape", 1),
            (r#""\ud800""#, "half of a surrogate pair", 1),
            (r#""\udc00x""#, "half of a surrogate pair", 1),
            ("[1e999]", "a number too large", 1),
            ("\u{feff}{}", "expected a value", 0),
        ] {
            assert_eq!(compacted(text), Err(Flaw { what, at }), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(compacted(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(compacted(&nested(MAX_DEPTH + 1)).map_err(|f| f.what), Err("nested too deeply"));
        assert_eq!(compacted(&nested(100_000)).map_err(|f| f.what), Err("nested too deeply"));
    }

    #[test]
    fn agrees_with_serde_on_a_hundred_thousand_mutations() {
        let seeds = [
            concat!(
                r#"{"type":"track","properties":{"a":[1,-2.5e-3,true,null,"x\u00e9\"\\"],"b":{}},"#,
                r#""n":12345678901234567890}"#,
            ),
            r#" [ "\ud83c\udf89" , { "k" : 0.1 , "k" : [ ] } , false ] "#,
        ];
        let alphabet = b"{}[]\",:\\0159.eE+-truefalsn \n\tud8x";
        const SEED: u64 = 1;
        let mutations = crate::rounds(100_000);
        let mut state = SEED;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut valid = 0;
        for round in 0..mutations {
            let mut text = seeds[round % 2].as_bytes().to_vec();
            for _ in 0..=next(3) {
                let at = next(text.len());
                match next(3) {
                    0 => text[at] = alphabet[next(alphabet.len())],
                    1 => text.insert(at, alphabet[next(alphabet.len())]),
                    _ => drop(text.remove(at)),
                }
            }
            let Ok(text) = String::from_utf8(text) else { continue };
            let theirs = serde_json::from_str::<Value>(&text);
            let ours = compacted(&text);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?} {theirs:?}");
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                valid += 1;
                assert_eq!(serde_json::from_str::<Value>(&ours).expect("still JSON"), theirs);
            }
        }
        assert!(valid > 5_000, "only {valid} mutations were valid");
        let size = [(mutations, "mutations"), (valid, "of them JSON")];
        crate::patience::campaign("JSON, as a second parser judges it", &size, Some(SEED), "0 judged otherwise");
    }

    #[test]
    fn depth_is_counted_without_what_stands_in_strings() {
        for (text, deep) in [("1", 0), ("{}", 1), (r#"{"a":[{"[[":"[\"[{"},[]],"b":{}}"#, 3), (r#"[[],[[]],""]"#, 3)] {
            assert_eq!(depth(text.as_bytes()), deep, "{text}");
        }
    }

    #[test]
    fn members_are_found_in_their_order() {
        let object = br#"{"a":1,"b,}":{"x":[1,{"y":"}"}]},"c":"\"","d":[],"e":null}"#;
        let found: Vec<_> = members(object)
            .map(|(name, value)| format!("{} {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(found, [r#""a" 1"#, r#""b,}" {"x":[1,{"y":"}"}]}"#, r#""c" "\"""#, r#""d" []"#, r#""e" null"#]);
        assert_eq!(members(b"{}").count(), 0);
    }

    #[test]
    fn items_are_found_in_their_order() {
        let list = br#"[1,"a]","\"",{"x":[2,3]},[],null]"#;
        let found: Vec<_> = items(list).map(String::from_utf8_lossy).collect();
        assert_eq!(found, ["1", r#""a]""#, r#""\"""#, r#"{"x":[2,3]}"#, "[]", "null"]);
        assert_eq!(items(b"[]").count(), 0);
    }

    #[test]
    fn merging_goes_deep_and_the_later_wins() {
        let merged = |base: &str, over: &str| {
            let mut out = Vec::new();
            merge(base.as_bytes(), over.as_bytes(), &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(merged("{}", "{}"), "{}");
        assert_eq!(
            merged(r#"{"app":{"name":"a","build":1},"ip":"x"}"#, r#"{"app":{"build":2},"os":{}}"#),
            r#"{"app":{"name":"a","build":2},"ip":"x","os":{}}"#
        );
        assert_eq!(merged(r#"{"a":{"b":1}}"#, r#"{"a":null}"#), r#"{"a":null}"#);
        assert_eq!(merged(r#"{"a":1,"a":2}"#, r#"{"b":1,"b":2}"#), r#"{"a":2,"b":2}"#);
    }

    #[test]
    fn unescaping_gives_the_text_back() {
        assert_eq!(unescape(br#""a\"\\\/\b\f\n\r\t\u00e9\ud83c\udf89z""#), "a\"\\/\u{8}\u{c}\n\r\té🎉z");
    }
}
