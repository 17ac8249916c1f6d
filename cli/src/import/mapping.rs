//! From rows to messages: what the options say about it.

use std::borrow::Cow;

use segment_native::Call;
use serde_json::value::RawValue;

use crate::import::clock::Form;
use crate::import::stable::Ids;
use crate::import::target::{Kind, Target};
use crate::import::tree::Tree;
use crate::json;

/// How rows become messages.
#[derive(Clone)]
pub(crate) struct Mapping {
    /// Where columns go.
    pub(crate) map: Vec<(Target, String)>,
    /// What all rows have, unless they say otherwise.
    pub(crate) set: Vec<(Target, String)>,
    pub(crate) only_mapped: bool,
    /// The column, or member, that is unique.
    pub(crate) id_column: Option<String>,
    pub(crate) time: Form,
}

/// A message made of a row.
pub(crate) struct Made {
    pub(crate) json: String,
    pub(crate) has_time: bool,
}

impl Mapping {
    /// The message that a row is already. What is no object stays as it is: whoever takes it says what is wrong.
    pub(crate) fn of_json(&self, text: &str, ids: &Ids, number: u64) -> Made {
        let text = text.trim();
        let mut names: Vec<String> = Vec::new();
        let (mut time, mut id) = (None, None);
        let read = json::each_member(text, |name, value| {
            if value.get() == "null" {
                return;
            }
            if name == "timestamp" {
                time = Some(value);
            }
            if self.id_column.as_deref() == Some(name) {
                id = Some(value);
            }
            names.push(name.to_owned());
        });
        let Some(open) = text.strip_suffix('}').filter(|_| read.is_ok()) else {
            return Made { json: text.to_owned(), has_time: false };
        };
        let has = |member: &str| names.iter().any(|name| name == member);
        let mut lacking = Tree::default();
        for (target, value) in self.set.iter().filter(|(target, _)| !has(&target.path[0])) {
            lacking.put(&target.path, target.kind.json(value).unwrap_or_default());
        }
        if let Some(time) = time.filter(|_| self.time != Form::Iso) {
            lacking.put(&["timestamp".to_owned()], quoted(&self.time.iso(&plain(time))));
        }
        if !has("messageId") {
            let id = id_of(ids, id.map(plain).as_deref(), number, text);
            lacking.put(&["messageId".to_owned()], quoted(&id));
        }
        let has_time = time.is_some() || self.set.iter().any(|(target, _)| target.path[0] == "timestamp");
        if lacking.is_empty() {
            return Made { json: text.to_owned(), has_time };
        }
        // Behind what is there: of a member that stands twice the last counts.
        let mut json = open.trim_end().to_owned();
        if !json.ends_with('{') {
            json.push(',');
        }
        let mut more = String::new();
        lacking.write(&mut more);
        json.push_str(&more[1..]);
        Made { json, has_time }
    }
}

/// The columns of a table, and where each goes.
pub(crate) struct Columns {
    mapping: Mapping,
    names: Vec<String>,
    places: Vec<Place>,
    id: Option<usize>,
}

enum Place {
    /// Where the options say.
    Mapped(Target),
    /// Where its name says, if the message has such a member; else it is a property or trait.
    Named(Target),
    Payload,
    Nowhere,
}

impl Columns {
    /// The columns with these names.
    pub(crate) fn new(mapping: &Mapping, names: Vec<String>) -> Result<Self, String> {
        let missing = |column: &str| format!("there is no column {column}; there are {}", names.join(", "));
        for (_, column) in &mapping.map {
            if !names.contains(column) {
                return Err(missing(column));
            }
        }
        let id = match &mapping.id_column {
            Some(column) => Some(names.iter().position(|name| name == column).ok_or_else(|| missing(column))?),
            None => None,
        };
        let place = |name: &String| {
            if let Some((target, _)) = mapping.map.iter().find(|(_, column)| column == name) {
                return Place::Mapped(target.clone());
            }
            match Target::by_name(name) {
                _ if mapping.only_mapped => Place::Nowhere,
                Some(target) => Place::Named(target),
                None => Place::Payload,
            }
        };
        let places = names.iter().map(place).collect();
        Ok(Columns { mapping: mapping.clone(), names, places, id })
    }

