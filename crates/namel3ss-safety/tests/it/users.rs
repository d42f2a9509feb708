//! A server that begins as root, logs, and then gives up its rights: what it has logged as root waits
//! for root, and what it logs afterwards goes where its new user may write.
#![expect(unsafe_code, reason = "setuid has no safe form")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    DropReason, Level, Logged, LoggerBuilder, NoticeKind, SafetyEvent, SafetyEventLogger, Stats,
};

use crate::adapters::{open, read};
use crate::jobs::helper;
use crate::support::{Place, adds_up, builder, event, until};

/// A user that the password database does not know.
const NOBODY: u32 = 54_321;
/// Tells the helper process which of the parts below it is.
const PART: &str = "N3_SAFETY_TEST_USER_PART";
const FOLDER: &str = "N3_SAFETY_TEST_USER_FOLDER";

pub(crate) fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

/// Makes the whole process another user, for good.
fn become_user(user: u32) {
    // SAFETY: changes what this process may do, which ends soon.
    let changed = unsafe { libc::setgid(user) == 0 && libc::setuid(user) == 0 };
    assert!(changed, "{}", std::io::Error::last_os_error());
}

/// Makes the whole process another user, who may go back.
fn pass_for(user: u32) {
    // SAFETY: changes what this process may do until the next change.
    let changed = unsafe { libc::setegid(user) == 0 && libc::seteuid(user) == 0 };
    assert!(changed, "{}", std::io::Error::last_os_error());
}

