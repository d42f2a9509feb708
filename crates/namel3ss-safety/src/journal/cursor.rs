//! How far one sink has delivered a journal, by the sink's name: one small file, written in place.
//!
//! Two slots alternate, each with a running number and a CRC, so that a torn write costs one step
//! back at the most; a step back resends a frozen batch, which adapters know how to take.

pub use super::names::CURSOR_PREFIX;
use super::names::slug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::frame::SEQ_MAX;
use super::gap::DropReason;
use super::media::{Folder, MediumFile};
use crate::batch::Durability;
use crate::id::Seq;
use crate::locks::lock;

const SLOT_BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"N3SCURS\x01";
const WORDS: usize = 8 + DropReason::ALL.len();
/// The word that holds `skip`.
const SKIP_AT: usize = 7;
const CRC_AT: usize = 8 + WORDS * 8;

/// What a cursor remembers across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorState {
    /// Every seq up to here is settled: delivered, in a fallback file, or dropped.
    pub acked: Seq,
    /// The batch that was frozen before its first attempt and is not settled yet; (0, 0) if none.
    pub frozen: (Seq, Seq),
    /// Events delivered to the dataset.
    pub flushed: u64,
    /// Events written to fallback files.
    pub fallback: u64,
    /// Events given up, by reason.
    pub dropped: [u64; DropReason::ALL.len()],
    /// Events that were dropped before they got a seq (they are counted in `dropped` too).
    pub unsequenced: u64,
    /// Behind what is settled and the batch that is on its way: the first seq that was dropped, and the
    /// next one that was not; (0, 0) if none was. What is delivered goes on there.
    pub skip: (Seq, Seq),
}

impl CursorState {
    /// Whether all of `first..=last` are settled: up to `acked`, or dropped behind the batch that is
    /// on its way.
    #[must_use]
    pub fn are_settled(&self, first: Seq, last: Seq) -> bool {
        last <= self.acked || (self.skip.0 <= first && last < self.skip.1)
    }

    /// `skip`, seen from `acked`: how far it begins behind it, and how long it is.
    fn skip_word(&self) -> u64 {
        let (first, next) = self.skip;
        let behind = first.0.saturating_sub(self.acked.0);
        let seqs = next.0.saturating_sub(first.0).min(u64::from(u32::MAX));
        match u32::try_from(behind) {
            Ok(1..) if seqs > 0 => behind | seqs << 32,
            // A batch of so many is none; what was dropped is then delivered.
            _ => 0,
        }
    }

    fn skip_of(acked: Seq, word: u64) -> (Seq, Seq) {
        let (behind, seqs) = (word & u64::from(u32::MAX), word >> 32);
        if behind == 0 || seqs == 0 {
            return (Seq(0), Seq(0));
        }
        let first = acked.0.saturating_add(behind);
        (Seq(first), Seq(first.saturating_add(seqs)))
    }

