//! Looking into JSON without changing it: the values of an object as the text they were sent as.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::compact;

/// Calls `see` with the name and the value of each member of `object`, in their order.
pub(crate) fn each_member<'a>(object: &'a str, see: impl FnMut(&str, &'a RawValue)) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(object).deserialize_map(Members(see))
}

struct Members<F>(F);

impl<'a, F: FnMut(&str, &'a RawValue)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            (self.0)(&name, map.next_value()?);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text that a string stands for; none if the value is no string.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if !quoted.contains('\\') {
        return Some(Cow::Borrowed(quoted));
    }
    // Half of a surrogate pair stands for no text: then we keep what was sent.
    let decoded = serde_json::from_str(value.get());
    Some(decoded.map_or(Cow::Borrowed(quoted), |Text(text)| text))
}

/// A string as its text, everything else as JSON.
pub(crate) fn shown(value: &RawValue) -> Cow<'_, str> {
    text(value).unwrap_or_else(|| Cow::Owned(compact(value.get()).collect()))
}

/// Whether the value is `{}`.
pub(crate) fn is_empty_object(value: &RawValue) -> bool {
    value.get().strip_prefix('{').is_some_and(|rest| rest.trim_start() == "}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn members_come_in_order_and_as_they_were_sent() {
        let mut seen = Vec::new();
        each_member(r#"{"b": 1.50, "\u0061":{ "x":18446744073709551616 }, "b":null}"#, |name, value| {
            seen.push(format!("{name}={}", value.get()));
        })
        .expect("an object");
        assert_eq!(seen, ["b=1.50", r#"a={ "x":18446744073709551616 }"#, "b=null"]);
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        assert!(each_member("[1]", |_, _| {}).is_err());
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(text(raw(r#""plain""#)).as_deref(), Some("plain"));
        assert_eq!(text(raw(r#""a\"\u00e9\n""#)).as_deref(), Some("a\"é\n"));
        assert_eq!(text(raw(r#""\ud800""#)).as_deref(), Some(r"\ud800"));
        assert_eq!(text(raw("42")), None);
    }

    #[test]
    fn an_empty_object_may_hold_white_space() {
        assert!(is_empty_object(raw("{ }")));
        assert!(!is_empty_object(raw(r#"{"a":1}"#)));
        assert!(!is_empty_object(raw("[]")));
    }
}
