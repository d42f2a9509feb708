//! What a logger says of itself: stats, whether it is healthy, what a flush came to, and the notices of
//! what it dropped.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::config::JournalKind;
use super::journals::{Ground, Lane};
use super::state::{Branch, SaidSum, Shared};
use crate::journal::DropReason;
use crate::locks::lock;
use crate::notice::{Level, NoticeKind, REPEAT_EVERY};
use crate::sink::secs;
use crate::stats::{DropCounts, JournalStorage, SinkStats, Stats, Sums, Unhealthy};

/// What `flush` and `stop` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it may be incomplete"]
#[non_exhaustive]
pub struct FlushReport {
    /// Everything accepted before the call is in its datasets, in fallback files, or was dropped.
    pub complete: bool,
    /// Events that wait in the journal for one sink at least.
    pub pending: u64,
    /// The sinks that have not settled everything, by their names in
    /// [`Stats::sinks`](crate::stats::Stats::sinks).
    pub behind: Vec<String>,
    /// Events of this logger that reached their dataset while it waited; with several sinks, each of
    /// them.
    pub flushed: u64,
    /// Those that went to fallback files.
    pub fallback: u64,
    /// Those that were dropped.
    pub dropped: u64,
    /// Why, if incomplete: the time-out, what waits for which sink, whose adapter's call has not returned
    /// and for how long, and the last error.
    pub error: Option<String>,
}

impl Shared {
    /// What a flush has come to, where these are behind.
    pub(super) fn report(&self, begun: &Begun, behind: &[&Branch]) -> FlushReport {
        let stats = self.stats();
        let pending = stats.pending + stats.recovering;
        // Whoever waits for a dataset whose adapter hangs should hear that.
        let calls = behind.iter().filter_map(|branch| {
            let ran = secs(branch.sink.longest_call()?);
            let name = branch.sink.name();
            Some(format!("; a call of the adapter of {name} has not returned for {ran}"))
        });
        let behind: Vec<String> = behind.iter().map(|branch| branch.sink.name().into()).collect();
        let left = self.left_behind();
        let error = || {
            let late = begun.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let mut waits = format!("{pending} events wait for {}", behind.join(", "));
            if late {
                waits.extend(calls);
            }
            match (late, &stats.last_error) {
                (false, Some(error)) => error.clone(),
                (false, None) => waits,
                (true, None) => format!("the time-out has passed: {waits}"),
                (true, Some(error)) => {
                    format!("the time-out has passed: {waits}; the last error: {error}")
                }
            }
        };
        let waits_for_user = || format!("{left} events wait in the journal of another user");
        FlushReport {
            complete: behind.is_empty() && left == 0,
            pending,
            flushed: stats.total_flushed.saturating_sub(begun.sums.flushed),
            fallback: stats.total_fallback.saturating_sub(begun.sums.fallback),
            dropped: stats.total_dropped.saturating_sub(begun.sums.total_dropped()),
            error: (!behind.is_empty()).then(error).or_else(|| (left > 0).then(waits_for_user)),
            behind,
        }
    }

    /// What there is before a flush.
    pub(super) fn begun(&self, deadline: Option<Instant>) -> Begun {
        Begun { deadline, sums: self.fates() + self.refused() }
    }

