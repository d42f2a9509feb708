//! An application that has little memory: a failed allocation of ours ended it.
//!
//! The application is a child process under `ulimit -v`, which logs small and large events and stops.
//! It must not be ended by a signal, and every event that it logged is counted, and in the dataset
//! once the next process, which has memory, has recovered what the first one could not deliver.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an application that says its counts"
)]

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use namel3ss_safety::internal::adapter::json;
use namel3ss_safety::{
    AdapterRegistry, DropReason, JournalId, NoticeKind, SafetyEvent, SafetyEventLogger, Seq,
    internal::memory,
};
use namel3ss_safety_stores::{objects, open};

use crate::jobs::helper_path;
use crate::sqlite::all;

const JOB: &str = "N3_SAFETY_TEST_MEMORY";
const LATE: &str = "N3_SAFETY_TEST_LATE_MEMORY";
const BALLAST_BYTES: usize = 256 << 10;
/// Events that an application logs, and of which size each hundredth is.
const EVENTS: usize = 6_000;
const LARGE_BYTES: usize = 200 << 10;
/// Where an application without a logger can do nothing either.
const LEAST_MB: u64 = 8;
const MOST_MB: u64 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same application without a logger.
    Without,
    Jsonl,
    Sqlite,
    Parquet,
}

const KINDS: [Kind; 3] = [Kind::Jsonl, Kind::Sqlite, Kind::Parquet];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Without => "without",
            Self::Jsonl => "jsonl",
            Self::Sqlite => "sqlite",
            Self::Parquet => "parquet",
        })
    }
}

impl Kind {
    fn of(word: &str) -> Self {
        let kinds = [Self::Without, Self::Jsonl, Self::Sqlite, Self::Parquet];
        kinds.into_iter().find(|kind| kind.to_string() == word).expect("a kind")
    }

    fn dataset(self, home: &Path) -> PathBuf {
        home.join(match self {
            Self::Without => "none",
            Self::Jsonl => "safety.jsonl",
            Self::Sqlite => "safety.db",
            Self::Parquet => "safety/",
        })
    }

    fn url(self, home: &Path) -> String {
        let path = self.dataset(home);
        match self {
            Self::Sqlite => format!("sqlite:///{}", path.display()),
            Self::Parquet => format!("file://{}/", path.display()),
            _ => format!("file://{}", path.display()),
        }
    }

    /// The rows of the dataset: whose they are.
    fn rows(self, home: &Path) -> Vec<(JournalId, Seq)> {
        let path = self.dataset(home);
        if !path.exists() {
            return Vec::new();
        }
        match self {
            Self::Without => Vec::new(),
            Self::Jsonl => {
                let file = std::io::BufReader::new(std::fs::File::open(path).expect("it is there"));
                json::Reader::new(file).filter_map(|row| row.expect("a whole row").id).collect()
            }
            Self::Sqlite => all(&path).iter().filter_map(|row| row.id).collect(),
            Self::Parquet => {
                let rows = objects::read(&self.url(home)).expect("a dataset");
                rows.filter_map(|row| row.expect("a whole row").id).collect()
            }
        }
    }
}

fn logger(kind: Kind, home: &Path) -> SafetyEventLogger {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", open(&kind.url(home)).expect("a URL"));
    SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home)
        .no_fallback()
        .pulls_notices()
        .flush_interval_seconds(0.05)
        .retry_delay(Duration::from_millis(20))
        .build()
        .expect("it is set up rightly")
}

/// The application. Its own memory is small, and the same with and without a logger.
pub(crate) fn app() {
    let job = std::env::var(JOB).expect("a job");
    let (kind, home) = job.split_once(' ').expect("two words");
    let (kind, home) = (Kind::of(kind), PathBuf::from(home));
    let logger = (kind != Kind::Without).then(|| logger(kind, &home));
    let mut event = SafetyEvent { reason: Some("r".repeat(100)), ..SafetyEvent::default() };
    // Made once: this application must not fail for want of memory of its own.
    let mut large = Some("l".repeat(LARGE_BYTES));
    for n in 0..EVENTS {
        event.trace_id = Some(format!("{n}"));
        if n % 100 == 99 {
            event.user_id = large.take();
        } else if let Some(made) = event.user_id.take() {
            large = Some(made);
        }
        match &logger {
            Some(logger) => drop(logger.log(&event)),
            None => drop(event.reason.clone()),
        }
    }
    let Some(logger) = logger else { return };
    let report = logger.stop(Some(Duration::from_secs(20)));
    let stats = logger.stats();
    for (why, events) in stats.dropped.iter() {
        assert!(events == 0 || why == DropReason::JournalFull, "{events} for {why:?}");
    }
    for notice in logger.notices() {
        eprintln!("{:?} {}: {}", notice.level, notice.kind, notice.text);
    }
    println!(
        "counts {} {} {} {} {} {}",
        stats.total_logged,
        stats.total_flushed,
        stats.total_fallback,
        stats.total_dropped,
        stats.pending,
        report.complete
    );
}

