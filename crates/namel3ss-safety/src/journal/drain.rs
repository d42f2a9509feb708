//! Moving frames from where `log()` writes them into segments, and making segments durable.
//!
//! One drainer at a time; it never holds anything that `append` waits for. Frames leave the ring
//! and the spill files only when they are in a segment.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use super::frame::{self, Header, Kind, Place};
use super::gap::Gap;
use super::header::{FileHeader, FileKind, HEADER_BYTES, Seal};
use super::media::{Folder, MediumFile};
use super::names::SEGMENT_PREFIX;
use super::options::Options;
use super::ring::{Ring, RingFrame};
use super::segment::{Segment, SegmentWriter, Step, Walk};
use super::spill::{Spill, SpillReader, Spilled};
use super::store::Store;
use crate::batch::Durability;
use crate::id::Seq;
use crate::locks::lock;
use crate::memory;

/// How many bytes go to the disk with one write.
pub(super) const WRITE_BYTES: usize = 512 << 10;
const SEGMENT_BYTES_FIRST: u64 = 256 << 10;
/// What is tried where the disk has no room for more.
const SEGMENT_BYTES_LEAST: u64 = 32 << 10;

/// The drainer's own state; behind the journal's lock.
#[derive(Debug)]
pub(super) struct Drainer {
    /// The last seq that is in a segment.
    pub(super) drained: Seq,
    /// The ring's place after what was read.
    pub(super) position: u64,
    pub(super) spill: SpillReader,
    pub(super) writer: Option<SegmentWriter>,
    pub(super) segments_made: u32,
    /// Finished segments that a sync has yet to cover.
    pub(super) unsynced: Vec<Unsynced>,
    /// How many names were made, and how many of them the folder was synced for.
    pub(super) names_made: u64,
    pub(super) names_synced: u64,
    /// A sync has failed, and what it should have covered is not rewritten yet: syncing the same
    /// files again would say ok whatever was lost.
    pub(super) suspect: bool,
    pub(super) batch: Batch,
    pub(super) gaps: VecDeque<Gap>,
    /// Seqs that were dropped before they were written: without a word about them in a segment,
    /// recovery would take them for damage.
    pub(super) skipped: Option<(Seq, Seq)>,
    pub(super) salvage: Salvage,
}

/// What is done with a ring that is damaged.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// The ring takes no more frames.
    pub(super) given_up: bool,
    /// Frames that are still whole are to be looked for.
    pub(super) due: bool,
    /// Those that were found and not yet taken, in order.
    pub(super) frames: VecDeque<(Header, Vec<u8>)>,
    /// The end of the run of seqs right behind what was drained that nobody has any more; frames
    /// that were collected lie behind it.
    pub(super) lost: Option<Seq>,
    /// All of them.
    pub(super) lost_runs: Vec<(Seq, Seq)>,
}

/// What was read and not written yet; it survives a failed write.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) payloads: Vec<u8>,
    pub(super) frames: Vec<(Header, usize)>,
    pub(super) ring: Vec<RingFrame>,
    pub(super) out: Vec<u8>,
}

/// What the drainer works on.
pub(super) struct Parts<'a> {
    pub(super) folder: &'a dyn Folder,
    pub(super) header: &'a FileHeader,
    pub(super) ring: &'a Ring,
    pub(super) spill: &'a Spill,
    pub(super) store: &'a Store,
    pub(super) options: &'a Options,
}

/// A part of a segment that a sync has yet to cover. Where power cuts count, its file is kept
/// open, because only a descriptor from before a failure is sure to be told of it; elsewhere
/// nobody may ever ask for a sync, and it is opened again if somebody does.
#[derive(Clone, Debug)]
pub(super) struct Unsynced {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Option<Arc<dyn MediumFile>>,
    pub(super) from: u64,
    pub(super) end: u64,
}

/// What a sync has to cover: taken under the lock, synced without it.
#[derive(Debug)]
pub(super) struct Dirty {
    pub(super) through: Seq,
    parts: Vec<Unsynced>,
    /// How many names there were; `None` if the folder was synced for all of them.
    names: Option<u64>,
}

impl Drainer {
    /// Of a journal whose events up to `drained` are in segments, and whose ring is empty.
    pub(super) fn new(drained: Seq) -> Self {
        Self {
            drained,
            position: 0,
            spill: SpillReader::default(),
            writer: None,
            segments_made: 0,
            unsynced: Vec::new(),
            // The ring's and the cursor's.
            names_made: 1,
            names_synced: 0,
            suspect: false,
            batch: Batch::default(),
            gaps: VecDeque::new(),
            skipped: None,
            salvage: Salvage::default(),
        }
    }

    pub(super) fn drained(&self) -> Seq {
        self.drained
    }

