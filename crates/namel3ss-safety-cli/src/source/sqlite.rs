//! A dataset in a SQLite table, read without writing anything to it.

use std::path::Path;

use super::{Each, Source};
use crate::error::Error;

pub(crate) struct Table {}

impl Table {
    pub(crate) fn new(path: &Path, _table: &str) -> Result<Self, Error> {
        Err(Error::failed(format!("read {}: not yet", path.display())))
    }
}

impl Source for Table {
    fn poll(&mut self, _each: Each<'_>) -> Result<u64, Error> {
        Ok(0)
    }
}
