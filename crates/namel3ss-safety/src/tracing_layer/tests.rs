//! Events of `tracing` as safety events: their fields, words, spans and filters.

use super::*;
use crate::adapter::{AdapterRegistry, MemoryAdapter};
use crate::event::{Direction, SafetyAction};
use crate::notice::{Notice, NoticeKind};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;

/// What is in the dataset after `emit` has run under a layer.
fn check(emit: impl FnOnce()) -> Vec<SafetyEvent> {
    check_under(|layer| tracing_subscriber::registry().with(layer), emit)
}

/// As [`check`], under a subscriber of the caller's own.
fn check_under<S>(
    subscriber: impl FnOnce(SafetyLayer) -> S,
    emit: impl FnOnce(),
) -> Vec<SafetyEvent>
where
    S: Subscriber + Send + Sync + 'static,
{
    run(subscriber, emit).0
}

/// What is in the dataset, and what the logger said.
fn run<S>(
    subscriber: impl FnOnce(SafetyLayer) -> S,
    emit: impl FnOnce(),
) -> (Vec<SafetyEvent>, Vec<Notice>)
where
    S: Subscriber + Send + Sync + 'static,
{
    let home = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemoryAdapter::default());
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset.clone());
    let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home.path());
    let logger = Arc::new(builder.build().unwrap());
    let subscriber = subscriber(SafetyLayer::new(logger.clone()));
    tracing::subscriber::with_default(subscriber, emit);
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    (dataset.rows().into_iter().map(|row| row.event).collect(), logger.notices())
}

#[test]
fn every_field_finds_its_place() {
    let events = check(|| {
        tracing::info!(
            target: "safety::pii",
            event_id = "evt-1",
            timestamp = "2026-01-02T03:04:05Z",
            app_name = "app", chain_name = "chain", agent_name = "agent",
            policy_name = "policy", reason = "because", trace_id = 17, session_id = %"s",
            user_id = "u", direction = "OUTPUT", action = ?SafetyAction::Block,
            categories = ?["pii", "email"], severity = "sev-2", confidence = 0.5,
            latency_ms = 3_u64, metadata = r#"{"a": [1]}"#, rows = 4, ok = true, "said",
        );
    });
    let event = &events[0];
    assert_eq!(event.timestamp.to_string(), "2026-01-02T03:04:05.000000Z");
    assert_eq!((event.event_id.as_str(), event.trace_id.as_deref()), ("evt-1", Some("17")));
    assert_eq!(event.reason.as_deref(), Some("because"));
    assert_eq!(event.session_id.as_deref(), Some("s"));
    assert_eq!((event.direction, event.action), (Direction::Output, SafetyAction::Block));
    assert_eq!(event.categories, ["pii", "email"]);
    assert_eq!(event.severity.as_str(), "sev-2");
    assert_eq!((event.confidence, event.latency_ms), (0.5, 3.0));
    assert_eq!(
        Value::from(event.metadata.clone()),
        serde_json::json!({"a": [1], "rows": 4, "ok": true})
    );
}

#[test]
fn what_does_not_fit_is_kept_in_metadata() {
    let events = check(|| {
        tracing::error!(
            target: "safety",
            action = "blok", direction = 3, confidence = "sure", latency_ms = "1.5",
            timestamp = "today", metadata = "[]", categories = "pii, email,",
            score = f64::NAN, "why: {}", 7,
        );
    });
    let event = &events[0];
    assert_eq!((event.action, event.direction), (SafetyAction::Alert, Direction::Input));
    assert_eq!((event.confidence, event.latency_ms), (1.0, 1.5));
    assert_eq!(event.reason.as_deref(), Some("why: 7"));
    assert_eq!(event.categories, ["pii", "email"]);
    let expected = serde_json::json!({
        "action": "blok", "direction": 3, "confidence": "sure", "timestamp": "today",
        "metadata": "[]", "score": "NaN",
    });
    assert_eq!(Value::from(event.metadata.clone()), expected);
}

#[test]
fn spans_lend_what_an_event_lacks_the_innermost_first() {
    let events = check(|| {
        let outer = tracing::info_span!(
            "outer",
            trace_id = "t",
            user_id = "outer",
            app_name = "a",
            other = 1,
            session_id = tracing::field::Empty,
        );
        let _outer = outer.clone().entered();
        let _inner = tracing::info_span!(target: "x", "inner", user_id = 42).entered();
        outer.record("session_id", "late");
        tracing::info!(target: "safety", app_name = "own");
    });
    let event = &events[0];
    assert_eq!(event.trace_id.as_deref(), Some("t"));
    assert_eq!(event.user_id.as_deref(), Some("42"));
    assert_eq!(event.app_name.as_deref(), Some("own"));
    assert_eq!(event.session_id.as_deref(), Some("late"));
    assert!(event.metadata.is_empty());
}

