//! The end of a lane's journal: it takes no more events, and once all that it has is delivered, it
//! lets go of what it holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Lane;
use crate::journal::media::MemoryFolder;

impl Lane {
    /// Takes no more events, and has everything that it has delivered at once: another journal takes
    /// the events from here on, and must be there already.
    pub(in crate::logger) fn close(&self) {
        self.journal.close();
        // Those who wait for room find it closed.
        self.wake_waiting();
    }

    /// Whether everything in it has settled, and its folder is gone.
    pub(in crate::logger) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Says that everything in it has settled; false where somebody has said so before.
    pub(in crate::logger) fn finish(&self) -> bool {
        !self.finished.swap(true, Ordering::AcqRel)
    }

    /// Whether it is closed and everything in it has settled.
    pub(in crate::logger) fn is_done(&self) -> bool {
        self.journal.is_closed() && self.acked() >= self.journal.last()
    }

    /// Lets go of its files, its memory and its lock.
    pub(in crate::logger) fn let_go(&self) {
        self.journal.let_go();
        self.readers.iter().for_each(|reader| reader.cursor.let_go());
        self.folder.move_to(Arc::new(MemoryFolder::default()));
    }
}
