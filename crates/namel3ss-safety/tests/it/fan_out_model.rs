//! Any sequence of logging, delivering, failing, killing and going on with three sinks: after each
//! step the equation holds for each of them and for the logger, what is pending for each can be read,
//! and in the end each sink has every event in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use namel3ss_safety::journal::media::{Folder, MemoryFolder};
use namel3ss_safety::journal::store::ReadPlace;
use namel3ss_safety::journal::{self, cursor::Cursor, recovery};
use namel3ss_safety::sink::DESTINATION_NAME;
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, Batching, DatasetAdapter, Delivery, Durability, Failure,
    JournalId, Logged, ManualClock, OverflowStrategy, SafetyEvent, SafetyEventLogger,
};
use proptest::prelude::*;

use crate::bench::{adds_up, event, fallback_rows};

const SINKS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Mood {
    Fine,
    Fails(u8),
    Dead,
    /// Every seventh event can't be stored, and is named.
    Poison,
}

#[derive(Clone, Debug)]
enum Action {
    Log(u8, u16),
    Turn(u8),
    Flush,
    Start,
    Stop,
    Mood(usize, Mood),
    Advance(u16),
    /// `kill -9`, and a new process, whose sinks may stand in another order.
    Kill(usize),
    /// The logger is dropped, and another one made.
    Reopen(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let mood = prop_oneof![
        3 => Just(Mood::Fine),
        2 => (1_u8..5).prop_map(Mood::Fails),
        3 => Just(Mood::Dead),
        1 => Just(Mood::Poison),
    ];
    let bytes = prop_oneof![4 => Just(0_u16), 1 => 0_u16..6000];
    let action = prop_oneof![
        10 => (1_u8..12, bytes).prop_map(|(count, bytes)| Action::Log(count, bytes)),
        8 => (1_u8..6).prop_map(Action::Turn),
        2 => Just(Action::Flush),
        2 => Just(Action::Start),
        1 => Just(Action::Stop),
        6 => (0..SINKS, mood).prop_map(|(sink, mood)| Action::Mood(sink, mood)),
        2 => (1_u16..20_000).prop_map(Action::Advance),
        2 => (0..SINKS).prop_map(Action::Kill),
        1 => (0..SINKS).prop_map(Action::Reopen),
    ];
    prop::collection::vec(action, 1..60)
}

type Id = (JournalId, u64);

#[derive(Debug)]
struct Model {
    identity: String,
    mood: Mutex<Mood>,
    stored: Mutex<BTreeMap<Id, u64>>,
}

impl DatasetAdapter for Model {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let number = |id: &str| id.parse::<u64>().expect("the events of this test are numbered");
        let rows: Vec<(Id, u64)> = batch
            .rows()
            .map(|row| ((row.journal, row.seq.0), number(row.event.event_id)))
            .collect();
        assert!(rows.windows(2).all(|two| two[0].0 < two[1].0), "in order");
        let mut mood = self.mood.lock().unwrap();
        let bad: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].1.is_multiple_of(7)).collect();
        match *mood {
            Mood::Dead => return Err(AdapterError::transient("reach it")),
            Mood::Fails(left) if left > 0 => {
                *mood = Mood::Fails(left - 1);
                return Err(AdapterError::new(Failure::Unknown, "store it"));
            }
            Mood::Poison if !bad.is_empty() => {
                return Err(AdapterError::new(Failure::Poison(bad), "store it"));
            }
            _ => {}
        }
        let mut stored = self.stored.lock().unwrap();
        for (id, n) in rows {
            let before = stored.insert(id, n);
            assert!(before.is_none_or(|before| before == n), "another event under {id:?}");
        }
        Ok(())
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce { condition: "in this test" }
    }

    fn batching(&self) -> Batching {
        Batching { rows_max: 20, bytes_max: 16 << 10, wait_max: Duration::ZERO }
    }
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    strategy: OverflowStrategy,
    buffer_size: usize,
    backlog: u64,
    fallback: bool,
}

fn setups() -> impl Strategy<Value = Setup> {
    let strategy = prop_oneof![
        2 => Just(OverflowStrategy::DropOldest),
        1 => Just(OverflowStrategy::DropNewest),
        1 => Just(OverflowStrategy::Block),
    ];
    let backlog = prop_oneof![Just(8 << 10), Just(64 << 10), Just(1 << 30)];
    (strategy, 1_usize..12, backlog, any::<bool>()).prop_map(
        |(strategy, buffer_size, backlog, fallback)| {
            // With `block`, a started logger without threads would wait for itself.
            let backlog = if strategy == OverflowStrategy::Block { 1 << 30 } else { backlog };
            Setup { strategy, buffer_size, backlog, fallback }
        },
    )
}

