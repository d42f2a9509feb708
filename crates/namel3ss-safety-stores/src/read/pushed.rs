//! The part of a scan that a database decides: a condition in SQL that holds for every row which the scan
//! wants, and perhaps for others.
//!
//! A row's event is not what its columns hold: others write words in their own spelling, a value that a
//! server can't hold stands beside its column, a table may lack columns. So each condition here lets every
//! row pass whose columns don't say for sure that it is not wanted, and what no column can say
//! is not asked. The reader filters exactly what comes.

use namel3ss_safety::{Direction, FIELDS, SafetyAction, SafetyEvent, Severity, Timestamp};

use super::filter::{Condition, Filter, Op};
use super::scan::Scan;

/// How a column holds a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As text.
    Text,
    /// As a double.
    Number,
    /// As a moment.
    Moment,
    /// As an array of texts.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "no other server has them"))]
    Texts,
    /// As JSON, whose texts may have escapes.
    Json,
}

/// A value that is bound to a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "no server needs them"))]
    Bytes(Vec<u8>),
    Number(f64),
    Micros(i64),
}

/// A statement's values, in the order of their places.
#[derive(Debug)]
pub(crate) struct Values {
    place: fn(usize) -> String,
    values: Vec<Value>,
}

impl Values {
    /// With what stands in the statement for the value of a number, from 1.
    pub(crate) fn new(place: fn(usize) -> String) -> Self {
        Self { place, values: Vec::new() }
    }

    /// The place of a further value. It may stand in the statement once, behind all places before it.
    pub(crate) fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        (self.place)(self.values.len())
    }

    pub(crate) fn text(&mut self, text: &str) -> String {
        self.bind(Value::Text(text.to_owned()))
    }

    pub(crate) fn into_inner(self) -> Vec<Value> {
        self.values
    }
}

/// A table, and how its database compares. Each condition holds also where the column does not say for sure
/// what the event has.
pub(crate) trait Table {
    /// How the column of a field's own name holds it; `None` where there is none, and for a type that can't
    /// be compared for sure.
    fn form(&self, field: &str) -> Option<Form>;

    /// Whether it has no columns but ours, so that a row's metadata are what stands in theirs.
    fn is_ours(&self) -> bool;

    /// A text as a column would hold it; `None` where that is not for sure.
    fn fitted(&self, text: &str) -> Option<String>;

    /// The field is this text.
    fn is_text(&self, field: &str, text: &str, values: &mut Values) -> String;

    /// The field's text holds this one, which is not empty.
    fn contains(&self, field: &str, text: &str, values: &mut Values) -> String;

    /// The field, which is JSON, holds this text, which has the same form in any JSON without escapes.
    fn json_contains(&self, field: &str, text: &str, values: &mut Values) -> String;

    /// The field, an array, has this text as an element, or as part of one.
    fn has_element(&self, field: &str, text: &str, whole: bool, values: &mut Values) -> String;

    /// The field is none of these words, each of which stands for itself, or it is null.
    fn is_none_of(&self, field: &str, words: &[&str]) -> String;

    /// The field is this finite number.
    fn is_number(&self, field: &str, number: f64, values: &mut Values) -> String;

    /// The event is of this moment or later, and before the other; `None` where that says nothing.
    fn is_in_time(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        values: &mut Values,
    ) -> Option<String>;
}

/// That what is compared as `compared` in SQL is none of `words`, or is null.
pub(crate) fn none_of(compared: &str, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("({compared} NOT IN ({}) OR {compared} IS NULL)", words.join(", "))
}

/// The conditions that `scan` puts to the rows of `table`, all of which must hold.
pub(crate) fn conditions(scan: &Scan, table: &dyn Table, values: &mut Values) -> Vec<String> {
    let mut all = Vec::new();
    if scan.from.is_some() || scan.to.is_some() {
        all.extend(in_time(scan.from, scan.to, table, values));
    }
    for condition in scan.filter.conditions() {
        all.extend(one(condition, table, values));
    }
    all
}

fn in_time(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    table: &dyn Table,
    values: &mut Values,
) -> Option<String> {
    (table.form("timestamp")? == Form::Moment).then(|| table.is_in_time(from, to, values))?
}

