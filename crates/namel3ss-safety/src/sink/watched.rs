//! An adapter whose calls are kept in mind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::Failed;
use super::calls::secs;
use super::copied::{Copied, land};
use super::safety_event_sink::SafetyEventSink;
use crate::adapter::{AdapterError, Batching, DatasetAdapter, Delivery};
use crate::batch::Batch;
use crate::notice::{Level, Notice, NoticeKind};

impl SafetyEventSink {
    /// Has the adapter store a batch, and keeps its calls in mind.
    pub(super) fn call(
        &self,
        adapter: &dyn DatasetAdapter,
        batch: &Batch<'_>,
    ) -> Result<Option<Copied>, Failed> {
        land(&Watched { sink: self, adapter }, batch, |_| true)
    }

    /// How long the longest of the adapter's calls that have not returned has run.
    pub(crate) fn longest_call(&self) -> Option<Duration> {
        self.calls.longest(self.clock.monotonic())
    }

    fn call_timeout(&self) -> Duration {
        Duration::from_nanos(self.call_timeout_nanos.load(Ordering::Relaxed))
    }

    /// How long a call of an adapter may take that can be ended.
    pub(crate) fn set_call_timeout(&self, timeout: Duration) {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.call_timeout_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Whether a call of the adapter has run longer than `timeout`.
    pub(crate) fn is_late(&self, timeout: Duration) -> bool {
        self.longest_call().is_some_and(|ran| ran > timeout)
    }

    /// Reports each call that has run longer than `timeout`, once.
    pub(crate) fn report_late(&self, timeout: Duration) {
        while let Some(ran) = self.calls.report_late(self.clock.monotonic(), timeout) {
            let text = format!(
                "a call of its adapter has not returned for {}: nothing is delivered to it until it \
                 does; see what it waits for",
                secs(ran)
            );
            self.say(Level::Warning, NoticeKind::AdapterTimeout, &text);
        }
    }
}

/// One call, until it is dropped: the adapter may panic.
struct Calling<'a> {
    sink: &'a SafetyEventSink,
    number: u64,
}

impl<'a> Calling<'a> {
    fn begin(sink: &'a SafetyEventSink) -> Self {
        Self { sink, number: sink.calls.begin(sink.clock.monotonic()) }
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        let Self { sink, number } = self;
        if let Some(took) = sink.calls.end(*number, sink.clock.monotonic()) {
            let text = format!("the late call of its adapter has returned after {}", secs(took));
            sink.say(Level::Info, NoticeKind::AdapterTimeout, &text);
        }
    }
}

/// The adapter of a sink, whose calls are kept in mind: for a replay.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    pub(super) sink: &'a SafetyEventSink,
    pub(super) adapter: &'a dyn DatasetAdapter,
}

impl DatasetAdapter for Watched<'_> {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let _calling = Calling::begin(self.sink);
        self.adapter.insert_within(batch, self.sink.call_timeout())
    }

    fn identity(&self) -> String {
        self.adapter.identity()
    }

    fn delivery(&self) -> Delivery {
        self.adapter.delivery()
    }

    fn batching(&self) -> Batching {
        self.adapter.batching()
    }

    fn notices(&self) -> Vec<Notice> {
        self.adapter.notices()
    }
}
