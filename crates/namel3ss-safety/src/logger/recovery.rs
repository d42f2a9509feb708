//! What crashed processes left behind: found by the lock that nobody holds any more, taken over if
//! it is for the same dataset and one of the same destinations, removed once every one of its
//! destinations has it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::batch::Durability;
use crate::id::Seq;
use crate::journal::cursor::{Cursor, cursor_name};
use crate::journal::header::FileHeader;
use crate::journal::media::{DiskFolder, Folder, FolderLock, lies_with_file};
use crate::journal::recovery::{RecoverError, Settled};
use crate::journal::store::{Damage, ReadPlace, Store};
use crate::journal::{recovery, slug};
use crate::notice::{Level, NoticeKind, Notices};
use crate::process::descriptors;

/// A dead process's journal, held by us as long as one of our sinks has something of it to deliver.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) store: Store,
    /// Its last event.
    pub(super) last: Seq,
    /// By the places of its destinations; also of those that none of our sinks delivers to.
    cursors: Vec<Arc<Cursor>>,
    pub(super) header: FileHeader,
    /// What of it was shared out, and is not done.
    pub(super) undone: Mutex<usize>,
    _lock: Option<FolderLock>,
    /// Counts it as held.
    _held: Arc<()>,
}

/// How many journals are held at once: each takes some descriptors of the process.
const HELD_MAX: usize = 16;
/// How many, where a worker asks that has nothing to do with any of them: one that can't deliver
/// must not keep the others from what dead processes left for them.
const HELD_MAX_IDLE: usize = 48;

/// How far this logger's looking for orphans is.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    held: Arc<()>,
    /// The place of a root, and the journal in it behind which it goes on once there is room again.
    pub(super) after: Option<(usize, OsString)>,
}

impl Adopting {
    /// How many journals are held.
    pub(super) fn held(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    /// Up to how many may be held after this look.
    pub(super) fn held_max(&self, idle: bool) -> usize {
        match self.held() {
            held if held < HELD_MAX => HELD_MAX,
            held if idle => (held + HELD_MAX).min(HELD_MAX_IDLE),
            held => held,
        }
    }
}

/// What one sink has of an orphan.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) orphan: Arc<Orphan>,
    /// Which branch's it is.
    pub(super) branch: usize,
    pub(super) cursor: Arc<Cursor>,
    pub(super) place: ReadPlace,
}

impl Share {
    /// Events that it has yet to deliver, voids among them.
    pub(super) fn pending(&self) -> u64 {
        let front = self.cursor.front();
        let (first, next) = self.cursor.state().skip;
        let skipped = if front <= first { next.0 - first.0 } else { 0 };
        (self.orphan.last.0 + 1).saturating_sub(front.0 + skipped)
    }

    /// Lets go of it as it is; where nobody else has a share in it, its folder.
    pub(super) fn leave(self) -> Option<Arc<dyn Folder>> {
        Arc::into_inner(self.orphan).map(|orphan| orphan.store.folder.clone())
    }
}

impl Orphan {
    /// All cursors, those of other loggers' sinks as well: what none of them needs may go.
    pub(super) fn cursors(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter().map(|cursor| &**cursor)
    }

    /// The destinations that have yet to get something.
    pub(super) fn behind(&self) -> impl Iterator<Item = &str> {
        let of_all = self.header.destinations().zip(self.cursors());
        let behind = of_all.filter(|(_, cursor)| cursor.state().acked < self.last);
        behind.map(|(destination, _)| destination)
    }
}

/// Whose journals are wanted.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) dataset: &'a str,
    /// By branch.
    pub(super) destinations: &'a [String],
    /// The sink whose cursor a journal's first one is.
    pub(super) sink: &'a str,
    pub(super) durability: Durability,
}

/// Takes over every orphan under `root` that is wanted, oldest first, of those whose names come
/// after `behind`, and behind which one it stopped for want of room. What can't be read is said, and
/// left for a person.
pub(super) fn adopt(
    root: &Path,
    behind: &OsStr,
    wanted: &Wanted<'_>,
    (held, held_max): (&Adopting, usize),
    notices: &Notices,
) -> (Vec<Share>, Option<OsString>) {
    let nothing = (Vec::new(), None);
    let journals = root.join("journal").join(slug(wanted.dataset));
    // Nobody else's folder, and no link, is looked into.
    for folder in [&root.join("journal"), &journals] {
        match DiskFolder::open(folder, false) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing,
            Err(error) => {
                let text = format!("{}: {error}; nothing is recovered from it", folder.display());
                notices.say(Level::Error, NoticeKind::Recovery, text);
                return nothing;
            }
        }
    }
    let Ok(entries) = std::fs::read_dir(&journals) else { return nothing };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| &**name > behind);
    // Journal ids begin with their time.
    names.sort_unstable();
    let mut shares = Vec::new();
    let mut before = behind.to_owned();
    for name in names {
        if held.held() >= held_max {
            return (shares, Some(before));
        }
        let Ok(reserved) = descriptors::reserve(descriptors::OF_ORPHAN, 0) else {
            return (shares, Some(before));
        };
        let path = journals.join(&name);
        before = name;
        let Ok(folder) = DiskFolder::open(&path, false) else { continue };
        match folder.lock() {
            Ok(None) => {}
            // Whoever had it has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(lock) => {
                let folder = Arc::new(folder);
                let lock = lock.map(|lock| lock.with(Some(reserved)));
                shares.extend(adopt_folder(folder, lock, wanted, held, notices));
            }
            Err(error) => unreadable(&path.display().to_string(), &error.into(), notices),
        }
    }
    (shares, None)
}

