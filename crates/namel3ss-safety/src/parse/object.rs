//! An object's keys and values as the fields of an event.

use serde_json::{Map, Value};

use super::moment::moment;
use super::remark::{Parsed, Remark};
use super::words::near_action;
use super::words::{ActionWord, action, direction, field_of, misspelt_field};
use crate::event::{Direction, FIELDS, NotAnObject, SafetyEvent, Severity};

const METADATA: &str = "metadata";
/// How many characters of a misspelt key a remark shows.
const KEY_CHARS_MAX: usize = 40;

/// Reads an object as an app or another program wrote it: see [`SafetyEvent::from_json`], which gives
/// no remarks. A missing action is [`Remark::NoAction`].
///
/// ```
/// use namel3ss_safety::SafetyAction;
/// use namel3ss_safety::internal::parse::{Remark, object};
/// let serde_json::Value::Object(fields) = serde_json::json!({
///     "Action": "guardrail_intervened", "confidence": "HIGH", "rule": 7,
/// }) else { unreachable!() };
/// let parsed = object(fields);
/// assert_eq!(parsed.event.action, SafetyAction::Block);
/// assert_eq!(parsed.event.confidence, 1.0);
/// assert_eq!(parsed.event.metadata["confidence"], "HIGH");
/// assert_eq!(parsed.event.metadata["rule"], 7);
/// assert_eq!(parsed.remarks, [Remark::Misfit { field: "confidence" }]);
/// ```
#[must_use]
pub fn object(fields: Map<String, Value>) -> Parsed {
    let mut given = Given::default();
    let mut others = Map::new();
    for (key, value) in fields {
        match field_of(&key) {
            Some(at) => given.put(at, key, value, &mut others),
            None => {
                others.insert(key, value);
            }
        }
    }
    let mut reader = Reader::new(given.take(METADATA));
    for key in others.keys().filter(|key| field_of(key).is_none()) {
        reader.look_at_key(key);
    }
    reader.fields(given);
    for (key, value) in others {
        reader.keep(&key, value);
    }
    reader.done()
}

/// Reads a row of a dataset: as [`object`], but what the row has no column for is taken from its
/// `metadata`, where the datasets put it (under the field's name, or `row.` and the name where that
/// was taken). A column that is there and null is null; other columns that are null are left out.
#[must_use]
pub fn stored_row(mut row: Map<String, Value>) -> Parsed {
    let mut has_column = [false; FIELDS.len()];
    row.retain(|key, value| match field_of(key) {
        Some(at) => {
            has_column[at] = true;
            true
        }
        None => !value.is_null(),
    });
    if let Some(Value::Object(metadata)) = row.get_mut(METADATA) {
        let missing = FIELDS.into_iter().zip(has_column).filter(|(_, has)| !has);
        let found: Vec<_> = missing
            .filter_map(|(field, _)| Some((field.to_owned(), take_missing(metadata, field)?)))
            .collect();
        row.extend(found);
    }
    let mut parsed = object(row);
    // The columns of somebody's table are no mistakes in an event.
    parsed.remarks.retain(|remark| !matches!(remark, Remark::MisspeltField { .. }));
    parsed
}

/// Keeps a value in `metadata` beside what is there: under `key`, or with `row.` before it where that
/// is taken.
pub fn keep(metadata: &mut Map<String, Value>, key: &str, value: Value) {
    let mut key = key.to_owned();
    while metadata.contains_key(&key) {
        key.insert_str(0, "row.");
    }
    metadata.insert(key, value);
}

/// What [`take_missing`] takes.
pub(crate) fn find_missing<'m>(metadata: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    metadata.get(&format!("row.{name}")).or_else(|| metadata.get(name))
}

/// Takes out of a row's `metadata` what its dataset put there because the table has no column `name`:
/// the value under `row.` and the name, or under the name.
pub fn take_missing(metadata: &mut Map<String, Value>, name: &str) -> Option<Value> {
    metadata.remove(&format!("row.{name}")).or_else(|| metadata.remove(name))
}

/// The values of the fields that have one, by their numbers, each with its key.
#[derive(Default)]
struct Given([Option<(String, Value)>; FIELDS.len()]);

