//! Rows of a MySQL or MariaDB table, for [`crate::server::Reader`].

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value as Sql};
use namel3ss_safety::adapter::ReadError;
use serde_json::{Map, Number, Value};

use super::connect::connect;
use super::failure::{Problem, problem};
use crate::runtime;
use crate::server::Server;
use crate::server::read::{Rows, page_timeout};

/// A table, and a connection while it is looked at.
pub(crate) struct Table {
    server: Server,
    connection: Option<Conn>,
}

impl std::fmt::Debug for Table {
    /// Without the connection, whose own `Debug` shows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Table {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, connection: None }
    }

    fn query(&mut self, sql: &str) -> Result<Vec<Row>, ReadError> {
        let timeout = page_timeout(&self.server);
        let Self { server, connection } = self;
        let looked = runtime::off_runtime(|| {
            let looked = async {
                let connection = match connection {
                    Some(connection) => connection,
                    none => none.insert(connect(server).await?),
                };
                connection.query(sql).await.map_err(|error| problem("read rows", &error))
            };
            let waited = runtime::block_on(async { tokio::time::timeout(timeout, looked).await });
            match waited.map_err(|error| format!("start a runtime: {error}"))? {
                Ok(rows) => rows.map_err(|problem: Problem| problem.into_error().to_string()),
                Err(_) => Err(format!("read rows: no answer within {} s", timeout.as_secs())),
            }
        });
        looked.map_err(|text| {
            // In whatever state it is.
            self.connection = None;
            ReadError::Dataset(text)
        })
    }
}

impl Rows for Table {
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
            return Err(ReadError::Dataset(format!("there is no table {name}")));
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
        if self.connection.is_some() {
            // A failure has ended the connection itself.
            let _ = self.query("ROLLBACK");
        }
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
            Sql::NULL => continue,
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
