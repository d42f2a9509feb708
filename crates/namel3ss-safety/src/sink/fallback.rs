//! Where rows go that could not be delivered: a file that a person can read, and that replay reads
//! back.
//!
//! `safety_events_YYYYMMDD_HHMMSS_{count}.json` (UTC) is an array with one row on each line. It is
//! written under a hidden name, synced, and moved to its own name without replacing anything: a
//! file that is there is whole, and two processes in the same second get different counts. A row
//! that was refused on its own carries the reason under `_error`, which replay leaves out.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

use super::folder::{Folder, FolderLock, Refused, Trust};
use super::waiting::{
    DESTINATION_NAME, destination_in, fallback_files, is_fallback_name, per_user,
};
use crate::batch::Row;
use crate::clock::Timestamp;
use crate::json;
use crate::limits::check_file_size;
use crate::locks::lock;
use crate::memory;
use crate::notice::{Level, NoticeKind, Notices};

/// The key of a row's reason in a fallback file.
pub const ERROR_KEY: &str = "_error";

/// How many names are tried within one second before that is an error.
const COUNT_MAX: u32 = 100_000;

/// How many folders whose names have the same hash are told apart.
const SAME_HASH_MAX: u32 = 8;

/// How long a file waits for the folder's lock. Nobody holds it longer than it takes to rename a file,
/// but for a process that was stopped.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// How much goes to a file with one call.
const WRITE_BYTES: usize = 256 << 10;

/// The folder of one sink's fallback files.
///
/// The files that wait in a folder are all for the destination that the file `destination` in it names.
/// A sink's files are in the folder itself, if that names the sink's destination, or holds no files and
/// can; else in a folder within it, `{dataset}-{hash of the destination}`. So two loggers with one
/// folder and different destinations never mix their files.
#[derive(Debug)]
pub(super) struct Fallback {
    folder: PathBuf,
    dataset: String,
    /// Whether its files are always in a folder within: those of a logger's further sinks.
    within: bool,
    /// The second of the last file, and its count: the next one starts looking there.
    last: Mutex<(i64, u32)>,
}

/// One row for a fallback file.
#[derive(Debug)]
pub(super) struct Filing<'a> {
    pub(super) row: Row<'a>,
    /// How many bytes its payload takes.
    pub(super) bytes: usize,
    /// Why this row alone was refused, if it was.
    pub(super) error: Option<&'a str>,
}

/// The documented folder for fallback files where no other is named.
///
/// It is made with mode 0700. A folder of that name that belongs to somebody else, or is a link,
/// is not used: the files then go to a folder of the same name with the user's number at its end,
/// and a notice says so.
#[must_use]
pub fn default_fallback_path() -> PathBuf {
    if cfg!(unix) {
        PathBuf::from("/tmp/namel3ss_safety_fallback")
    } else {
        std::env::temp_dir().join("namel3ss_safety_fallback")
    }
}

impl Fallback {
    pub(super) fn new(folder: PathBuf, dataset: &str) -> Self {
        let (dataset, last) = (dataset.to_owned(), Mutex::new((i64::MIN, 0)));
        Self { folder, dataset, within: false, last }
    }

    /// The same for a sink that shares this one's folder, and delivers to another destination.
    pub(super) fn within(&self) -> Self {
        Self { within: true, ..Self::new(self.folder.clone(), &self.dataset) }
    }

    /// The same without its lock.
    pub(super) fn after_fork(&self) -> Self {
        Self { within: self.within, ..Self::new(self.folder.clone(), &self.dataset) }
    }

    /// The folder as it was named; one within it is not part of that.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, so that who looks for it finds it, or learns at once that it can't be used.
    pub(super) fn prepare(&self, notices: &Notices) {
        if let Err(error) = self.open(notices) {
            let shown = self.folder.display();
            let text = format!(
                "fallback files can't be written to {shown}: {error}; until that is mended, what can't \
                 be delivered has no other place than its journal"
            );
            notices.say(Level::Warning, NoticeKind::FallbackFolder, text);
        }
    }

