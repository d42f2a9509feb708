//! Whether a dataset is known to be failing: then a batch is tried once instead of `max_retries`
//! times, so that an outage does not dam up the journal.

use std::sync::atomic::{AtomicBool, Ordering};

/// Closed while the dataset answers. There is no timer: while it is open, each batch is the one
/// attempt that finds out whether the dataset is back.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: AtomicBool,
}

impl Breaker {
    /// Whether the last batch could not be delivered.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// A batch exhausted its attempts.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// An attempt succeeded. True when it was the first one after an outage.
    pub(super) fn close(&self) -> bool {
        // Read first: the usual case must not take the cache line from other threads.
        self.is_open() && self.open.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_is_said_once() {
        let breaker = Breaker::default();
        assert!(!breaker.close());
        breaker.open();
        breaker.open();
        assert!(breaker.is_open());
        assert!(breaker.close());
        assert!(!breaker.close());
    }
}
