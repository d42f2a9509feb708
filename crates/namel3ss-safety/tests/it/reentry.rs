//! Adapters that log to the logger that feeds them, and calls that cross each other.

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, LoggerBuilder, MemoryAdapter,
    OverflowStrategy, SafetyEvent, SafetyEventLogger,
};

use crate::support;

#[derive(Debug, Default)]
struct Talkative {
    rows: MemoryAdapter,
    logger: OnceLock<Weak<SafetyEventLogger>>,
}

impl DatasetAdapter for Talkative {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let logger = self.logger.get().and_then(Weak::upgrade);
        if let Some(logger) = logger.filter(|_| self.rows.len() < 4) {
            // Time for the app to fill the backlog, and for the keeper to see it.
            std::thread::sleep(Duration::from_millis(150));
            for _ in 0..3 {
                let _ = logger.log(&event());
            }
        }
        self.rows.insert(batch)
    }

    fn identity(&self) -> String {
        "talkative".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

fn event() -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(6000)), ..SafetyEvent::default() }
}

/// Logs twenty events; the first batches make the adapter log three more each.
fn check(start: bool, backlog_bytes: u64) {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let home = tempfile::tempdir().unwrap();
        let dataset = Arc::new(Talkative::default());
        let registry = AdapterRegistry::default();
        registry.register("safety_events", dataset.clone());
        let builder = SafetyEventLogger::builder()
            .adapter_registry(registry)
            .home(home.path())
            .buffer_size(1)
            .backlog_limit_bytes(backlog_bytes)
            .overflow_strategy(OverflowStrategy::Block)
            .autostart(start);
        let logger = Arc::new(builder.build().unwrap());
        dataset.logger.set(Arc::downgrade(&logger)).unwrap();
        if start {
            logger.start();
        }
        for _ in 0..20 {
            let _ = logger.log(&event());
            if start {
                // So that the first one is on its way before the backlog is full.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // What the adapter logs during the last batch comes after what a flush waits for.
        while logger.stats().pending > 0 {
            assert!(logger.flush(Some(Duration::from_secs(20))).complete);
        }
        let report = logger.stop(Some(Duration::from_secs(20)));
        done.send((report, dataset.rows.len() as u64, logger.stats())).unwrap();
    });
    let (report, stored, stats) = finished.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(report.complete, "{report:?}");
    assert!(stats.total_logged > 20, "{stats:?}");
    assert_eq!((stored, stats.total_dropped), (stats.total_logged, 0));
}

/// With `block`, a logger that is not started delivers inside `log()`. The adapter's own event then
/// found the buffer full again, on the thread that held the worker, and waited for itself.
#[test]
fn an_adapter_that_logs_inside_log_ends() {
    check(false, 1 << 30);
}

/// With `block` and the backlog at its limit, `log()` waits for the worker: on the worker's own
/// thread that was for ever.
#[test]
fn an_adapter_that_logs_while_the_backlog_is_full_ends() {
    check(true, 20_000);
}

/// A logger into `dataset` with a small backlog.
fn into_memory(home: &Path, dataset: &Arc<MemoryAdapter>) -> LoggerBuilder {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset.clone());
    let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home);
    builder.backlog_limit_bytes(4096)
}

/// A buffer that alone took the backlog to its limit was never handed over: the keeper waited for
/// a worker that had nothing to do. The buffer is no backlog: it fills, and is handed over.
#[test]
fn a_buffer_as_large_as_the_backlog_is_delivered() {
    let home = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemoryAdapter::default());
    let logger = into_memory(home.path(), &dataset)
        .buffer_size(3)
        .flush_interval_seconds(3600.0)
        .build()
        .unwrap();
    logger.start();
    for _ in 0..3 {
        let _ = logger.log(&event());
    }
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while dataset.len() < 3 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((dataset.len(), logger.stats().total_dropped), (3, 0));
}

/// Started, but without threads, `block` waited for a worker that nobody drove.
#[test]
fn block_without_threads_delivers_on_the_callers_own() {
    let home = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemoryAdapter::default());
    let logger = into_memory(home.path(), &dataset)
        .buffer_size(2)
        .overflow_strategy(OverflowStrategy::Block)
        .threads(false)
        .build()
        .unwrap();
    logger.start();
    for _ in 0..200 {
        let _ = logger.log(&event());
        let _ = logger.turn();
    }
    assert!(logger.stop(None).complete);
    assert_eq!((dataset.len(), logger.stats().total_dropped), (200, 0));
}

/// The worker was ended by a stop in the middle of another thread's flush, which then waited for
/// ever.
#[test]
fn a_flush_outlives_the_worker_that_it_waits_for() {
    let home = tempfile::tempdir().unwrap();
    let adapter = Arc::new(MemoryAdapter::default());
    let logger = support::builder(adapter.clone()).home(home.path()).build().unwrap();
    for _ in 0..300 {
        logger.start();
        (1..=5).for_each(|n| _ = logger.log(&support::event(n)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert!(logger.stop(None).complete));
                scope.spawn(|| assert!(logger.flush(None).complete));
            }
        });
    }
    assert_eq!(adapter.len(), 1500);
}
