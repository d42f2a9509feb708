//! What keeps the journals in order, whatever becomes of deliveries: frames are moved from rings into
//! segments, buffers are dispatched, the backlog is measured, lost storage is tried again, and journals
//! that are done are ended.
//!
//! One function, at one time by one thread: the maintenance thread, or else whoever drives the logger,
//! a worker, a manual turn or a flush. It neither delivers nor syncs a journal, and waits for nobody who
//! does.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::Duration;

use super::lane::Lane;
use super::reader::Reader;
use super::report::Saying;
use super::shared::{Maintenance, Shared, Watch, lock};
use super::worker::{save_dropped, settle_dropped, trim_lane};
use crate::batch::Durability;
use crate::notice::Level;

/// How often storage is synced where power cuts count.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(50);
/// How often the journals' files are looked at.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// How often storage that failed is tried again.
const RESUME_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Does what is due, and says how many events went from a ring into a segment; `None` where another
    /// thread is at it.
    pub(super) fn maintain(self: &Arc<Self>, now: Duration) -> Option<u64> {
        let mut state = self.maintaining()?;
        if now >= state.resume_due {
            state.resume_due = now + RESUME_EVERY;
            self.try_resume();
            self.keep_memory();
            self.say_dropped(Saying::Due);
            self.config.notices.forward();
        }
        if now >= state.check_due {
            state.check_due = now + CHECK_EVERY;
            self.check_journals();
            self.report_late_calls();
        }
        let moved = self.maintain_journals(&mut state.watches, now);
        self.let_go_of_left();
        if self.finish_journals() {
            state.watches.retain(|index, _| self.is_open(*index));
        }
        Some(moved)
    }

    /// Whether a sync is due, and nobody has taken that on.
    pub(super) fn takes_sync(&self, now: Duration) -> bool {
        let Some(mut state) = self.maintaining() else { return false };
        let due = now >= state.sync_due;
        if due {
            state.sync_due = now + SYNC_EVERY;
        }
        due
    }

    /// What can't wait of that, on the thread of a caller who has filled a buffer: where no other thread
    /// does it, nobody would before the next turn or flush, and the journal would grow without a limit.
    pub(super) fn maintain_by_caller(self: &Arc<Self>) {
        let failing = |lane: &Lane| lane.journal.is_failing();
        if self.lanes().any(failing) {
            return;
        }
        if let Some(mut state) = self.maintaining() {
            self.maintain_journals(&mut state.watches, self.config.clock.monotonic());
        }
    }

    fn maintaining(&self) -> Option<MutexGuard<'_, Maintenance>> {
        match self.maintenance.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn maintain_journals(
        self: &Arc<Self>,
        watches: &mut BTreeMap<usize, Watch>,
        now: Duration,
    ) -> u64 {
        let mut moved = 0;
        for lane in self.lanes() {
            let watch = watches.entry(lane.index).or_default();
            lane.journal.tend();
            moved += self.drain(lane, watch);
            self.gate(lane);
            if self.dispatch(lane, watch, now) {
                self.call_workers();
            }
        }
        moved
    }

    /// Moves what is committed; says once that it can't, and once that it can again.
    fn drain(self: &Arc<Self>, lane: &Lane, watch: &mut Watch) -> u64 {
        // What was dropped need not be written, but only once that is written down: after a crash
        // recovery would miss it in the segments, and call it damaged.
        for branch in &self.branches {
            match branch.worker.try_lock() {
                Ok(worker) if !worker.is_flying() => settle_dropped(self, branch, lane),
                // A batch is on its way.
                _ => save_dropped(self, branch, lane),
            }
        }
        if self.config.options.durability == Durability::Process {
            trim_lane(self, lane);
        }
        let notices = &self.config.notices;
        match lane.journal.try_drain(lane.acked().next()) {
            // Whoever syncs it moves what it has.
            None => 0,
            Some(Ok(moved)) => {
                *lock(&lane.failure) = None;
                if std::mem::take(&mut watch.failing) {
                    notices.say(Level::Info, "resumed", "the journal can be written again");
                }
                moved
            }
            Some(Err(error)) if self.leave_refused(&error) => 0,
            Some(Err(error)) => {
                *lock(&lane.failure) = Some(error.to_string());
                // What is delivered makes room.
                let acked = lane.acked();
                lane.journal.store().trim(|_, last| last <= acked);
                if !std::mem::replace(&mut watch.failing, true) {
                    let text =
                        format!("the journal can't be written: {error}; make room on its disk");
                    notices.say(Level::Warning, "journal", text);
                }
                0
            }
        }
    }

    /// Dispatches what is due; whether there is something new for the workers.
    fn dispatch(&self, lane: &Lane, watch: &mut Watch, now: Duration) -> bool {
        let buffered = lane.buffered();
        if buffered == 0 {
            watch.buffered_since = None;
            return false;
        }
        let since = *watch.buffered_since.get_or_insert(now);
        let flushing = self.flushing.load(Ordering::SeqCst) > 0;
        if !flushing && !self.life.is_started() {
            return false;
        }
        let due = flushing
            || now.saturating_sub(since) >= self.config.flush_interval
            || lane.journal.is_closed()
            || lane.is_pressed()
            || buffered >= self.config.buffer_size;
        if due && !lane.readers.iter().any(Reader::keeps_buffer) {
            watch.buffered_since = None;
        }
        if flushing { lane.dispatch(lane.journal.drained()) } else { lane.dispatch_due(due) }
    }

    /// Whether something could be dispatched at once. What can't be, because nobody has started the
    /// logger, or the backlog or the disk is full, is no reason to stay awake.
    pub(super) fn has_maintenance(&self) -> bool {
        let flushing = self.flushing.load(Ordering::SeqCst) > 0;
        let is_due = |lane: &Lane| {
            let (last, closed) = (lane.journal.last().0, lane.journal.is_closed());
            let least = if flushing || closed { 1 } else { self.config.buffer_size };
            let is_due = |reader: &Reader| {
                (flushing || !reader.keeps_buffer()) && last >= reader.unbuffered() + least
            };
            !lane.journal.is_failing() && lane.readers.iter().any(is_due)
        };
        (flushing || self.life.is_started()) && self.lanes().any(is_due)
    }

    /// How long it takes until a buffer is due by its age; `None` where there is none, or another thread
    /// is at it.
    pub(super) fn next_dispatch(&self, now: Duration) -> Option<Duration> {
        let state = self.maintaining()?;
        let since = state.watches.values().filter_map(|watch| watch.buffered_since).min()?;
        Some((since + self.config.flush_interval).saturating_sub(now))
    }

    /// Whether power cuts count, and would take something.
    pub(super) fn is_unsynced(&self) -> bool {
        let is_behind = |lane: &Lane| lane.journal.synced() < lane.journal.last();
        self.config.options.durability == Durability::Power && self.lanes().any(is_behind)
    }

    /// Syncs what is not synced, and removes what nobody needs any more. It waits for storage, and is for
    /// a thread for which nobody waits.
    pub(super) fn sync_journals(&self) {
        for lane in self.lanes() {
            if lane.journal.synced() < lane.journal.last()
                && let Err(error) = lane.journal.sync()
            {
                let text = format!("{error}; unconfirmed events are written anew");
                self.config.notices.say(Level::Error, "sync", text);
            }
            trim_lane(self, lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::SafetyEventLogger;
    use crate::adapter::{AdapterRegistry, MemoryAdapter};
    use crate::batch::Durability;
    use crate::clock::ManualClock;
    use crate::event::SafetyEvent;

    use super::*;

    fn until(what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// No thread was to be had for it: then full buffers, buffers that are old enough, and syncs are up
    /// to the workers.
    #[test]
    fn without_a_maintenance_thread_workers_do_its_work() {
        let home = tempfile::tempdir().unwrap();
        let (dataset, clock) =
            (Arc::new(MemoryAdapter::default()), Arc::new(ManualClock::default()));
        let registry = AdapterRegistry::default();
        registry.register("safety_events", dataset.clone());
        let logger = SafetyEventLogger::builder()
            .adapter_registry(registry)
            .home(home.path())
            .buffer_size(3)
            .durability(Durability::Power)
            .clock(clock.clone())
            .build()
            .unwrap();
        let shared = logger.shared();
        shared.threads.refuse_maintenance();
        let log = || _ = logger.log(&SafetyEvent::default());
        (0..3).for_each(|_| log());
        assert!(!shared.has_keeper());
        until("a full buffer", || dataset.len() == 3);
        until("a sync", || shared.lane().is_some_and(|lane| lane.journal.synced().0 == 3));
        log();
        // The wait of its thread is over.
        clock.advance(shared.config.flush_interval);
        until("an old buffer", || {
            shared.call_workers();
            clock.advance(shared.config.flush_interval);
            dataset.len() == 4
        });
        assert!(logger.stop(Some(Duration::from_secs(30))).complete);
    }
}
