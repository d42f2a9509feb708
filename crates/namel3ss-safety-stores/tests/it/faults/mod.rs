//! Everything that can fail between a logger and its store fails, a hundred times a store: the
//! logger's process is killed at a random moment, its connections are reset, nothing comes through,
//! the server stores a batch and its answer is lost, the server itself is killed. In the end the
//! store holds every event that `log()` said it had, once.
//!
//! Several scenes run beside each other on one server, each a home of its own with one life after
//! another. `N3_SAFETY_KILLS` sets how many rounds there are.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::jobs::helper;
use namel3ss_safety::ReadRow;
use namel3ss_safety::{AdapterRegistry, Logged, SafetyEvent, SafetyEventLogger};
use namel3ss_safety_stores::open;

pub(crate) mod proxy;
mod stores;

use self::proxy::Proxy;

const JOB: &str = "N3_SAFETY_TEST_FAULTS_JOB";
const ROUNDS: &str = "N3_SAFETY_KILLS";
const ROUNDS_DEFAULT: u64 = 100;
const SCENES: u64 = 5;
const EVENTS_A_LIFE_MAX: u64 = 400;

/// What a store is to its test.
struct Store<'a> {
    /// The port of its server, if it has one, and what the last request of a batch has in it.
    server: Option<(Arc<AtomicU16>, &'static [u8])>,
    /// A URL through this port for the scene of this number, on an empty dataset.
    url: &'a (dyn Fn(u64, u16) -> String + Sync),
    /// What there is at such a URL.
    read: &'a (dyn Fn(&str) -> Vec<ReadRow> + Sync),
    /// Kills the server and starts it again.
    restart: Option<&'a (dyn Fn() + Sync)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    Reset,
    Hole,
    LostAnswer,
}

/// Runs all scenes of a store.
fn hold(store: &Store<'_>) {
    let rounds = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or(ROUNDS_DEFAULT);
    let running = AtomicU64::new(SCENES);
    let played: Vec<Scene<'_>> = std::thread::scope(|scope| {
        let scenes = (0..SCENES).map(|number| {
            let running = Running(&running);
            scope.spawn(move || {
                let _running = running;
                let mut scene = Scene::new(store, number);
                scene.play(rounds.div_ceil(SCENES));
                scene
            })
        });
        let scenes: Vec<_> = scenes.collect();
        if let Some(restart) = store.restart {
            while running.load(Ordering::SeqCst) > 0 {
                std::thread::sleep(Duration::from_millis(1500));
                restart();
            }
        }
        scenes.into_iter().map(|scene| scene.join().expect("no panic")).collect()
    });
    // Nobody kills the server any more.
    played.iter().for_each(Scene::check);
    if store.server.is_some() {
        let proxies = played.iter().filter_map(|scene| scene.proxy.as_ref());
        assert!(proxies.map(Proxy::answers_lost).sum::<u64>() > 0, "no answer was ever lost");
    }
}

/// A scene that is played; also one that has failed ends.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Scene<'a> {
    store: &'a Store<'a>,
    number: u64,
    home: tempfile::TempDir,
    proxy: Option<Proxy>,
    url: String,
    rng: fastrand::Rng,
    /// What `log()` said was kept.
    kept: HashSet<String>,
    lives: u64,
}

impl<'a> Scene<'a> {
    fn new(store: &'a Store<'a>, number: u64) -> Self {
        let proxy = store.server.as_ref().map(|(server, word)| Proxy::to(server.clone(), word));
        let url = (store.url)(number, proxy.as_ref().map_or(0, |proxy| proxy.port));
        let home = tempfile::tempdir().expect("a folder");
        let (kept, rng) = (HashSet::new(), fastrand::Rng::new());
        Self { store, number, home, proxy, url, rng, kept, lives: 0 }
    }

