//! Any value of Python's into a place of the codec's, and back.

use namel3ss_safety::{
    ValueRef,
    internal::codec::{Entries, Items, Slot},
};
use pyo3::PyTypeInfo as _;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};

use crate::gate::Inside;
use crate::{own_code, text};

/// Writes one value: JSON's kinds as they are, tuples and sets as lists, mappings as objects, and
/// anything else as its `str()`.
pub(crate) fn write(slot: Slot<'_, '_>, value: &Bound<'_, PyAny>) {
    if let Ok(text) = value.cast::<PyString>() {
        slot.text(&text::of_str(text));
    } else if let Ok(b) = value.cast::<PyBool>() {
        slot.bool(b.is_true());
    } else if let Ok(number) = value.cast::<PyInt>() {
        int(slot, number);
    } else if let Ok(number) = value.cast::<PyFloat>() {
        slot.float(number.value());
    } else if value.is_none() {
        // A place that nothing is written to is null.
    } else if let Ok(entries) = value.cast::<PyDict>() {
        slot.object(|into| dict(into, entries));
    } else if let Ok(items) = value.cast::<PyList>() {
        slot.array(|into| list(into, items.iter()));
    } else if let Ok(items) = value.cast::<PyTuple>() {
        slot.array(|into| list(into, items.iter()));
    } else {
        other(slot, value);
    }
}

fn int(slot: Slot<'_, '_>, number: &Bound<'_, PyInt>) {
    if let Ok(n) = number.extract::<i64>() {
        slot.int(n);
    } else if let Ok(n) = number.extract::<u64>() {
        slot.uint(n);
    } else {
        let _inside = Inside::enter(number.py());
        match own_code::run(number.py(), || number.str()) {
            // An int of a class of somebody's own may say anything.
            Ok(digits) => slot.number(&text::of_str(&digits)),
            // Python writes out no more than 4,300 digits.
            Err(_) => {
                let hex = number.call_method1("__format__", ("#x",));
                slot.text(&hex.map_or_else(
                    |_| "a huge number".into(),
                    |hex| text::of_any(&hex).into_owned(),
                ));
            }
        }
    }
}

#[cold]
fn other(slot: Slot<'_, '_>, value: &Bound<'_, PyAny>) {
    let _inside = Inside::enter(value.py());
    if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        // As a list of its own: nobody can change it meanwhile.
        if let Ok(items) = PyList::type_object(value.py()).call1((value,))
            && let Ok(items) = items.cast::<PyList>()
        {
            return slot.array(|into| list(into, items.iter()));
        }
    }
    if let Some(inner) = text::enum_value(value) {
        return if text::enum_value(&inner).is_some() {
            slot.text(&text::of_any(value));
        } else {
            write(slot, &inner);
        };
    }
    if let Some(entries) = copied(value).or_else(|| dumped(value)) {
        return slot.object(|into| dict(into, &entries));
    }
    if let Some(plain) = unboxed(value) {
        return write(slot, &plain);
    }
    slot.text(&text::of_any(value));
}

/// A mapping that is no `dict`, as one.
pub(crate) fn copied<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // By hand: a cast tells stderr of an object whose class can't even be asked for.
    let py = value.py();
    let class = MAPPING.import(py, "collections.abc", "Mapping").ok()?;
    if !value.is_instance(class).ok()? {
        return None;
    }
    let entries = PyDict::new(py);
    own_code::run(py, || entries.as_any().call_method1(pyo3::intern!(py, "update"), (value,)))
        .ok()?;
    Some(entries)
}

/// The fields of a pydantic model, or of what else has `model_dump`.
pub(crate) fn dumped<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let name = pyo3::intern!(value.py(), "model_dump");
    // Asked of the class: a mock has every attribute.
    if !value.get_type().hasattr(name).unwrap_or(false) {
        return None;
    }
    let fields = own_code::run(value.py(), || value.call_method0(name));
    fields.ok()?.cast_into::<PyDict>().ok()
}

