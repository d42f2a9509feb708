//! What fuzzing tries: one function for each reader of bytes that somebody else may have written.
//! Each panics where a property does not hold. The files of `corpus/` also go through them in the
//! normal tests, `tests/it/corpus.rs` of the command, which includes this file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use namel3ss_safety::internal::journal::frame::{self, Kind, Place};
use namel3ss_safety::internal::journal::header::{
    FileHeader, FileKind, HEADER_BYTES, SEAL_AT, Seal,
};
use namel3ss_safety::internal::journal::media::{Folder, MemoryFolder};
use namel3ss_safety::internal::journal::recovery::{self, Scan};
use namel3ss_safety::internal::journal::ring_state::CAPACITY_WORDS;
use namel3ss_safety::internal::journal::store::{ReadPlace, Store};
use namel3ss_safety::{
    Durability, JournalId, MemoryAdapter, ReplayOptions, Seq, Timestamp, internal::codec,
    replay_file,
};
use namel3ss_safety_cli::{Io, run};
use namel3ss_safety_stores::objects::delta;

/// A target by the name of its file and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("journal_recovery", journal_recovery),
    ("event_codec", event_codec),
    ("fallback_file", fallback_file),
    ("csv_reader", csv_reader),
    ("json_reader", json_reader),
    ("ingest_input", ingest_input),
    ("url_parser", url_parser),
    ("parquet_file", parquet_file),
    ("delta_log", delta_log),
];

/// A payload is decoded or refused, and what was decoded survives another round unchanged.
pub fn event_codec(data: &[u8]) {
    let Ok(event) = codec::decode(data) else { return };
    let event = event.to_event();
    let mut again = Vec::new();
    codec::encode(&event, &mut again);
    let read = codec::decode(&again).expect("what was encoded is read").to_event();
    let mut third = Vec::new();
    codec::encode(&read, &mut third);
    assert_eq!(again, third, "encoding is stable");
}

/// The data area of a ring that is fuzzed.
const RING_BYTES: u64 = 1 << 14;

/// Takes fuzzed bytes apart; zeros where they end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A small number mostly, sometimes any.
    fn seq(&mut self) -> Seq {
        match self.byte() {
            255 => Seq(self.number()),
            small => Seq(u64::from(small)),
        }
    }
}

/// A journal's folder: files with whole headers and frames with whole checks, that say anything, and
/// with damage between them.
fn journal_folder(input: &mut Input<'_>) -> MemoryFolder {
    let folder = MemoryFolder::default();
    let ours = FileHeader {
        kind: FileKind::Segment,
        journal: JournalId([7; 16]),
        epoch: 1,
        first: Seq(1),
        created: Timestamp::from_micros(1_700_000_000_000_000),
        dataset: "safety_events".to_owned(),
        destination: "sqlite:///a.db".to_owned(),
        further: Vec::new(),
    };
    for number in 0..1 + input.byte() % 4 {
        let (kind, name) = match input.byte() % 8 {
            0..4 => (FileKind::Segment, format!("seg-{number}.n3j")),
            4 | 5 => (FileKind::Spill, format!("spill-{number}.n3j")),
            6 => (FileKind::Ring, "ring.n3j".to_owned()),
            _ => (FileKind::Segment, "cursor-safety_events.n3c".to_owned()),
        };
        let is_cursor = name.ends_with(".n3c");
        let header = FileHeader {
            kind,
            first: Seq(input.seq().0.clamp(1, frame::SEQ_MAX)),
            epoch: u64::from(number),
            journal: if input.byte() == 255 { JournalId([8; 16]) } else { ours.journal },
            ..ours.clone()
        };
        let is_ring = kind == FileKind::Ring;
        let mut bytes = if is_cursor { Vec::new() } else { header.to_block() };
        if is_ring {
            let words = [header.epoch.to_le_bytes(), RING_BYTES.to_le_bytes()].concat();
            let check = u64::from(frame::payload_crc(&words));
            let at = CAPACITY_WORDS * 8;
            bytes[at..at + 8].copy_from_slice(&RING_BYTES.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&check.to_le_bytes());
        }
        let sealed = input.byte();
        for _ in 0..input.byte() % 32 {
            match input.byte() % 8 {
                op @ 0..4 => {
                    let kind = [Kind::Event, Kind::Gap, Kind::Void, Kind::Wrap][usize::from(op)];
                    let seq = Seq(input.seq().0.min(frame::SEQ_MAX));
                    let length = usize::from(input.byte());
                    let payload = input.bytes(length);
                    // A ring counts from where its data begins, a file from its own beginning.
                    let base = if is_ring { HEADER_BYTES as u64 } else { 0 };
                    let position = (bytes.len() as u64).saturating_sub(base);
                    let place = Place { epoch: header.epoch, position };
                    frame::write(&mut bytes, kind, seq, payload, place);
                }
                4 => bytes.resize(bytes.len() + usize::from(input.byte()), 0),
                5 => {
                    let length = usize::from(input.byte());
                    bytes.extend_from_slice(input.bytes(length));
                }
                6 => {
                    // Damage to what stands there already, the header's later part among it.
                    let at = input.number() as usize % bytes.len().max(1);
                    let byte = input.byte();
                    if let Some(place) = bytes.get_mut(at) {
                        *place ^= byte;
                    }
                }
                _ => bytes.truncate(input.number() as usize % (bytes.len() + 1)),
            }
        }
        if sealed.is_multiple_of(4) && kind == FileKind::Segment && bytes.len() >= HEADER_BYTES {
            let end = if sealed == 0 { input.number() } else { bytes.len() as u64 };
            let seal = Seal { end, last: input.seq(), events: input.seq().0 };
            let seal = seal.to_bytes(header.epoch);
            bytes[SEAL_AT..SEAL_AT + seal.len()].copy_from_slice(&seal);
        }
        if is_ring {
            bytes.resize(HEADER_BYTES + RING_BYTES as usize, 0);
        }
        if folder.create(&name, bytes.len() as u64).is_ok() {
            folder.edit(&name, |content| *content = bytes);
        }
    }
    folder
}

