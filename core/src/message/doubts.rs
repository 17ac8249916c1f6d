//! Doubtful data, in tables: Segment accepts it, but destinations misread it.
//!
//! Segment reserves names in traits and properties and says what their values mean. It checks none of them: an age sent
//! as a string arrives, and is lost in a destination that expects a number. [`rules`](super::rules) holds what Segment
//! refuses; this file holds what it lets through. Messages are checked on the caller's thread, so nothing is allocated
//! unless something is doubtful.

use jiff::civil;

use crate::base::error::Error;
use crate::base::time;
use crate::json::scan;
use crate::message::currency;
use crate::message::rules::{Call, Facts};

/// Something doubtful in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What kind of doubt it is, in a word that does not change: `trait-type`, `not-a-number`.
    pub kind: &'static str,
    /// The member it is about: `traits.address.city`, `userId`. An item of a list goes by the name of the list.
    pub name: String,
    /// What should be different.
    pub sentence: String,
    /// The page on which Segment says so.
    pub source: &'static str,
}

/// What may be doubtful in a message besides its traits or properties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Which call.
    pub(crate) call: Call,
    /// `userId`
    pub(crate) user_id: Option<&'a str>,
    /// `event`
    pub(crate) event: Option<&'a str>,
    /// `timestamp`, if the caller gave one.
    pub(crate) timestamp_ms: Option<i64>,
    /// The time of the call.
    pub(crate) now_ms: i64,
}

/// Clocks differ by seconds, and by some minutes if they are not synchronised. A time further ahead is a mistake.
const AHEAD_MS: i64 = 5 * 60_000;

/// A check of a member outside the traits or properties.
struct Check {
    kind: &'static str,
    member: &'static str,
    sentence: &'static str,
    source: &'static str,
    doubtful: fn(&Subject) -> bool,
}

static CHECKS: &[Check] = &[
    Check {
        kind: "future",
        member: "timestamp",
        sentence: "timestamp should not lie in the future",
        source: "https://www.twilio.com/docs/segment/connections/spec/common",
        doubtful: |s| s.timestamp_ms.is_some_and(|ms| ms > s.now_ms.saturating_add(AHEAD_MS)),
    },
    Check {
        kind: "email-as-user-id",
        member: "userId",
        sentence: "userId should be an id that never changes, like one from a database, not an e-mail address",
        source: IDENTIFY,
        doubtful: |s| s.user_id.is_some_and(is_email),
    },
];

/// What a reserved member should be.
enum Wanted {
    Text,
    Number,
    /// A number that destinations add up.
    Amount,
    TextOrNumber,
    TextOrObject,
    Date,
    Currency,
    Texts,
    Object(&'static Table),
    Objects(&'static Table),
}

impl Wanted {
    /// The kind of doubt about a value of another type.
    fn kind(&self, table: &Table) -> &'static str {
        match self {
            Wanted::Amount => "not-a-number",
            Wanted::Currency => "currency",
            _ => table.kind,
        }
    }

    fn demand(&self) -> &'static str {
        match self {
            Wanted::Text => "a string",
            Wanted::Number | Wanted::Amount => "a number",
            Wanted::TextOrNumber => "a string or a number",
            Wanted::TextOrObject => "a string or an object",
            Wanted::Date => "an ISO 8601 date, like 2026-01-02T03:04:05.678Z",
            Wanted::Currency => "an ISO 4217 code, like EUR",
            Wanted::Texts => "a list of strings",
            Wanted::Object(_) => "an object",
            Wanted::Objects(_) => "a list of objects",
        }
    }
}

/// A name that Segment reserves.
struct Member {
    key: u128,
    name: &'static str,
    wanted: Wanted,
}

const fn member(name: &'static str, wanted: Wanted) -> Member {
    Member { key: folded(name.as_bytes()), name, wanted }
}

const fn text(name: &'static str) -> Member {
    member(name, Wanted::Text)
}