    fn words(&self, number: u64) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let head = [
            number,
            self.acked.0,
            self.frozen.0.0,
            self.frozen.1.0,
            self.flushed,
            self.fallback,
            self.unsequenced,
            self.skip_word(),
        ];
        words[..8].copy_from_slice(&head);
        words[8..].copy_from_slice(&self.dropped);
        words
    }

    fn to_slot(self, number: u64) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        for (bytes, word) in slot[8..CRC_AT].chunks_exact_mut(8).zip(self.words(number)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c::crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn from_slot(slot: &[u8]) -> Option<(u64, Self)> {
        if slot.len() < SLOT_BYTES || &slot[..8] != MAGIC {
            return None;
        }
        let stored = u32::from_le_bytes(slot[CRC_AT..CRC_AT + 4].try_into().ok()?);
        if crc32c::crc32c(&slot[..CRC_AT]) != stored {
            return None;
        }
        let mut words = [0_u64; WORDS];
        for (word, bytes) in words.iter_mut().zip(slot[8..CRC_AT].chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let mut dropped = [0; DropReason::ALL.len()];
        dropped.copy_from_slice(&words[8..]);
        // Numbers beyond the largest seq are damage, however right their check is: nothing was counted
        // so far. The word of `skip` is bounded by itself.
        if words.iter().enumerate().any(|(at, n)| at != SKIP_AT && *n > SEQ_MAX) {
            return None;
        }
        let state = Self {
            acked: Seq(words[1]),
            frozen: (Seq(words[2]), Seq(words[3])),
            flushed: words[4],
            fallback: words[5],
            unsequenced: words[6],
            skip: Self::skip_of(Seq(words[1]), words[SKIP_AT]),
            dropped,
        };
        Some((words[0], state))
    }

    /// Reads the newer whole slot of a cursor file.
    ///
    /// # Errors
    /// If the file can't be read. A file without a whole slot is a cursor at the beginning.
    pub fn read(file: &dyn MediumFile) -> io::Result<(u64, Self)> {
        let mut slots = [0; 2 * SLOT_BYTES];
        file.read_at(&mut slots, 0)?;
        let newest = slots.chunks_exact(SLOT_BYTES).filter_map(Self::from_slot);
        Ok(newest.max_by_key(|(number, _)| *number).unwrap_or_default())
    }
}

/// A sink's place in a journal.
///
/// `front` is the next seq that nobody has taken: the worker takes runs of events for delivery,
/// the overflow strategy takes the oldest to drop them, and whoever moves it with one
/// compare-and-swap has them. So each event is either delivered or dropped, and counted once.
#[derive(Debug)]
pub struct Cursor {
    front: AtomicU64,
    /// The last seq of the batch that was last taken for delivery.
    on_its_way: AtomicU64,
    saved: Mutex<Saved>,
}

#[derive(Debug)]
struct Saved {
    state: CursorState,
    number: u64,
    file: Option<Arc<dyn MediumFile>>,
    /// As much of `state` as is in the file.
    written: CursorState,
}

/// The file of the cursor of the sink called `name`.
#[must_use]
pub fn cursor_name(name: &str) -> String {
    format!("{CURSOR_PREFIX}{}.n3c", slug(name))
}

impl Cursor {
    /// Opens the cursor of the sink called `name`, making its file where missing.
    ///
    /// # Errors
    /// The medium's own.
    pub fn open(folder: &dyn Folder, name: &str) -> io::Result<Self> {
        let file_name = cursor_name(name);
        let file = match folder.open(&file_name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.create(&file_name, 2 * SLOT_BYTES as u64)?
            }
            Err(error) => return Err(error),
        };
        let (number, state) = CursorState::read(&*file)?;
        Ok(Self {
            front: AtomicU64::new(state.acked.0 + 1),
            on_its_way: AtomicU64::new(0),
            saved: Mutex::new(Saved { state, number, file: Some(file), written: state }),
        })
    }

    /// Goes on in a new file, where its folder was made anew.
    ///
    /// # Errors
    /// The medium's own.
    pub fn renew(&self, folder: &dyn Folder, name: &str) -> io::Result<()> {
        let file = folder.create(&cursor_name(name), 2 * SLOT_BYTES as u64)?;
        self.lock().file = Some(file);
        self.save(|_| {})
    }

    /// Lets go of its file: what is saved from now on holds in memory only.
    pub fn let_go(&self) {
        self.lock().file = None;
    }

    /// Whether its file holds a whole slot, or none yet; otherwise it begins at the beginning,
    /// though segments from there may have been delivered and removed.
    ///
    /// # Errors
    /// The medium's own; `NotFound` if there is no such file.
    pub fn is_known(folder: &dyn Folder, name: &str) -> io::Result<bool> {
        let file = folder.open(&cursor_name(name))?;
        let mut slots = [0; 2 * SLOT_BYTES];
        file.read_at(&mut slots, 0)?;
        let whole =
            slots.chunks_exact(SLOT_BYTES).any(|slot| CursorState::from_slot(slot).is_some());
        Ok(whole || slots.iter().all(|byte| *byte == 0))
    }

    /// The next seq that nobody has taken.
    #[must_use]
    pub fn front(&self) -> Seq {
        Seq(self.front.load(Ordering::Acquire))
    }

    /// The last seq of the batch that was last taken for delivery.
    #[must_use]
    pub fn on_its_way(&self) -> Seq {
        Seq(self.on_its_way.load(Ordering::Acquire))
    }

    /// Takes everything from `from` to `last`; false if somebody else took some of it meanwhile.
    #[must_use]
    pub fn take(&self, from: Seq, last: Seq) -> bool {
        // First, so that whoever saves sees it together with the front: what lies between both would be
        // written down as dropped.
        let before = self.on_its_way.swap(last.0, Ordering::AcqRel);
        let (from, next) = (from.0, last.0 + 1);
        let taken = self.front.compare_exchange(from, next, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_err() {
            self.on_its_way.store(before, Ordering::Release);
        }
        taken.is_ok()
    }

    /// Passes over what was dropped behind the batch that comes next, as its file says; up to where
    /// the reader may go then.
    #[must_use]
    pub fn skip_dropped(&self, last: Seq) -> Seq {
        let (first, next) = self.state().skip;
        if first.0 == 0 {
            return last;
        }
        if self.front() >= first {
            let _ = self.take_before(next);
            return last;
        }
        last.min(Seq(first.0 - 1))
    }

    /// Takes what is before `seq`; how many seqs that were.
    #[must_use]
    pub fn take_before(&self, seq: Seq) -> u64 {
        seq.0.saturating_sub(self.front.fetch_max(seq.0, Ordering::AcqRel))
    }

    /// What is remembered now.
    #[must_use]
    pub fn state(&self) -> CursorState {
        self.lock().state
    }

    /// Changes what is remembered, and writes it down.
    ///
    /// # Errors
    /// The medium's own; the change holds in memory all the same, and the next save writes it.
    pub fn save(&self, change: impl FnOnce(&mut CursorState)) -> io::Result<()> {
        let mut saved = self.lock();
        change(&mut saved.state);
        let front = self.front();
        let (acked, last) = (saved.state.acked, self.on_its_way());
        let first = last.max(acked).next();
        if front > first {
            saved.state.skip = (first, front);
        } else if saved.state.skip.0 <= acked {
            saved.state.skip = (Seq(0), Seq(0));
        }
        saved.number += 1;
        let slot = saved.state.to_slot(saved.number);
        let at = (saved.number % 2) * SLOT_BYTES as u64;
        if let Some(file) = &saved.file {
            file.write_at(&slot, at)?;
        }
        saved.written = saved.state;
        Ok(())
    }

    /// What is written down: what is settled there may be removed. After
    /// a crash recovery would miss what was removed sooner, and call it damaged.
    ///
    /// # Errors
    /// With `Power`, if storage does not confirm it.
    pub fn written(&self, durability: Durability) -> io::Result<CursorState> {
        let saved = self.lock();
        let (written, file) = (saved.written, saved.file.clone());
        // Storage may hang, and others want to know meanwhile how far it is.
        drop(saved);
        if let (Durability::Power, Some(file)) = (durability, file) {
            file.sync()?;
        }
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, Saved> {
        lock(&self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::media::MemoryFolder;

    #[test]
    fn a_torn_slot_costs_one_step_back() {
        let folder = MemoryFolder::default();
        let cursor = Cursor::open(&folder, "safety_events").unwrap();
        cursor.save(|state| state.acked = Seq(5)).unwrap();
        cursor.save(|state| state.acked = Seq(9)).unwrap();
        let reopened = Cursor::open(&folder, "safety_events").unwrap();
        assert_eq!((reopened.state().acked, reopened.front()), (Seq(9), Seq(10)));
        folder.edit(&cursor_name("safety_events"), |bytes| bytes[20] ^= 1);
        assert_eq!(Cursor::open(&folder, "safety_events").unwrap().state().acked, Seq(5));
    }

    /// A worker was at a batch of another journal: what was dropped of this one was counted, and the next
    /// run delivered it all the same.
    #[test]
    fn what_was_dropped_while_no_batch_is_on_its_way_is_passed_over_in_the_next_run() {
        let folder = MemoryFolder::default();
        let cursor = Cursor::open(&folder, "s").unwrap();
        assert_eq!(cursor.take_before(Seq(6)), 5);
        cursor.save(|state| state.dropped[0] = 5).unwrap();
        let next = Cursor::open(&folder, "s").unwrap();
        assert_eq!(next.skip_dropped(Seq(9)), Seq(9));
        assert_eq!(next.front(), Seq(6));
        assert!(cursor.take(Seq(6), Seq(8)));
        cursor.save(|state| state.acked = Seq(5)).unwrap();
        assert_eq!(cursor.state().skip, (Seq(0), Seq(0)));
    }

    #[test]
    fn what_was_dropped_behind_a_batch_is_passed_over_in_the_next_run() {
        let folder = MemoryFolder::default();
        let cursor = Cursor::open(&folder, "s").unwrap();
        assert!(cursor.take(Seq(1), Seq(10)));
        cursor.save(|state| state.frozen = (Seq(1), Seq(10))).unwrap();
        assert_eq!(cursor.take_before(Seq(31)), 20);
        cursor.save(|state| state.acked = Seq(4)).unwrap();
        let next = Cursor::open(&folder, "s").unwrap();
        assert_eq!((next.front(), next.state().skip), (Seq(5), (Seq(11), Seq(31))));
        assert!(next.state().are_settled(Seq(11), Seq(30)));
        assert!(!next.state().are_settled(Seq(10), Seq(30)));
        assert!(!next.state().are_settled(Seq(11), Seq(31)));
        assert_eq!(next.skip_dropped(Seq(50)), Seq(10));
        assert!(next.take(Seq(5), Seq(10)));
        // It ends again, before and after the batch has settled.
        next.save(|state| state.frozen = (Seq(5), Seq(10))).unwrap();
        assert_eq!(Cursor::open(&folder, "s").unwrap().state().skip, (Seq(11), Seq(31)));
        next.save(|state| state.acked = Seq(10)).unwrap();
        let last = Cursor::open(&folder, "s").unwrap();
        assert_eq!((last.front(), last.skip_dropped(Seq(50))), (Seq(11), Seq(50)));
        assert_eq!(last.front(), Seq(31));
        last.save(|state| state.acked = Seq(40)).unwrap();
        assert_eq!(last.state().skip, (Seq(0), Seq(0)));
    }

    /// A forged cursor near 2^64 made the next seq overflow.
    #[test]
    fn a_number_beyond_the_largest_is_damage_however_right_its_check_is() {
        let forge = |change: &dyn Fn(&mut CursorState), number: u64| {
            let folder = MemoryFolder::default();
            Cursor::open(&folder, "s").unwrap().save(|state| state.acked = Seq(5)).unwrap();
            let mut state = CursorState { acked: Seq(9), ..CursorState::default() };
            change(&mut state);
            let (slot, at) = (state.to_slot(number), (number % 2) as usize * SLOT_BYTES);
            folder.edit(&cursor_name("s"), |bytes| {
                bytes.resize(2 * SLOT_BYTES, 0);
                bytes[at..at + SLOT_BYTES].copy_from_slice(&slot);
            });
            let cursor = Cursor::open(&folder, "s").unwrap();
            cursor.save(|_| ()).unwrap();
            cursor.state().acked.0
        };
        assert_eq!(forge(&|_| (), 2), 9);
        assert_eq!(forge(&|state| state.flushed = SEQ_MAX, SEQ_MAX), 9);
        for n in [SEQ_MAX + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(forge(&|state| state.acked = Seq(n), 2), 5);
            assert_eq!(forge(&|state| state.frozen.1 = Seq(n), 2), 5);
            assert_eq!(forge(&|state| state.flushed = n, 2), 5);
            assert_eq!(forge(&|state| state.unsequenced = n, 2), 5);
            assert_eq!(forge(&|state| state.dropped[5] = n, 2), 5);
        }
        // In the other slot, beside the one that is right.
        for number in [SEQ_MAX + 2, u64::MAX - 1] {
            assert_eq!(forge(&|_| (), number), 5);
        }
    }

    #[test]
    fn an_event_is_taken_once() {
        let folder = MemoryFolder::default();
        let cursor = Cursor::open(&folder, "s").unwrap();
        assert!(cursor.take(Seq(1), Seq(3)));
        assert!(!cursor.take(Seq(1), Seq(3)));
        assert_eq!(cursor.take_before(Seq(6)), 2);
        assert_eq!(cursor.take_before(Seq(6)), 0);
        assert_eq!(cursor.front(), Seq(6));
    }
}
