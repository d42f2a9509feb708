//! A journal that is being written.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

use super::drain::{Drainer, Parts};
use super::gap::{DropReason, Gap};
use super::group::GroupCommit;
use super::header::{FileHeader, FileKind};
use super::media::{Folder, FolderLock};
use super::options::Options;
use super::ring::Ring;
use super::spill::Spill;
use super::store::Store;
use super::{destinations, media, ring};
use crate::batch::Durability;
use crate::clock::Timestamp;
use crate::id::{JournalId, Seq};
use crate::locks::lock;

/// The most gap records that wait for the disk, but for a few.
const GAPS_MAX: usize = 64;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    pub(super) header: FileHeader,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) options: Options,
    pub(super) ring: Ring,
    pub(super) spill: Spill,
    pub(super) store: Arc<Store>,
    pub(super) drainer: Mutex<Drainer>,
    /// Gap records on their way to a segment; held for a moment only.
    pub(super) gaps: Mutex<VecDeque<Gap>>,
    pub(super) drained: AtomicU64,
    pub(super) group: GroupCommit,
    /// Whether the folder's names were synced since the last segment was made.
    pub(super) failing: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) said_damaged: AtomicBool,
    pub(super) said_unprotected: AtomicBool,
    pub(super) _lock: Mutex<Option<FolderLock>>,
}

/// Why an event is not safe from a power cut.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// Storage did not confirm.
    Sync(String),
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sync(error) => write!(f, "sync the journal: {error}"),
        }
    }
}

impl std::error::Error for JournalError {}

/// Where an append went wrong, and whether a seq was used up by it.
#[derive(Debug)]
pub struct AppendError {
    /// What the medium said.
    pub error: io::Error,
    /// The seq that no event has now.
    pub void: Option<Seq>,
}

impl Journal {
    /// Makes a new journal in an empty folder, to be delivered to `destinations`, one or more.
    /// `lock` is held as long as the journal lives.
    ///
    /// # Errors
    /// The medium's own.
    pub fn create(
        folder: Arc<dyn Folder>,
        lock: Option<FolderLock>,
        journal: JournalId,
        (dataset, destinations): (&str, &[String]),
        options: Options,
    ) -> io::Result<Self> {
        let named = |at: &String| destinations::named(at, destinations.len());
        let mut named = destinations.iter().map(named);
        let header = FileHeader {
            kind: FileKind::Ring,
            journal,
            epoch: u64::from_le_bytes(crate::id::os_random()[..8].try_into().unwrap_or_default()),
            first: Seq(1),
            created: Timestamp::now(),
            dataset: dataset.to_owned(),
            destination: named.next().unwrap_or_default(),
            further: named.collect(),
        };
        let ring = Ring::create(&*folder, &header, options.ring_bytes, options.ring_bytes_max)?;
        if options.durability == Durability::Power {
            // Once, so that a power cut leaves a header; frames are never synced here.
            ring.sync()?;
            folder.sync()?;
        }
        let store = Arc::new(Store::new(journal, folder.clone(), Vec::new()));
        Ok(Self {
            header,
            folder,
            options,
            ring,
            spill: Spill::default(),
            store,
            drainer: Mutex::new(Drainer::new(Seq(0))),
            gaps: Mutex::default(),
            drained: AtomicU64::new(0),
            group: GroupCommit::default(),
            failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            said_damaged: AtomicBool::new(false),
            said_unprotected: AtomicBool::new(false),
            _lock: Mutex::new(lock),
        })
    }

