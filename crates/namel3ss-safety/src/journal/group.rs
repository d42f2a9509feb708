//! Group commit: of all who want to be synced at once, one leads, and its sync covers the others.
//!
//! Those who wait are woken by name and look at one atomic word, not at a lock that all of them
//! would queue for: with 64 of them on two cores that was the larger half of the cost.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::id::Seq;
use crate::locks::lock;

/// How long a leader waits for those whom the last sync has just let go to come again.
const GATHER_MAX: Duration = Duration::from_micros(200);
/// How many must have come last time for that wait to be worth it.
const GATHER_FROM: u64 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    through: AtomicU64,
    failures: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leading: bool,
    waiting: Vec<Thread>,
    /// How many the last sync let go.
    group: u64,
    error: String,
}

impl GroupCommit {
    /// The last seq that a sync has covered.
    pub(super) fn through(&self) -> Seq {
        Seq(self.through.load(Ordering::Acquire))
    }

    /// Returns once a sync has covered `target`, its own or another's. `last` says what was
    /// appended; `sync` covers at least the seq it is given, and says up to where.
    pub(super) fn commit(
        &self,
        target: Seq,
        last: impl Fn() -> Seq,
        sync: impl Fn(Seq) -> io::Result<Seq>,
    ) -> Result<Seq, String> {
        let failures = self.failures.load(Ordering::Acquire);
        loop {
            if self.through() >= target {
                return Ok(self.through());
            }
            let mut state = self.lock();
            if self.failures.load(Ordering::Acquire) > failures {
                return Err(state.error.clone());
            }
            if state.leading {
                state.waiting.push(thread::current());
                drop(state);
                // Whoever leads takes the list when it is done, so that this always ends; woken
                // for another reason, it stands in the list twice, which does no harm.
                thread::park();
                continue;
            }
            if self.through() >= target {
                return Ok(self.through());
            }
            state.leading = true;
            let group = state.group;
            drop(state);
            gather(group, &last);
            let result = sync(target);
            let mut state = self.lock();
            state.leading = false;
            match result {
                Ok(through) => {
                    self.through.fetch_max(through.0, Ordering::AcqRel);
                }
                Err(error) => {
                    state.error = error.to_string();
                    self.failures.fetch_add(1, Ordering::AcqRel);
                }
            }
            let waiting = std::mem::take(&mut state.waiting);
            state.group = waiting.len() as u64;
            drop(state);
            waiting.iter().for_each(Thread::unpark);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Lets as many append as came last time, so that one sync covers them, instead of each second one
/// covering the first of them alone. A single writer waits for nobody.
fn gather(group: u64, last: &impl Fn() -> Seq) {
    if group < GATHER_FROM {
        return;
    }
    let (want, until) = (last().0 + group, Instant::now() + GATHER_MAX);
    while last().0 < want && Instant::now() < until {
        thread::yield_now();
    }
}
