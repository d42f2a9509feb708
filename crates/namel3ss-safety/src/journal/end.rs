//! The end of a journal: it takes no more events, and, once they have settled or are left to somebody
//! else, lets go of all that it holds.

use std::io;
use std::sync::atomic::Ordering;

use super::active::Journal;
use super::drain::Drainer;
use super::media::FolderLock;
use crate::id::Seq;
use crate::locks::lock;

impl Journal {
    /// Takes no more events: when this returns, [`last`](Self::last) stands for good, and each append
    /// that has no seq yet fails.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ring.close();
        self.spill.close();
    }

    /// Whether it takes no more events.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether each append that has a seq has written its frame, once it is closed.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.is_closed() && self.ring.is_committed(lock(&self.drainer).position)
    }

    /// Moves everything into segments, the last of which is sealed; false while an event that has a
    /// seq is not there yet, or where it takes more events.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub fn drain_to_end(&self, floor: Seq) -> io::Result<bool> {
        let mut drainer = lock(&self.drainer);
        self.drain_locked(&mut drainer, floor)?;
        let all = self.is_closed() && drainer.drained() >= self.last();
        if all {
            drainer.retire(&self.parts());
        }
        Ok(all)
    }

    /// Holds the lock of the folder that it has moved to.
    pub fn hold(&self, held: FolderLock) {
        *lock(&self._lock) = Some(held);
    }

    /// Lets go of its files, its memory and its lock, once it is closed: everything in it has
    /// settled, or is left to whoever takes its lock next. Nothing is removed, nothing can be read
    /// any more.
    pub fn let_go(&self) {
        debug_assert!(self.is_closed(), "somebody may be writing to it");
        let mut drainer = lock(&self.drainer);
        *drainer = Drainer::new(drainer.drained());
        self.ring.let_go();
        self.spill.let_go();
        self.store.let_go();
        self.failing.store(false, Ordering::Relaxed);
        // Last: until here it was ours.
        *lock(&self._lock) = None;
    }
}
