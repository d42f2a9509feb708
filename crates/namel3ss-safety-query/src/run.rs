//! What the parts of SQLite that we provide share while a statement runs, and report behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use namel3ss_safety::Timestamp;
use namel3ss_safety_stores::read::ScanError;

/// Shared by a database's tables, functions and guards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// When the statement ends at the latest.
    pub(crate) deadline: Option<Instant>,
    /// What `ago` counts from: one moment for the whole statement.
    pub(crate) now: Timestamp,
    /// Why a scan failed: SQLite keeps its text only.
    pub(crate) failed: Option<ScanError>,
    /// What the statement may not do.
    pub(crate) denied: Option<String>,
    /// How many rows each table could not read.
    pub(crate) unreadable: Vec<(String, u64)>,
    /// What datasets lack at their ends.
    pub(crate) lacks: Vec<String>,
}

impl Run {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.state().deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// A scan of a table ended, or goes on: it could not read so many rows so far.
    pub(crate) fn unreadable(&self, table: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        let mut state = self.state();
        // Several scans of one dataset find the same rows.
        match state.unreadable.iter_mut().find(|(name, _)| name == table) {
            Some((_, most)) => *most = rows.max(*most),
            None => state.unreadable.push((table.to_owned(), rows)),
        }
    }

    pub(crate) fn lacks(&self, what: String) {
        let mut state = self.state();
        if !state.lacks.contains(&what) {
            state.lacks.push(what);
        }
    }
}