    /// Writes one file of `rows` for `destination`, which is empty where nobody knows it; as durable as
    /// a file can be. Returns its path.
    ///
    /// # Errors
    /// From the file system, or because the folder is not ours. Nothing is left behind then.
    pub(super) fn write<'a>(
        &self,
        rows: impl Iterator<Item = Filing<'a>>,
        destination: &str,
        now: Timestamp,
        notices: &Notices,
    ) -> io::Result<PathBuf> {
        let folder = self.open(notices)?;
        let hidden = hidden_name("safety_events");
        let file = folder.create(&hidden)?;
        let written =
            write_rows(&file, rows).and_then(|()| self.publish(&folder, &hidden, destination, now));
        if written.is_err() {
            // It may be gone already; the error that matters is the first one.
            let _ = folder.remove(&hidden);
        }
        written
    }

    fn open(&self, notices: &Notices) -> io::Result<Folder> {
        if self.folder.components().ne(default_fallback_path().components()) {
            return Ok(Folder::make(&self.folder, Trust::Owner)?);
        }
        open_shared(&self.folder, notices)
    }

    fn publish(
        &self,
        folder: &Folder,
        hidden: &str,
        destination: &str,
        now: Timestamp,
    ) -> io::Result<PathBuf> {
        // Held until the file has its name: meanwhile nobody gives the folder another destination.
        let locked = if self.within { None } else { wait_for_lock(folder) };
        let within;
        let to = if locked.is_some() && takes(folder, destination)? {
            folder
        } else {
            within = self.folder_for(folder, destination)?;
            &within
        };
        let (second, stamp) = stamp(now);
        let first = {
            let last = lock(&self.last);
            if last.0 == second { last.1 + 1 } else { 1 }
        };
        let (name, count) = name_numbered(folder, hidden, to, &stamp, first)?;
        drop(locked);
        let path = keep_name(to, &name)?;
        let mut last = lock(&self.last);
        *last = if last.0 == second { (second, last.1.max(count)) } else { (second, count) };
        Ok(path)
    }

    /// The folder within `folder` whose files are for `destination`.
    fn folder_for(&self, folder: &Folder, destination: &str) -> io::Result<Folder> {
        for name in self.names_within(destination) {
            let within = folder.ours_within(&name)?;
            let said = match destination_in(&within, Trust::Owner) {
                Ok(None) if !destination.is_empty() && !has_files(&within)? => {
                    set_destination(&within, destination)?;
                    destination_in(&within, Trust::Owner)
                }
                said => said,
            };
            if said.is_ok_and(|said| said.as_deref().unwrap_or_default() == destination) {
                return Ok(within);
            }
        }
        Err(io::Error::other("each folder for its destination is another one's: move them away"))
    }

    /// The names of the folders for `destination`, in the order in which they are looked for.
    fn names_within(&self, destination: &str) -> impl Iterator<Item = String> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let dataset: String = self.dataset.chars().take(64).map(plain).collect();
        let name = format!("{dataset}-{:08x}", crc32c::crc32c(destination.as_bytes()));
        (0..SAME_HASH_MAX).map(move |n| if n == 0 { name.clone() } else { format!("{name}-{n}") })
    }

    /// The files that wait for `destination`, oldest first: those of earlier runs among them. None
    /// where the folder is not there, or not trusted.
    pub(super) fn waiting_for(&self, destination: &str) -> Vec<PathBuf> {
        let mut waiting = Vec::new();
        let names = self.names_within(destination).map(|name| self.folder.join(name));
        let own = (!self.within).then(|| self.folder.clone());
        for path in own.into_iter().chain(names) {
            let Ok(folder) = Folder::open_trusted(&path, Trust::Owner) else { continue };
            let said = destination_in(&folder, Trust::Owner).ok().flatten();
            if said.is_some_and(|said| said == destination) {
                let names = fallback_files(&folder).unwrap_or_default();
                waiting.extend(names.into_iter().map(|name| path.join(name)));
            }
        }
        waiting
    }

    /// Whether files wait in the folder itself, and it names no destination.
    pub(super) fn has_unnamed(&self) -> bool {
        let Ok(folder) = Folder::open_trusted(&self.folder, Trust::Owner) else { return false };
        matches!(destination_in(&folder, Trust::Owner), Ok(None))
            && has_files(&folder).unwrap_or(false)
    }

    /// Gives the files in the folder itself, which a version before wrote, to `destination`: it named
    /// none there.
    ///
    /// # Errors
    /// From the file system.
    pub(super) fn take_over(&self, destination: &str) -> io::Result<()> {
        let Ok(folder) = Folder::open_trusted(&self.folder, Trust::Owner) else { return Ok(()) };
        let Some(_locked) = wait_for_lock(&folder) else { return Ok(()) };
        if destination_in(&folder, Trust::Owner)?.is_none() && has_files(&folder)? {
            set_destination(&folder, destination)?;
        }
        Ok(())
    }
}

