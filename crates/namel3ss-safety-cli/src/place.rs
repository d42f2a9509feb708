//! Where things are: the home folder, the default dataset, and what a URL or path names.

use std::path::{Path, PathBuf};

use namel3ss_safety::nearest::nearest;

use crate::error::Error;
use crate::exit::Exit;

/// The default dataset's file under the home folder.
pub(crate) const DEFAULT_FILE: &str = "safety_events.db";
/// The default dataset's name, and its table's.
pub(crate) const DEFAULT_DATASET: &str = "safety_events";

/// The home folder: `NAMEL3SS_SAFETY_HOME`, or the XDG state folder's `namel3ss/safety`.
pub(crate) fn home() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("NAMEL3SS_SAFETY_HOME") {
        return Ok(home);
    }
    // The XDG specification: a relative path there is invalid and is ignored.
    let state = set("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("namel3ss/safety")).ok_or_else(|| {
        Error::config("find the home folder: set NAMEL3SS_SAFETY_HOME, XDG_STATE_HOME or HOME")
    })
}

/// What `NAMEL3SS_SAFETY_URL` says, if anything.
pub(crate) fn url_from_environment() -> Result<Option<String>, Error> {
    match std::env::var("NAMEL3SS_SAFETY_URL") {
        Ok(url) if url.is_empty() => Ok(None),
        Ok(url) => Ok(Some(url)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config("read NAMEL3SS_SAFETY_URL: it is not UTF-8"))
        }
    }
}

/// A dataset that this program can read by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Csv(PathBuf),
    /// One array, or a line an event.
    Json(PathBuf),
    Sqlite { path: PathBuf, table: String },
    /// A folder with journals.
    Journals(PathBuf),
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Csv(path) | Self::Json(path) | Self::Journals(path) => path,
            Self::Sqlite { path, .. } => path,
        }
    }
}

impl Place {
    /// From a URL, or a path told by its ending or its first bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::from_path(Path::new(text));
        };
        match scheme {
            "file" => Self::from_path(Path::new(rest)),
            "sqlite" => {
                let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
                let table = query.split('&').find_map(|pair| pair.strip_prefix("table="));
                let path = PathBuf::from(path.strip_prefix('/').unwrap_or(path));
                let table = table.unwrap_or(DEFAULT_DATASET).to_owned();
                Ok(Self::Sqlite { path, table })
            }
            _ => Err(unreadable_scheme(scheme)),
        }
    }

    fn from_path(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            _ if path.is_dir() => Ok(Self::Journals(path)),
            "csv" => Ok(Self::Csv(path)),
            "json" | "jsonl" | "ndjson" => Ok(Self::Json(path)),
            "db" | "sqlite" | "sqlite3" => {
                Ok(Self::Sqlite { path, table: DEFAULT_DATASET.to_owned() })
            }
            _ if is_sqlite(&path) => Ok(Self::Sqlite { path, table: DEFAULT_DATASET.to_owned() }),
            _ => Err(Error::usage(format!(
                "read {}: it is no folder and no .csv, .json, .jsonl, .ndjson or SQLite file",
                path.display()
            ))),
        }
    }
}

fn is_sqlite(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && &magic == b"SQLite format 3\0"
}

fn unreadable_scheme(scheme: &str) -> Error {
    const READABLE: [&str; 2] = ["file", "sqlite"];
    const OTHERS: [&str; 6] = ["postgresql", "postgres", "mysql", "s3", "gs", "az"];
    let known = READABLE.iter().chain(&OTHERS).copied();
    if OTHERS.contains(&scheme) {
        return Error::usage(format!(
            "read from {scheme}://…: only csv, json, jsonl and SQLite datasets and journals can be \
             read here; use the database's or the store's own tools"
        ));
    }
    match nearest(scheme, known) {
        Some(near) => Error::usage(format!("read from {scheme}://…: did you mean {near}://?")),
        None => Error::usage(format!("read from {scheme}://…: use file:// or sqlite://")),
    }
}

/// The default dataset: what `NAMEL3SS_SAFETY_URL` names, or the SQLite file under home.
pub(crate) fn default_dataset() -> Result<Place, Error> {
    match url_from_environment()? {
        Some(url) => Place::parse(&url).map_err(|error| match error {
            Error::Failed { message, .. } => Error::new(
                Exit::Config,
                format!("use NAMEL3SS_SAFETY_URL: failed to {message}; or name another with --from"),
            ),
            other => other,
        }),
        None => Ok(Place::Sqlite {
            path: home()?.join(DEFAULT_FILE),
            table: DEFAULT_DATASET.to_owned(),
        }),
    }
}
