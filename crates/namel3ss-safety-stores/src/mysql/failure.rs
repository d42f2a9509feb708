//! What an error of the driver means, by
//! [MySQL's](https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html) and
//! [MariaDB's](https://mariadb.com/docs/server/reference/error-codes) numbers.

use std::fmt;

use mysql_async::{DriverError, Error, IoError};
use namel3ss_safety::{AdapterError, Failure};

/// What to do about an error.
#[derive(Debug)]
pub(super) enum Problem {
    /// Told as it is.
    Told(AdapterError),
    /// A row is to blame, and its content may be in the server's own words: what may be told of it.
    Rows(String),
    /// A row is there already, by the key that we rely on or another one.
    Duplicate(String),
    /// The table is not as it was found when we connected.
    Changed(AdapterError),
    /// Deadlock, or another process was faster: it may work at once.
    Conflict(AdapterError),
    /// The connection is gone.
    Lost(AdapterError),
}

impl Problem {
    /// As the sink is told where nothing can be done about it here.
    pub(super) fn into_error(self) -> AdapterError {
        match self {
            Self::Rows(text) | Self::Duplicate(text) => AdapterError::new(Failure::Unknown, text),
            Self::Told(error)
            | Self::Changed(error)
            | Self::Conflict(error)
            | Self::Lost(error) => error,
        }
    }
}

impl From<AdapterError> for Problem {
    fn from(error: AdapterError) -> Self {
        Self::Told(error)
    }
}

/// What `error` means; `doing` is a fragment that follows "failed to".
pub(super) fn problem(doing: impl fmt::Display, error: &Error) -> Problem {
    let server = match error {
        Error::Server(server) => server,
        other => return outside(doing, other),
    };
    let (code, message) = (server.code, &server.message);
    let told = |failure| AdapterError::new(failure, format!("{doing}: {message} ({code})"));
    match code {
        1062 | 1586 | 1859 => Problem::Duplicate(rows(&doing, code, "a unique key")),
        1048 | 1364 => Problem::Rows(rows(&doing, code, "a column that must not be null")),
        1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 3988 | 4078 => {
            Problem::Rows(rows(&doing, code, "a column's type"))
        }
        1452 | 1216 | 3819 | 4025 => Problem::Rows(rows(&doing, code, "a constraint")),
        1118 | 1153 | 1301 | 1139 => Problem::Rows(rows(&doing, code, "its size")),
        3140..=3158 | 4037..=4045 => Problem::Rows(rows(&doing, code, "its JSON")),
        1526 | 1644 => Problem::Rows(rows(&doing, code, "a partition or a trigger")),
        1040 | 1203 | 1226 => Problem::Told(told(Failure::Throttled(None))),
        1213 | 1020 | 1412 => Problem::Conflict(told(Failure::Transient)),
        1290 | 1792 | 1836 => {
            let text = format!("{doing}: {message} ({code}); name the primary, not a read replica");
            // It may have been the primary until a moment ago: the name leads elsewhere next time.
            Problem::Lost(AdapterError::transient(text))
        }
        1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1189 | 1190 | 1927 | 4031 => {
            Problem::Lost(told(Failure::Transient))
        }
        1054 | 1136 | 1146 => Problem::Changed(told(Failure::Config)),
        1045 | 1698 | 1524 | 1251 => {
            let text = format!("{doing}: {message} ({code}); check the user and the password");
            Problem::Told(AdapterError::config(text))
        }
        1044 | 1049 | 1064 | 1103 | 1130 | 1142 | 1143 | 1227 | 1370 | 1820 | 3118 | 3159
        | 4151 => Problem::Told(told(Failure::Config)),
        1021 | 1030 | 1037 | 1041 | 1114 | 1180 | 1205 | 1206 | 1317 | 1637 | 1969 | 3024 => {
            Problem::Told(told(Failure::Transient))
        }
        // By SQLSTATE: data, constraints, a trigger's own.
        _ if ["22", "23", "45"].iter().any(|class| server.state.starts_with(class)) => {
            Problem::Rows(rows(&doing, code, "a value"))
        }
        _ => Problem::Told(told(Failure::Unknown)),
    }
}

/// The number only: the server's own words may quote the row.
fn rows(doing: &impl fmt::Display, code: u16, why: &str) -> String {
    format!("{doing}: the server refuses a row because of {why} ({code})")
}

/// An error that no server has told: of the connection, or of TLS.
fn outside(doing: impl fmt::Display, error: &Error) -> Problem {
    let text = format!("{doing}: {error}");
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Problem::Told(AdapterError::config(format!("{text}; or write sslmode=disable")))
        }
        Error::Driver(DriverError::UnknownAuthPlugin { .. }) => {
            Problem::Told(AdapterError::config(text))
        }
        Error::Io(IoError::Tls(_)) => {
            Problem::Told(AdapterError::config(format!("{text}; check sslrootcert and the host")))
        }
        Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            // What rustls says of a certificate arrives so.
            Problem::Told(AdapterError::config(format!("{text}; check sslrootcert and the host")))
        }
        _ => Problem::Lost(AdapterError::transient(text)),
    }
}