    /// How many columns there are.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// The message of a row with these cells; `text` is the row as a whole.
    pub(crate) fn message(&self, cells: &[&str], ids: &Ids, number: u64, text: &str) -> Result<Made, String> {
        let call = self.call(cells);
        let mut tree = Tree::default();
        for (target, value) in &self.mapping.set {
            tree.put(&target.path, target.kind.json(value)?);
        }
        let (mut has_time, mut has_id) =
            (self.mapping.set.iter().any(|(target, _)| target.path[0] == "timestamp"), false);
        for ((place, name), cell) in self.places.iter().zip(&self.names).zip(cells) {
            if cell.is_empty() {
                continue;
            }
            let target = match place {
                Place::Nowhere => continue,
                Place::Mapped(target) => Cow::Borrowed(target),
                Place::Named(target) if target.is_of(call) => Cow::Borrowed(target),
                Place::Named(_) | Place::Payload => match call.and_then(Call::payload) {
                    Some(payload) => {
                        Cow::Owned(Target { path: vec![payload.to_owned(), name.clone()], kind: Kind::Auto })
                    }
                    None => continue,
                },
            };
            let is = |member: &str| target.path.len() == 1 && target.path[0] == member;
            let json = if is("timestamp") {
                has_time = true;
                quoted(&self.mapping.time.iso(cell))
            } else {
                target.kind.json(cell).map_err(|demand| format!("{name} {demand}, not {cell:?}"))?
            };
            has_id |= is("messageId");
            tree.put(&target.path, json);
        }
        if !has_id {
            let value = self.id.and_then(|id| cells.get(id)).copied().filter(|value| !value.is_empty());
            tree.put(&["messageId".to_owned()], quoted(&id_of(ids, value, number, text)));
        }
        let mut json = String::new();
        tree.write(&mut json);
        Ok(Made { json, has_time })
    }

    /// Which call a row is.
    fn call(&self, cells: &[&str]) -> Option<Call> {
        let is_type = |place: &Place| match place {
            Place::Mapped(target) | Place::Named(target) => target.path[0] == "type",
            Place::Payload | Place::Nowhere => false,
        };
        let cell = self.places.iter().position(is_type).and_then(|at| cells.get(at)).filter(|cell| !cell.is_empty());
        let set =
            || self.mapping.set.iter().find(|(target, _)| target.path[0] == "type").map(|(_, value)| value.as_str());
        Call::from_name(cell.copied().or_else(set)?)
    }
}

fn id_of(ids: &Ids, value: Option<&str>, number: u64, text: &str) -> String {
    value.map_or_else(|| ids.of_row(number, text), |value| ids.of_value(value))
}

