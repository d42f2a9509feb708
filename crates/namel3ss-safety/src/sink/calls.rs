//! Which calls of the adapter have not returned yet. A call that hangs holds up its worker, and
//! nothing else would report it: no attempt has failed, and no batch has settled.

use std::sync::Mutex;
use std::time::Duration;

use crate::locks::lock;

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
    pub(super) fn begin(&self, now: Duration) -> u64 {
        let mut running = lock(&self.running);
        running.last += 1;
        let number = running.last;
        running.calls.push(Call { number, since: now, reported: false });
        number
    }

    /// Ends a call; how long it took, if it was reported as late.
    pub(super) fn end(&self, number: u64, now: Duration) -> Option<Duration> {
        let mut running = lock(&self.running);
        let at = running.calls.iter().position(|call| call.number == number)?;
        let call = running.calls.swap_remove(at);
        call.reported.then(|| now.saturating_sub(call.since))
    }

    pub(super) fn longest(&self, now: Duration) -> Option<Duration> {
        let running = lock(&self.running);
        running.calls.iter().map(|call| now.saturating_sub(call.since)).max()
    }

    /// How long the first call has run that has run longer than `timeout` and was not reported.
    pub(super) fn report_late(&self, now: Duration, timeout: Duration) -> Option<Duration> {
        let mut running = lock(&self.running);
        let ran = |call: &Call| now.saturating_sub(call.since);
        let late = |call: &&mut Call| !call.reported && ran(call) > timeout;
        let call = running.calls.iter_mut().find(late)?;
        call.reported = true;
        Some(ran(call))
    }
}

/// A span of time, for people.
pub(crate) fn secs(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
