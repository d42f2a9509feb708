//! A Parquet object of which the footer is known, and whose row groups are fetched one by one.

use namel3ss_safety::ReadError;
use namel3ss_safety::Timestamp;

use super::store::Store;
use crate::parquet::{Footer, Part, TAIL_BYTES};

/// Up to this size an object is fetched whole, by one request: 4 MiB.
const WHOLE_BYTES_MAX: u64 = 4 << 20;

/// An object and its footer.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) key: String,
    pub(super) footer: Footer,
    bytes: u64,
    /// All of it, where it is small or a file of this machine.
    whole: Option<Part>,
}

pub(super) fn unread(error: impl std::fmt::Display) -> ReadError {
    ReadError::Dataset(error.to_string())
}

impl Opened {
    /// Reads the footer of the object `key`, which has so many `bytes`; `None` where it is gone.
    pub(super) fn open(
        store: &dyn Store,
        key: &str,
        bytes: u64,
    ) -> Result<Option<Self>, ReadError> {
        #[cfg(unix)]
        if let Some(folder) = store.local() {
            let Some(file) = folder.file(key).map_err(unread)? else { return Ok(None) };
            let whole = Part::of_file(file, bytes);
            let footer = Footer::of_file(&whole)?;
            return Ok(Some(Self { key: key.to_owned(), footer, bytes, whole: Some(whole) }));
        }
        let from = if bytes <= WHOLE_BYTES_MAX { 0 } else { bytes - TAIL_BYTES };
        let Some(tail) = fetch(store, key, from, bytes, bytes)? else { return Ok(None) };
        let place = Footer::place(&tail)?;
        let footer = if tail.has(&place) {
            Footer::read(&tail)?
        } else {
            match fetch(store, key, place.start, bytes, bytes)? {
                Some(part) => Footer::read(&part)?,
                None => return Ok(None),
            }
        };
        let whole = (from == 0).then_some(tail);
        Ok(Some(Self { key: key.to_owned(), footer, bytes, whole }))
    }

    /// The row groups that may hold rows of `since` or later, and before `until`.
    pub(super) fn groups(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> impl Iterator<Item = usize> {
        (0..self.footer.groups()).filter(move |group| {
            let times = self.footer.times(*group);
            since.is_none_or(|since| times.is_none_or(|(_, last)| last >= since))
                && until.is_none_or(|until| times.is_none_or(|(first, _)| first < until))
        })
    }

    /// The bytes of a row group; `None` where the object is gone by now.
    pub(super) fn group(&self, store: &dyn Store, group: usize) -> Result<Option<Part>, ReadError> {
        if let Some(whole) = &self.whole {
            return Ok(Some(whole.clone()));
        }
        let range = self.footer.range(group);
        fetch(store, &self.key, range.start, range.end, self.bytes)
    }
}

fn fetch(
    store: &dyn Store,
    key: &str,
    from: u64,
    to: u64,
    file_bytes: u64,
) -> Result<Option<Part>, ReadError> {
    let bytes = store.range(key, from..to).map_err(unread)?;
    Ok(bytes.map(|bytes| Part::new(from, bytes.into(), file_bytes)))
}