const fn number(name: &'static str) -> Member {
    member(name, Wanted::Number)
}

const fn amount(name: &'static str) -> Member {
    member(name, Wanted::Amount)
}

/// Names that one page of Segment's documentation reserves.
struct Table {
    /// The kind of doubt about a value of the wrong type.
    kind: &'static str,
    source: &'static str,
    /// Traits may be written in camel case or in snake case, and other spellings can collide with them. Properties have
    /// one spelling.
    spellings: bool,
    /// In alphabetical order of their keys.
    members: &'static [Member],
    /// The [`ends`] of their names, one bit each: most names that are not reserved are skipped by them.
    ends: u64,
}

const IDENTIFY: &str = "https://www.twilio.com/docs/segment/connections/spec/identify";
const GROUP: &str = "https://www.twilio.com/docs/segment/connections/spec/group";
const TRACK: &str = "https://www.twilio.com/docs/segment/connections/spec/track";
const PAGE: &str = "https://www.twilio.com/docs/segment/connections/spec/page";
const SCREEN: &str = "https://www.twilio.com/docs/segment/connections/spec/screen";
const COMMERCE: &str = "https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2";

const fn table(kind: &'static str, source: &'static str, spellings: bool, members: &'static [Member]) -> Table {
    let (mut bits, mut at) = (0, 0);
    while at < members.len() {
        bits |= ends(members[at].name.as_bytes());
        at += 1;
    }
    Table { kind, source, spellings, members, ends: bits }
}

const fn traits(source: &'static str, members: &'static [Member]) -> Table {
    table("trait-type", source, true, members)
}

const fn properties(source: &'static str, members: &'static [Member]) -> Table {
    table("property-type", source, false, members)
}

const fn commerce(members: &'static [Member]) -> Table {
    table("ecommerce-type", COMMERCE, false, members)
}

static ADDRESS: Table =
    traits(IDENTIFY, &[text("city"), text("country"), text("postalCode"), text("state"), text("street")]);

static COMPANY: Table = traits(
    IDENTIFY,
    &[number("employee_count"), member("id", Wanted::TextOrNumber), text("industry"), text("name"), text("plan")],
);

static USER: Table = traits(
    IDENTIFY,
    &[
        member("address", Wanted::Object(&ADDRESS)),
        number("age"),
        text("avatar"),
        member("birthday", Wanted::Date),
        member("company", Wanted::Object(&COMPANY)),
        member("createdAt", Wanted::Date),
        text("description"),
        text("email"),
        text("firstName"),
        text("gender"),
        text("id"),
        text("lastName"),
        text("name"),
        text("phone"),
        text("title"),
        text("username"),
        text("website"),
    ],
);

static ACCOUNT: Table = traits(
    GROUP,
    &[
        member("address", Wanted::Object(&ADDRESS)),
        text("avatar"),
        member("createdAt", Wanted::Date),
        text("description"),
        text("email"),
        member("employees", Wanted::TextOrNumber), // a string in Segment's table, a number in its examples
        text("id"),
        text("industry"),
        text("name"),
        text("phone"),
        text("plan"),
        text("website"),
    ],
);

static WEB_PAGE: Table = properties(
    PAGE,
    &[
        member("keywords", Wanted::Texts),
        text("name"),
        text("path"),
        text("referrer"),
        text("search"),
        text("title"),
        text("url"),
    ],
);

static APP_SCREEN: Table = properties(SCREEN, &[text("name")]);

static ANY_EVENT: Table =
    properties(TRACK, &[member("currency", Wanted::Currency), amount("revenue"), amount("total"), amount("value")]);

static PRODUCT: Table = commerce(&[
    text("brand"),
    text("category"),
    text("coupon"),
    text("image_url"),
    text("name"),
    number("position"),
    amount("price"),
    text("product_id"),
    number("quantity"),
    text("sku"),
    text("url"),
    text("variant"),
]);

