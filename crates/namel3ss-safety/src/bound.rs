//! Loggers that fill in what their events leave open.

use serde_json::{Map, Value};

use crate::codec::{Entries, Head, Source, Texts};
use crate::event::SafetyEvent;
use crate::logger::{Logged, SafetyEventLogger};

/// What a [`BoundLogger`] fills in: a text where the event has none, an entry of `metadata` where the
/// event has none of that key.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "as in SafetyEvent")]
pub struct EventDefaults {
    pub app_name: Option<String>,
    pub chain_name: Option<String>,
    pub agent_name: Option<String>,
    pub policy_name: Option<String>,
    pub reason: Option<String>,
    pub trace_id: Option<String>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    pub metadata: Map<String, Value>,
}

impl EventDefaults {
    /// These, and those of `outer` for what these leave open.
    fn over(mut self, outer: &Self) -> Self {
        let pairs = [
            (&mut self.app_name, &outer.app_name),
            (&mut self.chain_name, &outer.chain_name),
            (&mut self.agent_name, &outer.agent_name),
            (&mut self.policy_name, &outer.policy_name),
            (&mut self.reason, &outer.reason),
            (&mut self.trace_id, &outer.trace_id),
            (&mut self.session_id, &outer.session_id),
            (&mut self.user_id, &outer.user_id),
        ];
        for (ours, theirs) in pairs {
            if ours.is_none() {
                ours.clone_from(theirs);
            }
        }
        for (key, value) in &outer.metadata {
            if !self.metadata.contains_key(key) {
                self.metadata.insert(key.clone(), value.clone());
            }
        }
        self
    }
}

/// A handle of a logger that fills in what its events leave open; made by
/// [`SafetyEventLogger::bind`].
#[derive(Clone, Debug)]
pub struct BoundLogger {
    logger: SafetyEventLogger,
    defaults: EventDefaults,
}

impl SafetyEventLogger {
    /// A handle of this logger that fills in what its events leave open, such as the ids of one request.
    ///
    /// ```
    /// use namel3ss_safety::{EventDefaults, SafetyEvent, SafetyEventLogger};
    /// let (logger, collected) = SafetyEventLogger::collecting();
    /// let request = logger.bind(EventDefaults {
    ///     trace_id: Some("t-1".into()),
    ///     ..EventDefaults::default()
    /// });
    /// request.log(&SafetyEvent::block("jailbreak"));
    /// assert_eq!(collected.events()[0].trace_id.as_deref(), Some("t-1"));
    /// ```
    #[must_use]
    pub fn bind(&self, defaults: EventDefaults) -> BoundLogger {
        BoundLogger { logger: self.clone(), defaults }
    }
}

impl BoundLogger {
    /// As [`SafetyEventLogger::log`], with what is bound filled in.
    pub fn log(&self, event: &SafetyEvent) -> Logged {
        self.logger.log(&Filled { event, defaults: &self.defaults })
    }

    /// As [`SafetyEventLogger::try_log`], with what is bound filled in.
    pub fn try_log(&self, event: &SafetyEvent) -> Option<Logged> {
        self.logger.try_log(&Filled { event, defaults: &self.defaults })
    }

    /// One that fills in `defaults`, and what is bound here where these leave it open.
    #[must_use]
    pub fn bind(&self, defaults: EventDefaults) -> Self {
        Self { logger: self.logger.clone(), defaults: defaults.over(&self.defaults) }
    }

    /// The logger that it is a handle of.
    #[must_use]
    pub fn logger(&self) -> &SafetyEventLogger {
        &self.logger
    }
}

/// An event with its defaults, which are read where they are.
struct Filled<'a> {
    event: &'a SafetyEvent,
    defaults: &'a EventDefaults,
}

impl Source for Filled<'_> {
    fn head(&self) -> Head<'_> {
        let head = self.event.head();
        let defaults = [
            &self.defaults.app_name,
            &self.defaults.chain_name,
            &self.defaults.agent_name,
            &self.defaults.policy_name,
            &self.defaults.reason,
            &self.defaults.trace_id,
            &self.defaults.session_id,
            &self.defaults.user_id,
        ];
        let texts = std::array::from_fn(|i| head.texts[i].or(defaults[i].as_deref()));
        Head { texts, ..head }
    }

    fn categories(&self, into: &mut Texts<'_, '_>) {
        Source::categories(self.event, into);
    }

    fn metadata(&self, into: &mut Entries<'_, '_>) {
        Source::metadata(self.event, into);
        let open = |key: &String| !self.event.metadata.contains_key(key);
        let mut open = self.defaults.metadata.iter().filter(|(key, _)| open(key));
        let _ = open.all(|(key, value)| into.entry(key, |slot| slot.json(value)));
    }
}
