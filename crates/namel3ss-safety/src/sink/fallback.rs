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

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

use super::folder::{Folder, Refused, Trust};
use crate::batch::Row;
use crate::clock::Timestamp;
use crate::json;
use crate::limits::check_file_size;
use crate::locks::lock;
use crate::notice::{Level, Notices};

/// The key of a row's reason in a fallback file.
pub const ERROR_KEY: &str = "_error";

/// The file, in a folder of fallback files, that says where they go: a destination without secrets.
/// Only further sinks of a logger write one.
pub const DESTINATION_NAME: &str = "destination";

/// How many names are tried within one second before that is an error.
const COUNT_MAX: u32 = 100_000;

/// The folder of one sink's fallback files.
#[derive(Debug)]
pub(super) struct Fallback {
    folder: PathBuf,
    /// The name of a folder within it, where the files go, and for which destination they are.
    within: Option<(String, String)>,
    /// The second of the last file, and its count: the next one starts looking there.
    last: Mutex<(i64, u32)>,
}

/// One row for a fallback file.
#[derive(Debug)]
pub(super) struct Filing<'a> {
    pub(super) row: Row<'a>,
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
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, within: None, last: Mutex::new((i64::MIN, 0)) }
    }

    /// A folder within this one, of a sink that has its destination to itself.
    pub(super) fn within(&self, name: &str, destination: String) -> Self {
        let within = Some((plain_name(name), destination));
        Self { within, ..Self::new(self.folder.clone()) }
    }

    /// The same without its lock.
    pub(super) fn after_fork(&self) -> Self {
        Self { within: self.within.clone(), ..Self::new(self.folder.clone()) }
    }

    /// The folder as it was named; one within it is not part of that.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes one file of `rows`, as durable as a file can be; returns its path.
    ///
    /// # Errors
    /// From the file system, or because the folder is not ours. Nothing is left behind then.
    pub(super) fn write<'a>(
        &self,
        rows: impl Iterator<Item = Filing<'a>>,
        now: Timestamp,
        notices: &Notices,
    ) -> io::Result<PathBuf> {
        let folder = self.open(notices)?;
        let folder = match &self.within {
            Some((name, destination)) => folder_of(folder.ours_within(name)?, destination)?,
            None => folder,
        };
        let random = u128::from_le_bytes(crate::id::os_random());
        let hidden = format!(".safety_events_{random:032x}.tmp");
        let file = folder.create(&hidden)?;
        let written = write_rows(&file, rows).and_then(|()| self.publish(&folder, &hidden, now));
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

    fn publish(&self, folder: &Folder, hidden: &str, now: Timestamp) -> io::Result<PathBuf> {
        let (second, stamp) = stamp(now);
        let first = {
            let last = lock(&self.last);
            if last.0 == second { last.1 + 1 } else { 1 }
        };
        for count in first..=COUNT_MAX {
            let name = format!("safety_events_{stamp}_{count}.json");
            match folder.publish(hidden, folder, &name) {
                Ok(()) => {
                    if let Err(error) = folder.sync() {
                        // It would be there twice if the rows stayed in the journal as well.
                        let _ = folder.remove(&name);
                        return Err(error);
                    }
                    let mut last = lock(&self.last);
                    *last = if last.0 == second {
                        (second, last.1.max(count))
                    } else {
                        (second, count)
                    };
                    return Ok(folder.path().join(name));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many fallback files within one second: try again"))
    }
}

/// What of a sink's name makes the name of a folder: its number stays whole.
fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let (dataset, number) = name.rsplit_once('-').unwrap_or((name, ""));
    format!("{}-{number}", dataset.chars().take(64).collect::<String>())
        .chars()
        .map(plain)
        .collect()
}

/// The folder, with a word in it of where its files go.
fn folder_of(folder: Folder, destination: &str) -> io::Result<Folder> {
    match folder.read(DESTINATION_NAME) {
        Ok(_) => return Ok(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let random = u128::from_le_bytes(crate::id::os_random());
    let hidden = format!(".destination_{random:032x}.tmp");
    let mut file = folder.create(&hidden)?;
    let said = file.write_all(destination.as_bytes()).and_then(|()| file.sync_all());
    match said.and_then(|()| folder.publish(&hidden, &folder, DESTINATION_NAME)) {
        Ok(()) => folder.sync()?,
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.remove(&hidden)?,
        Err(error) => {
            let _ = folder.remove(&hidden);
            return Err(error);
        }
    }
    Ok(folder)
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
        "fallback_folder",
        format!("{refused}: fallback files go to {} until then", own.display()),
    );
    Ok(folder)
}

fn per_user(path: &Path) -> PathBuf {
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let user = "user";
    let mut name = path.as_os_str().to_owned();
    name.push(format!("-{user}"));
    PathBuf::from(name)
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
    let mut out = BufWriter::with_capacity(256 << 10, Within { file, bytes: 0 });
    let mut line = Vec::new();
    out.write_all(b"[")?;
    let mut before: &[u8] = b"\n";
    for filing in rows {
        out.write_all(before)?;
        before = b",\n";
        line.clear();
        filing.row.write_json(&mut line);
        if let Some(error) = filing.error {
            // A row is an object with fields, so that it ends with a brace and takes one more.
            line.pop();
            line.extend_from_slice(b",\"");
            line.extend_from_slice(ERROR_KEY.as_bytes());
            line.extend_from_slice(b"\":");
            json::write_text(error, &mut line);
            line.push(b'}');
        }
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
