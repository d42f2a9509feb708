//! Journals that end at any point, are recovered, and end again while they are: by kill, by power
//! cut, by a disk that lies about its syncs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::internal::journal::cursor::Cursor;
use namel3ss_safety::internal::journal::frame::{self, Kind, Place};
use namel3ss_safety::internal::journal::header::{FileHeader, FileKind};
use namel3ss_safety::internal::journal::media::{Fault, Folder, MemoryFolder};
use namel3ss_safety::internal::journal::recovery::{self, RecoverError};
use namel3ss_safety::internal::journal::store::ReadPlace;
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, Durability, JournalId, Level,
    Logged, SafetyEventLogger, Seq, Timestamp,
    internal::{codec, notice::Notices},
};

use crate::scripted_folder::{Decide, Decided};

/// What a journal's folder gives after its process is gone.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) events: BTreeMap<u64, Vec<u8>>,
    pub(crate) missing: Vec<(u64, u64)>,
    pub(crate) damage: Vec<String>,
}

/// Brings a folder to rest and reads all of it, each event once and in order.
pub(crate) fn recover(folder: Arc<dyn Folder>) -> Recovered {
    let mut recovered = Recovered::default();
    let scan = match recovery::scan(&*folder) {
        Ok(scan) => scan,
        Err(RecoverError::Empty) => return recovered,
        Err(error) => panic!("{error}"),
    };
    let settled = scan.settle(&folder, Durability::Process).expect("a healthy folder");
    let store = settled.store;
    let shown = |damage: namel3ss_safety::internal::journal::store::Damage| {
        format!("{}: {}", damage.file, damage.what)
    };
    recovered.damage.extend(settled.damage.into_iter().map(shown));
    let (mut place, mut from, last) = (ReadPlace::default(), Seq(1), store.last());
    while from <= last {
        let mut taken = 0;
        let report = store
            .read(&mut place, from, last, &mut |seq, payload| {
                // In batches, as a worker does.
                taken += 1;
                if taken <= 100 {
                    let twice = recovered.events.insert(seq.0, payload.to_vec());
                    assert_eq!(twice, None, "seq {seq} is given twice");
                }
                taken <= 100
            })
            .expect("a healthy folder");
        recovered.damage.extend(report.damage.into_iter().map(shown));
        recovered.missing.extend(report.missing.into_iter().map(|(a, b)| (a.0, b.0)));
        assert!(report.through >= from, "reading goes on: {from} of {last}");
        from = report.through.next();
    }
    recovered
}

/// The journals' folders under a home.
pub(crate) fn journals(home: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(home.join("journal/safety_events")) else {
        return Vec::new();
    };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn small(rng: &mut fastrand::Rng, durability: Durability) -> Options {
    Options {
        durability,
        ring_bytes: 8 << 10,
        ring_bytes_max: (8 << 10) << rng.u32(0..3),
        segment_bytes_max: (8 << 10) << rng.u32(0..3),
    }
}

fn journal(folder: &Arc<dyn Folder>, options: Options) -> Journal {
    let names = ("safety_events", &["memory://".to_owned()][..]);
    Journal::create(folder.clone(), None, JournalId::generate(), names, options).expect("a folder")
}

fn payload(rng: &mut fastrand::Rng, n: u64) -> Vec<u8> {
    let length = [0, 3, 100, 800, 9000][rng.usize(0..5)];
    let mut payload = format!("event {n} ").into_bytes();
    payload.resize(payload.len() + length, b'x');
    payload
}

/// A process that ends after so many changes: the next one is done by half, and none after.
#[derive(Debug)]
struct Dying {
    left: AtomicI64,
}

impl Dying {
    fn after(changes: i64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(changes) })
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is gone")
}

impl Decide for Dying {
    fn change(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(dead()) }
    }

    fn write(&self, bytes: usize) -> (usize, io::Result<()>) {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            1.. => (bytes, Ok(())),
            0 => (bytes / 2, Err(dead())),
            _ => (0, Err(dead())),
        }
    }
}

