//! Objects in a local folder.

use std::path::{Path, PathBuf};

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{
    DatasetAdapter, Delivery, Durability, Failure, JournalId, RowBuffer, SafetyEvent, Seq,
};
use namel3ss_safety_stores::{ObjectStoreAdapter, open};

use super::support::{all, conforms, rows, seqs};

fn with_folder(check: impl Fn(&Path, &str)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(folder.path(), &format!("file://{}/", folder.path().display()));
}

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(folder).expect("below it");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn every_format_conforms() {
    for parameters in [
        "format=jsonl",
        "format=json",
        "format=csv",
        #[cfg(feature = "parquet")]
        "format=parquet",
        #[cfg(feature = "object")]
        "format=jsonl&compression=zstd",
        #[cfg(feature = "object")]
        "format=csv&compression=gzip",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let next = std::cell::Cell::new(0);
        conforms(|| {
            next.set(next.get() + 1);
            format!("file://{}/{}/?{parameters}", folder.path().display(), next.get())
        });
    }
}

#[test]
fn a_batch_over_midnight_is_two_objects_of_stable_names_and_bytes() {
    with_folder(|path, url| {
        let journal: JournalId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        let event = |n: u64| SafetyEvent {
            // Every other one is of the next day.
            timestamp: ["2026-02-28T23:59:59.9Z", "2026-03-01T00:00:00Z"][(n % 2) as usize]
                .parse()
                .expect("a time"),
            ..plain_event(n)
        };
        let events: Vec<SafetyEvent> = (1..=6).map(event).collect();
        let rows = buffer(journal, 1, &events);
        for format in ["jsonl", "csv", "json", "parquet"] {
            let url = format!("{url}{format}/p/?format={format}");
            open(&url).expect("a URL").insert(&rows.batch()).expect("stored");
            let pad = |seq: u64| format!("{seq:020}");
            let stem = "events_0123456789abcdef0123456789abcdef";
            let names = files(&path.join(format));
            assert_eq!(
                names,
                [
                    format!("p/year=2026/month=02/day=28/{stem}_{}-{}.{format}", pad(2), pad(6)),
                    format!("p/year=2026/month=03/day=01/{stem}_{}-{}.{format}", pad(1), pad(5)),
                ]
            );
            let read = || names.iter().map(|n| std::fs::read(path.join(format).join(n)).unwrap());
            let before: Vec<Vec<u8>> = read().collect();
            open(&url).expect("a URL").insert(&rows.batch()).expect("stored again");
            assert_eq!(files(&path.join(format)), names);
            std::fs::remove_dir_all(path.join(format)).unwrap();
            open(&url).expect("a URL").insert(&rows.batch()).expect("stored anew");
            assert!(read().eq(before), "{format}: the same rows, the same bytes");
            assert_eq!(seqs(&url), [1, 2, 3, 4, 5, 6]);
        }
    });
}

#[test]
fn what_lies_there_already_is_compared() {
    with_folder(|path, url| {
        let url = format!("{url}?format=jsonl");
        let adapter = open(&url).expect("a URL");
        let journal = JournalId::generate();
        adapter.insert(&rows(journal, 1, 3).batch()).expect("stored");
        let file = path.join(&files(path)[0]);

        // Another version of this library may have written the same rows in other bytes.
        let text = std::fs::read_to_string(&file).unwrap().replace(":\"event-", ": \"event-");
        std::fs::write(&file, &text).unwrap();
        let same = rows(journal, 1, 3);
        adapter.insert(&same.batch()).expect("the same rows");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "and it stays as it is");

        let others: Vec<SafetyEvent> = (7..10).map(plain_event).collect();
        let others = buffer(journal, 1, &others);
        let error = adapter.insert(&others.batch()).expect_err("other rows");
        assert_eq!(*error.failure(), Failure::IdsTaken(vec![0, 1, 2]));

        std::fs::write(&file, "no rows at all").unwrap();
        let error = adapter.insert(&same.batch()).expect_err("no rows");
        assert_eq!(*error.failure(), Failure::Config);
        assert_eq!(std::fs::read(&file).unwrap(), b"no rows at all");
    });
}