/// Makes a folder that belongs to a user alone.
fn folder_of(path: &Path, user: u32) {
    fs::create_dir(path).unwrap();
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A test's folders: root's home, which is root's alone, and `theirs`, the other user's.
struct Two {
    place: Place,
}

impl Two {
    fn new() -> Option<Self> {
        if !is_root() {
            skipped("a change of user takes root");
            return None;
        }
        let place = Place::new();
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        folder_of(&place.folder.path().join("theirs"), NOBODY);
        Some(Self { place })
    }

    fn theirs(&self) -> PathBuf {
        self.place.folder.path().join("theirs")
    }

    /// How many events the last part logged, as it has written.
    fn logged(&self) -> u64 {
        fs::read_to_string(self.theirs().join("logged")).unwrap().parse().unwrap()
    }

    /// Runs a part of this file in a process of its own, in which `NAMEL3SS_SAFETY_HOME` is `home`.
    fn part(&self, part: &str, home: &Path) {
        let done = helper("users")
            .env(PART, part)
            .env(FOLDER, self.place.folder.path())
            .env("NAMEL3SS_SAFETY_HOME", home)
            .output()
            .unwrap();
        let said =
            [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(done.status.success(), "{part}: {}{}", said[0], said[1]);
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// How many events each part logs.
const EVENTS: u64 = 3000;

fn dataset(folder: &Path) -> PathBuf {
    folder.join("theirs/safety.jsonl")
}

/// As root's server is made: its home is root's.
fn server(folder: &Path) -> LoggerBuilder {
    builder(open(&dataset(folder))).home(folder.join("home")).no_fallback().buffer_size(50)
}

pub(crate) fn child() {
    let [part, folder] = [PART, FOLDER].map(|name| std::env::var(name).expect("a part"));
    let folder = Path::new(&folder);
    match part.as_str() {
        // The dataset's files are the other user's.
        "first life" => {
            become_user(NOBODY);
            let logger = builder(open(&dataset(folder))).home(folder.join("theirs/first"));
            let logger = logger.no_fallback().build().unwrap();
            let _ = logger.log(&event(0));
            assert!(logger.stop(Some(Duration::from_secs(20))).complete);
        }
        "server" => {
            let logger = server(folder).build().unwrap();
            change_user(&logger, &folder.join("theirs/journals"));
        }
        "back and forth" => {
            let logger = server(folder).threads(false).build().unwrap();
            go_back_and_forth(&logger, &folder.join("theirs/journals"));
        }
        "all the time" => {
            let logger = server(folder).build().unwrap();
            change_all_the_time(&logger, &folder.join("theirs/journals"));
        }
        "without a place" => {
            let logger = server(folder).build().unwrap();
            change_user_without_a_place(&logger);
        }
        other => panic!("{other} is no part"),
    }
}

fn log(logger: &SafetyEventLogger, from: u64) {
    for n in from..from + EVENTS {
        let logged = logger.log(&event(n));
        assert!(matches!(logged, Logged::Journaled(_) | Logged::Buffered(_)), "{n}: {logged:?}");
    }
}

/// Says who waits, where, and what to do.
fn said(logger: &SafetyEventLogger, texts: &[&str]) {
    let notices = logger.notices();
    let of_kind: Vec<_> =
        notices.iter().filter(|one| one.kind == NoticeKind::AnotherUser).collect();
    let [one] = &of_kind[..] else { panic!("{notices:?}") };
    assert_eq!(one.level, Level::Critical);
    texts.iter().for_each(|text| assert!(one.text.contains(text), "{text}: {}", one.text));
}

fn waits(stats: &Stats) {
    adds_up(stats);
    assert_eq!((stats.total_dropped, stats.healthy), (0, false), "{stats:?}");
    assert!(stats.unhealthy.contains(&namel3ss_safety::Unhealthy::AnotherUser), "{stats:?}");
    assert!(stats.pending > 0, "{stats:?}");
}

fn change_user(logger: &SafetyEventLogger, theirs: &Path) {
    logger.start();
    log(logger, 1);
    let before = logger.journal_folder().unwrap();
    become_user(NOBODY);
    log(logger, 1 + EVENTS);
    until("a journal of the new user's", || {
        logger.log(&event(0)) != Logged::Dropped(DropReason::JournalFull)
            && logger.journal_folder().unwrap().starts_with(theirs)
    });
    log(logger, 1 + 2 * EVENTS);
    let report = logger.flush(Some(Duration::from_secs(20)));
    let stats = logger.stats();
    assert!(!report.complete && report.error.unwrap().contains("another user"), "{stats:?}");
    waits(&stats);
    assert!(logger.sync().is_err());
    let root = before.ancestors().nth(3).unwrap().to_str().unwrap();
    let command = format!("n3-safety recover {root}");
    let names = ["user 54321", "root (0)", before.to_str().unwrap(), theirs.to_str().unwrap()];
    said(logger, &[names[0], names[1], names[2], names[3], &command]);
    // What is logged now is delivered, and only what waits for root is pending.
    let stats = logger.stats();
    assert!(stats.total_flushed >= EVENTS, "{stats:?}");
    let _ = logger.stop(Some(Duration::from_secs(20)));
}

fn change_user_without_a_place(logger: &SafetyEventLogger) {
    logger.start();
    log(logger, 1);
    become_user(NOBODY);
    log(logger, 1 + EVENTS);
    until("a journal in memory", || {
        matches!(logger.log(&event(0)), Logged::Buffered(_)) && logger.journal_folder().is_none()
    });
    let _ = logger.flush(Some(Duration::from_secs(20)));
    waits(&logger.stats());
    said(logger, &["user 54321", "root (0)", "memory", "n3-safety recover"]);
    let _ = logger.stop(Some(Duration::from_secs(20)));
}

fn refusals(logger: &SafetyEventLogger) -> usize {
    logger.notices().iter().filter(|notice| notice.kind == NoticeKind::AnotherUser).count()
}

/// For [`Two::logged`].
fn say_logged(theirs: &Path, events: u64) {
    fs::write(theirs.with_file_name("logged"), events.to_string()).unwrap();
}

/// Without threads nobody else asks anything of the journal's folder, so that it is known what does.
fn go_back_and_forth(logger: &SafetyEventLogger, theirs: &Path) {
    logger.start();
    let folder = || logger.journal_folder().unwrap();
    let next = Cell::new(1);
    let log = || {
        let reason = Some("r".repeat(1000));
        let logged = logger.log(&SafetyEvent { reason, ..event(next.get()) });
        assert!(matches!(logged, Logged::Journaled(_)), "{}: {logged:?}", next.get());
        next.set(next.get() + 1);
    };
    let roots = folder();
    for _ in 0..20 {
        pass_for(NOBODY);
        log();
        pass_for(0);
        log();
    }
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!((folder(), refusals(logger)), (roots, 0), "nothing was refused");
    pass_for(NOBODY);
    // Until it takes another file.
    until("a journal of the new user's", || {
        (0..500).for_each(|_| log());
        folder().starts_with(theirs)
    });
    let new = folder();
    assert_eq!(refusals(logger), 1);
    for _ in 0..20 {
        log();
        pass_for(0);
        (0..100).for_each(|_| log());
        let _ = logger.flush(Some(Duration::from_secs(20)));
        pass_for(NOBODY);
        (0..100).for_each(|_| log());
        let _ = logger.flush(Some(Duration::from_secs(20)));
    }
    assert_eq!((folder(), refusals(logger)), (new, 0), "root may use it too");
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_dropped, stats.total_logged), (0, next.get() - 1), "{stats:?}");
    let _ = logger.stop(Some(Duration::from_secs(20)));
    say_logged(theirs, next.get() - 1);
}

/// The user changes at any moment of what the logger's threads do.
fn change_all_the_time(logger: &SafetyEventLogger, theirs: &Path) {
    logger.start();
    let (mut journals, mut refused) = (BTreeSet::new(), 0);
    // A thread of the logger's must run between two changes.
    let (mut n, until) = (0, Instant::now() + Duration::from_secs(60));
    while n < EVENTS || (refused == 0 && Instant::now() < until) {
        n += 1;
        if n % 10 == 0 {
            pass_for(if n % 20 == 0 { 0 } else { NOBODY });
        }
        let logged = logger.log(&event(n));
        assert!(matches!(logged, Logged::Journaled(_) | Logged::Buffered(_)), "{n}: {logged:?}");
        journals.insert(logger.journal_folder());
        refused += refusals(logger);
    }
    assert!(refused > 0, "a thread met another user than that of its journal");
    assert!(journals.len() <= 1 + refused, "{journals:?} after {refused} refusals");
    pass_for(0);
    let _ = logger.flush(Some(Duration::from_secs(20)));
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!(stats.total_dropped, 0, "{stats:?}");
    let _ = logger.stop(Some(Duration::from_secs(20)));
    say_logged(theirs, n);
}

/// How often each event is in the dataset.
fn times(two: &Two) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    for row in read(&dataset(two.place.folder.path())) {
        *times.entry(row.event.event_id.parse().unwrap()).or_default() += 1;
    }
    times
}

/// 27,262 of 60,100 events were dropped, and 32,255 pending for ever, with the advice to make room on
/// the disk.
#[test]
fn what_was_logged_before_a_change_of_user_waits_and_is_delivered_by_the_next_start() {
    let Some(two) = Two::new() else { return };
    two.part("first life", &two.theirs());
    two.part("server", &two.theirs().join("journals"));
    let logger = server(two.place.folder.path()).build().unwrap();
    logger.start();
    let report = logger.flush(Some(Duration::from_secs(30)));
    assert!(report.complete, "{report:?} {:?}", logger.notices());
    assert!(logger.stats().total_recovered > 0);
    let mut times = times(&two);
    // Those without a number of their own.
    times.remove(&0);
    assert_eq!(times.len() as u64, 3 * EVENTS);
    assert!(times.values().all(|times| *times == 1));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
}

#[test]
fn a_user_without_a_place_goes_on_in_memory() {
    let Some(two) = Two::new() else { return };
    two.part("first life", &two.theirs());
    // Root's: the new user may not write there.
    two.part("without a place", &two.place.home());
    let logger = server(two.place.folder.path()).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(30))).complete);
    let mut times = times(&two);
    times.remove(&0);
    assert_eq!(times.len() as u64, 2 * EVENTS);
    assert!(times.values().all(|times| *times == 1));
}

/// Each event once, by the next start as root.
fn each_once(two: &Two, events: u64) {
    let logger = server(two.place.folder.path()).build().unwrap();
    logger.start();
    let report = logger.flush(Some(Duration::from_secs(30)));
    assert!(report.complete, "{report:?} {:?}", logger.notices());
    let mut times = times(two);
    times.remove(&0);
    assert_eq!(times.len() as u64, events);
    assert!(times.values().all(|times| *times == 1));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
}

#[test]
fn who_goes_back_and_forth_gets_a_new_journal_only_when_something_was_refused() {
    let Some(two) = Two::new() else { return };
    two.part("first life", &two.theirs());
    two.part("back and forth", &two.theirs().join("journals"));
    each_once(&two, two.logged());
}

#[test]
fn a_user_that_changes_all_the_time_loses_nothing() {
    let Some(two) = Two::new() else { return };
    two.part("first life", &two.theirs());
    two.part("all the time", &two.theirs().join("journals"));
    each_once(&two, two.logged());
}
