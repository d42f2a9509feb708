//! One preallocated file of frames, in the order of their seqs, and how to walk it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::frame::{self, Header, Kind, Place};
use super::header::{FileHeader, HEADER_BYTES, SEAL_AT, Seal};
use super::media::{Folder, MediumFile, read_around};
use crate::id::Seq;
use crate::memory;

/// What the journal knows of one segment without reading it.
#[derive(Debug)]
pub struct Segment {
    /// Its file's name.
    pub name: String,
    /// Its file's random number.
    pub epoch: u64,
    /// No frame in it has a smaller seq.
    pub first: Seq,
    end: AtomicU64,
    last: AtomicU64,
    events: AtomicU64,
    sealed: AtomicBool,
    unreadable: AtomicBool,
}

impl Segment {
    /// As recovery or a writer found it.
    #[must_use]
    pub fn new(name: String, header: &FileHeader, seal: Option<Seal>) -> Self {
        let empty = Seal {
            end: HEADER_BYTES as u64,
            last: Seq(header.first.0.saturating_sub(1)),
            events: 0,
        };
        let known = seal.unwrap_or(empty);
        Self {
            name,
            epoch: header.epoch,
            first: header.first,
            end: AtomicU64::new(known.end),
            last: AtomicU64::new(known.last.0),
            events: AtomicU64::new(known.events),
            sealed: AtomicBool::new(seal.is_some()),
            unreadable: AtomicBool::new(false),
        }
    }

    /// Notes that some of it can't be read: its file is set aside then, not removed. True the first
    /// time.
    pub fn note_unreadable(&self) -> bool {
        !self.unreadable.swap(true, Ordering::AcqRel)
    }

    /// Whether some of it could not be read.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Acquire)
    }

    /// Where its frames end: what lies before may be read.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The seq of its last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
    }

    /// How many events it holds.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Whether nothing will be added to it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Bytes of frames.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end().saturating_sub(HEADER_BYTES as u64)
    }

    /// Says what is in it now; readers see it from here on.
    pub fn publish(&self, seal: Seal) {
        self.events.store(seal.events, Ordering::Release);
        self.last.store(seal.last.0, Ordering::Release);
        self.end.store(seal.end, Ordering::Release);
    }

    /// Says that nothing will be added.
    pub fn close(&self) {
        self.sealed.store(true, Ordering::Release);
    }
}

/// The file name of a segment or spill whose first possible seq is `first`.
#[must_use]
pub fn file_name(prefix: &str, first: Seq, epoch: u64) -> String {
    // The epoch tells apart two files that begin with the same seq, as after a failed sync.
    format!("{prefix}-{:020}-{:08x}.n3j", first.0, epoch as u32)
}

/// Appends to one file of frames. One thread at a time.
#[derive(Debug)]
pub struct SegmentWriter {
    /// What readers see of it.
    pub segment: Arc<Segment>,
    file: Arc<dyn MediumFile>,
    capacity: u64,
    now: Seal,
    /// Up to where it was synced.
    synced_end: u64,
}

impl SegmentWriter {
    /// Makes the file with `bytes` allocated.
    ///
    /// # Errors
    /// The medium's own; no file is left then.
    pub fn create(
        folder: &dyn Folder,
        prefix: &str,
        header: &FileHeader,
        bytes: u64,
    ) -> io::Result<Self> {
        let name = file_name(prefix, header.first, header.epoch);
        let file = folder.create(&name, bytes)?;
        if let Err(error) = file.write_at(&header.to_block(), 0) {
            let _ = folder.remove(&name);
            return Err(error);
        }
        let segment = Arc::new(Segment::new(name, header, None));
        let now = Seal { end: segment.end(), last: segment.last(), events: 0 };
        Ok(Self { segment, file, capacity: bytes, now, synced_end: 0 })
    }

    /// Room that is left.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.capacity - self.now.end
    }

    /// Where the next frame goes.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { epoch: self.segment.epoch, position: self.now.end }
    }

    /// The file, for a sync that must not hold the writer.
    #[must_use]
    pub fn file(&self) -> Arc<dyn MediumFile> {
        self.file.clone()
    }

    /// Whether it holds what was not synced.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.synced_end < self.now.end
    }

    /// Says that a sync has covered it up to `end`.
    pub fn synced(&mut self, end: u64) {
        self.synced_end = self.synced_end.max(end);
    }

    /// Up to where it was synced.
    #[must_use]
    pub fn synced_end(&self) -> u64 {
        self.synced_end.max(HEADER_BYTES as u64)
    }

    /// Writes whole frames that were bound to [`place`](Self::place), and publishes them.
    ///
    /// # Errors
    /// The medium's own; nothing is published then, and the same bytes may be written again.
    pub fn write(&mut self, frames: &[u8], last: Seq, events: u64) -> io::Result<()> {
        debug_assert!(frames.len() as u64 <= self.room(), "the caller keeps within the room");
        self.file.write_at(frames, self.now.end)?;
        self.now = Seal {
            end: self.now.end + frames.len() as u64,
            last: last.max(self.now.last),
            events: self.now.events + events,
        };
        self.segment.publish(self.now);
        Ok(())
    }

    /// Says that events up to `last` should be there, though they are not: readers then miss them.
    pub fn promise(&mut self, last: Seq) {
        self.now.last = self.now.last.max(last);
        self.segment.publish(self.now);
    }

    /// Ends the file: writes its seal, which later openings trust. A seal that can't be written
    /// costs them a scan, nothing else.
    pub fn seal(&mut self) {
        let _ = self.file.write_at(&self.now.to_bytes(self.segment.epoch), SEAL_AT as u64);
        self.segment.close();
    }
}

