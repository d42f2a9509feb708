//! Rows in a table of an SQLite file, each once: by its primary key (`journal_id`, `seq`).
//!
//! One transaction a batch, in WAL mode; a database with other tables keeps its mode. `durability="process"` needs no sync (synchronous NORMAL);
//! `"power"` syncs each commit (FULL). A table that stands there with other columns keeps them: the
//! columns of our names are filled, all else goes to its `metadata` column under the fields' names
//! (`row.` before one that the metadata has already); without such a column it is refused. A row whose
//! (`journal_id`, `seq`) another event has, by its `event_id` and `timestamp`, is reported as
//! [`Failure::IdsTaken`]; where the table has neither column it counts as stored. **Limit:**
//! without a unique key on (`journal_id`, `seq`) a row may be stored more than once. A row that a
//! trigger ignores silently is refused as one that breaks a constraint is; where that can't be seen
//! (a view without these columns), it counts as stored.
//!
//! A host may hold a SQLite of its own, as Python does, and read the file with it. Two of them in one
//! process don't see each other's POSIX locks, so this one takes others: see `locks`. Where there
//! are none, the other one may take itself for the last that closes the file and remove the
//! write-ahead log, into which this one would go on writing. So a batch is stored only once the log
//! still stands at its place after the commit; else it is stored anew.

mod connect;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod locks;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "no_locks.rs"]
mod locks;
#[cfg(feature = "read")]
pub(crate) mod scan;
mod table;

use std::fs::symlink_metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use namel3ss_safety::internal::adapter::{make_folder, real_path};
use namel3ss_safety::internal::memory;
use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, Durability, Failure, PerProcess,
};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use self::connect::{check_version, connect, failed};
#[cfg(feature = "read")]
pub use self::scan::SqliteReader;
use self::table::{Columns, InPlace, MANY, Scratch};
use crate::schema::Table;

/// How often a batch is stored anew because somebody took the log away.
const REDONE_MAX: usize = 5;
/// What SQLite takes for its pages and statements, and how often it holds a row: bound, as a record,
/// and in the page that it goes to. Beyond that it says itself that there is no memory.
const CACHE_BYTES: usize = 4 << 20;
const COPIES: usize = 4;

/// A dataset in one table of an SQLite file. See [`crate::sqlite`].
#[derive(Debug)]
pub struct SqliteAdapter {
    path: PathBuf,
    prepared: AtomicBool,
    table: Table,
    /// Whether a table that it makes has an index of traces.
    indexed: bool,
    /// A connection must not be used across a fork, nor closed by the child: that would take away
    /// the parent's locks.
    state: PerProcess<Option<Open>>,
    /// The process that is writing now, or 0. SQLite keeps what it knows of files once a process,
    /// under locks of its own: who was forked meanwhile might wait for them for ever.
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
    /// A dataset in `table` of the file at `path`; connects at the first insert. A missing folder is
    /// made by [`prepare`](DatasetAdapter::prepare) or the first insert.
    ///
    /// # Errors
    /// For a path that names no file, and for an SQLite that is too old.
    pub fn open(path: impl AsRef<Path>, table: Table) -> Result<Self, AdapterError> {
        let path = path.as_ref();
        check_version(rusqlite::version_number(), rusqlite::version())
            .map_err(|wrong| AdapterError::config(format!("open {}: {wrong}", path.display())))?;
        let path = real_path(path).map_err(|_| {
            AdapterError::config(format!("use {path:?} as a database: name a file"))
        })?;
        Ok(Self {
            path,
            prepared: AtomicBool::new(false),
            table,
            indexed: true,
            state: PerProcess::new(None),
            writing: AtomicU32::new(0),
            lacks_key: AtomicBool::new(false),
        })
    }

    /// A table that it makes gets no index of `trace_id`: `tail trace_id=…` looks at each row then, and
    /// delivery takes less time. Other tables stay as they are.
    #[must_use]
    pub fn without_trace_index(mut self) -> Self {
        self.indexed = false;
        self
    }