/// A value as text: that of a string, or the JSON of anything else.
fn plain(value: &RawValue) -> Cow<'_, str> {
    json::text(value).unwrap_or(Cow::Borrowed(value.get()))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mapping(map: &[&str], set: &[&str]) -> Mapping {
        let pairs = |texts: &[&str]| {
            let pair = |text: &&str| {
                let (target, value) = text.split_once('=').expect("a pair");
                (target.parse().expect("a target"), value.to_owned())
            };
            texts.iter().map(pair).collect()
        };
        Mapping { map: pairs(map), set: pairs(set), only_mapped: false, id_column: None, time: Form::Iso }
    }

    fn ids() -> Ids {
        Ids::new("wk", b"")
    }

    fn row(mapping: &Mapping, names: &str, cells: &str) -> Result<Value, String> {
        let columns = Columns::new(mapping, names.split(',').map(str::to_owned).collect())?;
        let cells: Vec<&str> = cells.split(',').collect();
        let made = columns.message(&cells, &ids(), 1, "text")?;
        let mut value: Value = serde_json::from_str(&made.json).expect("JSON");
        value.as_object_mut().expect("an object").remove("messageId");
        Ok(value)
    }

    #[test]
    fn columns_go_where_their_names_say() {
        assert_eq!(
            row(
                &mapping(&[], &["type=track"]),
                "user_id,event,timestamp,price,name,context.ip",
                "u1,Bought,T,9.5,Ball,"
            ),
            Ok(json!({
                "type": "track", "userId": "u1", "event": "Bought", "timestamp": "T",
                "properties": {"price": 9.5, "name": "Ball"},
            }))
        );
        assert_eq!(
            row(&mapping(&[], &[]), "type,userId,name,traits.address.city", "identify,7,Ann,Bonn"),
            Ok(json!({"type": "identify", "userId": "7", "traits": {"name": "Ann", "address": {"city": "Bonn"}}}))
        );
    }

    #[test]
    fn columns_go_where_the_options_say() {
        let mut mapping = mapping(&["userId=kunde", "properties.zip:string=plz"], &["type=track", "event=Umzug"]);
        assert_eq!(
            row(&mapping, "kunde,plz,rest", "5,53111,x"),
            Ok(json!({"type": "track", "event": "Umzug", "userId": "5", "properties": {"zip": "53111", "rest": "x"}}))
        );
        mapping.only_mapped = true;
        assert_eq!(
            row(&mapping, "kunde,plz,rest", "5,53111,x"),
            Ok(json!({"type": "track", "event": "Umzug", "userId": "5", "properties": {"zip": "53111"}}))
        );
        assert_eq!(row(&mapping, "a,plz", "1,2"), Err("there is no column kunde; there are a, plz".to_owned()));
    }

    #[test]
    fn a_cell_of_the_wrong_type_is_a_reason() {
        let mapping = mapping(&["properties.n:number=n"], &["type=track"]);
        assert_eq!(row(&mapping, "n", "many"), Err("n must be a number, not \"many\"".to_owned()));
    }

    fn of_json(mapping: &Mapping, text: &str) -> Value {
        serde_json::from_str(&mapping.of_json(text, &ids(), 1).json).expect("JSON")
    }

    #[test]
    fn messages_get_what_they_lack() {
        let mapping = mapping(&[], &["type=track", "context.ip=1.2.3.4", "context.locale=de"]);
        let text = r#"{"event":"E","messageId":null}"#;
        let message = of_json(&mapping, text);
        assert_eq!(message["type"], "track");
        assert_eq!(message["context"], json!({"ip": "1.2.3.4", "locale": "de"}));
        assert_eq!(message["messageId"], ids().of_row(1, text));
        assert_eq!(of_json(&mapping, r#"{"messageId":"m","type":"page"}"#)["messageId"], "m");
        assert_eq!(of_json(&mapping, r#"{"type":"page"}"#)["type"], "page");
        assert_eq!(of_json(&mapping, "{ }")["type"], "track");
    }

    #[test]
    fn a_member_may_be_what_is_unique() {
        let mapping = Mapping { id_column: Some("nr".to_owned()), ..mapping(&[], &[]) };
        assert_eq!(of_json(&mapping, r#"{"nr":7}"#)["messageId"], ids().of_value("7"));
        assert_eq!(of_json(&mapping, r#"{"nr":"7"}"#)["messageId"], ids().of_value("7"));
    }

    #[test]
    fn what_is_no_object_is_left_to_the_check() {
        for text in ["", "[1]", "{", "nope"] {
            assert_eq!(mapping(&[], &["type=track"]).of_json(text, &ids(), 1).json, text);
        }
    }

    #[test]
    fn times_are_rewritten() {
        let mapping = Mapping { time: Form::Unix, ..mapping(&[], &["type=track"]) };
        assert_eq!(of_json(&mapping, r#"{"timestamp":1767323045.678}"#)["timestamp"], "2026-01-02T03:04:05.678Z");
        assert_eq!(
            row(&mapping, "timestamp", "1767323045"),
            Ok(json!({"type": "track", "timestamp": "2026-01-02T03:04:05.000Z"}))
        );
    }
}
