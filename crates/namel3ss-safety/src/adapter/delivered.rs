//! Which rows a file dataset already holds: per journal, the runs of seqs that were committed.
//!
//! "The last seq" would not do: a replayed fallback file brings older seqs after newer ones.

use std::sync::LazyLock;

use crate::id::JournalId;
use crate::seqs::{Run, SeqSet};

/// The most runs that are remembered, over all journals. Runs merge, so a journal that was
/// delivered without a hole takes one. Beyond it the journals that were used least recently are
/// forgotten; a replay of theirs is looked up in the dataset.
pub(super) const RUNS_MAX: usize = 4096;

/// The committed runs of every journal, the most recently used journal last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    journals: Vec<(JournalId, SeqSet)>,
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
            && self.of(journal).runs().next().is_none_or(|(lowest, _)| seq < lowest)
    }

    fn unlist(&mut self, journal: JournalId) {
        let journal = if is_dated(journal) { journal } else { UNDATED };
        self.unlisted = self.unlisted.max(journal);
    }

    /// The seqs of one journal.
    pub(super) fn of(&self, journal: JournalId) -> &SeqSet {
        static NONE: LazyLock<SeqSet> = LazyLock::new(SeqSet::default);
        let known = self.journals.iter().rev().find(|(id, _)| *id == journal);
        known.map_or(&NONE, |(_, seqs)| seqs)
    }

    /// All runs, in the order in which they are stored.
    pub(super) fn iter(&self) -> impl Iterator<Item = (JournalId, Run)> + '_ {
        self.journals.iter().flat_map(|(id, seqs)| seqs.runs().map(|run| (*id, run)))
    }

    /// How many runs there are: at most [`RUNS_MAX`].
    pub(super) fn len(&self) -> usize {
        self.runs
    }

    /// Adds runs of one journal, and makes it the most recently used.
    pub(super) fn add(&mut self, journal: JournalId, new: impl IntoIterator<Item = Run>) {
        let at = self.journals.iter().rposition(|(id, _)| *id == journal);
        let mut seqs = at.map_or_else(SeqSet::default, |at| self.journals.remove(at).1);
        self.runs -= seqs.runs_len();
        seqs.extend(new);
        if seqs.runs_len() > RUNS_MAX {
            while seqs.runs_len() > RUNS_MAX {
                seqs.pop_first();
            }
            self.unlist(journal);
        }
        self.runs += seqs.runs_len();
        self.journals.push((journal, seqs));
        let mut forget = 0;
        while self.runs > RUNS_MAX {
            self.runs -= self.journals[forget].1.runs_len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_forgotten_oldest_first() {
        let mut delivered = Delivered::default();
        let ids: Vec<JournalId> =
            (0..RUNS_MAX + 2).map(|i| JournalId((i as u128).to_be_bytes())).collect();
        ids.iter().for_each(|id| delivered.add(*id, [(1, 5)]));
        assert_eq!(delivered.len(), RUNS_MAX);
        assert!(delivered.of(ids[1]).is_empty());
        assert_eq!(delivered.of(ids[2]).runs().collect::<Vec<_>>(), [(1, 5)]);
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
        delivered.add(dated(9), [(1, 5)]);
        assert!(!delivered.may_hold_unlisted(dated(8), 1));
        let holes: Vec<Run> = (1..=RUNS_MAX as u64).map(|n| (2 * n, 2 * n)).collect();
        delivered.add(dated(10), holes);
        assert!(delivered.may_hold_unlisted(dated(9), 1), "it was forgotten");
        assert!(delivered.may_hold_unlisted(dated(8), 1), "it might have been");
        assert!(!delivered.may_hold_unlisted(dated(11), 1), "it is newer");
        assert!(!delivered.may_hold_unlisted(dated(10), 1), "it is listed wholly");
        delivered.add(dated(10), [(1 << 20, 1 << 20)]);
        assert!(delivered.may_hold_unlisted(dated(10), 1), "its lowest run was forgotten");
        assert!(!delivered.may_hold_unlisted(dated(10), 5), "above the lowest run all is listed");
        delivered.unlist_none();
        assert!(!delivered.may_hold_unlisted(dated(9), 1));
        delivered.unlist_all();
        assert!(delivered.may_hold_unlisted(dated(200), 1));
    }
}
