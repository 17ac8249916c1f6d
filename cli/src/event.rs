//! One event, as it was sent, and what is wrong with it.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use segment_native::bindings::doubts;
use segment_native::bindings::rules::{self, Call, MAX_MESSAGE_BYTES};
use serde_json::value::RawValue;

use crate::json;
use crate::warning::Warning;

/// What stands in the place of a write key.
const HIDDEN: &str = r#""(hidden)""#;

/// An event and what is wrong with it.
pub(crate) struct Event<'a> {
    /// The event as it was sent.
    pub(crate) json: &'a str,
    /// Its members.
    pub(crate) members: Members<'a>,
    /// Which call it is; none if that cannot be known.
    pub(crate) call: Option<Call>,
    /// What is wrong with it.
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Event<'a> {
    /// Reads and checks an event. On a path of one call, the path says which call it is.
    pub(crate) fn read(json: &'a str, path: Option<Call>) -> Self {
        let members = Members::read(json);
        let named = members.kind.and_then(json::text).and_then(|name| Call::from_name(&name));
        let mut event = Event { json, members, call: path.or(named), warnings: Vec::new() };
        event.check(path, named);
        event
    }

    fn check(&mut self, path: Option<Call>, named: Option<Call>) {
        let json = typed(self.json, path.filter(|_| path != named));
        match rules::check_json(&json) {
            Ok(broken) => self.warnings.extend(broken.into_iter().map(Warning::Broken)),
            Err(error) => self.warnings.push(Warning::Unreadable(error.to_string())),
        }
        if !self.json.starts_with('{') {
            return;
        }
        if let Some(path) = path.filter(|_| self.members.kind.is_some() && path != named) {
            self.warnings.push(Warning::OtherType(path));
        }
        if self.members.message_id.is_none() {
            self.warnings.push(Warning::NoMessageId);
        }
        if self.members.timestamp.is_none() {
            self.warnings.push(Warning::NoTimestamp);
        }
        if self.json.len() > MAX_MESSAGE_BYTES {
            self.warnings.push(Warning::Large(self.json.len()));
        }
        if self.members.context.and_then(consent).is_some_and(json::is_empty_object) {
            self.warnings.push(Warning::EmptyConsent);
        }
        // What cannot be read was told above.
        let doubts = doubts::check_json(&json, now_ms()).unwrap_or_default();
        self.warnings.extend(doubts.into_iter().map(Warning::Doubtful));
    }

    /// The event as it may be shown and kept: as it was sent but for a write key.
    pub(crate) fn shown(&self) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(self.json);
        // From the end, so that the places of those before stay what they are.
        for key in self.members.keys.iter().rev() {
            let start = key.as_ptr().addr() - self.json.as_ptr().addr();
            shown.to_mut().replace_range(start..start + key.len(), HIDDEN);
        }
        shown
    }

    /// The `messageId`, if it is a string.
    pub(crate) fn message_id(&self) -> Option<Cow<'a, str>> {
        self.members.message_id.and_then(json::text)
    }

    /// What the call is about: the event, the page or screen, the group, the former id.
    pub(crate) fn name(&self) -> Option<&'a RawValue> {
        match self.call? {
            Call::Identify => None,
            Call::Track => self.members.event,
            Call::Page | Call::Screen => self.members.name,
            Call::Group => self.members.group_id,
            Call::Alias => self.members.previous_id,
        }
    }

    /// What the call says: the properties or traits.
    pub(crate) fn payload(&self) -> Option<&'a RawValue> {
        match self.call?.payload()? {
            "traits" => self.members.traits,
            _ => self.members.properties,
        }
    }
}

/// The members of an event that we look at, as they were sent. One that is `null` counts as absent.
#[derive(Default)]
pub(crate) struct Members<'a> {
    pub(crate) kind: Option<&'a RawValue>,
    pub(crate) user_id: Option<&'a RawValue>,
    pub(crate) anonymous_id: Option<&'a RawValue>,
    pub(crate) write_key: Option<&'a RawValue>,
    /// All write keys as they stand in the event.
    keys: Vec<&'a str>,
    message_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    group_id: Option<&'a RawValue>,
    previous_id: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
    traits: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    /// Of a name that stands twice, the last counts, as in the rules.
    fn read(json: &'a str) -> Self {
        let mut members = Members::default();
        let read = json::each_member(json, |name, value| {
            if name == "writeKey" && value.get().starts_with('"') && value.get() != r#""""# {
                members.keys.push(value.get());
            }
            let member = match name {
                "type" => &mut members.kind,
                "userId" => &mut members.user_id,
                "anonymousId" => &mut members.anonymous_id,
                "writeKey" => &mut members.write_key,
                "messageId" => &mut members.message_id,
                "timestamp" => &mut members.timestamp,
                "event" => &mut members.event,
                "name" => &mut members.name,
                "groupId" => &mut members.group_id,
                "previousId" => &mut members.previous_id,
                "properties" => &mut members.properties,
                "traits" => &mut members.traits,
                "context" => &mut members.context,
                _ => return,
            };
            *member = Some(value).filter(|value| value.get() != "null");
        });
        // What is no object has no members; the rules say the rest about it.
        read.map_or_else(|_| Members::default(), |()| members)
    }
}

