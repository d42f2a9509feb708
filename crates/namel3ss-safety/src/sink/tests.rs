//! Attempts, waits, the breaker, notices: each rule of a delivery, with the clock in hand.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::adapter::{AdapterError, AdapterRegistry, DatasetAdapter, Delivery, Failure};
use crate::batch::{Batch, RowBuffer};
use crate::clock::{Clock as _, ManualClock};
use crate::event::SafetyEvent;
use crate::id::{JournalId, Seq};
use crate::notice::{Level, NoticeKind};

pub(super) type Answer = Box<dyn FnMut(&[u64]) -> Result<(), AdapterError> + Send>;

/// Answers as it is told, and keeps what it stored and what it was asked.
pub(super) struct Scripted {
    answer: Mutex<Answer>,
    pub(super) asked: Mutex<Vec<Vec<u64>>>,
    pub(super) stored: Mutex<Vec<u64>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl DatasetAdapter for Scripted {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let seqs: Vec<u64> = batch.rows().map(|row| row.seq.0).collect();
        self.asked.lock().unwrap().push(seqs.clone());
        let mut answer = self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answer(&seqs)?;
        self.stored.lock().unwrap().extend(seqs);
        Ok(())
    }

    fn identity(&self) -> String {
        "scripted".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// A sink on a scripted adapter, with a folder of its own and the clock in hand.
pub(super) struct Bench {
    pub(super) sink: SafetyEventSink,
    pub(super) adapter: Arc<Scripted>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) folder: tempfile::TempDir,
}

pub(super) fn bench(
    answer: impl FnMut(&[u64]) -> Result<(), AdapterError> + Send + 'static,
) -> Bench {
    bench_with(true, answer)
}

pub(super) fn bench_with(
    fallback: bool,
    answer: impl FnMut(&[u64]) -> Result<(), AdapterError> + Send + 'static,
) -> Bench {
    let adapter = Arc::new(Scripted {
        answer: Mutex::new(Box::new(answer)),
        asked: Mutex::default(),
        stored: Mutex::default(),
    });
    let registry = AdapterRegistry::default();
    registry.register(DATASET_DEFAULT, adapter.clone());
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let sink = SafetyEventSink::builder()
        .registry(Arc::new(registry))
        .fallback_path(fallback.then(|| folder.path().join("fallback")))
        .home(folder.path().join("home"))
        .clock(clock.clone())
        .build();
    Bench { sink, adapter, clock, folder }
}

impl Bench {
    /// A sink as the next run makes it.
    pub(super) fn next_run(&self) -> SafetyEventSink {
        self.sink.after_fork(Arc::default())
    }

    pub(super) fn files(&self) -> Vec<std::path::PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("fallback")) else {
            return Vec::new();
        };
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.retain(|path| !path.ends_with(DESTINATION_NAME));
        files.sort();
        files
    }

    fn kinds(&self) -> Vec<NoticeKind> {
        self.sink.notices().take().iter().map(|notice| notice.kind).collect()
    }
}

pub(super) fn rows(seqs: impl IntoIterator<Item = u64>) -> RowBuffer {
    let mut buffer = RowBuffer::new(JournalId([7; 16]));
    for seq in seqs {
        let event = SafetyEvent { event_id: format!("evt-{seq}"), ..SafetyEvent::default() };
        buffer.push_event(Seq(seq), &event);
    }
    buffer
}

pub(super) fn seqs_in(path: &Path) -> Vec<u64> {
    let text = std::fs::read(path).unwrap();
    let values: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    values.iter().map(|row| row["seq"].as_u64().unwrap()).collect()
}

fn transient() -> AdapterError {
    AdapterError::transient("reach the dataset")
}

fn unknown() -> AdapterError {
    AdapterError::new(Failure::Unknown, "insert: something")
}

/// Fails like a dataset that can't tell why, when one of `bad` is in the batch.
pub(super) fn refuses(
    bad: &'static [u64],
) -> impl FnMut(&[u64]) -> Result<(), AdapterError> + Send {
    move |seqs| if seqs.iter().any(|seq| bad.contains(seq)) { Err(unknown()) } else { Ok(()) }
}

#[test]
fn attempts_are_counted_and_waits_double() {
    let mut failures = 2;
    let bench = bench(move |_| {
        failures -= 1;
        if failures >= 0 { Err(transient()) } else { Ok(()) }
    });
    let outcome = bench.sink.write(&rows(1..=3).batch());
    assert!(outcome.is_stored());
    assert_eq!((bench.sink.attempts(), bench.sink.retries(), bench.sink.stored()), (3, 2, 3));
    let waited = bench.clock.monotonic().as_secs_f64();
    assert!((2.7..=3.3).contains(&waited), "1 s and 2 s: {waited}");
    assert!(bench.sink.healthy());
    assert_eq!(bench.kinds(), [NoticeKind::Retrying; 2]);
}

