//! The command `n3-safety`, which the wheel holds once, in this module.

use namel3ss_safety_cli::{Io, run};
use pyo3::prelude::*;

/// Runs one command line, the program's name first; its exit code.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, args: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| run(args, Io::process())) as u8
}

/// The folder of journals and of the embedded dataset.
#[pyfunction]
pub(crate) fn home() -> std::path::PathBuf {
    namel3ss_safety::internal::home::home()
}

/// The folder of fallback files where none was named.
#[pyfunction]
pub(crate) fn default_fallback_path() -> std::path::PathBuf {
    namel3ss_safety::internal::sink::default_fallback_path()
}

/// Sets whether the process is ending: then nothing new is given to adapters of Python's.
#[pyfunction]
pub(crate) fn set_exiting(exiting: bool) {
    crate::bridge::EXITING.store(exiting, std::sync::atomic::Ordering::SeqCst);
}
