//! A file dataset under two names, on another device, and rotated while it is written to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::JournalId;

use crate::adapters::{FILES, insert, open, read, rows, seqs, sidecar};
use crate::neighbours::{cut, up_to};

/// One file in two folders, each with a sidecar: each writer took the other's rows for a torn append
/// and cut them off.
fn two_names(first: &Path, second: &Path) {
    let journals = [JournalId::generate(), JournalId::generate()];
    let (ours, theirs) = (open(first), open(second));
    for round in 0..10 {
        let from = round * 50 + 1;
        insert(&*ours, &rows(journals[0], from, 50)).unwrap();
        insert(&*theirs, &rows(journals[1], from, 50)).unwrap();
        // What is sent again lands once, whoever sends it.
        insert(&*theirs, &rows(journals[0], from, 50)).unwrap();
    }
    std::thread::scope(|scope| {
        for (adapter, journal) in [(&ours, journals[0]), (&theirs, journals[1])] {
            scope.spawn(move || {
                for n in 501..601 {
                    insert(&**adapter, &rows(journal, n, 1)).unwrap();
                }
            });
        }
    });
    let mut expected: Vec<u64> = (1..=600).flat_map(|n| [n, n]).collect();
    expected.sort_unstable();
    assert_eq!(seqs(first), expected);
    assert_eq!(seqs(second), expected);
    assert!(cut(first).is_empty() && cut(second).is_empty());
}

#[test]
fn a_hard_link_is_another_name_of_the_same_dataset() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) =
            (folder.path().join("a").join(name), folder.path().join("b").join(name));
        for path in [&first, &second] {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::File::create(&first).unwrap();
        fs::hard_link(&first, &second).unwrap();
        two_names(&first, &second);
    }
}

/// Runs a command of the system; `false` where this user or machine can't.
fn can(command: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> bool {
    let output = Command::new(command).args(arguments).output();
    let ok = output.as_ref().is_ok_and(|output| output.status.success());
    if !ok {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: {command} does not work here: {output:?}");
    }
    ok
}

/// Unmounts when it goes out of scope.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// `docker -v /srv/safety.jsonl:/app/safety.jsonl`, or `subPath` in Kubernetes.
#[test]
fn the_mount_of_a_file_is_another_name_of_the_same_dataset() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) =
            (folder.path().join("a").join(name), folder.path().join("b").join(name));
        for path in [&first, &second] {
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        if !can("mount", &[&"--bind", &first, &second]) {
            return;
        }
        let _mounted = Mounted(second.clone());
        two_names(&first, &second);
    }
}

/// The device number of a disk changes across reboots and remounts: a torn append was then taken for
/// another file's content, and its batch was stored again.
#[test]
fn a_new_device_number_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (image, dummy, point) =
        (folder.path().join("image"), folder.path().join("dummy"), folder.path().join("disk"));
    for (file, bytes) in [(&image, 8 << 20), (&dummy, 1 << 20)] {
        fs::File::create(file).unwrap().set_len(bytes).unwrap();
    }
    fs::create_dir(&point).unwrap();
    if !can("mkfs.ext4", &[&"-q", &"-F", &image])
        || !can("mount", &[&"-o", &"loop", &image, &point])
    {
        return;
    }
    let mounted = Mounted(point.clone());
    let device = fs::metadata(&point).unwrap().dev();
    let journal = JournalId::generate();
    for name in FILES {
        let path = point.join(name);
        insert(&*open(&path), &rows(journal, 1, 3)).unwrap();
        let ledger = fs::read(sidecar(&path)).unwrap();
        insert(&*open(&path), &rows(journal, 4, 3)).unwrap();
        // As a kill in the middle of the second append leaves it.
        fs::write(sidecar(&path), ledger).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 20).unwrap();
    }
    drop(mounted);
    // Takes the loop device that the image had.
    let taken = Command::new("losetup").args(["-f", "--show"]).arg(&dummy).output().unwrap();
    assert!(can("mount", &[&"-o", &"loop", &image, &point]));
    let mounted = Mounted(point.clone());
    let changed = fs::metadata(&point).unwrap().dev() != device;
    for name in FILES {
        let path = point.join(name);
        insert(&*open(&path), &rows(journal, 4, 3)).unwrap();
        assert_eq!(seqs(&path), up_to(6), "{name}, another device: {changed}");
    }
    drop(mounted);
    let taken = String::from_utf8(taken.stdout).unwrap();
    let _ = Command::new("losetup").args(["-d", taken.trim()]).output();
}

/// Does `what` again and again while batches are inserted, until it was done often enough.
fn meanwhile(path: &Path, what: impl Fn(u64) + Sync) -> u64 {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let journal = JournalId::generate();
    let adapter = open(path);
    let mut next = 1;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                what(done.fetch_add(1, Ordering::SeqCst));
            }
        });
        let start = Instant::now();
        while (done.load(Ordering::SeqCst) < 300 || next < 20_000)
            && start.elapsed() < Duration::from_secs(10)
        {
            // Batches of one part and of several, so that it also happens between two of them.
            let count = if next % 7 == 0 { 2500 } else { 13 };
            // Under this much it may happen at each attempt of one insert: then it is tried again.
            while insert(&*adapter, &rows(journal, next, count)).is_err() {}
            next += count;
        }
        over.store(true, Ordering::SeqCst);
    });
    insert(&*adapter, &rows(journal, next, 1)).unwrap();
    next
}

/// logrotate's `copytruncate`: rows were written where the file had ended, behind a hole of NUL
/// bytes in which the first row disappeared.
#[test]
fn a_file_that_is_emptied_meanwhile_has_no_holes() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap();
        let last = meanwhile(&path, |_| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(0).unwrap();
            std::thread::sleep(Duration::from_micros(300));
        });
        let content = fs::read(&path).unwrap();
        assert!(!content.contains(&0), "{name}");
        // Each row that is there can be read, and the last one is.
        assert_eq!(seqs(&path).last(), Some(&last), "{name}");
        let mut all = seqs(&path);
        all.dedup();
        assert_eq!(all.len(), read(&path).len(), "{name}");
    }
}

/// logrotate's `create`: the file is moved away, and nothing is lost.
#[test]
fn a_file_that_is_moved_meanwhile_loses_nothing() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let moved = |n: u64| folder.path().join(format!("{n}-{name}"));
        let last = meanwhile(&path, |n| {
            let _ = fs::rename(&path, moved(n));
            std::thread::sleep(Duration::from_millis(1));
        });
        let mut all = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                all.extend(seqs(&path));
            }
        }
        all.sort_unstable();
        assert_eq!(all, up_to(last), "{name}");
    }
}
