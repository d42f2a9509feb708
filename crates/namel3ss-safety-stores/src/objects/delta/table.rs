//! What is known about a table: its version, its layout, and which seqs it holds. Kept between
//! batches, and moved on by reading the commits that came since.

use std::time::{Duration, SystemTime};

use namel3ss_safety::AdapterError;
use serde_json::Value;

use super::checkpoint;
use super::log::{Commit, Listing, Log, Unread, unreadable};
use super::runs::Stored;
use super::schema::{self, Layout};

/// For how long the next commit is tried without looking: others may sum the log up and remove
/// commits, but not so young ones.
const TRUSTED: Duration = Duration::from_secs(600);

/// A table after its commit `version`.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) version: u64,
    pub(super) layout: Layout,
    pub(super) stored: Stored,
    /// The newest checkpoint that we know of.
    pub(super) checkpoint: u64,
    /// A newer one can't be read, and others may not get past it.
    pub(super) is_torn: bool,
    pub(super) seen: SystemTime,
    /// The mark of the commit `version`, where it is still in the log.
    mark: Option<u32>,
}

/// What a log's actions add up to, as far as a writer cares.
#[derive(Default)]
struct Gathered {
    protocol: Option<Value>,
    metadata: Option<Value>,
    stored: Stored,
}

impl Gathered {
    fn take(&mut self, action: &mut Value) {
        let Some(fields) = action.as_object_mut() else { return };
        if let Some(txn) = fields.get("txn") {
            self.stored.take(txn);
        } else if let Some(protocol) = fields.remove("protocol") {
            self.protocol = Some(protocol);
        } else if let Some(metadata) = fields.remove("metaData") {
            self.metadata = Some(metadata);
        }
    }
}

impl Table {
    /// The table as it is now; `None` where there is none.
    pub(super) fn open(log: &Log) -> Result<Option<Self>, AdapterError> {
        log.newest(|listing| Self::read(log, listing))
    }

    fn read(log: &Log, listing: &Listing) -> Result<Self, Unread> {
        let mut all = Gathered::default();
        if let Some((_, parts)) = &listing.checkpoint {
            checkpoint::read(log, parts, &["txn", "protocol", "metaData"], |mut action| {
                all.take(&mut action);
                Ok(())
            })?;
        }
        let mut mark = None;
        for version in listing.first()..=listing.last {
            let gone = || AdapterError::transient("read the Delta table's log: it was cleaned up");
            let mut commit = log.commit(version)?.ok_or_else(gone)?;
            commit.actions.iter_mut().for_each(|action| all.take(action));
            mark = Some(commit.mark);
        }
        Ok(Self::of(listing, all, mark)?)
    }

    fn of(listing: &Listing, all: Gathered, mark: Option<u32>) -> Result<Self, AdapterError> {
        let (Some(protocol), Some(metadata)) = (all.protocol, all.metadata) else {
            return Err(unreadable("it has no protocol or no metadata"));
        };
        schema::check_protocol(&protocol)?;
        Ok(Self {
            version: listing.last,
            layout: schema::layout(&metadata)?,
            stored: all.stored,
            checkpoint: listing.first().saturating_sub(1),
            is_torn: listing.passed.is_some(),
            seen: SystemTime::now(),
            mark,
        })
    }

    /// Whether the next commit may be tried on what is known: it was looked at not long ago, and
    /// nobody has removed the table since, or made it anew. A commit behind one that is not there
    /// would never be read.
    pub(super) fn is_current(&self, log: &Log) -> Result<bool, AdapterError> {
        let young = self.seen.elapsed().is_ok_and(|age| age < TRUSTED);
        Ok(young && self.mark.is_some() && log.mark(self.version)? == self.mark)
    }

    /// Takes in our own commit.
    pub(super) fn committed(&mut self, mark: u32, txns: &[(String, i64)]) {
        self.version += 1;
        self.mark = Some(mark);
        self.seen = SystemTime::now();
        txns.iter().for_each(|(app_id, version)| self.stored.apply(app_id, *version));
    }

    /// Takes in the commits that others have made since.
    pub(super) fn catch_up(&mut self, log: &Log) -> Result<(), AdapterError> {
        while let Some(Commit { mut actions, mark }) = log.commit(self.version + 1)? {
            let mut new =
                Gathered { stored: std::mem::take(&mut self.stored), ..Gathered::default() };
            actions.iter_mut().for_each(|action| new.take(action));
            self.stored = new.stored;
            new.protocol.as_ref().map_or(Ok(()), schema::check_protocol)?;
            if let Some(metadata) = new.metadata {
                self.layout = schema::layout(&metadata)?;
            }
            self.version += 1;
            self.mark = Some(mark);
        }
        self.seen = SystemTime::now();
        Ok(())
    }
}