/// One thing met on a walk.
#[derive(Debug)]
pub enum Step<'a> {
    /// A frame that is whole; `at` is where it begins.
    Frame {
        /// Its header.
        header: Header,
        /// What it holds.
        payload: &'a [u8],
        /// Where it begins.
        at: u64,
    },
    /// Bytes that are no frame, from one offset up to another, where a frame begins again.
    Damage {
        /// Where it begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// No frame begins before the end.
    End {
        /// What lies between the last frame and the end.
        tail: Tail,
        /// Where the last frame ends.
        at: u64,
    },
}

/// What lies behind the last frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// A frame that was being written when the process ended: expected, and never acknowledged.
    Torn,
}

/// Walks the frames of one file, from an offset to an end, in bounded memory; resynchronizes
/// behind damage on steps of 8 bytes.
#[derive(Debug)]
pub struct Walk {
    file: Arc<dyn MediumFile>,
    epoch: u64,
    at: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
    /// Bytes whose check failed: hostile bytes can look like the beginning of a large frame at
    /// every step, so the work that they cause is bounded.
    failed_bytes: u64,
    /// Each block that can't be read may cost seconds, so their number is bounded too.
    failures_left: u32,
    unreadable: Option<io::Error>,
}

/// How many blocks of a file may fail to be read before the rest of it counts as unreadable.
pub(super) const READ_FAILURES_MAX: u32 = 64;
/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// See [`Walk`]; some 0.1 s of checking.
const FAILED_BYTES_MAX: u64 = 1 << 30;

impl Walk {
    /// From offset `at` to offset `end` of a file whose epoch is known.
    #[must_use]
    pub fn new(file: Arc<dyn MediumFile>, epoch: u64, at: u64, end: u64) -> Self {
        Self {
            file,
            epoch,
            at,
            end,
            chunk: Vec::new(),
            chunk_at: 0,
            failed_bytes: 0,
            failures_left: READ_FAILURES_MAX,
            unreadable: None,
        }
    }

    /// Why some of what was passed could not be read, once; it reads as zero.
    pub fn take_unreadable(&mut self) -> Option<io::Error> {
        self.unreadable.take()
    }

    /// The offset of the next step.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether it walks the file of that epoch.
    #[must_use]
    pub fn is_of(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    /// Goes on up to a later end: the file has grown.
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Goes back to `at`, the beginning of a frame it has passed.
    pub fn back_to(&mut self, at: u64) {
        self.at = at;
    }

    /// The next step. After [`Step::End`] it may be called again once the walk was extended.
    ///
    /// What can't be read is damage; see [`take_unreadable`](Self::take_unreadable).
    ///
    /// # Errors
    /// If the file can't be read now, for a reason that does not lie with it.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        let from = self.at;
        let mut at = from;
        let mut torn = false;
        while at + frame::HEADER_BYTES as u64 <= self.end {
            let place = Place { epoch: self.epoch, position: at };
            let head = self.bytes(at, frame::HEADER_BYTES)?;
            torn |= head.iter().any(|byte| *byte != 0);
            if let Some(header) = Header::parse_bytes(head, place) {
                let whole = header.size() as u64 <= self.end - at;
                let plausible = header.kind != Kind::Wrap
                    && header.length <= frame::PAYLOAD_BYTES_MAX
                    && self.failed_bytes < FAILED_BYTES_MAX;
                if plausible && whole {
                    let payload = self.bytes(at + frame::HEADER_BYTES as u64, header.length)?;
                    if header.matches(payload) {
                        if at > from {
                            self.at = at;
                            return Ok(Step::Damage { from, to: at });
                        }
                        self.at = at + header.size() as u64;
                        // Read again, because the borrow above ends with the comparison.
                        let payload = self.bytes(at + frame::HEADER_BYTES as u64, header.length)?;
                        return Ok(Step::Frame { header, payload, at });
                    }
                    self.failed_bytes += header.length as u64;
                }
            }
            at += 8;
        }
        if !torn && at < self.end {
            torn = self.bytes(at, (self.end - at) as usize)?.iter().any(|byte| *byte != 0);
        }
        let tail = if torn { Tail::Torn } else { Tail::Clean };
        Ok(Step::End { tail, at: from })
    }

    /// `n` bytes at offset `at`, from the chunk in memory or from the file; what lies behind the
    /// end of a file that was cut short reads as zero.
    fn bytes(&mut self, at: u64, n: usize) -> io::Result<&[u8]> {
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if at < self.chunk_at || at + n as u64 > chunk_end {
            let want = n.max(CHUNK_BYTES).min((self.end - at) as usize).max(n);
            memory::resize(&mut self.chunk, want, 0)?;
            let read = read_around(&*self.file, &mut self.chunk, at, &mut self.failures_left);
            let (got, wrong) = read.inspect_err(|_| self.chunk.clear())?;
            self.unreadable = wrong.or(self.unreadable.take());
            self.chunk[got..].fill(0);
            self.chunk_at = at;
        }
        let from = (at - self.chunk_at) as usize;
        Ok(&self.chunk[from..from + n])
    }
}
