//! Journals that were written once are readable for ever: `fixtures/journal-v1`, whole and damaged, and
//! `fixtures/journal-v1.1`, which has three destinations.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{hostile_events, plain_event};
use namel3ss_safety::internal::journal::cursor::{Cursor, CursorState};
use namel3ss_safety::internal::journal::inspect;
use namel3ss_safety::internal::journal::media::{DiskFolder, Folder};
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{Durability, JournalId, RowBuffer, SafetyEvent, Seq, internal::codec};

use crate::recovery::{Recovered, recover};

const JOURNAL: JournalId = JournalId(*b"\x01\x99fixture\x7f\x80 one\0");

fn all_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures")
}

fn fixtures() -> PathBuf {
    all_fixtures().join("journal-v1")
}

/// The destinations of the fixture of 1.1; one is too long for the header's room.
fn destinations() -> [String; 3] {
    let long = format!("file:///{}/safety.csv", "lång".repeat(500));
    ["sqlite:////data/safety.db?table=safety_events".into(), "file:///data/b.jsonl".into(), long]
}

/// All 17 fields set, metadata nested, text in many scripts, and what broke datasets before.
fn events() -> Vec<SafetyEvent> {
    let full = r#"{
        "event_id": "0198c0de-0000-7000-8000-000000000001", "timestamp": "2025-11-23T12:34:56.789012Z",
        "app_name": "app", "chain_name": "chaîne", "agent_name": "агент", "policy_name": "政策",
        "reason": "naïve 🦀 \u0000\u001b[31m", "trace_id": "t", "session_id": "s", "user_id": "u",
        "direction": "output", "action": "redact", "categories": ["pii", "säkerhet", ""],
        "severity": "very odd", "confidence": 0.1, "latency_ms": 12.5,
        "metadata": {"nested": {"list": [1, -2, 3.5, null, true, {"é": "ü"}]}, "big": 18446744073709551615}
    }"#;
    let full = SafetyEvent::from_json(serde_json::from_str(full).unwrap()).unwrap();
    let mut events = vec![full];
    let encoded = |event: &SafetyEvent| {
        let mut payload = Vec::new();
        codec::encode(event, &mut payload);
        payload.len()
    };
    events.extend(hostile_events().into_iter().filter(|event| encoded(event) < 10_000));
    events.extend((0..150).map(plain_event));
    for (n, event) in (0..).zip(&mut events) {
        event.timestamp = namel3ss_safety::Timestamp::from_micros(1_763_900_000_000_000 + n);
    }
    events
}

fn cursor_state() -> CursorState {
    CursorState {
        acked: Seq(3),
        frozen: (Seq(4), Seq(13)),
        flushed: 1,
        fallback: 2,
        dropped: [1, 2, 3, 4, 5, 6],
        unsequenced: 7,
        skip: (Seq(0), Seq(0)),
    }
}

/// Writes the fixture; run by hand, once a format, with `N3_SAFETY_WRITE_FIXTURE=1`:
/// `cargo test --features conformance --test it -- --ignored write_fixture`.
#[test]
#[ignore = "it writes into the repository, once a format version"]
fn write_fixture() {
    // A run of all ignored tests must not rewrite what has to stay as it was.
    if std::env::var_os("N3_SAFETY_WRITE_FIXTURE").is_none() {
        return;
    }
    let _ = fs::remove_dir_all(fixtures());
    let path = fixtures().join("whole");
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::create(&path, true).unwrap());
    let options = Options {
        durability: Durability::Process,
        ring_bytes: 8 << 10,
        ring_bytes_max: 16 << 10,
        segment_bytes_max: 16 << 10,
    };
    let names = ("safety_events", &["file:///data/safety.jsonl".to_owned()][..]);
    let journal = Journal::create(folder.clone(), None, JOURNAL, names, options).unwrap();
    let (events, mut expected) = (events(), Vec::new());
    let drained = events.len() - 80;
    for (n, event) in events.iter().enumerate() {
        let mut payload = Vec::new();
        codec::encode(event, &mut payload);
        let seq = journal.append(&payload).unwrap();
        expected.push((seq, payload));
        if n < drained {
            journal.drain(Seq(0)).unwrap();
        }
    }
    drop(journal);
    let cursor = Cursor::open(&*folder, "safety_events").unwrap();
    cursor.save(|state| *state = cursor_state()).unwrap();
    fs::write(fixtures().join("expected.jsonl"), lines(expected.iter().map(|(s, p)| (*s, &**p))))
        .unwrap();
    // The spill file's unused room is worth nothing here.
    for name in folder.list().unwrap().iter().filter(|name| name.starts_with("spill")) {
        let bytes = fs::read(path.join(name)).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        fs::write(path.join(name), &bytes[..end.next_multiple_of(8)]).unwrap();
    }
    let twin = fixtures().join("damaged");
    fs::create_dir(&twin).unwrap();
    let mut names = folder.list().unwrap();
    names.sort();
    for name in &names {
        fs::copy(path.join(name), twin.join(name)).unwrap();
    }
    let segments: Vec<_> = names.iter().filter(|name| name.starts_with("seg")).collect();
    let spoil = |name: &str, at: usize| {
        let mut bytes = fs::read(twin.join(name)).unwrap();
        bytes[at] ^= 0x20;
        fs::write(twin.join(name), bytes).unwrap();
    };
    spoil(segments[0], 4096 + 40);
    spoil(segments[1], 100);
    spoil("ring.n3j", 4096 + 2000);
    let Recovered { missing, .. } = recover(copied("damaged").1);
    let mut out = fs::File::create(fixtures().join("missing.txt")).unwrap();
    for (first, last) in missing {
        writeln!(out, "{first} {last}").unwrap();
    }
}

