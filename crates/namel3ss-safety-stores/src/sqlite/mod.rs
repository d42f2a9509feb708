//! Rows in a table of an SQLite file, each once: by its primary key (`journal_id`, `seq`).
//!
//! One transaction a batch, in WAL mode. `durability="process"` needs no sync (synchronous NORMAL);
//! `"power"` syncs each commit (FULL). A table that stands there with other columns keeps them: the
//! columns of our names are filled, all else goes to its `metadata` column under the fields' names
//! (`row.` before one that the metadata has already); without such a column it is refused. **Limit:**
//! without a unique key on (`journal_id`, `seq`) a row may be stored more than once.
//!
//! A host may hold a SQLite of its own, as Python does, and read the file with it. Two of them in one
//! process don't see each other's locks ([How To Corrupt](https://sqlite.org/howtocorrupt.html), 2.2.1):
//! when the other one closes the file, it takes itself for the last and removes the write-ahead log,
//! into which this one would go on writing. So a batch is stored only once the log still stands at
//! its place after the commit; else it is stored anew.

mod read;
mod table;

use std::fs::{OpenOptions, symlink_metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, Durability, Failure, PerProcess,
};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub use self::read::{Filter, Reader, SqliteRow, read};
use self::table::{Columns, MANY, Scratch};
use crate::schema::Table;

/// How long to wait for another process that is writing.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often to ask meanwhile. SQLite's own pauses grow to 100 ms, in which a process that always
/// has something to write takes the lock again and again: the others came to nothing for 5 s.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
const BUSY_ASKED_MAX: i32 = (BUSY_WAIT_MAX.as_millis() / BUSY_PAUSE.as_millis()) as i32;

/// How often a batch is stored anew because somebody took the log away.
const REDONE_MAX: usize = 5;

/// Holds the pages of a large batch, which would otherwise be written twice.
const CACHE_KIB: i64 = 16 << 10;
/// Of a new database: a batch then takes a quarter of the writes that SQLite's 4 KiB cost it.
const PAGE_BYTES: i64 = 16 << 10;
/// 32 MiB: several large batches between checkpoints, instead of one.
const WAL_BYTES: i64 = 32 << 20;

/// A dataset in one table of an SQLite file. See [`crate::sqlite`].
#[derive(Debug)]
pub struct SqliteAdapter {
    path: PathBuf,
    table: Table,
    /// A connection must not be used across a fork, nor closed by the child: that would take away
    /// the parent's locks.
    state: PerProcess<Option<Open>>,
    /// The process that is writing now, or 0. SQLite keeps what it knows of a file once a process,
    /// its locks among it: who was forked meanwhile would find the file locked for ever.
    writing: AtomicU32,
    /// What the last connection found.
    lacks_key: AtomicBool,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    columns: Columns,
    /// SQLite's number of the schema in which the columns were found.
    schema: i64,
    file: (u64, u64),
    /// The write-ahead log; `None` where there is none.
    log: Option<(u64, u64)>,
    power: bool,
}

