//! Async adapters, as the synchronous ones that a worker calls. No runtime is named: the host says how
//! a task is spawned, or tasks are driven on a thread of the adapter's own.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::dataset::{Batching, DatasetAdapter, Delivery};
use super::error::{AdapterError, Failure};
use super::per_process::PerProcess;
use crate::batch::Batch;
use crate::id::BatchId;
use crate::locks::lock;
use crate::process;

/// A dataset that rows are stored in by async code; [`AsyncAdapter`] makes a [`DatasetAdapter`] of it.
///
/// One future at a time. One that is not done within
/// [`adapter_timeout`](crate::LoggerBuilder::adapter_timeout) is cancelled: it is dropped where it
/// stands, the batch is tried again, and no other future runs beside it. `identity`, `delivery` and
/// `batching` are called on any thread, and must not wait.
pub trait AsyncDatasetAdapter: Send + Sync + 'static {
    /// As [`DatasetAdapter::insert`].
    fn insert(&self, batch: Batch<'_>) -> impl Future<Output = Result<(), AdapterError>> + Send;

    /// As [`DatasetAdapter::identity`].
    fn identity(&self) -> String;

    /// As [`DatasetAdapter::delivery`].
    fn delivery(&self) -> Delivery;

    /// As [`DatasetAdapter::batching`].
    fn batching(&self) -> Batching {
        Batching::default()
    }
}

/// A task that [`AsyncAdapter::spawned_by`] has the host spawn.
pub type AdapterTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a call may take where no logger says it.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long a runtime may take to drop a future that is cancelled. One that stands still, because its
/// thread waits for this very call, must not hold it up for ever.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// An [`AsyncDatasetAdapter`] as a [`DatasetAdapter`]. Its futures are polled on the host's runtime or
/// on a thread of its own, and it is dropped on another one: never on the thread that logs, flushes,
/// stops, or drops the logger.
///
/// ```
/// use namel3ss_safety::{
///     AdapterError, AsyncAdapter, AsyncDatasetAdapter, Batch, Delivery, SafetyEvent,
///     SafetyEventLogger,
/// };
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// struct Webhook;
///
/// impl AsyncDatasetAdapter for Webhook {
///     async fn insert(&self, batch: Batch<'_>) -> Result<(), AdapterError> {
///         println!("{} rows are sent", batch.len());
///         Ok(())
///     }
///
///     fn identity(&self) -> String {
///         "webhook:example".into()
///     }
///
///     fn delivery(&self) -> Delivery {
///         Delivery::AtLeastOnce
///     }
/// }
///
/// let home = tempfile::tempdir()?;
/// // With tokio: `AsyncAdapter::spawned_by(Webhook, move |task| { handle.spawn(task); })`.
/// let dataset = Arc::new(AsyncAdapter::on_own_thread(Webhook));
/// let logger = SafetyEventLogger::builder().dataset(dataset).home(home.path()).build()?;
/// logger.log(&SafetyEvent::block("jailbreak"));
/// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncAdapter<A: AsyncDatasetAdapter> {
    /// Shared with the future of a call.
    inner: Arc<Inner<A>>,
    /// A call that was given up before its runtime had dropped its future.
    unfinished: PerProcess<Option<(BatchId, Arc<Call>)>>,
}

struct Inner<A: AsyncDatasetAdapter> {
    /// Only `drop` takes it out.
    parts: Option<(A, Runs)>,
    pid: u32,
}

impl<A: AsyncDatasetAdapter> Inner<A> {
    fn parts(&self) -> &(A, Runs) {
        self.parts.as_ref().expect("only drop takes it out")
    }

    fn adapter(&self) -> &A {
        &self.parts().0
    }
}

impl<A: AsyncDatasetAdapter> Drop for Inner<A> {
    /// On a thread where nothing is polled: what drops a runtime within another panics. The adapter may
    /// have one, and so may the host's function.
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.pid == std::process::id() {
            process::drop_apart(parts);
        } else {
            // A forked child must not close what is its parent's.
            std::mem::forget(parts);
        }
    }
}

enum Runs {
    /// By the host. A forked child does not have the threads of its runtime.
    Host(Box<dyn Fn(AdapterTask) + Send + Sync>),
    /// On a thread of its own, which each process starts at the first call.
    Thread(PerProcess<Option<Sender<AdapterTask>>>),
}

impl<A: AsyncDatasetAdapter> AsyncAdapter<A> {
    /// Has `spawn` drive its futures, such as `move |task| { handle.spawn(task); }` with the `Handle` of
    /// a runtime of tokio. **A flush on a thread that this runtime needs to go on waits in vain**, until
    /// its timeout or the `adapter_timeout`: use [`flush_async`](crate::SafetyEventLogger::flush_async)
    /// there. Not in a forked child.
    pub fn spawned_by(adapter: A, spawn: impl Fn(AdapterTask) + Send + Sync + 'static) -> Self {
        Self::new(adapter, Runs::Host(Box::new(spawn)))
    }

    /// Drives its futures on a thread of its own, for those that need no runtime, or bring one.
    pub fn on_own_thread(adapter: A) -> Self {
        Self::new(adapter, Runs::Thread(PerProcess::new(None)))
    }

    fn new(adapter: A, runs: Runs) -> Self {
        let inner = Inner { parts: Some((adapter, runs)), pid: std::process::id() };
        Self { inner: Arc::new(inner), unfinished: PerProcess::new(None) }
    }