    pub(super) fn stats(&self) -> Stats {
        let config = &self.config;
        // Read in the order in which an event passes, backwards: then nothing that is counted as
        // done is missing among the logged.
        let settled = self.fates();
        let mut sinks: Vec<_> =
            self.branches.iter().map(|branch| self.sink_stats(branch)).collect();
        let refused = self.refused();
        let unsequenced: u64 = self.journals.all().map(Lane::unsequenced).sum();
        let logged =
            self.journals.all().map(|lane| lane.journal.last().0).sum::<u64>() + unsequenced;
        for sink in &mut sinks {
            sink.dropped += refused.total_dropped();
            sink.pending = logged.saturating_sub(sink.flushed + sink.fallback + sink.dropped);
        }
        let sums = settled + refused;
        let unhealthy = self.unhealthy(&sums.dropped);
        let lane = self.lane();
        Stats {
            total_logged: logged,
            total_flushed: sums.flushed,
            total_fallback: sums.fallback,
            total_dropped: sums.total_dropped(),
            pending: logged.saturating_sub(sums.settled()),
            total_retries: sinks.iter().map(|sink| sink.retries).sum(),
            total_replayed: config.sinks.iter().map(|sink| sink.replayed()).sum(),
            total_recovered: sinks.iter().map(|sink| sink.recovered).max().unwrap_or(0),
            recovering: sinks.iter().map(|sink| sink.recovering).max().unwrap_or(0),
            current_buffer_size: lane.map_or(0, Lane::shown_buffered),
            max_buffer_size: config.buffer_size,
            backlog_bytes: self.lanes().map(|lane| lane.journal.bytes_from(lane.front())).sum(),
            cut: self.cut.load(Ordering::Acquire),
            dropped: DropCounts::new(sums.dropped),
            oldest_pending: self.oldest_pending(&sinks),
            last_error: config.notices.last_error(),
            journal: match lane.map(|lane| lane.ground()) {
                Some(Ground::Mapped) => JournalStorage::Mapped,
                Some(Ground::File) => JournalStorage::File,
                Some(Ground::Memory) => JournalStorage::Memory,
                None if config.journal == JournalKind::Memory => JournalStorage::Memory,
                None if config.journal == JournalKind::Unmapped => JournalStorage::File,
                None => JournalStorage::Mapped,
            },
            durability: config.options.durability,
            healthy: unhealthy.is_empty(),
            unhealthy,
            target_dataset: config.dataset.clone(),
            overflow_strategy: config.overflow,
            flush_interval: config.flush_interval,
            sinks,
        }
    }

    fn sink_stats(&self, branch: &Branch) -> SinkStats {
        let sink = &branch.sink;
        let of_lane = |lane| branch.reader(lane).counters.sums();
        let sums: Sums = self.journals.all().map(of_lane).sum();
        SinkStats {
            name: sink.name().to_owned(),
            destination: sink.identity(),
            flushed: sums.flushed,
            fallback: sums.fallback,
            dropped: sums.total_dropped(),
            pending: 0,
            retries: sink.retries(),
            recovered: branch.recovered.load(Ordering::Acquire),
            recovering: branch.recovering.load(Ordering::Acquire),
            healthy: sink.healthy() && !sink.is_late(self.config.adapter_timeout),
            last_error: sink.last_error(),
        }
    }

    /// For how long something has been pending without any progress.
    fn oldest_pending(&self, sinks: &[SinkStats]) -> Duration {
        let waits = self.branches.iter().zip(sinks).filter(|(_, sink)| sink.pending > 0);
        // Zero while its worker is at it.
        let waits = waits.map(|(branch, _)| match branch.worker.try_lock() {
            Ok(worker) => self.config.clock.monotonic().saturating_sub(worker.last_progress),
            Err(_) => Duration::ZERO,
        });
        waits.max().unwrap_or_default()
    }

    /// What became of the events that sinks had a say in, each counted once.
    fn fates(&self) -> Sums {
        self.journals.all().map(Lane::fates).sum()
    }

    /// What no sink had a say in.
    fn refused(&self) -> Sums {
        self.journals.all().map(Lane::refused).sum()
    }

    /// Says at once what is the first of its kind; [`say_dropped`](Self::say_dropped) adds up the
    /// rest.
    pub(super) fn say_first_drop(&self, reason: DropReason) {
        let kind = 1 << reason.index();
        if self.said.kinds.load(Ordering::Relaxed) & kind == 0 {
            self.said.kinds.fetch_or(kind, Ordering::Relaxed);
            self.say_dropped(Saying::Due);
        }
    }

    /// Counts an event that was cut to fit; says so of the first, and then a sum a minute.
    #[cold]
    pub(super) fn note_cut(&self) {
        self.cut.fetch_add(1, Ordering::AcqRel);
        self.say_cut(Saying::Due);
    }

    /// Says how many events were cut, and not said yet.
    pub(super) fn say_cut(&self, which: Saying) {
        let now = self.config.clock.monotonic();
        let mut said = lock(&self.said.cut);
        let Some(events) = said.take(self.cut.load(Ordering::Acquire), now, which) else { return };
        let were = if events == 1 { "event was" } else { "events were" };
        let text = format!(
            "{events} {were} larger than 256 KiB, or nested more than 64 deep, and cut to fit"
        );
        self.config.notices.say(Level::Warning, NoticeKind::Cut, text);
    }

