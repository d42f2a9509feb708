//! What the keeper does, done by a worker where there is no keeper, and what it asks of workers.

use std::sync::Arc;
use std::time::Duration;

use super::{Flight, Origin, Worker};
use crate::logger::branch::Branch;
use crate::logger::keeper;
use crate::logger::reader::Reader;
use crate::logger::report::Saying;
use crate::logger::shared::Shared;

impl Worker {
    /// Does the work of a keeper that is not there.
    pub(super) fn keep(&mut self, shared: &Arc<Shared>, branch: &Branch, now: Duration) {
        if now >= self.resume_due {
            self.resume_due = now + keeper::RESUME_EVERY;
            shared.try_resume();
            shared.keep_memory();
            shared.say_dropped(Saying::Due);
            shared.check_journals();
        }
        self.settle_dropped(shared, branch);
        let config = &shared.config;
        for lane in shared.lanes() {
            // An error is met again, and said, by whoever needs the frames.
            let _ = lane.journal.try_drain(lane.acked().next());
            keeper::gate(shared, lane);
            let started = shared.life.is_started();
            let buffered = lane.buffered();
            if buffered == 0 {
                self.buffered_since.remove(&lane.index);
                continue;
            }
            let since = *self.buffered_since.entry(lane.index).or_insert(now);
            let waited = now.saturating_sub(since);
            let due = buffered >= config.buffer_size
                || waited >= config.flush_interval
                || lane.journal.is_closed()
                || lane.is_pressed();
            if started && lane.dispatch_due(due) {
                shared.call_others(branch);
            }
            if due && started && !lane.readers.iter().any(Reader::keeps_buffer) {
                self.buffered_since.remove(&lane.index);
            }
        }
        self.leave_flight(shared);
        shared.let_go_of_left(Some(branch.index));
        shared.finish_journals();
    }

    /// Between two steps: gives up a batch of a journal that is left to another user, and what it
    /// reads there. The next run sends the batch as it is, under the same id.
    pub(in crate::logger) fn leave_flight(&mut self, shared: &Shared) {
        self.places.retain(|index, _| shared.is_open(*index));
        let is_left = |flight: &mut Flight| match flight.from {
            Origin::Lane(index) => !shared.is_open(index),
            Origin::Orphan => false,
        };
        self.flight.take_if(is_left);
    }
}
