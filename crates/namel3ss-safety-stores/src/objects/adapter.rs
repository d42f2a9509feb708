//! The adapter: one object a batch and day, created and never overwritten.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::ScopedJoinHandle;

use namel3ss_safety::{
    AdapterError, Batch, BatchId, Batching, DatasetAdapter, Delivery, Durability, Notice, Row, Seq,
    internal::process,
};
use namel3ss_safety::{ReadError, ReadRow};

use super::compare::{self, Compared};
use super::cut::{Part, cut};
use super::encode::{check_memory, decode, encode};
use super::format::Format;
#[cfg(feature = "parquet")]
use super::opened::Opened;
use super::place::{Place, Root};
use super::store::{Body, Created, Noting, Object, Parts, Store};
use super::stores::open_store;
use super::{key, probe};

/// How often one part may find its key taken by other rows of its journal.
const TAKEN_MAX: usize = 64;

/// The rows of one object, copied only where some are left out.
pub(super) type Rows<'a, 'r> = Cow<'a, [Row<'r>]>;

/// What is known about a store's create-only requests.
pub(super) mod honours {
    pub(in crate::objects) const UNKNOWN: u8 = 0;
    pub(in crate::objects) const YES: u8 = 1;
    /// It overwrites, or refuses to be asked.
    pub(in crate::objects) const NO: u8 = 2;
}

/// A dataset of objects. See [`crate::objects`].
///
/// ```
/// # #[cfg(feature = "parquet")] {
/// use namel3ss_safety::{DatasetAdapter, JournalId, RowBuffer, SafetyEvent, Seq};
/// use namel3ss_safety_stores::ObjectStoreAdapter;
/// let folder = tempfile::tempdir().unwrap();
/// let url = format!("file://{}", folder.path().display());
/// let adapter = ObjectStoreAdapter::new(&url, "events/safety", "parquet").unwrap();
/// let mut rows = RowBuffer::new(JournalId::generate());
/// let event = SafetyEvent::default();
/// rows.push_event(Seq(1), &event);
/// adapter.insert(&rows.batch()).unwrap();
/// adapter.insert(&rows.batch()).unwrap(); // a retry is stored once
/// let read = namel3ss_safety_stores::objects::read(&adapter.identity()).unwrap();
/// let read: Vec<_> = read.collect::<Result<_, _>>().unwrap();
/// assert_eq!(read.len(), 1);
/// assert_eq!(read[0].event, event);
/// # }
/// ```
pub struct ObjectStoreAdapter {
    pub(super) place: Place,
    pub(super) store: Box<dyn Store>,
    pub(super) honours: AtomicU8,
    /// The store does not let us list: rows in batches of other boundaries can't be recognised.
    pub(super) blind: AtomicBool,
}

impl fmt::Debug for ObjectStoreAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStoreAdapter").field("identity", &self.identity()).finish()
    }
}

impl ObjectStoreAdapter {
    /// A dataset at `place`; nothing is connected to before the first insert.
    ///
    /// # Errors
    /// If this build has no such store or format.
    pub fn open(place: Place) -> Result<Self, AdapterError> {
        if cfg!(not(feature = "parquet")) && place.format == Format::Parquet {
            let text = "open the object store: parquet is not in this build, use format=jsonl";
            return Err(AdapterError::config(text));
        }
        Ok(Self {
            store: open_store(&place)?,
            honours: AtomicU8::new(match place.root {
                Root::Folder(_) => honours::YES,
                _ => honours::UNKNOWN,
            }),
            blind: AtomicBool::new(false),
            place,
        })
    }

    /// A dataset in a bare S3 bucket or at a URL, under `prefix` (none if empty), in the format of
    /// the word `parquet`, `json`, `jsonl` or `csv`.
    ///
    /// # Errors
    /// Says what is wrong with an argument; never a secret.
    pub fn new(bucket_or_url: &str, prefix: &str, format: &str) -> Result<Self, AdapterError> {
        Self::open(Place::new(bucket_or_url, prefix, format)?)
    }

    /// Adds the rows to `others` in place of which other events are.
    fn store_part(
        &self,
        part: &Part<'_>,
        batch: &Batch<'_>,
        others: &mut BTreeSet<Seq>,
    ) -> Result<(), AdapterError> {
        let Some(id) = id_of(&part.rows) else { return Ok(()) };
        let folder = part.day.folder(&self.place.prefix);
        let look = || self.merged(&folder).and_then(|it| Ok((it, self.neighbours(&folder, &id)?)));
        for _ in 0..TAKEN_MAX {
            // Mostly nothing is there, and the rows are encoded while the store is asked.
            let (there, body) = match self.place.root {
                Root::Folder(_) => (look(), self.encode(&part.rows)),
                _ => at_once(&look, || self.encode(&part.rows)),
            };
            let (merged, neighbours) = there?;
            let mut rows = Cow::Borrowed(&part.rows[..]);
            self.leave_out_merged(&mut rows, &folder, &merged, others)?;
            self.leave_out_neighbours(&mut rows, &folder, &neighbours, others)?;
            let created = self.put(&folder, rows, (part.rows.len(), body?), batch, others)?;
            // Our rows may have been merged, and their object removed, since the first look: then
            // its key was free, and they are there twice by now. See docs/design/compact.md.
            let now = self.merged(&folder)?;
            if now == merged {
                return Ok(());
            }
            if let Some((key, rows)) = created {
                let mut left = rows.clone();
                self.leave_out_merged(&mut left, &folder, &now, others)?;
                if left.len() == rows.len() {
                    return Ok(());
                }
                if self.store.remove(&[key]).is_err() {
                    // All rows are there, some of them twice until the next compaction: rather that
                    // than a batch that fails because its writer may not remove objects.
                    return Ok(());
                }
            }
        }
        Err(AdapterError::transient("create an object: its day is being compacted all the time"))
    }

