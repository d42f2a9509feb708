//! Datasets that need a driver, one cargo feature each, and [`open`], which finds the adapter that
//! a URL names.

pub mod url;
pub mod schema;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::sync::Arc;

use namel3ss_safety::{CsvAdapter, DatasetAdapter, JsonAdapter};

pub use crate::schema::{Dialect, Table, ddl};
#[cfg(feature = "sqlite")]
pub use crate::sqlite::SqliteAdapter;
pub use crate::url::{OpenError, Target};

/// The adapter for `url`: `sqlite:///relative.db`, `sqlite:////absolute.db`, each with
/// `?table=name` (`safety_events` otherwise), `file:///absolute.csv`, `.json`, `.jsonl`, `.ndjson`,
/// or a plain path with one of these extensions or `.db`, `.sqlite`, `.sqlite3`.
///
/// Nothing is connected to before the first insert.
///
/// # Errors
/// Says what is wrong with the URL and which one may have been meant; never any part of it that
/// could hold a password.
///
/// ```
/// let adapter = namel3ss_safety_stores::open("sqlite:///events.db?table=decisions").unwrap();
/// assert!(adapter.identity().ends_with("/events.db?table=decisions"));
/// let error = namel3ss_safety_stores::open("sqlit:///events.db").unwrap_err();
/// assert!(error.to_string().contains("did you mean \"sqlite\"?"));
/// ```
pub fn open(url: &str) -> Result<Arc<dyn DatasetAdapter>, OpenError> {
    Ok(match url::parse(url)? {
        Target::Csv(path) => Arc::new(CsvAdapter::new(path)?),
        Target::Json(path) => Arc::new(JsonAdapter::new(path)?),
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, table } => Arc::new(SqliteAdapter::open(path, table)?),
        #[cfg(not(feature = "sqlite"))]
        Target::Sqlite { .. } => return Err(OpenError::NotInThisBuild { scheme: "sqlite" }),
    })
}

/// The documents' Rust blocks are tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../../../docs/design/journal-format.md")]
    struct JournalFormat;
}
