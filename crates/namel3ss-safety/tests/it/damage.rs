//! Journals whose bytes were changed behind our back: opening succeeds, every frame outside the
//! damage is delivered, what was lost is counted, and no file is deleted for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::internal::journal::frame::{self, Kind, Place};
use namel3ss_safety::internal::journal::header::{
    FileHeader, FileKind, HEADER_BYTES, SEAL_AT, Seal,
};
use namel3ss_safety::internal::journal::media::{DiskFolder, Folder, MemoryFolder};
use namel3ss_safety::internal::journal::segment::{Step, Walk};
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{
    AdapterRegistry, Durability, JournalId, MemoryAdapter, NoticeKind, SafetyEventLogger, Seq,
    Timestamp, internal::codec,
};
use proptest::prelude::*;

use crate::recovery::{Recovered, recover};

/// Sealed segments, one that is not, frames in the ring that wrap, and a spill file.
pub(crate) struct Subject {
    pub(crate) folder: MemoryFolder,
    pub(crate) events: BTreeMap<u64, Vec<u8>>,
    /// Of each file: where frames lie, without their padding, and the seqs of their events.
    pub(crate) frames: BTreeMap<String, Vec<(u64, u64, u64)>>,
}

fn options() -> Options {
    Options {
        durability: Durability::Process,
        ring_bytes: 8 << 10,
        ring_bytes_max: 16 << 10,
        segment_bytes_max: 8 << 10,
    }
}

pub(crate) fn subject() -> Subject {
    let folder = MemoryFolder::default();
    let shared: Arc<dyn Folder> = Arc::new(folder.clone());
    let names = ("safety_events", &["memory://".to_owned()][..]);
    let journal = Journal::create(shared, None, JournalId::generate(), names, options()).unwrap();
    let mut events = BTreeMap::new();
    let mut append = |n: u64| {
        for _ in 0..n {
            let payload = vec![events.len() as u8; 90 + events.len() % 13];
            let seq = journal.append(&payload).unwrap();
            events.insert(seq.0, payload);
        }
    };
    for _ in 0..7 {
        append(20);
        journal.drain(Seq(0)).unwrap();
    }
    append(160);
    assert!(folder.list().unwrap().iter().any(|name| name.starts_with("spill")));
    drop(journal);
    let mut frames = BTreeMap::new();
    let mut in_ring: BTreeSet<u64> = events.keys().copied().collect();
    for name in folder.list().unwrap() {
        let file = folder.open(&name).unwrap();
        let mut block = vec![0; HEADER_BYTES];
        file.read_at(&mut block, 0).unwrap();
        let header = FileHeader::parse(&block).unwrap();
        if header.kind == FileKind::Ring {
            continue;
        }
        let size = file.size().unwrap();
        let mut walk = Walk::new(file, header.epoch, HEADER_BYTES as u64, size);
        let mut found = Vec::new();
        while let Step::Frame { header, at, .. } = walk.step().unwrap() {
            found.push((at, at + (16 + header.length) as u64, header.seq.0));
            in_ring.remove(&header.seq.0);
        }
        if header.kind == FileKind::Spill {
            let end = walk.at() as usize;
            folder.edit(&name, |bytes| bytes.truncate(end));
        }
        frames.insert(name, found);
    }
    // The ring's own, by their payloads, which tell one event from the next.
    let file = folder.open("ring.n3j").unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let found = in_ring.iter().map(|seq| {
        let at = (HEADER_BYTES..bytes.len()).step_by(8).find(|at| {
            bytes[at + 8..at + 16] == seq.to_le_bytes() && bytes[at + 16] == events[seq][0]
        });
        let at = at.expect("it is in the ring") as u64;
        (at, at + 16 + events[seq].len() as u64, *seq)
    });
    frames.insert("ring.n3j".to_owned(), found.collect());
    Subject { folder, events, frames }
}

impl Subject {
    pub(crate) fn names(&self, prefix: &str) -> Vec<&String> {
        self.frames.keys().filter(|name| name.starts_with(prefix)).collect()
    }

    fn seqs_of(&self, name: &str) -> BTreeSet<u64> {
        self.frames[name].iter().map(|(.., seq)| *seq).collect()
    }

