//! Any sequence of logging, delivering, failing, crashing and going on, with one sink or several:
//! after each step the equation holds for each of them and for the logger, what is pending for each
//! can really be read, and in the end each sink has every event in exactly one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use namel3ss_safety::SinkStats;
use namel3ss_safety::internal::journal::cursor::Cursor;
use namel3ss_safety::internal::journal::media::{Fault, Folder, MemoryFolder};
use namel3ss_safety::internal::journal::store::ReadPlace;
use namel3ss_safety::internal::journal::{self, recovery};
use namel3ss_safety::internal::sink::DESTINATION_NAME;
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, Batching, DatasetAdapter, Delivery, DropReason,
    Durability, Failure, JournalId, Logged, OverflowStrategy, RowBuffer, SafetyEvent,
    SafetyEventLogger, Seq, internal::clock::ManualClock,
};
use proptest::prelude::*;

use crate::support::{adds_up, event, fallback_rows};

/// The name of the first sink.
const SINK: &str = "safety_events";

/// What a dataset does.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Fine,
    Fails(u8),
    Dead,
    Throttled(u8),
    Config,
    Panics(u8),
    /// Every seventh event can't be stored, and is named.
    Poison,
    /// As before, but the adapter can't tell which.
    Picky,
}

#[derive(Clone, Debug)]
enum Action {
    Log {
        count: u8,
        bytes: u16,
    },
    Turn(u8),
    Flush,
    Start,
    Stop,
    Sync,
    /// Of one of the datasets.
    Mood(usize, Mood),
    FallbackBreaks(bool),
    Fault(Option<Fault>),
    Advance(u16),
    Jump(i32),
    /// `kill -9`, and a new process, whose sinks may stand in another order.
    Kill(usize),
    /// The logger is dropped, and another one made.
    Reopen(usize),
    PowerCut(u64),
}

fn actions(sinks: usize) -> impl Strategy<Value = Vec<Action>> {
    let mood = prop_oneof![
        3 => Just(Mood::Fine),
        2 => (1_u8..5).prop_map(Mood::Fails),
        2 => Just(Mood::Dead),
        1 => (1_u8..4).prop_map(Mood::Throttled),
        1 => Just(Mood::Config),
        1 => (1_u8..4).prop_map(Mood::Panics),
        2 => Just(Mood::Poison),
        1 => Just(Mood::Picky),
    ];
    let fault = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::Full)),
        1 => Just(Some(Fault::WriteFails)),
        1 => Just(Some(Fault::SyncFails)),
        1 => Just(Some(Fault::OpenFails)),
    ];
    let action = prop_oneof![
        10 => (1_u8..12, prop_oneof![4 => Just(0_u16), 1 => 0_u16..6000])
            .prop_map(|(count, bytes)| Action::Log { count, bytes }),
        8 => (1_u8..6).prop_map(Action::Turn),
        2 => Just(Action::Flush),
        2 => Just(Action::Start),
        1 => Just(Action::Stop),
        1 => Just(Action::Sync),
        2 + sinks as u32 => (0..sinks, mood).prop_map(|(sink, mood)| Action::Mood(sink, mood)),
        1 => any::<bool>().prop_map(Action::FallbackBreaks),
        2 => fault.prop_map(Action::Fault),
        2 => (1_u16..20_000).prop_map(Action::Advance),
        1 => any::<i32>().prop_map(Action::Jump),
        2 => (0..sinks).prop_map(Action::Kill),
        1 => (0..sinks).prop_map(Action::Reopen),
        1 => any::<u64>().prop_map(Action::PowerCut),
    ];
    prop::collection::vec(action, 1..60)
}

type Id = (JournalId, u64);

#[derive(Debug)]
struct Model {
    identity: String,
    mood: Mutex<Mood>,
    stored: Mutex<BTreeMap<Id, u64>>,
    /// Rows that came while they were in a fallback file: replayed.
    replayed: Mutex<BTreeSet<Id>>,
    /// The folder that all fallback folders are in.
    fallback: PathBuf,
}

fn number(id: &str) -> u64 {
    id.parse().expect("the events of this test are numbered")
}

