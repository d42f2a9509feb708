//! Reading a table back, for `tail`, `stats`, tests and exports, whoever wrote its files: of the
//! files, only those that are wanted, and some thousand rows in memory at a time. Changes nothing.
//!
//! A first look gives the rows of the table as it is; a further one those of the commits that came
//! since. **Limit:** when rows are written anew by somebody else (`UPDATE`, `DELETE`, `MERGE`), a
//! further look gives none that this library has stored, but those of others once more. What is only
//! packed into other files (`OPTIMIZE`) it does not give.

use std::collections::{HashSet, VecDeque};

use namel3ss_safety::{AdapterError, Timestamp};
use namel3ss_safety::{ReadError, ReadRow};
use serde_json::Value;

use super::added::Added;
use super::log::{Commit, Listing, Log, Unread, unreadable};
use super::place::DeltaPlace;
use super::readable;
use super::replay::replay;
use super::runs::Stored;
use crate::objects::opened::{Opened, unread};
use crate::objects::store::{Noting, Store as _};
use crate::objects::stores::open_store;
use crate::parquet::{Part, Rows};

/// The most commits that one look takes in; the next one goes on.
const COMMITS_MAX: u32 = 1_000;
/// The most checkpoints that are looked at for damage.
const CHECKPOINTS_MAX: usize = 100;

/// The rows of a table: by day, and in a day in the order of its files' last moments.
#[derive(Debug)]
pub struct Reader {
    log: Log,
    /// Rows before it need not be given.
    since: Option<Timestamp>,
    /// Rows of it and behind it need not be given.
    until: Option<Timestamp>,
    seen: Option<Seen>,
    pieces: VecDeque<Piece>,
    open: Option<Open>,
}

/// The table as it was looked at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    version: u64,
    /// The mark of the commit `version`, where that is in the log.
    mark: Option<u32>,
    /// What the table calls itself.
    id: Value,
    stored: Stored,
}

/// What is read next.
#[derive(Debug)]
enum Piece {
    File {
        file: Added,
        /// How many of its first rows are not wanted.
        skip: u64,
        /// Its commit removed other files, whose rows it may hold.
        rewritten: bool,
    },
    Group {
        file: Box<Opened>,
        group: usize,
        skip: u64,
        rewritten: bool,
    },
}

/// A row group that is being read.
#[derive(Debug)]
struct Open {
    key: String,
    rows: Rows,
    rewritten: bool,
}

/// The bytes of a row group.
pub(super) struct Fetched {
    pub(super) file: Box<Opened>,
    pub(super) group: usize,
    pub(super) part: Part,
    /// How many of its first rows are not wanted.
    pub(super) skip: u64,
    rewritten: bool,
}

/// Streams the rows of the table at `url` back, as [`crate::open`] takes it; none where there is no
/// table yet.
///
/// # Errors
/// If the URL makes no sense, or the log can't be read or needs a feature that is not supported; the
/// iterator's items say what is wrong with a file.
pub fn read(url: &str) -> Result<Reader, AdapterError> {
    let mut reader = Reader::open(&DeltaPlace::parse(url)?)?;
    reader.look()?;
    Ok(reader)
}

/// The files of checkpoints that are torn or lack a part, from the table's root, whether the table can
/// be read without them or not: of the newest one all is read, of the hundred before it their ends.
///
/// # Errors
/// If the store can't be asked.
pub fn damaged_checkpoints(place: &DeltaPlace) -> Result<Vec<String>, AdapterError> {
    let mut reader = Reader::open(place)?;
    // Why it can't be read is told by whoever reads it.
    let read = reader.look();
    let mut damaged = reader.log.damaged();
    if let Err(error) = read
        && damaged.is_empty()
    {
        return Err(error);
    }
    let store = Noting::new(&*reader.log.store);
    for file in reader.log.checkpoints(CHECKPOINTS_MAX)? {
        let key = reader.log.key(&file);
        let Some(bytes) = store.size(&key)? else { continue };
        if Opened::open(&store, &key, bytes).is_err() {
            store.failed().map_or(Ok(()), Err)?;
            damaged.push(file);
        }
    }
    damaged.sort_unstable();
    damaged.dedup();
    Ok(damaged)
}

/// The rows of those files of the table at `place` whose paths are wanted.
pub(super) fn files(
    place: &DeltaPlace,
    wanted: impl Fn(&str) -> bool,
) -> Result<Reader, AdapterError> {
    let mut reader = Reader::open(place)?;
    reader.look()?;
    reader.pieces.retain(|piece| matches!(piece, Piece::File { file, .. } if wanted(&file.path)));
    Ok(reader)
}

impl Reader {
    /// A reader of the table at `place`, which gives nothing before the first look.
    ///
    /// # Errors
    /// If the store's settings make no sense.
    pub fn open(place: &DeltaPlace) -> Result<Self, AdapterError> {
        let log = Log::new(open_store(&place.place)?, &place.place.prefix);
        Ok(Self { log, since: None, until: None, seen: None, pieces: VecDeque::new(), open: None })
    }

