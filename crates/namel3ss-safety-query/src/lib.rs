//! SQL over every dataset, in SQLite's dialect.
//!
//! A [`Database`] holds tables; each is a dataset that a
//! [`DatasetReader`](namel3ss_safety_stores::read::DatasetReader) reads. SQLite parses and runs the
//! statement; a virtual table gives it the rows of a scan, to which it pushes down the columns that are
//! used, the time range, and equality of fields. Nothing is copied into a database first.
//!
//! # Columns
//! The 17 fields of an event, `journal_id` and `seq`. `categories` and `metadata` are JSON texts.
//! `timestamp` is `YYYY-MM-DD HH:MM:SS.ffffff` in UTC for every dataset, the form of SQLite's date
//! functions. It has a collation of its own, `MOMENT`, which compares moments: a text with `T` and `Z`,
//! with an offset, a date alone, or what `datetime('now')` returns compare as the moments that they name,
//! wherever the column is compared. The collation decides, and SQLite checks every row by it; the time
//! range that the scan is given only leaves out rows that can't match. **An expression over `timestamp`,
//! such as `max(timestamp)`, is plain text**, unless `COLLATE MOMENT` follows it.
//!
//! # Limits
//! A statement only reads, its tables and the listed functions; there is one at a time, with a deadline
//! and a largest size of texts, expressions and statements. **The memory that a sort or a grouping takes
//! is not limited here**: the command limits its process.
//!
//! ```
//! use namel3ss_safety_query::{Database, Value};
//! use namel3ss_safety_stores::read::open_reader;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("events.jsonl");
//! std::fs::write(&path, r#"{"timestamp": "2026-03-01T12:00:00Z", "action": "block"}"#)?;
//!
//! let mut database = Database::new()?;
//! database.add("events", open_reader(path.to_str().unwrap())?.into())?;
//! let mut statement = database.prepare(
//!     "select timestamp from events where timestamp >= :since and action = 'block'",
//! )?;
//! statement.bind("since", "2026-03-01T14:00:00+02:00")?;
//! let mut rows = statement.rows()?;
//! let row = rows.next_row()?.unwrap();
//! assert_eq!(row.value(0), Value::Text("2026-03-01 12:00:00.000000".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod moment;
mod run;
mod error;
mod functions;
mod table;
mod guard;
mod database;

pub use database::{Database, Row, Rows, Statement, Value};
pub use error::QueryError;
