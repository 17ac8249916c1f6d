//! The context of a running program: members that `set_context` sets and removes. They are merged over the context of
//! the settings, and a message's own context over them.

use crate::base::error::{Error, ErrorKind};
use crate::json::object::{Object, Value};
use crate::json::{scan, write};

/// All members together have at most this many bytes of JSON, since every message carries them.
pub(crate) const MAX_BYTES: usize = 16_000;

/// Members that are set in another way.
const RESERVED: [(&str, &str); 3] = [
    ("consent", "set_consent sets it"),
    ("traits", "identify and the options of a message set them"),
    ("library", "it names this library"),
];

/// A change that sets or removes one member.
#[derive(Debug)]
pub(crate) struct Change {
    /// As written in JSON, with its quotes.
    name: Vec<u8>,
    /// Compact JSON; none removes the member.
    value: Option<Vec<u8>>,
}

impl Change {
    /// Checks the key and the value.
    pub(crate) fn new(key: &str, value: Option<Value<'_>>) -> Result<Self, Error> {
        if let Some((name, why)) = RESERVED.iter().find(|(name, _)| *name == key) {
            return Err(Error::invalid(format!("key must not be \"{name}\": {why}")));
        }
        let mut object = Object::new();
        if let Some(value) = value {
            object.set(key, value);
        }
        if let Some(error) = object.error() {
            return Err(error.clone());
        }
        let value = object.members().next().map(|(_, value)| value.to_vec());
        let mut name = Vec::new();
        write::string(&mut name, key);
        Ok(Change { name, value })
    }
}

/// The members that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// A compact JSON object; empty while there are none.
    json: Vec<u8>,
}

impl Members {
    /// These members with one of them set or removed.
    pub(crate) fn with(&self, change: &Change) -> Result<Members, Error> {
        let others = scan::members(&self.json).filter(|(name, _)| *name != change.name);
        let changed = change.value.iter().map(|value| (change.name.as_slice(), value.as_slice()));
        let mut json = Vec::new();
        for (name, value) in others.chain(changed) {
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(name);
            json.push(b':');
            json.extend_from_slice(value);
        }
        if !json.is_empty() {
            json.push(b'}');
        }
        if json.len() > MAX_BYTES {
            let name = String::from_utf8_lossy(&change.name[..change.name.len().min(100)]);
            let text = format!(
                "{name} does not fit: what set_context has set would have {} bytes of JSON, more than \
                 {MAX_BYTES}",
                json.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(Members { json })
    }

    /// A compact context with these members merged over it.
    pub(crate) fn over(&self, context: &[u8]) -> Vec<u8> {
        if self.json.is_empty() {
            return context.to_vec();
        }
        let mut merged = Vec::new();
        scan::merge(context, &self.json, &mut merged);
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &Members, key: &str, value: impl Into<Option<Value<'static>>>) -> Result<Members, Error> {
        members.with(&Change::new(key, value.into())?)
    }

    fn over(members: &Members, context: &str) -> String {
        String::from_utf8(members.over(context.as_bytes())).expect("UTF-8")
    }

    #[test]
    fn members_are_set_replaced_and_removed() {
        let base = r#"{"app":{"name":"game","version":"1"},"level":0}"#;
        let none = Members::default();
        assert_eq!(over(&none, base), base);
        let some = set(&none, "level", Value::Int(7)).expect("good");
        let some = set(&some, "app", Value::Json(r#" {"version": "2", "build": 5} "#)).expect("good");
        assert_eq!(over(&some, base), r#"{"app":{"name":"game","version":"2","build":5},"level":7}"#);
        // An earlier value of the same member is replaced, not merged.
        let some = set(&some, "app", Value::Json(r#"{"build":6}"#)).expect("good");
        assert_eq!(over(&some, base), r#"{"app":{"name":"game","version":"1","build":6},"level":7}"#);
        let some = set(&some, "level", Value::Null).expect("good");
        assert_eq!(over(&some, base), r#"{"app":{"name":"game","version":"1","build":6},"level":null}"#);
        let some = set(&some, "level", None).expect("good");
        let some = set(&some, "never set", None).expect("good");
        let some = set(&some, "app", None).expect("good");
        assert_eq!(some, none);
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let key = "say \"A\"\n";
        let some = set(&Members::default(), key, Value::Int(1)).expect("good");
        let some = set(&some, key, Value::Int(2)).expect("good");
        assert_eq!(over(&some, r#"{"say \"A\"\n":0}"#), r#"{"say \"A\"\n":2}"#);
        assert_eq!(set(&some, key, None).expect("good"), Members::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = |key, value| set(&Members::default(), key, Some(value)).expect_err("refused");
        for name in ["consent", "traits", "library"] {
            let error = problem(name, Value::Int(1));
            assert!(error.message().starts_with(&format!("key must not be \"{name}\": ")), "{error}");
            assert_eq!(Change::new(name, None).expect_err("refused").kind(), ErrorKind::Invalid);
        }
        assert_eq!(problem("k", Value::Double(f64::NAN)).message(), "\"k\" is not a finite number");
        assert_eq!(
            problem("k", Value::Json("{")).message(),
            "\"k\" is not JSON: expected a member name in quotes at byte 1"
        );
    }

    #[test]
    fn together_they_have_a_limit() {
        let around = r#"{"a":1,"b":""}"#.len();
        let one = set(&Members::default(), "a", Value::Int(1)).expect("good");
        let text = "x".repeat(MAX_BYTES - around + 1);
        let with = |length: usize| one.with(&Change::new("b", Some(Value::Str(&text[..length]))).expect("good"));
        assert_eq!(with(MAX_BYTES - around).expect("it just fits").json.len(), MAX_BYTES);
        let error = with(MAX_BYTES - around + 1).expect_err("one byte more");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let sentence = r#""b" does not fit: what set_context has set would have 16001 bytes of JSON"#;
        assert!(error.message().starts_with(sentence), "{error}");
    }
}
