//! The end of the interpreter, and threads that are in native code when it comes.
//!
//! Up to 3.13 an interpreter that goes away ends each other thread in the middle of whatever it
//! does, as soon as that wants to run Python again, by unwinding its stack. Frames of Rust's can't be
//! unwound so: the process aborts. So before the end this gate is closed: threads that have called
//! Python's code from native code are waited for, and others are held where they would.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

static CLOSED: AtomicBool = AtomicBool::new(false);
/// The thread that ends the interpreter, and lives on.
static CLOSER: Mutex<Option<ThreadId>> = Mutex::new(None);
/// How many threads have called Python's code from native code, and are to come back.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// How long a thread is held. An interpreter that is still there then does not end: somebody has
/// called the exit handlers by hand.
const HELD: Duration = Duration::from_secs(5);
const HELD_STEP: Duration = Duration::from_millis(250);

/// Held while code of Python's may run below native code; `log` itself needs it nowhere else.
#[derive(Debug)]
pub(crate) struct Inside(());

impl Inside {
    /// Goes in; where the gate is closed, the thread ends here with its process.
    pub(crate) fn enter(py: Python<'_>) -> Self {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        if depth == 0 {
            INSIDE.fetch_add(1, Ordering::SeqCst);
            if must_leave() {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                hold(py);
                INSIDE.fetch_add(1, Ordering::SeqCst);
            }
        }
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let depth = DEPTH.get().saturating_sub(1);
        DEPTH.set(depth);
        if depth == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cold]
fn hold(py: Python<'_>) {
    let until = Instant::now() + HELD;
    while CLOSED.load(Ordering::SeqCst) && Instant::now() < until {
        // Coming back from here, unlike from Python's code, is made safe by PyO3.
        py.detach(|| thread::sleep(HELD_STEP));
    }
    CLOSED.store(false, Ordering::SeqCst);
}

fn closer() -> Option<ThreadId> {
    *CLOSER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this thread, having been called by native code, should return to it now: it may soon not
/// be able to any more.
#[pyfunction]
pub(crate) fn must_leave() -> bool {
    CLOSED.load(Ordering::SeqCst) && closer() != Some(thread::current().id())
}

/// Closes the gate; says how many threads are still to come back.
#[pyfunction]
pub(crate) fn close_gate() -> usize {
    *CLOSER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    CLOSED.store(true, Ordering::SeqCst);
    // This thread may be in there itself, if it is native code that ends the process.
    INSIDE.load(Ordering::SeqCst).saturating_sub(usize::from(DEPTH.get() > 0))
}

/// In a forked child: there is only this thread.
pub(crate) fn after_fork() {
    CLOSED.store(false, Ordering::SeqCst);
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
}
