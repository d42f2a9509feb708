//! What keeps the journals in order, whatever becomes of deliveries: frames are moved from rings into
//! segments, buffers are dispatched, the backlog is measured, lost storage is tried again, and journals
//! that are done are ended. And the threads that drive this and the deliveries: one maintains, one syncs
//! where power cuts count, and one a sink delivers.
//!
//! `maintain` is one function, at one time by one thread: the maintenance thread, or else whoever drives
//! the logger, a worker, a manual turn or a flush. It neither delivers nor syncs a journal, and waits for
//! nobody who does.
//!
//! Its thread polls, because waking a sleeping thread costs the caller of `log()` 12 to 20 µs: every
//! millisecond while there is work, ever more seldom without. Only a full buffer that finds it in its
//! deepest sleep wakes it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::delivery::{save_dropped, settle_dropped, trim_lane};
use super::flush::Counted;
use super::journals::{Backlog, Ground, Lane, Reader};
use super::state::{Branch, Maintenance, Shared, Worker};
use super::stats::Saying;
use crate::batch::Durability;
use crate::locks::{lock, wait_for};
use crate::memory;
use crate::notice::{Level, NoticeKind};
use crate::process;

/// How often storage is synced where power cuts count.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(50);
/// How often the journals' files are looked at.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// How often storage that failed is tried again.
const RESUME_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Does what is due, and says how many events went from a ring into a segment; `None` where another
    /// thread is at it, or there is no memory for it.
    pub(super) fn maintain(self: &Arc<Self>, now: Duration) -> Option<u64> {
        // As for a turn: moving frames makes files and lists.
        if !memory::has(0) {
            return None;
        }
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
        let moved = self.maintain_journals(&mut state.buffered_since, now);
        self.let_go_of_left();
        if self.finish_journals() {
            state.buffered_since.retain(|index, _| self.is_open(*index));
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
            self.maintain_journals(&mut state.buffered_since, self.config.clock.monotonic());
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
        since: &mut BTreeMap<usize, Duration>,
        now: Duration,
    ) -> u64 {
        let mut moved = 0;
        for lane in self.lanes() {
            lane.journal.tend();
            moved += self.drain(lane);
            self.gate(lane);
            if self.dispatch(lane, since, now) {
                self.call_workers();
            }
        }
        moved
    }

    /// Moves what is committed; says once that it can't, and once that it can again.
    fn drain(self: &Arc<Self>, lane: &Lane) -> u64 {
        // What was dropped need not be written, but only once that is written down: after a crash
        // recovery would miss it in the segments, and call it damaged.
        for branch in &self.branches {
            match branch.worker.try_lock() {
                Ok(worker) if worker.flight.is_none() => settle_dropped(self, branch, lane),
                // A batch is on its way.
                _ => save_dropped(self, branch, lane, false),
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
                if lock(&lane.failure).take().is_some() {
                    notices.say(
                        Level::Info,
                        NoticeKind::Resumed,
                        "the journal can be written again",
                    );
                }
                moved
            }
            Some(Err(error)) if self.leave_refused(&error) => 0,
            Some(Err(error)) => {
                let known = lock(&lane.failure).replace(error.to_string()).is_some();
                // What is delivered makes room.
                let acked = lane.acked();
                lane.journal.store().trim(|_, last| last <= acked);
                if !known {
                    let text =
                        format!("the journal can't be written: {error}; make room on its disk");
                    notices.say(Level::Warning, NoticeKind::Journal, text);
                }
                0
            }
        }
    }

    /// Dispatches what is due; whether there is something new for the workers.
    fn dispatch(&self, lane: &Lane, since: &mut BTreeMap<usize, Duration>, now: Duration) -> bool {
        let buffered = lane.buffered();
        if buffered == 0 {
            since.remove(&lane.index);
            return false;
        }
        let age = now.saturating_sub(*since.entry(lane.index).or_insert(now));
        let flushing = self.flushing.load(Ordering::SeqCst) > 0;
        if !flushing && !self.life.is_started() {
            return false;
        }
        let due = flushing
            || age >= self.config.flush_interval
            || lane.journal.is_closed()
            || lane.is_pressed()
            || buffered >= self.config.buffer_size;
        if due && !lane.readers.iter().any(Reader::keeps_buffer) {
            since.remove(&lane.index);
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
        let since = *state.buffered_since.values().min()?;
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
                self.config.notices.say(Level::Error, NoticeKind::Sync, text);
            }
            trim_lane(self, lane);
        }
    }
}