    /// Rows before `moment` may be left out, where that saves reading: files, and row groups in them.
    pub fn only_since(&mut self, moment: Timestamp) {
        self.since = Some(moment);
    }

    /// The version of the table that was looked at; `None` where there is no table.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.seen.as_ref().map(|seen| seen.version)
    }

    /// The files of checkpoints that a look has found torn or incomplete, from the table's root. It went
    /// on without them; other readers may not. The next checkpoint takes their place.
    #[must_use]
    pub fn damaged(&self) -> Vec<String> {
        self.log.damaged()
    }

    /// Has the iterator go on with every row of the table; at a further look, with those of the
    /// commits that came since, or of the table that was made in its place.
    ///
    /// # Errors
    /// If the log can't be read, needs a feature that is not supported, or was cleaned up meanwhile.
    pub fn look(&mut self) -> Result<(), AdapterError> {
        if let Some(seen) = &mut self.seen
            && self.log.mark(seen.version)? == seen.mark
        {
            for _ in 0..COMMITS_MAX {
                let Some(commit) = self.log.commit(seen.version + 1)? else { break };
                self.pieces.extend(seen.take(&commit, self.since)?);
            }
            return Ok(());
        }
        let now = self.begin()?;
        if let (Some(before), Some((now, _))) = (&self.seen, &now)
            && before.id == now.id
        {
            return Err(unreadable(&format!(
                "what came after commit {} was cleaned up, begin again",
                before.version
            )));
        }
        let (seen, pieces) = now.unzip();
        self.seen = seen;
        self.pieces.extend(pieces.unwrap_or_default());
        Ok(())
    }

    /// The same for a first look, of which the last `rows` rows will do.
    ///
    /// # Errors
    /// As [`Self::look`]; of what can't be read, the iterator tells.
    pub fn look_at_newest(&mut self, rows: u64) -> Result<(), AdapterError> {
        self.look()?;
        let mut found = 0_u64;
        let mut newest = VecDeque::new();
        while found < rows
            && let Some(Piece::File { file, rewritten, .. }) = self.pieces.pop_back()
        {
            let held = file.rows.or_else(|| self.rows_of(&file)).unwrap_or(0);
            found = found.saturating_add(held);
            let skip = found.saturating_sub(rows);
            newest.push_front(Piece::File { file, skip, rewritten });
        }
        self.pieces = newest;
        Ok(())
    }

    /// The table as it is, and its files; `None` where there is none.
    fn begin(&self) -> Result<Option<(Seen, Vec<Piece>)>, AdapterError> {
        self.log.newest(|listing| self.read(listing))
    }

    fn read(&self, listing: &Listing) -> Result<(Seen, Vec<Piece>), Unread> {
        let mut seen = Seen {
            version: listing.last,
            mark: self.log.mark(listing.last)?,
            id: Value::Null,
            stored: Stored::default(),
        };
        let mut kinds = [false; 2];
        let mut files = Vec::new();
        replay(&self.log, listing, |action| {
            seen.apply(&action)?;
            for (there, kind) in kinds.iter_mut().zip(["protocol", "metaData"]) {
                *there |= action.get(kind).is_some();
            }
            let file = action.get("add").and_then(Added::of);
            files.extend(file.filter(|file| file.reaches(self.since)));
            Ok(())
        })?;
        if kinds != [true; 2] {
            return Err(unreadable("it has no protocol or no metadata").into());
        }
        Ok((seen, in_order(files, false).collect()))
    }

    /// How many rows a file has by itself, if it can be read.
    fn rows_of(&self, file: &Added) -> Option<u64> {
        let footer = self.open_file(file).ok()?.footer;
        Some((0..footer.groups()).map(|group| footer.rows(group)).sum())
    }

    fn open_file(&self, file: &Added) -> Result<Opened, ReadError> {
        let key = self.log.key(&file.path);
        let opened = file
            .check()
            .and_then(|()| Opened::open(&*self.log.store, &key, file.bytes)?.ok_or_else(gone));
        opened.map_err(|error| about(&key, error))
    }

    /// Fetches a piece; a file is queued as its row groups.
    fn fetch(&mut self, piece: Piece) -> Result<Option<Fetched>, ReadError> {
        match piece {
            Piece::File { file, mut skip, rewritten } => {
                let file = Box::new(self.open_file(&file)?);
                let mut groups = Vec::new();
                let wanted: HashSet<usize> = file.groups(self.since, self.until).collect();
                for group in 0..file.footer.groups() {
                    let rows = file.footer.rows(group);
                    if skip < rows && wanted.contains(&group) {
                        let file = file.clone();
                        groups.push(Piece::Group { file, group, skip, rewritten });
                    }
                    skip = skip.saturating_sub(rows);
                }
                // In the order of the queue, whose front was taken.
                groups.into_iter().rev().for_each(|group| self.pieces.push_front(group));
                Ok(None)
            }
            Piece::Group { file, group, skip, rewritten } => {
                let part =
                    file.group(&*self.log.store, group).and_then(|part| part.ok_or_else(gone));
                let part = part.map_err(|error| about(&file.key, error))?;
                Ok(Some(Fetched { file, group, part, skip, rewritten }))
            }
        }
    }

    /// The next row group; `None` at the end.
    pub(super) fn next_group(&mut self) -> Result<Option<Fetched>, ReadError> {
        while let Some(piece) = self.pieces.pop_front() {
            if let Some(fetched) = self.fetch(piece)? {
                return Ok(Some(fetched));
            }
        }
        Ok(None)
    }

    /// The last row group that was not given; `None` at the beginning of the table.
    #[cfg(feature = "read")]
    pub(super) fn last_group(&mut self) -> Result<Option<Fetched>, ReadError> {
        while let Some(piece) = self.pieces.pop_back() {
            let mut before = std::mem::take(&mut self.pieces);
            let fetched = self.fetch(piece);
            before.append(&mut self.pieces);
            self.pieces = before;
            if let Some(fetched) = fetched? {
                return Ok(Some(fetched));
            }
        }
        Ok(None)
    }

    /// What the table was seen to hold, where a further look must not give a row of `fetched` that a
    /// commit of ours has stored.
    #[cfg(feature = "read")]
    pub(super) fn known(&self, fetched: &Fetched) -> Option<Seen> {
        self.seen.clone().filter(|_| fetched.rewritten)
    }

    /// As [`Self::only_since`], and of rows of `until` or later as well.
    #[cfg(feature = "read")]
    pub(super) fn only_between(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) {
        (self.since, self.until) = (since, until);
    }

    /// A further look, by another reader than the one that has seen the table as `seen`.
    #[cfg(feature = "read")]
    pub(super) fn look_behind(&mut self, seen: Seen) -> Result<(), AdapterError> {
        self.seen = Some(seen);
        self.look()
    }

    /// The table as it was looked at.
    #[cfg(feature = "read")]
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }
}

