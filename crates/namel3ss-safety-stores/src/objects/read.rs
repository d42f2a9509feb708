//! Reading a dataset of objects back, for `tail`, `stats`, tests and exports: a row group or an
//! object in memory at a time. Changes nothing.
//!
//! A row of a journal is given once, also while its object is merged with others and removed.
//! **Limit:** a look after the first one sees objects of yesterday and later only, and no merged ones.

use std::collections::{HashSet, VecDeque};
use std::vec::IntoIter;

use namel3ss_safety::{AdapterError, Timestamp};
use namel3ss_safety::{ReadError, ReadRow};

use super::encode::decode;
#[cfg(feature = "parquet")]
use super::format::Format;
use super::key::{self, Day};
use super::partition::{Partition, partitions};
use super::place::Place;
use super::store::{Object, Parts, Store};
#[cfg(feature = "parquet")]
use super::{compact::ids, opened::Opened};
use crate::ids::Ids;
#[cfg(feature = "parquet")]
use crate::parquet::Rows;

/// How far back a further look looks.
const LATE_MICROS: i64 = 86_400_000_000;
/// About how many bytes of a row group are kept for those who want the newest rows only: 256 MiB.
const NEWEST_BYTES_MAX: usize = 256 << 20;
/// How often a partition may be listed again because objects in it went away.
const LISTINGS_MAX: u32 = 1_000;

/// The rows of a dataset of objects, by day, and in a day in the order in which they were stored.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    store: Box<dyn Store>,
    /// Rows before it need not be given.
    since: Option<Timestamp>,
    /// The keys that were taken up.
    seen: HashSet<String>,
    given: Ids,
    looked: bool,
    /// A further look: of merged objects, all but a few rows were given or not asked for.
    following: bool,
    listings: u32,
    pieces: VecDeque<Piece>,
    rows: Open,
}

/// The rows that are being given.
#[derive(Debug)]
enum Open {
    Rows(IntoIter<Result<ReadRow, ReadError>>),
    /// Of a row group, unpacked as they are given; behind the key of its object.
    #[cfg(feature = "parquet")]
    Group(String, Box<Rows>),
}

/// What is read at once.
#[derive(Debug)]
enum Piece {
    Object(Partition, Object),
    /// A row group of an object.
    #[cfg(feature = "parquet")]
    Group(Partition, Box<Opened>, usize),
    Rows(Vec<Result<ReadRow, ReadError>>),
}

/// Streams the rows at `url` back, as [`crate::open`] takes it; objects of other names are left out.
///
/// # Errors
/// If the URL makes no sense or the store can't list; the iterator's items say what is wrong with
/// an object.
pub fn read(url: &str) -> Result<Reader, AdapterError> {
    let mut reader = Reader::open(Place::parse(url)?)?;
    reader.look()?;
    Ok(reader)
}

impl Reader {
    /// A reader of `place`, which gives nothing before the first look.
    ///
    /// # Errors
    /// If this build has no such store.
    pub fn open(place: Place) -> Result<Self, AdapterError> {
        Ok(Self {
            store: super::stores::open_store(&place)?,
            place,
            since: None,
            seen: HashSet::new(),
            given: Ids::default(),
            looked: false,
            following: false,
            listings: LISTINGS_MAX,
            pieces: VecDeque::new(),
            rows: Open::of(Vec::new()),
        })
    }

    /// Rows before `moment` may be left out, where that saves reading: whole partitions, and row
    /// groups of Parquet.
    pub fn only_since(&mut self, moment: Timestamp) {
        self.since = Some(moment);
    }

    /// Has the iterator go on with every row that is in an object that it has not met yet.
    ///
    /// # Errors
    /// If the store can't be listed.
    pub fn look(&mut self) -> Result<(), AdapterError> {
        self.following = std::mem::replace(&mut self.looked, true);
        let first = !self.following;
        let since = self.since.map(Day::of);
        let from = if first { since } else { since.max(Some(late())) };
        for partition in partitions(&self.place, &*self.store, from)? {
            self.take_up(&partition, first)?;
        }
        Ok(())
    }

