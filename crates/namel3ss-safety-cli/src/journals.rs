//! The journals under a folder, read without changing a byte: whose they are, what waits in them,
//! what is damaged. A journal that is being written is read as well, as it was a moment ago.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namel3ss_safety::journal::DropReason;
use namel3ss_safety::journal::cursor::{CURSOR_PREFIX, CursorState};
use namel3ss_safety::journal::media::{DiskFolder, Folder};
use namel3ss_safety::journal::recovery::{self, ASIDE_SUFFIX, RecoverError, Scan};
use namel3ss_safety::journal::store::{Damage, ReadPlace, Store};
use namel3ss_safety::{JournalId, Seq, Timestamp};

/// How deep journals lie under the home folder: `journal/{dataset}/{journal_id}`.
const DEPTH_MAX: usize = 3;
/// The most folders that are looked into: a wrong path may lead anywhere.
const FOLDERS_MAX: usize = 100_000;

/// One journal's folder, and what could be read of it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) id: JournalId,
    /// Whether a process has it open; a journal that nobody has is an orphan.
    pub(crate) live: bool,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Names of files that were set aside as damaged.
    pub(crate) aside: Vec<String>,
    /// What it holds, or why that can't be read.
    pub(crate) content: Result<Content, RecoverError>,
}

/// What a journal's files say.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) dataset: String,
    pub(crate) destination: String,
    pub(crate) created: Timestamp,
    pub(crate) segments: usize,
    pub(crate) last: Seq,
    pub(crate) damage: Vec<Damage>,
    pub(crate) cursors: Vec<Progress>,
    scan: Scan,
    folder: Arc<dyn Folder>,
}

/// How far one sink is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) sink: String,
    pub(crate) state: CursorState,
}

/// What became of the events of a journal, as its first sink knows.
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

/// Every journal at or under `path`, the oldest first.
pub(crate) fn find(path: &Path) -> io::Result<Vec<Journal>> {
    let mut found = Vec::new();
    let mut left = FOLDERS_MAX;
    if let Some(id) = id_of(path) {
        found.extend(Journal::open(path, id));
    } else {
        walk(path, DEPTH_MAX, &mut left, &mut found)?;
    }
    found.sort_by_key(|journal| journal.id);
    Ok(found)
}

fn walk(path: &Path, depth: usize, left: &mut usize, found: &mut Vec<Journal>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // Links are not followed: nothing of ours is one.
        if !entry.file_type()?.is_dir() || *left == 0 {
            continue;
        }
        *left -= 1;
        let path = entry.path();
        match id_of(&path) {
            Some(id) => found.extend(Journal::open(&path, id)),
            None if depth > 1 => match walk(&path, depth - 1, left, found) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            None => {}
        }
    }
    Ok(())
}

/// A journal's folder is called by its id.
fn id_of(path: &Path) -> Option<JournalId> {
    path.file_name()?.to_str()?.parse().ok()
}

impl Journal {
    /// `None` for a journal that was removed meanwhile, or that is only just being made.
    fn open(path: &Path, id: JournalId) -> Option<Self> {
        let mut journal = Self {
            path: path.to_owned(),
            id,
            live: true,
            bytes: 0,
            aside: Vec::new(),
            content: Err(RecoverError::Empty),
        };
        match journal.read() {
            Ok(content) => journal.content = Ok(content),
            Err(RecoverError::Empty) => return None,
            Err(RecoverError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => journal.content = Err(error),
        }
        Some(journal)
    }

    fn read(&mut self) -> Result<Content, RecoverError> {
        let disk = DiskFolder::open(&self.path, false)?;
        // Taken for a moment only: a logger that looks for orphans comes back.
        self.live = disk.lock()?.is_none();
        for name in disk.list()? {
            self.bytes += self.path.join(&name).symlink_metadata().map_or(0, |file| file.len());
            if name.ends_with(ASIDE_SUFFIX) {
                self.aside.push(name);
            }
        }
        let folder: Arc<dyn Folder> = Arc::new(disk);
        let mut scan = recovery::scan(&*folder)?;
        let mut damage = std::mem::take(&mut scan.damage);
        if self.live {
            // A frame that is being written right now looks like a damaged one.
            damage.clear();
        }
        let mut cursors: Vec<Progress> = scan
            .cursors
            .iter()
            .map(|(file, state)| {
                let sink = file.strip_prefix(CURSOR_PREFIX).unwrap_or(file);
                Progress { sink: sink.trim_end_matches(".n3c").to_owned(), state: *state }
            })
            .collect();
        cursors.sort_by(|a, b| a.sink.cmp(&b.sink));
        // Events that were removed because every cursor had passed them still count.
        let acked = cursors.iter().map(|cursor| cursor.state.acked).max().unwrap_or_default();
        Ok(Content {
            dataset: scan.header.dataset.clone(),
            destination: scan.header.destination.clone(),
            created: scan.header.created,
            segments: scan.segments.len(),
            last: scan.last().max(acked),
            damage,
            cursors,
            scan,
            folder,
        })
    }

    /// What became of its events; nothing is known of a journal that can't be read.
    pub(crate) fn fates(&self) -> Fates {
        self.content.as_ref().map(Content::fates).unwrap_or_default()
    }
}

impl Content {
    pub(crate) fn fates(&self) -> Fates {
        // Each sink delivers all events: the slowest one says what is pending.
        let slowest = self.cursors.iter().min_by_key(|cursor| cursor.state.acked);
        let state = slowest.map(|cursor| cursor.state).unwrap_or_default();
        Fates {
            logged: self.last.0 + state.unsequenced,
            flushed: state.flushed,
            fallback: state.fallback,
            dropped: state.dropped.iter().sum(),
            pending: self.last.0.saturating_sub(state.acked.0),
        }
    }

    /// How many events were dropped, by reason, without the reasons that never were.
    pub(crate) fn dropped(&self) -> Vec<(&'static str, u64)> {
        let mut dropped = Vec::new();
        for reason in DropReason::ALL {
            let all = self.cursors.iter().map(|cursor| cursor.state.dropped[reason.index()]);
            let events = all.max().unwrap_or(0);
            if events > 0 {
                dropped.push((reason.as_str(), events));
            }
        }
        dropped
    }

    /// Gives the payloads from `from` on, in order, as far as they are still there.
    pub(crate) fn read(
        &mut self,
        journal: JournalId,
        from: Seq,
        take: &mut dyn FnMut(Seq, &[u8]) -> bool,
    ) -> io::Result<()> {
        let segments = self.scan.segments.clone();
        let store = Store::new(journal, self.folder.clone(), segments);
        let first = store.first().unwrap_or(from).max(from);
        let (last, mut place) = (store.last(), ReadPlace::default());
        let mut going = true;
        let report = store.read(&mut place, first, last, &mut |seq, payload| {
            going = take(seq, payload);
            going
        })?;
        self.damage.extend(report.damage);
        if going {
            self.scan.read_loose(from.max(last.next()), &mut |seq, payload| {
                going = going && take(seq, payload);
            })?;
        }
        Ok(())
    }
}