thread_local! {
    /// The loggers for which this thread is delivering, by their addresses.
    static DELIVERING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread delivers, as long as it lives.
struct DeliveringHere;

impl DeliveringHere {
    fn new(shared: &Shared) -> Self {
        let here = std::ptr::from_ref(shared).addr();
        // In a destructor of another thread-local it may be gone: then nobody calls back either.
        let _ = DELIVERING.try_with(|stack| stack.borrow_mut().push(here));
        Self
    }
}

impl Drop for DeliveringHere {
    fn drop(&mut self) {
        let _ = DELIVERING.try_with(|stack| stack.borrow_mut().pop());
    }
}

/// The keeper calls nothing of anybody else's.
const KEEPER_STACK_BYTES: usize = 256 << 10;
/// How often a worker that was paused looks whether it still is.
const PAUSE_POLL: Duration = Duration::from_millis(1);
/// How often whoever drops a logger looks how far what only memory has is delivered.
const UNKEPT_POLL: Duration = Duration::from_millis(1);
/// How often maintenance looks while there is work.
const BUSY: Duration = Duration::from_millis(1);
/// With fewer events than this in a turn it comes more seldom: each turn takes cache lines away from
/// those who log, which at 1,000 events a second doubled what a call costs.
const MOVED_BUSY: u64 = 64;
/// Below 20 wake-ups a second.
const IDLE: Duration = Duration::from_millis(60);
/// How long the worker rests after a panic.
const PANIC_WAIT: Duration = Duration::from_secs(1);
/// How long a worker waits for memory.
const STARVED_WAIT: Duration = Duration::from_millis(50);

impl Shared {
    pub(super) fn start_keeper(self: &Arc<Self>) {
        if self.threads.keeper.get().is_some() {
            return;
        }
        #[cfg(test)]
        if self.threads.no_maintenance.load(Ordering::SeqCst) {
            return;
        }
        let shared = self.clone();
        let run = move || shared.run_maintenance();
        let thread = process::spawn("n3-safety-keeper", Some(KEEPER_STACK_BYTES), run);
        if self.config.options.durability == Durability::Power {
            let shared = self.clone();
            let run = move || shared.run_syncs();
            // Where there is none, maintenance waits for storage.
            if let Ok(handle) = process::spawn("n3-safety-sync", Some(KEEPER_STACK_BYTES), run) {
                let _ = self.threads.syncer.set(handle.thread().clone());
            }
        }
        match thread {
            Ok(handle) => {
                let _ = self.threads.keeper.set(handle.thread().clone());
            }
            Err(error) => {
                let text = format!(
                    "no thread for the journal: {error}; events are moved by those who log them"
                );
                self.config.notices.say_rarely(Level::Warning, NoticeKind::Threads, "keeper", text);
            }
        }
    }

    /// The loop of the maintenance thread, until the logger closes.
    fn run_maintenance(self: &Arc<Self>) {
        let mut wait = BUSY;
        loop {
            self.start_missing();
            let now = self.config.clock.monotonic();
            let moved = catch_unwind(AssertUnwindSafe(|| self.maintain(now)));
            let moved = moved.unwrap_or_else(|_| {
                let text = "the maintenance of the journals panicked, and goes on";
                self.config.notices.say(Level::Critical, NoticeKind::Panic, text);
                None
            });
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            self.sync_when_due(now);
            wait = if moved >= Some(MOVED_BUSY) { BUSY } else { (wait * 2).min(IDLE) };
            let interval = self.config.flush_interval / 4;
            let wait = wait.min(interval.max(BUSY));
            let wait = wait.min(if self.is_unsynced() { SYNC_EVERY } else { IDLE });
            self.keeper_sleep(wait, wait > 4 * BUSY, || self.has_maintenance());
        }
    }

    /// Has storage synced where that is due: by its thread, or else by this one, for which nobody waits.
    fn sync_when_due(&self, now: Duration) {
        if !self.is_unsynced() || !self.takes_sync(now) {
            return;
        }
        match self.threads.syncer.get() {
            Some(syncer) => syncer.unpark(),
            None => self.sync_journals(),
        }
    }

    /// The loop of the thread that syncs, until the logger closes.
    fn run_syncs(&self) {
        loop {
            std::thread::park();
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| self.sync_journals())).is_err() {
                let text = "the sync of the journals panicked, and goes on";
                self.config.notices.say(Level::Critical, NoticeKind::Panic, text);
            }
        }
    }

    /// Wakes the keeper, if it sleeps deeply.
    #[inline]
    pub(super) fn wake_keeper(&self) {
        match self.threads.keeper.get() {
            Some(keeper) if self.threads.keeper_sleeps.swap(false, Ordering::SeqCst) => {
                keeper.unpark();
            }
            Some(_) => {}
            // No thread was to be had for it: the workers do its work.
            None if self.config.threads => self.call_workers(),
            None => {}
        }
    }

    /// Whether there is a keeper, and it does not sleep: then it need not be told of a full buffer.
    #[inline]
    pub(super) fn keeper_is_awake(&self) -> bool {
        !self.threads.keeper_sleeps.load(Ordering::SeqCst) && self.has_keeper()
    }

    /// Whether somebody else than the workers moves frames and hands buffers over.
    pub(super) fn has_keeper(&self) -> bool {
        self.threads.keeper.get().is_some()
    }

    /// Wakes the threads that see to the journals, however they sleep.
    pub(super) fn unpark_keeper(&self) {
        let threads = [&self.threads.keeper, &self.threads.syncer];
        threads.iter().filter_map(|thread| thread.get()).for_each(Thread::unpark);
    }

    /// Sleeps, as the keeper, for up to `wait`, unless there is something to do already.
    pub(super) fn keeper_sleep(&self, wait: Duration, deep: bool, work: impl Fn() -> bool) {
        if deep {
            self.threads.keeper_sleeps.store(true, Ordering::SeqCst);
            if work() || self.closing.load(Ordering::SeqCst) {
                self.threads.keeper_sleeps.store(false, Ordering::SeqCst);
                return;
            }
        }
        std::thread::park_timeout(wait);
        self.threads.keeper_sleeps.store(false, Ordering::SeqCst);
    }

    /// Calls the workers' threads.
    pub(super) fn call_workers(&self) {
        self.branches.iter().for_each(Branch::call);
    }

    /// One step of each worker's work, on this thread; how long to wait before the next one.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Duration> {
        if self.is_delivering_here() {
            return None;
        }
        let turn = |branch: &Branch| self.turn_of(branch, &mut lock(&branch.worker));
        self.branches.iter().filter_map(turn).min()
    }

    /// One step of a branch's work, by somebody who holds its worker. A panic in it costs what it
    /// was doing, never the thread: its batch is in the journal, for the next run.
    pub(super) fn turn_of(
        self: &Arc<Self>,
        branch: &Branch,
        worker: &mut Worker,
    ) -> Option<Duration> {
        if self.paused.load(Ordering::SeqCst) {
            return Some(PAUSE_POLL);
        }
        // Small allocations, also those of libraries, end the process where they fail: nothing is begun
        // where there is no room for them.
        if !memory::has(0) {
            let request = self.requested();
            self.note(branch, |progress| progress.kept = request);
            return Some(STARVED_WAIT);
        }
        let urged = [&self.flushing, &self.urging].iter().any(|n| n.load(Ordering::SeqCst) > 0);
        let maintains = urged || !self.has_keeper();
        let _here = DeliveringHere::new(self);
        let now = self.config.clock.monotonic();
        let turn = AssertUnwindSafe(|| {
            let maintained = maintains && self.maintain(now).is_some();
            let wait = worker.turn(self, branch, maintained);
            let due = (worker.idle && !self.has_keeper()).then(|| self.next_dispatch(now));
            let due = due.flatten().map(|wait| wait.max(BUSY));
            wait.into_iter().chain(due).min()
        });
        catch_unwind(turn).unwrap_or_else(|_| {
            let text = "the worker panicked; what it was doing stays in the journal";
            self.config.notices.say(Level::Critical, NoticeKind::Panic, text);
            let request = self.requested();
            self.note(branch, |progress| progress.kept = request);
            Some(PANIC_WAIT)
        })
    }

    /// Whether this thread is in the middle of a delivery of this logger: an adapter that calls
    /// its own logger back must not wait for itself.
    pub(super) fn is_delivering_here(&self) -> bool {
        let here = std::ptr::from_ref(self).addr();
        DELIVERING.try_with(|stack| stack.borrow().contains(&here)).unwrap_or(false)
    }

    /// Whether this thread is in the middle of a delivery of any logger.
    pub(super) fn is_delivering_any_here() -> bool {
        DELIVERING.try_with(|stack| !stack.borrow().is_empty()).unwrap_or(false)
    }

    /// A worker's loop, until it is told to quit.
    fn work(self: &Arc<Self>, branch: &Branch) {
        loop {
            let wait = if self.is_delivering_here() {
                None
            } else {
                self.turn_of(branch, &mut lock(&branch.worker))
            };
            if !self.has_keeper() {
                self.sync_when_due(self.config.clock.monotonic());
            }
            let mut call = lock(&branch.call);
            let until = wait.map(|wait| Instant::now() + wait);
            while !call.work && !call.quit {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    break;
                }
                call = wait_for(&branch.called, call, left);
            }
            call.work = false;
            if call.quit {
                call.quit = false;
                call.running = false;
                branch.called.notify_all();
                drop(call);
                // Who waits for what it would have done does that now.
                self.note(branch, |_| {});
                return;
            }
        }
    }

    /// Starts the workers' threads; where no thread is to be had, `flush` and `stop` deliver.
    pub(super) fn start_workers(self: &Arc<Self>) {
        self.branches.iter().for_each(|branch| self.start_worker(branch));
    }

    fn start_worker(self: &Arc<Self>, branch: &Branch) {
        let mut call = lock(&branch.call);
        if call.running {
            call.quit = false;
            return;
        }
        let (shared, index) = (self.clone(), branch.index);
        let stack = self.config.worker_stack_bytes;
        let run = move || shared.work(&shared.branches[index]);
        let thread = process::spawn("n3-safety-worker", stack, run);
        call.running = thread.is_ok();
        branch.threadless.set(thread.is_err());
        if let Err(error) = thread {
            let text = format!("no thread to deliver with: {error}; call flush or stop");
            let notices = &self.config.notices;
            notices.say_rarely(Level::Warning, NoticeKind::Threads, branch.sink.name(), text);
        }
    }

    /// Starts the threads of a started logger that were not to be had when they were wanted; at most
    /// once a second, and not while somebody starts or stops it.
    pub(super) fn start_missing(self: &Arc<Self>) {
        if !self.config.threads || !self.life.is_started() {
            return;
        }
        let Ok(_changing) = self.changing.try_lock() else { return };
        let wanted = self.life.is_started()
            && !self.closing.load(Ordering::SeqCst)
            && self.threads.is_due(self.config.clock.monotonic());
        if !wanted {
            return;
        }
        self.start_keeper();
        for branch in &self.branches {
            let running = lock(&branch.call).running;
            if !running {
                self.start_worker(branch);
            }
        }
    }

    /// Has what nothing but memory has delivered, or filed, without waiting between attempts, until the
    /// deadline: only by the workers' threads, since an adapter may hang.
    pub(super) fn deliver_unkept(self: &Arc<Self>, deadline: Instant) {
        if self.unkept() == 0 || !self.config.threads || self.is_delivering_here() {
            return;
        }
        self.hurrying.store(true, Ordering::SeqCst);
        let flushing = Counted::new(&self.flushing);
        self.start_workers();
        while self.unkept() > 0 && Instant::now() < deadline {
            self.wake_keeper();
            self.call_workers();
            std::thread::sleep(UNKEPT_POLL);
        }
        drop(flushing);
        self.hurrying.store(false, Ordering::SeqCst);
    }

    /// Whether what the journal at this place has is about to be lost.
    pub(super) fn hurries(&self, index: usize) -> bool {
        let in_memory = |lane: &Lane| lane.ground() == Ground::Memory;
        self.hurrying.load(Ordering::SeqCst) && self.journals.get(index).is_some_and(in_memory)
    }

    /// Tells all threads to end, and waits for the workers until the deadline; before that, delivers
    /// what would be lost.
    pub(super) fn quit(self: &Arc<Self>, deadline: Instant) {
        self.deliver_unkept(deadline);
        self.closing.store(true, Ordering::SeqCst);
        self.unpark_keeper();
        self.tell_workers_to_quit();
        self.wait_for_workers(Some(deadline));
    }

    /// Tells the workers' threads to end.
    pub(super) fn tell_workers_to_quit(&self) {
        for branch in &self.branches {
            let mut call = lock(&branch.call);
            call.quit = call.running;
            branch.called.notify_all();
        }
    }

    /// Waits until the workers' threads have ended, or are wanted again, or until the deadline.
    pub(super) fn wait_for_workers(&self, deadline: Option<Instant>) {
        if !self.is_delivering_here() {
            self.branches.iter().for_each(|branch| until_it_quit(branch, deadline));
        }
    }
}

