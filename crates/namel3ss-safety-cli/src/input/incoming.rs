//! An input that is read and taken apart on a thread of its own.
//!
//! No signal wakes a read of a pipe without unsafe code, so the thread is left behind in its read
//! when a Ctrl-C ends the run. It also lets one core parse while another logs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use namel3ss_safety::internal::process;

use super::bytes::Reader;
use super::pieces::Batch;
use super::pieces::{Input, Options};
use crate::io::Interrupt;

/// How long a Ctrl-C may go unnoticed while nothing comes in.
const NOTICE_WITHIN: Duration = Duration::from_millis(50);
/// How many batches wait at most: an input is not read into memory.
const BATCHES_MAX: usize = 4;

/// What came next.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Batch),
    /// Nothing until the moment that was asked for.
    Nothing,
    /// The input has ended, or somebody has ended the run.
    End,
    /// The input can't be read any further.
    Failed(io::Error),
}

/// The rows of an input as they come in.
pub(crate) struct Incoming {
    batches: Receiver<io::Result<Option<Batch>>>,
    interrupt: Interrupt,
    dropped: Arc<AtomicBool>,
}

impl Incoming {
    /// Starts reading. The reader's name tells its format where its beginning does not.
    pub(crate) fn start(
        reader: Reader,
        name: Option<PathBuf>,
        options: Options,
        interrupt: Interrupt,
    ) -> io::Result<Self> {
        let (send, batches) = sync_channel(BATCHES_MAX);
        let (raised, dropped) = (interrupt.clone(), Arc::new(AtomicBool::new(false)));
        let forgotten = Arc::clone(&dropped);
        process::spawn("n3-safety-input", None, move || {
            let mut input = match Input::open(reader, name.as_deref(), options) {
                Ok(input) => input,
                Err(error) => {
                    let _ = send.send(Err(error));
                    return;
                }
            };
            loop {
                if raised.raised() || forgotten.load(Ordering::Relaxed) {
                    return;
                }
                let batch = input.batch();
                let ends = !matches!(batch, Ok(Some(_)));
                if send.send(batch).is_err() || ends {
                    return;
                }
            }
        })?;
        Ok(Self { batches, interrupt, dropped })
    }

    /// Waits for more, until `moment` if it is given.
    pub(crate) fn next(&mut self, moment: Option<Instant>) -> Next {
        loop {
            let left = moment.map(|moment| moment.saturating_duration_since(Instant::now()));
            let wait = left.map_or(NOTICE_WITHIN, |left| left.min(NOTICE_WITHIN));
            match self.batches.recv_timeout(wait) {
                Ok(Ok(Some(batch))) => return Next::Batch(batch),
                Ok(Ok(None)) => return Next::End,
                Ok(Err(error)) => return Next::Failed(error),
                Err(RecvTimeoutError::Timeout) if self.interrupt.raised() => return Next::End,
                Err(RecvTimeoutError::Timeout) if left == Some(Duration::ZERO) => {
                    return Next::Nothing;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if self.interrupt.raised() => {
                    return Next::End;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Next::Failed(io::Error::other("the thread that read it has ended"));
                }
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}
