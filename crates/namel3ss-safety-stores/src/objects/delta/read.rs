//! Reading a table back, one file in memory at a time. Only files of ours can be read: others may
//! lack columns.

use std::collections::VecDeque;
use std::vec::IntoIter;

use namel3ss_safety::AdapterError;
use namel3ss_safety::adapter::{ReadError, ReadRow};

use super::log::Log;
use super::place::DeltaPlace;
use super::replay::replay;
use super::schema;
use crate::objects::open_store;

/// The rows of a table as it was when it was opened, in the order of its files' paths.
#[derive(Debug)]
pub struct Reader {
    log: Log,
    paths: VecDeque<String>,
    rows: IntoIter<ReadRow>,
}

/// Streams the rows of the table at `url` back, as [`crate::open`] takes it; none where there is no
/// table yet.
///
/// # Errors
/// If the URL makes no sense, or the log can't be read or needs a feature that is not supported; the
/// iterator's items say what is wrong with a file.
pub fn read(url: &str) -> Result<Reader, AdapterError> {
    let place = DeltaPlace::parse(url)?.place;
    let log = Log::new(open_store(&place)?, &place.prefix);
    let mut paths = Vec::new();
    if let Some(listing) = log.look()? {
        replay(&log, &listing, |action| {
            if let Some(protocol) = action.get("protocol") {
                schema::check_protocol(protocol)?;
            }
            if let Some(path) = action.get("add").and_then(|add| add.get("path")?.as_str()) {
                paths.push(crate::url::percent_decoded(path).unwrap_or_else(|_| path.to_owned()));
            }
            Ok(())
        })?;
    }
    paths.sort_unstable();
    Ok(Reader { log, paths: paths.into(), rows: Vec::new().into_iter() })
}

impl Iterator for Reader {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let path = self.paths.pop_front()?;
            let missing = || ReadError::Dataset(format!("the file {path} is missing"));
            let bytes = self.log.store.get(&self.log.key(&path));
            let bytes = bytes.map_err(|error| ReadError::Dataset(error.to_string()));
            match bytes.and_then(|b| b.ok_or_else(missing)).and_then(crate::parquet::decode) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
