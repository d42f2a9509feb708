//! The dataset in memory, as Python sees it: it keeps what was logged as it was encoded, so that
//! numbers of any size, what is no number, and the order of names are read back as they were.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use namel3ss_safety::{AdapterError, Batch, DatasetAdapter, Delivery, JournalId, RowBuffer, Seq};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::row;

/// See the module. Nothing bounds it but memory.
#[derive(Debug)]
pub(crate) struct Memory {
    id: JournalId,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    runs: Vec<RowBuffer>,
    seen: HashSet<(JournalId, Seq)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { id: JournalId::generate(), held: Mutex::default() }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.lock().seen.len()
    }

    /// All rows, oldest first: the 17 fields each.
    pub(crate) fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // Python's objects are made without the lock: making one may run code that inserts.
        let runs: Vec<RowBuffer> =
            self.lock().runs.iter().map(|run| run.batch().to_rows()).collect();
        let mut rows: Vec<Bound<'py, PyDict>> = Vec::new();
        for run in &runs {
            for row in run.batch().rows() {
                rows.push(row::of_event(py, &row.event)?);
            }
        }
        PyList::new(py, rows)
    }
}

impl DatasetAdapter for Memory {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let mut held = self.lock();
        let Held { runs, seen } = &mut *held;
        let mut keep = |range: Range<usize>| {
            if !range.is_empty() {
                runs.push(batch.slice(range).to_rows());
            }
        };
        let mut from = 0;
        for (at, row) in batch.rows().enumerate() {
            if !seen.insert((row.journal, row.seq)) {
                keep(from..at);
                from = at + 1;
            }
        }
        keep(from..batch.len());
        Ok(())
    }

    /// Its own: another process, or another one here, is another destination.
    fn identity(&self) -> String {
        format!("memory:{}", self.id)
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce { condition: "within one process" }
    }
}
