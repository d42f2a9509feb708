//! Which seqs of which journals a table holds, and how its log says so.
//!
//! A commit that stores the rows `a..=b` of a journal carries a transaction id, an action that Delta
//! keeps for ever: `{"txn":{"appId":"{journal}","version":b}}`. A fallback file is replayed behind
//! later rows, so that the last seq alone does not tell what is there: a run that begins at another
//! seq than 1 has an id of its own, `{journal}:{a}`. Runs that meet become one, under the id of the
//! first: the version of `{journal}` is the seq up to which every row is there.

use std::collections::{BTreeMap, HashMap};

use namel3ss_safety::JournalId;
use namel3ss_safety::internal::seqs::SeqSet;
use serde_json::Value;

/// What a table's transaction ids say.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored(HashMap<JournalId, SeqSet>);

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
            self.0.entry(journal).or_default().insert(first, last);
        }
    }

    pub(super) fn of(&self, journal: JournalId) -> Option<&SeqSet> {
        self.0.get(&journal)
    }

    /// The transaction ids of a commit that stores `seqs`, which ascend.
    pub(super) fn with(
        &self,
        journal: JournalId,
        seqs: impl Iterator<Item = u64>,
    ) -> Vec<(String, i64)> {
        let mut runs = self.of(journal).cloned().unwrap_or_default();
        let new: SeqSet = seqs.map(|seq| (seq, seq)).collect();
        runs.extend(new.runs());
        // Those that the new ones became part of.
        let changed: BTreeMap<u64, u64> =
            new.runs().filter_map(|(first, _)| runs.run_of(first)).collect();
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
