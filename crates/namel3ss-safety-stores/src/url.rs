//! What a dataset's URL names. Errors repeat its scheme and nothing else, since the rest may hold a
//! password.

mod schemes;
mod error;
pub(crate) mod percent;

use std::path::{Path, PathBuf};

pub use self::error::OpenError;

use self::error::first_folder;
use self::percent::percent_decoded;
use self::schemes::known;
use crate::schema::Table;
use crate::server::{self, Kind, Server};

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
        /// To read it without locks, and without files beside it: see `sqlite::SqliteReader`. It can't be
        /// written so.
        immutable: bool,
        /// Whether a table that is made gets an index of traces.
        indexed: bool,
    },
    /// A table on a PostgreSQL server.
    Postgres(Server),
    /// A table on a MySQL or MariaDB server.
    Mysql(Server),
}

/// The URLs that one text holds, such as `NAMEL3SS_SAFETY_URL`: they are separated by white space
/// before a scheme, so that a path with a space in it stays one.
///
/// ```
/// use namel3ss_safety_stores::url::several;
/// assert_eq!(several("sqlite:////a b.db  postgresql://db/safety"), ["sqlite:////a b.db", "postgresql://db/safety"]);
/// assert_eq!(several("sqlite:a.db sqlite:b.db"), ["sqlite:a.db", "sqlite:b.db"]);
/// assert!(several(" ").is_empty());
/// ```
#[must_use]
pub fn several(text: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let alone = rest.starts_with("sqlite:") || rest.starts_with("file:");
        alone
            || rest.split_once("://").is_some_and(|(scheme, _)| {
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

/// Reads a URL or a path. Opens no file; looks for a folder where a path has two meanings. See
/// [`crate::open`].
///
/// # Errors
/// See [`OpenError`].
pub fn parse(url: &str) -> Result<Target, OpenError> {
    if let Some(file) = sqlite(url) {
        return file;
    }
    if let Some(table) = delta(url) {
        return table;
    }
    if let Some(file) = file(url) {
        return file;
    }
    if let Some(objects) = objects(url) {
        return objects;
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return by_extension(PathBuf::from(url), Options::default());
    };
    // A SQLAlchemy URL may name a driver, which is its own business.
    let scheme = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
    match scheme.as_str() {
        "file" => {
            let (path, options) = query(rest)?;
            if !path.starts_with('/') {
                return Err(OpenError::Malformed(
                    "write file:/// and an absolute path, or file: and a relative one",
                ));
            }
            by_extension(PathBuf::from(percent_decoded(path)?), options)
        }
        "postgresql" | "postgres" => {
            server::parse(Kind::Postgres, rest, environment).map(Target::Postgres)
        }
        "mysql" | "mariadb" => server::parse(Kind::Mysql, rest, environment).map(Target::Mysql),
        other => Err(match known(other) {
            Some((scheme, _)) => OpenError::NotInThisBuild { scheme },
            None => OpenError::UnknownScheme { scheme: other.chars().take(20).collect() },
        }),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `file:` without two slashes: a relative path, or an absolute one behind a single slash.
fn file(url: &str) -> Option<Result<Target, OpenError>> {
    let (scheme, rest) = url.split_once(':')?;
    let meant = scheme.eq_ignore_ascii_case("file") && !rest.starts_with("//");
    meant.then(|| {
        if rest.starts_with('/') {
            return parse(&format!("file://{rest}"));
        }
        let (path, parameters) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let path = percent_decoded(path)?;
        if path.ends_with('/') {
            return parse(&format!("{path}{parameters}"));
        }
        let (_, options) = query(rest)?;
        by_extension(PathBuf::from(path), options)
    })
}

/// A URL of an object store, or a folder: they end in a slash.
#[cfg(any(feature = "object", feature = "parquet"))]
fn objects(url: &str) -> Option<Result<Target, OpenError>> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let whole = url.split('?').next().unwrap_or(url);
    let ours = match scheme.as_deref() {
        Some("file") | None => whole.ends_with('/'),
        Some(scheme) => {
            cfg!(feature = "object") && known(scheme).is_some_and(|(_, f)| f == "object")
        }
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

/// A URL of an SQLite file, as SQLAlchemy reads it: three slashes and a relative path, four and an
/// absolute one. Without two slashes, what follows is the path as it is.
fn sqlite(url: &str) -> Option<Result<Target, OpenError>> {
    let (scheme, rest) = url.split_once(':')?;
    // A SQLAlchemy URL may name a driver, which is its own business.
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    scheme.eq_ignore_ascii_case("sqlite").then(|| {
        let (path, options) = query(rest)?;
        let (path, slashes) = match path.strip_prefix("//") {
            Some(path) => path.strip_prefix('/').map_or((path, 2), |path| (path, 3)),
            None => (path, 0),
        };
        if path.is_empty() || path == ":memory:" {
            return Err(OpenError::Malformed(
                "an in-memory database keeps nothing, name a file: sqlite:///relative.db or \
                 sqlite:////absolute.db",
            ));
        }
        if slashes == 2 && path.contains('@') {
            return Err(OpenError::Malformed(
                "a file has no user and no password: write sqlite:///relative.db or \
                 sqlite:////absolute.db",
            ));
        }
        let folder = Path::new(first_folder(path));
        if slashes == 3
            && !folder.as_os_str().is_empty()
            && !folder.exists()
            && Path::new("/").join(folder).is_dir()
        {
            return Err(OpenError::RelativeOrAbsolute { path: path.to_owned() });
        }
        Ok(options.of_sqlite(PathBuf::from(path)))
    })
}

/// What a URL of a file says beside its path.
struct Options {
    table: Table,
    immutable: bool,
    indexed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { table: Table::default(), immutable: false, indexed: true }
    }
}

impl Options {
    fn of_sqlite(self, path: PathBuf) -> Target {
        let Self { table, immutable, indexed } = self;
        Target::Sqlite { path, table, immutable, indexed }
    }
}

fn query(rest: &str) -> Result<(&str, Options), OpenError> {
    let mut options = Options::default();
    let Some((path, query)) = rest.split_once('?') else { return Ok((rest, options)) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("table", name)) => options.table = name.parse()?,
            Some(("immutable", "1")) => options.immutable = true,
            Some(("index", "none")) => options.indexed = false,
            _ => {
                return Err(OpenError::Malformed(
                    "of options only ?table=name is known, ?index=none to make a table without an index \
                     of traces, and ?immutable=1 to read a database that nobody writes",
                ));
            }
        }
    }
    if options.table.schema().is_some() {
        return Err(OpenError::Malformed(
            "a file has no schemas, name the table alone: ?table=name",
        ));
    }
    Ok((path, options))
}

fn by_extension(path: PathBuf, options: Options) -> Result<Target, OpenError> {
    let extension = Path::new(&path).extension().and_then(|e| e.to_str());
    match extension.unwrap_or("").to_ascii_lowercase().as_str() {
        "csv" => Ok(Target::Csv(path)),
        "json" | "jsonl" | "ndjson" => Ok(Target::Json(path)),
        "db" | "sqlite" | "sqlite3" => Ok(options.of_sqlite(path)),
        "parquet" => Err(OpenError::Malformed(
            "Parquet files lie in a folder, one for each batch: name the folder, such as folder/",
        )),
        _ => Err(OpenError::UnknownExtension),
    }
}

#[cfg(test)]
mod tests {
    use super::schemes::{SCHEMES, schemes};
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
            let table = table.parse().expect("a name");
            Ok(Target::Sqlite { path: path.into(), table, immutable: false, indexed: true })
        };
        check("sqlite:///rel.db", sqlite("rel.db", "safety_events"));
        check("sqlite:////abs/x.db?table=t_1", sqlite("/abs/x.db", "t_1"));
        check("sqlite+aiosqlite:///rel.db", sqlite("rel.db", "safety_events"));
        check("x.sqlite3", sqlite("x.sqlite3", "safety_events"));
        check("file:///a%20b.csv", Ok(Target::Csv("/a b.csv".into())));
        check("file:x.jsonl", Ok(Target::Json("x.jsonl".into())));
        check("FILE:./a%20b/x.csv", Ok(Target::Csv("./a b/x.csv".into())));
        check("file:/a/x.json", Ok(Target::Json("/a/x.json".into())));
        check("file:x.db?table=t_1", sqlite("x.db", "t_1"));
        check("file://x.jsonl", Err("file: and a relative one"));
        check("file:x.txt", Err("name a file .csv"));
        #[cfg(feature = "parquet")]
        for (folder, same) in [("file:a%20b/", "a b/"), ("file:d/?format=csv", "d/?format=csv")] {
            assert_eq!(parse(folder).unwrap(), parse(same).unwrap());
        }
        check("dir/x.NDJSON", Ok(Target::Json("dir/x.NDJSON".into())));
        check("sqlite:rel.db", sqlite("rel.db", "safety_events"));
        check("sqlite://rel.db?table=t", sqlite("rel.db", "t"));
        check("sqlite:dir/rel.db", sqlite("dir/rel.db", "safety_events"));
        check("sqlite:/abs/x.db", sqlite("/abs/x.db", "safety_events"));
        check("SQLite:///nowhere/rel.db", sqlite("nowhere/rel.db", "safety_events"));
        check("sqlite:///src/rel.db", sqlite("src/rel.db", "safety_events"));
        let read_only = parse("sqlite:///rel.db?immutable=1");
        assert!(matches!(read_only, Ok(Target::Sqlite { immutable: true, .. })));
        let plain = parse("sqlite:///rel.db?table=t&index=none");
        assert!(matches!(plain, Ok(Target::Sqlite { indexed: false, .. })));
        check("sqlite:///rel.db?index=all", Err("?index=none to make"));
        check("sqlite:///rel.db?immutable=0", Err("?immutable=1 to read"));
        check("dir/x.parquet", Err("such as folder/"));
        check("file:///dir/x.parquet", Err("such as folder/"));
        check("sqlite://", Err("sqlite:///relative.db"));
        check("sqlite::memory:", Err("keeps nothing"));
        check("sqlite://me:canary@host/db", Err("no user and no password"));
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
        check("gopher://me:canary@host/db", Err("use sqlite or "));
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

    /// sqlx reads `sqlite:///tmp/a.db` as absolute, SQLAlchemy as relative: rows went to where their
    /// author did not look for them.
    #[test]
    fn a_path_that_may_be_relative_or_absolute_is_refused_with_both_spellings() {
        let error = parse("sqlite:///tmp/a b.db?table=canary").unwrap_err().to_string();
        assert!(error.contains("sqlite:////tmp/a b.db for the absolute path"), "{error}");
        assert!(error.contains("sqlite:tmp/a b.db for the relative one"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn what_is_not_in_a_build_names_its_feature() {
        let error = OpenError::NotInThisBuild { scheme: "postgresql" }.to_string();
        assert!(error.contains("enable the feature postgres of"), "{error}");
        for (scheme, feature, opens) in SCHEMES.into_iter().filter(|(scheme, ..)| *scheme != "file")
        {
            let error = OpenError::NotInThisBuild { scheme }.to_string();
            assert!(error.contains(&format!("the feature {feature} of")), "{error}");
            assert_eq!(schemes().any(|its| its == scheme), opens);
            // In a build that lacks some.
            if !opens {
                let opened = crate::open(&format!("{scheme}://host/name"));
                assert!(matches!(opened, Err(OpenError::NotInThisBuild { .. })), "{scheme}");
            }
        }
    }
}