/// The rows in the fallback files for a destination, and those of them that are there more than
/// once: files in the folder that is called so, and in those within others that say so.
fn filed(fallback: &Path, identity: &str) -> (BTreeMap<Id, u64>, BTreeSet<Id>) {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let says = |folder: &PathBuf| {
        std::fs::read_to_string(folder.join(DESTINATION_NAME)).is_ok_and(|said| said == identity)
    };
    let within = entries(fallback).into_iter().flat_map(|folder| entries(&folder)).filter(says);
    let folders: Vec<PathBuf> = within.chain([fallback.join(identity)]).collect();
    let (mut filed, mut twice) = (BTreeMap::new(), BTreeSet::new());
    for row in folders.iter().flat_map(|folder| fallback_rows(folder)) {
        let journal = row["journal_id"].as_str().unwrap().parse().unwrap();
        let id = (journal, row["seq"].as_u64().unwrap());
        let n = number(row["event_id"].as_str().unwrap());
        if filed.insert(id, n).is_some() {
            twice.insert(id);
        }
    }
    (filed, twice)
}

impl DatasetAdapter for Model {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let rows: Vec<(Id, u64)> = batch
            .rows()
            .map(|row| ((row.journal, row.seq.0), number(row.event.event_id)))
            .collect();
        assert!(rows.windows(2).all(|two| two[0].0 < two[1].0), "in order");
        let mut mood = self.mood.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bad: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].1.is_multiple_of(7)).collect();
        let fail = |failure| Err(AdapterError::new(failure, "do it"));
        match *mood {
            Mood::Dead => return fail(Failure::Transient),
            Mood::Config => return fail(Failure::Config),
            Mood::Fails(left) if left > 0 => {
                *mood = Mood::Fails(left - 1);
                return fail(Failure::Unknown);
            }
            Mood::Throttled(left) if left > 0 => {
                *mood = Mood::Throttled(left - 1);
                return fail(Failure::Throttled(Some(Duration::from_secs(5))));
            }
            Mood::Panics(left) if left > 0 => {
                *mood = Mood::Panics(left - 1);
                drop(mood);
                std::panic::resume_unwind(Box::new("quiet"));
            }
            Mood::Poison if !bad.is_empty() => return fail(Failure::Poison(bad)),
            Mood::Picky if !bad.is_empty() => return fail(Failure::Unknown),
            _ => {}
        }
        let (filed, _) = filed(&self.fallback, &self.identity);
        let mut stored = self.stored.lock().unwrap();
        for (id, n) in rows {
            if filed.contains_key(&id) {
                self.replayed.lock().unwrap().insert(id);
            }
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
    sinks: usize,
    strategy: OverflowStrategy,
    durability: Durability,
    buffer_size: usize,
    backlog: u64,
    fallback: bool,
    autostart: bool,
}

fn setups(sinks: usize) -> impl Strategy<Value = Setup> {
    let strategy = prop_oneof![
        Just(OverflowStrategy::DropOldest),
        Just(OverflowStrategy::DropNewest),
        Just(OverflowStrategy::Block),
    ];
    let durability = prop_oneof![Just(Durability::Process), Just(Durability::Power)];
    let backlog = prop_oneof![Just(8 << 10), Just(64 << 10), Just(1 << 30)];
    (strategy, durability, 1_usize..12, backlog, any::<bool>(), any::<bool>()).prop_map(
        move |(strategy, durability, buffer_size, backlog, fallback, autostart)| {
            // With `block`, a started logger without threads would wait for itself.
            let backlog = if strategy == OverflowStrategy::Block { 1 << 30 } else { backlog };
            Setup { sinks, strategy, durability, buffer_size, backlog, fallback, autostart }
        },
    )
}

/// Where an event must be in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Somewhere.
    Yes,
    /// It was in memory, or not synced, when the process or the power went: anywhere or nowhere.
    Perhaps,
    /// `log` said that it was dropped: nowhere.
    No,
}

/// A sink's dataset, and what is known of its rows.
struct Sink {
    dataset: Arc<Model>,
    /// Rows that were in a file, and not settled, at a kill: bad rows of a batch are filed
    /// together, while good rows between them may still be on their way.
    filed_ahead: BTreeSet<Id>,
    /// The most events that `drop_oldest` has taken, in all lives.
    dropped_oldest: u64,
}

