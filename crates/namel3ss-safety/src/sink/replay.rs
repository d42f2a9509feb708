//! Fallback files, read back and stored where they should have gone.
//!
//! A row's (`journal_id`, `seq`) goes with it, so that a replay that was killed half-way, or that
//! two people start, stores each row once where the adapter can. Rows that a person wrote without
//! them get a journal id that is made from the file's bytes: the same file, the same rows.
//!
//! A row without an id or moment of its own can't be compared with what is there: it counts as stored
//! where its (`journal_id`, `seq`) is.
//!
//! One bad row costs one row: what can't be read, and what the dataset refuses by itself, is put into
//! a new file beside the old one, with the reason.
//!
//! **Limits:** a file is read whole, up to [`FILE_BYTES_MAX`]; integers beyond 64 bits in metadata
//! come back as floats, as JSON readers commonly do.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::attempt::{Failed, batching};
use super::bisect::{Fate, Plan};
use super::copied::land;
use super::fallback::write_left_over;
use super::folder::{Folder, Trust};
use super::replay_error::ReplayError;
use super::replay_rows::{BadRow, GoodRow, Rows};
use crate::adapter::{DatasetAdapter, Failure};
use crate::batch::{Batch, Durability, RowBuffer};
use crate::clock::Timestamp;
use crate::id::JournalId;

/// The largest file that is replayed: 1 GiB. The files that a sink writes are one batch each.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// The folder, beside a file, that it is moved to when its rows have landed.
pub const REPLAYED: &str = "replayed";

/// The most files that stay in `replayed/`: the oldest ones make room.
pub const REPLAYED_FILES_MAX: usize = 1000;

/// The most bytes that stay in `replayed/`, but for the newest file.
pub const REPLAYED_BYTES_MAX: u64 = 256 << 20;

/// How many rows without a success are refused by themselves before that is called an outage.
const LONE_REFUSALS_MAX: usize = 3;

/// How a file is replayed.
#[derive(Default)]
pub struct ReplayOptions<'p> {
    /// Only read and count: nothing is stored, nothing is moved.
    pub dry_run: bool,
    /// Whether root may replay another user's file. Otherwise file and folder must be ours; in both
    /// cases nobody but the owner may be able to write to them.
    pub any_owner: bool,
    /// How durable the rows must be before the file is moved.
    pub durability: Durability,
    /// Called after each batch with the rows that are done and the rows that there are.
    pub progress: Option<&'p mut dyn FnMut(u64, u64)>,
}

impl std::fmt::Debug for ReplayOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayOptions")
            .field("dry_run", &self.dry_run)
            .field("any_owner", &self.any_owner)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Rows that were stored, or in a dry run would be. A row that the dataset had already counts.
    pub rows: u64,
    /// Rows that were in the file more than once, and were stored once.
    pub duplicates: u64,
    /// Those of `rows` that were stored under another journal id, because other events have theirs:
    /// the file is of a copy of a process.
    pub copied: u64,
    /// Batches that were inserted.
    pub batches: u64,
    /// Rows that could not be read, or that the dataset refused by themselves.
    pub refused: u64,
    /// What is wrong with the first of these.
    pub refused_because: Option<String>,
    /// The file that these are in now.
    pub left_in: Option<PathBuf>,
    /// Where the file is now; `None` in a dry run.
    pub moved_to: Option<PathBuf>,
}

/// Stores the rows of the fallback file `path` through `adapter`, and then moves the file to
/// `replayed/` beside it, without overwriting one that is there. Rows that can't be read, or that the
/// dataset refuses by themselves, are then in a new file in its place, with their reasons.
///
/// It calls the adapter on this thread: in async code, have the runtime's `spawn_blocking` run it.
///
/// # Errors
/// See [`ReplayError`]. The file then stays where it is; rows that had landed are stored again
/// by the next replay, which an exactly-once adapter recognizes.
pub fn replay_file(
    path: &Path,
    adapter: &dyn DatasetAdapter,
    options: ReplayOptions<'_>,
) -> Result<ReplayReport, ReplayError> {
    let trust = if options.any_owner { Trust::ReadingAnyOwner } else { Trust::Reading };
    replay(path, adapter, options, trust, Timestamp::now(), &|_| true)
}

/// As [`replay_file`], of a sink's own file. One in which each row was refused before is left for a
/// person: it is [`ReplayError::Refused`].
pub(super) fn replay_own_file(
    path: &Path,
    adapter: &dyn DatasetAdapter,
    now: Timestamp,
) -> Result<ReplayReport, ReplayError> {
    let is_wanted = |rows: &Rows| rows.refused_before < rows.len();
    replay(path, adapter, ReplayOptions::default(), Trust::Owner, now, &is_wanted)
}

