//! Where a frame goes that finds the ring full, or no ring at all: files that the callers of
//! `log()` write themselves, rather than wait for the drainer. The drainer merges them back by seq.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::frame::{self, Header, Kind};
use super::header::{FileHeader, FileKind, HEADER_BYTES};
use super::media::Folder;
use super::ring::Ring;
use super::segment::{Segment, SegmentWriter, Step, Walk};
use crate::id::Seq;
use crate::locks::lock;
use crate::memory;

/// The beginning of a spill file's name.
pub const SPILL_PREFIX: &str = "spill";
/// The first file of a run; each further one is twice as large, up to the most.
const FILE_BYTES: u64 = 1 << 20;
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What the buffer for one frame keeps.
const FRAME_BYTES_KEPT: usize = 64 << 10;
/// What is tried where the disk has no room for more.
const FILE_BYTES_LEAST: u64 = 64 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Spill {
    /// Held by callers only, across their own write.
    writer: Mutex<Writing>,
    /// What the drainer has yet to take; held by either for a moment.
    files: Mutex<VecDeque<Arc<Segment>>>,
    /// How many bytes of the first of them it has taken.
    taken: AtomicU64,
    /// Seqs that were claimed and then could not be written.
    void: Mutex<BTreeSet<u64>>,
}

#[derive(Debug, Default)]
struct Writing {
    closed: bool,
    current: Option<SegmentWriter>,
    frame: Vec<u8>,
    made: u32,
}

/// The drainer's place in the spill files.
#[derive(Debug, Default)]
pub struct SpillReader {
    walk: Option<(Arc<Segment>, Walk)>,
    finished: Vec<Arc<Segment>>,
}

/// What the drainer finds for the seq it expects.
#[derive(Debug, PartialEq, Eq)]
pub enum Spilled {
    /// The frame was there; its payload was appended.
    Frame(Header),
    /// The frame could not be written, and its caller was told.
    Void,
    /// Not here, or not yet.
    Nothing,
}

impl Spill {
    /// Appends a frame.
    ///
    /// # Errors
    /// The medium's own, and whether a seq was used up by it.
    pub fn append(
        &self,
        folder: &dyn Folder,
        ring: &Ring,
        header: &FileHeader,
        payload: &[u8],
    ) -> Result<Seq, (io::Error, Option<Seq>)> {
        let mut writing = lock(&self.writer);
        if writing.closed {
            return Err((io::Error::other("the journal is closed"), None));
        }
        let size = frame::size_of_frame(payload.len()) as u64;
        if writing.current.as_ref().is_none_or(|writer| writer.room() < size) {
            let grown = FILE_BYTES << writing.made.min(4);
            let bytes = grown.min(FILE_BYTES_MAX).max(HEADER_BYTES as u64 + size);
            let header = header.for_file(FileKind::Spill, ring.last().next());
            let least = HEADER_BYTES as u64 + size.max(FILE_BYTES_LEAST);
            let writer = SegmentWriter::create(folder, SPILL_PREFIX, &header, bytes)
                .or_else(|error| match bytes > least {
                    true => SegmentWriter::create(folder, SPILL_PREFIX, &header, least),
                    false => Err(error),
                })
                .map_err(|error| (error, None))?;
            if let Some(mut full) = writing.current.take() {
                full.seal();
            }
            writing.made += 1;
            lock(&self.files).push_back(writer.segment.clone());
            writing.current = Some(writer);
        }
        let Writing { current, frame, .. } = &mut *writing;
        // Made above where it was missing.
        let Some(writer) = current else { return Err((io::ErrorKind::Other.into(), None)) };
        frame.clear();
        memory::reserve(frame, size as usize).map_err(|error| (error, None))?;
        let seq = ring.claim_seq();
        frame::write(frame, Kind::Event, seq, payload, writer.place());
        let written = writer.write(frame, seq, 1);
        frame.clear();
        frame.shrink_to(FRAME_BYTES_KEPT);
        match written {
            Ok(()) => Ok(seq),
            Err(error) => {
                // The drainer must not wait for a frame that never comes.
                lock(&self.void).insert(seq.0);
                Err((error, Some(seq)))
            }
        }
    }

    /// Looks for the frame of `seq`, which must be the next that the drainer lacks.
    ///
    /// # Errors
    /// If a spill file can't be read.
    pub fn take(
        &self,
        folder: &dyn Folder,
        reader: &mut SpillReader,
        seq: Seq,
        out: &mut Vec<u8>,
    ) -> io::Result<Spilled> {
        loop {
            if reader.walk.is_none() {
                let Some(segment) = lock(&self.files).front().cloned() else { break };
                let file = match folder.open(&segment.name) {
                    Ok(file) => file,
                    // Somebody removed it; what was in it is missed by its seqs.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        lock(&self.files).pop_front();
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let walk = Walk::new(file, segment.epoch, HEADER_BYTES as u64, segment.end());
                reader.walk = Some((segment, walk));
            }
            let Some((segment, walk)) = &mut reader.walk else { break };
            let closed = segment.is_sealed();
            walk.extend(segment.end());
            match walk.step()? {
                Step::Frame { header, payload, at } => {
                    if header.seq == seq {
                        if let Err(error) = memory::extend(out, payload) {
                            walk.back_to(at);
                            return Err(error);
                        }
                        let taken = at + header.size() as u64 - HEADER_BYTES as u64;
                        self.taken.store(taken, Ordering::Relaxed);
                        return Ok(Spilled::Frame(header));
                    }
                    if header.seq > seq {
                        walk.back_to(at);
                        break;
                    }
                }
                Step::Damage { .. } => {}
                Step::End { .. } if closed => {
                    reader.walk = None;
                    let mut files = lock(&self.files);
                    self.taken.store(0, Ordering::Relaxed);
                    reader.finished.extend(files.pop_front());
                }
                Step::End { .. } => break,
            }
        }
        if lock(&self.void).remove(&seq.0) {
            return Ok(Spilled::Void);
        }
        Ok(Spilled::Nothing)
    }

    /// Goes on in another file: that of now was removed.
    pub fn leave_file(&self) {
        if let Some(mut left) = lock(&self.writer).current.take() {
            left.seal();
        }
    }

    /// Takes no more frames. One that is being written comes before.
    pub fn close(&self) {
        let mut writing = lock(&self.writer);
        writing.closed = true;
        if let Some(mut last) = writing.current.take() {
            last.seal();
        }
    }

    /// Lets go of its files, once nobody here reads them any more.
    pub fn let_go(&self) {
        lock(&self.files).clear();
        self.taken.store(0, Ordering::Relaxed);
    }

    /// The last seq that was given out, at a moment at which no frame was being written here: each
    /// up to it is in these files, is void, or went to the ring.
    #[must_use]
    pub fn quiet_last(&self, ring: &Ring) -> Seq {
        let _writing = lock(&self.writer);
        ring.last()
    }

    /// Removes the files whose frames have all been taken and are safe elsewhere by now.
    pub fn remove_finished(&self, folder: &dyn Folder, reader: &mut SpillReader) {
        for file in reader.finished.drain(..) {
            // A file that can't be removed now goes with the journal.
            let _ = folder.remove(&file.name);
        }
    }

    /// Bytes that wait here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = lock(&self.files);
        let bytes: u64 = files.iter().map(|file| file.bytes()).sum();
        bytes.saturating_sub(self.taken.load(Ordering::Relaxed))
    }
}
