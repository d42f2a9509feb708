//! The reader of what a URL names.

use super::file::FileReader;
use super::reader::DatasetReader;
use super::scanner::csv::Csv;
use super::scanner::objects::Objects;
#[cfg(feature = "delta")]
use crate::objects::delta::scan::DeltaReader;
#[cfg(any(feature = "object", feature = "parquet"))]
use crate::objects::scan::ObjectsReader;
use crate::server::scan::ServerReader;
#[cfg(feature = "sqlite")]
use crate::sqlite::scan::SqliteReader;
use crate::url::{self, OpenError, Target};

/// The reader of the dataset at `url`, as [`crate::open`] takes it. Nothing is opened before the first scan,
/// and nothing need be there yet.
///
/// # Errors
/// As [`crate::open`]'s.
pub fn open_reader(url: &str) -> Result<Box<dyn DatasetReader>, OpenError> {
    open_target(&url::parse(url)?)
}

/// The reader of a dataset that is known.
///
/// # Errors
/// If this build can't read it.
pub fn open_target(target: &Target) -> Result<Box<dyn DatasetReader>, OpenError> {
    Ok(match target {
        Target::Csv(path) => Box::new(FileReader::<Csv>::new(path)),
        Target::Json(path) => Box::new(FileReader::<Objects>::new(path)),
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, table, immutable, .. } => {
            Box::new(SqliteReader::new(path, table.clone(), *immutable))
        }
        #[cfg(not(feature = "sqlite"))]
        Target::Sqlite { .. } => return Err(OpenError::NotInThisBuild { scheme: "sqlite" }),
        Target::Postgres(server) | Target::Mysql(server) => {
            Box::new(ServerReader::new(server.clone())?)
        }
        #[cfg(any(feature = "object", feature = "parquet"))]
        Target::Objects(place) => Box::new(ObjectsReader::new(place)),
        #[cfg(feature = "delta")]
        Target::Delta(place) => Box::new(DeltaReader::new(place)),
    })
}
