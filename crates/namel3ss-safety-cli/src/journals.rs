//! The journals under a folder, read without changing a byte: whose they are, what waits in them,
//! what is damaged. A journal that is being written is read as well, as it was a moment ago.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use namel3ss_safety::DropReason;
use namel3ss_safety::JournalId;
use namel3ss_safety::internal::journal::account::{self, ACCOUNTS_NAME, Account, SinkAccount};
use namel3ss_safety::internal::journal::inspect::{self, Found, JournalInfo, SinkInfo};
use namel3ss_safety::internal::journal::recovery::{ASIDE_SUFFIX, RecoverError};
use namel3ss_safety::internal::register;
use namel3ss_safety_stores::read::journals::{DEPTH_MAX, FOLDERS_MAX, folders, id_of};

/// The folder within a home that holds all journals.
pub(crate) const JOURNAL_NAME: &str = "journal";

/// One journal's folder, and what could be read of it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) id: JournalId,
    /// Whether a process has it open; a journal that nobody has is an orphan.
    pub(crate) live: bool,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Its files that were damaged and are set aside. They stay when all else was delivered and the
    /// journal is gone.
    pub(crate) set_aside: Vec<String>,
    /// What it holds, or why that can't be read.
    pub(crate) content: Result<JournalInfo, RecoverError>,
}

/// What became of the events of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    pub(crate) logged: u64,
    pub(crate) flushed: u64,
    pub(crate) fallback: u64,
    pub(crate) dropped: u64,
    pub(crate) pending: u64,
}

impl Fates {
    pub(crate) fn add(&mut self, other: &Self) {
        self.logged += other.logged;
        self.flushed += other.flushed;
        self.fallback += other.fallback;
        self.dropped += other.dropped;
        self.pending += other.pending;
    }

    /// Whether logged = flushed + fallback + dropped + pending.
    pub(crate) fn is_balanced(&self) -> bool {
        self.logged == self.flushed + self.fallback + self.dropped + self.pending
    }
}

/// The folders named `journal` of a home: its own, and those in the folders of its register.
pub(crate) fn folders_of(home: &Path) -> Vec<PathBuf> {
    let outside = register::folders(home).unwrap_or_default();
    let roots = std::iter::once(home.to_owned()).chain(outside);
    let folders = roots.map(|root| root.join(JOURNAL_NAME));
    folders.filter(|folder| folder.symlink_metadata().is_ok_and(|found| found.is_dir())).collect()
}

/// The folder with a folder `journal` in which a journal lies: what a logger calls its home.
pub(crate) fn root_of(journal: &Path) -> Option<&Path> {
    let folder = journal.parent()?.parent()?;
    (folder.file_name()? == JOURNAL_NAME).then(|| folder.parent()).flatten()
}

/// Every journal at or under each of `folders`. A folder that can't be read is told, and costs only
/// itself.
pub(crate) fn find_all(
    folders: impl IntoIterator<Item = PathBuf>,
    mut tell: impl FnMut(&str),
) -> Vec<Journal> {
    let mut found = Vec::new();
    for folder in folders {
        match find(&folder) {
            Ok(journals) => found.extend(journals),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tell(&format!("left out {}: failed to read it: {error}", folder.display()))
            }
        }
    }
    found
}

/// Every journal at or under `path`, the oldest first. Each is read whole, and its frames checked.
pub(crate) fn find(path: &Path) -> io::Result<Vec<Journal>> {
    let folders = folders(path)?;
    Ok(folders.iter().filter_map(|(id, path)| Journal::open(path, *id)).collect())
}

impl Journal {
    /// `None` for a journal that was removed meanwhile, or that is only just being made.
    fn open(path: &Path, id: JournalId) -> Option<Self> {
        let Found { path, live, journal: mut content } = inspect::look(path);
        let set_aside = set_aside_in(&path);
        match &mut content {
            Err(RecoverError::Empty) if set_aside.is_empty() => return None,
            Err(RecoverError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            // A frame that is being written right now looks like a damaged one.
            Ok(info) if live => info.damage.clear(),
            _ => {}
        }
        let bytes = bytes_in(&path);
        Some(Self { path, id, live, bytes, set_aside, content })
    }

    /// Whether nothing is left of it but files that were set aside.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.content, Err(RecoverError::Empty))
    }

