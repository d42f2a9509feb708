//! Journals as something to read: what their processes have logged and not yet let go of.
//!
//! **Limit:** an event that is delivered and removed between two looks is not seen; to follow
//! everything, follow the dataset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use namel3ss_safety::{JournalId, Seq, codec};

use super::{Each, Source};
use crate::error::Error;
use crate::journals;
use crate::record::Record;

pub(crate) struct Journals {
    path: PathBuf,
    /// The last seq of each journal that was given.
    given: BTreeMap<JournalId, Seq>,
}

impl Journals {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), given: BTreeMap::new() }
    }
}

impl Source for Journals {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let failed =
            |e: std::io::Error| Error::failed(format!("read {}: {e}", self.path.display()));
        let mut unreadable = 0;
        for (id, path) in journals::folders(&self.path).map_err(failed)? {
            let is_new = !self.given.contains_key(&id);
            let given = self.given.entry(id).or_default();
            let mut stopped = None;
            let read = journals::events(&path, given.next(), &mut |seq, payload| {
                if stopped.is_some() {
                    return;
                }
                match codec::decode(payload) {
                    Ok(event) => {
                        let record = Record { event: event.to_event(), place: Some((id, seq)) };
                        stopped = each(record).err();
                    }
                    Err(_) => unreadable += 1,
                }
                *given = seq;
            });
            if let Some(error) = stopped {
                return Err(error);
            }
            // Told here, since a live journal may be in any state for a moment; looked at again.
            unreadable += u64::from(read.is_err() && is_new);
        }
        Ok(unreadable)
    }
}
