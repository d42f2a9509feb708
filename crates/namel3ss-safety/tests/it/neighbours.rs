//! What other programs, backups and power cuts do to a file dataset: no whole row is cut off, none of
//! ours is there twice, and what had to be cut is beside the file and in a notice.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{JournalId, Level, NoticeKind, RowBuffer, SafetyEvent, Seq, Timestamp};

use crate::adapters::{FILES, each, insert, open, read, rows, seqs, sidecar};

const DAY: &str = ".cut-";

/// What was cut off the dataset, from the files beside it.
pub(crate) fn cut(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut cut = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with(&format!(".{name}{DAY}")) {
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600);
            cut.extend(fs::read(entry.path()).unwrap());
        }
    }
    cut
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "csv")
}

fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

pub(crate) fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

/// Rows of one journal with these seqs.
fn of(journal: JournalId, seqs: impl IntoIterator<Item = u64>) -> RowBuffer {
    let mut rows = RowBuffer::new(journal);
    seqs.into_iter().for_each(|seq| rows.push_event(Seq(seq), &plain_event(seq)));
    rows
}

/// A backup was restored, and of the two files only the sidecar was in it: all rows behind its end
/// were taken for a torn append, and cut off.
#[test]
fn an_older_sidecar_cuts_nothing_and_doubles_nothing() {
    each(|path| {
        let journal = JournalId::generate();
        let (first, other) = (open(path), JournalId::generate());
        insert(&*first, &rows(journal, 1, 20)).unwrap();
        let old = fs::read(sidecar(path)).unwrap();
        insert(&*first, &rows(journal, 21, 2000)).unwrap();
        insert(&*first, &rows(other, 3000, 5)).unwrap();
        fs::write(sidecar(path), old).unwrap();
        // By a process that has seen it all, and by a new one.
        for adapter in [first, open(path)] {
            insert(&*adapter, &rows(journal, 11, 2011)).unwrap();
            insert(&*adapter, &rows(other, 3000, 5)).unwrap();
            let expected: Vec<u64> = (1..=2021).chain(3000..3005).collect();
            assert_eq!(seqs(path), expected);
            assert!(adapter.notices().is_empty());
        }
        assert!(cut(path).is_empty());
    });
}

/// Its sidecar is the newer one, or a person has edited the file in place: it was cut at an old
/// length, in the middle of a row.
#[test]
fn a_file_that_was_edited_in_place_keeps_every_row() {
    each(|path| {
        let journal = JournalId::generate();
        let adapter = open(path);
        insert(&*adapter, &rows(journal, 1, 100)).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let theirs = r#"{"event_id":"theirs"}"#;
        let longer = match (is_csv(path), is_array(path)) {
            (true, _) => text.replacen('\n', "\ntheirs,,,,,,,,,,,,,,,,,,\n", 1),
            (_, true) => text.replacen('[', &format!("[{theirs},"), 1),
            _ => format!("{theirs}\n{text}"),
        };
        // In the same file, as an editor does that writes in place.
        let write = |text: &str| {
            let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let end = file.stream_position().unwrap();
            file.set_len(end).unwrap();
        };
        write(&longer);
        insert(&*adapter, &rows(journal, 51, 51)).unwrap();
        assert_eq!(read(path).len(), 102);
        assert_eq!(seqs(path), up_to(101));
        // And shorter again, the same length but for a word, and without a row.
        write(&fs::read_to_string(path).unwrap().replacen("theirs", "ours", 1));
        insert(&*adapter, &rows(journal, 102, 1)).unwrap();
        write(&fs::read_to_string(path).unwrap().replacen("block", "allow", 1));
        insert(&*adapter, &rows(journal, 103, 1)).unwrap();
        assert_eq!(read(path).len(), 104);
        assert_eq!(seqs(path), up_to(103));
        assert!(cut(path).is_empty());
    });
}

