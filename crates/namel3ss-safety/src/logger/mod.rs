//! The logger: accepts events from any thread, keeps them in its journal, has them delivered.

mod config;
mod journals;
mod recovery;
mod state;
mod stats;
mod delivery;
mod storage;
mod flush;
mod maintenance;
mod intake;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

pub use self::config::{ConfigError, JournalKind, LoggerBuilder};
pub use self::intake::Logged;
pub use self::stats::FlushReport;

use self::config::Config;
use self::intake::Patience;
use self::journals::{Ground, Lane};
use self::state::Shared;
use self::stats::Saying;
use crate::codec;
use crate::codec::{Payload, Source};
use crate::id::Seq;
use crate::journal::media::ForkGuard;
use crate::journal::{DropReason, JournalError};
use crate::locks::lock;
use crate::notice::{Level, Notice, NoticeKind};
use crate::process::{count_forks, drop_apart, forks};
use crate::sink::SafetyEventSink;
use crate::stats::Stats;

/// Keeps safety events and delivers them.
///
/// `log` may be called from any thread, at any time, also before `start`, after `stop`, and in a
/// forked child, which then has a journal and threads of its own.
///
/// Clones are handles of one logger. **Dropping the last one** waits up to 100 ms for its threads, and
/// delivers what only memory has in that time; what is in a journal's file stays there for the next
/// run. Its adapters are dropped on a thread of their own, for which it waits another 100 ms at most.
/// Call [`stop`](Self::stop) before the process ends. A logger in a `static` is never dropped: nothing
/// is delivered at the end of the process that `stop` has not delivered, and events of a journal in
/// memory are lost.
///
/// ```
/// use namel3ss_safety::{MemoryAdapter, SafetyEvent, SafetyEventLogger};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let home = tempfile::tempdir()?;
/// let dataset = Arc::new(MemoryAdapter::default());
/// let logger =
///     SafetyEventLogger::builder().dataset(dataset.clone()).home(home.path()).build()?;
/// logger.log(&SafetyEvent::block("jailbreak"));
/// // Not for ever: an adapter may hang.
/// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
/// assert_eq!(dataset.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SafetyEventLogger {
    /// Of `first`, so that a call takes one step less. Dropped before it: the last one waits to be alone.
    shared: Arc<Shared>,
    first: Arc<Generation>,
}

