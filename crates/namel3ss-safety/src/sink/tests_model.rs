//! Whatever a dataset does, every row ends exactly once in the dataset, in a fallback file or
//! nowhere yet, in the order of the seqs, and nothing is attempted that was not frozen before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{bench_with, rows, seqs_in};
use super::*;
use crate::adapter::{AdapterError, Failure};
use crate::id::Seq;

/// What a dataset does at one call, once the rows that it never takes are not among them.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Fine,
    Transient,
    Throttled,
    Config,
    Unknown,
    Panic,
    NonsensePoison,
}

fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood = prop_oneof![
        6 => Just(Mood::Fine),
        2 => Just(Mood::Transient),
        1 => Just(Mood::Throttled),
        1 => Just(Mood::Config),
        2 => Just(Mood::Unknown),
        1 => Just(Mood::Panic),
        1 => Just(Mood::NonsensePoison),
    ];
    prop::collection::vec(mood, 0..40)
}

/// Checks the order of what it is told, and that each attempt is of the rows frozen last.
#[derive(Default)]
struct Watch {
    frozen: Arc<Mutex<Option<(u64, u64)>>>,
    ends: BTreeMap<u64, Settled>,
}

impl Progress for Watch {
    fn freeze(&mut self, first: Seq, last: Seq) {
        let mut frozen = self.frozen.lock().unwrap();
        assert_ne!(*frozen, Some((first.0, last.0)), "frozen twice");
        *frozen = Some((first.0, last.0));
    }

    fn settled(&mut self, first: Seq, last: Seq, rows: u64, how: &Settled) {
        assert_eq!(last.0 - first.0 + 1, rows);
        for seq in first.0..=last.0 {
            assert_eq!(seq, self.ends.len() as u64 + 1, "in order, without holes, once");
            self.ends.insert(seq, how.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_ends_once(
        count in 1_u64..40,
        bad in prop::collection::btree_set(1_u64..40, 0..6),
        names_bad_rows: bool,
        fallback: bool,
        moods in moods(),
        max_retries in 1_u32..4,
        stop_after in prop::option::of(0_usize..30),
    ) {
        let mut watch = Watch::default();
        let frozen = watch.frozen.clone();
        let (poison, mut moods) = (bad.clone(), moods.into_iter());
        let bench = bench_with(fallback, move |seqs| {
            let range = (seqs[0], *seqs.last().unwrap());
            assert_eq!(*frozen.lock().unwrap(), Some(range), "attempted what was not frozen");
            assert_eq!(range.1 - range.0 + 1, seqs.len() as u64);
            let fail = |failure| Err(AdapterError::new(failure, "do it"));
            match moods.next().unwrap_or(Mood::Fine) {
                Mood::Transient => return fail(Failure::Transient),
                Mood::Throttled => return fail(Failure::Throttled(Some(Duration::MAX))),
                Mood::Config => return fail(Failure::Config),
                Mood::Unknown => return fail(Failure::Unknown),
                Mood::Panic => std::panic::resume_unwind(Box::new("quiet")),
                Mood::NonsensePoison => return fail(Failure::Poison(vec![seqs.len()])),
                Mood::Fine => {}
            }
            let at: Vec<usize> = (0..seqs.len()).filter(|i| poison.contains(&seqs[*i])).collect();
            match (at.is_empty(), names_bad_rows) {
                (true, _) => Ok(()),
                (_, true) => fail(Failure::Poison(at)),
                (_, false) => fail(Failure::Unknown),
            }
        });
        bench.sink.set_max_retries(max_retries);
        let buffer = rows(1..=count);
        let batch = buffer.batch();
        let mut state = bench.sink.begin();
        let (mut steps, mut kept, mut done) = (0, 0, false);
        while !done && kept < 60 && stop_after.is_none_or(|most| steps < most) {
            steps += 1;
            prop_assert!(steps < 2_000, "it must come to an end");
            let asked = bench.adapter.asked.lock().unwrap().len();
            match bench.sink.step(&mut state, &batch, &mut watch) {
                Step::Again => {}
                Step::Wait(wait) => prop_assert!(wait <= WAIT_MAX),
                Step::Kept { wait, error } => {
                    prop_assert!(!fallback, "{error}");
                    prop_assert!(wait > Duration::ZERO && wait <= WAIT_MAX);
                    kept += 1;
                }
                Step::Done => done = true,
            }
            prop_assert!(bench.adapter.asked.lock().unwrap().len() <= asked + 1);
            // What is stored and has not settled waits for a fallback that does not work.
            let stored = bench.adapter.stored.lock().unwrap().len() as u64;
            let settled = watch.ends.values().filter(|how| **how == Settled::Stored).count() as u64;
            prop_assert_eq!(stored - settled, state.unsettled().stored);
            prop_assert!(!fallback || stored == settled);
        }

        let stored = bench.adapter.stored.lock().unwrap().clone();
        let mut once = stored.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), stored.len(), "stored once");
        let mut filed = BTreeMap::new();
        for path in bench.files() {
            for seq in seqs_in(&path) {
                prop_assert!(filed.insert(seq, path.clone()).is_none(), "filed once");
            }
        }
        for (seq, how) in &watch.ends {
            match how {
                Settled::Stored => prop_assert!(stored.contains(seq) && !filed.contains_key(seq)),
                Settled::FellBack { path, .. } => {
                    prop_assert!(!stored.contains(seq));
                    prop_assert_eq!(filed.get(seq), Some(path));
                }
            }
        }
        prop_assert_eq!(bench.sink.stored() + bench.sink.fell_back(), watch.ends.len() as u64);
        prop_assert_eq!(bench.sink.attempts(), bench.adapter.asked.lock().unwrap().len() as u64);
        if done {
            prop_assert_eq!(watch.ends.len() as u64, count);
        } else if stop_after.is_none() {
            // Without a fallback, only a bad row can keep a batch for ever.
            prop_assert!(!fallback && bad.iter().any(|seq| *seq <= count));
        }
        if names_bad_rows && done {
            prop_assert!(bad.iter().all(|seq| !stored.contains(seq)));
        }
    }

    #[test]
    fn without_a_journal_the_counts_add_up(count in 1_u64..30, bad in 1_u64..30, fallback: bool) {
        let bench = bench_with(fallback, move |seqs| {
            let unknown = AdapterError::new(Failure::Unknown, "do it");
            if seqs.contains(&bad) { Err(unknown) } else { Ok(()) }
        });
        let outcome = bench.sink.write(&rows(1..=count).batch());
        prop_assert_eq!(outcome.stored + outcome.fell_back + outcome.lost, count);
        prop_assert_eq!(outcome.stored, count - u64::from(bad <= count));
        prop_assert_eq!(outcome.lost == 0, fallback || bad > count);
    }
}
