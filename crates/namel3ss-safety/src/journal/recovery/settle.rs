//! Bringing a journal's folder to rest: what lies in the ring and in spill files goes into one more
//! segment, and then they go.

use std::io;
use std::sync::Arc;

use super::super::frame::{self, Kind, Place, VOID_BYTES};
use super::super::header::{FileHeader, FileKind, HEADER_BYTES};
use super::super::media::Folder;
use super::super::names::ASIDE_SUFFIX;
use super::super::names::SEGMENT_PREFIX;
use super::super::segment::{Segment, SegmentWriter};
use super::super::store::{Damage, Store};
use super::scan::Scan;
use crate::batch::Durability;
use crate::id::Seq;

/// A journal at rest: only to be delivered.
#[derive(Debug)]
pub struct Settled {
    /// Its segments.
    pub store: Store,
    /// Whose it is.
    pub header: FileHeader,
    /// Damage that was met.
    pub damage: Vec<Damage>,
    /// Frames that were being written when the process ended.
    pub torn_tails: u64,
}

impl Scan {
    /// Brings the folder to rest: loose frames into one more segment, unusable files set aside,
    /// emptied ones removed. With `Power` everything is synced before anything is removed.
    ///
    /// # Errors
    /// The medium's own; what was done stays done, and it can be tried again.
    pub fn settle(
        mut self,
        folder: &Arc<dyn Folder>,
        durability: Durability,
    ) -> io::Result<Settled> {
        if !self.loose.is_empty() || self.released > self.last() {
            let segment = self.write_loose(&**folder, durability)?;
            self.segments.push(segment);
        }
        // Behind the loose frames, some of which may lie in one of them.
        for name in &self.unusable {
            let aside = format!("{name}{ASIDE_SUFFIX}");
            // Left where it is if it can't be renamed: the next opening sees it again.
            let _ = folder.rename(name, &aside);
        }
        if durability == Durability::Power {
            folder.sync()?;
        }
        for name in &self.emptied {
            folder.remove(name)?;
        }
        let store = Store::new(self.header.journal, folder.clone(), self.segments);
        Ok(Settled { store, header: self.header, damage: self.damage, torn_tails: self.torn_tails })
    }

    fn write_loose(&self, folder: &dyn Folder, durability: Durability) -> io::Result<Arc<Segment>> {
        // Before each loose frame there may be a void one.
        let void = frame::size_of_frame(VOID_BYTES);
        let sizes = self.loose.iter().map(|l| (frame::size_of_frame(l.length) + void) as u64);
        let bytes: u64 = sizes.sum();
        let mut expected = self.segments.iter().map(|s| s.last()).max().map_or(Seq(1), Seq::next);
        let header = self.header.for_file(FileKind::Segment, expected);
        let bytes = HEADER_BYTES as u64 + bytes;
        let mut writer = SegmentWriter::create(folder, SEGMENT_PREFIX, &header, bytes)?;
        let (mut out, mut payload) = (Vec::new(), Vec::new());
        let mut events = 0;
        let start = writer.place();
        let mut position = start.position;
        for (i, loose) in self.loose.iter().enumerate() {
            payload.resize(loose.length, 0);
            loose.file.read_at(&mut payload, loose.at)?;
            // What has left the ring was in a segment, and is missing there.
            expected = expected.max(self.released.next().min(loose.seq));
            if loose.seq > expected && !self.loose_damage {
                // Seqs that nothing was damaged for: claimed, never committed, never logged.
                let last = loose.seq.0 - 1;
                let place = Place { position: position + out.len() as u64, ..start };
                frame::write(&mut out, Kind::Void, expected, &last.to_le_bytes(), place);
            }
            expected = loose.seq.next();
            let place = Place { position: position + out.len() as u64, ..start };
            frame::write(&mut out, Kind::Event, loose.seq, &payload, place);
            events += 1;
            if out.len() > 1 << 20 || i + 1 == self.loose.len() {
                writer.write(&out, loose.seq, events)?;
                position += out.len() as u64;
                events = 0;
                out.clear();
            }
        }
        if self.loose.is_empty() {
            // Nothing but a seal, which says what should be there and is not.
            writer.promise(self.released);
        }
        writer.seal();
        if durability == Durability::Power {
            writer.file().sync()?;
        }
        Ok(writer.segment)
    }
}