/// `"blocked"`, `"deny"` and no action at all were stored as `allow`.
#[test]
fn words_are_read_as_everywhere_and_the_level_is_the_severity() {
    let events = check(|| {
        let own = String::from("Blocked");
        tracing::error!(target: "safety", action = "blocked");
        tracing::warn!(target: "safety", action = ?own);
        tracing::info!(target: "safety", action = %"deny");
        tracing::debug!(target: "safety", "nothing said");
        tracing::trace!(target: "safety", action = "would_block", severity = "HIGH");
        tracing::trace!(target: "safety", action = true);
    });
    let found: Vec<_> = events.iter().map(|e| (e.action.as_str(), e.severity.as_str())).collect();
    assert_eq!(
        found,
        [
            ("block", "high"),
            ("block", "medium"),
            ("block", "low"),
            ("alert", "none"),
            ("block", "high"),
            ("alert", "none"),
        ]
    );
    assert_eq!(events[4].metadata["mode"], "monitor");
    assert_eq!(events[5].metadata["action"], true);
}

/// As `tracing-log` passes on `log::warn!(target: "safety", …)`: it was ignored.
#[test]
fn records_of_the_log_crate_count_by_their_own_target() {
    let events = check(|| {
        tracing::warn!(
            target: "log",
            action = "block", log.target = "safety::pii", log.module_path = "app", log.file = "app.rs",
            log.line = 7, rule = 3, "a mail address",
        );
        tracing::warn!(target: "log", action = "block", log.target = "hyper", "not ours");
        tracing::warn!(target: "safety", action = "block", log.target = "mine");
    });
    assert_eq!(events.len(), 2);
    let event = &events[0];
    assert_eq!((event.action, event.severity.as_str()), (SafetyAction::Block, "medium"));
    assert_eq!(event.reason.as_deref(), Some("a mail address"));
    assert_eq!(Value::from(event.metadata.clone()), serde_json::json!({"rule": 3}));
    assert_eq!(events[1].metadata["log.target"], "mine");
}

/// With the filter `warn,safety=trace` on the whole subscriber, which was advised here, an info
/// span's `trace_id` is lost.
#[test]
fn a_filter_on_the_other_layers_leaves_spans_to_this_one() {
    use tracing_subscriber::filter::{Targets, filter_fn};

    struct Other;
    impl<S: Subscriber> Layer<S> for Other {}

    fn emit() {
        let _request = tracing::info_span!("request", trace_id = "t-1").entered();
        let _ours = tracing::info_span!(target: "safety", "check", user_id = "u-1").entered();
        tracing::trace!(target: "safety", action = "block");
    }
    let filter = || "warn,safety=trace".parse::<Targets>().unwrap();
    let ids = |event: &SafetyEvent| (event.trace_id.clone(), event.user_id.clone());
    let both = (Some("t-1".to_owned()), Some("u-1".to_owned()));

    let beside = check_under(
        |layer| tracing_subscriber::registry().with(Other.with_filter(filter())).with(layer),
        emit,
    );
    assert_eq!(ids(&beside[0]), both);
    let cheap = |it: &tracing::Metadata<'_>| it.is_span() || it.target().starts_with("safety");
    let own = check_under(
        |layer| tracing_subscriber::registry().with(layer.with_filter(filter_fn(cheap))),
        emit,
    );
    assert_eq!(ids(&own[0]), both);
    let over = check_under(|layer| tracing_subscriber::registry().with(layer).with(filter()), emit);
    assert_eq!(ids(&over[0]), (None, both.1));
}

#[test]
fn other_targets_are_left_alone() {
    let events = check(|| {
        tracing::info!("not ours");
        tracing::info!(target: "safetynet", "nor this");
        tracing::info!(target: "safety:pii", "nor this");
    });
    assert!(events.is_empty());
}

#[test]
fn what_is_odd_is_said_once_for_each_kind() {
    let (events, notices) = run(
        |layer| tracing_subscriber::registry().with(layer),
        || {
            for _ in 0..5 {
                tracing::info!(target: "safety", action = "blok");
                tracing::info!(target: "safety", actoin = "block", "secret");
            }
        },
    );
    assert!(events.iter().all(|event| event.action == SafetyAction::Alert));
    let odd: Vec<&Notice> =
        notices.iter().filter(|notice| notice.kind == NoticeKind::Misread).collect();
    let has = |part: &str| odd.iter().filter(|notice| notice.text.contains(part)).count();
    assert_eq!((odd.len(), has("did you mean \"block\"?"), has("did you mean action?")), (3, 1, 1));
    assert_eq!((has("it has no action"), has("secret")), (1, 0));
}
