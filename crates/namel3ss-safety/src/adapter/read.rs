//! A row that was read back from a dataset.

use std::fmt;

use serde_json::Value;

use crate::event::{FromJsonError, SafetyEvent};
use crate::id::{JournalId, Seq};

/// An event as a dataset holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRow {
    /// Its journal and its position there; `None` for a row that something else put there.
    pub id: Option<(JournalId, Seq)>,
    /// The event itself.
    pub event: SafetyEvent,
}

impl ReadRow {
    /// From a row as [`crate::Row::write_json`] writes it.
    ///
    /// # Errors
    /// For what is no row, see [`SafetyEvent::from_json`].
    pub fn from_json(mut value: Value) -> Result<Self, FromJsonError> {
        let id = value.as_object_mut().and_then(|fields| {
            let journal = fields.get("journal_id")?.as_str()?.parse().ok()?;
            let seq = fields.get("seq")?.as_u64()?;
            fields.remove("journal_id");
            fields.remove("seq");
            Some((journal, Seq(seq)))
        });
        Ok(Self { id, event: SafetyEvent::from_json(value)? })
    }
}

/// Why a row could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be read.
    Io(std::io::Error),
    /// The dataset's own driver could not read it; says why.
    Dataset(String),
    /// A row is not what it should be.
    Row {
        /// Which one, from 1.
        number: u64,
        /// What is wrong with it.
        wrong: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "read the dataset: {error}"),
            Self::Dataset(error) => write!(f, "read the dataset: {error}"),
            Self::Row { number, wrong } => write!(f, "read row {number} of the dataset: {wrong}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Dataset(_) | Self::Row { .. } => None,
        }
    }
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
