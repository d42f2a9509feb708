//! The loggers of this process, so that all of them can be told that it was copied.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::open::Renewal;
use super::shared::{Shared, lock};
use crate::process::{count_forks, forks};

/// The loggers of a process that is so many forks away from the first one; a lock that a thread held
/// at the fork is not waited for in the child, which goes on to the next.
#[derive(Debug)]
struct Live {
    loggers: Mutex<Vec<Weak<Shared>>>,
    next: OnceLock<Box<Live>>,
}

static FIRST: Live = Live::new();

impl Live {
    const fn new() -> Self {
        Self { loggers: Mutex::new(Vec::new()), next: OnceLock::new() }
    }

    fn here() -> &'static Self {
        count_forks();
        let mut live = &FIRST;
        for _ in 0..forks() {
            live = live.next.get_or_init(|| Box::new(Self::new()));
        }
        live
    }
}

/// Keeps a logger in mind as long as it lives.
pub(super) fn enter(shared: &Arc<Shared>) {
    let mut loggers = lock(&Live::here().loggers);
    if loggers.len() == loggers.capacity() {
        loggers.retain(|logger| logger.strong_count() > 0);
    }
    loggers.push(Arc::downgrade(shared));
}

/// Tells every logger of this process that it may be one of several copies, restored from one
/// snapshot: call it in each copy, before it logs anything. Each logger begins a new journal, as
/// after a fork, and event ids are made from new random numbers.
///
/// Copies of one process have the same journals, seqs and random numbers. Without this call two
/// events of two copies have the same `journal_id` and `seq`, and a dataset takes the second for the
/// first, delivered again. What was logged before the snapshot and is not delivered yet is in each
/// copy, under the same `journal_id` and `seq`.
///
/// **Each copy needs a home of its own:** two copies on one home write to the same file, whatever
/// they call.
///
/// ```
/// use namel3ss_safety::{AdapterRegistry, MemoryAdapter, SafetyEvent, SafetyEventLogger};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let home = tempfile::tempdir()?;
/// let registry = AdapterRegistry::default();
/// registry.register("safety_events", Arc::new(MemoryAdapter::default()));
/// let logger =
///     SafetyEventLogger::builder().adapter_registry(registry).home(home.path()).build()?;
/// let _ = logger.log(&SafetyEvent::default());
/// let before = logger.journal_folder();
///
/// namel3ss_safety::after_restore();
/// let _ = logger.log(&SafetyEvent::default());
/// assert_ne!(logger.journal_folder(), before);
/// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn after_restore() {
    crate::id::reseed();
    // Not under the lock: a journal takes time, and whoever makes a logger meanwhile waits for it.
    let loggers = lock(&Live::here().loggers).clone();
    for logger in loggers.iter().filter_map(Weak::upgrade) {
        logger.begin_journal(Renewal::Restored);
    }
}
