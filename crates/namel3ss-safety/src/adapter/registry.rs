//! Which adapter stores which dataset.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::dataset::DatasetAdapter;

/// Finds an adapter by the dataset's name; [`AdapterRegistry`] is the usual one.
pub trait Registry: Send + Sync {
    /// The adapter of that name, if there is one.
    fn get(&self, name: &str) -> Option<Arc<dyn DatasetAdapter>>;

    /// The names that have an adapter, for hints; none where that is not known.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl fmt::Debug for dyn Registry + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A table of adapters by name, empty at first. Clones share it.
///
/// ```
/// use namel3ss_safety::{AdapterRegistry, MemoryAdapter};
/// use std::sync::Arc;
/// let registry = AdapterRegistry::default();
/// assert!(registry.register("safety_events", Arc::new(MemoryAdapter::default())).is_none());
/// assert!(registry.get("safety_events").is_some());
/// ```
#[derive(Clone, Debug, Default)]
pub struct AdapterRegistry {
    adapters: Arc<RwLock<HashMap<String, Arc<dyn DatasetAdapter>>>>,
}

impl AdapterRegistry {
    /// Stores rows for `name` in `adapter` from now on; returns the one it replaces.
    pub fn register(
        &self,
        name: impl Into<String>,
        adapter: Arc<dyn DatasetAdapter>,
    ) -> Option<Arc<dyn DatasetAdapter>> {
        let mut adapters = self.adapters.write().unwrap_or_else(PoisonError::into_inner);
        adapters.insert(name.into(), adapter)
    }

    /// The adapter of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn DatasetAdapter>> {
        self.adapters.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The names that have an adapter, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let adapters = self.adapters.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = adapters.keys().cloned().collect();
        names.sort_unstable();
        names
    }
}

impl Registry for AdapterRegistry {
    fn get(&self, name: &str) -> Option<Arc<dyn DatasetAdapter>> {
        AdapterRegistry::get(self, name)
    }

    fn names(&self) -> Vec<String> {
        AdapterRegistry::names(self)
    }
}
