//! Faults whose tests elsewhere take seconds, in doses of minutes. `./prove` runs them; those that run
//! for a time take it from `N3_SAFETY_SECONDS` (60).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    Batching, Logged, SafetyEvent, SafetyEventLogger, internal::clock::ManualClock,
};

use crate::adapters::{open, read};
use crate::jobs::{helper, helper_path};
use crate::life::fork;
use crate::limits::slow_loses_nothing;
use crate::outage::settle;
use crate::support::{Dataset, Place, adds_up, builder, event};

const JOB: &str = "N3_SAFETY_TEST_DOSE";

fn seconds() -> Duration {
    let given = std::env::var("N3_SAFETY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(given.unwrap_or(60.0))
}

fn dataset(home: &Path) -> PathBuf {
    home.join("safety.jsonl")
}

/// The logger of a child.
fn logger(home: &Path) -> SafetyEventLogger {
    let builder = builder(open(&dataset(home))).home(home).no_fallback();
    builder.buffer_size(10).flush_interval_seconds(0.01).build().unwrap()
}

/// How often each event is in the dataset.
fn times(home: &Path) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for row in read(&dataset(home)) {
        *times.entry(row.event.event_id).or_default() += 1;
    }
    times
}

/// Every event of `wanted`, each once, once a process without limits has recovered what was left.
fn assert_once(home: &Path, wanted: impl Iterator<Item = String>) {
    let next = logger(home);
    assert!(next.flush(Some(Duration::from_secs(120))).complete, "{:?}", next.stats());
    let wanted: BTreeMap<String, u32> = wanted.map(|id| (id, 1)).collect();
    let found = times(home);
    assert!(found == wanted, "{} of {} events, or twice", found.len(), wanted.len());
}

const ORPHANS: u64 = 600;
const DESCRIPTORS: u32 = 96;
/// Files that the application itself opens all the time.
const OWN_FILES: usize = 32;

/// The adoption of 600 journals took every descriptor that the process had, and the application's own
/// `open` and `accept` failed.
#[test]
#[ignore = "600 journals: ./prove runs it"]
fn six_hundred_orphans_are_adopted_with_few_descriptors() {
    let place = Place::new();
    let home = place.home();
    for from in (0..ORPHANS).step_by(60) {
        let killed = fork(|| {
            for n in from..from + 60 {
                let adapter = open(&dataset(&home));
                let builder = builder(adapter).home(&home).no_fallback();
                let logger = builder.threads(false).adopt(false).build().unwrap();
                (1..=3).for_each(|i| _ = logger.log(&event(10 * n + i)));
                std::mem::forget(logger);
            }
            true
        });
        assert!(killed());
    }
    assert_eq!(place.journals() as u64, ORPHANS);
    let job = format!("orphans {}", home.display());
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"")])
        .arg(helper_path())
        .arg("long_faults")
        .env(JOB, job)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let wanted = (0..ORPHANS).flat_map(|n| (1..=3).map(move |i| (10 * n + i).to_string()));
    assert_once(&home, wanted);
}

fn adopt_with_few_descriptors(home: &Path) {
    let logger = logger(home);
    let (done, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let files: Vec<File> =
                    (0..OWN_FILES).map(|_| File::open("/dev/null").unwrap()).collect();
                opened.fetch_add(files.len() as u64, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        logger.start();
        let flushed = logger.flush(Some(Duration::from_secs(300)));
        done.store(true, Ordering::SeqCst);
        assert!(flushed.complete, "{:?}", logger.stats());
    });
    assert_eq!(logger.stats().total_recovered, 3 * ORPHANS);
    assert!(opened.load(Ordering::SeqCst) > 0);
}

/// A day of outage, with an event every ten seconds and a burst of several batches every hour: at most
/// a file a minute, and what the size of a batch makes.
#[test]
#[ignore = "a day, by a clock that a test moves: ./prove runs it"]
fn a_day_of_outage_makes_a_file_a_minute_and_what_batches_make() {
    const ROWS: u64 = 500;
    const BURST: u64 = 5 * ROWS;
    let (place, dataset) = (Place::new(), Dataset::dead());
    dataset.set_batching(Batching { rows_max: 500, ..Batching::default() });
    let clock = Arc::new(ManualClock::default());
    let builder = place.builder(&dataset).threads(false).clock(clock.clone());
    let logger = builder.flush_interval_seconds(10.0).build().unwrap();
    logger.start();
    let mut events = 0;
    let mut log = |count: u64| {
        for _ in 0..count {
            events += 1;
            assert!(matches!(logger.log(&event(events)), Logged::Journaled(_)));
        }
        events
    };
    for second in (0..24 * 3600).step_by(10) {
        log(if second % 3600 == 1800 { BURST } else { 1 });
        settle(&logger, &clock);
        clock.advance(Duration::from_secs(10));
    }
    let events = log(0);
    assert!(logger.flush(None).complete);
    let files = fs::read_dir(place.fallback()).unwrap().count() as u64 - 1;
    assert!(files <= 24 * 60 + 24 * (BURST / ROWS + 1), "{files} files");
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_fallback, stats.total_dropped), (events, 0));
    assert_eq!(place.fallback_rows().len() as u64, events);
}