/// Appends and drains at random on `folder`, until the end comes; gives what was appended.
fn scribble(
    rng: &mut fastrand::Rng,
    journal: &Journal,
    sent: &mut BTreeMap<u64, Vec<u8>>,
    steps: u32,
) {
    for _ in 0..steps {
        match rng.u8(0..20) {
            0 => {
                let _ = journal.drain(Seq(0));
            }
            1 if rng.u8(0..10) == 0 => {
                let _ = journal.sync();
            }
            _ => {
                let payload = payload(rng, sent.len() as u64);
                if let Ok(seq) = journal.append(&payload) {
                    sent.insert(seq.0, payload);
                }
            }
        }
    }
}

/// Everything that was appended is there, and nothing is called lost.
fn whole(recovered: &Recovered, sent: &BTreeMap<u64, Vec<u8>>, story: &str) {
    for (seq, payload) in sent {
        assert_eq!(recovered.events.get(seq), Some(payload), "{story}: {seq}");
    }
    assert_eq!(recovered.events.len(), sent.len(), "{story}");
    assert_eq!(recovered.missing, [], "{story}: {:?}", recovered.damage);
    assert_eq!(recovered.damage, [""; 0], "{story}");
}

#[test]
fn a_journal_that_ends_at_any_change_keeps_all_that_was_appended() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let memory = MemoryFolder::default();
        let dying = Dying::after(i64::MAX);
        let folder = Decided::folder(&memory, &dying);
        let journal = journal(&folder, small(&mut rng, Durability::Process));
        dying.left.store(rng.i64(0..60), Ordering::SeqCst);
        let mut sent = BTreeMap::new();
        scribble(&mut rng, &journal, &mut sent, 400);
        drop(journal);
        whole(&recover(Arc::new(memory.copy())), &sent, &format!("seed {seed}"));
    }
}

#[test]
fn a_recovery_that_ends_at_any_change_can_be_begun_again() {
    // A kill between making a segment and its first frame left an empty segment; the next recovery
    // made another with the same first seq, and a reader that met the empty one went no further.
    for seed in 0..5 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let memory = MemoryFolder::default();
        let folder: Arc<dyn Folder> = Arc::new(memory.clone());
        let journal = journal(&folder, small(&mut rng, Durability::Process));
        let mut sent = BTreeMap::new();
        let steps = rng.u32(1..600);
        scribble(&mut rng, &journal, &mut sent, steps);
        drop(journal);
        for changes in 0.. {
            let copy = memory.copy();
            // Killed twice in a row, the second time a little later or sooner.
            let mut done = false;
            for changes in [changes, rng.i64(0..=changes)] {
                let dying = Decided::folder(&copy, &Dying::after(changes));
                let scan = recovery::scan(&*dying).expect("reading changes nothing");
                done |= scan.settle(&dying, Durability::Power).is_ok();
            }
            let story = format!("seed {seed}, after {changes} changes");
            whole(&recover(Arc::new(copy)), &sent, &story);
            if done {
                break;
            }
        }
    }
}

#[test]
fn what_a_sync_confirmed_survives_a_power_cut() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let memory = MemoryFolder::default();
        let folder: Arc<dyn Folder> = Arc::new(memory.clone());
        let journal = journal(&folder, small(&mut rng, Durability::Power));
        let mut sent = BTreeMap::new();
        let mut confirmed = Seq(0);
        for _ in 0..rng.u32(1..6) {
            let steps = rng.u32(0..200);
            scribble(&mut rng, &journal, &mut sent, steps);
            if rng.bool() {
                memory.set_fault(rng.bool().then_some(Fault::SyncFails));
                confirmed = confirmed.max(journal.sync().unwrap_or_default());
                memory.set_fault(None);
            }
            if rng.bool() {
                confirmed = confirmed.max(journal.sync().unwrap_or_default());
            }
        }
        confirmed = confirmed.max(journal.synced());
        drop(journal);
        let keep = rng.u8(0..=4);
        memory.power_cut(|| rng.u8(0..4) < keep);
        let recovered = recover(Arc::new(memory.clone()));
        let story = format!("seed {seed}, {confirmed} of {} confirmed", sent.len());
        for (seq, payload) in &recovered.events {
            assert_eq!(sent.get(seq), Some(payload), "{story}");
        }
        for seq in sent.keys().filter(|seq| **seq <= confirmed.0) {
            assert!(recovered.events.contains_key(seq), "{story}: {seq} is missing");
        }
        for (first, last) in &recovered.missing {
            assert!(*first > confirmed.0, "{story}: {first} to {last} are called missing");
        }
    }
}

