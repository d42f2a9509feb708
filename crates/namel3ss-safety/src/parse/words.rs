//! The table of words: actions, severities, directions, and the names of fields.

use std::str::FromStr;

use crate::event::{Direction, FIELDS, SafetyAction, Severity, UnknownWord};
use crate::nearest::{misspelling, nearest};

/// What the word of an action means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionWord {
    /// A decision.
    Decided(SafetyAction),
    /// A decision that was not enforced, such as `would_block`: it is stored with
    /// `metadata.mode = "monitor"`.
    Monitored(SafetyAction),
    /// No decision: the word says that no check ran, such as `skipped`. Where an app logs it as its
    /// action, the event is an alert.
    NoDecision,
    /// No word of the table: the event is an alert.
    Unknown,
}

impl ActionWord {
    /// The action that an event with this word has; the word belongs into `metadata` too where
    /// [`is_known`](Self::is_known) says false.
    #[must_use]
    pub const fn action(self) -> SafetyAction {
        match self {
            Self::Decided(action) | Self::Monitored(action) => action,
            Self::NoDecision | Self::Unknown => SafetyAction::Alert,
        }
    }

    /// Whether the word is an action's.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Decided(_) | Self::Monitored(_))
    }
}

/// The longest word of the table, and the room for it.
const WORD_BYTES_MAX: usize = 24;

/// What the word of an action means, without regard to case and surrounding space; `-` and a space
/// within a word count as `_`. The table is at [`SafetyAction`]; a monitored word is stored with
/// `metadata.mode = "monitor"`, and one that says that no check ran is no decision.
///
/// ```
/// use namel3ss_safety::SafetyAction;
/// use namel3ss_safety::internal::parse::{ActionWord, action};
/// assert_eq!(action(" Blocked "), ActionWord::Decided(SafetyAction::Block));
/// assert_eq!(action("would_mask"), ActionWord::Monitored(SafetyAction::Redact));
/// assert_eq!(action("skipped"), ActionWord::NoDecision);
/// assert_eq!(action("blok").action(), SafetyAction::Alert);
/// ```
#[must_use]
#[inline]
pub fn action(word: &str) -> ActionWord {
    match word {
        "allow" => ActionWord::Decided(SafetyAction::Allow),
        "block" => ActionWord::Decided(SafetyAction::Block),
        "redact" => ActionWord::Decided(SafetyAction::Redact),
        "alert" => ActionWord::Decided(SafetyAction::Alert),
        word => any_action(word),
    }
}

fn any_action(word: &str) -> ActionWord {
    use ActionWord::{Decided, Monitored, NoDecision, Unknown};
    use SafetyAction::{Alert, Allow, Block, Redact};
    let mut room = [0; WORD_BYTES_MAX];
    match folded(word, &mut room) {
        "allow" | "allowed" | "pass" | "passed" | "ok" | "safe" | "none" | "permit"
        | "permitted" | "proceed" | "approve" | "approved" => Decided(Allow),
        "block"
        | "blocked"
        | "deny"
        | "denied"
        | "reject"
        | "rejected"
        | "refuse"
        | "refused"
        | "intervened"
        | "guardrail_intervened"
        | "filtered"
        | "stop"
        | "stopped"
        | "forbidden" => Decided(Block),
        "redact" | "redacted" | "mask" | "masked" | "anonymize" | "anonymized" | "anonymise"
        | "anonymised" | "transform" | "transformed" | "replace" | "replaced" | "sanitize"
        | "sanitized" | "sanitise" | "sanitised" | "scrub" | "scrubbed" | "modify" | "modified" => {
            Decided(Redact)
        }
        "alert" | "flag" | "flagged" | "warn" | "warned" | "warning" | "review" | "escalate"
        | "escalated" | "audit" | "observe" | "observed" | "detect" | "detected" | "ask"
        | "require_approval" | "quarantine" | "quarantined" => Decided(Alert),
        "would_block" => Monitored(Block),
        "would_mask" | "would_redact" => Monitored(Redact),
        "not_run" | "not_evaluated" | "not_executed" | "not_checked" | "not_applicable"
        | "not_configured" | "not_enabled" | "skip" | "skipped" | "disabled" => NoDecision,
        _ => Unknown,
    }
}

/// The word as the table writes it: trimmed, in small letters, with `_` between its parts. Empty
/// where it is longer than any word of the table.
fn folded<'r>(word: &str, room: &'r mut [u8; WORD_BYTES_MAX]) -> &'r str {
    let word = word.trim();
    let Some(room) = room.get_mut(..word.len()) else { return "" };
    for (to, from) in room.iter_mut().zip(word.bytes()) {
        *to = match from {
            b'-' | b' ' => b'_',
            other => other.to_ascii_lowercase(),
        };
    }
    // It was text, and only ASCII was changed.
    std::str::from_utf8(room).unwrap_or_default()
}

