//! The first 4096 bytes of each file of a journal: whose it is, and, once sealed, what it holds.
//!
//! Drawn byte by byte in `docs/design/journal-format.md`. Each file says by itself which journal,
//! dataset and destination it belongs to, so that no lost index can orphan the rest.

use std::fmt;

use super::destinations::{self, cut};
use super::frame::SEQ_MAX;
use crate::clock::Timestamp;
use crate::id::{JournalId, Seq};

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 4096;
/// The format's version. A reader refuses another major, and takes any minor. A journal of one
/// destination is written as 1.0 wrote it, and says so.
pub const VERSION: (u16, u16) = (1, 1);

const MAGIC: &[u8; 8] = b"N3SJRNL\0";
const FIXED_BYTES: usize = 72;
const CRC_AT: usize = 68;
/// How many destinations stand behind the first one.
const FURTHER_AT: usize = 13;
/// Where the seal lies: in a sector of its own, because it is written later.
pub const SEAL_AT: usize = 2048;
// The names have room before the seal.
const _: () = assert!(FIXED_BYTES + 512 + destinations::BYTES_MAX == SEAL_AT);
const SEAL_BYTES: usize = 40;
const SEAL_MAGIC: &[u8; 8] = b"N3SSEAL\0";

/// What a file of a journal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The mapped ring that `log()` writes to.
    Ring,
    /// Frames in the order of their seqs.
    Segment,
    /// Frames that found the ring full, in the order of their seqs.
    Spill,
}

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What it is for.
    pub kind: FileKind,
    /// The journal it belongs to.
    pub journal: JournalId,
    /// The file's random number, which its frames' checks include.
    pub epoch: u64,
    /// No frame in it has a smaller seq.
    pub first: Seq,
    /// When it was made.
    pub created: Timestamp,
    /// The dataset's name.
    pub dataset: String,
    /// Where the dataset's rows land, without secrets.
    pub destination: String,
    /// Where they land as well, by the further sinks that deliver it.
    pub further: Vec<String>,
}

/// What a finished segment holds, so that opening need not read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Where its frames end.
    pub end: u64,
    /// The seq of its last event.
    pub last: Seq,
    /// How many events it holds.
    pub events: u64,
}

