//! Adapters that misbehave on purpose, each around one that does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::adapter::{AdapterError, Batching, DatasetAdapter, Delivery, Failure};
use crate::batch::{Batch, Row};

/// What a wrapper does with an insert; all else goes to the adapter inside.
macro_rules! wrapper {
    ($name:ident, |$self:ident, $batch:ident| $insert:expr) => {
        impl DatasetAdapter for $name {
            fn insert(&$self, $batch: &Batch<'_>) -> Result<(), AdapterError> {
                $insert
            }

            fn identity(&self) -> String {
                self.inner.identity()
            }

            fn delivery(&self) -> Delivery {
                self.inner.delivery()
            }

            fn batching(&self) -> Batching {
                self.inner.batching()
            }
        }
    };
}

fn failed() -> AdapterError {
    AdapterError::transient("store the batch: this adapter fails on purpose")
}

/// Takes one off a count that does not go below zero; says whether there was one.
fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Waits before each insert.
#[derive(Debug)]
pub struct Slow {
    inner: Arc<dyn DatasetAdapter>,
    wait: Duration,
}

impl Slow {
    /// Around `inner`, waiting for `wait`.
    #[must_use]
    pub fn new(inner: Arc<dyn DatasetAdapter>, wait: Duration) -> Self {
        Self { inner, wait }
    }
}

wrapper!(Slow, |self, batch| {
    std::thread::sleep(self.wait);
    self.inner.insert(batch)
});

/// Fails some times, without storing anything, and works from then on.
#[derive(Debug)]
pub struct FailTimes {
    inner: Arc<dyn DatasetAdapter>,
    left: AtomicU64,
}

impl FailTimes {
    /// Around `inner`, failing `times` times.
    #[must_use]
    pub fn new(inner: Arc<dyn DatasetAdapter>, times: u64) -> Self {
        Self { inner, left: AtomicU64::new(times) }
    }

    /// Fails so many more times.
    pub fn fail(&self, times: u64) {
        self.left.store(times, Ordering::SeqCst);
    }
}

wrapper!(FailTimes, |self, batch| if take(&self.left) {
    Err(failed())
} else {
    self.inner.insert(batch)
});

/// Never stores anything.
#[derive(Debug)]
pub struct FailAlways {
    inner: Arc<dyn DatasetAdapter>,
}

impl FailAlways {
    /// In the place of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn DatasetAdapter>) -> Self {
        Self { inner }
    }
}

wrapper!(FailAlways, |self, _batch| Err(failed()));

type Predicate = dyn Fn(&Row<'_>) -> bool + Send + Sync;

/// Refuses every batch that has a row of some kind, and names these rows.
pub struct FailOnRow {
    inner: Arc<dyn DatasetAdapter>,
    is_poison: Box<Predicate>,
}

impl FailOnRow {
    /// Around `inner`, refusing the rows for which `is_poison` is true.
    #[must_use]
    pub fn new(
        inner: Arc<dyn DatasetAdapter>,
        is_poison: impl Fn(&Row<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { inner, is_poison: Box::new(is_poison) }
    }
}

impl fmt::Debug for FailOnRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailOnRow").field("inner", &self.inner).finish_non_exhaustive()
    }
}

wrapper!(FailOnRow, |self, batch| {
    let rows = batch.rows().enumerate();
    let poison: Vec<usize> =
        rows.filter(|(_, row)| (self.is_poison)(row)).map(|(at, _)| at).collect();
    if poison.is_empty() {
        self.inner.insert(batch)
    } else {
        let error = "store the batch: this adapter refuses some rows on purpose";
        Err(AdapterError::new(Failure::Poison(poison), error))
    }
});

/// Stores a batch and says that it did not, as a connection does that is lost after the commit.
#[derive(Debug)]
pub struct StoresButReportsFailure {
    inner: Arc<dyn DatasetAdapter>,
    left: AtomicU64,
}

impl StoresButReportsFailure {
    /// Around `inner`, lying `times` times.
    #[must_use]
    pub fn new(inner: Arc<dyn DatasetAdapter>, times: u64) -> Self {
        Self { inner, left: AtomicU64::new(times) }
    }
}

wrapper!(StoresButReportsFailure, |self, batch| {
    self.inner.insert(batch)?;
    if take(&self.left) { Err(failed()) } else { Ok(()) }
});
