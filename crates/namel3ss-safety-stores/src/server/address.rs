//! A table on a database server, and how to get there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::schema::Table;
use crate::url::percent::encoded;

/// Which kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL, and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

impl Kind {
    /// The scheme of its URLs, as identities write it.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
        }
    }

    /// A column's name in its quotes.
    #[cfg(any(feature = "read", feature = "postgres", feature = "mysql"))]
    pub(crate) fn quoted(self, name: &str) -> String {
        match self {
            Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
        }
    }
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name or address.
    Tcp(String),
    /// A Unix socket; for PostgreSQL, as there, its folder.
    Socket(PathBuf),
}

/// What is encrypted and checked, in the words of
/// [libpq](https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Nothing.
    Disable,
    /// Encrypted if the server can. **Protects from nobody who can answer in its place.**
    #[default]
    Prefer,
    /// Encrypted, by whoever answers; with a root certificate as `VerifyCa`.
    Require,
    /// And the certificate must lead to a root that is trusted. On MySQL as `VerifyFull`.
    VerifyCa,
    /// And it must be for this host.
    VerifyFull,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// The text itself, for the driver only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A table on a database server, and how to get there. `Debug` hides the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Which kind.
    pub kind: Kind,
    /// Where it listens.
    pub host: Host,
    /// At which port: 5432 or 3306 by default.
    pub port: u16,
    /// Who connects; by default who runs this process.
    pub user: Option<String>,
    /// With which password, if any.
    pub password: Option<Secret>,
    /// To which database.
    pub database: String,
    /// The table in it.
    pub table: Table,
    /// What is encrypted and checked.
    pub ssl_mode: SslMode,
    /// The certificates that are trusted; the system's by default.
    pub ssl_root_cert: Option<PathBuf>,
    /// How long connecting may take: 10 s by default.
    pub connect_timeout: Duration,
    /// How long storing a batch, or reading a page, may take: 60 s by default.
    pub timeout: Duration,
}

impl Server {
    /// Which place it is, without user, password and settings: what two programs must agree on to
    /// mean the same rows.
    #[must_use]
    pub fn identity(&self) -> String {
        let (scheme, port) = (self.kind.scheme(), self.port);
        let database = encoded(&self.database);
        let table = self.table.as_str();
        match &self.host {
            Host::Tcp(host) if host.contains(':') => {
                format!("{scheme}://[{host}]:{port}/{database}?table={table}")
            }
            Host::Tcp(host) => format!("{scheme}://{host}:{port}/{database}?table={table}"),
            Host::Socket(path) => {
                let path = encoded(&path.to_string_lossy());
                format!("{scheme}:///{database}?host={path}&port={port}&table={table}")
            }
        }
    }
}
