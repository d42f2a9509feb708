//! A sink, as Python holds it: settings that can be read and changed, and writing without a journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{Notice, Registry, SafetyEventSink, internal::notice};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::rows;
use crate::table::Table;
use crate::ticket::{Outcome, Ticket};
use crate::warning::Told;

/// See the module.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Sink(pub(crate) Arc<SafetyEventSink>);

/// A delay that a user gave in seconds.
///
/// # Errors
/// If it is negative, or no number.
pub(crate) fn delay(parameter: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|delay| delay.as_secs() <= 86_400).ok_or_else(
        || PyValueError::new_err(format!("{parameter} is {seconds}: it takes 0 to 86400 seconds")),
    )
}

/// How often a batch is tried.
///
/// # Errors
/// If it is not at all, or absurdly often.
pub(crate) fn attempts(attempts: i64) -> PyResult<u32> {
    u32::try_from(attempts).ok().filter(|attempts| (1..=1000).contains(attempts)).ok_or_else(|| {
        PyValueError::new_err(format!("max_retries is {attempts}: it takes 1 to 1000 attempts"))
    })
}

pub(crate) fn told(notices: Vec<Notice>) -> Vec<Told> {
    notices.into_iter().map(|n| (n.level.as_str(), n.kind.as_str(), n.text, n.times)).collect()
}

/// Takes what loggers that are gone had still to say.
#[pyfunction]
pub(crate) fn take_left() -> Vec<Told> {
    told(notice::take_left())
}

#[pymethods]
impl Sink {
    #[new]
    fn new(
        dataset_name: String,
        table: &Table,
        fallback_path: Option<PathBuf>,
        max_retries: i64,
        retry_delay_seconds: f64,
    ) -> PyResult<Self> {
        let registry: Arc<dyn Registry> = table.0.clone();
        let sink = SafetyEventSink::builder()
            .dataset_name(dataset_name)
            .registry(registry)
            .fallback_path(fallback_path)
            .max_retries(attempts(max_retries)?)
            .retry_delay(delay("retry_delay_seconds", retry_delay_seconds)?);
        Ok(Self(Arc::new(sink.build())))
    }

    #[getter]
    fn dataset_name(&self) -> &str {
        self.0.dataset_name()
    }

    #[getter]
    fn fallback_path(&self) -> Option<PathBuf> {
        self.0.fallback_path().map(Into::into)
    }

    #[getter]
    fn max_retries(&self) -> u32 {
        self.0.max_retries()
    }

    #[setter]
    fn set_max_retries(&self, value: i64) -> PyResult<()> {
        self.0.set_max_retries(attempts(value)?);
        Ok(())
    }

    #[getter]
    fn retry_delay_seconds(&self) -> f64 {
        self.0.retry_delay().as_secs_f64()
    }

    #[setter]
    fn set_retry_delay_seconds(&self, value: f64) -> PyResult<()> {
        self.0.set_retry_delay(delay("retry_delay_seconds", value)?);
        Ok(())
    }

    /// Begins to write events; also says how many of them were none.
    fn begin_write(&self, py: Python<'_>, events: &Bound<'_, PyAny>) -> PyResult<(Ticket, usize)> {
        let (rows, refused) = rows::of_iterable(events)?;
        let sink = self.0.clone();
        let ticket = Ticket::spawn(py, move || {
            let outcome =
                if rows.is_empty() { Default::default() } else { sink.write(&rows.batch()) };
            Outcome::Written(outcome)
        });
        Ok((ticket, refused.len()))
    }

    /// Takes what the sink has to say.
    fn notices(&self) -> Vec<Told> {
        told(self.0.notices().take())
    }
}