    /// The database file, with its folder's real name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self) -> Result<Open, AdapterError> {
        let connection = connect(&self.path, &self.table)?;
        let columns = self.columns(&connection)?;
        let schema = schema(&connection).map_err(|error| self.failed("open", &error))?;
        let file = identity(&self.path).ok_or_else(|| {
            AdapterError::transient(format!("open {}: it was just deleted", self.path.display()))
        })?;
        let log = identity(&self.log());
        Ok(Open { connection, columns, schema, file, log, power: false })
    }

    /// The table's columns; makes it where it is missing.
    fn columns(&self, connection: &Connection) -> Result<Columns, AdapterError> {
        let columns =
            Columns::of(connection, &self.table, self.indexed).map_err(|error| match error {
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
        failed(&self.path, doing, error)
    }

    /// The positions of rows whose ids other events have; all others are stored.
    fn store(&self, open: &mut Open, batch: &Batch<'_>) -> Result<Vec<usize>, AdapterError> {
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
        let stored = insert(&transaction, &open.columns, batch).map_err(failed)?;
        let mut poison = stored.refused;
        let in_place = open.columns.look(&transaction, &self.table, batch, &stored.passed_over);
        let InPlace { absent, others } = in_place.map_err(failed)?;
        poison.extend(absent);
        if !poison.is_empty() {
            poison.sort_unstable();
            // Dropping the transaction rolls it back.
            let why = stored.why.map_or_else(
                || "the table or a trigger of it ignored rows without an error".to_owned(),
                |error| error.to_string(),
            );
            let text = format!("write to {}: {why}", self.path.display());
            return Err(AdapterError::new(Failure::Poison(poison), text));
        }
        transaction.commit().map_err(failed)?;
        if power && !stored.passed_over.is_empty() {
            // Somebody stored these rows, perhaps without syncing them; a checkpoint does.
            open.connection
                .query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))
                .map_err(failed)?;
        }
        Ok(others)
    }
}

/// What became of a batch's rows, by their positions.
#[derive(Default)]
struct Stored {
    /// They break a constraint.
    refused: Vec<usize>,
    /// The first reason.
    why: Option<rusqlite::Error>,
    /// There already, or ignored.
    passed_over: Vec<usize>,
}

fn insert(
    transaction: &Transaction<'_>,
    columns: &Columns,
    batch: &Batch<'_>,
) -> rusqlite::Result<Stored> {
    let mut stored = Stored::default();
    let mut one = transaction.prepare_cached(&columns.insert)?;
    let mut many = match &columns.insert_many {
        Some(sql) if batch.len() >= MANY => {
            let mut many = transaction.prepare_cached(sql)?;
            columns.bind_journal(&mut many, batch.id().journal)?;
            Some(many)
        }
        _ => None,
    };
    let mut scratch = Scratch::default();
    for from in (0..batch.len()).step_by(MANY) {
        let part = batch.slice(from..batch.len().min(from + MANY));
        if let Some(many) = many.as_mut().filter(|_| part.len() == MANY) {
            match columns.insert_many(many, &part, &mut scratch) {
                Ok(MANY) => continue,
                Ok(_) => {
                    stored.passed_over.extend(from..from + MANY);
                    continue;
                }
                // One by one they say which it is; those that are in are passed over.
                Err(error) if is_the_rows_fault(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for (at, row) in (from..).zip(part.rows()) {
            match columns.insert(&mut one, &row, &mut scratch) {
                Ok(0) => stored.passed_over.push(at),
                Ok(_) => {}
                Err(error) if is_the_rows_fault(&error) => {
                    stored.refused.push(at);
                    stored.why.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(stored)
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
        let largest = batch.row_bytes().max().unwrap_or(0);
        if !memory::has(largest.saturating_mul(COPIES).saturating_add(CACHE_BYTES)) {
            return Err(AdapterError::no_memory(format_args!("write to {}", self.path.display())));
        }
        let pid = std::process::id();
        let forked_from_a_writer = ![0, pid].contains(&self.writing.load(Ordering::SeqCst));
        if forked_from_a_writer && !locks::is_usable_in_child() {
            return Err(AdapterError::transient(format!(
                "write to {}: this process was forked while its parent was writing there; restart \
                 it, or log in the parent later",
                self.path.display()
            )));
        }
        // A panic of another thread rolled its transaction back.
        let mut state = self.state.lock(|| None);
        let _writing = Writing::begin(&self.writing, pid);
        self.prepare()?;
        self.insert_with(&mut state, batch)
    }

    fn prepare(&self) -> Result<(), AdapterError> {
        if !self.prepared.load(Ordering::Relaxed) {
            self.path.parent().map_or(Ok(()), make_folder)?;
            self.prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
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
            let others = self.store(open, batch)?;
            if identity(&self.log()) == open.log {
                return if others.is_empty() {
                    Ok(())
                } else {
                    Err(AdapterError::ids_taken(others))
                };
            }
        }
        Err(AdapterError::transient(format!(
            "write to {}: another SQLite of this process keeps taking its log away, read it from \
             another process",
            self.path.display()
        )))
    }
}
