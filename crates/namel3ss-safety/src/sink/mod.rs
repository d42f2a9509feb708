//! From a batch to its dataset: attempts, breaker, bisection of bad rows, fallback file, replay.
//!
//! The sink knows adapters only. Where rows come from, and what is written down about their
//! progress, is the caller's: it drives [`SafetyEventSink::step`] and is told by [`Progress`].
//! Nothing here raises or keeps a thread, and only [`SafetyEventSink::write`] sleeps.
//!
//! Defaults, and why: three attempts a second apart ride out a restart of a connection pool or a
//! leader election; what lasts longer is an outage, and then a file on disk is worth more than a
//! fourth attempt while the backlog grows.

mod builder;
mod deliver;
mod bisect;
mod attempt;
mod calls;
mod copied;
mod retry;
mod breaker;
mod fallback;
#[cfg_attr(not(unix), path = "folder_plain.rs")]
mod folder;
mod waiting;
mod filed;
mod replay;
mod replay_rows;
mod replay_error;
mod own;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use self::builder::SinkBuilder;
pub(crate) use self::calls::secs;
pub(crate) use self::deliver::Unsettled;
pub use self::deliver::{Delivering, Progress, Settled, Step};
pub use self::fallback::{ERROR_KEY, default_fallback_path};
pub use self::own::Replayed;
pub use self::replay::{
    FILE_BYTES_MAX, REPLAYED, REPLAYED_BYTES_MAX, REPLAYED_FILES_MAX, ReplayOptions, ReplayReport,
    replay_file,
};
pub use self::replay_error::ReplayError;
pub use self::retry::WAIT_MAX;
pub use self::waiting::{DESTINATION_NAME, FallbackFolder, usual_fallback_folders};

use self::breaker::Breaker;
use self::calls::Calls;
use self::copied::Copied;
use self::fallback::Fallback;
use self::filed::Filed;
use self::own::OwnFiles;
use crate::adapter::{AdapterRegistry, Batching, DatasetAdapter, Registry};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::id::Seq;
use crate::locks::lock;
use crate::notice::{Level, Notices};
use crate::register;

/// The dataset that is written to where no other is named.
pub const DATASET_DEFAULT: &str = "safety_events";
/// All attempts for one batch, the first included, where no other number is given.
pub const MAX_RETRIES_DEFAULT: u32 = 3;
/// The wait after the first failed attempt where no other is given.
pub const RETRY_DELAY_DEFAULT: Duration = Duration::from_secs(1);

/// Delivers batches to one dataset; shared as an `Arc`, usable from any thread.
///
/// ```
/// use namel3ss_safety::{AdapterRegistry, JournalId, MemoryAdapter, RowBuffer};
/// use namel3ss_safety::{SafetyEvent, SafetyEventSink, Seq};
/// use std::sync::Arc;
/// let registry = AdapterRegistry::default();
/// registry.register("safety_events", Arc::new(MemoryAdapter::default()));
/// let sink = SafetyEventSink::builder().registry(Arc::new(registry)).build();
/// let mut rows = RowBuffer::new(JournalId::generate());
/// rows.push_event(Seq(1), &SafetyEvent::default());
/// let outcome = sink.write(&rows.batch());
/// assert_eq!((outcome.stored, outcome.fell_back, outcome.lost), (1, 0, 0));
/// ```
#[derive(Debug)]
pub struct SafetyEventSink {
    dataset_name: String,
    /// What tells it from other sinks of the same logger.
    name: String,
    /// Where rows go, as notices say it.
    shown_name: String,
    registry: Arc<dyn Registry>,
    fallback: Option<Fallback>,
    max_retries: AtomicU32,
    retry_delay_nanos: AtomicU64,
    clock: Arc<dyn Clock>,
    notices: Arc<Notices>,
    breaker: Breaker,
    calls: Calls,
    /// The last attempts have failed: the first one, and its first retry at least.
    failing: AtomicBool,
    /// No adapter was registered when one was last needed; said once.
    missing: AtomicBool,
    counters: Counters,
    own: OwnFiles,
    filed: Filed,
    /// Where the register is in which the fallback folder is entered with the first file that is
    /// written without a logger.
    home: Option<PathBuf>,
    registered: AtomicBool,
    last_error: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    retries: AtomicU64,
    stored: AtomicU64,
    fell_back: AtomicU64,
    replayed: AtomicU64,
    lost: AtomicU64,
    panics: AtomicU64,
}

/// What became of a batch that was written without a journal. The three counts add up to its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Rows that the dataset has.
    pub stored: u64,
    /// Rows that are in fallback files.
    pub fell_back: u64,
    /// Rows that are nowhere: neither the dataset nor a fallback file took them.
    pub lost: u64,
    /// The fallback files, in the order of their first rows.
    pub files: Vec<PathBuf>,
    /// Why not every row was stored.
    pub error: Option<String>,
}

impl Outcome {
    /// Whether the dataset has every row.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.fell_back == 0 && self.lost == 0
    }
}

