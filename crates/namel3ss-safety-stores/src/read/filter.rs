//! Which events to show: `field=value`, `field!=value`, `field~substring`.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety::{Direction, FIELDS, SafetyAction, SafetyEvent, Timestamp};
use serde_json::{Map, Value};

use super::batch::{Columns, metadata_of};
use super::error::ScanError;

/// Which events are wanted: those for which all of its conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    field: String,
    op: Op,
    value: String,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// `field=value`
    Is,
    /// `field!=value`
    IsNot,
    /// `field~substring`
    Contains,
}

impl FromStr for Condition {
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

impl FromStr for Filter {
    type Err = String;

    /// Of one condition.
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(|condition| Self(vec![condition]))
    }
}

impl FromIterator<Condition> for Filter {
    fn from_iter<I: IntoIterator<Item = Condition>>(conditions: I) -> Self {
        Self(conditions.into_iter().collect())
    }
}

/// A word of the table as events have it: `Blocked` is `block`.
fn word<T: FromStr<Err: Display> + Display>(word: &str) -> Result<String, String> {
    match word.parse::<T>() {
        Ok(known) => Ok(known.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether `name` is one of the 17 fields, or `metadata.` and a key.
///
/// # Errors
/// Says which field may have been meant.
pub fn check_field(name: &str) -> Result<(), String> {
    let in_metadata = name.strip_prefix("metadata.").is_some_and(|key| !key.is_empty());
    if FIELDS.contains(&name) || in_metadata {
        return Ok(());
    }
    let hint = match nearest(name, FIELDS) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("it is one of {}, or metadata.KEY", FIELDS.join(", ")),
    };
    Err(format!("there is no field '{name}': {hint}"))
}

impl Filter {
    /// Its conditions, all of which must hold.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether the event is wanted. A field without a value equals the empty text.
    #[must_use]
    pub fn matches(&self, event: &SafetyEvent) -> bool {
        self.0.iter().all(|condition| condition.holds(&texts_of(event, &condition.field)))
    }

    /// The columns that it looks at.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.0.iter().fold(Columns::none(), |all, condition| all | condition.column())
    }

    /// Which rows of a batch are wanted: as [`Self::matches`] says of their events.
    ///
    /// # Errors
    /// If the batch lacks a column that it looks at.
    pub fn select(&self, batch: &RecordBatch) -> Result<BooleanArray, ScanError> {
        let mut wanted = vec![true; batch.num_rows()];
        for condition in &self.0 {
            condition.select(batch, &mut wanted)?;
        }
        Ok(wanted.into())
    }
}

impl Condition {
    /// The field: one of the 17, or `metadata.` and a key.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// With what; of `action` and `direction` a word as events have it, unless for [`Op::Contains`].
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The texts that an event has in the field: none where it has no value, several for `categories`.
    #[must_use]
    pub fn texts(&self, event: &SafetyEvent) -> Vec<String> {
        texts_of(event, &self.field)
    }

    /// The name of the column that it looks at.
    #[must_use]
    pub fn column_name(&self) -> &str {
        if FIELDS.contains(&self.field.as_str()) { &self.field } else { "metadata" }
    }

    fn column(&self) -> Columns {
        Columns::only([self.column_name()])
    }

    fn holds<T: AsRef<str>>(&self, texts: &[T]) -> bool {
        match self.op {
            Op::Is => self.is_any(texts),
            Op::IsNot => !self.is_any(texts),
            Op::Contains => texts.iter().any(|text| text.as_ref().contains(self.value.as_str())),
        }
    }

    fn is_any<T: AsRef<str>>(&self, texts: &[T]) -> bool {
        if texts.is_empty() {
            return self.value.is_empty();
        }
        texts.iter().any(|text| self.is(text.as_ref()))
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
            field if is_numeric(field) => match (text.parse::<f64>(), self.value.parse::<f64>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => false,
            },
            _ => false,
        }
    }

    /// Takes the rows for which it does not hold out of `wanted`.
    fn select(&self, batch: &RecordBatch, wanted: &mut [bool]) -> Result<(), ScanError> {
        let name = self.column_name();
        let column = batch.column_by_name(name).ok_or_else(|| {
            ScanError::Failed(format!("filter the rows: the batch has no column {name}"))
        })?;
        match column.data_type() {
            DataType::Dictionary(..) => {
                let column = column.as_dictionary::<Int32Type>();
                let words = column.values().as_string::<i32>();
                let holds: Vec<bool> =
                    words.iter().map(|word| self.holds(word.as_slice())).collect();
                let absent = self.holds::<&str>(&[]);
                let keys = column.keys();
                for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
                    let word = keys.is_valid(row).then(|| usize::try_from(keys.value(row)).ok());
                    let word = word.flatten().filter(|word| words.is_valid(*word));
                    *wanted = word.map_or(absent, |word| holds[word]);
                }
            }
            DataType::Utf8 if name == "metadata" => {
                let texts = column.as_string::<i32>();
                for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
                    let text = texts.is_valid(row).then(|| texts.value(row));
                    *wanted = self.holds(&texts_in(&metadata_of(text), &self.field));
                }
            }
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                let absent = self.holds::<&str>(&[]);
                for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
                    *wanted = match texts.is_valid(row) {
                        true => self.holds(&[texts.value(row)]),
                        false => absent,
                    };
                }
            }
            DataType::Timestamp(..) => self.select_moments(column, wanted),
            DataType::Float64 => self.select_numbers(column, wanted),
            _ => {
                let lists = column.as_list::<i32>();
                for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
                    let list = lists.value(row);
                    let texts = list.as_string_opt::<i32>();
                    let texts: Vec<&str> =
                        texts.into_iter().flatten().map(Option::unwrap_or_default).collect();
                    *wanted = self.holds(&texts);
                }
            }
        }
        Ok(())
    }

    fn select_moments(&self, column: &ArrayRef, wanted: &mut [bool]) {
        let moments = column.as_primitive::<TimestampMicrosecondType>();
        let same = self.value.parse::<Timestamp>().ok();
        for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
            let moment = Timestamp::from_micros(moments.value(row));
            // The text of any other moment names the same one again, so that it need not be made.
            let is_plain = (0..=LAST_PLAIN_MICROS).contains(&moment.micros());
            *wanted = match (self.op, same) {
                (Op::Is, Some(same)) if is_plain => moment == same,
                (Op::IsNot, Some(same)) if is_plain => moment != same,
                _ => self.holds(&[moment.to_string()]),
            };
        }
    }

    fn select_numbers(&self, column: &ArrayRef, wanted: &mut [bool]) {
        let numbers = column.as_primitive::<Float64Type>();
        let same = self.value.parse::<f64>().ok().filter(|number| !number.is_nan());
        for (row, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
            let number = numbers.value(row);
            *wanted = match (self.op, same) {
                #[expect(clippy::float_cmp, reason = "as its texts compare")]
                (Op::Is, Some(same)) => number == same,
                #[expect(clippy::float_cmp, reason = "as its texts compare")]
                (Op::IsNot, Some(same)) => number != same,
                _ => self.holds(&[number.to_string()]),
            };
        }
    }
}

/// The last moment of the year 9999.
const LAST_PLAIN_MICROS: i64 = 253_402_300_799_999_999;

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
        _ => texts_in(&event.metadata, field).into_iter().map(Cow::into_owned).collect(),
    }
}

/// The texts under a field `metadata` or `metadata.KEY`.
fn texts_in<'m>(metadata: &'m Map<String, Value>, field: &str) -> Vec<Cow<'m, str>> {
    if field == "metadata" {
        return vec![serde_json::to_string(metadata).unwrap_or_default().into()];
    }
    let key = field.strip_prefix("metadata.").unwrap_or(field);
    in_metadata(metadata, key).map(texts_of_value).unwrap_or_default()
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

fn texts_of_value(value: &Value) -> Vec<Cow<'_, str>> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.as_str().into()],
        Value::Array(items) => items.iter().flat_map(texts_of_value).collect(),
        other => vec![other.to_string().into()],
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
