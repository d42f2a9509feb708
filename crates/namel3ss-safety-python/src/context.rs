//! Values for the fields that an event leaves open: of a bound logger, and of the task that runs.

use std::sync::atomic::{AtomicBool, Ordering};

use namel3ss_safety::EventRef;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use serde_json::{Map, Value};

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

    /// These values over those of `base`; `defaults` go before its defaults.
    pub(crate) fn over(base: Option<&Self>, values: Values, defaults: Values) -> Self {
        let mut made = Self { values, defaults };
        if let Some(base) = base {
            made.values.fill(&base.values);
            made.defaults.fill(&base.defaults);
        }
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
    /// Those that an encoded event has.
    pub(crate) fn of(event: &EventRef<'_>) -> Self {
        Self {
            texts: event.texts().map(|text| text.map(str::to_owned)),
            extras: event.metadata().to_map(),
        }
    }

    /// The eight optional texts, `app_name` to `user_id`.
    pub(crate) fn texts(&self) -> &[Option<String>; 8] {
        &self.texts
    }

    /// What goes to the metadata.
    pub(crate) fn extras(&self) -> &Map<String, Value> {
        &self.extras
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