struct World {
    setup: Setup,
    sinks: Vec<Sink>,
    clock: Arc<ManualClock>,
    root: tempfile::TempDir,
    medium: MemoryFolder,
    orphans: Vec<MemoryFolder>,
    logger: SafetyEventLogger,
    /// By the events' numbers.
    events: Vec<Kept>,
    /// Events of this life, with what `log` said.
    life: Vec<(usize, Logged)>,
    synced: Seq,
    fault: Option<Fault>,
    /// Writes have failed in this life, so that the cursor's file may be behind.
    writes_failed: bool,
    /// A batch may come twice: after a crash with a cursor that could not be written.
    may_repeat: bool,
    /// Files may be torn beyond recognition.
    was_cut: bool,
}

impl World {
    fn new(setup: Setup) -> Self {
        let root = tempfile::tempdir().unwrap();
        let sink = |n| Sink {
            dataset: Arc::new(Model {
                identity: format!("model:{n}"),
                mood: Mutex::new(Mood::Fine),
                stored: Mutex::default(),
                replayed: Mutex::default(),
                fallback: root.path().join("fallback"),
            }),
            filed_ahead: BTreeSet::new(),
            dropped_oldest: 0,
        };
        let sinks: Vec<Sink> = (0..setup.sinks).map(sink).collect();
        let (clock, medium) = (Arc::new(ManualClock::default()), MemoryFolder::default());
        let logger = open(setup, &sinks, 0, &clock, &medium, &[]);
        Self {
            setup,
            sinks,
            clock,
            root,
            medium,
            orphans: Vec::new(),
            logger,
            events: Vec::new(),
            life: Vec::new(),
            synced: Seq(0),
            fault: None,
            writes_failed: false,
            may_repeat: false,
            was_cut: false,
        }
    }

    /// Opens the next life on what is left, with its sinks in another order.
    fn reopen(&mut self, turned: usize) {
        self.orphans.retain(|folder| !folder.list().unwrap().is_empty());
        self.orphans.iter().for_each(|folder| folder.set_fault(self.fault));
        self.medium = MemoryFolder::default();
        self.medium.set_fault(self.fault);
        let Self { setup, sinks, clock, medium, orphans, .. } = self;
        self.logger = open(*setup, sinks, turned, clock, medium, orphans);
        self.life.clear();
        self.synced = Seq(0);
        self.writes_failed = self.fault == Some(Fault::WriteFails);
    }

    fn end_of_life(&mut self) {
        let (stats, refused) = (self.logger.stats(), self.refused());
        for sink in &mut self.sinks {
            let of_sink = |now: &&SinkStats| now.destination == sink.dataset.identity;
            let now = stats.sinks.iter().find(of_sink).expect("each is counted");
            sink.dropped_oldest += now.dropped - refused;
        }
        for (n, logged) in &self.life {
            if matches!(logged, Logged::Buffered(_)) {
                self.events[*n] = Kept::Perhaps;
            }
        }
        self.may_repeat |= self.writes_failed;
    }

    /// How many events of this life `log` dropped at once.
    fn refused(&self) -> u64 {
        self.life.iter().filter(|(_, logged)| matches!(logged, Logged::Dropped(_))).count() as u64
    }

    fn kill(&mut self, turned: usize) {
        self.end_of_life();
        // Copies first: the old logger's drop must not reach what the new one finds.
        let mut left: Vec<MemoryFolder> = self.orphans.iter().map(MemoryFolder::copy).collect();
        left.push(self.medium.copy());
        self.orphans = left;
        self.note_filed_ahead();
        self.reopen(turned);
    }

    fn note_filed_ahead(&mut self) {
        for Sink { dataset, filed_ahead, .. } in &mut self.sinks {
            let (filed, _) = filed(&dataset.fallback, &dataset.identity);
            for scan in self.orphans.iter().filter_map(|folder| recovery::scan(folder).ok()) {
                let place = scan.header.place_of(&dataset.identity).expect("it names each");
                let cursor = scan.cursors.get(&scan.header.cursor_at(place, SINK));
                let acked = cursor.map_or(0, |state| state.acked.0);
                let ahead = |id: &&Id| id.0 == scan.header.journal && id.1 > acked;
                filed_ahead.extend(filed.keys().filter(ahead));
            }
        }
    }

