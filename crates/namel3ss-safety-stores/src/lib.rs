//! Datasets that need a driver, one cargo feature each, and [`open`], which finds the adapter that
//! a URL names.
//!
//! ```
//! use namel3ss_safety::{SafetyEvent, SafetyEventLogger};
//! use std::time::Duration;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("safety.db");
//! # let url = format!("sqlite:///{}", path.display());
//! // Such as sqlite:///safety.db, postgresql://user:password@host/database, s3://bucket/prefix/
//! let dataset = namel3ss_safety_stores::open(&url)?;
//! dataset.prepare()?; // A wrong path shows now.
//! # let builder = SafetyEventLogger::builder().home(folder.path());
//! # #[cfg(any())]
//! let builder = SafetyEventLogger::builder();
//! let logger = builder.dataset(dataset).build()?;
//! logger.log(&SafetyEvent::block("jailbreak"));
//! assert!(logger.stop(Some(Duration::from_secs(10))).complete);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program links one SQLite: rusqlite is taken in the range `>=0.38, <0.44`, so that Cargo finds
//! one that sqlx 0.9, sea-orm 2, diesel 2.3, tokio-rusqlite 0.8, deadpool-sqlite and r2d2_sqlite
//! have, too; sqlx 0.8 and sea-orm 1 need an older one. Without the feature `bundled` (on by
//! default) it is the system's, 3.34.1 or newer. See [`sqlite`] for what holds beside another copy
//! of SQLite in the same process.
//!
//! TLS is rustls. With the feature `tls-ring`, on by default, PostgreSQL and objects use ring by name
//! and leave the process's default `CryptoProvider` alone; **MySQL's driver takes that default, and ring is
//! installed as it at the first connection with TLS, if there is none by then**: an application that wants
//! another one calls its `install_default()` before. Without `tls-ring` nothing here enables a
//! provider of rustls, and all datasets take the process's default; without one, a connection that may use
//! TLS fails with an error that says so. An application that has aws-lc-rs and takes
//! `ClientConfig::builder()` needs that, since rustls panics where two are compiled in and none is installed:
//!
//! ```toml
//! namel3ss-safety-stores = { version = "0.1", default-features = false, features = ["postgres"] }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod url;
pub mod schema;
#[cfg(any(feature = "parquet", feature = "read"))]
mod arrow_fields;
#[cfg(feature = "read")]
pub mod read;
#[cfg(any(feature = "object", feature = "parquet", feature = "read"))]
mod ids;
pub mod server;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod runtime;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "object"))]
mod tls;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "object", feature = "parquet"))]
pub mod objects;
#[cfg(feature = "parquet")]
pub mod parquet;

use std::sync::Arc;

use namel3ss_safety::{CsvAdapter, DatasetAdapter, JsonAdapter};

#[cfg(feature = "mysql")]
pub use crate::mysql::MysqlAdapter;
#[cfg(any(feature = "object", feature = "parquet"))]
pub use crate::objects::ObjectStoreAdapter;
#[cfg(feature = "delta")]
pub use crate::objects::delta::DeltaAdapter;
#[cfg(feature = "postgres")]
pub use crate::postgres::PostgresAdapter;
pub use crate::schema::{Dialect, Table, ddl};
#[cfg(feature = "sqlite")]
pub use crate::sqlite::SqliteAdapter;
pub use crate::url::{OpenError, Target};

/// The adapter for `url`: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:path.db`, each
/// with `?table=name` (`safety_events` otherwise) and `?index=none` (see
/// `SqliteAdapter::without_trace_index`), `postgresql://user:password@host:port/database` and
/// `mysql://…` with [options](crate::server), `file:///absolute.csv`, `.json`, `.jsonl`, `.ndjson`,
/// or a plain path with one of these extensions or `.db`, `.sqlite`, `.sqlite3`. Objects: see
/// `objects::Place::parse` for `s3://`, `gs://`, `az://`, and folders, which end in a slash:
/// `file:///absolute/`. Delta Lake tables: `delta+` before the URL of a bucket or folder, see
/// `objects::delta::DeltaPlace`.
///
/// Nothing is connected to before the first insert.
///
/// # Errors
/// Says what is wrong with the URL and which one may have been meant; never any part of it that
/// could hold a password.
///
/// ```
/// let adapter = namel3ss_safety_stores::open("sqlite:///events.db?table=decisions").unwrap();
/// assert!(adapter.identity().ends_with("/events.db?table=decisions"));
/// let error = namel3ss_safety_stores::open("sqlit:///events.db").unwrap_err();
/// assert!(error.to_string().contains("did you mean \"sqlite\"?"));
/// ```
pub fn open(url: &str) -> Result<Arc<dyn DatasetAdapter>, OpenError> {
    Ok(match url::parse(url)? {
        Target::Csv(path) => Arc::new(CsvAdapter::new(path)?),
        Target::Json(path) => Arc::new(JsonAdapter::new(path)?),
        #[cfg(any(feature = "object", feature = "parquet"))]
        Target::Objects(place) => Arc::new(ObjectStoreAdapter::open(place)?),
        #[cfg(feature = "delta")]
        Target::Delta(place) => Arc::new(objects::delta::DeltaAdapter::open(place)?),
        Target::Sqlite { immutable: true, .. } => {
            return Err(OpenError::Malformed("immutable=1 is for reading, leave it out to write"));
        }
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, table, indexed, .. } => {
            let adapter = SqliteAdapter::open(path, table)?;
            Arc::new(if indexed { adapter } else { adapter.without_trace_index() })
        }
        #[cfg(not(feature = "sqlite"))]
        Target::Sqlite { .. } => return Err(OpenError::NotInThisBuild { scheme: "sqlite" }),
        #[cfg(feature = "postgres")]
        Target::Postgres(server) => Arc::new(PostgresAdapter::new(server)),
        #[cfg(not(feature = "postgres"))]
        Target::Postgres(_) => return Err(OpenError::NotInThisBuild { scheme: "postgresql" }),
        #[cfg(feature = "mysql")]
        Target::Mysql(server) => Arc::new(MysqlAdapter::new(server)),
        #[cfg(not(feature = "mysql"))]
        Target::Mysql(_) => return Err(OpenError::NotInThisBuild { scheme: "mysql" }),
    })
}

/// The documents' Rust blocks are tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../../../docs/design/journal-format.md")]
    struct JournalFormat;
}
