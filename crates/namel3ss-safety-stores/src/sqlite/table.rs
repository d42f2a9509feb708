//! The table's columns, ours or another's, and a row's values for them.

use std::collections::HashSet;

use namel3ss_safety::{Batch, FIELDS, JournalId, Row, internal::json};
use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement, ToSql};
use serde_json::Value;

use crate::schema::{Dialect, Table, ddl, sqlite as without_traces};

const EVENT_ID: usize = 0;
const TIMESTAMP: usize = 1;
const METADATA: usize = 16;
const JOURNAL: usize = 17;
const SEQ: usize = 18;
const COLUMNS: usize = 19;

/// How many rows go in with one statement, which finds its way into each index once for them and
/// not once for each.
pub(super) const MANY: usize = 64;

/// The name of one of our columns.
pub(super) fn name(column: usize) -> &'static str {
    match column {
        JOURNAL => "journal_id",
        SEQ => "seq",
        field => FIELDS[field],
    }
}

/// Which of our columns the table has, and how to fill them.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) insert: String,
    /// For [`MANY`] rows of one journal, whose id is the last parameter; only where a row that is
    /// there already is passed over. The first row that can't be stored ends it, and leaves those
    /// before it where they are.
    pub(super) insert_many: Option<String>,
    pub(super) has_key: bool,
    is_view: bool,
    columns: Vec<usize>,
    /// The fields that have no column.
    rest: Vec<usize>,
}

/// What a table has in place of rows, by their positions in the batch.
#[derive(Debug, Default)]
pub(super) struct InPlace {
    /// Nothing.
    pub(super) absent: Vec<usize>,
    /// Other events.
    pub(super) others: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum TableProblem {
    Sql(rusqlite::Error),
    Lacks(String),
}

impl From<rusqlite::Error> for TableProblem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The names of the columns of `table`, in lower case; none if there is no such table.
pub(super) fn names(connection: &Connection, table: &Table) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT lower(name) FROM pragma_table_info(?1)")?;
    statement.query_map([table.as_str()], |row| row.get(0))?.collect()
}

impl Columns {
    /// Makes the table where it is missing, `indexed` by traces or not.
    pub(super) fn of(
        connection: &Connection,
        table: &Table,
        indexed: bool,
    ) -> Result<Self, TableProblem> {
        if names(connection, table)?.is_empty() {
            connection.execute_batch(&match indexed {
                true => ddl(Dialect::Sqlite, table),
                false => without_traces(table),
            })?;
        }
        let names = names(connection, table)?;
        let has = |column: &usize| names.iter().any(|found| found == name(*column));
        let (columns, rest): (Vec<usize>, Vec<usize>) = (0..COLUMNS).partition(has);
        if rest.contains(&METADATA) {
            let missing: Vec<&str> = rest.iter().map(|column| name(*column)).collect();
            return Err(TableProblem::Lacks(format!(
                "write to table {}: it lacks {}; add these columns, or a metadata column to hold what has none",
                table.quoted(),
                missing.join(", ")
            )));
        }
        let has_key = has_key(connection, table)?;
        let is_view = is_view(connection, table)?;
        let quoted: Vec<String> = columns.iter().map(|c| format!("\"{}\"", name(*c))).collect();
        let insert = format!(
            "INSERT INTO {} ({}) VALUES ({}){}",
            table.quoted(),
            quoted.join(", "),
            vec!["?"; columns.len()].join(", "),
            if has_key { " ON CONFLICT (journal_id, seq) DO NOTHING" } else { "" }
        );
        let insert_many = has_key.then(|| many(table, &columns, &quoted));
        Ok(Self { insert, insert_many, has_key, is_view, columns, rest })
    }

    /// Inserts a row; says whether it is new.
    pub(super) fn insert(
        &self,
        statement: &mut CachedStatement<'_>,
        row: &Row<'_>,
        text: &mut Scratch,
    ) -> rusqlite::Result<usize> {
        for (at, column) in self.columns.iter().enumerate() {
            self.bind(statement, at + 1, *column, row, text)?;
        }
        statement.raw_execute()
    }

