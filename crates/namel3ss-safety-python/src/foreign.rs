//! Events of the app's own making: a mapping, a dataclass, anything with `to_dict()`.

use namel3ss_safety::FIELDS;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use smallvec::SmallVec;

use crate::field::{self, Slots};
use crate::gate::Inside;
use crate::misuse::Misspelt;
use crate::name::{self, Meaning};
use crate::{own_code, raw, text, value};

/// One as it was found: values of the 17 fields, all others, and the order of both.
pub(crate) struct Foreign<'py> {
    pub(crate) slots: Slots,
    pub(crate) extras: Vec<Entry<'py>>,
    /// Which of the extras are fields in another spelling (`policyName`), whose values are in the
    /// slots.
    pub(crate) respelt: Vec<usize>,
    /// Which names are nearly a field's.
    pub(crate) misspelt: Misspelt,
    /// By position: the number of a field, or [`EXTRA`].
    pub(crate) order: Order,
}

/// A name and its value.
pub(crate) type Entry<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Of as many names as events usually have, without an allocation.
pub(crate) type Order = SmallVec<[u8; 40]>;

/// In [`Foreign::order`]: the next of the extras.
pub(crate) const EXTRA: u8 = 17;

/// Dataclasses that were met, without a `to_dict` of their own, and their fields.
static DATACLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
/// How many are remembered; a program that makes classes all the time has them forgotten.
const DATACLASSES_MAX: usize = 1000;

impl<'py> Foreign<'py> {
    /// Whether the field at `at` has a value.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.slots[at].is_some()
    }

    /// One of which nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            extras: Vec::new(),
            respelt: Vec::new(),
            misspelt: Vec::new(),
            order: Order::new(),
        }
    }

    /// Reads `object`, once.
    ///
    /// # Errors
    /// If it is nothing of the kind, or its own code raises.
    #[inline]
    pub(crate) fn read(&mut self, object: &Bound<'py, PyAny>) -> PyResult<()> {
        self.collect(object)?;
        if !self.extras.is_empty() {
            self.look_at_names();
        }
        Ok(())
    }

    fn look_at_names(&mut self) {
        for (i, (key, value)) in self.extras.iter().enumerate() {
            match name::meaning(key) {
                Meaning::Own => {}
                Meaning::Field(at) if self.slots[at].is_none() => {
                    self.slots[at] = Some(value.clone().unbind());
                    self.respelt.push(i);
                }
                // The field's very name goes first, and this stays an entry of the metadata.
                Meaning::Field(_) => {}
                Meaning::Misspelt(at) => {
                    self.misspelt.push((text::of_any(key).into_owned(), FIELDS[at]));
                }
            }
        }
    }

    fn collect(&mut self, object: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = object.py();
        if let Ok(entries) = object.cast::<PyDict>() {
            self.take(entries, None);
            return Ok(());
        }
        let class = object.get_type();
        let known = DATACLASSES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
        if let Some(fields) = known.get_item(&class)? {
            self.take_dataclass(object, &fields.cast_into::<PyDict>()?)?;
            return Ok(());
        }
        if let Some(method) = object.getattr_opt(pyo3::intern!(py, "to_dict"))? {
            let given = own_code::run(py, || method.call0())?;
            self.take(&as_dict(&given)?, None);
            return Ok(());
        }
        if let Some(fields) = class.getattr_opt(pyo3::intern!(py, "__dataclass_fields__"))? {
            let fields = fields.cast_into::<PyDict>()?;
            if known.len() >= DATACLASSES_MAX {
                known.clear();
            }
            known.set_item(&class, &fields)?;
            self.take_dataclass(object, &fields)?;
            return Ok(());
        }
        self.take(&as_dict(object)?, None);
        Ok(())
    }

    /// All that was found, by name: a field's value under the field's.
    pub(crate) fn into_dict(self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        for (i, (key, value)) in self.extras.iter().enumerate() {
            if !self.respelt.contains(&i) {
                fields.set_item(key, value)?;
            }
        }
        for (value, name) in self.slots.iter().zip(field::names(py)) {
            if let Some(value) = value {
                fields.set_item(name.bind(py), value.bind(py))?;
            }
        }
        Ok(fields)
    }

    fn take(&mut self, entries: &Bound<'py, PyDict>, only: Option<&Bound<'py, PyDict>>) {
        for (key, value) in entries.iter() {
            if only.is_some_and(|only| !only.contains(&key).unwrap_or(false)) {
                continue;
            }
            self.put(key, value);
        }
    }

    #[inline]
    fn put(&mut self, key: Bound<'py, PyAny>, value: Bound<'py, PyAny>) {
        match field::index_of(&key) {
            Some(at) => {
                self.slots[at] = Some(value.unbind());
                // There are 17.
                self.order.push(u8::try_from(at).unwrap_or(EXTRA));
            }
            None => {
                self.extras.push((key, value));
                self.order.push(EXTRA);
            }
        }
    }

    fn take_dataclass(
        &mut self,
        object: &Bound<'py, PyAny>,
        fields: &Bound<'py, PyDict>,
    ) -> PyResult<()> {
        match raw::own_attributes(object) {
            // One look-up instead of seventeen.
            Some(own) if own.len() == fields.len() => self.take(&own, None),
            Some(own) if own.len() > fields.len() => self.take(&own, Some(fields)),
            _ => {
                for key in fields.keys().iter() {
                    let name = key.cast::<pyo3::types::PyString>()?;
                    let value = object.getattr(name)?;
                    self.put(key.clone(), value);
                }
            }
        }
        Ok(())
    }
}

fn as_dict<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(entries) = object.cast::<PyDict>() {
        return Ok(entries.clone());
    }
    value::copied(object).or_else(|| value::dumped(object)).ok_or_else(|| {
        PyTypeError::new_err(
            "no safety event: log a SafetyEvent, a mapping, a dataclass, a pydantic model or an \
             object with to_dict()",
        )
    })
}

/// The names and values of a mapping, a dataclass, a pydantic model or an object with `to_dict()`,
/// by the fields' names where they are fields; `None` for anything else.
#[pyfunction]
pub(crate) fn fields_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let _inside = Inside::enter(object.py());
    let mut found = Foreign::new();
    match found.read(object) {
        Ok(()) => found.into_dict(object.py()).map(Some),
        Err(_) => Ok(None),
    }
}
