//! A connection to a database file: how it is opened and set up, and why it could not be.

use std::fs::{OpenOptions, symlink_metadata};
use std::path::Path;
use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Failure};
use percent_encoding::percent_encode;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::locks;
use crate::schema::Table;
use crate::url::percent::PATH;

/// The oldest SQLite that rusqlite supports. What is compiled in is newer.
const VERSION_MIN: (i32, &str) = (3_034_001, "3.34.1");

/// How long to wait for another process that is writing.
pub(super) const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often to ask meanwhile. SQLite's own pauses grow to 100 ms, in which a process that always
/// has something to write takes the lock again and again: the others came to nothing for 5 s.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
const BUSY_ASKED_MAX: i32 = (BUSY_WAIT_MAX.as_millis() / BUSY_PAUSE.as_millis()) as i32;

/// Holds the pages of a large batch, which would otherwise be written twice.
const CACHE_KIB: i64 = 16 << 10;
/// Of a new database: a batch then takes a quarter of the writes that SQLite's 4 KiB cost it.
const PAGE_BYTES: i64 = 16 << 10;
/// 32 MiB: several large batches between checkpoints, instead of one.
const WAL_BYTES: i64 = 32 << 20;

/// Opens the file at `path` to write to `table`; makes a file where there is none.
pub(super) fn connect(path: &Path, table: &Table) -> Result<Connection, AdapterError> {
    locks::install();
    // SQLite itself opens an existing file; this makes a new one only, so follows no link.
    if symlink_metadata(path).is_err() {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // For its owner alone; SQLite gives its other files the same mode.
            options.mode(0o600);
        }
        match options.open(path) {
            // Somebody else may be using it already.
            Ok(file) => locks::close_file(file),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(AdapterError::io(format_args!("create {}", path.display()), error));
            }
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let wrong = |error| failed(path, "open", &error);
    let mut connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
    set_up_patiently(&mut connection, table).map_err(wrong)?;
    Ok(connection)
}

/// Opens the file at `path` to read it, and changes nothing.
#[cfg_attr(not(feature = "read"), expect(dead_code, reason = "for reading"))]
pub(super) fn connect_to_read(path: &Path, immutable: bool) -> Result<Connection, String> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    locks::install();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if immutable {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        if symlink_metadata(&log).is_ok() {
            return Err(format!(
                "immutable=1 leaves out what {} holds, so that rows would be missing; let whoever \
                 writes the database close it, or read a copy of both files without immutable=1",
                Path::new(&log).display()
            ));
        }
        Connection::open_with_flags(uri(path)?, flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(path, flags)
    };
    let connection = connection.map_err(|error| explained(&error, why(path, &error)))?;
    connection.busy_timeout(BUSY_WAIT_MAX).map_err(|error| error.to_string())?;
    Ok(connection)
}

/// The path as SQLite's URI of a file that nobody changes.
fn uri(path: &Path) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    Ok(format!("file:{}?immutable=1", percent_encode(path.as_os_str().as_encoded_bytes(), PATH)))
}

/// Refuses an SQLite that is too old, which is the system's where none is compiled in.
pub(super) fn check_version(number: i32, name: &str) -> Result<(), String> {
    if number >= VERSION_MIN.0 {
        return Ok(());
    }
    Err(format!(
        "the system's SQLite is {name}, and {} or newer is needed: update it, or compile SQLite in \
         by the feature bundled of namel3ss-safety-stores",
        VERSION_MIN.1
    ))
}

/// What failed; `doing` is a fragment that follows "failed to".
pub(super) fn failed(path: &Path, doing: &str, error: &rusqlite::Error) -> AdapterError {
    let why = why(path, error);
    let failure = match error.sqlite_error_code() {
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::AuthorizationForStatementDenied,
        ) => Failure::Config,
        // Otherwise the file was replaced, which the next attempt sees.
        Some(ErrorCode::ReadOnly) if why.is_some() => Failure::Config,
        Some(ErrorCode::OutOfMemory) => Failure::NoMemory,
        Some(_) => Failure::Transient,
        None => Failure::Unknown,
    };
    let explained = explained(error, why);
    AdapterError::new(failure, format!("{doing} {}: {explained}", path.display()))
}

/// What SQLite says, which names tables and columns and never values, and why.
pub(super) fn explained(error: &rusqlite::Error, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{error}: {why}"),
        None => error.to_string(),
    }
}

/// Which right on the file or its folder is missing, where that may be the reason.
pub(super) fn why(path: &Path, error: &rusqlite::Error) -> Option<String> {
    let code = error.sqlite_error_code()?;
    matches!(code, ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
        .then(|| missing_right(path))
        .flatten()
}

#[cfg(unix)]
fn missing_right(path: &Path) -> Option<String> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
    let uid = rustix::process::geteuid().as_raw();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if let Err(error) = may(path, Access::READ_OK) {
        return Some(format!("user {uid} may not read the file ({error})"));
    }
    if let Err(error) = may(folder, Access::WRITE_OK | Access::EXEC_OK) {
        return Some(format!(
            "SQLite keeps files beside a database, and user {uid} may not write to the folder {} \
             ({error}); make it writable; or, only to read while nobody writes, add ?immutable=1 \
             to its URL",
            folder.display()
        ));
    }
    let error = may(path, Access::WRITE_OK).err()?;
    Some(format!("user {uid} may not write to the file ({error})"))
}

#[cfg(not(unix))]
fn missing_right(_: &Path) -> Option<String> {
    None
}

/// Sets a new connection up. Where another process is making the same database at this moment SQLite
/// says at once that it is locked, without asking whether that is worth waiting for.
fn set_up_patiently(connection: &mut Connection, table: &Table) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY_WAIT_MAX;
    loop {
        match set_up(connection, table) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

fn set_up(connection: &mut Connection, table: &Table) -> rusqlite::Result<()> {
    connection.busy_handler(Some(is_worth_waiting))?;
    // One that exists keeps its own.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    if !has_other_tables(connection, table)? {
        // Where WAL can't be had (some network file systems), SQLite keeps its other mode.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let wal_pages = WAL_BYTES / page_bytes.max(512);
    connection.pragma_update_and_check(None, "wal_autocheckpoint", wal_pages, |_| Ok(()))
}

/// Called by SQLite when another process is writing, with how often it has been.
fn is_worth_waiting(asked: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    asked < BUSY_ASKED_MAX
}

/// An application's own database keeps its mode: who copies only the one file, as a backup may,
/// would miss what stands in a log.
fn has_other_tables(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table'
        AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name <> ?1 COLLATE NOCASE)";
    connection.query_row(sql, [table.as_str()], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system's SQLite may be older than what our statements need, where none is compiled in.
    #[test]
    fn an_old_sqlite_is_refused_with_both_versions() {
        assert_eq!(check_version(3_034_001, "3.34.1"), Ok(()));
        assert_eq!(check_version(rusqlite::version_number(), rusqlite::version()), Ok(()));
        let error = check_version(3_031_001, "3.31.1").unwrap_err();
        assert!(error.contains("3.31.1, and 3.34.1 or newer"), "{error}");
    }
}
