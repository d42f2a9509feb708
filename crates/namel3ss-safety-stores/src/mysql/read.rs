//! Rows of a MySQL or MariaDB table, for [`crate::server::ServerReader`]: from a statement with the scan's
//! conditions, whose answer is read as it comes.

use std::time::Instant;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row, Value as Sql};
use namel3ss_safety::ReadError;
use namel3ss_safety::Timestamp;
use serde_json::{Map, Number, Value as Json};

use super::answer::Answer;
use super::failure::problem;
use super::values::HOLDS;
use crate::read::error::ScanError;
use crate::read::pushed::{Form, Table, Value, Values, conditions, none_of};
use crate::read::scan::Scan;
use crate::schema::{TABLES_TOLD, no_table};
use crate::server::Kind;
use crate::server::columns;
use crate::server::reading::{Reading, waited};
use crate::server::scan::{Column, Found, Query, Rows};

/// The name of the statement. It has one at a time.
const STATEMENT: &str = "n3_safety_scan";
/// How long the server waits for us to take more of an answer.
const TAKE_SECONDS: u32 = 3600;

impl Reading<Conn, Answer> {
    /// The first column of each row.
    fn texts(&mut self, sql: &str) -> Result<Vec<String>, ScanError> {
        Ok(self.query(sql)?.iter().filter_map(|row| cell(row, 0)).collect())
    }

    /// Binds `values` to variables of the session.
    fn bind(&mut self, sql: String, values: Vec<Sql>) -> Result<(), ScanError> {
        self.run(async |connection: &mut Conn| {
            let bound = connection.exec_drop(sql, Params::Positional(values)).await;
            bound.map_err(|error| problem("read rows", &error, connection.opts().pass()))
        })
    }

    /// In SQL, the name of the database.
    fn schema(&self) -> String {
        self.server.table.schema().map_or("DATABASE()".to_owned(), |name| format!("'{name}'"))
    }
}

impl Rows for Reading<Conn, Answer> {
    fn begin(&mut self, deadline: Option<Instant>) -> Result<Found, ScanError> {
        (self.deadline, self.answer) = (deadline, None);
        let is_mariadb = self.texts("SELECT VERSION()")?;
        let is_mariadb = is_mariadb.iter().any(|version| version.contains("MariaDB"));
        let millis = deadline.map_or(0, |_| self.limit().as_millis() + 1);
        // The server ends a statement that goes on for longer.
        self.query(&match is_mariadb {
            true => format!(
                "SET SESSION max_statement_time = {}.{:03}, net_write_timeout = {TAKE_SECONDS}",
                millis / 1000,
                millis % 1000
            ),
            false => format!(
                "SET SESSION max_execution_time = {millis}, net_write_timeout = {TAKE_SECONDS}"
            ),
        })?;
        self.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        self.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
        let (schema, table) = (self.schema(), self.server.table.name().to_owned());
        let rows = self.query(&format!(
            "SELECT CAST(column_name AS CHAR) AS n, CAST(data_type AS CHAR) AS t, \
             CAST(character_set_name AS CHAR) AS c FROM information_schema.columns \
             WHERE table_schema = {schema} AND table_name = '{table}' ORDER BY ordinal_position"
        ))?;
        if rows.is_empty() {
            let name = self.server.table.in_quotes('`');
            return Err(match no_table(&name, &self.tables()?) {
                ReadError::Dataset(text) => ScanError::NotThere(text),
                error => error.into(),
            });
        }
        let columns = rows.iter().filter_map(|row| {
            Some(Column {
                name: cell(row, 0)?.to_ascii_lowercase(),
                sql_type: cell(row, 1)?.to_ascii_lowercase(),
                charset: cell(row, 2),
            })
        });
        let columns = columns.collect();
        let keys = self.query(&format!(
            "SELECT CAST(index_name AS CHAR) AS i, CAST(column_name AS CHAR) AS n, \
             CAST(sub_part AS CHAR) AS s, CAST(non_unique AS CHAR) AS u \
             FROM information_schema.statistics \
             WHERE table_schema = {schema} AND table_name = '{table}' \
             ORDER BY index_name, seq_in_index"
        ))?;
        let mut by_time = None;
        let mut unique: Vec<(String, Vec<String>)> = Vec::new();
        let mut before = String::new();
        for row in &keys {
            let (Some(index), Some(is_other)) = (cell(row, 0), cell(row, 3)) else { continue };
            // A prefix of a column, or an expression, is no column.
            let column = cell(row, 1).filter(|_| cell(row, 2).is_none()).unwrap_or_default();
            if index != before && column.eq_ignore_ascii_case("timestamp") {
                by_time = by_time.or(Some(index.clone()));
            }
            before.clone_from(&index);
            if is_other == "0" {
                match unique.last_mut().filter(|(name, _)| *name == index) {
                    Some((_, columns)) => columns.push(column),
                    None => unique.push((index, vec![column])),
                }
            }
        }
        Ok(Found {
            columns,
            has_key: columns::is_unique(unique.into_iter().map(|(_, columns)| columns)),
            is_utf8: true,
            by_time,
        })
    }

