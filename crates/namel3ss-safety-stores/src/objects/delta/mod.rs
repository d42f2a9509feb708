//! Rows in a Delta Lake table: Parquet files, and a log of commits that says which of them are the
//! table's. Spark, deltalake, polars, DuckDB and others read it; others may write to it as well.
//!
//! | column | Delta type |
//! | --- | --- |
//! | `timestamp` | `timestamp` |
//! | `categories` | `array<string>` |
//! | `confidence`, `latency_ms` | `double` |
//! | `seq` | `long` |
//! | all other fields, `journal_id` | `string`; `metadata` is a JSON object |
//! | `date`, the partition | `date`: the event's own UTC date; null beyond the years 1 to 9999 |
//!
//! **Exactly once.** A batch is one commit, made by creating the log's next file. It carries which
//! seqs of the journal are stored (see `runs.rs`); rows that the table already holds are left out.
//! Where somebody else made that commit, it is read, and the batch looked at again. So two who send
//! the same rows at the same moment, in whatever batches, store them once; a commit whose answer was
//! lost is found. **Limits:** the store honours create-only requests, else nothing is written; all
//! who write to the table put their commits there in the same way; nobody removes log files that are
//! younger than ten minutes or that no checkpoint holds.
//!
//! Readers see a batch wholly or not at all, over midnight too. Neither log nor data files are ever
//! removed by us.

mod place;
mod schema;
mod runs;
mod log;
mod file;
mod table;
mod checkpoint;
mod replay;
mod readable;
mod added;
mod read;
#[cfg(feature = "read")]
pub(crate) mod scan;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, Batch, Batching, DatasetAdapter, Delivery, Durability, Failure, JournalId, Level,
    Notice, NoticeKind, Row, Seq, Timestamp, internal::notice::Notices,
};
use serde_json::{Value, json};

pub use self::place::DeltaPlace;
pub use self::read::{Reader, damaged_checkpoints, read};

use self::log::Log;
use self::table::Table;
use super::compare::{Compared, answer};
use super::cut::{Part, cut};
use super::encode::check_memory;
use super::format::{Compression, Format};
use super::place::Root;
use super::probe;
use super::stores::open_store;

/// For how long one batch is tried while others keep committing before it.
const CONTENDED_MAX: Duration = Duration::from_secs(60);
/// The longest pause after a lost race.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What a commit says who made it.
const ENGINE: &str = concat!("namel3ss-safety/", env!("CARGO_PKG_VERSION"));

/// A Delta Lake table as a dataset. See [`crate::objects::delta`].
///
/// ```
/// use namel3ss_safety::{DatasetAdapter, JournalId, RowBuffer, SafetyEvent, Seq};
/// use namel3ss_safety_stores::objects::delta::{DeltaAdapter, DeltaPlace, read};
/// let folder = tempfile::tempdir().unwrap();
/// let url = format!("delta+file://{}/events", folder.path().display());
/// let adapter = DeltaAdapter::open(DeltaPlace::parse(&url).unwrap()).unwrap();
/// let mut rows = RowBuffer::new(JournalId::generate());
/// let event = SafetyEvent::default();
/// rows.push_event(Seq(1), &event);
/// adapter.insert(&rows.batch()).unwrap();
/// adapter.insert(&rows.batch()).unwrap(); // a retry is stored once
/// let read: Vec<_> = read(&adapter.identity()).unwrap().collect::<Result<_, _>>().unwrap();
/// assert_eq!(read.len(), 1);
/// assert_eq!(read[0].event, event);
/// ```
pub struct DeltaAdapter {
    place: DeltaPlace,
    log: Log,
    state: Mutex<State>,
    notices: Notices,
}

#[derive(Debug, Default)]
struct State {
    /// The store has been asked whether it creates without overwriting, and does.
    asked: bool,
    table: Option<Table>,
    /// What was said of checkpoints: that they can't be read, or not be made.
    told: HashSet<String>,
}

impl fmt::Debug for DeltaAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaAdapter").field("identity", &self.identity()).finish()
    }
}

impl DeltaAdapter {
    /// A table at `place`; nothing is connected to, and nothing made, before the first insert.
    ///
    /// # Errors
    /// If the store's settings make no sense.
    pub fn open(place: DeltaPlace) -> Result<Self, AdapterError> {
        let log = Log::new(open_store(&place.place)?, &place.place.prefix);
        Ok(Self { place, log, state: Mutex::default(), notices: Notices::default() })
    }