impl Seen {
    /// Takes in an action, unless the table can't be read with it.
    fn apply(&mut self, action: &Value) -> Result<(), AdapterError> {
        if let Some(protocol) = action.get("protocol") {
            readable::check_protocol(protocol)?;
        } else if let Some(metadata) = action.get("metaData") {
            readable::check_columns(metadata)?;
            self.id = metadata.get("id").cloned().unwrap_or_default();
        } else if let Some(txn) = action.get("txn") {
            self.stored.take(txn);
        }
        Ok(())
    }

    /// Whether the table has a row by a commit of ours.
    pub(super) fn has(&self, row: &ReadRow) -> bool {
        row.id.is_some_and(|(journal, seq)| {
            self.stored.of(journal).is_some_and(|runs| runs.contains(seq.0))
        })
    }

    /// Takes in the next commit; gives the files whose rows it has brought.
    fn take(
        &mut self,
        commit: &Commit,
        since: Option<Timestamp>,
    ) -> Result<impl Iterator<Item = Piece> + use<>, AdapterError> {
        commit.actions.iter().try_for_each(|action| self.apply(action))?;
        let changing = |kind: &'static str| {
            let of_kind = commit.actions.iter().filter_map(move |action| action.get(kind));
            of_kind.filter(|file| file.get("dataChange") != Some(&Value::Bool(false)))
        };
        let rewritten = changing("remove").next().is_some();
        let files = changing("add").filter_map(Added::of).filter(|file| file.reaches(since));
        let pieces = in_order(files.collect(), rewritten);
        self.version += 1;
        self.mark = Some(commit.mark);
        Ok(pieces)
    }
}

fn in_order(mut files: Vec<Added>, rewritten: bool) -> impl Iterator<Item = Piece> + use<> {
    files.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    files.into_iter().map(move |file| Piece::File { file, skip: 0, rewritten })
}

fn gone() -> ReadError {
    unread("it is missing, removed (VACUUM) after the table was looked at or by hand; begin again")
}

pub(super) fn about(key: &str, error: ReadError) -> ReadError {
    match error {
        ReadError::Dataset(text) => ReadError::Dataset(format!("{key}: {text}")),
        other => other,
    }
}

impl Iterator for Reader {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(open) = &mut self.open
                && let Some(row) = open.rows.next()
            {
                let seen = self.seen.as_ref().filter(|_| open.rewritten);
                match row {
                    Ok(row) if seen.is_some_and(|seen| seen.has(&row)) => {}
                    Ok(row) => return Some(Ok(row)),
                    Err(error) => return Some(Err(about(&open.key, error))),
                }
            }
            self.open = None;
            let Fetched { file, group, part, skip, rewritten } = match self.next_group() {
                Ok(Some(fetched)) => fetched,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            match file.footer.decode(group, part, skip) {
                Ok(rows) => self.open = Some(Open { key: file.key, rows, rewritten }),
                Err(error) => return Some(Err(about(&file.key, error))),
            }
        }
    }
}
