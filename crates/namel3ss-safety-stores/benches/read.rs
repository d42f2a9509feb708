//! How long questions take over much data: the newest rows that match, one trace, a text in the reason, the
//! last second.
//!
//! Run it with `cargo bench -p namel3ss-safety-stores --all-features --bench read`; words after `--` pick
//! the parts: `parquet`, `delta`, `sqlite`. The data are made once, by our own writers, and stay below the
//! target folder: 10 M rows in 280 Parquet objects of 70 days (some 1 GiB), the same number in a Delta
//! table of as many files where it is named, and 1 M rows in SQLite.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    Direction, JournalId, RowBuffer, SafetyAction, SafetyEvent, Seq, Severity, Timestamp,
};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::read::{Condition, Filter, Scan, open_reader};

type Failed = Box<dyn Error>;

const DAY: i64 = 86_400_000_000;
const DAYS: u64 = 70;
const FILES_A_DAY: u64 = 4;
const FILE_ROWS: u64 = 35_715;
const SQLITE_ROWS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
/// How often each question is asked; the first time warms up.
const ROUNDS: usize = 9;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wanted = |name: &str| words.iter().any(|word| name.contains(word.as_str()));
    if words.is_empty() || wanted("parquet") {
        let folder = made("read-parquet", |folder| {
            by_day(&format!("file://{}/?format=parquet", folder.display()))
        })?;
        ask("parquet", &format!("file://{}/?format=parquet", folder.display()))?;
    }
    // A GiB more: only where it is named.
    if wanted("delta") {
        let folder =
            made("read-delta", |folder| by_day(&format!("delta+file://{}", folder.display())))?;
        ask("delta", &format!("delta+file://{}", folder.display()))?;
    }
    if words.is_empty() || wanted("sqlite") {
        let folder = made("read-sqlite", |folder| {
            let url = format!("sqlite:///{}/safety.db", folder.display());
            store(&url, SQLITE_ROWS, BATCH, DAY / 100_000)
        })?;
        ask("sqlite", &format!("sqlite:///{}/safety.db", folder.display()))?;
    }
    Ok(())
}

/// A folder with data, which is made where it is missing.
fn made(name: &str, make: impl Fn(&Path) -> Result<(), Failed>) -> Result<PathBuf, Failed> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let whole = folder.with_extension("whole");
    if !whole.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let start = Instant::now();
        make(&folder)?;
        println!("{name}: made in {:.1} s", start.elapsed().as_secs_f64());
        std::fs::write(&whole, "")?;
    }
    Ok(folder)
}

fn by_day(url: &str) -> Result<(), Failed> {
    let rows = DAYS * FILES_A_DAY * FILE_ROWS;
    store(url, rows, FILE_ROWS, DAY / (FILES_A_DAY * FILE_ROWS).cast_signed())
}

/// Stores so many rows in batches, each row some µs behind the one before.
fn store(url: &str, count: u64, batch: u64, every: i64) -> Result<(), Failed> {
    let adapter = open(url)?;
    let journal = JournalId::generate();
    let mut rows = RowBuffer::new(journal);
    let mut random = fastrand::Rng::with_seed(7);
    let mut trace = String::new();
    for first in (0..count).step_by(usize::try_from(batch)?) {
        rows.reset(journal, Default::default());
        for n in first..count.min(first + batch) {
            if n.is_multiple_of(4) {
                trace = format!("{:032x}", random.u128(..));
            }
            rows.push_event(Seq(n + 1), &event(n, every, &trace, &mut random));
        }
        adapter.insert(&rows.batch())?;
    }
    Ok(())
}

/// 2026-01-01
const BEGIN: i64 = 1_767_225_600_000_000;