/// `echo … >> safety.jsonl` while a logger runs: the line was cut off by the next batch.
#[test]
fn lines_of_other_programs_stay() {
    for name in ["safety.jsonl", "safety.csv"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let theirs =
            if is_csv(&path) { "theirs,,,,,,,,,,,,,,,,,," } else { r#"{"event_id":"theirs"}"# };
        let journal = JournalId::generate();
        let adapter = open(&path);
        insert(&*adapter, &rows(journal, 1, 3)).unwrap();
        let mut expected = 3;
        // With and without the newline at its end, with the newline of Windows, and several.
        for line in [format!("{theirs}\n"), theirs.into(), format!("{theirs}\r\n{theirs}\n")] {
            append(&path, line.as_bytes());
            insert(&*adapter, &rows(journal, 4, 1)).unwrap();
            expected += 1;
            insert(&*adapter, &rows(journal, expected, 1)).unwrap();
        }
        assert_eq!(seqs(&path), up_to(expected));
        let count = read(&path).iter().filter(|row| row.event.event_id == "theirs").count();
        assert_eq!(count, 4, "{}", fs::read_to_string(&path).unwrap());
        assert!(cut(&path).is_empty() && adapter.notices().is_empty());
        // Of a line without its end nobody knows what it was to be.
        let torn = if is_csv(&path) { "theirs,,\"two\nlines" } else { r#"{"theirs":"# };
        append(&path, torn.as_bytes());
        insert(&*adapter, &rows(journal, expected + 1, 1)).unwrap();
        assert_eq!(seqs(&path), up_to(expected + 1));
        assert_eq!(cut(&path), format!("{torn}\n").as_bytes());
        let notices = adapter.notices();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(notices[0].kind, NoticeKind::TornRow);
        assert!(!notices[0].text.contains("theirs"), "{}", notices[0]);
        if !is_csv(&path) {
            assert_eq!(notices[0].level, Level::Warning);
            assert!(notices[0].text.contains(".safety.jsonl.cut-"), "{}", notices[0]);
        }
    }
}

/// A kill in the middle of `…,123\n` may leave `…,12`, which looks like the whole row 12.
#[test]
fn a_torn_number_is_no_row() {
    each(|path| {
        let journal = JournalId::generate();
        insert(&*open(path), &rows(journal, 1, 122)).unwrap();
        let before = fs::read(path).unwrap();
        let ledger = fs::read(sidecar(path)).unwrap();
        let last = rows(journal, 123, 1);
        insert(&*open(path), &last).unwrap();
        let after = fs::read(path).unwrap();
        let common = after.iter().zip(&before).take_while(|(a, b)| a == b).count();
        for torn in (common..after.len()).rev().take(25) {
            fs::write(path, &after[..torn]).unwrap();
            fs::write(sidecar(path), &ledger).unwrap();
            let adapter = open(path);
            insert(&*adapter, &last).unwrap();
            assert!(fs::read(path).unwrap() == after, "torn at {torn}");
            for notice in adapter.notices() {
                assert_eq!((notice.level, notice.kind), (Level::Info, NoticeKind::TornRow));
            }
        }
    });
}

/// The sidecar remembers 4,096 runs. A fallback file of a journal that it had forgotten was stored
/// a second time.
#[test]
fn a_forgotten_journal_is_looked_up_in_the_dataset() {
    let theirs = "team,metadata,reason\n";
    for (name, header) in [(FILES[0], ""), (FILES[1], ""), (FILES[2], ""), ("theirs.csv", theirs)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, header).unwrap();
        let ids = |path: &Path| {
            let mut ids: Vec<String> =
                read(path).into_iter().map(|row| row.event.metadata["n"].to_string()).collect();
            ids.sort_unstable();
            ids.dedup();
            (ids.len(), read(path).len())
        };
        let adapter = open(&path);
        let (dated, derived) = (JournalId::generate(), JournalId([0xab; 16]));
        insert(&*adapter, &of(dated, [5, 6, 7])).unwrap();
        insert(&*adapter, &of(derived, [15, 16])).unwrap();
        // As many runs as it remembers, of one journal.
        let holes = JournalId::generate();
        insert(&*adapter, &of(holes, (1..=4096).map(|n| 100 + 2 * n))).unwrap();
        insert(&*adapter, &of(holes, [100_000, 100_002])).unwrap();
        assert_eq!(ids(&path), (4103, 4103), "{name}");
        for adapter in [adapter, open(&path)] {
            insert(&*adapter, &of(dated, [4, 5, 6, 7, 8])).unwrap();
            insert(&*adapter, &of(derived, [14, 15, 16])).unwrap();
            insert(&*adapter, &of(holes, [102, 104])).unwrap();
            assert_eq!(ids(&path), (4106, 4106), "{name}");
        }
    }
}

/// A CSV file with somebody else's header has no columns for journal and seq.
#[test]
fn rows_in_somebody_else_s_columns_are_told_apart_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.csv");
    for (n, header) in
        ["reason,metadata", "seq,metadata,team", "metadata,event_id"].iter().enumerate()
    {
        fs::write(&path, format!("{header}\n")).unwrap();
        let _ = fs::remove_file(sidecar(&path));
        let journal = JournalId::generate();
        let mut event = plain_event(1);
        // The names of our own fields are taken there.
        event.metadata.insert("journal_id".into(), "mine".into());
        event.metadata.insert("seq".into(), 77.into());
        let mut first = RowBuffer::new(journal);
        (1..=3).for_each(|seq| first.push_event(Seq(seq), &event));
        let adapter = open(&path);
        insert(&*adapter, &first).unwrap();
        let old = fs::read(sidecar(&path)).unwrap();
        let mut second = RowBuffer::new(journal);
        (4..=9).for_each(|seq| second.push_event(Seq(seq), &event));
        insert(&*adapter, &second).unwrap();
        fs::write(sidecar(&path), old).unwrap();
        insert(&*adapter, &second).unwrap();
        fs::remove_file(sidecar(&path)).unwrap();
        insert(&*open(&path), &second).unwrap();
        assert_eq!(read(&path).len(), 9, "header {n}");
    }
}

