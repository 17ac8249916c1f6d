//! Who the user is and what they agreed to, as it is remembered: plain data, and how it changes.

use crate::base::error::{Error, ErrorKind};
use crate::base::{id, time};
use crate::json::object::{Object, Value};
use crate::json::scan;
use crate::json::scan::member;

/// So many bytes of traits are remembered; they travel with every message.
pub(crate) const TRAITS_MAX_BYTES: usize = 8_192;

/// After so many changes the counting starts anew.
const CHANGES_MAX: u64 = u64::MAX >> 1;

/// How often the user has opted out or in, and when last.
pub(crate) type Period = (u64, i64);

/// What the user wants, as far as it concerns what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Nothing is to be taken, and nothing sent.
    pub(crate) opted_out: bool,
    /// Only because nobody knows what the user wants: nothing is to be thrown away.
    pub(crate) is_unsure: bool,
    /// That is, because what was kept is damaged: only the user can say, and asking again is no use.
    pub(crate) is_damaged: bool,
    /// How often and when it changed. Whoever sees another period has missed something.
    pub(crate) period: Period,
    /// What was kept up to this time, in milliseconds since 1970, is not to be sent.
    pub(crate) discard_up_to_ms: i64,
}

impl Wish {
    /// Of a user who never said anything.
    pub(crate) const NEVER_ASKED: Wish =
        Wish { opted_out: false, is_unsure: false, is_damaged: false, period: (0, 0), discard_up_to_ms: i64::MIN };
}

/// Who the user is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) anonymous_id: String,
    pub(crate) user_id: Option<String>,
    /// A compact JSON object, or nothing.
    pub(crate) traits: Vec<u8>,
    /// The version and the build of the app when it was last opened.
    pub(crate) app: Option<App>,
}

/// Which release of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) version: Option<String>,
    pub(crate) build: Option<String>,
}

impl App {
    /// Reads the `app` of a context.
    pub(crate) fn read(app: &[u8]) -> Self {
        App { version: text(app, "version"), build: text(app, "build") }
    }

    /// Says which release it is, in members of these names.
    pub(crate) fn describe(&self, version: &'static str, build: &'static str, to: &mut Object) {
        self.version.iter().for_each(|text| _ = to.set(version, text));
        self.build.iter().for_each(|text| _ = to.set(build, text));
    }
}

impl Person {
    /// Somebody new.
    pub(crate) fn unknown() -> Self {
        Person { anonymous_id: id::text(), ..Person::default() }
    }

    /// After `identify`: traits are merged for as long as it is the same user. Another user is another person, who gets
    /// an anonymous id of their own. Traits that make too many are not remembered, and false is returned; those known
    /// before stay.
    pub(crate) fn identified(&self, user_id: Option<&str>, traits: &[u8]) -> (Self, bool) {
        let is_other = user_id.is_some() && self.user_id.is_some() && user_id != self.user_id.as_deref();
        let mut person = if is_other { Person { app: self.app.clone(), ..Person::unknown() } } else { self.clone() };
        if let Some(user_id) = user_id {
            person.user_id = Some(user_id.to_owned());
        }
        let merged = merged(&person.traits, traits);
        let is_remembered = merged.len() <= TRAITS_MAX_BYTES;
        if is_remembered {
            person.traits = merged;
        }
        (person, is_remembered)
    }

    /// After `alias`: the same person by another id.
    pub(crate) fn aliased(&self, user_id: &str) -> Self {
        Person { user_id: Some(user_id.to_owned()), ..self.clone() }
    }

    /// The id that the user is known by.
    pub(crate) fn id(&self) -> &str {
        self.user_id.as_deref().unwrap_or(&self.anonymous_id)
    }

    /// As it is kept.
    pub(crate) fn to_json(&self) -> Result<String, Error> {
        let mut object = Object::from([("anonymousId", self.anonymous_id.as_str())]);
        if let Some(user_id) = &self.user_id {
            object.set("userId", user_id);
        }
        if let Ok(traits) = std::str::from_utf8(&self.traits)
            && !traits.is_empty()
        {
            object.set("traits", Value::Json(traits));
        }
        if let Some(app) = &self.app {
            let mut object_of_app = Object::new();
            app.describe("version", "build", &mut object_of_app);
            object.set("app", &object_of_app);
        }
        object.to_json()
    }

