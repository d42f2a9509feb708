//! Rows of a PostgreSQL table, for [`crate::server::Reader`].

use namel3ss_safety::ReadError;
use serde_json::{Map, Value};

use super::connect::Conn;
use crate::schema::{TABLES_TOLD, no_table};
use crate::server::read::Rows;
use crate::server::reading::Reading;

impl Rows for Reading<Conn> {
    fn begin(&mut self) -> Result<[bool; 3], ReadError> {
        self.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let name = self.server.table.quoted();
        let has = |column| {
            format!(
                "EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = t.oid \
                 AND NOT attisdropped AND attname = '{column}')"
            )
        };
        let rows = self.query(&format!(
            "SELECT {}, {}, {} FROM (SELECT pg_catalog.to_regclass('{name}') AS oid) AS t \
             WHERE oid IS NOT NULL",
            has("journal_id"),
            has("seq"),
            has("timestamp")
        ))?;
        let Some(row) = rows.first() else {
            let others = self.query(&format!(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE \
                 table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \
                 LIMIT {TABLES_TOLD}"
            ))?;
            let others = others.into_iter().filter_map(|row| row.into_iter().next().flatten());
            return Err(no_table(&name, &others.collect::<Vec<_>>()));
        };
        Ok([0, 1, 2].map(|at| row.get(at).and_then(Option::as_deref) == Some("t")))
    }

    fn heads(&mut self) -> Result<Vec<(String, u64)>, ReadError> {
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

    fn select(&mut self, rest: &str) -> Result<Vec<Map<String, Value>>, ReadError> {
        let name = self.server.table.quoted();
        let rows = self.query(&format!("SELECT to_jsonb(t)::text FROM {name} AS t {rest}"))?;
        let row = |row: Vec<Option<String>>| {
            let text = row.into_iter().next().flatten().unwrap_or_default();
            serde_json::from_str(&text).map_err(|error| ReadError::Dataset(error.to_string()))
        };
        rows.into_iter().map(row).collect()
    }

    fn end(&mut self) {
        self.roll_back();
    }
}