fn hidden_name(of: &str) -> String {
    format!(".{of}_{:032x}.tmp", u128::from_le_bytes(crate::id::os_random()))
}

fn wait_for_lock(folder: &Folder) -> Option<FolderLock<'_>> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match folder.try_lock() {
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            lock => return lock,
        }
    }
}

fn has_files(folder: &Folder) -> io::Result<bool> {
    Ok(folder.names()?.iter().any(|name| is_fallback_name(name)))
}

/// Whether a file for `destination` may be put into `folder`, whose lock is held. While no files wait
/// there, it is made the folder of this destination.
fn takes(folder: &Folder, destination: &str) -> io::Result<bool> {
    // What is no plain file of ours says nothing, and is left alone.
    let Ok(said) = destination_in(folder, Trust::Owner) else { return Ok(false) };
    if said.as_deref().unwrap_or_default() == destination {
        return Ok(true);
    }
    if has_files(folder)? {
        return Ok(false);
    }
    if destination.is_empty() {
        folder.remove(DESTINATION_NAME)?;
        folder.sync()?;
    } else {
        set_destination(folder, destination)?;
    }
    Ok(true)
}

/// Writes down that the files in `folder` are for `destination`.
fn set_destination(folder: &Folder, destination: &str) -> io::Result<()> {
    let hidden = hidden_name(DESTINATION_NAME);
    let mut file = folder.create(&hidden)?;
    let written = file
        .write_all(destination.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| folder.replace(&hidden, DESTINATION_NAME))
        .and_then(|()| folder.sync());
    if written.is_err() {
        let _ = folder.remove(&hidden);
    }
    written
}