    /// From what was kept; none if it cannot be read.
    pub(crate) fn read(kept: &[u8]) -> Option<Self> {
        let kept = compact(kept)?;
        Some(Person {
            anonymous_id: text(&kept, "anonymousId").filter(|id| !id.is_empty())?,
            // Both travel with every message: what no message may hold would have each of them refused.
            user_id: text(&kept, "userId").filter(|id| !id.is_empty()),
            traits: member(&kept, "traits").filter(|traits| is_kept(traits)).unwrap_or_default().to_vec(),
            app: member(&kept, "app").map(App::read),
        })
    }
}

/// Whether traits can be remembered.
fn is_kept(traits: &[u8]) -> bool {
    traits[0] == b'{' && traits.len() <= TRAITS_MAX_BYTES
}

/// What the user agreed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Privacy {
    /// So it is too while nobody knows.
    pub(crate) opted_out: bool,
    /// Why nobody knows what the user wants: nothing is taken and nothing is sent, but nothing is thrown away either.
    /// None: it is known.
    pub(crate) unsure: Option<Unsure>,
    /// How often the user has opted out or in: who sees another number has missed something.
    pub(crate) changes: u64,
    /// When the last time was, in milliseconds since 1970.
    pub(crate) changed_ms: i64,
    /// The categories and whether the user agreed to each, as a compact JSON object; nothing if it is not known.
    pub(crate) consent: Vec<u8>,
}

/// Why nobody knows what the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsure {
    /// It cannot be read right now.
    Unread,
    /// What was kept is no longer what was written, and may have been a no. Only the user can say.
    Damaged,
}

impl Privacy {
    /// The same where nobody knows any more.
    pub(crate) fn doubted(&self, why: Unsure) -> Self {
        Privacy { opted_out: true, unsure: Some(why), ..self.clone() }
    }

    /// After opting out or in. A clock that was put back does not make younger what is to be thrown away.
    pub(crate) fn opted(&self, out: bool, now_ms: i64) -> Self {
        Privacy {
            opted_out: out,
            unsure: None,
            changes: self.changes % CHANGES_MAX + 1,
            changed_ms: self.changed_ms.max(now_ms),
            consent: self.consent.clone(),
        }
    }

    /// What the queue has to know of it.
    pub(crate) fn wish(&self) -> Wish {
        Wish {
            opted_out: self.opted_out,
            is_unsure: self.unsure.is_some(),
            is_damaged: self.unsure == Some(Unsure::Damaged),
            period: (self.changes, self.changed_ms),
            discard_up_to_ms: self.discard_up_to_ms(),
        }
    }

    /// What was kept until then must not be sent; nothing, if the user never opted out.
    fn discard_up_to_ms(&self) -> i64 {
        match (self.opted_out, self.changes) {
            _ if self.unsure.is_some() => i64::MIN,
            (_, 0) => i64::MIN,
            (true, _) => i64::MAX,
            (false, _) => self.changed_ms,
        }
    }

    /// As it is kept.
    pub(crate) fn to_json(&self) -> Result<String, Error> {
        let mut object = Object::from([("optedOut", self.opted_out)]);
        object.set("changes", self.changes).set("changedAt", self.changed_ms);
        if let Ok(consent) = std::str::from_utf8(&self.consent)
            && !consent.is_empty()
        {
            object.set("consent", Value::Json(consent));
        }
        object.to_json()
    }