thread_local! {
    /// Where a thread encodes, so that a call allocates nothing.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a thread's scratch may keep after a large event.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

impl SafetyEventLogger {
    /// Says how the logger is made.
    #[must_use]
    pub fn builder() -> LoggerBuilder {
        LoggerBuilder::default()
    }

    fn new(config: Config) -> Self {
        let first = Generation::new(config);
        let shared = Arc::clone(first.shared());
        Self { shared, first: Arc::new(first) }
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared> {
        if self.first.guard.is_ours() { &self.shared } else { self.shared_of_child() }
    }

    #[cold]
    fn shared_of_child(&self) -> &Arc<Shared> {
        let mut generation = &*self.first;
        while !generation.guard.is_ours() {
            generation = generation.after_fork();
        }
        generation.shared()
    }

    /// Keeps an event: when it returns, the event survives the end of the process, however it
    /// comes (with the default journal; **not** a power cut: see [`sync`](Self::sync)).
    ///
    /// It never fails, and waits for a bounded time: not at all where the backlog is below half of
    /// `backlog_limit_bytes`; above that for a destination that is only slower than its callers, up
    /// to 50 µs at the limit and up to 500 ms at twice the limit; for a full or failing disk, some
    /// 500 ms. Only the strategy `block` waits for as long as the buffer is full. In asynchronous
    /// code use [`try_log`](Self::try_log), which refuses where this would wait for long.
    #[inline]
    pub fn log(&self, event: &impl Source) -> Logged {
        self.accept(event, Patience::Wait).unwrap_or_else(never_refused)
    }

    /// As [`log`](Self::log), but where that would wait for a millisecond or more, or for room as
    /// `block` does, nothing is kept and it is `None`. It still waits for the disk where the ring is
    /// full, and where the disk is full too, for the bound of `log`. For callers that hold a lock
    /// which a delivery may need, as a Python thread does, and for asynchronous code.
    #[inline]
    pub fn try_log(&self, event: &impl Source) -> Option<Logged> {
        self.accept(event, Patience::Refuse)
    }

    #[inline]
    fn accept(&self, event: &impl Source, patience: Patience) -> Option<Logged> {
        let shared = self.shared();
        let accept = |scratch: &mut Vec<u8>| {
            let (payload, cut) = match codec::encode_into_noting(event, scratch) {
                Ok(encoded) => encoded,
                Err(codec::Starved) => return Some(shared.starve()),
            };
            let logged = shared.accept(payload, patience);
            if cut && logged.is_some() {
                shared.note_cut();
            }
            logged
        };
        let apart = || accept(&mut Vec::new());
        let accepted = SCRATCH.try_with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => {
                let logged = accept(&mut scratch);
                if scratch.len() > SCRATCH_BYTES_MAX {
                    *scratch = Vec::new();
                }
                logged
            }
            // An adapter that logs, on a thread that delivers on behalf of a `log`.
            Err(_) => apart(),
        });
        // The thread is ending, and a destructor of one of its thread-locals logs.
        accepted.unwrap_or_else(|_| apart())
    }

    /// As [`log`](Self::log), of an event that was encoded before.
    #[doc(hidden)]
    pub fn log_payload(&self, payload: &Payload) -> Logged {
        self.accept_payload(payload, Patience::Wait).unwrap_or_else(never_refused)
    }

    /// Keeps an event though the buffer is full, beyond the limit: for callers that can't wait now,
    /// and will until [`is_full`](Self::is_full) says no. `None` where the strategy is `block` and
    /// the journal's disk takes nothing.
    #[doc(hidden)]
    pub fn overfill(&self, payload: &Payload) -> Option<Logged> {
        self.accept_payload(payload, Patience::Overfill)
    }

    fn accept_payload(&self, payload: &Payload, patience: Patience) -> Option<Logged> {
        let shared = self.shared();
        if payload.bytes().is_empty() {
            return Some(shared.starve());
        }
        let logged = shared.accept(payload.bytes(), patience);
        if payload.is_cut() && logged.is_some() {
            shared.note_cut();
        }
        logged
    }

    /// Delivers what [`overfill`](Self::overfill) found in the buffer of a logger that was not
    /// started.
    #[doc(hidden)]
    pub fn make_room(&self) -> FlushReport {
        flush::make_room(self.shared())
    }

    /// Counts an event that its host could not even read, as dropped for being invalid.
    #[doc(hidden)]
    pub fn reject(&self) {
        self.shared().reject();
    }

    /// Keeps the workers from beginning anything, waits until they are between two steps, so that no
    /// lock of an adapter is held, and has the adapters let go of what can't be inherited: for a fork
    /// where adapters of one's own hold locks, with [`resume`](Self::resume) after it in the parent.
    /// The adapters of this library need nothing of it. False where a worker was still busy when
    /// `timeout` had passed.
    #[doc(hidden)]
    pub fn pause(&self, timeout: Duration) -> bool {
        let shared = self.shared();
        shared.paused.store(true, Ordering::SeqCst);
        let until = Some(Instant::now() + timeout);
        let workers = shared.branches.iter().map(|branch| {
            let worker = branch.worker_until(until);
            if worker.is_some() {
                branch.sink.release();
            }
            worker
        });
        // All of them are held until the last one is.
        let workers: Vec<_> = workers.collect();
        workers.iter().all(Option::is_some)
    }

    /// Ends a [`pause`](Self::pause).
    #[doc(hidden)]
    pub fn resume(&self) {
        self.shared().paused.store(false, Ordering::SeqCst);
    }

    /// For how long [`log`](Self::log) would hold its caller up now, because a destination is slower
    /// than those who log.
    #[must_use]
    #[doc(hidden)]
    pub fn held_up(&self) -> Duration {
        self.shared().lane().map_or(Duration::ZERO, Lane::wait)
    }

    /// Whether [`log`](Self::log) would wait now, as `block` does at a full buffer.
    #[must_use]
    #[doc(hidden)]
    pub fn is_full(&self) -> bool {
        self.shared().lane().is_some_and(Lane::is_full)
    }

    /// Starts delivering; the first event does so too, unless the logger was built with
    /// [`autostart(false)`](LoggerBuilder::autostart). It can't fail: without a thread, `flush` and `stop`
    /// deliver.
    pub fn start(&self) {
        self.shared().start();
    }

    /// Whether it is started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.shared().life.is_started()
    }

    /// Makes everything logged so far survive a power cut, and says up to where that is. Callers
    /// at the same time share one sync.
    ///
    /// # Errors
    /// If storage does not confirm it, or events are in memory, also those of an earlier journal that
    /// are not delivered yet.
    pub fn sync(&self) -> Result<Seq, JournalError> {
        flush::sync(self.shared())
    }

    /// Returns when everything accepted before the call, and what earlier runs have left, has
    /// settled: delivered, in a fallback file, or dropped. It returns early, incomplete, when the
    /// timeout has passed, or when neither the dataset nor a fallback file takes it: then it stays
    /// in the journal. Works without `start`. No adapter is called on the thread that waits here, which
    /// may be one of an async runtime; that runtime stands still meanwhile, so that
    /// [`flush_async`](Self::flush_async) is better there. **Without a timeout it waits for as long as an
    /// adapter hangs.**
    pub fn flush(&self, timeout: Option<Duration>) -> FlushReport {
        let report = flush::flush(self.shared(), timeout);
        self.shared().config.notices.forward();
        report
    }

    /// `flush`, then ends the workers. A second call does no harm. An event that is logged after the
    /// call began starts the logger again, unless it was built with
    /// [`autostart(false)`](LoggerBuilder::autostart): then it stays in the journal for the next `start`,
    /// `flush` or run. A `start` that comes while this waits is not undone by it. **Give it a timeout**:
    /// as [`flush`](Self::flush), it waits for an adapter that hangs.
    pub fn stop(&self, timeout: Option<Duration>) -> FlushReport {
        let shared = self.shared();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let starts = shared.begin_stop();
        let report = flush::flush(shared, timeout);
        // A worker that hangs in its adapter ends when the adapter does.
        let grace = Instant::now() + Duration::from_millis(100);
        shared.end_stop(starts, deadline.map(|deadline| deadline.max(grace)));
        shared.say_rest();
        shared.config.notices.forward();
        report
    }

    /// Does what dropping it begins with, before it is dropped: has what only memory has delivered or
    /// put into fallback files, has its threads end, and waits for that for at most 100 ms in all. What
    /// only memory has then is counted as [`DropReason::NotPersisted`] and said. For a host that must
    /// not hold a lock meanwhile, as a Python thread does.
    #[doc(hidden)]
    pub fn quit(&self) {
        // Each handle holds a share of the first generation's, and a generation one of its own.
        let mut handles = Arc::strong_count(&self.first);
        let mut generation = Some(&*self.first);
        while let Some(found) = generation {
            if found.guard.is_ours() {
                let shared = found.shared();
                let until = Instant::now() + DROP_WAIT;
                shared.quit(until);
                // The keeper holds a share until it has seen that.
                while Arc::strong_count(shared) > 1 + handles && Instant::now() < until {
                    shared.unpark_keeper();
                    std::thread::sleep(Duration::from_millis(1));
                }
                shared.lose_unkept();
                return;
            }
            // A forked child that never used it has none of its own.
            generation = found.next.get().map(|next| &**next);
            handles = 0;
        }
    }

    /// How many events only memory has: they are lost with the process, and with the logger unless they
    /// are delivered while it is dropped.
    #[must_use]
    #[doc(hidden)]
    pub fn unkept(&self) -> u64 {
        self.shared().unkept()
    }

    /// Has what only memory has delivered, or put into fallback files, without waiting between attempts;
    /// how many events are left when `timeout` has passed. Dropping a logger does so for 100 ms. Only
    /// by its own threads: nothing where it may start none.
    #[doc(hidden)]
    pub fn rescue(&self, timeout: Duration) -> u64 {
        let shared = self.shared();
        if let Some(until) = Instant::now().checked_add(timeout) {
            shared.deliver_unkept(until);
        }
        shared.unkept()
    }

    /// Does one step of each sink's work on this thread; says how long to wait before the next,
    /// or `None` if there is nothing to do. For loggers without threads; buffers are handed over
    /// once it is started.
    #[doc(hidden)]
    pub fn turn(&self) -> Option<Duration> {
        self.shared().turn()
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Says what was not said yet, for a host whose process ends: see [`notices`](Self::notices).
    #[doc(hidden)]
    pub fn say_rest(&self) {
        self.shared().say_rest();
    }

    /// Takes what the library has to say about itself.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let shared = self.shared();
        shared.say_dropped(Saying::Due);
        shared.report_late_calls();
        shared.config.notices.take()
    }

    /// Says what is odd about an event that something else was read as: at once for each kind of
    /// oddity, then once a minute.
    #[cfg(feature = "tracing")]
    pub(crate) fn say_odd(&self, what: &str, remark: &crate::parse::Remark) {
        let text = format!("{what}: {remark}");
        let notices = &self.shared().config.notices;
        notices.say_rarely(Level::Warning, NoticeKind::Misread, &text.clone(), text);
    }

    /// The sink, the first one where there are several.
    #[must_use]
    pub fn sink(&self) -> &Arc<SafetyEventSink> {
        self.shared().config.sink()
    }

    /// The folder of its journal; `None` before the first event, or in memory.
    #[must_use]
    pub fn journal_folder(&self) -> Option<std::path::PathBuf> {
        let lane = self.shared().lane()?;
        (lane.ground() != Ground::Memory).then(|| lane.journal.folder().describe().into())
    }
}

