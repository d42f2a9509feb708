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
        for mut journal in journals::find(&self.path).map_err(failed)? {
            let Ok(content) = &mut journal.content else {
                unreadable += u64::from(!self.given.contains_key(&journal.id));
                self.given.entry(journal.id).or_default();
                continue;
            };
            let given = self.given.entry(journal.id).or_default();
            let (id, mut stopped) = (journal.id, None);
            let read = content.read(id, given.next(), &mut |seq, payload| {
                match codec::decode(payload) {
                    Ok(event) => {
                        let record = Record { event: event.to_event(), place: Some((id, seq)) };
                        if let Err(error) = each(record) {
                            stopped = Some(error);
                            return false;
                        }
                    }
                    Err(_) => unreadable += 1,
                }
                *given = seq;
                true
            });
            if let Some(error) = stopped {
                return Err(error);
            }
            match read {
                // Its logger has delivered and removed it while it was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(unreadable)
    }
}
