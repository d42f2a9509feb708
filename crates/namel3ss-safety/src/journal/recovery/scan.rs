//! Reading what is there, without changing a byte.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::look::{Looked, is_unusable, look, unreadable};

use super::super::cursor::CursorState;
use super::super::frame::{self, Kind, SEQ_MAX};
use super::super::header::{FileHeader, FileKind, HEADER_BYTES, HeaderError, Seal};
use super::super::media::{Folder, MediumFile, read_around};
use super::super::names::ASIDE_SUFFIX;
use super::super::names::CURSOR_PREFIX;
use super::super::ring::RING_NAME;
use super::super::ring_state::RingState;
use super::super::ring_walk::{RingStep, RingWalk};
use super::super::segment::{READ_FAILURES_MAX, Segment, Step, Tail, Walk};
use super::super::store::Damage;
use crate::id::{JournalId, Seq};

/// What was found in a journal's folder.
#[derive(Debug)]
pub struct Scan {
    /// Whose it is; from the ring, or else from the first file that says.
    pub header: FileHeader,
    /// Segments, in the order of their first seqs.
    pub segments: Vec<Arc<Segment>>,
    /// Damage that was met, the set-aside files among it.
    pub damage: Vec<Damage>,
    /// Files that can't be used: damaged, foreign, or of another version.
    pub unusable: Vec<String>,
    /// Frames that were being written when the process ended.
    pub torn_tails: u64,
    /// Cursors by their file names.
    pub cursors: BTreeMap<String, CursorState>,
    /// Frames that are in no segment yet, in the order of their seqs.
    pub(super) loose: Vec<Loose>,
    /// Whether the ring or a spill file holds damage.
    pub(super) loose_damage: bool,
    /// Everything up to here was in segments, as the ring remembers it.
    pub(super) released: Seq,
    /// Files to remove once the loose frames are in a segment.
    pub(super) emptied: Vec<String>,
}

/// A frame in the ring or in a spill file.
#[derive(Debug)]
pub(super) struct Loose {
    pub(super) seq: Seq,
    pub(super) file: Arc<dyn MediumFile>,
    /// Where its payload begins in the file.
    pub(super) at: u64,
    pub(super) length: usize,
}

/// Why a folder is no journal that can be recovered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecoverError {
    /// It can't be read, or not be written.
    Io(io::Error),
    /// Its process ended before it had logged anything, or it is only just being made.
    Empty,
    /// No file in it says which journal it is.
    NoHeader,
    /// A newer library wrote it.
    Version(u16),
}

impl From<io::Error> for RecoverError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for RecoverError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "read the journal: {error}"),
            Self::Empty => f.write_str("read the journal: it is empty"),
            Self::NoHeader => f.write_str("read the journal: no file in it has a whole header"),
            Self::Version(major) => write!(f, "read the journal: {}", HeaderError::Version(*major)),
        }
    }
}

impl std::error::Error for RecoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are in the message.
            Self::Io(error) => std::error::Error::source(error),
            _ => None,
        }
    }
}

type Opened = (String, FileHeader, Arc<dyn MediumFile>, Vec<u8>);