static CONDITION: Table = commerce(&[text("type")]);

static SEARCH: Table = commerce(&[member("query", Wanted::TextOrObject)]);

static LIST: Table = commerce(&[
    text("category"),
    member("filters", Wanted::Objects(&CONDITION)),
    text("list_id"),
    member("products", Wanted::Objects(&PRODUCT)),
    member("sorts", Wanted::Objects(&CONDITION)),
]);

static PROMOTION: Table = commerce(&[
    text("creative"),
    text("name"),
    text("position"), // a number elsewhere
    text("promotion_id"),
]);

static CART: Table = commerce(&[text("cart_id"), member("products", Wanted::Objects(&PRODUCT))]);

static CHECKOUT: Table =
    commerce(&[text("checkout_id"), text("order_id"), text("payment_method"), text("shipping_method"), number("step")]);

static ORDER: Table = commerce(&[
    text("affiliation"),
    text("checkout_id"),
    text("coupon"),
    amount("discount"),
    text("order_id"),
    member("products", Wanted::Objects(&PRODUCT)),
    amount("shipping"),
    amount("subtotal"),
    amount("tax"),
]);

static COUPON: Table = commerce(&[
    text("cart_id"),
    text("coupon_id"),
    text("coupon_name"),
    amount("discount"),
    text("order_id"),
    text("reason"),
]);

static WISHLIST: Table = commerce(&[text("cart_id"), text("wishlist_id"), text("wishlist_name")]);

static SHARE: Table = commerce(&[text("recipient"), text("share_message"), text("share_via")]);

static REVIEW: Table = commerce(&[text("product_id"), text("rating"), text("review_body"), text("review_id")]);

/// The e-commerce events in alphabetical order, with the tables of their properties.
const EVENTS: &[(&str, &[&Table])] = &[
    ("Cart Shared", &[&ANY_EVENT, &SHARE, &CART]),
    ("Cart Viewed", &[&ANY_EVENT, &CART]),
    ("Checkout Started", &[&ANY_EVENT, &ORDER]),
    ("Checkout Step Completed", &[&ANY_EVENT, &CHECKOUT]),
    ("Checkout Step Viewed", &[&ANY_EVENT, &CHECKOUT]),
    ("Coupon Applied", &[&ANY_EVENT, &COUPON]),
    ("Coupon Denied", &[&ANY_EVENT, &COUPON]),
    ("Coupon Entered", &[&ANY_EVENT, &COUPON]),
    ("Coupon Removed", &[&ANY_EVENT, &COUPON]),
    ("Order Cancelled", &[&ANY_EVENT, &ORDER]),
    ("Order Completed", &[&ANY_EVENT, &ORDER]),
    ("Order Refunded", &[&ANY_EVENT, &ORDER]),
    ("Order Updated", &[&ANY_EVENT, &ORDER]),
    ("Payment Info Entered", &[&ANY_EVENT, &CHECKOUT]),
    ("Product Added", &[&ANY_EVENT, &PRODUCT, &CART]),
    ("Product Added to Wishlist", &[&ANY_EVENT, &PRODUCT, &WISHLIST]),
    ("Product Clicked", &[&ANY_EVENT, &PRODUCT]),
    ("Product List Filtered", &[&ANY_EVENT, &LIST]),
    ("Product List Viewed", &[&ANY_EVENT, &LIST]),
    ("Product Removed", &[&ANY_EVENT, &PRODUCT, &CART]),
    ("Product Removed from Wishlist", &[&ANY_EVENT, &PRODUCT, &WISHLIST]),
    ("Product Reviewed", &[&ANY_EVENT, &REVIEW]),
    ("Product Shared", &[&ANY_EVENT, &PRODUCT, &SHARE]),
    ("Product Viewed", &[&ANY_EVENT, &PRODUCT]),
    ("Products Searched", &[&ANY_EVENT, &SEARCH]),
    ("Promotion Clicked", &[&ANY_EVENT, &PROMOTION]),
    ("Promotion Viewed", &[&ANY_EVENT, &PROMOTION]),
    ("Wishlist Product Added to Cart", &[&ANY_EVENT, &PRODUCT, &WISHLIST]),
];

