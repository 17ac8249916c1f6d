//! `KEY=VALUE`: a property or trait on the command line.

use segment_native::{Object, Value};
use serde_json::value::RawValue;

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Sets the member that a pair names. A value that is JSON counts as what it is there (a number, `true`, `null`,
/// `"text"`, `{}`), everything else is text.
pub(crate) fn set(object: &mut Object, pair: &str) -> Result<(), String> {
    let (name, value) = split(pair)?;
    if is_json(value) {
        object.set(name, Value::Json(value));
    } else if value.starts_with(['{', '[', '"']) {
        return Err(format!("{name} begins like JSON and is none; if it is meant as text, write --string '{pair}'"));
    } else {
        object.set(name, value);
    }
    Ok(())
}

/// Sets the member to the text, whatever it looks like.
pub(crate) fn set_text(object: &mut Object, pair: &str) -> Result<(), String> {
    let (name, value) = split(pair)?;
    object.set(name, value);
    Ok(())
}

fn split(pair: &str) -> Result<(&str, &str), String> {
    let split = pair.split_once('=').filter(|(name, _)| !name.is_empty());
    split.ok_or_else(|| format!("{pair} must be KEY=VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(pairs: &[&str]) -> Result<String, String> {
        let mut object = Object::new();
        for pair in pairs {
            set(&mut object, pair)?;
        }
        object.to_json().map_err(|error| error.to_string())
    }

    #[test]
    fn values_have_the_type_that_json_gives_them() {
        let pairs = ["n=19.90", "i=18446744073709551616", "b=true", "z=null", "l=[1]", "o={\"a\":1}", "s=\"42\""];
        assert_eq!(
            json(&pairs).as_deref(),
            Ok(r#"{"n":19.90,"i":18446744073709551616,"b":true,"z":null,"l":[1],"o":{"a":1},"s":"42"}"#)
        );
    }

    #[test]
    fn everything_else_is_text() {
        assert_eq!(
            json(&["a=pro", "zip=01234", "e=", "q=a=b"]).as_deref(),
            Ok(r#"{"a":"pro","zip":"01234","e":"","q":"a=b"}"#)
        );
    }

    #[test]
    fn half_an_object_is_a_mistake() {
        assert!(json(&["a={\"b\":"]).is_err());
        assert!(json(&["novalue"]).is_err());
        assert!(json(&["=x"]).is_err());
    }

    #[test]
    fn text_can_be_asked_for() {
        let mut object = Object::new();
        set_text(&mut object, "zip=12345").expect("a pair");
        assert_eq!(object.to_json().as_deref(), Ok(r#"{"zip":"12345"}"#));
    }
}