fn lines<'a>(events: impl Iterator<Item = (Seq, &'a [u8])>) -> Vec<u8> {
    let mut rows = RowBuffer::new(JOURNAL);
    for (seq, payload) in events {
        rows.push(seq, payload).expect("it decodes");
    }
    let mut text = Vec::new();
    for row in rows.batch().rows() {
        row.write_json(&mut text);
        text.push(b'\n');
    }
    text
}

/// A copy of a fixture, because opening a journal brings it to rest.
fn copied(name: &str) -> (tempfile::TempDir, Arc<dyn Folder>) {
    copied_from(&fixtures().join(name))
}

fn copied_from(folder: &Path) -> (tempfile::TempDir, Arc<dyn Folder>) {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let folder = DiskFolder::open(copy.path(), false).unwrap();
    (copy, Arc::new(folder))
}

fn expected() -> Vec<String> {
    let text = fs::read_to_string(fixtures().join("expected.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn rows(recovered: &Recovered) -> Vec<String> {
    let text = lines(recovered.events.iter().map(|(seq, payload)| (Seq(*seq), &**payload)));
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_first_format_is_read_to_the_last_field() {
    let (_copy, folder) = copied("whole");
    let recovered = recover(folder.clone());
    assert_eq!((&*recovered.damage, &*recovered.missing), (&[][..], &[][..]));
    assert_eq!(Cursor::open(&*folder, "safety_events").unwrap().state(), cursor_state());
    let (rows, expected) = (rows(&recovered), expected());
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row, expected);
    }
    // And that is what was logged, not only what was written down beside it.
    let first = serde_json::from_str(&expected[0]).unwrap();
    assert_eq!(ReadRow::from_json(first).unwrap().event, events()[0]);
}

#[test]
fn its_damaged_twin_loses_what_was_damaged_and_says_so() {
    let (_copy, folder) = copied("damaged");
    let recovered = recover(folder.clone());
    let told: Vec<String> =
        recovered.missing.iter().map(|(first, last)| format!("{first} {last}")).collect();
    let missing = fs::read_to_string(fixtures().join("missing.txt")).unwrap();
    assert_eq!(told.join("\n"), missing.trim_end());
    assert_eq!(recovered.damage.len(), 3, "{:?}", recovered.damage);
    let lost = |seq: u64| recovered.missing.iter().any(|(a, b)| (*a..=*b).contains(&seq));
    let left = (1..).zip(expected()).filter(|(seq, _)| !lost(*seq)).map(|(_, row)| row);
    assert_eq!(rows(&recovered), left.collect::<Vec<_>>());
    assert_eq!(folder.list().unwrap().iter().filter(|n| n.ends_with(".damaged")).count(), 1);
}

/// As `write_fixture`, of a journal with several destinations.
#[test]
#[ignore = "it writes into the repository, once a format version"]
fn write_fixture_of_several() {
    if std::env::var_os("N3_SAFETY_WRITE_FIXTURE").is_none() {
        return;
    }
    let path = all_fixtures().join("journal-v1.1");
    let _ = fs::remove_dir_all(&path);
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::create(&path, true).unwrap());
    let options = Options { ring_bytes: 8 << 10, ring_bytes_max: 8 << 10, ..Options::default() };
    let names = ("safety_events", &destinations()[..]);
    let journal = Journal::create(folder.clone(), None, JOURNAL, names, options).unwrap();
    for n in 0..20 {
        let mut payload = Vec::new();
        codec::encode(&plain_event(n), &mut payload);
        journal.append(&payload).unwrap();
    }
    for (place, acked) in [(0, 0), (1, 12), (2, 20)] {
        let name = journal.header().cursor_at(place, "safety_events");
        let cursor = Cursor::open(&*folder, &name).unwrap();
        cursor.save(|state| (state.acked, state.flushed) = (Seq(acked), acked)).unwrap();
    }
}

#[test]
fn a_journal_of_several_destinations_is_read() {
    let (copy, folder) = copied_from(&all_fixtures().join("journal-v1.1"));
    let info = inspect::look(copy.path()).journal.unwrap();
    let pending: Vec<u64> = info.sinks().iter().map(|sink| sink.pending).collect();
    assert_eq!((info.last, pending), (Seq(20), vec![20, 8, 0]));
    for (place, destination) in destinations().iter().enumerate() {
        assert_eq!(info.header.place_of(destination), Some(place));
    }
    assert_eq!(info.header.place_of("file:///data/c.jsonl"), None);
    assert_eq!(info.sinks()[1].destination, destinations()[1]);
    assert_eq!(recover(folder).events.len(), 20);
}
