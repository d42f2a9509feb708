//! kill -9 at a random moment, again and again, and nothing that was reported as kept is missing.
//!
//! A life is a child process that builds a logger on a home folder, logs from several threads, and
//! reports each event that `log()` said is journaled with one write to a pipe. The parent kills it
//! after a random while. Several lives follow each other on one home without any tidying between
//! them, so that many are killed while they recover what those before them left; then the parent
//! recovers what is left and looks at the dataset.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::internal::journal::Options;
use namel3ss_safety::internal::sink::DESTINATION_NAME;
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, Durability, JournalKind,
    JsonAdapter, Level, Logged, NoticeKind, OverflowStrategy, ReplayOptions, SafetyEventLogger,
    replay_file,
};

use crate::adapters::read;
use crate::jobs::helper;
use crate::recovery::journals;

const JOB: &str = "N3_SAFETY_TEST_LIFE";
/// How many kills in all; a longer run asks for thousands.
const KILLS: &str = "N3_SAFETY_KILLS";
const KILLS_DEFAULT: u64 = 300;
const LIVES: u64 = 6;

/// How the lives on one home are.
#[derive(Clone, Debug)]
struct Scene {
    unmapped: bool,
    overflow: OverflowStrategy,
    threads: u64,
    ring_bytes: u64,
    ring_bytes_max: u64,
    segment_bytes_max: u64,
    power: bool,
    started: bool,
    buffer_size: usize,
    /// The first inserts of each life fail, so that there are fallback files to replay.
    failing: u64,
    payload_bytes: usize,
    /// How many further sinks there are.
    further: u64,
}

impl Scene {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let overflow = rng.choice([
            OverflowStrategy::DropOldest,
            OverflowStrategy::DropNewest,
            OverflowStrategy::Block,
        ]);
        let ring_bytes = rng.choice([8 << 10, 64 << 10, 512 << 10]).unwrap_or(8 << 10);
        Self {
            unmapped: rng.u8(0..3) == 0,
            overflow: overflow.unwrap_or_default(),
            threads: rng.u64(1..=4),
            ring_bytes,
            ring_bytes_max: ring_bytes << rng.u32(0..=3),
            segment_bytes_max: rng.choice([16 << 10, 256 << 10, 8 << 20]).unwrap_or(8 << 20),
            power: rng.u8(0..4) == 0,
            started: rng.u8(0..5) > 0,
            buffer_size: rng.choice([1, 10, 100, 1000]).unwrap_or(100),
            failing: if rng.u8(0..4) == 0 { rng.u64(1..40) } else { 0 },
            payload_bytes: rng.choice([0, 0, 100, 3000]).unwrap_or(0),
            further: rng.choice([0, 1, 1, 2]).unwrap_or(0),
        }
    }

    fn to_line(&self) -> String {
        let Self { unmapped, overflow, threads, ring_bytes, ring_bytes_max, .. } = self;
        let Self { segment_bytes_max, power, started, buffer_size, failing, .. } = self;
        let Self { payload_bytes, further, .. } = self;
        format!(
            "{unmapped} {} {threads} {ring_bytes} {ring_bytes_max} {segment_bytes_max} {power} \
             {started} {buffer_size} {failing} {payload_bytes} {further}",
            overflow.as_str()
        )
    }

    fn of_line(line: &str) -> Self {
        let mut words = line.split(' ');
        fn word<T: FromStr>(words: &mut std::str::Split<'_, char>) -> T {
            let word = words.next().and_then(|word| word.parse().ok());
            word.expect("a word of the scene")
        }
        let words = &mut words;
        Self {
            unmapped: word(words),
            overflow: word(words),
            threads: word(words),
            ring_bytes: word(words),
            ring_bytes_max: word(words),
            segment_bytes_max: word(words),
            power: word(words),
            started: word(words),
            buffer_size: word(words),
            failing: word(words),
            payload_bytes: word(words),
            further: word(words),
        }
    }

    fn logger(&self, home: &Path) -> SafetyEventLogger {
        let adapter = |place: u64| {
            Arc::new(FailingFirst {
                inner: JsonAdapter::new(dataset(home, place)).expect("a known extension"),
                // Each fails for another while, so that one is ahead of the other.
                left: AtomicU64::new(self.failing * (1 + 3 * place)),
            })
        };
        let registry = AdapterRegistry::default();
        registry.register("safety_events", adapter(0));
        let durability = if self.power { Durability::Power } else { Durability::Process };
        let builder = SafetyEventLogger::builder().adapter_registry(registry);
        (1..=self.further)
            .fold(builder, |builder, place| builder.also_to(adapter(place)))
            .home(home)
            .fallback_path(fallback(home))
            .journal(if self.unmapped { JournalKind::Unmapped } else { JournalKind::File })
            .overflow_strategy(self.overflow)
            .buffer_size(self.buffer_size)
            .flush_interval_seconds(0.01)
            .max_retries(1)
            .retry_delay(Duration::from_millis(1))
            .durability(durability)
            .journal_options(Options {
                ring_bytes: self.ring_bytes,
                ring_bytes_max: self.ring_bytes_max,
                segment_bytes_max: self.segment_bytes_max,
                durability,
            })
            .build()
            .expect("a scene is a valid configuration")
    }
}