/// The events of a scan, as a reader that delivers them meets them.
fn events_of(store: &Store, scan: Option<&Scan>) -> Vec<(Seq, Vec<u8>)> {
    let mut events: Vec<(Seq, Vec<u8>)> = Vec::new();
    let mut place = ReadPlace::default();
    let last = store.last();
    let mut next = Seq(1);
    while next <= last {
        let mut take = |seq: Seq, payload: &[u8]| {
            events.push((seq, payload.to_vec()));
            events.len() < 4096
        };
        let Ok(report) = store.read(&mut place, next, last, &mut take) else { break };
        if report.through < next {
            break;
        }
        next = report.through.next();
    }
    if let Some(scan) = scan {
        let _ = scan.read_loose(Seq(1), &mut |seq, payload| events.push((seq, payload.to_vec())));
    }
    events.sort();
    events.dedup();
    events
}

/// Whatever lies in a journal's folder, it is scanned or refused; scanning twice finds the same;
/// settling keeps every event that the scan had read, and a settled folder scans again.
pub fn journal_recovery(data: &[u8]) {
    let folder = journal_folder(&mut Input(data));
    let shared: Arc<dyn Folder> = Arc::new(folder.copy());
    let Ok(scan) = recovery::scan(&*shared) else { return };
    let twice = recovery::scan(&folder).expect("what was read once is read again");
    assert_eq!((scan.last(), scan.events()), (twice.last(), twice.events()));
    let store = Store::new(scan.header.journal, Arc::clone(&shared), scan.segments.clone());
    let before = events_of(&store, Some(&scan));
    let mut seqs: Vec<Seq> = before.iter().map(|(seq, _)| *seq).collect();
    seqs.dedup();
    let Ok(settled) = scan.settle(&shared, Durability::Process) else { return };
    let mut after: Vec<Seq> = events_of(&settled.store, None).iter().map(|(seq, _)| *seq).collect();
    after.dedup();
    assert_eq!(seqs, after, "settling keeps what was read");
    if let Ok(scan) = recovery::scan(&*shared) {
        let store = Store::new(scan.header.journal, Arc::clone(&shared), scan.segments.clone());
        let mut again: Vec<Seq> =
            events_of(&store, Some(&scan)).iter().map(|(seq, _)| *seq).collect();
        again.dedup();
        assert_eq!(seqs, again, "a settled folder holds the same");
    }
}

/// A folder for one run, in memory where there is such a place.
fn folder() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let inside = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("n3-fuzz").tempdir_in(inside).expect("a folder")
}

fn file_with(folder: &Path, name: &str, data: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, data).expect("write the input");
    path
}

