//! Rows read back, in the order in which they were stored: for `tail`, for tests, for exports.

use std::collections::VecDeque;
use std::path::Path;

use namel3ss_safety::Timestamp;
use namel3ss_safety::{ReadError, ReadRow};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Map, Value};

use super::connect::{connect_to_read, explained, why};
use super::table::names;
use crate::schema::{TABLES_TOLD, Table, no_table};

/// How many rows are in memory at once.
const PAGE_ROWS: usize = 1000;

/// Which rows to read; by default all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that were stored after this one.
    pub after_rowid: Option<i64>,
    /// Those whose event is not older.
    pub since: Option<Timestamp>,
    /// Of these only so many, the last to be stored.
    pub newest: Option<u32>,
}

/// A row with its place in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct SqliteRow {
    /// For [`Filter::after_rowid`].
    pub rowid: i64,
    /// The row.
    pub row: ReadRow,
}

/// Rows of a table, a page in memory at a time.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    query: String,
    columns: Vec<String>,
    since: String,
    after: i64,
    page: VecDeque<Result<SqliteRow, ReadError>>,
    done: bool,
}

/// Reads rows of `table` in the file at `path`, oldest first. Changes nothing.
///
/// # Errors
/// If the file or the table can't be read; the iterator's items say what is wrong with a row.
pub fn read(path: impl AsRef<Path>, table: &Table, filter: Filter) -> Result<Reader, ReadError> {
    reader(path.as_ref(), table, filter, false)
}

/// As [`read`], of a file that nobody writes, without a lock and without a file beside it: from a
/// folder that can't be written, or a medium that is read only.
///
/// # Errors
/// As [`read`]'s; and where the file has a log (`-wal`), whose rows would be missing.
pub fn read_immutable(
    path: impl AsRef<Path>,
    table: &Table,
    filter: Filter,
) -> Result<Reader, ReadError> {
    reader(path.as_ref(), table, filter, true)
}

fn reader(
    path: &Path,
    table: &Table,
    filter: Filter,
    immutable: bool,
) -> Result<Reader, ReadError> {
    let connection = connect_to_read(path, immutable).map_err(ReadError::Dataset)?;
    // The first to look into the file.
    let columns = names(&connection, table)
        .map_err(|error| ReadError::Dataset(explained(&error, why(path, &error))))?;
    if columns.is_empty() {
        return Err(no_table(&table.quoted(), &tables(&connection).map_err(wrong)?));
    }
    // Every text is greater than the empty one.
    let since = filter.since.map_or_else(String::new, |since| since.to_string());
    let condition = match filter.since {
        Some(_) if columns.iter().any(|name| name == "timestamp") => {
            "rowid > ?1 AND timestamp >= ?2"
        }
        // Where the rows of a table without that column have it.
        Some(_) => {
            "rowid > ?1 AND coalesce(json_extract(metadata, '$.\"row.timestamp\"'), \
             json_extract(metadata, '$.timestamp')) >= ?2"
        }
        None => "rowid > ?1 AND ?2 = ''",
    };
    let mut after = filter.after_rowid.unwrap_or(i64::MIN);
    if let Some(newest) = filter.newest {
        let sql = format!(
            "SELECT min(rowid) FROM (SELECT rowid FROM {} WHERE {condition} ORDER BY rowid DESC LIMIT ?3)",
            table.quoted()
        );
        let parameters = rusqlite::params![after, since, newest];
        let first: Option<i64> =
            connection.query_row(&sql, parameters, |row| row.get(0)).map_err(wrong)?;
        // Nothing matches: nothing follows the last row.
        after = first.map_or(i64::MAX, |first| first.saturating_sub(1));
    }
    let quoted: Vec<String> =
        columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let query = format!(
        "SELECT rowid, {} FROM {} WHERE {condition} ORDER BY rowid LIMIT {PAGE_ROWS}",
        quoted.join(", "),
        table.quoted()
    );
    Ok(Reader { connection, query, columns, since, after, page: VecDeque::new(), done: false })
}

/// The tables that are there, as far as a message lists them.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = format!(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' \
         ESCAPE '\\' ORDER BY name LIMIT {TABLES_TOLD}"
    );
    connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
}

fn wrong(error: rusqlite::Error) -> ReadError {
    ReadError::Dataset(error.to_string())
}

impl Reader {
    fn fill(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(&self.query)?;
        let parameters: [&dyn rusqlite::ToSql; 2] = [&self.after, &self.since];
        let mut rows = statement.query(params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            let rowid: i64 = row.get(0)?;
            let mut fields = Map::new();
            for (at, name) in self.columns.iter().enumerate() {
                let value = row.get_ref(at + 1)?;
                fields.insert(name.clone(), json_of(name, value));
            }
            self.after = rowid;
            let number = u64::try_from(rowid).unwrap_or(0);
            let row = ReadRow::from_json(Value::Object(fields));
            self.page.push_back(
                row.map(|row| SqliteRow { rowid, row })
                    .map_err(|error| ReadError::Row { number, wrong: error.to_string() }),
            );
        }
        self.done = self.page.len() < PAGE_ROWS;
        Ok(())
    }
}

fn json_of(name: &str, value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null if matches!(name, "confidence" | "latency_ms") => "NaN".into(),
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => n.into(),
        // Infinities have a text form only.
        ValueRef::Real(n) => serde_json::Number::from_f64(n)
            .map_or_else(|| Value::from(n.to_string()), Value::Number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    }
}

impl Iterator for Reader {
    type Item = Result<SqliteRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.fill()
        {
            self.done = true;
            self.page.push_back(Err(wrong(error)));
        }
        self.page.pop_front()
    }
}
