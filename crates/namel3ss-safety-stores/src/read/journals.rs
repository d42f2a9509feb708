//! Journals as something to read: what their processes have logged and not yet let go of, all of it or what
//! waits for one destination.
//!
//! **Limit:** an event that is delivered and removed between two scans is not seen; to follow everything,
//! follow the dataset.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use namel3ss_safety::internal::codec;
use namel3ss_safety::internal::journal::inspect;
use namel3ss_safety::internal::journal::recovery::RecoverError;
use namel3ss_safety::{JournalId, ReadRow, Seq};

use super::batch::Builder;
use super::error::ScanError;
use super::raw::RawScan;
use super::reader::{DatasetReader, Description};
use super::scan::{Position, Scan};

/// How deep journals lie under the home folder: `journal/{dataset}/{journal_id}`.
pub const DEPTH_MAX: usize = 3;
/// The most folders that are looked into: a wrong path may lead anywhere.
pub const FOLDERS_MAX: usize = 100_000;
/// How many batches of a journal are in memory at once: the journal is read anew for the next ones.
const BATCHES_MAX: usize = 64;

/// Where journals are at or under `path`, the oldest first; none is looked into.
///
/// # Errors
/// If a folder can't be read.
pub fn folders(path: &Path) -> io::Result<Vec<(JournalId, PathBuf)>> {
    if let Some(id) = id_of(path) {
        return Ok(vec![(id, path.to_owned())]);
    }
    let mut found = Vec::new();
    walk(path, DEPTH_MAX, &mut { FOLDERS_MAX }, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(
    path: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<(JournalId, PathBuf)>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // Links are not followed: nothing of ours is one.
        if !entry.file_type()?.is_dir() || *left == 0 {
            continue;
        }
        *left -= 1;
        let path = entry.path();
        match id_of(&path) {
            Some(id) => found.push((id, path)),
            None if depth > 1 => match walk(&path, depth - 1, left, found) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            None => {}
        }
    }
    Ok(())
}

/// The journal whose folder this is: it is called by its id.
#[must_use]
pub fn id_of(path: &Path) -> Option<JournalId> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The events in journals.
#[derive(Clone)]
pub struct JournalsReader {
    of: Of,
}

#[derive(Clone)]
enum Of {
    /// All events under a folder.
    Folder(PathBuf),
    /// What waits for a destination under these folders: it is logged, and not in the dataset yet.
    Destination(String, fn() -> Vec<PathBuf>),
}

impl fmt::Debug for JournalsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JournalsReader").field(&self.identity()).finish()
    }
}

impl JournalsReader {
    /// Of all journals at or under `path`.
    #[must_use]
    pub fn of_folder(path: &Path) -> Self {
        Self { of: Of::Folder(path.to_owned()) }
    }

    /// Of what waits for the destination with this identity, under `roots`, which are asked for at each scan.
    /// A journal that can't be read counts as an unreadable row.
    #[must_use]
    pub fn waiting_for(identity: &str, roots: fn() -> Vec<PathBuf>) -> Self {
        Self { of: Of::Destination(identity.to_owned(), roots) }
    }

    fn folders(&self) -> Result<VecDeque<(JournalId, PathBuf)>, ScanError> {
        match &self.of {
            Of::Folder(path) => match folders(path) {
                Ok(folders) => Ok(folders.into()),
                Err(error) => Err(ScanError::Failed(format!("read {}: {error}", path.display()))),
            },
            Of::Destination(_, roots) => {
                let found = roots().into_iter().flat_map(|root| folders(&root).ok());
                Ok(found.flatten().collect())
            }
        }
    }
}

impl DatasetReader for JournalsReader {
    fn identity(&self) -> String {
        match &self.of {
            Of::Folder(path) => path.display().to_string(),
            Of::Destination(identity, _) => format!("journals of {identity}"),
        }
    }

    fn describe(&self) -> Result<Description, ScanError> {
        self.folders()?;
        Ok(Description { identity: self.identity(), ..Description::default() })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        let given = scan.after.as_ref().map(Position::state::<Given>).transpose()?;
        Ok(Box::new(JournalsScan {
            of: self.of.clone(),
            left: self.folders()?,
            given: given.cloned().unwrap_or_default(),
            known: given.cloned().unwrap_or_default(),
            read: VecDeque::new(),
            unreadable: 0,
            scan,
        }))
    }
}

/// The last seq of each journal that was given.
type Given = BTreeMap<JournalId, Seq>;

struct JournalsScan {
    of: Of,
    left: VecDeque<(JournalId, PathBuf)>,
    given: Given,
    /// What was given before this scan.
    known: Given,
    read: VecDeque<RecordBatch>,
    unreadable: u64,
    scan: Scan,
}

impl JournalsScan {
    /// Reads on in a journal; true at its end.
    fn read(&mut self, id: JournalId, path: &Path) -> Result<bool, ScanError> {
        let given = self.given.entry(id).or_default();
        let (from, mut full, mut failed) = (given.next(), false, None);
        let (mut builder, read, unreadable) =
            (Builder::default(), &mut self.read, &mut self.unreadable);
        let mut take = |seq: Seq, payload: &[u8]| {
            full |= read.len() >= BATCHES_MAX;
            if full || failed.is_some() {
                return;
            }
            match codec::decode(payload) {
                Ok(event) => {
                    builder.push(&ReadRow { id: Some((id, seq)), event: event.to_event() });
                }
                Err(_) => *unreadable += 1,
            }
            *given = seq;
            if builder.is_full() {
                match builder.finish() {
                    Ok(batch) => read.push_back(batch),
                    Err(error) => failed = Some(error),
                }
            }
        };
        let done = match &self.of {
            Of::Folder(_) => inspect::events(path, from, &mut take).map(drop),
            Of::Destination(to, _) => inspect::undelivered(path, to, from, &mut take),
        };
        if let Some(error) = failed {
            return Err(error);
        }
        if !builder.is_empty() {
            self.read.push_back(builder.finish()?);
        }
        // Counted once: a live journal may be in any state for a moment, and is read again.
        let is_new = !self.known.contains_key(&id) && !full;
        self.unreadable += u64::from(!is_readable(&done) && is_new);
        Ok(!full)
    }
}

/// It is no error that a journal has nothing yet, or that its logger has delivered and removed it meanwhile.
fn is_readable(read: &Result<(), RecoverError>) -> bool {
    match read {
        Ok(()) | Err(RecoverError::Empty) => true,
        Err(RecoverError::Io(error)) => error.kind() == io::ErrorKind::NotFound,
        Err(_) => false,
    }
}

impl RawScan for JournalsScan {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        while self.read.is_empty()
            && let Some((id, path)) = self.left.pop_front()
        {
            self.scan.check_deadline()?;
            if !self.read(id, &path)? {
                self.left.push_front((id, path));
            }
        }
        Ok(self.read.pop_front())
    }

    fn is_unique(&self) -> bool {
        true
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position::new(self.given.clone()))
    }
}