fn dataset(home: &Path, place: u64) -> PathBuf {
    home.join(format!("safety-{place}.jsonl"))
}

fn fallback(home: &Path) -> PathBuf {
    home.join("fallback")
}

/// A dataset that is down at first.
#[derive(Debug)]
struct FailingFirst {
    inner: JsonAdapter,
    left: AtomicU64,
}

impl DatasetAdapter for FailingFirst {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let down = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if down.is_ok() {
            return Err(AdapterError::transient("reach the dataset"));
        }
        self.inner.insert(batch)
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }
}

/// One life: logs until it is killed.
pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let mut lines = job.lines();
    let mut line = || lines.next().expect("three lines");
    let home = PathBuf::from(line());
    let number: u64 = line().parse().expect("a number");
    let scene = Scene::of_line(line());
    use std::os::fd::AsFd as _;
    let out = std::io::stdout().as_fd().try_clone_to_owned().map(fs::File::from);
    let out = out.expect("a pipe");
    // One write a line: it is in the pipe wholly, or not at all.
    let say = |text: String| (&out).write_all(text.as_bytes()).expect("the parent reads");
    say("@ ready\n".to_owned());
    let logger = scene.logger(&home);
    if scene.started {
        logger.start();
    }
    std::thread::scope(|scope| {
        for thread in 0..scene.threads {
            let (logger, say, scene) = (&logger, &say, &scene);
            scope.spawn(move || {
                for n in 0_u64.. {
                    let mut event = plain_event(n);
                    event.event_id = format!("{number}.{thread}.{n}");
                    event.reason = Some("x".repeat((n as usize % 7) * scene.payload_bytes / 6));
                    if let Logged::Journaled(seq) = logger.log(&event) {
                        say(format!("@ {thread} {n} {seq}\n"));
                    }
                }
            });
        }
        loop {
            for notice in logger.notices() {
                if notice.level >= Level::Error && notice.kind != NoticeKind::Fallback {
                    say(format!("@ ! {} {}\n", notice.kind, notice.text.replace('\n', " ")));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// What a life reported.
#[derive(Debug, Default)]
struct Reported {
    /// By thread: the number and the seq of each event that was journaled, in order.
    events: BTreeMap<u64, Vec<(u64, u64)>>,
    alarms: Vec<String>,
}

fn start(home: &Path, number: u64, scene: &Scene) -> Child {
    helper("kills")
        .env(JOB, format!("{}\n{number}\n{}", home.display(), scene.to_line()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child process starts")
}

/// Lives through one life and kills it; `wait` counts from its first sign of life, if `ready`.
fn live(home: &Path, number: u64, scene: &Scene, wait: Duration, ready: bool) -> Reported {
    let mut child = start(home, number, scene);
    let pipe = BufReader::new(child.stdout.take().expect("it was piped"));
    let (lived, sign) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut reported = Reported::default();
        for line in pipe.lines() {
            let line = line.expect("lines are text");
            let Some(line) = line.strip_prefix("@ ") else { continue };
            if line == "ready" {
                let _ = lived.send(());
            } else if let Some(alarm) = line.strip_prefix("! ") {
                reported.alarms.push(alarm.to_owned());
            } else {
                let words: Vec<u64> =
                    line.split(' ').map(|w| w.parse().expect("numbers")).collect();
                let [thread, n, seq] = words[..] else { panic!("{line}") };
                reported.events.entry(thread).or_default().push((n, seq));
            }
        }
        reported
    });
    if ready {
        let _ = sign.recv_timeout(Duration::from_secs(20));
    }
    std::thread::sleep(wait);
    child.kill().expect("it is ours");
    let status = child.wait().expect("it is ours");
    assert!(!status.success() && status.code().is_none(), "it lived until it was killed: {status}");
    reader.join().expect("the pipe was read")
}

/// Delivers what is left, the fallback files as well, and leaves no journal behind.
fn recover(home: &Path, scene: &Scene, story: &str) {
    let scene = Scene { failing: 0, ..scene.clone() };
    let logger = scene.logger(home);
    let report = logger.flush(Some(Duration::from_secs(60)));
    let notices = logger.notices();
    assert!(report.complete, "{story}: {report:?}, {notices:?}");
    assert_eq!(logger.stats().total_dropped, 0, "{story}");
    let alarms: Vec<_> = notices.iter().filter(|notice| notice.level >= Level::Warning).collect();
    assert!(alarms.is_empty(), "{story}: {alarms:?}");
    drop(logger);
    assert_eq!(journals(home), [""; 0], "{story}: journals that nobody removed");
    for place in 0..=scene.further {
        replay(home, place);
    }
}

/// Replays the fallback files of one sink, where its folder says.
fn replay(home: &Path, place: u64) {
    let adapter = JsonAdapter::new(dataset(home, place)).expect("a known extension");
    let is_own = |folder: &PathBuf| {
        let said = fs::read_to_string(folder.join(DESTINATION_NAME)).ok();
        said.map_or(place == 0, |said| said == adapter.identity())
    };
    let entries = fs::read_dir(fallback(home)).into_iter().flatten().flatten();
    let within =
        entries.map(|entry| entry.path()).filter(|path| path.join(DESTINATION_NAME).is_file());
    let Some(folder) = std::iter::once(fallback(home)).chain(within).find(is_own) else { return };
    let Ok(files) = fs::read_dir(folder) else { return };
    for path in files.map(|file| file.expect("an entry").path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.starts_with("safety_events_") {
            replay_file(&path, &adapter, ReplayOptions::default()).expect("a whole file");
        }
    }
}

/// Compares the dataset with what the lives reported.
fn check(home: &Path, place: u64, scene: &Scene, lives: &[Reported], story: &str) {
    let mut seen = HashSet::new();
    let mut rows: HashMap<(u64, u64, u64), (String, u64)> = HashMap::new();
    let mut last_of: HashMap<u64, u64> = HashMap::new();
    let mut previous: HashMap<String, u64> = HashMap::new();
    for row in read(&dataset(home, place)) {
        let (journal, seq) = row.id.expect("every row is ours");
        let journal = journal.to_string();
        assert!(seen.insert((journal.clone(), seq)), "{story}: {journal} {seq} is there twice");
        let words = row.event.event_id.split('.').map(|word| word.parse().expect("numbers"));
        let words: Vec<u64> = words.collect();
        let [life, thread, n] = words[..] else { panic!("{words:?}") };
        let known = rows.insert((life, thread, n), (journal.clone(), seq.0));
        assert_eq!(known, None, "{story}: {life}.{thread}.{n} is there twice");
        let before = previous.insert(journal.clone(), seq.0).unwrap_or(0);
        if scene.failing == 0 {
            assert!(before < seq.0, "{story}: {journal} has {seq} behind {before}");
        }
        let last = last_of.entry(life).or_default();
        *last = (*last).max(seq.0);
    }
    let may_drop = !scene.started && scene.overflow == OverflowStrategy::DropOldest;
    let drops = !scene.started && scene.overflow != OverflowStrategy::Block;
    for (life, reported) in (0_u64..).zip(lives) {
        let expected = |alarm: &&String| drops && alarm.starts_with("dropped ");
        let alarms: Vec<_> = reported.alarms.iter().filter(|alarm| !expected(alarm)).collect();
        assert!(alarms.is_empty(), "{story}: life {life}: {alarms:?}");
        let last = reported.events.values().flatten().map(|(_, seq)| *seq).max();
        let last = last.max(last_of.get(&life).copied()).unwrap_or(0);
        for (thread, events) in &reported.events {
            let mut before = 0;
            for (n, seq) in events {
                assert!(before < *seq, "{story}: thread {thread} got {seq} after {before}");
                before = *seq;
                let row = rows.get(&(life, *thread, *n));
                if let Some((_, at)) = row {
                    assert_eq!(at, seq, "{story}: {life}.{thread}.{n}");
                } else {
                    let oldest = last.saturating_sub(scene.buffer_size as u64);
                    assert!(
                        may_drop && *seq <= oldest,
                        "{story}: {life}.{thread}.{n} with seq {seq} of {last} is missing"
                    );
                }
            }
        }
    }
    // What was not reported may be there all the same, if the kill came before the report.
    for (life, thread, n) in rows.keys() {
        let last = lives[*life as usize].events.get(thread).and_then(|events| events.last());
        let next = last.map_or(0, |(n, _)| n + 1);
        // A drop that is not reported may stand between.
        let exact = scene.started || scene.overflow != OverflowStrategy::DropNewest;
        assert!(!exact || *n <= next, "{story}: {life}.{thread}.{n} was never logged");
    }
}

fn play(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let scene = Scene::random(&mut rng);
    let story = format!("{KILLS} seed {seed}, {scene:?}");
    let home = tempfile::tempdir().unwrap();
    let mut lives = Vec::new();
    for number in 0..LIVES {
        // Short ones are more likely: they end while they recover.
        let wait = Duration::from_micros((rng.f64().powi(2) * 60_000.0) as u64);
        let ready = rng.u8(0..8) > 0;
        lives.push(live(home.path(), number, &scene, wait, ready));
    }
    recover(home.path(), &scene, &story);
    for place in 0..=scene.further {
        check(home.path(), place, &scene, &lives, &format!("sink {place}, {story}"));
    }
    let mut told = String::new();
    let events: usize = lives.iter().flat_map(|life| life.events.values()).map(Vec::len).sum();
    let _ = write!(told, "seed {seed}: {events} events reported");
    told
}

#[test]
fn every_event_that_was_reported_is_delivered_once() -> Result<(), String> {
    let kills = std::env::var(KILLS).ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let scenes = u64::max(kills / LIVES, 1);
    let first = std::env::var("N3_SAFETY_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let next = AtomicU64::new(first);
    let started = Instant::now();
    let scenes = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + scenes {
                return Ok(());
            }
            // What failed is said last, where nobody has to look for it behind a backtrace.
            let told = std::panic::catch_unwind(|| play(seed)).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.unwrap_or_else(|| format!("seed {seed}: see above"))
            })?;
            if std::env::var_os(KILLS).is_some() {
                let _ = writeln!(std::io::stderr(), "{:?} {told}", started.elapsed());
            }
        }
    };
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(scenes));
        both.map(|half| half.join().map_err(|_| "the test itself panicked".to_owned())?)
            .into_iter()
            .collect()
    })
}
