//! An event as it is about to be encoded: what the app's objects say, read in place, with every field
//! brought to what the record knows.
//!
//! It reads by the rules of [`namel3ss_safety::internal::parse::object`], which are for JSON. Nothing is refused:
//! what a field can't hold stands in the metadata, under the field's name, and [`Draft::remarks`] says
//! so. **Nothing becomes `allow` by accident**: an action that is missing or unknown is an `alert`.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use namel3ss_safety::internal::codec::{Entries, Head, Source, Texts};
use namel3ss_safety::internal::parse::{self, Remark};
use namel3ss_safety::{Direction, FIELDS, SafetyAction, Timestamp};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString};

use crate::categories::{listed_categories, other_categories};
use crate::context::{Context, Contexts, Values};
use crate::field::{self, Slots};
use crate::foreign::Entry;
use crate::gate::Inside;
use crate::misuse;
use crate::misuse::Misspelt;
use crate::moment::{self, Zone};
use crate::scalar::{self, MONITORED, NO_ACTION, NO_DECISION};
use crate::{text, value};

/// What is used where the app's object gives no value.
pub(crate) struct Defaults<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) timestamp: Timestamp,
    /// `None`: an object without an action is an alert.
    pub(crate) action: Option<SafetyAction>,
    /// From the widest to the nearest.
    pub(crate) contexts: Contexts<'a>,
}

/// What the app's object says besides its fields.
#[derive(Clone, Copy)]
pub(crate) struct Others<'a, 'py> {
    pub(crate) extras: &'a [Entry<'py>],
    /// Which of the extras are left out, since they were read as fields.
    pub(crate) respelt: &'a [usize],
    pub(crate) misspelt: &'a Misspelt,
}

/// Nothing.
pub(crate) const NO_OTHERS: Others<'static, 'static> =
    Others { extras: &[], respelt: &[], misspelt: &Misspelt::new() };

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
    /// The metadata as a dict, where it was given as something else that holds one.
    converted: OnceCell<Option<Bound<'py, PyDict>>>,
    contexts: Contexts<'a>,
    others: Others<'a, 'py>,
    /// A bit for each field whose value the record could not take as it was, and the bits below. Of
    /// the categories that is known after they were encoded.
    odd: Cell<u32>,
    slots: &'a Slots,
    py: Python<'py>,
    pub(crate) zone: Option<Zone>,
    tail: &'a [u8],
}

/// A name is nearly a field's.
const MISSPELT: u32 = 1 << 23;

