//! What a journal stands on: a folder of files, as little of it as a journal needs.
//!
//! Three of them: a folder on disk with a mapped ring (`mmap`, the default), a folder on disk
//! without one (`file`, where fallocate or mmap won't do), and memory (journal off; in tests also
//! a disk that loses unsynced writes, or fails, on command).

mod lock;
mod storage;
mod mmap;
#[cfg(unix)]
mod sigbus;
mod file;
mod memory;
mod movable;

pub use self::file::DiskFolder;
pub use self::lock::FolderLock;
pub use self::memory::{Fault, MemoryFolder};
pub use self::mmap::{ForkGuard, Mapping};
pub use self::movable::MovableFolder;
pub use self::storage::{Folder, MediumFile, lies_with_file, read_around};

/// Whether the process survives that the file of a mapping is cut, as far as can be told. False once
/// the application has set a handler of SIGBUS of its own over ours.
#[must_use]
pub fn survives_cuts() -> bool {
    #[cfg(unix)]
    return sigbus::is_in_place();
    #[cfg(not(unix))]
    true
}
