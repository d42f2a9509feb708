//! The names of the 17 fields as Python's own interned texts, and which one a name is.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use namel3ss_safety::FIELDS;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

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
#[derive(Debug)]
pub(crate) struct Slots([Option<Py<PyAny>>; COUNT]);

impl Slots {
    /// No field has a value.
    #[inline]
    pub(crate) fn new() -> Self {
        Self([const { None }; COUNT])
    }
}

impl Deref for Slots {
    type Target = [Option<Py<PyAny>>; COUNT];

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Slots {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Drop for Slots {
    /// Lets go of all values knowing that the thread is attached, instead of finding out for each.
    #[inline]
    fn drop(&mut self) {
        Python::attach(|py| {
            for value in self.0.iter_mut().filter_map(Option::take) {
                drop(value.into_bound(py));
            }
        });
    }
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

/// Which fields the names of a call name, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Indexes {
    of: [u8; COUNT],
    len: usize,
}

impl Indexes {
    /// One after the other.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.of[..self.len.min(COUNT)].iter().map(|at| usize::from(*at))
    }
}

thread_local! {
    /// The names that this thread's last call came with: a call in a program's text comes with the
    /// same tuple each time.
    static LAST: RefCell<Option<(Py<PyTuple>, Indexes)>> = const { RefCell::new(None) };
}

/// Which fields `names` name; nothing where one is no field's.
#[inline]
pub(crate) fn indexes_of(names: &Bound<'_, PyTuple>) -> Option<Indexes> {
    let known = LAST.with_borrow(|last| {
        let (known, indexes) = last.as_ref()?;
        known.is(names).then_some(*indexes)
    });
    known.or_else(|| learn(names))
}

#[cold]
fn learn(names: &Bound<'_, PyTuple>) -> Option<Indexes> {
    let mut indexes = Indexes { of: [0; COUNT], len: names.len() };
    if indexes.len > COUNT {
        return None;
    }
    for (place, name) in indexes.of.iter_mut().zip(names) {
        *place = u8::try_from(index_of(&name)?).ok()?;
    }
    // Letting go of the former names may run somebody's code: not while they are borrowed.
    drop(LAST.replace(Some((names.clone().unbind(), indexes))));
    Some(indexes)
}

#[cold]
fn by_text(name: &Bound<'_, PyAny>) -> Option<usize> {
    let name = name.cast::<PyString>().ok()?.to_str().ok()?;
    FIELDS.iter().position(|known| *known == name)
}
