//! Whether a logger is started, and how often it was: a `stop` that returns late must not stop a
//! logger that was started again in the meantime.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a logger is doing; the number of its starts is stored above these two bits.
const STOPPED: u64 = 0;
const STARTED: u64 = 1;
/// A `stop` is delivering what was logged before it.
const STOPPING: u64 = 2;
const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Life {
    word: AtomicU64,
    autostart: bool,
}

impl Life {
    pub(super) fn new(autostart: bool) -> Self {
        Self { word: AtomicU64::new(STOPPED), autostart }
    }

    fn state(&self) -> u64 {
        self.word.load(Ordering::SeqCst) & STATE
    }

    /// Whether buffers are handed over.
    pub(super) fn is_started(&self) -> bool {
        self.state() != STOPPED
    }

    /// Whether an event must start the logger before it is accepted.
    pub(super) fn wants_start(&self) -> bool {
        self.autostart && self.state() != STARTED
    }

    /// Whether buffers will be handed over: a logger that starts itself always has a worker soon.
    pub(super) fn may_hand_over(&self) -> bool {
        self.autostart || self.is_started()
    }

    /// A start also counts where the logger is started already: a `stop` may be on its way.
    pub(super) fn start(&self) {
        let next = |word: u64| Some(((word >> STATE_BITS) + 1) << STATE_BITS | STARTED);
        let _ = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }

    /// Begins a stop; returns the number of starts so far.
    pub(super) fn begin_stop(&self) -> u64 {
        let stopping = |word: u64| (word & STATE == STARTED).then_some(word & !STATE | STOPPING);
        let updated = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stopping);
        let (Ok(word) | Err(word)) = updated;
        word >> STATE_BITS
    }

    /// Ends the stop that began after so many starts; false if there was a start since then.
    pub(super) fn end_stop(&self, starts: u64) -> bool {
        let stopped = |word: u64| (word >> STATE_BITS == starts).then_some(word & !STATE);
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stopped).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_stop_does_not_end_a_later_start() {
        let life = Life::new(true);
        assert!(life.wants_start() && !life.is_started());
        life.start();
        let first = life.begin_stop();
        assert!(life.wants_start() && life.is_started());
        let second = life.begin_stop();
        life.start();
        assert!(!life.end_stop(first) && !life.end_stop(second));
        assert!(life.is_started() && !life.wants_start());
        let third = life.begin_stop();
        assert!(life.end_stop(third) && life.end_stop(third));
        assert!(!life.is_started());
    }
}
