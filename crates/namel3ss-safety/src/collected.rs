//! A logger for the tests of an application.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::MemoryAdapter;
use crate::event::SafetyEvent;
use crate::logger::{JournalKind, SafetyEventLogger};

/// What a logger of [`SafetyEventLogger::collecting`] was given.
#[derive(Clone, Debug)]
pub struct Collected {
    logger: SafetyEventLogger,
    dataset: Arc<MemoryAdapter>,
}

/// How long events are waited for; they only go from memory to memory.
const SOON: Duration = Duration::from_secs(30);

impl SafetyEventLogger {
    /// A logger for tests, with the events that it was given: it keeps everything in memory, and writes
    /// no file.
    ///
    /// ```
    /// use namel3ss_safety::{SafetyAction, SafetyEvent, SafetyEventLogger};
    /// let (logger, collected) = SafetyEventLogger::collecting();
    /// logger.log(&SafetyEvent::redact("pii"));
    /// assert_eq!(collected.events()[0].action, SafetyAction::Redact);
    /// ```
    ///
    /// # Panics
    /// Never: its settings are right.
    #[must_use]
    pub fn collecting() -> (Self, Collected) {
        let dataset = Arc::new(MemoryAdapter::default());
        let builder = Self::builder().dataset(dataset.clone()).no_fallback();
        let logger = builder.journal(JournalKind::Memory).build().expect("its settings are right");
        (logger.clone(), Collected { logger, dataset })
    }
}

impl Collected {
    /// All events that were logged before the call, in their order.
    #[must_use]
    pub fn events(&self) -> Vec<SafetyEvent> {
        let _ = self.logger.flush(Some(SOON));
        self.dataset.rows().into_iter().map(|row| row.event).collect()
    }
}
