//! `SafetyEvent`: a native class with a dataclass's manners.
//!
//! It keeps references to what it was given until it is logged: measured, that beats an event of
//! Rust's own texts, since most of them are only ever copied once, into the journal.

use std::borrow::Cow;

use namel3ss_safety::internal::codec::Payload;
use namel3ss_safety::{EventId, FIELDS, SafetyAction, Timestamp};
use pyo3::IntoPyObjectExt as _;
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple, PyType};

use crate::draft::{Defaults, Draft, NO_OTHERS, Others};
use crate::field::{self, Slots};
use crate::misuse;
use crate::misuse::Misspelt;
use crate::moment::{self, Zone};
use crate::name::{self, Meaning};
use crate::raw::{self, Args, Call};
use crate::{row, text};

/// What a guardrail decided about one input or output of a model: a record of 17 fields.
///
/// It behaves as a dataclass does: built by keywords, mutable, compared by value, picklable. An
/// unknown keyword is kept in ``metadata`` under its own name; one that is nearly a field's name
/// (``actoin``) is warned of, and if it is nearly ``action``'s and there is none, the event is an
/// ``alert``. Nothing is checked, and nothing raises: what a field can't hold is recorded in
/// ``metadata`` when the event is logged.
///
/// ``event_id`` is a new UUIDv7 and ``timestamp`` now, in UTC, unless given; a naive timestamp means
/// UTC. ``app_name``, ``chain_name``, ``agent_name``, ``policy_name``, ``reason``, ``trace_id``,
/// ``session_id`` and ``user_id`` are texts or None. ``direction`` is ``input`` or ``output``,
/// ``action`` a ``SafetyAction`` or a word for one in any spelling (``BLOCKED``, ``deny``; any other
/// word is recorded as ``alert``), ``categories`` a list of the app's own words,
/// ``severity`` none, low, medium, high, critical or a word of the app's own, ``confidence`` from 0
/// to 1 by convention, ``latency_ms`` how long the decision took in milliseconds, ``metadata`` any
/// JSON; what is none is stored as its ``str()``. An event is cut at 256 KiB, and marked so.
///
/// >>> event = SafetyEvent(policy_name="pii", action="redact", rule=7)
/// >>> event.action, event.severity, event.metadata
/// ('redact', 'none', {'rule': 7})
#[pyclass(subclass, weakref, module = "namel3ss.safety.logging")]
#[derive(Debug)]
pub(crate) struct SafetyEvent {
    slots: Slots,
    /// The id, if none was given.
    id: EventId,
    /// When it was made.
    made: Timestamp,
    /// Names that it was made with and that are nearly a field's.
    misspelt: Option<Box<Misspelt>>,
}

/// The default action: `SafetyAction.ALLOW`.
static ALLOW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static NONE_MISSPELT: Misspelt = Misspelt::new();

/// Tells the class what Python's side of it knows; says whether calling it is fast.
#[pyfunction]
pub(crate) fn complete_event_class(
    py: Python<'_>,
    allow: Py<PyAny>,
    dataclass_fields: Py<PyAny>,
    signature: Py<PyAny>,
) -> PyResult<bool> {
    let _ = ALLOW.set(py, allow);
    let class = PyType::new::<SafetyEvent>(py);
    class.setattr("__dataclass_fields__", Py::new(py, Lazy(dataclass_fields))?)?;
    class.setattr("__signature__", Py::new(py, Lazy(signature))?)?;
    for (at, name) in field::names(py).iter().enumerate() {
        class.setattr(name.bind(py), Py::new(py, Field(at))?)?;
    }
    let names = field::names(py).iter().map(|name| name.bind(py));
    class.setattr("__match_args__", PyTuple::new(py, names)?)?;
    // Where that can't be done, `__new__` does the same, more slowly.
    raw::construct_by::<SafetyEvent>(&class)
}

/// An attribute of the class, made by a function when somebody asks: importing `dataclasses` takes
/// as long as all the rest of the package.
#[pyclass(frozen)]
#[derive(Debug)]
struct Lazy(Py<PyAny>);