fn until_it_quit(branch: &Branch, deadline: Option<Instant>) {
    let mut call = lock(&branch.call);
    while call.running && call.quit {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return;
        }
        call = wait_for(&branch.called, call, left);
    }
}

impl Shared {
    /// Tells the lane whether its backlog is at its limit, unless somebody else does at this moment.
    pub(super) fn gate(&self, lane: &Lane) {
        let Some(gating) = lane.gating() else { return };
        let config = &self.config;
        let has_workers = config.threads && self.life.is_started();
        let now = config.clock.monotonic();
        let (was_shut, was_full) = (lane.is_shut(), lane.is_backlog_full());
        let mut wait = Duration::ZERO;
        for branch in &self.branches {
            let reader = branch.reader(lane);
            let acked = reader.cursor.state().acked;
            let backlog = Backlog {
                bytes: lane.journal.bytes_from(acked.next()),
                untaken: lane.journal.bytes_from(reader.cursor.front()),
                limit: config.backlog_bytes_max,
                delivering: has_workers && branch.is_delivering(now, config.adapter_timeout),
            };
            // The buffer is no backlog, however large: while nothing is handed over, it can be. What is
            // behind a full buffer is one, though: on a busy machine nobody may come to hand it over.
            let is_backlog = reader.dispatched() >= reader.cursor.front()
                || lane.buffered() > config.buffer_size;
            let at_limit = is_backlog && backlog.is_full();
            wait = wait.max(backlog.wait());
            if reader.set(at_limit, backlog.is_pressed()) && has_workers {
                branch.call();
            }
        }
        if lane.is_backlog_full() && !was_full {
            let behind = self.branches.iter().filter(|branch| branch.reader(lane).is_full());
            let behind: Vec<&str> = behind.map(|branch| branch.sink.shown_name()).collect();
            let text = format!(
                "the backlog is at its limit of {} bytes: {} applies until the dataset has caught up: {}",
                config.backlog_bytes_max,
                config.overflow.as_str(),
                behind.join(", ")
            );
            config.notices.say_rarely(Level::Warning, NoticeKind::Backlog, "", text);
        }
        lane.set_gate(gating, was_shut, wait);
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
        shared.threads.no_maintenance.store(true, Ordering::SeqCst);
        let log = || _ = logger.log(&SafetyEvent::default());
        (0..3).for_each(|_| log());
        assert!(!shared.has_keeper());
        until("a full buffer", || dataset.len() == 3);
        // One that came before the third event is followed by the next when that is due.
        until("a sync", || {
            shared.call_workers();
            clock.advance(SYNC_EVERY);
            shared.lane().is_some_and(|lane| lane.journal.synced().0 == 3)
        });
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
