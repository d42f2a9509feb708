//! Events of `tracing` as safety events: `cargo run --features tracing --example tracing_events`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use namel3ss_safety::{SafetyAction, SafetyEventLogger, SafetyLayer};
use tracing_subscriber::layer::SubscriberExt as _;

fn main() {
    let (logger, collected) = SafetyEventLogger::collecting();
    let layer = SafetyLayer::new(Arc::new(logger));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let _request = tracing::info_span!("request", user_id = "u-7").entered();
        tracing::warn!(target: "safety", action = "redact", policy_name = "pii", "e-mail found");
        tracing::info!("not a safety event");
    });
    let events = collected.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action, SafetyAction::Redact);
    println!("{}", events[0].to_json());
}
