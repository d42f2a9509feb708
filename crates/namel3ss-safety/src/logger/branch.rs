//! One sink of a logger and all that is its own: its worker, its thread, its counters, and what a
//! waiting `flush` wants to know of it. No branch ever waits for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::adopt::Share;
use super::config::Config;
use super::lane::Lane;
use super::reader::Reader;
use super::shared::lock;
use super::worker::Worker;
use crate::id::Seq;
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
    /// When a batch last settled, in nanoseconds of the monotonic clock; 0 if never.
    pub(super) settled_at: AtomicU64,
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

/// For how long after its last batch a healthy dataset is taken to be catching up.
const CATCHING_UP: Duration = Duration::from_millis(500);

impl Branch {
    pub(super) fn new(index: usize, sink: Arc<SafetyEventSink>, config: &Config) -> Self {
        Self {
            index,
            sink,
            counters: Arc::default(),
            worker: Mutex::new(Worker::new(config)),
            settled_at: AtomicU64::new(0),
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

    /// Whether its dataset is healthy and has just taken something.
    pub(super) fn is_catching_up(&self, now: Duration) -> bool {
        let nanos = self.settled_at.load(Ordering::Acquire);
        let since = now.saturating_sub(Duration::from_nanos(nanos));
        nanos > 0 && self.sink.healthy() && since < CATCHING_UP
    }

    /// Whether everything accepted up to `targets` (one seq a lane) has settled here.
    pub(super) fn settled<'a>(
        &self,
        lanes: impl Iterator<Item = &'a Lane>,
        targets: &[Seq],
    ) -> bool {
        let acked = |lane: &Lane| self.reader(lane).cursor.state().acked;
        lanes.zip(targets).all(|(lane, target)| acked(lane) >= *target)
            && self.counters.recovering.load(Ordering::Acquire) == 0
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
