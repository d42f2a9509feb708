//! Which rows a file dataset already holds: per journal, the runs of seqs that were committed.
//!
//! "The last seq" would not do: a replayed fallback file brings older seqs after newer ones.

use crate::id::JournalId;

/// The most runs that are remembered, over all journals. Runs merge, so a journal that was
/// delivered without a hole takes one. Beyond it the journals that were used least recently are
/// forgotten, and a replay of theirs would be stored twice, which is better than not at all.
pub(super) const RUNS_MAX: usize = 4096;

/// A run of seqs, both ends included.
pub(super) type Run = (u64, u64);

/// The committed runs of every journal, the most recently used journal last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    journals: Vec<(JournalId, Vec<Run>)>,
    runs: usize,
}

impl Delivered {
    /// The runs of one journal, ascending, neither overlapping nor touching.
    pub(super) fn of(&self, journal: JournalId) -> &[Run] {
        self.journals.iter().rev().find(|(id, _)| *id == journal).map_or(&[], |(_, runs)| runs)
    }

    /// All runs, in the order in which they are stored.
    pub(super) fn iter(&self) -> impl Iterator<Item = (JournalId, Run)> + '_ {
        self.journals.iter().flat_map(|(id, runs)| runs.iter().map(|run| (*id, *run)))
    }

    /// How many runs there are: at most [`RUNS_MAX`].
    pub(super) fn len(&self) -> usize {
        self.runs
    }

    /// Adds runs of one journal, and makes it the most recently used.
    pub(super) fn add(&mut self, journal: JournalId, new: &[Run]) {
        let at = self.journals.iter().rposition(|(id, _)| *id == journal);
        let (_, mut runs) = at.map_or((journal, Vec::new()), |at| self.journals.remove(at));
        self.runs -= runs.len();
        new.iter().for_each(|run| merge(&mut runs, *run));
        if runs.len() > RUNS_MAX {
            runs.drain(..runs.len() - RUNS_MAX);
        }
        self.runs += runs.len();
        self.journals.push((journal, runs));
        let mut forget = 0;
        while self.runs > RUNS_MAX {
            self.runs -= self.journals[forget].1.len();
            forget += 1;
        }
        self.journals.drain(..forget);
    }
}

/// Whether one of the ascending `runs` holds `seq`.
pub(super) fn holds(runs: &[Run], seq: u64) -> bool {
    let after = runs.partition_point(|run| run.0 <= seq);
    after > 0 && runs[after - 1].1 >= seq
}

/// Adds `seq` to runs whose last it may extend: for seqs that come in their order.
pub(super) fn extend(runs: &mut Vec<Run>, seq: u64) {
    match runs.last_mut() {
        Some(last) if last.1.checked_add(1) == Some(seq) => last.1 = seq,
        _ => runs.push((seq, seq)),
    }
}

fn merge(runs: &mut Vec<Run>, (mut first, mut last): Run) {
    // The runs that overlap or touch the new one are a stretch of neighbours.
    let from = runs.partition_point(|run| run.1.saturating_add(1) < first);
    let to = runs.partition_point(|run| run.0 <= last.saturating_add(1));
    if from < to {
        first = first.min(runs[from].0);
        last = last.max(runs[to - 1].1);
    }
    runs.splice(from..to, [(first, last)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_beyond_the_limit_is_forgotten_oldest_first() {
        let mut delivered = Delivered::default();
        let ids: Vec<JournalId> =
            (0..RUNS_MAX + 2).map(|i| JournalId((i as u128).to_be_bytes())).collect();
        ids.iter().for_each(|id| delivered.add(*id, &[(1, 5)]));
        assert_eq!(delivered.len(), RUNS_MAX);
        assert!(delivered.of(ids[1]).is_empty());
        assert_eq!(delivered.of(ids[2]), [(1, 5)]);
    }

    proptest! {
        #[test]
        fn runs_are_the_set_of_their_seqs(runs in prop::collection::vec((1_u64..60, 0_u64..9), 0..20)) {
            let id = JournalId([7; 16]);
            let mut delivered = Delivered::default();
            let mut set = BTreeSet::new();
            for (first, more) in runs {
                delivered.add(id, &[(first, first + more)]);
                set.extend(first..=first + more);
            }
            let mut merged = Vec::new();
            set.iter().for_each(|seq| extend(&mut merged, *seq));
            prop_assert_eq!(delivered.of(id), &merged[..]);
            for seq in 0..80 {
                prop_assert_eq!(holds(delivered.of(id), seq), set.contains(&seq));
            }
        }
    }
}
