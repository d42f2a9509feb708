//! Rows as objects: in S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage,
//! or files under a local folder. One object a batch and day, under a key that is made of the rows'
//! own journal and seqs, in partitions by the events' own UTC date.
//!
//! **Exactly once.** An object is only ever created, never overwritten. Where its key is taken, what
//! lies there is compared: the same rows are a success. Before, one short listing looks for objects
//! that may hold some of the rows under another key, as when a fallback file is replayed in other
//! batches; rows that they hold are left out.
//! Objects of a day may be merged into larger ones: see `docs/design/compact.md`. They are looked for before and
//! after an object is created, so that a batch that was merged is known when it is sent again.
//! **Limits:** the store honours create-only requests (it is asked once, before the first object)
//! and lets us list; two processes don't send the same rows in different batches at the same moment,
//! which the journal's lock sees to; nobody but our compaction deletes objects while their journal is
//! delivered. A batch of two days is two objects: between them a reader sees the one.

mod format;
mod place;
mod url;
mod key;
mod cut;
mod encode;
mod compare;
mod created;
mod store;
#[cfg(unix)]
mod folder;
#[cfg(unix)]
mod local;
#[cfg(all(unix, feature = "parquet"))]
mod exchange;
#[cfg(feature = "object")]
mod cloud;
mod stores;
mod probe;
mod adapter;
mod partition;
#[cfg(feature = "parquet")]
mod opened;
#[cfg(feature = "parquet")]
mod compact;
mod read;
#[cfg(feature = "read")]
pub(crate) mod scan;
#[cfg(feature = "delta")]
pub mod delta;

pub use self::adapter::ObjectStoreAdapter;
#[cfg(feature = "parquet")]
pub use self::compact::{CompactOptions, CompactStep, CompactedDay, compact};
pub use self::format::{Compression, Format};
pub use self::place::Place;
pub use self::read::{Reader, read};
