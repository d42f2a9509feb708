//! `namel3ss.safety._core`: what of the Python package is native. It only translates; every decision
//! is made in the library that it translates, or in Python's own side of the package.

mod gate;
mod own_code;
mod text;
mod raw;
mod moment;
mod field;
mod name;
mod warning;
mod misuse;
mod value;
mod context;
mod span;
mod scalar;
mod categories;
mod draft;
mod binding;
mod event;
mod foreign;
mod row;
mod tail;
mod rows;
mod done;
mod ticket;
mod memory;
mod native;
mod bridge;
mod table;
mod sink;
mod host;
mod logger;
mod log;
mod command;

use pyo3::prelude::*;

/// The native part of `namel3ss.safety`; its parts are used through the package's other modules.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("FIELDS", namel3ss_safety::FIELDS)?;
    module.add("DONE", done::done(module.py()))?;
    module.add_class::<event::SafetyEvent>()?;
    module.add_class::<context::Context>()?;
    module.add_class::<done::Done>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<rows::Encoded>()?;
    module.add_class::<bridge::Bridge>()?;
    module.add_class::<native::Native>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<sink::Sink>()?;
    module.add_class::<log::Log>()?;
    module.add_class::<logger::Logger>()?;
    module.add_function(wrap_pyfunction!(event::complete_event_class, module)?)?;
    module.add_function(wrap_pyfunction!(context::context_variable, module)?)?;
    module.add_function(wrap_pyfunction!(scalar::action_of, module)?)?;
    module.add_function(wrap_pyfunction!(foreign::fields_of, module)?)?;
    module.add_function(wrap_pyfunction!(warning::warn, module)?)?;
    module.add_function(wrap_pyfunction!(warning::take_warnings, module)?)?;
    module.add_function(wrap_pyfunction!(sink::take_left, module)?)?;
    module.add_function(wrap_pyfunction!(host::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(host::after_restore, module)?)?;
    module.add_function(wrap_pyfunction!(command::command, module)?)?;
    module.add_function(wrap_pyfunction!(command::home, module)?)?;
    module.add_function(wrap_pyfunction!(command::default_fallback_path, module)?)?;
    module.add_function(wrap_pyfunction!(command::set_exiting, module)?)?;
    module.add_function(wrap_pyfunction!(gate::must_leave, module)?)?;
    module.add_function(wrap_pyfunction!(gate::close_gate, module)?)
}
