//! A table of an SQLite file as something to scan: in the order in which its rows were stored.
//!
//! What a scan wants is asked in SQL, a page of rows at a time, forwards or backwards from one `rowid` to the
//! next. A text that is asked for by `=` is found by its column's index, which has equal texts in the order of
//! their rows; the index of the moments says between which rows those of a time stand. Anything else looks at
//! each row once, inside SQLite.

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
use crate::read::filter::Op;
use crate::read::pushed::{Form, Table as Pushed, Value, Values, conditions, none_of};
use crate::read::raw::RawScan;
use crate::read::reader::{DatasetReader, Description};
use crate::read::scan::{Position, Scan};
use crate::schema::{TABLES_TOLD, Table, no_table};

/// How many steps SQLite does between two looks at the deadline: some 10 µs.
const STEPS: i32 = 1000;
/// Whether a moment in a column may be of a time that is wanted: its value, from, to.
const MAY_BE_IN_TIME: &str = "n3_safety_may_be_in_time";
/// The same of a moment that was compared as text and is not of that time, if its text is our own.
const IS_ODD_AND_IN_TIME: &str = "n3_safety_is_odd_and_in_time";

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
        Ok(Box::new(self.rows(&scan)?))
    }
}

impl SqliteReader {
    fn rows(&self, scan: &Scan) -> Result<Rows, ScanError> {
        let after: Option<i64> = scan.after.as_ref().map(Position::state).transpose()?.copied();
        let (mut connection, mut found) = self.open()?;
        set_up(&mut connection, scan.deadline).map_err(|error| self.wrong(&error))?;
        let head = self.head(&connection)?;
        found.only_texts = self.only_texts(&connection, &found, scan)?;
        // An empty table has nothing behind its last row, also later.
        let mut bounds = (after.unwrap_or(i64::MIN), head.unwrap_or(i64::MIN));
        let mut ended = head.is_none_or(|head| after.is_some_and(|after| after >= head));
        // Few rows come since an earlier scan, and few have a text that an index finds.
        if !ended && after.is_none() && found.only_texts.is_empty() {
            match self.ends(&connection, &found, scan, bounds.1)? {
                Some(Some((first, last))) => bounds = (first.saturating_sub(1), last),
                Some(None) => ended = true,
                None => {}
            }
        }
        let mut values = Values::new(|number| format!("?{number}"));
        // Places of their own, which each page fills.
        let places = [values.bind(Value::Micros(0)), values.bind(Value::Micros(0))];
        let [above, up_to] = &places;
        let mut all = vec![format!("rowid > {above}"), format!("rowid <= {up_to}")];
        all.extend(conditions(scan, &found, &mut values));
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
        Ok(Rows {
            reader: self.clone(),
            connection,
            query,
            columns,
            values: values.into_inner(),
            bounds,
            head: head.max(after),
            backwards: scan.newest_first,
            page,
            has_key: found.has_key,
            ended,
        })
    }

    /// The fields that are asked for by `=`, have an index, and hold the value as text alone: no row has it
    /// as bytes, which are read as the same text.
    fn only_texts(
        &self,
        connection: &Connection,
        found: &Found,
        scan: &Scan,
    ) -> Result<Vec<String>, ScanError> {
        let mut only_texts = Vec::new();
        for condition in scan.filter.conditions() {
            let (field, value) = (condition.field(), condition.value());
            if condition.op() != Op::Is || value.is_empty() || !found.is_indexed(field) {
                continue;
            }
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM {} WHERE {} COLLATE BINARY = ?1)",
                self.table.quoted(),
                quoted(field)
            );
            let bytes = Value::Bytes(value.as_bytes().to_vec());
            let has_bytes: bool = connection
                .query_row(&sql, [&bytes], |row| row.get(0))
                .map_err(|error| self.wrong(&error))?;
            if !has_bytes {
                only_texts.push(field.to_owned());
            }
        }
        Ok(only_texts)
    }

    /// The first and the last row that may be of the time that `scan` asks for, up to the row `head`;
    /// `Some(None)` where there is none, `None` where no index tells.
    fn ends(
        &self,
        connection: &Connection,
        found: &Found,
        scan: &Scan,
        head: i64,
    ) -> Result<Option<Option<(i64, i64)>>, ScanError> {
        let Some(index) =
            found.by_time.as_ref().filter(|_| scan.from.is_some() || scan.to.is_some())
        else {
            return Ok(None);
        };
        let mut values = Values::new(|number| format!("?{number}"));
        let head = values.bind(Value::Micros(head));
        let Some(in_time) = found.is_in_time(scan.from, scan.to, &mut values) else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT min(rowid), max(rowid) FROM {} INDEXED BY {} WHERE rowid <= {head} AND {in_time}",
            self.table.quoted(),
            quoted(index)
        );
        let ends = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(Option<i64>, Option<i64>)> {
            Ok((row.get(0)?, row.get(1)?))
        };
        let (first, last) = connection
            .query_row(&sql, params_from_iter(&values.into_inner()), ends)
            .map_err(|error| self.wrong(&error))?;
        Ok(Some(first.zip(last)))
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
    let may_be_in_time = |value: ValueRef<'_>, from: Option<i64>, to: Option<i64>| {
        let moment = parse::moment(&json_of("timestamp", value));
        // What is no moment is read as one of its own.
        moment.is_none_or(|moment| {
            from.is_none_or(|from| moment.micros() >= from)
                && to.is_none_or(|to| moment.micros() < to)
        })
    };
    connection.create_scalar_function(MAY_BE_IN_TIME, 3, flags, move |call| {
        Ok(may_be_in_time(call.get_raw(0), call.get(1)?, call.get(2)?))
    })?;
    connection.create_scalar_function(IS_ODD_AND_IN_TIME, 3, flags, move |call| {
        let value = call.get_raw(0);
        let is_ours = matches!(value, ValueRef::Text(text) if is_our_moment(text));
        Ok(!is_ours && may_be_in_time(value, call.get(1)?, call.get(2)?))
    })
}

