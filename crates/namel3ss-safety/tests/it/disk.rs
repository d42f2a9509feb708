//! Disks as they fail: full, read-only, somebody else's, beyond the process's limits. The app goes
//! on, what is lost is counted, and the logger resumes by itself.
//!
//! Limits are a process's own, so those tests run in a child. A test that needs a mount says so
//! where it can't have one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namel3ss_safety::{
    DatasetAdapter, DropReason, Durability, JsonAdapter, Level, Logged, NoticeKind,
    OverflowStrategy, SafetyEvent, SafetyEventLogger, Stats,
};

use crate::adapters::read;
use crate::jobs::helper;
use crate::support::{Dataset, Place, adds_up, builder, event, fallback_rows, until};

const CHILD: &str = "N3_SAFETY_TEST_DISK";

fn big(n: u64) -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(1000)), ..event(n) }
}

/// A call tried thousands of times to make room, each with calls that the disk refused: 12 s were seen.
#[test]
fn log_on_a_full_disk_takes_no_longer_than_a_second() {
    let place = Place::new();
    let Some(disk) = Tmpfs::mount(&place, "48m") else { return };
    let logger = builder(Dataset::dead()).home(disk.0.join("home")).no_fallback();
    let logger = logger.durability(Durability::Power).build().unwrap();
    for n in 0..20_000 {
        let _ = logger.log(&big(n));
    }
    let _ballast = disk.fill(0);
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    for n in 0..100_000 {
        let call = Instant::now();
        let _ = logger.log(&big(n));
        longest = longest.max(call.elapsed());
        if began.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert!(stats.total_dropped > 0 && !stats.healthy, "{stats:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

/// A file system of its own in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(place: &Place, size: &str) -> Option<Self> {
        let path = place.folder.path().join("mount");
        fs::create_dir(&path).unwrap();
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            skipped("no tmpfs can be mounted here");
            return None;
        }
        Some(Self(path))
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }

    /// Takes all room but `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let ballast = self.0.join("ballast");
        let (mut bytes, chunk) = (0, vec![7; 64 << 10]);
        let mut file = fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {
            bytes += chunk.len() as u64;
        }
        file.set_len(bytes.saturating_sub(left)).unwrap();
        ballast
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn said(logger: &SafetyEventLogger, kind: NoticeKind) -> bool {
    logger.notices().iter().any(|notice| notice.kind == kind)
}

fn dropped(stats: &Stats, reason: DropReason) -> u64 {
    stats.dropped.of(reason)
}

#[test]
fn a_disk_that_fills_up_is_survived_and_delivery_resumes() {
    for strategy in [OverflowStrategy::DropOldest, OverflowStrategy::DropNewest] {
        let place = Place::new();
        let Some(disk) = Tmpfs::mount(&place, "8m") else { return };
        let dataset = Dataset::dead();
        let logger = builder(dataset.clone())
            .home(disk.0.join("home"))
            .no_fallback()
            .buffer_size(100)
            .overflow_strategy(strategy)
            .build()
            .unwrap();
        logger.start();
        let _ = logger.log(&event(0));
        let ballast = disk.fill(1 << 20);
        let mut kept = 1;
        for n in 1..=30_000 {
            kept += u64::from(!matches!(logger.log(&big(n)), Logged::Dropped(_)));
            if n % 1000 == 0 {
                adds_up(&logger.stats());
            }
        }
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!(stats.total_logged, 30_001);
        assert!(stats.total_dropped > 1000 && !stats.healthy, "{stats:?}");
        let oldest = dropped(&stats, DropReason::DropOldest);
        assert_eq!(kept + stats.total_dropped - oldest, 30_001, "{stats:?}");
        let notices = logger.notices();
        assert!(notices.len() < 60, "{}", notices.len());
        let full = notices
            .iter()
            .any(|n| n.kind == NoticeKind::JournalFull || n.kind == NoticeKind::Journal);
        assert!(full, "{notices:?}");
        until("the count of what was lost", || {
            said(&logger, NoticeKind::Dropped) || {
                notices.iter().any(|n| n.kind == NoticeKind::Dropped && n.level == Level::Critical)
            }
        });

        fs::remove_file(ballast).unwrap();
        dataset.set(|_| Ok(()));
        let report = logger.flush(Some(Duration::from_secs(20)));
        let stats = logger.stats();
        assert!(report.complete, "{report:?} {stats:?} {:?}", logger.notices());
        let before = dataset.len();
        (1..=1000).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
        assert_eq!(dataset.len(), before + 1000, "nothing is lost any more");
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!(stats.total_flushed, dataset.len() as u64);
        // What was lost stays lost.
        assert_eq!((stats.pending, stats.healthy), (0, false), "{stats:?}");
        dataset.once();
    }
}

#[test]
fn a_full_disk_does_not_hold_up_a_healthy_dataset() {
    // The segment that everything had been delivered from was only removed after the next one was
    // made, for which there was no room.
    let place = Place::new();
    let Some(disk) = Tmpfs::mount(&place, "4m") else { return };
    let dataset = Dataset::healthy();
    let logger = builder(dataset.clone()).home(disk.0.join("home")).no_fallback();
    let logger = logger.buffer_size(50).build().unwrap();
    logger.start();
    let _ = logger.log(&event(0));
    assert!(logger.flush(None).complete);
    let _ballast = disk.fill(0);
    for n in 1..=6_000 {
        assert!(!matches!(logger.log(&big(n)), Logged::Dropped(_)), "{n}");
        if n % 50 == 0 {
            let report = logger.flush(Some(Duration::from_secs(20)));
            assert!(report.complete, "{n}: {report:?}");
        }
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_flushed, stats.total_dropped), (6_001, 0));
}