    /// Binds the journal of all rows that [`insert_many`](Self::insert_many) will be given.
    pub(super) fn bind_journal(
        &self,
        statement: &mut CachedStatement<'_>,
        journal: JournalId,
    ) -> rusqlite::Result<()> {
        let mut text = Vec::new();
        json::write_journal(journal, &mut text);
        statement.raw_bind_parameter(MANY * (self.columns.len() - 1) + 1, Text(&text))
    }

    /// Inserts [`MANY`] rows; says how many are new.
    pub(super) fn insert_many(
        &self,
        statement: &mut CachedStatement<'_>,
        rows: &Batch<'_>,
        text: &mut Scratch,
    ) -> rusqlite::Result<usize> {
        let mut at = 0;
        for row in rows.rows() {
            let texts = row.event.texts();
            for column in self.columns.iter().filter(|column| **column != JOURNAL) {
                let null = (2..=9).contains(column) && texts[column - 2].is_none();
                // What was null stays so, without a call.
                if !(std::mem::replace(&mut text.nulls[at], null) && null) {
                    self.bind(statement, at + 1, *column, &row, text)?;
                }
                at += 1;
            }
        }
        statement.raw_execute()
    }

    /// What is in the table in place of `doubtful`, positions of rows that no insert counted.
    pub(super) fn look(
        &self,
        connection: &Connection,
        table: &Table,
        batch: &Batch<'_>,
        doubtful: &[usize],
    ) -> rusqlite::Result<InPlace> {
        if doubtful.is_empty() {
            return Ok(InPlace::default());
        }
        if ![JOURNAL, SEQ].iter().all(|column| self.columns.contains(column)) {
            // SQLite counts no row of a view, whatever its triggers do with it.
            let absent = if self.is_view { Vec::new() } else { doubtful.to_vec() };
            return Ok(InPlace { absent, others: Vec::new() });
        }
        let sql = format!(
            "SELECT CAST(seq AS INTEGER) FROM {} WHERE journal_id = ?1 AND seq BETWEEN ?2 AND ?3",
            table.quoted()
        );
        let id = batch.id();
        let mut journal = Vec::new();
        json::write_journal(id.journal, &mut journal);
        let bound = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(&sql)?;
        let parameters = rusqlite::params![Text(&journal), bound(id.first.0), bound(id.last.0)];
        let there: HashSet<i64> =
            statement.query_map(parameters, |row| row.get(0))?.collect::<Result<_, _>>()?;
        let seqs: Vec<i64> = batch.rows().map(|row| bound(row.seq.0)).collect();
        let (there, absent): (Vec<usize>, Vec<usize>) =
            doubtful.iter().partition(|at| there.contains(&seqs[**at]));
        Ok(InPlace { absent, others: self.others(connection, table, batch, &there)? })
    }