    fn heads(&mut self) -> Result<Vec<(String, u64)>, ScanError> {
        let name = self.server.table.in_quotes('`');
        // From one journal to the next by the key's index, as it does for such a query.
        let rows =
            self.query(&format!("SELECT journal_id, MAX(seq) FROM {name} GROUP BY journal_id"))?;
        let rows = rows.iter();
        Ok(rows.filter_map(|row| Some((cell(row, 0)?, cell(row, 1)?.parse().ok()?))).collect())
    }

    fn conditions(&self, scan: &Scan, found: &Found) -> (Vec<String>, Vec<Value>) {
        let mut values = Values::new(|_| "?".to_owned());
        let conditions = conditions(scan, &Mysql(found), &mut values);
        (conditions, values.into_inner())
    }

    fn ask(&mut self, query: &Query<'_>) -> Result<(), ScanError> {
        let name = self.server.table.in_quotes('`');
        let row = if query.columns.is_empty() {
            "*".to_owned()
        } else {
            let of_ours = query.columns.iter().map(|name| Kind::Mysql.quoted(name));
            let exact = query.found.has("metadata").then(|| {
                "CASE WHEN LOCATE('row.exact', metadata) > 0 THEN metadata END AS metadata"
                    .to_owned()
            });
            of_ours.chain(exact).collect::<Vec<_>>().join(", ")
        };
        // Sorting a large table needs room for it on the server.
        let index = match &query.found.by_time {
            Some(index) if !query.finds_few => {
                format!("FORCE INDEX FOR ORDER BY ({})", Kind::Mysql.quoted(index))
            }
            _ => String::new(),
        };
        let sql = format!("SELECT {row} FROM {name} {index} {}", query.rest());
        // So that rows come as text, as without values.
        let variables: Vec<String> =
            (0..query.values.len()).map(|number| format!("@n3_safety_{number}")).collect();
        if !variables.is_empty() {
            let set: Vec<String> = variables.iter().map(|name| format!("{name} = ?")).collect();
            self.bind(format!("SET {}", set.join(", ")), query.values.iter().map(bound).collect())?;
        }
        self.bind("SET @n3_safety_scan = ?".to_owned(), vec![sql.into()])?;
        self.query(&format!("PREPARE {STATEMENT} FROM @n3_safety_scan"))?;
        let using = match variables.is_empty() {
            true => String::new(),
            false => format!(" USING {}", variables.join(", ")),
        };
        let Some(connection) = self.connection.take() else {
            return Err(ScanError::Failed("read rows: there is no connection".to_owned()));
        };
        let sql = format!("EXECUTE {STATEMENT}{using}");
        self.answer = Some(Answer::new(connection, sql, query.page));
        Ok(())
    }

    fn page(&mut self) -> Result<Vec<Map<String, Json>>, ScanError> {
        let (limit, deadline) = (self.limit(), self.deadline);
        let Some(mut answer) = self.answer.take() else { return Ok(Vec::new()) };
        let (rows, connection) = waited(limit, deadline, async || answer.next().await)?;
        match connection {
            Some(connection) => self.connection = Some(connection),
            None => self.answer = Some(answer),
        }
        Ok(rows.into_iter().map(fields).collect())
    }

    fn extent(&mut self, found: &Found) -> Result<[Option<String>; 3], ScanError> {
        let (schema, table) = (self.schema(), self.server.table.name().to_owned());
        let mut ends = [None, None];
        if found.has("timestamp") {
            let name = self.server.table.in_quotes('`');
            let rows =
                self.query(&format!("SELECT MIN(`timestamp`), MAX(`timestamp`) FROM {name}"))?;
            ends = [0, 1].map(|at| rows.first().and_then(|row| cell(row, at)));
        }
        let bytes = self.texts(&format!(
            "SELECT CAST(data_length + index_length AS CHAR) FROM information_schema.tables \
             WHERE table_schema = {schema} AND table_name = '{table}'"
        ))?;
        let [first, last] = ends;
        Ok([first, last, bytes.into_iter().next()])
    }

    fn tables(&mut self) -> Result<Vec<String>, ScanError> {
        let schema = self.schema();
        self.texts(&format!(
            "SELECT CAST(table_name AS CHAR) AS n FROM information_schema.tables \
             WHERE table_schema = {schema} ORDER BY 1 LIMIT {TABLES_TOLD}"
        ))
    }

    fn end(&mut self) {
        // With what is on its way the connection goes as well.
        self.answer = None;
        self.roll_back();
    }
}