/// Whether a text is a moment in the form in which we store them: two of them compare as their moments do.
fn is_our_moment(text: &[u8]) -> bool {
    const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let in_form = text.len() == FORM.len()
        && text.iter().zip(FORM).all(|(have, form)| match form {
            b'0' => have.is_ascii_digit(),
            _ => have == form,
        });
    if !in_form {
        return false;
    }
    let two = |at: usize| u32::from(text[at] - b'0') * 10 + u32::from(text[at + 1] - b'0');
    let (century, year, month, day) = (two(0), two(2), two(5), two(8));
    let leaps = if year == 0 { century.is_multiple_of(4) } else { year.is_multiple_of(4) };
    let days = match month {
        2 => 28 + u32::from(leaps),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day) && two(11) < 24 && two(14) < 60 && two(17) < 60
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
    /// The columns that an index begins with whose texts compare byte by byte.
    indexed: Vec<String>,
    /// An index that has the moments of all rows.
    by_time: Option<String>,
    /// Fields of which no row has what is asked for as bytes.
    only_texts: Vec<String>,
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
        let mut statement = connection.prepare(
            "SELECT list.name, list.partial, lower(info.name), info.coll \
             FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS info \
             WHERE info.seqno = 0 AND info.name IS NOT NULL",
        )?;
        let (mut indexed, mut by_time) = (Vec::new(), None);
        let mut indexes = statement.query([table.as_str()])?;
        while let Some(row) = indexes.next()? {
            let (is_partial, column, order): (bool, String, String) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            if column == "timestamp" && !is_partial {
                by_time = Some(row.get(0)?);
            }
            if order == "BINARY" {
                indexed.push(column);
            }
        }
        let has_key = has_key(connection, table)?;
        Ok(Self { columns, has_key, indexed, by_time, only_texts: Vec::new() })
    }

    /// Whether a text is found by an index of the field's own column.
    fn is_indexed(&self, field: &str) -> bool {
        self.holds_text(field) && self.indexed.iter().any(|column| column == field)
    }

    fn holds_text(&self, field: &str) -> bool {
        self.columns.iter().any(|column| column.name == field && column.is_text)
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
        if self.only_texts.iter().any(|only| only == field) {
            return format!("{column} COLLATE BINARY = {}", values.text(text));
        }
        if self.holds_text(field) {
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
        let (mut plain, mut all) = (Vec::new(), true);
        for (moment, sign) in [(from, ">="), (to, "<")] {
            let Some(text) = moment.map(|moment| moment.to_string()) else { continue };
            match text.len() == 27 {
                true => {
                    plain.push(format!("{column} COLLATE BINARY {sign} {}", values.text(&text)))
                }
                false => all = false,
            }
        }
        let plain = if plain.is_empty() { "FALSE".to_owned() } else { plain.join(" AND ") };
        let may_be = if all { IS_ODD_AND_IN_TIME } else { MAY_BE_IN_TIME };
        let mut micros = |moment: Option<Timestamp>| {
            moment.map_or("NULL".to_owned(), |moment| values.bind(Value::Micros(moment.micros())))
        };
        let (from, to) = (micros(from), micros(to));
        Some(format!("({plain} OR {may_be}({column}, {from}, {to}))"))
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

#[cfg(test)]
mod tests {
    use namel3ss_safety::conformance::{buffer, plain_event};
    use namel3ss_safety::{DatasetAdapter as _, JournalId, SafetyEvent};

    use super::*;
    use crate::SqliteAdapter;

    /// A table of ours with 3,000 rows, four of each trace.
    fn with_table(indexed: bool, test: impl FnOnce(&SqliteReader)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("safety.db");
        let adapter = SqliteAdapter::open(&path, Table::default()).unwrap();
        let adapter = if indexed { adapter } else { adapter.without_trace_index() };
        let event =
            |n: u64| SafetyEvent { trace_id: Some(format!("trace-{}", n / 4)), ..plain_event(n) };
        let events: Vec<_> = (0..3000).map(event).collect();
        adapter.insert(&buffer(JournalId([7; 16]), 1, &events).batch()).unwrap();
        test(&SqliteReader::new(path, Table::default(), false));
    }

    fn plan(reader: &SqliteReader, scan: &Scan) -> String {
        let rows = reader.rows(scan).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {}", rows.query);
        let mut statement = rows.connection.prepare(&sql).unwrap();
        let steps = statement.query_map(params_from_iter(&rows.values), |row| row.get(3)).unwrap();
        steps.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
    }

    #[test]
    fn a_trace_and_an_event_are_found_by_their_indexes_in_the_order_of_the_rows() {
        let of = |filter: &str| Scan { filter: filter.parse().unwrap(), ..Scan::default() };
        with_table(true, |reader| {
            for newest_first in [false, true] {
                let limit = newest_first.then_some(10);
                let plan_of = |filter| plan(reader, &Scan { newest_first, limit, ..of(filter) });
                let by_trace = "SEARCH safety_events USING INDEX safety_events_trace_id \
                                (trace_id=? AND rowid>? AND rowid<?)";
                assert_eq!(plan_of("trace_id=trace-7"), by_trace);
                let by_event = by_trace.replace("trace_id", "event_id");
                assert_eq!(plan_of("event_id=event-7"), by_event);
            }
            // Bytes are read as the same text, wherever they stand.
            let theirs = Connection::open(&reader.path).unwrap();
            let set = "UPDATE safety_events SET trace_id = CAST(trace_id AS BLOB) WHERE seq = 31";
            assert_eq!(theirs.execute(set, []).unwrap(), 1);
            let rows: usize = reader
                .scan(of("trace_id=trace-7"))
                .unwrap()
                .map(|batch| batch.unwrap().num_rows())
                .sum();
            assert_eq!(rows, 4);
        });
        with_table(false, |reader| {
            let plan = plan(reader, &of("trace_id=trace-7"));
            assert_eq!(
                plan,
                "SEARCH safety_events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
            );
        });
    }

    /// `tail --since 1s` looked at every row.
    #[test]
    fn a_time_is_looked_for_only_between_its_first_and_its_last_row() {
        with_table(true, |reader| {
            let at = |n| Some(plain_event(n).timestamp);
            let bounds = |scan: Scan| {
                let rows = reader.rows(&scan).unwrap();
                (rows.bounds, rows.ended)
            };
            assert_eq!(bounds(Scan { from: at(2990), ..Scan::default() }), ((2990, 3000), false));
            let some = Scan { from: at(10), to: at(20), ..Scan::default() };
            assert_eq!(bounds(some), ((10, 20), false));
            assert!(bounds(Scan { from: at(9_000_000), ..Scan::default() }).1);
            // A moment of another's form may be of any time.
            let theirs = Connection::open(&reader.path).unwrap();
            let set = "UPDATE safety_events SET timestamp = '2099-01-01 00:00' WHERE seq = 5";
            assert_eq!(theirs.execute(set, []).unwrap(), 1);
            assert_eq!(bounds(Scan { from: at(2990), ..Scan::default() }), ((4, 3000), false));
        });
    }

    #[test]
    fn a_moment_is_ours_only_if_its_text_compares_as_it_does() {
        let ours = |text: &str| is_our_moment(text.as_bytes());
        for text in ["2026-03-01T12:30:00.000000Z", "2024-02-29T23:59:59.999999Z"] {
            assert!(ours(text), "{text}");
        }
        for text in [
            "2026-03-01 12:30:00.000000Z",
            "2026-03-01T24:00:00.000000Z",
            "2026-03-01T12:60:00.000000Z",
            "2026-03-01T12:30:60.000000Z",
            "2026-02-29T12:30:00.000000Z",
            "1900-02-29T12:30:00.000000Z",
            "2026-13-01T12:30:00.000000Z",
            "2026-04-31T12:30:00.000000Z",
            "2026-04-00T12:30:00.000000Z",
            "2026-03-01T12:30:00.000000z",
            "2026-03-01T12:30:00.000Z",
            "",
        ] {
            assert!(!ours(text), "{text}");
        }
    }
}
