//! A crash-safe log of opaque bytes: append from any thread, read in order, by any number of
//! cursors.
//!
//! `append` stores a frame in a mapped ring (or, where there is none or it is full, in a spill
//! file) and returns: the kernel has the bytes, and no end of the process can take them. The
//! drainer moves frames into segments, which are synced where a power cut must be survived, and
//! removed once every cursor has passed them.

mod names;
mod options;
pub mod frame;
pub mod gap;
pub mod destinations;
pub mod header;
pub mod media;
pub mod ring;
pub mod ring_state;
mod ring_walk;
pub mod segment;
pub mod spill;
pub mod store;
pub mod cursor;
mod drain;
mod salvage;
mod group;
mod active;
mod end;
pub mod recovery;
pub mod account;
pub mod inspect;

pub use self::active::{AppendError, Journal, JournalError};
pub use self::gap::{DropReason, Gap};
pub use self::names::{SEGMENT_PREFIX, slug};
pub use self::options::Options;
