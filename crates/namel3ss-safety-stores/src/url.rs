//! What a dataset's URL names. Errors repeat its scheme and nothing else, since the rest may hold a
//! password.

use std::fmt;
use std::path::{Path, PathBuf};

use namel3ss_safety::AdapterError;
use namel3ss_safety::nearest::nearest;

use crate::schema::{Table, TableError};
use crate::server::{self, Kind, Server};

/// Schemes that can be opened, each with its feature.
const SCHEMES: &[&str] = &["sqlite", "postgresql", "postgres", "mysql", "mariadb", "file"];
/// Schemes of object stores.
#[cfg(feature = "object")]
const OBJECTS: &[&str] = &["s3", "gs", "az", "abfs", "abfss"];
#[cfg(not(feature = "object"))]
const OBJECTS: &[&str] = &[];
/// Schemes that are known, but not opened yet.
const LATER: [&str; 5] = ["s3", "gs", "az", "abfs", "abfss"];

/// What this build opens.
fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().chain(OBJECTS).copied()
}

/// A dataset, as a URL or a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A CSV file.
    Csv(PathBuf),
    /// A JSON file, an array or lines by its extension.
    Json(PathBuf),
    /// Objects in a store or a folder.
    #[cfg(any(feature = "object", feature = "parquet"))]
    Objects(crate::objects::Place),
    /// A Delta Lake table in a store or a folder.
    #[cfg(feature = "delta")]
    Delta(crate::objects::delta::DeltaPlace),
    /// A table in an SQLite file.
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// The table in it.
        table: Table,
    },
    /// A table on a PostgreSQL server.
    Postgres(Server),
    /// A table on a MySQL or MariaDB server.
    Mysql(Server),
}

/// Why a URL names no dataset.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The scheme is none that is known.
    UnknownScheme {
        /// What stood before `://`, shortened.
        scheme: String,
    },
    /// The scheme is known, but this build has no adapter for it.
    NotInThisBuild {
        /// The scheme.
        scheme: &'static str,
    },
    /// The file has an extension that says nothing.
    UnknownExtension,
    /// An option is none that is known.
    UnknownOption {
        /// The one that may have been meant. The option itself may be part of a password.
        near: Option<&'static str>,
    },
    /// The URL is wrong in another way; what it should be.
    Malformed(&'static str),
    /// The table's name is none.
    Table(TableError),
    /// The adapter refused its arguments.
    Adapter(AdapterError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownScheme { scheme } => {
                write!(f, "open the dataset: unknown scheme {scheme:?}")?;
                match nearest(scheme, schemes().chain(LATER)) {
                    Some(near) => write!(f, ", did you mean {near:?}?"),
                    None => write!(f, ", use {}", schemes().collect::<Vec<_>>().join(" or ")),
                }
            }
            Self::NotInThisBuild { scheme } => write!(
                f,
                "open the dataset: {scheme} is not in this build, use {}",
                schemes().collect::<Vec<_>>().join(" or ")
            ),
            Self::UnknownExtension => f.write_str(
                "open the dataset: name a file .csv, .json, .jsonl, .ndjson, .db, .sqlite or .sqlite3",
            ),
            Self::UnknownOption { near } => {
                f.write_str("open the dataset: one of its URL's options is not known")?;
                match near {
                    Some(near) => write!(f, ", did you mean {near:?}?"),
                    None => f.write_str(
                        ": use table, sslmode, sslrootcert, connect_timeout, timeout, host, port, user, \
                         password, dbname; and write ? and & in a password as %3F and %26",
                    ),
                }
            }
            Self::Malformed(wants) => write!(f, "open the dataset: {wants}"),
            Self::Table(error) => error.fmt(f),
            Self::Adapter(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Table(error) => Some(error),
            Self::Adapter(error) => Some(error),
            _ => None,
        }
    }
}

impl From<AdapterError> for OpenError {
    fn from(error: AdapterError) -> Self {
        Self::Adapter(error)
    }
}

