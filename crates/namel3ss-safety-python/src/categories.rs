//! Categories: a list of texts, or what else says which ones apply.

use namel3ss_safety::internal::codec::Texts;
use pyo3::PyTypeInfo as _;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple};

use crate::gate::Inside;
use crate::{text, value};

/// Writes a list's texts. False where they don't say all of it: of an object in it they are its
/// kind only.
#[inline]
pub(crate) fn listed_categories(list: &Bound<'_, PyList>, into: &mut Texts<'_, '_>) -> bool {
    let mut fits = true;
    let _ = list.iter().all(|item| match item.cast::<PyString>() {
        Ok(text) => into.push(&text::of_str(text)),
        Err(_) => other_category(&item, into, &mut fits),
    });
    fits
}

#[cold]
fn other_category(item: &Bound<'_, PyAny>, into: &mut Texts<'_, '_>, fits: &mut bool) -> bool {
    if item.is_none() {
        return true;
    }
    if item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>() {
        *fits = false;
        return true;
    }
    let _inside = Inside::enter(item.py());
    let span = match item.cast::<PyDict>() {
        Ok(entries) => Some(entries.clone()),
        Err(_) => value::copied(item).or_else(|| value::dumped(item)),
    };
    let Some(span) = span else { return into.push(&text::of_any(item)) };
    *fits = false;
    let kinds = ["category", "type", "label", "entity_type", "name"];
    let kind = kinds.into_iter().find_map(|key| {
        let kind = span.get_item(key).ok()??;
        let is_text = kind.is_instance_of::<PyString>() || text::enum_value(&kind).is_some();
        is_text.then(|| text::of_any(&kind).into_owned())
    });
    kind.is_none_or(|kind| into.push(&kind))
}

/// One text, a tuple or set of them, a mapping whose true keys they are, or JSON text of such, as CSV
/// files hold them. False where that does not say all of it.
#[cold]
pub(crate) fn other_categories(given: &Bound<'_, PyAny>, into: &mut Texts<'_, '_>) -> bool {
    let py = given.py();
    let _inside = Inside::enter(py);
    if let Ok(text) = given.cast::<PyString>() {
        if text.len().is_ok_and(|chars| chars == 0) {
            return true;
        }
        let begins = |text: &str| text.starts_with(['[', '{']);
        let read = begins(&text::of_str(text)).then(|| {
            let read = py.import("json").ok()?.call_method1("loads", (text,)).ok()?;
            let is_group = read.is_instance_of::<PyList>() || read.is_instance_of::<PyDict>();
            is_group.then_some(read)
        });
        return match read.flatten() {
            Some(read) => group_of_categories(&read, into).unwrap_or(true),
            None => {
                into.push(&text::of_str(text));
                true
            }
        };
    }
    let is_number = given.is_instance_of::<PyBool>()
        || given.is_instance_of::<PyInt>()
        || given.is_instance_of::<PyFloat>();
    if is_number {
        return false;
    }
    group_of_categories(given, into).unwrap_or_else(|| {
        into.push(&text::of_any(given));
        true
    })
}

/// `None` where it is no group of anything.
fn group_of_categories(given: &Bound<'_, PyAny>, into: &mut Texts<'_, '_>) -> Option<bool> {
    if let Ok(list) = given.cast::<PyList>() {
        return Some(listed_categories(list, into));
    }
    let is_group = given.is_instance_of::<PyTuple>()
        || given.is_instance_of::<PySet>()
        || given.is_instance_of::<PyFrozenSet>();
    if is_group {
        let list = PyList::type_object(given.py()).call1((given,)).ok()?;
        return Some(listed_categories(list.cast::<PyList>().ok()?, into));
    }
    let flags = match given.cast::<PyDict>() {
        Ok(flags) => Some(flags.clone()),
        Err(_) => value::copied(given).or_else(|| value::dumped(given)),
    };
    if let Some(flags) = flags {
        let mut fits = true;
        for (key, flag) in flags.iter() {
            let flag = value::unboxed(&flag).unwrap_or(flag);
            match flag.cast::<PyBool>().map(|flag| flag.is_true()) {
                Ok(true) => {
                    into.push(&text::of_any(&key));
                }
                Ok(false) => {}
                Err(_) => fits = false,
            }
        }
        return Some(fits);
    }
    let list = value::unboxed(given)?;
    Some(listed_categories(list.cast::<PyList>().ok()?, into))
}
