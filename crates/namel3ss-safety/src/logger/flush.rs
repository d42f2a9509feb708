//! Waiting until everything accepted so far has settled: by the workers' threads where there are any,
//! else by one that is started for it. No adapter is called on the caller's thread, which may drive an
//! async runtime: a `block_on` panics there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::journals::{Ground, Lane};
use super::state::{Branch, Shared, Target, Worker};
use super::stats::FlushReport;
use crate::id::Seq;
use crate::journal::JournalError;
use crate::process;

/// Counts one more in a counter as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn new(counter: &'a AtomicU64) -> Self {
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
    wait(shared, timeout, &shared.flushing, |lane| lane.journal.last())
}

/// Delivers what was handed over before, and nothing that was logged after it.
pub(super) fn make_room(shared: &Arc<Shared>) -> FlushReport {
    wait(shared, None, &shared.urging, Lane::dispatched)
}

/// Waits until everything up to `target` in each journal has settled: by the workers that run, and on
/// behalf of those that do not. `urged` has them hurry meanwhile.
fn wait(
    shared: &Arc<Shared>,
    timeout: Option<Duration>,
    urged: &AtomicU64,
    target: impl Fn(&Lane) -> Seq,
) -> FlushReport {
    if shared.is_delivering_here() {
        return itself(shared);
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let begun = shared.begun(deadline);
    let _urged = Counted::new(urged);
    let targets: Vec<Target> = shared.lanes().map(|lane| (lane.index, target(lane))).collect();
    let (running, mut idle): (Vec<_>, Vec<_>) =
        shared.branches.iter().partition(|branch| branch.is_running());
    let mut behind = Vec::new();
    if !running.is_empty() {
        let request = shared.request();
        shared.wake_keeper();
        shared.call_workers();
        behind = deliver(shared, &std::mem::take(&mut idle), &targets, deadline);
        for branch in running {
            let settled = || shared.settled(branch, &targets);
            if branch.wait_for_progress(deadline, request, settled) {
                continue;
            }
            if !branch.is_running() && branch.progress().kept < request {
                // Somebody stopped it meanwhile.
                idle.push(branch);
            } else {
                behind.push(branch);
            }
        }
    }
    behind.extend(deliver(shared, &idle, &targets, deadline));
    shared.report(&begun, &behind)
}

/// See [`super::SafetyEventLogger::sync`].
pub(super) fn sync(shared: &Arc<Shared>) -> Result<Seq, JournalError> {
    let active = shared.open_lane();
    if shared.left_behind() > 0 {
        let text = "events wait in the journal of another user";
        return Err(JournalError::Sync(text.into()));
    }
    let before = |lane: &&Lane| lane.index != active.index && !lane.is_done();
    for lane in shared.lanes().filter(before).chain([active]) {
        if lane.ground() == Ground::Memory {
            return Err(JournalError::Sync("it is in memory".into()));
        }
        if lane.index != active.index {
            lane.journal.sync()?;
        }
    }
    active.journal.sync()
}

/// How much longer than the deadline a step may take that has begun.
const GRACE: Duration = Duration::from_millis(50);

/// Delivers on a thread of its own, for which it waits until the deadline; which of the branches are
/// behind then. On this thread where the logger may start none, or no thread is to be had, and within a
/// delivery: that thread is none of a caller's, and adapters that flush each other's loggers are found
/// by it.
fn deliver<'a>(
    shared: &'a Arc<Shared>,
    branches: &[&'a Branch],
    targets: &[Target],
    deadline: Option<Instant>,
) -> Vec<&'a Branch> {
    if branches.is_empty() {
        return Vec::new();
    }
    if !shared.config.threads || Shared::is_delivering_any_here() {
        return deliver_here(shared, branches, targets, deadline);
    }
    let (say, hear) = sync_channel(1);
    let started = process::spawn("n3-safety-flush", shared.config.worker_stack_bytes, {
        let (shared, targets) = (Arc::clone(shared), targets.to_vec());
        let indexes: Vec<usize> = branches.iter().map(|branch| branch.index).collect();
        move || {
            let branches: Vec<_> = indexes.iter().map(|index| &shared.branches[*index]).collect();
            let behind = deliver_here(&shared, &branches, &targets, deadline);
            let behind: Vec<usize> = behind.iter().map(|branch| branch.index).collect();
            // Before the caller goes on, who may drop the logger.
            drop(shared);
            let _ = say.send(behind);
        }
    });
    if started.is_err() {
        return deliver_here(shared, branches, targets, deadline);
    }
    let left = deadline.map(|d| d.saturating_duration_since(Instant::now()) + GRACE);
    let behind = match left {
        Some(left) => hear.recv_timeout(left).ok(),
        None => hear.recv().ok(),
    };
    let is_behind = |branch: &&&Branch| match &behind {
        Some(behind) => behind.contains(&branch.index),
        // It is in the middle of a call.
        None => !shared.settled(branch, targets),
    };
    branches.iter().filter(is_behind).copied().collect()
}

