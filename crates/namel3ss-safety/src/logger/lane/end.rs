//! The end of a lane's journal: it takes no more events, and once all that it has is delivered, it
//! lets go of what it holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Lane;
use crate::journal::media::MemoryFolder;
use crate::process::effective_user;

/// The stages of a lane.
const OPEN: u8 = 0;
/// What is undelivered is left to the user who began it.
const LEAVING: u8 = 1;
const LEFT: u8 = 2;
/// Everything has settled, and the folder is gone.
const FINISHED: u8 = 3;

impl Lane {
    /// Takes no more events, and has everything that it has delivered at once: another journal takes
    /// the events from here on, and must be there already.
    pub(in crate::logger) fn close(&self) {
        self.journal.close();
        // Those who wait for room find it closed.
        self.wake_waiting();
    }

    /// Says that it lies in a folder on disk by now, which the present user has made.
    pub(in crate::logger) fn is_in_file(&self) {
        self.user.store(effective_user(), Ordering::Release);
        self.moved.store(true, Ordering::Release);
    }

    /// The effective user that made its folder.
    pub(in crate::logger) fn user(&self) -> u32 {
        self.user.load(Ordering::Acquire)
    }

    /// Whether it is written or delivered.
    pub(in crate::logger) fn is_open(&self) -> bool {
        self.stage.load(Ordering::Acquire) == OPEN
    }

    /// Whether it holds nothing any more: no file, no memory, no lock.
    pub(in crate::logger) fn is_over(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= LEFT
    }

    /// Whether nothing more of it is delivered here, while it holds its lock still.
    pub(in crate::logger) fn is_leaving(&self) -> bool {
        self.stage.load(Ordering::Acquire) == LEAVING
    }

    /// Whether what is undelivered in it is somebody else's to deliver.
    pub(in crate::logger) fn is_left(&self) -> bool {
        matches!(self.stage.load(Ordering::Acquire), LEAVING | LEFT)
    }

    /// Says that everything in it has settled; false where somebody has ended it before.
    pub(in crate::logger) fn finish(&self) -> bool {
        self.go_on(OPEN, FINISHED)
    }

    /// Says that nothing more of it is delivered here; false where somebody has ended it before.
    pub(in crate::logger) fn leave(&self) -> bool {
        self.go_on(OPEN, LEAVING)
    }

    /// Says that it has let go of all that it held.
    pub(in crate::logger) fn left(&self) {
        self.go_on(LEAVING, LEFT);
    }

    fn go_on(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
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
