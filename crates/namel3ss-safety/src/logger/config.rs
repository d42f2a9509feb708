//! How a logger is made. A wrong argument is an error here, and nowhere later.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::adapter::{AdapterRegistry, DatasetAdapter, Registry};
use crate::batch::Durability;
use crate::clock::{Clock, SystemClock};
use crate::journal::destinations::DESTINATIONS_MAX;
use crate::nearest::nearest;
use crate::notice::Notices;
use crate::overflow::OverflowStrategy;
use crate::process;
use crate::sink::SafetyEventSink;
use crate::{journal, sink};

/// Everything that a logger is told, checked.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) dataset: String,
    pub(super) buffer_size: u64,
    pub(super) flush_interval: Duration,
    pub(super) overflow: OverflowStrategy,
    pub(super) backlog_bytes_max: u64,
    pub(super) journal: JournalKind,
    pub(super) options: journal::Options,
    /// Where the register is of folders outside it.
    pub(super) home: PathBuf,
    /// The folder that holds `journal/`: the home, or a folder for journals of the user's own.
    pub(super) root: PathBuf,
    pub(super) adopt: bool,
    pub(super) threads: bool,
    pub(super) autostart: bool,
    /// `None` is Rust's default.
    pub(super) worker_stack_bytes: Option<usize>,
    pub(super) adapter_timeout: Duration,
    /// The first one and further ones; never empty.
    pub(super) sinks: Vec<Arc<SafetyEventSink>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notices: Arc<Notices>,
    /// The host gave them, and has them when the logger is gone.
    pub(super) notices_are_given: bool,
    pub(super) medium: Option<Arc<dyn journal::media::Folder>>,
    /// What earlier runs left on such media; taken by the worker.
    pub(super) left_behind: Arc<Mutex<Vec<Arc<dyn journal::media::Folder>>>>,
}

impl Config {
    /// The first sink.
    pub(super) fn sink(&self) -> &Arc<SafetyEventSink> {
        &self.sinks[0]
    }
}

/// How long one batch may take while its destination counts as delivering.
const ADAPTER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Collects what a logger is told; made by [`SafetyEventLogger::builder`](crate::SafetyEventLogger::builder).
#[derive(Debug)]
pub struct LoggerBuilder {
    dataset: Option<String>,
    buffer_size: usize,
    flush_interval_seconds: f64,
    overflow: OverflowStrategy,
    backlog_bytes_max: u64,
    journal: JournalKind,
    durability: Durability,
    home: Option<PathBuf>,
    fallback: Fallback,
    adopt: bool,
    threads: bool,
    autostart: bool,
    worker_stack_bytes: Option<usize>,
    adapter_timeout: Duration,
    sink: Option<Arc<SafetyEventSink>>,
    first: Option<Arc<dyn DatasetAdapter>>,
    further: Vec<Arc<dyn DatasetAdapter>>,
    registry: Option<Arc<dyn Registry>>,
    max_retries: u32,
    retry_delay: Duration,
    clock: Option<Arc<dyn Clock>>,
    notices: Option<Arc<Notices>>,
    pulls_notices: bool,
    options: journal::Options,
    medium: Option<Arc<dyn journal::media::Folder>>,
    left_behind: Vec<Arc<dyn journal::media::Folder>>,
}

#[derive(Debug)]
enum Fallback {
    Default,
    None,
    Path(PathBuf),
}

impl Default for LoggerBuilder {
    fn default() -> Self {
        Self {
            dataset: None,
            buffer_size: 100,
            flush_interval_seconds: 10.0,
            overflow: OverflowStrategy::DropOldest,
            backlog_bytes_max: 1 << 30,
            journal: JournalKind::File,
            durability: Durability::Process,
            home: None,
            fallback: Fallback::Default,
            adopt: true,
            threads: true,
            autostart: true,
            worker_stack_bytes: None,
            adapter_timeout: ADAPTER_TIMEOUT_DEFAULT,
            sink: None,
            first: None,
            further: Vec::new(),
            registry: None,
            max_retries: sink::MAX_RETRIES_DEFAULT,
            retry_delay: sink::RETRY_DELAY_DEFAULT,
            clock: None,
            notices: None,
            pulls_notices: false,
            options: journal::Options::default(),
            medium: None,
            left_behind: Vec::new(),
        }
    }
}

impl LoggerBuilder {
    /// The dataset's name; default `safety_events`.
    #[must_use]
    pub fn target_dataset(mut self, name: impl Into<String>) -> Self {
        self.dataset = Some(name.into());
        self
    }

