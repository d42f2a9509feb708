//! Waiting until everything accepted so far has settled: by the worker's thread where there is
//! one, else on the caller's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::FlushReport;
use super::shared::Shared;

/// Asks for everything to be handed over as long as it lives.
struct Flushing<'a>(&'a Shared);

impl<'a> Flushing<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.flushing.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.flushing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// See [`super::SafetyEventLogger::flush`].
pub(super) fn flush(shared: &Arc<Shared>, timeout: Option<Duration>) -> FlushReport {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    if !shared.is_running() {
        return inline(shared, deadline);
    }
    let _flushing = Flushing::new(shared);
    let targets = shared.targets();
    shared.scan_wanted.store(true, Ordering::Release);
    shared.wake_keeper();
    shared.call_worker();
    let complete = shared.wait_for_progress(deadline, || shared.settled(&targets));
    shared.report(complete)
}

/// Delivers on this thread.
pub(super) fn inline(shared: &Arc<Shared>, deadline: Option<Instant>) -> FlushReport {
    let _flushing = Flushing::new(shared);
    let targets = shared.targets();
    let kept = shared.kept();
    shared.scan_wanted.store(true, Ordering::Release);
    loop {
        let wait = shared.turn();
        if shared.settled(&targets) && shared.is_idle() {
            return shared.report(true);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || shared.kept() > kept + 1 {
            return shared.report(shared.settled(&targets));
        }
        match wait {
            Some(Duration::ZERO) => {}
            Some(wait) => shared.config.clock.sleep(left.map_or(wait, |left| left.min(wait))),
            // Nothing to do, and not settled: what is left can't be read or written now.
            None => return shared.report(shared.settled(&targets)),
        }
    }
}
