//! The names of the 17 fields as Python's own interned texts, and which one a name is.

use namel3ss_safety::FIELDS;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// How many fields an event has.
pub(crate) const COUNT: usize = FIELDS.len();

pub(crate) const EVENT_ID: usize = 0;
pub(crate) const TIMESTAMP: usize = 1;
/// The first of the eight optional texts.
pub(crate) const TEXTS: usize = 2;
pub(crate) const DIRECTION: usize = 10;
pub(crate) const ACTION: usize = 11;
pub(crate) const CATEGORIES: usize = 12;
pub(crate) const SEVERITY: usize = 13;
pub(crate) const CONFIDENCE: usize = 14;
pub(crate) const LATENCY_MS: usize = 15;
pub(crate) const METADATA: usize = 16;

/// One value, or none, for each field.
pub(crate) type Slots = [Option<Py<PyAny>>; COUNT];

/// No field has a value.
pub(crate) fn no_slots() -> Slots {
    [const { None }; COUNT]
}

static NAMES: PyOnceLock<[Py<PyString>; COUNT]> = PyOnceLock::new();

/// The fields' names.
pub(crate) fn names(py: Python<'_>) -> &[Py<PyString>; COUNT] {
    NAMES.get_or_init(py, || FIELDS.map(|name| PyString::intern(py, name).unbind()))
}

/// Which field `name` names.
#[inline]
pub(crate) fn index_of(name: &Bound<'_, PyAny>) -> Option<usize> {
    // Names in source code are interned: most are found by where they are.
    let names = names(name.py());
    names.iter().position(|known| known.is(name)).or_else(|| by_text(name))
}

#[cold]
fn by_text(name: &Bound<'_, PyAny>) -> Option<usize> {
    let name = name.cast::<PyString>().ok()?.to_str().ok()?;
    FIELDS.iter().position(|known| *known == name)
}