/// What a caller that may wait is given; only the others can be refused.
#[cold]
fn never_refused() -> Logged {
    debug_assert!(false, "only callers that may not wait are refused");
    Logged::Dropped(DropReason::JournalFull)
}

impl FlushReport {
    /// Of a wait for which no thread was to be had.
    pub(crate) fn without_thread(stats: &Stats, error: &std::io::Error) -> Self {
        let behind = stats.sinks.iter().filter(|sink| sink.pending + sink.recovering > 0);
        Self {
            complete: false,
            pending: stats.pending + stats.recovering,
            behind: behind.map(|sink| sink.name.clone()).collect(),
            flushed: 0,
            fallback: 0,
            dropped: 0,
            error: Some(format!("start a thread to wait in: {error}")),
        }
    }
}

impl LoggerBuilder {
    /// Makes the logger. Nothing is opened before the first event.
    ///
    /// # Errors
    /// Names the parameter that is wrong, its value, and what it takes.
    ///
    /// ```
    /// use namel3ss_safety::SafetyEventLogger;
    /// let error = SafetyEventLogger::builder().buffer_size(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "buffer_size is 0: it takes 1 to 10000000 events");
    /// ```
    pub fn build(self) -> Result<SafetyEventLogger, ConfigError> {
        Ok(SafetyEventLogger::new(self.check()?))
    }
}

