//! One sink of a logger and all that is its own: its worker, its thread, its counters, and what a
//! waiting `flush` wants to know of it. No branch ever waits for another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::adopt::Share;
use super::config::Config;
use super::journals::Journals;
use super::lane::Lane;
use super::reader::Reader;
use super::shared::{Target, lock};
use super::worker::Worker;
use crate::sink::SafetyEventSink;
use crate::stats::SinkCounters;

/// See the module.
#[derive(Debug)]
pub(super) struct Branch {
    /// Its place among the logger's branches, and among the readers of each lane.
    pub(super) index: usize,
    pub(super) sink: Arc<SafetyEventSink>,
    pub(super) counters: Arc<SinkCounters>,
    pub(super) worker: Mutex<Worker>,
    /// When the first attempt at the present batch began, in nanoseconds of the monotonic clock;
    /// 0 while there is none.
    batch_since: AtomicU64,
    /// An attempt at the present batch has failed.
    failing: AtomicBool,
    /// The journal could not be read when that was last tried.
    unreadable: AtomicBool,
    /// Its cursor could not be written when that was last tried.
    unsaved: AtomicBool,
    /// No thread was to be had for it.
    threadless: AtomicBool,
    /// What earlier runs left for it, until its worker takes it.
    pub(super) left: Mutex<Vec<Share>>,
    pub(super) call: Mutex<Call>,
    pub(super) called: Condvar,
    progress: Mutex<Progress>,
    progress_made: Condvar,
}

/// What a branch's thread is called for.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) work: bool,
    pub(super) quit: bool,
    pub(super) running: bool,
}

/// Counts what a waiting `flush` wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last request that had been made when the worker last looked for orphans.
    pub(super) scanned: u64,
    /// The last request that had been made when something was last kept, because neither dataset
    /// nor fallback took it, or because the journal could not be read.
    pub(super) kept: u64,
}

impl Branch {
    pub(super) fn new(index: usize, sink: Arc<SafetyEventSink>, config: &Config) -> Self {
        Self {
            index,
            sink,
            counters: Arc::default(),
            worker: Mutex::new(Worker::new(config)),
            batch_since: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            unsaved: AtomicBool::new(false),
            threadless: AtomicBool::new(false),
            left: Mutex::default(),
            call: Mutex::default(),
            called: Condvar::new(),
            progress: Mutex::default(),
            progress_made: Condvar::new(),
        }
    }

    /// Its reading of a lane.
    pub(super) fn reader<'a>(&self, lane: &'a Lane) -> &'a Reader {
        &lane.readers[self.index]
    }

    /// Calls its thread.
    pub(super) fn call(&self) {
        lock(&self.call).work = true;
        self.called.notify_all();
    }

    /// Whether its thread is there.
    pub(super) fn is_running(&self) -> bool {
        lock(&self.call).running
    }

    /// Its worker, unless somebody else has it until the deadline.
    pub(super) fn worker_until(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, Worker>> {
        let Some(deadline) = deadline else { return Some(lock(&self.worker)) };
        loop {
            match self.worker.try_lock() {
                Ok(worker) => return Some(worker),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Whether it is delivering: its last batch was confirmed, no attempt at the present one has
    /// failed, and that one is within its deadline.
    pub(super) fn is_delivering(&self, now: Duration, deadline: Duration) -> bool {
        let since = self.batch_since.load(Ordering::Acquire);
        let late = since > 0 && now.saturating_sub(Duration::from_nanos(since)) > deadline;
        self.sink.healthy() && !self.failing.load(Ordering::Acquire) && !late
    }

    /// Says that an attempt at its batch begins.
    pub(super) fn attempts(&self, now: Duration) {
        let nanos = (now.as_nanos() as u64).max(1);
        let _ = self.batch_since.compare_exchange(0, nanos, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Says that an attempt has failed.
    pub(super) fn failed(&self) {
        self.failing.store(true, Ordering::Release);
    }

    /// Says that its batch has settled.
    pub(super) fn batch_settled(&self) {
        self.batch_since.store(0, Ordering::Release);
        self.failing.store(false, Ordering::Release);
    }

    /// Says whether the journal could be read for it.
    pub(super) fn set_readable(&self, readable: bool) {
        set(&self.unreadable, !readable);
    }

    /// Says whether its cursor could be written.
    pub(super) fn set_saved(&self, saved: bool) {
        set(&self.unsaved, !saved);
    }

    /// Says whether there was a thread to be had for it.
    pub(super) fn set_threaded(&self, threaded: bool) {
        set(&self.threadless, !threaded);
    }

    /// Whether its worker can't read the journal, or not write down how far it is.
    pub(super) fn lacks_journal(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed) || self.unsaved.load(Ordering::Relaxed)
    }

    /// Whether it needs a thread, and none was to be had.
    pub(super) fn lacks_thread(&self) -> bool {
        self.threadless.load(Ordering::Relaxed)
    }

    /// Whether everything accepted up to `targets` has settled here.
    pub(super) fn settled(&self, journals: &Journals, targets: &[Target]) -> bool {
        let acked = |lane: &Lane| self.reader(lane).cursor.state().acked;
        let is_settled = |(index, target): &Target| {
            journals.get(*index).is_none_or(|lane| !lane.is_open() || acked(lane) >= *target)
        };
        targets.iter().all(is_settled) && self.counters.recovering.load(Ordering::Acquire) == 0
    }

    /// Says that something has happened which a waiting `flush` wants to know.
    pub(super) fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.progress_made.notify_all();
    }

    pub(super) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    /// Waits until `done` says so, the deadline has passed, the worker had to keep something, or its
    /// thread has ended.
    pub(super) fn wait_for_progress(
        &self,
        deadline: Option<Instant>,
        request: u64,
        done: impl Fn() -> bool,
    ) -> bool {
        let mut progress = lock(&self.progress);
        loop {
            if progress.scanned >= request && done() {
                return true;
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero())
                || progress.kept >= request
                || !self.is_running()
            {
                return false;
            }
            let left = left.unwrap_or(Duration::from_millis(500)).min(Duration::from_millis(500));
            let waited = self.progress_made.wait_timeout(progress, left);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Read first: the usual case must not take the cache line from other threads.
fn set(flag: &AtomicBool, value: bool) {
    if flag.load(Ordering::Relaxed) != value {
        flag.store(value, Ordering::Relaxed);
    }
}