    fn encode(&self, rows: &[Row<'_>]) -> Result<Body, AdapterError> {
        encode(rows, self.place.format, self.place.compression).map(Body::from)
    }

    /// The merged objects of a day; none where nothing merges them, or we may not look.
    pub(super) fn merged(&self, folder: &str) -> Result<Vec<Object>, AdapterError> {
        if self.place.format != Format::Parquet {
            return Ok(Vec::new());
        }
        let found = self.store.objects(folder, &key::merged())?;
        if found.is_none() {
            self.blind.store(true, Ordering::Relaxed);
        }
        Ok(found.unwrap_or_default())
    }

    #[cfg(not(feature = "parquet"))]
    fn leave_out_merged(
        &self,
        _rows: &mut Rows<'_, '_>,
        _folder: &str,
        _objects: &[Object],
        _others: &mut BTreeSet<Seq>,
    ) -> Result<(), AdapterError> {
        Ok(())
    }

    /// The objects of other batches of its journal that may hold rows of `id`; none where we may not
    /// look.
    fn neighbours(&self, folder: &str, id: &BatchId) -> Result<Vec<Object>, AdapterError> {
        let found = self.store.objects(folder, &key::neighbours(id))?;
        if found.is_none() {
            self.blind.store(true, Ordering::Relaxed);
        }
        Ok(found.unwrap_or_default())
    }

    /// Leaves out of `rows` those that are in objects of other batches.
    fn leave_out_neighbours(
        &self,
        rows: &mut Rows<'_, '_>,
        folder: &str,
        objects: &[Object],
        others: &mut BTreeSet<Seq>,
    ) -> Result<(), AdapterError> {
        let Some(id) = id_of(rows) else { return Ok(()) };
        let extension = self.place.extension();
        let own = key::name(&id, &extension);
        for Object { name, bytes, .. } in objects.iter().filter(|object| object.name != own) {
            let Some((first, last)) = key::seqs(name, id.journal, &extension) else { continue };
            let overlaps = rows.iter().any(|row| (first..=last).contains(&row.seq));
            if overlaps {
                self.leave_out(rows, &format!("{folder}/{name}"), *bytes, name, others)?;
            }
        }
        Ok(())
    }

    /// Creates the object of `rows`; where one of its key exists, what that holds is left out, and
    /// the rest tried again. `encoded` is made of so many rows, and serves while none is left out.
    /// What it has created, if anything: the key, and the rows.
    fn put<'p, 'b>(
        &self,
        folder: &str,
        mut rows: Rows<'p, 'b>,
        encoded: (usize, Body),
        batch: &Batch<'_>,
        others: &mut BTreeSet<Seq>,
    ) -> Result<Option<(String, Rows<'p, 'b>)>, AdapterError> {
        let extension = self.place.extension();
        let (mut of, mut body) = encoded;
        for _ in 0..TAKEN_MAX {
            let Some(id) = id_of(&rows) else { return Ok(None) };
            if rows.len() < of {
                (of, body) = (rows.len(), self.encode(&rows)?);
            }
            let name = key::name(&id, &extension);
            let key = format!("{folder}/{name}");
            if self.create(&key, &body, batch)? == Created::New {
                return Ok(Some((key, rows)));
            }
            let gone = || {
                let text = "create an object: it exists, and is not there when it is read";
                AdapterError::transient(text)
            };
            if self.store.holds(&key, body.as_ref())?.ok_or_else(gone)? {
                return Ok(None);
            }
            let bytes = self.store.size(&key)?.ok_or_else(gone)?;
            if !self.leave_out(&mut rows, &key, bytes, &name, others)? {
                return Err(gone());
            }
            if rows.len() == of {
                return Err(differs(&name));
            }
        }
        Err(AdapterError::config("create an object: too many of its rows lie under other keys"))
    }

    /// Takes out of `rows` those that an object of so many `bytes` holds, and adds those to `others`
    /// that it holds as other events; false where it is gone.
    pub(super) fn leave_out(
        &self,
        rows: &mut Rows<'_, '_>,
        key: &str,
        bytes: u64,
        name: &str,
        others: &mut BTreeSet<Seq>,
    ) -> Result<bool, AdapterError> {
        let store = Noting::new(&*self.store);
        // Where the store has answered, it is the object that makes no sense.
        let held = self.held(&store, key, bytes, rows);
        let held = held.map_err(|_| store.failed().unwrap_or_else(|| differs(name)))?;
        let Some(held) = held else { return Ok(false) };
        others.extend(held.others());
        keep(rows, |row| !held.has(row.seq));
        Ok(true)
    }

    /// What an object has of `rows`; `None` where it is gone.
    fn held<'r>(
        &self,
        store: &dyn Store,
        key: &str,
        bytes: u64,
        rows: &[Row<'r>],
    ) -> Result<Option<Compared<'r>>, ReadError> {
        let mut held = Compared::with(rows.iter());
        let mut add = |row: Result<ReadRow, ReadError>| row.map(|row| held.take(&row));
        #[cfg(feature = "parquet")]
        if self.place.format == Format::Parquet {
            let Some(opened) = Opened::open(store, key, bytes)? else { return Ok(None) };
            for group in opened.groups(None, None) {
                let Some(part) = opened.group(store, group)? else { return Ok(None) };
                opened.footer.decode(group, part, 0)?.try_for_each(&mut add)?;
            }
            return Ok(Some(held));
        }
        let unread = |error: AdapterError| ReadError::Dataset(error.to_string());
        let Some(parts) = Parts::open(store, key, bytes).map_err(unread)? else {
            return Ok(None);
        };
        let rows = decode(parts, self.place.format, self.place.compression)?;
        rows.into_iter().try_for_each(&mut add)?;
        Ok(Some(held))
    }