    /// What became of its events; nothing is known of a journal that can't be read.
    pub(crate) fn fates(&self) -> Fates {
        self.content.as_ref().map(fates).unwrap_or_default()
    }
}

/// The files of a journal that were set aside.
pub(crate) fn set_aside_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ASIDE_SUFFIX)).collect();
    names.sort_unstable();
    names
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// What became of the events of a journal.
pub(crate) fn fates(info: &JournalInfo) -> Fates {
    // Each sink delivers all events: the one that is furthest behind says what is pending, and of
    // those that are done, the one with the fewest events in its dataset.
    let sinks = info.sinks();
    let furthest = sinks.iter().min_by_key(|sink| (sink.state.acked, sink.state.flushed));
    furthest.map(|sink| fates_of(info, sink)).unwrap_or_default()
}

/// What became of the events of a journal at one of its destinations.
pub(crate) fn fates_of(info: &JournalInfo, sink: &SinkInfo) -> Fates {
    let state = &sink.state;
    // Events whose segments are gone, because all cursors have passed them, still count.
    let last = info.sinks().iter().map(|sink| sink.state.acked).max().unwrap_or_default();
    Fates {
        logged: info.last.max(last).0 + state.unsequenced,
        flushed: state.flushed,
        fallback: state.fallback,
        dropped: state.dropped.iter().sum(),
        pending: sink.pending,
    }
}

/// What became of events at each destination, as far as finished journals have kept that.
pub(crate) fn by_destination(
    found: &[Journal],
    finished: &[(String, Account)],
) -> BTreeMap<String, Fates> {
    let mut all: BTreeMap<String, Fates> = BTreeMap::new();
    for info in found.iter().filter_map(|journal| journal.content.as_ref().ok()) {
        let sinks = info.sinks();
        for sink in &sinks {
            all.entry(sink.destination.clone()).or_default().add(&fates_of(info, sink));
        }
    }
    for (destination, sink) in finished.iter().flat_map(|(_, account)| &account.sinks) {
        let SinkAccount { flushed, fallback, dropped } = *sink;
        let logged = flushed + fallback + dropped;
        let fates = Fates { logged, flushed, fallback, dropped, pending: 0 };
        all.entry(destination.clone()).or_default().add(&fates);
    }
    all
}

/// How many events were dropped, by reason, without the reasons that never were.
pub(crate) fn dropped(info: &JournalInfo) -> Vec<(&'static str, u64)> {
    let of = |reason: DropReason| {
        info.cursors.iter().map(|(_, state, _)| state.dropped[reason.index()]).max().unwrap_or(0)
    };
    let all = DropReason::ALL.into_iter().map(|reason| (reason.as_str(), of(reason)));
    all.filter(|(_, events)| *events > 0).collect()
}

/// The accounts of journals that are finished and gone, by their dataset's folder: its name is the
/// dataset's own where that is plain.
pub(crate) fn finished(path: &Path) -> io::Result<Vec<(String, Account)>> {
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join(ACCOUNTS_NAME).symlink_metadata().is_ok_and(|file| file.is_file()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, account::sum(&folder)?.0));
        }
        if depth + 1 < DEPTH_MAX && id_of(&folder).is_none() {
            for entry in std::fs::read_dir(&folder)?.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && found.len() < FOLDERS_MAX {
                    folders.push((entry.path(), depth + 1));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Every event of a finished journal has settled: none is pending.
impl From<&Account> for Fates {
    fn from(account: &Account) -> Self {
        Self {
            logged: account.logged(),
            flushed: account.flushed,
            fallback: account.fallback,
            dropped: account.dropped.iter().sum(),
            pending: 0,
        }
    }
}
