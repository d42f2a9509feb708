//! `logger.log`: a callable object, so that it can be marked as a coroutine function, which a method
//! of a native class can't be.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::context::Context;
use crate::done::done;
use crate::gate::Inside;
use crate::host::Host;

/// Keeps one event; returns an awaitable that is done.
#[pyclass(frozen, dict, weakref, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) host: Arc<Host>,
    pub(crate) bound: Option<Py<Context>>,
}

#[pymethods]
impl Log {
    fn __call__(&self, event: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.host.log(event, self.bound.as_ref().map(Py::get))
    }

    /// Keeps each event of an iterable, in its order.
    fn many(&self, events: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = events.py();
        let bound = self.bound.as_ref().map(Py::get);
        let mut last = done(py);
        let _inside = Inside::enter(py);
        let Ok(events) = events.try_iter() else {
            self.host.logger.reject();
            return Ok(last);
        };
        for event in events {
            match event {
                Ok(event) => last = self.host.log(&event, bound)?,
                // An iterator that raises is the caller's own affair.
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }
}
