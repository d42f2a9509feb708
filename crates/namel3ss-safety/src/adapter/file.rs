//! A dataset that is one growing file: every batch is appended once, wholly, by whichever process.
//!
//! Under the sidecar's lock: find out which file stands at the path and how far it is committed
//! ([`super::ledger`]), cut off what a crash left beyond that, append the rows that are not in it,
//! commit. **Condition:** all writers are this library, and the file system is local. What another
//! program appends to the same file while it is in use counts as the rest of a crash; what it puts
//! there as a new file (a rotation, an editor's save) is noticed and kept as it is.

use std::fmt;
use std::fs::{File, symlink_metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::delivered::{Run, extend, holds};
use super::disk::{FileId, append_at, lock, open, read_at, sync_folder, write_at};
use super::ledger::Ledger;
use super::per_process::PerProcess;
use super::{AdapterError, Delivery};
use crate::batch::{Batch, Durability, Row};

/// How often the files may be swapped under one insert before it gives up for now.
const REOPEN_MAX: usize = 8;
/// How many rows are written out at once, and how many bytes of them go to the kernel with one
/// call: few enough to be still in the core's own cache then.
const PART_ROWS: usize = 256;
const PART_BYTES: usize = 512 << 10;
/// What the row buffer keeps between batches.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

pub(super) const EXACTLY_ONCE: Delivery =
    Delivery::ExactlyOnce { condition: "all writers are this library, on a local file system" };

/// How rows look in a file.
pub(super) trait Format: fmt::Debug + Clone + Send {
    /// What a file starts with.
    fn opener(&self) -> &[u8];

    /// What a file ends with, after its rows; appending overwrites it.
    fn closer(&self) -> &'static [u8] {
        b""
    }

    /// Learns the shape of a file: `None` is an empty one.
    fn learn(&mut self, _file: Option<&File>) -> Result<(), AdapterError> {
        Ok(())
    }

    /// For a file that no ledger speaks of: where rows go, and what must stand there first.
    fn adopt(&self, file: &File, len: u64) -> Result<(u64, &'static [u8]), AdapterError>;

    /// Appends rows to `out`; `before` is the byte that will stand before them, if any.
    fn rows<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        before: Option<u8>,
        out: &mut Vec<u8>,
    );
}

#[derive(Debug)]
pub(super) struct FileDataset<F> {
    path: PathBuf,
    sidecar: PathBuf,
    identity: String,
    /// The format before it has learned anything.
    format: F,
    state: PerProcess<State<F>>,
}

#[derive(Debug)]
struct State<F> {
    format: F,
    open: Option<Open>,
    out: Vec<u8>,
}

impl<F> State<F> {
    fn new(format: F) -> Self {
        Self { format, open: None, out: Vec::new() }
    }
}

#[derive(Debug)]
struct Open {
    data: File,
    data_id: FileId,
    sidecar: File,
    sidecar_id: FileId,
    ledger: Ledger,
    learned: bool,
    folder_synced: bool,
    /// A sync of the sidecar failed: its pages may be lost though a second sync says they are not.
    sidecar_suspect: bool,
    /// Large batches are written past the page cache.
    uncached: bool,
}

enum Attempt {
    Stored,
    /// Other files stand at the paths than those that are open.
    Moved,
}

