//! Rows of a PostgreSQL table, for [`crate::server::ServerReader`]: from a cursor, whose statement has the
//! scan's conditions.

use std::time::Instant;

use namel3ss_safety::ReadError;
use namel3ss_safety::Timestamp;
use serde_json::{Map, Value as Json};
use tokio_postgres::types::{ToSql, Type};

use super::connect::Conn;
use super::copy::HOLDS;
use crate::read::error::ScanError;
use crate::read::pushed::{Form, Table, Value, Values, conditions, none_of};
use crate::read::scan::Scan;
use crate::schema::{TABLES_TOLD, no_table};
use crate::server::Kind;
use crate::server::columns;
use crate::server::reading::Reading;
use crate::server::scan::{Column, Found, Query, Rows};

/// The name of the cursor. It has one at a time.
const CURSOR: &str = "n3_safety_scan";

impl Reading<Conn, usize> {
    /// Has the server end what takes longer than a page may.
    fn limit_statements(&mut self) -> Result<(), ScanError> {
        let millis = self.limit().as_millis() + 1;
        self.query(&format!("SET LOCAL statement_timeout = {millis}")).map(drop)
    }

    /// The first column of each row.
    fn texts(&mut self, sql: &str) -> Result<Vec<String>, ScanError> {
        let rows = self.query(sql)?.into_iter();
        Ok(rows.filter_map(|row| row.into_iter().next().flatten()).collect())
    }
}

impl Rows for Reading<Conn, usize> {
    fn begin(&mut self, deadline: Option<Instant>) -> Result<Found, ScanError> {
        (self.deadline, self.answer) = (deadline, None);
        self.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        self.limit_statements()?;
        let name = self.server.table.quoted();
        let encoding = self.texts(&format!(
            "SELECT pg_catalog.current_setting('server_encoding') \
             WHERE pg_catalog.to_regclass('{name}') IS NOT NULL"
        ))?;
        let Some(encoding) = encoding.first() else {
            let ReadError::Dataset(text) = no_table(&name, &self.tables()?) else {
                return Err(ScanError::NotThere(name));
            };
            return Err(ScanError::NotThere(text));
        };
        let rows = self.query(&format!(
            "SELECT a.attname::text, CASE t.typtype WHEN 'e' THEN 'enum' ELSE \
             n.nspname || '.' || t.typname END FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
             WHERE a.attrelid = pg_catalog.to_regclass('{name}') AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum"
        ))?;
        let columns = rows.into_iter().filter_map(|row| match row.as_slice() {
            [Some(name), Some(sql_type)] => {
                Some(Column { name: name.clone(), sql_type: sql_type.clone(), charset: None })
            }
            _ => None,
        });
        let columns = columns.collect();
        let keys =
            self.texts(&super::table::keys_of(&format!("pg_catalog.to_regclass('{name}')")))?;
        let keys = keys.iter().map(|key| key.lines().map(str::to_owned).collect());
        Ok(Found {
            columns,
            has_key: columns::is_unique(keys),
            is_utf8: encoding == "UTF8",
            by_time: None,
        })
    }

    fn heads(&mut self) -> Result<Vec<(String, u64)>, ScanError> {
        let name = self.server.table.quoted();
        // From one journal to the next by the key's index, whatever lies between.
        let rows = self.query(&format!(
            "WITH RECURSIVE j AS ((SELECT journal_id FROM {name} ORDER BY journal_id LIMIT 1) \
             UNION ALL SELECT (SELECT t.journal_id FROM {name} AS t WHERE t.journal_id > j.journal_id \
             ORDER BY t.journal_id LIMIT 1) FROM j WHERE j.journal_id IS NOT NULL) \
             SELECT j.journal_id, (SELECT max(seq) FROM {name} AS t WHERE t.journal_id = j.journal_id) \
             FROM j WHERE j.journal_id IS NOT NULL"
        ))?;
        let rows = rows.into_iter().filter_map(|row| match row.as_slice() {
            [Some(id), Some(seq)] => Some((id.clone(), seq.parse().ok()?)),
            _ => None,
        });
        Ok(rows.collect())
    }