#[test]
fn a_disk_that_is_full_from_the_start_leaves_the_journal_in_memory_until_it_is_not() {
    let place = Place::new();
    let Some(disk) = Tmpfs::mount(&place, "4m") else { return };
    let ballast = disk.fill(0);
    let dataset = Dataset::dead();
    let logger = builder(dataset.clone()).home(disk.0.join("home")).no_fallback().build().unwrap();
    degraded_until(&logger, &dataset, || fs::remove_file(&ballast).unwrap());
}

/// That a logger which finds no place for its journal logs to memory, says so, and goes back to a
/// file once the place is mended.
fn degraded_until(logger: &SafetyEventLogger, dataset: &Dataset, mend: impl FnOnce()) {
    logger.start();
    for n in 1..=250 {
        assert!(matches!(logger.log(&event(n)), Logged::Buffered(_)));
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.journal.as_str(), stats.healthy), ("memory", false));
    let notices = logger.notices();
    let degraded: Vec<_> =
        notices.iter().filter(|notice| notice.kind == NoticeKind::Degraded).collect();
    let [degraded] = &degraded[..] else { panic!("{notices:?}") };
    assert_eq!(degraded.level, Level::Critical);
    assert!(degraded.text.contains("events do not survive this process"), "{degraded}");
    mend();
    until("the file", || logger.stats().journal.as_str() != "memory");
    assert!(said(logger, NoticeKind::Resumed));
    for n in 251..=500 {
        assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
    }
    adds_up(&logger.stats());
    dataset.set(|_| Ok(()));
    // By itself: what is in memory has its buffers handed over as well.
    until("two hundred of each", || dataset.len() >= 400);
    assert!(logger.flush(None).complete);
    let mut ids = dataset.ids();
    ids.sort_by_key(|id| id.parse::<u64>().unwrap());
    assert_eq!(ids, crate::support::numbers(1..=500));
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_flushed, stats.healthy), (500, 500, true));
}

#[test]
fn a_read_only_file_system_is_a_state_that_passes() {
    let place = Place::new();
    let Some(disk) = Tmpfs::mount(&place, "4m") else { return };
    disk.remount("ro");
    let dataset = Dataset::dead();
    let logger = builder(dataset.clone()).home(disk.0.join("home")).no_fallback().build().unwrap();
    degraded_until(&logger, &dataset, || disk.remount("rw"));
}

#[cfg(unix)]
#[test]
fn links_and_other_peoples_folders_are_not_written_to() {
    use std::os::unix::fs::{chown, symlink};
    let elsewhere = Place::new();
    let target = elsewhere.home();
    fs::create_dir(&target).unwrap();
    type Make<'a> = &'a dyn Fn(&Path) -> PathBuf;
    let cases: [(&str, Make<'_>); 4] = [
        ("journal is a link", &|home| {
            symlink(&target, home.join("journal")).unwrap();
            home.join("journal")
        }),
        ("the dataset's folder is a link", &|home| {
            fs::create_dir(home.join("journal")).unwrap();
            symlink(&target, home.join("journal/safety_events")).unwrap();
            home.join("journal/safety_events")
        }),
        ("journal is a file", &|home| {
            fs::write(home.join("journal"), "").unwrap();
            home.join("journal")
        }),
        ("the dataset's folder is somebody else's", &|home| {
            let path = home.join("journal/safety_events");
            fs::create_dir_all(&path).unwrap();
            if chown(&path, Some(1234), Some(1234)).is_err() {
                skipped("a folder can't be given away here");
                fs::remove_dir(&path).unwrap();
                fs::write(&path, "").unwrap();
            }
            path
        }),
    ];
    for (what, make) in cases {
        let place = Place::new();
        fs::create_dir(place.home()).unwrap();
        let path = make(&place.home());
        let dataset = Dataset::dead();
        let logger = builder(dataset.clone()).home(place.home()).no_fallback().build().unwrap();
        degraded_until(&logger, &dataset, || {
            let kept = path.with_extension("kept");
            fs::rename(&path, kept).unwrap();
        });
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{what}");
    }

    // A link in the place of a journal is no orphan.
    let place = Place::new();
    let logger = builder(Dataset::dead()).home(place.home()).no_fallback().build().unwrap();
    let _ = logger.log(&event(1));
    let journal = logger.journal_folder().unwrap();
    drop(logger);
    let moved = elsewhere.folder.path().join("moved");
    fs::rename(&journal, &moved).unwrap();
    symlink(&moved, &journal).unwrap();
    let dataset = Dataset::healthy();
    let logger = builder(dataset.clone()).home(place.home()).no_fallback().build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.len(), 0);
    assert!(moved.join("ring.n3j").exists());
}

