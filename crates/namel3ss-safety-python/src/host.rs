//! What the objects of Python's that speak for one logger share: the logger itself, and the way back
//! to Python for what only Python can do.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use namel3ss_safety::SafetyEventLogger;
use namel3ss_safety::codec::Payload;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::context::{self, Context};
use crate::done::done;
use crate::gate::{self, Inside};
use crate::rows::{Encoded, with_draft};

/// How often this process was forked from its first: a child's own number differs from the one that
/// its parent's loggers have seen.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// In a forked child: every logger finds out at its next call; random numbers begin anew.
#[pyfunction]
pub(crate) fn after_fork_in_child(seed: u64) {
    fastrand::seed(seed);
    gate::after_fork();
    FORKS.fetch_add(1, Ordering::SeqCst);
}

/// See the module.
pub(crate) struct Host {
    pub(crate) logger: SafetyEventLogger,
    /// Nothing is logged: it was switched off by the environment.
    pub(crate) disabled: bool,
    /// An event starts it, where it is not started or was stopped.
    pub(crate) autostart: bool,
    /// The next event starts it, and Python's threads with it.
    pub(crate) starts_itself: AtomicBool,
    forks: AtomicU64,
    /// Called with the word for what only Python can do: `start`, `revive`, or `wait` and an event.
    pub(crate) helper: PyOnceLock<Py<PyAny>>,
    pub(crate) panics: AtomicU64,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("logger", &self.logger).finish_non_exhaustive()
    }
}

impl Drop for Host {
    /// The worker may be in an adapter of Python's, which could not come to its end meanwhile.
    fn drop(&mut self) {
        let _ = Python::try_attach(|py| py.detach(|| self.logger.quit()));
    }
}

impl Host {
    pub(crate) fn new(logger: SafetyEventLogger, disabled: bool, autostart: bool) -> Self {
        Self {
            logger,
            disabled,
            autostart,
            starts_itself: AtomicBool::new(autostart && !disabled),
            forks: AtomicU64::new(FORKS.load(Ordering::SeqCst)),
            helper: PyOnceLock::new(),
            panics: AtomicU64::new(0),
        }
    }

    /// Logs; never raises but what Ctrl-C raises while it waits. Returns what is to be awaited.
    #[inline]
    pub(crate) fn log(
        &self,
        event: &Bound<'_, PyAny>,
        bound: Option<&Context>,
    ) -> PyResult<Py<PyAny>> {
        let py = event.py();
        if self.is_quiet() {
            self.wake_up(py);
        }
        if self.disabled {
            return Ok(done(py));
        }
        // Nothing of ours is half-changed when it panics: the journal takes an event wholly or not.
        match catch_unwind(AssertUnwindSafe(|| self.try_log(event, bound))) {
            Ok(true) => Ok(done(py)),
            Ok(false) => self.log_slowly(event, bound),
            Err(_) => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                self.logger.reject();
                Ok(done(py))
            }
        }
    }

    /// Whether it is settled: kept, dropped by the strategy, or no event at all.
    #[inline]
    fn try_log(&self, event: &Bound<'_, PyAny>, bound: Option<&Context>) -> bool {
        let current = context::current(event.py());
        let contexts = [bound, current.as_ref().map(Py::get)];
        match with_draft(event, contexts, |draft| self.logger.try_log(draft).is_some()) {
            Ok(settled) => settled,
            Err(_) => {
                self.logger.reject();
                true
            }
        }
    }

    /// The buffer is full, and the strategy is to wait.
    #[cold]
    fn log_slowly(&self, event: &Bound<'_, PyAny>, bound: Option<&Context>) -> PyResult<Py<PyAny>> {
        let py = event.py();
        let current = context::current(py);
        let contexts = [bound, current.as_ref().map(Py::get)];
        let encode = || with_draft(event, contexts, |draft| Payload::of(draft));
        let payload = catch_unwind(AssertUnwindSafe(encode));
        let Ok(Ok(payload)) = payload else {
            self.logger.reject();
            return Ok(done(py));
        };
        let Some(helper) = self.helper.get(py) else {
            let _ = py.detach(|| self.logger.log_payload(&payload));
            return Ok(done(py));
        };
        let _inside = Inside::enter(py);
        helper.call1(py, ("wait", Py::new(py, Encoded(payload))?))
    }

    /// Whether something must be done before the first event of this process.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.starts_itself.load(Ordering::Relaxed)
            || self.forks.load(Ordering::Relaxed) != FORKS.load(Ordering::Relaxed)
    }

    /// Starts it, or gives a forked child's the threads of Python's that it needs.
    #[cold]
    pub(crate) fn wake_up(&self, py: Python<'_>) {
        let _inside = Inside::enter(py);
        let forks = FORKS.load(Ordering::SeqCst);
        let forked = self.forks.swap(forks, Ordering::SeqCst) != forks;
        let starts = self.starts_itself.swap(false, Ordering::SeqCst);
        let Some(helper) = self.helper.get(py) else { return };
        for (wanted, word) in [(forked, "revive"), (starts, "start")] {
            if wanted && let Err(error) = helper.call1(py, (word, py.None())) {
                // Without its threads it still keeps every event; flush and stop deliver.
                error.write_unraisable(py, None);
            }
        }
    }
}
