//! Hosts that run on tokio: on none of their threads is an adapter called or dropped, where a
//! `block_on`, or the end of a runtime, is a panic.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, AdapterRegistry, AsyncAdapter, AsyncDatasetAdapter, Batch, DatasetAdapter,
    Delivery, JournalId, LoggerBuilder, OverflowStrategy, RowBuffer, SafetyEvent,
    SafetyEventLogger, SafetyEventSink, Seq,
};
use tokio::runtime::{Builder, Runtime};

use crate::support::until;

const SOON: Option<Duration> = Some(Duration::from_secs(20));

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `host` in each place where a host may stand: in the `block_on` of either runtime, and in a task
/// on a thread of the one that has threads.
fn in_each_place(host: fn()) {
    current_thread().block_on(async move { host() });
    let runtime = multi_thread();
    runtime.block_on(async move { host() });
    runtime.block_on(runtime.spawn(async move { host() })).unwrap();
}

/// What became of an adapter.
#[derive(Default)]
struct Seen {
    called_on: Mutex<Vec<ThreadId>>,
    dropped_on: Mutex<Option<ThreadId>>,
}

impl Seen {
    /// Called as often as it should be, and dropped, on other threads than this one.
    fn check(&self, calls: usize) {
        until("the adapter is dropped", || self.dropped_on.lock().unwrap().is_some());
        let here = std::thread::current().id();
        let called_on = self.called_on.lock().unwrap();
        assert_eq!(called_on.len(), calls);
        assert!(!called_on.contains(&here), "called on a thread of the host");
        assert_ne!(*self.dropped_on.lock().unwrap(), Some(here), "dropped on a thread of the host");
    }
}

/// Has a runtime of its own, as most adapters have that somebody writes over an async client.
struct Blocks {
    runtime: Option<Runtime>,
    seen: Arc<Seen>,
}

impl Blocks {
    fn new(seen: &Arc<Seen>) -> Self {
        Self { runtime: Some(current_thread()), seen: seen.clone() }
    }
}

impl DatasetAdapter for Blocks {
    fn insert(&self, _: &Batch<'_>) -> Result<(), AdapterError> {
        self.seen.called_on.lock().unwrap().push(std::thread::current().id());
        let runtime = self.runtime.as_ref().expect("only drop takes it");
        runtime.block_on(async { tokio::time::sleep(Duration::from_micros(1)).await });
        Ok(())
    }

    fn identity(&self) -> String {
        "blocks".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        *self.seen.dropped_on.lock().unwrap() = Some(std::thread::current().id());
        drop(self.runtime.take());
    }
}

fn registry(adapter: impl DatasetAdapter + 'static) -> AdapterRegistry {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", Arc::new(adapter));
    registry
}

/// A logger into [`Blocks`], whose registry nobody else has.
fn builder(home: &tempfile::TempDir, seen: &Arc<Seen>) -> LoggerBuilder {
    let builder = SafetyEventLogger::builder().adapter_registry(registry(Blocks::new(seen)));
    builder.home(home.path()).no_fallback().max_retries(1)
}

/// Without workers the adapter was called on the thread that flushed, and panicked there; and one in a
/// registry was dropped where the last handle of its logger was.
#[test]
fn without_start_flush_and_stop_call_no_adapter_on_their_thread() {
    in_each_place(|| {
        let (home, seen) = (tempfile::tempdir().unwrap(), Arc::new(Seen::default()));
        let logger = builder(&home, &seen).autostart(false).build().unwrap();
        logger.log(&SafetyEvent::block("jailbreak"));
        let report = logger.flush(SOON);
        assert!(report.complete && report.flushed == 1, "{report:?}");
        logger.log(&SafetyEvent::block("jailbreak"));
        assert!(logger.stop(None).complete);
        drop(logger);
        seen.check(2);
    });
}

#[test]
fn a_started_logger_calls_no_adapter_on_a_thread_of_the_host() {
    in_each_place(|| {
        let (home, seen) = (tempfile::tempdir().unwrap(), Arc::new(Seen::default()));
        let logger = builder(&home, &seen).build().unwrap();
        logger.log(&SafetyEvent::block("jailbreak"));
        assert!(logger.flush(SOON).complete);
        assert!(logger.stop(SOON).complete);
        drop(logger);
        seen.check(1);
    });
}

