//! A table of an SQLite file as something to scan: in the order in which its rows were stored.
//!
//! What a scan wants is asked in SQL, a page of rows at a time, forwards or backwards from one `rowid` to the
//! next: only `event_id` has an index that helps, anything else looks at each row once, inside SQLite.

use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow_array::RecordBatch;
use namel3ss_safety::internal::parse;
use namel3ss_safety::{ReadError, ReadRow, Timestamp};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{ToSqlOutput, Value as Sql, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, params_from_iter};
use serde_json::{Map, Value as Json};

use super::connect::{connect_to_read, explained, why};
use super::table::{has_key, is_view};
use crate::read::batch::{Builder, Columns};
use crate::read::error::ScanError;
use crate::read::pushed::{Form, Table as Pushed, Value, Values, conditions, none_of};
use crate::read::raw::RawScan;
use crate::read::reader::{DatasetReader, Description};
use crate::read::scan::{Position, Scan};
use crate::schema::{TABLES_TOLD, Table, no_table};

/// How many steps SQLite does between two looks at the deadline: some 10 µs.
const STEPS: i32 = 1000;
/// Whether a moment in a column may be of a time that is wanted: its value, from, to.
const MAY_BE_IN_TIME: &str = "n3_safety_may_be_in_time";

/// A table of an SQLite file. Changes nothing.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    path: PathBuf,
    table: Table,
    immutable: bool,
}

impl SqliteReader {
    /// Of `table` in the file at `path`, which is opened by each scan.
    ///
    /// `immutable`: nobody writes the file. It is read without a lock and without a file beside it: from a
    /// folder that can't be written, or a medium that is read only.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, table: Table, immutable: bool) -> Self {
        Self { path: path.into(), table, immutable }
    }

    fn open(&self) -> Result<(Connection, Found), ScanError> {
        let connection =
            connect_to_read(&self.path, self.immutable).map_err(|text| self.failed(&text))?;
        // The first to look into the file.
        let found = Found::of(&connection, &self.table)
            .map_err(|error| self.failed(&explained(&error, why(&self.path, &error))))?;
        if found.columns.is_empty() {
            let others = tables(&connection).map_err(|error| self.wrong(&error))?;
            let error = no_table(&self.table.quoted(), &others);
            return Err(ScanError::NotThere(format!(
                "read {}: {error}; name one as sqlite:///PATH?table=NAME",
                self.path.display()
            )));
        }
        Ok((connection, found))
    }

    /// SQLite says of a file that is not there, and of one that may not be read, that it is "unable to open
    /// the database file".
    fn failed(&self, text: &str) -> ScanError {
        let path = self.path.display();
        match readable(&self.path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                ScanError::NotThere(format!("read {path}: nothing has been delivered there yet"))
            }
            Err(why) => ScanError::Failed(format!("read {path}: {why}")),
            Ok(()) => {
                let error = ReadError::Dataset(text.to_owned());
                ScanError::Failed(format!("read {path}: {error}"))
            }
        }
    }

    fn wrong(&self, error: &rusqlite::Error) -> ScanError {
        match error.sqlite_error_code() {
            // Only a deadline does that.
            Some(ErrorCode::OperationInterrupted) => ScanError::Deadline,
            _ => self.failed(&error.to_string()),
        }
    }

    /// The last row, if there is one.
    fn head(&self, connection: &Connection) -> Result<Option<i64>, ScanError> {
        let sql = format!("SELECT max(rowid) FROM {}", self.table.quoted());
        connection.query_row(&sql, [], |row| row.get(0)).map_err(|error| self.wrong(&error))
    }
}

