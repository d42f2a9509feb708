//! The sidecar of a file dataset, `.{name}.ledger` beside it: how far the dataset is committed, and
//! which rows that includes. It makes delivery into a plain file exactly once.
//!
//! Two slots take turns, each written by one `pwrite`; the valid one with the higher generation
//! counts, so that a torn write costs only itself. All integers are little-endian:
//!
//! ```text
//! slot 0 at 0, slot 1 at 135168 (a hole lies between what they use)
//!  0  8  magic  "n3ledger"
//!  8  4  CRC-32C of everything from 12 to the end of the last run
//! 12  2  version, major: 1; a reader refuses any other   14  2  version, minor: 1; a reader takes any
//! 16  8  generation, from 1
//! 24  8  end: the dataset's bytes before its closer (all of them, but for a JSON array)
//! 32  8  device   40  8  inode   48  8  birth in nanoseconds since 1970, or 0: which file it is
//! 56  4  n: how many runs follow, at most 4096           60  4  zero
//! 64  n × { journal 16, first seq 8, last seq 8 }        the most recently used journal last
//! then, since version 1.1, which a reader of 1.0 does not look at:
//!     16  journals made up to this one may have rows in the dataset that no run includes; 0: none
//!      4  m: how many bytes before `end` the mark is of, at most 256; 0 where `end` is 0
//!      4  the mark: CRC-32C of these bytes of the dataset
//!      4  zero
//!      4  CRC-32C of the 28 bytes before this, continued from the slot's
//! ```
//!
//! The mark tells whether the dataset still is what it was up to `end`: a file that was edited,
//! replaced, or cut and written to again is told from one that has grown. A slot without a valid
//! second part was written by version 1.0; then the file's identity and the byte before `end` must
//! do, and every journal that is not listed is looked up.
//!
//! Assumed of the disk: a synced write stays; an unsynced one may be torn or missing in any part.
//! The file itself is the lock (`flock`), is never renamed, and is never shortened.

use std::fs::File;
use std::io;

use super::delivered::{Delivered, RUNS_MAX};
use super::disk::{FileId, read_at, write_at};
use super::error::AdapterError;
use crate::id::JournalId;

const MAGIC: [u8; 8] = *b"n3ledger";
const MAJOR: u16 = 1;
const MINOR: u16 = 1;
const HEAD_BYTES: usize = 64;
const RUN_BYTES: usize = 32;
const SLOT_STRIDE: u64 = 135_168;
const CRC_FROM: usize = 12;
/// The highest generation; a higher one is damage, however right its check is.
const GENERATION_MAX: u64 = 1 << 62;
/// What stands behind the runs.
const MORE_BYTES: usize = 32;
/// How many of the dataset's last bytes the mark is of.
pub(super) const MARK_BYTES_MAX: usize = 256;

/// What the sidecar says, as of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// 0: nothing was ever committed.
    generation: u64,
    /// Which file `end` speaks of.
    pub(super) file: FileId,
    /// The committed bytes of the dataset, without its closer.
    pub(super) end: u64,
    /// What stands before `end`; `None` where version 1.0 wrote the sidecar.
    pub(super) mark: Option<Mark>,
    /// The rows they hold, and those of the files that stood here before.
    pub(super) delivered: Delivered,
}

/// The last committed bytes of a dataset, by their number and check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

impl Mark {
    /// Of the end of `content`.
    pub(super) fn of(content: &[u8]) -> Self {
        let last = &content[content.len().saturating_sub(MARK_BYTES_MAX)..];
        // At most MARK_BYTES_MAX.
        Self { bytes: last.len() as u32, crc: crc32c::crc32c(last) }
    }
}