    fn conditions(&self, scan: &Scan, found: &Found) -> (Vec<String>, Vec<Value>) {
        let mut values = Values::new(|number| format!("${number}"));
        let conditions = conditions(scan, &Postgres(found), &mut values);
        (conditions, values.into_inner())
    }

    fn ask(&mut self, query: &Query<'_>) -> Result<(), ScanError> {
        if self.answer.take().is_some() {
            self.query(&format!("CLOSE {CURSOR}"))?;
        }
        let name = self.server.table.quoted();
        let row = if query.columns.is_empty() {
            "to_jsonb(t)::text".to_owned()
        } else {
            let of_ours =
                query.columns.iter().map(|name| format!("t.{}", Kind::Postgres.quoted(name)));
            let exact = query.found.column("metadata").map(|column| {
                match column.sql_type.as_str() {
                    "pg_catalog.jsonb" => {
                        "CASE WHEN pg_catalog.jsonb_exists(t.metadata, 'row.exact') \
                         THEN t.metadata END AS metadata"
                    }
                    _ => "t.metadata",
                }
                .to_owned()
            });
            let columns: Vec<String> = of_ours.chain(exact).collect();
            format!("(SELECT to_jsonb(r)::text FROM (SELECT {}) AS r)", columns.join(", "))
        };
        let sql = format!(
            "DECLARE {CURSOR} NO SCROLL CURSOR FOR SELECT {row} FROM {name} AS t {}",
            query.rest()
        );
        let texts: Vec<String> = query.values.iter().map(text).collect();
        self.run(async |connection: &mut Conn| {
            let values: Vec<(&(dyn ToSql + Sync), Type)> =
                texts.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)).collect();
            let declared = connection.run(|client| client.query_typed(&sql, &values)).await;
            declared.map_err(|error| connection.problem("read rows", &error)).map(drop)
        })?;
        self.answer = Some(query.page);
        Ok(())
    }

    fn page(&mut self) -> Result<Vec<Map<String, Json>>, ScanError> {
        let Some(page) = self.answer else { return Ok(Vec::new()) };
        if self.deadline.is_some() {
            self.limit_statements()?;
        }
        let rows = self.texts(&format!("FETCH FORWARD {page} FROM {CURSOR}"))?;
        let row = |text: &String| {
            serde_json::from_str(text).map_err(|error| ScanError::Failed(error.to_string()))
        };
        rows.iter().map(row).collect()
    }

    fn extent(&mut self, found: &Found) -> Result<[Option<String>; 3], ScanError> {
        let name = self.server.table.quoted();
        let end = |which: &str| match found.has("timestamp") {
            true => format!("to_jsonb((SELECT {which}(\"timestamp\") FROM {name})) #>> '{{}}'"),
            false => "NULL".to_owned(),
        };
        let rows = self.query(&format!(
            "SELECT {}, {}, pg_catalog.pg_total_relation_size(pg_catalog.to_regclass('{name}'))",
            end("min"),
            end("max")
        ))?;
        let row = rows.into_iter().next().and_then(|row| <[_; 3]>::try_from(row).ok());
        Ok(row.unwrap_or_default())
    }

    fn tables(&mut self) -> Result<Vec<String>, ScanError> {
        self.texts(&format!(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE \
             table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT {TABLES_TOLD}"
        ))
    }

    fn end(&mut self) {
        self.roll_back();
    }
}

/// A value as the text that is bound, which its place makes what it is.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Number(number) => number.to_string(),
        Value::Micros(micros) => Timestamp::from_micros(*micros).to_string(),
    }
}

/// How PostgreSQL compares. Collations that do not tell texts apart are kept out where that could lose rows.
struct Postgres<'f>(&'f Found);

