//! Values of single fields: a text, a number, an action.

use std::borrow::Cow;

use namel3ss_safety::internal::parse::{self, ActionWord};
use namel3ss_safety::{EventId, SafetyAction, Timestamp};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyList, PySet, PyString, PyTuple};

use crate::gate::Inside;
use crate::{field, text, value};

/// There is no action.
pub(crate) const NO_ACTION: u32 = 1 << 20;
/// The action says that no check ran.
pub(crate) const NO_DECISION: u32 = 1 << 21;
/// The action was not enforced; nothing odd.
pub(crate) const MONITORED: u32 = 1 << 22;
/// When the event was made, or now where nobody looked at the clock then.
#[cold]
pub(crate) fn or_now(made: Timestamp) -> Timestamp {
    if made == Timestamp::from_micros(0) { Timestamp::now() } else { made }
}

/// An id in place of one that can't be read.
#[cold]
pub(crate) fn new_event_id() -> Cow<'static, str> {
    let id = EventId::new(Timestamp::now(), fastrand::u128(..));
    Cow::Owned(id.write(&mut [0; 36]).to_owned())
}

/// The text of what is no [plain](text::plain) one; `None` for a list or a mapping, which no text field
/// holds.
#[cold]
pub(crate) fn other_text<'a>(value: &'a Bound<'_, PyAny>) -> Option<Cow<'a, str>> {
    if let Ok(text) = value.cast::<PyString>() {
        return Some(text::of_str(text));
    }
    let is_group = value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>();
    if is_group {
        return None;
    }
    let _inside = Inside::enter(value.py());
    let is_mapping = value::copied(value).is_some();
    (!is_mapping).then(|| text::of_any(value))
}

#[inline]
pub(crate) fn known_severity(word: Cow<'_, str>) -> Cow<'_, str> {
    match word {
        Cow::Borrowed(word) => Cow::Borrowed(parse::severity(word)),
        Cow::Owned(word) => match parse::severity(&word) {
            known if known == word => Cow::Owned(word),
            known => Cow::Owned(known.to_owned()),
        },
    }
}

/// The action that `value` names, and into `odd` what is odd about it.
#[inline]
pub(crate) fn action(value: &Bound<'_, PyAny>, odd: &mut u32) -> SafetyAction {
    let word = text::of_any(value);
    match parse::action(&word) {
        ActionWord::Decided(action) => action,
        other => other_action(value, &word, other, odd),
    }
}

#[cold]
fn other_action(
    value: &Bound<'_, PyAny>,
    word: &str,
    read: ActionWord,
    odd: &mut u32,
) -> SafetyAction {
    let read = match read {
        // An enum of the app's own whose values are numbers.
        ActionWord::Unknown => text::enum_name(value).map_or(read, |name| parse::action(&name)),
        read => read,
    };
    *odd |= match read {
        ActionWord::Decided(_) => 0,
        ActionWord::Monitored(_) => MONITORED,
        ActionWord::NoDecision => NO_DECISION | 1 << field::ACTION,
        ActionWord::Unknown if word.trim().is_empty() => NO_ACTION | 1 << field::ACTION,
        ActionWord::Unknown => 1 << field::ACTION,
    };
    read.action()
}

/// The action whose word is nearly `word`.
pub(crate) fn near_action(word: &str) -> Option<&'static str> {
    let words = SafetyAction::ALL.iter().map(|action| action.as_str());
    namel3ss_safety::internal::nearest::nearest(word.trim(), words)
}

/// The action that a value names by the table of words, and what it is called there; `None` where it
/// names none.
#[pyfunction]
pub(crate) fn action_of(value: &Bound<'_, PyAny>) -> Option<&'static str> {
    if value.is_none() {
        return None;
    }
    let mut odd = 0;
    let action = action(value, &mut odd);
    (odd & !MONITORED == 0).then(|| action.as_str())
}

/// A number, or what makes one; texts as well, as CSV files hold them.
#[inline]
pub(crate) fn float(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(number) = value.cast::<PyFloat>() {
        return Some(number.value());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text::of_str(text).trim().parse().ok();
    }
    if value.is_instance_of::<PyBool>() {
        return None;
    }
    let _inside = Inside::enter(value.py());
    value.extract().ok()
}
