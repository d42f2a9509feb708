//! What the threads of one logger share: its lanes, its counters, and what a waiting `flush` wants
//! to know.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Logged;
use super::config::Config;
use super::lane::{Host, Lane, Patience};
use super::threads::Threads;
use super::worker::Worker;
use crate::id::Seq;
use crate::journal::{DropReason, slug};
pub(super) use crate::locks::lock;
use crate::notice::{Level, Notices};
use crate::stats::Counters;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) counters: Arc<Counters>,
    /// The journal, opened by the first event.
    pub(super) first: OnceLock<Lane>,
    /// The file journal that took over from one in memory, once storage was there again.
    pub(super) resumed: OnceLock<Lane>,
    pub(super) opening: Mutex<()>,
    pub(super) started: AtomicBool,
    pub(super) closing: AtomicBool,
    /// The process is about to fork: the worker begins nothing.
    pub(super) paused: AtomicBool,
    /// Somebody waits for everything: hand over at once.
    pub(super) flushing: AtomicU64,
    /// How many wait for what was handed over already.
    pub(super) urging: AtomicU64,
    /// Counts the calls of `flush`: the worker looks for orphans, and does not wait with what it
    /// has kept, when there is a new one.
    requests: AtomicU64,
    pub(super) worker: Mutex<Worker>,
    /// When a batch last settled, in nanoseconds of the monotonic clock; 0 if never.
    pub(super) settled_at: AtomicU64,
    progress: Mutex<Progress>,
    progress_made: Condvar,
    pub(super) threads: Threads,
    /// How many drops, by reason, have been said.
    pub(super) said: Mutex<[u64; DropReason::ALL.len()]>,
}

/// For how long after its last batch a healthy dataset is taken to be catching up.
const CATCHING_UP: Duration = Duration::from_millis(500);

/// Counts what a waiting `flush` wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last request that had been made when the worker last looked for orphans.
    pub(super) scanned: u64,
    /// The last request that had been made when something was last kept, because neither dataset
    /// nor fallback took it, or because the journal could not be read.
    pub(super) kept: u64,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        Self {
            worker: Mutex::new(Worker::new(&config)),
            config,
            counters: Arc::default(),
            first: OnceLock::new(),
            resumed: OnceLock::new(),
            opening: Mutex::default(),
            started: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            flushing: AtomicU64::new(0),
            urging: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            settled_at: AtomicU64::new(0),
            progress: Mutex::default(),
            progress_made: Condvar::new(),
            threads: Threads::default(),
            said: Mutex::default(),
        }
    }

    /// The lane that events go to now, if there is one.
    #[inline]
    pub(super) fn lane(&self) -> Option<&Lane> {
        self.resumed.get().or_else(|| self.first.get())
    }

    /// All lanes, oldest first.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.first.get().into_iter().chain(self.resumed.get())
    }

    /// Where this logger's dataset is, without secrets; empty while no adapter is registered.
    pub(super) fn destination(&self) -> String {
        self.config.sink.identity()
    }

    /// The folder of this dataset's journals.
    pub(super) fn journals(&self) -> std::path::PathBuf {
        self.config.root.join("journal").join(slug(&self.config.dataset))
    }

    /// Encodes nothing, decides everything: one payload into the journal.
    #[inline]
    pub(super) fn accept(self: &Arc<Self>, payload: &[u8], patience: Patience) -> Option<Logged> {
        let lane = match self.lane() {
            Some(lane) => lane,
            None => self.open_lane(),
        };
        lane.accept(payload, patience, &Hosted(self))
    }

    /// Asks the worker to look for orphans and to try again what it has kept; the request's number.
    pub(super) fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last request's number.
    pub(super) fn requested(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Says that something has happened which a waiting `flush` wants to know.
    pub(super) fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.progress_made.notify_all();
        self.lanes().for_each(Lane::wake_waiting);
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

    pub(super) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    /// Whether everything accepted up to `targets` (one seq a lane) has settled.
    pub(super) fn settled(&self, targets: &[Seq]) -> bool {
        let own =
            self.lanes().zip(targets).all(|(lane, target)| lane.cursor.state().acked >= *target);
        own && self.counters.recovering.load(Ordering::Acquire) == 0
    }

    pub(super) fn targets(&self) -> Vec<Seq> {
        self.lanes().map(|lane| lane.journal.last()).collect()
    }

    /// What a forked child's logger is made of: the same, but for locks that a thread which the
    /// child does not have may hold.
    pub(super) fn config_after_fork(&self) -> Config {
        let notices = Arc::new(Notices::default());
        let sink = Arc::new(self.config.sink.after_fork(notices.clone()));
        Config { sink, notices, ..self.config.clone() }
    }

    /// In a forked child: lets go of what belongs to the parent.
    pub(super) fn abandon(&self) {
        self.lanes().for_each(|lane| lane.journal.forget_lock());
    }
}

/// What a lane sees of its logger.
struct Hosted<'a>(&'a Arc<Shared>);

impl Host for Hosted<'_> {
    #[inline]
    fn buffer_full(&self) {
        self.0.wake_keeper();
    }

    fn is_started(&self) -> bool {
        // Without threads nobody else delivers: whoever waits for room has to do it.
        self.0.started.load(Ordering::Acquire) && self.0.config.threads
    }

    fn is_catching_up(&self) -> bool {
        let nanos = self.0.settled_at.load(Ordering::Acquire);
        if nanos == 0 {
            return false;
        }
        let settled_at = Duration::from_nanos(nanos);
        let since = self.0.config.clock.monotonic().saturating_sub(settled_at);
        self.is_started() && self.0.config.sink.healthy() && since < CATCHING_UP
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    fn is_delivering(&self) -> bool {
        self.0.is_delivering_here()
    }

    fn deliver_now(&self) {
        // What could not be delivered stays where it was.
        let _ = super::flush::inline(self.0, None);
    }

    fn journal_full(&self, error: &io::Error) {
        let text = format!("the journal can't take more: {error}; make room on its disk");
        self.0.config.notices.say(Level::Error, "journal_full", text);
    }
}