/// Moves the file `hidden` of `from` to the next free name in `to`; that name, and its count.
fn name_numbered(
    from: &Folder,
    hidden: &str,
    to: &Folder,
    stamp: &str,
    first: u32,
) -> io::Result<(String, u32)> {
    for count in first..=COUNT_MAX {
        let name = format!("safety_events_{stamp}_{count}.json");
        match from.publish(hidden, to, &name) {
            Ok(()) => return Ok((name, count)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many fallback files within one second: try again"))
}

/// Makes a new name survive a power cut, or removes the file; its path.
fn keep_name(folder: &Folder, name: &str) -> io::Result<PathBuf> {
    if let Err(error) = folder.sync() {
        // It would be there twice if the rows stayed where they were as well.
        let _ = folder.remove(name);
        return Err(error);
    }
    Ok(folder.path().join(name))
}

/// Writes rows that were left over from a file in `folder` to a new file there.
///
/// # Errors
/// From the file system. Nothing is left behind then.
pub(super) fn write_left_over(
    folder: &Folder,
    rows: &[Vec<u8>],
    now: Timestamp,
) -> io::Result<PathBuf> {
    let hidden = hidden_name("safety_events");
    let file = folder.create(&hidden)?;
    let lines = rows.iter().map(|row| (row.len(), move |line: &mut Vec<u8>| line.extend(row)));
    let written = write_lines(&file, lines)
        .and_then(|()| name_numbered(folder, &hidden, folder, &stamp(now).1, 1))
        .and_then(|(name, _)| keep_name(folder, &name));
    if written.is_err() {
        let _ = folder.remove(&hidden);
    }
    written
}

/// A folder at a well-known place where anybody could have made one first.
pub(super) fn open_shared(path: &Path, notices: &Notices) -> io::Result<Folder> {
    let refused = match Folder::make(path, Trust::Nobody) {
        Ok(folder) => return Ok(folder),
        Err(Refused::Foreign(text)) => text,
        Err(Refused::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{} can't be opened", path.display())
        }
        Err(refused) => return Err(refused.into()),
    };
    let own = per_user(path);
    let folder = Folder::make(&own, Trust::Nobody)?;
    notices.say(
        Level::Warning,
        NoticeKind::FallbackFolder,
        format!("{refused}: fallback files go to {} until then", own.display()),
    );
    Ok(folder)
}

/// A file that is never written beyond what the process may write: that would end it.
struct Within<'a> {
    file: &'a File,
    bytes: u64,
}

impl io::Write for Within<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check_file_size(self.bytes.saturating_add(bytes.len() as u64))?;
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_rows<'a>(file: &File, rows: impl Iterator<Item = Filing<'a>>) -> io::Result<()> {
    write_lines(
        file,
        rows.map(|filing| {
            let error = json::row_bytes_max(filing.error.map_or(0, str::len));
            let write = move |line: &mut Vec<u8>| {
                filing.row.write_json(line);
                if let Some(error) = filing.error {
                    write_error(error, line);
                }
            };
            (json::row_bytes_max(filing.bytes) + error, write)
        }),
    )
}

/// Adds the reason to a row's JSON at the end of `line`.
pub(super) fn write_error(error: &str, line: &mut Vec<u8>) {
    // A row is an object, so that it ends with a brace and takes one field more.
    line.pop();
    if line.last() != Some(&b'{') {
        line.push(b',');
    }
    line.push(b'"');
    line.extend_from_slice(ERROR_KEY.as_bytes());
    line.extend_from_slice(b"\":");
    json::write_text(error, line);
    line.push(b'}');
}

/// Writes a list of lines, each of at most so many bytes, as its writer writes it.
fn write_lines<W>(file: &File, lines: impl Iterator<Item = (usize, W)>) -> io::Result<()>
where
    W: FnOnce(&mut Vec<u8>),
{
    if !memory::has(WRITE_BYTES) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let mut out = BufWriter::with_capacity(WRITE_BYTES, Within { file, bytes: 0 });
    let mut line = Vec::new();
    out.write_all(b"[")?;
    let mut before: &[u8] = b"\n";
    for (bytes, write) in lines {
        out.write_all(before)?;
        before = b",\n";
        line.clear();
        memory::reserve(&mut line, bytes)?;
        write(&mut line);
        out.write_all(&line)?;
    }
    out.write_all(b"\n]\n")?;
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// The second that a file is named after, as a number and as `YYYYMMDD_HHMMSS`.
fn stamp(now: Timestamp) -> (i64, String) {
    // A clock that is set beyond the calendar of four-digit years must not cost a batch.
    let at = now.to_datetime().filter(|t| (0..=9999).contains(&t.year()));
    let at: DateTime<Utc> = at.unwrap_or_default();
    let (date, time) = (at.date_naive(), at.time());
    let stamp = format!(
        "{:04}{:02}{:02}_{:02}{:02}{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    (at.timestamp(), stamp)
}