#[test]
fn all_tries_failed_is_one_file_and_an_open_breaker() {
    let bench = bench(|_| Err(transient()));
    let outcome = bench.sink.write(&rows(1..=3).batch());
    assert_eq!((outcome.stored, outcome.fell_back, outcome.lost), (0, 3, 0));
    assert_eq!(outcome.error.as_deref(), Some("reach the dataset"));
    assert_eq!(bench.sink.attempts(), 3);
    assert!(!bench.sink.healthy());
    assert_eq!(seqs_in(&outcome.files[0]), [1, 2, 3]);
    let name = outcome.files[0].file_name().unwrap().to_str().unwrap();
    // Some three seconds later, give or take a tenth.
    assert!(name.starts_with("safety_events_20260101_00000"), "{name}");
    assert!(name.ends_with("_1.json"), "{name}");
    // While it is failing, a batch is tried once, without a wait.
    let before = bench.clock.monotonic();
    bench.sink.write(&rows(4..=5).batch());
    assert_eq!((bench.sink.attempts(), bench.clock.monotonic()), (4, before));
    assert_eq!(bench.kinds(), [NoticeKind::Retrying, NoticeKind::Retrying, NoticeKind::Fallback]);
}

/// Each batch of an outage was a critical line of its own: 8,640 a day, which hid everything else.
#[test]
fn an_outage_is_said_once_and_then_a_sum_a_minute() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answers = down.clone();
    let bench =
        bench(move |_| if answers.load(Ordering::SeqCst) { Err(transient()) } else { Ok(()) });
    let said = || {
        let notices = bench.sink.notices().take();
        let of_files = notices.into_iter().filter(|notice| notice.kind == NoticeKind::Fallback);
        of_files.map(|notice| notice.text).collect::<Vec<_>>()
    };
    let mut seqs = 1_u64..;
    let mut write = || {
        let first = seqs.next().unwrap();
        bench.sink.write(&rows(first..=first + seqs.next().map_or(0, |_| 1)).batch());
    };
    write();
    assert_eq!(said().len(), 1);
    for _ in 0..20 {
        write();
    }
    assert_eq!(said(), [] as [String; 0]);
    bench.clock.advance(Duration::from_secs(60));
    write();
    let sum = said();
    assert!(sum[0].contains("42 more rows are in 21 more files"), "{sum:?}");
    // What was not said yet is said when the outage is over, and the next one at once.
    write();
    down.store(false, Ordering::SeqCst);
    write();
    assert!(said()[0].contains("2 rows are in"));
    down.store(true, Ordering::SeqCst);
    write();
    assert_eq!(said().len(), 1);
    // The end of a logger says the rest.
    write();
    bench.sink.say_rest();
    assert_eq!((said().len(), bench.sink.say_rest()), (1, ()));
    assert_eq!(said(), [] as [String; 0]);
}

#[test]
fn a_success_closes_the_breaker() {
    let mut calls = 0;
    let bench = bench(move |_| {
        calls += 1;
        if (4..7).contains(&calls) || calls == 3 { Ok(()) } else { Err(transient()) }
    });
    bench.sink.set_max_retries(2);
    bench.sink.write(&rows(1..=1).batch());
    assert!(!bench.sink.healthy());
    assert!(bench.sink.write(&rows(2..=2).batch()).is_stored());
    assert!(bench.sink.healthy());
    assert!(bench.kinds().contains(&NoticeKind::Recovered));
}

#[test]
fn a_throttled_dataset_is_obeyed_within_a_minute() {
    for (asked, wants) in [(7, 7.0), (3600, 60.0)] {
        let mut calls = 0;
        let bench = bench(move |_| {
            calls += 1;
            let after = Some(Duration::from_secs(asked));
            let throttled = AdapterError::new(Failure::Throttled(after), "insert: slow down");
            if calls < 2 { Err(throttled) } else { Ok(()) }
        });
        assert!(bench.sink.write(&rows(1..=2).batch()).is_stored());
        assert_eq!(bench.clock.monotonic().as_secs_f64(), wants);
    }
}

