//! An event as it is about to be encoded: what the app's objects say, read where they are, with
//! every field brought to what the record knows.
//!
//! Nothing is refused. An action or a direction that is none is recorded as `alert` or `input`, and
//! a number that is none as its default; what was said instead stands in the metadata, under the
//! field's name.

use std::borrow::Cow;
use std::str::FromStr;

use namel3ss_safety::codec::{Entries, Head, Source, Texts};
use namel3ss_safety::{Direction, FIELDS, SafetyAction, Timestamp};
use pyo3::PyTypeInfo as _;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyFrozenSet, PyList, PySet, PyString, PyTuple};

use crate::context::Context;
use crate::field::{self, Slots};
use crate::gate::Inside;
use crate::moment::{self, Zone};
use crate::{text, value};

/// What is used where the app's object gives no value.
pub(crate) struct Defaults<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) timestamp: Timestamp,
    /// From the widest to the nearest.
    pub(crate) contexts: [Option<&'a Context>; 2],
}

/// See the module.
pub(crate) struct Draft<'a, 'py> {
    event_id: Cow<'a, str>,
    timestamp: Timestamp,
    texts: [Option<Cow<'a, str>>; 8],
    direction: Direction,
    action: SafetyAction,
    severity: Cow<'a, str>,
    confidence: f64,
    latency_ms: f64,
    categories: Option<&'a Bound<'py, PyAny>>,
    metadata: Option<&'a Bound<'py, PyAny>>,
    contexts: [Option<&'a Context>; 2],
    extras: &'a [(Bound<'py, PyAny>, Bound<'py, PyAny>)],
    /// Fields whose value the record could not take as it was.
    odd: u32,
    slots: &'a Slots,
    py: Python<'py>,
    pub(crate) zone: Option<Zone>,
    tail: &'a [u8],
}

impl<'a, 'py> Draft<'a, 'py> {
    /// Reads the fields.
    #[inline]
    pub(crate) fn new(
        py: Python<'py>,
        slots: &'a Slots,
        defaults: &Defaults<'a>,
        extras: &'a [(Bound<'py, PyAny>, Bound<'py, PyAny>)],
    ) -> Self {
        let mut odd = 0;
        let given = |at: usize| -> Option<&'a Bound<'py, PyAny>> {
            slots[at].as_ref().map(|value| value.bind(py)).filter(|value| !value.is_none())
        };
        let event_id =
            given(field::EVENT_ID).map_or(Cow::Borrowed(defaults.event_id), text::of_any);
        let (timestamp, zone) = match given(field::TIMESTAMP) {
            None => (defaults.timestamp, None),
            Some(value) => moment::of_any(value).unwrap_or_else(|| {
                odd |= 1 << field::TIMESTAMP;
                (defaults.timestamp, None)
            }),
        };
        let mut texts = [const { None }; 8];
        for (i, place) in texts.iter_mut().enumerate() {
            *place = given(field::TEXTS + i).map(text::of_any);
        }
        for context in defaults.contexts.into_iter().flatten().rev() {
            for (place, text) in texts.iter_mut().zip(context.texts()) {
                if place.is_none() {
                    *place = text.as_deref().map(Cow::Borrowed);
                }
            }
        }
        let mut number = |at: usize, default: f64| match given(at) {
            None => default,
            Some(value) => float(value).unwrap_or_else(|| {
                odd |= 1 << at;
                default
            }),
        };
        let confidence = number(field::CONFIDENCE, 1.0);
        let latency_ms = number(field::LATENCY_MS, 0.0);
        let direction = given(field::DIRECTION).map_or(Direction::Input, |value| {
            word(value).unwrap_or_else(|| {
                odd |= 1 << field::DIRECTION;
                Direction::Input
            })
        });
        let action = given(field::ACTION).map_or(SafetyAction::Allow, |value| {
            word(value).unwrap_or_else(|| {
                odd |= 1 << field::ACTION;
                SafetyAction::Alert
            })
        });
        Self {
            event_id,
            timestamp,
            texts,
            direction,
            action,
            severity: given(field::SEVERITY).map_or(Cow::Borrowed("none"), text::of_any),
            confidence,
            latency_ms,
            categories: given(field::CATEGORIES),
            metadata: given(field::METADATA),
            contexts: defaults.contexts,
            extras,
            odd,
            slots,
            py,
            zone,
            tail: &[],
        }
    }

    /// With bytes of the host's own behind it.
    pub(crate) fn set_tail(&mut self, tail: &'a [u8]) {
        self.tail = tail;
    }

    /// Whether the field at `at` will read back as what was given.
    pub(crate) fn is_as_given(&self, at: usize) -> bool {
        if self.odd >> at & 1 == 1 {
            return false;
        }
        let Some(given) = &self.slots[at] else { return true };
        let given = given.bind(self.py);
        let same = |text: &str| {
            given.cast::<PyString>().is_ok_and(|given| given.to_str().is_ok_and(|g| g == text))
        };
        match at {
            field::TIMESTAMP => self.zone.is_some(),
            field::DIRECTION => same(self.direction.as_str()),
            field::ACTION => same(self.action.as_str()),
            // What is borrowed is the app's own text, as it is.
            field::SEVERITY => matches!(self.severity, Cow::Borrowed(_)) && !given.is_none(),
            field::EVENT_ID => matches!(self.event_id, Cow::Borrowed(_)) && !given.is_none(),
            field::CONFIDENCE | field::LATENCY_MS => given.is_instance_of::<PyFloat>(),
            field::CATEGORIES => given
                .cast::<PyList>()
                .is_ok_and(|list| list.iter().all(|item| item.is_exact_instance_of::<PyString>())),
            field::METADATA => given.is_exact_instance_of::<PyDict>(),
            text => match &self.texts[text - field::TEXTS] {
                Some(text) => matches!(text, Cow::Borrowed(_)) && !given.is_none(),
                None => true,
            },
        }
    }
}

/// A number, or what makes one; texts as well, as CSV files hold them.
#[inline]
fn float(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(number) = value.cast::<PyFloat>() {
        return Some(number.value());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text::of_str(text).trim().parse().ok();
    }
    let _inside = Inside::enter(value.py());
    value.extract().ok()
}

#[inline]
fn word<T: FromStr>(value: &Bound<'_, PyAny>) -> Option<T> {
    let word = text::of_any(value);
    word.parse().ok().or_else(|| word.trim().to_ascii_lowercase().parse().ok())
}

impl Source for Draft<'_, '_> {
    #[inline]
    fn head(&self) -> Head<'_> {
        let mut texts = [None; 8];
        for (place, text) in texts.iter_mut().zip(&self.texts) {
            *place = text.as_deref();
        }
        Head {
            event_id: &self.event_id,
            timestamp: self.timestamp,
            texts,
            direction: self.direction,
            action: self.action,
            severity: &self.severity,
            confidence: self.confidence,
            latency_ms: self.latency_ms,
        }
    }

    #[inline]
    fn categories(&self, into: &mut Texts<'_, '_>) {
        let Some(given) = self.categories else { return };
        if let Ok(list) = given.cast::<PyList>() {
            let _ = list.iter().all(|item| into.push(&text::of_any(&item)));
        } else {
            other_categories(given, into);
        }
    }

    #[inline]
    fn metadata(&self, into: &mut Entries<'_, '_>) {
        if let Some(given) = self.metadata {
            match given.cast::<PyDict>() {
                Ok(entries) => value::dict(into, entries),
                Err(_) => self.other_metadata(given, into),
            }
        }
        for (key, item) in self.extras {
            let key = text::of_any(key);
            if !self.has_metadata(&key) && !value::entry(into, &key, item) {
                break;
            }
        }
        if self.odd != 0 {
            self.write_odd(into);
        }
        let [bound, running] = self.contexts;
        for (context, nearer) in [(bound, running), (running, None)] {
            for (key, item) in context.into_iter().flat_map(Context::extras) {
                let taken = nearer.is_some_and(|nearer| nearer.extras().contains_key(key));
                if !taken && !self.has_metadata(key) {
                    into.entry(key, |slot| slot.json(item));
                }
            }
        }
    }

    fn tail(&self) -> &[u8] {
        self.tail
    }
}

impl Draft<'_, '_> {
    /// Whether the metadata has an entry of that name already.
    pub(crate) fn has_metadata(&self, key: &str) -> bool {
        let entries = self.metadata.and_then(|given| given.cast::<PyDict>().ok());
        entries.is_some_and(|entries| entries.contains(key).unwrap_or(false))
    }