    /// How many events are handed to the worker at once; default 100.
    #[must_use]
    pub fn buffer_size(mut self, events: usize) -> Self {
        self.buffer_size = events;
        self
    }

    /// How long an event may wait to be handed over; default 10 s. 1 ms to a day.
    #[must_use]
    pub fn flush_interval(self, interval: Duration) -> Self {
        self.flush_interval_seconds(interval.as_secs_f64())
    }

    /// As [`flush_interval`](Self::flush_interval), in seconds.
    #[must_use]
    #[doc(hidden)]
    pub fn flush_interval_seconds(mut self, seconds: f64) -> Self {
        self.flush_interval_seconds = seconds;
        self
    }

    /// What happens when the buffer is full; default `drop_oldest`.
    #[must_use]
    pub fn overflow_strategy(mut self, strategy: OverflowStrategy) -> Self {
        self.overflow = strategy;
        self
    }

    /// How many bytes of journal may wait for a destination; default 1 GiB. A destination that keeps
    /// delivering may have up to twice as many, and those who log are held up then, by 50 µs at the
    /// limit and by up to 500 ms at twice it. Beyond that, and at the limit once a destination stops
    /// delivering, the overflow strategy applies. The disk holds at most three times the limit, and
    /// the ring.
    #[must_use]
    pub fn backlog_limit_bytes(mut self, bytes: u64) -> Self {
        self.backlog_bytes_max = bytes;
        self
    }

    /// Where accepted events are kept; default a mapped file.
    #[must_use]
    pub fn journal(mut self, kind: JournalKind) -> Self {
        self.journal = kind;
        self
    }