impl Ledger {
    /// Catches up with what other processes committed; call it under the lock. Without a valid
    /// slot it is empty afterwards.
    pub(super) fn refresh(&mut self, sidecar: &File) -> Result<(), AdapterError> {
        let newest = self.newest_generation(sidecar).map_err(reading)?;
        if newest == self.generation {
            return Ok(());
        }
        *self = Self::default();
        for slot in 0..2 {
            let read = Self::read(sidecar, slot)?;
            if let Some(read) = read.filter(|read| read.generation > self.generation) {
                *self = read;
            }
        }
        Ok(())
    }

    /// Writes the next generation, over the older slot.
    pub(super) fn commit(&mut self, sidecar: &File) -> io::Result<()> {
        let next = self.generation + 1;
        let runs_end = HEAD_BYTES + self.delivered.len() * RUN_BYTES;
        let mut bytes = Vec::with_capacity(runs_end + MORE_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&MAJOR.to_le_bytes());
        bytes.extend_from_slice(&MINOR.to_le_bytes());
        for n in [next, self.end, self.file.device, self.file.inode, self.file.birth] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.delivered.len() as u64).to_le_bytes());
        debug_assert_eq!(bytes.len(), HEAD_BYTES);
        for (journal, (first, last)) in self.delivered.iter() {
            bytes.extend_from_slice(&journal.0);
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&last.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(bytes.len(), runs_end);
        let mark = self.mark.unwrap_or_default();
        bytes.extend_from_slice(&self.delivered.unlisted().0);
        for n in [mark.bytes, mark.crc, 0] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        let check = crc32c::crc32c_append(crc, &bytes[runs_end..]);
        bytes.extend_from_slice(&check.to_le_bytes());
        write_at(sidecar, slot_of(next) * SLOT_STRIDE, &bytes)?;
        self.generation = next;
        Ok(())
    }

    fn newest_generation(&self, sidecar: &File) -> io::Result<u64> {
        let mut newest = 0;
        for slot in 0..2 {
            let mut head = [0_u8; HEAD_BYTES];
            if read_at(sidecar, slot * SLOT_STRIDE, &mut head)? == HEAD_BYTES && head[..8] == MAGIC
            {
                newest = newest.max(word(&head, 16));
            }
        }
        Ok(newest)
    }

    /// `None` for an empty, torn or damaged slot.
    fn read(sidecar: &File, slot: u64) -> Result<Option<Self>, AdapterError> {
        let mut bytes = vec![0_u8; HEAD_BYTES + RUNS_MAX * RUN_BYTES + MORE_BYTES];
        let read = read_at(sidecar, slot * SLOT_STRIDE, &mut bytes).map_err(reading)?;
        let bytes = &bytes[..read];
        if read < HEAD_BYTES || bytes[..8] != MAGIC {
            return Ok(None);
        }
        let runs = usize::try_from(word(bytes, 56)).unwrap_or(usize::MAX);
        if runs > RUNS_MAX || read < HEAD_BYTES + runs * RUN_BYTES {
            return Ok(None);
        }
        let (bytes, more) = bytes.split_at(HEAD_BYTES + runs * RUN_BYTES);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        if crc.to_le_bytes() != bytes[8..12] {
            return Ok(None);
        }
        let major = u16::from_le_bytes([bytes[12], bytes[13]]);
        if major != MAJOR {
            return Err(AdapterError::config(format!(
                "read the dataset's ledger of version {major}: this library reads {MAJOR}, use a newer one"
            )));
        }
        let mut ledger = Self {
            generation: word(bytes, 16),
            end: word(bytes, 24),
            file: FileId {
                device: word(bytes, 32),
                inode: word(bytes, 40),
                birth: word(bytes, 48),
            },
            mark: None,
            delivered: Delivered::default(),
        };
        // A wrong slot for its generation is as good as damage: the next commit would overwrite it.
        // And so is a generation that no dataset reaches.
        if !(1..=GENERATION_MAX).contains(&ledger.generation) || slot_of(ledger.generation) != slot
        {
            return Ok(None);
        }
        for run in bytes[HEAD_BYTES..].chunks_exact(RUN_BYTES) {
            let mut journal = [0; 16];
            journal.copy_from_slice(&run[..16]);
            ledger.delivered.add(JournalId(journal), [(word(run, 16), word(run, 24))]);
        }
        match more.first_chunk::<MORE_BYTES>() {
            Some(more) if crc32c::crc32c_append(crc, &more[..28]).to_le_bytes() == more[28..] => {
                let mut unlisted = [0; 16];
                unlisted.copy_from_slice(&more[..16]);
                ledger.delivered.set_unlisted(JournalId(unlisted));
                ledger.mark = Some(Mark { bytes: half(more, 16), crc: half(more, 20) })
                    .filter(|mark| mark.bytes as usize <= MARK_BYTES_MAX)
                    .filter(|mark| (mark.bytes == 0) == (ledger.end == 0));
            }
            _ => ledger.delivered.unlist_all(),
        }
        Ok(Some(ledger))
    }
}