    /// From what was kept; none if that was damaged.
    pub(crate) fn read(kept: &[u8]) -> Option<Self> {
        let kept = compact(kept)?;
        let number = |name| std::str::from_utf8(member(&kept, name)?).ok();
        let privacy = Privacy {
            opted_out: number("optedOut")?.parse().ok()?,
            unsure: None,
            changes: number("changes")?.parse().ok()?,
            changed_ms: number("changedAt")?.parse().ok()?,
            consent: member(&kept, "consent").unwrap_or_default().to_vec(),
        };
        let is_consent = |consent: &[u8]| consent.is_empty() || is_kept(consent) && check_consent(consent).is_ok();
        let is_good = privacy.changes <= CHANGES_MAX
            && (privacy.changes > 0 || !privacy.opted_out)
            && (privacy.changed_ms == 0 || time::is_writable(privacy.changed_ms))
            && is_consent(&privacy.consent);
        is_good.then_some(privacy)
    }
}

impl Wish {
    /// Why nothing is taken.
    pub(crate) fn refusal(&self) -> Error {
        let (kind, sentence) = match (self.is_unsure, self.is_damaged) {
            (false, _) => (ErrorKind::OptedOut, "the user has opted out"),
            (true, false) => {
                (ErrorKind::Storage, "the spool cannot be read, and so not whether the user has opted out")
            }
            (true, true) => {
                let sentence =
                    "privacy.json was damaged, so nobody knows whether the user has opted out: opt in or out";
                (ErrorKind::Storage, sentence)
            }
        };
        Error::new(kind, sentence)
    }
}

/// Checks the categories of a consent: Segment discards what is no boolean
/// (<https://www.twilio.com/docs/segment/privacy/consent-management/consent-in-segment-connections>).
pub(crate) fn check_consent(categories: &[u8]) -> Result<(), Error> {
    if categories == b"{}" {
        return Err(Error::invalid("categories must not be empty: without any, give none at all"));
    }
    match scan::members(categories).find(|(_, value)| !matches!(value, [b't' | b'f', ..])) {
        Some((name, _)) => {
            Err(Error::invalid(format!("categories: {} must be true or false", String::from_utf8_lossy(name))))
        }
        None => Ok(()),
    }
}

/// Whether two compact objects say the same, in whatever order.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let sorted = |object| {
        let mut members: Vec<(&[u8], &[u8])> = scan::members(object).collect();
        members.sort_unstable();
        members
    };
    one.is_empty() == other.is_empty() && sorted(one) == sorted(other)
}

/// The compact object `over` merged over `base`, member by member; either may be nothing.
fn merged(base: &[u8], over: &[u8]) -> Vec<u8> {
    let mut object = base.to_vec();
    if !over.is_empty() && over != b"{}" {
        object.clear();
        object.push(b'{');
        let is_over = |name: &[u8]| scan::members(over).any(|(other, _)| other == name);
        let kept = scan::members(base).filter(|(name, _)| !is_over(name));
        for (n, (name, value)) in kept.chain(scan::members(over)).enumerate() {
            if n > 0 {
                object.push(b',');
            }
            object.extend_from_slice(name);
            object.push(b':');
            object.extend_from_slice(value);
        }
        object.push(b'}');
    }
    object
}

fn compact(text: &[u8]) -> Option<Vec<u8>> {
    let mut compact = Vec::new();
    scan::compact_object(std::str::from_utf8(text).ok()?, &mut compact).ok()?;
    Some(compact)
}

