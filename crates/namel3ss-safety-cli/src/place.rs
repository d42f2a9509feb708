//! Where things are: the default dataset, and what a URL or path names.

use std::path::{Path, PathBuf};

use namel3ss_safety::internal::home::home;
use namel3ss_safety::{CsvAdapter, DatasetAdapter as _, JsonAdapter};
#[cfg(feature = "delta")]
use namel3ss_safety_stores::objects::delta::DeltaPlace;
use namel3ss_safety_stores::read::journals::folders;
use namel3ss_safety_stores::server::Server;
use namel3ss_safety_stores::url::{self, OpenError, Target};
use namel3ss_safety_stores::{SqliteAdapter, Table};

use crate::error::Error;
use crate::exit::Exit;

/// The default dataset's file under the home folder.
pub(crate) const DEFAULT_FILE: &str = "safety_events.db";
/// The default dataset's name, and its table's.
pub(crate) const DEFAULT_DATASET: &str = "safety_events";

/// The URLs that `NAMEL3SS_SAFETY_URL` holds.
pub(crate) fn urls_from_environment() -> Result<Vec<String>, Error> {
    match std::env::var("NAMEL3SS_SAFETY_URL") {
        Ok(text) => Ok(url::several(&text).into_iter().map(str::to_owned).collect()),
        Err(std::env::VarError::NotPresent) => Ok(Vec::new()),
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
    Sqlite {
        path: PathBuf,
        table: Table,
        /// Nobody writes it.
        immutable: bool,
    },
    /// A table on a database server.
    Server(Server),
    /// Objects in a store, or in a folder by day.
    #[cfg(any(feature = "object", feature = "parquet"))]
    Objects(namel3ss_safety_stores::objects::Place),
    /// A Delta Lake table in a store or a folder.
    #[cfg(feature = "delta")]
    Delta(DeltaPlace),
    /// A folder with journals.
    Journals(PathBuf),
}

impl Place {
    /// The file or folder, where it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Csv(path) | Self::Json(path) | Self::Journals(path) => Some(path),
            Self::Sqlite { path, .. } => Some(path),
            Self::Server(_) => None,
            #[cfg(any(feature = "object", feature = "parquet"))]
            Self::Objects(_) => None,
            #[cfg(feature = "delta")]
            Self::Delta(_) => None,
        }
    }

    /// Its name for people, without secrets.
    pub(crate) fn shown(&self) -> String {
        match (self, self.path()) {
            (Self::Server(server), _) => server.identity(),
            #[cfg(any(feature = "object", feature = "parquet"))]
            (Self::Objects(place), _) => place.identity(),
            #[cfg(feature = "delta")]
            (Self::Delta(place), _) => place.identity(),
            (_, path) => path.map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }

    /// Whether it can be looked at; a server is asked by looking. What may not be looked at is there:
    /// reading it says so.
    pub(crate) fn is_there(&self) -> bool {
        #[cfg(any(feature = "object", feature = "parquet"))]
        if let Self::Objects(place) = self {
            return place.folder().is_none_or(|folder| folder.try_exists().unwrap_or(true));
        }
        #[cfg(feature = "delta")]
        if let Self::Delta(place) = self {
            return place.folder().is_none_or(|folder| DeltaPlace::is_table(&folder));
        }
        self.path().is_none_or(|path| path.try_exists().unwrap_or(true))
    }

    /// What loggers call this destination; `None` for what is none.
    pub(crate) fn identity(&self) -> Option<String> {
        // An adapter may make its folder, which nobody has asked for here.
        let folder = || self.path().and_then(|path| std::path::absolute(path).ok());
        let has_folder = || folder().is_some_and(|path| path.parent().is_some_and(Path::is_dir));
        match self {
            Self::Journals(_) => None,
            Self::Csv(path) if has_folder() => Some(CsvAdapter::new(path).ok()?.identity()),
            Self::Json(path) if has_folder() => Some(JsonAdapter::new(path).ok()?.identity()),
            Self::Sqlite { path, table, .. } if has_folder() => {
                Some(SqliteAdapter::open(path, table.clone()).ok()?.identity())
            }
            Self::Csv(_) | Self::Json(_) | Self::Sqlite { .. } => None,
            Self::Server(server) => Some(server.identity()),
            #[cfg(any(feature = "object", feature = "parquet"))]
            Self::Objects(place) => Some(place.identity()),
            #[cfg(feature = "delta")]
            Self::Delta(place) => Some(place.identity()),
        }
    }
}