fn slot_of(generation: u64) -> u64 {
    generation % 2
}

fn reading(error: io::Error) -> AdapterError {
    AdapterError::io("read the dataset's ledger", error)
}

/// The eight bytes at `at`, which every caller has checked to be there.
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// The four bytes at `at`, likewise.
fn half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> File {
        tempfile::tempfile().expect("a temporary file")
    }

    #[test]
    fn it_reads_back_what_another_process_committed() {
        let file = sidecar();
        let mark = Some(Mark::of(b"content"));
        let mut ours = Ledger { end: 7, mark, ..Ledger::default() };
        ours.delivered.add(JournalId([1; 16]), [(1, 5), (9, 9)]);
        ours.delivered.add(JournalId([2; 16]), [(3, 4)]);
        ours.commit(&file).unwrap();
        ours.end = 8;
        ours.commit(&file).unwrap();
        let mut theirs = Ledger::default();
        theirs.refresh(&file).unwrap();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn a_generation_that_no_dataset_reaches_is_damage() {
        let file = sidecar();
        let mut ledger = Ledger { end: 7, mark: Some(Mark::of(b"content")), ..Ledger::default() };
        ledger.commit(&file).unwrap();
        let first = ledger.clone();
        // In the other slot.
        for forged in [u64::MAX - 2, GENERATION_MAX + 1] {
            let mut forged = Ledger { generation: forged, end: 9, ..first.clone() };
            forged.commit(&file).unwrap();
            let mut read = Ledger::default();
            read.refresh(&file).unwrap();
            assert_eq!(read, first);
        }
        ledger.commit(&file).unwrap();
    }

    #[test]
    fn a_torn_slot_costs_only_itself_and_no_byte_makes_it_panic() {
        let file = sidecar();
        let mark = Some(Mark::of(b"content"));
        let mut ledger = Ledger { end: 7, mark, ..Ledger::default() };
        ledger.delivered.add(JournalId([1; 16]), [(1, 5)]);
        ledger.commit(&file).unwrap();
        let first = ledger.clone();
        ledger.end = 8;
        ledger.commit(&file).unwrap();
        for at in 0..(HEAD_BYTES + RUN_BYTES + MORE_BYTES) as u64 {
            let place = slot_of(2) * SLOT_STRIDE + at;
            let mut byte = [0];
            assert_eq!(read_at(&file, place, &mut byte).unwrap(), 1);
            write_at(&file, place, &[byte[0] ^ 0x41]).unwrap();
            let mut read = Ledger::default();
            read.refresh(&file).unwrap();
            if at < (HEAD_BYTES + RUN_BYTES) as u64 {
                assert_eq!(read, first, "byte {at}");
            } else {
                // As if version 1.0 had written it.
                assert_eq!((read.end, read.mark), (8, None), "byte {at}");
                assert!(read.delivered.may_hold_unlisted(JournalId([0; 16]), 1), "byte {at}");
            }
            write_at(&file, place, &byte).unwrap();
        }
        let mut read = Ledger::default();
        read.refresh(&file).unwrap();
        assert_eq!(read, ledger);
    }
}
