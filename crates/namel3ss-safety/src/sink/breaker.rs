//! Whether a dataset is known to be failing: then a batch is tried once instead of `max_retries`
//! times, so that an outage does not dam up the journal.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Closed while the dataset answers. There is no timer: while it is open, each batch is the one
/// attempt that finds out whether the dataset is back.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: AtomicBool,
    /// Batches that were filed since the dataset last took something.
    filed: AtomicU32,
}

/// How long batches are joined at first, in an outage that has just begun.
const JOIN_MIN: Duration = Duration::from_secs(1);
/// And at most: after 7 files in the first minute, 1,415 more in a day, so fewer than one a minute.
const JOIN_MAX: Duration = Duration::from_secs(61);

impl Breaker {
    /// Whether the last batch could not be delivered.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// A batch exhausted its attempts.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// A batch was filed because the dataset took nothing.
    pub(super) fn filed(&self) {
        let filed = self.filed.load(Ordering::Relaxed);
        self.filed.store(filed.saturating_add(1), Ordering::Relaxed);
    }

    /// How long rows are joined before they become the next batch of this outage: twice as long after
    /// each batch, so that a short outage ends soon and a long one makes few files.
    pub(super) fn join_for(&self) -> Duration {
        let doubled = self.filed.load(Ordering::Relaxed).saturating_sub(1).min(6);
        (JOIN_MIN * (1 << doubled)).min(JOIN_MAX)
    }

    /// An attempt succeeded. True when it was the first one after an outage.
    pub(super) fn close(&self) -> bool {
        // Read first: the usual case must not take the cache line from other threads.
        if self.filed.load(Ordering::Relaxed) > 0 {
            self.filed.store(0, Ordering::Relaxed);
        }
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

    #[test]
    fn a_day_of_outage_is_joined_into_fewer_batches_than_it_has_minutes() {
        let (breaker, mut now, mut files) = (Breaker::default(), Duration::ZERO, 0);
        breaker.open();
        while now < Duration::from_secs(86_400) {
            breaker.filed();
            files += 1;
            now += breaker.join_for();
        }
        assert!((1400..1440).contains(&files), "{files}");
        breaker.close();
        assert_eq!(breaker.join_for(), JOIN_MIN);
    }
}