/// The action that an unknown word is nearly.
pub(super) fn near_action(word: &str) -> Option<&'static str> {
    nearest(word.trim(), SafetyAction::ALL.iter().map(|action| action.as_str()))
}

/// A severity as it is stored: one of the five known words in small letters where it is one without
/// regard to case and surrounding space, else the app's own word, unchanged.
///
/// ```
/// use namel3ss_safety::internal::parse::severity;
/// assert_eq!(severity(" HIGH"), "high");
/// assert_eq!(severity("Sev-2"), "Sev-2");
/// ```
#[must_use]
#[inline]
pub fn severity(word: &str) -> &str {
    match word {
        "none" | "low" | "medium" | "high" | "critical" => word,
        word => any_severity(word),
    }
}

fn any_severity(word: &str) -> &str {
    let mut room = [0; WORD_BYTES_MAX];
    match folded(word, &mut room) {
        "none" => "none",
        "low" => "low",
        "medium" => "medium",
        "high" => "high",
        "critical" => "critical",
        _ => word,
    }
}

/// Which way a text was going, without regard to case and surrounding space: `input`, `request` or
/// `prompt`; `output`, `response` or `completion`. `None` for any other word.
#[must_use]
#[inline]
pub fn direction(word: &str) -> Option<Direction> {
    match word {
        "input" => Some(Direction::Input),
        "output" => Some(Direction::Output),
        word => {
            let mut room = [0; WORD_BYTES_MAX];
            match folded(word, &mut room) {
                "input" | "request" | "prompt" => Some(Direction::Input),
                "output" | "response" | "completion" => Some(Direction::Output),
                _ => None,
            }
        }
    }
}

/// The field that `key` names, without regard to case, `_`, `-` and space: its number in
/// [`FIELDS`].
///
/// ```
/// use namel3ss_safety::{FIELDS, internal::parse::field_of};
/// assert_eq!(field_of("policyName").map(|at| FIELDS[at]), Some("policy_name"));
/// assert_eq!(field_of("policy"), None);
/// ```
#[must_use]
pub fn field_of(key: &str) -> Option<usize> {
    FIELDS.iter().position(|field| *field == key).or_else(|| {
        let letters = |text: &'static str| text.bytes().filter(|b| *b != b'_');
        let trimmed = key.trim();
        let given = || {
            let part = |b: &u8| !matches!(b, b'_' | b'-' | b' ');
            trimmed.bytes().filter(part).map(|b| b.to_ascii_lowercase())
        };
        FIELDS.iter().position(|field| letters(field).eq(given()))
    })
}

/// The field whose name `key` nearly is, and is not: one letter is wrong, missing, too much, or two
/// are swapped; two such mistakes in a name of more than eight letters.
///
/// ```
/// use namel3ss_safety::internal::parse::misspelt_field;
/// assert_eq!(misspelt_field("actoin"), Some("action"));
/// assert_eq!(misspelt_field("duration"), None);
/// ```
#[must_use]
pub fn misspelt_field(key: &str) -> Option<&'static str> {
    if FIELDS.contains(&key) { None } else { misspelling(key, FIELDS) }
}

impl FromStr for SafetyAction {
    type Err = UnknownWord;

    /// By the table at [`SafetyAction`]. A word that says that no check ran is no action.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let parsed = action(word);
        if parsed.is_known() {
            return Ok(parsed.action());
        }
        Err(UnknownWord { what: "action", word: word.to_owned(), known: Self::WORDS })
    }
}

impl FromStr for Direction {
    type Err = UnknownWord;

    /// Without regard to case and surrounding space: `input`, `request` or `prompt`; `output`,
    /// `response` or `completion`.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        direction(word).ok_or_else(|| UnknownWord {
            what: "direction",
            word: word.to_owned(),
            known: Self::WORDS,
        })
    }
}