    fn power_cut(&mut self, mut random: u64) {
        self.end_of_life();
        // Not even its destructor runs.
        std::mem::forget(std::mem::replace(
            &mut self.logger,
            open(self.setup, &self.sinks, 0, &self.clock, &MemoryFolder::default(), &[]),
        ));
        let mut keep = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 63 == 0
        };
        self.orphans.push(self.medium.clone());
        self.orphans.iter().for_each(|folder| folder.power_cut(&mut keep));
        for (n, logged) in &self.life {
            if let Logged::Journaled(seq) = logged
                && *seq > self.synced
            {
                self.events[*n] = Kept::Perhaps;
            }
        }
        // What earlier lives left was perhaps never synced, and a cursor never is.
        let earlier = self.events.len() - self.life.len();
        for kept in &mut self.events[..earlier] {
            *kept = if *kept == Kept::Yes { Kept::Perhaps } else { *kept };
        }
        self.may_repeat = true;
        self.was_cut = true;
        self.reopen(0);
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Log { count, bytes } => {
                for _ in 0..*count {
                    let n = self.events.len();
                    let reason = (*bytes > 0).then(|| "x".repeat(usize::from(*bytes)));
                    let logged = self.logger.log(&SafetyEvent { reason, ..event(n as u64) });
                    self.events.push(match logged {
                        Logged::Dropped(_) => Kept::No,
                        _ => Kept::Yes,
                    });
                    self.life.push((n, logged));
                }
            }
            Action::Turn(times) => (0..*times).for_each(|_| _ = self.logger.turn()),
            Action::Flush => {
                let start = Instant::now();
                let report = self.logger.flush(Some(Duration::from_secs(5)));
                assert!(
                    start.elapsed() < Duration::from_secs(4),
                    "it waits for nothing: {report:?}"
                );
                let stats = self.logger.stats();
                assert_eq!(report.pending, stats.pending + stats.recovering);
                if report.complete {
                    assert_eq!(stats.pending, 0);
                }
            }
            Action::Start => self.logger.start(),
            Action::Stop => _ = self.logger.stop(Some(Duration::from_secs(5))),
            Action::Sync => {
                if let Ok(seq) = self.logger.sync() {
                    self.synced = seq;
                }
            }
            Action::Mood(sink, mood) => {
                let mut now = self.sinks[*sink].dataset.mood.lock();
                **now.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut()) = *mood;
            }
            Action::FallbackBreaks(breaks) => self.break_fallback(*breaks),
            // With `block` a full journal is waited for, here for ever.
            Action::Fault(Some(fault))
                if self.setup.strategy == OverflowStrategy::Block && *fault != Fault::SyncFails => {
            }
            Action::Fault(fault) => {
                self.fault = *fault;
                self.writes_failed |= *fault == Some(Fault::WriteFails);
                self.medium.set_fault(*fault);
                self.orphans.iter().for_each(|folder| folder.set_fault(*fault));
            }
            Action::Advance(millis) => self.clock.advance(Duration::from_millis((*millis).into())),
            Action::Jump(micros) => self.clock.jump_wall(i64::from(*micros) * 1000),
            Action::Kill(turned) => self.kill(*turned),
            Action::Reopen(turned) => {
                self.end_of_life();
                let other = MemoryFolder::default();
                self.logger = open(self.setup, &self.sinks, 0, &self.clock, &other, &[]);
                self.orphans.push(self.medium.clone());
                self.note_filed_ahead();
                self.reopen(*turned);
            }
            Action::PowerCut(random) => self.power_cut(*random),
        }
    }

    fn break_fallback(&mut self, breaks: bool) {
        let (path, away) = (self.root.path().join("fallback"), self.root.path().join("away"));
        let is_broken = path.is_file();
        if breaks && !is_broken {
            if path.exists() {
                std::fs::rename(&path, &away).unwrap();
            }
            std::fs::write(&path, "in the way").unwrap();
        } else if !breaks && is_broken {
            std::fs::remove_file(&path).unwrap();
            if away.exists() {
                std::fs::rename(&away, &path).unwrap();
            }
        }
    }

    fn check(&self) {
        let stats = self.logger.stats();
        adds_up(&stats);
        assert_eq!(stats.total_logged, self.life.len() as u64, "{stats:?}");
        let refused = self.refused();
        let oldest = stats.dropped.of(DropReason::DropOldest);
        assert_eq!(stats.total_dropped, refused + oldest, "{stats:?}");
        for sink in &stats.sinks {
            assert!(stats.total_dropped >= sink.dropped, "{stats:?}");
            assert!(stats.pending + stats.total_dropped >= sink.pending, "{stats:?}");
        }
        let buffered = self.life.iter().any(|(_, logged)| matches!(logged, Logged::Buffered(_)));
        if buffered || self.writes_failed || self.life.is_empty() {
            return;
        }
        let accepted: BTreeMap<u64, u64> = self
            .life
            .iter()
            .filter_map(|(n, logged)| match logged {
                Logged::Journaled(seq) => Some((seq.0, *n as u64)),
                _ => None,
            })
            .collect();
        for sink in &stats.sinks {
            // What a new process would find; what was dropped since the last look of the worker is
            // not written down yet.
            let readable = readable(&self.medium, &sink.destination);
            let (count, most) = (readable.len() as u64, sink.pending + sink.dropped - refused);
            assert!((sink.pending..=most).contains(&count), "{count} can be read: {stats:?}");
            for (seq, n) in &readable {
                assert_eq!(accepted.get(seq), Some(n), "seq {seq} holds another event");
            }
        }
    }

    /// Mends everything, delivers everything, and looks where each event is.
    fn finish(mut self) {
        self.act(&Action::Fault(None));
        (0..self.sinks.len()).for_each(|sink| self.act(&Action::Mood(sink, Mood::Fine)));
        self.act(&Action::FallbackBreaks(false));
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
            let settled = left.iter().all(|name| name.starts_with("cursor-"));
            assert!(settled || self.was_cut, "left behind: {left:?}");
        }
        self.sinks.iter().for_each(|sink| self.check_places(sink));
    }

    /// Looks where each event is for a sink.
    fn check_places(&self, sink: &Sink) {
        let Sink { dataset, filed_ahead: ahead, dropped_oldest } = sink;
        let stored = dataset.stored.lock().unwrap().clone();
        let (filed, twice) = filed(&dataset.fallback, &dataset.identity);
        assert!(self.may_repeat || twice.is_subset(ahead), "filed twice: {twice:?}");
        let replayed = dataset.replayed.lock().unwrap().clone();
        let mut times = vec![0_u32; self.events.len()];
        for (id, n) in &stored {
            times[*n as usize] += 1;
            assert!(
                self.may_repeat
                    || replayed.contains(id)
                    || ahead.contains(id)
                    || !filed.contains_key(id),
                "event {n} is in the dataset and in a file"
            );
        }
        for (id, n) in &filed {
            times[*n as usize] += u32::from(!stored.contains_key(id));
        }
        let mut nowhere = 0;
        for (n, (kept, times)) in self.events.iter().zip(&times).enumerate() {
            assert!(*times <= 1, "event {n} has two places");
            match kept {
                Kept::No => assert_eq!(*times, 0, "event {n} was dropped, and came"),
                Kept::Yes => nowhere += u64::from(*times == 0),
                Kept::Perhaps => {}
            }
        }
        assert!(nowhere <= *dropped_oldest, "{nowhere} vanished, not {dropped_oldest}");
    }
}