struct World {
    setup: Setup,
    datasets: [Arc<Model>; SINKS],
    clock: Arc<ManualClock>,
    root: tempfile::TempDir,
    medium: MemoryFolder,
    orphans: Vec<MemoryFolder>,
    logger: SafetyEventLogger,
    /// By the events' numbers, whether `log` kept it.
    events: Vec<bool>,
    life: u64,
    /// What each sink has dropped in all lives, by itself.
    dropped: [u64; SINKS],
    refused_in_life: u64,
}

impl World {
    fn new(setup: Setup) -> Self {
        let datasets = std::array::from_fn(|n| {
            Arc::new(Model {
                identity: format!("model:{n}"),
                mood: Mutex::new(Mood::Fine),
                stored: Mutex::default(),
            })
        });
        let (clock, medium) = (Arc::new(ManualClock::default()), MemoryFolder::default());
        let root = tempfile::tempdir().unwrap();
        let logger = open(setup, &datasets, 0, &clock, root.path(), &medium, &[]);
        Self {
            setup,
            datasets,
            clock,
            root,
            medium,
            orphans: Vec::new(),
            logger,
            events: Vec::new(),
            life: 0,
            dropped: [0; SINKS],
            refused_in_life: 0,
        }
    }

    fn end_of_life(&mut self) {
        let stats = self.logger.stats();
        for (dropped, dataset) in self.dropped.iter_mut().zip(&self.datasets) {
            let sink = stats.sinks.iter().find(|sink| sink.destination == dataset.identity);
            *dropped += sink.unwrap().dropped - self.refused_in_life;
        }
    }

    fn reopen(&mut self, turned: usize) {
        self.orphans.retain(|folder| !folder.list().unwrap().is_empty());
        self.medium = MemoryFolder::default();
        let Self { setup, datasets, clock, root, medium, orphans, .. } = self;
        self.logger = open(*setup, datasets, turned, clock, root.path(), medium, orphans);
        (self.life, self.refused_in_life) = (0, 0);
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Log(count, bytes) => {
                for _ in 0..*count {
                    let n = self.events.len() as u64;
                    let reason = (*bytes > 0).then(|| "x".repeat(usize::from(*bytes)));
                    let logged = self.logger.log(&SafetyEvent { reason, ..event(n) });
                    let kept = !matches!(logged, Logged::Dropped(_));
                    self.events.push(kept);
                    self.refused_in_life += u64::from(!kept);
                    self.life += 1;
                }
            }
            Action::Turn(times) => (0..*times).for_each(|_| _ = self.logger.turn()),
            Action::Flush => _ = self.logger.flush(Some(Duration::from_secs(5))),
            Action::Start => self.logger.start(),
            Action::Stop => _ = self.logger.stop(Some(Duration::from_secs(5))),
            Action::Mood(sink, mood) => *self.datasets[*sink].mood.lock().unwrap() = *mood,
            Action::Advance(millis) => self.clock.advance(Duration::from_millis((*millis).into())),
            Action::Kill(turned) => {
                self.end_of_life();
                // Copies first: the old logger's drop must not reach what the new one finds.
                let mut left: Vec<_> = self.orphans.iter().map(MemoryFolder::copy).collect();
                left.push(self.medium.copy());
                self.orphans = left;
                self.reopen(*turned);
            }
            Action::Reopen(turned) => {
                self.end_of_life();
                let Self { setup, datasets, clock, root, .. } = self;
                let other = MemoryFolder::default();
                self.logger = open(*setup, datasets, 0, clock, root.path(), &other, &[]);
                self.orphans.push(self.medium.clone());
                self.reopen(*turned);
            }
        }
    }

    fn check(&self) {
        let stats = self.logger.stats();
        adds_up(&stats);
        assert_eq!(stats.total_logged, self.life, "{stats:?}");
        for sink in &stats.sinks {
            assert!(stats.total_dropped >= sink.dropped, "{stats:?}");
            assert!(stats.pending + stats.total_dropped >= sink.pending, "{stats:?}");
            let own = sink.dropped - self.refused_in_life;
            if self.life > 0 {
                // What a new process would find; what was dropped since the worker's last look is
                // not written down yet.
                let readable = readable(&self.medium, &sink.destination);
                let most = sink.pending + own;
                assert!((sink.pending..=most).contains(&readable), "{readable} {stats:?}");
            }
        }
    }

    /// Mends everything, delivers everything, and looks where each event is for each sink.
    fn finish(mut self) {
        (0..SINKS).for_each(|sink| self.act(&Action::Mood(sink, Mood::Fine)));
        self.act(&Action::Advance(60_000));
        for turned in [1, 0] {
            let report = self.logger.flush(Some(Duration::from_secs(5)));
            assert!(report.complete, "{report:?} {:?}", self.logger.stats());
            assert_eq!(self.logger.stats().pending, 0);
            self.act(&Action::Reopen(turned));
        }
        for folder in &self.orphans {
            // One that was killed after its last segment went is removed when it is old.
            let left = folder.list().unwrap();
            assert!(left.iter().all(|name| name.starts_with("cursor-")), "left behind: {left:?}");
        }
        for (dataset, dropped) in self.datasets.iter().zip(self.dropped) {
            let stored = dataset.stored.lock().unwrap().clone();
            let filed = filed(&self.root.path().join("fallback"), &dataset.identity);
            let mut times = vec![0_u32; self.events.len()];
            stored.values().for_each(|n| times[*n as usize] += 1);
            for (id, n) in &filed {
                times[*n as usize] += u32::from(!stored.contains_key(id));
            }
            let mut nowhere = 0;
            for (n, (kept, times)) in self.events.iter().zip(&times).enumerate() {
                assert!(*times <= 1, "event {n} has two places");
                assert!(*kept || *times == 0, "event {n} was refused, and came");
                nowhere += u64::from(*kept && *times == 0);
            }
            assert!(nowhere <= dropped, "{nowhere} vanished, not {dropped}");
        }
    }
}

