//! `flush` and `stop` as futures of the standard library: they wait in a thread of ours, so that a task
//! does not stand still, and no adapter is called on the thread that polls.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::locks::lock;
use crate::logger::{FlushReport, SafetyEventLogger};
use crate::process;

impl SafetyEventLogger {
    /// As [`flush`](Self::flush), for async code: it waits in a thread of ours. It begins with the first
    /// poll; dropping the future does not end it.
    ///
    /// ```
    /// # use namel3ss_safety::SafetyEventLogger;
    /// # use std::time::Duration;
    /// async fn end_of_request(logger: &SafetyEventLogger) {
    ///     let report = logger.flush_async(Some(Duration::from_secs(5))).await;
    ///     assert!(report.complete, "{report:?}");
    /// }
    /// ```
    pub fn flush_async(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = FlushReport> + Send + use<> {
        wait(self.clone(), move |logger| logger.flush(timeout))
    }

    /// As [`stop`](Self::stop), for async code; see [`flush_async`](Self::flush_async).
    pub fn stop_async(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = FlushReport> + Send + use<> {
        wait(self.clone(), move |logger| logger.stop(timeout))
    }
}

#[derive(Default)]
struct Waiting {
    report: Option<FlushReport>,
    waker: Option<Waker>,
}

async fn wait(
    logger: SafetyEventLogger,
    work: impl FnOnce(&SafetyEventLogger) -> FlushReport + Send + 'static,
) -> FlushReport {
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let started = process::spawn("n3-safety-wait", None, {
        let (logger, waiting) = (logger.clone(), waiting.clone());
        move || {
            let report = work(&logger);
            // Before the task goes on: its handle may be the last, and be dropped where it is polled.
            drop(logger);
            let waker = {
                let mut waiting = lock(&waiting);
                waiting.report = Some(report);
                waiting.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    });
    if let Err(error) = started {
        return FlushReport::without_thread(&logger.stats(), &error);
    }
    poll_fn(|context| {
        let mut waiting = lock(&waiting);
        match waiting.report.take() {
            Some(report) => Poll::Ready(report),
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
