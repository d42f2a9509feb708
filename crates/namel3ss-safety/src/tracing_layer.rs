//! Safety events from [`tracing`] events, for applications that are instrumented with it.
//!
//! Events of the target `safety`, and of targets below it such as `safety::pii`, are logged;
//! others are left alone. **A filter that stands before the layer must let the target through**:
//! `info,safety=trace`, not `info`, where safety events are below that level.
//!
//! | field of the tracing event | becomes |
//! | --- | --- |
//! | one of the 17 names of a [`SafetyEvent`] | that field |
//! | the message | `reason`, unless there is a field `reason` |
//! | any other | an entry of `metadata`, with its type |
//!
//! `action` and `direction` take their words in any case, `severity` any word. `confidence` and
//! `latency_ms` take numbers, also written as text. `timestamp` takes ISO 8601. `categories` takes
//! words parted by commas (`"pii, email"`) or the debug form of a list (`?["pii", "email"]`), and
//! may be repeated. `metadata` takes the text of a JSON object. What fits none of that is kept in
//! `metadata` under its own name, and is never an error.
//!
//! `trace_id`, `session_id`, `user_id`, `app_name`, `chain_name`, `agent_name` and `policy_name`
//! that an event lacks come from the spans around it, the innermost first, whatever their targets.
//!
//! ```
//! use namel3ss_safety::tracing_layer::SafetyLayer;
//! use namel3ss_safety::{AdapterRegistry, MemoryAdapter, SafetyAction, SafetyEventLogger};
//! use std::sync::Arc;
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! let home = tempfile::tempdir()?;
//! let dataset = Arc::new(MemoryAdapter::default());
//! let registry = AdapterRegistry::default();
//! registry.register("safety_events", dataset.clone());
//! let logger =
//!     SafetyEventLogger::builder().adapter_registry(registry).home(home.path()).build()?;
//! let logger = Arc::new(logger);
//!
//! let subscriber = tracing_subscriber::registry().with(SafetyLayer::new(logger.clone()));
//! tracing::subscriber::with_default(subscriber, || {
//!     let _span = tracing::info_span!("request", user_id = "u-7").entered();
//!     tracing::warn!(target: "safety", action = "redact", policy_name = "pii", "e-mail found");
//! });
//!
//! assert!(logger.stop(None).complete);
//! let event = dataset.rows()[0].event.clone();
//! assert_eq!(event.action, SafetyAction::Redact);
//! assert_eq!((event.user_id.as_deref(), event.reason.as_deref()), (Some("u-7"), Some("e-mail found")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::event::{SafetyEvent, Severity};
use crate::logger::SafetyEventLogger;

/// The target whose events, and those of targets below it, are logged.
pub const TARGET: &str = "safety";

/// What an event takes from the spans around it.
const INHERITED: [&str; 7] =
    ["trace_id", "session_id", "user_id", "app_name", "chain_name", "agent_name", "policy_name"];

/// Logs the events of the target `safety`. See the [module](self).
///
/// It waits only where [`SafetyEventLogger::log`] does, and may be used by an adapter that the same
/// logger delivers to. **Limit:** under a subscriber that is set for a scope, `tracing` itself
/// passes no event on that is emitted while the same thread is in the midst of another.
#[derive(Clone, Debug)]
pub struct SafetyLayer {
    logger: Arc<SafetyEventLogger>,
}

impl SafetyLayer {
    /// A layer that logs to `logger`.
    #[must_use]
    pub fn new(logger: Arc<SafetyEventLogger>) -> Self {
        Self { logger }
    }
}

impl<S> Layer<S> for SafetyLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut names = Inherited::default();
        attributes.record(&mut names);
        if let (false, Some(span)) = (names.is_empty(), context.span(id)) {
            span.extensions_mut().replace(names);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut newer = Inherited::default();
        values.record(&mut newer);
        let Some(span) = context.span(id).filter(|_| !newer.is_empty()) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Inherited>() {
            Some(names) => names.take(newer),
            None => {
                extensions.replace(newer);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let below = event.metadata().target().strip_prefix(TARGET);
        if !below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) {
            return;
        }
        let mut building = Building { event: SafetyEvent::default(), message: None };
        event.record(&mut building);
        let Building { event: mut decision, message } = building;
        decision.reason = decision.reason.or(message);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(names) = span.extensions().get::<Inherited>() {
                names.fill(&mut decision);
            }
        }
        // Whatever became of it is counted by the logger; there is nobody here to tell.
        let _ = self.logger.log(&decision);
    }
}

/// The texts of one span, in the order of [`INHERITED`].
#[derive(Debug, Default)]
struct Inherited([Option<String>; INHERITED.len()]);

impl Inherited {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn take(&mut self, newer: Self) {
        for (mine, newer) in self.0.iter_mut().zip(newer.0) {
            if newer.is_some() {
                *mine = newer;
            }
        }
    }

