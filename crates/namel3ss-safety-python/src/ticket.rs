//! Something that goes on in a thread of Rust's while Python waits for it: by sleeping a little, in
//! its own code. So Ctrl-C is met at once, an event loop is never blocked, and no thread of Rust's
//! ever enters an interpreter, which may be shutting down.

use std::sync::{Arc, OnceLock};

use namel3ss_safety::{
    FlushReport,
    internal::{process, sink},
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Flush(FlushReport),
    Logged,
    Written(sink::Outcome),
    Inserted(Result<(), String>),
}

/// See the module.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Ticket(Arc<OnceLock<Outcome>>);

impl Ticket {
    /// Begins `work`; where no thread is to be had, it is done before this returns.
    pub(crate) fn spawn(py: Python<'_>, work: impl FnOnce() -> Outcome + Send + 'static) -> Self {
        let place = Arc::new(OnceLock::new());
        let theirs = place.clone();
        let work = Arc::new(std::sync::Mutex::new(Some(work)));
        let take = {
            let work = work.clone();
            move || work.lock().ok().and_then(|mut work| work.take())
        };
        let run = {
            let take = take.clone();
            move || {
                if let Some(work) = take() {
                    let _ = theirs.set(work());
                }
            }
        };
        let thread = process::spawn("n3-safety-ticket", None, run);
        if thread.is_err() {
            py.detach(|| {
                if let Some(work) = take() {
                    let _ = place.set(work());
                }
            });
        }
        Self(place)
    }
}

#[pymethods]
impl Ticket {
    /// Whether it is over.
    fn done(&self) -> bool {
        self.0.get().is_some()
    }

    /// What came of it, as a dict.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let result = PyDict::new(py);
        match self.0.get() {
            None => return Err(PyRuntimeError::new_err("it is not over yet")),
            Some(Outcome::Logged) => {}
            Some(Outcome::Flush(report)) => {
                result.set_item("complete", report.complete)?;
                result.set_item("pending", report.pending)?;
                result.set_item("error", &report.error)?;
                result.set_item("behind", &report.behind)?;
            }
            Some(Outcome::Written(outcome)) => {
                result.set_item("stored", outcome.stored)?;
                result.set_item("fell_back", outcome.fell_back)?;
                result.set_item("lost", outcome.lost)?;
                result.set_item("error", &outcome.error)?;
            }
            Some(Outcome::Inserted(inserted)) => {
                result.set_item("error", inserted.as_ref().err())?;
            }
        }
        Ok(result)
    }
}
