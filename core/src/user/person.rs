//! Who the user is and what they agreed to, as it is remembered: plain data, and how it changes.

use crate::base::error::{Error, ErrorKind};
use crate::base::{id, time};
use crate::json::object::{Object, Value};
use crate::json::scan;
use crate::json::scan::member;

/// At most this many bytes of traits are remembered, since every message carries them.
pub(crate) const TRAITS_MAX_BYTES: usize = 8_192;

/// After this many changes the count starts anew.
const CHANGES_MAX: u64 = u64::MAX >> 1;

/// How often the user has opted out or in, and when last.
pub(crate) type Period = (u64, i64);

/// What the user has answered when asked whether they want to be tracked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Nothing yet.
    #[default]
    None,
    /// Yes: [`Client::opt_in`](crate::Client::opt_in).
    In,
    /// No: [`Client::opt_out`](crate::Client::opt_out), or what counts as a no meanwhile.
    Out,
}

/// What counts as the wish of a user who has not answered yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Silence {
    /// To be tracked: they are not asked first.
    #[default]
    Consents,
    /// Nothing is stored or sent before they answer.
    Waits,
    /// A setting of the whole machine says that they do not want to be tracked.
    Denies,
}

/// What the user wants, as far as it concerns the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// No messages may be accepted or sent.
    pub(crate) opted_out: bool,
    /// The user must be asked first, and has not answered: nothing may be sent or done on the disk. Unless `opted_out`
    /// is set too, messages are accepted and held in memory.
    pub(crate) is_unanswered: bool,
    /// Opted out only because it is unknown what the user wants: nothing may be deleted.
    pub(crate) is_unsure: bool,
    /// It is unknown because what was stored is damaged: only the user can say, and reading it again is no use.
    pub(crate) is_damaged: bool,
    /// How often it changed, and when last. A process that sees another period has missed a change.
    pub(crate) period: Period,
    /// What was stored up to this time, in milliseconds since 1970, must not be sent.
    pub(crate) discard_up_to_ms: i64,
}

impl Wish {
    /// The wish of a user who never answered.
    pub(crate) const NEVER_ASKED: Wish = Wish {
        opted_out: false,
        is_unanswered: false,
        is_unsure: false,
        is_damaged: false,
        period: (0, 0),
        discard_up_to_ms: i64::MIN,
    };

    /// Whether messages are held until the user has answered.
    pub(crate) fn holds(&self) -> bool {
        self.is_unanswered && !self.opted_out
    }

    /// Whether the folder must not even be read, because nothing in it may be sent or deleted.
    pub(crate) fn may_not_look(&self) -> bool {
        self.is_unsure || self.is_unanswered
    }

    /// Whether this is the yes that the held messages have waited for. If the user has said more than that since, they
    /// are not wanted.
    pub(crate) fn releases(&self, before: &Wish) -> bool {
        before.holds() && !self.is_unanswered && !self.opted_out && self.period == before.period
    }
}

impl Default for Wish {
    fn default() -> Self {
        Wish::NEVER_ASKED
    }
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
    /// A new user.
    pub(crate) fn unknown() -> Self {
        Person { anonymous_id: id::text(), ..Person::default() }
    }

    /// After `identify`: traits are merged as long as the user is the same. Another user is another person, with an
    /// anonymous id of their own. Traits that would exceed the limit are not remembered, and false is returned; those
    /// known before stay.
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

    /// As it is stored.
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