    /// Names each checkpoint that can't be read, and why none can be made, once.
    fn tell(&self, state: &mut State, failed: Option<&AdapterError>) {
        let failed = failed.filter(|error| *error.failure() == Failure::Config);
        let then = match state.table.as_ref().map(|table| table.layout.checkpoints) {
            Some(true) if self.place.checkpoint > 0 => "our next checkpoint takes its place",
            _ => "no checkpoint is made here, have deltalake or Spark make one",
        };
        for name in self.log.damaged() {
            let text = format!(
                "the Delta table's checkpoint {name} can't be read, as it is torn or lacks a part: the log \
                 is read without it; {then}, until then other readers may fail"
            );
            // Where none can be made, the reason names it.
            if state.told.insert(name) && failed.is_none() {
                self.notices.say(Level::Warning, NoticeKind::DeltaCheckpoint, text);
            }
        }
        if let Some(text) = failed.map(|error| format!("no checkpoint of the Delta table: {error}"))
            && state.told.insert(text.clone())
        {
            self.notices.say(Level::Warning, NoticeKind::DeltaCheckpoint, text);
        }
    }

    /// The table, moved on to what is there now where it was not looked at for long.
    fn table<'s>(&self, state: &'s mut State) -> Result<&'s mut Table, AdapterError> {
        if !state.asked {
            let folder = matches!(self.place.place.root, Root::Folder(_));
            let prefix = &self.place.place.prefix;
            if !folder && !probe::creates_only(&*self.log.store, prefix, Durability::Power)? {
                return Err(log::refuse());
            }
            state.asked = true;
        }
        let known = match state.table.take() {
            Some(table) if table.is_current(&self.log)? => Some(table),
            _ => Table::open(&self.log)?,
        };
        let table = match known {
            Some(table) => table,
            None => self.make()?,
        };
        Ok(state.table.insert(table))
    }

    /// Begins the table, or finds that somebody else just has.
    fn make(&self) -> Result<Table, AdapterError> {
        let now = now_millis();
        let [protocol, metadata] = schema::begin(now);
        let info = json!({"commitInfo": {
            "timestamp": now,
            "operation": "CREATE TABLE",
            "operationParameters": {"isManaged": "false", "partitionBy": "[\"date\"]"},
            "engineInfo": ENGINE,
            "isBlindAppend": true,
        }});
        self.log.create(0, &[info, protocol, metadata])?;
        let missing = || AdapterError::transient("open the Delta table: it is not there once made");
        Table::open(&self.log)?.ok_or_else(missing)
    }

    fn store(&self, state: &mut State, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let table = self.table(state)?;
        let journal = batch.id().journal;
        let begun = Instant::now();
        let mut files: Option<(Vec<u64>, Vec<Value>)> = None;
        let mut known: BTreeSet<Seq>;
        for lost in 0_u32.. {
            let parts = missing(table, batch);
            let mut seqs: Vec<u64> =
                parts.iter().flat_map(|part| part.rows.iter().map(|row| row.seq.0)).collect();
            if seqs.is_empty() {
                self.tell(state, None);
                return self.compare(batch, &batch.rows().map(|row| row.seq).collect());
            }
            seqs.sort_unstable();
            known = batch.rows().map(|row| row.seq).collect();
            seqs.iter().for_each(|seq| _ = known.remove(&Seq(*seq)));
            // Written once, unless somebody else has stored some of the rows meanwhile.
            let adds = match files.take() {
                Some((of, adds)) if of == seqs => adds,
                _ => parts
                    .iter()
                    .map(|part| file::put(&self.log, part, table.layout))
                    .collect::<Result<_, _>>()?,
            };
            let txns = table.stored.with(journal, seqs.iter().copied());
            let actions = commit(&adds, &txns, journal, seqs.len());
            if let Some(mark) = self.log.create(table.version + 1, &actions)? {
                table.committed(mark, &txns);
                let made = checkpoint::after_commit(&self.log, table, self.place.checkpoint);
                self.tell(state, made.err().as_ref());
                return self.compare(batch, &known);
            }
            let layout = table.layout;
            table.catch_up(&self.log)?;
            if begun.elapsed() > CONTENDED_MAX {
                return Err(AdapterError::transient(format!(
                    "write to the Delta table: others committed before us {lost} times in a minute"
                )));
            }
            if table.layout == layout {
                files = Some((seqs, adds));
            }
            let most = Duration::from_millis(5 << lost.min(8)).min(PAUSE_MAX);
            std::thread::sleep(most.mul_f64(fastrand::f64()));
        }
        Ok(())
    }

    /// Whether the rows of these seqs, which the table had already, are the same events: by the files of
    /// ours that are named after them.
    fn compare(&self, batch: &Batch<'_>, known: &BTreeSet<Seq>) -> Result<(), AdapterError> {
        let (Some(first), Some(last)) = (known.first(), known.last()) else { return Ok(()) };
        let sent: Vec<Row<'_>> = batch.rows().filter(|row| known.contains(&row.seq)).collect();
        let mut compared = Compared::with(sent.iter());
        let files = read::files(&self.place, |path| {
            file::seqs(path, batch.id().journal).is_some_and(|(a, b)| a <= *last && b >= *first)
        });
        let rows = match files {
            // A table that others may write to, and that is not read here.
            Err(error) if *error.failure() == Failure::Config => return Ok(()),
            files => files?,
        };
        for row in rows {
            let failed = |error| {
                AdapterError::transient(format!("compare rows with the Delta table's: {error}"))
            };
            compared.take(&row.map_err(failed)?);
        }
        answer(batch, &compared.others().collect())
    }
}