/// `json` with a `type` that it does not say itself. It comes last, because of a name that stands twice the last
/// counts.
fn typed(json: &str, call: Option<Call>) -> Cow<'_, str> {
    let (Some(call), Some(open)) = (call, json.strip_suffix('}')) else {
        return Cow::Borrowed(json);
    };
    let comma = if open.trim_end() == "{" { "" } else { "," };
    Cow::Owned(format!("{open}{comma}\"type\":\"{}\"}}", call.name()))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn consent(context: &RawValue) -> Option<&RawValue> {
    let mut consent = None;
    let read = json::each_member(context.get(), |name, value| {
        if name == "consent" {
            consent = Some(value);
        }
    });
    read.ok().and(consent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(json: &str, path: Option<Call>) -> Vec<String> {
        Event::read(json, path).warnings.iter().map(Warning::to_string).collect()
    }

    const REST: &str = r#""messageId":"m","timestamp":"2026-01-02T03:04:05.678Z""#;

    #[test]
    fn the_path_stands_for_the_type() {
        assert!(warnings(&format!(r#"{{"event":"E","userId":"u",{REST}}}"#), Some(Call::Track)).is_empty());
        assert!(warnings(&format!(r#"{{"type":null,"event":"E","userId":"u",{REST}}}"#), Some(Call::Track)).is_empty());
        assert_eq!(
            warnings(&format!(r#"{{"event":"E","userId":"u",{REST}}}"#), None),
            ["type must be one of identify, track, page, screen, group and alias"]
        );
    }

    #[test]
    fn an_empty_event_gets_a_type_too() {
        assert_eq!(typed("{ }", Some(Call::Page)), r#"{ "type":"page"}"#);
    }

    #[test]
    fn a_type_that_is_not_the_paths_is_told() {
        assert_eq!(
            warnings(&format!(r#"{{"type":"page","event":"E","userId":"u",{REST}}}"#), Some(Call::Track)),
            ["type is not track, but the event was sent to the path of track"]
        );
    }

    #[test]
    fn what_is_no_object_gets_one_warning() {
        let found = warnings("[5]", None);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("not a JSON object"), "{found:?}");
    }

    #[test]
    fn consent_is_looked_for_in_context_only() {
        let event = |context: &str| format!(r#"{{"type":"page","userId":"u",{REST},"context":{context}}}"#);
        assert!(warnings(&event(r#"{"x":{"consent":{}}}"#), None).is_empty());
        assert!(warnings(&event(r#"{"consent":{"categoryPreferences":{"a":true}}}"#), None).is_empty());
        assert!(warnings(&event(r#"{"consent":{}}"#), None)[0].contains("consent"));
    }

    #[test]
    fn doubts_come_last_and_are_no_loss() {
        let json =
            r#"{"event":"E","userId":"a@b.test","timestamp":"9999-01-01T00:00:00Z","properties":{"revenue":"9"}}"#;
        let event = Event::read(json, Some(Call::Track));
        assert!(event.warnings.iter().all(|warning| !warning.is_loss()));
        let texts: Vec<_> = event.warnings.iter().map(Warning::to_string).collect();
        assert!(texts[0].starts_with("no messageId"), "{texts:?}");
        assert_eq!(texts[1], "doubtful: timestamp should not lie in the future");
        assert!(texts[2].starts_with("doubtful: userId should be an id that never changes"), "{texts:?}");
        assert_eq!(texts[3], "doubtful: properties: revenue should be a number, not a string");
        assert_eq!(texts.len(), 4, "{texts:?}");
    }

    #[test]
    fn of_a_repeated_member_the_last_counts() {
        let event = Event::read(r#"{"type":"page","type":"track","messageId":"a","messageId":"b"}"#, None);
        assert_eq!(event.call, Some(Call::Track));
        assert_eq!(event.message_id().as_deref(), Some("b"));
    }
}