    fn run(&self, task: AdapterTask) -> Result<(), AdapterError> {
        match &self.inner.parts().1 {
            Runs::Host(spawn) if self.inner.pid == std::process::id() => {
                spawn(task);
                Ok(())
            }
            Runs::Host(_) => Err(AdapterError::config(
                "insert the rows: the runtime of this adapter is the parent process's; make the \
                 logger in the child",
            )),
            Runs::Thread(sender) => {
                let mut sender = sender.lock(|| None);
                let unsent = match &*sender {
                    Some(running) => running.send(task).map_err(|error| error.0),
                    None => Err(task),
                };
                let Err(task) = unsent else { return Ok(()) };
                let (new, tasks) = channel();
                let started = process::spawn("n3-safety-async", None, move || {
                    tasks.into_iter().for_each(block_on);
                });
                started
                    .map_err(|error| AdapterError::io("start a thread for the adapter", error))?;
                // The thread has just begun, and takes it.
                let _ = new.send(task);
                *sender = Some(new);
                Ok(())
            }
        }
    }
}

impl<A: AsyncDatasetAdapter> fmt::Debug for AsyncAdapter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncAdapter").finish_non_exhaustive()
    }
}

impl<A: AsyncDatasetAdapter> DatasetAdapter for AsyncAdapter<A> {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.insert_within(batch, TIMEOUT_DEFAULT)
    }

    fn insert_within(&self, batch: &Batch<'_>, timeout: Duration) -> Result<(), AdapterError> {
        let mut unfinished = self.unfinished.lock(|| None);
        if let Some((id, call)) = &*unfinished {
            if !call.has_ended_within(CANCEL_WAIT) {
                return Err(stands_still());
            }
            let was_stored = *id == batch.id() && call.answer(timeout).is_ok();
            *unfinished = None;
            if was_stored {
                return Ok(());
            }
        }
        let (inner, rows) = (self.inner.clone(), batch.to_rows());
        let work = Box::pin(async move { inner.adapter().insert(rows.batch()).await });
        let call = Arc::new(Call::default());
        self.run(Box::pin(Running { call: call.clone(), work: Some(work) }))?;
        if !call.has_ended_within(timeout) {
            call.cancel();
            if !call.has_ended_within(CANCEL_WAIT) {
                *unfinished = Some((batch.id(), call));
                return Err(stands_still());
            }
        }
        call.answer(timeout)
    }

    fn identity(&self) -> String {
        self.inner.adapter().identity()
    }

    fn delivery(&self) -> Delivery {
        self.inner.adapter().delivery()
    }

    fn batching(&self) -> Batching {
        self.inner.adapter().batching()
    }
}

fn stands_still() -> AdapterError {
    AdapterError::transient(
        "insert the rows: the adapter's runtime stands still, its thread may be waiting for this \
         delivery; await flush_async and stop_async there",
    )
}

type Answer = Result<Result<(), AdapterError>, Box<dyn Any + Send>>;
type Work = Pin<Box<dyn Future<Output = Result<(), AdapterError>> + Send>>;

/// One call, between the worker that waits for it and the task that runs it.
#[derive(Default)]
struct Call {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    is_cancelled: bool,
    has_ended: bool,
    waker: Option<Waker>,
}

impl Call {
    /// Waits until its future is gone.
    fn has_ended_within(&self, timeout: Duration) -> bool {
        let state = lock(&self.state);
        let waiting = |state: &mut State| !state.has_ended;
        let waited = self.ended.wait_timeout_while(state, timeout, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// Has its future dropped at the next poll, and asks for that.
    fn cancel(&self) {
        let waker = {
            let mut state = lock(&self.state);
            state.is_cancelled = true;
            state.waker.take()
        };
        // Not with the lock held: it may poll at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What it came to, once it has ended.
    fn answer(&self, timeout: Duration) -> Result<(), AdapterError> {
        let (answer, is_cancelled) = {
            let mut state = lock(&self.state);
            (state.answer.take(), state.is_cancelled)
        };
        match answer {
            Some(Ok(answer)) => answer,
            Some(Err(panic)) => resume_unwind(panic),
            None if is_cancelled => Err(AdapterError::transient(format!(
                "insert the rows: the call was cancelled after {:.1} s (adapter_timeout)",
                timeout.as_secs_f64()
            ))),
            None => Err(AdapterError::new(
                Failure::Transient,
                "insert the rows: the adapter's runtime has ended its task",
            )),
        }
    }

    fn end(&self, answer: Option<Answer>) {
        let mut state = lock(&self.state);
        if !state.has_ended {
            state.answer = answer;
            state.has_ended = true;
            state.waker = None;
        }
        drop(state);
        self.ended.notify_all();
    }
}

/// The task of a call.
struct Running {
    call: Arc<Call>,
    work: Option<Work>,
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_cancelled = {
            let mut state = lock(&self.call.state);
            state.waker = Some(context.waker().clone());
            state.is_cancelled
        };
        let Some(work) = self.work.as_mut().filter(|_| !is_cancelled) else {
            self.work = None;
            self.call.end(None);
            return Poll::Ready(());
        };
        let answer = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => Ok(answer),
            Err(panic) => Err(panic),
        };
        self.work = None;
        self.call.end(Some(answer));
        Poll::Ready(())
    }
}

impl Drop for Running {
    /// Its runtime has ended.
    fn drop(&mut self) {
        self.work = None;
        self.call.end(None);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a task to its end on this thread.
fn block_on(task: AdapterTask) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut task = pin!(task);
    while task.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}
