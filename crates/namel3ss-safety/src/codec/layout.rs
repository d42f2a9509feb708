//! The layout of a payload: its version, limits and codes.

use std::fmt;

/// The first byte of a payload: the layout's major version. A reader refuses any other.
pub const VERSION: u8 = 1;

/// The most that one event takes: 256 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// How deep metadata may nest; what is deeper is stored as null and marked as truncated.
pub const DEPTH_MAX: usize = 64;

/// Bytes before the first text.
pub(super) const FIXED_BYTES: usize = 32;

/// The code of a severity that is the app's own word.
pub(super) const SEVERITY_OTHER: u8 = 7;

/// How many optional texts there are; bit 8 of the presence word is the severity's own word.
pub(super) const TEXTS: usize = 8;

pub(super) mod tag {
    pub(in crate::codec) const NULL: u8 = 0;
    pub(in crate::codec) const FALSE: u8 = 1;
    pub(in crate::codec) const TRUE: u8 = 2;
    pub(in crate::codec) const INT: u8 = 3;
    pub(in crate::codec) const UINT: u8 = 4;
    pub(in crate::codec) const FLOAT: u8 = 5;
    pub(in crate::codec) const NUMBER: u8 = 6;
    pub(in crate::codec) const STRING: u8 = 7;
    pub(in crate::codec) const ARRAY: u8 = 8;
    pub(in crate::codec) const OBJECT: u8 = 9;
}

/// Why bytes are no payload of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Another major version: a newer library wrote it.
    Version(u8),
    /// The bytes do not follow the layout.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(v) => {
                write!(f, "decode an event of payload version {v}: this library reads {VERSION}")
            }
            Self::Malformed => f.write_str("decode an event: its bytes do not follow the layout"),
        }
    }
}

impl std::error::Error for DecodeError {}
