//! Whether a logger is healthy: the table of docs/operations.md, a condition a line.

use std::sync::atomic::Ordering;

use super::shared::Shared;
use crate::journal::DropReason;
use crate::stats::Unhealthy;

type Dropped = [u64; DropReason::ALL.len()];

/// One reason not to be healthy.
struct Condition {
    reason: Unhealthy,
    holds: fn(&Shared, &Dropped) -> bool,
}

const CONDITIONS: [Condition; 8] = [
    // Until the process ends:
    Condition { reason: Unhealthy::Lost, holds: has_lost },
    Condition {
        reason: Unhealthy::NoEvent,
        holds: |_, dropped| dropped[DropReason::Invalid.index()] > 0,
    },
    // As long as it lasts:
    Condition { reason: Unhealthy::Journal, holds: lacks_journal },
    Condition { reason: Unhealthy::Destination, holds: fails_beyond_retry },
    Condition { reason: Unhealthy::AdapterTimeout, holds: has_late_call },
    Condition { reason: Unhealthy::Memory, holds: |shared, _| shared.has_events_in_memory() },
    Condition { reason: Unhealthy::AnotherUser, holds: |shared, _| shared.left_behind() > 0 },
    Condition {
        reason: Unhealthy::Threads,
        holds: |shared, _| shared.branches.iter().any(|b| b.lacks_thread()),
    },
];

impl Shared {
    /// The conditions that hold; none is healthy. `dropped` is by reason, of everybody.
    pub(super) fn unhealthy(&self, dropped: &Dropped) -> Vec<Unhealthy> {
        let holding = CONDITIONS.iter().filter(|condition| (condition.holds)(self, dropped));
        holding.map(|condition| condition.reason).collect()
    }
}

fn has_lost(shared: &Shared, dropped: &Dropped) -> bool {
    let invalid = dropped[DropReason::Invalid.index()];
    dropped.iter().sum::<u64>() > invalid || shared.lost_of_others.load(Ordering::Relaxed)
}

fn lacks_journal(shared: &Shared, _: &Dropped) -> bool {
    shared.lanes().any(|lane| lane.journal.is_failing())
        || shared.branches.iter().any(|branch| branch.lacks_journal())
}

fn fails_beyond_retry(shared: &Shared, _: &Dropped) -> bool {
    shared.branches.iter().any(|branch| !branch.sink.healthy())
}

fn has_late_call(shared: &Shared, _: &Dropped) -> bool {
    shared.branches.iter().any(|branch| branch.sink.is_late(shared.config.adapter_timeout))
}
