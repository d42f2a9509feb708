//! Safety events from `tracing` events, for applications that are instrumented with it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::event::SafetyEvent;
use crate::logger::SafetyEventLogger;
use crate::parse;

/// The target whose events, and those of targets below it, are logged.
const TARGET: &str = "safety";

/// What an event takes from the spans around it.
const INHERITED: [&str; 7] =
    ["trace_id", "session_id", "user_id", "app_name", "chain_name", "agent_name", "policy_name"];

/// Safety events from [`tracing`] events, for applications that are instrumented with it.
///
/// Events of the target `safety`, and of targets below it such as `safety::pii`, are logged; others
/// are left alone. Records of the `log` crate count by their own target, where `tracing-log` passes
/// them on.
///
/// | field of the tracing event | becomes |
/// | --- | --- |
/// | one of the 17 names of a [`SafetyEvent`] | that field, as [`SafetyEvent::from_json`] reads it |
/// | the message | `reason`, unless there is a field `reason` |
/// | the level, unless there is a field `severity` | `severity`: error `high`, warn `medium`, info `low`, debug and trace `none` |
/// | any other | an entry of `metadata`, with its type |
///
/// **Nothing becomes `allow` by accident**: an event without `action`, or with an unknown word for
/// it, is an `alert`; the words are listed at [`SafetyAction`](crate::SafetyAction). `categories` takes words
/// parted by commas (`"pii, email"`) or the debug form of a list (`?["pii", "email"]`), and may be
/// repeated. `metadata` takes the text of a JSON object. What does not fit its field is kept in
/// `metadata` under the field's name, and is never an error; the first of each kind is a notice of the
/// logger (`misread`).
///
/// `trace_id`, `session_id`, `user_id`, `app_name`, `chain_name`, `agent_name` and `policy_name`
/// that an event lacks come from the spans around it, the innermost first, whatever their targets.
///
/// It waits only where [`SafetyEventLogger::log`] does, and may be used by an adapter that the same
/// logger delivers to. **Limit:** under a subscriber that is set for a scope, `tracing` itself
/// passes no event on that is emitted while the same thread is in the midst of another.
///
/// # Filters
///
/// The layer sees the spans and events that filters let through. A filter for the whole subscriber
/// takes spans away from the layer too: with `warn,safety=trace` an info span, and with it its
/// `trace_id`, is lost, unless the span's own target is `safety`. So give a filter to each *other*
/// layer, and none to the subscriber:
///
/// ```text
/// registry().with(fmt::layer().with_filter(filter)).with(SafetyLayer::new(logger))
/// ```
///
/// A layer without a filter makes `tracing` build every event of the program. Where that costs too
/// much, give this layer one that keeps all spans and its own events:
/// `SafetyLayer::new(logger).with_filter(filter_fn(|it| it.is_span() || it.target().starts_with("safety")))`.
///
/// ```
/// use namel3ss_safety::{
///     AdapterRegistry, MemoryAdapter, SafetyAction, SafetyEventLogger, SafetyLayer,
/// };
/// use std::{sync::Arc, time::Duration};
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let home = tempfile::tempdir()?;
/// let dataset = Arc::new(MemoryAdapter::default());
/// let registry = AdapterRegistry::default();
/// registry.register("safety_events", dataset.clone());
/// let logger =
///     SafetyEventLogger::builder().adapter_registry(registry).home(home.path()).build()?;
/// let logger = Arc::new(logger);
///
/// let subscriber = tracing_subscriber::registry().with(SafetyLayer::new(logger.clone()));
/// tracing::subscriber::with_default(subscriber, || {
///     let _span = tracing::info_span!("request", user_id = "u-7").entered();
///     tracing::warn!(target: "safety", action = "redact", policy_name = "pii", "e-mail found");
/// });
///
/// assert!(logger.stop(Some(Duration::from_secs(10))).complete);
/// let event = dataset.rows()[0].event.clone();
/// assert_eq!(event.action, SafetyAction::Redact);
/// assert_eq!((event.user_id.as_deref(), event.reason.as_deref()), (Some("u-7"), Some("e-mail found")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        let metadata = event.metadata();
        let from_log = metadata.target() == LOG_TARGET;
        let is_ours = if from_log {
            let mut target = TargetOfLog::default();
            event.record(&mut target);
            target.is_ours
        } else {
            is_ours(metadata.target())
        };
        if !is_ours {
            return;
        }
        let mut found = Fields { from_log, ..Fields::default() };
        event.record(&mut found);
        let parse::Parsed { event: mut decision, remarks, .. } = found.decide(metadata.level());
        for remark in &remarks {
            self.logger.say_odd("a tracing event for the record", remark);
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(names) = span.extensions().get::<Inherited>() {
                names.fill(&mut decision);
            }
        }
        // Whatever became of it is counted by the logger; there is nobody here to tell.
        let _ = self.logger.log(&decision);
    }
}

fn is_ours(target: &str) -> bool {
    let below = target.strip_prefix(TARGET);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The target of records of the `log` crate, and what their fields about themselves begin with.
const LOG_TARGET: &str = "log";
const LOG_FIELDS: &str = "log.";

/// Whether a record of the `log` crate is ours by its own target.
#[derive(Default)]
struct TargetOfLog {
    is_ours: bool,
}

impl Values for TargetOfLog {
    fn value(&mut self, name: &str, value: Value) {
        if name == "log.target" {
            self.is_ours = value.as_str().is_some_and(is_ours);
        }
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

/// The fields of an event as they come.
#[derive(Default)]
struct Fields {
    fields: Map<String, Value>,
    categories: Vec<Value>,
    message: Option<Value>,
    from_log: bool,
}

impl Values for Fields {
    fn value(&mut self, name: &str, value: Value) {
        match name {
            "message" => self.message = Some(value),
            "categories" => self.categories.extend(words(text(value))),
            "action" | "direction" | "severity" => {
                self.fields.insert(name.to_owned(), unquoted(value));
            }
            name if self.from_log && name.starts_with(LOG_FIELDS) => {}
            name => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Fields {
    fn decide(self, level: &Level) -> parse::Parsed {
        let Self { mut fields, categories, message, .. } = self;
        if !categories.is_empty() {
            fields.insert("categories".to_owned(), categories.into());
        }
        if let Some(message) = message {
            fields.entry("reason").or_insert(message);
        }
        fields.entry("severity").or_insert_with(|| severity(level).into());
        parse::object(fields)
    }
}

fn severity(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "high",
        Level::WARN => "medium",
        Level::INFO => "low",
        Level::DEBUG | Level::TRACE => "none",
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A word without the quotes that `?` gives to the text of a variable.
fn unquoted(value: Value) -> Value {
    match value {
        Value::String(word) => word.trim_matches('"').into(),
        other => other,
    }
}

/// The words of a list, or of a text with commas.
fn words(text: String) -> Vec<Value> {
    match serde_json::from_str(&text) {
        Ok(Value::Array(list)) => list,
        _ => text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(Value::from).collect(),
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

visit!(Inherited, Fields, TargetOfLog);

#[cfg(test)]
mod tests;