impl Place {
    fn of(target: Target) -> Result<Self, Error> {
        match target {
            Target::Csv(path) => Ok(Self::Csv(path)),
            Target::Json(path) => Ok(Self::Json(path)),
            Target::Sqlite { path, table, immutable, .. } => {
                Ok(Self::Sqlite { path, table, immutable })
            }
            Target::Postgres(server) | Target::Mysql(server) => Ok(Self::Server(server)),
            #[cfg(any(feature = "object", feature = "parquet"))]
            Target::Objects(place) => Ok(Self::Objects(place)),
            #[cfg(feature = "delta")]
            Target::Delta(place) => Ok(Self::Delta(place)),
        }
    }

    /// From a URL, or a path told by its ending or, failing that, its first bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let path = ["file://", "file:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let path = Path::new(path.unwrap_or(text));
        #[cfg(feature = "delta")]
        if DeltaPlace::is_table(path) {
            let place = DeltaPlace::in_folder(path);
            return place.map(Self::Delta).map_err(|error| Error::usage(error.to_string()));
        }
        if path.is_dir() && !is_by_day(text, path) {
            return Ok(Self::Journals(path.to_owned()));
        }
        // A folder by day may be named without the slash that a URL of one ends with.
        let slashed = (path.is_dir() && !text.ends_with('/')).then(|| format!("{text}/"));
        let text = slashed.as_deref().unwrap_or(text);
        match url::parse(text) {
            Ok(target) => Self::of(target),
            Err(OpenError::UnknownExtension) if is_sqlite(path) => Ok(Self::Sqlite {
                path: path.to_owned(),
                table: Table::default(),
                immutable: false,
            }),
            Err(OpenError::UnknownExtension) => Err(Error::usage(format!(
                "read {}: it is no folder and no .csv, .json, .jsonl, .ndjson or SQLite file",
                path.display()
            ))),
            Err(OpenError::NotInThisBuild { scheme }) => Err(Error::usage(format!(
                "read from {scheme}: it is not in this build; use its own tools"
            ))),
            Err(error) => Err(Error::usage(error.to_string())),
        }
    }
}

/// Whether an argument names a dataset where a filter may stand as well: it has a scheme, a slash or
/// the extension of a file before any operator of a filter.
pub(crate) fn is_named_by(text: &str) -> bool {
    let operator = text.find(['=', '~']);
    let before = &text[..operator.unwrap_or(text.len())];
    // What follows a `?` is an option of a URL.
    let path = Path::new(before.split('?').next().unwrap_or(before));
    let extension = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let is_files = match operator {
        None => !extension.is_empty(),
        // `metadata.csv=…` is about a key.
        Some(_) => EXTENSIONS.contains(&extension) && !before.starts_with("metadata."),
    };
    is_files || before.contains('/') || ["file:", "sqlite:"].iter().any(|s| before.starts_with(s))
}

/// The extensions of files that are datasets.
const EXTENSIONS: [&str; 7] = ["csv", "db", "json", "jsonl", "ndjson", "sqlite", "sqlite3"];

/// Whether a folder is a dataset of objects: it has partitions, or a URL says so by its
/// slash, and no journals are there.
fn is_by_day(text: &str, path: &Path) -> bool {
    if cfg!(not(any(feature = "object", feature = "parquet"))) {
        return false;
    }
    let year = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("year=");
    let has_years = std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| year(&e.file_name()))));
    let says_so = text.starts_with("file:") && text.ends_with('/');
    let has_journals = || folders(path).is_ok_and(|found| !found.is_empty());
    has_years || (says_so && !has_journals())
}

fn is_sqlite(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && &magic == b"SQLite format 3\0"
}

/// The default datasets: what `NAMEL3SS_SAFETY_URL` names, or the SQLite file under home. Never
/// empty; one that can't be read here is an error of its own.
pub(crate) fn default_datasets() -> Result<Vec<Result<Place, Error>>, Error> {
    let urls = urls_from_environment()?;
    if urls.is_empty() {
        let path = home().join(DEFAULT_FILE);
        return Ok(vec![Ok(Place::Sqlite { path, table: Table::default(), immutable: false })]);
    }
    let place = |url: &String| {
        Place::parse(url).map_err(|error| match error {
            Error::Failed { message, .. } => Error::new(
                Exit::Config,
                format!(
                    "use NAMEL3SS_SAFETY_URL: failed to {message}; or name another with --from"
                ),
            ),
            other => other,
        })
    };
    Ok(urls.iter().map(place).collect())
}

/// The first of the default datasets that can be read here.
pub(crate) fn default_dataset() -> Result<Place, Error> {
    let mut wrong = None;
    for place in default_datasets()? {
        match place {
            Ok(place) => return Ok(place),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    Err(wrong.unwrap_or_else(|| Error::config("find the default dataset")))
}