    /// The same for a first look, of which the last `rows` rows will do.
    ///
    /// # Errors
    /// As [`Self::look`]; of what can't be read, the iterator tells.
    pub fn look_at_newest(&mut self, rows: u64) -> Result<(), AdapterError> {
        self.looked = true;
        let (mut found, mut met) = (0, Ids::default());
        let mut newest = VecDeque::new();
        for partition in partitions(&self.place, &*self.store, None)?.iter().rev() {
            // What a further look would find has to be known, though it is not read.
            if found >= rows && partition.day < Some(late()) {
                break;
            }
            self.take_up(partition, true)?;
            let mut pieces = std::mem::take(&mut self.pieces);
            while found < rows
                && let Some(piece) = pieces.pop_back()
            {
                self.unpack(piece);
                // An object comes apart into its row groups, of which the last is read first.
                pieces.append(&mut self.pieces);
                let (mut read, mut bytes) = (VecDeque::new(), 0);
                for row in std::mem::replace(&mut self.rows, Open::of(Vec::new())) {
                    if !is_new(&row, &mut met) {
                        continue;
                    }
                    bytes += size(&row);
                    read.push_back(row);
                    // A row group may unpack to more than fits into memory: then only the last rows of it
                    // are kept.
                    while bytes > NEWEST_BYTES_MAX
                        && found + read.len() as u64 > rows
                        && let Some(old) = read.pop_front()
                    {
                        bytes -= size(&old);
                        is_new(&old, &mut self.given);
                    }
                }
                found += read.len() as u64;
                newest.push_front(Piece::Rows(read.into()));
            }
        }
        self.pieces = newest;
        Ok(())
    }

    /// Queues what is new in a partition.
    fn take_up(&mut self, partition: &Partition, merged: bool) -> Result<(), AdapterError> {
        for object in partition.objects(&self.place, &*self.store)? {
            let is_merged = object.name.starts_with(key::MERGED);
            if (merged || !is_merged) && self.seen.insert(partition.key(&object.name)) {
                self.pieces.push_back(Piece::Object(partition.clone(), object));
            }
        }
        Ok(())
    }

    /// Has `rows` hold what is in a piece; an object of several row groups is queued as those.
    fn unpack(&mut self, piece: Piece) {
        let (read, partition, key) = match piece {
            Piece::Rows(rows) => return self.rows = Open::of(rows),
            Piece::Object(partition, object) => {
                let read = self.open_object(&partition, &object);
                let key = partition.key(&object.name);
                (read, partition, key)
            }
            #[cfg(feature = "parquet")]
            Piece::Group(partition, opened, group) => {
                let rows = opened.group(&*self.store, group).and_then(|part| {
                    part.map(|part| opened.footer.decode(group, part, 0)).transpose()
                });
                let read = match rows {
                    Ok(Some(rows)) => return self.rows = Open::Group(opened.key, Box::new(rows)),
                    Ok(None) => self.gone(&partition),
                    Err(error) => Err(error),
                };
                (read, partition, opened.key)
            }
        };
        let read = match read {
            // A store may break off an object that is removed while it is read.
            Err(ReadError::Dataset(_)) if self.is_gone(&partition, &key) => self.gone(&partition),
            other => other,
        };
        let rows = read.unwrap_or_else(|error| vec![Err(about(&key, error))]);
        self.rows = Open::of(rows);
    }

    /// Whether an object is not listed any more.
    fn is_gone(&self, partition: &Partition, key: &str) -> bool {
        let listed = partition.objects(&self.place, &*self.store);
        listed.is_ok_and(|objects| objects.iter().all(|object| partition.key(&object.name) != key))
    }