    /// Which journal it is.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.header.journal
    }

    /// Whose it is.
    #[must_use]
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// What it writes to.
    #[must_use]
    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.folder
    }

    /// Its segments, for reading.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether `append` has a ring to write to, and so costs no system call.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.ring.capacity_bytes() > 0
    }

    /// The last seq that was given out.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Seq {
        self.ring.last()
    }

    /// The last seq that is in a segment: readers can have it.
    #[must_use]
    pub fn drained(&self) -> Seq {
        Seq(self.drained.load(Ordering::Acquire))
    }

    /// Bytes from `front` on, wherever they are.
    #[must_use]
    pub fn bytes_from(&self, front: Seq) -> u64 {
        self.ring.held_bytes() + self.spill.bytes() + self.store.bytes_from(front)
    }

    /// Readies room for the next events; see [`Ring::tend`].
    pub fn tend(&self) {
        self.ring.tend();
    }

    /// Appends an event's payload. When it returns, the kernel has the bytes. It waits for nobody
    /// but, where the ring is full, for the disk and for other callers at it.
    ///
    /// # Errors
    /// If neither ring nor spill file can take it.
    #[inline]
    pub fn append(&self, payload: &[u8]) -> Result<Seq, AppendError> {
        match self.ring.append(payload) {
            Ok(seq) if !self.ring.is_damaged() => Ok(seq),
            Ok(seq) => self.append_again(seq, payload),
            Err(ring::RingFull) => self.append_to_spill(payload),
        }
    }

    /// After an append that may have met a page of the ring which is gone: its frame is in a segment
    /// before this returns, or is written once more, elsewhere.
    #[cold]
    fn append_again(&self, seq: Seq, payload: &[u8]) -> Result<Seq, AppendError> {
        let mut drainer = lock(&self.drainer);
        drainer.look_again();
        let drained = self.drain_locked(&mut drainer, Seq(0));
        if drained.is_ok() && !drainer.is_lost(seq) {
            return Ok(seq);
        }
        drop(drainer);
        match self.append_to_spill(payload) {
            // It is in memory, and goes to a file when there is one to be had.
            Err(AppendError { void: None, .. }) if drained.is_err() => Ok(seq),
            again => again,
        }
    }

    /// Whether the ring's file was cut, or a page of it can't be read: then events go to plain files.
    /// What was in the ring and can't be read any more is missing in the segments, and readers say
    /// so. A logger may begin another journal; this one goes on until then.
    #[inline]
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.ring.is_damaged()
    }

    /// Where somebody has removed the journal's folder: makes it anew and goes on there; true then,
    /// and the cursors need new files as well. What was in segments that are removed is missing.
    ///
    /// # Errors
    /// The medium's own; the next call tries again.
    pub fn restore(&self) -> io::Result<bool> {
        let Some(held) = self.folder.restore()? else { return Ok(false) };
        let mut before = lock(&self._lock);
        let reserved = before.as_mut().and_then(FolderLock::take_reserved);
        *before = Some(held.with(reserved));
        drop(before);
        // Its file is nobody's any more: what is in it is moved, and more does not come.
        self.ring.check();
        self.ring.give_up();
        self.spill.leave_file();
        lock(&self.drainer).leave_files(&self.parts())?;
        Ok(true)
    }

    /// Looks at the ring's file, for a thread in the background about once a second; what is wrong
    /// with it, once each.
    #[must_use]
    pub fn check(&self) -> Option<&'static str> {
        self.ring.check();
        let first = |said: &AtomicBool| !said.swap(true, Ordering::Relaxed);
        if self.is_damaged() && first(&self.said_damaged) {
            return Some(
                "the ring's file was removed, cut, overwritten, or can't be read: events go to plain files, \
                 and what was in the ring alone may be lost",
            );
        }
        if self.is_mapped() && !media::survives_cuts() && first(&self.said_unprotected) {
            return Some(
                "the application has replaced the journal's handler of SIGBUS: should the ring's \
                 file be cut now, the process ends",
            );
        }
        None
    }

    #[cold]
    fn append_to_spill(&self, payload: &[u8]) -> Result<Seq, AppendError> {
        self.spill
            .append(&*self.folder, &self.ring, &self.header, payload)
            .map_err(|(error, void)| AppendError { error, void })
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            folder: &*self.folder,
            header: &self.header,
            ring: &self.ring,
            spill: &self.spill,
            store: &self.store,
            options: &self.options,
        }
    }

    /// Moves committed frames into segments; how many events that were. Events before `floor` were
    /// dropped and need not be kept.
    ///
    /// # Errors
    /// The medium's own; nothing is lost, and the next call goes on.
    pub fn drain(&self, floor: Seq) -> io::Result<u64> {
        self.drain_locked(&mut lock(&self.drainer), floor)
    }

    /// As [`drain`](Self::drain), unless another thread is at it: then `None`.
    #[must_use]
    pub fn try_drain(&self, floor: Seq) -> Option<io::Result<u64>> {
        let mut drainer = match self.drainer.try_lock() {
            Ok(drainer) => drainer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.drain_locked(&mut drainer, floor))
    }

    pub(super) fn drain_locked(&self, drainer: &mut Drainer, floor: Seq) -> io::Result<u64> {
        let result = drainer.drain(&self.parts(), floor, &self.gaps);
        self.drained.store(drainer.drained().0, Ordering::Release);
        self.failing.store(result.is_err(), Ordering::Relaxed);
        result
    }

    /// Whether the last drain failed: segments can't be written.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Puts a gap record behind what was logged so far.
    pub fn push_gap(&self, gap: Gap) {
        let mut gaps = lock(&self.gaps);
        // Gaps of one kind in a row are one record; and where the disk takes none for long, so are
        // gaps of one kind that lie apart: what waits here is bounded.
        let crowded = gaps.len() >= GAPS_MAX;
        let same = |known: &&mut Gap| {
            let unplaced = |gap: &Gap| gap.seqs == (Seq(0), Seq(0));
            known.reason == gap.reason
                && unplaced(known) == unplaced(&gap)
                && (crowded || unplaced(&gap) || known.seqs.1.next() == gap.seqs.0)
        };
        if let Some(known) = gaps.iter_mut().rev().take(2 * DropReason::ALL.len()).find(same) {
            known.events += gap.events;
            known.seqs.1 = known.seqs.1.max(gap.seqs.1);
            return;
        }
        gaps.push_back(gap);
    }

    /// Makes everything up to the last append survive a power cut, and says up to where that is.
    /// Callers that come while a sync is under way share the next one.
    ///
    /// # Errors
    /// If storage does not confirm it. The unconfirmed frames are rewritten to a new segment, so a
    /// later call can succeed honestly; a failed sync is never simply repeated.
    pub fn sync(&self) -> Result<Seq, JournalError> {
        let target = self.last();
        self.group
            .commit(target, || self.last(), |target| self.sync_once(target))
            .map_err(JournalError::Sync)
    }

    /// The last seq that a sync has covered.
    #[must_use]
    pub fn synced(&self) -> Seq {
        self.group.through()
    }

    fn sync_once(&self, target: Seq) -> io::Result<Seq> {
        let dirty = {
            let mut drainer = lock(&self.drainer);
            loop {
                self.drain_locked(&mut drainer, Seq(0))?;
                if drainer.drained() >= target {
                    break;
                }
                // Another thread has claimed a place and is about to commit.
                std::thread::yield_now();
            }
            if drainer.is_suspect() {
                drainer.poisoned(&self.parts())?;
            }
            match drainer.dirty() {
                Some(dirty) => dirty,
                None => return Ok(drainer.drained()),
            }
        };
        match dirty.sync(&*self.folder) {
            Ok(()) => {
                lock(&self.drainer).synced(&dirty);
                Ok(dirty.through)
            }
            Err(error) => {
                lock(&self.drainer).poisoned(&self.parts())?;
                Err(error)
            }
        }
    }

    /// Ends the journal and removes its folder, when everything in it is settled.
    ///
    /// # Errors
    /// The medium's own.
    pub fn remove(&self) -> io::Result<()> {
        self.store.set_unreadable_aside();
        self.folder.remove_all()
    }

    /// In a forked child: lets go of the parent's lock file, which the child has inherited.
    pub fn forget_lock(&self) {
        if let Ok(mut lock) = self._lock.try_lock() {
            *lock = None;
        }
    }
}
