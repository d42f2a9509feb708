//! How long to wait before the next attempt: doubling, bounded, and a little uneven, so that many
//! processes that lost the same dataset do not all come back at the same instant.
//!
//! Our own twenty lines rather than a crate: the sink is a state machine that asks for one wait at
//! a time and keeps the count itself, which an iterator of waits fits badly.

use std::time::Duration;

/// The longest wait between two attempts, whatever was asked for.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// The shortest wait before a batch that is kept is tried again: with a delay of zero, a dataset
/// that is down would otherwise keep one core busy.
const KEPT_WAIT_MIN: Duration = Duration::from_millis(100);

/// `delay` × 1, 2, 4, … after the first, second, third failure, up to [`WAIT_MAX`], ±10 %.
pub(super) fn wait(delay: Duration, failures: u32) -> Duration {
    let doubled = doubled(delay, failures);
    // `doubled` is at most a minute, so that this neither overflows nor loses anything.
    doubled.mul_f64(0.9 + 0.2 * fastrand::f64()).min(WAIT_MAX)
}

/// As [`wait`], for a batch that neither the dataset nor the fallback folder took.
pub(super) fn kept_wait(delay: Duration, failures: u32) -> Duration {
    wait(delay.max(KEPT_WAIT_MIN), failures)
}

fn doubled(delay: Duration, failures: u32) -> Duration {
    // 2^16 times a nanosecond-sized delay is still short, but 16 failures more end that as well.
    let factor = 1_u32 << failures.saturating_sub(1).min(31);
    delay.checked_mul(factor).map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_never_overflow() {
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99, 60)] {
            let wait = wait(Duration::from_secs(1), failures).as_secs_f64();
            let seconds = f64::from(seconds);
            assert!((seconds * 0.899..=seconds * 1.101).contains(&wait), "{failures}: {wait}");
            assert!(wait <= 60.0);
        }
        assert!(wait(Duration::MAX, u32::MAX) <= WAIT_MAX);
        assert_eq!(wait(Duration::ZERO, u32::MAX), Duration::ZERO);
        assert!(kept_wait(Duration::ZERO, 1) >= Duration::from_millis(90));
    }
}