    /// Moves everything that is committed; how many events that were. Events before `floor` were
    /// dropped meanwhile and are not written.
    pub(super) fn drain(
        &mut self,
        parts: &Parts<'_>,
        floor: Seq,
        gaps: &Mutex<VecDeque<Gap>>,
    ) -> io::Result<u64> {
        let mut events = 0;
        loop {
            self.gaps.append(&mut lock(gaps));
            self.collect(parts)?;
            if let Some(last) = self.salvage.lost.take() {
                self.skip_lost(parts, last).inspect_err(|_| self.salvage.lost = Some(last))?;
                continue;
            }
            if self.batch.frames.is_empty() && self.gaps.is_empty() {
                return Ok(events);
            }
            let count = self.batch.frames.len() as u64;
            self.write(parts, floor)?;
            events += count;
            if count == 0 {
                return Ok(events);
            }
        }
    }

    /// Reads committed frames in the order of their seqs, from the ring or a spill file, whichever
    /// has the next one.
    fn collect(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        if parts.ring.is_lost() {
            return self.collect_damaged(parts);
        }
        match self.collect_whole(parts) {
            // What was found before it is written first, which frees some.
            Err(error)
                if error.kind() == io::ErrorKind::OutOfMemory && !self.batch.frames.is_empty() =>
            {
                Ok(())
            }
            collected => collected,
        }
    }

    fn collect_whole(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        let batch = &mut self.batch;
        let mut next = batch.frames.last().map_or(self.drained, |(header, _)| header.seq).next();
        while batch.payloads.len() < WRITE_BYTES {
            let from = batch.payloads.len();
            memory::reserve(&mut batch.frames, 1)?;
            memory::reserve(&mut batch.ring, 1)?;
            if let Some(frame) = parts.ring.read(self.position, &mut batch.payloads)? {
                // A page may have vanished while it was read.
                let whole =
                    || !parts.ring.is_damaged() || frame.header.matches(&batch.payloads[from..]);
                if frame.header.seq == next && whole() {
                    batch.frames.push((frame.header, from));
                    batch.ring.push(frame);
                    self.position = frame.next;
                    next = next.next();
                    continue;
                }
                batch.payloads.truncate(from);
            }
            if parts.ring.last() < next {
                break;
            }
            let taken =
                parts.spill.take(parts.folder, &mut self.spill, next, &mut batch.payloads)?;
            match taken {
                Spilled::Frame(header) => batch.frames.push((header, from)),
                Spilled::Void => push_void(batch, next),
                Spilled::Nothing => break,
            }
            next = next.next();
        }
        Ok(())
    }

    /// Writes what was collected, into as many segments as it takes.
    fn write(&mut self, parts: &Parts<'_>, floor: Seq) -> io::Result<()> {
        let mut done = 0;
        let result = self.write_frames(parts, floor, &mut done);
        let result = result.and_then(|()| self.write_gaps(parts));
        // Give back what is safe, also after an error.
        let batch = &mut self.batch;
        if done > 0 {
            let last = batch.frames[done - 1].0.seq;
            let released = batch.ring.partition_point(|frame| frame.header.seq <= last);
            let stored = self.skipped.map_or(last, |(from, _)| Seq(from.0 - 1));
            parts.ring.release(&batch.ring[..released], last, stored);
            batch.ring.drain(..released);
            batch.frames.drain(..done);
            self.drained = last;
            if batch.frames.is_empty() {
                batch.payloads.clear();
                parts.spill.remove_finished(parts.folder, &mut self.spill);
            }
        }
        result
    }

    fn write_frames(&mut self, parts: &Parts<'_>, floor: Seq, done: &mut usize) -> io::Result<()> {
        while *done < self.batch.frames.len() {
            let (first, _) = self.batch.frames[*done];
            if first.seq < floor {
                let from = self.skipped.map_or(first.seq, |(from, _)| from);
                self.skipped = Some((from, first.seq));
                *done += 1;
                continue;
            }
            self.write_skipped(parts)?;
            self.make_room(parts, first.seq, first.size() as u64)?;
            // Made just now where it was missing.
            let Some(writer) = &mut self.writer else { return Ok(()) };
            let (start, room) = (writer.place(), writer.room() as usize);
            let out = &mut self.batch.out;
            out.clear();
            let (mut to, mut events, mut last) = (*done, 0, Seq(0));
            for (header, at) in &self.batch.frames[*done..] {
                if out.len() + header.size() > room || out.len() > WRITE_BYTES {
                    break;
                }
                match memory::reserve(out, header.size()) {
                    Err(error) if out.is_empty() => return Err(error),
                    Err(_) => break,
                    Ok(()) => {}
                }
                let place = Place { position: start.position + out.len() as u64, ..start };
                let end = out.len() + header.size();
                out.extend_from_slice(&header.bytes(place));
                out.extend_from_slice(&self.batch.payloads[*at..*at + header.length]);
                out.resize(end, 0);
                to += 1;
                events += u64::from(header.kind == Kind::Event);
                last = header.seq;
            }
            writer.write(out, last, events)?;
            *done = to;
        }
        Ok(())
    }

