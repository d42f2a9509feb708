//! What the suite runs on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::adapter::{DatasetAdapter, Delivery, ReadRow};
use crate::batch::RowBuffer;
use crate::id::{JournalId, Seq};

pub(super) type Reopen = dyn Fn() -> Arc<dyn DatasetAdapter>;

/// One empty dataset, an adapter that stores into it, and a way to read it back.
pub struct Subject {
    pub(super) adapter: Arc<dyn DatasetAdapter>,
    pub(super) read: Box<dyn Fn() -> Vec<ReadRow>>,
    pub(super) reopen: Option<Box<Reopen>>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

impl Subject {
    /// `read` gives all rows of the dataset, in any order.
    pub fn new(
        adapter: Arc<dyn DatasetAdapter>,
        read: impl Fn() -> Vec<ReadRow> + 'static,
    ) -> Self {
        Self { adapter, read: Box::new(read), reopen: None }
    }

    /// `reopen` makes another adapter of the same dataset, as another process would.
    #[must_use]
    pub fn reopened_by(mut self, reopen: impl Fn() -> Arc<dyn DatasetAdapter> + 'static) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    pub(super) fn exactly_once(&self) -> bool {
        matches!(self.adapter.delivery(), Delivery::ExactlyOnce { .. })
    }

    pub(super) fn insert(&self, rows: &RowBuffer) {
        self.adapter.insert(&rows.batch()).expect("a healthy dataset takes a batch");
    }

    /// That the dataset holds the seqs of each journal: once each, or at least once each.
    pub(super) fn holds(
        &self,
        what: &str,
        expected: &[(JournalId, &[std::ops::RangeInclusive<u64>])],
    ) {
        let mut times: BTreeMap<(JournalId, Seq), u32> = BTreeMap::new();
        for row in (self.read)() {
            let id = row.id.expect("every row carries its journal and seq");
            *times.entry(id).or_default() += 1;
        }
        let wanted: Vec<(JournalId, Seq)> = expected
            .iter()
            .flat_map(|(id, runs)| runs.iter().flat_map(|run| run.clone().map(|s| (*id, Seq(s)))))
            .collect();
        for id in &wanted {
            assert!(times.contains_key(id), "{what}: {id:?} is missing");
        }
        assert_eq!(times.len(), wanted.len(), "{what}: there are rows that nobody sent");
        if self.exactly_once() {
            let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "{what}: stored more than once: {twice:?}");
        }
    }
}