/// A logger whose sinks begin with the one at `turned`.
fn open(
    setup: Setup,
    sinks: &[Sink],
    turned: usize,
    clock: &Arc<ManualClock>,
    medium: &MemoryFolder,
    orphans: &[MemoryFolder],
) -> SafetyEventLogger {
    let mut datasets: Vec<Arc<Model>> = sinks.iter().map(|sink| sink.dataset.clone()).collect();
    datasets.rotate_left(turned % sinks.len());
    let registry = AdapterRegistry::default();
    registry.register(SINK, datasets[0].clone());
    let mut builder = SafetyEventLogger::builder().adapter_registry(registry);
    for further in &datasets[1..] {
        builder = builder.also_to(further.clone());
    }
    let builder = builder
        .clock(clock.clone())
        .threads(false)
        .medium(Arc::new(medium.clone()))
        .left_behind(orphans.iter().map(|f| Arc::new(f.clone()) as Arc<dyn Folder>).collect())
        .overflow_strategy(setup.strategy)
        .autostart(setup.autostart)
        .durability(setup.durability)
        .buffer_size(setup.buffer_size)
        .backlog_limit_bytes(setup.backlog)
        .journal_options(journal::Options {
            ring_bytes: 8 << 10,
            ring_bytes_max: 32 << 10,
            segment_bytes_max: 32 << 10,
            ..journal::Options::default()
        });
    // One that stands first files its rows in the folder itself, which no word in it says.
    let fallback = datasets[0].fallback.join(&datasets[0].identity);
    let builder = match setup.fallback {
        true => builder.fallback_path(fallback),
        false => builder.no_fallback(),
    };
    builder.build().unwrap()
}