    fn open_object(
        &mut self,
        partition: &Partition,
        object: &Object,
    ) -> Result<Vec<Result<ReadRow, ReadError>>, ReadError> {
        let batch = key::batch(&object.name, &self.place.extension());
        if batch.is_some_and(|id| self.given.contains_all(id.journal, id.first, id.last)) {
            return Ok(Vec::new());
        }
        let key = partition.key(&object.name);
        #[cfg(feature = "parquet")]
        if self.place.format == Format::Parquet {
            let Some(opened) = Opened::open(&*self.store, &key, object.bytes)? else {
                return self.gone(partition);
            };
            if ids(&opened.footer).is_some_and(|ids| self.given.holds(&ids)) {
                return Ok(Vec::new());
            }
            let pieces: Vec<_> = opened
                .groups(self.since)
                .map(|group| Piece::Group(partition.clone(), Box::new(opened.clone()), group))
                .collect();
            // In the order of the queue, whose front was taken.
            pieces.into_iter().rev().for_each(|piece| self.pieces.push_front(piece));
            return Ok(Vec::new());
        }
        let read = match Parts::open(&*self.store, &key, object.bytes) {
            Ok(Some(parts)) => decode(parts, self.place.format, self.place.compression),
            Ok(None) => return self.gone(partition),
            Err(error) => Err(ReadError::Dataset(error.to_string())),
        };
        let breaks_off = |rows: &Vec<_>| matches!(rows.last(), Some(Err(ReadError::Dataset(_))));
        if read.as_ref().is_ok_and(breaks_off) && self.is_gone(partition, &key) {
            return self.gone(partition);
        }
        read
    }

    /// An object went away since it was listed: its rows are in a merged one by now.
    fn gone(
        &mut self,
        partition: &Partition,
    ) -> Result<Vec<Result<ReadRow, ReadError>>, ReadError> {
        self.listings = self.listings.checked_sub(1).ok_or_else(|| {
            ReadError::Dataset("its objects keep going away while they are read".to_owned())
        })?;
        let listed = self.take_up(partition, !self.following);
        listed.map_err(|error| ReadError::Dataset(error.to_string()))?;
        Ok(Vec::new())
    }
}

/// The first day that a further look lists.
fn late() -> Day {
    Day::of(Timestamp::from_micros(Timestamp::now().micros().saturating_sub(LATE_MICROS)))
}

/// `error` with the key of the object that it is about.
fn about(key: &str, error: ReadError) -> ReadError {
    match error {
        ReadError::Dataset(text) => ReadError::Dataset(format!("{key}: {text}")),
        other => other,
    }
}

impl Open {
    fn of(rows: Vec<Result<ReadRow, ReadError>>) -> Self {
        Self::Rows(rows.into_iter())
    }
}

impl Iterator for Open {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Rows(rows) => rows.next(),
            #[cfg(feature = "parquet")]
            Self::Group(key, rows) => rows.next().map(|row| row.map_err(|error| about(key, error))),
        }
    }
}

/// About how many bytes a row's texts take.
fn size(row: &Result<ReadRow, ReadError>) -> usize {
    let Ok(ReadRow { event, .. }) = row else { return 0 };
    let texts = [
        &event.app_name,
        &event.chain_name,
        &event.agent_name,
        &event.policy_name,
        &event.reason,
        &event.trace_id,
        &event.session_id,
        &event.user_id,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let categories: usize = event.categories.iter().map(String::len).sum();
    let metadata: usize =
        event.metadata.iter().map(|(key, value)| key.len() + value.to_string().len()).sum();
    event.event_id.len() + texts + categories + metadata
}

/// Whether a row was not met before.
fn is_new(row: &Result<ReadRow, ReadError>, met: &mut Ids) -> bool {
    match row {
        Ok(ReadRow { id: Some((journal, seq)), .. }) => met.insert(*journal, *seq),
        _ => true,
    }
}

impl Iterator for Reader {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for row in self.rows.by_ref() {
                if is_new(&row, &mut self.given) {
                    return Some(row);
                }
            }
            let piece = self.pieces.pop_front()?;
            self.unpack(piece);
        }
    }
}
