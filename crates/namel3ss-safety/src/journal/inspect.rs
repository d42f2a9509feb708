//! Looking at journals from outside, live ones too: nothing is changed, no lock is kept.
//!
//! A live journal moves while it is read; what is shown was true at some moment of the reading.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{CursorState, cursor_name};
use super::gap::Gap;
use super::header::FileHeader;
use super::media::{DiskFolder, Folder};
use super::recovery::{self, RecoverError, Scan};
use super::store::{Damage, ReadPlace, Store};
use crate::id::Seq;

/// A folder that is, or was, a journal.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Whether a process holds it.
    pub live: bool,
    /// What is in it, or why that can't be said.
    pub journal: Result<JournalInfo, RecoverError>,
}

/// What is in a journal.
#[derive(Debug)]
pub struct JournalInfo {
    /// Whose it is.
    pub header: FileHeader,
    /// The last seq that was logged.
    pub last: Seq,
    /// Segment files.
    pub segments: usize,
    /// Bytes of frames in them.
    pub bytes: u64,
    /// Its cursors: the sink's name as a file name holds it, how far it is, and how many events it
    /// has yet to deliver.
    pub cursors: Vec<(String, CursorState, u64)>,
    /// Events that some cursor has not passed; all, where there is no cursor.
    pub pending: u64,
    /// What was dropped, as far as its segments are still there.
    pub gaps: Vec<Gap>,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
    /// Files that were set aside by an earlier recovery.
    pub set_aside: Vec<String>,
    /// Frames that were being written when their process ended.
    pub torn_tails: u64,
}

/// How one of a journal's sinks fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkInfo {
    /// Where its rows land, as the header names it.
    pub destination: String,
    /// Its cursor.
    pub state: CursorState,
    /// How many events it has yet to deliver.
    pub pending: u64,
}

impl JournalInfo {
    /// How each sink fares, in the places of the header's destinations. One without a cursor has
    /// everything before it.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkInfo> {
        let info = |(place, destination): (usize, &str)| {
            let mut cursors = self.cursors.iter();
            let found = cursors.find(|(name, ..)| is_cursor_of(&self.header, place, name));
            let all = if self.cursors.is_empty() { self.pending } else { self.last.0 };
            let (state, pending) =
                found.map_or((CursorState::default(), all), |(_, state, events)| (*state, *events));
            SinkInfo { destination: destination.to_owned(), state, pending }
        };
        self.header.destinations().enumerate().map(info).collect()
    }
}

/// Whether a cursor's file is that of the sink in a place of the header's destinations. The first
/// sink's is called as the sink is, which no header says: it is the one that is no other's.
fn is_cursor_of(header: &FileHeader, place: usize, name: &str) -> bool {
    let file = |place| cursor_name(&header.cursor_at(place, ""));
    match place {
        0 => (1..=header.further.len()).all(|place| file(place) != name),
        place => file(place) == name,
    }
}

