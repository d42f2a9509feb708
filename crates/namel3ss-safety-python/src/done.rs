//! What `log()` returns: an awaitable that is already done. There is one for all calls: it holds
//! nothing, no loop, no task, and may be awaited any number of times, or never.

use pyo3::PyTypeInfo as _;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::raw;

/// See the module. It has a coroutine's methods, so that `create_task` and `gather` take it.
#[pyclass(frozen, subclass, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Done;

static DONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The one there is.
#[inline]
pub(crate) fn done(py: Python<'_>) -> Py<PyAny> {
    match DONE.get(py) {
        Some(done) => done.clone_ref(py),
        None => first(py),
    }
}

#[cold]
fn first(py: Python<'_>) -> Py<PyAny> {
    // Without memory for one object there is nothing to return either.
    let made = DONE.get_or_try_init(py, || {
        let class = raw::ended_class(&Done::type_object(py), c"namel3ss.safety._core.Done")?;
        class.call0().map(Bound::unbind)
    });
    made.map_or_else(|_: PyErr| py.None(), |done| done.clone_ref(py))
}

/// What it does as an iterator, and awaited, [`raw::ended_class`] does.
#[pymethods]
impl Done {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Ends at once, as a coroutine that returns does.
    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(pyo3::exceptions::PyStopIteration::new_err(()))
    }

    /// Raises what it is given.
    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let raised = match value {
            Some(value) if !value.is_none() => value.clone(),
            _ => kind.clone(),
        };
        Err(PyErr::from_value(raised))
    }

    fn close(&self) {}

    fn __repr__(&self) -> &'static str {
        "<done>"
    }
}