impl DatasetReader for SqliteReader {
    fn identity(&self) -> String {
        self.path.display().to_string()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        let (connection, found) = self.open()?;
        let wrong = |error| self.wrong(&error);
        let number = |pragma: &str| -> Result<Option<u64>, ScanError> {
            let number: i64 =
                connection.pragma_query_value(None, pragma, |row| row.get(0)).map_err(wrong)?;
            Ok(u64::try_from(number).ok())
        };
        let bytes = number("page_size")?.zip(number("page_count")?).map(|(size, n)| size * n);
        let mut time_range = None;
        if found.form("timestamp").is_some() {
            // The ends of an index, where there is one.
            let end = |which: &str| -> Result<Option<Timestamp>, ScanError> {
                let sql = format!("SELECT {which}(timestamp) FROM {}", self.table.quoted());
                let value = |row: &rusqlite::Row<'_>| Ok(json_of("timestamp", row.get_ref(0)?));
                let value = connection.query_row(&sql, [], value).map_err(wrong)?;
                Ok(parse::moment(&value))
            };
            time_range = end("min")?.zip(end("max")?);
        }
        Ok(Description {
            identity: self.identity(),
            tables: tables(&connection).map_err(wrong)?,
            columns: found.columns.into_iter().map(|column| column.name).collect(),
            time_range,
            rows: None,
            bytes,
        })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        let after: Option<i64> = scan.after.as_ref().map(Position::state).transpose()?.copied();
        let (mut connection, found) = self.open()?;
        set_up(&mut connection, scan.deadline).map_err(|error| self.wrong(&error))?;
        let head = self.head(&connection)?;
        let mut values = Values::new(|number| format!("?{number}"));
        // Places of their own, which each page fills.
        let bounds = [values.bind(Value::Micros(0)), values.bind(Value::Micros(0))];
        let [above, up_to] = &bounds;
        let mut all = vec![format!("rowid > {above}"), format!("rowid <= {up_to}")];
        all.extend(conditions(&scan, &found, &mut values));
        let columns = found.needed(scan.columns);
        let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let page = scan.limit.filter(|_| scan.newest_first).unwrap_or(Builder::ROWS);
        let page = page.clamp(1, Builder::ROWS);
        let query = format!(
            "SELECT rowid, {} FROM {} WHERE {} ORDER BY rowid {} LIMIT {page}",
            names.join(", "),
            self.table.quoted(),
            all.join(" AND "),
            if scan.newest_first { "DESC" } else { "ASC" }
        );
        Ok(Box::new(Rows {
            reader: self.clone(),
            connection,
            query,
            columns,
            values: values.into_inner(),
            // An empty table has nothing behind its last row, also later.
            bounds: (after.unwrap_or(i64::MIN), head.unwrap_or(i64::MIN)),
            head: head.max(after),
            backwards: scan.newest_first,
            page,
            has_key: found.has_key,
            ended: head.is_none_or(|head| after.is_some_and(|after| after >= head)),
        }))
    }
}

/// Whether a file may be read. Without opening it: closing it again would take away the locks that another
/// copy of SQLite holds in this process.
#[cfg(unix)]
fn readable(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    Ok(accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS)?)
}

#[cfg(not(unix))]
fn readable(path: &Path) -> std::io::Result<()> {
    path.metadata().map(drop)
}

/// The deadline ends a statement wherever it is, and moments are read as rows are.
fn set_up(connection: &mut Connection, deadline: Option<Instant>) -> rusqlite::Result<()> {
    if let Some(deadline) = deadline {
        connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
    }
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function(MAY_BE_IN_TIME, 3, flags, |call| {
        let moment = parse::moment(&json_of("timestamp", call.get_raw(0)));
        let (from, to): (Option<i64>, Option<i64>) = (call.get(1)?, call.get(2)?);
        // What is no moment is read as one of its own.
        Ok(moment.is_none_or(|moment| {
            from.is_none_or(|from| moment.micros() >= from)
                && to.is_none_or(|to| moment.micros() < to)
        }))
    })
}

