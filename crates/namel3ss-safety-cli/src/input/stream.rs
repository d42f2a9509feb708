//! Input that a Ctrl-C ends.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::io::Interrupt;

/// How long a Ctrl-C may go unnoticed while nothing comes in.
const NOTICE_WITHIN: Duration = Duration::from_millis(50);
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks wait at most: standard input is not read into memory.
const CHUNKS_MAX: usize = 4;

/// A reader that ends, as a file does, once somebody wants the run to end.
///
/// The read itself happens on a thread of its own, because no signal wakes a read of a pipe
/// without unsafe code; the thread is left behind in its read when the run ends.
pub(crate) struct Interruptible {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
    interrupt: Interrupt,
}

impl Interruptible {
    pub(crate) fn new(mut reader: Box<dyn Read + Send>, interrupt: Interrupt) -> io::Result<Self> {
        let (send, chunks) = sync_channel(CHUNKS_MAX);
        std::thread::Builder::new().name("n3-safety-input".into()).spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = match reader.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(n) => {
                        chunk.truncate(n);
                        Ok(chunk)
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => Err(e),
                };
                let failed = read.is_err();
                if send.send(read).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { chunks, chunk: io::Cursor::default(), interrupt })
    }
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.chunk.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if self.interrupt.raised() {
                return Ok(0);
            }
            match self.chunks.recv_timeout(NOTICE_WITHIN) {
                Ok(chunk) => self.chunk = io::Cursor::new(chunk?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}
