//! Which rows are meant: sets of (journal, seq), kept as runs, so that a day of millions takes little
//! room. A set has a text form, which a merged object carries in its footer.
//!
//! ```text
//! 0123456789abcdef0123456789abcdef 1-50000 50003
//! fedcba9876543210fedcba9876543210 7-9
//! ```

use std::collections::BTreeMap;
#[cfg(feature = "parquet")]
use std::fmt::Write as _;

use namel3ss_safety::{JournalId, Seq};

/// A set of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    /// The first seq of each run, and its last; runs neither overlap nor touch.
    runs: BTreeMap<JournalId, BTreeMap<u64, u64>>,
}

impl Ids {
    /// Adds a row; false where it was there.
    pub(super) fn insert(&mut self, journal: JournalId, seq: Seq) -> bool {
        if self.contains(journal, seq) {
            return false;
        }
        let runs = self.runs.entry(journal).or_default();
        let (mut first, mut last) = (seq.0, seq.0);
        if let Some((before, end)) = runs.range(..seq.0).next_back()
            && end.checked_add(1) == Some(seq.0)
        {
            first = *before;
        }
        if let Some(after) = seq.0.checked_add(1)
            && let Some(end) = runs.remove(&after)
        {
            last = end;
        }
        runs.insert(first, last);
        true
    }

    /// Whether a row is in it.
    pub(super) fn contains(&self, journal: JournalId, seq: Seq) -> bool {
        self.reaches(journal, seq.0).is_some()
    }

    /// The end of the run that `seq` is in.
    fn reaches(&self, journal: JournalId, seq: u64) -> Option<u64> {
        let (_, last) = self.runs.get(&journal)?.range(..=seq).next_back()?;
        (*last >= seq).then_some(*last)
    }

    /// Whether all rows from the seq `first` to `last` are in it.
    pub(super) fn contains_all(&self, journal: JournalId, first: Seq, last: Seq) -> bool {
        self.reaches(journal, first.0).is_some_and(|end| end >= last.0)
    }
}

/// What merged objects need.
#[cfg(feature = "parquet")]
impl Ids {
    /// Whether all of `others` are in it.
    pub(super) fn holds(&self, others: &Self) -> bool {
        others.each().all(|(journal, first, last)| self.contains_all(journal, first, last))
    }

    /// The rows that both have.
    pub(super) fn common(&self, others: &Self) -> Self {
        let mut common = Self::default();
        for (journal, first, last) in self.each() {
            let Some(runs) = others.runs.get(&journal) else { continue };
            let near = runs.range(..=last.0).rev().take_while(|(_, end)| **end >= first.0);
            for (from, to) in near {
                let both = common.runs.entry(journal).or_default();
                both.insert(first.0.max(*from), last.0.min(*to));
            }
        }
        common
    }

    /// The rows that `others` does not have.
    pub(super) fn without(&self, others: &Self) -> Self {
        let mut rest = self.clone();
        for (journal, first, last) in self.common(others).each() {
            // What is common lies within one run of each.
            let Some(runs) = rest.runs.get_mut(&journal) else { continue };
            let Some((from, to)) = runs.range(..=first.0).next_back().map(|(a, b)| (*a, *b)) else {
                continue;
            };
            runs.remove(&from);
            if from < first.0 {
                runs.insert(from, first.0 - 1);
            }
            if to > last.0 {
                runs.insert(last.0 + 1, to);
            }
        }
        rest.runs.retain(|_, runs| !runs.is_empty());
        rest
    }

    /// How many rows.
    pub(super) fn len(&self) -> u64 {
        self.each().map(|(_, first, last)| last.0 - first.0 + 1).sum()
    }

    /// Its runs, each as its first and its last seq.
    pub(super) fn each(&self) -> impl Iterator<Item = (JournalId, Seq, Seq)> {
        let runs = self.runs.iter();
        runs.flat_map(|(journal, runs)| runs.iter().map(|(a, b)| (*journal, Seq(*a), Seq(*b))))
    }

    /// The rows of both.
    pub(super) fn add(&mut self, others: &Self) {
        for (journal, first, last) in others.each() {
            let runs = self.runs.entry(journal).or_default();
            let (mut from, mut to) = (first.0, last.0);
            // Those that overlap or touch become one.
            let near = runs.range(..=to.saturating_add(1)).rev();
            let near = near.take_while(|(_, end)| end.saturating_add(1) >= from);
            let near: Vec<(u64, u64)> = near.map(|(a, b)| (*a, *b)).collect();
            for (first, last) in near {
                runs.remove(&first);
                (from, to) = (from.min(first), to.max(last));
            }
            runs.insert(from, to);
        }
    }

    /// As text.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (journal, runs) in &self.runs {
            // Writing to a String can't fail.
            let _ = write!(text, "{journal}");
            for (first, last) in runs {
                let _ = match first == last {
                    true => write!(text, " {first}"),
                    false => write!(text, " {first}-{last}"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// From its text; `None` for what is none.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut ids = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let runs = ids.runs.entry(words.next()?.parse().ok()?).or_default();
            for word in words {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                if first > last || runs.range(first..).next().is_some() {
                    return None;
                }
                runs.insert(first, last);
            }
        }
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_agrees_with_a_plain_set_and_reads_back() {
        let journals = [JournalId([1; 16]), JournalId([2; 16])];
        for round in 0..50 {
            let mut random = fastrand::Rng::with_seed(round);
            let (mut ids, mut plain) = (Ids::default(), BTreeSet::new());
            for _ in 0..random.usize(0..200) {
                let (journal, seq) = (journals[random.usize(..2)], random.u64(1..100));
                assert_eq!(ids.insert(journal, Seq(seq)), plain.insert((journal, seq)));
            }
            for journal in journals {
                (0..=101).for_each(|seq| {
                    assert_eq!(ids.contains(journal, Seq(seq)), plain.contains(&(journal, seq)));
                });
                let (a, b) = (random.u64(1..100), random.u64(1..100));
                let (a, b) = (a.min(b), a.max(b));
                let all = (a..=b).all(|seq| plain.contains(&(journal, seq)));
                assert_eq!(ids.contains_all(journal, Seq(a), Seq(b)), all);
            }
            #[cfg(feature = "parquet")]
            {
                assert_eq!(Ids::from_text(&ids.to_text()).as_ref(), Some(&ids));
                assert_eq!(ids.len(), plain.len() as u64);
                let mut others = Ids::default();
                let before = (ids.clone(), plain.clone());
                let mut theirs = BTreeSet::new();
                for _ in 0..random.usize(0..60) {
                    let (journal, seq) = (journals[random.usize(..2)], random.u64(1..100));
                    others.insert(journal, Seq(seq));
                    theirs.insert((journal, seq));
                    plain.insert((journal, seq));
                }
                let of = |ids: &Ids| -> BTreeSet<(JournalId, u64)> {
                    let runs = ids.each();
                    runs.flat_map(|(j, a, b)| (a.0..=b.0).map(move |seq| (j, seq))).collect()
                };
                assert_eq!(of(&before.0.common(&others)), &before.1 & &theirs);
                assert_eq!(of(&before.0.without(&others)), &before.1 - &theirs);
                ids.add(&others);
                assert!(ids.holds(&others));
                assert_eq!(ids.len(), plain.len() as u64);
                assert!(plain.iter().all(|(journal, seq)| ids.contains(*journal, Seq(*seq))));
            }
        }
        #[cfg(feature = "parquet")]
        for text in ["nonsense 1-2".to_owned(), format!("{} 5-6 1-2", journals[0])] {
            assert_eq!(Ids::from_text(&text), None);
        }
    }
}
