//! Orphaned journals, adopted by hand: each is delivered by a logger of its own dataset.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use namel3ss_safety::{AdapterError, Batch, Batching, DatasetAdapter, Delivery};

/// A destination as people read it: a logger without an adapter has none.
pub(crate) fn shown(destination: &str) -> &str {
    if destination.is_empty() { "a dataset that has no adapter" } else { destination }
}

/// The adapter that a recorded destination names, if it is one that this build can open. A default
/// dataset that is the same place comes first: its URL may hold the password, which no record does.
pub(crate) fn open(destination: &str) -> Option<Arc<dyn DatasetAdapter>> {
    let ours = crate::destination::open(&[]).unwrap_or_default();
    if let Some(adapter) = ours.into_iter().find(|adapter| adapter.identity() == destination) {
        return Some(adapter);
    }
    let adapter = namel3ss_safety_stores::open(destination).ok()?;
    // Anything else would deliver to another place than the one that was meant.
    (adapter.identity() == destination).then_some(adapter)
}

/// What to type to have a journal delivered to one of its destinations.
pub(crate) fn command(dataset: &str, destination: &str) -> String {
    let dataset = match dataset {
        crate::place::DEFAULT_DATASET => String::new(),
        name => format!(" --dataset {}", crate::shell::shell(name.as_ref())),
    };
    let to = if open(destination).is_some() { "" } else { " --to URL" };
    format!("n3-safety recover{dataset}{to}")
}

/// Adapters that go by another one's identity, so that a logger adopts journals which were meant for
/// that one; it counts the rows that landed in each of them.
pub(crate) struct Instead {
    adapters: Vec<Arc<dyn DatasetAdapter>>,
    identity: String,
    stored: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Instead {
    /// Of adapters, one at least.
    pub(crate) fn new(adapters: Vec<Arc<dyn DatasetAdapter>>, identity: &str) -> Self {
        Self {
            adapters,
            identity: identity.to_owned(),
            stored: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// What the dataset said last when it did not take rows.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rows that the dataset has taken.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instead").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl DatasetAdapter for Instead {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        // One that has the batch already knows it, when another was not there and it comes again.
        let result = self.adapters.iter().try_for_each(|adapter| adapter.insert(batch));
        match &result {
            Ok(()) => {
                self.stored.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Err(error) => {
                let mut last = self.error.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(error.to_string());
            }
        }
        result
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn delivery(&self) -> Delivery {
        let least =
            |adapter: &&Arc<dyn DatasetAdapter>| adapter.delivery() == Delivery::AtLeastOnce;
        let least = self.adapters.iter().find(least).or(self.adapters.first());
        least.map_or(Delivery::AtLeastOnce, |adapter| adapter.delivery())
    }

    fn batching(&self) -> Batching {
        self.adapters.first().map_or_else(Batching::default, |adapter| adapter.batching())
    }
}