/// The [`ends`] of their names.
const EVENT_ENDS: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < EVENTS.len() {
        bits |= ends(EVENTS[at].0.as_bytes());
        at += 1;
    }
    bits
};

/// The properties of a track event.
fn event_tables(event: &str) -> &'static [&'static Table] {
    if ends(event.as_bytes()) & EVENT_ENDS != 0
        && let Ok(at) = EVENTS.binary_search_by(|(name, _)| (*name).cmp(event))
    {
        return EVENTS[at].1;
    }
    const { &[&ANY_EVENT] }
}

/// The names that are reserved in the traits or properties of a message.
fn tables(subject: &Subject<'_>) -> &'static [&'static Table] {
    match subject.call {
        Call::Identify => const { &[&USER] },
        Call::Group => const { &[&ACCOUNT] },
        Call::Page => const { &[&WEB_PAGE] },
        Call::Screen => const { &[&APP_SCREEN] },
        Call::Track => event_tables(subject.event.unwrap_or_default()),
        Call::Alias => &[],
    }
}

/// Calls `found` with each doubt about a message. `members` are those of its traits or properties, as [`scan::members`]
/// gives them.
pub(crate) fn find<'a>(
    subject: &Subject<'_>,
    members: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    mut found: impl FnMut(Doubt),
) {
    for Check { kind, member, sentence, source, doubtful } in CHECKS {
        if doubtful(subject) {
            found(Doubt { kind, name: (*member).to_owned(), sentence: (*sentence).to_owned(), source });
        }
    }
    if let Some(payload) = subject.call.payload() {
        walk(Place { payload, parent: "" }, tables(subject), members, &mut found);
    }
}

/// The doubts about a whole message in JSON, each once; none if its type is unknown. An error if it is not a JSON
/// object. `now_ms` is the time to compare its timestamp with, in milliseconds since 1970.
pub fn check_json(message: &str, now_ms: i64) -> Result<Vec<Doubt>, Error> {
    let mut compact = Vec::new();
    scan::compact_object(message, &mut compact).map_err(|flaw| Error::invalid(format!("not a JSON object: {flaw}")))?;
    let mut doubts = Vec::new();
    find_in(&compact, now_ms, |doubt| {
        if !doubts.contains(&doubt) {
            doubts.push(doubt);
        }
    });
    Ok(doubts)
}

/// The same for a message that is a compact object already; a doubt that occurs twice is found twice.
pub(crate) fn find_in(message: &[u8], now_ms: i64, found: impl FnMut(Doubt)) {
    let facts = Facts::read(message);
    let Some(call) = facts.call else { return };
    let subject = Subject {
        call,
        user_id: facts.user_id.text(),
        event: facts.event.text(),
        timestamp_ms: facts.timestamp.text().and_then(time::parse),
        now_ms,
    };
    let is_payload = |name: &[u8]| call.payload().is_some_and(|payload| unquoted(name) == payload.as_bytes());
    let payload = scan::members(message).filter(|(name, _)| is_payload(name)).last();
    find(&subject, payload.into_iter().flat_map(|(_, value)| scan::members(value)), found);
}

/// Where the members are that are being checked.
#[derive(Clone, Copy)]
struct Place {
    /// `traits` or `properties`
    payload: &'static str,
    /// The member that contains them; empty for those of the payload itself.
    parent: &'static str,
}

impl Place {
    /// The path of a member here: `address.city`.
    fn path(self, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        if self.parent.is_empty() { name.into_owned() } else { format!("{}.{name}", self.parent) }
    }