/// Every journal under `home`, by dataset and age.
///
/// # Errors
/// If `home` is there and can't be read.
pub fn list(home: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for dataset in sorted(&home.join("journal"))? {
        for path in sorted(&dataset)? {
            found.push(look(&path));
        }
    }
    Ok(found)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Looks at one journal's folder.
#[must_use]
pub fn look(path: &Path) -> Found {
    let mut live = false;
    let journal = open(path).and_then(|folder| {
        live = folder.lock()?.is_none();
        let folder: Arc<dyn Folder> = Arc::new(folder);
        let scan = recovery::scan(&*folder)?;
        describe(&folder, scan)
    });
    Found { path: path.to_owned(), live, journal }
}

fn open(path: &Path) -> Result<DiskFolder, RecoverError> {
    Ok(DiskFolder::open(path, false)?)
}

fn describe(folder: &Arc<dyn Folder>, scan: Scan) -> Result<JournalInfo, RecoverError> {
    let names = folder.list()?;
    let last = scan.last();
    let cursors: Vec<_> = scan.cursors.iter().map(|(n, state)| (n.clone(), *state)).collect();
    let store = Store::new(scan.header.journal, folder.clone(), scan.segments.clone());
    let mut shown = Vec::new();
    let mut damage = scan.damage.clone();
    let mut least = None;
    for (name, state) in cursors {
        let (events, met) = count_after(&store, &scan, &state)?;
        if damage.len() == scan.damage.len() {
            damage.extend(met);
        }
        least = Some(least.map_or(events, |least: u64| least.max(events)));
        shown.push((name, state, events));
    }
    let pending = match least {
        Some(events) => events,
        None => count_after(&store, &scan, &CursorState::default())?.0,
    };
    Ok(JournalInfo {
        last,
        segments: scan.segments.len(),
        bytes: scan.segments.iter().map(|segment| segment.bytes()).sum(),
        cursors: shown,
        pending,
        gaps: store.gaps()?,
        damage,
        set_aside: names.into_iter().filter(|n| n.ends_with(recovery::ASIDE_SUFFIX)).collect(),
        torn_tails: scan.torn_tails,
        header: scan.header,
    })
}

/// Events that are not settled in `state`, each verified, and the damage that was met among them.
fn count_after(store: &Store, scan: &Scan, state: &CursorState) -> io::Result<(u64, Vec<Damage>)> {
    let mut events = 0;
    let mut damage = Vec::new();
    let mut count = |seq: Seq, _: &[u8]| events += u64::from(!state.are_settled(seq, seq));
    read_store(store, state.acked.next(), &mut damage, &mut count)?;
    scan.read_loose(state.acked.next(), &mut count)?;
    Ok((events, damage))
}

fn read_store(
    store: &Store,
    from: Seq,
    damage: &mut Vec<Damage>,
    take: &mut dyn FnMut(Seq, &[u8]),
) -> io::Result<()> {
    let mut place = ReadPlace::default();
    let last = store.last();
    let mut next = from;
    while next <= last {
        let report = store.read(&mut place, next, last, &mut |seq, payload| {
            take(seq, payload);
            true
        })?;
        damage.extend(report.damage);
        if report.through < next {
            break;
        }
        next = report.through.next();
    }
    Ok(())
}

/// Gives the payloads of the events of the journal in `path` from `from` on, in order.
///
/// # Errors
/// If it can't be read or is no journal.
pub fn events(
    path: &Path,
    from: Seq,
    take: &mut dyn FnMut(Seq, &[u8]),
) -> Result<FileHeader, RecoverError> {
    let folder: Arc<dyn Folder> = Arc::new(open(path)?);
    let scan = recovery::scan(&*folder)?;
    let store = Store::new(scan.header.journal, folder, scan.segments.clone());
    read_store(&store, from, &mut Vec::new(), take)?;
    scan.read_loose(from, take)?;
    Ok(scan.header)
}

/// Gives the payloads of the events of the journal in `path` that one of its destinations has yet
/// to get, from `from` on, in order; nothing of a journal that has not got this destination. What
/// comes before `from` is not read.
///
/// # Errors
/// If it can't be read or is no journal.
pub fn undelivered(
    path: &Path,
    destination: &str,
    from: Seq,
    take: &mut dyn FnMut(Seq, &[u8]),
) -> Result<(), RecoverError> {
    let folder: Arc<dyn Folder> = Arc::new(open(path)?);
    let scan = recovery::scan(&*folder)?;
    let Some(place) = scan.header.place_of(destination) else { return Ok(()) };
    let mut cursors = scan.cursors.iter();
    let state = cursors.find(|(name, _)| is_cursor_of(&scan.header, place, name));
    let state = state.map(|(_, state)| *state).unwrap_or_default();
    let from = from.max(state.acked.next());
    let mut take = |seq: Seq, payload: &[u8]| {
        if !state.are_settled(seq, seq) {
            take(seq, payload);
        }
    };
    let store = Store::new(scan.header.journal, folder, scan.segments.clone());
    read_store(&store, from, &mut Vec::new(), &mut take)?;
    scan.read_loose(from, &mut take)?;
    Ok(())
}
