//! Events into a dataset through the real logger, so that they are on disk before they are counted.

use std::sync::Arc;

use namel3ss_safety::{DatasetAdapter, JournalId, RowBuffer, SafetyEvent, Seq};

use crate::error::Error;

pub(crate) struct Feed {
    adapter: Arc<dyn DatasetAdapter>,
    rows: RowBuffer,
    logged: u64,
    flushed: u64,
}

/// What became of what was fed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) logged: u64,
    pub(crate) flushed: u64,
    pub(crate) fallback: u64,
    pub(crate) dropped: u64,
    pub(crate) pending: u64,
}

impl Feed {
    pub(crate) fn start(adapter: Arc<dyn DatasetAdapter>, _dataset: &str) -> Result<Self, Error> {
        let rows = RowBuffer::new(JournalId::generate());
        Ok(Self { adapter, rows, logged: 0, flushed: 0 })
    }

    pub(crate) fn log(&mut self, event: &SafetyEvent) {
        self.logged += 1;
        self.rows.push_event(Seq(self.logged), event);
    }

    pub(crate) fn fate(&self) -> Fate {
        Fate { logged: self.logged, flushed: self.flushed, ..Fate::default() }
    }

    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        if !self.rows.is_empty() {
            self.adapter.insert(&self.rows.batch()).map_err(|e| Error::failed(e.to_string()))?;
            self.flushed = self.logged;
        }
        Ok(())
    }
}