    fn doubt(self, kind: &'static str, name: &[u8], source: &'static str, should: std::fmt::Arguments<'_>) -> Doubt {
        let (payload, path) = (self.payload, self.path(name));
        Doubt { kind, name: format!("{payload}.{path}"), sentence: format!("{payload}: {path} {should}"), source }
    }
}

/// Looks for doubts in members whose names the `tables` reserve.
fn walk<'a>(
    place: Place,
    tables: &[&'static Table],
    members: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    found: &mut dyn FnMut(Doubt),
) {
    // In a table with two spellings: which members came in Segment's own, and which in the other.
    let (mut own, mut other) = (0u32, 0u32);
    let reserved_ends = tables.iter().fold(0, |bits, table| bits | table.ends);
    for (name, value) in members {
        let name = unquoted(name);
        if ends(name) & reserved_ends == 0 {
            continue;
        }
        let Some((table, at)) = look_up(tables, name) else { continue };
        let member = &table.members[at];
        if table.spellings {
            let reserved = member.name;
            if !same_words(name, reserved.as_bytes()) {
                let should =
                    format_args!("should be written {reserved}, which is a reserved name, or be called something else");
                found(place.doubt("trait-collision", name, table.source, should));
                continue;
            }
            *(if name == reserved.as_bytes() { &mut own } else { &mut other }) |= 1 << at;
            if own & other & (1 << at) != 0 {
                let should = format_args!("should be sent in one spelling, not in two");
                found(place.doubt("trait-twice", reserved.as_bytes(), table.source, should));
            }
        }
        examine(place, table, member, name, value, found);
    }
}

/// The table that reserves a name, and the place of the name in it.
fn look_up(tables: &[&'static Table], name: &[u8]) -> Option<(&'static Table, usize)> {
    let key = folded(name);
    let (table, at) = tables.iter().find_map(|table| {
        let at = table.members.binary_search_by(|member| member.key.cmp(&key)).ok()?;
        Some((*table, at))
    })?;
    (table.spellings || table.members[at].name.as_bytes() == name).then_some((table, at))
}

/// Looks for doubts in the value of a reserved member, whose name was written as `name`.
fn examine(place: Place, table: &Table, member: &Member, name: &[u8], value: &[u8], found: &mut dyn FnMut(Doubt)) {
    let wanted = &member.wanted;
    let json = Json::of(value);
    let mut doubt =
        |should: std::fmt::Arguments<'_>| found(place.doubt(wanted.kind(table), name, table.source, should));
    match (wanted, json) {
        (_, Json::Null)
        | (Wanted::Text | Wanted::TextOrNumber | Wanted::TextOrObject, Json::Text)
        | (Wanted::Number | Wanted::Amount | Wanted::TextOrNumber, Json::Number)
        | (Wanted::TextOrObject, Json::Object) => {}
        (Wanted::Date, Json::Text) if is_date(&scan::text(value)) => {}
        (Wanted::Currency, Json::Text) => {
            let text = scan::text(value);
            match currency::code(&text) {
                Some(code) if code == text => {}
                Some(code) => doubt(format_args!("should be written in capitals: {code}")),
                None => doubt(format_args!("should be {}", wanted.demand())),
            }
        }
        (Wanted::Texts, Json::List) if scan::items(value).all(|item| Json::of(item).is(Json::Text)) => {}
        (Wanted::Object(inner), Json::Object) => {
            walk(Place { parent: member.name, ..place }, &[inner], scan::members(value), found);
        }
        (Wanted::Objects(inner), Json::List) if scan::items(value).all(|item| Json::of(item).is(Json::Object)) => {
            for item in scan::items(value) {
                walk(Place { parent: member.name, ..place }, &[inner], scan::members(item), found);
            }
        }
        (Wanted::Date, Json::Text) | (Wanted::Texts | Wanted::Objects(_), Json::List) => {
            doubt(format_args!("should be {}", wanted.demand()));
        }
        _ => doubt(format_args!("should be {}, not {}", wanted.demand(), json.name())),
    }
}

/// What a value is in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Json {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Json {
    fn of(value: &[u8]) -> Self {
        match value.first() {
            Some(b'"') => Json::Text,
            Some(b'{') => Json::Object,
            Some(b'[') => Json::List,
            Some(b't' | b'f') => Json::Bool,
            Some(b'n') | None => Json::Null,
            Some(_) => Json::Number,
        }
    }

    /// Null is never of the wrong type: it says that there is no value.
    fn is(self, wanted: Json) -> bool {
        self == wanted || self == Json::Null
    }

    fn name(self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool => "a boolean",
            Json::Number => "a number",
            Json::Text => "a string",
            Json::List => "a list",
            Json::Object => "an object",
        }
    }
}