#[pymethods]
impl Lazy {
    fn __get__(
        &self,
        _instance: &Bound<'_, PyAny>,
        owner: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        self.0.call0(owner.py())
    }
}

/// The class called, without a dict for what it is called with.
impl Call for SafetyEvent {
    #[inline]
    fn call<'py>(callable: &Bound<'py, PyAny>, args: &Args<'_, 'py>) -> PyResult<Py<PyAny>> {
        let py = callable.py();
        let positional = args.positional();
        let from = |first: usize| (first..).map_while(|at| args.get(at));
        // It is filled where it will stay: a copy of fields just written waits for them to arrive.
        let made = Bound::new(py, Self::empty())?;
        let mut event = made.borrow_mut();
        match args.names() {
            Some(names) if positional == 0 => match field::indexes_of(names) {
                // As in most programs: keywords only, each a field's name.
                Some(indexes) => event.fill(py, indexes.iter().zip(from(0))),
                None => event.fill_any(py, 0, [].into_iter(), names.iter().zip(from(0)))?,
            },
            names => {
                let named = names.into_iter().flat_map(|names| names.iter());
                let named = named.zip(from(positional));
                event.fill_any(py, positional, from(0).take(positional), named)?;
            }
        }
        drop(event);
        Ok(made.into_any().unbind())
    }
}

impl SafetyEvent {
    /// The event as it is to be encoded.
    #[inline]
    pub(crate) fn draft<'a, 'py>(
        &'a self,
        py: Python<'py>,
        id: &'a mut [u8; 36],
        contexts: crate::context::Contexts<'a>,
    ) -> Draft<'a, 'py> {
        let is_given = is_text(py, self.slots[field::EVENT_ID].as_ref());
        let event_id = if is_given { "" } else { self.id.write(id) };
        let action = Some(SafetyAction::Allow);
        let defaults = Defaults { event_id, timestamp: self.made, action, contexts };
        let misspelt = self.misspelt.as_deref().unwrap_or(&NONE_MISSPELT);
        Draft::new(py, &self.slots, &defaults, Others { misspelt, ..NO_OTHERS })
    }

    /// A dict of its own, to which the app may go on adding.
    fn own_metadata(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let place = &mut self.slots[field::METADATA];
        Ok(place.get_or_insert_with(|| PyDict::new(py).into_any().unbind()).clone_ref(py))
    }

    fn value(&mut self, py: Python<'_>, at: usize) -> PyResult<Py<PyAny>> {
        if let Some(value) = &self.slots[at] {
            return Ok(value.clone_ref(py));
        }
        let made = match at {
            field::EVENT_ID => PyString::new(py, self.id.write(&mut [0; 36])).into_any().unbind(),
            field::TIMESTAMP => moment::to_datetime(py, self.made, Zone::Aware)?,
            field::DIRECTION => pyo3::intern!(py, "input").clone().into_any().unbind(),
            field::ACTION => ALLOW.get(py).map_or_else(|| py.None(), |allow| allow.clone_ref(py)),
            field::CATEGORIES => PyList::empty(py).into_any().unbind(),
            field::SEVERITY => pyo3::intern!(py, "none").clone().into_any().unbind(),
            field::CONFIDENCE => PyFloat::new(py, 1.0).into_any().unbind(),
            field::LATENCY_MS => PyFloat::new(py, 0.0).into_any().unbind(),
            field::METADATA => return self.own_metadata(py),
            _ => py.None(),
        };
        // The same one at each look: what is added to a list stays in it.
        self.slots[at] = Some(made.clone_ref(py));
        Ok(made)
    }
}

#[inline]
fn is_text(py: Python<'_>, value: Option<&Py<PyAny>>) -> bool {
    value.is_some_and(|value| value.bind(py).is_instance_of::<PyString>())
}

/// One field as an attribute of the class.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug)]
struct Field(usize);