/// The events that wait in a folder for a destination, as a new process would find them, by their
/// seqs.
fn readable(folder: &MemoryFolder, destination: &str) -> BTreeMap<u64, u64> {
    let folder: Arc<dyn Folder> = Arc::new(folder.copy());
    let scan = match recovery::scan(&*folder) {
        Ok(scan) => scan,
        Err(recovery::RecoverError::Empty) => return BTreeMap::new(),
        Err(error) => panic!("{error}"),
    };
    assert!(scan.damage.is_empty(), "{:?}", scan.damage);
    let place = scan.header.place_of(destination).expect("it names each");
    let name = scan.header.cursor_at(place, SINK);
    let settled = scan.settle(&folder, Durability::Process).unwrap();
    let state = Cursor::open(&*folder, &name).unwrap().state();
    let last = settled.store.last();
    // What was dropped behind a batch that is on its way is passed over.
    let (dropped, next) = state.skip;
    let before = if dropped.0 > 0 { last.min(Seq(dropped.0 - 1)) } else { last };
    let mut events = BTreeMap::new();
    let mut rows = RowBuffer::new(settled.store.journal);
    for (from, upto) in [(state.acked.next(), before), (next.max(before.next()), last)] {
        let mut push = |seq, payload: &[u8]| {
            rows.push(seq, payload).unwrap();
            true
        };
        let report = settled.store.read(&mut ReadPlace::default(), from, upto, &mut push).unwrap();
        assert_eq!((report.missing, report.damage), (vec![], vec![]));
    }
    for row in rows.batch().rows() {
        assert!(events.insert(row.seq.0, number(row.event.event_id)).is_none());
    }
    // Nothing is counted as done and delivered as well by the next run.
    let done = state.flushed + state.fallback + state.dropped.iter().sum::<u64>();
    // Where all were dropped and none was written, only the cursor knows of them.
    let known = last.0.max(state.acked.0).max(next.0.saturating_sub(1));
    let logged = known + state.unsequenced;
    assert!(done + events.len() as u64 <= logged, "{state:?}, {} wait", events.len());
    events
}

fn play(setup: Setup, actions: &[Action]) {
    // The library's own randomness, so that a failure can be made smaller.
    fastrand::seed(7);
    let mut world = World::new(setup);
    for action in actions {
        world.act(action);
        world.check();
    }
    world.finish();
}

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn every_event_ends_in_one_place(setup in setups(1), actions in actions(1)) {
        play(setup, &actions);
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn each_sink_ends_with_every_event_in_one_place(setup in setups(3), actions in actions(3)) {
        play(setup, &actions);
    }
}

/// A segment that could not be opened, for want of descriptors, left the reader behind the events
/// that it had given before: they were called damaged when it went on, and were lost.
#[test]
fn a_read_that_fails_in_the_middle_is_begun_again() {
    let (strategy, durability) = (OverflowStrategy::DropOldest, Durability::Process);
    let (sinks, buffer_size, backlog, fallback) = (1, 1, 8192, true);
    let autostart = false;
    let setup = Setup { sinks, strategy, durability, buffer_size, backlog, fallback, autostart };
    let actions = [
        Action::Start,
        Action::Log { count: 7, bytes: 4041 },
        Action::Turn(1),
        Action::Fault(Some(Fault::OpenFails)),
        Action::Flush,
        Action::Log { count: 1, bytes: 0 },
    ];
    play(setup, &actions);
}

/// An event was dropped for want of room before it was in a segment, and the word about a gap went to
/// one that began behind it: whoever read that took the event for damaged.
#[test]
fn a_gap_is_told_behind_what_was_dropped_before_it() {
    let (strategy, durability) = (OverflowStrategy::DropOldest, Durability::Process);
    let (sinks, buffer_size, backlog, fallback) = (1, 1, 8192, false);
    let autostart = false;
    let setup = Setup { sinks, strategy, durability, buffer_size, backlog, fallback, autostart };
    let actions = [
        Action::Log { count: 1, bytes: 0 },
        Action::Fault(Some(Fault::Full)),
        Action::Log { count: 1, bytes: 3985 },
        Action::Fault(Some(Fault::SyncFails)),
        Action::Sync,
    ];
    play(setup, &actions);
}
