//! What a Rust host is given beside `log`: handles, datasets, contexts, stats as data.

use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, EventDefaults, JournalKind,
    MemoryAdapter, SafetyEvent, SafetyEventLogger,
};

const SOON: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn only_the_last_handle_ends_the_logger() {
    let dataset = Arc::new(MemoryAdapter::default());
    let builder = SafetyEventLogger::builder().dataset(dataset.clone());
    let one = builder.journal(JournalKind::Memory).no_fallback().build().unwrap();
    let other = one.clone();
    one.log(&SafetyEvent::allow("one"));
    drop(one);
    other.log(&SafetyEvent::block("other"));
    assert_eq!(other.stats().total_logged, 2, "a clone is the same logger");
    drop(other);
    // What only memory had is delivered by the last one's end.
    assert_eq!(dataset.len(), 2);
}

#[test]
fn a_dataset_beside_a_registry_is_a_further_one() {
    let home = tempfile::tempdir().unwrap();
    let datasets: Vec<_> = (0..3).map(|_| Arc::new(MemoryAdapter::default())).collect();
    let registry = AdapterRegistry::default();
    registry.register("safety_events", datasets[0].clone());
    let logger = SafetyEventLogger::builder()
        .dataset(datasets[1].clone())
        .adapter_registry(registry)
        .dataset(datasets[2].clone())
        .home(home.path())
        .build()
        .unwrap();
    logger.log(&SafetyEvent::alert("toxicity"));
    assert!(logger.stop(SOON).complete);
    let names: Vec<_> = logger.stats().sinks.into_iter().map(|sink| sink.destination).collect();
    let identities: Vec<_> = datasets.iter().map(|dataset| dataset.identity()).collect();
    assert_eq!(names, identities, "in their order, the registry's first");
    assert!(datasets.iter().all(|dataset| dataset.len() == 1));
}

/// An adapter was refused that holds what has no `Debug`, as most clients and connections.
struct WithoutDebug(Box<dyn Fn() + Send + Sync>);

impl DatasetAdapter for WithoutDebug {
    fn insert(&self, _: &Batch<'_>) -> Result<(), AdapterError> {
        (self.0)();
        Ok(())
    }

    fn identity(&self) -> String {
        "a secret place".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

#[test]
fn an_adapter_needs_no_debug_and_shows_nothing_of_its_own() {
    let adapter: Arc<dyn DatasetAdapter> = Arc::new(WithoutDebug(Box::new(|| ())));
    assert_eq!(format!("{adapter:?}"), "dyn DatasetAdapter");
}

#[test]
fn stats_and_events_are_data() {
    let home = tempfile::tempdir().unwrap();
    let builder = SafetyEventLogger::builder().dataset(Arc::new(MemoryAdapter::default()));
    let logger = builder.home(home.path()).flush_interval(Duration::from_millis(1500)).build();
    let logger = logger.unwrap();
    let event = SafetyEvent { latency_ms: f64::INFINITY, ..SafetyEvent::redact("pii") };
    logger.log(&event);
    assert!(logger.stop(SOON).complete);
    let stats = serde_json::to_value(logger.stats()).unwrap();
    assert_eq!(stats["total_flushed"], 1);
    assert_eq!(stats["flush_interval_seconds"], 1.5);
    assert_eq!((&stats["journal"], &stats["unhealthy"]), (&"mmap".into(), &serde_json::json!([])));
    assert_eq!(stats["sinks"][0]["flushed"], 1);
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(json["latency_ms"], "Infinity");
    assert_eq!(SafetyEvent::from_json(json).unwrap(), event);
}

#[test]
fn what_is_bound_fills_only_what_an_event_leaves_open() {
    let (logger, collected) = SafetyEventLogger::collecting();
    let entries = |value: serde_json::Value| value.as_object().cloned().unwrap();
    let outer = logger.bind(EventDefaults {
        app_name: Some("outer".into()),
        trace_id: Some("outer".into()),
        metadata: entries(serde_json::json!({"model": "outer", "region": "outer"})),
        ..EventDefaults::default()
    });
    let inner = outer.bind(EventDefaults {
        trace_id: Some("inner".into()),
        metadata: entries(serde_json::json!({"region": "inner"})),
        ..EventDefaults::default()
    });
    let event = SafetyEvent { app_name: Some("own".into()), ..SafetyEvent::alert("toxicity") };
    let metadata = entries(serde_json::json!({"model": "own"}));
    inner.log(&SafetyEvent { metadata, ..event.clone() });
    assert!(inner.try_log(&SafetyEvent::allow("toxicity")).is_some());
    logger.log(&event);
    let events = collected.events();
    assert_eq!(events[0].app_name.as_deref(), Some("own"));
    assert_eq!(events[0].trace_id.as_deref(), Some("inner"));
    let expected = serde_json::json!({"model": "own", "region": "inner"});
    assert_eq!(serde_json::Value::Object(events[0].metadata.clone()), expected);
    assert_eq!(events[1].app_name.as_deref(), Some("outer"));
    assert_eq!(events[2], event, "the logger itself fills in nothing");
}
