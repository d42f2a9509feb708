//! Which event ids are stored already, for `--dedupe`.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::error::Error;
use crate::place::Place;
use crate::source;

/// The most ids that are compared, at some 30 bytes each.
const IDS_MAX: usize = 20_000_000;

/// Ids as numbers of 128 bits: two that differ are as good as never the same.
pub(super) struct Known {
    ids: HashSet<u128>,
    keys: [RandomState; 2],
}

impl Known {
    /// Those that a dataset holds, and those that wait for it in this home.
    pub(super) fn of(place: &Place, identity: &str) -> Result<Self, Error> {
        let mut known =
            Self { ids: HashSet::new(), keys: [RandomState::new(), RandomState::new()] };
        // What is delivered meanwhile is found in the dataset: look there last.
        source::waiting_for(identity)
            .poll(&mut |record| known.insert(&record.event.event_id).map(drop))?;
        let read = source::open(place)?.poll(&mut |record| {
            known.insert(&record.event.event_id)?;
            Ok(())
        });
        match read {
            Ok(0) | Err(Error::NotThere { .. }) => Ok(known),
            Ok(rows) => Err(Error::failed(format!(
                "compare event ids: {rows} rows of {} can't be read",
                place.shown()
            ))),
            Err(error) => Err(error),
        }
    }

    /// Whether it was not known.
    pub(super) fn insert(&mut self, id: &str) -> Result<bool, Error> {
        if self.ids.len() >= IDS_MAX {
            return Err(Error::failed(format!(
                "compare event ids: there are over {IDS_MAX}, which is the limit of --dedupe"
            )));
        }
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(id)));
        Ok(self.ids.insert(high << 64 | low))
    }
}
