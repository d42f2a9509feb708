//! The lock of a folder.

use std::fs::File;

use crate::process::ForgottenInChild;
use crate::process::descriptors::Reserved;

/// Held while a process uses a folder; the kernel lets go of it when the process is gone, however
/// it went. It belongs to the open file (flock), never to a pid; a forked child, which shares that,
/// lets go of it at once.
#[derive(Debug)]
pub struct FolderLock {
    // In this order: a descriptor that is closed must not be kept in mind any more.
    pub(super) _forgotten: ForgottenInChild,
    pub(super) _file: File,
    /// Those of the whole journal, as long as it is held.
    pub(super) reserved: Option<Reserved>,
}

impl FolderLock {
    /// Has these descriptors reserved as long as the folder is held.
    #[must_use]
    pub(crate) fn with(mut self, reserved: Option<Reserved>) -> Self {
        self.reserved = reserved;
        self
    }

    /// What was reserved for it.
    pub(crate) fn take_reserved(&mut self) -> Option<Reserved> {
        self.reserved.take()
    }
}