/// The text of a member; a number counts as its digits.
fn text(object: &[u8], name: &str) -> Option<String> {
    match member(object, name)? {
        string @ [b'"', ..] => Some(scan::unescape(string)),
        number @ [b'0'..=b'9' | b'-', ..] => std::str::from_utf8(number).ok().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_kept_and_read_again() {
        let app = Some(App { version: Some("1.2".to_owned()), build: None });
        let person = Person { app, ..Person::unknown().identified(Some("u \"1\""), br#"{"plan":"pro","n":[1]}"#).0 };
        let kept = person.to_json().expect("JSON");
        assert_eq!(Person::read(kept.as_bytes()), Some(person));
        let nobody = Person::unknown();
        assert_eq!(Person::read(nobody.to_json().expect("JSON").as_bytes()), Some(nobody));
        for torn in ["", "{", "[]", "{}", r#"{"anonymousId":""}"#, r#"{"anonymousId":1"#] {
            assert_eq!(Person::read(torn.as_bytes()), None, "{torn}");
        }
    }

    #[test]
    fn traits_of_the_same_user_are_merged() {
        let person = Person::unknown().identified(None, br#"{"a":1,"b":2}"#).0;
        let same = person.identified(Some("u"), br#"{"b":3,"c":4}"#).0;
        assert_eq!(same.anonymous_id, person.anonymous_id);
        assert_eq!(String::from_utf8_lossy(&same.traits), r#"{"a":1,"b":3,"c":4}"#);
        assert_eq!(same.identified(Some("u"), b"").0.traits, same.traits);
        assert_eq!(same.identified(None, b"{}").0.user_id.as_deref(), Some("u"));
    }

    #[test]
    fn another_user_is_another_person() {
        let first = Person::unknown().identified(Some("u"), br#"{"a":1}"#).0;
        let second = first.identified(Some("v"), br#"{"b":1}"#).0;
        assert_ne!(second.anonymous_id, first.anonymous_id);
        assert_eq!(second.traits, br#"{"b":1}"#);
        let aliased = first.aliased("v");
        assert_eq!((aliased.id(), &aliased.anonymous_id, &aliased.traits), ("v", &first.anonymous_id, &first.traits));
    }

    #[test]
    fn too_many_traits_are_not_remembered() {
        let much = |name: &str, bytes: usize| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(bytes)).into_bytes();
        let (person, is_remembered) = Person::unknown().identified(Some("u"), &much("a", 8_000));
        assert_eq!((person.traits.len(), is_remembered), (8_008, true));
        for more in [much("b", 1_000), much("b", 9_000), much("a", 9_000)] {
            assert_eq!(person.identified(None, &more), (person.clone(), false), "those known before stay");
        }
        assert_eq!(person.identified(None, &much("a", 10)).0.traits, much("a", 10));
        let (other, is_remembered) = person.identified(Some("v"), &much("b", 9_000));
        assert_eq!((other.traits, is_remembered), (Vec::new(), false), "of another user none were known");
    }

    #[test]
    fn privacy_is_kept_and_what_was_damaged_is_neither_yes_nor_no() {
        let never = Privacy::default();
        let out = Privacy { consent: br#"{"ads":false}"#.to_vec(), ..never.opted(true, 7) };
        let back = out.opted(false, 9);
        for privacy in [&never, &out, &back] {
            assert_eq!(Privacy::read(privacy.to_json().expect("JSON").as_bytes()).as_ref(), Some(privacy));
        }
        assert_eq!(never.wish(), Wish::NEVER_ASKED);
        for why in [Unsure::Unread, Unsure::Damaged] {
            let unsure = back.doubted(why);
            assert_eq!((unsure.discard_up_to_ms(), unsure.wish().refusal().kind()), (i64::MIN, ErrorKind::Storage));
            assert_eq!(unsure.opted(true, 11).wish().refusal().kind(), ErrorKind::OptedOut);
        }
        assert_eq!(out.discard_up_to_ms(), i64::MAX);
        assert_eq!(back.discard_up_to_ms(), 9);
        for damaged in ["", "{}", r#"{"optedOut":false}"#, r#"{"optedOut":"#, "\0\0\0"] {
            assert_eq!(Privacy::read(damaged.as_bytes()), None, "{damaged}");
        }
    }

    #[test]
    fn consent_is_a_boolean_for_each_category() {
        assert_eq!(check_consent(br#"{"ads":true,"b":false}"#), Ok(()));
        let problem = |categories: &str| check_consent(categories.as_bytes()).expect_err("refused").to_string();
        assert_eq!(problem("{}"), "categories must not be empty: without any, give none at all");
        assert_eq!(problem(r#"{"ads":"yes"}"#), "categories: \"ads\" must be true or false");
        assert_eq!(problem(r#"{"ads":true,"b":null}"#), "categories: \"b\" must be true or false");
        assert!(is_same(br#"{"a":true,"b":false}"#, br#"{"b":false,"a":true}"#));
        assert!(!is_same(br#"{"a":true}"#, br#"{"a":false}"#));
        assert!(!is_same(b"", br#"{"a":false}"#));
        assert!(is_same(b"", b""));
    }
}
