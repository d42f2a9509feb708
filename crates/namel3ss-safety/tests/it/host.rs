//! What the library owes the process that it lives in: threads that take none of its signals, forks
//! that nobody announced, descriptors, stacks, and thread-locals.
#![expect(unsafe_code, reason = "setuid and geteuid have no safe form")]

use std::cell::RefCell;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::internal::journal::media::DiskFolder;
use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, JournalId, Logged, MemoryAdapter, NoticeKind,
    SafetyEventLogger,
};

use crate::adapters::{insert, open, read, rows};
use crate::life::fork;
use crate::support::{Dataset, Place, adds_up, builder, event, until};

/// All asynchronous signals among the classic ones, as `/proc` shows a mask.
const MASK: u64 = {
    let never = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    let (mut mask, mut at) = ((1 << 31) - 1, 0);
    while at < never.len() {
        mask &= !(1 << (never[at] - 1));
        at += 1;
    }
    mask
};

/// Of each thread of this library: its name and its signal mask.
#[cfg(target_os = "linux")]
pub(crate) fn masks() -> Vec<(String, u64)> {
    let mut masks = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end at any time.
        let Ok(text) = fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.map(|line| line[name.len()..].trim().to_owned()).unwrap_or_default()
        };
        let name = field("Name:");
        if name.starts_with("n3-safety") {
            masks.push((name, u64::from_str_radix(&field("SigBlk:"), 16).unwrap()));
        }
    }
    masks
}

/// A Celery pool whose tasks logged stopped for ever: it masks SIGTERM while it holds a lock, and
/// one of our threads, which masked nothing, took the signal that was to wait.
#[test]
#[cfg(target_os = "linux")]
fn every_thread_blocks_what_the_application_may_wait_for_and_no_fault() {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let logger = builder(open(&path))
        .also_to(Arc::new(MemoryAdapter::default()))
        .home(place.home())
        .no_fallback()
        .build()
        .unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    until("its three threads", || masks().len() >= 3);
    for (name, mask) in masks() {
        assert_eq!(mask & ((1 << 31) - 1), MASK, "{name}: {mask:x}");
    }
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
}

/// With the signals blocked by the system call instead of libc's, those that glibc keeps for itself
/// are blocked too, and `setuid` waits for the threads for ever.
#[test]
fn setuid_returns_while_all_threads_run() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let place = Place::new();
    let child = fork(|| {
        let logger = place.builder(&Dataset::healthy()).build().unwrap();
        logger.start();
        let _ = logger.log(&event(1));
        // SAFETY: changes the user of this child, which ends right after.
        unsafe { libc::setuid(12345) == 0 }
    });
    assert!(child());
}

#[derive(Debug)]
struct Deep {
    bytes: usize,
    rows: MemoryAdapter,
}

/// Uses so many bytes of the stack, in steps that the compiler can't take together.
fn dig(bytes: usize) -> u8 {
    let block = std::hint::black_box([1_u8; 16 << 10]);
    let below = if bytes > block.len() { dig(bytes - block.len()) } else { 0 };
    std::hint::black_box(&block)[bytes % block.len()].wrapping_add(below)
}

