//! Async hosts: what is awaited, async adapters, and on which threads adapters are called and dropped.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, ThreadId};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, AsyncAdapter, AsyncDatasetAdapter, Batch, DatasetAdapter, Delivery,
    MemoryAdapter, SafetyEvent, SafetyEventLogger,
};

use crate::support::until;

const SOON: Option<Duration> = Some(Duration::from_secs(20));

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker())) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

/// Takes each batch when it is told to.
struct Held(Mutex<Receiver<()>>);

impl DatasetAdapter for Held {
    fn insert(&self, _: &Batch<'_>) -> Result<(), AdapterError> {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }

    fn identity(&self) -> String {
        "held".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// A task that flushed or stopped held its thread up for as long as its dataset took.
#[test]
fn a_task_that_flushes_or_stops_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (take, taken) = channel();
    let dataset = Arc::new(Held(Mutex::new(taken)));
    let logger = SafetyEventLogger::builder().dataset(dataset).home(home.path()).build().unwrap();
    logger.log(&SafetyEvent::block("jailbreak"));
    let waker = waker();
    let mut flushing = pin!(logger.flush_async(SOON));
    let mut stopping = pin!(logger.stop_async(SOON));
    let began = Instant::now();
    assert!(flushing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(stopping.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    take.send(()).unwrap();
    assert!(block_on(flushing).complete);
    assert!(block_on(stopping).complete);
    assert!(!logger.is_started());
}

#[derive(Default)]
struct Seen {
    threads: Mutex<Vec<ThreadId>>,
    dropped_on: Mutex<Option<ThreadId>>,
    started: AtomicUsize,
    running: AtomicUsize,
    cancelled: AtomicUsize,
    overlapped: AtomicBool,
}

/// Hangs in its first future for ever.
struct Hangs(Arc<Seen>);

struct Call<'a>(&'a Seen);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncDatasetAdapter for Hangs {
    async fn insert(&self, _: Batch<'_>) -> Result<(), AdapterError> {
        let seen = &*self.0;
        seen.threads.lock().unwrap().push(std::thread::current().id());
        let beside = seen.running.fetch_add(1, Ordering::SeqCst);
        seen.overlapped.fetch_or(beside > 0, Ordering::SeqCst);
        let _call = Call(seen);
        if seen.started.fetch_add(1, Ordering::SeqCst) == 0 {
            struct Cancelled<'a>(&'a Seen);
            impl Drop for Cancelled<'_> {
                fn drop(&mut self) {
                    self.0.cancelled.fetch_add(1, Ordering::SeqCst);
                }
            }
            let _cancelled = Cancelled(seen);
            pending::<()>().await;
        }
        Ok(())
    }

    fn identity(&self) -> String {
        "hangs".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        *self.0.dropped_on.lock().unwrap() = Some(std::thread::current().id());
    }
}

#[test]
fn a_future_is_cancelled_at_the_adapter_timeout_and_the_batch_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let seen = Arc::new(Seen::default());
    let dataset = Arc::new(AsyncAdapter::on_own_thread(Hangs(seen.clone())));
    let builder = SafetyEventLogger::builder().dataset(dataset).home(home.path()).no_fallback();
    let builder = builder.adapter_timeout(Duration::from_millis(50));
    let logger = builder.retry_delay(Duration::from_millis(1)).build().unwrap();
    logger.log(&SafetyEvent::block("jailbreak"));
    let report = block_on(logger.stop_async(SOON));
    assert!(report.complete, "{report:?}");
    assert_eq!(report.flushed, 1);
    assert_eq!(seen.cancelled.load(Ordering::SeqCst), 1);
    assert!(!seen.overlapped.load(Ordering::SeqCst), "one future at a time");
    let error = logger.stats().last_error.unwrap_or_default();
    assert!(error.contains("cancelled after 0.1 s (adapter_timeout)"), "{error}");
    drop(logger);
    let here = std::thread::current().id();
    assert!(!seen.threads.lock().unwrap().contains(&here), "not polled on the caller's thread");
    until("the adapter is dropped", || seen.dropped_on.lock().unwrap().is_some());
    assert_ne!(*seen.dropped_on.lock().unwrap(), Some(here));
}

/// A runtime that ends drops its tasks: a worker waited for ever for what nobody would do.
#[test]
fn a_task_that_its_runtime_drops_is_a_failure() {
    let adapter = AsyncAdapter::spawned_by(Hangs(Arc::default()), drop);
    let mut rows = namel3ss_safety::RowBuffer::new(namel3ss_safety::JournalId::generate());
    rows.push_event(namel3ss_safety::Seq(1), &SafetyEvent::default());
    let error = adapter.insert(&rows.batch()).unwrap_err();
    assert_eq!(error.to_string(), "insert the rows: the adapter's runtime has ended its task");
}

/// An adapter that brings a runtime panicked where a task dropped the last handle of its logger.
struct DropsElsewhere(Arc<Mutex<Option<ThreadId>>>);

impl DatasetAdapter for DropsElsewhere {
    fn insert(&self, _: &Batch<'_>) -> Result<(), AdapterError> {
        Ok(())
    }

    fn identity(&self) -> String {
        "drops elsewhere".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

impl Drop for DropsElsewhere {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(std::thread::current().id());
    }
}

#[test]
fn no_adapter_is_dropped_on_the_thread_that_drops_the_logger() {
    let home = tempfile::tempdir().unwrap();
    let dropped = Arc::default();
    let builder = SafetyEventLogger::builder().dataset(Arc::new(MemoryAdapter::default()));
    let further = Arc::new(DropsElsewhere(Arc::clone(&dropped)));
    let logger = builder.dataset(further).home(home.path()).build().unwrap();
    drop(logger);
    let thread = dropped.lock().unwrap().expect("it is dropped with its logger");
    assert_ne!(thread, std::thread::current().id());
}
