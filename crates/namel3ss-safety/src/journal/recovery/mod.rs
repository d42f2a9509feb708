//! What a process that is gone has left: read without changing a byte, then settled.
//!
//! Reading bounds every length and steps over holes; it tells a torn tail (expected), a hole (a
//! seq that was claimed and never committed: its `log()` had not returned) and damage apart.
//! Settling moves what lies in the ring and in spill files into one more segment. It may be killed
//! at any point and begun again: frames are known by their seqs, and files are removed last.

mod look;
mod scan;
mod settle;

pub use self::scan::{RecoverError, Scan, scan};
pub use self::settle::Settled;
pub use super::names::ASIDE_SUFFIX;