impl DatasetAdapter for Deep {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        std::hint::black_box(dig(self.bytes));
        self.rows.insert(batch)
    }

    fn identity(&self) -> String {
        "test:deep".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// A worker had 1 MiB of stack, and an adapter that needs more ended the process.
#[test]
fn an_adapter_has_the_stack_that_a_thread_of_rust_has_or_what_it_is_given() {
    // Debug builds use each block twice.
    let given = [(700 << 10, None), (5 << 19, Some(8 << 20))];
    for (bytes, stack) in given {
        // In a child: an overflow would end this process.
        let child = fork(|| {
            let place = Place::new();
            let dataset = Arc::new(Deep { bytes, rows: MemoryAdapter::default() });
            let mut builder = builder(dataset.clone()).home(place.home()).no_fallback();
            if let Some(stack) = stack {
                builder = builder.worker_stack_bytes(stack);
            }
            let logger = builder.build().unwrap();
            logger.start();
            let _ = logger.log(&event(1));
            logger.stop(Some(Duration::from_secs(20))).complete && dataset.rows.len() == 1
        });
        assert!(child(), "{bytes} of {stack:?}");
    }
    let wrong = SafetyEventLogger::builder().worker_stack_bytes(1000).build().unwrap_err();
    assert_eq!(wrong.parameter(), "worker_stack_bytes");
}

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

struct LastWords(Arc<SafetyEventLogger>, Arc<AtomicBool>);

impl Drop for LastWords {
    fn drop(&mut self) {
        let journaled = matches!(self.0.log(&event(2)), Logged::Journaled(_));
        self.1.store(journaled, Ordering::SeqCst);
    }
}

/// A guard in a thread-local logged when its thread ended, after the thread's scratch was gone: that
/// aborted the process.
#[test]
fn a_thread_local_s_destructor_may_log() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let logger = Arc::new(place.builder(&dataset).build().unwrap());
    let kept = Arc::new(AtomicBool::new(false));
    let (theirs, theirs_kept) = (logger.clone(), kept.clone());
    let thread = std::thread::spawn(move || {
        // First, so that it is destroyed last: after what `log` keeps for this thread.
        LAST_WORDS.set(Some(LastWords(theirs.clone(), theirs_kept)));
        let _ = theirs.log(&event(1));
    });
    thread.join().unwrap();
    assert!(kept.load(Ordering::SeqCst));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.ids(), ["1", "2"]);
}

/// An application that sets a handler of SIGBUS of its own takes ours away: that is said, once.
#[test]
fn a_handler_of_sigbus_that_is_replaced_is_said_once() {
    let place = Place::new();
    let child = fork(|| {
        let logger = place.builder(&Dataset::healthy()).build().unwrap();
        let _ = logger.log(&event(1));
        // SAFETY: changes what this child does on a signal that nobody sends; it ends soon.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        let mut said = 0;
        until("the notice", || {
            said += logger.notices().iter().filter(|n| n.text.contains("SIGBUS")).count();
            said > 0
        });
        // Several looks later.
        let start = Instant::now();
        until("some more looks", || start.elapsed() > Duration::from_secs(1));
        said + logger.notices().iter().filter(|n| n.text.contains("SIGBUS")).count() == 1
    });
    assert!(child());
}

/// A forked child that never logs (a pool's worker, a daemon) shared the lock of its dead parent's
/// journal, so that nobody adopted it while the child lived.
#[test]
fn a_child_that_never_logs_holds_no_lock_of_its_parent() {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let (done, ended) = (place.folder.path().join("done"), place.folder.path().join("ended"));
    let make = || builder(open(&path)).home(place.home()).no_fallback();
    let parent = fork(|| {
        let logger = make().build().unwrap();
        (1..=50).for_each(|n| _ = logger.log(&event(n)));
        let folder = logger.journal_folder().unwrap();
        let child = fork(|| {
            let start = Instant::now();
            while !done.exists() && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(2));
            }
            // Its own journal, at its first event.
            let own = matches!(logger.log(&event(100)), Logged::Journaled(_))
                && logger.journal_folder().unwrap() != folder
                && logger.flush(Some(Duration::from_secs(10))).complete;
            File::create(&ended).unwrap();
            own
        });
        // It dies, and the child lives on.
        std::mem::forget(child);
        true
    });
    assert!(parent());
    let journals = place.home().join("journal/safety_events");
    let folder = fs::read_dir(&journals).unwrap().flatten().map(|e| e.path()).find(|p| p.is_dir());
    let folder = DiskFolder::open(&folder.unwrap(), false).unwrap();
    assert!(folder.lock().unwrap().is_some(), "the child holds it");
    let logger = make().build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(logger.stats().total_recovered, 50);
    File::create(&done).unwrap();
    until("the child's end", || ended.exists());
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    assert_eq!(read(&path).len(), 51);
}

