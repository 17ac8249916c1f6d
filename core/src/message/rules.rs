//! What Segment accepts, in one table.
//!
//! Segment answers 200 to nearly everything and later discards what breaks its rules, so a client that does not check
//! loses data silently. Every rule here has its source: the name of the discard where Segment documents one, and the
//! page. `track`, `identify` and the other calls check these rules, and so do `enqueue` and the local collector.

use std::borrow::Cow;

use crate::base::error::{Error, ErrorKind};
use crate::base::time;
use crate::json::scan;

/// A message may have this many bytes with all its fields. Segment says 32 KB; this is the smaller reading of it.
pub const MAX_MESSAGE_BYTES: usize = 32_000;
/// A request to `/v1/batch` may have this many bytes of JSON, its envelope counted. Segment says 500 KB.
pub const MAX_BATCH_BYTES: usize = 480_000;
/// A batch may hold this many messages; with more, Segment answers 200 and discards them all.
pub const MAX_BATCH_MESSAGES: usize = 2_500;
/// A message id may have this many characters. Segment says both "limited to 100" and "fewer than 100".
pub const MAX_MESSAGE_ID_CHARS: usize = 99;

/// The six calls of Segment's specification. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Who the user is.
    Identify,
    /// What the user did.
    Track,
    /// Which web page the user saw.
    Page,
    /// Which screen of an app the user saw.
    Screen,
    /// Which company, team or account the user belongs to.
    Group,
    /// Which other id belongs to the same user.
    Alias,
}

impl Call {
    /// All six.
    pub const ALL: [Call; 6] = [Call::Identify, Call::Track, Call::Page, Call::Screen, Call::Group, Call::Alias];

    /// The `type` of its messages.
    pub const fn name(self) -> &'static str {
        match self {
            Call::Identify => "identify",
            Call::Track => "track",
            Call::Page => "page",
            Call::Screen => "screen",
            Call::Group => "group",
            Call::Alias => "alias",
        }
    }

    /// The call whose messages have this `type`.
    pub fn from_name(name: &str) -> Option<Call> {
        Call::ALL.into_iter().find(|call| call.name() == name)
    }

    /// The member that holds what the message says: traits or properties. Alias has none.
    pub const fn payload(self) -> Option<&'static str> {
        match self {
            Call::Identify | Call::Group => Some("traits"),
            Call::Track | Call::Page | Call::Screen => Some("properties"),
            Call::Alias => None,
        }
    }
}

/// A member of a message, as the rules see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// An object.
    Object,
    /// Anything else.
    Other,
}

impl<'a> Field<'a> {
    fn read(value: &'a [u8]) -> Self {
        match value.first() {
            Some(b'"') => match std::str::from_utf8(&value[1..value.len() - 1]) {
                Ok(plain) if !plain.contains('\\') => Field::Text(Cow::Borrowed(plain)),
                _ => Field::Text(Cow::Owned(scan::unescape(value))),
            },
            Some(b'{') => Field::Object,
            Some(b'n') | None => Field::Absent,
            Some(_) => Field::Other,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_absent(&self) -> bool {
        *self == Field::Absent
    }

    fn is_filled(&self) -> bool {
        self.text().is_some_and(|text| !text.is_empty())
    }

    fn is_absent_or_object(&self) -> bool {
        matches!(self, Field::Absent | Field::Object)
    }
}

impl<'a> From<Option<&'a str>> for Field<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Field::Absent, |text| Field::Text(Cow::Borrowed(text)))
    }
}

/// What the rules check in a message.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// Which call; none if `type` is none of the six.
    pub call: Option<Call>,
    /// `userId`
    pub user_id: Field<'a>,
    /// `anonymousId`
    pub anonymous_id: Field<'a>,
    /// `event`
    pub event: Field<'a>,
    /// `name`
    pub name: Field<'a>,
    /// `category`
    pub category: Field<'a>,
    /// `groupId`
    pub group_id: Field<'a>,
    /// `previousId`
    pub previous_id: Field<'a>,
    /// `properties` or `traits`, whichever belongs to the call
    pub payload: Field<'a>,
    /// `context`
    pub context: Field<'a>,
    /// `integrations`
    pub integrations: Field<'a>,
    /// `messageId`
    pub message_id: Field<'a>,
    /// `timestamp`
    pub timestamp: Field<'a>,
}

