//! Which events to show: `field=value`, `field!=value`, `field~substring`.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use namel3ss_safety::{Direction, SafetyAction, SafetyEvent, Timestamp};
use serde_json::{Map, Value};

use crate::record::check_field;

/// One condition; several must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    field: String,
    op: Op,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Is,
    IsNot,
    Contains,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, op, value) = match text.find(['=', '~']) {
            Some(at) => match (&text[..at], text.as_bytes()[at]) {
                (field, b'~') => (field, Op::Contains, &text[at + 1..]),
                (field, _) if field.ends_with('!') => {
                    (&field[..field.len() - 1], Op::IsNot, &text[at + 1..])
                }
                // `==` is what half of all people type.
                (field, _) => {
                    let value = &text[at + 1..];
                    (field, Op::Is, value.strip_prefix('=').unwrap_or(value))
                }
            },
            None => {
                return Err("a filter is field=value, field!=value or field~substring".to_owned());
            }
        };
        check_field(field)?;
        // A word that no event has would be found in none, without a word about it.
        let value = match (field, op) {
            (_, Op::Contains) => value.to_owned(),
            ("action", _) => word::<SafetyAction>(value)?,
            ("direction", _) => word::<Direction>(value)?,
            _ => value.to_owned(),
        };
        Ok(Self { field: field.to_owned(), op, value })
    }
}

/// A word of the table as events have it: `Blocked` is `block`.
fn word<T: FromStr<Err: Display> + Display>(word: &str) -> Result<String, String> {
    match word.parse::<T>() {
        Ok(known) => Ok(known.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

impl Filter {
    /// Whether the event is to be shown. A field without a value equals the empty text.
    pub(crate) fn matches(&self, event: &SafetyEvent) -> bool {
        let texts = texts_of(event, &self.field);
        match self.op {
            Op::Is => self.is_any(&texts),
            Op::IsNot => !self.is_any(&texts),
            Op::Contains => texts.iter().any(|text| text.contains(self.value.as_str())),
        }
    }

    /// The field and the value that it must have.
    pub(crate) fn equals(&self) -> Option<(&str, &str)> {
        (self.op == Op::Is).then_some((self.field.as_str(), self.value.as_str()))
    }

    /// Adds what the event has in the filter's field to `values`, up to so many.
    pub(crate) fn note(&self, event: &SafetyEvent, values: &mut BTreeSet<String>, most: usize) {
        if self.op == Op::Is && values.len() < most {
            values.extend(texts_of(event, &self.field).into_iter().take(most - values.len()));
        }
    }

    fn is_any(&self, texts: &[String]) -> bool {
        if texts.is_empty() {
            return self.value.is_empty();
        }
        texts.iter().any(|text| self.is(text))
    }

    fn is(&self, text: &str) -> bool {
        if text == self.value {
            return true;
        }
        match self.field.as_str() {
            "timestamp" => {
                let moment = self.value.parse::<Timestamp>();
                moment.is_ok() && moment == text.parse()
            }
            "severity" => text.eq_ignore_ascii_case(&self.value),
            // 0.50 is 0.5, in metadata too.
            _ => match (text.parse::<f64>(), self.value.parse::<f64>()) {
                (Ok(a), Ok(b)) => is_numeric(&self.field) && a == b,
                _ => false,
            },
        }
    }
}

fn is_numeric(field: &str) -> bool {
    matches!(field, "confidence" | "latency_ms") || field.starts_with("metadata.")
}

/// The texts that a field holds: none where it has no value, several for `categories`.
fn texts_of(event: &SafetyEvent, field: &str) -> Vec<String> {
    let some = |text: &Option<String>| text.iter().cloned().collect();
    match field {
        "event_id" => vec![event.event_id.clone()],
        "timestamp" => vec![event.timestamp.to_string()],
        "app_name" => some(&event.app_name),
        "chain_name" => some(&event.chain_name),
        "agent_name" => some(&event.agent_name),
        "policy_name" => some(&event.policy_name),
        "reason" => some(&event.reason),
        "trace_id" => some(&event.trace_id),
        "session_id" => some(&event.session_id),
        "user_id" => some(&event.user_id),
        "direction" => vec![event.direction.to_string()],
        "action" => vec![event.action.to_string()],
        "categories" => event.categories.clone(),
        "severity" => vec![event.severity.to_string()],
        "confidence" => vec![event.confidence.to_string()],
        "latency_ms" => vec![event.latency_ms.to_string()],
        "metadata" => vec![Value::Object(event.metadata.clone()).to_string()],
        _ => {
            let key = field.strip_prefix("metadata.").unwrap_or(field);
            in_metadata(&event.metadata, key).map(texts_of_value).unwrap_or_default()
        }
    }
}

/// The value under `key`: as it stands, or else along its dots.
fn in_metadata<'a>(metadata: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(value) = metadata.get(key) {
        return Some(value);
    }
    key.char_indices().filter(|(_, c)| *c == '.').find_map(|(at, _)| {
        match metadata.get(&key[..at])? {
            Value::Object(inner) => in_metadata(inner, &key[at + 1..]),
            _ => None,
        }
    })
}

fn texts_of_value(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts_of_value).collect(),
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> SafetyEvent {
        SafetyEvent::from_json(json!({
            "timestamp": "2026-03-01T12:30:00Z", "policy_name": "pii=policy", "action": "block",
            "categories": ["pii", "email"], "confidence": 0.5, "reason": "found an SSN",
            "metadata": {"rule": 7, "a.b": "flat", "x": {"y": {"z": true}}, "none": null}
        }))
        .unwrap()
    }

    #[test]
    fn filters_hold_or_not() {
        for (filter, expected) in [
            ("action=block", true),
            ("action==BLOCK", true),
            ("action!=block", false),
            ("action=Denied", true),
            ("action!=allowed", true),
            ("action~lock", true),
            ("direction=Request", true),
            ("severity=NONE", true),
            ("policy_name=pii=policy", true),
            ("policy_name~=", true),
            ("reason~SSN", true),
            ("reason~ssn", false),
            ("categories=email", true),
            ("categories!=email", false),
            ("categories=phone", false),
            ("confidence=0.50", true),
            ("timestamp=2026-03-01T13:30:00+01:00", true),
            ("metadata.rule=7", true),
            ("metadata.rule=7.0", true),
            ("metadata.a.b=flat", true),
            ("metadata.x.y.z=true", true),
            ("metadata.none=", true),
            ("metadata.absent!=1", true),
            ("user_id=", true),
            ("user_id!=", false),
            ("user_id~a", false),
            ("metadata~flat", true),
        ] {
            let parsed: Filter = filter.parse().unwrap();
            assert_eq!(parsed.matches(&event()), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_what_would_be() {
        for (filter, hint) in [
            ("acton=block", "did you mean 'action'?"),
            ("action=blok", "did you mean \"block\"?"),
            ("direction!=sideways", "one of input, output"),
            ("block", "field=value"),
            ("metadata.=1", "did you mean 'metadata'?"),
            ("=x", "one of event_id"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err();
            assert!(error.contains(hint), "{filter}: {error}");
        }
    }
}
