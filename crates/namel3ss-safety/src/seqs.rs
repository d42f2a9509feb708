//! A set of seqs, kept as runs: events are delivered in their order, so that millions of them are one
//! run.
//!
//! An own one, and not a crate's: where seqs come one by one in their order, adding one to `rangemap`'s
//! set takes 58 ns, and to this one 4 ns, at each row that is delivered or read.

use std::collections::BTreeMap;

/// A run of seqs: its first and its last.
pub type Run = (u64, u64);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqSet {
    /// The first seq of each run, and its last. Runs neither overlap nor touch.
    runs: BTreeMap<u64, u64>,
}

impl SeqSet {
    /// Adds `first..=last`; how many of them are new.
    pub fn insert(&mut self, first: u64, last: u64) -> u64 {
        if last < first {
            return 0;
        }
        // What comes in its order extends the last run, or begins one behind it.
        if let Some(mut newest) = self.runs.last_entry()
            && *newest.key() <= first
        {
            let end = *newest.get();
            if first <= end.saturating_add(1) {
                newest.insert(end.max(last));
                return last.saturating_sub(end);
            }
            self.runs.insert(first, last);
            return size((first, last));
        }
        let known = self.count_within(first, last);
        let (mut from, mut to) = (first, last);
        while let Some((start, end)) = self.before(to.saturating_add(1))
            && end >= from.saturating_sub(1)
        {
            self.runs.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.runs.insert(from, to);
        size((first, last)).saturating_sub(known)
    }

    /// Takes `first..=last` out; how many of them were there.
    pub fn remove(&mut self, first: u64, last: u64) -> u64 {
        let known = self.count_within(first, last);
        while let Some((start, end)) = self.before(last)
            && end >= first
            && first <= last
        {
            self.runs.remove(&start);
            if start < first {
                self.runs.insert(start, first - 1);
            }
            if end > last {
                self.runs.insert(last + 1, end);
            }
        }
        known
    }

    /// Takes the first run out.
    pub fn pop_first(&mut self) -> Option<Run> {
        self.runs.pop_first()
    }

    /// Takes out the runs that end at or before `last`.
    pub fn forget_through(&mut self, last: u64) {
        while let Some(run) = self.runs.first_entry()
            && *run.get() <= last
        {
            run.remove();
        }
    }

    /// Whether a seq is in it.
    pub fn contains(&self, seq: u64) -> bool {
        self.run_of(seq).is_some()
    }

    /// Whether all of `first..=last` are in it.
    pub fn contains_all(&self, first: u64, last: u64) -> bool {
        self.run_of(first).is_some_and(|(_, end)| end >= last)
    }

    /// The run that a seq is in.
    pub fn run_of(&self, seq: u64) -> Option<Run> {
        self.before(seq).filter(|(_, end)| *end >= seq)
    }

    /// The seqs from `seq` on that are in it, or that are not, as it is; and which of both.
    pub fn alike_from(&self, seq: u64) -> (Run, bool) {
        match self.run_of(seq) {
            Some((_, end)) => ((seq, end), true),
            None => {
                let next = self.runs.range(seq..).next();
                ((seq, next.map_or(u64::MAX, |(start, _)| start - 1)), false)
            }
        }
    }

    /// The parts of `first..=last` that are in it, the last one first.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = Run> + '_ {
        let runs = self.runs.range(..=last).rev().take_while(move |(_, end)| **end >= first);
        runs.map(move |(start, end)| (first.max(*start), last.min(*end)))
            .filter(|(start, end)| start <= end)
    }

    /// How many of `first..=last` are in it.
    pub fn count_within(&self, first: u64, last: u64) -> u64 {
        total(self.within(first, last))
    }

    /// Its runs, ascending.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Run> + '_ {
        self.runs.iter().map(|(first, last)| (*first, *last))
    }

    /// How many runs it has.
    pub fn runs_len(&self) -> usize {
        self.runs.len()
    }

    /// How many seqs are in it, as far as 64 bits say it.
    pub fn len(&self) -> u64 {
        total(self.runs())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The last run that begins at or before `seq`.
    fn before(&self, seq: u64) -> Option<Run> {
        self.runs.range(..=seq).next_back().map(|(first, last)| (*first, *last))
    }
}

fn size((first, last): Run) -> u64 {
    (last - first).saturating_add(1)
}

fn total(runs: impl Iterator<Item = Run>) -> u64 {
    runs.map(size).fold(0, u64::saturating_add)
}

impl Extend<Run> for SeqSet {
    fn extend<T: IntoIterator<Item = Run>>(&mut self, runs: T) {
        for (first, last) in runs {
            self.insert(first, last);
        }
    }
}

impl FromIterator<Run> for SeqSet {
    fn from_iter<T: IntoIterator<Item = Run>>(runs: T) -> Self {
        let mut set = Self::default();
        set.extend(runs);
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = u64::MAX;

    #[test]
    fn the_ends_of_the_numbers_are_seqs_like_others() {
        let mut set = SeqSet::default();
        assert_eq!(set.insert(MAX, MAX), 1);
        assert_eq!(set.insert(0, 0), 1);
        assert_eq!(set.insert(MAX - 3, MAX), 3);
        assert_eq!(set.insert(MAX, MAX), 0);
        assert_eq!(set.insert(5, 4), 0);
        assert_eq!(set.runs().collect::<Vec<_>>(), [(0, 0), (MAX - 3, MAX)]);
        assert!(set.contains_all(MAX - 3, MAX) && !set.contains(1));
        assert_eq!(set.remove(MAX - 1, MAX), 2);
        assert_eq!(set.remove(0, 7), 1);
        assert_eq!(set.runs().collect::<Vec<_>>(), [(MAX - 3, MAX - 2)]);
        set.insert(0, MAX);
        assert_eq!((set.len(), set.runs_len()), (MAX, 1));
    }

    proptest! {
        /// Against a plain set.
        #[test]
        fn it_holds_what_was_added_and_not_taken_out(
            steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..9), 0..40),
            (from, more) in (0_u64..70, 0_u64..30),
        ) {
            let (mut set, mut plain) = (SeqSet::default(), BTreeSet::new());
            for (add, first, more) in steps {
                let seqs = first..=first + more;
                let changed = match add {
                    true => seqs.filter(|seq| plain.insert(*seq)).count(),
                    false => seqs.filter(|seq| plain.remove(seq)).count(),
                };
                let said = match add {
                    true => set.insert(first, first + more),
                    false => set.remove(first, first + more),
                };
                prop_assert_eq!(said, changed as u64);
            }
            let all: BTreeSet<u64> = set.runs().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&all, &plain);
            prop_assert_eq!(set.len(), plain.len() as u64);
            let runs: Vec<Run> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", runs);
            let to = from + more;
            prop_assert_eq!(set.count_within(from, to), plain.range(from..=to).count() as u64);
            prop_assert_eq!(set.contains_all(from, to), (from..=to).all(|seq| plain.contains(&seq)));
            prop_assert_eq!(set.contains(from), plain.contains(&from));
            let ((first, last), is_in) = set.alike_from(from);
            prop_assert_eq!((first, is_in), (from, plain.contains(&from)));
            prop_assert!((first..=last.min(99)).all(|seq| plain.contains(&seq) == is_in));
            prop_assert!(last == MAX || plain.contains(&(last + 1)) != is_in);
            let again: SeqSet = set.runs().rev().collect();
            prop_assert_eq!(&again, &set);
            set.forget_through(to);
            prop_assert!(set.runs().all(|(_, last)| last > to));
        }
    }
}
