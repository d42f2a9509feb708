//! Values for the fields that an event leaves open: of a bound logger, and of the task that runs.

use std::sync::atomic::{AtomicBool, Ordering};

use namel3ss_safety::codec::{self, Payload};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use serde_json::{Map, Value};

use crate::draft::{Defaults, Draft};
use crate::field;
use namel3ss_safety::Timestamp;

/// See the module. Immutable: what is bound further is another one.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug, Default)]
pub(crate) struct Context {
    texts: [Option<String>; 8],
    extras: Map<String, Value>,
}

impl Context {
    /// The eight optional texts, `app_name` to `user_id`.
    pub(crate) fn texts(&self) -> &[Option<String>; 8] {
        &self.texts
    }

    /// What goes to the metadata.
    pub(crate) fn extras(&self) -> &Map<String, Value> {
        &self.extras
    }
}

#[pymethods]
impl Context {
    /// From names and values, over those of `base`.
    #[new]
    #[pyo3(signature = (values, base=None))]
    fn new(values: &Bound<'_, PyDict>, base: Option<&Self>) -> PyResult<Self> {
        let mut slots = field::Slots::new();
        let mut extras = Vec::new();
        for (key, value) in values.iter() {
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
        let defaults =
            Defaults { event_id: "", timestamp: Timestamp::from_micros(0), contexts: [None, None] };
        // Through the codec, so that a context's values are cut and read as an event's are.
        let payload = Payload::of(&Draft::new(values.py(), &slots, &defaults, &extras));
        let event = codec::decode(payload.bytes());
        let event = event.map_err(|error| PyTypeError::new_err(error.to_string()))?;
        let mut made = Self {
            texts: event.texts().map(|text| text.map(str::to_owned)),
            extras: event.metadata().to_map(),
        };
        if let Some(base) = base {
            for (mine, theirs) in made.texts.iter_mut().zip(&base.texts) {
                if mine.is_none() {
                    mine.clone_from(theirs);
                }
            }
            for (key, value) in &base.extras {
                made.extras.entry(key.clone()).or_insert_with(|| value.clone());
            }
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