/// Runs a part of this module in a process of its own.
fn in_child(job: &str) {
    let output = helper("disk").env(CHILD, job).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{job}: {:?}\n{text}", output.status);
}

#[test]
fn a_file_size_limit_ends_no_process() {
    in_child("fsize");
}

#[test]
fn too_many_open_files_pass() {
    in_child("nofile");
}

pub(crate) fn child() {
    match &*std::env::var(CHILD).expect("a job") {
        "fsize" => fsize(),
        "nofile" => nofile(),
        other => panic!("no {other}"),
    }
}

#[cfg(unix)]
fn limit(what: rustix::process::Resource, current: Option<u64>) {
    let before = rustix::process::getrlimit(what);
    let limit = rustix::process::Rlimit { current, maximum: before.maximum };
    rustix::process::setrlimit(what, limit).unwrap();
}

#[cfg(unix)]
fn fsize() {
    use rustix::process::Resource::Fsize;
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let adapter: Arc<dyn DatasetAdapter> = Arc::new(JsonAdapter::new(&path).unwrap());
    let logger = builder(adapter)
        .home(place.home())
        .fallback_path(place.fallback())
        .max_retries(1)
        .buffer_size(100)
        .build()
        .unwrap();
    limit(Fsize, Some(1 << 20));
    logger.start();
    for n in 1..=10_000 {
        assert!(!matches!(logger.log(&big(n)), Logged::Dropped(_)), "{n}");
    }
    let _ = logger.flush(Some(Duration::from_secs(5)));
    let stats = logger.stats();
    adds_up(&stats);
    assert!(fs::metadata(&path).unwrap().len() <= 1 << 20);
    assert!(stats.total_flushed < 10_000 && !stats.healthy, "{stats:?}");
    assert!(
        fs::read_dir(place.fallback()).is_ok_and(|mut files| files.next().is_some())
            || stats.pending > 0
    );
    limit(Fsize, None);
    for n in 10_001..=10_100 {
        let _ = logger.log(&big(n));
    }
    until("all of it", || {
        let _ = logger.flush(Some(Duration::from_secs(5)));
        read(&path).len() == 10_100
    });
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_dropped, stats.pending), (0, 0));
    assert!(stats.backlog_bytes < 4096, "{stats:?}");
    assert_eq!(stats.total_fallback, stats.total_replayed, "{stats:?}");
    let mut seqs: Vec<u64> = read(&path).iter().filter_map(|row| row.id.map(|id| id.1.0)).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=10_100).collect::<Vec<_>>(), "each row once");
    assert_eq!(fallback_rows(&place.fallback()).len(), 0);
}

#[cfg(unix)]
fn nofile() {
    use rustix::process::Resource::Nofile;
    let place = Place::new();
    let open_now = fs::read_dir("/proc/self/fd").map_or(64, Iterator::count) as u64;
    let path = place.folder.path().join("safety.csv");
    let adapter = Arc::new(namel3ss_safety::CsvAdapter::new(&path).unwrap());
    let build = || {
        builder(adapter.clone())
            .home(place.home())
            .fallback_path(place.fallback())
            .max_retries(1)
            .build()
            .unwrap()
    };
    // From the start.
    limit(Nofile, Some(open_now));
    let logger = build();
    logger.start();
    for n in 1..=1000 {
        assert!(matches!(logger.log(&event(n)), Logged::Buffered(_)));
    }
    let _ = logger.flush(Some(Duration::from_millis(300)));
    adds_up(&logger.stats());
    limit(Nofile, Some(1024));
    until("the file", || logger.stats().journal.as_str() == "mmap");
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let filed = fallback_rows(&place.fallback()).len();
    assert_eq!(read(&path).len() + filed, 1000);

    // In the middle.
    (1..=100).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.flush(None).complete);
    limit(Nofile, Some(3));
    let start = Instant::now();
    for n in 1..=30_000 {
        let _ = logger.log(&big(n));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let _ = logger.flush(Some(Duration::from_millis(300)));
    let stats = logger.stats();
    adds_up(&stats);
    limit(Nofile, Some(1024));
    until("all that was kept", || logger.flush(Some(Duration::from_secs(20))).complete);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!(stats.pending, 0);
    let stored = read(&path).len() as u64;
    let filed = fallback_rows(&place.fallback()).len() as u64;
    assert_eq!(stored + filed, stats.total_logged - stats.total_dropped, "{stats:?}");
}
