//! What was odd about an object that was read.

use std::fmt;

use crate::event::SafetyEvent;

/// An event, and what was odd about the object that it was read from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parsed {
    /// The event.
    pub event: SafetyEvent,
    /// What a caller warns of, counts, or refuses in strict mode; empty for most.
    pub remarks: Vec<Remark>,
}

impl Parsed {
    /// Whether there was no action, and the event is an alert for that reason.
    #[must_use]
    pub fn has_no_action(&self) -> bool {
        self.remarks.contains(&Remark::NoAction)
    }

    /// Whether the action was a word that says that no check ran, such as `skipped`.
    #[must_use]
    pub fn is_no_decision(&self) -> bool {
        self.remarks.contains(&Remark::NoDecision)
    }
}

/// One thing that was odd about an object. Equal remarks are of one kind: a caller warns once of
/// each. Its text is fit for logs: it holds names of fields, no values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remark {
    /// There is no action. The event is an alert.
    NoAction,
    /// The action says that no check ran. The event is an alert, and the word is in `metadata`.
    NoDecision,
    /// The action is no word of the table. The event is an alert, and the word is in `metadata`.
    UnknownAction {
        /// The word of the table that it is nearly.
        near: Option<&'static str>,
    },
    /// A field other than the action holds what it can't. It has its default, and the value is in
    /// `metadata`. For `timestamp` the default is now.
    Misfit {
        /// One of the 17 fields.
        field: &'static str,
    },
    /// A key is nearly a field's name. It is in `metadata`, as any other key.
    MisspeltField {
        /// The key, cut after 40 characters.
        key: String,
        /// The field that is probably meant.
        field: &'static str,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAction => f.write_str("it has no action, and is stored as an alert"),
            Self::NoDecision => f.write_str("its action says that no check ran: it is no decision"),
            Self::UnknownAction { near } => {
                f.write_str(
                    "its action is an unknown word: it is stored as an alert, the word in metadata",
                )?;
                match near {
                    Some(near) => write!(f, " (did you mean {near:?}?)"),
                    None => {
                        f.write_str(" (known are allow, block, redact, alert and their aliases)")
                    }
                }
            }
            Self::Misfit { field: "timestamp" } => f.write_str(
                "its timestamp can't be read: it is stored with the present time, the original in \
                 metadata",
            ),
            Self::Misfit { field } => {
                write!(f, "its {field} has a value that does not fit, which is kept in metadata")
            }
            Self::MisspeltField { key, field } => {
                write!(f, "it has a key {key:?}, which is kept in metadata: did you mean {field}?")
            }
        }
    }
}

impl std::error::Error for Remark {}