impl Given {
    /// The field's own name goes first, or else the first that is like it.
    fn put(&mut self, at: usize, key: String, value: Value, others: &mut Map<String, Value>) {
        let place = &mut self.0[at];
        let left = match place {
            Some(_) if key != FIELDS[at] => Some((key, value)),
            place => place.replace((key, value)),
        };
        others.extend(left);
    }

    fn take(&mut self, field: &str) -> Value {
        let at = FIELDS.iter().position(|known| *known == field);
        at.and_then(|at| self.0[at].take()).map_or(Value::Null, |(_, value)| value)
    }
}

struct Reader {
    event: SafetyEvent,
    remarks: Vec<Remark>,
}

impl Reader {
    fn new(metadata: Value) -> Self {
        let mut reader = Self { event: SafetyEvent::default(), remarks: Vec::new() };
        match Fitting::metadata(metadata) {
            Ok(metadata) => reader.event.metadata = metadata,
            Err(misfit) => reader.misfit(METADATA, misfit),
        }
        reader
    }

    fn look_at_key(&mut self, key: &str) {
        if let Some(field) = misspelt_field(key) {
            let key = key.chars().take(KEY_CHARS_MAX).collect();
            self.remarks.push(Remark::MisspeltField { key, field });
        }
    }

    fn fields(&mut self, mut given: Given) {
        self.action(given.take("action"));
        macro_rules! field {
            ($($name:ident: $fits:expr),+ $(,)?) => {$(
                match given.take(stringify!($name)) {
                    Value::Null => {}
                    value => match $fits(value) {
                        Ok(fits) => self.event.$name = fits,
                        Err(misfit) => self.misfit(stringify!($name), misfit),
                    },
                }
            )+};
        }
        let text = |value| Fitting::text(value).map(Some);
        field! {
            event_id: Fitting::text,
            timestamp: |value| moment(&value).ok_or(value),
            app_name: text,
            chain_name: text,
            agent_name: text,
            policy_name: text,
            reason: text,
            trace_id: text,
            session_id: text,
            user_id: text,
            direction: Fitting::direction,
            severity: |value| Fitting::text(value).map(|word| Severity::from(word.as_str())),
            confidence: Fitting::number,
            latency_ms: Fitting::number,
        }
        self.categories(given.take("categories"));
    }

    fn action(&mut self, value: Value) {
        let (word, remark) = match &value {
            Value::Null => (ActionWord::Unknown, Some(Remark::NoAction)),
            Value::String(text) if text.trim().is_empty() => {
                (ActionWord::Unknown, Some(Remark::NoAction))
            }
            Value::String(text) => match action(text) {
                ActionWord::NoDecision => (ActionWord::NoDecision, Some(Remark::NoDecision)),
                ActionWord::Unknown => {
                    let near = near_action(text);
                    (ActionWord::Unknown, Some(Remark::UnknownAction { near }))
                }
                known => (known, None),
            },
            _ => (ActionWord::Unknown, Some(Remark::UnknownAction { near: None })),
        };
        self.event.action = word.action();
        if let ActionWord::Monitored(_) = word {
            self.event.metadata.entry("mode").or_insert_with(|| "monitor".into());
        }
        if let Some(remark) = remark {
            self.remarks.push(remark);
            if !value.is_null() {
                self.keep("action", value);
            }
        }
    }

    fn categories(&mut self, value: Value) {
        let (categories, misfit) = Fitting::categories(value);
        self.event.categories = categories;
        if let Some(misfit) = misfit {
            self.misfit("categories", misfit);
        }
    }

    fn misfit(&mut self, field: &'static str, value: Value) {
        self.remarks.push(Remark::Misfit { field });
        self.keep(field, value);
    }

    fn keep(&mut self, key: &str, value: Value) {
        keep(&mut self.event.metadata, key, value);
    }

    fn done(self) -> Parsed {
        let Self { event, remarks } = self;
        Parsed { event, remarks }
    }
}

/// Values as their fields take them; an `Err` is a value that does not fit, as it was.
struct Fitting;