impl Postgres<'_> {
    /// A column as text, by its bytes.
    fn bytes(&self, field: &str) -> String {
        format!("({}::text COLLATE \"C\")", Kind::Postgres.quoted(field))
    }
}

impl Table for Postgres<'_> {
    fn form(&self, field: &str) -> Option<Form> {
        let sql_type = self.0.column(field)?.sql_type.strip_prefix("pg_catalog.");
        let of_words = matches!(field, "action" | "direction" | "severity");
        match sql_type {
            None if of_words && self.0.column(field)?.sql_type == "enum" => Some(Form::Text),
            Some("text" | "varchar") => Some(Form::Text),
            Some("timestamptz" | "timestamp") => Some(Form::Moment),
            Some("float8") => Some(Form::Number),
            Some("_text" | "_varchar") => Some(Form::Texts),
            Some("json" | "jsonb") => Some(Form::Json),
            _ => None,
        }
    }

    fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// U+0000 is stored as U+FFFD; a server of another encoding lacks characters.
    fn fitted(&self, text: &str) -> Option<String> {
        (self.0.is_utf8 || text.is_ascii()).then(|| text.replace('\0', "\u{fffd}"))
    }

    fn is_text(&self, field: &str, text: &str, values: &mut Values) -> String {
        format!("{} = {}", Kind::Postgres.quoted(field), values.text(text))
    }

    fn contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let contains = format!("strpos({}, {}) > 0", self.bytes(field), values.text(text));
        match field {
            // An event without an id gets one.
            "event_id" => format!("({contains} OR event_id IS NULL)"),
            _ => contains,
        }
    }

    fn json_contains(&self, field: &str, text: &str, values: &mut Values) -> String {
        let bytes = self.bytes(field);
        let text = values.text(text);
        format!("(strpos({bytes}, {text}) > 0 OR strpos({bytes}, E'\\\\') > 0)")
    }

    fn has_element(&self, field: &str, text: &str, whole: bool, values: &mut Values) -> String {
        let (column, text) = (Kind::Postgres.quoted(field), values.text(text));
        match whole {
            true => format!("{text} = ANY({column}::text[])"),
            false => {
                format!("strpos(array_to_string({column}, ' ') COLLATE \"C\", {text}) > 0")
            }
        }
    }

    fn is_none_of(&self, field: &str, words: &[&str]) -> String {
        none_of(&self.bytes(field), words)
    }

    /// Where there is none, it has its default.
    fn is_number(&self, field: &str, number: f64, values: &mut Values) -> String {
        let (column, number) = (Kind::Postgres.quoted(field), values.bind(Value::Number(number)));
        format!("({column} = {number}::text::float8 OR {column} IS NULL)")
    }

    /// What stands at an end of what the server holds may be of a moment beyond it, and what is beyond the
    /// end has none that is read.
    fn is_in_time(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        values: &mut Values,
    ) -> Option<String> {
        let column = Kind::Postgres.quoted("timestamp");
        let zone = match self.0.column("timestamp")?.sql_type.as_str() {
            "pg_catalog.timestamp" => " AT TIME ZONE 'UTC'",
            _ => "",
        };
        let mut inside = Vec::new();
        for (moment, sign) in [(from, ">="), (to, "<")] {
            if let Some(moment) = moment {
                let moment = moment.clamp(HOLDS.moments.0, HOLDS.moments.1);
                let moment = values.bind(Value::Micros(moment.micros()));
                inside.push(format!("{column} {sign} {moment}::text::timestamptz{zone}"));
            }
        }
        Some(format!(
            "(({}) OR {column} <= '0001-01-01 00:00:00Z'::timestamptz{zone} \
             OR {column} >= '9999-12-31 23:59:59Z'::timestamptz{zone} OR {column} IS NULL)",
            inside.join(" AND ")
        ))
    }
}
