//! The segments of one journal, and reading them in the order of their seqs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::Kind;
use super::gap::Gap;
use super::header::HEADER_BYTES;
use super::media::Folder;
use super::segment::{Segment, Step, Walk};
use crate::id::{JournalId, Seq};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// What is wrong, for people.
    pub what: String,
}

/// What [`Store::read`] came to.
#[derive(Debug, Default)]
pub struct ReadReport {
    /// Damage that was met and stepped over.
    pub damage: Vec<Damage>,
    /// Runs of seqs that should have been there and were not.
    pub missing: Vec<(Seq, Seq)>,
    /// Up to where everything was given or found missing.
    pub through: Seq,
}

/// A reader's place; it belongs to one cursor of one store.
#[derive(Debug, Default)]
pub struct ReadPlace {
    walk: Option<(Arc<Segment>, Walk)>,
    /// The seq that the walk stands before.
    next: Seq,
}

/// See the module. The drainer adds segments, workers read and remove them.
#[derive(Debug)]
pub struct Store {
    /// The journal whose segments these are.
    pub journal: JournalId,
    /// Where they lie.
    pub folder: Arc<dyn Folder>,
    segments: Mutex<VecDeque<Arc<Segment>>>,
}

impl Store {
    /// With the segments that recovery found, in the order of their first seqs.
    #[must_use]
    pub fn new(journal: JournalId, folder: Arc<dyn Folder>, segments: Vec<Arc<Segment>>) -> Self {
        Self { journal, folder, segments: Mutex::new(segments.into()) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a segment where its first seq belongs.
    pub fn insert(&self, segment: Arc<Segment>) {
        let mut segments = self.lock();
        let at = segments.partition_point(|known| known.first <= segment.first);
        segments.insert(at, segment);
    }

    /// The first seq of the first segment.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.lock().front().map(|segment| segment.first)
    }

    /// All segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock().iter().cloned().collect()
    }