fn bound(value: &Value) -> Sql {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => bytes.as_slice().into(),
        Value::Number(number) => (*number).into(),
        // `2026-03-01T12:30:00.500000Z` within the years that it holds.
        Value::Micros(micros) => {
            let text = Timestamp::from_micros(*micros).to_string();
            text.replacen('T', " ", 1).trim_end_matches('Z').into()
        }
    }
}

fn cell(row: &Row, at: usize) -> Option<String> {
    match row.as_ref(at) {
        Some(Sql::Bytes(bytes)) => Some(text(bytes)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A row's columns as JSON: by this protocol each comes as text.
fn fields(row: Row) -> Map<String, Json> {
    let columns = row.columns();
    let mut fields = Map::new();
    for (column, value) in columns.iter().zip(row.unwrap()) {
        let name = column.name_str().to_ascii_lowercase();
        let is_number = matches!(name.as_str(), "seq" | "confidence" | "latency_ms");
        let value = match value {
            Sql::NULL if is_number && name != "seq" => "NaN".into(),
            Sql::NULL => Json::Null,
            Sql::Bytes(bytes) if is_number => number(&text(&bytes)),
            Sql::Bytes(bytes) => text(&bytes).into(),
            other => other.as_sql(true).into(),
        };
        fields.insert(name, value);
    }
    fields
}

fn number(text: &str) -> Json {
    if let Ok(n) = text.parse::<u64>() {
        return n.into();
    }
    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
    float.map_or_else(|| text.into(), Json::Number)
}

/// How MySQL compares. Most of its collations tell less apart than bytes do, in which case more rows come;
/// where that would lose rows, bytes are compared.
struct Mysql<'f>(&'f Found);

impl Mysql<'_> {
    /// A column's text by its bytes.
    fn bytes(field: &str) -> String {
        format!("CAST(CONVERT({} USING utf8mb4) AS BINARY)", Kind::Mysql.quoted(field))
    }
}

impl Table for Mysql<'_> {
    fn form(&self, field: &str) -> Option<Form> {
        match self.0.column(field)?.sql_type.as_str() {
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" => {
                Some(Form::Text)
            }
            "json" => Some(Form::Json),
            "double" => Some(Form::Number),
            "datetime" | "timestamp" => Some(Form::Moment),
            _ => None,
        }
    }

    fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    fn fitted(&self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn is_text(&self, field: &str, text: &str, values: &mut Values) -> String {
        let text = values.text(text);
        // In the column's own collation, so that an index is used; another character set may lack some.
        match self.0.column(field).and_then(|column| column.charset.as_deref()) {
            Some("utf8mb4") => format!("{} = {text}", Kind::Mysql.quoted(field)),
            _ => format!("{} = CAST({text} AS BINARY)", Self::bytes(field)),
        }
    }

    fn contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let text = values.text(text);
        let contains = format!("LOCATE(CAST({text} AS BINARY), {}) > 0", Self::bytes(field));
        match field {
            // An event without an id gets one.
            "event_id" => format!("({contains} OR event_id IS NULL)"),
            _ => contains,
        }
    }

    fn json_contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let (bytes, text) = (Self::bytes(field), values.text(text));
        format!("(LOCATE(CAST({text} AS BINARY), {bytes}) > 0 OR LOCATE(X'5C', {bytes}) > 0)")
    }

    fn has_element(&self, field: &str, text: &str, _whole: bool, values: &mut Values) -> String {
        self.json_contains(field, text, values)
    }

    fn is_none_of(&self, field: &str, words: &[&str]) -> String {
        none_of(&Self::bytes(field), words)
    }

    /// Null is no number, or one that is not finite.
    fn is_number(&self, field: &str, number: f64, values: &mut Values) -> String {
        format!("{} = {}", Kind::Mysql.quoted(field), values.bind(Value::Number(number)))
    }

    /// What stands at an end of what the server holds may be of a moment beyond it, and what is beyond the
    /// end has none that is read.
    fn is_in_time(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        values: &mut Values,
    ) -> Option<String> {
        let column = Kind::Mysql.quoted("timestamp");
        let mut inside = Vec::new();
        for (moment, sign) in [(from, ">="), (to, "<")] {
            if let Some(moment) = moment {
                let moment = moment.clamp(HOLDS.moments.0, HOLDS.moments.1);
                let moment = values.bind(Value::Micros(moment.micros()));
                inside.push(format!("{column} {sign} CAST({moment} AS DATETIME(6))"));
            }
        }
        Some(format!(
            "(({}) OR {column} <= '1000-01-01 00:00:00' OR {column} >= '9999-12-31 23:59:59' \
             OR {column} IS NULL)",
            inside.join(" AND ")
        ))
    }
}
