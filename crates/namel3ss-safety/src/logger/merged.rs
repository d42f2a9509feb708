//! What became of a lane's events as a whole, where several sinks deliver them: an event is settled
//! once every sink has settled it, and then as well as the sink that did worst by it.
//!
//! Each sink settles in the order of seqs. What it has settled beyond the slowest one is kept as
//! runs of one fate: in good times one run a sink, however far it is ahead.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::id::Seq;
use crate::journal::DropReason;
use crate::locks::lock;
use crate::seqs::SeqSet;

/// The most runs that one sink is ahead by. Beyond that its newest ones are joined, and count as
/// filed: what is counted as flushed is in each dataset all the same.
const RUNS_MAX: usize = 1 << 16;

/// What a sink has made of events; the worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Flushed,
    Filed,
    /// Given up by somebody, who says so at about the same time, before or after: it counts then.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Merged(Mutex<State>);

/// What became of events, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) flushed: u64,
    pub(super) fallback: u64,
    pub(super) dropped: [u64; DropReason::ALL.len()],
}

#[derive(Debug)]
struct State {
    sums: Sums,
    /// Up to here every sink has settled, and all is counted.
    through: Seq,
    /// By sink, what it has settled beyond: up to which seq, and how.
    ahead: Vec<VecDeque<(Seq, Fate)>>,
    /// Runs of seqs that at least one sink has given up, each counted.
    gone: SeqSet,
    /// Runs of seqs that are settled as gone, and that nobody has said so of yet.
    unsaid: SeqSet,
}

impl Merged {
    pub(super) fn new(sinks: usize) -> Self {
        Self(Mutex::new(State {
            sums: Sums::default(),
            through: Seq(0),
            ahead: vec![VecDeque::new(); sinks],
            gone: SeqSet::default(),
            unsaid: SeqSet::default(),
        }))
    }

    pub(super) fn sums(&self) -> Sums {
        lock(&self.0).sums
    }

    /// Says that somebody gives up `first..=last`: counted under `reason` as far as nobody has
    /// given it up before. `None` where it is counted elsewhere.
    pub(super) fn give_up(&self, first: Seq, last: Seq, reason: Option<DropReason>) {
        let mut state = lock(&self.0);
        let through = state.through.0;
        let mut added = state.unsaid.remove(first.0, last.0.min(through));
        added += state.gone.insert(first.0.max(through + 1), last.0);
        if let Some(reason) = reason {
            state.sums.dropped[reason.index()] += added;
        }
    }

    /// Says that a sink has settled everything up to `last`, from where it was, in this way.
    pub(super) fn settle(&self, sink: usize, last: Seq, fate: Fate) {
        let mut state = lock(&self.0);
        let through = state.through;
        let runs = &mut state.ahead[sink];
        if last <= runs.back().map_or(through, |(upto, _)| *upto) {
            return;
        }
        let full = runs.len() >= RUNS_MAX;
        match runs.back_mut() {
            Some((upto, known)) if full || *known == fate => {
                *upto = last;
                if *known != fate {
                    *known = Fate::Filed;
                }
            }
            _ => runs.push_back((last, fate)),
        }
        state.advance();
    }
}

impl State {
    fn advance(&mut self) {
        loop {
            let fronts = self.ahead.iter().map(|runs| runs.front().copied());
            let Some(fronts) = fronts.collect::<Option<Vec<_>>>() else { break };
            let Some(upto) = fronts.iter().map(|(upto, _)| *upto).min() else { break };
            let worst = fronts.iter().map(|(_, fate)| *fate).max().unwrap_or(Fate::Gone);
            let (first, last) = (self.through.0 + 1, upto.0);
            let events = last + 1 - first - self.gone.count_within(first, last);
            match worst {
                Fate::Flushed => self.sums.flushed += events,
                Fate::Filed => self.sums.fallback += events,
                Fate::Gone if events > 0 => {
                    self.unsaid.insert(first, last);
                    for (first, last) in self.gone.within(first, last) {
                        self.unsaid.remove(first, last);
                    }
                }
                Fate::Gone => {}
            }
            self.through = upto;
            for runs in &mut self.ahead {
                if runs.front().is_some_and(|(last, _)| *last <= upto) {
                    runs.pop_front();
                }
            }
        }
        self.gone.forget_through(self.through.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_as_well_settled_as_the_sink_that_did_worst_by_it() {
        let merged = Merged::new(2);
        merged.settle(0, Seq(10), Fate::Flushed);
        assert_eq!(merged.sums(), Sums::default(), "the other one has nothing yet");
        merged.settle(1, Seq(4), Fate::Flushed);
        merged.settle(1, Seq(6), Fate::Filed);
        assert_eq!((merged.sums().flushed, merged.sums().fallback), (4, 2));
        merged.give_up(Seq(7), Seq(8), Some(DropReason::DropOldest));
        merged.settle(1, Seq(8), Fate::Gone);
        merged.settle(1, Seq(20), Fate::Flushed);
        let sums = merged.sums();
        assert_eq!((sums.flushed, sums.fallback, sums.dropped[0]), (6, 2, 2));
        // What one has settled well, and the other gives up later, is gone.
        merged.give_up(Seq(15), Seq(16), Some(DropReason::Damaged));
        merged.give_up(Seq(11), Seq(17), Some(DropReason::DropOldest));
        merged.settle(0, Seq(17), Fate::Gone);
        merged.settle(0, Seq(20), Fate::Flushed);
        let sums = merged.sums();
        assert_eq!((sums.flushed, sums.fallback), (9, 2));
        assert_eq!(sums.dropped.iter().sum::<u64>(), 9);
    }

    proptest! {
        /// Against the plain way of counting: a fate for each event and sink.
        #[test]
        fn it_counts_what_a_table_of_all_events_counts(
            steps in prop::collection::vec((0..3_usize, 1..9_u64, 0..3_u8, any::<bool>()), 0..60),
        ) {
            let merged = Merged::new(3);
            let mut table = [(); 3].map(|()| Vec::new());
            for (sink, events, fate, said_first) in steps {
                let fate = [Fate::Flushed, Fate::Filed, Fate::Gone][usize::from(fate)];
                let first = table[sink].len() as u64 + 1;
                let last = first + events - 1;
                let give_up = || {
                    if fate == Fate::Gone {
                        merged.give_up(Seq(first), Seq(last), Some(DropReason::DropOldest));
                    }
                };
                // Another thread may say it before, or after.
                if said_first {
                    give_up();
                }
                merged.settle(sink, Seq(last), fate);
                if !said_first {
                    give_up();
                }
                table[sink].resize(last as usize, fate);
            }
            let mut sums = Sums::default();
            for at in 0..table.iter().map(Vec::len).max().unwrap_or(0) {
                let fates: Vec<_> = table.iter().filter_map(|fates| fates.get(at)).collect();
                match fates.iter().max() {
                    Some(Fate::Gone) => sums.dropped[0] += 1,
                    Some(Fate::Flushed) if fates.len() == 3 => sums.flushed += 1,
                    Some(Fate::Filed) if fates.len() == 3 => sums.fallback += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(merged.sums(), sums);
        }
    }
}
