//! The logger's threads: starting, waking, calling and ending them. One maintains the journals, one
//! syncs them where power cuts count, and one a sink delivers.
//!
//! Maintenance polls, because waking a sleeping thread costs the caller of `log()` 12 to 20 µs: every
//! millisecond while there is work, ever more seldom without. Only a full buffer that finds it in its
//! deepest sleep wakes it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::branch::Branch;
use super::flush::Counted;
use super::lane::{Ground, Lane};
use super::maintenance::SYNC_EVERY;
use super::shared::{Shared, lock};
use super::worker::Worker;
use crate::batch::Durability;
use crate::notice::Level;
use crate::process;

/// How the keeper is reached; workers are by their branches.
#[derive(Debug, Default)]
pub(super) struct Threads {
    keeper: OnceLock<Thread>,
    /// Where power cuts count.
    syncer: OnceLock<Thread>,
    keeper_sleeps: AtomicBool,
    /// When missing threads were last tried, in nanoseconds.
    tried: AtomicU64,
    #[cfg(test)]
    no_maintenance: AtomicBool,
}

impl Threads {
    /// From now on no thread is to be had for the maintenance.
    #[cfg(test)]
    pub(super) fn refuse_maintenance(&self) {
        self.no_maintenance.store(true, Ordering::SeqCst);
    }

    /// Whether missing threads may be tried again; they are, then.
    fn is_due(&self, now: Duration) -> bool {
        let now = (now.as_nanos() as u64).max(1);
        let tried = self.tried.load(Ordering::Relaxed);
        let due = tried == 0 || now.saturating_sub(tried) >= MISSING_EVERY.as_nanos() as u64;
        if due {
            self.tried.store(now, Ordering::Relaxed);
        }
        due
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
/// How often threads that were not to be had are tried again.
const MISSING_EVERY: Duration = Duration::from_secs(1);
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
                self.config.notices.say_rarely(Level::Warning, "threads", "keeper", text);
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
                self.config.notices.say(Level::Critical, "panic", text);
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
                self.config.notices.say(Level::Critical, "panic", text);
            }
        }
    }

    /// Wakes the keeper, if it sleeps deeply.
    #[inline]
    pub(super) fn wake_keeper(&self) {
        if self.threads.keeper_sleeps.load(Ordering::SeqCst)
            && self.threads.keeper_sleeps.swap(false, Ordering::SeqCst)
            && let Some(keeper) = self.threads.keeper.get()
        {
            keeper.unpark();
        } else if !self.has_keeper() && self.config.threads {
            // No thread was to be had for it: the workers do its work.
            self.call_workers();
        }
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
        let urged = [&self.flushing, &self.urging].iter().any(|n| n.load(Ordering::SeqCst) > 0);
        let maintains = urged || !self.has_keeper();
        let _here = DeliveringHere::new(self);
        let now = self.config.clock.monotonic();
        let turn = AssertUnwindSafe(|| {
            let maintained = maintains && self.maintain(now).is_some();
            let wait = worker.turn(self, branch, maintained);
            let due = (worker.is_idle() && !self.has_keeper()).then(|| self.next_dispatch(now));
            let due = due.flatten().map(|wait| wait.max(BUSY));
            wait.into_iter().chain(due).min()
        });
        catch_unwind(turn).unwrap_or_else(|_| {
            let text = "the worker panicked; what it was doing stays in the journal";
            self.config.notices.say(Level::Critical, "panic", text);
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
                let left = match until {
                    None => Duration::MAX,
                    Some(until) => until.saturating_duration_since(Instant::now()),
                };
                if left.is_zero() {
                    break;
                }
                call = if left == Duration::MAX {
                    branch.called.wait(call).unwrap_or_else(PoisonError::into_inner)
                } else {
                    let waited = branch.called.wait_timeout(call, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                };
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
        branch.set_threaded(thread.is_ok());
        if let Err(error) = thread {
            let text = format!("no thread to deliver with: {error}; call flush or stop");
            let notices = &self.config.notices;
            notices.say_rarely(Level::Warning, "threads", branch.sink.name(), text);
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
        match left {
            Some(Duration::ZERO) => return,
            Some(left) => {
                let waited = branch.called.wait_timeout(call, left);
                call = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            None => call = branch.called.wait(call).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