impl From<TableError> for OpenError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// The URLs that one text holds, such as `NAMEL3SS_SAFETY_URL`: they are separated by white space
/// before a scheme, so that a path with a space in it stays one.
///
/// ```
/// use namel3ss_safety_stores::url::several;
/// assert_eq!(several("sqlite:////a b.db  postgresql://db/safety"), ["sqlite:////a b.db", "postgresql://db/safety"]);
/// assert!(several(" ").is_empty());
/// ```
#[must_use]
pub fn several(text: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        rest.split_once("://").is_some_and(|(scheme, _)| {
            let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(word)
        })
    };
    let text = text.trim();
    let mut urls = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if before.is_whitespace() && at > start && begins(&text[at..]) {
            urls.push(text[start..at].trim_end());
            start = at;
        }
        before = c;
    }
    urls.push(&text[start..]);
    urls.retain(|url| !url.is_empty());
    urls
}

/// Reads a URL or a path; touches no file. See [`crate::open`].
///
/// # Errors
/// See [`OpenError`].
pub fn parse(url: &str) -> Result<Target, OpenError> {
    if let Some(table) = delta(url) {
        return table;
    }
    if let Some(objects) = objects(url) {
        return objects;
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return by_extension(PathBuf::from(url), Table::default());
    };
    // A SQLAlchemy URL may name a driver, which is its own business.
    let scheme = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
    match scheme.as_str() {
        "sqlite" => {
            let (path, table) = query(rest)?;
            let path = path.strip_prefix('/').ok_or(OpenError::Malformed(
                "write sqlite:///relative.db or sqlite:////absolute.db",
            ))?;
            if path.is_empty() || path == ":memory:" {
                return Err(OpenError::Malformed(
                    "an in-memory database keeps nothing, name a file: sqlite:///events.db",
                ));
            }
            Ok(Target::Sqlite { path: PathBuf::from(path), table })
        }
        "file" => {
            let (path, table) = query(rest)?;
            if !path.starts_with('/') {
                return Err(OpenError::Malformed("write file:/// and an absolute path"));
            }
            by_extension(PathBuf::from(percent_decoded(path)?), table)
        }
        "postgresql" | "postgres" => {
            server::parse(Kind::Postgres, rest, environment).map(Target::Postgres)
        }
        "mysql" | "mariadb" => server::parse(Kind::Mysql, rest, environment).map(Target::Mysql),
        other => Err(match LATER.iter().find(|later| **later == other) {
            Some(scheme) => OpenError::NotInThisBuild { scheme },
            None => OpenError::UnknownScheme { scheme: other.chars().take(20).collect() },
        }),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A URL of an object store, or a folder: they end in a slash.
#[cfg(any(feature = "object", feature = "parquet"))]
fn objects(url: &str) -> Option<Result<Target, OpenError>> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let whole = url.split('?').next().unwrap_or(url);
    let ours = match scheme.as_deref() {
        Some("file") | None => whole.ends_with('/'),
        Some(scheme) => OBJECTS.contains(&scheme),
    };
    ours.then(|| Ok(Target::Objects(crate::objects::Place::parse(url)?)))
}

/// A URL of a Delta Lake table.
fn delta(url: &str) -> Option<Result<Target, OpenError>> {
    let scheme = url.split_once("://")?.0.to_ascii_lowercase();
    let meant = scheme == "delta" || scheme.starts_with("delta+");
    #[cfg(feature = "delta")]
    return meant.then(|| Ok(Target::Delta(crate::objects::delta::DeltaPlace::parse(url)?)));
    #[cfg(not(feature = "delta"))]
    return meant.then_some(Err(OpenError::NotInThisBuild { scheme: "delta" }));
}

#[cfg(not(any(feature = "object", feature = "parquet")))]
fn objects(_url: &str) -> Option<Result<Target, OpenError>> {
    None
}

fn query(rest: &str) -> Result<(&str, Table), OpenError> {
    let Some((path, query)) = rest.split_once('?') else { return Ok((rest, Table::default())) };
    let mut table = Table::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("table", name)) => table = name.parse()?,
            _ => return Err(OpenError::Malformed("of options only ?table=name is known")),
        }
    }
    if table.schema().is_some() {
        return Err(OpenError::Malformed(
            "a file has no schemas, name the table alone: ?table=name",
        ));
    }
    Ok((path, table))
}

