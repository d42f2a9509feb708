//! A data file of a table: where it lies, and the action that adds it, with the statistics by which
//! readers skip it.
//!
//! ```text
//! date=2026-03-01/events_{journal}_{first seq}-{last seq}_{CRC-32C of its bytes}.parquet
//! ```
//!
//! The same rows have the same name and bytes, so that a batch that is sent again writes nothing
//! new. Files that no commit names, as a crash leaves them, are none of the table's: `VACUUM` removes
//! them.

use namel3ss_safety::{AdapterError, BatchId, Durability, FIELDS, JournalId, Row, Seq, Timestamp};
use serde_json::{Map, Value, json};

use super::log::{Log, refuse};
use super::schema::{DATE, Layout};
use crate::objects::cut::Part;
use crate::objects::key;
use crate::objects::store::{Body, Created};

/// What the protocol's partition of null is called in paths.
const NO_DATE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Puts the rows of `part` where they belong; gives the action that adds them to the table.
pub(super) fn put(log: &Log, part: &Part<'_>, layout: Layout) -> Result<Value, AdapterError> {
    let (Some(first), Some(last)) = (part.rows.first(), part.rows.last()) else {
        return Err(AdapterError::config("write to the Delta table: a file without rows"));
    };
    let bytes = crate::parquet::encode(&part.rows)?;
    let id = BatchId { journal: first.journal, first: first.seq, last: last.seq };
    let name = key::name(&id, "parquet");
    let stem = name.strip_suffix(".parquet").unwrap_or(&name);
    let name = format!("{stem}_{:08x}.parquet", crc32c::crc32c(&bytes));
    let body = Body::from(bytes);
    let date = part.day.date();
    let path = if layout.by_date {
        format!("{DATE}={}/{name}", date.as_deref().unwrap_or(NO_DATE))
    } else {
        name
    };

    let key = log.key(&path);
    match log.store.create(&key, &body, Durability::Power)? {
        Created::New => {}
        Created::Exists if log.store.holds(&key, body.as_ref())? == Some(true) => {}
        Created::Exists => {
            return Err(AdapterError::config(
                "write to the Delta table: a file of the same name holds something else, move it away",
            ));
        }
        Created::Unsupported => return Err(refuse()),
    }
    let values = if layout.by_date { json!({DATE: date}) } else { json!({}) };
    Ok(json!({"add": {
        "path": path,
        "partitionValues": values,
        "size": body.as_ref().len(),
        "modificationTime": Timestamp::now().micros() / 1000,
        "dataChange": true,
        "stats": stats(&part.rows).to_string(),
    }}))
}

/// The first and the last seq in a file of ours, by its path; `None` for any other.
pub(super) fn seqs(path: &str, journal: JournalId) -> Option<(Seq, Seq)> {
    let name = path.rsplit('/').next()?;
    let (stem, _) = name.rsplit_once('_')?;
    key::seqs(&format!("{stem}.parquet"), journal, "parquet")
}

/// How many rows there are and between what bounds they lie. Of the texts, only `journal_id` has
/// bounds: the others are long, or all different.
fn stats(rows: &[Row<'_>]) -> Value {
    let mut least = Map::new();
    let mut most = Map::new();
    let mut bound = |name: &str, low: Value, high: Value| {
        least.insert(name.to_owned(), low);
        most.insert(name.to_owned(), high);
    };
    let times = || rows.iter().map(|row| row.event.timestamp);
    if let (Some(low), Some(high)) = (times().min(), times().max())
        && let (Some(from), Some(to)) = (moment(low), moment(high))
    {
        bound("timestamp", from, to);
    }
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        let journal = first.journal.to_string();
        bound("journal_id", json!(journal), json!(journal));
        bound("seq", json!(first.seq.0), json!(last.seq.0));
    }
    let mut nulls = [0_u64; 8];
    for row in rows {
        for (count, text) in nulls.iter_mut().zip(row.event.texts()) {
            *count += u64::from(text.is_none());
        }
    }
    let mut null_count: Map<String, Value> = FIELDS
        .iter()
        .chain(&["journal_id", "seq"])
        .filter(|name| **name != "categories")
        .map(|name| ((*name).to_owned(), json!(0)))
        .collect();
    for (name, count) in FIELDS[2..10].iter().zip(nulls) {
        null_count.insert((*name).to_owned(), json!(count));
    }
    json!({
        "numRecords": rows.len(),
        "minValues": least,
        "maxValues": most,
        "nullCount": null_count,
    })
}

/// As statistics write it; `None` for what ISO 8601 has no four digits of a year for.
fn moment(at: Timestamp) -> Option<Value> {
    key::Day::of(at).date().map(|_| json!(at.to_string()))
}
