//! What an error of the driver means, by its
//! [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html).

use std::error::Error as _;
use std::fmt;

use namel3ss_safety::{AdapterError, Failure};
use tokio_postgres::Error;

use crate::server::problem::Problem;

/// What `error` means; `doing` is a fragment that follows "failed to".
pub(super) fn problem(doing: impl fmt::Display, error: &Error) -> Problem {
    let Some(db) = error.as_db_error() else { return outside(doing, error) };
    let code = db.code().code();
    let (class, message) = (&code[..code.len().min(2)], db.message());
    let text = format!("{doing}: {message} ({code})");
    let told = |failure| AdapterError::new(failure, text.clone());
    match (class, code) {
        (_, "23505") => Problem::Duplicate(rows(&doing, db)),
        ("22" | "23" | "54" | "44" | "P0", _) => Problem::Rows(rows(&doing, db)),
        (_, "53300") | (_, "53400") => Problem::Told(told(Failure::Throttled(None))),
        (_, "40001" | "40P01") => Problem::Conflict(told(Failure::Transient)),
        (_, "57P01" | "57P02" | "57P05") | ("08", _) => Problem::Lost(told(Failure::Transient)),
        (_, "25006") => Problem::replica(&text),
        (_, "42P01" | "42703" | "42P10" | "42804") => Problem::Changed(told(Failure::Config)),
        (_, "0A000" | "42809") => Problem::NoCopy(told(Failure::Config)),
        ("28", _) => Problem::login(&text),
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
            return Problem::certificate(&text);
        }
        at = cause.source();
    }
    if text.contains("server does not support TLS") {
        return Problem::no_tls(&text);
    }
    if text.contains("invalid configuration") {
        return Problem::Told(AdapterError::config(text));
    }
    Problem::Lost(AdapterError::transient(text))
}
