//! Many loggers in one process: their journals leave it most of its descriptors, and what has no room
//! in a file is delivered from memory.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{DatasetAdapter, Logged, NoticeKind, SafetyEventLogger};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::adapters::{open, read};
use crate::jobs::helper;
use crate::support::{Dataset, Place, builder, event, until};

const CHILD: &str = "N3_SAFETY_TEST_DESCRIPTORS";
const SOON: Option<Duration> = Some(Duration::from_secs(30));

fn limit(current: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
}

/// How many descriptors are open on files of journals.
fn journals_hold(place: &Place) -> usize {
    let journals = place.home().join("journal");
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    paths.filter(|path| path.starts_with(&journals)).count()
}

/// What an application does meanwhile.
fn opens_files() -> bool {
    let files: Vec<_> = (0..100).map(|_| File::open("/dev/null")).collect();
    files.iter().all(Result::is_ok)
}

/// 1,000 loggers are made, log ten events and are forgotten, of which `alive` are there at a time.
fn churn(descriptors: u64, loggers: u64, alive: usize, fallback: bool) {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    limit(descriptors);
    let dataset: Arc<dyn DatasetAdapter> = open(&path);
    let build = || {
        let builder = builder(dataset.clone()).home(place.home());
        let builder = match fallback {
            true => builder.fallback_path(place.fallback()),
            false => builder.no_fallback(),
        };
        builder.build().unwrap()
    };
    let ended = AtomicBool::new(false);
    let (most, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                failed.fetch_add(usize::from(!opens_files()), Ordering::SeqCst);
                most.fetch_max(journals_hold(&place), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut kept = VecDeque::new();
        for number in 0..loggers {
            let logger: SafetyEventLogger = build();
            for at in 1..=10 {
                let logged = logger.log(&event(number * 10 + at));
                assert!(!matches!(logged, Logged::Dropped(_)), "{number}: {logged:?}");
            }
            kept.push_back(logger);
            if kept.len() >= alive {
                kept.pop_front();
            }
        }
        drop(kept);
        ended.store(true, Ordering::SeqCst);
    });
    // What was left in files belongs to the next one.
    let last = build();
    last.start();
    // Others may not have let go of it yet. It may be hundreds of journals.
    let (started, deadline) = (Instant::now(), Duration::from_secs(300));
    while read(&path).len() < 10 * loggers as usize && started.elapsed() < deadline {
        let report = last.flush(Some(deadline));
        assert!(report.complete, "{report:?} {:?} {:?}", last.stats(), last.notices());
    }
    assert!(last.stop(SOON).complete);
    let rows = read(&path);
    let ids: BTreeSet<u64> = rows.iter().map(|row| row.event.event_id.parse().unwrap()).collect();
    assert_eq!((rows.len() as u64, ids.len() as u64), (loggers * 10, loggers * 10));
    assert_eq!(failed.load(Ordering::SeqCst), 0, "the application could not open 100 files");
    let most = most.load(Ordering::SeqCst) as u64;
    assert!(most <= descriptors / 4, "{most} of {descriptors}");
    assert_eq!(place.fallback_rows().len(), 0);
    drop(last);
    until("no descriptor", || journals_hold(&place) == 0);
}

fn in_child(jobs: &[String]) {
    for job in jobs {
        let output = helper("descriptors").env(CHILD, job).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{job}: {:?}\n{text}", output.status);
    }
}

pub(crate) fn child() {
    let job = std::env::var(CHILD).expect("a job");
    if job == "room" {
        return room();
    }
    let numbers: Vec<u64> = job.split(' ').map(|word| word.parse().unwrap()).collect();
    churn(numbers[0], numbers[1], numbers[2] as usize, numbers[3] == 1);
}

/// At `ulimit -n 256` up to 118 events of 1,000 loggers were lost without a word, and the application
/// could not open its own files.
#[test]
fn many_loggers_that_are_forgotten_lose_nothing_and_leave_descriptors_to_the_application() {
    in_child(&["256 60 1 0".to_owned(), "256 60 40 1".to_owned()]);
}

#[test]
#[ignore = "takes minutes: for ./prove"]
fn a_thousand_loggers_that_are_forgotten_at_each_limit() {
    for limit in [256, 512, 1024] {
        for fallback in [0, 1] {
            for alive in [1, 40, 1000] {
                in_child(&[format!("{limit} 1000 {alive} {fallback}")]);
            }
        }
    }
}

/// The journals of one process hold a quarter of its descriptors; a further logger's is in memory until
/// one of them is gone.
#[test]
fn a_journal_without_room_is_in_memory_until_there_is_some() {
    in_child(&["room".to_owned()]);
}

fn room() {
    let place = Place::new();
    let dataset = Dataset::dead();
    limit(256);
    // Without adopting: what a logger leaves must not take the room of the next.
    let builder = || builder(dataset.clone()).home(place.home()).no_fallback().adopt(false);
    let build = || builder().build().unwrap();
    let log = |n| {
        let logger = build();
        let logged = logger.log(&event(n));
        (logger, matches!(logged, Logged::Journaled(_)))
    };
    let mut loggers = Vec::new();
    loop {
        let (logger, in_file) = log(1);
        loggers.push(logger);
        if !in_file {
            break;
        }
    }
    let in_files = loggers.len() - 1;
    assert!((4..=8).contains(&in_files), "{in_files}");
    let last = loggers.pop().unwrap();
    let (beside, _) = log(1);
    // Of one fact there is one notice.
    let said = |logger: &SafetyEventLogger| {
        let notices = logger.notices();
        let degraded = notices.into_iter().find(|notice| notice.kind == NoticeKind::Degraded);
        degraded.map(|notice| notice.text)
    };
    let text = said(&last).expect("a notice");
    assert!(text.contains("a quarter of the descriptors") && text.contains("(256)"), "{text}");
    assert_eq!(said(&beside), None);
    assert_eq!(last.stats().unhealthy, [namel3ss_safety::Unhealthy::Memory]);
    assert!(beside.stats().unhealthy == [namel3ss_safety::Unhealthy::Memory]);
    // Its journal stays on disk, for the next one; its descriptors do not.
    // Each of the two needs room for what it has in memory, too.
    loggers.truncate(in_files - 4);
    until("the files", || {
        [&last, &beside].iter().all(|it| it.stats().journal.as_str() != "memory")
    });
    assert!(matches!(last.log(&event(2)), Logged::Journaled(_)));
    dataset.set(|_| Ok(()));
    until("all", || last.flush(SOON).complete && beside.flush(SOON).complete);
    assert!(last.stats().healthy);
    // A lone logger has its file, however little there is.
    drop((loggers, last, beside));
    until("no descriptor", || journals_hold(&place) == 0);
    limit(24);
    let (lone, in_file) = log(3);
    assert!(in_file && lone.stop(SOON).complete);
}

/// A worker that hangs in its adapter keeps the journal's files; with its end they are closed.
#[test]
fn a_forgotten_logger_holds_no_descriptor_once_its_worker_has_ended() {
    let place = Place::new();
    let gate = Arc::new(crate::healthy::Gate::default());
    let theirs = gate.clone();
    let dataset = Dataset::new(move |_| {
        theirs.pass();
        Ok(())
    });
    let logger = builder(dataset).home(place.home()).no_fallback().buffer_size(1).build().unwrap();
    let _ = logger.log(&event(1));
    until("the adapter", || gate.is_reached());
    drop(logger);
    assert!(journals_hold(&place) > 0);
    gate.open();
    until("its end", || journals_hold(&place) == 0);
}
