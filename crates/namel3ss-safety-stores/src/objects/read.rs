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
use crate::parquet::{Part, Rows};

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
    /// Rows of it and behind it need not be given.
    until: Option<Timestamp>,
    /// The keys that were taken up.
    seen: HashSet<String>,
    given: Ids,
    looked: bool,
    /// A further look: of merged objects, all but a few rows were given or not asked for.
    following: bool,
    listings: u32,
    pieces: VecDeque<Piece>,
    /// Days that are not taken up yet, where the newest rows come first.
    days: Vec<Partition>,
    /// The keys of what a further look would find on those.
    ahead: HashSet<String>,
    rows: Open,
}

/// What a piece was unpacked to.
pub(super) enum Unpacked {
    Rows(Vec<Result<ReadRow, ReadError>>),
    /// The bytes of a row group.
    #[cfg(feature = "parquet")]
    Group(Box<Opened>, usize, Part),
}

/// The rows that are being given.
#[derive(Debug)]
pub(super) enum Open {
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
            until: None,
            seen: HashSet::new(),
            given: Ids::default(),
            looked: false,
            following: false,
            listings: LISTINGS_MAX,
            pieces: VecDeque::new(),
            days: Vec::new(),
            ahead: HashSet::new(),
            rows: Open::of(Vec::new()),
        })
    }

    /// Rows before `moment` may be left out, where that saves reading: whole partitions, and row
    /// groups of Parquet.
    pub fn only_since(&mut self, moment: Timestamp) {
        self.since = Some(moment);
    }

    /// As [`Self::only_since`], and of rows of `until` or later as well.
    #[cfg(feature = "read")]
    pub(super) fn only_between(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) {
        (self.since, self.until) = (since, until);
    }

    /// A further look, by another reader than the one that has met the objects `seen`.
    #[cfg(feature = "read")]
    pub(super) fn look_behind(&mut self, seen: HashSet<String>) -> Result<(), AdapterError> {
        (self.seen, self.looked) = (seen, true);
        self.look()
    }

    /// The keys of the objects that it has met, or that were there when it began.
    #[cfg(feature = "read")]
    pub(super) fn met(&self) -> impl Iterator<Item = &String> {
        self.seen.union(&self.ahead)
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
        for partition in partitions(&self.place, &*self.store, from, self.until.map(Day::of))? {
            self.take_up(&partition, first)?;
        }
        Ok(())
    }

    /// The same for a first look, of which the last `rows` rows will do.
    ///
    /// # Errors
    /// As [`Self::look`]; of what can't be read, the iterator tells.
    pub fn look_at_newest(&mut self, rows: u64) -> Result<(), AdapterError> {
        self.begin_newest()?;
        let (mut found, mut met) = (0, Ids::default());
        let mut newest = VecDeque::new();
        while found < rows
            && let Some(unpacked) = self.next_newest()?
        {
            let (mut read, mut bytes) = (VecDeque::new(), 0);
            for row in Open::of_unpacked(unpacked) {
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
        self.pieces = newest;
        Ok(())
    }

    /// Has [`Self::next_newest`] give pieces, the last one first.
    pub(super) fn begin_newest(&mut self) -> Result<(), AdapterError> {
        self.looked = true;
        let (since, until) = (self.since.map(Day::of), self.until.map(Day::of));
        self.days = partitions(&self.place, &*self.store, since, until)?;
        // What a further look would find has to be known, though it is not read.
        let first = late();
        let late = self.days.partition_point(|day| day.day.is_none_or(|day| day < first));
        for day in self.days.split_off(late) {
            self.take_up(&day, true)?;
        }
        // Years of more than four digits come before others, and are late nevertheless.
        for day in self.days.iter().filter(|day| day.reaches(first)) {
            let objects = day.objects(&self.place, &*self.store)?;
            self.ahead.extend(objects.iter().map(|object| day.key(&object.name)));
        }
        Ok(())
    }

    /// What comes before all that it has given; `None` at the beginning of the dataset.
    pub(super) fn next_newest(&mut self) -> Result<Option<Unpacked>, AdapterError> {
        loop {
            let Some(piece) = self.pieces.pop_back() else {
                let Some(day) = self.days.pop() else { return Ok(None) };
                self.take_up(&day, true)?;
                continue;
            };
            let mut before = std::mem::take(&mut self.pieces);
            let unpacked = self.unpack(piece);
            // An object comes apart into its row groups, of which the last is read first.
            before.append(&mut self.pieces);
            self.pieces = before;
            if !unpacked.is_empty() {
                return Ok(Some(unpacked));
            }
        }
    }

    /// What comes next; `None` at the end.
    pub(super) fn next_piece(&mut self) -> Option<Unpacked> {
        loop {
            let piece = self.pieces.pop_front()?;
            let unpacked = self.unpack(piece);
            if !unpacked.is_empty() {
                return Some(unpacked);
            }
        }
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

    /// Reads a piece; an object of several row groups is queued as those.
    fn unpack(&mut self, piece: Piece) -> Unpacked {
        let (read, partition, key) = match piece {
            Piece::Rows(rows) => return Unpacked::Rows(rows),
            Piece::Object(partition, object) => {
                let read = self.open_object(&partition, &object);
                let key = partition.key(&object.name);
                (read, partition, key)
            }
            #[cfg(feature = "parquet")]
            Piece::Group(partition, opened, group) => {
                let read = match opened.group(&*self.store, group) {
                    Ok(Some(part)) => return Unpacked::Group(opened, group, part),
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
        Unpacked::Rows(read.unwrap_or_else(|error| vec![Err(about(&key, error))]))
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
                .groups(self.since, self.until)
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
pub(super) fn late() -> Day {
    Day::of(Timestamp::from_micros(Timestamp::now().micros().saturating_sub(LATE_MICROS)))
}

/// `error` with the key of the object that it is about.
pub(super) fn about(key: &str, error: ReadError) -> ReadError {
    match error {
        ReadError::Dataset(text) => ReadError::Dataset(format!("{key}: {text}")),
        other => other,
    }
}

impl Unpacked {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Rows(rows) if rows.is_empty())
    }
}

impl Open {
    fn of(rows: Vec<Result<ReadRow, ReadError>>) -> Self {
        Self::Rows(rows.into_iter())
    }

    pub(super) fn of_unpacked(unpacked: Unpacked) -> Self {
        match unpacked {
            Unpacked::Rows(rows) => Self::of(rows),
            #[cfg(feature = "parquet")]
            Unpacked::Group(opened, group, part) => match opened.footer.decode(group, part, 0) {
                Ok(rows) => Self::Group(opened.key, Box::new(rows)),
                Err(error) => Self::of(vec![Err(about(&opened.key, error))]),
            },
        }
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
            self.rows = Open::of_unpacked(self.next_piece()?);
        }
    }
}
