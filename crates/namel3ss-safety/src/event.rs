//! The record: what one guardrail decided about one input or output of a model.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::id::new_event_id;

/// The names of a row's 17 fields, in the order in which every dataset stores them.
pub const FIELDS: [&str; 17] = [
    "event_id",
    "timestamp",
    "app_name",
    "chain_name",
    "agent_name",
    "policy_name",
    "reason",
    "trace_id",
    "session_id",
    "user_id",
    "direction",
    "action",
    "categories",
    "severity",
    "confidence",
    "latency_ms",
    "metadata",
];

/// What a word was not one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    what: &'static str,
    word: String,
    known: &'static [&'static str],
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word: String = self.word.chars().take(40).collect();
        write!(f, "read {} {word:?}", self.what)?;
        match crate::nearest::nearest(&self.word, self.known.iter().copied()) {
            Some(near) => write!(f, ": did you mean {near:?}?"),
            None => write!(f, ": it is one of {}", self.known.join(", ")),
        }
    }
}

impl std::error::Error for UnknownWord {}

/// A word enum: its variants, their words and their bytes in the journal's payload.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal: $($(#[$vmeta:meta])* $variant:ident = $code:literal $word:literal),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that datasets store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(crate) const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            pub(crate) const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { what: $what, word: word.to_owned(), known: Self::WORDS }),
                }
            }
        }
    };
}

words! {
    /// What the guardrail did.
    #[derive(Default)]
    SafetyAction, "action":
    /// Let it pass.
    #[default]
    Allow = 0 "allow",
    /// Refused it.
    Block = 1 "block",
    /// Let it pass without the offending part.
    Redact = 2 "redact",
    /// Let it pass and told somebody.
    Alert = 3 "alert",
}

words! {
    /// Which way the text was going.
    #[derive(Default)]
    Direction, "direction":
    /// Into the model.
    #[default]
    Input = 0 "input",
    /// Out of the model.
    Output = 1 "output",
}

/// How bad it was: one of five known words, or the app's own.
///
/// ```
/// use namel3ss_safety::Severity;
/// assert_eq!(Severity::from("high"), Severity::High);
/// assert_eq!(Severity::from("sev-2").as_str(), "sev-2");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing was found.
    #[default]
    None,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `critical`
    Critical,
    /// A word of the app's own.
    Other(String),
}

impl Severity {
    /// The word that datasets store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for Severity {
    fn from(word: &str) -> Self {
        match word {
            "none" => Self::None,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "critical" => Self::Critical,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One decision of one guardrail.
///
/// ```
/// use namel3ss_safety::{SafetyAction, SafetyEvent};
/// let event = SafetyEvent {
///     policy_name: Some("pii_policy".into()),
///     action: SafetyAction::Redact,
///     latency_ms: 10.5,
///     ..SafetyEvent::default()
/// };
/// assert_eq!(event.confidence, 1.0);
/// assert_eq!(event.event_id.len(), 36); // a new UUIDv7
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyEvent {
    /// The app's name for this event; a new UUIDv7 by default. It need not be unique: events are
    /// told apart by journal and seq.
    pub event_id: String,
    /// When the decision was made.
    pub timestamp: Timestamp,
    /// Which application.
    pub app_name: Option<String>,
    /// Which chain in it.
    pub chain_name: Option<String>,
    /// Which agent in it.
    pub agent_name: Option<String>,
    /// Which policy decided.
    pub policy_name: Option<String>,
    /// Why, in words.
    pub reason: Option<String>,
    /// The trace the decision belongs to.
    pub trace_id: Option<String>,
    /// The session the decision belongs to.
    pub session_id: Option<String>,
    /// Whose text it was.
    pub user_id: Option<String>,
    /// Which way the text was going.
    pub direction: Direction,
    /// What was done.
    pub action: SafetyAction,
    /// What was found.
    pub categories: Vec<String>,
    /// How bad it was.
    pub severity: Severity,
    /// How sure the guardrail was; by convention 0 to 1.
    pub confidence: f64,
    /// What the check cost, in milliseconds.
    pub latency_ms: f64,
    /// Anything else, as JSON.
    pub metadata: Map<String, Value>,
}

impl Default for SafetyEvent {
    /// Now, `allow`, `input`, with a new id.
    fn default() -> Self {
        Self {
            event_id: new_event_id(),
            timestamp: Timestamp::now(),
            app_name: None,
            chain_name: None,
            agent_name: None,
            policy_name: None,
            reason: None,
            trace_id: None,
            session_id: None,
            user_id: None,
            direction: Direction::Input,
            action: SafetyAction::Allow,
            categories: Vec::new(),
            severity: Severity::None,
            confidence: 1.0,
            latency_ms: 0.0,
            metadata: Map::new(),
        }
    }
}

/// Why a JSON object is no safety event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FromJsonError {
    /// The value is not an object.
    NotAnObject,
    /// A field holds something else than it should.
    Field {
        /// Which field.
        field: &'static str,
        /// What it takes.
        wants: Cow<'static, str>,
    },
}

impl fmt::Display for FromJsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("read an event: a row is a JSON object"),
            Self::Field { field, wants } => write!(f, "read field {field}: it takes {wants}"),
        }
    }
}

impl std::error::Error for FromJsonError {}