/// The rows that a scan may want, a page at a time.
struct Rows {
    reader: SqliteReader,
    connection: Connection,
    query: String,
    columns: Vec<String>,
    /// The first two are the bounds.
    values: Vec<Value>,
    /// Behind which row, and up to which one.
    bounds: (i64, i64),
    head: Option<i64>,
    backwards: bool,
    page: usize,
    has_key: bool,
    ended: bool,
}

impl Rows {
    fn fill(&mut self, rows: &mut Builder) -> rusqlite::Result<()> {
        self.values[0] = Value::Micros(self.bounds.0);
        self.values[1] = Value::Micros(self.bounds.1);
        let mut statement = self.connection.prepare_cached(&self.query)?;
        let mut found = statement.query(params_from_iter(&self.values))?;
        let mut count = 0;
        while !rows.is_full() {
            let Some(row) = found.next()? else {
                self.ended = count < self.page;
                return Ok(());
            };
            count += 1;
            let rowid: i64 = row.get(0)?;
            match self.backwards {
                true => self.bounds.1 = rowid.saturating_sub(1),
                false => self.bounds.0 = rowid,
            }
            let mut fields = Map::new();
            for (at, name) in self.columns.iter().enumerate() {
                fields.insert(name.clone(), json_of(name, row.get_ref(at + 1)?));
            }
            if let Ok(row) = ReadRow::from_json(Json::Object(fields)) {
                rows.push(&row);
            }
            // There is no row before the first that a number can name.
            self.ended = self.backwards && rowid == i64::MIN;
        }
        Ok(())
    }
}

impl RawScan for Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        if self.ended {
            return Ok(None);
        }
        let mut rows = Builder::default();
        if let Err(error) = self.fill(&mut rows) {
            self.ended = true;
            return Err(self.reader.wrong(&error));
        }
        rows.finish().map(Some)
    }

    fn is_newest_first(&self) -> bool {
        self.backwards
    }

    fn is_unique(&self) -> bool {
        self.has_key
    }

    fn position(&mut self) -> Option<Position> {
        // Before the first row of a table that is empty.
        Some(Position::new(self.head.unwrap_or(i64::MIN)))
    }
}

/// The tables that are there, as far as a message lists them.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = format!(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' \
         ESCAPE '\\' ORDER BY name LIMIT {TABLES_TOLD}"
    );
    connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
}

/// A value as rows of JSON have it.
fn json_of(name: &str, value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null if matches!(name, "confidence" | "latency_ms") => "NaN".into(),
        ValueRef::Null => Json::Null,
        ValueRef::Integer(n) => n.into(),
        // Infinities have a text form only.
        ValueRef::Real(n) => {
            serde_json::Number::from_f64(n).map_or_else(|| Json::from(n.to_string()), Json::Number)
        }
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    }
}

/// A column of a table.
#[derive(Debug)]
struct Column {
    /// In lower case.
    name: String,
    /// Whether all that it holds is text, bytes or null.
    is_text: bool,
}

/// A table as it was found.
#[derive(Debug)]
struct Found {
    columns: Vec<Column>,
    has_key: bool,
}

