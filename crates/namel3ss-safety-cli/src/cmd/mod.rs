//! The verbs, one file each, in the order in which a record lives: fed, read, mended, watched.

pub(crate) mod ingest;
pub(crate) mod tail;
pub(crate) mod stats;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod recover;
pub(crate) mod journal;
pub(crate) mod doctor;
pub(crate) mod schema;
#[cfg(feature = "parquet")]
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod man;
