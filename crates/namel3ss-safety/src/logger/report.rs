//! What a logger says of itself: stats, reports, and the notices of what it dropped.

use std::sync::atomic::Ordering;

use super::config::JournalKind;
use super::lane::{Ground, Lane};
use super::shared::{Shared, lock};
use super::{FlushReport, keeper};
use crate::journal::DropReason;
use crate::notice::Level;
use crate::stats::Stats;

impl Shared {
    pub(super) fn report(&self, complete: bool) -> FlushReport {
        let stats = self.stats();
        FlushReport {
            complete,
            pending: stats.pending + stats.recovering,
            error: if complete { None } else { stats.last_error },
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let config = &self.config;
        let counters = &self.counters;
        // Read in the order in which an event passes, backwards: then nothing that is counted as
        // done is missing among the logged.
        let flushed = counters.flushed.load(Ordering::Acquire);
        let fallback = counters.fallback.load(Ordering::Acquire);
        let dropped = counters.dropped();
        let unsequenced = counters.unsequenced.load(Ordering::Acquire);
        let logged = self.lanes().map(|lane| lane.journal.last().0).sum::<u64>() + unsequenced;
        let total_dropped = dropped.iter().sum::<u64>();
        let lane = self.lane();
        let pending = logged.saturating_sub(flushed + fallback + total_dropped);
        Stats {
            total_logged: logged,
            total_flushed: flushed,
            total_fallback: fallback,
            total_dropped,
            pending,
            total_retries: config.sink.retries(),
            total_replayed: config.sink.replayed(),
            total_recovered: counters.recovered.load(Ordering::Acquire),
            recovering: counters.recovering.load(Ordering::Acquire),
            current_buffer_size: lane.map_or(0, Lane::shown_buffered),
            max_buffer_size: config.buffer_size,
            backlog_bytes: self.lanes().map(|l| l.journal.bytes_from(l.cursor.front())).sum(),
            dropped: std::array::from_fn(|i| (DropReason::ALL[i], dropped[i])),
            oldest_pending: keeper::oldest_pending(self, pending),
            last_error: config.notices.last_error(),
            journal: match lane.map(|lane| lane.ground) {
                Some(Ground::Mapped) => "mmap",
                Some(Ground::File) => "file",
                Some(Ground::Memory) => "memory",
                None if config.journal == JournalKind::Memory => "memory",
                None if config.journal == JournalKind::Unmapped => "file",
                None => "mmap",
            },
            durability: config.options.durability,
            healthy: config.sink.healthy()
                && !self.is_degraded()
                && !self.lanes().any(|lane| lane.journal.is_failing()),
            target_dataset: config.dataset.clone(),
            overflow_strategy: config.overflow.as_str(),
            flush_interval: config.flush_interval,
        }
    }

    /// Says what was dropped since the last time.
    pub(super) fn say_dropped(&self) {
        let dropped = self.counters.dropped();
        let said = std::mem::replace(&mut *lock(&self.said), dropped);
        for (reason, (now, before)) in DropReason::ALL.iter().zip(dropped.iter().zip(said)) {
            let events = now.saturating_sub(before);
            let why = match reason {
                DropReason::DropOldest => "the oldest, to make room for new ones",
                DropReason::DropNewest => "the newest, because the buffer was full",
                DropReason::JournalFull => "the journal could not take them",
                // Said where it is met.
                _ => continue,
            };
            if events > 0 {
                let text = format!("{events} events were dropped: {why}");
                self.config.notices.say(Level::Critical, "dropped", text);
            }
        }
    }
}