#[test]
fn a_wrong_configuration_is_not_hammered() {
    let bench = bench(|_| Err(AdapterError::config("log in: check the password")));
    let outcome = bench.sink.write(&rows(1..=9).batch());
    assert_eq!((bench.sink.attempts(), outcome.fell_back), (1, 9));
    assert_eq!(bench.clock.monotonic(), Duration::ZERO);
}

#[test]
fn named_bad_rows_cost_themselves_only() {
    let bench = bench(|seqs| {
        let bad: Vec<usize> =
            (0..seqs.len()).filter(|i| [1, 4, 5, 9].contains(&seqs[*i])).collect();
        let poison = AdapterError::new(Failure::Poison(bad.clone()), "encode a NUL");
        if bad.is_empty() { Ok(()) } else { Err(poison) }
    });
    let outcome = bench.sink.write(&rows(1..=9).batch());
    assert_eq!((outcome.stored, outcome.fell_back), (5, 4));
    assert_eq!(outcome.files.len(), 1);
    assert_eq!(seqs_in(&outcome.files[0]), [1, 4, 5, 9]);
    assert_eq!(*bench.adapter.stored.lock().unwrap(), [2, 3, 6, 7, 8]);
    let text = std::fs::read_to_string(&outcome.files[0]).unwrap();
    assert_eq!(text.matches("\"_error\":\"encode a NUL\"").count(), 4);
    assert!(bench.sink.healthy());
    assert_eq!(bench.clock.monotonic(), Duration::ZERO);
}

#[test]
fn unnamed_bad_rows_are_found() {
    let bench = bench(refuses(&[2, 7, 8]));
    let outcome = bench.sink.write(&rows(1..=20).batch());
    assert_eq!((outcome.stored, outcome.fell_back, outcome.lost), (17, 3, 0));
    let filed: Vec<u64> = outcome.files.iter().flat_map(|path| seqs_in(path)).collect();
    assert_eq!(filed, [2, 7, 8]);
    assert!(bench.sink.healthy());
}

#[test]
fn an_outage_that_cannot_be_told_is_found_in_three_rows() {
    let bench = bench(|_| Err(unknown()));
    let outcome = bench.sink.write(&rows(1..=100).batch());
    assert_eq!((outcome.fell_back, outcome.files.len()), (100, 1));
    let asked: Vec<usize> = bench.adapter.asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(asked, [100, 100, 100, 1, 1, 1]);
    assert!(!bench.sink.healthy());
    assert!(!std::fs::read_to_string(&outcome.files[0]).unwrap().contains("_error"));
}

#[test]
fn a_bad_row_carries_its_error_and_the_first_ones_are_no_outage() {
    let bench = bench(refuses(&[1, 2]));
    let outcome = bench.sink.write(&rows(1..=3).batch());
    assert_eq!((outcome.stored, outcome.fell_back, outcome.files.len()), (1, 2, 1));
    let text = std::fs::read_to_string(&outcome.files[0]).unwrap();
    assert_eq!(text.matches("\"_error\":\"insert: something\"").count(), 2);
}

#[test]
fn while_it_fails_an_unknown_failure_is_not_searched() {
    let bench = bench(|_| Err(unknown()));
    bench.sink.write(&rows(1..=1).batch());
    bench.sink.write(&rows(2..=9).batch());
    assert_eq!(bench.sink.attempts(), 4);
}

#[test]
fn an_outage_while_halving_is_bounded() {
    let mut calls = 0;
    let bench = bench(move |seqs| {
        calls += 1;
        if calls > 3 && seqs == [1] { Ok(()) } else { Err(unknown()) }
    });
    let outcome = bench.sink.write(&rows(1..=10_000).batch());
    assert_eq!((outcome.stored, outcome.fell_back), (1, 9_999));
    assert!(bench.sink.attempts() < 60, "{}", bench.sink.attempts());
}

#[test]
fn a_panic_is_a_failure() {
    let bench = bench(|_| panic!("\x1b[2Jboom"));
    let outcome = bench.sink.write(&rows(1..=1).batch());
    assert_eq!((outcome.fell_back, bench.sink.panics()), (1, 3));
    let error = outcome.error.unwrap();
    assert_eq!(error, "insert the rows: the adapter panicked:  [2Jboom");
}

#[test]
fn without_an_adapter_there_is_a_file_and_one_warning() {
    let bench = bench(|_| Ok(()));
    let sink = SafetyEventSink::builder()
        .dataset_name("other")
        .fallback_path(bench.sink.fallback_path().map(Path::to_owned))
        .home(bench.folder.path())
        .build();
    for seq in 1..=3 {
        assert_eq!(sink.write(&rows(seq..=seq).batch()).fell_back, 1);
    }
    let notices = sink.notices().take();
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].level, notices[0].times), (Level::Warning, 1));
    assert_eq!(sink.attempts(), 0);
    assert!(!sink.healthy());
}

