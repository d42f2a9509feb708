//! Why a URL names no dataset. Nothing of the URL is repeated but its scheme, or the path of a file:
//! the rest may hold a password.

use std::fmt;

use namel3ss_safety::AdapterError;
use namel3ss_safety::internal::nearest::nearest;

use super::schemes::{SCHEMES, known, schemes};
use crate::schema::TableError;

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
        /// Its name, where it can't be part of a password.
        name: Option<String>,
        /// The one that may have been meant.
        near: Option<&'static str>,
    },
    /// An option of another program, which does nothing here.
    ForeignOption {
        /// Its name.
        name: &'static str,
    },
    /// The URL is wrong in another way; what it should be.
    Malformed(&'static str),
    /// `sqlite:///tmp/a.db` is relative, and where it is read as absolute it names a file, too.
    RelativeOrAbsolute {
        /// The path behind the third slash.
        path: String,
    },
    /// The table's name is none.
    Table(TableError),
    /// The adapter refused its arguments.
    Adapter(AdapterError),
}

/// The first folder of a relative path; empty for a path without one, and for an absolute one.
pub(super) fn first_folder(path: &str) -> &str {
    path.split_once('/').map_or("", |(folder, _)| folder)
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownScheme { scheme } => {
                write!(f, "open the dataset: unknown scheme {scheme:?}")?;
                match nearest(scheme, SCHEMES.into_iter().map(|(scheme, ..)| scheme)) {
                    Some(near) => write!(f, ", did you mean {near:?}?"),
                    None => write!(f, ", use {}", schemes().collect::<Vec<_>>().join(" or ")),
                }
            }
            Self::NotInThisBuild { scheme } => {
                let feature = known(scheme).map_or("", |(_, feature)| feature);
                write!(
                    f,
                    "open the dataset: {scheme} is not in this build, enable the feature {feature} \
                     of namel3ss-safety-stores, or use {}",
                    schemes().collect::<Vec<_>>().join(" or ")
                )
            }
            Self::UnknownExtension => f.write_str(
                "open the dataset: name a file .csv, .json, .jsonl, .ndjson, .db, .sqlite or .sqlite3",
            ),
            Self::UnknownOption { name, near } => {
                match name {
                    Some(name) => write!(f, "open the dataset: its URL's option {name} is not known")?,
                    None => f.write_str("open the dataset: one of its URL's options is not known")?,
                }
                match near {
                    Some(near) => write!(f, ", did you mean {near:?}?"),
                    None => f.write_str(
                        ": use table, sslmode, sslrootcert, connect_timeout, timeout, host, port, user, \
                         password, dbname; and write ? and & in a password as %3F and %26",
                    ),
                }
            }
            Self::ForeignOption { name: "pgbouncer" } => f.write_str(
                "open the dataset: leave the URL's option pgbouncer out, transaction and session \
                 pooling need none",
            ),
            Self::ForeignOption { name } => write!(
                f,
                "open the dataset: the URL's option {name} is another program's, leave it out"
            ),
            Self::Malformed(wants) => write!(f, "open the dataset: {wants}"),
            Self::RelativeOrAbsolute { path } => {
                let (path, folder) = (path.escape_debug(), first_folder(path).escape_debug());
                write!(
                    f,
                    "open the dataset: sqlite:///{path} is a relative path, but the folder {folder} is \
                     not here, and is in /: write sqlite:////{path} for the absolute path, \
                     sqlite:{path} for the relative one"
                )
            }
            Self::Table(error) => error.fmt(f),
            Self::Adapter(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their own words are the message.
            Self::Table(error) => error.source(),
            Self::Adapter(error) => error.source(),
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