impl SafetyEventSink {
    /// Delivers a batch that is in no journal, waiting between attempts; never raises. What
    /// neither the dataset nor a fallback file took is lost: counted, and said in one critical
    /// notice.
    pub fn write(&self, batch: &Batch<'_>) -> Outcome {
        let mut state = self.begin().without_journal();
        let mut outcome = Outcome::default();
        loop {
            match self.step(&mut state, batch, &mut outcome) {
                Step::Again => {}
                Step::Wait(wait) => self.clock.sleep(wait),
                Step::Done => {
                    self.register(&outcome);
                    return outcome;
                }
                Step::Kept { error, .. } => {
                    let Unsettled { stored, filed, nowhere: lost } = state.unsettled();
                    outcome.stored += stored;
                    outcome.fell_back += filed;
                    outcome.lost += lost;
                    self.counters.stored.fetch_add(stored, Ordering::Relaxed);
                    self.counters.fell_back.fetch_add(filed, Ordering::Relaxed);
                    self.counters.lost.fetch_add(lost, Ordering::Relaxed);
                    let text = format!("lost {lost} of {} events: {error}", batch.len());
                    self.say(Level::Critical, "lost", &text);
                    self.register(&outcome);
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }

    /// Enters the fallback folder in the home's register, with the first file in it.
    fn register(&self, outcome: &Outcome) {
        let Some(fallback) = self.fallback.as_ref().filter(|_| !outcome.files.is_empty()) else {
            return;
        };
        if self.registered.swap(true, Ordering::Relaxed) {
            return;
        }
        let home = self.home.clone().unwrap_or_else(crate::home::home);
        self.enter_register(&home, fallback.path());
    }

    /// Enters a folder in the register of `home`, unless everybody looks into it anyway.
    pub(crate) fn enter_register(&self, home: &Path, folder: &Path) {
        if folder == default_fallback_path() {
            return;
        }
        if let Err(error) = register::add(home, folder) {
            let text = format!(
                "the folder {} can't be entered in the register of {}: {error}; n3-safety finds what \
                 is left there only where it is named",
                folder.display(),
                home.display()
            );
            self.notices.say(Level::Warning, "register", text);
        }
    }

    /// How long rows should be joined before they become the next batch: not at all, unless the dataset
    /// is known to be failing, so that each batch would become a fallback file of its own.
    pub(crate) fn join_for(&self) -> Duration {
        let missing = self.missing.load(Ordering::Relaxed);
        if self.breaker.is_open() || (missing && self.adapter().is_none()) {
            return self.breaker.join_for();
        }
        Duration::ZERO
    }

    /// Whether files wait in the fallback folder itself, and it names no destination for them.
    pub(crate) fn has_unnamed_files(&self) -> bool {
        self.fallback.as_ref().is_some_and(Fallback::has_unnamed)
    }

    /// Gives the files that a version before wrote to the fallback folder to this sink's destination;
    /// that version named none there.
    pub(crate) fn take_over_files(&self) {
        let destination = self.identity();
        if let Some(fallback) = self.fallback.as_ref().filter(|_| !destination.is_empty())
            && let Err(error) = fallback.take_over(&destination)
        {
            let shown = fallback.path().display();
            let text = format!("the files in {shown} can't be taken over: {error}");
            self.say(Level::Warning, "fallback_folder", &text);
        }
    }

    /// The dataset's name.
    #[must_use]
    pub fn dataset_name(&self) -> &str {
        &self.dataset_name
    }

    /// What tells it from the other sinks of its logger: the dataset's name, and for a further sink
    /// a number of its destination's behind it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where rows go, as notices say it.
    pub(crate) fn shown_name(&self) -> &str {
        &self.shown_name
    }

    /// The last warning or error that it said.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// The dataset's adapter, if one is registered now.
    #[must_use]
    pub fn adapter(&self) -> Option<Arc<dyn DatasetAdapter>> {
        attempt::look_up(&*self.registry, &self.dataset_name)
    }

    /// How large a batch the dataset likes, as far as that makes sense.
    pub(crate) fn batching(&self) -> Batching {
        self.adapter().map_or_else(Batching::default, |adapter| attempt::batching(&*adapter))
    }

    /// Where the dataset is, without secrets; empty while no adapter is registered, or where it
    /// panics.
    pub(crate) fn identity(&self) -> String {
        self.adapter().map_or_else(String::new, |adapter| attempt::identity(&*adapter))
    }

    /// Has the adapter let go of what a forked child must not inherit.
    pub(crate) fn release(&self) {
        if let Some(adapter) = self.adapter() {
            attempt::release(&*adapter);
        }
    }

    /// This sink for a forked child: none of its locks, which may be held for ever there.
    pub(crate) fn after_fork(&self, notices: Arc<Notices>) -> Self {
        let sink = self.like_this(self.registry.clone(), notices).build();
        Self {
            name: self.name.clone(),
            shown_name: self.shown_name.clone(),
            fallback: self.fallback.as_ref().map(Fallback::after_fork),
            ..sink
        }
    }

    /// A sink of the same dataset and settings for another adapter. Its fallback files are in a
    /// folder of its own within this one's, so that they are replayed to where they should have gone.
    pub(crate) fn beside(&self, adapter: Arc<dyn DatasetAdapter>) -> Self {
        let destination = attempt::identity(&*adapter);
        let name = format!("{}-{:08x}", self.dataset_name, crc32c::crc32c(destination.as_bytes()));
        let registry = AdapterRegistry::default();
        registry.register(&self.dataset_name, adapter);
        let sink = self.like_this(Arc::new(registry), self.notices.clone()).build();
        Self {
            shown_name: attempt::showable(&format!("{} at {destination}", self.dataset_name)),
            fallback: self.fallback.as_ref().map(Fallback::within),
            name,
            ..sink
        }
    }

    fn like_this(&self, registry: Arc<dyn Registry>, notices: Arc<Notices>) -> SinkBuilder {
        let builder = Self::builder().home_or_default(self.home.clone());
        builder
            .dataset_name(&self.dataset_name)
            .registry(registry)
            .fallback_path(self.fallback_path().map(Path::to_owned))
            .max_retries(self.max_retries())
            .retry_delay(self.retry_delay())
            .clock(self.clock.clone())
            .notices(notices)
    }

    /// The folder of the fallback files, as it was named.
    #[must_use]
    pub fn fallback_path(&self) -> Option<&Path> {
        self.fallback.as_ref().map(Fallback::path)
    }

    /// All attempts for one batch, the first included.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.max_retries.load(Ordering::Relaxed)
    }

    /// Sets all attempts for one batch, from the next failure on; zero means one.
    pub fn set_max_retries(&self, attempts: u32) {
        self.max_retries.store(attempts.max(1), Ordering::Relaxed);
    }

    /// The wait after the first failed attempt.
    #[must_use]
    pub fn retry_delay(&self) -> Duration {
        Duration::from_nanos(self.retry_delay_nanos.load(Ordering::Relaxed))
    }

    /// Sets the wait after the first failed attempt, from the next failure on.
    pub fn set_retry_delay(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.retry_delay_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Whether the dataset takes rows, or has not been tried yet: not once a batch has failed beyond its
    /// first retry, until one lands, and not while no adapter is registered.
    #[must_use]
    pub fn healthy(&self) -> bool {
        !self.breaker.is_open()
            && !self.failing.load(Ordering::Relaxed)
            && !self.missing.load(Ordering::Relaxed)
    }

    /// Where the sink says what happens.
    #[must_use]
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// Calls of an adapter for a batch, or for a part of one; replays are not among them.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.counters.attempts.load(Ordering::Relaxed)
    }

    /// Attempts that followed a failed one for the same rows, after a wait.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.counters.retries.load(Ordering::Relaxed)
    }

    /// Rows that the dataset took.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.counters.stored.load(Ordering::Relaxed)
    }