fn now_millis() -> i64 {
    Timestamp::now().micros() / 1000
}

/// The rows of `batch` that `table` does not hold, by file.
fn missing<'a>(table: &Table, batch: &Batch<'a>) -> Vec<Part<'a>> {
    let mut parts = cut(batch);
    if let Some(runs) = table.stored.of(batch.id().journal) {
        parts.iter_mut().for_each(|part| part.rows.retain(|row| !runs.contains(row.seq.0)));
        parts.retain(|part| !part.rows.is_empty());
    }
    parts
}

/// The actions of one commit.
fn commit(adds: &[Value], txns: &[(String, i64)], journal: JournalId, rows: usize) -> Vec<Value> {
    let now = now_millis();
    let sizes = adds.iter().filter_map(|add| add.get("add")?.get("size")?.as_u64());
    let mut actions = vec![json!({"commitInfo": {
        "timestamp": now,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append"},
        "operationMetrics": {
            "numFiles": adds.len().to_string(),
            "numOutputRows": rows.to_string(),
            "numOutputBytes": sizes.sum::<u64>().to_string(),
        },
        "engineInfo": ENGINE,
        "isBlindAppend": true,
        "journal": journal.to_string(),
    }})];
    let txn = |(app_id, version): &(String, i64)| json!({"txn": {"appId": app_id, "version": version, "lastUpdated": now}});
    actions.extend(txns.iter().map(txn));
    actions.extend_from_slice(adds);
    actions
}

impl DatasetAdapter for DeltaAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        check_memory(batch, Format::Parquet, Compression::None)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.store(&mut state, batch);
        if done.is_err() {
            // Whatever was wrong with the table may have been mended by the next try.
            state.table = None;
        }
        done
    }

    fn prepare(&self) -> Result<(), AdapterError> {
        self.place.place.prepare()
    }

    fn identity(&self) -> String {
        self.place.identity()
    }

    fn notices(&self) -> Vec<Notice> {
        let mut notices = self.log.store.notices();
        notices.extend(self.notices.take());
        notices
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce {
            condition: match self.place.place.root {
                Root::Folder(_) => {
                    "whoever writes to the table never overwrites its log, on a local file system"
                }
                _ => {
                    "the store honours create-only requests, and so does whoever writes to the table"
                }
            },
        }
    }

    fn batching(&self) -> Batching {
        self.place.place.batching
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use namel3ss_safety::conformance::{buffer, plain_event};

    use super::*;

    #[test]
    fn a_log_that_was_cleaned_up_meanwhile_is_not_written_into() {
        // A logger slept for long; others went on, summed the log up and removed its beginning. The
        // next version that it knew of was free again, and a commit there would never be read.
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("delta+file://{}?checkpoint=5", folder.path().display());
        let open =
            || DeltaAdapter::open(DeltaPlace::parse(&url).expect("a URL")).expect("an adapter");
        let journal = JournalId::generate();
        let send = |adapter: &DeltaAdapter, first: u64| {
            adapter.insert(&buffer(journal, first, &[plain_event(first)]).batch()).expect("stored");
        };
        let (sleeper, other) = (open(), open());
        send(&sleeper, 1);
        (2..=8).for_each(|seq| send(&other, seq));
        for version in 0..5 {
            let name = format!("_delta_log/{version:020}.json");
            std::fs::remove_file(folder.path().join(name)).expect("a commit");
        }
        let mut state = sleeper.state.lock().expect("nobody panicked");
        state.table.as_mut().expect("it was used").seen = SystemTime::UNIX_EPOCH;
        drop(state);
        send(&sleeper, 9);
        let mut seqs: Vec<u64> = read(&url)
            .expect("a table")
            .map(|row| row.expect("a row").id.expect("its place").1.0)
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    }
}
