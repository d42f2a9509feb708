//! Waiting until everything accepted so far has settled: by the worker's thread where there is
//! one, else on the caller's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::FlushReport;
use super::lane::Lane;
use super::shared::Shared;
use crate::id::Seq;

/// Counts one more in a counter as long as it lives.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How often a flush looks for frames that others move.
const POLL: Duration = Duration::from_millis(1);
/// How many turns beyond what was asked for are given to fallback files that wait for a replay,
/// where other threads keep logging.
const EXTRA_TURNS_MAX: u32 = 64;

/// See [`super::SafetyEventLogger::flush`].
pub(super) fn flush(shared: &Arc<Shared>, timeout: Option<Duration>) -> FlushReport {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if shared.is_delivering_here() {
        return itself(shared);
    }
    if !shared.is_running() {
        return inline(shared, deadline);
    }
    let _flushing = Counted::new(&shared.flushing);
    let targets = shared.targets();
    let request = shared.request();
    shared.wake_keeper();
    shared.call_worker();
    let complete = shared.wait_for_progress(deadline, request, || shared.settled(&targets));
    if !complete && !shared.is_running() && shared.progress().kept < request {
        // Somebody stopped it meanwhile.
        return inline(shared, deadline);
    }
    shared.report(complete)
}

/// Delivers on this thread.
pub(super) fn inline(shared: &Arc<Shared>, deadline: Option<Instant>) -> FlushReport {
    if shared.is_delivering_here() {
        return itself(shared);
    }
    let _flushing = Counted::new(&shared.flushing);
    deliver(shared, &shared.targets(), deadline)
}

/// Delivers on this thread what was handed over before, and nothing that was logged after it.
pub(super) fn handed_over(shared: &Arc<Shared>) -> FlushReport {
    if shared.is_delivering_here() {
        return itself(shared);
    }
    let _urging = Counted::new(&shared.urging);
    let targets: Vec<Seq> = shared.lanes().map(Lane::handed).collect();
    deliver(shared, &targets, None)
}

fn deliver(shared: &Arc<Shared>, targets: &[Seq], deadline: Option<Instant>) -> FlushReport {
    let request = shared.request();
    let Some(mut worker) = shared.worker_until(deadline) else {
        return shared.report(shared.settled(targets));
    };
    let mut extra = 0;
    loop {
        let wait = shared.turn_of(&mut worker);
        let progress = shared.progress();
        if progress.scanned >= request && shared.settled(targets) {
            extra += 1;
            if worker.is_idle() || extra > EXTRA_TURNS_MAX {
                return shared.report(true);
            }
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || progress.kept >= request {
            return shared.report(shared.settled(targets));
        }
        match wait {
            Some(Duration::ZERO) => {}
            // Somebody else is moving the frames, or is about to commit one.
            _ if worker.is_idle() && !shared.settled(targets) => std::thread::sleep(POLL),
            Some(wait) => shared.config.clock.sleep(left.map_or(wait, |left| left.min(wait))),
            None => {}
        }
    }
}

/// An adapter that waits for its own delivery would wait for ever.
fn itself(shared: &Shared) -> FlushReport {
    let error = "flush was called by an adapter, in the middle of a delivery".to_owned();
    FlushReport { complete: false, error: Some(error), ..shared.report(false) }
}