/// A child that was forked in the middle of an insert shared the lock of the dataset's file: when its
/// parent was killed then, nobody else could write while the child lived.
#[test]
fn a_child_holds_no_lock_of_a_dataset_whose_writer_is_gone() {
    let place = Place::new();
    let done = place.folder.path().join("done");
    for round in 0..4 {
        let path = place.folder.path().join(format!("{round}.jsonl"));
        let writer = fork(|| {
            let (adapter, journal) = (open(&path), JournalId::generate());
            let batches: Vec<_> = (0..10).map(|n| rows(journal, 1 + n * 2000, 2000)).collect();
            let begun = Arc::new(AtomicBool::new(false));
            let first = begun.clone();
            std::thread::spawn(move || {
                for batch in batches.iter().cycle() {
                    insert(&*adapter, batch).unwrap();
                    first.store(true, Ordering::SeqCst);
                }
            });
            until("a batch", || begun.load(Ordering::SeqCst));
            let child = fork(|| {
                until("the end", || done.exists());
                true
            });
            // It ends in the middle of an insert, and the child lives on.
            std::mem::forget(child);
            true
        });
        assert!(writer());
        insert(&*open(&path), &rows(JournalId::generate(), 1, 1)).unwrap();
    }
    File::create(&done).unwrap();
}

/// Forks in the middle of deliveries, without [`SafetyEventLogger::pause`]: as nix and daemonize do.
#[test]
fn a_fork_that_nobody_announced_costs_nothing() {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let logger =
        builder(open(&path)).home(place.home()).no_fallback().buffer_size(10).build().unwrap();
    logger.start();
    let mut n = 0;
    for round in 1..=20 {
        (0..300).for_each(|_| {
            n += 1;
            let _ = logger.log(&event(n));
        });
        let child = fork(|| {
            let first = 1_000_000 * round;
            (first..first + 20).for_each(|n| _ = logger.log(&event(n)));
            logger.stop(Some(Duration::from_secs(20))).complete
        });
        assert!(child(), "round {round}");
    }
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    adds_up(&logger.stats());
    let mut ids: Vec<String> = read(&path).into_iter().map(|row| row.event.event_id).collect();
    ids.sort_unstable();
    let rows = ids.len();
    ids.dedup();
    assert_eq!((rows, ids.len()), (20 * 320, 20 * 320));
}

/// A logger was made with a relative home, the process changed its folder (a daemon does), and the
/// journal was elsewhere.
#[test]
fn a_relative_home_is_the_folder_that_it_was_when_the_logger_was_made() {
    let place = Place::new();
    let (before, after) = (place.folder.path().join("before"), place.folder.path().join("after"));
    [&before, &after].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let child = fork(|| {
        std::env::set_current_dir(&before).unwrap();
        let logger = builder(Dataset::dead())
            .home("state")
            .fallback_path("lost")
            .max_retries(1)
            .build()
            .unwrap();
        std::env::set_current_dir(&after).unwrap();
        let _ = logger.log(&event(1));
        let _ = logger.flush(Some(Duration::from_secs(10)));
        before.join("state/journal").is_dir()
            && before.join("lost").is_dir()
            && fs::read_dir(&after).unwrap().count() == 0
    });
    assert!(child());
}

/// A logger that found 600 journals of dead processes opened several files of each at once, until
/// the process had no descriptor left, and the application's own `accept` failed.
#[test]
#[cfg(target_os = "linux")]
fn many_orphans_are_adopted_a_few_at_a_time() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let killed = fork(|| {
        (0..60).for_each(|n| {
            let logger = place.builder(&dataset).threads(false).adopt(false).build().unwrap();
            (1..=3).for_each(|i| _ = logger.log(&event(10 * n + i)));
            std::mem::forget(logger);
        });
        true
    });
    assert!(killed());
    assert_eq!(place.journals(), 60);
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = most.clone();
    dataset.set(move |_| {
        seen.fetch_max(open(), Ordering::SeqCst);
        Ok(())
    });
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(30))).complete);
    assert_eq!((logger.stats().total_recovered, dataset.len()), (180, 180));
    dataset.once();
    let took = most.load(Ordering::SeqCst).saturating_sub(before);
    assert!(took <= 16 * 4 + 12, "{took} descriptors");
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    drop(logger);
    until("the last journal's end", || place.journals() == 0);
}

