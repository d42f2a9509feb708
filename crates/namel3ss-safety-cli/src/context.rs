//! What every verb is given.

use std::io::Read;

use crate::io::Interrupt;
use crate::out::{Diagnostics, Format, Out};

/// What every verb is given.
pub(crate) struct Context {
    pub(crate) stdin: Box<dyn Read + Send>,
    pub(crate) stdin_is_terminal: bool,
    pub(crate) stdout_is_terminal: bool,
    /// The format that was asked for.
    pub(crate) output: Option<Format>,
    pub(crate) out: Out,
    pub(crate) err: Diagnostics,
    pub(crate) interrupt: Interrupt,
}
