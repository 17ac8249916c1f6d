//! Where in a message the value of a column goes, and as what.

use std::str::FromStr;

use segment_native::Call;

use crate::pair;

/// The members of a message that are text, whatever they look like.
const TEXTS: [&str; 10] =
    ["type", "userId", "anonymousId", "messageId", "event", "name", "category", "groupId", "previousId", "timestamp"];
/// The members that hold others.
const OBJECTS: [&str; 4] = ["properties", "traits", "context", "integrations"];

/// A number with more digits is an id: as a number, many would round it.
const MAX_DIGITS: usize = 15;

/// A place in a message: `userId`, `traits.address.city`, `properties.zip:string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: Vec<String>,
    pub(crate) kind: Kind,
}

/// What the text of a cell is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbers, `true`, `false`, `null` and whole objects and lists are what they look like, all else is text.
    Auto,
    Text,
    Number,
    Boolean,
    Json,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, kind) = match text.rsplit_once(':') {
            None => (text, Kind::Auto),
            Some((path, "string")) => (path, Kind::Text),
            Some((path, "number")) => (path, Kind::Number),
            Some((path, "boolean")) => (path, Kind::Boolean),
            Some((path, "json")) => (path, Kind::Json),
            Some((_, other)) => return Err(format!("a type must be string, number, boolean or json, not {other}")),
        };
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let root = path[0].as_str();
        match path.len() {
            1 if TEXTS.contains(&root) => Ok(Target { path, kind: Kind::Text }),
            1 if OBJECTS.contains(&root) => Ok(Target { path, kind: Kind::Json }),
            2.. if OBJECTS.contains(&root) && path.iter().all(|part| !part.is_empty()) => Ok(Target { path, kind }),
            _ => Err(format!(
                "{text} is no place in a message: it must be one of {}, or begin with properties., traits., \
                 context. or integrations.",
                TEXTS.join(", ")
            )),
        }
    }
}

impl Target {
    /// The member of a message that a column must be meant for by its name: `user_id` and `User ID` are `userId`.
    pub(crate) fn by_name(column: &str) -> Option<Target> {
        if let Ok(target) = column.parse::<Target>() {
            return Some(target);
        }
        let plain = |name: &str| name.replace(['_', ' ', '-'], "").to_ascii_lowercase();
        let member = TEXTS.into_iter().find(|member| plain(member) == plain(column))?;
        Some(Target { path: vec![member.to_owned()], kind: Kind::Text })
    }

    /// Whether messages of this call have the member; the others can only have meant a property or trait by it.
    pub(crate) fn is_of(&self, call: Option<Call>) -> bool {
        match self.path[0].as_str() {
            "event" => call == Some(Call::Track),
            "name" | "category" => matches!(call, Some(Call::Page | Call::Screen)),
            "groupId" => call == Some(Call::Group),
            "previousId" => call == Some(Call::Alias),
            _ => true,
        }
    }
}

impl Kind {
    /// The JSON of a cell that is not empty.
    pub(crate) fn json(self, cell: &str) -> Result<String, &'static str> {
        let text = || Ok(serde_json::Value::from(cell).to_string());
        match self {
            Kind::Text => text(),
            Kind::Auto if is_plain_number(cell) || matches!(cell, "true" | "false" | "null") => Ok(cell.to_owned()),
            Kind::Auto if cell.starts_with(['{', '[']) && pair::is_json(cell) => Ok(cell.to_owned()),
            Kind::Auto => text(),
            Kind::Number if cell.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && pair::is_json(cell) => {
                Ok(cell.to_owned())
            }
            Kind::Number => Err("must be a number"),
            Kind::Boolean => match cell.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Ok("true".to_owned()),
                "false" | "no" | "0" => Ok("false".to_owned()),
                _ => Err("must be true or false"),
            },
            Kind::Json if pair::is_json(cell) => Ok(cell.to_owned()),
            Kind::Json => Err("must be JSON"),
        }
    }
}

/// Whether a text is a number and nothing else: not `007`, not `12E4`, not an id of twenty digits.
fn is_plain_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && digits.len() <= MAX_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(cell: &str) -> String {
        Kind::Auto.json(cell).expect("auto takes everything")
    }

    #[test]
    fn what_looks_like_a_number_is_one_and_what_looks_like_an_id_is_none() {
        for number in ["0", "-1", "19.90", "123456789012345"] {
            assert_eq!(auto(number), number);
        }
        for text in ["007", "12E4", "1234567890123456", "+49", "1.", ".5", "-", "1,5", "NaN"] {
            assert_eq!(auto(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn objects_must_be_whole() {
        assert_eq!(auto(r#"{"a":[1]}"#), r#"{"a":[1]}"#);
        assert_eq!(auto("[sic"), r#""[sic""#);
        assert_eq!(auto(r#""q""#), r#""\"q\"""#);
    }

    #[test]
    fn types_can_be_asked_for() {
        assert_eq!(Kind::Text.json("1").as_deref(), Ok("\"1\""));
        assert_eq!(Kind::Number.json("1e3").as_deref(), Ok("1e3"));
        assert_eq!(Kind::Boolean.json("Yes").as_deref(), Ok("true"));
        assert!(Kind::Number.json("abc").is_err() && Kind::Boolean.json("2").is_err() && Kind::Json.json("{").is_err());
    }

    #[test]
    fn columns_are_known_by_their_names() {
        let by_name = |column| Target::by_name(column).map(|target| target.path.join("."));
        for column in ["userId", "user_id", "User ID", "USERID"] {
            assert_eq!(by_name(column).as_deref(), Some("userId"));
        }
        assert_eq!(by_name("traits.address.city").as_deref(), Some("traits.address.city"));
        assert_eq!(by_name("price"), None);
        assert_eq!(by_name("a.b"), None);
    }

    #[test]
    fn places_that_no_message_has_are_refused() {
        for text in ["price", "traits.", "userId.x", "traits.a:date", ""] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