    fn fill(&self, event: &mut SafetyEvent) {
        let SafetyEvent {
            trace_id,
            session_id,
            user_id,
            app_name,
            chain_name,
            agent_name,
            policy_name,
            ..
        } = event;
        let fields = [trace_id, session_id, user_id, app_name, chain_name, agent_name, policy_name];
        for (field, mine) in fields.into_iter().zip(&self.0) {
            if field.is_none() {
                field.clone_from(mine);
            }
        }
    }
}

impl Values for Inherited {
    fn value(&mut self, name: &str, value: Value) {
        if let Some(at) = INHERITED.iter().position(|known| *known == name) {
            self.0[at] = Some(text(value));
        }
    }
}

/// An event in the making.
struct Building {
    event: SafetyEvent,
    message: Option<String>,
}

impl Values for Building {
    fn value(&mut self, name: &str, value: Value) {
        if let Err(value) = self.named(name, value) {
            self.event.metadata.insert(name.to_owned(), value);
        }
    }
}

impl Building {
    /// Fills the field called `name`; gives back what does not fit.
    fn named(&mut self, name: &str, value: Value) -> Result<(), Value> {
        let event = &mut self.event;
        match name {
            "message" => self.message = Some(text(value)),
            "event_id" => event.event_id = text(value),
            "app_name" => event.app_name = Some(text(value)),
            "chain_name" => event.chain_name = Some(text(value)),
            "agent_name" => event.agent_name = Some(text(value)),
            "policy_name" => event.policy_name = Some(text(value)),
            "reason" => event.reason = Some(text(value)),
            "trace_id" => event.trace_id = Some(text(value)),
            "session_id" => event.session_id = Some(text(value)),
            "user_id" => event.user_id = Some(text(value)),
            "severity" => event.severity = Severity::from(text(value).as_str()),
            "categories" => event.categories.extend(words(text(value))),
            "timestamp" => event.timestamp = parsed(value, |text| text.parse().ok())?,
            "action" => {
                event.action = parsed(value, |text| text.to_ascii_lowercase().parse().ok())?;
            }
            "direction" => {
                event.direction = parsed(value, |text| text.to_ascii_lowercase().parse().ok())?;
            }
            "confidence" => event.confidence = number(value)?,
            "latency_ms" => event.latency_ms = number(value)?,
            "metadata" => {
                let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
                event.metadata.extend(parsed(value, object)?);
            }
            _ => return Err(value),
        }
        Ok(())
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn parsed<T>(value: Value, parse: impl Fn(&str) -> Option<T>) -> Result<T, Value> {
    value.as_str().and_then(parse).ok_or(value)
}

fn number(value: Value) -> Result<f64, Value> {
    let parsed = value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_f64().or(parsed).ok_or(value)
}

/// The words of a list, or of a text with commas.
fn words(text: String) -> Vec<String> {
    match serde_json::from_str(&text) {
        Ok(list) => list,
        Err(_) => {
            text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
        }
    }
}

/// Takes values by their names.
trait Values {
    fn value(&mut self, name: &str, value: Value);
}

macro_rules! visit {
    ($($type:ty),+) => {$(
        impl Visit for $type {
            fn record_f64(&mut self, field: &Field, n: f64) {
                let value = Number::from_f64(n).map(Value::Number);
                self.value(field.name(), value.unwrap_or_else(|| n.to_string().into()));
            }

            fn record_i64(&mut self, field: &Field, n: i64) {
                self.value(field.name(), n.into());
            }

            fn record_u64(&mut self, field: &Field, n: u64) {
                self.value(field.name(), n.into());
            }

            fn record_bool(&mut self, field: &Field, b: bool) {
                self.value(field.name(), b.into());
            }

            fn record_str(&mut self, field: &Field, text: &str) {
                self.value(field.name(), text.into());
            }

            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.value(field.name(), format!("{value:?}").into());
            }
        }
    )+};
}

visit!(Inherited, Building);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterRegistry, MemoryAdapter};
    use crate::event::{Direction, SafetyAction};
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// What is in the dataset after `emit` has run under a layer.
    fn check(emit: impl FnOnce()) -> Vec<SafetyEvent> {
        let home = tempfile::tempdir().unwrap();
        let dataset = Arc::new(MemoryAdapter::default());
        let registry = AdapterRegistry::default();
        registry.register("safety_events", dataset.clone());
        let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home.path());
        let logger = Arc::new(builder.build().unwrap());
        let subscriber = tracing_subscriber::registry().with(SafetyLayer::new(logger.clone()));
        tracing::subscriber::with_default(subscriber, emit);
        assert!(logger.stop(Some(Duration::from_secs(20))).complete);
        dataset.rows().into_iter().map(|row| row.event).collect()
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
        assert_eq!((event.action, event.direction), (SafetyAction::Allow, Direction::Input));
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

    #[test]
    fn other_targets_are_left_alone() {
        let events = check(|| {
            tracing::info!("not ours");
            tracing::info!(target: "safetynet", "nor this");
            tracing::info!(target: "safety:pii", "nor this");
        });
        assert!(events.is_empty());
    }
}
