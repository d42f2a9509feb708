//! Events of the app's own making: a mapping, a dataclass, anything with `to_dict()`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use smallvec::SmallVec;

use crate::field::{self, Slots};
use crate::{raw, value};

/// One as it was found: values of the 17 fields, all others, and the order of both.
pub(crate) struct Foreign<'py> {
    pub(crate) slots: Slots,
    pub(crate) extras: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    /// By position: the number of a field, or [`EXTRA`].
    pub(crate) order: Order,
}

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
        Self { slots: Slots::new(), extras: Vec::new(), order: Order::new() }
    }

    /// Reads `object`, once.
    ///
    /// # Errors
    /// If it is nothing of the kind, or its own code raises.
    pub(crate) fn read(&mut self, object: &Bound<'py, PyAny>) -> PyResult<()> {
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
            let given = method.call0()?;
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
    value::copied(object).ok_or_else(|| {
        PyTypeError::new_err("no safety event: log a SafetyEvent, a mapping, a dataclass or an object with to_dict()")
    })
}
