//! A row that was read back from a dataset.

use std::fmt;

use serde_json::{Map, Value};

use crate::event::{NotAnObject, SafetyEvent};
use crate::id::{JournalId, Seq};
use crate::parse;

/// An event as a dataset holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRow {
    /// Its journal and its position there; `None` for a row that something else put there.
    pub id: Option<(JournalId, Seq)>,
    /// The event itself.
    pub event: SafetyEvent,
}

impl ReadRow {
    /// From a row as [`crate::Row::write_json`] writes it, or as a table of somebody's own holds it.
    /// Metadata may be JSON text.
    ///
    /// # Errors
    /// If the value is no object.
    pub fn from_json(value: Value) -> Result<Self, NotAnObject> {
        let Value::Object(mut row) = value else { return Err(NotAnObject) };
        if let Some(Value::String(text)) = row.get("metadata")
            && let Ok(metadata @ Value::Object(_)) = serde_json::from_str(text)
        {
            row.insert("metadata".to_owned(), metadata);
        }
        let id = take_id(&mut row);
        Ok(Self { id, event: parse::stored_row(row).event })
    }
}

/// Which event a row is of: by its columns, or by its metadata where the table has no such columns.
/// `None` for a row that something else put there.
pub(super) fn row_id(row: &Map<String, Value>) -> Option<(JournalId, Seq)> {
    let journal = find(row, "journal_id")?.as_str()?.parse().ok()?;
    let seq = match find(row, "seq")? {
        Value::String(digits) => digits.parse().ok()?,
        number => number.as_u64()?,
    };
    Some((journal, Seq(seq)))
}

/// Takes the row's identity out of it. What is no identity is left where it is.
fn take_id(row: &mut Map<String, Value>) -> Option<(JournalId, Seq)> {
    let id = row_id(row)?;
    for name in ["journal_id", "seq"] {
        if row.remove(name).is_none()
            && let Some(Value::Object(metadata)) = row.get_mut("metadata")
        {
            parse::take_missing(metadata, name);
        }
    }
    Some(id)
}

fn find<'r>(row: &'r Map<String, Value>, name: &str) -> Option<&'r Value> {
    row.get(name).or_else(|| parse::find_missing(row.get("metadata")?.as_object()?, name))
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
            // Its own words are in the message.
            Self::Io(error) => error.source(),
            Self::Dataset(_) | Self::Row { .. } => None,
        }
    }
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