impl Found {
    fn of(connection: &Connection, table: &Table) -> rusqlite::Result<Self> {
        let of_view = is_view(connection, table)?;
        let mut statement =
            connection.prepare("SELECT lower(name), upper(type) FROM pragma_table_info(?1)")?;
        let columns = statement.query_map([table.as_str()], |row| {
            let declared: String = row.get(1)?;
            // https://www.sqlite.org/datatype3.html#determination_of_column_affinity
            let has = |word| declared.contains(word);
            let is_text = !has("INT") && (has("CHAR") || has("CLOB") || has("TEXT"));
            Ok(Column { name: row.get(0)?, is_text: is_text && !of_view })
        })?;
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Self { columns, has_key: has_key(connection, table)? })
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// The columns from which those of `wanted` are read. What fits nowhere else goes to the metadata; what
    /// has no column of its own name may be in one that is called nearly so, or in the metadata.
    fn needed(&self, wanted: Columns) -> Vec<String> {
        let all = wanted.has("metadata") || !wanted.names().all(|name| self.has(name));
        let needed = self.columns.iter().map(|column| &column.name);
        needed.filter(|name| all || wanted.has(name)).cloned().collect()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Pushed for Found {
    fn form(&self, field: &str) -> Option<Form> {
        self.has(field).then_some(match field {
            "timestamp" => Form::Moment,
            "confidence" | "latency_ms" => Form::Number,
            "categories" | "metadata" => Form::Json,
            _ => Form::Text,
        })
    }

    fn is_ours(&self) -> bool {
        self.columns.iter().all(|column| Columns::default().has(&column.name))
    }

    /// Bytes that are no UTF-8 are read as U+FFFD.
    fn fitted(&self, text: &str) -> Option<String> {
        (!text.contains('\u{fffd}')).then(|| text.to_owned())
    }

    fn is_text(&self, field: &str, text: &str, values: &mut Values) -> String {
        let column = quoted(field);
        if self.columns.iter().any(|column| column.name == field && column.is_text) {
            let (text, bytes) =
                (values.text(text), values.bind(Value::Bytes(text.as_bytes().to_vec())));
            return format!("{column} COLLATE BINARY IN ({text}, {bytes})");
        }
        let text = values.text(text);
        // Another writes a number in another form.
        format!(
            "(CAST({column} AS TEXT) COLLATE BINARY = {text} OR typeof({column}) IN ('real', 'blob'))"
        )
    }

    fn contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let (column, text) = (quoted(field), values.text(text));
        let odd = format!("typeof({column}) IN ('real', 'blob')");
        // An event without an id gets one.
        let odd = if field == "event_id" { format!("{odd} OR {column} IS NULL") } else { odd };
        format!("(instr({column}, {text}) > 0 OR {odd})")
    }

    fn json_contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let (column, text) = (quoted(field), values.text(text));
        format!(
            "(instr({column}, {text}) > 0 OR instr({column}, '\\') > 0 \
             OR typeof({column}) NOT IN ('text', 'null'))"
        )
    }

    fn has_element(&self, field: &str, text: &str, _whole: bool, values: &mut Values) -> String {
        self.json_contains(field, text, values)
    }

    fn is_none_of(&self, field: &str, words: &[&str]) -> String {
        none_of(&format!("{} COLLATE BINARY", quoted(field)), words)
    }

    /// Null is no number, and no number that is finite.
    fn is_number(&self, field: &str, number: f64, values: &mut Values) -> String {
        let (column, number) = (quoted(field), values.bind(Value::Number(number)));
        format!("(CAST({column} AS REAL) = {number} OR typeof({column}) IN ('text', 'blob'))")
    }

    /// Text in our own form is compared as it is; anything else as it is read.
    fn is_in_time(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        values: &mut Values,
    ) -> Option<String> {
        let column = quoted("timestamp");
        let mut plain = Vec::new();
        for (moment, sign) in [(from, ">="), (to, "<")] {
            if let Some(text) = moment.map(|moment| moment.to_string()).filter(|t| t.len() == 27) {
                plain.push(format!("{column} {sign} {}", values.text(&text)));
            }
        }
        let plain = if plain.is_empty() { "FALSE".to_owned() } else { plain.join(" AND ") };
        let mut micros = |moment: Option<Timestamp>| {
            moment.map_or("NULL".to_owned(), |moment| values.bind(Value::Micros(moment.micros())))
        };
        let (from, to) = (micros(from), micros(to));
        Some(format!("({plain} OR {MAY_BE_IN_TIME}({column}, {from}, {to}))"))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Number(number) => ToSqlOutput::Owned(Sql::Real(*number)),
            Self::Micros(micros) => ToSqlOutput::Owned(Sql::Integer(*micros)),
        })
    }
}

/// The file of a reader, for whoever shows it.
impl SqliteReader {
    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