/// A branch that is delivered on this thread.
struct Going<'a> {
    branch: &'a Branch,
    worker: MutexGuard<'a, Worker>,
    /// Turns beyond what was asked for.
    extra: u32,
}

/// What a step has come to; the longest wait is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stepped {
    Settled,
    Behind,
    Again,
    /// Somebody else is moving the frames, or is about to commit one.
    Poll,
    Wait(Duration),
}

/// Delivers on this thread, a step of each branch in turn; which of them are behind in the end.
fn deliver_here<'a>(
    shared: &Arc<Shared>,
    branches: &[&'a Branch],
    targets: &[Target],
    deadline: Option<Instant>,
) -> Vec<&'a Branch> {
    let mut behind = Vec::new();
    let request = shared.request();
    let mut going = Vec::new();
    for branch in branches {
        match branch.worker_until(deadline) {
            Some(worker) => going.push(Going { branch, worker, extra: 0 }),
            None if shared.settled(branch, targets) => {}
            None => behind.push(*branch),
        }
    }
    let left = || deadline.map(|d| d.saturating_duration_since(Instant::now()));
    loop {
        let mut soonest = None;
        going.retain_mut(|going| {
            let late = || left().is_some_and(|left| left.is_zero());
            let stepped = going.step(shared, targets, request, late);
            match stepped {
                Stepped::Settled => return false,
                Stepped::Behind => behind.push(going.branch),
                _ => soonest = Some(soonest.map_or(stepped, |other| stepped.min(other))),
            }
            stepped > Stepped::Behind
        });
        match soonest {
            None | Some(Stepped::Settled | Stepped::Behind) => break,
            Some(Stepped::Again) => {}
            Some(Stepped::Poll) => std::thread::sleep(POLL),
            Some(Stepped::Wait(wait)) => {
                shared.config.clock.sleep(left().map_or(wait, |left| left.min(wait)));
            }
        }
    }
    if !shared.has_keeper() {
        // What it ends, now that no worker is held here.
        drop(going);
        shared.maintain(shared.config.clock.monotonic());
    }
    behind
}

impl Going<'_> {
    fn step(
        &mut self,
        shared: &Arc<Shared>,
        targets: &[Target],
        request: u64,
        late: impl Fn() -> bool,
    ) -> Stepped {
        let wait = shared.turn_of(self.branch, &mut self.worker);
        let progress = self.branch.progress();
        let settled = || shared.settled(self.branch, targets);
        if progress.scanned >= request && settled() {
            self.extra += 1;
            if self.worker.idle || self.extra > EXTRA_TURNS_MAX {
                return Stepped::Settled;
            }
        }
        if late() || progress.kept >= request {
            return if settled() { Stepped::Settled } else { Stepped::Behind };
        }
        match wait {
            Some(Duration::ZERO) => Stepped::Again,
            _ if self.worker.idle && !settled() => Stepped::Poll,
            Some(wait) => Stepped::Wait(wait),
            None => Stepped::Again,
        }
    }
}

/// An adapter that waits for its own delivery would wait for ever.
fn itself(shared: &Shared) -> FlushReport {
    let error = "flush was called by an adapter, in the middle of a delivery".to_owned();
    let behind: Vec<_> = shared.branches.iter().collect();
    FlushReport { error: Some(error), ..shared.report(&shared.begun(None), &behind) }
}
