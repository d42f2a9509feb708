//! Mistakes in how the package is used, each kind warned of once, with the line of the program that
//! makes it.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use namel3ss_safety::internal::parse::Remark;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::gate::Inside;
use crate::text;
use crate::warning::warn;

/// How many kinds are told at most, of each origin.
const KINDS_MAX: usize = 1000;

/// Misspelt names, and where each was written.
static SITES: LazyLock<Mutex<HashSet<(String, String)>>> = LazyLock::new(Mutex::default);

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
