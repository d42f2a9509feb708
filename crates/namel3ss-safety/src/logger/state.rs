//! What the threads of one logger share: its journals, its sinks with their workers, its counters, and
//! what a waiting `flush` wants to know.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::config::Config;
use super::journals::{Journals, Lane, Life, Reader};
use super::recovery::{Adopting, Share};
use crate::batch::RowBuffer;
use crate::id::Seq;
use crate::journal::store::ReadPlace;
use crate::journal::{DropReason, slug};
use crate::locks::{lock, wait_for};
use crate::notice::Notices;
use crate::sink::{Delivering, SafetyEventSink};

/// See the module.
#[derive(Debug)]
pub(super) struct Branch {
    /// Its place among the logger's branches, and among the readers of each lane.
    pub(super) index: usize,
    pub(super) sink: Arc<SafetyEventSink>,
    /// Events of earlier runs that it has delivered, or filed.
    pub(super) recovered: AtomicU64,
    /// Events of earlier runs that it has yet to deliver.
    pub(super) recovering: AtomicU64,
    pub(super) worker: Mutex<Worker>,
    /// When the first attempt at the present batch began, in nanoseconds of the monotonic clock;
    /// 0 while there is none.
    batch_since: AtomicU64,
    /// An attempt at the present batch has failed.
    failing: AtomicBool,
    /// The journal could not be read when that was last tried.
    pub(super) unreadable: Flag,
    /// Its cursor could not be written when that was last tried.
    pub(super) unsaved: Flag,
    /// No thread was to be had for it.
    pub(super) threadless: Flag,
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
            recovered: AtomicU64::new(0),
            recovering: AtomicU64::new(0),
            worker: Mutex::new(Worker::new(config)),
            batch_since: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            unreadable: Flag::default(),
            unsaved: Flag::default(),
            threadless: Flag::default(),
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
            let left = left.unwrap_or(PROGRESS_POLL).min(PROGRESS_POLL);
            progress = wait_for(&self.progress_made, progress, Some(left));
        }
    }
}

/// How often a waiting `flush` looks for itself.
const PROGRESS_POLL: Duration = Duration::from_millis(500);

/// What is wrong now, or not.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    /// Read first: the usual case must not take the cache line from other threads.
    pub(super) fn set(&self, value: bool) {
        if self.is_set() != value {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The place of a journal in the list, and the last seq in it that somebody waits for.
pub(super) type Target = (usize, Seq);

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// One for each sink; never empty.
    pub(super) branches: Box<[Branch]>,
    /// Events that were cut to fit.
    pub(super) cut: AtomicU64,
    /// The first one is opened by the first event.
    pub(super) journals: Journals,
    /// Held by whoever begins a journal, looks after the folders of those that there are, or ends one.
    pub(super) opening: Mutex<()>,
    /// Where journals lie since the process has another user; `None` is where the configuration says.
    pub(super) moved: Mutex<Option<PathBuf>>,
    /// Held by the worker that looks for orphans, for all of them.
    pub(super) adopting: Mutex<Adopting>,
    pub(super) life: Arc<Life>,
    /// Held while the logger is started or stopped: what goes with it is done as one.
    pub(super) changing: Mutex<()>,
    pub(super) closing: AtomicBool,
    /// The process is about to fork: the workers begin nothing.
    pub(super) paused: AtomicBool,
    /// What only memory has is about to be lost: it gets one more attempt, at once, and then a file.
    pub(super) hurrying: AtomicBool,
    /// Somebody waits for everything: hand over at once.
    pub(super) flushing: AtomicU64,
    /// How many wait for what was handed over already.
    pub(super) urging: AtomicU64,
    /// Counts the calls of `flush`: a worker looks for orphans, and does not wait with what it has
    /// kept, when there is a new one.
    requests: AtomicU64,
    pub(super) threads: Threads,
    /// Held by whoever maintains.
    pub(super) maintenance: Mutex<Maintenance>,
    pub(super) said: Said,
    /// How many events were last said to be in memory only.
    pub(super) said_unkept: AtomicU64,
    /// Events of an earlier run turned out to be lost.
    pub(super) lost_of_others: AtomicBool,
}

/// What maintenance remembers.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    pub(super) resume_due: Duration,
    pub(super) check_due: Duration,
    pub(super) sync_due: Duration,
    /// Since when a buffer holds something, by the place of its journal.
    pub(super) buffered_since: BTreeMap<usize, Duration>,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let sinks = config.sinks.iter().cloned().enumerate();
        Self {
            branches: sinks.map(|(index, sink)| Branch::new(index, sink, &config)).collect(),
            cut: AtomicU64::new(0),
            journals: Journals::default(),
            opening: Mutex::default(),
            moved: Mutex::default(),
            adopting: Mutex::default(),
            life: Arc::new(Life::new(config.autostart)),
            changing: Mutex::default(),
            closing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            hurrying: AtomicBool::new(false),
            flushing: AtomicU64::new(0),
            urging: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            threads: Threads::default(),
            maintenance: Mutex::default(),
            said: Said::default(),
            said_unkept: AtomicU64::new(0),
            lost_of_others: AtomicBool::new(false),
            config,
        }
    }

    /// Starts delivering; a stop that is on its way does not end it any more.
    pub(super) fn start(self: &Arc<Self>) {
        if self.closing.load(Ordering::SeqCst) {
            return;
        }
        let changing = lock(&self.changing);
        self.life.start();
        self.open_lane();
        self.lanes().for_each(Lane::life_changed);
        if self.config.threads {
            self.start_workers();
        }
        drop(changing);
        self.wake_keeper();
    }

    /// Begins a stop; returns what [`end_stop`](Self::end_stop) takes. From now on an event starts
    /// the logger again.
    pub(super) fn begin_stop(&self) -> u64 {
        let starts = self.life.begin_stop();
        self.lanes().for_each(Lane::life_changed);
        starts
    }

    /// Ends a stop and, until the deadline, waits for the workers to end; does nothing if the
    /// logger was started since the stop began.
    pub(super) fn end_stop(&self, starts: u64, deadline: Option<Instant>) {
        let changing = lock(&self.changing);
        if !self.life.end_stop(starts) {
            return;
        }
        self.lanes().for_each(Lane::life_changed);
        self.tell_workers_to_quit();
        drop(changing);
        self.wait_for_workers(deadline);
    }

    /// The lane that events go to now, if there is one.
    #[inline]
    pub(super) fn lane(&self) -> Option<&Lane> {
        self.journals.active()
    }

    /// The lanes of all journals that are not finished, oldest first.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.journals.open()
    }

    /// Where each sink's dataset is, without secrets; empty while no adapter is registered.
    pub(super) fn destinations(&self) -> Vec<String> {
        self.branches.iter().map(|branch| branch.sink.identity()).collect()
    }

    /// The folder of this dataset's journals.
    pub(super) fn journals(&self) -> PathBuf {
        self.root().join("journal").join(slug(&self.config.dataset))
    }

    /// Asks the workers to look for orphans and to try again what they have kept; the request's
    /// number.
    pub(super) fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last request's number.
    pub(super) fn requested(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Says that something has happened to a branch which a waiting `flush` wants to know.
    pub(super) fn note(&self, branch: &Branch, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&branch.progress));
        branch.progress_made.notify_all();
        self.lanes().for_each(Lane::wake_waiting);
    }

    /// Whether everything accepted up to `targets` has settled in a branch.
    pub(super) fn settled(&self, branch: &Branch, targets: &[Target]) -> bool {
        let acked = |lane: &Lane| branch.reader(lane).cursor.state().acked;
        let is_settled = |(index, target): &Target| {
            let lane = self.journals.get(*index);
            lane.is_none_or(|lane| !lane.is_open() || acked(lane) >= *target)
        };
        targets.iter().all(is_settled) && branch.recovering.load(Ordering::Acquire) == 0
    }

    /// What a forked child's logger is made of: the same, but for locks that a thread which the
    /// child does not have may hold.
    pub(super) fn config_after_fork(&self) -> Config {
        let notices = Arc::new(Notices::default());
        let sinks = self.config.sinks.iter();
        let sinks = sinks.map(|sink| Arc::new(sink.after_fork(notices.clone()))).collect();
        Config { sinks, notices, ..self.config.clone() }
    }

    /// In a forked child: lets go of what belongs to the parent.
    pub(super) fn abandon(&self) {
        self.lanes().for_each(|lane| lane.journal.forget_lock());
    }
}