/// A name longer than this is not reserved, however it is spelled.
const NAME_MAX_BYTES: usize = 32;

/// A name as a number, the same for all its spellings: in lower case, without separators. Zero for a name that is
/// longer than any reserved one.
const fn folded(name: &[u8]) -> u128 {
    if name.len() > NAME_MAX_BYTES {
        return 0;
    }
    // From the left, so that the order of the keys is that of the alphabet.
    let mut key = [0; 16];
    let (mut at, mut length) = (0, 0);
    while at < name.len() {
        let byte = name[at];
        at += 1;
        if matches!(byte, b'_' | b'-' | b' ') {
            continue;
        }
        if length == key.len() {
            return 0;
        }
        key[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    u128::from_be_bytes(key)
}

/// One bit of 64 for the first and the last letter of a name, whatever its spelling. All bits if a separator is at one
/// end, so that the name is looked up.
const fn ends(name: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    if matches!((*first, *last), (b'_' | b'-' | b' ', _) | (_, b'_' | b'-' | b' ')) {
        return u64::MAX;
    }
    1 << ((*first | 0x20).wrapping_mul(5).wrapping_add(*last | 0x20) % 64)
}

/// Whether a name is the reserved one, in camel case or in snake case.
fn same_words(name: &[u8], reserved: &[u8]) -> bool {
    name == reserved || camel(name).eq(camel(reserved))
}

/// A name in camel case: snake case is converted, other spellings stay as they are.
fn camel(name: &[u8]) -> impl Iterator<Item = u8> {
    let joins = |at: usize| at > 0 && name[at] == b'_' && name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
    (0..name.len())
        .filter(move |at| !joins(*at))
        .map(move |at| if at > 0 && joins(at - 1) { name[at].to_ascii_uppercase() } else { name[at] })
}

fn unquoted(name: &[u8]) -> &[u8] {
    name.get(1..name.len().saturating_sub(1)).unwrap_or_default()
}

/// A day counts as a date, and so does a time without a zone: both are ISO 8601, and a birthday has no zone.
fn is_date(text: &str) -> bool {
    const DAY: usize = "2026-01-02".len();
    let has_zone = text.get(DAY..).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
    if has_zone { time::parse(text).is_some() } else { text.parse::<civil::DateTime>().is_ok() }
}

/// Whether a text is almost certainly an e-mail address.
fn is_email(text: &str) -> bool {
    let Some((user, domain)) = text.split_once('@') else { return false };
    let is_word = |word: &str, marks: &str| {
        !word.is_empty() && word.chars().all(|char| char.is_alphanumeric() || marks.contains(char))
    };
    let is_top = |label: &str| label.len() > 1 && label.chars().all(char::is_alphabetic);
    is_word(user, "!#$%&'*+-/=?^_`{|}~.")
        && domain.rsplit_once('.').is_some_and(|(host, top)| is_top(top) && host.split('.').all(|l| is_word(l, "-")))
}

#[cfg(test)]
#[path = "doubts_tests.rs"]
mod tests;
