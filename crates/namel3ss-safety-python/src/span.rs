//! The trace of the OpenTelemetry span that runs, for events that name none. Nothing is imported for it:
//! it is looked for only in programs that have imported `opentelemetry.trace` by themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::context::Context;
use crate::gate::Inside;
use crate::own_code;

/// `opentelemetry.trace.get_current_span`.
static CURRENT_SPAN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
/// How many modules there were when it was last looked for: counting them costs 2 ns, looking one
/// up 25.
static MODULES_SEEN: AtomicUsize = AtomicUsize::new(0);

/// A context that holds the running span's trace, if there is one.
#[inline]
pub(crate) fn context(py: Python<'_>) -> Option<Context> {
    match CURRENT_SPAN.get(py) {
        Some(current) => trace_of(py, current),
        None if has_new_modules(py) => trace_of(py, look_for(py)?),
        None => None,
    }
}

#[inline]
fn has_new_modules(py: Python<'_>) -> bool {
    let Some(modules) = MODULES.get(py) else {
        let modules = py.import("sys").and_then(|sys| sys.getattr("modules"));
        let modules = modules.ok().and_then(|modules| modules.cast_into::<PyDict>().ok());
        return modules.is_some_and(|modules| MODULES.set(py, modules.unbind()).is_ok());
    };
    let now = modules.bind(py).len();
    now != MODULES_SEEN.load(Ordering::Relaxed) && {
        MODULES_SEEN.store(now, Ordering::Relaxed);
        true
    }
}

#[cold]
fn look_for(py: Python<'_>) -> Option<&'static Py<PyAny>> {
    let module = MODULES.get(py)?.bind(py).get_item("opentelemetry.trace").ok()??;
    let current = module.getattr("get_current_span").ok()?;
    let _ = CURRENT_SPAN.set(py, current.unbind());
    CURRENT_SPAN.get(py)
}

#[cold]
fn trace_of(py: Python<'_>, current: &Py<PyAny>) -> Option<Context> {
    let _inside = Inside::enter(py);
    let trace = own_code::run(py, || {
        let span = current.bind(py).call0()?.call_method0("get_span_context")?;
        span.getattr("trace_id")?.extract::<u128>()
    });
    // Zero is what it is where no span runs.
    let trace = trace.ok().filter(|trace| *trace != 0)?;
    Some(Context::of_trace(format!("{trace:032x}")))
}