fn by_extension(path: PathBuf, table: Table) -> Result<Target, OpenError> {
    let extension = Path::new(&path).extension().and_then(|e| e.to_str());
    match extension.unwrap_or("").to_ascii_lowercase().as_str() {
        "csv" => Ok(Target::Csv(path)),
        "json" | "jsonl" | "ndjson" => Ok(Target::Json(path)),
        "db" | "sqlite" | "sqlite3" => Ok(Target::Sqlite { path, table }),
        _ => Err(OpenError::UnknownExtension),
    }
}

/// As [RFC 8089](https://www.rfc-editor.org/rfc/rfc8089) writes paths.
pub(crate) fn percent_decoded(path: &str) -> Result<String, OpenError> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|d| char::from(*d).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(OpenError::Malformed("write a percent sign as %25"));
        };
        // Two hexadecimal digits fit a byte.
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = &rest[2..];
    }
    match String::from_utf8(bytes) {
        Ok(path) if !path.contains('\0') => Ok(path),
        _ => Err(OpenError::Malformed("write the URL in UTF-8, without NUL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<Target, &str>) {
        match (parse(url), expected) {
            (Ok(target), Ok(expected)) => assert_eq!(target, expected, "{url}"),
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part), "{url}: {error}");
                assert!(!error.contains("canary"), "{url}: {error}");
            }
            (got, expected) => panic!("{url}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn urls_name_datasets_and_errors_name_no_secret() {
        let sqlite = |path: &str, table: &str| {
            Ok(Target::Sqlite { path: path.into(), table: table.parse().expect("a name") })
        };
        check("sqlite:///rel.db", sqlite("rel.db", "safety_events"));
        check("sqlite:////abs/x.db?table=t_1", sqlite("/abs/x.db", "t_1"));
        check("sqlite+aiosqlite:///rel.db", sqlite("rel.db", "safety_events"));
        check("x.sqlite3", sqlite("x.sqlite3", "safety_events"));
        check("file:///a%20b.csv", Ok(Target::Csv("/a b.csv".into())));
        check("dir/x.NDJSON", Ok(Target::Json("dir/x.NDJSON".into())));
        check("sqlite://", Err("sqlite:///relative.db"));
        check("sqlite:///:memory:", Err("keeps nothing"));
        check("sqlite:///x.db?table=a;canary", Err("table name"));
        check("sqlite:///x.db?password=canary", Err("?table=name"));
        check("sqlite:///x.db?table=a.b", Err("no schemas"));
        #[cfg(not(feature = "object"))]
        check("s3://canary/x", Err("s3 is not in this build"));
        let server = parse("postgresql+asyncpg://me:canary@host/db?table=t").unwrap();
        assert!(matches!(&server, Target::Postgres(server) if server.table.as_str() == "t"));
        assert!(!format!("{server:?}").contains("canary"));
        assert!(matches!(parse("mysql+pymysql://me:canary@host/db"), Ok(Target::Mysql(_))));
        check("postgres://me:canary@host/db?canary", Err("options"));
        check("postgresq://me:canary@host/db", Err("did you mean \"postgresql\"?"));
        check("gopher://me:canary@host/db", Err("use sqlite or postgresql or"));
        #[cfg(feature = "object")]
        check("s3://me:canary@host/db", Err("no user and no password"));
        #[cfg(feature = "delta")]
        {
            check("delta://me:canary@host/db", Err("write delta+s3://"));
            check("delta+s3://me:canary@host/db", Err("no user and no password"));
            check("delta+file:///t?format=json&canary", Err("leave format= out"));
            check("delta+file:///t?chekpoint=canary", Err("did you mean checkpoint=?"));
            check("delta+file:///t?checkpoint=canary", Err("takes 0 to 100000 commits"));
        }
        #[cfg(not(feature = "delta"))]
        check("delta+s3://me:canary@host/db", Err("delta is not in this build"));
        check("me:canary@host/db", Err("name a file .csv"));
        check("file:///a%zz.csv", Err("%25"));
    }
}
