//! What an error of the driver means, by
//! [MySQL's](https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html) and
//! [MariaDB's](https://mariadb.com/docs/server/reference/error-codes) numbers.

use std::fmt;

use mysql_async::{DriverError, Error, IoError};
use namel3ss_safety::{AdapterError, Failure};

use crate::server::problem::Problem;
use crate::server::said::said;

/// What `error` means; `doing` is a fragment that follows "failed to".
pub(super) fn problem(doing: impl fmt::Display, error: &Error, password: Option<&str>) -> Problem {
    let server = match error {
        Error::Server(server) => server,
        other => return outside(doing, other, password),
    };
    let (code, message) = (server.code, said(&server.message, password));
    let text = format!("{doing}: {message} ({code})");
    let told = |failure| AdapterError::new(failure, text.clone());
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
        1290 | 1792 | 1836 => Problem::replica(&text),
        1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1189 | 1190 | 1927 | 4031 => {
            Problem::Lost(told(Failure::Transient))
        }
        1054 | 1136 | 1146 => Problem::Changed(told(Failure::Config)),
        1045 | 1698 | 1524 | 1251 => Problem::login(&text),
        1044 | 1049 | 1064 | 1103 | 1130 | 1142 | 1143 | 1227 | 1370 | 1820 | 3118 | 3159
        | 4151 => Problem::Told(told(Failure::Config)),
        1021 | 1030 | 1037 | 1041 | 1114 | 1180 | 1205 | 1206 | 1317 | 1637 | 1969 | 3024 => {
            Problem::Told(told(Failure::Transient))
        }
        // By SQLSTATE: data, constraints, a trigger's own.
        _ if ["22", "23", "45"].iter().any(|class| server.state.starts_with(class)) => {
            Problem::Rows(rows(&doing, code, "a value"))
        }
        // The words of what is not known may quote the row.
        _ => Problem::Told(AdapterError::new(
            Failure::Unknown,
            format!("{doing}: the server refuses it ({code}), its own log says why"),
        )),
    }
}

/// The number only: the server's own words may quote the row.
fn rows(doing: &impl fmt::Display, code: u16, why: &str) -> String {
    format!("{doing}: the server refuses a row because of {why} ({code})")
}

/// An error that no server has told: of the connection, or of TLS.
fn outside(doing: impl fmt::Display, error: &Error, password: Option<&str>) -> Problem {
    let text = format!("{doing}: {}", said(&error.to_string(), password));
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => Problem::no_tls(&text),
        Error::Driver(DriverError::UnknownAuthPlugin { .. }) => {
            Problem::Told(AdapterError::config(text))
        }
        Error::Io(IoError::Tls(_)) => Problem::certificate(&text),
        // What rustls says of a certificate arrives so.
        Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            Problem::certificate(&text)
        }
        _ => Problem::Lost(AdapterError::transient(text)),
    }
}
