//! The table, ours or another's: its columns and its key.

use std::collections::HashSet;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use namel3ss_safety::AdapterError;

use super::failure::problem;
use crate::schema::{Dialect, Table, ddl};
use crate::server::Kind;
use crate::server::columns::{self, Matching};
use crate::server::problem::Problem;

/// A table as it was found, and how to fill it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) matching: Matching,
    /// The columns, as they are called there, that may not be read.
    pub(super) unreadable: HashSet<String>,
    /// The key by which a row that is sent again is known: its `journal_id` and `seq`.
    pub(super) key: Option<Key>,
    /// Up to the first row's values.
    pub(super) insert: String,
    /// Of one row.
    pub(super) places: String,
    /// `` `schema`.`table` ``
    pub(super) quoted: String,
}

/// What its columns are called there, in quotes.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) journal: String,
    pub(super) seq: String,
    /// There are unique keys besides it.
    pub(super) others: bool,
}

/// Finds the table, and makes it where it is missing.
pub(super) async fn find(connection: &mut Conn, table: &Table) -> Result<Found, Problem> {
    if let Some(found) = look(connection, table).await? {
        return Ok(found);
    }
    let doing = format!("make the table {}", table.in_quotes('`'));
    let made = connection.query_drop(ddl(Dialect::Mysql, table)).await;
    made.map_err(|error| problem(&doing, &error, connection.opts().pass()))?;
    let gone = || AdapterError::transient(format!("{doing}: it is not there")).into();
    look(connection, table).await?.ok_or_else(gone)
}

async fn look(connection: &mut Conn, table: &Table) -> Result<Option<Found>, Problem> {
    let quoted = table.in_quotes('`');
    let doing = format!("look at the table {quoted}");
    let password = connection.opts().pass().map(str::to_owned);
    let failed = |error: mysql_async::Error| problem(&doing, &error, password.as_deref());
    let at = (table.schema(), table.name());
    // Servers differ in whether they give these names as text or as bytes, and in which case.
    let found: Vec<(String, String, bool)> = connection
        .exec(
            "SELECT CAST(column_name AS CHAR) AS n, CAST(data_type AS CHAR) AS t, \
             CAST(privileges LIKE '%select%' AS SIGNED) AS r \
             FROM information_schema.columns \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? \
             AND extra NOT LIKE '%GENERATED%' ORDER BY ordinal_position",
            at,
        )
        .await
        .map_err(failed)?;
    if found.is_empty() {
        return Ok(None);
    }
    let unreadable = found.iter().filter(|(.., readable)| !readable);
    let unreadable = unreadable.map(|(name, ..)| name.clone()).collect();
    let found: Vec<(String, String)> = found.into_iter().map(|(n, t, _)| (n, t)).collect();
    let matching = Matching::of(&found, &quoted)?;
    let keys: Vec<(String, Option<String>, Option<i64>)> = connection
        .exec(
            "SELECT CAST(index_name AS CHAR) AS i, CAST(column_name AS CHAR) AS n, \
             CAST(sub_part AS SIGNED) AS s FROM information_schema.statistics \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND non_unique = 0 \
             ORDER BY index_name, seq_in_index",
            at,
        )
        .await
        .map_err(failed)?;
    let mut indexes: Vec<(String, Vec<String>)> = Vec::new();
    for (index, column, part) in keys {
        // A prefix of a column, or an expression, is no column.
        let column = column.filter(|_| part.is_none()).unwrap_or_default();
        match indexes.last_mut().filter(|(name, _)| *name == index) {
            Some((_, columns)) => columns.push(column),
            None => indexes.push((index, vec![column])),
        }
    }
    let others = indexes.len() > 1;
    let key = columns::key(indexes.into_iter().map(|(_, columns)| columns).collect());
    let called = |word: &str| {
        let column = found.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        column.map(|(name, _)| Kind::Mysql.quoted(name)).unwrap_or_default()
    };
    let key = key.map(|_| Key { journal: called("journal_id"), seq: called("seq"), others });
    let columns: Vec<String> =
        matching.columns.iter().map(|c| Kind::Mysql.quoted(&c.theirs)).collect();
    Ok(Some(Found {
        insert: format!("INSERT INTO {quoted} ({}) VALUES ", columns.join(", ")),
        places: format!("({})", vec!["?"; columns.len()].join(", ")),
        matching,
        unreadable,
        key,
        quoted,
    }))
}
