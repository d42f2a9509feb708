//! What the threads of one logger share: its lanes, its counters, and how they call each other.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::config::{Config, JournalKind};
use super::lane::{Ground, Host, Lane};
use super::worker::Worker;
use super::{FlushReport, Logged, keeper};
use crate::id::{JournalId, Seq};
use crate::journal::account::{self, Account};
use crate::journal::cursor::Cursor;
use crate::journal::media::{DiskFolder, Folder, FolderLock, MemoryFolder};
use crate::journal::{DropReason, Journal, slug};
use crate::notice::{Level, Notices};
use crate::stats::{Counters, Stats};

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) counters: Arc<Counters>,
    /// The journal, opened by the first event.
    first: OnceLock<Lane>,
    /// The file journal that took over from one in memory, once storage was there again.
    resumed: OnceLock<Lane>,
    opening: Mutex<()>,
    pub(super) started: AtomicBool,
    pub(super) closing: AtomicBool,
    /// Somebody waits for everything: hand over at once.
    pub(super) flushing: AtomicU64,
    /// Counts the calls of `flush`: the worker looks for orphans, and does not wait with what it
    /// has kept, when there is a new one.
    requests: AtomicU64,
    pub(super) worker: Mutex<Worker>,
    progress: Mutex<Progress>,
    progress_made: Condvar,
    call: Mutex<Call>,
    called: Condvar,
    keeper: OnceLock<Thread>,
    keeper_sleeps: AtomicBool,
    /// How many drops, by reason, have been said.
    said: Mutex<[u64; DropReason::ALL.len()]>,
}

thread_local! {
    /// The loggers for which this thread is delivering, by their addresses.
    static DELIVERING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread delivers, as long as it lives.
struct DeliveringHere;

impl DeliveringHere {
    fn new(shared: &Shared) -> Self {
        DELIVERING.with_borrow_mut(|stack| stack.push(std::ptr::from_ref(shared).addr()));
        Self
    }
}

impl Drop for DeliveringHere {
    fn drop(&mut self) {
        DELIVERING.with_borrow_mut(Vec::pop);
    }
}

/// How long the worker rests after a panic.
const PANIC_WAIT: Duration = Duration::from_secs(1);

/// Counts what a waiting `flush` wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last request that had been made when the worker last looked for orphans.
    pub(super) scanned: u64,
    /// The last request that had been made when something was last kept, because neither dataset
    /// nor fallback took it, or because the journal could not be read.
    pub(super) kept: u64,
}

/// What the worker's thread is called for.
#[derive(Debug, Default)]
struct Call {
    work: bool,
    quit: bool,
    running: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            flushing: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            progress: Mutex::default(),
            progress_made: Condvar::new(),
            call: Mutex::default(),
            called: Condvar::new(),
            keeper: OnceLock::new(),
            keeper_sleeps: AtomicBool::new(false),
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

    /// The lane that events go to now; opens the journal where that was not done yet. It can't
    /// fail: where no file is to be had, it is in memory, and a notice says so.
    pub(super) fn open_lane(self: &Arc<Self>) -> &Lane {
        if let Some(lane) = self.lane() {
            return lane;
        }
        let _opening = lock(&self.opening);
        let lane = self.first.get_or_init(|| {
            self.open_file_lane().unwrap_or_else(|error| {
                if let Some(error) = error {
                    let text = format!(
                        "the journal is in memory, because no file was to be had: {error}; events \
                         do not survive the process until that is mended"
                    );
                    self.config.notices.say(Level::Warning, "degraded", text);
                }
                self.memory_lane()
            })
        });
        if self.config.threads {
            self.start_keeper();
        }
        lane
    }