    /// Recovers a copy that `spoil` has changed, and compares: exactly `lost` is missing, and
    /// that is said.
    fn check(&self, story: &str, lost: &BTreeSet<u64>, spoil: impl FnOnce(&MemoryFolder)) {
        let copy = self.folder.copy();
        spoil(&copy);
        let Recovered { events, missing, damage } = recover(Arc::new(copy.clone()));
        for (seq, payload) in &self.events {
            if lost.contains(seq) {
                assert_eq!(events.get(seq), None, "{story}: {seq}");
            } else {
                assert_eq!(events.get(seq), Some(payload), "{story}: {seq}, {damage:?}");
            }
        }
        // Of events behind the last that is left, nothing tells that they were there: the ring
        // remembers only what has left it.
        let last = events.keys().last().copied().unwrap_or(0);
        let known: Vec<u64> = lost.iter().copied().filter(|seq| *seq < last).collect();
        let told: Vec<u64> = missing.iter().flat_map(|(first, last)| *first..=*last).collect();
        assert_eq!(told, known, "{story}: {damage:?}");
        let unusable = damage.iter().filter(|d| !d.contains("bytes") && !d.contains("missing"));
        let unusable = unusable.filter(|d| !d.contains("cut short")).count();
        let aside = copy.list().unwrap().iter().filter(|n| n.ends_with(".damaged")).count();
        assert_eq!(aside, unusable, "{story}: {damage:?}");
    }
}

#[test]
fn a_whole_subject_has_all_that_it_should() {
    let subject = subject();
    assert!(subject.names("seg").len() > 3, "{:?}", subject.folder.list());
    assert!(subject.frames["ring.n3j"].len() > 20);
    assert!(subject.frames[subject.names("spill")[0]].len() > 5);
    subject.check("untouched", &BTreeSet::new(), |_| {});
}

#[test]
fn a_flipped_byte_costs_the_event_that_it_is_in() {
    let subject = subject();
    let mut rng = fastrand::Rng::with_seed(7);
    for (name, frames) in &subject.frames {
        let size = subject.folder.open(name).unwrap().size().unwrap();
        let ring = name == "ring.n3j";
        let mut places: Vec<u64> = (0..150).map(|_| rng.u64(0..size)).collect();
        // Where something is: headers, seals, the ring's words, and each part of some frames.
        places.extend([0, 9, 12, 20, 33, 41, 66, 69, 72, 100, 2047, 2048, 2060, 2079, 2083]);
        places.extend((3072..3144).step_by(if ring { 1 } else { 8 }));
        for (from, to, _) in frames.iter().step_by(9).chain(frames.last()) {
            places.extend([0, 2, 3, 4, 7, 8, 15, 16].map(|byte| from + byte));
            places.push(to - 1);
        }
        for at in places {
            let mut lost = BTreeSet::new();
            if at < SEAL_AT as u64 {
                lost = subject.seqs_of(name);
            } else if ring && (391 * 8..392 * 8).contains(&at) {
                // Without the check of its size, which says the size as well, a ring can't be read.
                lost = subject.seqs_of(name);
            } else if let Some((.., seq)) = frames.iter().find(|f| (f.0..f.1).contains(&at)) {
                lost.insert(*seq);
            }
            let bit = 1 << rng.u8(0..8);
            subject.check(&format!("{name}, byte {at}, bit {bit}"), &lost, |folder| {
                folder.edit(name, |bytes| bytes[at as usize] ^= bit);
            });
        }
    }
}

#[test]
fn a_segment_that_was_cut_short_costs_what_was_cut_off() {
    let subject = subject();
    for name in subject.names("seg") {
        let size = subject.folder.open(name).unwrap().size().unwrap();
        let ends = subject.frames[name].iter().flat_map(|f| [f.0, f.0 + 8, f.1 - 1, f.1]);
        let lengths = [0, 1, 100, 2047, 2048, 2090, 4095, 4096, 4100].into_iter().chain(ends);
        for length in lengths.filter(|length| *length < size) {
            let lost = match length {
                // A cut header is no header; an empty file neither.
                0..2048 => subject.seqs_of(name),
                _ => {
                    let frames = subject.frames[name].iter();
                    frames.filter(|f| f.1.next_multiple_of(8) > length).map(|f| f.2).collect()
                }
            };
            subject.check(&format!("{name}, {length} of {size} bytes"), &lost, |folder| {
                folder.edit(name, |bytes| bytes.truncate(length as usize));
            });
        }
    }
}