fn replay(
    path: &Path,
    adapter: &dyn DatasetAdapter,
    mut options: ReplayOptions<'_>,
    trust: Trust,
    now: Timestamp,
    is_wanted: &dyn Fn(&Rows) -> bool,
) -> Result<ReplayReport, ReplayError> {
    let unreadable = |source| ReplayError::Read { path: path.to_owned(), source };
    let (folder, name) = place(path, trust).map_err(unreadable)?;
    let file = Claimed(folder.read_trusted(name, trust).map_err(unreadable)?);
    if !options.dry_run {
        file.claim(&folder, name).map_err(unreadable)?;
    }
    let damaged = |bad: &BadRow| ReplayError::Damaged {
        path: path.to_owned(),
        line: bad.line,
        offset: bad.offset,
        message: bad.message.clone(),
    };
    let rows = Rows::parse(read(&file.0, path)?).map_err(|bad| damaged(&bad))?;
    if let (0, Some(bad)) = (rows.len(), rows.bad.first()) {
        return Err(damaged(bad));
    }
    let refused = |message: String| ReplayError::Refused { path: path.to_owned(), message };
    if rows.len() > 0 && !is_wanted(&rows) {
        return Err(refused("each of its rows was refused before".to_owned()));
    }

    let mut report = ReplayReport { duplicates: rows.duplicates, ..ReplayReport::default() };
    let mut left = Vec::new();
    for bad in &rows.bad {
        report.refuse(format!("line {}: {}", bad.line, bad.message));
        left.extend(rows.bad_row(bad));
    }
    let landing = Landing { rows: &rows, adapter, report: &mut report, alone: Vec::new() };
    let refusals = landing.land(&mut options)?;
    if let (0, Some((_, why))) = (report.rows, refusals.first()) {
        return Err(refused(why.clone()));
    }
    for (row, why) in &refusals {
        report.refuse(why.clone());
        left.push(rows.refused_row(row, why));
    }
    if options.dry_run {
        return Ok(report);
    }
    if !left.is_empty() {
        let kept = write_left_over(&folder, &left, now);
        let stuck = |source| ReplayError::LeftOver { path: path.to_owned(), source };
        report.left_in = Some(kept.map_err(stuck)?);
    }
    let stuck = |source| ReplayError::Move { path: path.to_owned(), source };
    report.moved_to = Some(set_aside(&folder, name, &file.0).map_err(stuck)?);
    Ok(report)
}

impl ReplayReport {
    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.refused_because.get_or_insert(why);
    }
}

/// A file that this replay alone works on, in all processes.
struct Claimed(File);

impl Claimed {
    fn claim(&self, folder: &Folder, name: &str) -> io::Result<()> {
        match self.0.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = "another process is replaying it";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            // Where a file system has no locks, two may replay it at once: each row is stored once
            // where the adapter can.
            Ok(()) | Err(std::fs::TryLockError::Error(_)) => {}
        }
        if folder.is_still(name, &self.0)? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "it was replayed a moment ago"))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // Said, not left to the close: a forked child may have the same open file.
        let _ = self.0.unlock();
    }
}

/// The rows of a file on their way.
struct Landing<'a> {
    rows: &'a Rows,
    adapter: &'a dyn DatasetAdapter,
    report: &'a mut ReplayReport,
    /// Runs of one row that failed for no known reason before anything had landed.
    alone: Vec<(GoodRow, String)>,
}

