//! The logger, as Python's side of it drives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use namel3ss_safety::SinkStats;
use namel3ss_safety::{
    ConfigError, Durability, JournalKind, LoggerBuilder, OverflowStrategy, SafetyEventLogger,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::host::Host;
use crate::native::Native;
use crate::rows::Encoded;
use crate::sink::{Sink, told};
use crate::ticket::{Outcome, Ticket};
use crate::warning::Told;

/// See the module.
#[pyclass(frozen, weakref, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) host: Arc<Host>,
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A further dataset came from a URL.
fn refused(error: ConfigError) -> PyErr {
    let text = error.to_string();
    wrong(match error.parameter() {
        "also_to" => text.replacen("also_to", "url", 1),
        _ => text,
    })
}

fn journal_kind(journal: &str) -> JournalKind {
    match journal {
        "file" => JournalKind::File,
        "memory" => JournalKind::Memory,
        folder => JournalKind::Folder(PathBuf::from(folder)),
    }
}

#[pymethods]
impl Logger {
    #[new]
    #[pyo3(signature = (*, target_dataset, buffer_size, flush_interval_seconds, overflow_strategy,
        sink, further, journal, durability, backlog_limit_bytes, disabled, autostart,
        strict=false))]
    #[expect(clippy::too_many_arguments, reason = "each is one of the user's own, by its name")]
    fn new(
        target_dataset: String,
        buffer_size: i64,
        flush_interval_seconds: f64,
        overflow_strategy: &str,
        sink: &Sink,
        further: Vec<PyRef<'_, Native>>,
        journal: &str,
        durability: &str,
        backlog_limit_bytes: i64,
        disabled: bool,
        autostart: bool,
        strict: bool,
    ) -> PyResult<Self> {
        let positive = |name: &str, value: i64, takes: &str| {
            usize::try_from(value)
                .map_err(|_| wrong(format!("{name} is {value}: it takes {takes}")))
        };
        let backlog = positive("backlog_limit_bytes", backlog_limit_bytes, "bytes from 4096 on")?;
        let builder: LoggerBuilder = SafetyEventLogger::builder()
            .target_dataset(target_dataset)
            .buffer_size(positive("buffer_size", buffer_size, "1 to 10000000 events")?)
            .flush_interval_seconds(flush_interval_seconds)
            .overflow_strategy(overflow_strategy.parse::<OverflowStrategy>().map_err(wrong)?)
            .event_sink(sink.0.clone())
            .journal(journal_kind(journal))
            .durability(durability.parse::<Durability>().map_err(wrong)?)
            .autostart(autostart)
            .pulls_notices()
            .backlog_limit_bytes(backlog as u64);
        let further = further.iter().map(|native| native.adapter.clone());
        let logger = further.fold(builder, LoggerBuilder::also_to).build().map_err(refused)?;
        Ok(Self { host: Arc::new(Host::new(logger, disabled, autostart, strict)) })
    }

    /// Sets what is called for what only Python can do.
    fn set_helper(&self, py: Python<'_>, helper: Py<PyAny>) {
        let _ = self.host.helper.set(py, helper);
    }

    fn start(&self, py: Python<'_>) {
        self.host.starts_itself.store(false, Ordering::SeqCst);
        if !self.host.disabled {
            py.detach(|| self.host.logger.start());
        }
    }

    fn is_strict(&self) -> bool {
        self.host.strict
    }

    fn is_started(&self) -> bool {
        self.host.logger.is_started()
    }

    /// Whether an event would have to wait now.
    fn is_full(&self) -> bool {
        self.host.logger.is_full()
    }

    /// For how long a call is held up now, because a destination is slower than those who log.
    fn held_up_seconds(&self) -> f64 {
        self.host.logger.held_up().as_secs_f64()
    }

    /// Keeps an event beyond the limit; false where the journal can't.
    fn overfill(&self, py: Python<'_>, event: &Encoded) -> bool {
        py.detach(|| self.host.logger.overfill(&event.0).is_some())
    }

    /// Begins to deliver what an event beyond the limit found in the buffer.
    fn begin_make_room(&self, py: Python<'_>) -> Ticket {
        let host = self.host.clone();
        Ticket::spawn(py, move || Outcome::Flush(host.logger.make_room()))
    }

    /// Begins to log an event that has to wait.
    fn begin_log(&self, py: Python<'_>, event: &Encoded) -> Ticket {
        let (host, payload) = (self.host.clone(), event.0.clone());
        Ticket::spawn(py, move || {
            let _ = host.logger.log_payload(&payload);
            Outcome::Logged
        })
    }

    #[pyo3(signature = (timeout_seconds=None))]
    fn begin_flush(&self, py: Python<'_>, timeout_seconds: Option<f64>) -> Ticket {
        let host = self.host.clone();
        let timeout = timeout(timeout_seconds);
        Ticket::spawn(py, move || Outcome::Flush(host.logger.flush(timeout)))
    }

    #[pyo3(signature = (timeout_seconds=None))]
    fn begin_stop(&self, py: Python<'_>, timeout_seconds: Option<f64>) -> Ticket {
        let host = self.host.clone();
        let timeout = timeout(timeout_seconds);
        host.starts_itself.store(host.autostart, Ordering::SeqCst);
        Ticket::spawn(py, move || Outcome::Flush(host.logger.stop(timeout)))
    }

    /// Makes what was logged survive a power cut.
    fn sync(&self, py: Python<'_>) -> PyResult<u64> {
        if self.host.disabled {
            return Ok(0);
        }
        let synced = py.detach(|| self.host.logger.sync());
        synced.map(|seq| seq.0).map_err(|error| PyOSError::new_err(error.to_string()))
    }

    /// Lets the worker begin nothing; false where it is still busy after `timeout_seconds`.
    fn pause(&self, py: Python<'_>, timeout_seconds: f64) -> bool {
        let timeout = Duration::try_from_secs_f64(timeout_seconds).unwrap_or_default();
        py.detach(|| self.host.logger.pause(timeout))
    }

    fn resume(&self) {
        self.host.logger.resume();
    }

    /// How many events only memory has.
    fn unkept(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.host.logger.unkept())
    }

    /// Begins to deliver what only memory has, or to put it into fallback files, without waiting between
    /// attempts.
    fn begin_rescue(&self, py: Python<'_>, timeout_seconds: f64) -> Ticket {
        let host = self.host.clone();
        let timeout = timeout(Some(timeout_seconds)).unwrap_or_default();
        Ticket::spawn(py, move || {
            let _ = host.logger.rescue(timeout);
            Outcome::Logged
        })
    }

    /// Says what was not said yet, because the process ends.
    fn say_rest(&self, py: Python<'_>) {
        py.detach(|| self.host.logger.say_rest());
    }

    fn notices(&self) -> Vec<Told> {
        told(self.host.logger.notices())
    }

    fn journal_folder(&self) -> Option<PathBuf> {
        self.host.logger.journal_folder()
    }

    /// The sink of this process.
    fn sink(&self) -> Sink {
        Sink(self.host.logger.sink().clone())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.host.logger.stats();
        let dict = PyDict::new(py);
        dict.set_item("total_logged", stats.total_logged)?;
        dict.set_item("total_flushed", stats.total_flushed)?;
        dict.set_item("total_dropped", stats.total_dropped)?;
        dict.set_item("current_buffer_size", stats.current_buffer_size)?;
        dict.set_item("max_buffer_size", stats.max_buffer_size)?;
        dict.set_item("overflow_strategy", stats.overflow_strategy.as_str())?;
        dict.set_item("flush_interval_seconds", stats.flush_interval.as_secs_f64())?;
        dict.set_item("target_dataset", stats.target_dataset)?;
        dict.set_item("total_fallback", stats.total_fallback)?;
        dict.set_item("total_retries", stats.total_retries)?;
        dict.set_item("total_replayed", stats.total_replayed)?;
        dict.set_item("total_recovered", stats.total_recovered)?;
        dict.set_item("pending", stats.pending)?;
        dict.set_item("recovering", stats.recovering)?;
        dict.set_item("backlog_bytes", stats.backlog_bytes)?;
        let dropped = PyDict::new(py);
        for (reason, events) in stats.dropped.iter() {
            if events > 0 {
                dropped.set_item(reason.as_str(), events)?;
            }
        }
        dict.set_item("dropped", dropped)?;
        dict.set_item("oldest_pending_seconds", stats.oldest_pending.as_secs_f64())?;
        dict.set_item("last_error", stats.last_error)?;
        dict.set_item("journal", stats.journal.as_str())?;
        dict.set_item("durability", stats.durability.as_str())?;
        dict.set_item("healthy", stats.healthy)?;
        let unhealthy: Vec<_> = stats.unhealthy.iter().map(|why| why.as_str()).collect();
        dict.set_item("unhealthy", unhealthy)?;
        let sinks = stats.sinks.iter().map(|sink| sink_stats(py, sink));
        dict.set_item("sinks", sinks.collect::<PyResult<Vec<_>>>()?)?;
        dict.set_item("misread", self.host.misread.load(Ordering::Relaxed))?;
        dict.set_item("panics", self.host.panics.load(Ordering::Relaxed))?;
        Ok(dict)
    }
}

fn sink_stats<'py>(py: Python<'py>, sink: &SinkStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", &sink.name)?;
    dict.set_item("destination", &sink.destination)?;
    dict.set_item("flushed", sink.flushed)?;
    dict.set_item("fallback", sink.fallback)?;
    dict.set_item("dropped", sink.dropped)?;
    dict.set_item("pending", sink.pending)?;
    dict.set_item("retries", sink.retries)?;
    dict.set_item("recovered", sink.recovered)?;
    dict.set_item("recovering", sink.recovering)?;
    dict.set_item("healthy", sink.healthy)?;
    dict.set_item("last_error", &sink.last_error)?;
    Ok(dict)
}

/// A wait of somebody's in seconds; what is no such thing is none at all.
fn timeout(seconds: Option<f64>) -> Option<Duration> {
    let seconds = seconds?;
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX / 4))
}
