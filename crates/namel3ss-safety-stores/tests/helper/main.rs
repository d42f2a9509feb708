//! The program that does what tests have done by processes of their own: see `it/jobs.rs`.
#![expect(dead_code, unused_imports, reason = "the tests themselves are left out")]

#[path = "../it/read/mod.rs"]
mod read;
#[path = "../it/scans.rs"]
mod scans;
#[path = "../it/copies.rs"]
mod copies;
#[path = "../it/sqlite.rs"]
mod sqlite;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "../it/sqlite_locks.rs"]
mod sqlite_locks;
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[path = "../it/servers/mod.rs"]
mod servers;
#[cfg(all(unix, feature = "postgres", feature = "sqlite"))]
#[path = "../it/users.rs"]
mod users;
#[cfg(feature = "postgres")]
#[path = "../it/postgres.rs"]
mod postgres;
#[cfg(feature = "mysql")]
#[path = "../it/mysql.rs"]
mod mysql;
#[cfg(any(feature = "object", feature = "parquet"))]
#[path = "../it/objects/mod.rs"]
mod objects;
#[cfg(feature = "delta")]
#[path = "../it/delta/mod.rs"]
mod delta;
#[cfg(all(feature = "delta", feature = "postgres", feature = "mysql"))]
#[path = "../it/faults/mod.rs"]
mod faults;
#[cfg(all(target_os = "linux", feature = "sqlite", feature = "parquet"))]
#[path = "../it/memory.rs"]
mod memory;
#[path = "../it/jobs.rs"]
mod jobs;

fn main() {
    let job = std::env::args().nth(1).expect("a job");
    let known = jobs::JOBS.iter().find(|(name, _)| *name == job);
    known.unwrap_or_else(|| panic!("no job {job:?}")).1();
}
