//! The segments of one journal, and reading them in the order of their seqs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::frame::{Kind, SEQ_MAX};
use super::gap::Gap;
use super::header::HEADER_BYTES;
use super::media::{Folder, lies_with_file};
use super::names::ASIDE_SUFFIX;
use super::segment::{Segment, Step, Walk};
use crate::id::{JournalId, Seq};
use crate::locks::lock;

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
        lock(&self.segments)
    }

    /// Forgets all segments; their files stay.
    pub fn let_go(&self) {
        self.lock().clear();
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

    /// Whether [`trim`](Self::trim) would remove anything; `is_done` is asked for a segment's first
    /// and last seq.
    #[must_use]
    pub fn can_trim(&self, is_done: impl Fn(Seq, Seq) -> bool) -> bool {
        let is_done = |segment: &Arc<Segment>| is_done(segment.first, segment.last());
        self.lock().iter().any(|segment| segment.is_sealed() && is_done(segment))
    }

    /// Removes the sealed segments whose events are all done.
    pub fn trim(&self, is_done: impl Fn(Seq, Seq) -> bool) {
        loop {
            let segment = {
                let mut segments = self.lock();
                let is_done = |segment: &Arc<Segment>| {
                    segment.is_sealed() && is_done(segment.first, segment.last())
                };
                let at = segments.iter().position(is_done);
                at.and_then(|at| segments.remove(at))
            };
            let Some(segment) = segment else { return };
            if segment.is_unreadable() {
                self.set_aside(&segment);
            } else {
                // A file that can't be removed now goes with the journal.
                let _ = self.folder.remove(&segment.name);
            }
        }
    }

    /// Sets aside the segments that could not be read in whole: a person may have other means.
    pub fn set_unreadable_aside(&self) {
        let segments = self.segments();
        segments.iter().filter(|one| one.is_unreadable()).for_each(|one| self.set_aside(one));
    }

    fn set_aside(&self, segment: &Segment) {
        let aside = format!("{}{ASIDE_SUFFIX}", segment.name);
        // Where it can't be renamed it goes with the journal.
        let _ = self.folder.rename(&segment.name, &aside);
    }

    /// Gives the events from `from` to `upto`, in order, until `take` answers false; that event is
    /// given again next time. Every frame's check is verified; damage is stepped over.
    ///
    /// # Errors
    /// If a segment can't be opened or read now, for a reason that does not lie with its file; what
    /// was given before counts.
    pub fn read(
        &self,
        place: &mut ReadPlace,
        from: Seq,
        upto: Seq,
        take: &mut dyn FnMut(Seq, &[u8]) -> bool,
    ) -> io::Result<ReadReport> {
        let read = self.read_on(place, from, upto, take);
        if read.is_err() {
            // It stands behind events that the reader will ask for again.
            place.walk = None;
        }
        read
    }

    fn read_on(
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
        report.note_unreadable(place);
        let mut expected = from;
        // Segments that should hold `expected` and don't, and what comes next in them.
        let mut tried: Vec<Arc<Segment>> = Vec::new();
        let mut found: Option<Seq> = None;
        // The segment of the last event, and up to where no later one begins.
        let mut current: Option<(Arc<Segment>, Seq)> = None;
        while expected <= upto {
            report.note_unreadable(place);
            let known = current.take().filter(|(segment, before)| {
                tried.is_empty() && expected < *before && expected <= segment.last()
            });
            let Some((segment, before)) = known.or_else(|| self.segment_for(expected, &tried))
            else {
                let Some(end) = self.end_of_hole(expected, found) else { break };
                let end = end.min(upto.next());
                report.miss(expected, end);
                expected = end;
                tried.clear();
                found = None;
                continue;
            };
            if !place
                .walk
                .as_ref()
                .is_some_and(|(s, w)| Arc::ptr_eq(s, &segment) && w.is_of(s.epoch))
            {
                let file = match self.folder.open(&segment.name) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        // Somebody removed it. Its events are missing; the rest is not.
                        let mut segments = self.lock();
                        if segments.iter().any(|known| Arc::ptr_eq(known, &segment)) {
                            segments.retain(|known| !Arc::ptr_eq(known, &segment));
                            let what = "the segment is missing".to_owned();
                            report.damage.push(Damage { file: segment.name.clone(), what });
                            // Nobody else knows of its events any more.
                            found = found.max(Some(segment.last().next()));
                        }
                        continue;
                    }
                    Err(error) if lies_with_file(&error) => {
                        report.unreadable(&segment, &error);
                        tried.push(segment);
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
                        if header.seq <= expected && (expected.0..=SEQ_MAX).contains(&last) {
                            report.through = Seq(last).min(upto);
                            expected = report.through.next();
                            tried.clear();
                            found = None;
                        }
                        continue;
                    }
                    if header.kind != Kind::Event || header.seq < expected {
                        continue;
                    }
                    if header.seq > expected {
                        // Another segment may have what is not here; later this one goes on.
                        walk.back_to(at);
                        found = Some(found.map_or(header.seq, |seq| seq.min(header.seq)));
                        tried.push(segment);
                        continue;
                    }
                    if !take(header.seq, payload) {
                        walk.back_to(at);
                        break;
                    }
                    expected = header.seq.next();
                    report.through = header.seq;
                    tried.clear();
                    found = None;
                    current = Some((segment, before));
                }
                Step::Damage { from, to } => report.damage.push(Damage {
                    file: segment.name.clone(),
                    what: format!("bytes {from} to {to} are damaged"),
                }),
                // What the seal promised and the walk did not find is missing here.
                Step::End { .. } if sealed => tried.push(segment),
                Step::End { .. } => break,
            }
        }
        report.note_unreadable(place);
        place.next = expected;
        Ok(report)
    }

    /// The segment that should hold `seq`: the last one that begins at or before it and ends at or
    /// behind it, and was not tried. After a failed sync two can hold the same seqs; the later one
    /// was written because the earlier one can't be trusted. Also the seq at which the next segment
    /// begins: before it the answer is the same.
    fn segment_for(&self, seq: Seq, tried: &[Arc<Segment>]) -> Option<(Arc<Segment>, Seq)> {
        let segments = self.lock();
        let behind = segments.partition_point(|segment| segment.first <= seq);
        let next = segments.get(behind).map_or(Seq(u64::MAX), |next| next.first);
        let found = segments.iter().take(behind).rev().find(|segment| {
            segment.last() >= seq && !tried.iter().any(|one| Arc::ptr_eq(one, segment))
        });
        found.map(|segment| (segment.clone(), next))
    }

    /// Where events may be again, when no segment has `seq`; `None` if nothing says that it was
    /// ever there.
    fn end_of_hole(&self, seq: Seq, found: Option<Seq>) -> Option<Seq> {
        let segments = self.lock();
        let next = segments.iter().map(|segment| segment.first).find(|first| *first > seq);
        let end = match (next, found) {
            (Some(next), Some(found)) => Some(next.min(found)),
            (next, found) => next.or(found),
        };
        let last = segments.iter().map(|segment| segment.last()).max().unwrap_or_default();
        end.filter(|end| *end > seq).or((last >= seq).then(|| last.next()))
    }

    /// The gap records of all segments, and how many events each holds by a walk of its frames.
    ///
    /// # Errors
    /// If a segment can't be read.
    pub fn gaps(&self) -> io::Result<Vec<Gap>> {
        let mut gaps = Vec::new();
        for segment in self.segments() {
            let file = match self.folder.open(&segment.name) {
                Ok(file) => file,
                // Its reader says so.
                Err(error) if lies_with_file(&error) => continue,
                Err(error) => return Err(error),
            };
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
    /// Notes what the walk could not read.
    fn note_unreadable(&mut self, place: &mut ReadPlace) {
        if let Some((segment, walk)) = &mut place.walk
            && let Some(error) = walk.take_unreadable()
        {
            self.unreadable(segment, &error);
        }
    }

    /// Notes that some of a segment can't be read; once a segment.
    fn unreadable(&mut self, segment: &Segment, error: &io::Error) {
        if segment.note_unreadable() {
            let what = format!("it can't be read: {error}");
            self.damage.push(Damage { file: segment.name.clone(), what });
        }
    }

    /// Notes that the seqs from `expected` up to, not including, `found` were not there.
    fn miss(&mut self, expected: Seq, found: Seq) {
        if expected < found {
            self.missing.push((expected, Seq(found.0 - 1)));
            self.through = Seq(found.0 - 1);
        }
    }
}
