//! Datasets and journals as something to read: from the beginning, and on from where one was.

mod scanned;

use std::time::Duration;

use namel3ss_safety::Timestamp;
use namel3ss_safety::internal::home::home;
use namel3ss_safety_stores::Target;
use namel3ss_safety_stores::read::journals::JournalsReader;
use namel3ss_safety_stores::read::{Filter, open_target};

pub(crate) use self::scanned::Scanned;

use crate::error::Error;
use crate::journals;
use crate::place::Place;
use crate::record::Record;

/// Takes one record; an error ends the reading.
pub(crate) type Each<'a> = &'a mut dyn FnMut(Record) -> Result<(), Error>;

/// Something that events can be read from, in the order in which they were stored.
pub(crate) trait Source {
    /// Gives every record that it has not given yet; returns how many rows could not be read.
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error>;

    /// After the last poll: what the dataset lacks at its end, though nobody is writing to it. Gives
    /// what was written meanwhile.
    fn lacks(&mut self, _each: Each<'_>) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// The first poll need give no more than the last so many, if that is less work.
    fn only_newest(&mut self, _rows: u32) {}

    /// Rows of earlier events need not be given, if that is less work.
    fn only_since(&mut self, _moment: Timestamp) {}

    /// Has it give only what the filter matches; whether it does, and counts the newest of those.
    fn only_matching(&mut self, _filter: &Filter) -> bool {
        false
    }

    /// How long to wait between two looks.
    fn pause(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// Opens a place. Nothing need be there yet: `tail -f` waits for it.
pub(crate) fn open(place: &Place) -> Result<Box<dyn Source>, Error> {
    Ok(match place {
        Place::Csv(path) => scanned(&Target::Csv(path.clone()))?,
        Place::Json(path) => scanned(&Target::Json(path.clone()))?,
        Place::Sqlite { path, table, immutable } => scanned(&Target::Sqlite {
            path: path.clone(),
            table: table.clone(),
            immutable: *immutable,
        })?,
        // Which kind it is, it says itself.
        Place::Server(server) => scanned(&Target::Postgres(server.clone()))?,
        #[cfg(any(feature = "object", feature = "parquet"))]
        Place::Objects(place) => scanned(&Target::Objects(place.clone()))?,
        #[cfg(feature = "delta")]
        Place::Delta(place) => scanned(&Target::Delta(place.clone()))?,
        Place::Journals(path) => Box::new(Scanned::new(Box::new(JournalsReader::of_folder(path)))),
    })
}

fn scanned(target: &Target) -> Result<Box<dyn Source>, Error> {
    match open_target(target) {
        Ok(reader) => Ok(Box::new(Scanned::new(reader))),
        Err(error) => Err(Error::usage(error.to_string())),
    }
}

/// What waits for a destination in the journals of this home, and of the folders that it knows: it is
/// logged, and not in the dataset yet. A journal that can't be read is `doctor`'s to report.
pub(crate) fn waiting_for(identity: &str) -> Scanned {
    let roots = || journals::folders_of(&home());
    Scanned::new(Box::new(JournalsReader::waiting_for(identity, roots)))
}
