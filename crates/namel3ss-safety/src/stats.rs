//! What a logger counts. `logged = flushed + fallback + dropped + pending`, at every instant, for
//! the logger and for each of its sinks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::batch::Durability;
use crate::enums::words;
use crate::journal::DropReason;
use crate::overflow::OverflowStrategy;

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
    pub dropped: DropCounts,
    /// Since when something has been pending without any progress.
    pub oldest_pending: Duration,
    /// The last warning or error.
    pub last_error: Option<String>,
    /// Where the active journal is.
    pub journal: JournalStorage,
    /// What survives.
    pub durability: Durability,
    /// Nothing was lost, and nothing is wrong that would delay or endanger events: `unhealthy` is
    /// empty. **No liveness probe**: a restart does not mend a destination.
    pub healthy: bool,
    /// Why it is not healthy.
    pub unhealthy: Vec<Unhealthy>,
    /// The dataset's name.
    pub target_dataset: String,
    /// What happens when the buffer is full.
    pub overflow_strategy: OverflowStrategy,
    /// The flush interval.
    pub flush_interval: Duration,
    /// Each sink's own, the first one first.
    pub sinks: Vec<SinkStats>,
}

/// Events given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    pub(crate) const fn new(by_reason: [u64; DropReason::ALL.len()]) -> Self {
        Self(by_reason)
    }

    /// Those of one reason.
    #[must_use]
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// All reasons with their events, also those of which there are none.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

words! {
    /// Where a journal is.
    JournalStorage:
    /// In a mapped file.
    Mapped = "mmap",
    /// In a file that is written.
    File = "file",
    /// In memory: its events go with the process.
    Memory = "memory",
}

words! {
    /// Why a logger is not healthy, by the words of the table in docs/operations.md.
    Unhealthy:
    /// An event was lost, also one of an earlier run. Until the process ends.
    Lost = "lost",
    /// What was logged was no event. Until the process ends.
    NoEvent = "no_event",
    /// The journal can't be read or written.
    Journal = "journal",
    /// A destination has failed beyond its first retry, or has no adapter.
    Destination = "destination",
    /// A call of an adapter has not returned within `adapter_timeout`.
    AdapterTimeout = "adapter_timeout",
    /// Events are in memory that were meant for a file.
    Memory = "memory",
    /// Events wait in the journal of another user.
    AnotherUser = "another_user",
    /// No thread was to be had.
    Threads = "threads",
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

/// What is counted of a journal's events: at one sink, or before any sink has a say.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushed: AtomicU64,
    pub(crate) fallback: AtomicU64,
    /// Events dropped before they got a seq.
    pub(crate) unsequenced: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    pub(crate) fn give_up(&self, reason: DropReason, events: u64) {
        self.dropped[reason.index()].fetch_add(events, Ordering::AcqRel);
    }

    pub(crate) fn sums(&self) -> Sums {
        Sums {
            flushed: self.flushed.load(Ordering::Acquire),
            fallback: self.fallback.load(Ordering::Acquire),
            dropped: std::array::from_fn(|i| self.dropped[i].load(Ordering::Acquire)),
        }
    }
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) flushed: u64,
    pub(crate) fallback: u64,
    /// By reason.
    pub(crate) dropped: [u64; DropReason::ALL.len()],
}

impl Sums {
    /// Events given up, for whatever reason.
    pub(crate) fn total_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Events that have settled.
    pub(crate) fn settled(&self) -> u64 {
        self.flushed + self.fallback + self.total_dropped()
    }
}

impl std::ops::Add for Sums {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            flushed: self.flushed + more.flushed,
            fallback: self.fallback + more.fallback,
            dropped: std::array::from_fn(|i| self.dropped[i] + more.dropped[i]),
        }
    }
}

impl std::iter::Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

impl Stats {
    /// As a JSON object, with the names and words that Python's `stats()` has; durations are in seconds
    /// and their names say so.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let dropped = self.dropped.iter().filter(|(_, events)| *events > 0);
        let dropped = dropped.map(|(reason, events)| (reason.as_str().to_owned(), json!(events)));
        json!({
            "total_logged": self.total_logged,
            "total_flushed": self.total_flushed,
            "total_fallback": self.total_fallback,
            "total_dropped": self.total_dropped,
            "pending": self.pending,
            "total_retries": self.total_retries,
            "total_replayed": self.total_replayed,
            "total_recovered": self.total_recovered,
            "recovering": self.recovering,
            "current_buffer_size": self.current_buffer_size,
            "max_buffer_size": self.max_buffer_size,
            "backlog_bytes": self.backlog_bytes,
            "cut": self.cut,
            "dropped": dropped.collect::<Map<String, Value>>(),
            "oldest_pending_seconds": self.oldest_pending.as_secs_f64(),
            "last_error": self.last_error,
            "journal": self.journal.as_str(),
            "durability": self.durability.as_str(),
            "healthy": self.healthy,
            "unhealthy": self.unhealthy.iter().map(|why| why.as_str()).collect::<Vec<_>>(),
            "target_dataset": self.target_dataset,
            "overflow_strategy": self.overflow_strategy.as_str(),
            "flush_interval_seconds": self.flush_interval.as_secs_f64(),
            "sinks": self.sinks.iter().map(SinkStats::to_json).collect::<Vec<_>>(),
        })
    }
}

impl SinkStats {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "destination": self.destination,
            "flushed": self.flushed,
            "fallback": self.fallback,
            "dropped": self.dropped,
            "pending": self.pending,
            "retries": self.retries,
            "recovered": self.recovered,
            "recovering": self.recovering,
            "healthy": self.healthy,
            "last_error": self.last_error,
        })
    }
}

/// As [`Stats::to_json`].
#[cfg(feature = "serde")]
impl serde_core::Serialize for Stats {
    fn serialize<S: serde_core::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}