impl<'a, 'py> Draft<'a, 'py> {
    /// Reads the fields.
    #[inline]
    pub(crate) fn new(
        py: Python<'py>,
        slots: &'a Slots,
        defaults: &Defaults<'a>,
        others: Others<'a, 'py>,
    ) -> Self {
        let mut odd = if others.misspelt.is_empty() { 0 } else { MISSPELT };
        let given = |at: usize| -> Option<&'a Bound<'py, PyAny>> {
            slots[at].as_ref().map(|value| value.bind(py)).filter(|value| !value.is_none())
        };
        let event_id = text_of(given(field::EVENT_ID), field::EVENT_ID, &mut odd);
        let event_id = event_id.unwrap_or_else(|| match given(field::EVENT_ID) {
            None => Cow::Borrowed(defaults.event_id),
            Some(_) if defaults.event_id.is_empty() => scalar::new_event_id(),
            Some(_) => Cow::Borrowed(defaults.event_id),
        });
        let mut texts = [const { None }; 8];
        for (i, place) in texts.iter_mut().enumerate() {
            *place = text_of(given(field::TEXTS + i), field::TEXTS + i, &mut odd);
        }
        let severity = text_of(given(field::SEVERITY), field::SEVERITY, &mut odd);
        let severity = severity.map_or(Cow::Borrowed("none"), scalar::known_severity);
        if defaults.contexts.iter().any(Option::is_some) {
            fill(&mut texts, &defaults.contexts);
        }
        let (timestamp, zone) = match given(field::TIMESTAMP) {
            None => (defaults.timestamp, None),
            Some(value) => moment::of_any(value).unwrap_or_else(|| {
                odd |= 1 << field::TIMESTAMP;
                (scalar::or_now(defaults.timestamp), None)
            }),
        };
        let mut number = |at: usize, default: f64| match given(at) {
            None => default,
            Some(value) => scalar::float(value).unwrap_or_else(|| {
                odd |= 1 << at;
                default
            }),
        };
        let confidence = number(field::CONFIDENCE, 1.0);
        let latency_ms = number(field::LATENCY_MS, 0.0);
        let direction = given(field::DIRECTION).map_or(Direction::Input, |value| {
            parse::direction(&text::of_any(value)).unwrap_or_else(|| {
                odd |= 1 << field::DIRECTION;
                Direction::Input
            })
        });
        let action = match (given(field::ACTION), defaults.action) {
            (Some(value), _) => scalar::action(value, &mut odd),
            (None, Some(action)) if slots[field::ACTION].is_none() => action,
            (None, _) => {
                odd |= NO_ACTION;
                SafetyAction::Alert
            }
        };
        Self {
            event_id,
            timestamp,
            texts,
            direction,
            action,
            severity,
            confidence,
            latency_ms,
            categories: given(field::CATEGORIES),
            metadata: given(field::METADATA),
            converted: OnceCell::new(),
            contexts: defaults.contexts,
            others,
            odd: Cell::new(odd),
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

    /// Whether there is anything to remark; all of it is known after it was encoded.
    #[inline]
    pub(crate) fn is_odd(&self) -> bool {
        self.odd.get() & !MONITORED != 0
    }

    /// What is odd about it.
    #[cold]
    pub(crate) fn remarks(&self) -> Vec<Remark> {
        let odd = self.odd.get();
        let mut remarks = Vec::new();
        if odd & NO_ACTION != 0 {
            remarks.push(Remark::NoAction);
        } else if odd & NO_DECISION != 0 {
            remarks.push(Remark::NoDecision);
        } else if odd >> field::ACTION & 1 == 1 {
            let word = self.slots[field::ACTION].as_ref().map(|value| value.bind(self.py));
            let word = word.map(text::of_any).unwrap_or_default();
            remarks.push(Remark::UnknownAction { near: scalar::near_action(&word) });
        }
        for at in (0..field::COUNT).filter(|at| odd >> at & 1 == 1 && *at != field::ACTION) {
            remarks.push(Remark::Misfit { field: FIELDS[at] });
        }
        for (key, field) in self.others.misspelt {
            remarks.push(Remark::MisspeltField { key: key.clone(), field });
        }
        remarks
    }

    /// Warns of names that are nearly a field's.
    pub(crate) fn warn_of_misspelt(&self) {
        if !self.others.misspelt.is_empty() {
            misuse::warn_of_misspelt(self.py, self.others.misspelt);
        }
    }

    /// Whether the field at `at` will read back as what was given.
    pub(crate) fn is_as_given(&self, at: usize) -> bool {
        if self.odd.get() >> at & 1 == 1 {
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
            field::SEVERITY => same(&self.severity),
            // What is borrowed is the app's own text, as it is.
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

/// The text of a field. Where this is a call of its own, its result is written and then read again in a
/// larger piece, which stalls the processor: 4 ns for each field.
#[inline(always)]
#[expect(clippy::inline_always, reason = "measured")]
fn text_of<'a>(
    given: Option<&'a Bound<'_, PyAny>>,
    at: usize,
    odd: &mut u32,
) -> Option<Cow<'a, str>> {
    let value = given?;
    match text::plain(value) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => scalar::other_text(value).or_else(|| {
            *odd |= 1 << at;
            None
        }),
    }
}

/// Fills texts that are empty: with the contexts' values, the nearest first, then with their
/// defaults.
#[cold]
fn fill<'a>(texts: &mut [Option<Cow<'a, str>>; 8], contexts: &Contexts<'a>) {
    let nearest = || contexts.iter().rev().copied().flatten();
    for values in nearest().map(Context::values).chain(nearest().map(Context::defaults)) {
        for (place, text) in texts.iter_mut().zip(values.texts()) {
            if place.is_none() {
                *place = text.as_deref().map(Cow::Borrowed);
            }
        }
    }
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
        let fits = match given.cast::<PyList>() {
            Ok(list) => listed_categories(list, into),
            Err(_) => other_categories(given, into),
        };
        if !fits {
            self.odd.set(self.odd.get() | 1 << field::CATEGORIES);
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
        let mut is_any_taken = false;
        for (i, (key, item)) in self.others.extras.iter().enumerate() {
            if self.others.respelt.contains(&i) {
                continue;
            }
            if self.has_entry(key) {
                is_any_taken = true;
            } else if !value::entry(into, &text::of_any(key), item) {
                break;
            }
        }
        if is_any_taken {
            self.write_taken(into);
        }
        let odd = self.odd.get();
        if odd != 0 {
            self.write_odd(odd, into);
        }
        if self.contexts.iter().any(Option::is_some) {
            self.write_contexts(into);
        }
    }

    fn tail(&self) -> &[u8] {
        self.tail
    }
}