/// What the worker of one sink remembers.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) orphans: VecDeque<Share>,
    /// Where it reads, by the places of the journals.
    pub(super) places: BTreeMap<usize, ReadPlace>,
    pub(super) rows: RowBuffer,
    pub(super) flight: Option<Flight>,
    pub(super) scan_due: Option<Duration>,
    /// There was no room for all orphans at the last look.
    pub(super) more_orphans: bool,
    /// The last request that was seen.
    pub(super) request: u64,
    /// Since when handed-over rows wait for more of them.
    pub(super) gathering_since: Option<Duration>,
    /// When the last batch of an orphan was begun.
    pub(super) orphan_at: Option<Duration>,
    /// Since when nothing has settled.
    pub(super) last_progress: Duration,
    /// The last turn found nothing to do.
    pub(super) idle: bool,
}

/// A batch on its way. Its rows are in the worker's buffer.
#[derive(Debug)]
pub(super) struct Flight {
    /// The place of its journal; `None` where it is of the worker's first orphan.
    pub(super) lane: Option<usize>,
    pub(super) last: Seq,
    pub(super) state: Delivering,
    pub(super) not_before: Duration,
    /// Neither the dataset nor a fallback file took it: it waits for better days.
    pub(super) kept: bool,
    /// The last request that had been made when this pass over its rows began.
    pub(super) request: u64,
    /// Rows have settled in this pass.
    pub(super) settled: bool,
    /// It was tried at once, because it is about to be lost.
    pub(super) hurried: bool,
}

/// How often threads that were not to be had are tried again.
const MISSING_EVERY: Duration = Duration::from_secs(1);
/// How the keeper is reached; workers are by their branches.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) keeper: OnceLock<Thread>,
    /// Where power cuts count.
    pub(super) syncer: OnceLock<Thread>,
    pub(super) keeper_sleeps: AtomicBool,
    /// When missing threads were last tried, in nanoseconds.
    pub(super) tried: AtomicU64,
    /// No thread is to be had for the maintenance.
    #[cfg(test)]
    pub(super) no_maintenance: AtomicBool,
}

impl Threads {
    /// Whether missing threads may be tried again; they are, then.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let now = (now.as_nanos() as u64).max(1);
        let tried = self.tried.load(Ordering::Relaxed);
        let due = tried == 0 || now.saturating_sub(tried) >= MISSING_EVERY.as_nanos() as u64;
        if due {
            self.tried.store(now, Ordering::Relaxed);
        }
        due
    }
}

/// What was said of drops.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The reasons that were met at all, a bit each: so that a drop costs no lock.
    pub(super) kinds: AtomicU8,
    /// By reason.
    pub(super) sums: Mutex<[SaidSum; DropReason::ALL.len()]>,
    /// Of events that were cut.
    pub(super) cut: Mutex<SaidSum>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SaidSum {
    pub(super) events: u64,
    /// When last.
    pub(super) at: Option<Duration>,
}
