//! What the package warns of: mistakes in how it is used, each kind once. Python's side takes them
//! and tells `logging`, from a thread of its own: a handler may log events itself.
//!
//! The locks here are held for moments by threads that are attached to the interpreter and do not
//! detach meanwhile, so a fork, which such a thread makes too, never finds one held.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

/// What Python's logging is told: level, kind, text, how often.
pub(crate) type Told = (&'static str, &'static str, String, u64);

/// How many warnings wait at most; later ones are left out.
const WAITING_MAX: usize = 50;

static WAITING: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Says something to `logging`, once it is asked for.
#[pyfunction]
pub(crate) fn warn(text: String) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() < WAITING_MAX {
        waiting.push_back(text);
    }
}

/// Takes what waits to be said, as notices.
#[pyfunction]
pub(crate) fn take_warnings() -> Vec<Told> {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.drain(..).map(|text| ("warning", "usage", text, 1)).collect()
}
