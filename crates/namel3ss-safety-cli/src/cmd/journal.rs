//! `journal`.

use clap::Args;

use crate::cli::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Not yet
#[derive(Debug, Args)]
pub(crate) struct Journal {}

impl Journal {
    pub(crate) fn run(&self, _context: &mut Context) -> Result<Exit, Error> {
        Err(Error::failed("run this verb: not yet"))
    }
}