    /// A lane on a file; `Err(None)` where none is wanted.
    fn open_file_lane(&self) -> Result<Lane, Option<io::Error>> {
        let config = &self.config;
        if let Some(folder) = &config.medium {
            let lane = self.lane_on(folder.clone(), None, JournalId::generate(), false);
            return lane.map_err(|error| {
                // What was made of it must not stand in the way of the next try; what stood there
                // before is somebody's journal.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    let _ = folder.remove_all();
                }
                Some(error)
            });
        }
        let mapped = match config.journal {
            JournalKind::Memory => return Err(None),
            JournalKind::Unmapped => false,
            JournalKind::File | JournalKind::Folder(_) => true,
        };
        let open = || -> io::Result<Lane> {
            let parent = self.journals();
            // Each part of the path that is ours is checked, not only the last.
            DiskFolder::create(&config.root.join("journal"), false)?;
            DiskFolder::create(&parent, false)?;
            let (id, folder, lock) = own_folder(&parent, mapped)?;
            let folder: Arc<dyn Folder> = Arc::new(folder);
            match self.lane_on(folder.clone(), Some(lock), id, false) {
                Ok(lane) => Ok(lane),
                Err(error) => {
                    let _ = folder.remove_all();
                    Err(error)
                }
            }
        };
        open().map_err(Some)
    }

    fn memory_lane(&self) -> Lane {
        let folder = Arc::new(MemoryFolder::default());
        let lane = self.lane_on(folder, None, JournalId::generate(), true);
        // Memory that can't be mapped any more ends the process sooner than this does; a ring
        // without capacity still spills to the heap.
        lane.expect("a journal in memory opens")
    }

    fn lane_on(
        &self,
        folder: Arc<dyn Folder>,
        lock: Option<FolderLock>,
        id: JournalId,
        in_memory: bool,
    ) -> io::Result<Lane> {
        let config = &self.config;
        let destination = self.destination();
        let names = (config.dataset.as_str(), destination.as_str());
        let journal = Journal::create(folder.clone(), lock, id, names, config.options.clone())?;
        let cursor = Arc::new(Cursor::open(&*folder, config.sink.dataset_name())?);
        let ground = match (in_memory, journal.is_mapped()) {
            (true, _) => Ground::Memory,
            (false, true) => Ground::Mapped,
            (false, false) => Ground::File,
        };
        let started = self.started.load(Ordering::Acquire);
        let counters = self.counters.clone();
        Ok(Lane::new(journal, cursor, ground, counters, config, started))
    }

    /// Where this logger's dataset is, without secrets; empty while no adapter is registered.
    pub(super) fn destination(&self) -> String {
        self.config.sink.identity()
    }

    /// The folder of this dataset's journals.
    pub(super) fn journals(&self) -> std::path::PathBuf {
        self.config.root.join("journal").join(slug(&self.config.dataset))
    }

    /// Goes back to a file, where the journal is in memory because none was to be had.
    pub(super) fn try_resume(self: &Arc<Self>) -> bool {
        let degraded = self.lane().is_some_and(|lane| lane.ground == Ground::Memory)
            && self.config.journal != JournalKind::Memory;
        if !degraded {
            return false;
        }
        let Ok(lane) = self.open_file_lane() else { return false };
        if self.resumed.set(lane).is_ok() {
            let text = "the journal is in a file again";
            self.config.notices.say(Level::Info, "resumed", text);
        }
        true
    }

    /// Encodes nothing, decides everything: one payload into the journal.
    #[inline]
    pub(super) fn accept(self: &Arc<Self>, payload: &[u8]) -> Logged {
        let lane = match self.lane() {
            Some(lane) => lane,
            None => self.open_lane(),
        };
        lane.accept(payload, &Hosted(self))
    }

    pub(super) fn start_keeper(self: &Arc<Self>) {
        if self.keeper.get().is_some() {
            return;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new()
            .name("n3-safety-keeper".into())
            .stack_size(256 << 10)
            .spawn(move || keeper::run(&shared));
        match thread {
            Ok(handle) => {
                let _ = self.keeper.set(handle.thread().clone());
            }
            Err(error) => {
                let text = format!(
                    "no thread for the journal: {error}; events are moved by those who log them"
                );
                self.config.notices.say(Level::Warning, "threads", text);
            }
        }
    }

    /// Wakes the keeper, if it sleeps deeply.
    #[inline]
    pub(super) fn wake_keeper(&self) {
        if self.keeper_sleeps.load(Ordering::SeqCst)
            && self.keeper_sleeps.swap(false, Ordering::SeqCst)
            && let Some(keeper) = self.keeper.get()
        {
            keeper.unpark();
        } else if !self.has_keeper() && self.config.threads {
            // No thread was to be had for it: the worker does its work.
            self.call_worker();
        }
    }

    /// Whether somebody else than the worker moves frames and hands buffers over.
    pub(super) fn has_keeper(&self) -> bool {
        self.keeper.get().is_some()
    }

    /// Wakes the keeper, however it sleeps.
    pub(super) fn unpark_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    /// Sleeps, as the keeper, for up to `wait`, unless there is something to do already.
    pub(super) fn keeper_sleep(&self, wait: Duration, deep: bool, work: impl Fn() -> bool) {
        if deep {
            self.keeper_sleeps.store(true, Ordering::SeqCst);
            if work() || self.closing.load(Ordering::SeqCst) {
                self.keeper_sleeps.store(false, Ordering::SeqCst);
                return;
            }
        }
        std::thread::park_timeout(wait);
        self.keeper_sleeps.store(false, Ordering::SeqCst);
    }

    /// Calls the worker's thread.
    pub(super) fn call_worker(&self) {
        lock(&self.call).work = true;
        self.called.notify_all();
    }

    /// One step of the worker's work, on this thread.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Duration> {
        if self.is_delivering_here() {
            return None;
        }
        self.turn_of(&mut lock(&self.worker))
    }

    /// As `turn`, by somebody who holds the worker. A panic in it costs what it was doing, never
    /// the thread: its batch is in the journal, for the next run.
    pub(super) fn turn_of(self: &Arc<Self>, worker: &mut Worker) -> Option<Duration> {
        let _here = DeliveringHere::new(self);
        catch_unwind(AssertUnwindSafe(|| worker.turn(self))).unwrap_or_else(|_| {
            let text = "the worker panicked; what it was doing stays in the journal";
            self.config.notices.say(Level::Critical, "panic", text);
            let request = self.requested();
            self.note(|progress| progress.kept = request);
            Some(PANIC_WAIT)
        })
    }

    /// The worker, unless somebody else has it until the deadline.
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

    /// Whether this thread is in the middle of a delivery of this logger: an adapter that calls
    /// its own logger back must not wait for itself.
    pub(super) fn is_delivering_here(&self) -> bool {
        let here = std::ptr::from_ref(self).addr();
        DELIVERING.with_borrow(|delivering| delivering.contains(&here))
    }

    /// Asks the worker to look for orphans and to try again what it has kept; the request's number.
    pub(super) fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last request's number.
    pub(super) fn requested(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The worker's loop, until it is told to quit: for a thread of ours, or of somebody else.
    pub(super) fn work(self: &Arc<Self>) {
        loop {
            let wait = self.turn();
            let mut call = lock(&self.call);
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
                    self.called.wait(call).unwrap_or_else(PoisonError::into_inner)
                } else {
                    let waited = self.called.wait_timeout(call, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                };
            }
            call.work = false;
            if call.quit {
                call.quit = false;
                call.running = false;
                self.called.notify_all();
                return;
            }
        }
    }

    /// Starts the worker's thread. False where no thread is to be had.
    pub(super) fn start_worker(self: &Arc<Self>) -> bool {
        let mut call = lock(&self.call);
        if call.running {
            call.quit = false;
            return true;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new()
            .name("n3-safety-worker".into())
            .stack_size(1 << 20)
            .spawn(move || shared.work());
        call.running = thread.is_ok();
        if let Err(error) = thread {
            let text = format!("no thread to deliver with: {error}; call flush or stop");
            self.config.notices.say(Level::Warning, "threads", text);
        }
        call.running
    }

    /// Tells the worker's thread to end, and waits until it has, or until the deadline.
    pub(super) fn quit_worker(&self, deadline: Option<Instant>) {
        let mut call = lock(&self.call);
        if !call.running {
            return;
        }
        call.quit = true;
        self.called.notify_all();
        if self.is_delivering_here() {
            return;
        }
        while call.running && call.quit {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => return,
                Some(left) => {
                    let waited = self.called.wait_timeout(call, left);
                    call = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => call = self.called.wait(call).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.call).running
    }

    /// Says that something has happened which a waiting `flush` wants to know.
    pub(super) fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.progress_made.notify_all();
        self.lanes().for_each(Lane::wake_waiting);
    }

    /// Waits until `done` says so, the deadline has passed, or the worker had to keep something.
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
            if left.is_some_and(|left| left.is_zero()) || progress.kept >= request {
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
        let degraded = lane.is_some_and(|l| l.ground == Ground::Memory)
            && config.journal != JournalKind::Memory;
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
                && !degraded
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

    /// Ends what can be ended at once: removes journals that hold nothing undelivered.
    pub(super) fn close(&self) {
        self.say_dropped();
        let idle = self.worker.try_lock().is_ok_and(|worker| !worker.is_flying());
        for lane in self.lanes() {
            if idle {
                // What was dropped stays dropped: without a word of it the next run delivers it.
                super::worker::settle_dropped(self, lane);
                let _ = lane.journal.drain(lane.cursor.front());
            }
            let state = lane.cursor.state();
            let pending = lane.journal.last().0.saturating_sub(state.acked.0);
            if pending == 0 && self.config.medium.is_none() {
                if lane.ground != Ground::Memory {
                    let dropped = self.counters.dropped();
                    let account = Account { dropped, ..Account::of(&state) };
                    self.keep_account(lane.journal.id(), &account);
                }
                let _ = lane.journal.remove();
            } else if lane.ground == Ground::Memory && pending > 0 {
                let text = format!("{pending} events were in memory only, and are lost");
                self.config.notices.say(Level::Critical, "lost", text);
            }
        }
    }

    /// Writes down what became of a journal's events before its folder goes.
    pub(super) fn keep_account(&self, journal: JournalId, account: &Account) {
        if account.logged() == 0 {
            return;
        }
        if let Err(error) = account::append(&self.journals(), journal, account) {
            let text = format!("the account of journal {journal} can't be written: {error}");
            self.config.notices.say(Level::Warning, "accounts", text);
        }
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

/// How often a new folder may be taken from under us before that is an error.
const FOLDER_TRIES_MAX: u32 = 16;

/// Makes a journal's folder and takes its lock. Somebody who looks for orphans at this very moment
/// may find the folder before it is locked, take it for one that was abandoned, and remove it;
/// then there is another. **A journal without its lock would be adopted while it is written.**
fn own_folder(
    parent: &std::path::Path,
    mapped: bool,
) -> io::Result<(JournalId, DiskFolder, FolderLock)> {
    let mut error = io::Error::other("each new folder is taken by somebody else");
    for _ in 0..FOLDER_TRIES_MAX {
        let id = JournalId::generate();
        let made = DiskFolder::create(&parent.join(id.to_string()), mapped)
            .and_then(|folder| folder.lock().map(|lock| (folder, lock)));
        match made {
            Ok((folder, Some(lock))) => return Ok((id, folder, lock)),
            Ok((_, None)) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => error = gone,
            Err(error) => return Err(error),
        }
    }
    Err(error)
}

/// What a lane sees of its logger.
struct Hosted<'a>(&'a Arc<Shared>);

impl Host for Hosted<'_> {
    #[inline]
    fn buffer_full(&self) {
        self.0.wake_keeper();
    }

    fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
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