/// The logger of one process. A forked child finds, by the guard, that it is not its own, and goes
/// on to the next, which it makes; so no lock that was held at the fork is ever waited for.
#[derive(Debug)]
struct Generation {
    guard: ForkGuard,
    shared: Option<Arc<Shared>>,
    next: OnceLock<Box<Generation>>,
}

impl Generation {
    fn new(config: Config) -> Self {
        let shared = Arc::new(Shared::new(config));
        enter(&shared);
        Self { guard: ForkGuard::new(), shared: Some(shared), next: OnceLock::new() }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.shared.as_ref().expect("only drop takes it out")
    }

    #[cold]
    fn after_fork(&self) -> &Self {
        self.next.get_or_init(|| {
            let parent = self.shared();
            parent.abandon();
            let child = Self::new(parent.config_after_fork());
            if parent.life.is_started() {
                child.shared().start();
            }
            Box::new(child)
        })
    }
}

/// How long dropping a logger waits for its threads.
const DROP_WAIT: Duration = Duration::from_millis(100);

impl Drop for Generation {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        if !self.guard.is_ours() {
            // A forked child: the parent's locks may be held for ever, and its journal is its own.
            std::mem::forget(shared);
            return;
        }
        // Who was told to quit before was waited for then.
        let told = shared.closing.load(Ordering::SeqCst);
        let until = Instant::now() + if told { Duration::ZERO } else { DROP_WAIT };
        shared.quit(until);
        let (notices, given) = (shared.config.notices.clone(), shared.config.notices_are_given);
        close(shared, until);
        if given { notices.forward() } else { notices.leave() }
    }
}

