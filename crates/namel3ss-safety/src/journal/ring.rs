//! Where `log()` writes: a ring of frames in mapped memory, lock-free for any number of threads.
//!
//! One atomic word says where the next frame goes and which seq it gets; a thread claims both with
//! one compare-and-swap, stores its frame, and stores the commit word last. The drainer reads
//! committed frames in order, zeroes their place and moves the head. Positions count bytes for
//! ever; a place in memory is the position modulo the capacity.
//!
//! The mapping is never synced and touches only what it needs: the ring wraps early, at a limit
//! that starts small and doubles when the drainer falls behind.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::{self, Header, Kind, Place};
use super::header::{FileHeader, HEADER_BYTES};
use super::media::{Folder, Mapping, MediumFile};
use super::ring_state::{CAPACITY_MAX, CAPACITY_WORDS, HEAD_WORDS, check, head_check};
use super::ring_walk::{RingStep, RingWalk};
use crate::id::Seq;
use crate::locks::lock;
use crate::memory;

/// The ring's file.
pub const RING_NAME: &str = "ring.n3j";
/// A spare page behind the limit, so that there is always room for a wrap mark.
const SPARE_BYTES: u64 = 4096;

/// Where the header block holds the file's random number.
const EPOCH_WORD: usize = 4;

/// How many bytes of pages are taken at once, ahead of use.
const POPULATE_BYTES: u64 = 1 << 20;

/// Keeps what many threads write away from what many threads read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// A ring of frames; see the module.
#[derive(Debug)]
pub struct Ring {
    mapping: Mapping,
    /// `None` once the ring was let go.
    file: Mutex<Option<Arc<dyn MediumFile>>>,
    epoch: u64,
    /// Bytes of the data area; zero where the medium has no mapping.
    capacity: u64,
    /// Low 32 bits: the tail's position in units of 8 bytes; high 32 bits: the last seq; both
    /// modulo 2^32, completed by `head` and `head_seq`, which are never that far behind.
    claim: Padded<AtomicU64>,
    head: Padded<AtomicU64>,
    head_seq: AtomicU64,
    releases: AtomicU64,
    limit: AtomicU64,
    growing: Mutex<()>,
    /// How much of the data area was in use when the ring was given up.
    given_up: AtomicU64,
    /// Up to where its pages were taken ahead of use.
    populated: AtomicU64,
}

/// Why a frame is not in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull;

/// One look at both ends.
struct Tail {
    claim: u64,
    head: u64,
    tail: u64,
    seq: Seq,
}

/// A frame that [`Ring::read`] found.
#[derive(Clone, Copy, Debug)]
pub struct RingFrame {
    /// Its header, unbound from its place.
    pub header: Header,
    /// Where it began; wrap marks before it are part of it.
    pub from: u64,
    /// Where the next one begins.
    pub next: u64,
}