/// What happens while a file is being synced, once.
#[derive(Default)]
struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Decide for Meanwhile {
    fn synced(&self) {
        let happens = self.0.lock().expect("no test panics in it").take();
        if let Some(happens) = happens {
            happens();
        }
    }
}

/// A sync took everything that was written or made while it ran for covered: a segment that was
/// finished meanwhile was never synced, one that was made meanwhile had its name lost, and the next
/// sync confirmed their events all the same.
#[test]
fn a_sync_covers_only_what_was_there_when_it_began() {
    for frames in [1_u64, 5, 40, 200] {
        let memory = MemoryFolder::default();
        let meanwhile = Arc::new(Meanwhile::default());
        let folder = Decided::folder(&memory, &meanwhile);
        let options = Options {
            durability: Durability::Power,
            segment_bytes_max: 16 << 10,
            ..Options::default()
        };
        let journal = Arc::new(journal(&folder, options));
        journal.append(&[1; 500]).unwrap();
        let logging = journal.clone();
        *meanwhile.0.lock().unwrap() = Some(Box::new(move || {
            for _ in 0..frames {
                logging.append(&[2; 500]).unwrap();
            }
            logging.drain(Seq(0)).unwrap();
        }));
        assert_eq!(journal.sync().unwrap(), Seq(1));
        let confirmed = journal.sync().unwrap();
        assert_eq!(confirmed, Seq(frames + 1));
        drop(journal);
        memory.power_cut(|| false);
        let recovered = recover(Arc::new(memory));
        assert_eq!(recovered.events.len() as u64, confirmed.0, "{:?}", recovered.missing);
    }
}

/// A sync failed, and the disk was too full to write the unconfirmed frames anew. The next sync
/// asked the same files again, and the kernel, which had dropped the pages, said ok.
#[test]
fn a_failed_sync_is_not_repeated_when_its_frames_could_not_be_rewritten() {
    let memory = MemoryFolder::default();
    let folder: Arc<dyn Folder> = Arc::new(memory.clone());
    let dying = Dying::after(i64::MAX);
    let options = Options { durability: Durability::Power, ..Options::default() };
    let journal = journal(&Decided::folder(&memory, &dying), options);
    for n in 0..10 {
        journal.append(&[n; 100]).unwrap();
    }
    journal.drain(Seq(0)).unwrap();
    memory.set_fault(Some(Fault::SyncFails));
    // The sync is allowed, and fails by itself; what comes after it is not.
    dying.left.store(1, Ordering::SeqCst);
    journal.sync().unwrap_err();
    memory.set_fault(None);
    dying.left.store(i64::MAX, Ordering::SeqCst);
    let confirmed = journal.sync().unwrap();
    drop(journal);
    memory.power_cut(|| false);
    assert_eq!(recover(folder).events.len() as u64, confirmed.0);
}

