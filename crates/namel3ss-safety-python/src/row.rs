//! Rows as Python's own dicts: what Python adapters and `to_dict()` give.

use namel3ss_safety::internal::codec::{self, Payload};
use namel3ss_safety::{EventRef, FIELDS};
use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::{field, value};

/// The 17 fields of an encoded event.
pub(crate) fn of_payload<'py>(py: Python<'py>, payload: &Payload) -> PyResult<Bound<'py, PyDict>> {
    let event = codec::decode(payload.bytes());
    of_event(py, &event.map_err(|error| PyValueError::new_err(error.to_string()))?)
}

/// The 17 fields.
pub(crate) fn of_event<'py>(py: Python<'py>, event: &EventRef<'_>) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    for (at, name) in field::names(py).iter().enumerate() {
        row.set_item(name.bind(py), field(py, event, at)?)?;
    }
    Ok(row)
}

/// The field of number `at`.
pub(crate) fn field<'py>(
    py: Python<'py>,
    event: &EventRef<'_>,
    at: usize,
) -> PyResult<Bound<'py, PyAny>> {
    match at {
        field::EVENT_ID => event.event_id.into_bound_py_any(py),
        field::TIMESTAMP => event.timestamp.to_string().into_bound_py_any(py),
        field::DIRECTION => event.direction.as_str().into_bound_py_any(py),
        field::ACTION => event.action.as_str().into_bound_py_any(py),
        field::CATEGORIES => {
            let list = PyList::empty(py);
            for category in event.categories() {
                list.append(category)?;
            }
            Ok(list.into_any())
        }
        field::SEVERITY => event.severity.into_bound_py_any(py),
        field::CONFIDENCE => event.confidence.into_bound_py_any(py),
        field::LATENCY_MS => event.latency_ms.into_bound_py_any(py),
        field::METADATA => Ok(value::object(py, event.metadata())?.into_any()),
        text => match event.texts().get(text.wrapping_sub(field::TEXTS)) {
            Some(text) => text.into_bound_py_any(py),
            None => {
                Err(PyValueError::new_err(format!("no field {at}: there are {}", FIELDS.len())))
            }
        },
    }
}