impl SafetyEvent {
    /// Reads a row as [`crate::Row::write_json`] writes it, or as a person would: every field may
    /// be missing or null, and a field that is none of the 17 goes to `metadata`.
    ///
    /// # Errors
    /// Says which field holds what it can't.
    ///
    /// ```
    /// use namel3ss_safety::{SafetyAction, SafetyEvent};
    /// let value = serde_json::json!({"action": "block", "rule": 7});
    /// let event = SafetyEvent::from_json(value).unwrap();
    /// assert_eq!(event.action, SafetyAction::Block);
    /// assert_eq!(event.metadata["rule"], 7);
    /// ```
    pub fn from_json(value: Value) -> Result<Self, FromJsonError> {
        let Value::Object(fields) = value else { return Err(FromJsonError::NotAnObject) };
        let mut event = Self::default();
        let mut extra = Map::new();
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            match name.as_str() {
                "event_id" => event.event_id = text("event_id", value)?,
                "timestamp" => event.timestamp = timestamp(value)?,
                "app_name" => event.app_name = Some(text("app_name", value)?),
                "chain_name" => event.chain_name = Some(text("chain_name", value)?),
                "agent_name" => event.agent_name = Some(text("agent_name", value)?),
                "policy_name" => event.policy_name = Some(text("policy_name", value)?),
                "reason" => event.reason = Some(text("reason", value)?),
                "trace_id" => event.trace_id = Some(text("trace_id", value)?),
                "session_id" => event.session_id = Some(text("session_id", value)?),
                "user_id" => event.user_id = Some(text("user_id", value)?),
                "direction" => event.direction = word("direction", value)?,
                "action" => event.action = word("action", value)?,
                "categories" => event.categories = categories(value)?,
                "severity" => event.severity = Severity::from(text("severity", value)?.as_str()),
                "confidence" => event.confidence = number("confidence", value)?,
                "latency_ms" => event.latency_ms = number("latency_ms", value)?,
                "metadata" => event.metadata = metadata(value)?,
                _ => {
                    extra.insert(name, value);
                }
            }
        }
        for (name, value) in extra {
            event.metadata.entry(name).or_insert(value);
        }
        Ok(event)
    }
}

fn wrong(field: &'static str, wants: impl Into<Cow<'static, str>>) -> FromJsonError {
    FromJsonError::Field { field, wants: wants.into() }
}

fn text(field: &'static str, value: Value) -> Result<String, FromJsonError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(n) => Ok(n.to_string()),
        Value::Bool(b) => Ok(b.to_string()),
        _ => Err(wrong(field, "text")),
    }
}

fn word<T: FromStr<Err = UnknownWord>>(
    field: &'static str,
    value: Value,
) -> Result<T, FromJsonError> {
    let word = text(field, value)?;
    let lower = word.to_ascii_lowercase();
    lower.parse().map_err(|e: UnknownWord| wrong(field, format!("one of its words ({e})")))
}

/// ISO 8601, or seconds since 1970 as a number.
fn timestamp(value: Value) -> Result<Timestamp, FromJsonError> {
    let wants = "ISO 8601 text, or seconds since 1970 as a number";
    match value {
        Value::String(text) => text.parse().map_err(|_| wrong("timestamp", wants)),
        Value::Number(n) => {
            let seconds = n.as_f64().ok_or_else(|| wrong("timestamp", wants))?;
            // Saturates at the ends of i64, which is what a nonsense number deserves.
            #[expect(clippy::cast_possible_truncation, reason = "saturates by intent")]
            Ok(Timestamp::from_micros((seconds * 1e6).round() as i64))
        }
        _ => Err(wrong("timestamp", wants)),
    }
}

/// A number, or the text forms that JSON lacks: `NaN`, `Infinity`, `-Infinity`.
fn number(field: &'static str, value: Value) -> Result<f64, FromJsonError> {
    match value {
        Value::Number(n) => n.as_f64().ok_or_else(|| wrong(field, "a number")),
        Value::String(text) => text.trim().parse().map_err(|_| wrong(field, "a number")),
        _ => Err(wrong(field, "a number")),
    }
}

/// A list of texts, or one text that holds such a list as JSON, as CSV and SQL columns do.
fn categories(value: Value) -> Result<Vec<String>, FromJsonError> {
    match value {
        Value::Array(items) => items.into_iter().map(|item| text("categories", item)).collect(),
        Value::String(one) if one.is_empty() => Ok(Vec::new()),
        Value::String(one) if one.starts_with('[') => match serde_json::from_str(&one) {
            Ok(list @ Value::Array(_)) => categories(list),
            _ => Ok(vec![one]),
        },
        Value::String(one) => Ok(vec![one]),
        _ => Err(wrong("categories", "a list of texts")),
    }
}

/// An object, or one text that holds an object as JSON, as CSV and SQL columns do.
fn metadata(value: Value) -> Result<Map<String, Value>, FromJsonError> {
    match value {
        Value::Object(map) => Ok(map),
        Value::String(text) if text.is_empty() => Ok(Map::new()),
        Value::String(text) => {
            serde_json::from_str(&text).map_err(|_| wrong("metadata", "a JSON object"))
        }
        _ => Err(wrong("metadata", "a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_misspelt_action_is_answered_with_the_nearest() {
        let error = SafetyEvent::from_json(json!({"action": "blok"})).unwrap_err().to_string();
        assert!(error.contains("did you mean \"block\"?"), "{error}");
    }

    #[test]
    fn nothing_is_required_and_nothing_is_lost() {
        let event = SafetyEvent::from_json(json!({
            "timestamp": 1_767_225_600.25, "categories": "[\"a\",\"b\"]", "metadata": "{\"k\":1}",
            "confidence": "NaN", "extra": [1], "policy_name": null
        }))
        .unwrap();
        assert_eq!(event.timestamp.to_string(), "2026-01-01T00:00:00.250000Z");
        assert_eq!(event.categories, ["a", "b"]);
        assert!(event.confidence.is_nan());
        assert_eq!(Value::Object(event.metadata), json!({"k": 1, "extra": [1]}));
        assert_eq!(event.policy_name, None);
    }
}
