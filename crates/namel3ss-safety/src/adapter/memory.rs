//! Rows in memory: for tests and for looking at what a guard does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use super::dataset::{DatasetAdapter, Delivery};
use super::error::AdapterError;
use crate::batch::Batch;
use crate::event::SafetyEvent;
use crate::id::{JournalId, Seq};
use crate::locks::lock;

/// A dataset that lasts as long as it does. Nothing bounds it but memory.
#[derive(Debug)]
pub struct MemoryAdapter {
    id: JournalId,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<StoredRow>,
    /// Where the row of an id is.
    seen: HashMap<(JournalId, Seq), usize>,
}

/// A row as [`MemoryAdapter`] keeps it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredRow {
    /// The journal it was logged to.
    pub journal: JournalId,
    /// Its position there.
    pub seq: Seq,
    /// The event itself.
    pub event: SafetyEvent,
}

impl Default for MemoryAdapter {
    fn default() -> Self {
        Self { id: JournalId::generate(), rows: Mutex::default() }
    }
}

impl MemoryAdapter {
    /// A copy of all rows, in the order in which they came.
    #[must_use]
    pub fn rows(&self) -> Vec<StoredRow> {
        lock(&self.rows).rows.clone()
    }

    /// How many rows it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.rows).rows.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl DatasetAdapter for MemoryAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let mut stored = lock(&self.rows);
        let Rows { rows, seen } = &mut *stored;
        let mut others = Vec::new();
        for (at, row) in batch.rows().enumerate() {
            match seen.entry((row.journal, row.seq)) {
                Entry::Vacant(vacant) => {
                    let (journal, seq, event) = (row.journal, row.seq, row.event.to_event());
                    vacant.insert(rows.len());
                    rows.push(StoredRow { journal, seq, event });
                }
                Entry::Occupied(there) => {
                    let there = &rows[*there.get()].event;
                    let same = there.event_id == row.event.event_id
                        && there.timestamp == row.event.timestamp;
                    others.extend((!same).then_some(at));
                }
            }
        }
        if others.is_empty() { Ok(()) } else { Err(AdapterError::ids_taken(others)) }
    }

    /// Its own: another process, or another one here, is another destination.
    fn identity(&self) -> String {
        format!("memory:{}", self.id)
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce { condition: "within one process" }
    }
}
