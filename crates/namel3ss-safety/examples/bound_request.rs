//! What all events of a request have in common: `cargo run --example bound_request`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use namel3ss_safety::{EventDefaults, SafetyEvent, SafetyEventLogger};

fn main() {
    let (logger, collected) = SafetyEventLogger::collecting();
    let app =
        logger.bind(EventDefaults { app_name: Some("support".into()), ..EventDefaults::default() });
    for (trace, user) in [("t-1", "u-7"), ("t-2", "u-8")] {
        let request = app.bind(EventDefaults {
            trace_id: Some(trace.into()),
            user_id: Some(user.into()),
            ..EventDefaults::default()
        });
        request.log(&SafetyEvent::allow("jailbreak"));
        request.log(&SafetyEvent::redact("pii"));
    }
    let events = collected.events();
    assert_eq!(events.len(), 4);
    for event in events {
        assert_eq!(event.app_name.as_deref(), Some("support"));
        println!("{:?} {:?} {}", event.trace_id, event.user_id, event.action);
    }
}
