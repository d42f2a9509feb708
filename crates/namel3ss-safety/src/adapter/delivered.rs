//! Which rows a file dataset already holds: per journal, the runs of seqs that were committed.
//!
//! "The last seq" would not do: a replayed fallback file brings older seqs after newer ones.

use crate::id::JournalId;

/// The most runs that are remembered, over all journals. Runs merge, so a journal that was
/// delivered without a hole takes one. Beyond it the journals that were used least recently are
/// forgotten; a replay of theirs is looked up in the dataset.
pub(super) const RUNS_MAX: usize = 4096;

/// A run of seqs, both ends included.
pub(super) type Run = (u64, u64);

/// The committed runs of every journal, the most recently used journal last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    journals: Vec<(JournalId, Vec<Run>)>,
    runs: usize,
    unlisted: JournalId,
}

impl Default for Delivered {
    fn default() -> Self {
        Self { journals: Vec::new(), runs: 0, unlisted: NONE }
    }
}

/// Of no journal the dataset may hold rows that no run includes.
const NONE: JournalId = JournalId([0; 16]);
/// Only of journals whose id does not say when they were made.
const UNDATED: JournalId = JournalId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

impl Delivered {
    /// Journals made up to this one may have rows in the dataset that no run includes: they were
    /// forgotten, or never known. A new journal's id is higher, so that its first batch does not
    /// cost a search.
    pub(super) fn unlisted(&self) -> JournalId {
        self.unlisted
    }

    /// As read from a sidecar.
    pub(super) fn set_unlisted(&mut self, unlisted: JournalId) {
        self.unlisted = unlisted;
    }

    /// The dataset holds rows that nobody listed, of any journal made so far.
    pub(super) fn unlist_all(&mut self) {
        let mut newest = JournalId::generate();
        newest.0[6..].fill(0xff);
        self.unlisted = self.unlisted.max(newest);
    }

    /// The dataset is empty: there is nothing to be found in it.
    pub(super) fn unlist_none(&mut self) {
        self.unlisted = NONE;
    }

    /// Whether the dataset may hold the row though no run includes it.
    pub(super) fn may_hold_unlisted(&self, journal: JournalId, seq: u64) -> bool {
        self.unlisted != NONE
            && (journal <= self.unlisted || !is_dated(journal))
            && self.of(journal).first().is_none_or(|lowest| seq < lowest.0)
    }

    fn unlist(&mut self, journal: JournalId) {
        let journal = if is_dated(journal) { journal } else { UNDATED };
        self.unlisted = self.unlisted.max(journal);
    }

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
            self.unlist(journal);
        }
        self.runs += runs.len();
        self.journals.push((journal, runs));
        let mut forget = 0;
        while self.runs > RUNS_MAX {
            self.runs -= self.journals[forget].1.len();
            forget += 1;
        }
        for journal in self.journals.drain(..forget).map(|(id, _)| id).collect::<Vec<_>>() {
            self.unlist(journal);
        }
    }
}

/// Whether the id says when its journal was made: a UUIDv7. Those of hand-written fallback files are
/// derived from their bytes.
fn is_dated(journal: JournalId) -> bool {
    journal.0[6] >> 4 == 7 && journal.0[8] >> 6 == 2
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

pub(super) fn merge(runs: &mut Vec<Run>, (mut first, mut last): Run) {
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
        assert!(delivered.may_hold_unlisted(ids[1], 1));
        assert!(!delivered.may_hold_unlisted(ids[2], 3));
        // What was forgotten has ids without a date; a journal with one is not among it.
        assert!(!delivered.may_hold_unlisted(JournalId::generate(), 1));
    }

    #[test]
    fn only_journals_up_to_the_newest_forgotten_one_are_looked_up() {
        let dated = |millis: u8| {
            let mut id = [0; 16];
            (id[5], id[6], id[8]) = (millis, 0x70, 0x80);
            JournalId(id)
        };
        let mut delivered = Delivered::default();
        delivered.add(dated(9), &[(1, 5)]);
        assert!(!delivered.may_hold_unlisted(dated(8), 1));
        let holes: Vec<Run> = (1..=RUNS_MAX as u64).map(|n| (2 * n, 2 * n)).collect();
        delivered.add(dated(10), &holes);
        assert!(delivered.may_hold_unlisted(dated(9), 1), "it was forgotten");
        assert!(delivered.may_hold_unlisted(dated(8), 1), "it might have been");
        assert!(!delivered.may_hold_unlisted(dated(11), 1), "it is newer");
        assert!(!delivered.may_hold_unlisted(dated(10), 1), "it is listed wholly");
        delivered.add(dated(10), &[(1 << 20, 1 << 20)]);
        assert!(delivered.may_hold_unlisted(dated(10), 1), "its lowest run was forgotten");
        assert!(!delivered.may_hold_unlisted(dated(10), 5), "above the lowest run all is listed");
        delivered.unlist_none();
        assert!(!delivered.may_hold_unlisted(dated(9), 1));
        delivered.unlist_all();
        assert!(delivered.may_hold_unlisted(dated(200), 1));
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
