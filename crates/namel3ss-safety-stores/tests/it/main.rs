//! Datasets with drivers, through their public interface.

mod read;
mod scans;
mod copies;
#[cfg(all(target_os = "linux", feature = "delta", feature = "postgres", feature = "mysql"))]
mod copies_cost;
mod jobs;
mod sqlite;
mod sqlite_others;
mod sqlite_scans;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sqlite_locks;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod servers;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod fan_out;
#[cfg(all(unix, feature = "postgres", feature = "sqlite"))]
mod users;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "object", feature = "parquet"))]
mod objects;
#[cfg(feature = "delta")]
mod delta;
#[cfg(all(feature = "delta", feature = "postgres", feature = "mysql"))]
mod faults;
#[cfg(all(feature = "delta", feature = "postgres", feature = "mysql"))]
mod clients;
#[cfg(all(target_os = "linux", feature = "sqlite", feature = "parquet"))]
mod memory;
