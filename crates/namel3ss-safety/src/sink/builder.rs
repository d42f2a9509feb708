//! How a sink is made.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::attempt;
use super::breaker::Breaker;
use super::calls::Calls;
use super::fallback::Fallback;
use super::filed::Filed;
use super::own_files::OwnFiles;
use super::safety_event_sink::{
    Counters, DATASET_DEFAULT, MAX_RETRIES_DEFAULT, RETRY_DELAY_DEFAULT, SafetyEventSink,
};
use crate::adapter::{AdapterRegistry, DatasetAdapter, Registry};
use crate::clock::{Clock, SystemClock};
use crate::notice::Notices;

/// Settings of a [`SafetyEventSink`].
#[derive(Debug)]
#[must_use = "a sink is there after build()"]
pub struct SinkBuilder {
    dataset_name: String,
    registry: Arc<dyn Registry>,
    fallback_path: Option<PathBuf>,
    home: Option<PathBuf>,
    max_retries: u32,
    retry_delay: Duration,
    clock: Arc<dyn Clock>,
    notices: Arc<Notices>,
}

impl SinkBuilder {
    /// The dataset, by its name in the registry. Default: `safety_events`.
    pub fn dataset_name(mut self, name: impl Into<String>) -> Self {
        self.dataset_name = name.into();
        self
    }

    /// Where adapters are looked up, anew for each attempt. Default: an empty one.
    pub fn registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = registry;
        self
    }

    /// The folder of the fallback files; `None`, the default, writes none. It is made with the sink. A
    /// relative path means what it means now.
    pub fn fallback_path(mut self, path: Option<PathBuf>) -> Self {
        // Only an empty path, or a folder that was removed under us, has no absolute one.
        self.fallback_path = path.map(|path| std::path::absolute(&path).unwrap_or(path));
        self
    }

    /// The home whose register names the fallback folder, so that `n3-safety` finds it; default
    /// [`crate::home::home`].
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// As [`SinkBuilder::home`], or the default.
    pub(super) fn home_or_default(mut self, path: Option<PathBuf>) -> Self {
        self.home = path;
        self
    }

    /// All attempts for one batch, the first included; zero means one. Default: 3.
    pub fn max_retries(mut self, attempts: u32) -> Self {
        self.max_retries = attempts;
        self
    }

    /// The wait after the first failed attempt; it doubles up to a minute. Default: 1 s.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// The time. Default: the machine's.
    #[doc(hidden)]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the sink says what happens. Default: its own.
    #[doc(hidden)]
    pub fn notices(mut self, notices: Arc<Notices>) -> Self {
        self.notices = notices;
        self
    }

    /// The sink, and the folder of its fallback files; where that can't be had, a notice says so.
    #[must_use]
    pub fn build(self) -> SafetyEventSink {
        let fallback = self.fallback_path.map(|path| Fallback::new(path, &self.dataset_name));
        if let Some(fallback) = &fallback {
            fallback.prepare(&self.notices);
        }
        let sink = SafetyEventSink {
            name: self.dataset_name.clone(),
            shown_name: attempt::showable(&self.dataset_name),
            dataset_name: self.dataset_name,
            registry: self.registry,
            fallback,
            max_retries: AtomicU32::new(1),
            retry_delay_nanos: AtomicU64::new(0),
            clock: self.clock,
            notices: self.notices,
            breaker: Breaker::default(),
            calls: Calls::default(),
            call_timeout_nanos: AtomicU64::new(CALL_TIMEOUT_NANOS_DEFAULT),
            failing: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            counters: Counters::default(),
            own: OwnFiles::default(),
            filed: Filed::default(),
            home: self.home,
            registered: AtomicBool::new(false),
            last_error: Mutex::default(),
        };
        sink.set_max_retries(self.max_retries);
        sink.set_retry_delay(self.retry_delay);
        sink
    }
}

/// 60 s, as a logger's `adapter_timeout`.
const CALL_TIMEOUT_NANOS_DEFAULT: u64 = 60_000_000_000;

impl SafetyEventSink {
    /// Starts from the defaults.
    pub fn builder() -> SinkBuilder {
        SinkBuilder {
            dataset_name: DATASET_DEFAULT.to_owned(),
            registry: Arc::new(AdapterRegistry::default()),
            fallback_path: None,
            home: None,
            max_retries: MAX_RETRIES_DEFAULT,
            retry_delay: RETRY_DELAY_DEFAULT,
            clock: Arc::new(SystemClock::default()),
            notices: Arc::new(Notices::default()),
        }
    }

    /// This sink for a forked child: none of its locks, which may be held for ever there.
    pub(crate) fn after_fork(&self, notices: Arc<Notices>) -> Self {
        let sink = self.like_this(self.registry.clone(), notices).build();
        Self {
            name: self.name.clone(),
            shown_name: self.shown_name.clone(),
            fallback: self.fallback.as_ref().map(Fallback::after_fork),
            call_timeout_nanos: AtomicU64::new(self.call_timeout_nanos.load(Ordering::Relaxed)),
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
}