impl Ring {
    /// Makes the ring's file in `folder`, with room for `bytes` at first and `bytes_max` at most
    /// (rounded up to powers of two), less where memory is scarce. Where the medium has no mappings the
    /// ring holds nothing, and every append answers [`RingFull`].
    ///
    /// # Errors
    /// The medium's own.
    pub fn create(
        folder: &dyn Folder,
        header: &FileHeader,
        bytes: u64,
        bytes_max: u64,
    ) -> io::Result<Self> {
        let most = bytes_max.min(CAPACITY_MAX).next_power_of_two().max(4 * SPARE_BYTES);
        let first = bytes.min(most).next_power_of_two().max(2 * SPARE_BYTES);
        let limit = first - SPARE_BYTES;
        let file = match folder.create(RING_NAME, HEADER_BYTES as u64 + first) {
            // Of a file in memory its header will do.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                folder.create(RING_NAME, HEADER_BYTES as u64)
            }
            created => created,
        }?;
        file.write_at(&header.to_block(), 0)?;
        // Where no mapping is to be had, the file only says whose journal this is.
        let (mapping, capacity) = map(folder, first.max(4 * SPARE_BYTES), most)
            .unwrap_or_else(|| (Mapping::heap(HEADER_BYTES), 0));
        // The first pages only: a quiet logger stays small, a busy one soon has the rest.
        let populated = limit.min(64 << 10);
        if capacity > 0 {
            let sum = u64::from(check([header.epoch, capacity]));
            mapping.words()[CAPACITY_WORDS + 1].store(sum, Ordering::Relaxed);
            mapping.words()[CAPACITY_WORDS].store(capacity, Ordering::Relaxed);
            mapping.populate(HEADER_BYTES, populated as usize);
        }
        Ok(Self {
            mapping,
            file: Mutex::new(Some(file)),
            epoch: header.epoch,
            capacity,
            claim: Padded::default(),
            head: Padded::default(),
            head_seq: AtomicU64::new(0),
            releases: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            growing: Mutex::new(()),
            given_up: AtomicU64::new(0),
            populated: AtomicU64::new(populated),
        })
    }

    /// Makes the file's header survive a power cut.
    ///
    /// # Errors
    /// The medium's own.
    pub fn sync(&self) -> io::Result<()> {
        self.file().map_or(Ok(()), |file| file.sync())
    }

    /// The last seq that was given out.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Seq {
        let base = self.head_seq.load(Ordering::Acquire);
        let claim = self.claim.0.load(Ordering::SeqCst);
        Seq(complete(base, (claim >> 32) as u32))
    }

    /// Bytes between head and tail; nothing once it was given up.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        if self.given_up.load(Ordering::Acquire) > 0 {
            return 0;
        }
        let head = self.head.0.load(Ordering::Acquire);
        let claim = self.claim.0.load(Ordering::Acquire);
        complete(head / 8, claim as u32) * 8 - head
    }

    /// Bytes of frames in it, without what is skipped where it wraps early.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let (used, limit) = (self.used_bytes(), self.limit.load(Ordering::Acquire));
        if used <= limit {
            return used;
        }
        // It has wrapped at its limit, which does not grow meanwhile.
        used.saturating_sub(self.capacity.saturating_sub(limit)).min(limit)
    }

    /// The most bytes it ever holds.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity
    }

    /// Appends a frame; its seq is one more than the one before it.
    ///
    /// # Errors
    /// If there is no room and none can be made; no seq is used up then.
    #[inline]
    pub fn append(&self, payload: &[u8]) -> Result<Seq, RingFull> {
        let size = frame::size_of_frame(payload.len()) as u64;
        let crc = frame::payload_crc(payload);
        loop {
            let Tail { claim, head, tail, seq } = self.tail();
            let Some(start) = self.start(head, tail, size) else {
                if self.grow(head, tail) {
                    continue;
                }
                return Err(RingFull);
            };
            let next = pack(start + size, seq);
            let swapped =
                self.claim.0.compare_exchange(claim, next, Ordering::SeqCst, Ordering::Relaxed);
            if swapped.is_err() {
                continue;
            }
            if start != tail {
                let mark = Header::with_crc(Kind::Wrap, seq, 0, frame::payload_crc(&[]));
                self.store(&mark, &[], tail);
            }
            let header = Header::with_crc(Kind::Event, seq, payload.len(), crc);
            self.store(&header, payload, start);
            return Ok(seq);
        }
    }

    /// Whether a page of it is gone, or its file is not what was written.
    #[inline]
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.mapping.is_damaged()
    }

    /// Looks whether the file is as long as it was made, and still begins as it did: what lies in
    /// pages that were cut off and are there again reads as if nobody had written it.
    pub fn check(&self) {
        if self.capacity == 0 || self.is_damaged() || self.given_up.load(Ordering::Acquire) > 0 {
            return;
        }
        let Some(file) = self.file() else { return };
        let bytes = HEADER_BYTES as u64 + self.limit.load(Ordering::Acquire) + SPARE_BYTES;
        let short = file.size().is_ok_and(|size| size < bytes);
        let epoch = self.mapping.words()[EPOCH_WORD].load(Ordering::Relaxed);
        let removed = file.is_removed().unwrap_or(false);
        if short || removed || epoch != self.epoch {
            self.mapping.mark_damaged();
        }
    }

    /// Takes no more frames: every append answers [`RingFull`] from here on, but for those that are
    /// under way.
    pub fn give_up(&self) {
        let limit = self.limit.swap(0, Ordering::SeqCst);
        if limit > 0 {
            self.given_up.store(limit + SPARE_BYTES, Ordering::SeqCst);
        }
    }

    /// Takes no more frames, and gives out no more seqs: when this returns, an append that is under
    /// way has its seq, or answers [`RingFull`].
    pub fn close(&self) {
        self.limit.store(0, Ordering::SeqCst);
        if self.capacity == 0 {
            return;
        }
        // An append that has seen the limit of before must not succeed with the claim of before: it
        // is changed, by a place that nobody writes to. A later claim comes after the new limit.
        loop {
            let Tail { claim, tail, seq, .. } = self.tail();
            let next = pack(tail + 8, Seq(seq.0 - 1));
            let swapped =
                self.claim.0.compare_exchange(claim, next, Ordering::SeqCst, Ordering::Relaxed);
            if swapped.is_ok() {
                return;
            }
        }
    }

    /// Of a closed ring: whether each frame from `position` on whose place was claimed is there.
    #[must_use]
    pub fn is_committed(&self, position: u64) -> bool {
        let (mut at, mut payload) = (position, Vec::new());
        while let Ok(Some(frame)) = self.read(at, &mut payload) {
            at = frame.next;
            payload.clear();
        }
        let tail = complete(at / 8, self.claim.0.load(Ordering::Acquire) as u32) * 8;
        // The last place is the one that closing has claimed, for no frame.
        self.capacity == 0 || self.is_lost() || at + 8 >= tail
    }

    /// Lets go of its file and its memory, once it was [closed](Self::close) and all that was in it
    /// was read, or is somebody else's. It reads as empty from then on.
    pub fn let_go(&self) {
        *lock(&self.file) = None;
        self.mapping.let_go();
    }

    fn file(&self) -> Option<Arc<dyn MediumFile>> {
        lock(&self.file).clone()
    }

    /// Whether it takes no more frames, or should not.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_damaged() || self.given_up.load(Ordering::Acquire) > 0
    }

    /// Of a ring that was given up: the frames from `position` on that are whole, in order, with
    /// their payloads.
    #[must_use]
    pub fn salvage(&self, position: u64) -> Vec<(Header, Vec<u8>)> {
        if self.capacity == 0 {
            return Vec::new();
        }
        let bytes = self.given_up.load(Ordering::SeqCst) as usize;
        let words = &self.mapping.words()[HEADER_BYTES / 8..];
        let words = &words[..words.len().min(bytes / 8)];
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect();
        let end = complete(position / 8, self.claim.0.load(Ordering::Acquire) as u32) * 8;
        let mut walk = RingWalk {
            bytes: &bytes,
            epoch: self.epoch,
            capacity: self.capacity,
            sure: end,
            at: position,
            failed_bytes: 0,
            at_boundary: true,
        };
        let mut frames = Vec::new();
        while let Some(step) = walk.next(end) {
            if let RingStep::Frame(header, place) = step {
                let from = place as usize + frame::HEADER_BYTES;
                frames.push((header, bytes[from..from + header.length].to_vec()));
            }
        }
        frames
    }

    /// Takes a seq without a place, for a frame that goes elsewhere.
    #[must_use]
    pub fn claim_seq(&self) -> Seq {
        loop {
            let Tail { claim, tail, seq, .. } = self.tail();
            let next = pack(tail, seq);
            if self
                .claim
                .0
                .compare_exchange(claim, next, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return seq;
            }
        }
    }

    /// Where the next frame would go, and the claim word to compare with.
    #[inline]
    fn tail(&self) -> Tail {
        // Head before claim: then the head is never ahead of the claim it completes.
        let head = self.head.0.load(Ordering::Acquire);
        let base = self.head_seq.load(Ordering::Acquire);
        let claim = self.claim.0.load(Ordering::Acquire);
        Tail {
            claim,
            head,
            tail: complete(head / 8, claim as u32) * 8,
            seq: Seq(complete(base, (claim >> 32) as u32) + 1),
        }
    }

    /// Where a frame of `size` bytes can begin: here, or at the start of the next lap.
    #[inline]
    fn start(&self, head: u64, tail: u64, size: u64) -> Option<u64> {
        if self.capacity == 0 || size > self.capacity / 4 {
            return None;
        }
        let limit = self.limit.load(Ordering::Acquire);
        let place = tail & (self.capacity - 1);
        if place + size <= limit {
            return (tail + size - head <= self.capacity).then_some(tail);
        }
        // Behind a wrapped tail the ring can't grow until the head has wrapped too. So with less
        // than half of the ring free there, growing first keeps a burst out of the spill files.
        let free = if self.laps(head, tail) { 0 } else { head & (self.capacity - 1) };
        let start = tail - place + self.capacity;
        let fits = size <= limit && start + size - head <= self.capacity;
        (fits && (free >= limit / 2 || limit >= self.limit_max())).then_some(start)
    }

    /// Whether the tail is a lap ahead of the head.
    fn laps(&self, head: u64, tail: u64) -> bool {
        head / self.capacity != tail / self.capacity
    }

    fn limit_max(&self) -> u64 {
        self.capacity.saturating_sub(SPARE_BYTES)
    }

    /// Doubles the limit, if that gives room at this tail. False when the ring is full.
    #[cold]
    fn grow(&self, head: u64, tail: u64) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let most = self.limit_max();
        // A limit of zero is that of a ring that was given up.
        if self.capacity == 0 || limit == 0 || limit >= most || self.laps(head, tail) {
            return false;
        }
        let Ok(_growing) = self.growing.try_lock() else {
            std::thread::yield_now();
            return true;
        };
        if self.limit.load(Ordering::Acquire) != limit {
            return true;
        }
        let larger = ((limit + SPARE_BYTES) * 2 - SPARE_BYTES).min(most);
        // Else the new pages would hide that older ones are gone.
        self.check();
        let bytes = HEADER_BYTES as u64 + larger + SPARE_BYTES;
        if self.is_damaged() || self.file().is_none_or(|file| file.allocate(bytes).is_err()) {
            return false;
        }
        let swapped =
            self.limit.compare_exchange(limit, larger, Ordering::AcqRel, Ordering::Relaxed);
        swapped.is_ok()
    }

    /// Readies room ahead of use, so that `append` meets neither a full ring nor a page fault: for
    /// a thread in the background, while events come.
    pub fn tend(&self) {
        let head = self.head.0.load(Ordering::Acquire);
        let used = self.used_bytes();
        if used > self.limit.load(Ordering::Acquire) / 2 {
            self.grow(head, head + used);
        }
        let from = self.populated.load(Ordering::Relaxed);
        let place = (head + used) & self.capacity.saturating_sub(1);
        let to = self.limit.load(Ordering::Acquire) + SPARE_BYTES;
        if self.capacity > 0 && from < to && place + POPULATE_BYTES > from {
            let bytes = (to - from).min(POPULATE_BYTES);
            self.mapping.populate(HEADER_BYTES + from as usize, bytes as usize);
            self.populated.store(from + bytes, Ordering::Relaxed);
        }
    }

    #[inline]
    fn store(&self, header: &Header, payload: &[u8], position: u64) {
        let at = self.word(position);
        let words = &self.mapping.words()[at..at + 2 + payload.len().div_ceil(8)];
        let mut chunks = payload.chunks_exact(8);
        for (word, chunk) in words[2..].iter().zip(&mut chunks) {
            // Infallible: chunks_exact gives eight bytes.
            let bytes: [u8; 8] = chunk.try_into().unwrap_or_default();
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        if let ([_, ..], Some(last)) = (chunks.remainder(), words.last()) {
            last.store(rest_of(payload), Ordering::Relaxed);
        }
        let [commit, seq] = header.words(Place { epoch: self.epoch, position });
        words[1].store(seq, Ordering::Relaxed);
        words[0].store(commit, Ordering::Release);
    }

    /// Reads the frame at `position`, appending its payload to `out`; `None` if nothing is
    /// committed there yet. For one reader at a time, at or after the head.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn read(&self, position: u64, out: &mut Vec<u8>) -> io::Result<Option<RingFrame>> {
        let mut at = position;
        // At most one wrap mark stands before a frame.
        for _ in 0..2 {
            let tail = complete(position / 8, self.claim.0.load(Ordering::Acquire) as u32) * 8;
            if at >= tail {
                return Ok(None);
            }
            let word = self.word(at);
            let commit = self.mapping.words()[word].load(Ordering::Acquire);
            if commit == 0 {
                return Ok(None);
            }
            let seq = self.mapping.words()[word + 1].load(Ordering::Relaxed);
            let place = Place { epoch: self.epoch, position: at };
            let header = Header::parse([commit, seq], place);
            let Some(header) = header.filter(|header| header.length <= self.capacity as usize)
            else {
                // A commit word is stored at once and whole: somebody else has written here.
                self.mapping.mark_damaged();
                return Ok(None);
            };
            if header.kind == Kind::Wrap {
                at = at - at % self.capacity + self.capacity;
                continue;
            }
            let from = out.len();
            let payload = self.mapping.words().get(word + 2..);
            let payload = payload.and_then(|words| words.get(..header.length.div_ceil(8)));
            let Some(payload) = payload else { return Ok(None) };
            memory::resize(out, from + 8 * payload.len(), 0)?;
            for (bytes, word) in out[from..].chunks_exact_mut(8).zip(payload) {
                bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
            out.truncate(from + header.length);
            let next = at + header.size() as u64;
            return Ok(Some(RingFrame { header, from: position, next }));
        }
        Ok(None)
    }

    /// Gives the place of frames read before back: zeroes it, then moves the head to the end of
    /// the last one. `seq` is the last seq that has left the ring, `stored` the last up to which
    /// segments say what became of it: the two differ while what was dropped can't be written.
    pub fn release(&self, frames: &[RingFrame], seq: Seq, stored: Seq) {
        let words = self.mapping.words();
        for frame in frames {
            let size = frame.header.size() as u64;
            let start = frame.next - size;
            if start != frame.from {
                let mark = self.word(frame.from);
                words[mark..mark + 2].iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
            let at = self.word(start);
            words[at..at + size as usize / 8]
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        let head = frames.last().map_or(self.head.0.load(Ordering::Relaxed), |last| last.next);
        if self.capacity > 0 {
            let slot = HEAD_WORDS[self.releases.fetch_add(1, Ordering::Relaxed) as usize % 2];
            let state = [head, stored.0, head_check(self.epoch, head, stored)];
            for (word, value) in words[slot..slot + 3].iter().zip(state) {
                // Release keeps them in order behind the zeros: a kill sees what was stored first.
                word.store(value, Ordering::Release);
            }
        }
        self.head.0.store(head, Ordering::Release);
        self.head_seq.store(seq.0, Ordering::Release);
    }

    #[inline]
    fn word(&self, position: u64) -> usize {
        (HEADER_BYTES + (position & (self.capacity - 1)) as usize) / 8
    }
}

/// Maps the ring's file, with a data area of `most` bytes; of fewer, but not of less than `least`, where
/// it would take more than half of the memory that the process may have.
fn map(folder: &dyn Folder, least: u64, most: u64) -> Option<(Mapping, u64)> {
    let mut capacity = most;
    loop {
        let mapping = folder.map(RING_NAME, HEADER_BYTES + capacity as usize);
        match mapping {
            Ok(Some(mapping)) if memory::has(capacity as usize) => {
                return Some((mapping, capacity));
            }
            Ok(None) => return None,
            _ if capacity / 2 < least => return None,
            _ => capacity /= 2,
        }
    }
}

/// The last word of a payload that ends in the middle of one. It is cut from the last eight bytes: a copy
/// of fewer, read again as a word, would wait until it is in the cache.
#[inline]
fn rest_of(payload: &[u8]) -> u64 {
    let rest = payload.len() % 8;
    if let Some(end) = payload.last_chunk() {
        return u64::from_le_bytes(*end) >> (64 - 8 * rest);
    }
    let mut bytes = [0; 8];
    bytes[..rest].copy_from_slice(payload);
    u64::from_le_bytes(bytes)
}

/// The 64-bit number at or after `base` whose low 32 bits are `low`.
#[inline]
fn complete(base: u64, low: u32) -> u64 {
    base + u64::from(low.wrapping_sub(base as u32))
}

#[inline]
fn pack(position: u64, seq: Seq) -> u64 {
    u64::from((position / 8) as u32) | u64::from(seq.0 as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::JournalId;
    use crate::journal::header::FileKind;
    use crate::journal::media::MemoryFolder;

    fn ring(bytes: u64, bytes_max: u64) -> Ring {
        let header = FileHeader {
            kind: FileKind::Ring,
            journal: JournalId([1; 16]),
            epoch: 99,
            first: Seq(1),
            created: Timestamp::from_micros(0),
            dataset: String::new(),
            destination: String::new(),
            further: Vec::new(),
        };
        Ring::create(&MemoryFolder::default(), &header, bytes, bytes_max).unwrap()
    }

    fn drain(ring: &Ring, position: &mut u64, seen: &mut Vec<(u64, Vec<u8>)>) {
        let (mut frames, mut payload) = (Vec::new(), Vec::new());
        while let Some(frame) = ring.read(*position, &mut payload).unwrap() {
            assert!(frame.header.matches(&payload));
            seen.push((frame.header.seq.0, std::mem::take(&mut payload)));
            *position = frame.next;
            frames.push(frame);
        }
        if let Some(last) = frames.last() {
            ring.release(&frames, last.header.seq, last.header.seq);
        }
    }

    #[test]
    fn a_payload_of_each_length_is_read_as_it_was() {
        let ring = ring(8192, 64 << 10);
        let payload = |length: u8| (1..=length).map(|byte| byte | 0x80).collect::<Vec<u8>>();
        (0..40).for_each(|length| _ = ring.append(&payload(length)).unwrap());
        let (mut position, mut seen) = (0, Vec::new());
        drain(&ring, &mut position, &mut seen);
        assert_eq!(seen.len(), 40);
        for (length, (_, read)) in (0..).zip(&seen) {
            assert_eq!(*read, payload(length));
        }
    }

    #[test]
    fn it_grows_by_need_and_then_is_full() {
        let ring = ring(8192, 64 << 10);
        let mut count = 0;
        while ring.append(&[7; 100]).is_ok() {
            count += 1;
        }
        assert!(count * 120 > 50 << 10, "{count}");
        let (mut position, mut seen) = (0, Vec::new());
        drain(&ring, &mut position, &mut seen);
        assert_eq!(seen.len(), count);
        assert_eq!(ring.used_bytes(), 0);
        assert!(ring.append(&[7; 100]).is_ok(), "it has room again");
    }

    #[test]
    fn frames_of_all_sizes_come_out_in_order_over_many_laps() {
        let ring = ring(8192, 32 << 10);
        let (mut position, mut seen) = (0, Vec::new());
        let mut sent = Vec::new();
        for i in 0..20_000_u64 {
            let payload = vec![i as u8; (i * 37 % 700) as usize];
            match ring.append(&payload) {
                Ok(seq) => sent.push((seq.0, payload)),
                Err(RingFull) => drain(&ring, &mut position, &mut seen),
            }
            if i % 97 == 0 {
                drain(&ring, &mut position, &mut seen);
            }
        }
        drain(&ring, &mut position, &mut seen);
        assert_eq!(seen, sent);
        assert!(position > 100 * (32 << 10));
    }

    #[test]
    fn nothing_is_appended_once_it_is_closed() {
        for _ in 0..200 {
            let ring = ring(8192, 64 << 10);
            let (sent, last) = std::thread::scope(|scope| {
                let append = || {
                    let mut last = 0;
                    while let Ok(seq) = ring.append(&[7; 24]) {
                        last = seq.0;
                    }
                    last
                };
                let threads = [scope.spawn(append), scope.spawn(append)];
                std::thread::yield_now();
                ring.close();
                let last = ring.last().0;
                (threads.map(|thread| thread.join().unwrap()).into_iter().max(), last)
            });
            assert_eq!((sent, ring.last().0), (Some(last), last));
            assert!(ring.is_committed(0));
            let (mut position, mut seen) = (0, Vec::new());
            drain(&ring, &mut position, &mut seen);
            assert_eq!(seen.len() as u64, last);
            ring.let_go();
            assert!(ring.read(position, &mut Vec::new()).unwrap().is_none());
            assert_eq!((ring.append(&[1]), ring.last().0), (Err(RingFull), last));
        }
    }

    #[test]
    fn threads_share_it_without_losing_a_frame() {
        let ring = ring(8192, 64 << 10);
        let (mut position, mut seen) = (0, Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let ring = &ring;
                scope.spawn(move || {
                    for i in 0..20_000_u32 {
                        let mut payload = vec![thread; 9 + (i % 50) as usize];
                        payload[..4].copy_from_slice(&i.to_le_bytes());
                        while ring.append(&payload).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            while seen.len() < 80_000 {
                drain(&ring, &mut position, &mut seen);
            }
        });
        for (i, (seq, _)) in seen.iter().enumerate() {
            assert_eq!(*seq, i as u64 + 1);
        }
        for thread in 0..4_u8 {
            let order: Vec<u32> = seen
                .iter()
                .filter(|(_, p)| p[4] == thread)
                .map(|(_, p)| u32::from_le_bytes(p[..4].try_into().unwrap()))
                .collect();
            assert_eq!(order, (0..20_000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_claim_is_completed_across_its_32_bits() {
        assert_eq!(complete(0xffff_fff0, 5), 0x1_0000_0005);
        assert_eq!(complete(0x1_0000_0005, 5), 0x1_0000_0005);
    }
}
