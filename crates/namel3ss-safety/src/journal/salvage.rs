//! A ring that is damaged: it takes no more frames, those that are still whole are taken out of it,
//! and the others are lost, which their segment says.

use std::io;
use std::time::Duration;

use super::drain::{Batch, Drainer, Parts, Unsynced, WRITE_BYTES, push_void};
use super::header::HEADER_BYTES;
use super::spill::Spilled;
use crate::id::Seq;
use crate::memory;

/// How long frames that are being written when a ring is given up may take to be committed: what is
/// not there then counts as lost, or is written again by its caller.
const COMMIT_GRACE: Duration = Duration::from_millis(1);

impl Drainer {
    /// Has the next drain look again for whole frames in a damaged ring.
    pub(super) fn look_again(&mut self) {
        self.salvage.due = true;
    }

    /// Whether the event of `seq` went with a damaged ring, or was not drained at all.
    pub(super) fn is_lost(&self, seq: Seq) -> bool {
        let lost = |(first, last): &(Seq, Seq)| (*first..=*last).contains(&seq);
        seq > self.drained || self.salvage.lost_runs.iter().any(lost)
    }

    /// As [`collect`](Self::collect), where the ring is damaged: it takes no more frames, those that
    /// are still whole are taken, and the others are lost.
    pub(super) fn collect_damaged(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        if self.salvage.lost.is_some() {
            return Ok(());
        }
        let last = |batch: &Batch| batch.frames.last().map(|(header, _)| header.seq);
        if !std::mem::replace(&mut self.salvage.given_up, true) {
            parts.ring.give_up();
            self.salvage.due = true;
            std::thread::sleep(COMMIT_GRACE);
        }
        let mut next = last(&self.batch).unwrap_or(self.drained).next();
        if std::mem::take(&mut self.salvage.due) {
            let frames = parts.ring.salvage(self.position).into_iter();
            self.salvage.frames = frames.filter(|(header, _)| header.seq >= next).collect();
        }
        let through = parts.spill.quiet_last(parts.ring);
        while self.batch.payloads.len() < WRITE_BYTES && next <= through {
            let batch = &mut self.batch;
            let from = batch.payloads.len();
            let salvaged = &mut self.salvage.frames;
            if salvaged.front().is_some_and(|(header, _)| header.seq == next) {
                let bytes = salvaged.front().map_or(0, |(_, payload)| payload.len());
                memory::reserve(&mut batch.payloads, bytes)?;
                if let Some((header, payload)) = salvaged.pop_front() {
                    batch.payloads.extend_from_slice(&payload);
                    batch.frames.push((header, from));
                }
                next = next.next();
                continue;
            }
            let payloads = &mut batch.payloads;
            match parts.spill.take(parts.folder, &mut self.spill, next, payloads)? {
                Spilled::Frame(header) => batch.frames.push((header, from)),
                Spilled::Void => push_void(batch, next),
                Spilled::Nothing if batch.frames.is_empty() => self.salvage.lost = Some(next),
                // What was found before it is written first.
                Spilled::Nothing => break,
            }
            next = next.next();
        }
        Ok(())
    }

    /// Goes on behind seqs that nobody has any more: their segment says that they should be there,
    /// so that readers miss them, and ends.
    pub(super) fn skip_lost(&mut self, parts: &Parts<'_>, last: Seq) -> io::Result<()> {
        self.write_skipped(parts)?;
        let first = self.drained.next();
        self.make_room(parts, first, 0)?;
        if let Some(writer) = &mut self.writer {
            writer.promise(last);
        }
        self.retire(parts);
        self.drained = last;
        self.salvage.lost_runs.push((first, last));
        parts.ring.release(&[], last, last);
        Ok(())
    }

    /// Goes on in another segment: the names of all files were removed. What is in the segment of now
    /// is moved there, by its descriptor; if that fails, readers miss it.
    pub(super) fn leave_files(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.unsynced.clear();
        let Some(mut old) = self.writer.take() else { return Ok(()) };
        let part = Unsynced {
            segment: old.segment.clone(),
            file: Some(old.file()),
            from: HEADER_BYTES as u64,
            end: old.place().position,
        };
        old.seal();
        self.writer = Some(self.rewrite(parts, &part)?);
        Ok(())
    }
}