    fn play(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.round();
        }
        // In peace, what is left: also by a server that was just killed and is to come back.
        let logger = logger(self.home.path(), &self.url);
        let report = logger.stop(Some(Duration::from_secs(120)));
        assert!(report.complete, "{self}: {report:?} {:?}", logger.notices());
    }

    /// One life and what happens in it.
    fn round(&mut self) {
        self.lives += 1;
        let mut child = Life::start(self.home.path(), &self.url, self.lives);
        let begun = Instant::now();
        let fault = match self.rng.u8(0..6) {
            0 | 1 => Fault::LostAnswer,
            2 => Fault::Reset,
            3 => Fault::Hole,
            _ => Fault::Kill,
        };
        if let Some(proxy) = &self.proxy {
            match fault {
                Fault::Kill => {}
                Fault::LostAnswer => proxy.lose_next_answer(),
                Fault::Reset => {
                    std::thread::sleep(Duration::from_millis(self.rng.u64(0..60)));
                    proxy.reset();
                }
                Fault::Hole => {
                    std::thread::sleep(Duration::from_millis(self.rng.u64(0..60)));
                    proxy.set_hole(true);
                }
            }
        }
        // Some of the holes are longer than anybody waits.
        let is_long = fault == Fault::Hole && self.rng.u8(0..4) == 0;
        let millis = if is_long { 1300 } else { self.rng.u64(40..250) };
        std::thread::sleep(Duration::from_millis(millis).saturating_sub(begun.elapsed()));
        if let Some(proxy) = self.proxy.as_ref().filter(|_| fault == Fault::Hole) {
            proxy.set_hole(false);
        }
        // Now and then it comes to its end by itself.
        if self.rng.u8(0..5) > 0 {
            child.0.kill().expect("it can be killed");
        }
        self.kept.extend(child.kept());
    }

    fn check(&self) {
        let rows = (self.store.read)(&self.url);
        let places: HashSet<_> = rows.iter().filter_map(|row| row.id).collect();
        assert_eq!(places.len(), rows.len(), "{self}: a row is there twice");
        let ids: HashSet<&str> = rows.iter().map(|row| row.event.event_id.as_str()).collect();
        assert_eq!(ids.len(), rows.len(), "{self}: an event is there twice");
        let missing = self.kept.iter().filter(|id| !ids.contains(id.as_str())).count();
        assert_eq!(missing, 0, "{self}: of {} events that were kept", self.kept.len());
        // A life that is killed between `log()` and its word of it has one more.
        let unsaid = ids.len() - self.kept.len();
        assert!(unsaid as u64 <= self.lives, "{self}: {unsaid} events that nobody logged");
        assert!(ids.len() as u64 > self.lives, "{self}: hardly anything was logged");
    }
}

impl fmt::Display for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scene {} after {} lives at {}", self.number, self.lives, self.url)
    }
}

/// A process that logs.
struct Life(Child);

impl Life {
    fn start(home: &Path, url: &str, number: u64) -> Self {
        let child = helper("faults")
            .env(JOB, format!("{}\n{url}\n{number}", home.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a child process starts"))
    }

    /// The events that it said were kept, once it has ended.
    fn kept(&mut self) -> Vec<String> {
        let out = BufReader::new(self.0.stdout.take().expect("it is piped"));
        let kept = out.lines().map_while(Result::ok);
        let kept = kept.filter_map(|line| Some(line.strip_prefix("kept ")?.to_owned())).collect();
        let _ = self.0.wait();
        kept
    }
}

fn logger(home: &Path, url: &str) -> SafetyEventLogger {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", open(url).expect("a URL"));
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home)
        .buffer_size(20)
        .retry_delay(Duration::from_millis(10))
        .max_retries(1000)
        .no_fallback()
        .build()
        .expect("a logger");
    logger.start();
    logger
}

/// A process that is killed, sooner or later.
pub(crate) fn life() {
    let job = std::env::var(JOB).expect("a job");
    let [home, url, number] = job.split('\n').collect::<Vec<_>>()[..] else {
        panic!("three lines")
    };
    let logger = logger(Path::new(home), url);
    let mut out = std::io::stdout();
    for n in 0..EVENTS_A_LIFE_MAX {
        let event_id = format!("{number}-{n}");
        let event = SafetyEvent { event_id: event_id.clone(), ..SafetyEvent::default() };
        if let Logged::Journaled(_) = logger.log(&event) {
            // In one write: it is said wholly or not at all.
            let _ = out.write_all(format!("kept {event_id}\n").as_bytes());
        }
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = logger.stop(Some(Duration::from_secs(2)));
}