fn one(condition: &Condition, table: &dyn Table, values: &mut Values) -> Option<String> {
    let (field, op, value) = (condition.field(), condition.op(), condition.value());
    if let Some(key) = field.strip_prefix("metadata.") {
        return metadata(key, op, value, table, values);
    }
    let form = table.form(field)?;
    match (field, form) {
        ("action" | "direction" | "severity", Form::Text) => words(condition, table),
        ("timestamp", _) if op == Op::Is => {
            let from: Timestamp = value.parse().ok()?;
            let to = from.micros().checked_add(1).map(Timestamp::from_micros);
            in_time(Some(from), to, table, values)
        }
        ("confidence" | "latency_ms", Form::Number) if op == Op::Is => {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite())?;
            Some(table.is_number(field, number, values))
        }
        // What the empty text is equal to, and is in, is nearly everything.
        (_, _) if value.is_empty() || op == Op::IsNot => None,
        ("categories", Form::Texts) => {
            Some(table.has_element(field, &table.fitted(value)?, op == Op::Is, values))
        }
        ("categories", Form::Text | Form::Json) if stands_in_json(value) => {
            Some(table.json_contains(field, &table.fitted(value)?, values))
        }
        (
            "event_id" | "app_name" | "chain_name" | "agent_name" | "policy_name" | "reason"
            | "trace_id" | "session_id" | "user_id",
            Form::Text,
        ) => {
            let text = table.fitted(value)?;
            Some(match op {
                Op::Contains => table.contains(field, &text, values),
                _ => table.is_text(field, &text, values),
            })
        }
        _ => None,
    }
}

/// The events that have one of our own words have it for sure: which of them are not wanted the filter says
/// itself. Any other word may mean anything.
fn words(condition: &Condition, table: &dyn Table) -> Option<String> {
    let filter: Filter = [condition.clone()].into_iter().collect();
    let unwanted = |events: Vec<(&'static str, SafetyEvent)>| -> Vec<&'static str> {
        let unwanted = events.into_iter().filter(|(_, event)| !filter.matches(event));
        unwanted.map(|(word, _)| word).collect()
    };
    let plain = SafetyEvent::default;
    let words = match condition.field() {
        "action" => unwanted(
            (SafetyAction::ALL.iter())
                .map(|action| (action.as_str(), SafetyEvent { action: *action, ..plain() }))
                .collect(),
        ),
        "direction" => unwanted(
            (Direction::ALL.iter())
                .map(|direction| {
                    (direction.as_str(), SafetyEvent { direction: *direction, ..plain() })
                })
                .collect(),
        ),
        _ => unwanted(
            ["none", "low", "medium", "high", "critical"]
                .map(|word| (word, SafetyEvent { severity: Severity::from(word), ..plain() }))
                .into(),
        ),
    };
    (!words.is_empty()).then(|| table.is_none_of(condition.field(), &words))
}

/// A value in the metadata, by its text alone.
fn metadata(
    key: &str,
    op: Op,
    value: &str,
    table: &dyn Table,
    values: &mut Values,
) -> Option<String> {
    let form = table.form("metadata")?;
    let may_be_asked = matches!(form, Form::Text | Form::Json) && table.is_ours();
    if !may_be_asked || op == Op::IsNot || comes_from_elsewhere(key) || !stands_in_json(value) {
        return None;
    }
    Some(table.json_contains("metadata", &table.fitted(value)?, values))
}

/// Whether what a row has under a key may come from another column: a value that does not fit its field is
/// kept in the metadata, and so is the mode of an action that was only watched.
fn comes_from_elsewhere(key: &str) -> bool {
    let mut key = key;
    while let Some(rest) = key.strip_prefix("row.") {
        key = rest;
    }
    let first = key.split('.').next().unwrap_or(key);
    FIELDS.contains(&first) || ["journal_id", "seq", "mode"].contains(&first)
}

/// Whether a text that is found in a value of JSON also stands in every text of that JSON, unless it has an
/// escape: it has nothing that would be escaped, that is between values, or that a number may be
/// written with.
fn stands_in_json(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !"\"\\{}[]:,".contains(c);
    let of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    !text.is_empty()
        && text.chars().all(is_plain)
        && !text.chars().all(of_number)
        && text.parse::<f64>().is_err()
}
