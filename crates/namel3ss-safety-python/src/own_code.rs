//! Code of the app's own that runs while its event is read: `__str__`, `to_dict`, `model_dump` and the
//! like. What it raises stays here, but for what a signal handler raised meanwhile (Ctrl-C, a time
//! limit by `SIGALRM`): that is the app's own affair, and is raised once the event is kept.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;

use crate::warning;

/// How deep such code may log events whose own code runs in turn. An object whose `__str__` logs the
/// object twice would make 2^n calls otherwise.
const LEVELS_MAX: u8 = 2;

thread_local! {
    static LEVEL: Cell<u8> = const { Cell::new(0) };
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Whether anything waits to be raised, in any thread.
static ANY_RAISED: AtomicBool = AtomicBool::new(false);
static SAID_TOO_DEEP: AtomicBool = AtomicBool::new(false);

/// Runs such code.
///
/// # Errors
/// What it raises; and where it was called by code of the same kind, too deep.
#[cold]
pub(crate) fn run<T>(py: Python<'_>, code: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let level = LEVEL.get();
    if level >= LEVELS_MAX {
        if !SAID_TOO_DEEP.swap(true, Ordering::Relaxed) {
            let text = "an event's own code (__str__, to_dict) logs events with code of their own: \
                        it is not called below 2 levels, and the type's name is stored instead";
            warning::warn(text.to_owned());
        }
        return Err(PyRecursionError::new_err("an event's own code logs events"));
    }
    LEVEL.set(level + 1);
    let result = code();
    LEVEL.set(level);
    if let Err(error) = &result
        && is_from_a_handler(py, error)
    {
        RAISED.set(Some(error.clone_ref(py)));
        ANY_RAISED.store(true, Ordering::Relaxed);
    }
    result
}

/// Whether [`take`] may find something.
#[inline]
pub(crate) fn has_raised() -> bool {
    ANY_RAISED.load(Ordering::Relaxed)
}

/// What a signal handler raised in this thread, once.
///
/// # Errors
/// That.
#[cold]
pub(crate) fn take() -> PyResult<()> {
    match RAISED.take() {
        Some(error) => {
            ANY_RAISED.store(false, Ordering::Relaxed);
            Err(error)
        }
        None => Ok(()),
    }
}

fn is_from_a_handler(py: Python<'_>, error: &PyErr) -> bool {
    let asked = || -> PyResult<bool> {
        let module = py.import("namel3ss.safety._signals")?;
        // Not every version keeps the traceback with the error.
        let traceback = error.traceback(py);
        module.getattr("is_from_a_handler")?.call1((error.value(py), traceback))?.extract()
    };
    asked().unwrap_or(false)
}
