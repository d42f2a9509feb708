//! Tables: their names, and the DDL by which each dialect of SQL makes one.

use std::fmt;
use std::str::FromStr;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use namel3ss_safety::ReadError;
use namel3ss_safety::internal::nearest::nearest;

/// A dialect of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// `sqlite`
    Sqlite,
    /// `postgres`, also `postgresql`
    Postgres,
    /// `mysql`, also `mariadb`
    Mysql,
}

impl Dialect {
    /// The words for all dialects.
    pub const WORDS: [&'static str; 3] = ["sqlite", "postgres", "mysql"];
}

/// A word that names no dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDialect(String);

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "find the SQL dialect {:?}: ", self.0)?;
        match nearest(&self.0, Dialect::WORDS) {
            Some(near) => write!(f, "did you mean {near:?}?"),
            None => write!(f, "use {}", Dialect::WORDS.join(", ")),
        }
    }
}

impl std::error::Error for UnknownDialect {}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(word: &str) -> Result<Self, UnknownDialect> {
        match word.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            _ => Err(UnknownDialect(word.chars().take(20).collect())),
        }
    }
}

/// A table's name: a letter or `_`, then at most 62 letters, digits or `_`, all ASCII; before it,
/// on a server, perhaps its schema's name and a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(String);

impl Default for Table {
    /// `safety_events`
    fn default() -> Self {
        Self("safety_events".to_owned())
    }
}

impl Table {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The schema's name, if one was given.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.0.split_once('.').map(|(schema, _)| schema)
    }

    /// The table's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, name)| name)
    }

    /// The name in the double quotes of standard SQL; it holds none itself.
    #[must_use]
    pub fn quoted(&self) -> String {
        self.in_quotes('"')
    }

    /// The name with each of its parts in `quote`.
    pub(crate) fn in_quotes(&self, quote: char) -> String {
        let parts = self.0.split('.').map(|part| format!("{quote}{part}{quote}"));
        parts.collect::<Vec<_>>().join(".")
    }

    /// The name of an index of it. Servers cut names at 63 or 64 bytes, and two cut names may be one.
    fn index(&self, of: &str) -> String {
        let name = self.name();
        format!("{}_{of}", &name[..name.len().min(50)])
    }
}

/// The most tables that [`no_table`] lists.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#[cfg_attr(not(feature = "read"), expect(dead_code, reason = "for reading"))]
pub(crate) const TABLES_TOLD: usize = 20;

/// That a table is not there, and which are.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#[cfg_attr(not(feature = "read"), expect(dead_code, reason = "for reading"))]
pub(crate) fn no_table(name: &str, others: &[String]) -> ReadError {
    let there = match others {
        [] => "there is no other".to_owned(),
        [one] => format!("there is {one}"),
        several => format!("there are {}", several.join(", ")),
    };
    ReadError::Dataset(format!("there is no table {name}, {there}"))
}

/// A text that is no table name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableError;

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "use the table name: write a letter or _, then up to 62 letters, digits or _, all ASCII; \
             on a server, schema.table if need be",
        )
    }
}

impl std::error::Error for TableError {}

impl FromStr for Table {
    type Err = TableError;

    fn from_str(name: &str) -> Result<Self, TableError> {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && name.len() <= 63
        };
        let (schema, table) = name.split_once('.').unwrap_or(("public", name));
        if is_name(schema) && is_name(table) { Ok(Self(name.to_owned())) } else { Err(TableError) }
    }
}

/// The statements that make `table` and its indexes where they are missing.
///
/// In SQLite `timestamp` is ISO 8601 text with microseconds and `Z`, `categories` and `metadata` are
/// JSON text; in MySQL `timestamp` is UTC. In both null in `confidence` or `latency_ms` stands for
/// NaN. What a server can't hold as it is stands in `metadata` under `row.exact`.
#[must_use]
pub fn ddl(dialect: Dialect, table: &Table) -> String {
    match dialect {
        Dialect::Sqlite => format!("{}{}", sqlite(table), by_trace(table)),
        Dialect::Postgres => postgres(table),
        Dialect::Mysql => mysql(table),
    }
}

