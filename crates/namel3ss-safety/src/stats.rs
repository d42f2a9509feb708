//! What a logger counts. `logged = flushed + fallback + dropped + pending`, at every instant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::batch::Durability;
use crate::journal::DropReason;

/// A moment's view of a logger. Counts are of this logger's own events, except where said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that `log()` was called with: `total_flushed + total_fallback + total_dropped +
    /// pending`.
    pub total_logged: u64,
    /// Events in their dataset.
    pub total_flushed: u64,
    /// Events in fallback files.
    pub total_fallback: u64,
    /// Events given up; `dropped` says why.
    pub total_dropped: u64,
    /// Events on their way: buffer, backlog and in flight.
    pub pending: u64,
    /// Attempts after a first one that failed.
    pub total_retries: u64,
    /// Rows of fallback files that have landed since; they stay counted in `total_fallback`.
    pub total_replayed: u64,
    /// Events of earlier runs that this logger has delivered; counted nowhere else.
    pub total_recovered: u64,
    /// Events of earlier runs that it has yet to deliver.
    pub recovering: u64,
    /// Accepted events not yet handed to the worker.
    pub current_buffer_size: u64,
    /// `buffer_size`.
    pub max_buffer_size: u64,
    /// Bytes of journal that wait.
    pub backlog_bytes: u64,
    /// `total_dropped` by reason.
    pub dropped: [(DropReason, u64); DropReason::ALL.len()],
    /// Since when something has been pending without any progress.
    pub oldest_pending: Duration,
    /// The last warning or error.
    pub last_error: Option<String>,
    /// What the journal stands on: `mmap`, `file` or `memory`.
    pub journal: &'static str,
    /// What survives.
    pub durability: Durability,
    /// No failing dataset, no failing journal, not degraded.
    pub healthy: bool,
    /// The dataset's name.
    pub target_dataset: String,
    /// The strategy's word.
    pub overflow_strategy: &'static str,
    /// The flush interval.
    pub flush_interval: Duration,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events dropped before they got a seq.
    pub(crate) unsequenced: AtomicU64,
    pub(crate) flushed: AtomicU64,
    pub(crate) fallback: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) recovering: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    pub(crate) fn give_up(&self, reason: DropReason, events: u64) {
        self.dropped[reason.index()].fetch_add(events, Ordering::AcqRel);
    }

    pub(crate) fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        std::array::from_fn(|i| self.dropped[i].load(Ordering::Acquire))
    }
}
