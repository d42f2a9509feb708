//! What crashed processes left behind: found by the lock that nobody holds any more, taken over if
//! it is for the same dataset and the same destination, delivered, removed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::batch::Durability;
use crate::id::Seq;
use crate::journal::cursor::{Cursor, cursor_name};
use crate::journal::media::{DiskFolder, Folder, FolderLock};
use crate::journal::recovery::{self, RecoverError, Settled};
use crate::journal::store::{Damage, ReadPlace, Store};
use crate::notice::{Level, Notices};

/// A dead process's journal, held by us.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) store: Store,
    pub(super) cursor: Arc<Cursor>,
    pub(super) place: ReadPlace,
    /// Its last event.
    pub(super) last: Seq,
    _lock: Option<FolderLock>,
}

impl Orphan {
    /// Events that it has yet to deliver, voids among them.
    pub(super) fn pending(&self) -> u64 {
        (self.last.0 + 1).saturating_sub(self.cursor.front().0)
    }
}

/// Whose journals are wanted.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) dataset: &'a str,
    pub(super) destination: &'a str,
    /// The sink whose cursor is meant.
    pub(super) sink: &'a str,
    pub(super) durability: Durability,
}

/// Takes over every orphan under `journals` that is wanted, oldest first. What can't be read is
/// said, and left for a person.
pub(super) fn adopt(
    root: &Path,
    journals: &Path,
    wanted: &Wanted<'_>,
    notices: &Notices,
) -> Vec<Orphan> {
    // Nobody else's folder, and no link, is looked into.
    for folder in [&*root.join("journal"), journals] {
        match DiskFolder::open(folder, false) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let text = format!("{}: {error}; nothing is recovered from it", folder.display());
                notices.say(Level::Error, "recovery", text);
                return Vec::new();
            }
        }
    }
    let Ok(entries) = std::fs::read_dir(journals) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    // Journal ids begin with their time.
    names.sort_unstable();
    let mut orphans = Vec::new();
    for name in names {
        let path = journals.join(name);
        let Ok(folder) = DiskFolder::open(&path, false) else { continue };
        match folder.lock() {
            Ok(None) => {}
            // Whoever had it has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(lock) => orphans.extend(adopt_folder(Arc::new(folder), lock, wanted, notices)),
            Err(error) => unreadable(&path.display().to_string(), &error.into(), notices),
        }
    }
    orphans
}

/// Takes over one journal that is nobody's any more.
pub(super) fn adopt_folder(
    folder: Arc<dyn Folder>,
    lock: Option<FolderLock>,
    wanted: &Wanted<'_>,
    notices: &Notices,
) -> Option<Orphan> {
    let place = folder.describe();
    match adopt_one(folder, lock, wanted) {
        Ok(None) => None,
        Ok(Some((orphan, damage))) => {
            for Damage { file, what } in damage {
                notices.say(Level::Error, "damage", format!("{place}/{file}: {what}"));
            }
            Some(orphan)
        }
        Err(error) => {
            unreadable(&place, &error, notices);
            None
        }
    }
}

fn unreadable(place: &str, error: &RecoverError, notices: &Notices) {
    let text = format!("{place}: {error}; run n3-safety doctor");
    notices.say(Level::Error, "recovery", text);
}

fn adopt_one(
    folder: Arc<dyn Folder>,
    lock: Option<FolderLock>,
    wanted: &Wanted<'_>,
) -> Result<Option<(Orphan, Vec<Damage>)>, RecoverError> {
    let scan = match recovery::scan(&*folder) {
        Ok(scan) => scan,
        Err(RecoverError::Empty) => {
            // Its process ended before it had logged anything, or while it removed it. Or it is
            // only just being made: whoever makes it can't have the lock now, and makes another.
            let _ = folder.remove_all();
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let ours =
        scan.header.dataset == wanted.dataset && scan.header.destination == wanted.destination;
    if !ours {
        return Ok(None);
    }
    let Settled { store, mut damage, .. } = scan.settle(&folder, wanted.durability)?;
    let known = Cursor::is_known(&*folder, wanted.sink);
    let cursor = Arc::new(Cursor::open(&*folder, wanted.sink)?);
    if !matches!(known, Ok(true)) {
        // What came before the first segment that is left was delivered and removed.
        let _ = cursor.take_before(store.first().unwrap_or_default());
        if let Ok(false) = known {
            let what = "how far it was delivered is damaged: all that is left is delivered again";
            damage.push(Damage { file: cursor_name(wanted.sink), what: what.to_owned() });
        }
    }
    let last = store.last();
    let place = ReadPlace::default();
    Ok(Some((Orphan { store, cursor, place, last, _lock: lock }, damage)))
}
