//! Copies of a process that is not told of it: with one journal id, one next seq, and events of their own.
#![expect(unsafe_code, reason = "a child of which the C library does not hear has no safe form")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use namel3ss_safety::{JournalKind, Logged, NoticeKind};

use crate::adapters::{FILES, open, read};
use crate::jobs::helper;
use crate::life::go_on;
use crate::support::{adds_up, builder, event};

const COPIES: &str = "N3_SAFETY_TEST_COPIED";

/// Runs `child` in a copy of this process of which nobody hears, as of a snapshot that is started again;
/// only its id and its threads are others.
fn copy(child: impl FnOnce() -> bool) -> impl FnOnce() -> bool {
    // A page that the kernel wipes in a child tells a fork, and not a snapshot.
    let maps = fs::read_to_string("/proc/self/smaps").expect("the maps of this process");
    let mut range = (0, 0);
    for line in maps.lines() {
        let place = line.split(' ').next().and_then(|place| place.split_once('-'));
        if let Some((from, to)) = place
            && let (Ok(from), Ok(to)) =
                (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            range = (from, to);
        }
        if line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "wf") {
            let at = std::ptr::with_exposed_provenance_mut(range.0);
            // SAFETY: a mapping of this process, of which nothing changes but what a child gets.
            let done = unsafe { libc::madvise(at, range.1 - range.0, libc::MADV_KEEPONFORK) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
    }
    // SAFETY: as for `life::fork`, in a process whose other threads wait; no stack is given, so that the child
    // goes on with a copy of this one.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    go_on(libc::pid_t::try_from(pid).unwrap_or(-1), child)
}

/// Three copies of one process: 11 of their 31 events were in the dataset, and each of them said that
/// it had flushed 11 and was healthy.
#[test]
fn copies_of_a_process_deliver_all_of_their_events_and_part_ways() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let path = folder.path().join(name);
        let mut parent = helper("copied");
        assert!(parent.env(COPIES, &path).status().unwrap().success(), "{name}");
        let rows = read(&path);
        let mut times = BTreeMap::new();
        rows.iter().for_each(|row| *times.entry(&row.event.event_id).or_insert(0) += 1);
        assert_eq!(times.len(), 1 + 3 * 11, "{name}");
        assert!(times.values().all(|times| *times == 1), "{name}: {times:?}");
        let ids: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), times.len(), "{name}: two events have one id");
    }
}

pub(crate) fn child() {
    let path = std::env::var(COPIES).expect("a dataset");
    let logger = builder(open(Path::new(&path)))
        .journal(JournalKind::Memory)
        .no_fallback()
        .threads(false)
        .pulls_notices()
        .build()
        .unwrap();
    let _ = logger.log(&event(1));
    for number in 0..3 {
        let child = copy(|| {
            (1..=10).for_each(|n| _ = logger.log(&event(100 * (number + 1) + n)));
            let flushed = logger.flush(Some(Duration::from_secs(20))).complete;
            let stats = logger.stats();
            adds_up(&stats);
            let notices = logger.notices();
            let copied = notices.iter().filter(|notice| notice.kind == NoticeKind::Copied).count();
            // The first one finds nothing of another. From then on each has a journal of its own.
            let next = logger.log(&event(100 * (number + 1) + 11));
            let wanted = if number == 0 { 12 } else { 1 };
            let ended = logger.stop(Some(Duration::from_secs(20))).complete;
            let ok = flushed
                && ended
                && (stats.total_logged, stats.total_flushed) == (11, 11)
                && copied == usize::from(number > 0)
                && matches!(next, Logged::Buffered(seq) if seq.0 == wanted);
            assert!(ok, "copy {number}: {flushed} {ended} {next:?} {stats:?} {notices:?}");
            true
        });
        assert!(child(), "the checks of copy {number}");
    }
    // This process goes on with nothing of it.
    std::mem::forget(logger);
}