    /// What accepted events survive; default the end of the process. **`Power` does not make
    /// `log()` wait for the disk**: the journal is synced within 50 ms behind it. For certainty
    /// call [`SafetyEventLogger::sync`](crate::SafetyEventLogger::sync).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The folder that holds `journal/`, and the register of folders in use
    /// outside it; default `$NAMEL3SS_SAFETY_HOME`, else the user's state folder. Beside [`JournalKind::Folder`] it is an error.
    #[must_use]
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// Where batches go that the dataset won't take; default
    /// `/tmp/namel3ss_safety_fallback`; outside Unix in the system's temporary folder.
    #[must_use]
    pub fn fallback_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.fallback = Fallback::Path(path.into());
        self
    }

    /// No fallback files: what the dataset won't take stays in the journal.
    #[must_use]
    pub fn no_fallback(mut self) -> Self {
        self.fallback = Fallback::None;
        self
    }

    /// Has everything delivered to the dataset of this adapter; called again, to further ones as well, up
    /// to 16 of them. They share the journal and nothing else: each has its own cursor, retries, and
    /// folder for its fallback files. **None waits for another**: where one is dead the others go on, and
    /// it catches up when it is back, as far as `backlog_limit_bytes` reaches.
    ///
    /// ```
    /// use namel3ss_safety::{MemoryAdapter, SafetyEvent, SafetyEventLogger};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// let home = tempfile::tempdir()?;
    /// let (one, other) = (Arc::new(MemoryAdapter::default()), Arc::new(MemoryAdapter::default()));
    /// let logger = SafetyEventLogger::builder()
    ///     .dataset(one.clone())
    ///     .dataset(other.clone())
    ///     .home(home.path())
    ///     .build()?;
    /// logger.log(&SafetyEvent::alert("toxicity"));
    /// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    /// assert_eq!((one.len(), other.len()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn dataset(mut self, adapter: Arc<dyn DatasetAdapter>) -> Self {
        if self.first.is_none() {
            self.first = Some(adapter);
        } else {
            self.further.push(adapter);
        }
        self
    }

    /// Which adapter stores which dataset: that of `target_dataset` is the first one. For adapters that
    /// are replaced while the logger runs; otherwise use [`dataset`](Self::dataset).
    #[must_use]
    pub fn adapter_registry(mut self, registry: impl Registry + 'static) -> Self {
        self.registry = Some(Arc::new(registry));
        self
    }

    /// A sink of one's own, instead of dataset, registry, fallback path and retries.
    #[must_use]
    pub fn event_sink(mut self, sink: Arc<SafetyEventSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Has everything delivered to a further dataset as well, up to 15 of them. They share the
    /// journal and nothing else: each has a sink of its own, set up as the first one is, with its
    /// cursor, retries, and a folder for its fallback files within the first one's. **None waits for
    /// another**: where one is dead the others go on, and it catches up when it is back, as far as
    /// `backlog_limit_bytes` reaches.
    ///
    /// ```
    /// use namel3ss_safety::{AdapterRegistry, MemoryAdapter, SafetyEvent, SafetyEventLogger};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// let home = tempfile::tempdir()?;
    /// let (one, other) = (Arc::new(MemoryAdapter::default()), Arc::new(MemoryAdapter::default()));
    /// let registry = AdapterRegistry::default();
    /// registry.register("safety_events", one.clone());
    ///
    /// let logger = SafetyEventLogger::builder()
    ///     .adapter_registry(registry)
    ///     .also_to(other.clone())
    ///     .home(home.path())
    ///     .build()?;
    /// let _ = logger.log(&SafetyEvent::default());
    /// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    /// assert_eq!((one.len(), other.len()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[doc(hidden)]
    pub fn also_to(mut self, adapter: Arc<dyn DatasetAdapter>) -> Self {
        self.further.push(adapter);
        self
    }

    /// How often a batch is tried, all attempts counted; default 3.
    #[must_use]
    pub fn max_retries(mut self, attempts: u32) -> Self {
        self.max_retries = attempts;
        self
    }

    /// The wait after the first failed attempt; each further one is twice as long; default 1 s.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// Whether to deliver what crashed processes left for the same dataset and destination;
    /// default yes.
    #[must_use]
    pub fn adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// Whether the logger may start threads of its own; default yes. Without them nothing is
    /// delivered but by `flush`, `stop` and [`SafetyEventLogger::turn`].
    #[must_use]
    #[doc(hidden)]
    pub fn threads(mut self, threads: bool) -> Self {
        self.threads = threads;
        self
    }

    /// Whether an event starts the logger, where it is not started or was stopped; default yes.
    /// Without it nothing is handed over before [`SafetyEventLogger::start`](crate::SafetyEventLogger::start), so that a buffer of
    /// `buffer_size` events is full and the overflow strategy applies; `flush` and `stop` deliver.
    #[must_use]
    pub fn autostart(mut self, autostart: bool) -> Self {
        self.autostart = autostart;
        self
    }

    /// The stack of each worker's thread, on which the adapters of Rust are called; default Rust's
    /// own, 2 MiB or `RUST_MIN_STACK`. 16 KiB to 1 GiB.
    #[must_use]
    pub fn worker_stack_bytes(mut self, bytes: usize) -> Self {
        self.worker_stack_bytes = Some(bytes);
        self
    }

    /// How long a destination counts as delivering while it is at one batch, and how long a call of its
    /// adapter may take; default 60 s. At the limit of the backlog the overflow strategy applies to one
    /// that is later than that. A call that takes longer is ended where the
    /// adapter is an [`AsyncAdapter`](crate::AsyncAdapter); any other is not ended, and no other is made beside it:
    /// it is reported once, named by [`FlushReport::error`](super::FlushReport::error), and makes
    /// [`Stats::healthy`](crate::Stats::healthy) false until it returns.
    #[must_use]
    pub fn adapter_timeout(mut self, timeout: Duration) -> Self {
        self.adapter_timeout = timeout;
        self
    }

    /// The clock, for tests.
    #[must_use]
    #[doc(hidden)]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where notices go; default a queue of the logger's own.
    #[must_use]
    #[doc(hidden)]
    pub fn notices(mut self, notices: Arc<Notices>) -> Self {
        self.notices = Some(notices);
        self
    }

    /// Says that the host will call [`SafetyEventLogger::notices`](crate::SafetyEventLogger::notices) now and then. Otherwise critical
    /// notices go to stderr until its first call, unless a subscriber of `tracing` reads them. What the
    /// logger says while it is dropped: see [`take_left`](crate::take_left).
    #[must_use]
    pub fn pulls_notices(mut self) -> Self {
        self.pulls_notices = true;
        self
    }

    /// The journal's sizes, for tests and odd machines.
    #[must_use]
    #[doc(hidden)]
    pub fn journal_options(mut self, options: journal::Options) -> Self {
        self.options = options;
        self
    }

    /// The folder that the journal writes to, for tests: it is used as it is, without a lock and
    /// without looking for others.
    #[must_use]
    #[doc(hidden)]
    pub fn medium(mut self, folder: Arc<dyn journal::media::Folder>) -> Self {
        self.medium = Some(folder);
        self
    }

    /// Folders of earlier runs, for tests that use [`medium`](Self::medium): each is taken for an
    /// orphan, as a folder on disk is that nobody has locked.
    #[must_use]
    #[doc(hidden)]
    pub fn left_behind(mut self, folders: Vec<Arc<dyn journal::media::Folder>>) -> Self {
        self.left_behind = folders;
        self
    }

    /// Checks it all. The adapters of what is wrong are not dropped on this thread.
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        let adapters = (self.first.clone(), self.further.clone());
        let shared = (self.registry.clone(), self.sink.clone());
        self.checked().inspect_err(|_| process::drop_apart((adapters, shared)))
    }

    fn checked(mut self) -> Result<Config, ConfigError> {
        let first = self.first.take();
        let has_another = self.registry.is_some() || self.sink.is_some();
        let mut of_ours = None;
        match first {
            Some(adapter) if has_another => self.further.insert(0, adapter),
            first => of_ours = first,
        }
        let dataset = match (&self.dataset, &self.sink) {
            (Some(name), _) => name.clone(),
            (None, Some(sink)) => sink.dataset_name().to_owned(),
            (None, None) => sink::DATASET_DEFAULT.to_owned(),
        };
        if dataset.is_empty() || dataset.len() > 255 || dataset.chars().any(char::is_control) {
            let shown: String = dataset.chars().take(40).collect();
            let message = format!(
                "is {shown:?}: it takes a name of 1 to 255 bytes without control characters"
            );
            return Err(ConfigError::new("target_dataset", message));
        }
        let within = |parameter, value: u64, least: u64, most: u64, unit: &str| {
            if (least..=most).contains(&value) {
                return Ok(value);
            }
            let message = format!("is {value}: it takes {least} to {most} {unit}");
            Err(ConfigError::new(parameter, message))
        };
        let buffer_size = within("buffer_size", self.buffer_size as u64, 1, 10_000_000, "events")?;
        let backlog_bytes_max =
            within("backlog_limit_bytes", self.backlog_bytes_max, 4096, 1 << 50, "bytes")?;
        within("max_retries", u64::from(self.max_retries), 1, 1000, "attempts")?;
        if let Some(bytes) = self.worker_stack_bytes {
            within("worker_stack_bytes", bytes as u64, 16 << 10, 1 << 30, "bytes")?;
        }
        let seconds = self.flush_interval_seconds;
        if !(seconds.is_finite() && (0.001..=86_400.0).contains(&seconds)) {
            let message = format!("is {seconds}: it takes 0.001 to 86400 seconds");
            return Err(ConfigError::new("flush_interval_seconds", message));
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        if self.home.is_some() && matches!(self.journal, JournalKind::Folder(_)) {
            let message = "is a folder beside a home: give one of them; a home of the environment \
                           (NAMEL3SS_SAFETY_HOME) keeps the register of such folders";
            return Err(ConfigError::new("journal", message));
        }
        // Now: after a `chdir` a relative path would mean another folder.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let home = absolute(self.home.unwrap_or_else(crate::home::home));
        let root = match &self.journal {
            JournalKind::Folder(path) => absolute(path.clone()),
            _ => home.clone(),
        };
        let notices = match (&self.notices, &self.sink) {
            (Some(notices), _) => notices.clone(),
            (None, Some(sink)) => sink.notices().clone(),
            (None, None) => Arc::default(),
        };
        if self.pulls_notices {
            notices.will_be_pulled();
        }
        if let Some(adapter) = of_ours {
            let registry = AdapterRegistry::default();
            registry.register(&dataset, adapter);
            self.registry = Some(Arc::new(registry));
        }
        if self.sink.is_none() {
            check_dataset(self.registry.as_deref(), &dataset, !self.further.is_empty())?;
        }
        let sink = self.sink.unwrap_or_else(|| {
            let registry = self.registry.unwrap_or_else(|| Arc::new(AdapterRegistry::default()));
            let fallback = match self.fallback {
                Fallback::Default => Some(sink::default_fallback_path()),
                Fallback::None => None,
                Fallback::Path(path) => Some(path),
            };
            let fallback = fallback.map(absolute);
            let builder = SafetyEventSink::builder()
                .dataset_name(&dataset)
                .registry(registry)
                .fallback_path(fallback)
                .home(&home)
                .max_retries(self.max_retries)
                .retry_delay(self.retry_delay)
                .clock(clock.clone())
                .notices(notices.clone());
            Arc::new(builder.build())
        });
        let mut sinks = vec![sink];
        add_further(&mut sinks, self.further)?;
        sinks.iter().for_each(|sink| sink.set_call_timeout(self.adapter_timeout));
        Ok(Config {
            dataset,
            buffer_size,
            flush_interval: Duration::from_secs_f64(seconds),
            overflow: self.overflow,
            backlog_bytes_max,
            journal: self.journal,
            options: journal::Options { durability: self.durability, ..self.options },
            home,
            root,
            adopt: self.adopt,
            threads: self.threads,
            autostart: self.autostart,
            worker_stack_bytes: self.worker_stack_bytes,
            adapter_timeout: self.adapter_timeout,
            sinks,
            clock,
            notices,
            notices_are_given: self.notices.is_some(),
            medium: self.medium,
            left_behind: Arc::new(Mutex::new(self.left_behind)),
        })
    }
}