impl SqliteAdapter {
    /// A dataset in `table` of the file at `path`; connects at the first insert.
    ///
    /// # Errors
    /// For a path that names no file.
    pub fn open(path: impl AsRef<Path>, table: Table) -> Result<Self, AdapterError> {
        let path = path.as_ref();
        let wrong = || AdapterError::config(format!("use {path:?} as a database: name a file"));
        let name = path.file_name().ok_or_else(wrong)?;
        let absolute = std::path::absolute(path).map_err(|_| wrong())?;
        let folder = absolute.parent().ok_or_else(wrong)?;
        // A folder that does not exist yet keeps the name that it was given.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Ok(Self {
            path: folder.join(name),
            table,
            state: PerProcess::new(None),
            writing: AtomicU32::new(0),
            lacks_key: AtomicBool::new(false),
        })
    }

    /// The database file, with its folder's real name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self) -> Result<Open, AdapterError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // For its owner alone; SQLite gives its other files the same mode.
            options.mode(0o600);
        }
        // SQLite itself opens an existing file; this makes a new one only, so follows no link.
        if symlink_metadata(&self.path).is_err() {
            options.create_new(true);
            match options.open(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    let doing = format_args!("create {}", self.path.display());
                    return Err(AdapterError::io(doing, error));
                }
                _ => {}
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let failed = |error| self.failed("open", &error);
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        set_up_patiently(&connection).map_err(failed)?;
        let columns = self.columns(&connection)?;
        let schema = schema(&connection).map_err(failed)?;
        let file = identity(&self.path).ok_or_else(|| {
            AdapterError::transient(format!("open {}: it was just deleted", self.path.display()))
        })?;
        let log = identity(&self.log());
        Ok(Open { connection, columns, schema, file, log, power: false })
    }

    /// The table's columns; makes it where it is missing.
    fn columns(&self, connection: &Connection) -> Result<Columns, AdapterError> {
        let columns = Columns::of(connection, &self.table).map_err(|error| match error {
            table::TableProblem::Sql(error) => self.failed("look at the table in", &error),
            table::TableProblem::Lacks(error) => AdapterError::config(error),
        })?;
        self.lacks_key.store(!columns.has_key, Ordering::Relaxed);
        Ok(columns)
    }

    fn log(&self) -> PathBuf {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        log.into()
    }

    /// Lets go of a connection that must not be used any more.
    fn let_go(&self, state: &mut Option<Open>) {
        if state.as_ref().is_some_and(|open| identity(&self.path) != Some(open.file)) {
            // Deleted or replaced.
            *state = None;
        }
        if state.as_ref().is_some_and(|open| identity(&self.log()) != open.log)
            && let Some(open) = state.take()
        {
            // The log that it has is nobody's any more: nothing of it belongs into the file.
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = open.connection.set_db_config(keep, true);
        }
    }

    fn failed(&self, doing: &str, error: &rusqlite::Error) -> AdapterError {
        let failure = match error.sqlite_error_code() {
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::AuthorizationForStatementDenied,
            ) => Failure::Config,
            Some(_) => Failure::Transient,
            None => Failure::Unknown,
        };
        // SQLite's texts name tables and columns, never values.
        AdapterError::new(failure, format!("{doing} {}: {error}", self.path.display()))
    }

    fn store(&self, open: &mut Open, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let failed = |error| self.failed("write to", &error);
        let power = batch.durability() == Durability::Power;
        if power != open.power {
            let word = if power { "FULL" } else { "NORMAL" };
            open.connection.pragma_update(None, "synchronous", word).map_err(failed)?;
            open.power = power;
        }
        let transaction = open
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let now = schema(&transaction).map_err(failed)?;
        if now != open.schema {
            // Somebody has changed a table: perhaps ours.
            open.columns = self.columns(&transaction)?;
            open.schema = now;
        }
        let mut poison = Vec::new();
        let mut why = None;
        let mut inserted = 0;
        {
            let mut one = transaction.prepare_cached(&open.columns.insert).map_err(failed)?;
            let mut many = match &open.columns.insert_many {
                Some(sql) if batch.len() >= MANY => {
                    let mut many = transaction.prepare_cached(sql).map_err(failed)?;
                    let journal = batch.id().journal;
                    open.columns.bind_journal(&mut many, journal).map_err(failed)?;
                    Some(many)
                }
                _ => None,
            };
            let mut scratch = Scratch::default();
            for from in (0..batch.len()).step_by(MANY) {
                let part = batch.slice(from..batch.len().min(from + MANY));
                if let Some(many) = many.as_mut().filter(|_| part.len() == MANY) {
                    match open.columns.insert_many(many, &part, &mut scratch) {
                        Ok(rows) => {
                            inserted += rows;
                            continue;
                        }
                        // One by one they say which it is; those that are in are passed over.
                        Err(error) if is_the_rows_fault(&error) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                for (at, row) in (from..).zip(part.rows()) {
                    match open.columns.insert(&mut one, &row, &mut scratch) {
                        Ok(rows) => inserted += rows,
                        Err(error) if is_the_rows_fault(&error) => {
                            poison.push(at);
                            why.get_or_insert(error);
                        }
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        }
        if let Some(error) = why {
            // Dropping the transaction rolls it back.
            let text = format!("write to {}: {error}", self.path.display());
            return Err(AdapterError::new(Failure::Poison(poison), text));
        }
        transaction.commit().map_err(failed)?;
        if power && inserted < batch.len() {
            // Somebody stored these rows, perhaps without syncing them; a checkpoint does.
            open.connection
                .query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// Sets a new connection up. Where another process is making the same database at this moment SQLite
/// says at once that it is locked, without asking whether that is worth waiting for.
fn set_up_patiently(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY_WAIT_MAX;
    loop {
        match set_up(connection) {
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

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(is_worth_waiting))?;
    // One that exists keeps its own.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    // Where WAL can't be had (some network file systems), SQLite keeps its other mode.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
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

/// SQLite's number of the schema, another one after each change of it.
fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// Which file stands at `path` now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = symlink_metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        Some((0, 0))
    }
}

fn is_the_rows_fault(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    ) || matches!(error, rusqlite::Error::ToSqlConversionFailure(_))
}

impl DatasetAdapter for SqliteAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        let pid = std::process::id();
        if ![0, pid].contains(&self.writing.load(Ordering::SeqCst)) {
            return Err(AdapterError::transient(format!(
                "write to {}: this process was forked while its parent was writing there; restart \
                 it, or log in the parent later",
                self.path.display()
            )));
        }
        // A panic of another thread rolled its transaction back.
        let mut state = self.state.lock(|| None);
        let _writing = Writing::begin(&self.writing, pid);
        self.insert_with(&mut state, batch)
    }

    fn release(&self) {
        if let Some(mut state) = self.state.try_lock(|| None) {
            *state = None;
        }
    }

    fn identity(&self) -> String {
        format!("sqlite:///{}?table={}", self.path.display(), self.table.as_str())
    }

    fn delivery(&self) -> Delivery {
        if self.lacks_key.load(Ordering::Relaxed) {
            Delivery::AtLeastOnce
        } else {
            Delivery::ExactlyOnce { condition: "the table has a unique key (journal_id, seq)" }
        }
    }
}

/// Names the process that is writing, as long as it lives.
struct Writing<'a>(&'a AtomicU32);

impl<'a> Writing<'a> {
    fn begin(place: &'a AtomicU32, pid: u32) -> Self {
        place.store(pid, Ordering::SeqCst);
        Self(place)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl SqliteAdapter {
    fn insert_with(&self, state: &mut Option<Open>, batch: &Batch<'_>) -> Result<(), AdapterError> {
        for _ in 0..=REDONE_MAX {
            self.let_go(state);
            let open = match &mut *state {
                Some(open) => open,
                none => none.insert(self.connect()?),
            };
            self.store(open, batch)?;
            if identity(&self.log()) == open.log {
                return Ok(());
            }
        }
        Err(AdapterError::transient(format!(
            "write to {}: another SQLite of this process keeps taking its log away, read it from \
             another process",
            self.path.display()
        )))
    }
}
