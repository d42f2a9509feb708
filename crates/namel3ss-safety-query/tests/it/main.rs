//! SQL over datasets: against plain reading, against plain tables of SQLite, and its limits.

mod datasets;
mod limits;
mod moments;
mod pushed;
mod random;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use namel3ss_safety::{JournalId, ReadRow, SafetyAction, SafetyEvent, Seq, Timestamp};
use namel3ss_safety_query::{Database, QueryError, Value};
use namel3ss_safety_stores::read::{Builder, DatasetReader, Description, RawScan, Scan, ScanError};

/// Rows in memory, which say what they were asked for. Nothing is filtered here: `Batches` does that.
#[derive(Clone, Debug, Default)]
struct Memory {
    rows: Arc<Vec<ReadRow>>,
    asked: Arc<Mutex<Vec<Scan>>>,
}

impl Memory {
    fn new(events: Vec<SafetyEvent>) -> Self {
        let id = |seq| Some((JournalId([7; 16]), Seq(seq)));
        let rows = (1..).zip(events).map(|(seq, event)| ReadRow { id: id(seq), event });
        Self { rows: Arc::new(rows.collect()), ..Self::default() }
    }

    /// As the table `events`.
    fn database(&self) -> Database {
        let mut database = Database::new().unwrap();
        database.add("events", Arc::new(self.clone())).unwrap();
        database
    }

    /// What was asked for since the last look.
    fn asked(&self) -> Vec<Scan> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

struct Pages(std::vec::IntoIter<ReadRow>);

impl RawScan for Pages {
    fn next_batch(&mut self) -> Result<Option<arrow_array::RecordBatch>, ScanError> {
        let mut builder = Builder::default();
        self.0.by_ref().take(7).for_each(|row| builder.push(&row));
        (!builder.is_empty()).then(|| builder.finish()).transpose()
    }
}

impl DatasetReader for Memory {
    fn identity(&self) -> String {
        "memory".to_owned()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        Ok(Description::default())
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        self.asked.lock().unwrap().push(scan);
        Ok(Box::new(Pages(Vec::clone(&self.rows).into_iter())))
    }
}

/// The rows of a statement, with values as texts: `'x'` is a text.
fn rows(database: &mut Database, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.rows()?;
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row.values().map(|value| written(&value)).collect());
    }
    Ok(all)
}

fn written(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => format!("x{bytes:?}"),
    }
}

/// The only value of a statement.
#[track_caller]
fn one(database: &mut Database, sql: &str) -> String {
    let rows = rows(database, sql).unwrap();
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
    rows[0][0].clone()
}

fn event(micros: i64) -> SafetyEvent {
    SafetyEvent {
        event_id: format!("e{micros}"),
        timestamp: Timestamp::from_micros(micros),
        action: SafetyAction::Allow,
        ..SafetyEvent::default()
    }
}
