//! The tokio of stores: futures, run to their end from synchronous code, on a thread of their own,
//! so that the caller may stand in any runtime or in none.
//!
//! Database servers do without that thread, in `src/runtime.rs`: nothing moves there while nobody
//! waits. Here a client keeps connections for the next request, and must see meanwhile that a store
//! has closed one; a write on it would fail, and nobody knew whether it was done.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use namel3ss_safety::internal::process;

/// How much longer the caller waits than the work may take, for the thread to say so.
const GRACE: Duration = Duration::from_secs(5);

/// A runtime of one thread.
#[derive(Debug)]
pub(crate) struct Runtime {
    tokio: Option<tokio::runtime::Runtime>,
}

/// The work did not come to its end in time, or panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered;

impl Runtime {
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(4).thread_name("n3-safety-net");
        builder.enable_io().enable_time();
        // Its threads inherit the mask, and those that they start later inherit theirs.
        let tokio = process::without_signals(|| builder.build())?;
        Ok(Self { tokio: Some(tokio) })
    }

    /// Waits for `work`, but no longer than `within`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Unanswered> {
        // There is one until it is dropped.
        let tokio = self.tokio.as_ref().ok_or(Unanswered)?;
        let (say, hear) = mpsc::sync_channel(1);
        tokio.spawn(async move {
            if let Ok(done) = tokio::time::timeout(within, work).await {
                // Whoever asked may have given up.
                let _ = say.send(done);
            }
        });
        hear.recv_timeout(within + GRACE).map_err(|_| Unanswered)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            // Not waiting: it may be dropped inside somebody's runtime.
            tokio.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_waited_for_also_within_another_runtime_and_never_too_long() {
        let outer = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        outer.block_on(async {
            let runtime = Runtime::start().expect("a runtime");
            assert_eq!(runtime.run(Duration::from_secs(5), async { 7 }), Ok(7));
            let never = std::future::pending::<()>();
            assert_eq!(runtime.run(Duration::from_millis(10), never), Err(Unanswered));
            let panics = async { std::panic::resume_unwind(Box::new("on purpose")) };
            assert_eq!(runtime.run::<()>(Duration::from_secs(5), panics), Err(Unanswered));
            assert_eq!(runtime.run(Duration::from_secs(5), async { 8 }), Ok(8));
        });
    }
}
