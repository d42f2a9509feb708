//! Journals as something to read: what their processes have logged and not yet let go of, all of it
//! or what waits for one destination.
//!
//! **Limit:** an event that is delivered and removed between two looks is not seen; to follow
//! everything, follow the dataset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use namel3ss_safety::internal::home::home;
use namel3ss_safety::internal::journal::inspect;
use namel3ss_safety::{JournalId, Seq, internal::codec};

use super::{Each, Source};
use crate::error::Error;
use crate::journals;
use crate::record::Record;

pub(crate) struct Journals {
    of: Of,
    /// The last seq of each journal that was given.
    given: BTreeMap<JournalId, Seq>,
}

enum Of {
    /// All events under a folder.
    Folder(PathBuf),
    /// What waits for a destination in the journals of this home, and of the folders that it knows:
    /// it is logged, and not in the dataset yet.
    Destination(String),
}

impl Journals {
    pub(crate) fn new(path: &Path) -> Self {
        Self { of: Of::Folder(path.to_owned()), given: BTreeMap::new() }
    }

    /// Of the destination with this identity. A journal that can't be read is `doctor`'s to report.
    pub(crate) fn waiting_for(identity: &str) -> Self {
        Self { of: Of::Destination(identity.to_owned()), given: BTreeMap::new() }
    }

    /// Where journals are, the oldest of each folder first.
    fn folders(&self) -> Result<Vec<(JournalId, PathBuf)>, Error> {
        match &self.of {
            Of::Folder(path) => journals::folders(path)
                .map_err(|e| Error::failed(format!("read {}: {e}", path.display()))),
            Of::Destination(_) => {
                let roots = journals::folders_of(&home());
                let found = roots.iter().flat_map(|root| journals::folders(root).ok());
                Ok(found.flatten().collect())
            }
        }
    }
}

impl Source for Journals {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let mut unreadable = 0;
        for (id, path) in self.folders()? {
            let is_new = !self.given.contains_key(&id);
            let given = self.given.entry(id).or_default();
            let (from, mut stopped) = (given.next(), None);
            let mut take = |seq: Seq, payload: &[u8]| {
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
            };
            let read = match &self.of {
                Of::Folder(_) => inspect::events(&path, from, &mut take).map(drop),
                Of::Destination(to) => inspect::undelivered(&path, to, from, &mut take),
            };
            if let Some(error) = stopped {
                return Err(error);
            }
            // Told here, since a live journal may be in any state for a moment; looked at again.
            unreadable += u64::from(journals::is_readable(read).is_err() && is_new);
        }
        Ok(unreadable)
    }
}
