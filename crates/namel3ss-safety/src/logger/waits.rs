//! How long one event waits for datasets that are catching up, before something is dropped.

use std::time::{Duration, Instant};

/// How long one event waits for a dataset that is catching up, and how often at least: it is woken
/// early by what other sinks do, and late on a busy machine.
const CATCH_UP_WAIT: Duration = Duration::from_millis(500);
const CATCH_UP_WAITS: u32 = 25;
/// See the module.
#[derive(Default)]
pub(super) struct Waits {
    times: u32,
    since: Option<Instant>,
}

impl Waits {
    /// Whether it has waited long enough.
    pub(super) fn is_over(&self) -> bool {
        self.times >= CATCH_UP_WAITS && self.since.is_some_and(|at| at.elapsed() >= CATCH_UP_WAIT)
    }

    /// Whether to wait once more.
    pub(super) fn go_on(&mut self) -> bool {
        self.since.get_or_insert_with(Instant::now);
        self.times += 1;
        !self.is_over()
    }
}