impl FromStr for OverflowStrategy {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "drop_oldest" => Ok(Self::DropOldest),
            "drop_newest" => Ok(Self::DropNewest),
            "block" => Ok(Self::Block),
            _ => Err(ConfigError::unknown("overflow_strategy", word, &Self::WORDS)),
        }
    }
}

impl FromStr for Durability {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err(ConfigError::unknown("durability", word, &["process", "power"])),
        }
    }
}

/// Where accepted events are kept until they are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalKind {
    /// In a file, mapped where that can be done: they survive the process.
    #[default]
    File,
    /// In a file that is written, never mapped.
    Unmapped,
    /// In memory: they go with the process.
    Memory,
    /// In a file under this folder; not beside [`LoggerBuilder::home`](super::LoggerBuilder::home).
    Folder(PathBuf),
}

/// Why a logger can't be made as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    parameter: &'static str,
    message: String,
}

impl ConfigError {
    pub(super) fn new(parameter: &'static str, message: impl Into<String>) -> Self {
        Self { parameter, message: message.into() }
    }

    fn unknown(parameter: &'static str, word: &str, known: &[&str]) -> Self {
        let shown: String = word.chars().take(40).collect();
        let hint = match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("it is one of {}", known.join(", ")),
        };
        Self::new(parameter, format!("is {shown:?}: {hint}"))
    }

    /// Which parameter is wrong.
    #[must_use]
    pub fn parameter(&self) -> &'static str {
        self.parameter
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.parameter, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A set-up without a dataset would send everything to fallback files, and call that complete.
pub(super) fn check_dataset(
    registry: Option<&dyn Registry>,
    dataset: &str,
    has_further: bool,
) -> Result<(), ConfigError> {
    let Some(registry) = registry else {
        if has_further {
            let text = "is a second dataset without a first: register that under the name of the \
                        target dataset, and give the adapter_registry";
            return Err(ConfigError::new("also_to", text));
        }
        let text = format!(
            "is missing: register an adapter for dataset {dataset:?} and give it, or give an \
             event_sink"
        );
        return Err(ConfigError::new("adapter_registry", text));
    };
    if registry.get(dataset).is_some() {
        return Ok(());
    }
    let known = registry.names();
    let hint = match nearest(dataset, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "register one under that name".to_owned(),
        None => format!("registered are {}", known.join(", ")),
    };
    let shown: String = dataset.chars().take(40).collect();
    let text = format!("is {shown:?}, for which the registry has no adapter: {hint}");
    Err(ConfigError::new("target_dataset", text))
}

/// Puts a sink for each further adapter beside the first one.
pub(super) fn add_further(
    sinks: &mut Vec<Arc<SafetyEventSink>>,
    further: Vec<Arc<dyn DatasetAdapter>>,
) -> Result<(), ConfigError> {
    let wrong = |message: String| Err(ConfigError::new("also_to", message));
    if further.is_empty() {
        return Ok(());
    }
    let most = DESTINATIONS_MAX - 1;
    if further.len() > most {
        return wrong(format!("is {} datasets: it takes up to {most}", further.len()));
    }
    let mut known = vec![sinks[0].identity()];
    for adapter in further {
        let sink = sinks[0].beside(adapter);
        let destination = sink.identity();
        if destination.is_empty() {
            return wrong("is a dataset that does not say where it is: give it an identity".into());
        }
        if known.contains(&destination) {
            return wrong(format!("is {destination}, which this logger delivers to already"));
        }
        sinks.push(Arc::new(sink));
        known.push(destination);
    }
    Ok(())
}
