//! Fallback files: names, modes, and folders that somebody else has made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tests::{bench, rows, seqs_in};
use super::*;
use crate::adapter::AdapterError;
use crate::clock::ManualClock;
use crate::notice::Notices;

fn down(_: &[u64]) -> Result<(), AdapterError> {
    Err(AdapterError::config("reach the dataset"))
}

#[test]
fn rows_read_back_as_they_were() {
    let bench = bench(down);
    let buffer = rows(1..=3);
    let outcome = bench.sink.write(&buffer.batch());
    let text = std::fs::read(&outcome.files[0]).unwrap();
    let mut expected = Vec::new();
    for (i, row) in buffer.batch().rows().enumerate() {
        expected.extend_from_slice(if i == 0 { b"[\n" } else { b",\n" });
        row.write_json(&mut expected);
    }
    expected.extend_from_slice(b"\n]\n");
    assert_eq!(text, expected);
}

#[test]
fn many_writers_in_one_second_overwrite_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Two sinks, as two processes would have, and two threads on each.
    let sinks: Vec<Arc<SafetyEventSink>> = (0..2)
        .map(|_| {
            let clock = Arc::new(ManualClock::default());
            let path = Some(folder.path().to_owned());
            let builder = SafetyEventSink::builder().fallback_path(path).clock(clock);
            Arc::new(builder.home(folder.path()).build())
        })
        .collect();
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let sink = sinks[usize::from(thread % 2 == 0)].clone();
            std::thread::spawn(move || {
                for seq in thread * 25 + 1..=thread * 25 + 25 {
                    assert_eq!(sink.write(&rows([seq]).batch()).fell_back, 1);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 100, "one file each, and no temporary one left");
    let seqs: BTreeSet<u64> = files.iter().flat_map(|path| seqs_in(path)).collect();
    assert!(seqs.into_iter().eq(1..=100));
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::super::fallback::{Fallback, Filing};
    use super::super::folder::{Folder, Refused, Trust};
    use super::*;
    use crate::clock::Timestamp;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_ours_alone() {
        let bench = bench(down);
        let outcome = bench.sink.write(&rows(1..=1).batch());
        assert_eq!(mode(&outcome.files[0]), 0o600);
        assert_eq!(mode(outcome.files[0].parent().unwrap()), 0o700);
        assert_eq!(fs::metadata(&outcome.files[0]).unwrap().nlink(), 1);
    }

    fn try_write(folder: &Path) -> Result<PathBuf, String> {
        let (buffer, notices) = (rows(1..=1), Notices::default());
        let batch = buffer.batch();
        let filings = batch.rows().map(|row| Filing { row, bytes: 0, error: None });
        let fallback = Fallback::new(folder.to_owned(), DATASET_DEFAULT);
        fallback
            .write(filings, "scripted", Timestamp::default(), &notices)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_that_is_a_link_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        for path in [link.clone(), link.join("")] {
            assert!(try_write(&path).unwrap_err().contains("is a link"));
        }
        assert_eq!(fs::read_dir(real).unwrap().count(), 0);
        let dangling = place.path().join("dangling");
        symlink(place.path().join("nowhere"), &dangling).unwrap();
        assert!(try_write(&dangling).is_err());
        assert!(!place.path().join("nowhere").exists());
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(try_write(place.path()).unwrap_err().contains("chmod"));
        // In a shared folder the group counts as others do; in one of our own it does not.
        let within = place.path().join("within");
        fs::create_dir(&within).unwrap();
        fs::set_permissions(&within, Permissions::from_mode(0o770)).unwrap();
        assert!(try_write(&within).unwrap_err().contains("chmod"));
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(try_write(&within).is_ok());
    }

    #[test]
    fn the_well_known_folder_is_put_right_or_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("namel3ss_safety_fallback");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        Folder::make(&path, Trust::Nobody).unwrap();
        assert_eq!(mode(&path), 0o700);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Only root can give a folder away.
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        for trust in [Trust::Nobody, Trust::Owner] {
            let refused = Folder::make(&path, trust).unwrap_err();
            assert!(matches!(refused, Refused::Foreign(_)), "{refused:?}");
        }
        let notices = Notices::default();
        let folder = super::super::fallback::open_shared(&path, &notices).unwrap();
        assert_eq!(folder.path(), place.path().join("namel3ss_safety_fallback-0"));
        assert_eq!(mode(folder.path()), 0o700);
        assert!(notices.take()[0].text.contains("belongs to user 12345"));
    }

    #[test]
    fn no_way_of_publishing_overwrites() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        type Publish = fn(&Folder, &str, &Folder, &str) -> std::io::Result<()>;
        let ways: [Publish; 3] =
            [Folder::publish, Folder::publish_by_link, Folder::publish_by_claim];
        for (i, publish) in ways.into_iter().enumerate() {
            let name = format!("{i}.json");
            fs::write(place.path().join("first"), "first").unwrap();
            fs::write(place.path().join("second"), "second").unwrap();
            publish(&folder, "first", &folder, &name).unwrap();
            let taken = publish(&folder, "second", &folder, &name).unwrap_err();
            assert_eq!(taken.kind(), std::io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(place.path().join(&name)).unwrap(), "first");
            assert!(!place.path().join("first").exists() && place.path().join("second").exists());
        }
    }

    #[test]
    fn missing_parents_are_made() {
        let place = tempfile::tempdir().unwrap();
        let file = try_write(&place.path().join("a/b/c")).unwrap();
        assert!(file.ends_with("a/b/c/safety_events_19700101_000000_1.json"), "{file:?}");
        assert_eq!(mode(&place.path().join("a")), 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_made_keeps_the_batch() {
        let bench = bench(down);
        fs::remove_dir(bench.folder.path().join("fallback")).unwrap();
        fs::write(bench.folder.path().join("fallback"), "a file").unwrap();
        let (buffer, mut state) = (rows(1..=2), bench.sink.begin());
        let mut outcome = Outcome::default();
        let step = bench.sink.step(&mut state, &buffer.batch(), &mut outcome);
        assert!(
            matches!(&step, Step::Kept { error, .. } if error.contains("real folder")),
            "{step:?}"
        );
        // Once the folder is there, the next step puts the rows into it.
        fs::remove_file(bench.folder.path().join("fallback")).unwrap();
        let step = bench.sink.step(&mut state, &buffer.batch(), &mut outcome);
        assert_eq!((step, outcome.fell_back, bench.sink.attempts()), (Step::Done, 2, 2));
    }
}