    /// The last seq in any segment.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.lock().iter().map(|segment| segment.last()).max().unwrap_or_default()
    }

    /// Bytes of frames from `front` on; in the segment that holds `front`, by its share of seqs.
    #[must_use]
    pub fn bytes_from(&self, front: Seq) -> u64 {
        let share = |segment: &Arc<Segment>| {
            let (first, last) = (segment.first, segment.last());
            if last < front {
                0
            } else if first >= front {
                segment.bytes()
            } else {
                let seqs = last.0 - first.0 + 1;
                let left = last.0 - front.0 + 1;
                (u128::from(segment.bytes()) * u128::from(left) / u128::from(seqs)) as u64
            }
        };
        self.lock().iter().map(share).sum()
    }

    /// Removes the sealed segments that hold nothing from `front` on.
    pub fn trim(&self, front: Seq) {
        loop {
            let segment = {
                let mut segments = self.lock();
                match segments.front() {
                    Some(first) if first.is_sealed() && first.last() < front => {
                        segments.pop_front()
                    }
                    _ => None,
                }
            };
            let Some(segment) = segment else { return };
            // A file that can't be removed now goes with the journal.
            let _ = self.folder.remove(&segment.name);
        }
    }

    /// Gives the events from `from` to `upto`, in order, until `take` answers false; that event is
    /// given again next time. Every frame's check is verified; damage is stepped over.
    ///
    /// # Errors
    /// If a segment can't be opened or read; what was given before counts.
    pub fn read(
        &self,
        place: &mut ReadPlace,
        from: Seq,
        upto: Seq,
        take: &mut dyn FnMut(Seq, &[u8]) -> bool,
    ) -> io::Result<ReadReport> {
        let mut report =
            ReadReport { through: Seq(from.0.saturating_sub(1)), ..ReadReport::default() };
        if from < place.next {
            place.walk = None;
        }
        let mut expected = from;
        while expected <= upto {
            let Some((segment, next_first)) = self.segment_for(expected) else { break };
            if !place
                .walk
                .as_ref()
                .is_some_and(|(s, w)| Arc::ptr_eq(s, &segment) && w.is_of(s.epoch))
            {
                let file = match self.folder.open(&segment.name) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        // Somebody removed it. Its events are missing; the rest is not.
                        let what = "the segment is missing".to_owned();
                        report.damage.push(Damage { file: segment.name.clone(), what });
                        self.lock().retain(|s| !Arc::ptr_eq(s, &segment));
                        let end = segment.last().min(upto).next();
                        report.miss(expected, end);
                        expected = expected.max(end);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let walk = Walk::new(file, segment.epoch, HEADER_BYTES as u64, segment.end());
                place.walk = Some((segment.clone(), walk));
            }
            let Some((_, walk)) = &mut place.walk else { break };
            let sealed = segment.is_sealed();
            walk.extend(segment.end());
            match walk.step()? {
                Step::Frame { header, payload, at } => {
                    if header.kind == Kind::Void {
                        let last = payload.try_into().map_or(header.seq.0, u64::from_le_bytes);
                        if header.seq <= expected && last >= expected.0 && last < u64::MAX {
                            report.through = Seq(last).min(upto);
                            expected = report.through.next();
                        }
                        continue;
                    }
                    if header.kind != Kind::Event || header.seq < expected {
                        continue;
                    }
                    if header.seq > upto || next_first.is_some_and(|next| header.seq >= next) {
                        // Not this segment's to give, or not yet.
                        walk.back_to(at);
                        let end = next_first.map_or(header.seq, |next| next.min(header.seq));
                        let end = end.min(upto.next());
                        report.miss(expected, end);
                        expected = end;
                        continue;
                    }
                    if !take(header.seq, payload) {
                        walk.back_to(at);
                        break;
                    }
                    report.miss(expected, header.seq);
                    expected = header.seq.next();
                    report.through = header.seq;
                }
                Step::Damage { from, to } => report.damage.push(Damage {
                    file: segment.name.clone(),
                    what: format!("bytes {from} to {to} are damaged"),
                }),
                Step::End { .. } if sealed => {
                    // What the seal promised and the walk did not find is missing.
                    let end = segment.last().next();
                    let end = next_first.map_or(end, |next| end.max(next)).min(upto.next());
                    if end <= expected {
                        break;
                    }
                    report.miss(expected, end);
                    expected = end;
                    report.through = Seq(end.0 - 1);
                }
                Step::End { .. } => break,
            }
        }
        place.next = expected;
        Ok(report)
    }

    /// The last segment that begins at or before `seq`, and where the one behind it begins. If all
    /// begin later, the first.
    fn segment_for(&self, seq: Seq) -> Option<(Arc<Segment>, Option<Seq>)> {
        let segments = self.lock();
        let behind = segments.partition_point(|segment| segment.first <= seq);
        let at = behind.saturating_sub(1);
        let next = segments.get(at + 1).map(|segment| segment.first);
        segments.get(at).map(|segment| (segment.clone(), next))
    }

    /// The gap records of all segments, and how many events each holds by a walk of its frames.
    ///
    /// # Errors
    /// If a segment can't be read.
    pub fn gaps(&self) -> io::Result<Vec<Gap>> {
        let mut gaps = Vec::new();
        for segment in self.segments() {
            let file = self.folder.open(&segment.name)?;
            let mut walk = Walk::new(file, segment.epoch, HEADER_BYTES as u64, segment.end());
            loop {
                match walk.step()? {
                    Step::Frame { header, payload, .. } if header.kind == Kind::Gap => {
                        gaps.extend(Gap::parse(payload));
                    }
                    Step::End { .. } => break,
                    _ => {}
                }
            }
        }
        Ok(gaps)
    }
}

impl ReadReport {
    /// Notes that the seqs from `expected` up to, not including, `found` were not there.
    fn miss(&mut self, expected: Seq, found: Seq) {
        if expected < found {
            self.missing.push((expected, Seq(found.0 - 1)));
            self.through = Seq(found.0 - 1);
        }
    }
}
