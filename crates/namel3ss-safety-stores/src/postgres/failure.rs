//! What an error of the driver means, by its
//! [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html).

use std::error::Error as _;
use std::fmt;

use namel3ss_safety::{AdapterError, Failure};
use tokio_postgres::Error;

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
    /// Deadlock, or a conflict of transactions: it may work at once.
    Conflict(AdapterError),
    /// COPY can't write to such a table.
    NoCopy(AdapterError),
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
            | Self::NoCopy(error)
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
    let Some(db) = error.as_db_error() else { return outside(doing, error) };
    let code = db.code().code();
    let (class, message) = (&code[..code.len().min(2)], db.message());
    let told = |failure| AdapterError::new(failure, format!("{doing}: {message} ({code})"));
    match (class, code) {
        (_, "23505") => Problem::Duplicate(rows(&doing, db)),
        ("22" | "23" | "54" | "44" | "P0", _) => Problem::Rows(rows(&doing, db)),
        (_, "53300") | (_, "53400") => Problem::Told(told(Failure::Throttled(None))),
        (_, "40001" | "40P01") => Problem::Conflict(told(Failure::Transient)),
        (_, "57P01" | "57P02" | "57P05") | ("08", _) => Problem::Lost(told(Failure::Transient)),
        (_, "25006") => {
            let text = format!("{doing}: {message} ({code}); name the primary, not a read replica");
            // It may have been the primary until a moment ago: the name leads elsewhere next time.
            Problem::Lost(AdapterError::transient(text))
        }
        (_, "42P01" | "42703" | "42P10" | "42804") => Problem::Changed(told(Failure::Config)),
        (_, "0A000" | "42809") => Problem::NoCopy(told(Failure::Config)),
        ("28", _) => {
            let text = format!("{doing}: {message} ({code}); check the user and the password");
            Problem::Told(AdapterError::config(text))
        }
        ("42" | "3D" | "3F" | "0L" | "0P", _) => Problem::Told(told(Failure::Config)),
        ("40" | "53" | "55" | "57" | "58" | "25", _) => Problem::Told(told(Failure::Transient)),
        _ => Problem::Told(told(Failure::Unknown)),
    }
}

/// Names and codes only: the server's own words may quote the row.
fn rows(doing: &impl fmt::Display, db: &tokio_postgres::error::DbError) -> String {
    let mut text = format!("{doing}: the server refuses a row ({})", db.code().code());
    for (what, name) in
        [("column", db.column()), ("constraint", db.constraint()), ("type", db.datatype())]
    {
        if let Some(name) = name {
            text.push_str(&format!(", {what} {name}"));
        }
    }
    text
}

/// An error that no server has told: of the connection, or of TLS.
fn outside(doing: impl fmt::Display, error: &Error) -> Problem {
    let mut text = format!("{doing}: {error}");
    let mut at = error.source();
    while let Some(cause) = at {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if let Some(rustls::Error::InvalidCertificate(_)) = tls {
            return Problem::Told(AdapterError::config(format!(
                "{text}; check sslrootcert and the host"
            )));
        }
        at = cause.source();
    }
    if text.contains("server does not support TLS") {
        return Problem::Told(AdapterError::config(format!("{text}; or write sslmode=disable")));
    }
    if text.contains("invalid configuration") {
        return Problem::Told(AdapterError::config(text));
    }
    Problem::Lost(AdapterError::transient(text))
}
