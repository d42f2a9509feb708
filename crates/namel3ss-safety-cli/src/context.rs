//! What every verb is given.

use std::io::Read;

use crate::io::Interrupt;
use crate::out::{Diagnostics, Out};

/// What every verb is given.
pub(crate) struct Context {
    pub(crate) stdin: Box<dyn Read + Send>,
    pub(crate) stdin_is_terminal: bool,
    pub(crate) out: Out,
    pub(crate) err: Diagnostics,
    pub(crate) interrupt: Interrupt,
}
