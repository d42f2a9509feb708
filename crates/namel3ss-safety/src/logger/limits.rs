//! What the size of the backlog means: when a gathered batch goes out, how long a call is held up,
//! and from where on the overflow strategy applies.

use std::time::Duration;

use super::lane::{Gate, Lane};
use super::shared::Shared;
use crate::notice::Level;

/// The wait of a call where the backlog reaches its limit.
pub(super) const WAIT_AT_LIMIT: Duration = Duration::from_micros(50);
/// The wait of a call where it reaches twice its limit; the longest there is.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// How much waits for one destination, and how that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Bytes on the disk that the destination has not confirmed, those on their way included.
    pub(super) bytes: u64,
    /// Those of them that nobody has taken: neither on their way nor dropped.
    pub(super) untaken: u64,
    /// The limit that the user set.
    pub(super) limit: u64,
    /// Its last batch was confirmed, and the present one is within its deadline.
    pub(super) delivering: bool,
}

impl Backlog {
    /// Whether what gathers is handed over and sent at once.
    pub(super) fn is_pressed(self) -> bool {
        self.bytes >= self.limit / 2
    }

    /// Whether nothing more is accepted unless something else goes.
    pub(super) fn is_full(self) -> bool {
        match self.delivering {
            true => self.bytes >= self.limit.saturating_mul(2),
            false => self.untaken >= self.limit,
        }
    }

    /// How long a call is held up, so that a destination that is only slower than its callers loses
    /// nothing: a little from half of the limit on, and between the limit and twice it ever more.
    pub(super) fn wait(self) -> Duration {
        let half = self.limit / 2;
        if !self.delivering || self.bytes <= half {
            return Duration::ZERO;
        }
        if self.bytes < self.limit {
            return WAIT_AT_LIMIT.mul_f64((self.bytes - half) as f64 / half.max(1) as f64);
        }
        let share = (self.bytes - self.limit) as f64 / self.limit as f64;
        let growth = WAIT_MAX.as_secs_f64() / WAIT_AT_LIMIT.as_secs_f64();
        WAIT_AT_LIMIT.mul_f64(growth.powf(share.min(1.0)))
    }
}

impl Shared {
    /// Tells the lane whether its backlog is at its limit, unless somebody else does at this moment.
    pub(super) fn gate(&self, lane: &Lane) {
        let Some(gating) = lane.gating() else { return };
        let config = &self.config;
        let has_workers = config.threads && self.life.is_started();
        let now = config.clock.monotonic();
        let mut gate = Gate::default();
        for branch in &self.branches {
            let reader = branch.reader(lane);
            let acked = reader.cursor.state().acked;
            let backlog = Backlog {
                bytes: lane.journal.bytes_from(acked.next()),
                untaken: lane.journal.bytes_from(reader.cursor.front()),
                limit: config.backlog_bytes_max,
                delivering: has_workers && branch.is_delivering(now, config.adapter_timeout),
            };
            // The buffer is no backlog, however large: while nothing is handed over, it can be. What is
            // behind a full buffer is one, though: on a busy machine nobody may come to hand it over.
            let is_backlog = reader.dispatched() >= reader.cursor.front()
                || lane.buffered() > config.buffer_size;
            let at_limit = is_backlog && backlog.is_full();
            gate.full |= at_limit;
            gate.wait = gate.wait.max(backlog.wait());
            if reader.set(at_limit, backlog.is_pressed()) && has_workers {
                branch.call();
            }
        }
        if gate.full && !lane.is_backlog_full() {
            let behind = self.branches.iter().filter(|branch| branch.reader(lane).is_full());
            let behind: Vec<&str> = behind.map(|branch| branch.sink.shown_name()).collect();
            let text = format!(
                "the backlog is at its limit of {} bytes: {} applies until the dataset has caught up: {}",
                config.backlog_bytes_max,
                config.overflow.as_str(),
                behind.join(", ")
            );
            config.notices.say_rarely(Level::Warning, "backlog", "", text);
        }
        lane.set_gate(gating, gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_delivers_has_twice_the_limit() {
        let at = |bytes, delivering| Backlog { bytes, untaken: bytes, limit: 1000, delivering };
        assert!(!at(499, true).is_pressed() && at(500, true).is_pressed());
        assert!(!at(999, false).is_full() && at(1000, false).is_full());
        assert!(!at(1999, true).is_full() && at(2000, true).is_full());
    }

    #[test]
    fn the_wait_of_a_call_grows_from_50_microseconds_to_half_a_second() {
        let at = |bytes, delivering| Backlog { bytes, untaken: 0, limit: 1 << 20, delivering };
        let wait = |bytes| at(bytes, true).wait();
        assert_eq!(wait(1 << 19), Duration::ZERO);
        assert!(wait(900 << 10) < WAIT_AT_LIMIT);
        assert_eq!(wait(1 << 20), WAIT_AT_LIMIT);
        let waits: Vec<Duration> = (8..=24).map(|eighth| wait(eighth << 17)).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        let most = waits.last().unwrap().as_millis();
        assert!((499..=500).contains(&most), "{most}");
        assert_eq!(at(1 << 22, false).wait(), Duration::ZERO);
    }
}