impl Fitting {
    fn text(value: Value) -> Result<String, Value> {
        match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(b) => Ok(b.to_string()),
            other => Err(other),
        }
    }

    fn number(value: Value) -> Result<f64, Value> {
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or(value)
    }

    fn direction(value: Value) -> Result<Direction, Value> {
        value.as_str().and_then(direction).ok_or(value)
    }

    fn metadata(value: Value) -> Result<Map<String, Value>, Value> {
        match value {
            Value::Null => Ok(Map::new()),
            Value::Object(map) => Ok(map),
            Value::String(text) if text.is_empty() => Ok(Map::new()),
            Value::String(text) => serde_json::from_str(&text).map_err(|_| Value::String(text)),
            other => Err(other),
        }
    }

    /// The categories, and the value where they do not say all of it.
    fn categories(value: Value) -> (Vec<String>, Option<Value>) {
        match value {
            Value::Null => (Vec::new(), None),
            Value::Array(items) => Self::list(items),
            Value::Object(flags) => Self::flags(flags),
            Value::String(text) => match (text.is_empty(), serde_json::from_str(&text)) {
                (true, _) => (Vec::new(), None),
                (_, Ok(Value::Array(items))) => Self::list(items),
                (_, Ok(Value::Object(flags))) => Self::flags(flags),
                _ => (vec![text], None),
            },
            other => (Vec::new(), Some(other)),
        }
    }

    fn list(items: Vec<Value>) -> (Vec<String>, Option<Value>) {
        let name = |item: &Value| match item {
            Value::Object(span) => ["category", "type", "label", "entity_type", "name"]
                .into_iter()
                .find_map(|key| span.get(key)?.as_str().map(str::to_owned)),
            other => Self::text(other.clone()).ok(),
        };
        let whole = |item: &Value| !matches!(item, Value::Array(_) | Value::Object(_));
        let categories = items.iter().filter_map(name).collect();
        let misfit = !items.iter().all(whole);
        (categories, misfit.then_some(Value::Array(items)))
    }

    fn flags(flags: Map<String, Value>) -> (Vec<String>, Option<Value>) {
        let is_true =
            |(key, flag): (&String, &Value)| (flag == &Value::Bool(true)).then(|| key.clone());
        let categories = flags.iter().filter_map(is_true).collect();
        let misfit = !flags.values().all(Value::is_boolean);
        (categories, misfit.then_some(Value::Object(flags)))
    }
}

impl SafetyEvent {
    /// Reads an object as an app or another program wrote it. Nothing is refused, and nothing becomes
    /// `allow` by accident.
    ///
    /// - Keys are compared without regard to case and separators (`policyName`); a key that is a
    ///   field's very name goes before one that is only like it.
    /// - A field that is missing or null has its default, but for `action`: the event is an `alert`
    ///   then.
    /// - What does not fit its field goes to `metadata` under the field's name. Text takes texts,
    ///   numbers and booleans; a number takes numbers and their texts, also `NaN`, `Infinity` and
    ///   `-Infinity`; `timestamp` takes the texts that [`Timestamp`](crate::Timestamp) reads, and
    ///   numbers of seconds, milliseconds, microseconds or nanoseconds since 1970.
    /// - `categories` takes a text, a list of texts or numbers, either also as JSON text, and an object
    ///   of booleans, whose true keys they are. Of an object in a list it takes the `category`, `type`,
    ///   `label`, `entity_type` or `name`, and the whole list is kept in `metadata` too.
    /// - `metadata` takes an object, or the JSON text of one.
    /// - Every other key goes to `metadata`. Where a name is taken there, `row.` and the name is used.
    ///
    /// # Errors
    /// If the value is no object.
    ///
    /// ```
    /// use namel3ss_safety::{SafetyAction, SafetyEvent};
    /// let value = serde_json::json!({"action": "Blocked", "rule": 7});
    /// let event = SafetyEvent::from_json(value).unwrap();
    /// assert_eq!(event.action, SafetyAction::Block);
    /// assert_eq!(event.metadata["rule"], 7);
    /// ```
    pub fn from_json(value: Value) -> Result<Self, NotAnObject> {
        match value {
            Value::Object(fields) => Ok(object(fields).event),
            _ => Err(NotAnObject),
        }
    }
}
