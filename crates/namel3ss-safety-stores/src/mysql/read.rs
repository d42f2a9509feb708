//! Rows of a MySQL or MariaDB table, for [`crate::server::Reader`].

use mysql_async::{Conn, Row, Value as Sql};
use namel3ss_safety::ReadError;
use serde_json::{Map, Number, Value};

use crate::schema::{TABLES_TOLD, no_table};
use crate::server::read::Rows;
use crate::server::reading::Reading;

impl Rows for Reading<Conn> {
    fn begin(&mut self) -> Result<[bool; 3], ReadError> {
        self.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        self.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
        let table = &self.server.table;
        let schema = table.schema().map_or("DATABASE()".to_owned(), |name| format!("'{name}'"));
        let rows = self.query(&format!(
            "SELECT CAST(column_name AS CHAR) AS n FROM information_schema.columns \
             WHERE table_schema = {schema} AND table_name = '{}'",
            table.name()
        ))?;
        if rows.is_empty() {
            let name = self.server.table.in_quotes('`');
            let others = self.query(&format!(
                "SELECT CAST(table_name AS CHAR) AS n FROM information_schema.tables \
                 WHERE table_schema = {schema} ORDER BY 1 LIMIT {TABLES_TOLD}"
            ))?;
            let others = others.iter().filter_map(|row| match row.as_ref(0) {
                Some(Sql::Bytes(name)) => Some(String::from_utf8_lossy(name).into_owned()),
                _ => None,
            });
            return Err(no_table(&name, &others.collect::<Vec<_>>()));
        }
        let has = |word: &str| {
            rows.iter().any(|row| match row.as_ref(0) {
                Some(Sql::Bytes(name)) => name.eq_ignore_ascii_case(word.as_bytes()),
                _ => false,
            })
        };
        Ok(["journal_id", "seq", "timestamp"].map(has))
    }

    fn heads(&mut self) -> Result<Vec<(String, u64)>, ReadError> {
        let name = self.server.table.in_quotes('`');
        // From one journal to the next by the key's index, as it does for such a query.
        let rows =
            self.query(&format!("SELECT journal_id, MAX(seq) FROM {name} GROUP BY journal_id"))?;
        let rows = rows.iter().filter_map(|row| match (row.as_ref(0), row.as_ref(1)) {
            (Some(Sql::Bytes(id)), Some(Sql::Bytes(seq))) => {
                Some((text(id), text(seq).parse().ok()?))
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    fn select(&mut self, rest: &str) -> Result<Vec<Map<String, Value>>, ReadError> {
        let name = self.server.table.in_quotes('`');
        let rows = self.query(&format!("SELECT * FROM {name} {rest}"))?;
        Ok(rows.into_iter().map(fields).collect())
    }

    fn end(&mut self) {
        self.roll_back();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A row's columns as JSON: by this protocol each comes as text.
fn fields(row: Row) -> Map<String, Value> {
    let columns = row.columns();
    let mut fields = Map::new();
    for (column, value) in columns.iter().zip(row.unwrap()) {
        let name = column.name_str().to_ascii_lowercase();
        let is_number = matches!(name.as_str(), "seq" | "confidence" | "latency_ms");
        let value = match value {
            Sql::NULL if is_number && name != "seq" => "NaN".into(),
            Sql::NULL => Value::Null,
            Sql::Bytes(bytes) if is_number => number(&text(&bytes)),
            Sql::Bytes(bytes) => text(&bytes).into(),
            other => other.as_sql(true).into(),
        };
        fields.insert(name, value);
    }
    fields
}

fn number(text: &str) -> Value {
    if let Ok(n) = text.parse::<u64>() {
        return n.into();
    }
    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
    float.map_or_else(|| text.into(), Value::Number)
}