/// Why a file is none of this journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// No journal file at all, or its header is damaged.
    Damaged,
    /// A newer library wrote it.
    Version(u16),
    /// It belongs to another journal.
    Foreign(JournalId),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the header is damaged"),
            Self::Version(major) => {
                write!(f, "it has format version {major}; this library reads {}", VERSION.0)
            }
            Self::Foreign(id) => write!(f, "it belongs to journal {id}"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl FileHeader {
    /// That of another file of the same journal, for events from `first` on, with an epoch of its own.
    #[must_use]
    pub fn for_file(&self, kind: FileKind, first: Seq) -> Self {
        Self { kind, first, epoch: fastrand::u64(..), ..self.clone() }
    }

    /// The block as it is stored. Names are cut to fit.
    #[must_use]
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = vec![0; HEADER_BYTES];
        let dataset = cut(&self.dataset, 512);
        let mut destination = self.destination.clone();
        for further in &self.further {
            destination.push(destinations::SEPARATOR);
            destination.push_str(further);
        }
        let destination = cut(&destination, destinations::BYTES_MAX);
        let minor = if self.further.is_empty() { 0 } else { VERSION.1 };
        block[..8].copy_from_slice(MAGIC);
        block[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
        block[10..12].copy_from_slice(&minor.to_le_bytes());
        block[12] = match self.kind {
            FileKind::Ring => 1,
            FileKind::Segment => 2,
            FileKind::Spill => 3,
        };
        block[FURTHER_AT] = self.further.len() as u8;
        block[16..32].copy_from_slice(&self.journal.0);
        block[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        block[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        block[48..56].copy_from_slice(&self.created.micros().to_le_bytes());
        block[64..66].copy_from_slice(&(dataset.len() as u16).to_le_bytes());
        block[66..68].copy_from_slice(&(destination.len() as u16).to_le_bytes());
        block[FIXED_BYTES..FIXED_BYTES + dataset.len()].copy_from_slice(dataset.as_bytes());
        let at = FIXED_BYTES + dataset.len();
        block[at..at + destination.len()].copy_from_slice(destination.as_bytes());
        let crc = crc32c::crc32c(&block[..SEAL_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads a block back.
    ///
    /// # Errors
    /// If it is damaged or of another major version.
    pub fn parse(block: &[u8]) -> Result<Self, HeaderError> {
        let block = block.get(..SEAL_AT).ok_or(HeaderError::Damaged)?;
        if &block[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let stored = u32_at(block, CRC_AT);
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        let crc = crc32c::crc32c_append(crc, &[0; 4]);
        let crc = crc32c::crc32c_append(crc, &block[CRC_AT + 4..]);
        if stored != crc {
            return Err(HeaderError::Damaged);
        }
        let major = u16_at(block, 8);
        if major != VERSION.0 {
            return Err(HeaderError::Version(major));
        }
        let kind = match block[12] {
            1 => FileKind::Ring,
            2 => FileKind::Segment,
            3 => FileKind::Spill,
            _ => return Err(HeaderError::Damaged),
        };
        if !(1..=SEQ_MAX).contains(&u64_at(block, 40)) {
            return Err(HeaderError::Damaged);
        }
        let dataset_end = FIXED_BYTES + usize::from(u16_at(block, 64));
        let destination_end = dataset_end + usize::from(u16_at(block, 66));
        let text = |range: std::ops::Range<usize>| {
            let bytes = block.get(range).ok_or(HeaderError::Damaged)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| HeaderError::Damaged)
        };
        let destination = text(dataset_end..destination_end)?;
        let (destination, further) = part(destination, block[FURTHER_AT])?;
        Ok(Self {
            kind,
            journal: JournalId(block[16..32].try_into().map_err(|_| HeaderError::Damaged)?),
            epoch: u64_at(block, 32),
            first: Seq(u64_at(block, 40)),
            created: Timestamp::from_micros(u64_at(block, 48) as i64),
            dataset: text(FIXED_BYTES..dataset_end)?,
            destination,
            further,
        })
    }

    /// All destinations, in their places.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.destination).chain(&self.further).map(String::as_str)
    }

    /// The place of a destination among them, if it is one of them.
    #[must_use]
    pub fn place_of(&self, destination: &str) -> Option<usize> {
        self.destinations().position(|named| self.names(destination, named))
    }

    /// Whether `named`, which is one of its destinations, stands for this one.
    #[must_use]
    pub fn names(&self, destination: &str, named: &str) -> bool {
        named == destinations::named(destination, 1 + self.further.len())
    }

    /// The name of the cursor at a place; the first one's is its sink's.
    #[must_use]
    pub fn cursor_at(&self, place: usize, sink: &str) -> String {
        match place.checked_sub(1).and_then(|further| self.further.get(further)) {
            Some(named) => destinations::cursor_of_further(&self.dataset, named),
            None => sink.to_owned(),
        }
    }
}

/// Takes the destinations apart.
fn part(joined: String, further: u8) -> Result<(String, Vec<String>), HeaderError> {
    if further == 0 {
        return Ok((joined, Vec::new()));
    }
    let mut parts = joined.split(destinations::SEPARATOR).map(str::to_owned);
    let first = parts.next().unwrap_or_default();
    let parts: Vec<String> = parts.collect();
    if parts.len() != usize::from(further) {
        return Err(HeaderError::Damaged);
    }
    Ok((first, parts))
}

impl Seal {
    /// As it is stored at [`SEAL_AT`], bound to the file by its epoch.
    #[must_use]
    pub fn to_bytes(self, epoch: u64) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        bytes[..8].copy_from_slice(SEAL_MAGIC);
        bytes[8..16].copy_from_slice(&self.end.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.last.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.events.to_le_bytes());
        let crc = Self::crc(&bytes, epoch);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a whole block's seal; `None` if it has none that is whole.
    #[must_use]
    pub fn parse(block: &[u8], epoch: u64) -> Option<Self> {
        let bytes = block.get(SEAL_AT..SEAL_AT + SEAL_BYTES)?;
        let whole = &bytes[..8] == SEAL_MAGIC && u32_at(bytes, 32) == Self::crc(bytes, epoch);
        if !whole || u64_at(bytes, 16) > SEQ_MAX {
            return None;
        }
        Some(Self {
            end: u64_at(bytes, 8),
            last: Seq(u64_at(bytes, 16)),
            events: u64_at(bytes, 24),
        })
    }

    fn crc(bytes: &[u8], epoch: u64) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&epoch.to_le_bytes()), &bytes[..32])
    }
}

// The callers' ranges are constants inside blocks whose length was checked.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let header = FileHeader {
            kind: FileKind::Segment,
            journal: JournalId([7; 16]),
            epoch: 42,
            first: Seq(9),
            created: Timestamp::from_micros(-5),
            dataset: "safety_events".into(),
            destination: "file:///data/é.csv".into(),
            further: vec!["sqlite:////data/b.db".into()],
        };
        let block = header.to_block();
        assert_eq!(FileHeader::parse(&block), Ok(header));
        for byte in 0..SEAL_AT {
            let mut flipped = block.clone();
            flipped[byte] ^= 0x10;
            assert!(FileHeader::parse(&flipped).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn a_seal_belongs_to_its_file() {
        let seal = Seal { end: 8192, last: Seq(10), events: 10 };
        let mut block = vec![0; HEADER_BYTES];
        block[SEAL_AT..SEAL_AT + SEAL_BYTES].copy_from_slice(&seal.to_bytes(42));
        assert_eq!(Seal::parse(&block, 42), Some(seal));
        assert_eq!(Seal::parse(&block, 43), None);
        block[SEAL_AT + 20] ^= 1;
        assert_eq!(Seal::parse(&block, 42), None);
    }
}