/// `block` at a full buffer of a logger that is not started delivers within `log`.
#[test]
fn a_log_that_makes_room_calls_no_adapter_on_its_thread() {
    in_each_place(|| {
        let (home, seen) = (tempfile::tempdir().unwrap(), Arc::new(Seen::default()));
        let builder = builder(&home, &seen).autostart(false).buffer_size(1);
        let logger = builder.overflow_strategy(OverflowStrategy::Block).build().unwrap();
        (0..3).for_each(|_| _ = logger.log(&SafetyEvent::block("jailbreak")));
        assert_eq!(logger.stats().total_flushed, 2);
        assert_eq!(logger.stats().total_dropped, 0);
        drop(logger);
        seen.check(2);
    });
}

#[test]
fn a_write_without_a_journal_calls_no_adapter_on_its_thread() {
    in_each_place(|| {
        let seen = Arc::new(Seen::default());
        let adapters = Arc::new(registry(Blocks::new(&seen)));
        let sink = SafetyEventSink::builder().registry(adapters.clone()).build();
        let mut rows = RowBuffer::new(JournalId::generate());
        rows.push_event(Seq(1), &SafetyEvent::default());
        assert!(sink.write(&rows.batch()).is_stored());
        // The host's own, to be dropped where that is allowed.
        std::thread::spawn(move || drop((sink, adapters))).join().unwrap();
        seen.check(1);
    });
}

#[test]
fn a_builder_that_is_refused_drops_no_adapter_on_its_thread() {
    in_each_place(|| {
        let (home, seen) = (tempfile::tempdir().unwrap(), Arc::new(Seen::default()));
        assert!(builder(&home, &seen).buffer_size(0).build().is_err());
        seen.check(0);
        let seen = Arc::new(Seen::default());
        let further = Arc::new(Blocks::new(&seen));
        let one = SafetyEventLogger::builder().dataset(further).max_retries(0);
        assert!(one.build().is_err());
        seen.check(0);
    });
}

/// What became of an async adapter.
#[derive(Clone, Default)]
struct Counts {
    cancelled: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
    seen: Arc<Seen>,
}

/// Takes what it is given; one that `sleeps` does so in its first call for longer than any test.
struct Sleeps {
    sleeps: AtomicBool,
    counts: Counts,
}