impl Landing<'_> {
    /// Stores the rows; which of them the dataset refused by themselves, and why.
    fn land(
        mut self,
        options: &mut ReplayOptions<'_>,
    ) -> Result<Vec<(GoodRow, String)>, ReplayError> {
        let total = self.rows.len();
        let mut buffer = RowBuffer::new(JournalId([0; 16]));
        let mut refused = Vec::new();
        let mut done = 0;
        for (journal, run) in self.rows.runs(&batching(self.adapter)) {
            let rows = run.len() as u64;
            if options.dry_run {
                self.report.rows += rows;
            } else {
                buffer.reset(journal, options.durability);
                for (seq, row) in &run {
                    // The payload was made by our own encoder a moment ago.
                    if let Err(error) = buffer.push(*seq, self.rows.payload(row)) {
                        debug_assert!(false, "an encoded event decodes: {error}");
                    }
                }
                for (at, why) in self.land_run(&buffer.batch(), &run)? {
                    refused.push((run[at].1.clone(), why));
                }
            }
            self.report.batches += 1;
            done += rows;
            if let Some(progress) = &mut options.progress {
                progress(done, total);
            }
        }
        if self.report.rows == 0
            && let Some((_, why)) = self.alone.first()
        {
            return Err(self.stopped(Failed::unknown(why)));
        }
        refused.extend(self.alone);
        Ok(refused)
    }

    /// Stores one run; the positions of the rows that were refused, and why.
    fn land_run(
        &mut self,
        batch: &Batch<'_>,
        run: &[(crate::id::Seq, GoodRow)],
    ) -> Result<Vec<(usize, String)>, ReplayError> {
        let mut plan = Plan::new(batch.len());
        while let Some(rows) = plan.next() {
            let has_identity = |at: usize| run[rows.start + at].1.has_identity;
            let failed = match land(self.adapter, &batch.slice(rows.clone()), has_identity) {
                Ok(copied) => {
                    self.report.copied += copied.map_or(0, |copied| copied.rows);
                    plan.stored();
                    self.report.rows += rows.len() as u64;
                    continue;
                }
                Err(failed) => failed,
            };
            match &failed.failure {
                Failure::Poison(indices) => plan.poisoned(indices, &failed.message),
                Failure::NoMemory if plan.halve() => {}
                Failure::Unknown if run.len() == 1 => {
                    // Alone it can't be told whether the row is to blame: that shows with others.
                    self.alone.push((run[0].1.clone(), failed.message.clone()));
                    if self.report.rows == 0 && self.alone.len() > LONE_REFUSALS_MAX {
                        return Err(self.stopped(failed));
                    }
                    return Ok(Vec::new());
                }
                Failure::Unknown if !plan.unknown(true, &failed.message) => {}
                _ => return Err(self.stopped(failed)),
            }
        }
        let refused = plan.pieces().filter_map(|piece| match &piece.fate {
            Fate::Condemned { error, .. } => Some((piece.rows.clone(), error)),
            _ => None,
        });
        Ok(refused.flat_map(|(rows, why)| rows.map(|row| (row, why.clone()))).collect())
    }

    fn stopped(&self, failed: Failed) -> ReplayError {
        ReplayError::Insert {
            stored: self.report.rows,
            transient: matches!(
                failed.failure,
                Failure::Transient | Failure::Throttled(_) | Failure::NoMemory
            ),
            message: failed.message,
        }
    }
}

/// The folder and the name of a file.
fn place(path: &Path, trust: Trust) -> io::Result<(Folder, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::other("it has no file name in UTF-8"))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    Ok((Folder::open_trusted(folder, trust)?, name))
}

fn read(file: &File, path: &Path) -> Result<Vec<u8>, ReplayError> {
    let unreadable = |source| ReplayError::Read { path: path.to_owned(), source };
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut text = Vec::new();
    // It may grow while it is read: the limit counts what comes, not what was promised.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ReplayError::TooLarge { path: path.to_owned(), bytes });
    }
    Ok(text)
}

/// Moves the file out of the way of the next replay.
fn set_aside(folder: &Folder, name: &str, file: &File) -> io::Result<PathBuf> {
    if !folder.is_still(name, file)? {
        return Err(io::Error::other("another file has taken its name meanwhile"));
    }
    let replayed = folder.within(REPLAYED)?;
    let stem = name.strip_suffix(".json").unwrap_or(name);
    for copy in 0..10_000_u32 {
        let to = if copy == 0 { name.to_owned() } else { format!("{stem}.{copy}.json") };
        match folder.publish(name, &replayed, &to) {
            Ok(()) => {
                // The new name first: a power cut in between leaves two names, not none.
                replayed.sync()?;
                folder.sync()?;
                make_room(&replayed, &to);
                return Ok(replayed.path().join(to));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many files of that name were replayed: remove some"))
}

/// Removes the oldest files of those that were replayed, while there are too many.
fn make_room(replayed: &Folder, newest: &str) {
    let mut files: Vec<(i64, String, u64)> = replayed
        .names()
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.ends_with(".json") && name != newest)
        .filter_map(|name| replayed.size_and_time(&name).map(|(size, at)| (at, name, size)))
        .collect();
    files.sort();
    let mut bytes: u64 = files.iter().map(|(.., size)| size).sum();
    let mut left = files.len() + 1;
    for (_, name, size) in files {
        if left <= REPLAYED_FILES_MAX && bytes <= REPLAYED_BYTES_MAX {
            return;
        }
        // Its rows are in their dataset. One that can't be removed stays; the next may go.
        if replayed.remove(&name).is_ok() {
            left -= 1;
            bytes -= size;
        }
    }
}