    #[cold]
    fn other_metadata(&self, given: &Bound<'_, PyAny>, into: &mut Entries<'_, '_>) {
        let _inside = Inside::enter(given.py());
        if let Some(entries) = value::copied(given) {
            value::dict(into, &entries);
        } else if let Some(entries) = json_object(given) {
            // As CSV files and SQL columns hold it.
            for (key, item) in &entries {
                into.entry(key, |slot| slot.json(item));
            }
        } else {
            value::entry(into, FIELDS[field::METADATA], given);
        }
    }

    #[cold]
    fn write_odd(&self, into: &mut Entries<'_, '_>) {
        for at in (0..field::COUNT).filter(|at| self.odd >> at & 1 == 1) {
            if let Some(given) = &self.slots[at] {
                value::entry(into, FIELDS[at], given.bind(self.py));
            }
        }
    }
}

fn json_object(given: &Bound<'_, PyAny>) -> Option<serde_json::Map<String, serde_json::Value>> {
    let text = given.cast::<PyString>().ok()?;
    let text = text::of_str(text);
    if text.is_empty() {
        return Some(serde_json::Map::new());
    }
    serde_json::from_str(&text).ok()
}

/// One text, a tuple or set of them, or a text that holds a list as JSON, as CSV files do.
#[cold]
fn other_categories(given: &Bound<'_, PyAny>, into: &mut Texts<'_, '_>) {
    let _inside = Inside::enter(given.py());
    if let Ok(text) = given.cast::<PyString>() {
        let text = text::of_str(text);
        let list = || serde_json::from_str::<Vec<String>>(&text).ok();
        match text.starts_with('[').then(list).flatten() {
            Some(list) => {
                let _ = list.iter().all(|item| into.push(item));
            }
            None if text.is_empty() => {}
            None => {
                into.push(&text);
            }
        }
        return;
    }
    let is_group = given.is_instance_of::<PyTuple>()
        || given.is_instance_of::<PySet>()
        || given.is_instance_of::<PyFrozenSet>();
    let items = if is_group { PyList::type_object(given.py()).call1((given,)).ok() } else { None };
    match items.as_ref().and_then(|items| items.cast::<PyList>().ok()) {
        Some(items) => {
            let _ = items.iter().all(|item| into.push(&text::of_any(&item)));
        }
        None => {
            into.push(&text::of_any(given));
        }
    }
}