#[test]
fn files_may_be_missing_swapped_foreign_or_garbage() {
    let subject = subject();
    let segments = subject.names("seg");
    let none = BTreeSet::new();
    for name in &segments {
        let lost = subject.seqs_of(name);
        subject.check(&format!("{name} is missing"), &lost, |folder| {
            folder.remove(name).unwrap();
        });
        subject.check(&format!("{name} is all zero"), &lost, |folder| {
            folder.edit(name, |bytes| bytes.fill(0));
        });
        subject.check(&format!("{name} is noise"), &lost, |folder| {
            let mut rng = fastrand::Rng::with_seed(1);
            folder.edit(name, |bytes| bytes.fill_with(|| rng.u8(..)));
        });
    }
    for pair in segments.windows(2) {
        subject.check("two segments are swapped", &none, |folder| {
            folder.rename(pair[0], "tmp").unwrap();
            folder.rename(pair[1], pair[0]).unwrap();
            folder.rename("tmp", pair[1]).unwrap();
        });
        subject.check("a segment is there twice", &none, |folder| {
            let copy = folder.open(pair[0]).unwrap();
            let mut bytes = vec![0; copy.size().unwrap() as usize];
            copy.read_at(&mut bytes, 0).unwrap();
            folder.create("seg-copy.n3j", 0).unwrap().write_at(&bytes, 0).unwrap();
        });
    }
    let other = self::subject();
    let foreign = other.names("seg")[1];
    subject.check("a segment of another journal", &none, |folder| {
        let file = other.folder.open(foreign).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        folder.create(foreign, 0).unwrap().write_at(&bytes, 0).unwrap();
    });
    subject.check("files of nobody", &none, |folder| {
        folder.create("seg-empty.n3j", 0).unwrap();
        folder.create("seg-zero.n3j", 10_000).unwrap();
        folder.create("notes.txt", 0).unwrap().write_at(b"hello", 0).unwrap();
        folder.create("garbage.n3j", 0).unwrap().write_at(&[0xE5; 9000], 0).unwrap();
        folder.create("cursor-other.n3c", 0).unwrap().write_at(&[7; 1024], 0).unwrap();
    });
    let ring = subject.seqs_of("ring.n3j");
    subject.check("no ring", &ring, |folder| folder.remove("ring.n3j").unwrap());
}

/// A journal's folder is adopted, damaged as it is: what is whole arrives, what is lost is said,
/// and the damaged file is still there when the rest has been delivered and removed.
#[test]
fn a_damaged_file_outlives_the_journal_it_was_in() {
    let home = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemoryAdapter::default());
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset.clone());
    let id = JournalId::generate();
    let path = home.path().join("journal/safety_events").join(id.to_string());
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::create(&path, true).unwrap());
    use namel3ss_safety::DatasetAdapter as _;
    let names = ("safety_events", &[dataset.identity()][..]);
    let journal = Journal::create(folder.clone(), None, id, names, options()).unwrap();
    for n in 0..160 {
        let mut payload = Vec::new();
        codec::encode(&plain_event(n), &mut payload);
        journal.append(&payload).unwrap();
        journal.drain(Seq(0)).unwrap();
    }
    drop(journal);
    let mut segments: Vec<_> =
        folder.list().unwrap().into_iter().filter(|name| name.starts_with("seg")).collect();
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    let file = path.join(&segments[1]);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let build = || {
        let builder = SafetyEventLogger::builder().adapter_registry(registry.clone());
        builder.home(home.path()).no_fallback().build().unwrap()
    };
    let logger = build();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let kinds: Vec<_> = logger.notices().iter().map(|notice| notice.kind).collect();
    assert!(
        kinds.contains(&NoticeKind::Damage) && kinds.contains(&NoticeKind::Damaged),
        "{kinds:?}"
    );
    let rows = dataset.rows();
    assert!(rows.len() > 60 && rows.len() < 160, "{}", rows.len());
    assert_eq!(logger.stats().total_recovered, rows.len() as u64);
    drop(logger);
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [format!("{}.damaged", segments[1]).as_str()]);
    // It is nobody's journal any more, and no later run trips over it.
    let logger = build();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(logger.notices(), []);
    assert!(path.join(&left[0]).exists());
}