    /// From what was stored; none if it cannot be read.
    pub(crate) fn read(kept: &[u8]) -> Option<Self> {
        let kept = compact(kept)?;
        Some(Person {
            anonymous_id: text(&kept, "anonymousId").filter(|id| !id.is_empty())?,
            // Every message carries both: an invalid value would get each message refused.
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
    /// Also set while it is unknown.
    pub(crate) opted_out: bool,
    /// Why it is unknown what the user wants: no messages are accepted or sent, but none are deleted either. None: it
    /// is known.
    pub(crate) unsure: Option<Unsure>,
    /// The user has said yes, as their first answer or after a no.
    pub(crate) opted_in: bool,
    /// How often the user has opted out or in, except for a yes as the first answer, which changes nothing for what
    /// waits. A process that sees another number has missed a change.
    pub(crate) changes: u64,
    /// When the last time was, in milliseconds since 1970.
    pub(crate) changed_ms: i64,
    /// The categories and whether the user agreed to each, as a compact JSON object; nothing if it is not known.
    pub(crate) consent: Vec<u8>,
}

/// Why it is unknown what the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsure {
    /// It cannot be read right now.
    Unread,
    /// What was stored has been damaged, and may have been a no. Only the user can say.
    Damaged,
}

impl Privacy {
    /// The same, now that it is unknown.
    pub(crate) fn doubted(&self, why: Unsure) -> Self {
        Privacy { opted_out: true, unsure: Some(why), ..self.clone() }
    }

    /// What the user has answered. If that is unknown, it may have been a no.
    pub(crate) fn choice(&self) -> Choice {
        match (self.opted_out, self.opted_in) {
            (true, _) => Choice::Out,
            (false, true) => Choice::In,
            (false, false) => Choice::None,
        }
    }

    /// Whether the user is known to have answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.choice() != Choice::None && self.unsure.is_none()
    }

    /// After opting out or in. A clock that was set back does not move back the time up to which messages are deleted.
    pub(crate) fn opted(&self, out: bool, now_ms: i64) -> Self {
        Privacy {
            opted_out: out,
            unsure: None,
            opted_in: !out,
            changes: self.changes % CHANGES_MAX + 1,
            changed_ms: self.changed_ms.max(now_ms),
            consent: self.consent.clone(),
        }
    }

    /// What the queue needs to know of it, where `silence` counts as long as the user has not answered.
    pub(crate) fn wish_with(&self, silence: Silence) -> Wish {
        let is_unanswered = silence != Silence::Consents && !self.is_answered();
        let opted_out = self.opted_out || is_unanswered && silence == Silence::Denies;
        Wish { opted_out, is_unanswered, ..self.wish() }
    }

    /// The same for a user who is not asked first.
    pub(crate) fn wish(&self) -> Wish {
        Wish {
            opted_out: self.opted_out,
            is_unanswered: false,
            is_unsure: self.unsure.is_some(),
            is_damaged: self.unsure == Some(Unsure::Damaged),
            period: (self.changes, self.changed_ms),
            discard_up_to_ms: self.discard_up_to_ms(),
        }
    }

    /// What was stored up to this time must not be sent; nothing, if the user never opted out.
    fn discard_up_to_ms(&self) -> i64 {
        match (self.opted_out, self.changes) {
            _ if self.unsure.is_some() => i64::MIN,
            (_, 0) => i64::MIN,
            (true, _) => i64::MAX,
            (false, _) => self.changed_ms,
        }
    }

    /// As it is stored.
    pub(crate) fn to_json(&self) -> Result<String, Error> {
        let mut object = Object::from([("optedOut", self.opted_out)]);
        object.set("changes", self.changes).set("changedAt", self.changed_ms);
        if self.opted_in {
            object.set("optedIn", true);
        }
        if let Ok(consent) = std::str::from_utf8(&self.consent)
            && !consent.is_empty()
        {
            object.set("consent", Value::Json(consent));
        }
        object.to_json()
    }

    /// From what was stored; none if that was damaged.
    pub(crate) fn read(kept: &[u8]) -> Option<Self> {
        let kept = compact(kept)?;
        let number = |name| std::str::from_utf8(member(&kept, name)?).ok();
        let (opted_out, changes): (bool, u64) = (number("optedOut")?.parse().ok()?, number("changes")?.parse().ok()?);
        let opted_in = match member(&kept, "optedIn") {
            Some(opted_in) => std::str::from_utf8(opted_in).ok()?.parse().ok()?,
            // Earlier versions stored a yes only after a no.
            None => changes > 0 && !opted_out,
        };
        let privacy = Privacy {
            opted_out,
            unsure: None,
            opted_in,
            changes,
            changed_ms: number("changedAt")?.parse().ok()?,
            consent: member(&kept, "consent").unwrap_or_default().to_vec(),
        };
        let is_consent = |consent: &[u8]| consent.is_empty() || is_kept(consent) && check_consent(consent).is_ok();
        let is_good = privacy.changes <= CHANGES_MAX
            && (privacy.changes > 0 || !privacy.opted_out)
            && !(privacy.opted_in && privacy.opted_out)
            && (privacy.changed_ms == 0 || time::is_writable(privacy.changed_ms))
            && is_consent(&privacy.consent);
        is_good.then_some(privacy)
    }
}

impl Wish {
    /// Why no messages are accepted.
    pub(crate) fn refusal(&self) -> Error {
        let (kind, sentence) = match (self.is_unsure, self.is_damaged) {
            (true, _) if self.is_unanswered => {
                (ErrorKind::OptedOut, "whether the user has opted out cannot be read, which counts as a no")
            }
            (false, _) if self.is_unanswered && self.opted_out => {
                (ErrorKind::OptedOut, "DO_NOT_TRACK is set, which counts as a no until the user opts in")
            }
            (false, _) if self.is_unanswered => (ErrorKind::OptedOut, "the user has not answered yet: opt in or out"),
            (false, _) => (ErrorKind::OptedOut, "the user has opted out"),
            (true, false) => {
                (ErrorKind::Storage, "the spool folder cannot be read, so it is unknown whether the user has opted out")
            }
            (true, true) => {
                let sentence =
                    "privacy.json was damaged, so it is unknown whether the user has opted out: opt in or out";
                (ErrorKind::Storage, sentence)
            }
        };
        Error::new(kind, sentence)
    }
}

/// Checks the categories of a consent: Segment discards what is not a boolean
/// (<https://www.twilio.com/docs/segment/privacy/consent-management/consent-in-segment-connections>).
pub(crate) fn check_consent(categories: &[u8]) -> Result<(), Error> {
    if categories == b"{}" {
        return Err(Error::invalid("categories must not be empty: to remove them, give none at all"));
    }
    match scan::members(categories).find(|(_, value)| !matches!(value, [b't' | b'f', ..])) {
        Some((name, _)) => {
            Err(Error::invalid(format!("categories: {} must be true or false", String::from_utf8_lossy(name))))
        }
        None => Ok(()),
    }
}

/// Whether two compact objects have the same members, in any order.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let sorted = |object| {
        let mut members: Vec<(&[u8], &[u8])> = scan::members(object).collect();
        members.sort_unstable();
        members
    };
    one.is_empty() == other.is_empty() && sorted(one) == sorted(other)
}