/// The disk holds three times the limit and the ring, however long a destination is down.
#[test]
#[ignore = "minutes: ./prove runs it"]
fn the_disk_is_bounded_for_minutes() {
    let place = Place::new();
    let limit = 8 << 20;
    let logger = builder(Dataset::dead())
        .home(place.home())
        .no_fallback()
        .buffer_size(100)
        .max_retries(3)
        .retry_delay(Duration::from_millis(100))
        .backlog_limit_bytes(limit)
        .build()
        .unwrap();
    let _ = logger.log(&event(0));
    let folder = logger.journal_folder().unwrap();
    let bytes = || {
        let files = fs::read_dir(&folder).unwrap().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
    };
    let (began, mut most, mut n) = (Instant::now(), 0, 0);
    while began.elapsed() < seconds() {
        for _ in 0..100 {
            n += 1;
            let _ = logger.log(&SafetyEvent { reason: Some("r".repeat(1_000)), ..event(n) });
        }
        std::thread::sleep(Duration::from_millis(2));
        most = most.max(bytes());
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!(stats.total_logged, n + 1);
    assert!(stats.total_dropped > 0 && !stats.healthy, "{stats:?}");
    // The ring, and where the keeper comes late a spill file.
    let bound = 3 * limit + (16 << 20) + (16 << 20);
    assert!(most <= bound, "{most} of {bound}");
}

/// A dataset that takes two or ten seconds for each batch is slow, and nothing else.
#[test]
#[ignore = "ten seconds a batch: ./prove runs it"]
fn a_destination_that_takes_ten_seconds_a_batch_loses_nothing() {
    slow_loses_nothing(Duration::from_secs(2), 8 << 20, 40_000, Duration::from_secs(180));
    slow_loses_nothing(Duration::from_secs(10), 8 << 20, 32_000, Duration::from_secs(180));
}

/// Sends a signal by its name.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// `stop()` with a time-out set `started` to false later, also after the process was stopped and
/// continued, and a logger that had been started again dropped what came.
#[test]
#[ignore = "minutes: ./prove runs it"]
fn stops_starts_and_stopped_processes_lose_nothing() {
    let place = Place::new();
    let home = place.home();
    let mut child = helper("long_faults")
        .env(JOB, format!("races {}", home.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rng = numbers_from(1);
    let began = Instant::now();
    while began.elapsed() < seconds() {
        std::thread::sleep(Duration::from_millis(rng() % 100));
        signal(&child, "-STOP");
        std::thread::sleep(Duration::from_millis(rng() % 300));
        signal(&child, "-CONT");
        assert!(child.try_wait().unwrap().is_none(), "it goes on");
    }
    child.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let logged = said.lines().find_map(|line| line.split_once("logged "));
    let logged: u64 = logged.unwrap().1.trim().parse().unwrap();
    assert!(logged > 100, "{logged}");
    assert_once(&home, (1..=logged).map(|n| n.to_string()));
}

/// Random numbers, the same ones each time.
fn numbers_from(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        // Knuth's constants for a linear congruence modulo 2^64.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

fn race(home: &Path) {
    let logger = logger(home);
    let (over, next) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
        for seed in [7, 8] {
            let (logger, over) = (&logger, &over);
            scope.spawn(move || {
                let mut rng = numbers_from(seed);
                while !over.load(Ordering::SeqCst) {
                    let _ = logger.stop(Some(Duration::from_millis(rng() % 20)));
                    std::thread::sleep(Duration::from_millis(rng() % 5));
                    if rng().is_multiple_of(2) {
                        logger.start();
                    }
                }
            });
        }
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        over.store(true, Ordering::SeqCst);
    });
    let stopped = logger.stop(Some(Duration::from_secs(60)));
    let stats = logger.stats();
    adds_up(&stats);
    assert!(stopped.complete && stats.total_dropped == 0, "{stats:?}");
    let mut out = std::io::stdout();
    writeln!(out, "logged {}", stats.total_logged).unwrap();
}

pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let (what, home) = job.split_once(' ').unwrap();
    match what {
        "orphans" => adopt_with_few_descriptors(Path::new(home)),
        "races" => race(Path::new(home)),
        other => panic!("no {other}"),
    }
}