    fn create(&self, key: &str, body: &Body, batch: &Batch<'_>) -> Result<Created, AdapterError> {
        if self.creates_only()? {
            return match self.store.create(key, body, batch.durability())? {
                Created::Unsupported => {
                    let text = "create an object: the store no longer creates without overwriting";
                    Err(AdapterError::config(text))
                }
                created => Ok(created),
            };
        }
        // What is there is looked at first; a race of two can still overwrite, with the same rows.
        if self.store.size(key)?.is_some() {
            return Ok(Created::Exists);
        }
        self.store.overwrite(key, body).map(|()| Created::New)
    }

    /// Whether the store creates without overwriting; it is asked once.
    pub(super) fn creates_only(&self) -> Result<bool, AdapterError> {
        if self.honours.load(Ordering::Acquire) == honours::UNKNOWN {
            self.probe()?;
        }
        Ok(self.honours.load(Ordering::Acquire) == honours::YES)
    }

    fn probe(&self) -> Result<(), AdapterError> {
        let asked = probe::creates_only(&*self.store, &self.place.prefix, Durability::Process)?;
        let honours = if asked { honours::YES } else { honours::NO };
        self.honours.store(honours, Ordering::Release);
        Ok(())
    }
}

/// Keeps of `rows` those that stay, which are mostly all.
pub(super) fn keep<'r>(rows: &mut Rows<'_, 'r>, mut stays: impl FnMut(&Row<'r>) -> bool) {
    if !rows.iter().all(&mut stays) {
        rows.to_mut().retain(stays);
    }
}

/// Does both, `aside` on a thread of its own where there can be one.
fn at_once<A: Send, B>(aside: &(impl Fn() -> A + Sync), here: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let spawned = process::spawn_scoped(scope, "n3-safety-look", aside);
        let here = here();
        let aside = match spawned.map(ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => aside(),
        };
        (aside, here)
    })
}

/// What names an object of `rows`; `None` where there are none.
fn id_of(rows: &[Row<'_>]) -> Option<BatchId> {
    let (first, last) = (rows.first()?, rows.last()?);
    Some(BatchId { journal: first.journal, first: first.seq, last: last.seq })
}

fn differs(name: &str) -> AdapterError {
    AdapterError::config(format!(
        "create the object {name}: one of that name holds something else, move it away"
    ))
}

impl DatasetAdapter for ObjectStoreAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        check_memory(batch, self.place.format, self.place.compression)?;
        let mut others = BTreeSet::new();
        cut(batch).iter().try_for_each(|part| self.store_part(part, batch, &mut others))?;
        compare::answer(batch, &others)
    }

    fn prepare(&self) -> Result<(), AdapterError> {
        self.place.prepare()
    }

    fn identity(&self) -> String {
        self.place.identity()
    }

    fn notices(&self) -> Vec<Notice> {
        self.store.notices()
    }

    fn delivery(&self) -> Delivery {
        let honours = self.honours.load(Ordering::Relaxed);
        if honours == honours::NO || self.blind.load(Ordering::Relaxed) {
            return Delivery::AtLeastOnce;
        }
        Delivery::ExactlyOnce {
            condition: match self.place.root {
                Root::Folder(_) => "all writers are this library, on a local file system",
                _ => "the store honours create-only requests and lists its objects",
            },
        }
    }

    fn batching(&self) -> Batching {
        self.place.batching
    }
}