impl<'py> Draft<'_, 'py> {
    /// Whether the metadata has an entry of that name already.
    pub(crate) fn has_metadata(&self, key: &str) -> bool {
        let Some(given) = self.metadata else { return false };
        let entries = match given.cast::<PyDict>() {
            Ok(entries) => Some(entries),
            Err(_) => self.converted(given),
        };
        entries.is_some_and(|entries| entries.contains(key).unwrap_or(false))
    }

    /// The same for a name as the object gave it.
    #[inline]
    pub(crate) fn has_entry(&self, key: &Bound<'_, PyAny>) -> bool {
        match self.metadata.and_then(|given| given.cast::<PyDict>().ok()) {
            Some(entries) if key.is_exact_instance_of::<PyString>() => {
                entries.contains(key).unwrap_or(false)
            }
            None if self.metadata.is_none() => false,
            _ => self.has_metadata(&text::of_any(key)),
        }
    }

    /// Whether the metadata has an entry of that name, or will have one by the object's own names.
    fn is_taken(&self, key: &str) -> bool {
        let mut others = self.others.extras.iter().enumerate();
        self.has_metadata(key)
            || others.any(|(i, (name, _))| {
                !self.others.respelt.contains(&i) && text::of_any(name) == key
            })
    }

    /// A name that is not taken: the key itself, or else with `row.` before it.
    fn free_name(&self, key: &str) -> String {
        let mut key = key.to_owned();
        while self.is_taken(&key) {
            key.insert_str(0, "row.");
        }
        key
    }

    /// The object's own entries whose names its metadata has too. They come after all others: see
    /// the tail.
    #[cold]
    fn write_taken(&self, into: &mut Entries<'_, '_>) {
        for (i, (key, item)) in self.others.extras.iter().enumerate() {
            if !self.others.respelt.contains(&i) && self.has_entry(key) {
                value::entry(into, &self.free_name(&text::of_any(key)), item);
            }
        }
    }

    /// Metadata that is no dict, as one: of a mapping, a pydantic model, or JSON text as CSV files and
    /// SQL columns hold it.
    #[cold]
    fn converted(&self, given: &Bound<'py, PyAny>) -> Option<&Bound<'py, PyDict>> {
        let convert = || {
            let _inside = Inside::enter(given.py());
            match given.cast::<PyString>() {
                Ok(text) => json_object(text),
                Err(_) => value::copied(given).or_else(|| value::dumped(given)),
            }
        };
        self.converted.get_or_init(convert).as_ref()
    }

    #[cold]
    fn other_metadata(&self, given: &Bound<'py, PyAny>, into: &mut Entries<'_, '_>) {
        match self.converted(given) {
            Some(entries) => value::dict(into, entries),
            None => self.odd.set(self.odd.get() | 1 << field::METADATA),
        }
    }

    /// What does not fit its field, and that the action was not enforced.
    #[cold]
    fn write_odd(&self, odd: u32, into: &mut Entries<'_, '_>) {
        for at in (0..field::COUNT).filter(|at| odd >> at & 1 == 1) {
            let Some(given) = &self.slots[at] else { continue };
            value::entry(into, &self.free_name(FIELDS[at]), given.bind(self.py));
        }
        if odd & MONITORED != 0 && !self.is_taken("mode") {
            into.entry("mode", |slot| slot.text("monitor"));
        }
    }

    /// What the contexts know, the nearest first, then their defaults.
    #[cold]
    fn write_contexts(&self, into: &mut Entries<'_, '_>) {
        let nearest = || self.contexts.iter().rev().copied().flatten();
        let layers: [Option<&Values>; 4] = {
            let mut layers = nearest().map(Context::values).chain(nearest().map(Context::defaults));
            std::array::from_fn(|_| layers.next())
        };
        for (i, layer) in layers.iter().enumerate() {
            for (key, item) in layer.iter().flat_map(|values| values.extras()) {
                let nearer = layers[..i].iter().flatten();
                let is_known = nearer.into_iter().any(|values| values.extras().contains_key(key));
                if !is_known && !self.is_taken(key) {
                    into.entry(key, |slot| slot.json(item));
                }
            }
        }
    }
}

/// The object that JSON text holds; of empty text an empty one.
#[cold]
fn json_object<'py>(text: &Bound<'py, PyString>) -> Option<Bound<'py, PyDict>> {
    let py = text.py();
    if text.len().ok()? == 0 {
        return Some(PyDict::new(py));
    }
    // Not the text of an error, or of 100 MB, before it is looked at.
    if !text::of_str(text).trim_start().starts_with('{') {
        return None;
    }
    let read = py.import("json").ok()?.call_method1("loads", (text,)).ok()?;
    read.cast_into::<PyDict>().ok()
}
