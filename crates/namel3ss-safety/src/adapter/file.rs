//! A dataset that is one growing file: every batch is appended once, wholly, by whichever process.
//!
//! Under the locks of the sidecar and of the file itself: find out which file stands at the path and
//! how far it is committed ([`super::ledger`]), enter what stands behind that ([`super::settle`]),
//! append the rows that are not in it, commit. **Condition:** all writers of our rows are this
//! library, and the file system is local. Other programs may append whole lines, rotate, edit and
//! replace the file; no whole row is ever cut off, whoever wrote it.
//!
//! The file has a lock of its own beside the sidecar's because it may have several names, each with
//! a sidecar: a hard link, or the mount of a single file into a container.

use std::fmt;
use std::fs::{File, symlink_metadata};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::dataset::Delivery;
use super::disk::{FileId, Writes, append_at, lock, make_folder, open, real_path, sync_folder};
use super::error::AdapterError;
use super::ledger::Ledger;
use super::per_process::PerProcess;
use super::tail::Walked;
use crate::batch::{Batch, Durability, Row};
use crate::clock::Timestamp;
use crate::id::{BatchId, JournalId, Seq};
use crate::json;
use crate::memory;
use crate::notice::{Notice, Notices};
use crate::process::forget_in_child;
use crate::seqs::{Run, SeqSet};

/// How often the files may be swapped or changed under one insert before it gives up for now.
const REOPEN_MAX: usize = 8;
/// How many rows are written out at once, and how many bytes of them go to the kernel with one
/// call: few enough to be still in the core's own cache then.
const PART_ROWS: usize = 256;
const PART_BYTES: usize = 512 << 10;
const PART_SPARE_BYTES: usize = 32 << 10;
/// Of a larger row, one cell is a large buffer too.
const CELL_BYTES: usize = 64 << 10;
/// What the row buffer keeps between batches.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

pub(super) const EXACTLY_ONCE: Delivery = Delivery::ExactlyOnce {
    condition: "our rows come from this library alone, on a local file system",
};

/// How far before the committed end rows are compared: 64 MiB.
pub(super) const COMPARED_BYTES_MAX: u64 = 64 << 20;

/// By what an event is told from another one with its id.
pub(super) struct Identity {
    pub(super) event_id: String,
    pub(super) timestamp: Timestamp,
}

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

    /// Gives each whole row of a stretch of the file, which begins behind `before` at a place where
    /// a row may begin, to `each`; at 0 the file begins.
    fn walk(
        &self,
        file: &File,
        stretch: Range<u64>,
        before: Option<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Walked>;

    /// Whether readers of the file can read the row.
    fn is_row(&self, row: &[u8]) -> bool;

    /// Which event a row is of, if it is one of ours.
    fn id(&self, row: &[u8]) -> Option<(JournalId, Seq)>;

    /// By what the event of a row is told from others; `None` for what is none, or lacks it.
    fn identity(&self, row: &[u8]) -> Option<Identity>;

    /// Whether a row begins with these bytes, which stand behind a line's end in the midst of the file.
    fn is_begin(&self, bytes: &[u8]) -> bool;

    /// Whether a row may begin behind this byte.
    fn may_follow(&self, before: u8) -> bool;

    /// Whether the byte may stand between rows, so that nothing is lost with it.
    fn is_filler(&self, byte: u8) -> bool;

    /// Whether what is torn may be the begin of a row of ours, as far as one can tell.
    fn began_here(&self, torn: &[u8]) -> bool;

    /// What the file must hold instead, where another program has emptied it and then `appended` was
    /// written, in the belief that an opener and other rows stand before it; `None` if that is right
    /// as it is.
    fn restarted(&self, appended: &[u8]) -> Option<Vec<u8>>;

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
    pub(super) path: PathBuf,
    sidecar: PathBuf,
    identity: String,
    /// The format before it has learned anything.
    format: F,
    prepared: AtomicBool,
    /// How far before its end rows are compared.
    pub(super) compared_bytes_max: u64,
    state: PerProcess<State<F>>,
}

#[derive(Debug)]
struct State<F> {
    format: F,
    open: Option<Open>,
    out: Vec<u8>,
    notices: Notices,
}

impl<F> State<F> {
    fn new(format: F) -> Self {
        Self { format, open: None, out: Vec::new(), notices: Notices::default() }
    }
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) data: File,
    pub(super) data_id: FileId,
    pub(super) sidecar: File,
    sidecar_id: FileId,
    pub(super) ledger: Ledger,
    /// The byte before the ledger's end, as it was last read or written.
    pub(super) before: Option<u8>,
    pub(super) learned: bool,
    folder_synced: bool,
    /// A sync of the sidecar failed: its pages may be lost though a second sync says they are not.
    sidecar_suspect: bool,
    /// Large batches are written past the page cache.
    uncached: bool,
}

