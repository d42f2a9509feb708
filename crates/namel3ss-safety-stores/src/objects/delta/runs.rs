//! Which seqs of which journals a table holds, and how its log says so.
//!
//! A commit that stores the rows `a..=b` of a journal carries a transaction id, an action that Delta
//! keeps for ever: `{"txn":{"appId":"{journal}","version":b}}`. A fallback file is replayed behind
//! later rows, so that the last seq alone does not tell what is there: a run that begins at another
//! seq than 1 has an id of its own, `{journal}:{a}`. Runs that meet become one, under the id of the
//! first: the version of `{journal}` is the seq up to which every row is there.

use std::collections::{BTreeMap, HashMap};

use namel3ss_safety::JournalId;
use serde_json::Value;

/// The seqs of one journal that are stored: first of a run → its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(BTreeMap<u64, u64>);

impl Runs {
    pub(super) fn contains(&self, seq: u64) -> bool {
        self.0.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }

    /// Adds `first..=last`; gives the first and the last seq of the run that it is part of now.
    pub(super) fn add(&mut self, mut first: u64, mut last: u64) -> (u64, u64) {
        let met = self.0.range(..=last.saturating_add(1)).rev();
        let met: Vec<(u64, u64)> = met
            .map(|(first, last)| (*first, *last))
            .take_while(|(_, end)| end.saturating_add(1) >= first)
            .collect();
        for (start, end) in met {
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
        (first, last)
    }
}

/// What a table's transaction ids say.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored(HashMap<JournalId, Runs>);

impl Stored {
    /// Takes in the value of a `txn` action.
    pub(super) fn take(&mut self, txn: &Value) {
        if let Some(app_id) = txn.get("appId").and_then(Value::as_str)
            && let Some(version) = txn.get("version").and_then(Value::as_i64)
        {
            self.apply(app_id, version);
        }
    }

    /// Takes in a transaction id, unless it is somebody else's.
    pub(super) fn apply(&mut self, app_id: &str, version: i64) {
        let (journal, first) = app_id.split_once(':').unwrap_or((app_id, "1"));
        let (Ok(journal), Ok(first)) = (journal.parse::<JournalId>(), first.parse::<u64>()) else {
            return;
        };
        if let Ok(last) = u64::try_from(version)
            && first <= last
        {
            self.0.entry(journal).or_default().add(first, last);
        }
    }

    pub(super) fn of(&self, journal: JournalId) -> Option<&Runs> {
        self.0.get(&journal)
    }

    /// The transaction ids of a commit that stores `seqs`, which ascend.
    pub(super) fn with(
        &self,
        journal: JournalId,
        seqs: impl Iterator<Item = u64>,
    ) -> Vec<(String, i64)> {
        let mut runs = self.of(journal).cloned().unwrap_or_default();
        let mut changed = BTreeMap::new();
        let mut add = |(first, last): (u64, u64)| {
            let (first, last) = runs.add(first, last);
            changed.insert(first, last);
        };
        let mut open: Option<(u64, u64)> = None;
        for seq in seqs {
            open = match open {
                Some((first, last)) if last.saturating_add(1) == seq => Some((first, seq)),
                other => {
                    other.into_iter().for_each(&mut add);
                    Some((seq, seq))
                }
            };
        }
        open.into_iter().for_each(add);
        let id = |(first, last): (u64, u64)| {
            let app_id =
                if first == 1 { journal.to_string() } else { format!("{journal}:{first}") };
            // Seqs beyond 63 bits are refused before.
            (app_id, i64::try_from(last).unwrap_or(i64::MAX))
        };
        changed.into_iter().map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_what_was_added_and_nothing_else() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut runs, mut model) = (Runs::default(), [false; 64]);
            for _ in 0..12 {
                let first = random.usize(1..60);
                let last = first + random.usize(0..4);
                let (from, to) = runs.add(first as u64, last as u64);
                model[first..=last].fill(true);
                assert!(from <= first as u64 && last as u64 <= to);
                for (seq, there) in model.iter().enumerate() {
                    assert_eq!(runs.contains(seq as u64), *there, "{seed}: {seq} in {runs:?}");
                }
            }
            assert!(runs.0.iter().zip(runs.0.iter().skip(1)).all(|(a, b)| a.1 + 1 < *b.0));
        }
    }

    #[test]
    fn ids_say_what_was_stored_whatever_the_order() {
        let journal = JournalId::generate();
        let mut stored = Stored::default();
        let mut check = |seqs: &[u64], expected: &[(&str, i64)]| {
            let ids = stored.with(journal, seqs.iter().copied());
            let expected: Vec<(String, i64)> =
                expected.iter().map(|(tail, last)| (format!("{journal}{tail}"), *last)).collect();
            assert_eq!(ids, expected);
            ids.iter().for_each(|(id, version)| stored.apply(id, *version));
        };
        check(&[1, 2, 3], &[("", 3)]);
        check(&[4, 5], &[("", 5)]);
        check(&[11, 12], &[(":11", 12)]);
        check(&[13, 15], &[(":11", 13), (":15", 15)]);
        check(&[6, 7, 8, 9, 10], &[("", 13)]);
        check(&[14], &[("", 15)]);
        check(&[16], &[("", 16)]);
        stored.apply("somebody else", 7);
        stored.apply("somebody:7", 7);
        let there = stored.of(journal).expect("its runs");
        assert!((1..=16).all(|seq| there.contains(seq)) && !there.contains(17));
    }
}
