//! A stream of PostgreSQL's messages that ends at one which is too long. The driver takes the length
//! that a message claims for granted, and makes room for it before it has come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes of a message, and of all messages until the server is ready for the first time.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The most bytes of all messages from one "ready" to the next: more than a page of rows.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// A message's kind and length.
const HEADER_BYTES: usize = 5;
/// The kind of message by which a server says that it is ready.
const READY: u8 = b'Z';

/// A stream that looks at the header of each message.
pub(super) struct Capped<S> {
    stream: S,
    messages: Messages,
}

#[derive(Debug)]
struct Messages {
    header: [u8; HEADER_BYTES],
    /// How many bytes of the next header have come.
    known: usize,
    /// How many bytes of this message, or before the first, are still to come.
    left: usize,
    /// How many more bytes messages may have before the server is ready.
    budget: usize,
}

impl<S> Capped<S> {
    /// Messages begin behind the next `skip` bytes.
    pub(super) fn new(stream: S, skip: usize) -> Self {
        let budget = MESSAGE_BYTES_MAX;
        Self { stream, messages: Messages { header: [0; 5], known: 0, left: skip, budget } }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl Messages {
    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            self.header[self.known] = bytes[0];
            self.known += 1;
            bytes = &bytes[1..];
            if self.known == HEADER_BYTES {
                self.known = 0;
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let [kind, length @ ..] = self.header;
        // It counts itself.
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(told("a message of more than 16 MiB, or of no length"));
        }
        self.left = length - 4;
        self.budget = self
            .budget
            .checked_sub(length)
            .ok_or_else(|| told("more than an answer that this library asks for has"))?;
        if kind == READY {
            self.budget = ANSWER_BYTES_MAX;
        }
        Ok(())
    }
}

fn told(what: &str) -> io::Error {
    let text = format!("the server sends {what}; see whether it is PostgreSQL that answers there");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl<S: AsyncRead + Unpin> AsyncRead for Capped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let passed = self.messages.pass(&buf.filled()[before..]);
        if passed.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(passed)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, length: u32) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(length.to_be_bytes());
        bytes
    }

    /// A server that announced 2 GiB made the driver take as much memory at once.
    #[test]
    fn long_messages_and_endless_greetings_end_the_connection() {
        let begin = || Capped::new((), 1).messages;
        for length in [0, 3, (16 << 20) + 1, 0x7fff_ffff, u32::MAX] {
            let bytes = [vec![b'N'], message(b'R', 8), vec![0; 4], message(b'E', length)].concat();
            assert!(begin().pass(&bytes).is_err(), "{length}");
            let mut messages = begin();
            let by_byte: Vec<_> = bytes.chunks(1).map(|byte| messages.pass(byte)).collect();
            assert!(by_byte[..bytes.len() - 1].iter().all(Result::is_ok), "{length}");
            assert!(by_byte[bytes.len() - 1].is_err(), "{length}");
        }
        let mut messages = Capped::new((), 0).messages;
        let notice = [message(b'N', 1 << 20), vec![0; (1 << 20) - 4]].concat();
        (0..16).for_each(|_| messages.pass(&notice).unwrap());
        assert!(messages.pass(&notice).is_err());
        let mut messages = Capped::new((), 0).messages;
        let ready = [message(READY, 5), vec![b'I']].concat();
        for _ in 0..100 {
            (0..15).for_each(|_| messages.pass(&notice).unwrap());
            messages.pass(&ready).unwrap();
        }
    }
}