/// Ends what its threads leave, once they have let go of it; not after `until`. Its adapters are not
/// dropped on this thread.
fn close(mut shared: Arc<Shared>, until: Instant) {
    // The keeper holds a share until it has seen `closing`.
    loop {
        shared.unpark_keeper();
        match Arc::try_unwrap(shared) {
            Ok(alone) => {
                alone.close();
                drop_apart(alone);
                return;
            }
            Err(still) if Instant::now() < until => {
                shared = still;
                std::thread::sleep(Duration::from_millis(1));
            }
            // Somebody hangs in an adapter. A journal in a file has everything.
            Err(still) => {
                still.save_dropped();
                still.lose_unkept();
                drop_apart(still);
                return;
            }
        }
    }
}

/// The loggers of a process that is so many forks away from the first one; a lock that a thread held
/// at the fork is not waited for in the child, which goes on to the next.
#[derive(Debug)]
struct Live {
    loggers: Mutex<Vec<Weak<Shared>>>,
    next: OnceLock<Box<Live>>,
}

static FIRST: Live = Live::new();

impl Live {
    const fn new() -> Self {
        Self { loggers: Mutex::new(Vec::new()), next: OnceLock::new() }
    }

    fn here() -> &'static Self {
        count_forks();
        let mut live = &FIRST;
        for _ in 0..forks() {
            live = live.next.get_or_init(|| Box::new(Self::new()));
        }
        live
    }
}

/// Keeps a logger in mind as long as it lives.
fn enter(shared: &Arc<Shared>) {
    let mut loggers = lock(&Live::here().loggers);
    if loggers.len() == loggers.capacity() {
        loggers.retain(|logger| logger.strong_count() > 0);
    }
    loggers.push(Arc::downgrade(shared));
}

/// Tells every logger of this process that it may be one of several copies, restored from one
/// snapshot: call it in each copy, before it logs anything. Each logger begins a new journal, as
/// after a fork, and event ids are made from new random numbers.
///
/// Copies of one process have the same journals, seqs and random numbers. Without this call two
/// events of two copies have the same `journal_id` and `seq`, and a dataset takes the second for the
/// first, delivered again. What was logged before the snapshot and is not delivered yet is in each
/// copy, under the same `journal_id` and `seq`.
///
/// **Each copy needs a home of its own:** two copies on one home write to the same file, whatever
/// they call.
///
/// ```
/// use namel3ss_safety::{AdapterRegistry, MemoryAdapter, SafetyEvent, SafetyEventLogger};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let home = tempfile::tempdir()?;
/// let registry = AdapterRegistry::default();
/// registry.register("safety_events", Arc::new(MemoryAdapter::default()));
/// let logger =
///     SafetyEventLogger::builder().adapter_registry(registry).home(home.path()).build()?;
/// let _ = logger.log(&SafetyEvent::default());
/// let before = logger.journal_folder();
///
/// namel3ss_safety::after_restore();
/// let _ = logger.log(&SafetyEvent::default());
/// assert_ne!(logger.journal_folder(), before);
/// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn after_restore() {
    crate::id::reseed();
    // Not under the lock: a journal takes time, and whoever makes a logger meanwhile waits for it.
    let loggers = lock(&Live::here().loggers).clone();
    for logger in loggers.iter().filter_map(Weak::upgrade) {
        if logger.begin_journal(|_| true) {
            let text = "a new journal was begun, because the process may be a copy of another one";
            logger.config.notices.say(Level::Info, NoticeKind::Restored, text);
        }
    }
}
