//! Reading a dataset of objects back, one object in memory at a time.

use std::collections::VecDeque;
use std::vec::IntoIter;

use namel3ss_safety::AdapterError;
use namel3ss_safety::adapter::{ReadError, ReadRow};

use super::encode::decode;
use super::key;
use super::place::Place;
use super::store::Store;

/// The rows of a dataset of objects, in the order of its keys.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    store: Box<dyn Store>,
    keys: VecDeque<String>,
    rows: IntoIter<ReadRow>,
}

/// Streams the rows at `url` back, as [`crate::open`] takes it; objects of other names are left out.
///
/// # Errors
/// If the URL makes no sense or the store can't list; the iterator's items say what is wrong with
/// an object.
pub fn read(url: &str) -> Result<Reader, AdapterError> {
    let place = Place::parse(url)?;
    let store = super::open_store(&place)?;
    let keys = keys(&place, &*store)?.into();
    Ok(Reader { place, store, keys, rows: Vec::new().into_iter() })
}

fn keys(place: &Place, store: &dyn Store) -> Result<Vec<String>, AdapterError> {
    let extension = format!(".{}", place.extension());
    let denied = || AdapterError::config("list the objects: it is not permitted");
    let folders = |folder: &str, stem: &str| -> Result<Vec<String>, AdapterError> {
        let names = store.folders(folder, stem)?.ok_or_else(denied)?;
        Ok(names.into_iter().map(|name| join(folder, &name)).collect())
    };
    let mut keys = Vec::new();
    for year in folders(&place.prefix, "year=")? {
        for month in folders(&year, "month=")? {
            for day in folders(&month, "day=")? {
                let names = store.objects(&day, &key::all())?.ok_or_else(denied)?;
                keys.extend(names.into_iter().map(|name| join(&day, &name)));
            }
        }
    }
    keys.retain(|key| key.ends_with(&extension));
    Ok(keys)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

impl Iterator for Reader {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let key = self.keys.pop_front()?;
            let bytes = match self.store.get(&key) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(error) => return Some(Err(ReadError::Dataset(error.to_string()))),
            };
            match decode(bytes, self.place.format, self.place.compression) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