/// An event of a support bot: four of a trace, of which one in a hundred is blocked and one in a thousand
/// alerts.
fn event(n: u64, every: i64, trace: &str, random: &mut fastrand::Rng) -> SafetyEvent {
    const POLICIES: [&str; 8] = [
        "pii_policy",
        "toxicity",
        "prompt_injection",
        "topic",
        "secrets",
        "jailbreak",
        "tone",
        "pci",
    ];
    let kind = random.u32(..1000);
    let (action, severity, reason) = match kind {
        0 => (SafetyAction::Alert, Severity::Critical, Some("a tool asks for a key".to_owned())),
        1..=10 => (SafetyAction::Block, Severity::High, {
            Some(format!("card number ending in {:04} in the prompt", random.u32(..10_000)))
        }),
        11..=60 => (SafetyAction::Redact, Severity::Medium, {
            Some("e-mail address found in the model's output, and replaced".to_owned())
        }),
        _ => (SafetyAction::Allow, Severity::None, None),
    };
    let at = Timestamp::from_micros(BEGIN + n.cast_signed() * every + random.i64(0..every));
    let id = format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        (at.micros() / 1000) >> 16,
        (at.micros() / 1000) & 0xffff,
        random.u32(..0x1000),
        random.u32(..0x1000),
        random.u64(..1 << 48),
    );
    let metadata = serde_json::json!({
        "model": "gpt-4o-mini", "rule": random.u8(..50), "tokens": random.u16(..4000)
    });
    SafetyEvent {
        event_id: id,
        timestamp: at,
        app_name: Some("support-bot".into()),
        chain_name: Some("support_chain".into()),
        agent_name: Some(["triage", "billing", "returns"][(n / 4 % 3) as usize].into()),
        policy_name: Some(POLICIES[random.usize(..POLICIES.len())].into()),
        reason,
        trace_id: Some(trace.to_owned()),
        session_id: Some(format!("s-{:06x}", n / 24)),
        user_id: Some(format!("u-{}", random.u32(..50_000))),
        direction: if n.is_multiple_of(2) { Direction::Input } else { Direction::Output },
        action,
        categories: if kind <= 60 { vec!["pii".into(), "email".into()] } else { Vec::new() },
        severity,
        confidence: f64::from(random.u8(..100)) / 100.0,
        latency_ms: f64::from(random.u16(..4_000)) / 100.0,
        metadata: metadata.as_object().cloned().unwrap_or_default(),
    }
}

fn filter(conditions: &[&str]) -> Result<Filter, Failed> {
    let conditions = conditions.iter().map(|text| text.parse::<Condition>());
    Ok(conditions.collect::<Result<_, _>>()?)
}

fn ask(store: &str, url: &str) -> Result<(), Failed> {
    let newest = |limit| Scan { newest_first: true, limit: Some(limit), ..Scan::default() };
    let mut last = open_reader(url)?.scan(newest(1))?;
    let last = last.next().ok_or("no rows")??;
    let last = namel3ss_safety_stores::read::rows(&last).next().ok_or("no row")?.event;
    // The trace of a row in the middle of the last day, and of the first.
    let middle = Some(Timestamp::from_micros(BEGIN + DAY / 2));
    let first = open_reader(url)?.scan(Scan { from: middle, limit: Some(1), ..Scan::default() })?;
    let first = first.last().ok_or("no rows")??;
    let first = namel3ss_safety_stores::read::rows(&first).next().ok_or("no row")?.event;
    let trace = format!("trace_id={}", first.trace_id.ok_or("no trace")?);
    let since = Some(Timestamp::from_micros(last.timestamp.micros() - 1_000_000));
    let two = filter(&["action=block", "policy_name=pii_policy"])?;
    for (what, scan) in [
        ("newest 10", newest(10)),
        ("newest 100 of two filters", Scan { filter: two, ..newest(100) }),
        ("one trace", Scan { filter: filter(&[&trace])?, ..Scan::default() }),
        ("one trace, newest 50", Scan { filter: filter(&[&trace])?, ..newest(50) }),
        ("reason~, newest 50", Scan { filter: filter(&["reason~ending in 77"])?, ..newest(50) }),
        ("metadata.rule=, newest 50", Scan { filter: filter(&["metadata.rule=7"])?, ..newest(50) }),
        ("last second", Scan { from: since, ..Scan::default() }),
    ] {
        let (mut took, mut found) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let batches = open_reader(url)?.scan(scan.clone())?;
            found = 0;
            for batch in batches {
                found += batch?.num_rows();
            }
            took.push(start.elapsed());
            if took.iter().sum::<Duration>() > Duration::from_secs(20) {
                break;
            }
        }
        // All but the first, unless that took too long.
        let mut warm = took.split_off(usize::from(took.len() > 1));
        warm.sort_unstable();
        println!(
            "{store:<8} {what:<28} {found:>6} rows   median {:>8.1} ms, best {:>8.1} ms",
            warm[warm.len() / 2].as_secs_f64() * 1e3,
            warm[0].as_secs_f64() * 1e3,
        );
    }
    Ok(())
}
