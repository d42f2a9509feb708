//! Rows a second into SQLite: `cargo run --release --example sqlite_rates [folder]`.
#![expect(clippy::print_stdout, reason = "its numbers are its output")]

use std::time::Instant;

use namel3ss_safety::{
    DatasetAdapter, JournalId, RowBuffer, SafetyAction, SafetyEvent, Seq, Severity,
};

const BATCH: u64 = 10_000;
const BATCHES: u64 = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    for name in ["rates.db"] {
        let path = folder.join(name);
        let adapter = namel3ss_safety_stores::SqliteAdapter::open(&path, Default::default())?;
        let journal = JournalId::generate();
        let mut event = SafetyEvent {
            app_name: Some("support-bot".into()),
            policy_name: Some("pii_policy".into()),
            reason: Some("email address found in the model's output, and replaced".into()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            session_id: Some("s-83621".into()),
            user_id: Some("u-1842".into()),
            action: SafetyAction::Redact,
            categories: vec!["pii".into(), "email".into()],
            severity: Severity::Medium,
            confidence: 0.93,
            latency_ms: 10.5,
            metadata: serde_json::json!({"rule": 7, "model": "m-2", "spans": [12, 31]})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..SafetyEvent::default()
        };
        let mut rows = RowBuffer::new(journal);
        let mut best = f64::MAX;
        let mut total = 0.0;
        for batch in 0..BATCHES {
            rows.reset(journal, Default::default());
            (1..=BATCH).for_each(|i| {
                event.event_id = namel3ss_safety::id::new_event_id();
                event.timestamp = namel3ss_safety::Timestamp::now();
                rows.push_event(Seq(batch * BATCH + i), &event);
            });
            let start = Instant::now();
            adapter.insert(&rows.batch())?;
            let took = start.elapsed().as_secs_f64();
            best = best.min(took);
            total += took;
        }
        let bytes = std::fs::metadata(&path)?.len();
        println!(
            "{name}: {:.0} rows/s mean, {:.0} best; {} B a payload, {} B a row",
            (BATCH * BATCHES) as f64 / total,
            BATCH as f64 / best,
            rows.bytes() / rows.len(),
            bytes / (BATCH * BATCHES),
        );
        drop(adapter);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}