impl<F: Format> FileDataset<F> {
    pub(super) fn new(path: &Path, format: F) -> Result<Self, AdapterError> {
        let wrong = || AdapterError::config(format!("use {path:?} as a dataset: name a file"));
        let name = path.file_name().ok_or_else(wrong)?;
        let absolute = std::path::absolute(path).map_err(|_| wrong())?;
        let folder = absolute.parent().ok_or_else(wrong)?;
        // A folder that does not exist yet keeps the name that it was given.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".ledger");
        let path = folder.join(name);
        Ok(Self {
            identity: format!("file://{}", path.display()),
            sidecar: folder.join(hidden),
            path,
            state: PerProcess::new(State::new(format.clone())),
            format,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> String {
        self.identity.clone()
    }

    pub(super) fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        // A forked child shares its parent's file locks, so it opens the files anew.
        let mut state = self.state.lock(|| State::new(self.format.clone()));
        let State { format, open, out } = &mut *state;
        for _ in 0..REOPEN_MAX {
            if open.is_none() {
                *open = Some(self.open()?);
            }
            // Opened just above.
            let Some(opened) = open.as_mut() else { continue };
            lock(&opened.sidecar, &self.sidecar)?;
            let result = self.attempt(opened, format, out, batch);
            // Closing the file unlocks it as well, should this fail.
            let unlocked = opened.sidecar.unlock();
            out.clear();
            out.shrink_to(BUFFER_BYTES_KEPT);
            match result {
                Ok(Attempt::Stored) if unlocked.is_ok() => return Ok(()),
                Ok(Attempt::Stored) => {
                    *open = None;
                    return Ok(());
                }
                Ok(Attempt::Moved) => *open = None,
                Err(error) => return Err(error),
            }
        }
        Err(AdapterError::transient(format!(
            "keep {} open: it is being replaced all the time",
            self.path.display()
        )))
    }

    fn open(&self) -> Result<Open, AdapterError> {
        let (sidecar, sidecar_id) = open(&self.sidecar)?;
        let (data, data_id) = open(&self.path)?;
        Ok(Open {
            data,
            data_id,
            sidecar,
            sidecar_id,
            ledger: Ledger::default(),
            learned: false,
            folder_synced: false,
            sidecar_suspect: false,
            uncached: true,
        })
    }

    fn failed(&self, doing: &str, error: io::Error) -> AdapterError {
        AdapterError::io(format_args!("{doing} {}", self.path.display()), error)
    }

    /// Everything that happens under the lock.
    fn attempt(
        &self,
        open: &mut Open,
        format: &mut F,
        out: &mut Vec<u8>,
        batch: &Batch<'_>,
    ) -> Result<Attempt, AdapterError> {
        let power = batch.durability() == Durability::Power;
        if self.at(&self.sidecar)?.is_none_or(|(id, _)| id != open.sidecar_id) {
            return Ok(Attempt::Moved);
        }
        let Some((_, len)) = self.at(&self.path)?.filter(|(id, _)| *id == open.data_id) else {
            return Ok(Attempt::Moved);
        };
        open.ledger.refresh(&open.sidecar)?;
        self.settle(open, format, len)?;
        if !open.learned {
            format.learn((open.ledger.end > 0).then_some(&open.data))?;
            open.learned = true;
        }

        let end = open.ledger.end;
        let mut fresh: Vec<Run> = Vec::new();
        let mut before = [0];
        let before = match end {
            0 => {
                out.extend_from_slice(format.opener());
                out.last().copied()
            }
            _ => {
                read_at(&open.data, end - 1, &mut before).map_err(|e| self.failed("read", e))?;
                Some(before[0])
            }
        };
        let journal = batch.id().journal;
        let written = self.write(open, format, out, (end, before), batch, &mut fresh);
        if !fresh.is_empty() {
            let synced = written.and_then(|rows_end| match power {
                // Never retried to success: after a failure the rows are written anew.
                true => {
                    open.data.sync_data().map(|()| rows_end).map_err(|e| self.failed("sync", e))
                }
                false => Ok(rows_end),
            });
            match synced {
                Ok(rows_end) => open.ledger.end = rows_end,
                Err(error) => {
                    // The dataset stays valid; should this fail too, the next insert repairs it.
                    let _ = repair(&open.data, end, closer(format, end));
                    return Err(error);
                }
            }
            open.ledger.delivered.add(journal, &fresh);
            self.commit(open)?;
        } else if power {
            // Somebody stored these rows, perhaps without syncing them.
            open.data.sync_data().map_err(|e| self.failed("sync", e))?;
        }
        if power {
            self.sync_names(open)?;
        }
        Ok(Attempt::Stored)
    }

    /// Which file stands at `path`, and how long it is.
    fn at(&self, path: &Path) -> Result<Option<(FileId, u64)>, AdapterError> {
        match symlink_metadata(path) {
            Ok(metadata) => Ok(Some((FileId::of(&metadata), metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AdapterError::io(format_args!("look at {}", path.display()), error)),
        }
    }

    /// Brings file and ledger together: afterwards the file ends where the ledger says.
    fn settle(&self, open: &mut Open, format: &mut F, len: u64) -> Result<(), AdapterError> {
        if open.ledger.file == open.data_id && open.ledger.end <= len {
            let closer = closer(format, open.ledger.end);
            let mut found = [0; 8];
            let found = &mut found[..closer.len()];
            let whole = len == open.ledger.end + closer.len() as u64
                && (closer.is_empty()
                    || read_at(&open.data, open.ledger.end, found)
                        .is_ok_and(|n| found[..n] == *closer));
            if !whole {
                // What a crash left in the middle of an append: its batch is sent again.
                repair(&open.data, open.ledger.end, closer)
                    .map_err(|e| self.failed("repair", e))?;
            }
            return Ok(());
        }
        // Another file than the one that the ledger knows, or it was cut: its content is not ours
        // to judge. The rows that were delivered before it came stay delivered.
        // A file that its format refuses is left untouched.
        format.learn((len > 0).then_some(&open.data))?;
        open.learned = true;
        let (end, mend) = match len {
            0 => (0, &b""[..]),
            _ => format.adopt(&open.data, len)?,
        };
        if !mend.is_empty() {
            write_at(&open.data, end, mend).map_err(|e| self.failed("write to", e))?;
        }
        open.ledger.file = open.data_id;
        open.ledger.end = end + mend.len() as u64;
        // Before the first append, so that a crash in the middle of it can be told from content.
        self.commit(open)
    }

    /// Appends the rows that are not in the file yet, behind `out` and then `end`, and says where
    /// they end; the closer stands behind that. Their seqs go to `fresh`; without any, nothing is
    /// written.
    fn write(
        &self,
        open: &mut Open,
        format: &mut F,
        out: &mut Vec<u8>,
        (end, mut before): (u64, Option<u8>),
        batch: &Batch<'_>,
        fresh: &mut Vec<Run>,
    ) -> Result<u64, AdapterError> {
        let Open { data, ledger, uncached, .. } = open;
        let stored = ledger.delivered.of(batch.id().journal);
        let mut at = end;
        for from in (0..batch.len()).step_by(PART_ROWS) {
            let part = batch.slice(from..batch.len().min(from + PART_ROWS));
            let rows = part.rows().filter(|row| {
                let new = !holds(stored, row.seq.0);
                if new {
                    extend(fresh, row.seq.0);
                }
                new
            });
            format.rows(rows, before, out);
            before = out.last().copied().or(before);
            if out.len() >= PART_BYTES {
                append_at(data, at, out, uncached).map_err(|e| self.failed("write to", e))?;
                at += out.len() as u64;
                out.clear();
            }
        }
        let rows_end = at + out.len() as u64;
        if !fresh.is_empty() {
            out.extend_from_slice(format.closer());
            append_at(data, at, out, uncached).map_err(|e| self.failed("write to", e))?;
        }
        Ok(rows_end)
    }

    fn commit(&self, open: &mut Open) -> Result<(), AdapterError> {
        if let Err(error) = open.ledger.commit(&open.sidecar) {
            // What is on disk is unknown: read it again.
            open.ledger = Ledger::default();
            let doing = format_args!("write the ledger of {}", self.path.display());
            return Err(AdapterError::io(doing, error));
        }
        Ok(())
    }

    fn sync_names(&self, open: &mut Open) -> Result<(), AdapterError> {
        if open.sidecar_suspect {
            self.commit(open)?;
        }
        open.sidecar_suspect = true;
        open.sidecar.sync_data().map_err(|e| self.failed("sync the ledger of", e))?;
        open.sidecar_suspect = false;
        if !open.folder_synced {
            sync_folder(&self.path).map_err(|e| self.failed("sync the folder of", e))?;
            open.folder_synced = true;
        }
        Ok(())
    }
}

/// A file without a row is empty: it has neither opener nor closer.
fn closer<F: Format>(format: &F, end: u64) -> &'static [u8] {
    if end == 0 { b"" } else { format.closer() }
}

/// Ends the file at its committed rows. The closer is written first: it takes no new space.
fn repair(data: &File, end: u64, closer: &[u8]) -> io::Result<()> {
    if !closer.is_empty() {
        write_at(data, end, closer)?;
    }
    data.set_len(end + closer.len() as u64)
}