fn open(
    setup: Setup,
    datasets: &[Arc<Model>; SINKS],
    turned: usize,
    clock: &Arc<ManualClock>,
    root: &Path,
    medium: &MemoryFolder,
    orphans: &[MemoryFolder],
) -> SafetyEventLogger {
    let mut datasets = datasets.clone();
    datasets.rotate_left(turned);
    let registry = AdapterRegistry::default();
    registry.register("safety_events", datasets[0].clone());
    let builder = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .also_to(datasets[1].clone())
        .also_to(datasets[2].clone())
        .clock(clock.clone())
        .threads(false)
        .medium(Arc::new(medium.clone()))
        .left_behind(orphans.iter().map(|f| Arc::new(f.clone()) as Arc<dyn Folder>).collect())
        .overflow_strategy(setup.strategy)
        .buffer_size(setup.buffer_size)
        .backlog_limit_bytes(setup.backlog)
        .home(root)
        .journal_options(journal::Options {
            ring_bytes: 8 << 10,
            ring_bytes_max: 32 << 10,
            segment_bytes_max: 32 << 10,
            ..journal::Options::default()
        });
    // One that stands first files its rows in the folder itself, which no word in it says.
    let fallback = root.join("fallback").join(&datasets[0].identity);
    let builder = match setup.fallback {
        true => builder.fallback_path(fallback),
        false => builder.no_fallback(),
    };
    builder.build().unwrap()
}

/// The rows in the fallback files for a destination: in the folder that is called so, and in those
/// within others that say so.
fn filed(fallback: &Path, identity: &str) -> BTreeMap<Id, u64> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut rows = fallback_rows(&fallback.join(identity));
    for folder in entries(fallback).iter().flat_map(|folder| entries(folder)) {
        let said = folder.join(DESTINATION_NAME);
        if std::fs::read_to_string(&said).is_ok_and(|said| said == identity) {
            let aside = tempfile::tempdir().unwrap();
            let is_row = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
            for file in entries(&folder).into_iter().filter(is_row) {
                std::fs::copy(&file, aside.path().join(file.file_name().unwrap())).unwrap();
            }
            rows.extend(fallback_rows(aside.path()));
        }
    }
    let id = |row: &serde_json::Value| {
        let journal = row["journal_id"].as_str().unwrap().parse().unwrap();
        (journal, row["seq"].as_u64().unwrap())
    };
    let number = |row: &serde_json::Value| row["event_id"].as_str().unwrap().parse().unwrap();
    rows.iter().map(|row| (id(row), number(row))).collect()
}

/// How many events wait in a folder for a destination, as a new process would find them.
fn readable(folder: &MemoryFolder, destination: &str) -> u64 {
    let folder: Arc<dyn Folder> = Arc::new(folder.copy());
    let scan = match recovery::scan(&*folder) {
        Ok(scan) => scan,
        Err(recovery::RecoverError::Empty) => return 0,
        Err(error) => panic!("{error}"),
    };
    assert!(scan.damage.is_empty(), "{:?}", scan.damage);
    let place = scan.header.place_of(destination).expect("the header names each");
    let name = scan.header.cursor_at(place, "safety_events");
    let settled = scan.settle(&folder, Durability::Process).unwrap();
    let acked = Cursor::open(&*folder, &name).unwrap().state().acked;
    let (store, mut seqs) = (settled.store, BTreeSet::new());
    let mut take = |seq: namel3ss_safety::Seq, _: &[u8]| seqs.insert(seq.0);
    let report = store.read(&mut ReadPlace::default(), acked.next(), store.last(), &mut take);
    let report = report.unwrap();
    assert_eq!((report.missing, report.damage), (vec![], vec![]));
    seqs.len() as u64
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_sink_ends_with_every_event_in_one_place(setup in setups(), actions in actions()) {
        // The library's own randomness, so that a failure can be made smaller.
        fastrand::seed(7);
        let mut world = World::new(setup);
        for action in &actions {
            world.act(action);
            world.check();
        }
        world.finish();
    }
}
