//! What delivery costs, from `log()` to the dataset: events a second, and the CPU time that the
//! keeper and the worker take for one, while another thread logs 1.2 million a second.
//!
//! Run it with `cargo bench -p namel3ss-safety-stores --bench delivery`; words after `--` pick the
//! parts whose name holds all of them, such as `jsonl`, `sqlite`, `small`, `full`, `alone`; a number
//! is how many events there are instead, for a tool that counts instructions.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterRegistry, DatasetAdapter, JournalId, JsonAdapter, RowBuffer, SafetyEvent,
    SafetyEventLogger, Seq, Timestamp,
    internal::{codec, id},
};
use namel3ss_safety_stores::SqliteAdapter;

#[path = "../../namel3ss-safety/benches/shapes/mod.rs"]
mod shapes;

/// As fast as Python logs on a core of its own.
const EVENTS_A_SECOND: u32 = 1_200_000;

fn adapter(dataset: &str, home: &Path) -> Arc<dyn DatasetAdapter> {
    match dataset {
        "jsonl" => {
            Arc::new(JsonAdapter::new(home.join("events.jsonl")).expect("a path that it takes"))
        }
        _ => {
            let adapter = SqliteAdapter::open(home.join("events.db"), Default::default());
            let adapter = adapter.expect("a path that it takes");
            Arc::new(if dataset == "sqlite" { adapter } else { adapter.without_trace_index() })
        }
    }
}

/// The CPU time of the threads of this process whose name begins so.
fn cpu_of(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        comm.starts_with(name).then(|| schedstat.split(' ').next()?.parse::<u64>().ok()).flatten()
    });
    Duration::from_nanos(nanos.sum())
}

/// Gives each event an id and a moment of its own, as applications do, but in less time than the
/// library's own ids take: those of one millisecond begin alike and end at random.
fn renew(event: &mut SafetyEvent, random: &mut u64) {
    let now = Timestamp::now();
    if now.micros() / 1000 != event.timestamp.micros() / 1000 {
        event.event_id = id::new_event_id();
        *random |= 1;
    }
    event.timestamp = now;
    // Marsaglia's xorshift64.
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let mut tail = [0; 13];
    for (i, digit) in tail.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(*random >> (4 * i)) as usize & 15];
    }
    let digits = std::str::from_utf8(&tail).expect("ASCII");
    event.event_id.replace_range(20..23, &digits[..3]);
    event.event_id.replace_range(26..36, &digits[3..]);
    // A trace of its own, which is the most that an index of them costs.
    if let Some(trace) = &mut event.trace_id {
        trace.replace_range(..13, digits);
    }
}

fn end_to_end(name: &str, dataset: &str, home: &Path, mut event: SafetyEvent, n: u32) {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", adapter(dataset, home));
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home)
        .build()
        .expect("the arguments are right");
    logger.start();
    let start = Instant::now();
    let (mut logged, mut random) = (0, 1);
    while logged < n {
        // A millisecond's worth at a time.
        let due = start + Duration::from_secs(1) * logged / EVENTS_A_SECOND;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let to = n.min(logged + EVENTS_A_SECOND / 1000);
        while logged < to {
            renew(&mut event, &mut random);
            let _ = black_box(logger.log(black_box(&event)));
            logged += 1;
        }
    }
    let logging = start.elapsed();
    assert!(logger.flush(None).complete);
    let all = start.elapsed();
    let (keeper, worker) = (cpu_of("n3-safety-keep"), cpu_of("n3-safety-work"));
    let stats = logger.stats();
    assert_eq!((stats.total_flushed, stats.total_dropped), (u64::from(n), 0));
    assert!(logger.stop(None).complete);
    println!(
        "{name:<28} {:>9.0} logged/s {:>9.0} delivered/s   keeper {:>5} ns, worker {:>5} ns an event",
        f64::from(n) / logging.as_secs_f64(),
        f64::from(n) / all.as_secs_f64(),
        keeper.as_nanos() / u128::from(n),
        worker.as_nanos() / u128::from(n),
    );
}

/// What the worker does with a batch, on this thread: checking and taking payloads, and storing.
fn alone(name: &str, dataset: &str, home: &Path, mut event: SafetyEvent, batches: u64) {
    const BATCH: u64 = 10_000;
    let adapter = adapter(dataset, home);
    let mut rows = RowBuffer::new(JournalId::generate());
    let (mut taking, mut storing) = (Duration::ZERO, Duration::ZERO);
    let (mut payloads, mut scratch, mut random) = (Vec::new(), Vec::new(), 1);
    for batch in 0..batches {
        payloads.clear();
        let mut ends = Vec::new();
        for _ in 0..BATCH {
            renew(&mut event, &mut random);
            payloads.extend_from_slice(codec::encode_into(&event, &mut scratch));
            ends.push(payloads.len());
        }
        rows.reset(rows.batch().id().journal, Default::default());
        let start = Instant::now();
        let mut from = 0;
        for (i, end) in (1..).zip(ends) {
            rows.push(Seq(batch * BATCH + i), &payloads[from..end]).expect("a payload");
            from = end;
        }
        let taken = Instant::now();
        adapter.insert(&rows.batch()).expect("room on the disk");
        taking += taken - start;
        storing += taken.elapsed();
    }
    let n = u128::from(batches * BATCH);
    println!(
        "{name:<28} {:>9} B a payload   taking {:>5} ns, storing {:>5} ns an event",
        rows.bytes() / rows.len(),
        taking.as_nanos() / n,
        storing.as_nanos() / n,
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let (numbers, words): (Vec<_>, Vec<_>) = words.iter().partition(|w| w.parse::<u32>().is_ok());
    let number = numbers.first().and_then(|number| number.parse().ok());
    let wanted = |name: &str| words.iter().all(|word| name.contains(word.as_str()));
    let datasets = [("jsonl", 3_000_000), ("sqlite", 1_000_000), ("sqlite?index=none", 1_000_000)];
    for (dataset, events) in datasets {
        let events = number.unwrap_or(events);
        for (shape, event) in [("small", shapes::small()), ("full", shapes::full())] {
            // On a real file system: the temporary folder may be memory.
            let home = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
            let name = format!("{dataset}, {shape}, end to end");
            if wanted(&name) {
                end_to_end(&name, dataset, home().path(), event.clone(), events);
            }
            let name = format!("{dataset}, {shape}, alone");
            if wanted(&name) {
                alone(&name, dataset, home().path(), event, u64::from(events).div_ceil(30_000));
            }
        }
    }
}