impl From<&str> for Severity {
    /// A known word without regard to case and surrounding space; any other as it is.
    fn from(word: &str) -> Self {
        match severity(word) {
            "none" => Self::None,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "critical" => Self::Critical,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SafetyAction::{Alert, Allow, Block, Redact};
    use proptest::prelude::*;

    /// Every word that may mean `allow`. Whoever adds one here decides that something passes.
    const ALLOW: [&str; 12] = [
        "allow",
        "allowed",
        "pass",
        "passed",
        "ok",
        "safe",
        "none",
        "permit",
        "permitted",
        "proceed",
        "approve",
        "approved",
    ];

    /// A gateway that said `blocked`, `deny` or `GUARDRAIL_INTERVENED` had its verdicts stored as
    /// `allow` by one reader, refused by another, and as `alert` by a third.
    #[test]
    fn every_alias_means_its_action() {
        let table: [(SafetyAction, &str); 4] = [
            (
                Allow,
                "allow allowed pass passed ok safe none permit permitted proceed approve approved",
            ),
            (
                Block,
                "block blocked deny denied reject rejected refuse refused intervened \
                     guardrail_intervened filtered stop stopped forbidden",
            ),
            (
                Redact,
                "redact redacted mask masked anonymize anonymized anonymise anonymised \
                      transform transformed replace replaced sanitize sanitized scrub scrubbed \
                      modify modified",
            ),
            (
                Alert,
                "alert flag flagged warn warned warning review escalate escalated audit observe \
                     observed detect detected ask require_approval quarantine quarantined",
            ),
        ];
        for (expected, words) in table {
            for word in words.split_whitespace() {
                let title = word[..1].to_uppercase() + &word[1..];
                for form in [word.to_owned(), word.to_uppercase(), format!("\t{title} \r\n")] {
                    assert_eq!(action(&form), ActionWord::Decided(expected), "{form:?}");
                    assert_eq!(form.parse(), Ok(expected), "{form:?}");
                }
            }
        }
        assert_eq!(action("Require Approval"), ActionWord::Decided(Alert));
        assert_eq!(action("guardrail-intervened"), ActionWord::Decided(Block));
    }

    #[test]
    fn what_was_only_seen_and_what_did_not_run_are_no_enforced_decisions() {
        for (word, expected) in [
            ("would_block", ActionWord::Monitored(Block)),
            ("WOULD_MASK", ActionWord::Monitored(Redact)),
            ("would-redact", ActionWord::Monitored(Redact)),
            ("not_run", ActionWord::NoDecision),
            ("Skipped", ActionWord::NoDecision),
            (" disabled", ActionWord::NoDecision),
            ("", ActionWord::Unknown),
            ("blok", ActionWord::Unknown),
            ("al low", ActionWord::Unknown),
            ("not safe", ActionWord::Unknown),
            ("not allowed", ActionWord::Unknown),
            ("allow allow allow allow allow", ActionWord::Unknown),
        ] {
            assert_eq!(action(word), expected, "{word:?}");
        }
        assert!("skipped".parse::<SafetyAction>().is_err());
        let error = "blok".parse::<SafetyAction>().unwrap_err().to_string();
        assert!(error.contains("did you mean \"block\"?"), "{error}");
    }

    #[test]
    fn severities_and_directions_are_read_in_any_case() {
        for (word, expected) in
            [("HIGH", "high"), ("Critical ", "critical"), ("Sev-2", "Sev-2"), ("", "")]
        {
            assert_eq!(severity(word), expected);
        }
        for (word, expected) in [
            ("INPUT", Some(Direction::Input)),
            ("request", Some(Direction::Input)),
            (" Prompt", Some(Direction::Input)),
            ("OUTPUT", Some(Direction::Output)),
            ("response", Some(Direction::Output)),
            ("Completion", Some(Direction::Output)),
            ("sideways", None),
            ("", None),
        ] {
            assert_eq!(direction(word), expected, "{word:?}");
        }
    }

    #[test]
    fn names_of_fields_are_known_and_misspelt_ones_are_told_from_other_names() {
        for (key, field) in [
            ("Action", Some("action")),
            ("policyName", Some("policy_name")),
            ("Policy-Name ", Some("policy_name")),
            ("TRACE ID", Some("trace_id")),
            ("actions", None),
            ("policy", None),
        ] {
            assert_eq!(field_of(key).map(|at| FIELDS[at]), field, "{key:?}");
        }
        for (key, field) in [
            ("actoin", Some("action")),
            ("acton", Some("action")),
            ("sevrity", Some("severity")),
            ("catgories", Some("categories")),
            ("polcy_nmae", Some("policy_name")),
            ("action", None),
            ("option", None),
            ("section", None),
            ("duration", None),
            ("violation_category", None),
            ("violation_severity", None),
            ("violation_confidence", None),
            ("model", None),
            ("rule", None),
            ("", None),
        ] {
            assert_eq!(misspelt_field(key), field, "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn no_other_word_ever_means_allow(word in "\\PC{0,30}|[a-zA-Z_ -]{0,12}") {
            let plain = word.trim().to_lowercase().replace(['-', ' '], "_");
            if action(&word).action() == Allow {
                prop_assert!(ALLOW.contains(&plain.as_str()), "{word:?}");
            }
        }

        #[test]
        fn one_mistake_in_any_word_never_makes_it_allow(
            at in 0_usize..200, letter in any::<char>(), with in 0_usize..12,
        ) {
            let known = "blocked denied rejected refused intervened filtered stopped forbidden \
                         redacted masked flagged warned insecure unallowed disallow disallowed";
            let words: Vec<&str> = known.split_whitespace().chain(ALLOW).collect();
            let mut word: Vec<char> = words[at % words.len()].chars().collect();
            word.insert(with % (word.len() + 1), letter);
            let word: String = word.into_iter().collect();
            let plain = word.trim().to_lowercase().replace(['-', ' '], "_");
            if action(&word).action() == Allow {
                prop_assert!(ALLOW.contains(&plain.as_str()), "{word:?}");
            }
        }
    }
}
