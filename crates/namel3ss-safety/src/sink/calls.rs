//! Which calls of the adapter have not returned yet. A call that hangs holds up its worker, and
//! nothing else would report it: no attempt has failed, and no batch has settled.

use std::sync::Mutex;
use std::time::Duration;

use super::SafetyEventSink;
use super::attempt::Failed;
use super::copied::{Copied, land};
use crate::adapter::{AdapterError, Batching, DatasetAdapter, Delivery};
use crate::batch::Batch;
use crate::locks::lock;
use crate::notice::{Level, Notice};

/// The calls of one sink. There may be several: a sink can be shared by loggers, and be written to
/// without one.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    last: u64,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    since: Duration,
    /// It was reported as late.
    reported: bool,
}

impl Calls {
    fn begin(&self, now: Duration) -> u64 {
        let mut running = lock(&self.running);
        running.last += 1;
        let number = running.last;
        running.calls.push(Call { number, since: now, reported: false });
        number
    }

    /// Ends a call; how long it took, if it was reported as late.
    fn end(&self, number: u64, now: Duration) -> Option<Duration> {
        let mut running = lock(&self.running);
        let at = running.calls.iter().position(|call| call.number == number)?;
        let call = running.calls.swap_remove(at);
        call.reported.then(|| now.saturating_sub(call.since))
    }

    fn longest(&self, now: Duration) -> Option<Duration> {
        let running = lock(&self.running);
        running.calls.iter().map(|call| now.saturating_sub(call.since)).max()
    }

    /// How long the first call has run that has run longer than `timeout` and was not reported.
    fn report_late(&self, now: Duration, timeout: Duration) -> Option<Duration> {
        let mut running = lock(&self.running);
        let ran = |call: &Call| now.saturating_sub(call.since);
        let late = |call: &&mut Call| !call.reported && ran(call) > timeout;
        let call = running.calls.iter_mut().find(late)?;
        call.reported = true;
        Some(ran(call))
    }
}

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
            self.say(Level::Warning, "adapter_timeout", &text);
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
            sink.say(Level::Info, "adapter_timeout", &text);
        }
    }
}

/// A span of time, for people.
pub(crate) fn secs(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
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
        self.adapter.insert(batch)
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
