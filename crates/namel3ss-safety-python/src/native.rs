//! Adapters that need no Python: as the worker calls them, and as Python can call them itself.

use std::path::PathBuf;
use std::sync::Arc;

use namel3ss_safety::{CsvAdapter, DatasetAdapter, Delivery, JsonAdapter};
use namel3ss_safety_stores::url;
use namel3ss_safety_stores::{ObjectStoreAdapter, SqliteAdapter, Table};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::memory::Memory;
use crate::rows;
use crate::ticket::{Outcome, Ticket};

/// See the module.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) adapter: Arc<dyn DatasetAdapter>,
    memory: Option<Arc<Memory>>,
}

impl Native {
    fn of(adapter: impl DatasetAdapter + 'static) -> Self {
        Self::of_shared(Arc::new(adapter))
    }

    pub(crate) fn of_shared(adapter: Arc<dyn DatasetAdapter>) -> Self {
        Self { adapter, memory: None }
    }

    /// With its folder made, or refused at once.
    fn prepared(adapter: impl DatasetAdapter + 'static) -> PyResult<Self> {
        adapter.prepare().map_err(wrong)?;
        Ok(Self::of(adapter))
    }
}

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pymethods]
impl Native {
    #[staticmethod]
    fn csv(path: PathBuf) -> PyResult<Self> {
        Self::prepared(CsvAdapter::new(path).map_err(wrong)?)
    }

    #[staticmethod]
    fn json(path: PathBuf) -> PyResult<Self> {
        Self::prepared(JsonAdapter::new(path).map_err(wrong)?)
    }

    #[staticmethod]
    fn memory() -> Self {
        let memory = Arc::new(Memory::default());
        Self { adapter: memory.clone(), memory: Some(memory) }
    }

    /// What a URL names.
    #[staticmethod]
    fn open(url: &str) -> PyResult<Self> {
        let adapter = namel3ss_safety_stores::open(url).map_err(wrong)?;
        adapter.prepare().map_err(wrong)?;
        Ok(Self { adapter, memory: None })
    }

    /// What each URL names that one text holds.
    #[staticmethod]
    fn open_several(urls: &str) -> PyResult<Vec<Self>> {
        url::several(urls).into_iter().map(Self::open).collect()
    }

    /// The embedded database, whose table is named as the dataset where that makes a name.
    #[staticmethod]
    fn embedded(path: PathBuf, dataset: &str) -> PyResult<Self> {
        let table = dataset.parse::<Table>().unwrap_or_default();
        SqliteAdapter::open(path, table).map(Self::of).map_err(wrong)
    }

    /// Objects in a bucket or folder: parquet, json, jsonl or csv.
    #[staticmethod]
    fn object_store(bucket: &str, prefix: &str, format: &str) -> PyResult<Self> {
        Self::prepared(ObjectStoreAdapter::new(bucket, prefix, format).map_err(wrong)?)
    }

    /// Where rows land, without secrets.
    fn identity(&self) -> String {
        self.adapter.identity()
    }

    /// The condition under which each row lands exactly once; `None` where it is at least once.
    fn exactly_once(&self) -> Option<&'static str> {
        match self.adapter.delivery() {
            Delivery::ExactlyOnce { condition } => Some(condition),
            _ => None,
        }
    }

    /// Begins to store rows, all or none.
    fn begin_insert(&self, py: Python<'_>, given: &Bound<'_, PyAny>) -> PyResult<Ticket> {
        let (rows, refused) = rows::of_iterable(given)?;
        if let Some(error) = refused.into_iter().next() {
            return Err(error);
        }
        let adapter = self.adapter.clone();
        Ok(Ticket::spawn(py, move || {
            let stored = if rows.is_empty() { Ok(()) } else { adapter.insert(&rows.batch()) };
            Outcome::Inserted(stored.map_err(|error| error.to_string()))
        }))
    }

    /// The rows of a dataset in memory, oldest first.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let memory = self.memory.as_ref();
        let memory = memory.ok_or_else(|| PyTypeError::new_err("it is no dataset in memory"))?;
        memory.rows(py)
    }

    /// How many rows a dataset in memory has.
    fn __len__(&self) -> PyResult<usize> {
        let memory = self.memory.as_ref();
        memory
            .map(|memory| memory.len())
            .ok_or_else(|| PyRuntimeError::new_err("it can't be counted"))
    }
}
