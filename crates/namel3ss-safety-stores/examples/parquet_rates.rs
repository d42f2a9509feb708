//! Rows a second of one core into Parquet, and bytes a row: `cargo run --release --features parquet --example
//! parquet_rates`.
#![expect(clippy::print_stdout, reason = "its numbers are its output")]

use std::time::Duration;

use namel3ss_safety::{
    JournalId, Row, RowBuffer, SafetyAction, SafetyEvent, Seq, Severity, Timestamp,
};

const ROWS: u64 = 50_000;
const BATCHES: u32 = 20;

/// What this thread has used of a core: others on the machine don't count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut best, mut total) = (Duration::MAX, Duration::ZERO);
    let (mut cut, mut bytes) = (Duration::MAX, 0);
    let policies = ["pii_policy", "toxicity", "prompt_injection", "topic"];
    let actions = SafetyAction::ALL;
    for batch in 0..BATCHES {
        let mut rows = RowBuffer::new(JournalId::generate());
        let start = Timestamp::now().micros();
        for seq in 1..=ROWS {
            let n = usize::try_from(seq)?;
            let event = SafetyEvent {
                timestamp: Timestamp::from_micros(start + i64::try_from(seq)? * 137),
                app_name: Some("support-bot".into()),
                policy_name: Some(policies[n % policies.len()].into()),
                reason: Some("email address found in the model's output, and replaced".into()),
                trace_id: Some(format!("{:032x}", fastrand::u128(..))),
                session_id: Some(format!("s-{}", n / 20)),
                user_id: Some(format!("u-{}", fastrand::u32(..10_000))),
                action: actions[n % actions.len()],
                categories: vec!["pii".into(), "email".into()],
                severity: Severity::Medium,
                confidence: f64::from(fastrand::u8(..100)) / 100.0,
                latency_ms: f64::from(fastrand::u16(..2_000)) / 100.0,
                metadata: serde_json::json!({"model": "m-2", "rule": fastrand::u8(..50)})
                    .as_object()
                    .cloned()
                    .unwrap_or_default(),
                ..SafetyEvent::default()
            };
            rows.push_event(Seq(seq), &event);
        }
        let begin = cpu();
        let views: Vec<Row<'_>> = rows.batch().rows().collect();
        cut = cut.min(cpu() - begin);
        let file = namel3ss_safety_stores::parquet::encode(&views)?;
        let took = cpu() - begin;
        bytes = file.len();
        if let Some(path) = std::env::args_os().nth(1).filter(|_| batch == 0) {
            std::fs::write(path, &file)?;
        }
        best = best.min(took);
        total += took;
    }
    let rate = |took: Duration, rows: f64| rows / took.as_secs_f64() / 1e6;
    let rows = u32::try_from(ROWS)?;
    println!(
        "{:.2} M rows/s best, {:.2} mean; {:.0} ns a row to decode; {:.1} B a row",
        rate(best, f64::from(rows)),
        rate(total, f64::from(rows * BATCHES)),
        cut.as_secs_f64() * 1e9 / f64::from(rows),
        f64::from(u32::try_from(bytes)?) / f64::from(rows),
    );
    Ok(())
}
