//! What the package warns of: mistakes in how it is used, each kind once. Python's side takes them
//! and tells `logging`, from a thread of its own: a handler may log events itself.
//!
//! The locks here are held for moments by threads that are attached to the interpreter and do not
//! detach meanwhile, so a fork, which such a thread makes too, never finds one held.

use std::collections::{HashSet, VecDeque};
use std::sync::{LazyLock, Mutex, PoisonError};

use namel3ss_safety::parse::Remark;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::gate::Inside;
use crate::sink::Told;
use crate::text;

/// How many warnings wait at most; later ones are left out.
const WAITING_MAX: usize = 50;
/// How many kinds are told at most, of each origin.
const KINDS_MAX: usize = 1000;

static WAITING: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
/// Misspelt names, and where each was written.
static SITES: LazyLock<Mutex<HashSet<(String, String)>>> = LazyLock::new(Mutex::default);

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

/// Names that are nearly a field's, with the field.
pub(crate) type Misspelt = Vec<(String, &'static str)>;

/// Warns of misspelt names, each once for the line of the program that uses it.
#[cold]
pub(crate) fn warn_of_misspelt(py: Python<'_>, misspelt: &Misspelt) {
    let site = call_site(py);
    for (key, field) in misspelt {
        let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
        if sites.len() < KINDS_MAX && sites.insert((site.clone(), key.clone())) {
            let remark = Remark::MisspeltField { key: key.clone(), field };
            warn(format!("a safety event made at {site}: {remark}"));
        }
    }
}

/// The kinds of remarks that one logger has warned of.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Mutex<HashSet<Remark>>);

impl Kinds {
    /// Warns of those that are new.
    pub(crate) fn warn(&self, event: &Bound<'_, PyAny>, remarks: Vec<Remark>) {
        for remark in remarks {
            let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kinds.len() >= KINDS_MAX || !kinds.insert(remark.clone()) {
                continue;
            }
            drop(kinds);
            let class = event.get_type().qualname();
            let class = class.map_or("object".into(), |name| text::of_str(&name).into_owned());
            let site = call_site(event.py());
            warn(format!("a safety event ({class}) logged at {site}: {remark}; said once"));
        }
    }
}

/// The file and line of the program that called this package, or `logging` on its way here.
fn call_site(py: Python<'_>) -> String {
    let _inside = Inside::enter(py);
    let find = || -> PyResult<String> {
        let mut frame = py.import("sys")?.getattr("_getframe")?.call0()?;
        loop {
            let module = frame.getattr("f_globals")?.get_item("__name__");
            let module = module.and_then(|name| Ok(name.cast_into::<PyString>()?));
            let module = module.map_or_else(|_| String::new(), |name| name.to_string());
            let next = frame.getattr("f_back")?;
            let is_between = module == "logging" || module.starts_with("namel3ss.safety");
            if !is_between || next.is_none() {
                let file = frame.getattr("f_code")?.getattr("co_filename")?;
                return Ok(format!("{}:{}", text::of_any(&file), frame.getattr("f_lineno")?));
            }
            frame = next;
        }
    };
    find().unwrap_or_else(|_| "an unknown place".to_owned())
}