/// Somebody left a link, a pipe and folders among the files of a journal. Nothing of it was
/// delivered then: 0 of 200.
#[test]
fn strangers_among_segments_are_set_aside_and_the_rest_is_delivered() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let killed = fork(|| {
        let logger = place.builder(&dataset).threads(false).buffer_size(1000).build().unwrap();
        (1..=200).for_each(|n| _ = logger.log(&event(n)));
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    let journals = place.home().join("journal/safety_events");
    let folder = fs::read_dir(&journals).unwrap().next().unwrap().unwrap().path();
    let name = |prefix: &str, n: u32| folder.join(format!("{prefix}-{n:020}-0000000{n}.n3j"));
    std::os::unix::fs::symlink("/dev/zero", name("seg", 1)).unwrap();
    std::os::unix::fs::symlink(place.folder.path(), name("spill", 2)).unwrap();
    fs::create_dir(name("seg", 3)).unwrap();
    fs::create_dir(folder.join("cursor-safety_events.n3c.x")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(name("seg", 4)).status().unwrap();
    assert!(fifo.success());
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!((logger.stats().total_recovered, dataset.len()), (200, 200));
    let damage =
        logger.notices().into_iter().filter(|notice| notice.kind == NoticeKind::Damage).count();
    assert!(damage >= 1, "said");
    let mut left: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".damaged"))
        .collect();
    left.sort_unstable();
    assert_eq!(left.len(), 4, "{left:?}");
}

/// An event of 300 KiB was cut, and nobody was told.
#[test]
fn an_event_that_is_cut_is_counted_and_said() {
    let place = Place::new();
    let logger = place.builder(&Dataset::healthy()).build().unwrap();
    let mut large = event(1);
    large.reason = Some("x".repeat(300 << 10));
    (1..=3).for_each(|_| _ = logger.log(&large));
    let _ = logger.log_payload(&namel3ss_safety::internal::codec::Payload::of(&large));
    let _ = logger.log(&event(2));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!((logger.stats().cut, logger.stats().total_flushed), (4, 5));
    let notices = logger.notices();
    let said: Vec<_> = notices.iter().filter(|notice| notice.kind == NoticeKind::Cut).collect();
    assert!(matches!(&said[..], [one] if one.text.starts_with("1 event was")), "{notices:?}");
}

/// Why an adapter could not do something was in the error's causes, which nobody was told; and a
/// cause that is told must not tell a password.
#[test]
fn a_notice_tells_the_causes_of_an_error_without_their_passwords() {
    let place = Place::new();
    let dataset = Dataset::new(|_| {
        let inner = std::io::Error::other("reset by postgres://ann:s3cret@db/x");
        let outer = AdapterError::transient("reach the server").with_source(inner);
        Err(AdapterError::config("insert the rows").with_source(outer))
    });
    let logger = place.builder(&dataset).max_retries(1).build().unwrap();
    let _ = logger.log(&event(1));
    let _ = logger.flush(Some(Duration::from_secs(20)));
    let texts: Vec<String> = logger.notices().into_iter().map(|notice| notice.text).collect();
    let told = "insert the rows: reach the server: reset by postgres://ann:***@db/x";
    assert!(texts.iter().any(|text| text.contains(told)), "{texts:?}");
    let files: Vec<String> = place.fallback_rows().iter().map(ToString::to_string).collect();
    assert!(!texts.iter().chain(&files).any(|text| text.contains("s3cret")), "{texts:?} {files:?}");
}