    /// Which of the rows at these positions stand in the table as other events: with another
    /// `event_id` or `timestamp`, compared as SQLite compares the column, so in the form that it has
    /// there. What is null there, or has no column, says nothing.
    fn others(
        &self,
        connection: &Connection,
        table: &Table,
        batch: &Batch<'_>,
        there: &[usize],
    ) -> rusqlite::Result<Vec<usize>> {
        let identity = [EVENT_ID, TIMESTAMP].into_iter();
        let identity: Vec<usize> = identity.filter(|c| self.columns.contains(c)).collect();
        if identity.is_empty() || there.is_empty() {
            return Ok(Vec::new());
        }
        let differs = |column: &usize| format!("\"{}\" <> ?", name(*column));
        let differs: Vec<String> = identity.iter().map(differs).collect();
        let sql = format!(
            "SELECT 1 FROM {} WHERE ({}) AND journal_id = ? AND seq = ?",
            table.quoted(),
            differs.join(" OR ")
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut scratch = Scratch::default();
        let mut others = Vec::new();
        for at in there {
            for row in batch.slice(*at..at + 1).rows() {
                let values = identity.iter().chain(&[JOURNAL, SEQ]).enumerate();
                for (place, column) in values {
                    self.bind(&mut statement, place + 1, *column, &row, &mut scratch)?;
                }
            }
            if statement.raw_query().next()?.is_some() {
                others.push(*at);
            }
        }
        Ok(others)
    }

    fn bind(
        &self,
        statement: &mut Statement<'_>,
        at: usize,
        column: usize,
        row: &Row<'_>,
        Scratch { times, text, .. }: &mut Scratch,
    ) -> rusqlite::Result<()> {
        let event = &row.event;
        text.clear();
        match column {
            0 => return statement.raw_bind_parameter(at, event.event_id),
            1 => times.write(event.timestamp, text),
            2..=9 => return statement.raw_bind_parameter(at, event.texts()[column - 2]),
            10 => return statement.raw_bind_parameter(at, event.direction.as_str()),
            11 => return statement.raw_bind_parameter(at, event.action.as_str()),
            12 => json::write_texts(event.categories(), text),
            13 => return statement.raw_bind_parameter(at, event.severity),
            14 => return bind_float(statement, at, event.confidence),
            15 => return bind_float(statement, at, event.latency_ms),
            METADATA if self.rest.is_empty() => json::write_object(event.metadata(), text),
            METADATA => self.write_metadata(row, text),
            JOURNAL => json::write_journal(row.journal, text),
            // rusqlite refuses a seq beyond i64, which makes it a poison row.
            _ => return statement.raw_bind_parameter(at, seq(row)?),
        }
        statement.raw_bind_parameter(at, Text(text))
    }

    /// The row's metadata, and in it what has no column.
    fn write_metadata(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        json::write_object(row.event.metadata(), out);
        // Open again for what follows.
        out.pop();
        let mut whole = Vec::new();
        row.write_json(&mut whole);
        // What write_json wrote is an object.
        if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&whole) {
            for missing in &self.rest {
                let name = name(*missing);
                if let Some(value) = fields.remove(name).filter(|value| !value.is_null()) {
                    let taken = row.event.metadata().any(|(key, _)| key == name);
                    let name = if taken { format!("row.{name}") } else { name.to_owned() };
                    if out.len() > start + 1 {
                        out.push(b',');
                    }
                    json::write_text(&name, out);
                    out.push(b':');
                    out.extend_from_slice(value.to_string().as_bytes());
                }
            }
        }
        out.push(b'}');
    }
}

/// Where values become text, for one batch.
#[derive(Debug)]
pub(super) struct Scratch {
    times: json::Times,
    text: Vec<u8>,
    /// Which parameters of [`Columns::insert_many`] are null; at first all.
    nulls: [bool; MANY * COLUMNS],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { times: json::Times::default(), text: Vec::new(), nulls: [true; MANY * COLUMNS] }
    }
}

fn many(table: &Table, columns: &[usize], quoted: &[String]) -> String {
    let journal = MANY * (columns.len() - 1) + 1;
    let mut next = 0;
    let mut row = || {
        let parameter = |column: &usize| {
            next += usize::from(*column != JOURNAL);
            format!("?{}", if *column == JOURNAL { journal } else { next })
        };
        format!("({})", columns.iter().map(parameter).collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<String> = (0..MANY).map(|_| row()).collect();
    format!(
        "INSERT OR FAIL INTO {} ({}) VALUES {} ON CONFLICT (journal_id, seq) DO NOTHING",
        table.quoted(),
        quoted.join(", "),
        rows.join(", ")
    )
}

fn seq(row: &Row<'_>) -> rusqlite::Result<i64> {
    i64::try_from(row.seq.0).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// SQLite has no NaN: null stands for it.
fn bind_float(statement: &mut Statement<'_>, at: usize, n: f64) -> rusqlite::Result<()> {
    if n.is_nan() {
        statement.raw_bind_parameter(at, Null)
    } else {
        statement.raw_bind_parameter(at, n)
    }
}

/// Bytes that are UTF-8, as the writers of JSON and times leave them.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

pub(super) fn is_view(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?1 COLLATE NOCASE)";
    connection.query_row(sql, [table.as_str()], |row| row.get(0))
}

/// Whether rows are unique by (`journal_id`, `seq`), in either order.
pub(super) fn has_key(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(
        "SELECT (SELECT group_concat(name, ',') FROM
             (SELECT lower(name) AS name FROM pragma_index_info(list.name) ORDER BY 1))
         FROM pragma_index_list(?1) AS list WHERE list.\"unique\" AND NOT list.partial",
    )?;
    let keys: Vec<Option<String>> =
        statement.query_map([table.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(keys.iter().flatten().any(|key| key == "journal_id,seq"))
}
