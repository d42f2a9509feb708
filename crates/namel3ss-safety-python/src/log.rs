//! `logger.log`: a callable object, so that it can be marked as a coroutine function, which a method
//! of a native class can't be.

use std::sync::Arc;

use pyo3::PyTypeInfo as _;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::context::Context;
use crate::done::done;
use crate::gate::Inside;
use crate::host::Host;
use crate::logger::Logger;
use crate::raw::{Args, Call, CallableClass};
use crate::text;

/// Keeps one event; returns an awaitable that is done.
#[pyclass(frozen, dict, weakref, subclass, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Log {
    host: Arc<Host>,
    bound: Option<Py<Context>>,
}

static CLASS: PyOnceLock<CallableClass> = PyOnceLock::new();

impl Call for Log {
    #[inline]
    fn call<'py>(callable: &Bound<'py, PyAny>, args: &Args<'_, 'py>) -> PyResult<Py<PyAny>> {
        let log = callable.cast::<Self>()?.get();
        let event = match (args.positional(), args.names(), args.get(0)) {
            (1, None, Some(event)) => event,
            _ => only_event(args)?,
        };
        log.host.log(&event, log.bound.as_ref().map(Py::get))
    }
}

/// Called otherwise than with one event alone.
#[cold]
fn only_event<'py>(args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let named = args.names().is_some_and(|names| {
        names.len() == 1 && names.get_item(0).is_ok_and(|name| text::of_any(&name) == "event")
    });
    match (args.positional(), args.names(), args.get(0)) {
        (1, Some(names), Some(event)) if names.is_empty() => Ok(event),
        (0, _, Some(event)) if named => Ok(event),
        _ => Err(PyTypeError::new_err("log() takes one argument: event")),
    }
}

#[pymethods]
impl Log {
    #[new]
    #[pyo3(signature = (logger, bound=None))]
    fn new(logger: &Logger, bound: Option<Py<Context>>) -> Self {
        Self { host: logger.host.clone(), bound }
    }

    /// A `log` of `logger`'s that fills in what `bound` knows, whose calls take the fast way.
    #[staticmethod]
    #[pyo3(signature = (logger, bound=None))]
    fn of<'py>(
        logger: &Bound<'py, Logger>,
        bound: Option<Py<Context>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = logger.py();
        let class = CLASS.get_or_try_init(py, || {
            CallableClass::derive(&Self::type_object(py), c"namel3ss.safety._core.Log")
        })?;
        class.instance::<Self>((logger, bound), py)
    }

    /// For those who call it with a tuple.
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