    /// Reports each call of an adapter that is past its deadline, once.
    pub(super) fn report_late_calls(&self) {
        let timeout = self.config.adapter_timeout;
        self.branches.iter().for_each(|branch| branch.sink.report_late(timeout));
    }

    /// What was dropped for at least one sink.
    fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        let mut settled = self.fates();
        // Said where it is met; what its host could not read is said here.
        settled.dropped[DropReason::Invalid.index()] = 0;
        (settled + self.refused()).dropped
    }

    /// Says what was dropped, and not said yet: the first of a kind at once, then a sum a minute.
    pub(super) fn say_dropped(&self, which: Saying) {
        self.say_cut(which);
        let now = self.config.clock.monotonic();
        let mut said = lock(&self.said.sums);
        let dropped = self.dropped();
        for (reason, (known, dropped)) in DropReason::ALL.iter().zip(said.iter_mut().zip(dropped)) {
            let (kind, why) = match reason {
                DropReason::DropOldest => {
                    (NoticeKind::Dropped, "the oldest, to make room for new ones")
                }
                DropReason::DropNewest => {
                    (NoticeKind::Dropped, "the newest, because the buffer was full")
                }
                DropReason::JournalFull => (NoticeKind::Dropped, "the journal could not take them"),
                DropReason::Invalid => {
                    (NoticeKind::Invalid, "they could not be read as safety events")
                }
                // Said where they are met.
                DropReason::Damaged | DropReason::NotPersisted => continue,
            };
            let Some(events) = known.take(dropped, now, which) else { continue };
            let were = if events == 1 { "event was" } else { "events were" };
            let text = format!("{events} {were} dropped: {why}");
            self.config.notices.say(Level::Critical, kind, text);
        }
    }
}

impl SaidSum {
    /// How many of `events` are to be said now; those are said, then.
    fn take(&mut self, events: u64, now: Duration, which: Saying) -> Option<u64> {
        let due = which == Saying::All || self.at.is_none_or(|at| now >= at + REPEAT_EVERY);
        let unsaid = events.saturating_sub(self.events);
        if unsaid == 0 || !due {
            return None;
        }
        *self = Self { events, at: Some(now) };
        Some(unsaid)
    }
}

/// What a flush began with, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) deadline: Option<Instant>,
    sums: Sums,
}

/// What of the drops that were not said yet is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// What is the first of its kind, or has waited for a minute.
    Due,
    All,
}

impl Shared {
    /// The conditions that hold; none is healthy. `dropped` is by reason, of everybody.
    fn unhealthy(&self, dropped: &[u64; DropReason::ALL.len()]) -> Vec<Unhealthy> {
        let any = |holds: &dyn Fn(&Branch) -> bool| self.branches.iter().any(holds);
        let invalid = dropped[DropReason::Invalid.index()];
        let lost = dropped.iter().sum::<u64>() > invalid;
        let journal_fails = self.lanes().any(|lane| lane.journal.is_failing());
        let conditions = [
            // Until the process ends:
            (Unhealthy::Lost, lost || self.lost_of_others.load(Ordering::Relaxed)),
            (Unhealthy::NoEvent, invalid > 0),
            // As long as it lasts:
            (
                Unhealthy::Journal,
                journal_fails || any(&|b| b.unreadable.is_set() || b.unsaved.is_set()),
            ),
            (Unhealthy::Destination, any(&|branch| !branch.sink.healthy())),
            (
                Unhealthy::AdapterTimeout,
                any(&|branch| branch.sink.is_late(self.config.adapter_timeout)),
            ),
            (Unhealthy::Memory, self.has_events_in_memory()),
            (Unhealthy::AnotherUser, self.left_behind() > 0),
            (Unhealthy::Threads, any(&|branch| branch.threadless.is_set())),
        ];
        conditions.into_iter().filter(|(_, holds)| *holds).map(|(reason, _)| reason).collect()
    }
}