#[test]
fn without_journal_and_fallback_the_loss_is_said() {
    let bench = bench_with(false, refuses(&[2]));
    let outcome = bench.sink.write(&rows(1..=5).batch());
    assert_eq!((outcome.stored, outcome.fell_back, outcome.lost), (4, 0, 1));
    assert_eq!((bench.sink.stored(), bench.sink.lost()), (4, 1));
    let notices = bench.sink.notices().take();
    let critical: Vec<_> = notices.iter().filter(|n| n.level == Level::Critical).collect();
    assert_eq!(critical.len(), 1);
    assert!(critical[0].text.contains("lost 1 of 5 events"), "{}", critical[0].text);
}

#[test]
fn a_kept_batch_goes_on_when_something_takes_it() {
    let mut calls = 0;
    let bench = bench_with(false, move |_| {
        calls += 1;
        if calls > 5 { Ok(()) } else { Err(transient()) }
    });
    let (buffer, mut state) = (rows(1..=4), bench.sink.begin());
    let mut outcome = Outcome::default();
    let mut kept = Vec::new();
    loop {
        match bench.sink.step(&mut state, &buffer.batch(), &mut outcome) {
            Step::Again => {}
            Step::Wait(wait) => bench.clock.advance(wait),
            Step::Kept { wait, error } => {
                assert!(error.contains("fallback_path"), "{error}");
                kept.push(wait.as_secs_f64().round());
            }
            Step::Done => break,
        }
    }
    assert_eq!(kept, [1.0, 2.0, 4.0]);
    assert_eq!((outcome.stored, bench.sink.attempts()), (4, 6));
    assert!(bench.sink.healthy());
}

#[test]
fn settings_hold_while_it_runs() {
    let bench = bench(|_| Err(transient()));
    assert_eq!((bench.sink.max_retries(), bench.sink.retry_delay()), (3, RETRY_DELAY_DEFAULT));
    bench.sink.set_max_retries(0);
    bench.sink.set_retry_delay(Duration::MAX);
    assert_eq!(bench.sink.max_retries(), 1);
    bench.sink.write(&rows(1..=1).batch());
    assert_eq!((bench.sink.attempts(), bench.clock.monotonic()), (1, Duration::ZERO));
    assert!(bench.sink.write(&rows([]).batch()).is_stored());
}

/// Delivers `rows` until nothing more can be done now; the last step.
fn until_it_rests(
    bench: &Bench,
    state: &mut Delivering,
    batch: &Batch<'_>,
    told: &mut Outcome,
) -> Step {
    loop {
        match bench.sink.step(state, batch, told) {
            Step::Again => {}
            rests => return rests,
        }
    }
}

#[test]
fn where_memory_is_scarce_a_batch_is_halved_and_a_single_row_waits() {
    let least = Arc::new(Mutex::new(3));
    let room = least.clone();
    let bench = bench(move |seqs| match seqs.len() > *room.lock().unwrap() {
        true => Err(AdapterError::no_memory("encode the rows")),
        false => Ok(()),
    });
    let (rows, mut state, mut told) = (rows(1..=10), bench.sink.begin(), Outcome::default());
    let batch = rows.batch();
    assert_eq!(until_it_rests(&bench, &mut state, &batch, &mut told), Step::Done);
    assert_eq!(*bench.adapter.stored.lock().unwrap(), (1..=10).collect::<Vec<_>>());
    // None for a single row: it waits, whatever else could take it.
    *least.lock().unwrap() = 0;
    let mut state = bench.sink.begin();
    for _ in 0..2 {
        let step = until_it_rests(&bench, &mut state, &batch, &mut told);
        let Step::Kept { error, wait } = step else { panic!("{step:?}") };
        assert!(error.contains("not enough memory") && !wait.is_zero(), "{error}");
    }
    assert!(bench.sink.healthy() && bench.files().is_empty() && bench.sink.fell_back() == 0);
    *least.lock().unwrap() = 10;
    assert_eq!(until_it_rests(&bench, &mut state, &batch, &mut told), Step::Done);
    assert_eq!(bench.sink.stored(), 20);
    // What is in no journal goes to a file.
    *least.lock().unwrap() = 0;
    let outcome = bench.sink.write(&batch);
    assert_eq!((outcome.stored, outcome.fell_back, outcome.lost), (0, 10, 0));
}