/// The end of the rows from `from` on that are written out at once, the most that they take, and the
/// most that one of them takes.
fn part_of(batch: &Batch<'_>, from: usize) -> (usize, usize, usize) {
    let (mut to, mut payloads, mut most, mut largest) = (from, 0, 0, 0);
    for bytes in batch.row_bytes().skip(from).take(PART_ROWS) {
        if to > from && payloads + bytes > PART_BYTES {
            break;
        }
        to += 1;
        payloads += bytes;
        most += json::row_bytes_max(bytes);
        largest = largest.max(json::row_bytes_max(bytes));
    }
    // Rows are written into some room beyond what they take.
    (to, most + PART_SPARE_BYTES, largest)
}

enum Attempt {
    /// All rows, but for those at these positions, in place of which other events are.
    Stored(Vec<usize>),
    /// Other files stand at the paths than those that are open.
    Moved,
    /// Another program changed the file meanwhile: look again.
    Changed,
}

impl<F: Format> FileDataset<F> {
    pub(super) fn new(path: &Path, format: F) -> Result<Self, AdapterError> {
        let path = real_path(path)
            .map_err(|_| AdapterError::config(format!("use {path:?} as a dataset: name a file")))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(path.file_name().unwrap_or_default());
        hidden.push(".ledger");
        Ok(Self {
            identity: format!("file://{}", path.display()),
            sidecar: path.with_file_name(hidden),
            path,
            prepared: AtomicBool::new(false),
            compared_bytes_max: COMPARED_BYTES_MAX,
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

    /// Makes the folder, once.
    pub(super) fn prepare(&self) -> Result<(), AdapterError> {
        if !self.prepared.load(Ordering::Relaxed) {
            self.path.parent().map_or(Ok(()), make_folder)?;
            self.prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What it has to report; empty while an insert is under way.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let state = self.state.try_lock(|| State::new(self.format.clone()));
        state.map_or_else(Vec::new, |state| state.notices.take())
    }

    pub(super) fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        // A forked child shares its parent's file locks, so it opens the files anew.
        let mut state = self.state.lock(|| State::new(self.format.clone()));
        let State { format, open, out, notices } = &mut *state;
        for _ in 0..REOPEN_MAX {
            if open.is_none() {
                *open = Some(self.open(format)?);
            }
            // Opened just above.
            let Some(opened) = open.as_mut() else { continue };
            // A child that is forked meanwhile would keep them locked if this process were killed.
            let forgotten = [&opened.sidecar, &opened.data].map(forget_in_child);
            lock(&opened.sidecar, &self.sidecar)?;
            // In this order everywhere, so that no two wait for each other.
            let result = lock(&opened.data, &self.path)
                .and_then(|()| self.attempt(opened, format, out, notices, batch));
            // Closing the files unlocks them as well, should this fail.
            let unlocked = opened.data.unlock().and(opened.sidecar.unlock());
            drop(forgotten);
            out.clear();
            out.shrink_to(BUFFER_BYTES_KEPT);
            if unlocked.is_err() || matches!(result, Ok(Attempt::Moved)) {
                *open = None;
            }
            match result? {
                Attempt::Stored(others) if others.is_empty() => return Ok(()),
                Attempt::Stored(others) => return Err(AdapterError::ids_taken(others)),
                Attempt::Moved | Attempt::Changed => {}
            }
        }
        Err(AdapterError::transient(format!(
            "write to {}: another program replaces or cuts it all the time",
            self.path.display()
        )))
    }

    fn open(&self, format: &F) -> Result<Open, AdapterError> {
        let (sidecar, sidecar_id) = open(&self.sidecar, Writes::Anywhere)?;
        // The end of an array is overwritten by the next rows.
        let writes = if format.closer().is_empty() { Writes::AtEnd } else { Writes::Anywhere };
        let (data, data_id) = open(&self.path, writes)?;
        Ok(Open {
            data,
            data_id,
            sidecar,
            sidecar_id,
            ledger: Ledger::default(),
            before: None,
            learned: false,
            folder_synced: false,
            sidecar_suspect: false,
            uncached: true,
        })
    }

    pub(super) fn failed(&self, doing: &str, error: io::Error) -> AdapterError {
        AdapterError::io(format_args!("{doing} {}", self.path.display()), error)
    }

    /// Everything that happens under the locks.
    fn attempt(
        &self,
        open: &mut Open,
        format: &mut F,
        out: &mut Vec<u8>,
        notices: &Notices,
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
        if !self.settle(open, format, notices, len)? {
            return Ok(Attempt::Changed);
        }
        if !open.learned {
            format.learn((open.ledger.end > 0).then_some(&open.data))?;
            open.learned = true;
        }
        let BatchId { journal, first, .. } = batch.id();
        let looked_up = match open.ledger.delivered.may_hold_unlisted(journal, first.0) {
            true => Some(self.look_up(open, format, journal)?),
            false => None,
        };

        let stored = looked_up.as_ref().unwrap_or_else(|| open.ledger.delivered.of(journal));
        let others = self.others(open, format, batch, stored)?;

        let end = open.ledger.end;
        let before = match end {
            0 => {
                out.extend_from_slice(format.opener());
                out.last().copied()
            }
            _ => open.before,
        };
        let mut fresh = SeqSet::default();
        let mut at = end;
        let place = (&mut at, before);
        let written = self.write(open, format, out, place, batch, (looked_up, &mut fresh));
        if !fresh.is_empty() {
            let closer = format.closer();
            let rows = out.len().saturating_sub(closer.len());
            let rows_end = at + rows as u64;
            let synced = written.and_then(|()| match power {
                // Never retried to success: after a failure the rows are written anew.
                true => open.data.sync_data().map_err(|e| self.failed("sync", e)),
                false => Ok(()),
            });
            if let Err(error) = synced {
                // All rows or none; should this fail too, the next insert finds what is there.
                let _ = self.take_back(open, format, (at, &out[..]));
                return Err(error);
            }
            if !self.is_as_written(open, format, rows_end + closer.len() as u64)? {
                self.restart(open, format)?;
                return Ok(Attempt::Changed);
            }
            open.ledger.end = rows_end;
            open.ledger.delivered.add(journal, fresh.runs());
            self.commit(open, &out[..rows])?;
        } else {
            // There may have been no memory for the first of them.
            written?;
            if power {
                // Somebody stored these rows, perhaps without syncing them.
                open.data.sync_data().map_err(|e| self.failed("sync", e))?;
            }
        }
        if power {
            self.sync_names(open)?;
        }
        Ok(Attempt::Stored(others))
    }

    /// Which file stands at `path`, and how long it is.
    fn at(&self, path: &Path) -> Result<Option<(FileId, u64)>, AdapterError> {
        match symlink_metadata(path) {
            Ok(metadata) => Ok(Some((FileId::of(&metadata), metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AdapterError::io(format_args!("look at {}", path.display()), error)),
        }
    }

    /// Appends the rows that are not in the file yet, behind `out`, which begins at `at`, and the
    /// closer behind them; afterwards `out` holds what was written last, and `at` says where. The
    /// ledger knows which rows are there, unless they were looked up. The seqs of those that are not
    /// go to `fresh`; without any, nothing is written.
    fn write(
        &self,
        open: &mut Open,
        format: &mut F,
        out: &mut Vec<u8>,
        (at, mut before): (&mut u64, Option<u8>),
        batch: &Batch<'_>,
        (looked_up, fresh): (Option<SeqSet>, &mut SeqSet),
    ) -> Result<(), AdapterError> {
        let Open { data, ledger, uncached, .. } = open;
        let listed = ledger.delivered.of(batch.id().journal);
        let stored = looked_up.as_ref().unwrap_or(listed);
        // Rows come in their order: a set is asked, and told, once for many of them.
        let (mut alike, mut is_stored): (Run, bool) = ((1, 0), false);
        let mut new: Option<Run> = None;
        let mut from = 0;
        while from < batch.len() {
            let (to, bytes, cell) = part_of(batch, from);
            memory::reserve(out, bytes).map_err(|e| self.failed("encode rows for", e))?;
            if cell > CELL_BYTES && !memory::has(2 * cell) {
                return Err(self.failed("encode rows for", io::ErrorKind::OutOfMemory.into()));
            }
            let part = batch.slice(from..to);
            from = to;
            let rows = part.rows().filter(|row| {
                let seq = row.seq.0;
                if !(alike.0..=alike.1).contains(&seq) {
                    (alike, is_stored) = stored.alike_from(seq);
                }
                if is_stored {
                    return false;
                }
                match &mut new {
                    Some((_, last)) if last.checked_add(1) == Some(seq) => *last = seq,
                    other => fresh.extend(other.replace((seq, seq))),
                }
                true
            });
            format.rows(rows, before, out);
            before = out.last().copied().or(before);
            if out.len() >= PART_BYTES {
                append_at(data, *at, out, uncached).map_err(|e| self.failed("write to", e))?;
                *at += out.len() as u64;
                out.clear();
            }
        }
        fresh.extend(new);
        if !fresh.is_empty() {
            out.extend_from_slice(format.closer());
            append_at(data, *at, out, uncached).map_err(|e| self.failed("write to", e))?;
        }
        Ok(())
    }

    /// Writes the ledger down; `written` is what stands before its end, as far as that is at hand.
    pub(super) fn commit(&self, open: &mut Open, written: &[u8]) -> Result<(), AdapterError> {
        let committed =
            self.mark(open, written).map_err(|e| self.failed("read", e)).and_then(|()| {
                let doing = format_args!("write the ledger of {}", self.path.display());
                open.ledger.commit(&open.sidecar).map_err(|error| AdapterError::io(doing, error))
            });
        if committed.is_err() {
            // What is on disk is unknown: read it again.
            open.ledger = Ledger::default();
        }
        committed
    }

    fn sync_names(&self, open: &mut Open) -> Result<(), AdapterError> {
        if open.sidecar_suspect {
            self.commit(open, &[])?;
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
