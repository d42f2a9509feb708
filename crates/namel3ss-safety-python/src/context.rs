//! Values for the fields that an event leaves open: of a bound logger, and of the task that runs.

use std::sync::atomic::{AtomicBool, Ordering};

use namel3ss_safety::codec::{self, Payload};
use namel3ss_safety::{SafetyAction, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use serde_json::{Map, Value};

use crate::draft::{Defaults, Draft, NO_OTHERS, Others};
use crate::field;

/// See the module. Immutable: what is bound further is another one.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug, Default)]
pub(crate) struct Context {
    values: Values,
    defaults: Values,
}

/// From the widest to the nearest: the running span's, a bound logger's, and the running task's.
pub(crate) type Contexts<'a> = [Option<&'a Context>; 3];

/// Where `trace_id` is among the eight optional texts.
const TRACE: usize = 5;

impl Context {
    /// One that knows the trace of a span, for events and contexts that name none.
    pub(crate) fn of_trace(trace: String) -> Self {
        let mut made = Self::default();
        made.defaults.texts[TRACE] = Some(trace);
        made
    }

    /// What fills an event's empty fields.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// What fills them where no context does.
    pub(crate) fn defaults(&self) -> &Values {
        &self.defaults
    }
}

/// Values of the eight optional texts, and entries of the metadata.
#[derive(Debug, Default)]
pub(crate) struct Values {
    texts: [Option<String>; 8],
    extras: Map<String, Value>,
}

impl Values {
    /// The eight optional texts, `app_name` to `user_id`.
    pub(crate) fn texts(&self) -> &[Option<String>; 8] {
        &self.texts
    }

    /// What goes to the metadata.
    pub(crate) fn extras(&self) -> &Map<String, Value> {
        &self.extras
    }

    /// Reads names and values.
    ///
    /// # Errors
    /// For a field that belongs to one event.
    fn read(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut slots = field::Slots::new();
        let mut extras = Vec::new();
        for (key, value) in given.iter() {
            match field::index_of(&key) {
                Some(at) if (field::TEXTS..field::DIRECTION).contains(&at) => {
                    slots[at] = Some(value.unbind());
                }
                Some(_) => {
                    let name = crate::text::of_any(&key).into_owned();
                    let text = format!(
                        "{name} belongs to one event: a context takes app_name, chain_name, \
                         agent_name, policy_name, reason, trace_id, session_id, user_id and names \
                         of your own, which go to metadata"
                    );
                    return Err(PyTypeError::new_err(text));
                }
                None => extras.push((key, value)),
            }
        }
        let defaults = Defaults {
            event_id: "",
            timestamp: Timestamp::from_micros(0),
            action: Some(SafetyAction::Allow),
            contexts: [None; 3],
        };
        // Through the codec, so that a context's values are cut and read as an event's are.
        let others = Others { extras: &extras, ..NO_OTHERS };
        let payload = Payload::of(&Draft::new(given.py(), &slots, &defaults, others));
        let event = codec::decode(payload.bytes());
        let event = event.map_err(|error| PyTypeError::new_err(error.to_string()))?;
        Ok(Self {
            texts: event.texts().map(|text| text.map(str::to_owned)),
            extras: event.metadata().to_map(),
        })
    }

    /// Fills what is empty.
    fn fill(&mut self, from: &Self) {
        for (mine, theirs) in self.texts.iter_mut().zip(&from.texts) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
        for (key, value) in &from.extras {
            self.extras.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

#[pymethods]
impl Context {
    /// From names and values, over those of `base`; `defaults` go before its defaults.
    #[new]
    #[pyo3(signature = (values, base=None, defaults=None))]
    fn new(
        values: &Bound<'_, PyDict>,
        base: Option<&Self>,
        defaults: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let defaults = defaults.map(Values::read).transpose()?.unwrap_or_default();
        let mut made = Self { values: Values::read(values)?, defaults };
        if let Some(base) = base {
            made.values.fill(&base.values);
            made.defaults.fill(&base.defaults);
        }
        Ok(made)
    }
}

/// Whether any context was ever set: looking one up costs 40 ns.
static USED: AtomicBool = AtomicBool::new(false);
static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The context variable that holds the running task's context.
#[pyfunction]
pub(crate) fn context_variable(py: Python<'_>) -> PyResult<Py<PyAny>> {
    USED.store(true, Ordering::Relaxed);
    let made = CURRENT.get_or_try_init(py, || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let default = PyDict::new(py);
        default.set_item("default", py.None())?;
        let name = PyString::new(py, "namel3ss.safety.context");
        class.call((name,), Some(&default)).map(Bound::unbind)
    })?;
    Ok(made.clone_ref(py))
}

/// The running task's context.
#[inline]
pub(crate) fn current(py: Python<'_>) -> Option<Py<Context>> {
    if !USED.load(Ordering::Relaxed) {
        return None;
    }
    let value = CURRENT.get(py)?.bind(py).call_method0(pyo3::intern!(py, "get")).ok()?;
    value.cast_into::<Context>().ok().map(Bound::unbind)
}
