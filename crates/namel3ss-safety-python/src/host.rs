//! What the objects of Python's that speak for one logger share: the logger itself, and the way back
//! to Python for what only Python can do.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use namel3ss_safety::internal::codec::Payload;
use namel3ss_safety::internal::parse::Remark;
use namel3ss_safety::{
    SafetyEventLogger,
    internal::{notice, process},
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::context::{self, Context};
use crate::done::done;
use crate::draft::Draft;
use crate::event::SafetyEvent;
use crate::gate::{self, Inside};
use crate::misuse::Kinds;
use crate::own_code;
use crate::rows::{Encoded, with_draft};
use crate::span;

/// In a forked child: random numbers begin anew. Every logger finds out by itself at its next call.
#[pyfunction]
pub(crate) fn after_fork_in_child(seed: u64) {
    fastrand::seed(seed);
    gate::after_fork();
}

/// Tell every logger that this process may be one of several copies, restored from one snapshot.
///
/// Call it in each copy, before it logs anything: each logger begins a new journal, as after a fork,
/// and event ids are made from new random numbers. Copies have the same journals, positions and random
/// numbers: without this call a dataset takes an event of one copy for one of another, delivered again.
/// It never raises. Each copy needs a home of its own.
///
/// Where AWS Lambda's ``snapshot_restore_py`` is loaded it is called without your doing.
#[pyfunction]
pub(crate) fn after_restore(py: Python<'_>) {
    py.detach(namel3ss_safety::after_restore);
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
    /// What can't be read raises instead of being recorded as well as can be.
    pub(crate) strict: bool,
    kinds: Kinds,
    forks: AtomicU64,
    /// Called with the word for what only Python can do: `start`, `revive`, or `wait` and an event.
    pub(crate) helper: PyOnceLock<Py<PyAny>>,
    pub(crate) panics: AtomicU64,
    /// How many events were logged of which something could not be read.
    pub(crate) misread: AtomicU64,
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
    pub(crate) fn new(
        logger: SafetyEventLogger,
        disabled: bool,
        autostart: bool,
        strict: bool,
    ) -> Self {
        process::count_forks();
        // Python's thread takes them.
        notice::keep_left();
        Self {
            logger,
            disabled,
            autostart,
            strict,
            kinds: Kinds::default(),
            starts_itself: AtomicBool::new(autostart && !disabled),
            forks: AtomicU64::new(process::forks()),
            helper: PyOnceLock::new(),
            panics: AtomicU64::new(0),
            misread: AtomicU64::new(0),
        }
    }

    /// Logs. Raises only what Ctrl-C raises while it waits, what a signal handler raises while the
    /// event's own code runs, and where it is strict. Returns what is to be awaited.
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
            Ok(Ok(true)) if own_code::has_raised() => own_code::take().map(|()| done(py)),
            Ok(Ok(true)) => Ok(done(py)),
            Ok(Ok(false)) => {
                let waits = self.log_slowly(event, bound)?;
                own_code::take().map(|()| waits)
            }
            Ok(Err(error)) => own_code::take().and(Err(error)),
            Err(_) => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                self.logger.reject();
                Ok(done(py))
            }
        }
    }

    /// Whether it is settled: kept, dropped by the strategy, or no event at all.
    #[inline]
    fn try_log(&self, event: &Bound<'_, PyAny>, bound: Option<&Context>) -> PyResult<bool> {
        let (span, current) = (span::context(event.py()), context::current(event.py()));
        let contexts = [span.as_ref(), bound, current.as_ref().map(Py::get)];
        let logged = with_draft(event, contexts, |draft| {
            if self.strict {
                refuse_odd(draft)?;
            }
            let settled = self.logger.try_log(draft).is_some();
            if draft.is_odd() && settled {
                self.warn_of(event, draft);
            }
            Ok(settled)
        });
        match logged {
            Ok(settled) => settled,
            Err(_) => {
                self.logger.reject();
                Ok(true)
            }
        }
    }

    /// Counts an event that was odd, and says once of each kind what was.
    #[cold]
    fn warn_of(&self, event: &Bound<'_, PyAny>, draft: &Draft<'_, '_>) {
        self.misread.fetch_add(1, Ordering::Relaxed);
        // Of a `SafetyEvent` it was said where it was made.
        if !event.is_instance_of::<SafetyEvent>() {
            draft.warn_of_misspelt();
        }
        let mut remarks = draft.remarks();
        remarks.retain(|remark| !matches!(remark, Remark::MisspeltField { .. }));
        self.kinds.warn(event, remarks);
    }

    /// The buffer is full, and the strategy is to wait.
    #[cold]
    fn log_slowly(&self, event: &Bound<'_, PyAny>, bound: Option<&Context>) -> PyResult<Py<PyAny>> {
        let py = event.py();
        let (span, current) = (span::context(py), context::current(py));
        let contexts = [span.as_ref(), bound, current.as_ref().map(Py::get)];
        let encode = || {
            with_draft(event, contexts, |draft| {
                let payload = Payload::of(draft);
                if draft.is_odd() {
                    self.warn_of(event, draft);
                }
                payload
            })
        };
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
            || self.forks.load(Ordering::Relaxed) != process::forks()
    }

    /// Starts it, or gives a forked child's the threads of Python's that it needs.
    #[cold]
    pub(crate) fn wake_up(&self, py: Python<'_>) {
        let _inside = Inside::enter(py);
        let forks = process::forks();
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

/// Refuses an event that has anything odd about it, before it is logged.
///
/// # Errors
/// Says what.
#[cold]
fn refuse_odd(draft: &Draft<'_, '_>) -> PyResult<()> {
    // What is odd about categories and metadata is known once they are encoded.
    let _ = Payload::of(draft);
    let remarks = draft.remarks();
    if remarks.is_empty() {
        return Ok(());
    }
    let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
    let text = format!("a strict logger refuses this event: {}", remarks.join("; "));
    Err(PyValueError::new_err(text))
}