/// `event_id` and `trace_id` are hashed: a B-tree takes no key beyond a third of a page, and an app's own
/// ids may be longer.
fn postgres(table: &Table) -> String {
    let quoted = table.quoted();
    let [by_time, by_event, by_trace] =
        ["timestamp", "event_id", "trace_id"].map(|column| table.index(column));
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (
    event_id    text NOT NULL,
    \"timestamp\" timestamptz NOT NULL,
    app_name    text,
    chain_name  text,
    agent_name  text,
    policy_name text,
    reason      text,
    trace_id    text,
    session_id  text,
    user_id     text,
    direction   text NOT NULL,
    action      text NOT NULL,
    categories  text[] NOT NULL,
    severity    text NOT NULL,
    confidence  double precision NOT NULL,
    latency_ms  double precision NOT NULL,
    metadata    jsonb NOT NULL,
    journal_id  uuid NOT NULL,
    seq         bigint NOT NULL,
    PRIMARY KEY (journal_id, seq)
);
CREATE INDEX IF NOT EXISTS \"{by_time}\" ON {quoted} (\"timestamp\");
CREATE INDEX IF NOT EXISTS \"{by_event}\" ON {quoted} USING hash (event_id);
CREATE INDEX IF NOT EXISTS \"{by_trace}\" ON {quoted} USING hash (trace_id) WHERE trace_id IS NOT NULL;
"
    )
}

/// One statement: MySQL itself has no `CREATE INDEX IF NOT EXISTS`.
fn mysql(table: &Table) -> String {
    let quoted = table.in_quotes('`');
    let [by_time, by_event, by_trace] =
        ["timestamp", "event_id", "trace_id"].map(|column| table.index(column));
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (
    event_id    MEDIUMTEXT NOT NULL,
    `timestamp` DATETIME(6) NOT NULL,
    app_name    MEDIUMTEXT,
    chain_name  MEDIUMTEXT,
    agent_name  MEDIUMTEXT,
    policy_name MEDIUMTEXT,
    reason      MEDIUMTEXT,
    trace_id    MEDIUMTEXT,
    session_id  MEDIUMTEXT,
    user_id     MEDIUMTEXT,
    direction   VARCHAR(6) CHARACTER SET ascii NOT NULL,
    action      VARCHAR(6) CHARACTER SET ascii NOT NULL,
    categories  JSON NOT NULL,
    severity    MEDIUMTEXT NOT NULL,
    confidence  DOUBLE,
    latency_ms  DOUBLE,
    metadata    JSON NOT NULL,
    journal_id  CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    seq         BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (journal_id, seq),
    INDEX `{by_time}` (`timestamp`),
    INDEX `{by_event}` (event_id(191)),
    INDEX `{by_trace}` (trace_id(64))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
"
    )
}

/// The index of SQLite by which a trace is found. Beside the other two it makes delivery slower, by up to
/// the half, so that it can be left out: `?index=none`.
fn by_trace(table: &Table) -> String {
    let (name, quoted) = (table.as_str(), table.quoted());
    format!(
        "CREATE INDEX IF NOT EXISTS \"{name}_trace_id\" ON {quoted} (trace_id) WHERE trace_id IS NOT NULL;\n"
    )
}

/// The table in SQLite without the index by traces.
pub(crate) fn sqlite(table: &Table) -> String {
    let (name, quoted) = (table.as_str(), table.quoted());
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (
    event_id    TEXT NOT NULL,
    timestamp   TEXT NOT NULL,
    app_name    TEXT,
    chain_name  TEXT,
    agent_name  TEXT,
    policy_name TEXT,
    reason      TEXT,
    trace_id    TEXT,
    session_id  TEXT,
    user_id     TEXT,
    direction   TEXT NOT NULL,
    action      TEXT NOT NULL,
    categories  TEXT NOT NULL,
    severity    TEXT NOT NULL,
    confidence  REAL,
    latency_ms  REAL,
    metadata    TEXT NOT NULL,
    journal_id  TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    PRIMARY KEY (journal_id, seq)
);
CREATE INDEX IF NOT EXISTS \"{name}_timestamp\" ON {quoted} (timestamp);
CREATE INDEX IF NOT EXISTS \"{name}_event_id\" ON {quoted} (event_id);
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_dialects_guessed() {
        for good in ["a", "_", "T1", "a.b", &"x".repeat(63)] {
            assert!(good.parse::<Table>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "a b", "a\"b", "a.b.c", ".a", "a.", "é", "a;--", &"x".repeat(64)] {
            assert!(bad.parse::<Table>().is_err(), "{bad}");
        }
        let error = "sqlit".parse::<Dialect>().expect_err("no dialect").to_string();
        assert!(error.contains("did you mean \"sqlite\"?"), "{error}");
    }
}