impl Sleeps {
    fn new(sleeps: bool, counts: &Counts) -> Self {
        Self { sleeps: sleeps.into(), counts: counts.clone() }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl AsyncDatasetAdapter for Sleeps {
    async fn insert(&self, batch: Batch<'_>) -> Result<(), AdapterError> {
        let Counts { cancelled, rows, seen } = &self.counts;
        seen.called_on.lock().unwrap().push(std::thread::current().id());
        if self.sleeps.swap(false, Ordering::SeqCst) {
            let _cancelled = Counted(cancelled.clone());
            tokio::time::sleep(Duration::from_secs(3600)).await;
            pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_micros(1)).await;
        rows.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(())
    }

    fn identity(&self) -> String {
        "sleeps".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

impl Drop for Sleeps {
    fn drop(&mut self) {
        *self.counts.seen.dropped_on.lock().unwrap() = Some(std::thread::current().id());
    }
}

/// A logger into an adapter whose futures are tasks of `runtime`.
fn spawning(home: &tempfile::TempDir, adapter: Sleeps, runtime: &Runtime) -> LoggerBuilder {
    let handle = runtime.handle().clone();
    let adapter = AsyncAdapter::spawned_by(adapter, move |task| _ = handle.spawn(task));
    let builder = SafetyEventLogger::builder().adapter_registry(registry(adapter));
    builder.home(home.path()).no_fallback().retry_delay(Duration::from_millis(1))
}

/// At the `adapter_timeout` the task is gone from its runtime, with what it held, before the batch is
/// tried again.
#[test]
fn a_task_of_the_hosts_runtime_is_cancelled_at_the_adapter_timeout() {
    for runtime in [current_thread(), multi_thread()] {
        let home = tempfile::tempdir().unwrap();
        let counts = Counts::default();
        let builder = spawning(&home, Sleeps::new(true, &counts), &runtime);
        let logger = builder.adapter_timeout(Duration::from_millis(50)).build().unwrap();
        logger.log(&SafetyEvent::block("jailbreak"));
        let report = runtime.block_on(logger.flush_async(SOON));
        assert!(report.complete && report.flushed == 1, "{report:?}");
        assert_eq!(counts.cancelled.load(Ordering::SeqCst), 1);
        assert_eq!(counts.rows.load(Ordering::SeqCst), 1);
        until("no task is left", || runtime.metrics().num_alive_tasks() == 0);
        let error = logger.stats().last_error.unwrap_or_default();
        assert!(error.contains("cancelled after 0.1 s (adapter_timeout)"), "{error}");
        let stopped = runtime.block_on(logger.stop_async(SOON));
        assert!(stopped.complete, "{stopped:?}");
        runtime.block_on(async move { drop(logger) });
        let dropped_on = || *counts.seen.dropped_on.lock().unwrap();
        until("the adapter is dropped", || dropped_on().is_some());
        assert_ne!(dropped_on(), Some(std::thread::current().id()));
    }
}

/// A flush on the only thread of the runtime that its adapter needs: it waits in vain, for as long as it
/// was told to and no longer, also without workers. It waited for ever.
#[test]
fn a_flush_that_its_own_runtime_needs_keeps_its_timeout() {
    for autostart in [true, false] {
        let (home, runtime) = (tempfile::tempdir().unwrap(), current_thread());
        let counts = Counts::default();
        let builder = spawning(&home, Sleeps::new(false, &counts), &runtime).autostart(autostart);
        let logger = builder.adapter_timeout(Duration::from_secs(60)).build().unwrap();
        runtime.block_on(async {
            logger.log(&SafetyEvent::block("jailbreak"));
            let began = Instant::now();
            let report = logger.flush(Some(Duration::from_millis(50)));
            assert!(!report.complete && report.pending == 1, "{report:?}");
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            let report = logger.stop_async(SOON).await;
            assert!(report.complete, "{report:?}");
        });
        assert_eq!(counts.rows.load(Ordering::SeqCst), 1, "once");
    }
}

/// As that one, without a timeout: the call is given up, and the event stays in the journal.
#[test]
fn a_flush_without_a_timeout_that_its_own_runtime_needs_ends() {
    let (home, runtime) = (tempfile::tempdir().unwrap(), current_thread());
    let counts = Counts::default();
    let builder = spawning(&home, Sleeps::new(false, &counts), &runtime).max_retries(1);
    let logger = builder.adapter_timeout(Duration::from_millis(50)).build().unwrap();
    runtime.block_on(async {
        logger.log(&SafetyEvent::block("jailbreak"));
        let report = logger.flush(None);
        assert!(!report.complete && report.pending == 1, "{report:?}");
        let error = report.error.unwrap_or_default();
        assert!(error.contains("the adapter's runtime stands still"), "{error}");
        assert!(logger.flush_async(SOON).await.complete);
    });
    assert_eq!(
        counts.rows.load(Ordering::SeqCst),
        1,
        "what was given up is not stored later as well"
    );
}

/// The function that spawns may be all that holds a runtime, which ended where the logger was dropped.
#[test]
fn a_runtime_that_the_adapter_holds_ends_on_a_thread_of_its_own() {
    in_each_place(|| {
        let (home, runtime) = (tempfile::tempdir().unwrap(), multi_thread());
        let counts = Counts::default();
        let spawn = move |task| _ = runtime.spawn(task);
        let adapter = AsyncAdapter::spawned_by(Sleeps::new(false, &counts), spawn);
        let builder = SafetyEventLogger::builder().adapter_registry(registry(adapter));
        let logger = builder.home(home.path()).no_fallback().build().unwrap();
        logger.log(&SafetyEvent::block("jailbreak"));
        assert!(logger.flush(SOON).complete);
        drop(logger);
        counts.seen.check(1);
        // One that no logger ever had.
        let (runtime, counts) = (multi_thread(), Counts::default());
        let spawn = move |task| _ = runtime.spawn(task);
        drop(AsyncAdapter::spawned_by(Sleeps::new(false, &counts), spawn));
        counts.seen.check(0);
    });
}
