//! Writing a checkpoint.

use namel3ss_safety::{AdapterError, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::super::log::{Listing, Log, Unread, unreadable};
use super::super::replay::replay;
use super::super::schema::Layout;
use super::super::table::Table;
use super::columns::{self, ROWS};

/// For how long the protocol has removed files remembered, unless the table says otherwise: 7 days.
const REMEMBERED_MILLIS: i64 = 7 * 86_400_000;

/// Makes a checkpoint where it is time for one: after `every` commits, or at once where the newest can't
/// be read. What can't be made now is tried again later: a table without is as good, and only slower to
/// open.
///
/// # Errors
/// If it can't be made.
pub(in crate::objects::delta) fn after_commit(
    log: &Log,
    table: &mut Table,
    every: u64,
) -> Result<(), AdapterError> {
    if every == 0 || !table.layout.checkpoints {
        return Ok(());
    }
    // Whoever made the hundredth commit may have been killed before its checkpoint.
    let late = table.version.saturating_sub(table.checkpoint) >= 2 * every;
    if table.version.is_multiple_of(every) || late || table.is_torn {
        (table.checkpoint, table.is_torn) = write(log, table, every)?;
    }
    Ok(())
}

/// Writes the checkpoint of the table's version, unless there is another nearby. Gives the version of
/// the newest one, and whether a newer one can't be read.
fn write(log: &Log, table: &Table, every: u64) -> Result<(u64, bool), AdapterError> {
    let version = table.version;
    let made = log.newest(|listing| {
        let newest = listing.first().saturating_sub(1);
        let is_due = table.is_torn
            || version.is_multiple_of(every)
            || version >= newest.saturating_add(every);
        if !is_due || version <= newest.max(listing.passed.unwrap_or(0)) || version > listing.last {
            return Ok((newest, listing.passed.is_some()));
        }
        let (bytes, count) =
            encode(log, &Listing { last: version, ..listing.clone() }, table.layout)?;
        log.put_checkpoint(version, bytes, count)?;
        Ok((version, false))
    })?;
    made.ok_or_else(|| unreadable("it is gone"))
}

/// What a log adds up to as a checkpoint, and how many actions that is.
fn encode(log: &Log, listing: &Listing, layout: Layout) -> Result<(Vec<u8>, u64), Unread> {
    let failed = |_: ParquetError| unreadable("a checkpoint can't be encoded");
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file =
        ArrowWriter::try_new(Vec::new(), columns::schema(), Some(properties)).map_err(failed)?;
    let mut open: Vec<Value> = Vec::with_capacity(ROWS);
    let mut count = 0;
    let mut flush = |open: &mut Vec<Value>| -> Result<(), AdapterError> {
        let batch = columns::of(open).map_err(|error| failed(error.into()))?;
        count += open.len() as u64;
        open.clear();
        file.write(&batch).map_err(failed)
    };
    let forgotten = Timestamp::now().micros() / 1000 - REMEMBERED_MILLIS;
    replay(log, listing, |mut action| {
        if layout.forgets
            && let Some(removed) = action.get("remove")
            && removed.get("deletionTimestamp").and_then(Value::as_i64).unwrap_or(0) < forgotten
        {
            return Ok(());
        }
        if let Some(added) = action.get_mut("add").and_then(Value::as_object_mut) {
            // It says that a commit changes what the table holds; a checkpoint does not.
            added.insert("dataChange".to_owned(), Value::Bool(false));
        }
        open.push(action);
        if open.len() == ROWS { flush(&mut open) } else { Ok(()) }
    })?;
    flush(&mut open)?;
    Ok((file.into_inner().map_err(failed)?, count))
}