/// Runs one of these applications with so much memory.
fn limited(part: &str, name: &str, job: &str, mb: u64) -> Output {
    let command = format!("ulimit -c 0; ulimit -v {}; exec \"$0\" \"$@\"", mb << 10);
    Command::new("sh")
        .args(["-c", &command])
        .arg(helper_path())
        .arg(part)
        .env(name, job)
        // It takes more memory than there is.
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("it starts")
}

fn run(kind: Kind, home: &Path, mb: u64) -> Output {
    limited("memory::app", JOB, &format!("{kind} {}", home.display()), mb)
}

/// The least memory with which the application runs without a logger.
fn least() -> u64 {
    let place = Path::new("/");
    let runs = |mb: &u64| run(Kind::Without, place, *mb).status.success();
    (1..2_000).find(runs).expect("it runs")
}

/// Runs the application under a limit, then a process without one; what is wrong, if anything.
fn check(kind: Kind, mb: u64) -> Result<String, String> {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let run = run(kind, home, mb);
    let (said, errors) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let tell = |what: &str| Err(format!("{kind} at {mb} MB: {what}\n{said}\n{errors}"));
    if !run.status.success() {
        return tell(&run.status.to_string());
    }
    let counts = said.lines().find_map(|line| line.split_once("counts ")).map(|(_, counts)| counts);
    let Some(counts) = counts else { return tell("it has not counted") };
    let words: Vec<&str> = counts.split(' ').collect();
    let numbers: Vec<u64> = words[..5].iter().filter_map(|word| word.parse().ok()).collect();
    let [logged, flushed, fallback, dropped, pending] = numbers[..] else { return tell("counts") };
    if logged != EVENTS as u64 || logged != flushed + fallback + dropped + pending {
        return tell("the equation does not hold");
    }
    let next = logger(kind, home);
    next.start();
    let recovered = next.stop(Some(Duration::from_secs(60))).complete;
    let rows = kind.rows(home);
    let distinct: BTreeSet<_> = rows.iter().map(|(journal, seq)| (journal.0, seq.0)).collect();
    if rows.len() != distinct.len() {
        return tell(&format!(
            "{} of {} rows are there twice",
            rows.len() - distinct.len(),
            rows.len()
        ));
    }
    if !recovered || rows.len() as u64 + dropped != logged {
        return tell(&format!("{} rows, {:?}", rows.len(), next.stats()));
    }
    Ok(format!("{kind} at {mb} MB: {counts}"))
}

fn check_all(limits: impl Iterator<Item = u64> + Clone) {
    let wrong: Vec<String> = KINDS
        .into_iter()
        .flat_map(|kind| limits.clone().map(move |mb| (kind, mb)))
        .filter_map(|(kind, mb)| match check(kind, mb) {
            Ok(counts) => {
                println!("{counts}");
                None
            }
            Err(wrong) => Some(wrong),
        })
        .collect();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn an_application_with_little_memory_is_not_ended() {
    let least = least() + LEAST_MB;
    check_all([0, 3, 9, 24].into_iter().map(|more| least + more));
}

#[test]
#[ignore = "takes some 8 minutes: ./prove runs it"]
fn an_application_is_not_ended_at_any_limit() {
    let least = least() + LEAST_MB;
    check_all(least..=MOST_MB.max(least + 32));
}

/// An application that has no memory while its logger starts, and some later. Its logger had no
/// threads for ever, and delivered only where somebody asked.
pub(crate) fn late() {
    let home = PathBuf::from(std::env::var(LATE).expect("a home"));
    let mut ballast: Vec<Vec<u8>> = Vec::with_capacity(1 << 10);
    // Too little is left for a thread's stack.
    while memory::has(BALLAST_BYTES) {
        ballast.push(Vec::with_capacity(BALLAST_BYTES));
    }
    let logger = logger(Kind::Jsonl, &home);
    let mut logged = 0_u64;
    let mut log = || {
        let _ = logger.log(&SafetyEvent::default());
        logged += 1;
    };
    log();
    let said = logger.notices();
    assert!(said.iter().any(|notice| notice.kind == NoticeKind::Threads), "{said:?}");
    drop(ballast);
    let until = Instant::now() + Duration::from_secs(30);
    while logger.stats().total_flushed == 0 {
        assert!(Instant::now() < until, "{:?} {:?}", logger.stats(), logger.notices());
        log();
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("late, and delivered");
}

#[test]
fn threads_that_were_not_to_be_had_are_tried_again() {
    let home = tempfile::tempdir().expect("a folder");
    let job = home.path().display().to_string();
    let run = limited("memory::late", LATE, &job, least() + 48);
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("late, and delivered"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}