    /// Says which seqs were dropped before they were written, before anything that comes after them.
    pub(super) fn write_skipped(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        let Some((from, last)) = self.skipped else { return Ok(()) };
        self.write_void(parts, from, last)?;
        self.skipped = None;
        Ok(())
    }

    fn write_void(&mut self, parts: &Parts<'_>, from: Seq, last: Seq) -> io::Result<()> {
        let payload = last.0.to_le_bytes();
        self.make_room(parts, from, frame::size_of_frame(payload.len()) as u64)?;
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let out = &mut self.batch.out;
        out.clear();
        frame::write(out, Kind::Void, from, &payload, writer.place());
        writer.write(out, last, 0)
    }

    fn write_gaps(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        if !self.gaps.is_empty() {
            self.write_skipped(parts)?;
        }
        while let Some(gap) = self.gaps.front() {
            let payload = gap.to_bytes();
            let size = frame::size_of_frame(payload.len()) as u64;
            let after = self.writer.as_ref().map_or(self.drained, |w| w.segment.last());
            self.make_room(parts, after.next(), size)?;
            let Some(writer) = &mut self.writer else { return Ok(()) };
            let last = writer.segment.last();
            let out = &mut self.batch.out;
            out.clear();
            frame::write(out, Kind::Gap, last, &payload, writer.place());
            writer.write(out, last, 0)?;
            self.gaps.pop_front();
        }
        Ok(())
    }

    /// Goes on to a new segment where the current one has no room.
    pub(super) fn make_room(&mut self, parts: &Parts<'_>, first: Seq, size: u64) -> io::Result<()> {
        if self.writer.as_ref().is_some_and(|writer| writer.room() >= size) {
            return Ok(());
        }
        let grown = SEGMENT_BYTES_FIRST << self.segments_made.min(8);
        let bytes = grown.min(parts.options.segment_bytes_max).max(HEADER_BYTES as u64 + size);
        let writer = match self.create(parts, first, bytes) {
            Ok(writer) => writer,
            Err(error) => {
                // On a full disk the only room to come may be this segment's own: once it is
                // sealed and delivered, it is removed.
                self.retire(parts);
                let least = HEADER_BYTES as u64 + size.max(SEGMENT_BYTES_LEAST);
                if bytes <= least {
                    return Err(error);
                }
                self.create(parts, first, least)?
            }
        };
        self.retire(parts);
        self.writer = Some(writer);
        self.publish(parts);
        // What was delivered and removed meanwhile needs no sync.
        let folder_first = parts.store.first().unwrap_or_default();
        self.unsynced.retain(|part| part.segment.last() >= folder_first);
        Ok(())
    }

    /// Ends the current segment.
    pub(super) fn retire(&mut self, parts: &Parts<'_>) {
        if let Some(mut full) = self.writer.take() {
            full.seal();
            let keep_open = parts.options.durability == Durability::Power;
            self.unsynced.extend(unsynced(&full, keep_open));
        }
    }

    fn create(&mut self, parts: &Parts<'_>, first: Seq, bytes: u64) -> io::Result<SegmentWriter> {
        let header = parts.header.for_file(FileKind::Segment, first);
        let writer = SegmentWriter::create(parts.folder, SEGMENT_PREFIX, &header, bytes)?;
        self.segments_made += 1;
        self.names_made += 1;
        Ok(writer)
    }

    fn publish(&self, parts: &Parts<'_>) {
        if let Some(writer) = &self.writer {
            parts.store.insert(writer.segment.clone());
        }
    }

    /// What is not synced yet; `None` if nothing.
    pub(super) fn dirty(&mut self) -> Option<Dirty> {
        let mut parts = self.unsynced.clone();
        parts.extend(self.writer.as_ref().and_then(|writer| unsynced(writer, true)));
        (!parts.is_empty()).then_some(Dirty {
            through: self.drained,
            parts,
            names: (self.names_synced < self.names_made).then_some(self.names_made),
        })
    }

