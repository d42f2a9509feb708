//! Why a statement has failed.

use std::fmt;

use namel3ss_safety::FIELDS;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety_stores::read::ScanError;
use rusqlite::{Error, ErrorCode};

use crate::functions::ALLOWED;
use crate::run::Run;

/// Why a statement has failed. Messages are lowercase fragments; they hold what stands in the statement,
/// and no content of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// The statement, or a parameter, makes no sense.
    Sql {
        /// What is wrong, and what to do.
        message: String,
        /// Where in the statement, in bytes.
        at: Option<usize>,
    },
    /// The statement does what it may not.
    NotAllowed(String),
    /// A dataset can't be read.
    Scan(ScanError),
    /// The deadline has passed.
    Deadline,
    /// A value, or all of them, are larger than they may be.
    TooLarge(String),
    /// Something else failed.
    Failed(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql { message, .. } => f.write_str(message),
            Self::NotAllowed(text) | Self::TooLarge(text) | Self::Failed(text) => f.write_str(text),
            Self::Scan(error) => write!(f, "{error}"),
            Self::Deadline => f.write_str("the deadline has passed"),
        }
    }
}

impl std::error::Error for QueryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Scan(error) => Some(error),
            _ => None,
        }
    }
}

/// What an error of SQLite's means, with what our parts know of it. `tables` are those that there are.
pub(crate) fn explained(error: Error, run: &Run, tables: &[String]) -> QueryError {
    let mut state = run.state();
    if let Some(failed) = state.failed.take() {
        return match failed {
            ScanError::Deadline => QueryError::Deadline,
            failed => QueryError::Scan(failed),
        };
    }
    if let Some(denied) = state.denied.take() {
        return QueryError::NotAllowed(denied);
    }
    drop(state);
    match error {
        Error::MultipleStatement => {
            let message = "one statement at a time: there is another behind the first ;";
            QueryError::Sql { message: message.to_owned(), at: None }
        }
        Error::NulError(_) => {
            QueryError::Sql { message: "the statement has a NUL character".to_owned(), at: None }
        }
        Error::SqlInputError { msg, offset, .. } => {
            QueryError::Sql { message: said(&msg, tables), at: usize::try_from(offset).ok() }
        }
        Error::SqliteFailure(code, text) => match code.code {
            ErrorCode::OperationInterrupted => QueryError::Deadline,
            ErrorCode::TooBig => {
                QueryError::TooLarge(text.unwrap_or_else(|| "a text or blob is too big".to_owned()))
            }
            ErrorCode::OutOfMemory => QueryError::TooLarge("out of memory".to_owned()),
            _ => {
                let text = text.unwrap_or_else(|| code.to_string());
                QueryError::Sql { message: said(&text, tables), at: None }
            }
        },
        other => QueryError::Failed(other.to_string()),
    }
}

/// SQLite's message, with what was probably meant.
fn said(text: &str, tables: &[String]) -> String {
    let columns = || FIELDS.iter().copied().chain(["journal_id", "seq"]);
    let lacks = |what: &str, name: &str, near: Option<&str>, all: &str| {
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {all}"),
        };
        format!("no {what} '{name}': {hint}")
    };
    // `e.actoin` is about a column of a table that is called e.
    let name = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    if let Some(column) = text.strip_prefix("no such column: ") {
        // SQLite explains what double quotes are behind the name.
        let column = column.split(" - ").next().unwrap_or(column).trim_matches('"');
        let column = name(column);
        return lacks(
            "column",
            &column,
            nearest(&column, columns()),
            &columns().collect::<Vec<_>>().join(", "),
        );
    }
    if let Some(table) = text.strip_prefix("no such table: ") {
        let table = name(table);
        let near = nearest(&table, tables.iter().map(String::as_str));
        return lacks("table", &table, near, &tables.join(", "));
    }
    if let Some(function) = text.strip_prefix("no such function: ") {
        return match nearest(function, ALLOWED.iter().copied()) {
            Some(near) => format!("no function '{function}': did you mean {near}?"),
            None => format!("no function '{function}'"),
        };
    }
    text.to_owned()
}
