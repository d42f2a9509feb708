//! One sink's reading of a lane: how far it is, and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::journal::cursor::Cursor;
use crate::stats::SinkCounters;

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cursor: Arc<Cursor>,
    pub(super) counters: Arc<SinkCounters>,
    /// Its own backlog is at the limit.
    full: AtomicBool,
}

impl Reader {
    pub(super) fn new(cursor: Cursor, counters: Arc<SinkCounters>) -> Self {
        Self { cursor: Arc::new(cursor), counters, full: AtomicBool::new(false) }
    }

    /// Whether its own backlog is at the limit.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Release);
    }
}
