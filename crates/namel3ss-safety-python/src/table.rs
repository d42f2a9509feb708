//! Which adapter stores which dataset, as the worker looks it up: without a lock, which a thread
//! that a forked child does not have could hold for ever.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use namel3ss_safety::{DatasetAdapter, Registry};
use pyo3::prelude::*;

use crate::native::Native;

type Adapters = HashMap<String, Arc<dyn DatasetAdapter>>;

#[derive(Debug, Default)]
pub(crate) struct Shared(ArcSwap<Adapters>);

impl Registry for Shared {
    fn get(&self, name: &str) -> Option<Arc<dyn DatasetAdapter>> {
        self.0.load().get(name).cloned()
    }
}

/// See the module.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) Arc<Shared>);

#[pymethods]
impl Table {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// From now on `adapter` stores the dataset `name`.
    fn set(&self, name: String, adapter: &Native) {
        let adapter = &adapter.adapter;
        self.0.0.rcu(|adapters| {
            let mut adapters = Adapters::clone(adapters);
            adapters.insert(name.clone(), adapter.clone());
            adapters
        });
    }

    /// Nobody stores the dataset `name` any more.
    fn remove(&self, name: &str) {
        self.0.0.rcu(|adapters| {
            let mut adapters = Adapters::clone(adapters);
            adapters.remove(name);
            adapters
        });
    }
}
