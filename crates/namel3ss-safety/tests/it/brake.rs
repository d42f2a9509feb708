//! A healthy dataset that is slower than the loop that logs costs time, never an event.

use std::sync::Arc;

use namel3ss_safety::{AdapterRegistry, JsonAdapter, Logged, SafetyEvent, SafetyEventLogger};

/// The backlog had a limit and no brake: ten million events in a tight loop ran past the 1 GiB of
/// the default within two seconds, and `drop_oldest` dropped what a healthy dataset would have
/// taken a moment later.
#[test]
fn a_tight_loop_is_held_up_before_it_costs_an_event() {
    let home = tempfile::tempdir().unwrap();
    let dataset = JsonAdapter::new(home.path().join("events.jsonl")).unwrap();
    let registry = AdapterRegistry::default();
    registry.register("safety_events", Arc::new(dataset));
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home.path())
        .backlog_limit_bytes(16 << 20)
        .build()
        .unwrap();
    logger.start();
    let event = SafetyEvent { reason: Some("r".repeat(200)), ..SafetyEvent::default() };
    let n = 200_000;
    for _ in 0..n {
        assert!(matches!(logger.log(&event), Logged::Journaled(_)));
    }
    assert!(logger.stop(None).complete);
    let stats = logger.stats();
    assert_eq!((stats.total_logged, stats.total_flushed, stats.total_dropped), (n, n, 0));
}
