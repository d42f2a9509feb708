//! What an adapter is, and what it says about itself.

use std::fmt;
use std::time::Duration;

use super::error::AdapterError;
use crate::batch::Batch;
use crate::notice::Notice;

/// A dataset that rows can be stored in.
///
/// Synchronous: an adapter that needs a runtime hides it. The worker calls `insert` from one
/// thread at a time; two processes may still write to the same dataset at once.
pub trait DatasetAdapter: Send + Sync {
    /// Stores all rows of `batch`, or none; a row is there already if one of its (`journal_id`, `seq`)
    /// is. An adapter that finds another event there, by its `event_id` and `timestamp`, should store
    /// the other rows and answer [`Failure::IdsTaken`](crate::Failure::IdsTaken).
    ///
    /// It may be called again with the same [`Batch::id`], also by another process after a crash,
    /// and, for the rows of a fallback file, with seqs older than some it has seen.
    ///
    /// # Errors
    /// Says why, so that the sink can decide: see [`Failure`](crate::Failure).
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError>;

    /// As [`insert`](Self::insert), of an adapter that can end a call which takes longer.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    #[doc(hidden)]
    fn insert_within(&self, batch: &Batch<'_>, _timeout: Duration) -> Result<(), AdapterError> {
        self.insert(batch)
    }

    /// Makes what must be there before the first row, such as the folder of a file. Whoever makes the
    /// adapter for a user calls it, so that a wrong path shows at once; without it the first insert
    /// does so. What vanishes later is not made again.
    ///
    /// # Errors
    /// If it can't be made.
    fn prepare(&self) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Where rows land, without secrets: what a crashed process left goes to the same place only.
    fn identity(&self) -> String;

    /// What is guaranteed about each row.
    fn delivery(&self) -> Delivery;

    /// Lets go of what a forked child must not inherit; the next insert takes it up again. Called
    /// before a fork, by [`SafetyEventLogger::pause`](crate::SafetyEventLogger::pause), while
    /// nothing is being inserted.
    fn release(&self) {}

    /// Takes what it has to report since it was last asked: what it found and mended by itself, which
    /// is no error of a batch. Asked after each attempt; without secrets and content, as any notice.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }

    /// How large a batch it likes.
    fn batching(&self) -> Batching {
        Batching::default()
    }
}

/// Nothing of the adapter's own: it may not be able to say anything, and its settings may be secret.
impl fmt::Debug for dyn DatasetAdapter + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn DatasetAdapter")
    }
}

/// How often a row can land.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Exactly once, under a condition.
    ExactlyOnce {
        /// What must be true for it.
        condition: &'static str,
    },
    /// At least once: a crash between the store and its acknowledgement may repeat a batch.
    AtLeastOnce,
}

/// How large a batch an adapter likes, and how long it may wait to become so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// The most rows in one batch.
    pub rows_max: usize,
    /// The most payload bytes in one batch; a single larger row still goes.
    pub bytes_max: usize,
    /// How long handed-over rows may wait for a batch of `rows_max`; zero takes what is there.
    pub wait_max: Duration,
}

impl Default for Batching {
    /// What files and embedded databases like: up to 10,000 rows or 4 MiB, without waiting.
    fn default() -> Self {
        Self { rows_max: 10_000, bytes_max: 4 << 20, wait_max: Duration::ZERO }
    }
}