/// Loggers come and go while others look for orphans. One that had made its folder and not locked
/// it yet went on without a lock, and was adopted alive; adopters that met complained.
#[test]
fn loggers_that_begin_end_and_adopt_at_once_deliver_each_event_once() {
    const ROUNDS: u64 = 60;
    const MAKERS: u64 = 3;
    let home = tempfile::tempdir().unwrap();
    let inserts: Arc<Mutex<Vec<(JournalId, u64)>>> = Arc::default();
    let registry = AdapterRegistry::default();
    registry.register("safety_events", Arc::new(Counting(inserts.clone())));
    let notices = Arc::new(Notices::default());
    let build = || {
        let builder = SafetyEventLogger::builder().adapter_registry(registry.clone());
        let builder = builder.home(home.path()).no_fallback().threads(false);
        builder.notices(notices.clone()).build().unwrap()
    };
    let making = AtomicI64::new(MAKERS as i64);
    std::thread::scope(|scope| {
        for _ in 0..MAKERS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    // Ends without a flush, so that it is an orphan.
                    let logger = build();
                    for n in 0..round % 4 + 1 {
                        let logged = logger.log(&plain_event(n));
                        assert!(matches!(logged, Logged::Journaled(_)), "{logged:?}");
                    }
                }
                making.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                while making.load(Ordering::SeqCst) > 0 {
                    assert!(build().flush(None).complete);
                }
            });
        }
    });
    assert!(build().flush(None).complete);
    let said: Vec<_> = notices.take().into_iter().filter(|n| n.level >= Level::Warning).collect();
    assert_eq!(said, []);
    let mut rows = inserts.lock().unwrap().clone();
    let sent = rows.len() as u64;
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len() as u64, sent, "an event was sent twice");
    assert_eq!(sent, MAKERS * (0..ROUNDS).map(|round| round % 4 + 1).sum::<u64>());
    assert_eq!(journals(home.path()), [""; 0]);
}

/// Takes everything, and remembers what came, twice if it came twice.
#[derive(Debug)]
struct Counting(Arc<Mutex<Vec<(JournalId, u64)>>>);

impl DatasetAdapter for Counting {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let rows = batch.rows().map(|row| (row.journal, row.seq.0));
        self.0.lock().expect("no test panics in it").extend(rows);
        Ok(())
    }

    fn identity(&self) -> String {
        "counting".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// A batch that was frozen before a crash was cut anew after it, when seqs that hold no event stood
/// before its first row: an object store, whose key is the batch, then had its rows twice.
#[test]
fn a_frozen_batch_is_sent_as_it_was_though_voids_stand_before_it() {
    let memory = MemoryFolder::default();
    let header = FileHeader {
        kind: FileKind::Segment,
        journal: JournalId::generate(),
        epoch: 5,
        first: Seq(1),
        created: Timestamp::from_micros(0),
        dataset: "safety_events".into(),
        destination: "batches".into(),
        further: Vec::new(),
    };
    let mut bytes = header.to_block();
    for seq in (3..=12).chain([2]) {
        let place = Place { epoch: 5, position: bytes.len() as u64 };
        let mut payload = Vec::new();
        if seq == 2 {
            frame::write(&mut bytes, Kind::Gap, Seq(12), &[0; 40], place);
        } else if seq == 3 {
            frame::write(&mut bytes, Kind::Void, Seq(1), &3_u64.to_le_bytes(), place);
        } else {
            codec::encode(&plain_event(seq), &mut payload);
            frame::write(&mut bytes, Kind::Event, Seq(seq), &payload, place);
        }
    }
    memory.create("seg-1.n3j", 0).unwrap().write_at(&bytes, 0).unwrap();
    let cursor = Cursor::open(&memory, "safety_events").unwrap();
    cursor.save(|state| state.frozen = (Seq(4), Seq(6))).unwrap();
    let ids: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let registry = AdapterRegistry::default();
    registry.register("safety_events", Arc::new(Batches(ids.clone())));
    let builder = SafetyEventLogger::builder().adapter_registry(registry).no_fallback();
    let builder = builder.medium(Arc::new(MemoryFolder::default()));
    let logger = builder.left_behind(vec![Arc::new(memory)]).threads(false).build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!(*ids.lock().unwrap(), [(4, 6), (7, 12)]);
}

#[derive(Debug)]
struct Batches(Arc<Mutex<Vec<(u64, u64)>>>);

impl DatasetAdapter for Batches {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.0.lock().expect("no panics").push((batch.id().first.0, batch.id().last.0));
        Ok(())
    }

    fn identity(&self) -> String {
        "batches".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}
