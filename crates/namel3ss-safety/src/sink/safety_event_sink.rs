//! One sink: its settings, its counters, and what it says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::attempt;
use super::breaker::Breaker;
use super::calls::Calls;
use super::copied::Copied;
use super::fallback::{Fallback, default_fallback_path};
use super::filed::Filed;
use super::own_files::OwnFiles;
use crate::adapter::{Batching, DatasetAdapter, Registry};
use crate::clock::Clock;
use crate::locks::lock;
use crate::notice::{Level, NoticeKind, Notices};
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
    pub(super) dataset_name: String,
    /// What tells it from other sinks of the same logger.
    pub(super) name: String,
    /// Where rows go, as notices say it.
    pub(super) shown_name: String,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) fallback: Option<Fallback>,
    pub(super) max_retries: AtomicU32,
    pub(super) retry_delay_nanos: AtomicU64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notices: Arc<Notices>,
    pub(super) breaker: Breaker,
    pub(super) calls: Calls,
    /// How long a call may take that can be ended.
    pub(super) call_timeout_nanos: AtomicU64,
    /// The last attempts have failed: the first one, and its first retry at least.
    pub(super) failing: AtomicBool,
    /// No adapter was registered when one was last needed; said once.
    pub(super) missing: AtomicBool,
    pub(super) counters: Counters,
    pub(super) own: OwnFiles,
    pub(super) filed: Filed,
    /// Where the register is in which the fallback folder is entered with the first file that is
    /// written without a logger.
    pub(super) home: Option<PathBuf>,
    pub(super) registered: AtomicBool,
    pub(super) last_error: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) attempts: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) fell_back: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) panics: AtomicU64,
}

impl SafetyEventSink {
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
            self.notices.say(Level::Warning, NoticeKind::Register, text);
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
            self.say(Level::Warning, NoticeKind::FallbackFolder, &text);
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
    #[doc(hidden)]
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
    #[doc(hidden)]
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
    #[doc(hidden)]
    pub fn set_max_retries(&self, attempts: u32) {
        self.max_retries.store(attempts.max(1), Ordering::Relaxed);
    }

    /// The wait after the first failed attempt.
    #[must_use]
    pub fn retry_delay(&self) -> Duration {
        Duration::from_nanos(self.retry_delay_nanos.load(Ordering::Relaxed))
    }

    /// Sets the wait after the first failed attempt, from the next failure on.
    #[doc(hidden)]
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
    #[doc(hidden)]
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// Calls of an adapter for a batch, or for a part of one; replays are not among them.
    #[must_use]
    #[doc(hidden)]
    pub fn attempts(&self) -> u64 {
        self.counters.attempts.load(Ordering::Relaxed)
    }

    /// Attempts that followed a failed one for the same rows, after a wait.
    #[must_use]
    #[doc(hidden)]
    pub fn retries(&self) -> u64 {
        self.counters.retries.load(Ordering::Relaxed)
    }

    /// Rows that the dataset took.
    #[must_use]
    #[doc(hidden)]
    pub fn stored(&self) -> u64 {
        self.counters.stored.load(Ordering::Relaxed)
    }

    /// Rows that went to fallback files.
    #[must_use]
    #[doc(hidden)]
    pub fn fell_back(&self) -> u64 {
        self.counters.fell_back.load(Ordering::Relaxed)
    }

    /// Rows of this sink's own fallback files that the dataset took later.
    #[must_use]
    #[doc(hidden)]
    pub fn replayed(&self) -> u64 {
        self.counters.replayed.load(Ordering::Relaxed)
    }

    /// Rows that [`SafetyEventSink::write`] could put nowhere.
    #[must_use]
    #[doc(hidden)]
    pub fn lost(&self) -> u64 {
        self.counters.lost.load(Ordering::Relaxed)
    }

    /// Panics of adapters that were caught.
    #[must_use]
    #[doc(hidden)]
    pub fn panics(&self) -> u64 {
        self.counters.panics.load(Ordering::Relaxed)
    }

    /// Counts rows that were filed, and says it if it is time.
    pub(super) fn say_filed(&self, outage: bool, rows: u64, path: &Path, why: &str) {
        if let Some(text) = self.filed.add(self.clock.monotonic(), outage, rows, path, why) {
            self.say(Level::Error, NoticeKind::Fallback, &text);
        }
    }

    /// Says what was filed and not yet said: at the end of an outage, and of a logger.
    pub(crate) fn say_rest(&self) {
        self.filed.rest().for_each(|text| self.say(Level::Error, NoticeKind::Fallback, &text));
    }

    /// The outage is over: the next one is said at once.
    pub(super) fn outage_over(&self) {
        self.say_rest();
        self.filed.outage_over();
    }

    pub(super) fn say(&self, level: Level, kind: NoticeKind, text: &str) {
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
    pub(super) fn say_copied(&self, copied: &Copied) {
        let text = self.wrong(&copied.text());
        let about = format!("{} {}", self.name, copied.from);
        self.notices.say_rarely(Level::Critical, NoticeKind::Copied, &about, text);
    }

    pub(super) fn about(&self, text: &str) -> String {
        format!("dataset {}: {text}", self.shown_name)
    }
}