impl<'a> Facts<'a> {
    /// Reads the facts from a compact JSON object. If a name occurs twice, the last counts.
    pub(crate) fn read(message: &'a [u8]) -> Self {
        let mut facts = Facts::default();
        let (mut properties, mut traits) = (Field::Absent, Field::Absent);
        for (name, value) in scan::members(message) {
            let field = match name {
                b"\"type\"" => {
                    facts.call = Field::read(value).text().and_then(Call::from_name);
                    continue;
                }
                b"\"userId\"" => &mut facts.user_id,
                b"\"anonymousId\"" => &mut facts.anonymous_id,
                b"\"event\"" => &mut facts.event,
                b"\"name\"" => &mut facts.name,
                b"\"category\"" => &mut facts.category,
                b"\"groupId\"" => &mut facts.group_id,
                b"\"previousId\"" => &mut facts.previous_id,
                b"\"properties\"" => &mut properties,
                b"\"traits\"" => &mut traits,
                b"\"context\"" => &mut facts.context,
                b"\"integrations\"" => &mut facts.integrations,
                b"\"messageId\"" => &mut facts.message_id,
                b"\"timestamp\"" => &mut facts.timestamp,
                _ => continue,
            };
            *field = Field::read(value);
        }
        facts.payload = match facts.call.and_then(Call::payload) {
            Some("traits") => traits,
            Some(_) => properties,
            None => Field::Absent,
        };
        facts
    }

    fn is(&self, calls: &[Call]) -> bool {
        self.call.is_some_and(|call| calls.contains(&call))
    }
}

/// One rule of Segment's.
#[derive(Debug)]
pub struct Rule {
    /// The member of the message it is about.
    pub member: &'static str,
    /// The argument of our calls that becomes this member.
    pub argument: &'static str,
    /// What the member must be.
    pub demand: &'static str,
    /// The name Segment gives the discard, where it documents one.
    pub discard: Option<&'static str>,
    /// The page on which Segment says so.
    pub source: &'static str,
    broken: fn(&Facts) -> bool,
}

const DISCARDS: &str = "https://www.twilio.com/docs/segment/connections/delivery-overview";
const HTTP_API: &str = "https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api";
const SPEC: &str = "https://www.twilio.com/docs/segment/connections/spec";

/// All rules, the most informative first.
pub static RULES: &[Rule] = &[
    Rule {
        member: "type",
        argument: "type",
        demand: "must be one of identify, track, page, screen, group and alias",
        discard: None,
        source: HTTP_API,
        broken: |m| m.call.is_none(),
    },
    Rule {
        member: "userId",
        argument: "user_id",
        demand: "must be a string that is not empty",
        discard: Some("id_not_string"),
        source: DISCARDS,
        broken: |m| !m.user_id.is_absent() && !m.user_id.is_filled(),
    },
    Rule {
        member: "anonymousId",
        argument: "anonymous_id",
        demand: "must be a string that is not empty",
        discard: Some("id_not_string"),
        source: DISCARDS,
        broken: |m| !m.anonymous_id.is_absent() && !m.anonymous_id.is_filled(),
    },
    Rule {
        member: "userId",
        argument: "user_id",
        demand: "must be given",
        discard: None,
        source: SPEC,
        broken: |m| m.is(&[Call::Alias]) && m.user_id.is_absent(),
    },
    Rule {
        member: "userId or anonymousId",
        argument: "user_id or anonymous_id",
        demand: "must be given",
        discard: Some("no_user_anon_id"),
        source: DISCARDS,
        broken: |m| m.user_id.is_absent() && m.anonymous_id.is_absent(),
    },
    Rule {
        member: "event",
        argument: "event",
        demand: "must be given and must not be empty",
        discard: Some("event_not_defined"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Track]) && (m.event.is_absent() || m.event.text().is_some_and(str::is_empty)),
    },
    Rule {
        member: "event",
        argument: "event",
        demand: "must be a string",
        discard: Some("event_not_string"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Track]) && !m.event.is_absent() && m.event.text().is_none(),
    },
    Rule {
        member: "name",
        argument: "name",
        demand: "must be a string that is not empty, or absent",
        discard: Some("name_not_string"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Page, Call::Screen]) && !m.name.is_absent() && !m.name.is_filled(),
    },
    Rule {
        member: "category",
        argument: "category",
        demand: "must be a string that is not empty, or absent",
        discard: Some("category_not_string"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Page, Call::Screen]) && !m.category.is_absent() && !m.category.is_filled(),
    },
    Rule {
        member: "groupId",
        argument: "group_id",
        demand: "must be a string that is not empty",
        discard: None,
        source: SPEC,
        broken: |m| m.is(&[Call::Group]) && !m.group_id.is_filled(),
    },
    Rule {
        member: "previousId",
        argument: "previous_id",
        demand: "must be a string that is not empty",
        discard: None,
        source: SPEC,
        broken: |m| m.is(&[Call::Alias]) && !m.previous_id.is_filled(),
    },
    Rule {
        member: "properties",
        argument: "properties",
        demand: "must be an object",
        discard: Some("properties_not_object"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Track, Call::Page, Call::Screen]) && !m.payload.is_absent_or_object(),
    },
    Rule {
        member: "traits",
        argument: "traits",
        demand: "must be an object",
        discard: Some("traits_not_object"),
        source: DISCARDS,
        broken: |m| m.is(&[Call::Identify, Call::Group]) && !m.payload.is_absent_or_object(),
    },
    Rule {
        member: "context",
        argument: "context",
        demand: "must be an object",
        discard: None,
        source: SPEC,
        broken: |m| !m.context.is_absent_or_object(),
    },
    Rule {
        member: "integrations",
        argument: "integrations",
        demand: "must be an object",
        discard: None,
        source: SPEC,
        broken: |m| !m.integrations.is_absent_or_object(),
    },
    Rule {
        member: "messageId",
        argument: "message_id",
        demand: "must be a string of 1 to 99 characters",
        discard: None,
        source: HTTP_API,
        broken: |m| match &m.message_id {
            Field::Absent => false,
            Field::Text(id) => {
                id.is_empty() || id.chars().take(MAX_MESSAGE_ID_CHARS + 1).count() > MAX_MESSAGE_ID_CHARS
            }
            _ => true,
        },
    },
    Rule {
        member: "timestamp",
        argument: "timestamp",
        demand: "must be an ISO 8601 time with a zone, like 2026-01-02T03:04:05.678Z",
        discard: None,
        source: SPEC,
        broken: |m| !m.timestamp.is_absent() && m.timestamp.text().and_then(time::parse).is_none(),
    },
];

