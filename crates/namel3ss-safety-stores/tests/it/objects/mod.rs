//! Datasets of objects pass the suite, in every store and format, and what is particular to them.

pub(crate) mod support;
mod folder;
#[cfg(all(feature = "object", feature = "parquet"))]
pub(crate) mod server;
#[cfg(all(feature = "object", feature = "parquet"))]
pub(crate) mod xml_store;
#[cfg(all(feature = "object", feature = "parquet"))]
pub(crate) mod stores;
#[cfg(all(feature = "object", feature = "parquet"))]
mod answers;
#[cfg(all(feature = "object", feature = "parquet"))]
pub(crate) mod kills;
#[cfg(all(feature = "object", feature = "parquet"))]
mod readers;
#[cfg(all(feature = "object", feature = "parquet"))]
mod reading;
#[cfg(all(unix, feature = "object", feature = "parquet"))]
pub(crate) mod compact;