    /// Rows that went to fallback files.
    #[must_use]
    pub fn fell_back(&self) -> u64 {
        self.counters.fell_back.load(Ordering::Relaxed)
    }

    /// Rows of this sink's own fallback files that the dataset took later.
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.counters.replayed.load(Ordering::Relaxed)
    }

    /// Rows that [`SafetyEventSink::write`] could put nowhere.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counters.lost.load(Ordering::Relaxed)
    }

    /// Panics of adapters that were caught.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.counters.panics.load(Ordering::Relaxed)
    }

    fn say(&self, level: Level, kind: &'static str, text: &str) {
        let text = match level {
            Level::Info => self.about(text),
            _ => self.wrong(text),
        };
        self.notices.say(level, kind, text);
    }

    /// What is wrong with it, as a notice says it; remembered as its last error.
    pub(crate) fn wrong(&self, text: &str) -> String {
        let text = self.about(text);
        *lock(&self.last_error) = Some(text.clone());
        text
    }

    /// Says once that a journal's numbers are used by another process too; what repeats it, once a
    /// minute.
    fn say_copied(&self, copied: &Copied) {
        let text = self.wrong(&copied.text());
        let about = format!("{} {}", self.name, copied.from);
        self.notices.say_rarely(Level::Critical, "copied", &about, text);
    }

    fn about(&self, text: &str) -> String {
        format!("dataset {}: {text}", self.shown_name)
    }
}

/// Without a journal, progress is only counted.
impl Progress for Outcome {
    fn freeze(&mut self, _first: Seq, _last: Seq) {}

    fn settled(&mut self, _first: Seq, _last: Seq, rows: u64, how: &Settled) {
        match how {
            Settled::Stored => self.stored += rows,
            Settled::FellBack { path, error } => {
                self.fell_back += rows;
                if !self.files.contains(path) {
                    self.files.push(path.clone());
                }
                self.error = Some(error.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fallback;
#[cfg(test)]
mod tests_model;
#[cfg(test)]
mod tests_replay;
