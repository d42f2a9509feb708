//! What `log()` and `sync()` cost: percentiles of single calls, on the default journal, with the
//! event that the documents speak of: 17 fields, 4 metadata entries.
//!
//! Each call is timed with the monotonic clock; what reading the clock costs is measured in the
//! same run and shown, not subtracted. Run it with `cargo bench -p namel3ss-safety --bench log`;
//! a word after `--` picks the parts whose name holds it.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, Durability, Logged,
    SafetyEvent, SafetyEventLogger, internal::codec,
};

mod shapes;

/// Takes every batch and counts its rows.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl DatasetAdapter for Counting {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn identity(&self) -> String {
        "counting".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

fn logger(home: &Path, durability: Durability) -> (SafetyEventLogger, Arc<Counting>) {
    let adapter = Arc::new(Counting::default());
    let registry = AdapterRegistry::default();
    registry.register("safety_events", adapter.clone());
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home)
        .durability(durability)
        .build()
        .expect("the arguments are right");
    logger.start();
    (logger, adapter)
}

struct Percentiles(Vec<u64>);

impl Percentiles {
    fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self(nanos)
    }

    fn at(&self, share: f64) -> u64 {
        let index = ((self.0.len() - 1) as f64 * share) as usize;
        self.0[index]
    }
}

fn show(name: &str, nanos: Vec<u64>) {
    let mean = nanos.iter().sum::<u64>() / nanos.len() as u64;
    let p = Percentiles::of(nanos);
    println!(
        "{name:<44} p50 {:>6} ns  p90 {:>6}  p99 {:>7}  p99.9 {:>7}  max {:>9}  mean {mean:>6}",
        p.at(0.5),
        p.at(0.9),
        p.at(0.99),
        p.at(0.999),
        p.at(1.0)
    );
}

fn timed(n: usize, mut call: impl FnMut()) -> Vec<u64> {
    let mut nanos = Vec::with_capacity(n);
    for _ in 0..n {
        let start = Instant::now();
        call();
        nanos.push(start.elapsed().as_nanos() as u64);
    }
    nanos
}

/// The clock counts in steps, of 10 ns here: differences below that show in the time of many calls.
/// A tenth of the batches take no longer than p10, which what else the machine does hardly changes.
fn show_of_100(name: &str, mut call: impl FnMut()) {
    let batches = timed(3_000, || (0..100).for_each(|_| call()));
    let p = Percentiles::of(batches);
    let at = |share| p.at(share) as f64 / 100.0;
    println!("{name:<44} p10 {:>6.1} ns  p50 {:>6.1}", at(0.1), at(0.5));
}

fn log(logger: &SafetyEventLogger, event: &SafetyEvent) {
    assert!(matches!(black_box(logger.log(black_box(event))), Logged::Journaled(_)));
}

/// Between two calls the thread sleeps, and wakes with cold caches, or it keeps its core busy.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    Sleeps,
    Works,
}

fn paced(
    logger: &SafetyEventLogger,
    event: &SafetyEvent,
    (every, between): (Duration, Between),
    n: usize,
) -> Vec<u64> {
    let mut nanos = Vec::with_capacity(n);
    let mut due = Instant::now();
    for _ in 0..n {
        due += every;
        if between == Between::Sleeps {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        } else {
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
        let start = Instant::now();
        log(logger, event);
        nanos.push(start.elapsed().as_nanos() as u64);
    }
    nanos
}

fn bursts(home: &Path, event: &SafetyEvent) {
    let mut payload = Vec::new();
    show(
        "encode alone",
        timed(200_000, || {
            payload.clear();
            codec::encode(black_box(event), &mut payload);
        }),
    );
    println!("{:<44} {} bytes", "its payload", payload.len());
    for n in [50_000, 200_000, 1_000_000] {
        let (logger, adapter) = logger(&home.join(format!("burst{n}")), Durability::Process);
        log(&logger, event);
        std::thread::sleep(Duration::from_millis(100));
        show(&format!("log, burst of {n}"), timed(n, || log(&logger, event)));
        let start = Instant::now();
        assert!(logger.stop(None).complete);
        assert_eq!(adapter.0.load(Ordering::Relaxed), n as u64 + 1);
        println!("{:<44} {:?}", "  then delivered after", start.elapsed());
    }
    let small = shapes::small();
    let (logger, _) = logger(&home.join("threads"), Durability::Process);
    show_of_100("log, each of 100 in a row", || log(&logger, event));
    show_of_100("log, each of 100 small ones in a row", || log(&logger, &small));
    show("log, burst of 50,000 small ones", timed(50_000, || log(&logger, &small)));
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| timed(50_000, || log(&logger, event)))).collect();
        for thread in threads {
            all.extend(thread.join().expect("it does not panic"));
        }
    });
    show("log, burst of 50,000 on each of 4 threads", all);
}

fn paces(home: &Path, event: &SafetyEvent) {
    for (name, durability) in [("process", Durability::Process), ("power", Durability::Power)] {
        let (logger, _) = logger(&home.join(name), durability);
        log(&logger, event);
        std::thread::sleep(Duration::from_millis(100));
        let pace = (Duration::from_micros(20), Between::Works);
        let nanos = paced(&logger, event, pace, 250_000);
        show(&format!("log, 50,000/s, {name}"), nanos);
        for (how, between) in [("works", Between::Works), ("sleeps", Between::Sleeps)] {
            let nanos = paced(&logger, event, (Duration::from_millis(1), between), 3_000);
            show(&format!("log, 1,000/s, {name}, thread {how} between"), nanos);
        }
        assert!(logger.stop(None).complete);
    }
}

fn syncs(home: &Path, event: &SafetyEvent) {
    let rate = |n: u64, start: Instant| n as f64 / start.elapsed().as_secs_f64();
    let raw = || {
        let file = File::create(home.join("raw")).expect("a file");
        let n = 3_000_u64;
        file.write_all_at(&vec![0; n as usize * 512], 0).expect("room");
        file.sync_all().expect("sync");
        let start = Instant::now();
        for i in 0..n {
            file.write_all_at(&[1; 320], i * 320).expect("room");
            file.sync_data().expect("sync");
        }
        rate(n, start)
    };
    let single = |i: usize| {
        let (logger, _) = logger(&home.join(format!("sync{i}")), Durability::Process);
        let start = Instant::now();
        for _ in 0..3_000 {
            log(&logger, event);
            logger.sync().expect("sync");
        }
        rate(3_000, start)
    };
    let mut ratios = Vec::new();
    for i in 0..5 {
        let (raw, single) = (raw(), single(i));
        ratios.push(single / raw);
        println!("{:<44} raw {raw:>7.0}/s  log + sync {single:>7.0}/s", "fdatasync, one writer");
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:<44} {:.2} of raw (median of pairs)", "sync, one writer", ratios[2]);
    let (logger, _) = logger(&home.join("sync64"), Durability::Process);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    log(&logger, event);
                    logger.sync().expect("sync");
                }
            });
        }
    });
    let many = rate(64_000, start);
    let raw = raw();
    println!("{:<44} {many:>7.0}/s, {:.1} times raw ({raw:.0}/s)", "sync, 64 writers", many / raw);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    // On a real file system: /tmp may be memory, and its fdatasync then costs nothing.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let event = shapes::full();
    show("reading the clock", timed(200_000, || {}));
    if wanted("burst") {
        bursts(home.path(), &event);
    }
    if wanted("pace") {
        paces(home.path(), &event);
    }
    if wanted("sync") {
        syncs(home.path(), &event);
    }
}
