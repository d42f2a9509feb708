//! Checkpoints: all that holds after a commit, in one Parquet file, so that whoever opens the table
//! reads that and the commits behind it, and not the whole log.

mod columns;
mod read;
mod write;

pub(super) use self::read::read;
pub(super) use self::write::after_commit;