/// A fallback file is replayed or refused; each row is stored, is refused by itself, or was there
/// before; and a dry run counts what the replay then does.
pub fn fallback_file(data: &[u8]) {
    let folder = folder();
    let path = file_with(folder.path(), "safety_events_20260301_120000_1.json", data);
    let adapter = MemoryAdapter::default();
    let dry = ReplayOptions { dry_run: true, ..ReplayOptions::default() };
    let promised = replay_file(&path, &adapter, dry);
    assert!(adapter.rows().is_empty(), "a dry run stores nothing");
    let done = replay_file(&path, &adapter, ReplayOptions::default());
    match (promised, done) {
        (Ok(promised), Ok(done)) => {
            assert_eq!((promised.rows, promised.refused), (done.rows, done.refused));
            assert_eq!(adapter.rows().len() as u64, done.rows);
        }
        (Err(_), Err(_)) => assert!(path.exists(), "what can't be replayed stays"),
        (promised, done) => panic!("dry run: {promised:?}, replay: {done:?}"),
    }
}

/// Whatever a dataset's file holds, `tail` shows its rows and counts the rest.
fn tail(name: &str, data: &[u8]) {
    let folder = folder();
    let path = file_with(folder.path(), name, data);
    let (io, captured) = Io::buffers(b"");
    let path = path.to_string_lossy().into_owned();
    let arguments = ["n3-safety", "tail", "-n", "1000", "-o", "json", "--from", &path];
    let _ = run(arguments, io);
    let shown = captured.stdout();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "control characters are escaped");
    assert!(shown.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
}

/// See [`tail`].
pub fn csv_reader(data: &[u8]) {
    tail("safety.csv", data);
}

/// See [`tail`].
pub fn json_reader(data: &[u8]) {
    let name = if data.first() == Some(&b'[') { "safety.json" } else { "safety.jsonl" };
    tail(name, data);
}

/// Whatever `ingest` is given, it finds records or says what is wrong; the format, the encoding, the
/// compression and the envelope are told from the input itself.
pub fn ingest_input(data: &[u8]) {
    let _ = namel3ss_safety_cli::read_input(data);
}

/// A URL is understood or refused; neither the error nor the destination's name shows its password.
pub fn url_parser(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    for url in namel3ss_safety_stores::url::several(url) {
        let _ = namel3ss_safety_stores::url::parse(url);
    }
    // A password where one may stand, in front of what was fuzzed.
    let url = format!("postgresql://ann:c4n4ry@{url}");
    let shown = match namel3ss_safety_stores::url::parse(&url) {
        Ok(target) => format!("{target:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains("c4n4ry"), "the password is shown: {shown}");
}

/// Whatever a Parquet file holds, its rows are read or it is refused.
pub fn parquet_file(data: &[u8]) {
    let _ = namel3ss_safety_stores::parquet::decode(data.to_vec());
    // By its footer, in parts, as a folder's reader does.
    let folder = folder();
    let day = folder.path().join("year=2026/month=03/day=01");
    std::fs::create_dir_all(&day).expect("a folder");
    let id = "01a22ce0191b714fac676145c1a59f04";
    let name = format!("events_{id}_{:020}-{:020}.parquet", 1, 3);
    file_with(&day, &name, data);
    let url = format!("file://{}/?format=parquet", folder.path().display());
    if let Ok(rows) = namel3ss_safety_stores::objects::read(&url) {
        rows.take(10_000).for_each(drop);
    }
}

/// Whatever a Delta table's log holds, the table is read or refused. Commits are apart by lines
/// that hold `---`.
pub fn delta_log(data: &[u8]) {
    let folder = folder();
    let log = folder.path().join("_delta_log");
    std::fs::create_dir_all(&log).expect("a folder");
    let mut commits = data;
    for version in 0..8 {
        let end = commits.windows(5).position(|window| window == b"\n---\n");
        let (commit, rest) = match end {
            Some(end) => (&commits[..end], &commits[end + 5..]),
            None => (commits, &[][..]),
        };
        file_with(&log, &format!("{version:020}.json"), commit);
        commits = rest;
        if end.is_none() {
            break;
        }
    }
    let url = format!("delta+file://{}", folder.path().display());
    if let Ok(rows) = delta::read(&url) {
        rows.take(10_000).for_each(drop);
    }
}
