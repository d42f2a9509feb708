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

use namel3ss_safety::internal::seqs::SeqSet;
use namel3ss_safety::{JournalId, Seq};

/// A set of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    journals: BTreeMap<JournalId, SeqSet>,
}

impl Ids {
    /// Adds a row; false where it was there.
    pub(crate) fn insert(&mut self, journal: JournalId, seq: Seq) -> bool {
        self.journals.entry(journal).or_default().insert(seq.0, seq.0) > 0
    }
}

/// What objects need.
#[cfg(any(feature = "object", feature = "parquet"))]
impl Ids {
    /// Whether a row is in it.
    #[cfg(any(feature = "parquet", test))]
    pub(crate) fn contains(&self, journal: JournalId, seq: Seq) -> bool {
        self.contains_all(journal, seq, seq)
    }

    /// Whether all rows from the seq `first` to `last` are in it.
    pub(crate) fn contains_all(&self, journal: JournalId, first: Seq, last: Seq) -> bool {
        self.journals.get(&journal).is_some_and(|seqs| seqs.contains_all(first.0, last.0))
    }
}

/// What merged objects need.
#[cfg(feature = "parquet")]
impl Ids {
    /// Whether all of `others` are in it.
    pub(crate) fn holds(&self, others: &Self) -> bool {
        others.each().all(|(journal, first, last)| self.contains_all(journal, first, last))
    }

    /// The rows that both have.
    pub(crate) fn common(&self, others: &Self) -> Self {
        let mut common = Self::default();
        for (journal, first, last) in self.each() {
            let Some(theirs) = others.journals.get(&journal) else { continue };
            let both = theirs.within(first.0, last.0);
            common.journals.entry(journal).or_default().extend(both);
        }
        common
    }

    /// The rows that `others` does not have.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let mut rest = self.clone();
        for (journal, seqs) in &mut rest.journals {
            let theirs = others.journals.get(journal).into_iter().flat_map(SeqSet::runs);
            for (first, last) in theirs {
                seqs.remove(first, last);
            }
        }
        rest.journals.retain(|_, seqs| !seqs.is_empty());
        rest
    }

    /// How many rows.
    pub(crate) fn len(&self) -> u64 {
        self.journals.values().map(SeqSet::len).sum()
    }

    /// Its runs, each as its first and its last seq.
    pub(crate) fn each(&self) -> impl Iterator<Item = (JournalId, Seq, Seq)> {
        let journals = self.journals.iter();
        journals.flat_map(|(journal, seqs)| seqs.runs().map(|(a, b)| (*journal, Seq(a), Seq(b))))
    }

    /// The rows of both.
    pub(crate) fn add(&mut self, others: &Self) {
        for (journal, seqs) in &others.journals {
            self.journals.entry(*journal).or_default().extend(seqs.runs());
        }
    }

    /// As text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (journal, seqs) in &self.journals {
            // Writing to a String can't fail.
            let _ = write!(text, "{journal}");
            for (first, last) in seqs.runs() {
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
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut ids = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let seqs = ids.journals.entry(words.next()?.parse().ok()?).or_default();
            for word in words {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                if first > last || seqs.runs().next_back().is_some_and(|(_, end)| first <= end) {
                    return None;
                }
                seqs.insert(first, last);
            }
        }
        Some(ids)
    }
}

#[cfg(all(test, any(feature = "object", feature = "parquet")))]
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