#[pymethods]
impl Field {
    fn __get__(
        slf: &Bound<'_, Self>,
        instance: &Bound<'_, PyAny>,
        _owner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if instance.is_none() {
            return Ok(slf.clone().into_any().unbind());
        }
        instance.cast::<SafetyEvent>()?.try_borrow_mut()?.value(py, slf.get().0)
    }

    fn __set__(&self, instance: &Bound<'_, PyAny>, value: Bound<'_, PyAny>) -> PyResult<()> {
        let mut event = instance.cast::<SafetyEvent>()?.try_borrow_mut()?;
        event.put(self.0, value);
        if event.id == EventId::default() {
            event.bear(instance.py());
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<field {} of SafetyEvent>", FIELDS[self.0])
    }
}

#[pymethods]
impl SafetyEvent {
    #[new]
    #[pyo3(signature = (*args, **fields))]
    fn new(args: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let named = fields.into_iter().flat_map(|fields| fields.iter());
        let mut event = Self::empty();
        event.fill_any(args.py(), args.len(), args.iter(), named)?;
        Ok(event)
    }

    /// The 17 fields, in the order in which datasets store them: `timestamp` as ISO 8601 text,
    /// `action` as its word.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut id = [0; 36];
        let payload = Payload::of(&self.draft(py, &mut id, [None; 3]));
        row::of_payload(py, &payload)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let mut shown = text::of_str(&slf.get_type().qualname()?).into_owned();
        shown.push('(');
        for (at, name) in FIELDS.into_iter().enumerate() {
            let value = slf.borrow_mut().value(py, at)?;
            if at > 0 {
                shown.push_str(", ");
            }
            shown.push_str(name);
            shown.push('=');
            shown.push_str(&text::of_str(&value.bind(py).repr()?));
        }
        shown.push(')');
        Ok(shown)
    }

    fn __richcmp__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let same_class = other.get_type().is(slf.get_type());
        let (true, Ok(theirs)) = (same_class, other.cast::<Self>()) else {
            return Ok(py.NotImplemented());
        };
        let wanted = match op {
            CompareOp::Eq => true,
            CompareOp::Ne => false,
            _ => return Ok(py.NotImplemented()),
        };
        if slf.is(other) {
            return wanted.into_py_any(py);
        }
        for at in 0..field::COUNT {
            let (a, b) = (slf.borrow_mut().value(py, at)?, theirs.borrow_mut().value(py, at)?);
            if !a.is(&b) && !a.bind(py).eq(b.bind(py))? {
                return (!wanted).into_py_any(py);
            }
        }
        wanted.into_py_any(py)
    }

    /// Mutable, and compared by value: no key of a dict, as for any such dataclass.
    #[classattr]
    fn __hash__() -> Option<Py<PyAny>> {
        None
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let mut values = Vec::with_capacity(field::COUNT);
        for at in 0..field::COUNT {
            values.push(slf.borrow_mut().value(py, at)?);
        }
        let state = slf.getattr_opt("__dict__")?.filter(|state| state.is_truthy().unwrap_or(false));
        let class = slf.get_type().into_any();
        let values = PyTuple::new(py, values)?.into_any();
        match state {
            Some(state) => PyTuple::new(py, [class, values, state]),
            None => PyTuple::new(py, [class, values]),
        }
    }

    /// A copy with other values, as `copy.replace` wants it.
    #[pyo3(signature = (**changes))]
    fn __replace__<'py>(
        slf: &Bound<'py, Self>,
        changes: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let values = PyDict::new(py);
        for (at, name) in field::names(py).iter().enumerate() {
            values.set_item(name.bind(py), slf.borrow_mut().value(py, at)?)?;
        }
        if let Some(changes) = changes {
            values.update(changes.as_mapping())?;
        }
        slf.get_type().call((), Some(&values))
    }
}

