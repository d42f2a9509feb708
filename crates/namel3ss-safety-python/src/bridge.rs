//! How a batch gets to an adapter of Python's: the worker, a thread of Rust's, lays it down here and
//! waits; a daemon thread of Python's takes it up, calls the adapter and says what came of it.
//!
//! So the worker never enters the interpreter: a thread of Rust's that does while it shuts down
//! aborts the process (measured: 41 to 96 of 100 exits). Python's thread sleeps in `os.read` on a
//! pipe, with nothing of Rust's below it on its stack.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use namel3ss_safety::{
    AdapterError, Batch, BatchId, Batching, DatasetAdapter, Delivery, Failure, RowBuffer,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use rustix::pipe::PipeFlags;

use crate::native::Native;
use crate::tail;

/// The process is ending: nothing new is laid down.
pub(crate) static EXITING: AtomicBool = AtomicBool::new(false);

/// How many rows one call of a Python adapter gets at most.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This process's; a forked child puts its own in place.
    place: ArcSwap<Place>,
    /// Where rows land; of a user's own registry it is known only once that was asked.
    identity: ArcSwap<String>,
    timeout: Duration,
}

#[derive(Debug)]
struct Place {
    held: Mutex<Held>,
    changed: Condvar,
    reader: OwnedFd,
    writer: OwnedFd,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    /// Waits to be taken up.
    laid: Option<(u64, RowBuffer)>,
    /// Is with the adapter.
    taken: Option<(u64, BatchId)>,
    answer: Option<(u64, Answer)>,
    /// A batch that the adapter stored when nobody waited for it any more.
    late: Option<BatchId>,
    /// Nobody will use it any more.
    closed: bool,
}

/// What the adapter came to.
#[derive(Debug)]
enum Answer {
    Stored,
    Failed(Failure, String),
    /// The registry has a native adapter: the worker calls it itself.
    Native(Arc<dyn DatasetAdapter>),
}

impl Place {
    fn new() -> std::io::Result<Self> {
        let flags = PipeFlags::CLOEXEC;
        let (reader, writer) = rustix::pipe::pipe_with(flags)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(Self { held: Mutex::default(), changed: Condvar::new(), reader, writer })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, batch: &Batch<'_>, timeout: Duration) -> Result<(), AdapterError> {
        let mut held = self.lock();
        if held.late.take() == Some(batch.id()) {
            return Ok(());
        }
        if held.taken.is_some() {
            return Err(AdapterError::transient(
                "insert the rows: the adapter is still busy with an earlier call, see why it hangs",
            ));
        }
        if EXITING.load(Ordering::SeqCst) {
            return Err(AdapterError::transient("insert the rows: the process is ending"));
        }
        held.last += 1;
        let number = held.last;
        held.answer = None;
        held.laid = Some((number, batch.to_rows()));
        // A full pipe wakes as well as another byte would.
        let _ = rustix::io::write(&self.writer, b".");
        let until = Instant::now() + timeout;
        loop {
            if let Some((of, answer)) = held.answer.take()
                && of == number
            {
                drop(held);
                return match answer {
                    Answer::Stored => Ok(()),
                    Answer::Failed(failure, message) => Err(AdapterError::new(failure, message)),
                    Answer::Native(adapter) => adapter.insert(batch),
                };
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Taken up or not, its answer is not waited for.
                held.laid = None;
                return Err(AdapterError::transient(format!(
                    "insert the rows: the adapter did not return within {} s, see why it hangs",
                    timeout.as_secs_f64()
                )));
            }
            let waited = self.changed.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl DatasetAdapter for Shared {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.place.load_full().insert(batch, self.timeout)
    }

    fn identity(&self) -> String {
        String::clone(&self.identity.load())
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn batching(&self) -> Batching {
        Batching { rows_max: ROWS_MAX, bytes_max: BYTES_MAX, wait_max: Duration::ZERO }
    }
}

/// Python's end.
#[pyclass(frozen, weakref, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Bridge(pub(crate) Arc<Shared>);

#[pymethods]
impl Bridge {
    #[new]
    fn new(identity: String, timeout_seconds: f64) -> PyResult<Self> {
        let timeout = Duration::try_from_secs_f64(timeout_seconds).map_err(|_| {
            PyValueError::new_err(format!(
                "adapter_timeout_seconds is {timeout_seconds}: it takes seconds above 0"
            ))
        })?;
        let place = ArcSwap::from_pointee(Place::new().map_err(PyOSError::new_err)?);
        let identity = ArcSwap::from_pointee(identity);
        Ok(Self(Arc::new(Shared { place, identity, timeout })))
    }

    /// Says where rows land.
    fn set_identity(&self, identity: String) {
        self.0.identity.store(Arc::new(identity));
    }

    /// What to read from: a byte comes when there is something to take up.
    fn fileno(&self) -> i32 {
        self.0.place.load().reader.as_raw_fd()
    }

    /// Takes up what was laid down: its number and its rows, as the app gave them.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<(u64, Bound<'py, PyList>)>> {
        let place = self.0.place.load_full();
        let Some((number, rows)) = ({
            let mut held = place.lock();
            let laid = held.laid.take();
            held.taken = laid.as_ref().map(|(number, rows)| (*number, rows.batch().id()));
            laid
        }) else {
            return Ok(None);
        };
        let list = PyList::empty(py);
        for row in rows.batch().rows() {
            list.append(tail::as_given(py, &row.event)?)?;
        }
        Ok(Some((number, list)))
    }

    /// The adapter, as a logger takes it.
    fn native(&self) -> Native {
        Native::of_shared(self.0.clone())
    }

    /// Says what came of it. `kind` is `stored`, `transient`, `throttled`, `config`, `unknown`,
    /// `poison` with the positions of bad rows, or `native` with an adapter to call instead.
    #[pyo3(signature = (number, kind, message="", rows=Vec::new(), native=None))]
    fn answer(
        &self,
        number: u64,
        kind: &str,
        message: &str,
        rows: Vec<usize>,
        native: Option<&Native>,
    ) -> PyResult<()> {
        let failed = |failure| Answer::Failed(failure, message.to_owned());
        let answer = match (kind, native) {
            ("stored", _) => Answer::Stored,
            ("native", Some(native)) => Answer::Native(native.adapter.clone()),
            ("transient", _) => failed(Failure::Transient),
            ("throttled", _) => failed(Failure::Throttled(None)),
            ("config", _) => failed(Failure::Config),
            ("unknown", _) => failed(Failure::Unknown),
            ("poison", _) => failed(Failure::Poison(rows)),
            _ => return Err(PyValueError::new_err(format!("answer {kind:?} is none"))),
        };
        let place = self.0.place.load_full();
        let mut held = place.lock();
        let taken = held.taken.take();
        if held.last == number {
            if matches!(answer, Answer::Stored) {
                // Forgotten when the worker, who may have stopped waiting, comes with another.
                held.late = taken.map(|(_, id)| id);
            }
            held.answer = Some((number, answer));
        }
        drop(held);
        place.changed.notify_all();
        Ok(())
    }

    /// Lets the thread end that takes up what is laid down.
    fn close(&self) {
        let place = self.0.place.load_full();
        place.lock().closed = true;
        let _ = rustix::io::write(&place.writer, b".");
    }

    /// Whether the thread should end.
    fn closed(&self) -> bool {
        self.0.place.load_full().lock().closed
    }

    /// In a forked child: lets go of what the parent's threads may hold.
    fn after_fork(&self) -> PyResult<()> {
        self.0.place.store(Arc::new(Place::new().map_err(PyOSError::new_err)?));
        Ok(())
    }
}