/// The rules that a message breaks.
pub fn broken<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = &'static Rule> + use<'f> {
    RULES.iter().filter(move |rule| (rule.broken)(facts))
}

/// The rules that a whole message in JSON breaks. An error if it is not a JSON object.
pub fn check_json(message: &str) -> Result<Vec<&'static Rule>, Error> {
    let mut compact = Vec::new();
    scan::compact_object(message, &mut compact).map_err(|flaw| Error::invalid(format!("not a JSON object: {flaw}")))?;
    Ok(broken(&Facts::read(&compact)).collect())
}

/// The error for a message whose arguments break a rule.
pub(crate) fn check(facts: &Facts<'_>) -> Result<(), Error> {
    broken(facts).next().map_or(Ok(()), |rule| Err(Error::invalid(format!("{} {}", rule.argument, rule.demand))))
}

/// The same for a message in JSON, whose members have Segment's names.
pub(crate) fn check_members(facts: &Facts<'_>) -> Result<(), Error> {
    broken(facts).next().map_or(Ok(()), |rule| Err(Error::invalid(format!("{} {}", rule.member, rule.demand))))
}

/// The error for a message that is too large with all its fields.
pub(crate) fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    let text = format!("the message has {bytes} bytes with all its fields; Segment takes {MAX_MESSAGE_BYTES}");
    Err(Error::new(ErrorKind::TooLarge, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(message: &str) -> Vec<String> {
        let rules = check_json(message).expect("a JSON object");
        rules.into_iter().map(|rule| format!("{} {}", rule.member, rule.demand)).collect()
    }

    fn discards(message: &str) -> Vec<&'static str> {
        check_json(message).expect("a JSON object").into_iter().filter_map(|rule| rule.discard).collect()
    }

    #[test]
    fn good_messages_break_no_rule() {
        for message in [
            r#"{"type":"identify","userId":"u","traits":{"a":1}}"#,
            r#"{"type":"track","anonymousId":"a","event":"E"}"#,
            r#"{"type":"page","userId":"u"}"#,
            r#"{"type":"screen","userId":"u","name":"N","category":"C","properties":{}}"#,
            r#"{"type":"group","userId":"u","groupId":"g","traits":null}"#,
            r#"{"type":"alias","userId":"u","previousId":"p"}"#,
            r#"{"type":"track","userId":null,"anonymousId":"a","event":"E","timestamp":"2026-01-02T03:04:05+01:00"}"#,
        ] {
            assert_eq!(found(message), Vec::<String>::new(), "{message}");
        }
    }

    #[test]
    fn what_segment_discards_is_found_under_its_name() {
        for (message, name) in [
            (r#"{"type":"track","event":"E"}"#, "no_user_anon_id"),
            (r#"{"type":"track","event":"E","userId":""}"#, "id_not_string"),
            (r#"{"type":"track","event":"E","userId":42}"#, "id_not_string"),
            (r#"{"type":"track","event":"E","userId":"u","anonymousId":""}"#, "id_not_string"),
            (r#"{"type":"track","userId":"u"}"#, "event_not_defined"),
            (r#"{"type":"track","userId":"u","event":""}"#, "event_not_defined"),
            (r#"{"type":"track","userId":"u","event":["E"]}"#, "event_not_string"),
            (r#"{"type":"track","userId":"u","event":"E","properties":[]}"#, "properties_not_object"),
            (r#"{"type":"identify","userId":"u","traits":"t"}"#, "traits_not_object"),
            (r#"{"type":"page","userId":"u","name":""}"#, "name_not_string"),
            (r#"{"type":"screen","userId":"u","name":1}"#, "name_not_string"),
            (r#"{"type":"page","userId":"u","category":""}"#, "category_not_string"),
        ] {
            assert_eq!(discards(message), [name], "{message}");
        }
    }

    #[test]
    fn what_segment_loses_without_a_name_is_found_too() {
        for (message, sentence) in [
            (r#"{"userId":"u"}"#, "type must be one of identify, track, page, screen, group and alias"),
            (r#"{"type":"TRACK","userId":"u"}"#, "type must be one of identify, track, page, screen, group and alias"),
            (r#"{"type":"group","userId":"u"}"#, "groupId must be a string that is not empty"),
            (r#"{"type":"alias","userId":"u","previousId":""}"#, "previousId must be a string that is not empty"),
            (r#"{"type":"alias","anonymousId":"a","previousId":"p"}"#, "userId must be given"),
            (r#"{"type":"page","userId":"u","context":[]}"#, "context must be an object"),
            (r#"{"type":"page","userId":"u","integrations":true}"#, "integrations must be an object"),
            (r#"{"type":"page","userId":"u","messageId":""}"#, "messageId must be a string of 1 to 99 characters"),
            (r#"{"type":"page","userId":"u","messageId":7}"#, "messageId must be a string of 1 to 99 characters"),
            (
                r#"{"type":"page","userId":"u","timestamp":"2026-01-02"}"#,
                "timestamp must be an ISO 8601 time with a zone, like 2026-01-02T03:04:05.678Z",
            ),
            (
                r#"{"type":"page","userId":"u","timestamp":1767323045678}"#,
                "timestamp must be an ISO 8601 time with a zone, like 2026-01-02T03:04:05.678Z",
            ),
        ] {
            assert_eq!(found(message), [sentence], "{message}");
        }
    }

    #[test]
    fn message_ids_are_counted_in_characters() {
        let with_id = |id: String| found(&format!(r#"{{"type":"page","userId":"u","messageId":"{id}"}}"#)).len();
        assert_eq!(with_id("é".repeat(99)), 0);
        assert_eq!(with_id("é".repeat(100)), 1);
        assert_eq!(with_id("\\u00e9".repeat(99)), 0);
    }

    #[test]
    fn the_last_of_repeated_members_counts() {
        assert_eq!(found(r#"{"type":"x","type":"page","userId":"","userId":"u"}"#), Vec::<String>::new());
    }

    #[test]
    fn sizes_up_to_the_limit_pass() {
        assert!(check_size(MAX_MESSAGE_BYTES).is_ok());
        assert_eq!(check_size(MAX_MESSAGE_BYTES + 1).map_err(|e| e.kind()), Err(ErrorKind::TooLarge));
    }

    #[test]
    fn every_rule_says_where_it_comes_from() {
        let is_cited = |rule: &&Rule| rule.source.starts_with("https://www.twilio.com/docs/segment/connections/");
        assert_eq!(RULES.iter().find(|rule| !is_cited(rule) || rule.demand.is_empty()).map(|rule| rule.member), None);
    }
}