/// The compact object `over` merged over `base`, member by member; either may be empty.
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
    fn an_answer_is_kept_and_read_as_earlier_versions_have_written_it() {
        let never = Privacy::default();
        let yes = Privacy { opted_in: true, ..never.clone() };
        let (no, back) = (never.opted(true, 7), never.opted(true, 7).opted(false, 9));
        for (privacy, choice) in [(&never, Choice::None), (&yes, Choice::In), (&no, Choice::Out), (&back, Choice::In)] {
            assert_eq!((privacy.choice(), privacy.is_answered()), (choice, choice != Choice::None));
            let kept = privacy.to_json().expect("JSON");
            assert_eq!(Privacy::read(kept.as_bytes()).as_ref(), Some(privacy), "{kept}");
            let earlier = kept.replace(r#","optedIn":true"#, "");
            let expected = if privacy == &yes { &never } else { privacy };
            assert_eq!(Privacy::read(earlier.as_bytes()).as_ref(), Some(expected), "{earlier}");
            let doubted = privacy.doubted(Unsure::Unread);
            assert_eq!((doubted.choice(), doubted.is_answered()), (Choice::Out, false));
        }
        assert_eq!(yes.wish(), never.wish(), "a first yes changes nothing for what waits");
        for damaged in [
            r#"{"optedOut":true,"changes":1,"changedAt":5,"optedIn":true}"#,
            r#"{"optedOut":false,"changes":0,"changedAt":0,"optedIn":"yes"}"#,
        ] {
            assert_eq!(Privacy::read(damaged.as_bytes()), None, "{damaged}");
        }
    }

    #[test]
    fn until_there_is_an_answer_silence_counts() {
        let never = Privacy::default();
        let yes = Privacy { opted_in: true, ..never.clone() };
        let (no, back) = (never.opted(true, 7), never.opted(true, 7).opted(false, 9));
        let silences = [Silence::Consents, Silence::Waits, Silence::Denies];
        for answered in [&yes, &no, &back] {
            silences.iter().for_each(|silence| assert_eq!(answered.wish_with(*silence), answered.wish()));
        }
        let [consents, waits, denies] = silences.map(|silence| never.wish_with(silence));
        assert_eq!(consents, Wish::NEVER_ASKED);
        assert_eq!(waits, Wish { is_unanswered: true, ..Wish::NEVER_ASKED });
        assert_eq!(denies, Wish { opted_out: true, ..waits });
        assert_eq!([consents, waits, denies].map(|wish| wish.holds()), [false, true, false]);
        assert_eq!([consents, waits, denies].map(|wish| wish.may_not_look()), [false, true, true]);
        for why in [Unsure::Unread, Unsure::Damaged] {
            let unsure = never.doubted(why);
            let wish = unsure.wish_with(Silence::Waits);
            assert!(wish.opted_out && wish.is_unanswered && wish.is_unsure && !wish.holds());
            assert_eq!(wish.refusal().kind(), ErrorKind::OptedOut, "it is a no");
            assert_eq!(unsure.wish_with(Silence::Consents), unsure.wish());
            assert!(!yes.wish().releases(&wish), "nothing was taken");
        }
        assert!(yes.wish().releases(&waits));
        for wish in [no.wish(), back.wish(), waits, denies] {
            assert!(!wish.releases(&waits), "{wish:?}");
        }
        for before in [consents, denies, no.wish(), back.wish()] {
            assert!(!yes.wish().releases(&before), "{before:?}");
        }
    }

    #[test]
    fn consent_is_a_boolean_for_each_category() {
        assert_eq!(check_consent(br#"{"ads":true,"b":false}"#), Ok(()));
        let problem = |categories: &str| check_consent(categories.as_bytes()).expect_err("refused").to_string();
        assert_eq!(problem("{}"), "categories must not be empty: to remove them, give none at all");
        assert_eq!(problem(r#"{"ads":"yes"}"#), "categories: \"ads\" must be true or false");
        assert_eq!(problem(r#"{"ads":true,"b":null}"#), "categories: \"b\" must be true or false");
        assert!(is_same(br#"{"a":true,"b":false}"#, br#"{"b":false,"a":true}"#));
        assert!(!is_same(br#"{"a":true}"#, br#"{"a":false}"#));
        assert!(!is_same(b"", br#"{"a":false}"#));
        assert!(is_same(b"", b""));
    }
}
