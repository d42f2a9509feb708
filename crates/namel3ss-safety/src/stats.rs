//! What a logger counts. `logged = flushed + fallback + dropped + pending`, at every instant, for
//! the logger and for each of its sinks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::batch::Durability;
use crate::journal::DropReason;

/// A moment's view of a logger. Counts are of this logger's own events, except where said.
///
/// With several sinks an event counts once among the totals: as dropped as soon as one sink has
/// given it up, else as pending until every sink has settled it, then as in a fallback file if one
/// sink has filed it, and as flushed only if every dataset has it. `sinks` has each sink's own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that `log()` was called with: `total_flushed + total_fallback + total_dropped +
    /// pending`.
    pub total_logged: u64,
    /// Events in their dataset; with several sinks, in each of them.
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
    /// Events that were larger than 256 KiB, or nested too deep, and were cut; they are logged all
    /// the same.
    pub cut: u64,
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
    /// Nothing was lost, and nothing is wrong that would delay or endanger events: `unhealthy` is
    /// empty. **No liveness probe**: a restart does not mend a destination.
    pub healthy: bool,
    /// Why it is not healthy, in the words of the table in docs/operations.md. Until the process ends:
    /// `lost` (an event, also one of an earlier run), `no_event` (what was logged was none). As long as
    /// it lasts: `journal` (it can't be read or written), `destination` (it has failed beyond its first
    /// retry, or has no adapter), `adapter_timeout` (a call of its adapter has not returned for so
    /// long), `memory` (events are there that were meant for a file), `threads` (none was to be had).
    pub unhealthy: Vec<&'static str>,
    /// The dataset's name.
    pub target_dataset: String,
    /// The strategy's word.
    pub overflow_strategy: &'static str,
    /// The flush interval.
    pub flush_interval: Duration,
    /// Each sink's own, the first one first.
    pub sinks: Vec<SinkStats>,
}

/// How one sink of a logger fares: the logger's `total_logged` is `flushed + fallback + dropped +
/// pending` of each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkStats {
    /// The dataset's name, for the first sink; for further ones with a number of its destination's.
    pub name: String,
    /// Where its rows land, without secrets; empty while no adapter is registered.
    pub destination: String,
    /// Events in its dataset.
    pub flushed: u64,
    /// Events in its fallback files.
    pub fallback: u64,
    /// Events that it will never have.
    pub dropped: u64,
    /// Events on their way to it.
    pub pending: u64,
    /// Attempts after a first one that failed.
    pub retries: u64,
    /// Events of earlier runs that it has delivered, or filed.
    pub recovered: u64,
    /// Events of earlier runs that it has yet to deliver.
    pub recovering: u64,
    /// Whether its dataset takes rows, or has not been tried yet: not once a batch has failed beyond its
    /// first retry, until one lands, and not while a call is past `adapter_timeout`.
    pub healthy: bool,
    /// Its last warning or error.
    pub last_error: Option<String>,
}

type Reasons = [AtomicU64; DropReason::ALL.len()];

fn loaded(dropped: &Reasons) -> [u64; DropReason::ALL.len()] {
    std::array::from_fn(|i| dropped[i].load(Ordering::Acquire))
}

/// What is counted before any sink has a say: what was refused is dropped for all of them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events dropped before they got a seq.
    pub(crate) unsequenced: AtomicU64,
    /// Events that were cut to fit.
    pub(crate) cut: AtomicU64,
    dropped: Reasons,
}

impl Counters {
    pub(crate) fn give_up(&self, reason: DropReason, events: u64) {
        self.dropped[reason.index()].fetch_add(events, Ordering::AcqRel);
    }

    pub(crate) fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        loaded(&self.dropped)
    }
}

/// What is counted of one sink.
#[derive(Debug, Default)]
pub(crate) struct SinkCounters {
    pub(crate) flushed: AtomicU64,
    pub(crate) fallback: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) recovering: AtomicU64,
    dropped: Reasons,
}

impl SinkCounters {
    pub(crate) fn give_up(&self, reason: DropReason, events: u64) {
        self.dropped[reason.index()].fetch_add(events, Ordering::AcqRel);
    }

    pub(crate) fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        loaded(&self.dropped)
    }
}
