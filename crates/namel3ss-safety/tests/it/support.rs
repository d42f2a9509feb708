//! A dataset that does what a test says, and folders for a logger around it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use namel3ss_safety::internal::sink::DESTINATION_NAME;
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, Batching, DatasetAdapter, Delivery, JournalId,
    LoggerBuilder, SafetyEvent, SafetyEventLogger, Stats,
};

type Script = dyn FnMut(&Batch<'_>) -> Result<(), AdapterError> + Send;

/// Asks its script about each batch, and remembers the rows of those it took.
pub(crate) struct Dataset {
    script: Mutex<Box<Script>>,
    stored: Mutex<Vec<(JournalId, u64, String)>>,
    identity: String,
    batching: Mutex<Batching>,
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Dataset {
    pub(crate) fn new(
        script: impl FnMut(&Batch<'_>) -> Result<(), AdapterError> + Send + 'static,
    ) -> Arc<Self> {
        Self::named("test:dataset", script)
    }

    pub(crate) fn named(
        identity: &str,
        script: impl FnMut(&Batch<'_>) -> Result<(), AdapterError> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Box::new(script)),
            stored: Mutex::default(),
            identity: identity.to_owned(),
            batching: Mutex::default(),
        })
    }

    pub(crate) fn healthy() -> Arc<Self> {
        Self::new(|_| Ok(()))
    }

    pub(crate) fn dead() -> Arc<Self> {
        Self::new(|_| Err(AdapterError::transient("reach it")))
    }

    pub(crate) fn set(
        &self,
        script: impl FnMut(&Batch<'_>) -> Result<(), AdapterError> + Send + 'static,
    ) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn set_batching(&self, batching: Batching) {
        *self.batching.lock().unwrap() = batching;
    }

    /// The event ids in the order in which they came.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.stored.lock().unwrap().iter().map(|(.., id)| id.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.stored.lock().unwrap().len()
    }

    /// That each row came once.
    pub(crate) fn once(&self) {
        let stored = self.stored.lock().unwrap();
        let ids: BTreeSet<_> = stored.iter().map(|(journal, seq, _)| (*journal, *seq)).collect();
        assert_eq!(ids.len(), stored.len(), "a row was stored twice");
    }
}

impl DatasetAdapter for Dataset {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        (self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner))(batch)?;
        let rows = batch.rows();
        let rows = rows.map(|row| (row.journal, row.seq.0, row.event.event_id.to_owned()));
        self.stored.lock().unwrap().extend(rows);
        Ok(())
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn batching(&self) -> Batching {
        *self.batching.lock().unwrap()
    }
}

/// Folders of a test's own; gone with it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn fallback(&self) -> PathBuf {
        self.folder.path().join("fallback")
    }

    /// A logger to `dataset` with fallback files.
    pub(crate) fn builder(&self, dataset: &Arc<Dataset>) -> LoggerBuilder {
        builder(dataset.clone()).home(self.home()).fallback_path(self.fallback())
    }

    /// How many journals there are.
    pub(crate) fn journals(&self) -> usize {
        let journals = self.home().join("journal").join("safety_events");
        // Folders only: the accounts of finished journals stay.
        let folders = |entries: std::fs::ReadDir| entries.flatten().filter(|e| e.path().is_dir());
        std::fs::read_dir(journals).map_or(0, |entries| folders(entries).count())
    }

    pub(crate) fn fallback_rows(&self) -> Vec<serde_json::Value> {
        fallback_rows(&self.fallback())
    }
}

/// A logger to `dataset`, quick to give up.
pub(crate) fn builder(dataset: Arc<dyn DatasetAdapter>) -> LoggerBuilder {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset);
    SafetyEventLogger::builder()
        .adapter_registry(registry)
        .retry_delay(Duration::from_millis(1))
        .flush_interval_seconds(60.0)
}

/// All rows of all fallback files in a folder, but not in those within it.
pub(crate) fn fallback_rows(folder: &Path) -> Vec<serde_json::Value> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut rows = Vec::new();
    let is_rows =
        |file: &std::fs::DirEntry| file.file_name() != DESTINATION_NAME && file.path().is_file();
    for file in files.flatten().filter(is_rows) {
        let text = std::fs::read(file.path()).expect("a fallback file can be read");
        let read: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("a whole array");
        rows.extend(read);
    }
    rows
}

pub(crate) fn event(n: u64) -> SafetyEvent {
    SafetyEvent { event_id: n.to_string(), ..SafetyEvent::default() }
}

pub(crate) fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// The equation, without the saturation that may hide a hole in it.
pub(crate) fn adds_up(stats: &Stats) {
    let done = stats.total_flushed + stats.total_fallback + stats.total_dropped;
    assert_eq!(stats.total_logged, done + stats.pending, "{stats:?}");
    let dropped: u64 = stats.dropped.iter().map(|(_, events)| events).sum();
    assert_eq!(dropped, stats.total_dropped, "{stats:?}");
    for sink in &stats.sinks {
        let done = sink.flushed + sink.fallback + sink.dropped;
        assert_eq!(stats.total_logged, done + sink.pending, "{stats:?}");
        // The totals never say better of an event than one of the sinks does.
        assert!(stats.total_flushed <= sink.flushed, "{stats:?}");
    }
}

/// Waits for what threads do.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
