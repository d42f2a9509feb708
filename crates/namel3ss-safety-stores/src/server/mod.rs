//! Database servers: what a URL says about one, and what their adapters have in common.
//!
//! `postgresql://user:password@host:port/database?table=audit.events&sslmode=verify-full`, or
//! `postgres://`, `mysql://`, `mariadb://`; a driver named as in `postgresql+asyncpg://` is ignored.
//! What has a meaning in URLs is written `%XX`, in a password as well.
//!
//! | option | meaning | default |
//! | --- | --- | --- |
//! | `table` | the table, or `schema.table` | `safety_events` |
//! | `sslmode`, `ssl-mode`, `ssl` | see [`SslMode`] | `prefer`; MySQL with a root: `verify-ca` |
//! | `sslrootcert`, `ssl-ca` | a PEM file with the roots that are trusted, and no others | the system's |
//! | `connect_timeout` | seconds until a connection stands and the table is known | 10 |
//! | `timeout` | seconds for storing one batch, or reading one page | 60 |
//! | `host`, `unix_socket` | a host; for a Unix socket its folder (PostgreSQL) or path (MySQL) | `localhost` |
//! | `port`, `user`, `password`, `dbname` | as before the `?` | 5432 or 3306, who runs this, none, the user's name (PostgreSQL) |
//!
//! For PostgreSQL the variables `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`,
//! `PGSSLMODE`, `PGSSLROOTCERT` and `PGCONNECT_TIMEOUT` fill in what a URL leaves out.

mod address;
mod url;
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "what adapters need")
)]
pub(crate) mod columns;
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "what adapters need")
)]
pub(crate) mod exact;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod roots;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod problem;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod said;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod session;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod search;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod adapter;
#[cfg(all(feature = "read", any(feature = "postgres", feature = "mysql")))]
pub(crate) mod reading;
#[cfg(feature = "read")]
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "what adapters need")
)]
pub(crate) mod scan;

pub use self::address::{Host, Kind, Secret, Server, SslMode};
#[cfg(feature = "read")]
pub use self::scan::ServerReader;
pub(crate) use self::url::parse;