    /// Says that a sync has covered `dirty`. Meanwhile segments may have grown, been finished or
    /// been made: that is not covered.
    pub(super) fn synced(&mut self, dirty: &Dirty) {
        self.names_synced = self.names_synced.max(dirty.names.unwrap_or(0));
        let covered = |segment: &Arc<Segment>| {
            let part = dirty.parts.iter().find(|part| Arc::ptr_eq(&part.segment, segment));
            part.map_or(0, |part| part.end)
        };
        self.unsynced.retain_mut(|part| {
            part.from = part.from.max(covered(&part.segment));
            part.from < part.end
        });
        if let Some(writer) = &mut self.writer {
            let end = covered(&writer.segment);
            writer.synced(end);
        }
    }

    /// Whether a failed sync waits for its frames to be rewritten.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// After a failed sync: the kernel may have dropped what was written since the last good one,
    /// and would say ok to a second try. So what was not confirmed is read back while it can be,
    /// and written to new segments; the old ones are cut where they were confirmed.
    pub(super) fn poisoned(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.suspect = true;
        for at in 0..self.unsynced.len() {
            let part = self.unsynced[at].clone();
            let mut moved = self.rewrite(parts, &part)?;
            moved.seal();
            if let Some(moved) = unsynced(&moved, true) {
                self.unsynced[at] = moved;
            }
        }
        if let Some(part) = self.writer.as_ref().and_then(|writer| unsynced(writer, true)) {
            let moved = self.rewrite(parts, &part)?;
            if let Some(mut old) = self.writer.replace(moved) {
                old.seal();
            }
        }
        self.suspect = false;
        Ok(())
    }

    /// Writes the frames of `part` to a new segment, and cuts the old one before them.
    pub(super) fn rewrite(
        &mut self,
        parts: &Parts<'_>,
        part: &Unsynced,
    ) -> io::Result<SegmentWriter> {
        let old = &part.segment;
        let file = match &part.file {
            Some(file) => file.clone(),
            None => parts.folder.open(&old.name)?,
        };
        let mut walk = Walk::new(file, old.epoch, HEADER_BYTES as u64, part.end);
        let mut kept = Seal { end: part.from, last: Seq(old.first.0 - 1), events: 0 };
        let mut moved: Vec<(Header, Vec<u8>)> = Vec::new();
        let payload_of = |payload: &[u8]| -> io::Result<Vec<u8>> {
            let mut copy = Vec::new();
            memory::extend(&mut copy, payload).map(|()| copy)
        };
        loop {
            match walk.step()? {
                Step::Frame { header, at, .. } if at < part.from => {
                    kept.last = kept.last.max(header.seq);
                    kept.events += u64::from(header.kind == Kind::Event);
                }
                Step::Frame { header, payload, .. } => moved.push((header, payload_of(payload)?)),
                Step::Damage { .. } => {}
                Step::End { .. } => break,
            }
        }
        let bytes: usize = moved.iter().map(|(header, _)| header.size()).sum();
        let room = (bytes as u64 * 2).max(SEGMENT_BYTES_FIRST) + HEADER_BYTES as u64;
        let mut writer = self.create(parts, kept.last.next(), room)?;
        let (start, mut out) = (writer.place(), Vec::new());
        if let Err(error) = memory::reserve(&mut out, bytes) {
            let _ = parts.folder.remove(&writer.segment.name);
            return Err(error);
        }
        let (mut events, mut last) = (0, kept.last);
        for (header, payload) in &moved {
            let place = Place { position: start.position + out.len() as u64, ..start };
            frame::write(&mut out, header.kind, header.seq, payload, place);
            events += u64::from(header.kind == Kind::Event);
            last = last.max(header.seq);
        }
        if let Err(error) = writer.write(&out, last, events) {
            let _ = parts.folder.remove(&writer.segment.name);
            return Err(error);
        }
        // In this order, so that a reader finds each event in one of them at least.
        parts.store.insert(writer.segment.clone());
        old.publish(kept);
        Ok(writer)
    }
}

pub(super) fn push_void(batch: &mut Batch, seq: Seq) {
    let last = seq.0.to_le_bytes();
    batch.frames.push((Header::new(Kind::Void, seq, &last), batch.payloads.len()));
    batch.payloads.extend_from_slice(&last);
}

fn unsynced(writer: &SegmentWriter, keep_open: bool) -> Option<Unsynced> {
    writer.is_dirty().then(|| Unsynced {
        segment: writer.segment.clone(),
        file: keep_open.then(|| writer.file()),
        from: writer.synced_end(),
        end: writer.place().position,
    })
}

impl Dirty {
    /// Syncs without any lock held.
    pub(super) fn sync(&self, folder: &dyn Folder) -> io::Result<()> {
        for part in &self.parts {
            match &part.file {
                Some(file) => file.sync()?,
                None => match folder.open(&part.segment.name) {
                    Ok(file) => file.sync()?,
                    // Delivered and removed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
            }
        }
        if self.names.is_some() { folder.sync() } else { Ok(()) }
    }
}