#[test]
fn a_batch_with_holes_that_is_replayed_in_parts_is_stored_once() {
    // A batch landed and its answer was lost; its rows went to a fallback file as well, whose
    // replay sends runs without holes, so under other keys.
    with_folder(|path, url| {
        let journal = JournalId::generate();
        let mut holes = RowBuffer::new(journal);
        let events: Vec<SafetyEvent> = (0..10).map(plain_event).collect();
        let kept = [1_u64, 2, 5, 6, 9];
        kept.iter().for_each(|seq| holes.push_event(Seq(*seq), &events[*seq as usize]));
        open(url).expect("a URL").insert(&holes.batch()).expect("stored");
        let replay = open(url).expect("a URL");
        for run in [&[1_u64, 2][..], &[5, 6], &[9]] {
            let mut rows = RowBuffer::new(journal);
            run.iter().for_each(|seq| rows.push_event(Seq(*seq), &events[*seq as usize]));
            replay.insert(&rows.batch()).expect("known already");
        }
        assert_eq!(seqs(url), kept);
        assert_eq!(files(path).len(), 1);
    });
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_and_files_are_their_owners_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    with_folder(|path, url| {
        let journal = JournalId::generate();
        let elsewhere = tempfile::tempdir().expect("a folder");
        open(url).expect("a URL").insert(&rows(journal, 1, 1).batch()).expect("stored");
        let file = path.join(&files(path)[0]);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let year = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::metadata(&year).unwrap().permissions().mode() & 0o777, 0o700);

        std::fs::remove_dir_all(&year).unwrap();
        symlink(elsewhere.path(), &year).unwrap();
        let error = open(url).expect("a URL").insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Config, "{error}");
        assert!(files(elsewhere.path()).is_empty());
    });
}

#[test]
fn the_rest_of_a_crash_is_taken_over_and_power_syncs_what_lies_there() {
    with_folder(|path, url| {
        let journal = JournalId::generate();
        let mut power = RowBuffer::new(journal);
        power.reset(journal, Durability::Power);
        (1..=3).for_each(|seq| power.push_event(Seq(seq), &plain_event(seq)));
        open(url).expect("a URL").insert(&power.batch()).expect("stored");
        let file = path.join(&files(path)[0]);
        let whole = std::fs::read(&file).unwrap();
        // As a kill in the middle of the write leaves it.
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let hidden = file.with_file_name(format!(".{name}.tmp"));
        std::fs::rename(&file, &hidden).unwrap();
        std::fs::write(&hidden, &whole[..whole.len() / 2]).unwrap();
        assert!(all(url).is_empty(), "what is not whole is not seen");
        (0..2).for_each(|_| open(url).expect("a URL").insert(&power.batch()).expect("stored"));
        assert_eq!(std::fs::read(&file).unwrap(), whole);
        assert!(!hidden.exists());
    });
}

#[test]
fn an_adapter_says_what_it_is_and_what_it_likes() {
    let adapter = open("file:///data/events.jsonl/?rows=500&seconds=2").expect("a URL");
    assert_eq!(adapter.identity(), "file:///data/events.jsonl/?format=jsonl");
    let again = open(&adapter.identity()).expect("an identity is a URL");
    assert_eq!(again.identity(), adapter.identity());
    let batching = adapter.batching();
    assert_eq!((batching.rows_max, batching.wait_max.as_secs()), (500, 2));
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));

    let written = ObjectStoreAdapter::new("file:///data", "events/safety", "csv").expect("three");
    assert_eq!(written.identity(), "file:///data/events/safety/?format=csv");
    assert_eq!((written.batching().rows_max, written.batching().wait_max.as_secs()), (50_000, 60));
}
