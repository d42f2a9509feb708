//! The two events that benchmarks log: one with all that there is, and one with what most have.

use namel3ss_safety::{Direction, SafetyAction, SafetyEvent, Severity};
use serde_json::json;

/// All 17 fields and 4 metadata entries: a payload of some 230 bytes.
pub(crate) fn full() -> SafetyEvent {
    let metadata = json!({
        "rule": "email", "matches": 2, "model": "gpt-4o-mini", "score": 0.97
    });
    let serde_json::Value::Object(metadata) = metadata else { unreachable!("it is an object") };
    SafetyEvent {
        app_name: Some("checkout".into()),
        chain_name: Some("support_chain".into()),
        agent_name: Some("triage".into()),
        policy_name: Some("pii_policy".into()),
        reason: Some("e-mail address".into()),
        trace_id: Some("4bf92f3577b34da6".into()),
        session_id: Some("s-81723".into()),
        user_id: Some("u-5521".into()),
        direction: Direction::Output,
        action: SafetyAction::Redact,
        categories: vec!["pii".into(), "email".into()],
        severity: Severity::High,
        confidence: 0.98,
        latency_ms: 10.5,
        metadata,
        ..SafetyEvent::default()
    }
}

/// Six fields set, the rest as they come: a payload of some 90 bytes.
pub(crate) fn small() -> SafetyEvent {
    SafetyEvent {
        policy_name: Some("pii_policy".into()),
        direction: Direction::Output,
        action: SafetyAction::Block,
        latency_ms: 12.5,
        ..SafetyEvent::default()
    }
}
