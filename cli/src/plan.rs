//! A tracking plan: which events are planned, and what is in them.

use std::fs;
use std::io;
use std::path::Path;

use segment_native::Call;
use serde_json::Value;

use crate::event::Event;
use crate::json;
use crate::schema::{Schema, Violation};

/// A tracking plan as Segment's Public API gives it, or the API before it.
pub(crate) struct Plan {
    rules: Vec<Rule>,
    /// What the plan demands and we do not check, a sentence each.
    pub(crate) unchecked: Vec<String>,
}

struct Rule {
    /// Which call it is about; none if all.
    call: Option<Call>,
    /// The event, or the name of the page or screen; none if all.
    key: Option<String>,
    version: i64,
    schema: Schema,
}

impl Plan {
    /// Reads a plan from a file.
    pub(crate) fn open(path: &Path) -> io::Result<Plan> {
        let failed = |kind, why: &dyn std::fmt::Display| io::Error::new(kind, format!("{}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(error.kind(), &error))?;
        let plan: Value = serde_json::from_str(&text).map_err(|error| failed(io::ErrorKind::InvalidData, &error))?;
        Plan::read(&plan).map_err(|why| failed(io::ErrorKind::InvalidData, &why))
    }

    fn read(plan: &Value) -> Result<Plan, String> {
        let inner =
            ["data", "trackingPlan", "tracking_plan"].iter().fold(plan, |plan, name| plan.get(name).unwrap_or(plan));
        let mut read = Plan { rules: Vec::new(), unchecked: Vec::new() };
        match inner.get("rules").unwrap_or(inner) {
            Value::Array(rules) => rules.iter().try_for_each(|rule| read.add_rule(rule))?,
            Value::Object(rules) => {
                for (name, call) in [("global", None), ("identify", Some(Call::Identify)), ("group", Some(Call::Group))]
                {
                    // An older plan says so if there is nothing to say about a call: {}.
                    if let Some(schema) =
                        rules.get(name).filter(|schema| schema.as_object().is_some_and(|s| !s.is_empty()))
                    {
                        read.add(call, None, 1, schema)?;
                    }
                }
                let events = rules.get("events").and_then(Value::as_array).ok_or("a plan must have the list rules")?;
                for event in events {
                    let name = event.get("name").and_then(Value::as_str).ok_or("an event of the plan has no name")?;
                    let schema = event.get("rules").unwrap_or(&Value::Bool(true));
                    read.add(Some(Call::Track), Some(name), version(event), schema)?;
                }
            }
            _ => return Err("a plan must have the list rules".to_owned()),
        }
        Ok(read)
    }

    fn add_rule(&mut self, rule: &Value) -> Result<(), String> {
        let name = rule.get("type").and_then(Value::as_str).ok_or("a rule has no type")?.to_ascii_lowercase();
        let call = Call::from_name(&name);
        if call.is_none() && name != "common" {
            return Err(format!("a rule has the type {name}"));
        }
        let key = rule.get("key").and_then(Value::as_str).filter(|key| !key.is_empty());
        let schema = rule.get("jsonSchema").unwrap_or(&Value::Bool(true));
        self.add(call, key, version(rule), schema)
    }

    fn add(&mut self, call: Option<Call>, key: Option<&str>, version: i64, schema: &Value) -> Result<(), String> {
        let name = key.unwrap_or(call.map_or("common", Call::name));
        let unchecked = &mut self.unchecked;
        let mut skip = |keyword: &str| unchecked.push(format!("{name}: {keyword} is not checked"));
        let schema = Schema::read(schema, &mut skip).map_err(|why| format!("{name}: {why}"))?;
        self.rules.push(Rule { call, key: key.map(str::to_owned), version, schema });
        Ok(())
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }

    /// What in the event is not as planned.
    pub(crate) fn check(&self, event: &Event<'_>) -> Vec<Violation> {
        let mut found = Vec::new();
        let Some(call) = event.call else { return found };
        let Some(message) = serde_json::from_str::<Value>(event.json).ok().filter(Value::is_object) else {
            return found;
        };
        for rule in self.rules.iter().filter(|rule| rule.call.is_none()) {
            rule.schema.check(&message, "", &mut |violation| found.push(violation));
        }
        let of_call: Vec<_> = self.rules.iter().filter(|rule| rule.call == Some(call)).collect();
        let name = match call {
            Call::Track | Call::Page | Call::Screen => event.name().and_then(json::text),
            _ => None,
        };
        let mut of_name: Vec<_> =
            of_call.iter().filter(|rule| rule.key.is_none() || rule.key.as_deref() == name.as_deref()).collect();
        // Which events are planned is what a plan is for; pages and screens may be left to themselves.
        let is_unplanned = of_name.is_empty() && (call == Call::Track || !of_call.is_empty());
        if let (true, Some(name)) = (is_unplanned, &name) {
            let member = if call == Call::Track { "event" } else { "name" };
            found.push(Violation { member: member.to_owned(), sentence: format!("{name:?} is not planned") });
        }
        // Segment takes the oldest version, unless the event names another.
        let wanted = message.pointer("/context/protocols/event_version").and_then(Value::as_i64);
        of_name.sort_by_key(|rule| rule.version);
        let version = wanted.or(of_name.first().map(|rule| rule.version));
        for rule in of_name.iter().filter(|rule| Some(rule.version) == version) {
            rule.schema.check(&message, "", &mut |violation| found.push(violation));
        }
        if let (Some(wanted), false) =
            (wanted, of_name.iter().any(|rule| Some(rule.version) == version) || is_unplanned)
        {
            let member = "context.protocols.event_version".to_owned();
            found.push(Violation { sentence: format!("version {wanted} is not planned"), member });
        }
        found
    }
}

fn version(rule: &Value) -> i64 {
    rule.get("version").and_then(Value::as_f64).map_or(1, |version| version as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(plan: &Value, event: &Value) -> Vec<String> {
        let plan = Plan::read(plan).expect("a plan");
        plan.check(&Event::read(&event.to_string(), None)).into_iter().map(|violation| violation.sentence).collect()
    }

    fn needs(property: &str) -> Value {
        json!({"type": "object", "properties": {"properties": {"type": "object", "required": [property]}}})
    }

    #[test]
    fn events_must_be_planned() {
        let plan =
            json!({"data": {"rules": [{"type": "TRACK", "key": "Order Completed", "jsonSchema": needs("revenue")}]}});
        let track = |name| json!({"type": "track", "event": name, "properties": {"x": 1}});
        assert_eq!(check(&plan, &track("Order Completed")), ["properties.revenue is missing"]);
        assert_eq!(check(&plan, &track("order completed")), [r#""order completed" is not planned"#]);
        assert!(check(&plan, &json!({"type": "page", "name": "Home"})).is_empty());
        assert!(check(&plan, &json!({"type": "identify"})).is_empty());
    }

    #[test]
    fn pages_are_planned_by_name_if_any_is() {
        let plan = json!({"rules": [{"type": "PAGE", "key": "Home"}]});
        assert!(check(&plan, &json!({"type": "page", "name": "Home"})).is_empty());
        assert_eq!(check(&plan, &json!({"type": "page", "name": "Other"})), [r#""Other" is not planned"#]);
        assert!(check(&plan, &json!({"type": "screen", "name": "Other"})).is_empty());
    }

    #[test]
    fn the_oldest_version_counts_unless_the_event_names_one() {
        let rule =
            |version, property| json!({"type": "TRACK", "key": "E", "version": version, "jsonSchema": needs(property)});
        let plan = json!({"rules": [rule(2, "new"), rule(1, "old")]});
        let event = |version| {
            let context = json!({"protocols": {"event_version": version}});
            json!({"type": "track", "event": "E", "properties": {}, "context": context})
        };
        assert_eq!(check(&plan, &event(Value::Null)), ["properties.old is missing"]);
        assert_eq!(check(&plan, &event(json!(2))), ["properties.new is missing"]);
        assert_eq!(check(&plan, &event(json!(3))), ["version 3 is not planned"]);
    }

    #[test]
    fn rules_for_all_calls_and_older_plans_are_read() {
        let common = json!({"type": "object", "required": ["context"]});
        let plan = json!({"rules": [{"type": "COMMON", "jsonSchema": common}]});
        assert_eq!(check(&plan, &json!({"type": "identify", "userId": "u"})), ["context is missing"]);
        let traits = json!({"properties": {"traits": {"required": ["email"]}}});
        let events = json!([{"name": "E", "rules": needs("x")}]);
        let plan = json!({"rules": {"global": {}, "identify": traits, "group": {}, "events": events}});
        assert_eq!(check(&plan, &json!({"type": "identify", "traits": {}})), ["traits.email is missing"]);
        assert_eq!(
            check(&plan, &json!({"type": "track", "event": "E", "properties": {}})),
            ["properties.x is missing"]
        );
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for plan in
            [json!(5), json!({}), json!({"rules": 5}), json!({"rules": [{"type": "TRICK"}]}), json!({"rules": {}})]
        {
            assert!(Plan::read(&plan).is_err(), "{plan}");
        }
    }
}