/// The most bytes of an array that are looked at: far more than an event can keep.
const ARRAY_BYTES_MAX: usize = 4 << 20;

/// A number, text or array of numpy's, or of what else has a `dtype` and a `tolist`, as Python's own.
pub(crate) fn unboxed<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = value.py();
    let class = value.get_type();
    let has = |name| class.hasattr(name).unwrap_or(false);
    if !has(pyo3::intern!(py, "dtype")) || !has(pyo3::intern!(py, "tolist")) {
        return None;
    }
    let bytes: Option<usize> = value.getattr("nbytes").ok().and_then(|n| n.extract().ok());
    // Of moments numpy makes numbers without a unit.
    let kind = value.getattr("dtype").and_then(|dtype| dtype.getattr("kind"));
    let is_moment = kind.is_ok_and(|kind| matches!(&*text::of_any(&kind), "M" | "m"));
    if is_moment || bytes.is_some_and(|bytes| bytes > ARRAY_BYTES_MAX) {
        return None;
    }
    let plain = own_code::run(py, || value.call_method0(pyo3::intern!(py, "tolist"))).ok()?;
    (is_plain(&plain) || plain.is_exact_instance_of::<PyList>()).then_some(plain)
}

static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Writes the entries of a `dict`, in its order.
pub(crate) fn dict(into: &mut Entries<'_, '_>, entries: &Bound<'_, PyDict>) {
    // Asking an object for its text runs code, which may change the very dict that is being read.
    let plain = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        key.is_exact_instance_of::<PyString>() && is_plain(&value)
    };
    if entries.iter().all(plain) {
        each(into, entries);
    } else if let Ok(copy) = entries.copy() {
        each(into, &copy);
    }
}

fn each(into: &mut Entries<'_, '_>, entries: &Bound<'_, PyDict>) {
    for (key, value) in entries.iter() {
        if !entry(into, &text::of_any(&key), &value) {
            break;
        }
    }
}

/// Writes one entry; false when no more are taken.
pub(crate) fn entry(into: &mut Entries<'_, '_>, key: &str, value: &Bound<'_, PyAny>) -> bool {
    into.entry(key, |slot| write(slot, value))
}

/// Whether no code of anybody's runs when it is written.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_none()
}

fn list<'py>(into: &mut Items<'_, '_>, items: impl Iterator<Item = Bound<'py, PyAny>>) {
    for item in items {
        if !into.item(|slot| write(slot, &item)) {
            break;
        }
    }
}

/// The value as Python's own.
pub(crate) fn read<'py>(py: Python<'py>, value: ValueRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        ValueRef::Null => py.None().into_bound(py),
        ValueRef::Bool(b) => PyBool::new(py, b).to_owned().into_any(),
        ValueRef::Int(n) => n.into_pyobject(py)?.into_any(),
        ValueRef::UInt(n) => n.into_pyobject(py)?.into_any(),
        ValueRef::Float(n) => PyFloat::new(py, n).into_any(),
        ValueRef::Number(digits) => number(py, digits)?,
        ValueRef::String(text) => PyString::new(py, text).into_any(),
        ValueRef::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(read(py, item)?)?;
            }
            list.into_any()
        }
        ValueRef::Object(entries) => object(py, entries)?.into_any(),
    })
}

/// A number beyond 64 bits.
fn number<'py>(py: Python<'py>, digits: &str) -> PyResult<Bound<'py, PyAny>> {
    let text = PyString::new(py, digits);
    let whole = PyInt::type_object(py).call1((&text,));
    whole.or_else(|_| PyFloat::type_object(py).call1((&text,))).or_else(|_| Ok(text.into_any()))
}

/// The entries as a `dict`.
pub(crate) fn object<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a str, ValueRef<'a>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in entries {
        dict.set_item(key, read(py, value)?)?;
    }
    Ok(dict)
}
