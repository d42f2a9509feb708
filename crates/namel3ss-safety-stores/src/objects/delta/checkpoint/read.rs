//! Reading a checkpoint.

use namel3ss_safety::AdapterError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use serde_json::Value;

use super::super::log::{Log, Unread};
use super::columns::{self, ROWS};
use crate::parquet::guarded;

/// Hands each action in a checkpoint to `each`; only those of the kinds `wanted`, none for all.
pub(in crate::objects::delta) fn read(
    log: &Log,
    parts: &[String],
    wanted: &[&str],
    mut each: impl FnMut(Value) -> Result<(), AdapterError>,
) -> Result<(), Unread> {
    // What every checkpoint holds.
    let mut has = [("protocol", false), ("metaData", false)];
    for part in parts {
        let torn = |_: ParquetError| Unread::Torn(part.clone());
        let bytes = bytes::Bytes::from(log.part(part)?);
        // The types are told by the file itself, not by what some writer's memory looked like.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let mut file = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
            .map_err(torn)?
            .with_batch_size(ROWS);
        if !wanted.is_empty() {
            let mask = ProjectionMask::columns(file.parquet_schema(), wanted.iter().copied());
            file = file.with_projection(mask);
        }
        let mut batches = file.build().map_err(torn)?;
        let damaged = |_| Unread::Torn(part.clone());
        while let Some(batch) = guarded(|| batches.next()).map_err(damaged)? {
            let batch = batch.map_err(|error| torn(error.into()))?;
            for action in columns::actions(&batch) {
                has.iter_mut().for_each(|(kind, has)| *has |= action.get(*kind).is_some());
                each(action)?;
            }
        }
    }
    match parts.first().filter(|_| has.iter().any(|(_, has)| !has)) {
        Some(part) => Err(Unread::Torn(part.clone())),
        None => Ok(()),
    }
}