/// Takes over one journal that is nobody's any more: what of it each branch is to deliver.
pub(super) fn adopt_folder(
    folder: Arc<dyn Folder>,
    lock: Option<FolderLock>,
    wanted: &Wanted<'_>,
    held: &Adopting,
    notices: &Notices,
) -> Vec<Share> {
    let place = folder.describe();
    match adopt_one(folder, lock, wanted, held) {
        Ok((shares, damage)) => {
            for Damage { file, what } in damage {
                notices.say(Level::Error, NoticeKind::Damage, format!("{place}/{file}: {what}"));
            }
            shares
        }
        Err(error) => {
            unreadable(&place, &error, notices);
            Vec::new()
        }
    }
}

fn unreadable(place: &str, error: &RecoverError, notices: &Notices) {
    let text = format!("{place}: {error}; run n3-safety doctor");
    notices.say(Level::Error, NoticeKind::Recovery, text);
}

fn adopt_one(
    folder: Arc<dyn Folder>,
    lock: Option<FolderLock>,
    wanted: &Wanted<'_>,
    held: &Adopting,
) -> Result<(Vec<Share>, Vec<Damage>), RecoverError> {
    let nothing = (Vec::new(), Vec::new());
    let scan = match recovery::scan(&*folder) {
        Ok(scan) => scan,
        Err(RecoverError::Empty) => {
            // Its process ended before it had logged anything, or while it removed it. Or it is
            // only just being made: whoever makes it can't have the lock now, and makes another.
            let _ = folder.remove_all();
            return Ok(nothing);
        }
        Err(error) => return Err(error),
    };
    if scan.header.dataset != wanted.dataset {
        return Ok(nothing);
    }
    let header = scan.header.clone();
    let sinks: Vec<String> =
        (0..=header.further.len()).map(|place| header.cursor_at(place, wanted.sink)).collect();
    let is_done = |place: usize| {
        let state = scan.cursors.get(&cursor_name(&sinks[place]));
        state.is_some_and(|state| state.acked >= scan.last())
    };
    let ours = wanted.destinations.iter().map(|destination| header.place_of(destination));
    let ours: Vec<(usize, usize)> =
        ours.enumerate().filter_map(|(branch, place)| Some((branch, place?))).collect();
    let waits_for_others = !(0..sinks.len()).all(is_done);
    if ours.is_empty() || (waits_for_others && ours.iter().all(|(_, place)| is_done(*place))) {
        return Ok(nothing);
    }
    let Settled { store, mut damage, .. } = scan.settle(&folder, wanted.durability)?;
    let mut cursors = Vec::new();
    for sink in sinks {
        let (cursor, what) = open_cursor(&*folder, &sink, &store)?;
        let file = cursor_name(&sink);
        damage.extend(what.map(|what| Damage { file, what: what.to_owned() }));
        cursors.push(Arc::new(cursor));
    }
    let (last, undone) = (store.last(), Mutex::new(ours.len()));
    let orphan = Arc::new(Orphan {
        store,
        last,
        cursors,
        header,
        undone,
        _lock: lock,
        _held: held.held.clone(),
    });
    let share = |(branch, place): (usize, usize)| Share {
        orphan: orphan.clone(),
        branch,
        cursor: orphan.cursors[place].clone(),
        place: ReadPlace::default(),
    };
    Ok((ours.into_iter().map(share).collect(), damage))
}

/// A sink's cursor, and what is wrong with it.
fn open_cursor(
    folder: &dyn Folder,
    sink: &str,
    store: &Store,
) -> Result<(Cursor, Option<&'static str>), RecoverError> {
    let known = match Cursor::is_known(folder, sink) {
        Err(error) if lies_with_file(&error) => {
            let name = cursor_name(sink);
            folder.rename(&name, &format!("{name}{}", recovery::ASIDE_SUFFIX))?;
            Ok(false)
        }
        known => known,
    };
    let cursor = Cursor::open(folder, sink)?;
    if matches!(known, Ok(true)) {
        return Ok((cursor, None));
    }
    // What came before the first segment that is left was delivered and removed.
    let _ = cursor.take_before(store.first().unwrap_or_default());
    let damaged = matches!(known, Ok(false));
    let what = "how far it was delivered is damaged: all that is left is delivered again";
    Ok((cursor, damaged.then_some(what)))
}
