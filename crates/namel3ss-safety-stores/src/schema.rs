//! Tables: their names, and the DDL by which each dialect of SQL makes one.

use std::fmt;
use std::str::FromStr;

use namel3ss_safety::nearest::nearest;

/// A dialect of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// `sqlite`
    Sqlite,
}

impl Dialect {
    /// The words for all dialects.
    pub const WORDS: [&'static str; 1] = ["sqlite"];
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
            _ => Err(UnknownDialect(word.chars().take(20).collect())),
        }
    }
}

/// A table's name: a letter or `_`, then at most 62 letters, digits or `_`, all ASCII.
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

    /// The name in the double quotes of standard SQL; it holds none itself.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// A text that is no table name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableError;

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "use the table name: write a letter or _, then up to 62 letters, digits or _, all ASCII",
        )
    }
}

impl std::error::Error for TableError {}

impl FromStr for Table {
    type Err = TableError;

    fn from_str(name: &str) -> Result<Self, TableError> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let all = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if starts_well && all && name.len() <= 63 {
            Ok(Self(name.to_owned()))
        } else {
            Err(TableError)
        }
    }
}

/// The statements that make `table` and its indexes where they are missing.
///
/// `timestamp` is ISO 8601 text with microseconds and `Z`, `categories` and `metadata` are JSON
/// text, and null in `confidence` or `latency_ms` stands for NaN.
#[must_use]
pub fn ddl(dialect: Dialect, table: &Table) -> String {
    match dialect {
        Dialect::Sqlite => sqlite(table),
    }
}

fn sqlite(table: &Table) -> String {
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
        for good in ["a", "_", "T1", &"x".repeat(63)] {
            assert!(good.parse::<Table>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "a b", "a\"b", "a.b", "é", "a;--", &"x".repeat(64)] {
            assert!(bad.parse::<Table>().is_err(), "{bad}");
        }
        let error = "sqlit".parse::<Dialect>().expect_err("no dialect").to_string();
        assert!(error.contains("did you mean \"sqlite\"?"), "{error}");
    }
}
