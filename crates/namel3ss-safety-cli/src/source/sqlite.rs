//! A dataset in a SQLite table, read without writing anything to it.

use std::path::{Path, PathBuf};

use namel3ss_safety::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Map, Value};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

/// A table, and the last row of it that was read.
pub(crate) struct Table {
    path: PathBuf,
    table: String,
    open: Option<Connection>,
    last: i64,
}

impl Table {
    pub(crate) fn new(path: &Path, table: &str) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), table: quoted(table)?, open: None, last: i64::MIN })
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        let hint = if error.to_string().contains("no such table") {
            "; name the table as sqlite:///PATH?table=NAME"
        } else {
            ""
        };
        Error::failed(format!("read {}: {error}{hint}", self.path.display()))
    }
}

impl Table {
    fn connection(&mut self) -> Result<&Connection, Error> {
        if self.open.is_none() {
            let connection = connect(&self.path).map_err(|e| self.failed(&e))?;
            self.open = Some(connection);
        }
        // It was set above.
        self.open.as_ref().ok_or_else(|| Error::failed("open the dataset"))
    }

    /// Rows by policy and action, counted by the database, which reads no more than it must.
    pub(crate) fn counts(&mut self, each: &mut dyn FnMut(&str, &str, u64)) -> Result<(), Error> {
        let sql = format!("SELECT policy_name, action, count(*) FROM {} GROUP BY 1, 2", self.table);
        let counted = self.connection()?.prepare(&sql).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count: i64 = row.get(2)?;
                each(&text(row, 0)?, &text(row, 1)?, count.unsigned_abs());
            }
            Ok(())
        });
        counted.map_err(|e| self.failed(&e))
    }

    /// The first and the last moment.
    pub(crate) fn span(&mut self) -> Result<(Option<Timestamp>, Option<Timestamp>), Error> {
        let sql = format!("SELECT min(timestamp), max(timestamp) FROM {}", self.table);
        let span = self.connection()?.query_row(&sql, [], |row| {
            Ok((moment(row.get_ref(0)?), moment(row.get_ref(1)?)))
        });
        span.map_err(|e| self.failed(&e))
    }
}

impl Source for Table {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let sql = format!("SELECT rowid, * FROM {} WHERE rowid > ? ORDER BY rowid", self.table);
        let (mut last, mut unreadable) = (self.last, 0);
        let mut stopped = None;
        let read = self.connection()?.prepare(&sql).and_then(|mut statement| {
            let names: Vec<String> =
                statement.column_names().into_iter().skip(1).map(str::to_owned).collect();
            let mut rows = statement.query([last])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                match Record::from_row(to_json(row, &names)?) {
                    Ok(record) => {
                        if let Err(error) = each(record) {
                            stopped = Some(error);
                            break;
                        }
                    }
                    Err(_) => unreadable += 1,
                }
            }
            Ok(())
        });
        self.last = last;
        match (stopped, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(self.failed(&error)),
            (None, Ok(())) => Ok(unreadable),
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// The row under its columns' names.
fn to_json(row: &Row<'_>, names: &[String]) -> rusqlite::Result<Value> {
    let mut fields = Map::new();
    for (i, name) in names.iter().enumerate() {
        let value = match row.get_ref(i + 1)? {
            ValueRef::Null => continue,
            value if name == "timestamp" => match moment(value) {
                Some(at) => Value::from(at.to_string()),
                None => continue,
            },
            ValueRef::Integer(n) => Value::from(n),
            ValueRef::Real(n) if n.is_finite() => Value::from(n),
            ValueRef::Real(n) => Value::from(if n > 0.0 { "Infinity" } else { "-Infinity" }),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                Value::from(String::from_utf8_lossy(bytes))
            }
        };
        fields.insert(name.clone(), value);
    }
    Ok(Value::Object(fields))
}

/// Our tables hold moments as microseconds since 1970; others as text.
fn moment(value: ValueRef<'_>) -> Option<Timestamp> {
    match value {
        ValueRef::Integer(micros) => Some(Timestamp::from_micros(micros)),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
    })
}

/// A table's name as SQL takes it: checked first, since it comes from the command line.
fn quoted(table: &str) -> Result<String, Error> {
    let is_name = |part: &str| {
        let mut bytes = part.bytes();
        part.len() <= 63
            && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        return Err(Error::usage(format!(
            "read the table '{}': a name is letters, digits and underscores, at most 63",
            crate::escape::shorten(table, 80)
        )));
    }
    Ok(parts.iter().map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_checked() {
        assert_eq!(quoted("main.safety_events").ok().as_deref(), Some("\"main\".\"safety_events\""));
        for name in ["", "a b", "a\"; drop table x", "a.b.c", "1a", &"a".repeat(64)] {
            assert!(quoted(name).is_err(), "{name}");
        }
    }
}
