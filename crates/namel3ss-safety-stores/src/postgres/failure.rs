//! What an error of the driver means, by its
//! [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html).

use std::error::Error as _;
use std::fmt;

use namel3ss_safety::{AdapterError, Failure};
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::server::problem::Problem;
use crate::server::said::said;

/// What `error` means; `doing` is a fragment that follows "failed to".
pub(super) fn problem(doing: impl fmt::Display, error: &Error, password: Option<&str>) -> Problem {
    let Some(db) = error.as_db_error() else { return outside(doing, error, password) };
    let code = said(db.code().code(), password);
    let (class, message) = (code.get(..2).unwrap_or_default(), said(db.message(), password));
    let text = format!("{doing}: {message} ({code})");
    let told = |failure| AdapterError::new(failure, text.clone());
    match (class, code.as_str()) {
        (_, "23505") => Problem::Duplicate(rows(&doing, db, password)),
        ("22" | "23" | "54" | "44" | "P0", _) => Problem::Rows(rows(&doing, db, password)),
        // By a policy of the table, which looks at each row. All else of this code is a missing right.
        (_, "42501") if message.starts_with("new row violates") || by_policy(db) => {
            Problem::Rows(rows(&doing, db, password))
        }
        ("08", _) if message.contains("statement pooling") => {
            Problem::Told(AdapterError::config(format!(
                "{text}; a batch needs a transaction: set PgBouncer's pool_mode to transaction or session"
            )))
        }
        (_, "53300") | (_, "53400") => Problem::Told(told(Failure::Throttled(None))),
        (_, "40001" | "40P01") => Problem::Conflict(told(Failure::Transient)),
        (_, "57P01" | "57P02" | "57P05") | ("08", _) => Problem::Lost(told(Failure::Transient)),
        (_, "25006") => Problem::replica(&text),
        (_, "42P01" | "42703" | "42P10" | "42804") => Problem::Changed(told(Failure::Config)),
        (_, "0A000" | "42809") => Problem::NoCopy(told(Failure::Config)),
        ("28", _) => Problem::login(&text),
        ("42" | "3D" | "3F" | "0L" | "0P", _) => Problem::Told(told(Failure::Config)),
        ("40" | "53" | "55" | "57" | "58" | "25", _) => Problem::Told(told(Failure::Transient)),
        // The words of what is not known may quote the row.
        _ => Problem::Told(AdapterError::new(
            Failure::Unknown,
            format!("{doing}: the server refuses it ({code}), its own log says why"),
        )),
    }
}

/// A row's policy is checked by this function of the server, in whatever language it speaks.
fn by_policy(db: &DbError) -> bool {
    db.routine() == Some("ExecWithCheckOptions")
}

/// Names and codes only: the server's own words may quote the row.
fn rows(doing: &impl fmt::Display, db: &DbError, password: Option<&str>) -> String {
    let code = said(db.code().code(), password);
    let mut text = format!("{doing}: the server refuses a row ({code})");
    for (what, name) in
        [("column", db.column()), ("constraint", db.constraint()), ("type", db.datatype())]
    {
        if let Some(name) = name {
            text.push_str(&format!(", {what} {}", said(name, password)));
        }
    }
    text
}

/// An error that no server has told: of the connection, or of TLS.
fn outside(doing: impl fmt::Display, error: &Error, password: Option<&str>) -> Problem {
    let mut text = format!("{doing}: {}", said(&error.to_string(), password));
    let mut at = error.source();
    while let Some(cause) = at {
        let cause_said = said(&cause.to_string(), password);
        if !text.contains(&cause_said) {
            text.push_str(": ");
            text.push_str(&cause_said);
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