impl SafetyEvent {
    /// Sets a field; an id or a moment that is None is one that was not given.
    #[inline]
    fn put(&mut self, at: usize, value: Bound<'_, PyAny>) {
        let given = at > field::TIMESTAMP || !value.is_none();
        self.slots[at] = given.then(|| value.unbind());
    }

    fn empty() -> Self {
        let made = Timestamp::from_micros(0);
        Self { slots: Slots::new(), id: EventId::default(), made, misspelt: None }
    }

    /// Takes values of fields, each by its number.
    #[inline]
    fn fill<'py>(
        &mut self,
        py: Python<'py>,
        values: impl Iterator<Item = (usize, Bound<'py, PyAny>)>,
    ) {
        for (at, value) in values {
            self.put(at, value);
        }
        self.bear(py);
    }

    /// Takes values by position and by name.
    fn fill_any<'py>(
        &mut self,
        py: Python<'py>,
        positional: usize,
        values: impl Iterator<Item = Bound<'py, PyAny>>,
        named: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    ) -> PyResult<()> {
        if positional > field::COUNT {
            let text = format!("SafetyEvent() takes {} values, got {positional}", field::COUNT);
            return Err(PyTypeError::new_err(text));
        }
        for (at, value) in values.enumerate() {
            self.put(at, value);
        }
        let mut extras = Vec::new();
        for (name, value) in named {
            match field::index_of(&name) {
                Some(at) if at < positional => {
                    let text = format!("SafetyEvent() got multiple values for {}", FIELDS[at]);
                    return Err(PyTypeError::new_err(text));
                }
                Some(at) => self.put(at, value),
                None => extras.push((name, value)),
            }
        }
        if !extras.is_empty() {
            self.add_extras(py, extras)?;
        }
        self.bear(py);
        Ok(())
    }

    /// Gives it an id and a moment of its own, where none was given, or one that may not be read: it
    /// has the same ones however often it is logged.
    #[inline]
    fn bear(&mut self, py: Python<'_>) {
        let at = self.slots[field::TIMESTAMP].as_ref();
        let is_moment = at.is_some_and(|at| moment::is_datetime(at.bind(py)));
        if !is_moment || !is_text(py, self.slots[field::EVENT_ID].as_ref()) {
            self.made = Timestamp::now();
            self.id = EventId::new(self.made, fastrand::u128(..));
        }
    }

    /// Keeps unknown names in the metadata; in a copy of it, since the dict is the caller's.
    #[cold]
    fn add_extras(
        &mut self,
        py: Python<'_>,
        extras: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
    ) -> PyResult<()> {
        let given = self.slots[field::METADATA].take();
        let merged = PyDict::new(py);
        if let Some(given) = given.as_ref().map(|given| given.bind(py)).filter(|g| !g.is_none()) {
            match given.cast::<PyDict>() {
                Ok(entries) => merged.update(entries.as_mapping())?,
                Err(_) => merged.set_item(Cow::Borrowed(FIELDS[field::METADATA]), given)?,
            }
        }
        let mut misspelt = Misspelt::new();
        for (name, value) in extras {
            if let Meaning::Misspelt(at) | Meaning::Field(at) = name::meaning(&name) {
                misspelt.push((text::of_any(&name).into_owned(), FIELDS[at]));
                if at == field::ACTION && self.slots[field::ACTION].is_none() {
                    // Whatever was meant, it was not the default.
                    let allow = ALLOW.get(py).map(|allow| allow.bind(py).get_type());
                    let alert = allow.and_then(|class| class.getattr("ALERT").ok());
                    let alert = alert.unwrap_or_else(|| PyString::new(py, "alert").into_any());
                    self.slots[field::ACTION] = Some(alert.unbind());
                }
            }
            if !merged.contains(&name)? {
                merged.set_item(name, value)?;
            }
        }
        self.slots[field::METADATA] = Some(merged.into_any().unbind());
        if !misspelt.is_empty() {
            misuse::warn_of_misspelt(py, &misspelt);
            self.misspelt = Some(Box::new(misspelt));
        }
        Ok(())
    }
}