/// The sidecar was lost, or left behind when the file was copied to another machine.
#[test]
fn without_a_sidecar_what_is_sent_again_is_looked_up() {
    each(|path| {
        let journal = JournalId::generate();
        insert(&*open(path), &rows(journal, 1, 30)).unwrap();
        fs::remove_file(sidecar(path)).unwrap();
        insert(&*open(path), &rows(journal, 21, 20)).unwrap();
        assert_eq!(seqs(path), up_to(40));
    });
}

/// A power cut leaves a file longer than what was written to it.
#[test]
fn nul_bytes_at_the_end_are_cut_off() {
    each(|path| {
        let journal = JournalId::generate();
        insert(&*open(path), &rows(journal, 1, 3)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() + 100_000).unwrap();
        let adapter = open(path);
        insert(&*adapter, &rows(journal, 3, 2)).unwrap();
        assert_eq!(seqs(path), up_to(4));
        assert!(cut(path).is_empty());
        assert_eq!(adapter.notices()[0].level, Level::Info);
    });
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/file-dataset-v1.0")
}

/// Datasets and sidecars as the first version wrote them, moved to another place and, as far as the
/// sidecar knows, in theirs: then a torn append is told from content.
#[test]
fn sidecars_of_the_first_version_are_read() {
    let journal = JournalId(*b"\x01\x99fixture\x7f\x80 one\0");
    // As they are in there: other events of the same ids would be stored beside them.
    let at = |n: u64| Timestamp::from_micros(1_763_900_000_000_000 + n.cast_signed());
    let rows = |journal, first, count| {
        let events = first..first + count;
        let events: Vec<SafetyEvent> =
            events.map(|n| SafetyEvent { timestamp: at(n), ..plain_event(n) }).collect();
        buffer(journal, first, &events)
    };
    for (name, in_place) in FILES.iter().flat_map(|name| [(name, false), (name, true)]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::copy(fixture().join(name), &path).unwrap();
        let mut ledger = fs::read(sidecar(&fixture().join(name))).unwrap();
        if in_place {
            // Its fourth commit, of three runs, is in the first slot.
            let slot = &mut ledger[..64 + 3 * 32];
            let id = fs::metadata(&path).unwrap();
            let birth = id.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            for (at, n) in [(32, 0), (40, id.ino()), (48, birth.as_nanos() as u64)] {
                slot[at..at + 8].copy_from_slice(&n.to_le_bytes());
            }
            let crc = crc32c::crc32c(&slot[12..]);
            slot[8..12].copy_from_slice(&crc.to_le_bytes());
            // What version 1.0 had not committed yet: a whole row, and one that is torn.
            let again = folder.path().join(format!("again-{name}"));
            fs::copy(&path, &again).unwrap();
            insert(&*open(&again), &rows(journal, 8, 2)).unwrap();
            let longer = fs::read(&again).unwrap();
            fs::write(&path, &longer[..longer.len() - 30]).unwrap();
        }
        fs::write(sidecar(&path), &ledger).unwrap();
        let adapter = open(&path);
        insert(&*adapter, &rows(journal, 1, 3)).unwrap();
        insert(&*adapter, &rows(journal, 5, 5)).unwrap();
        assert_eq!(seqs(&path), [1, 2, 3, 5, 6, 7, 7, 8, 9], "{name}, in place: {in_place}");
        assert_eq!(!cut(&path).is_empty(), in_place, "{name}");
    }
}

/// A logger that was given a path whose folder did not exist filed every batch.
#[test]
fn a_missing_folder_is_made_for_its_owner_alone() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        let path = folder.path().join("new/deep").join(name);
        // By another name of its folder, of which a part is there.
        let adapter = open(&folder.path().join("link/new/deep").join(name));
        let identity = adapter.identity();
        assert!(!path.parent().unwrap().exists());
        adapter.prepare().unwrap();
        for folder in [path.parent().unwrap(), &folder.path().join("new")] {
            assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
        }
        assert_eq!(open(&path).identity(), identity);
        insert(&*adapter, &rows(JournalId::generate(), 1, 1)).unwrap();
        assert_eq!(seqs(&path), [1]);
        // What vanishes later is an outage: perhaps of a disk that is to be mounted there.
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        insert(&*adapter, &rows(JournalId::generate(), 2, 1)).unwrap_err();
        insert(&*open(&path), &rows(JournalId::generate(), 2, 1)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("safety.csv")).prepare().unwrap_err();
    assert!(error.to_string().contains("make the folder"), "{error}");
}