/// Reads a journal's folder; changes nothing. Sealed segments are taken at their word here, and
/// verified frame by frame when they are delivered.
///
/// # Errors
/// If the folder can't be read or is no journal.
pub fn scan(folder: &dyn Folder) -> Result<Scan, RecoverError> {
    let mut files: Vec<Opened> = Vec::new();
    let mut damage = Vec::new();
    let mut unusable = Vec::new();
    let mut blank = Vec::new();
    let mut cursors = BTreeMap::new();
    let mut version = None;
    let mut names = folder.list()?;
    names.sort_unstable();
    for name in names {
        if name.starts_with(CURSOR_PREFIX) && !name.ends_with(ASIDE_SUFFIX) {
            let state = folder.open(&name).and_then(|file| CursorState::read(&*file));
            if let Err(error) = &state
                && is_unusable(error)
            {
                damage.push(Damage { file: name.clone(), what: unreadable(error) });
            }
            cursors.insert(name, state.map(|(_, state)| state).unwrap_or_default());
            continue;
        }
        if !name.ends_with(".n3j") {
            continue;
        }
        match look(folder, &name) {
            Ok(Looked::Headed(header, file, block)) => files.push((name, header, file, block)),
            Ok(Looked::Blank) => blank.push(name),
            Ok(Looked::Headless(error)) => {
                if let HeaderError::Version(major) = error {
                    version = Some(major);
                }
                damage.push(Damage { file: name.clone(), what: error.to_string() });
                unusable.push(name);
            }
            // Of a live journal, which has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if is_unusable(&error) => {
                damage.push(Damage { file: name.clone(), what: unreadable(&error) });
                unusable.push(name);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if files.is_empty() && unusable.is_empty() {
        return Err(RecoverError::Empty);
    }
    let Some(journal) = majority(&files) else {
        return Err(version.map_or(RecoverError::NoHeader, RecoverError::Version));
    };
    files.retain(|(name, header, ..)| {
        let ours = header.journal == journal;
        if !ours {
            let what = HeaderError::Foreign(header.journal).to_string();
            damage.push(Damage { file: name.clone(), what });
            unusable.push(name.clone());
        }
        ours
    });
    files.sort_by_key(|(name, header, ..)| (header.first, name.clone()));
    // Not empty: `majority` found one of ours.
    let header = files
        .iter()
        .find(|(_, header, ..)| header.kind == FileKind::Ring)
        .or(files.first())
        .map(|(_, header, ..)| header.clone())
        .ok_or(RecoverError::NoHeader)?;
    let has_ring = files.iter().any(|(_, header, ..)| header.kind == FileKind::Ring)
        || unusable.iter().any(|name| name == RING_NAME);
    let mut scan = Scan {
        // A file that can't be read may have been the ring, or a spill file.
        loose_damage: !unusable.is_empty(),
        header,
        segments: Vec::new(),
        damage,
        unusable,
        torn_tails: 0,
        cursors,
        loose: Vec::new(),
        released: Seq(0),
        emptied: blank,
    };
    for (name, header, file, block) in files {
        let kind = header.kind;
        let scanned = match kind {
            FileKind::Segment => scan.segment(name.clone(), &header, file, &block),
            FileKind::Spill => scan.spill(name.clone(), &header, file),
            FileKind::Ring => scan.ring(name.clone(), &header, file, &block),
        };
        match scanned {
            Ok(()) => {}
            Err(error) if is_unusable(&error) => {
                scan.loose_damage |= kind != FileKind::Segment;
                scan.set_aside(name, unreadable(&error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // After a failed sync the frames of one segment are in another one too, which begins with the
    // same seq and may go on: readers take the last of those that begin before a seq.
    scan.segments.sort_by_key(|segment| (segment.first, segment.last()));
    scan.drop_what_segments_hold();
    if !has_ring && !scan.loose.is_empty() {
        // A recovery that is killed removes it, but only when all is in segments.
        scan.loose_damage = true;
        let what = "the ring is missing".to_owned();
        scan.damage.push(Damage { file: RING_NAME.to_owned(), what });
    }
    Ok(scan)
}

/// The journal that most files name; the ring's word counts most.
fn majority(files: &[Opened]) -> Option<JournalId> {
    let mut votes: BTreeMap<JournalId, usize> = BTreeMap::new();
    for (_, header, ..) in files {
        let weight = if header.kind == FileKind::Ring { files.len() + 1 } else { 1 };
        *votes.entry(header.journal).or_default() += weight;
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(journal, _)| journal)
}

impl Scan {
    /// The last seq that was committed anywhere.
    #[must_use]
    pub fn last(&self) -> Seq {
        let in_segments = self.segments.iter().map(|segment| segment.last()).max();
        in_segments.max(self.loose.last().map(|loose| loose.seq)).unwrap_or_default()
    }

    /// Events in segments, by their own count, and loose ones.
    #[must_use]
    pub fn events(&self) -> u64 {
        let loose = self.loose.len() as u64;
        self.segments.iter().fold(loose, |sum, segment| sum.saturating_add(segment.events()))
    }

    /// Gives the payloads of the loose frames from `from` on, in order.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn read_loose(&self, from: Seq, take: &mut dyn FnMut(Seq, &[u8])) -> io::Result<()> {
        let mut payload = Vec::new();
        for loose in self.loose.iter().filter(|loose| loose.seq >= from) {
            payload.resize(loose.length, 0);
            loose.file.read_at(&mut payload, loose.at)?;
            take(loose.seq, &payload);
        }
        Ok(())
    }

    /// Notes that a file can't be used, and why.
    fn set_aside(&mut self, name: String, what: String) {
        self.damage.push(Damage { file: name.clone(), what });
        self.unusable.push(name);
    }

    fn segment(
        &mut self,
        name: String,
        header: &FileHeader,
        file: Arc<dyn MediumFile>,
        block: &[u8],
    ) -> io::Result<()> {
        let length = file.size()?;
        // A seal that contradicts its header is none of a writer's: the frames then say what is there.
        let seal = Seal::parse(block, header.epoch).filter(|seal| {
            let seqs = seal.last.next().0.checked_sub(header.first.0);
            seqs.is_some_and(|seqs| seal.events <= seqs) && seal.end >= HEADER_BYTES as u64
        });
        if let Some(mut seal) = seal {
            if seal.end > length {
                let what = format!("cut short at {length} of {} bytes", seal.end);
                self.damage.push(Damage { file: name.clone(), what });
                seal.end = length.max(HEADER_BYTES as u64);
            }
            self.segments.push(Arc::new(Segment::new(name, header, Some(seal))));
            return Ok(());
        }
        let mut walk = Walk::new(file, header.epoch, HEADER_BYTES as u64, length);
        let mut found = Seal { end: HEADER_BYTES as u64, last: Seq(header.first.0 - 1), events: 0 };
        let (mut frames, torn_before) = (0_u64, self.torn_tails);
        loop {
            match walk.step()? {
                Step::Frame { header, payload, .. } => {
                    frames += 1;
                    let through = match header.kind {
                        Kind::Void => payload.try_into().map_or(0, u64::from_le_bytes),
                        _ => 0,
                    };
                    // A run of voids can't reach beyond what a file of this kind can count.
                    let through = if through <= SEQ_MAX { Seq(through) } else { Seq(0) };
                    found.last = found.last.max(header.seq).max(through);
                    found.events += u64::from(header.kind == Kind::Event);
                }
                // Reported by whoever reads the segment: it walks over the same bytes.
                Step::Damage { .. } => {}
                Step::End { tail, at } => {
                    self.torn_tails += u64::from(tail == Tail::Torn);
                    found.end = at;
                    break;
                }
            }
        }
        let wrong = walk.take_unreadable();
        if frames == 0 && wrong.is_some() {
            return wrong.map_or(Ok(()), Err);
        }
        if frames == 0 && self.torn_tails == torn_before {
            // Made, and nothing written to it.
            self.emptied.push(name);
            return Ok(());
        }
        let segment = Segment::new(name, header, Some(found));
        if let Some(error) = wrong {
            segment.note_unreadable();
            self.damage.push(Damage { file: segment.name.clone(), what: unreadable(&error) });
        }
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    fn spill(
        &mut self,
        name: String,
        header: &FileHeader,
        file: Arc<dyn MediumFile>,
    ) -> io::Result<()> {
        let length = file.size()?;
        let mut walk = Walk::new(file.clone(), header.epoch, HEADER_BYTES as u64, length);
        loop {
            match walk.step()? {
                Step::Frame { header, payload, at } if header.kind == Kind::Event => {
                    self.loose.push(Loose {
                        seq: header.seq,
                        file: file.clone(),
                        at: at + frame::HEADER_BYTES as u64,
                        length: payload.len(),
                    });
                }
                // Only events are written here: it must not become one.
                Step::Frame { header, at, .. } => {
                    self.loose_damage = true;
                    let what = format!("{:?} at byte {at}, where only events belong", header.kind);
                    self.damage.push(Damage { file: name.clone(), what });
                }
                Step::Damage { from, to } => {
                    self.loose_damage = true;
                    let what = format!("bytes {from} to {to} are damaged");
                    self.damage.push(Damage { file: name.clone(), what });
                }
                Step::End { tail, .. } => {
                    self.torn_tails += u64::from(tail == Tail::Torn);
                    break;
                }
            }
        }
        if let Some(error) = walk.take_unreadable() {
            self.loose_damage = true;
            self.set_aside(name, unreadable(&error));
        } else {
            self.emptied.push(name);
        }
        Ok(())
    }

    /// Looks for frames from the head on, over one lap of the largest ring that the file can be.
    fn ring(
        &mut self,
        name: String,
        header: &FileHeader,
        file: Arc<dyn MediumFile>,
        block: &[u8],
    ) -> io::Result<()> {
        let Some(state) = RingState::parse(block, header.epoch) else {
            self.loose_damage = true;
            let what = "the ring's head is damaged, and its frames can't be found".to_owned();
            self.damage.push(Damage { file: name.clone(), what });
            self.unusable.push(name);
            return Ok(());
        };
        self.released = self.released.max(state.released);
        let RingState { capacity, head, .. } = state;
        let mut wrong = None;
        if capacity > 0 {
            let data = file.size()?.saturating_sub(HEADER_BYTES as u64).min(capacity);
            let mut bytes = vec![0; usize::try_from(data).unwrap_or(0)];
            let mut failures_max = READ_FAILURES_MAX;
            let at = HEADER_BYTES as u64;
            (_, wrong) = read_around(&*file, &mut bytes, at, &mut failures_max)?;
            let epoch = header.epoch;
            let sure = head.saturating_add(capacity);
            let mut walk = RingWalk {
                bytes: &bytes,
                epoch,
                capacity,
                sure,
                at: head,
                at_boundary: true,
                failed_bytes: 0,
            };
            // The tail is less than a lap behind the head that was, which may be ahead of this one.
            let end = if state.one_slot { sure.saturating_add(capacity) } else { sure };
            while let Some(found) = walk.next(end) {
                match found {
                    RingStep::Frame(header, place) => self.loose.push(Loose {
                        seq: header.seq,
                        file: file.clone(),
                        at: HEADER_BYTES as u64 + place + frame::HEADER_BYTES as u64,
                        length: header.length,
                    }),
                    RingStep::Damage(from, to) => {
                        self.loose_damage = true;
                        let what = format!("ring bytes {from} to {to} are damaged");
                        self.damage.push(Damage { file: name.clone(), what });
                    }
                }
            }
        }
        if let Some(error) = wrong {
            self.loose_damage = true;
            self.set_aside(name, unreadable(&error));
        } else {
            self.emptied.push(name);
        }
        Ok(())
    }

    fn drop_what_segments_hold(&mut self) {
        let settled = self.segments.iter().map(|segment| segment.last()).max().unwrap_or_default();
        self.loose.retain(|loose| loose.seq > settled);
        self.loose.sort_by_key(|loose| loose.seq);
        self.loose.dedup_by_key(|loose| loose.seq);
    }
}