/// A cursor that can't be read began at the first event, and what had long been delivered and
/// removed was called damaged.
#[test]
fn a_damaged_cursor_sends_what_is_left_again_and_calls_nothing_lost() {
    let home = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemoryAdapter::default());
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset.clone());
    let build = |root: &std::path::Path| {
        let builder = SafetyEventLogger::builder().adapter_registry(registry.clone());
        builder.home(root).no_fallback().threads(false).journal_options(options()).build().unwrap()
    };
    let logger = build(home.path());
    let mut sent = 0;
    for _ in 0..6 {
        for _ in 0..100 {
            let _ = logger.log(&plain_event(sent));
            sent += 1;
        }
        assert!(logger.flush(None).complete);
    }
    let _ = logger.log(&plain_event(sent));
    let path = logger.journal_folder().unwrap();
    assert!(!path.join("seg-00000000000000000001").exists());
    drop(logger);
    std::fs::write(path.join("cursor-safety_events.n3c"), [7; 1024]).unwrap();
    let logger = build(home.path());
    assert!(logger.flush(None).complete);
    let notices = logger.notices();
    assert!(notices.iter().any(|notice| notice.kind == NoticeKind::Damage), "{notices:?}");
    assert!(notices.iter().all(|notice| notice.kind != NoticeKind::Damaged), "{notices:?}");
    assert_eq!(dataset.len() as u64, sent + 1);
    assert!(logger.stats().total_recovered >= 1);
}

/// A segment as an attacker would write it: a valid header and seal, and anything behind them.
fn hostile(epoch: u64, first: u64, seal: Option<Seal>, body: &[u8]) -> Vec<u8> {
    let header = FileHeader {
        kind: FileKind::Segment,
        journal: JournalId([3; 16]),
        epoch,
        first: Seq(first),
        created: Timestamp::from_micros(0),
        dataset: "safety_events".into(),
        destination: "memory://".into(),
        further: Vec::new(),
    };
    let mut bytes = header.to_block();
    if let Some(seal) = seal {
        let seal = seal.to_bytes(epoch);
        bytes[SEAL_AT..SEAL_AT + seal.len()].copy_from_slice(&seal);
    }
    bytes.extend_from_slice(body);
    bytes
}

fn survives(files: &[(&str, Vec<u8>)]) {
    let folder = MemoryFolder::default();
    for (name, bytes) in files {
        folder.create(name, 0).unwrap().write_at(bytes, 0).unwrap();
    }
    let began = Instant::now();
    // One event may be found under several hostile headers, so only bounds are checked.
    let _ = recover(Arc::new(folder));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..20_000_u64, Just(u64::MAX), Just(1 << 56), Just((1 << 56) - 1)]
}

/// Two hundred, unless a longer run asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_segments_cost_bounded_time_and_never_panic(
        first in any_u64(),
        seal in proptest::option::of((any_u64(), any_u64(), any_u64())),
        frames in proptest::collection::vec((0..5_u8, any_u64(), 0..64_usize, any::<bool>()), 0..30),
        noise in proptest::collection::vec(any::<u8>(), 0..3000),
        kind in 0..3_u8,
    ) {
        let mut body = Vec::new();
        for (kind, seq, length, broken) in frames {
            let kind = [Kind::Event, Kind::Gap, Kind::Void, Kind::Wrap, Kind::Event][usize::from(kind)];
            let place = Place { epoch: 5, position: (HEADER_BYTES + body.len()) as u64 };
            let from = body.len();
            frame::write(&mut body, kind, Seq(seq), &vec![0xff; length], place);
            if broken {
                body[from] ^= 0xff;
            }
        }
        body.extend_from_slice(&noise);
        let seal = seal.map(|(end, last, events)| Seal { end, last: Seq(last), events });
        let mut bytes = hostile(5, first, seal, &body);
        bytes[12] = kind + 1;
        // The header's check, over the kind that was just set.
        bytes[68..72].fill(0);
        let crc = crc32c(&bytes[..SEAL_AT]);
        bytes[68..72].copy_from_slice(&crc.to_le_bytes());
        let name = if kind == 0 { "ring.n3j" } else { "seg-1.n3j" };
        survives(&[(name, bytes), ("seg-2.n3j", hostile(6, 9, None, &[]))]);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    }) ^ !0
}

/// Each 8 bytes look like the beginning of a frame that goes on to the end of the file.
#[test]
fn lengths_that_overlap_cost_bounded_time() {
    let mut body = Vec::new();
    while body.len() < 4 << 20 {
        body.extend_from_slice(&(0xe50f_ffff_u64).to_le_bytes());
    }
    survives(&[("seg-1.n3j", hostile(5, 1, None, &body))]);
}
