//! The record: what one guardrail decided about one input or output of a model.

use std::fmt;

use serde_json::{Map, Number, Value};

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
    pub(crate) what: &'static str,
    pub(crate) word: String,
    pub(crate) known: &'static [&'static str],
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
    ($(#[$meta:meta])* $name:ident: $($(#[$vmeta:meta])* $variant:ident = $code:literal $word:literal),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

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
    };
}

words! {
    /// What the guardrail did.
    ///
    /// It is read without regard to case and surrounding space; `-` and a space within a word count
    /// as `_`:
    ///
    /// | action | words |
    /// | --- | --- |
    /// | `allow` | allow, allowed, pass, passed, ok, safe, none, permit, permitted, proceed, approve, approved |
    /// | `block` | block, blocked, deny, denied, reject, rejected, refuse, refused, intervened, guardrail_intervened, filtered, stop, stopped, forbidden |
    /// | `redact` | redact, redacted, mask, masked, anonymize, anonymized, transform, transformed, replace, replaced, sanitize, sanitized (both also with s), scrub, scrubbed, modify, modified |
    /// | `alert` | alert, flag, flagged, warn, warned, warning, review, escalate, escalated, audit, observe, observed, detect, detected, ask, require_approval, quarantine, quarantined |
    /// | monitored | would_block (`block`), would_mask, would_redact (`redact`) |
    /// | no decision | not_run, not_evaluated, not_executed, not_checked, not_applicable, not_configured, not_enabled, skip, skipped, disabled |
    ///
    /// It has no default: an action that is missing or can't be read must not become `allow`.
    ///
    /// ```compile_fail,E0277
    /// let action: namel3ss_safety::SafetyAction = "Blockd".parse().unwrap_or_default();
    /// ```
    SafetyAction:
    /// Let it pass.
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
    Direction:
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

/// Why a JSON value is no safety event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read an event: a row is a JSON object")
    }
}

impl std::error::Error for NotAnObject {}

impl SafetyEvent {
    /// The text passed `policy`. As every constructor it fills in the policy's name and the action, and
    /// leaves the rest as [`default`](Self::default) does: a new id, now, direction `input`, severity
    /// `none`, confidence 1, everything else empty.
    ///
    /// ```
    /// use namel3ss_safety::{SafetyAction, SafetyEvent, Severity};
    /// let event = SafetyEvent { severity: Severity::High, ..SafetyEvent::block("jailbreak") };
    /// assert_eq!(event.action, SafetyAction::Block);
    /// assert_eq!(event.policy_name.as_deref(), Some("jailbreak"));
    /// ```
    #[must_use]
    pub fn allow(policy: impl Into<String>) -> Self {
        Self::decided(SafetyAction::Allow, policy.into())
    }

    /// `policy` refused the text; see [`allow`](Self::allow) for what is filled in.
    #[must_use]
    pub fn block(policy: impl Into<String>) -> Self {
        Self::decided(SafetyAction::Block, policy.into())
    }

    /// `policy` took something out of the text; see [`allow`](Self::allow) for what is filled in.
    #[must_use]
    pub fn redact(policy: impl Into<String>) -> Self {
        Self::decided(SafetyAction::Redact, policy.into())
    }

    /// `policy` let the text pass and reported it; see [`allow`](Self::allow) for what is filled in.
    #[must_use]
    pub fn alert(policy: impl Into<String>) -> Self {
        Self::decided(SafetyAction::Alert, policy.into())
    }

    fn decided(action: SafetyAction, policy: String) -> Self {
        Self { action, policy_name: Some(policy), ..Self::default() }
    }

    /// The 17 fields as a JSON object, as a dataset stores them; [`from_json`](Self::from_json) reads
    /// it back. Numbers that JSON does not know are the texts `NaN`, `Infinity` and `-Infinity`.
    ///
    /// ```
    /// use namel3ss_safety::SafetyEvent;
    /// let event = SafetyEvent::redact("pii");
    /// let json = event.to_json();
    /// assert_eq!((&json["action"], &json["policy_name"]), (&"redact".into(), &"pii".into()));
    /// assert_eq!(SafetyEvent::from_json(json).unwrap(), event);
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Value {
        let number = |n: f64| {
            Number::from_f64(n)
                .map_or_else(|| Value::from(crate::json::non_finite(n)), Value::Number)
        };
        // In the order of `FIELDS`.
        let values: [Value; 17] = [
            self.event_id.as_str().into(),
            self.timestamp.to_string().into(),
            self.app_name.as_deref().into(),
            self.chain_name.as_deref().into(),
            self.agent_name.as_deref().into(),
            self.policy_name.as_deref().into(),
            self.reason.as_deref().into(),
            self.trace_id.as_deref().into(),
            self.session_id.as_deref().into(),
            self.user_id.as_deref().into(),
            self.direction.as_str().into(),
            self.action.as_str().into(),
            self.categories.as_slice().into(),
            self.severity.as_str().into(),
            number(self.confidence),
            number(self.latency_ms),
            Value::Object(self.metadata.clone()),
        ];
        FIELDS.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// As [`SafetyEvent::to_json`].
#[cfg(feature = "serde")]
impl serde_core::Serialize for SafetyEvent {
    fn serialize<S: serde_core::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}
