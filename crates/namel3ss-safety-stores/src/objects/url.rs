//! Where objects go, as a URL or (bucket, prefix, format) names it. Errors repeat no value of a
//! parameter, since it may be a secret; the identity holds none.

use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use namel3ss_safety::internal::adapter::make_folder;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety::{AdapterError, Batching};
use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::format::{Compression, Format};
use super::place::{Place, Root};
use crate::url::percent::PATH;

/// What the value of a query may hold as it is.
const VALUE: &AsciiSet = &PATH.add(b'/');

/// The most characters of a prefix; stores take 1,024 bytes for a whole key.
const PREFIX_CHARS_MAX: usize = 512;
/// Rows in one batch, unless `rows=` says otherwise.
const ROWS: usize = 50_000;
/// The most rows that `rows=` may ask for.
const ROWS_MAX: usize = 1_000_000;
/// Seconds that rows wait for others, unless `seconds=` says otherwise.
const SECONDS: u64 = 60;
/// The longest wait that `seconds=` may ask for: a day.
const SECONDS_MAX: u64 = 86_400;
/// The most payload bytes in a batch: 32 MiB, which is held in memory.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// Parameters of ours, of any store.
const OURS: [&str; 4] = ["format", "compression", "rows", "seconds"];

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.identity()).finish()
    }
}

fn wrong(what: impl fmt::Display) -> AdapterError {
    AdapterError::config(format!("open the object store: {what}"))
}

impl Place {
    /// From a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `abfss://container@account.dfs.core.windows.net/prefix`, `file:///folder/`, or a plain path.
    ///
    /// # Errors
    /// Says what is wrong, and repeats nothing that could be a secret.
    pub fn parse(url: &str) -> Result<Self, AdapterError> {
        let (whole, query) = url.split_once('?').unwrap_or((url, ""));
        let (root, prefix, account) = root(whole)?;
        let mut place = Self {
            format: default_format(&root),
            root,
            prefix: prefix_of(&prefix)?,
            compression: Compression::None,
            batching: Batching {
                rows_max: ROWS,
                bytes_max: BATCH_BYTES_MAX,
                wait_max: Duration::from_secs(SECONDS),
            },
            options: account.into_iter().map(|name| ("account_name".to_owned(), name)).collect(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            place.set(&name.to_ascii_lowercase(), value)?;
        }
        if place.format == Format::Parquet && place.compression != Compression::None {
            return Err(wrong("parquet is compressed by itself, leave compression= out"));
        }
        Ok(place)
    }

    /// From what the quick reference's writer takes: a bare S3 bucket or a URL, a prefix in it, and
    /// a format's word.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn new(bucket_or_url: &str, prefix: &str, format: &str) -> Result<Self, AdapterError> {
        let mut place = if bucket_or_url.contains("://") {
            Self::parse(bucket_or_url)?
        } else if bucket_or_url.contains('/') {
            return Err(wrong(
                "name a bucket alone, or write a URL: s3://, gs://, az:// or file:///",
            ));
        } else {
            Self::parse(&format!("s3://{bucket_or_url}"))?
        };
        let inner = prefix_of(prefix)?;
        let both = [place.prefix.as_str(), inner.as_str()];
        let both: Vec<&str> = both.into_iter().filter(|part| !part.is_empty()).collect();
        place.prefix = prefix_of(&both.join("/"))?;
        place.format = format.parse()?;
        Ok(place)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), AdapterError> {
        match name {
            "format" => self.format = value.parse()?,
            "compression" => self.compression = value.parse()?,
            "rows" => {
                let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                self.batching.rows_max =
                    rows.ok_or_else(|| wrong(format_args!("rows= takes 1 to {ROWS_MAX}")))?;
            }
            "seconds" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds <= SECONDS_MAX);
                let seconds = seconds
                    .ok_or_else(|| wrong(format_args!("seconds= takes 0 to {SECONDS_MAX}")))?;
                self.batching.wait_max = Duration::from_secs(seconds);
            }
            _ => {
                if !self.takes(name) {
                    return Err(self.unknown(name));
                }
                self.options.push((name.to_owned(), value));
            }
        }
        Ok(())
    }

    #[cfg(feature = "object")]
    fn takes(&self, name: &str) -> bool {
        super::cloud::takes(&self.root, name)
    }

    #[cfg(not(feature = "object"))]
    fn takes(&self, _name: &str) -> bool {
        false
    }

    fn unknown(&self, name: &str) -> AdapterError {
        let known: &[&str] = match self.root {
            Root::S3(_) => {
                &["region", "endpoint", "checksum_algorithm", "allow_http", "proxy_url", "timeout"]
            }
            Root::Gcs(_) => &["base_url", "service_account", "allow_http", "proxy_url", "timeout"],
            Root::Azure(_) => &["account_name", "endpoint", "allow_http", "proxy_url", "timeout"],
            Root::Folder(_) => &[],
        };
        let known = OURS.iter().chain(known).copied();
        // What is like none of ours may be the end of a secret that has an `&` in it.
        match nearest(name, known.clone()) {
            Some(near) => wrong(format_args!("unknown parameter, did you mean {near}=?")),
            None => {
                let known: Vec<&str> = known.collect();
                wrong(format_args!(
                    "unknown parameter, use {}; write a value's & as %26",
                    known.join(", ")
                ))
            }
        }
    }

    /// What is behind an object's last dot.
    pub(super) fn extension(&self) -> String {
        format!("{}{}", self.format.as_str(), self.compression.suffix())
    }

    /// The value of a parameter of the store; the last one counts.
    #[cfg(feature = "object")]
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Makes the folder of a dataset in one, for its owner alone.
    pub(super) fn prepare(&self) -> Result<(), AdapterError> {
        match &self.root {
            Root::Folder(root) => make_folder(root),
            Root::S3(_) | Root::Gcs(_) | Root::Azure(_) => Ok(()),
        }
    }

    /// The local folder with its partitions, where it is one.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.root {
            // Joined with nothing, it would end in a slash.
            Root::Folder(root) if self.prefix.is_empty() => Some(root.clone()),
            Root::Folder(root) => Some(root.join(&self.prefix)),
            _ => None,
        }
    }

    /// The dataset's URL without secrets: opening it leads to the same dataset.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut text = match &self.root {
            Root::S3(bucket) => format!("s3://{bucket}/{}", self.prefix),
            Root::Gcs(bucket) => format!("gs://{bucket}/{}", self.prefix),
            Root::Azure(container) => format!("az://{container}/{}", self.prefix),
            Root::Folder(path) => {
                let path = path.join(&self.prefix);
                format!(
                    "file://{}/",
                    utf8_percent_encode(path.to_string_lossy().trim_end_matches('/'), PATH)
                )
            }
        };
        // Writing to a String can't fail.
        let _ = write!(text, "?format={}", self.format);
        if self.compression != Compression::None {
            let _ = write!(text, "&compression={}", self.compression);
        }
        for (name, value) in self.whereabouts() {
            let _ = write!(text, "&{name}={}", utf8_percent_encode(&value, VALUE));
        }
        text
    }

    #[cfg(feature = "object")]
    fn whereabouts(&self) -> Vec<(&'static str, String)> {
        super::cloud::whereabouts(self)
    }

    #[cfg(not(feature = "object"))]
    fn whereabouts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The root, the prefix in it, and an Azure account where the URL names one.
fn root(whole: &str) -> Result<(Root, String, Option<String>), AdapterError> {
    let Some((scheme, rest)) = whole.split_once("://") else {
        return Ok((Root::Folder(absolute(whole)?), String::new(), None));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "file" {
        if !rest.starts_with('/') {
            return Err(wrong("write file:/// and an absolute path"));
        }
        return Ok((Root::Folder(absolute(&decoded(rest)?)?), String::new(), None));
    }
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = decoded(prefix)?;
    if let "abfs" | "abfss" = scheme.as_str()
        && let Some((container, host)) = host.split_once('@')
    {
        let account = host.split('.').next().unwrap_or_default();
        if !is_name(account) {
            return Err(wrong("write abfss://container@account.dfs.core.windows.net/prefix"));
        }
        return Ok((Root::Azure(name(container)?), prefix, Some(account.to_owned())));
    }
    let bucket = name(host)?;
    let root = match scheme.as_str() {
        "s3" | "s3a" => Root::S3(bucket),
        "gs" | "gcs" => Root::Gcs(bucket),
        "az" | "azure" | "abfs" | "abfss" => Root::Azure(bucket),
        _ => return Err(wrong("use s3://, gs://, az:// or file:///")),
    };
    Ok((root, prefix, None))
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$');
    (2..=222).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('.')
}

fn name(name: &str) -> Result<String, AdapterError> {
    if is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(wrong("a bucket's name has letters, digits, dots and dashes, no user and no password"))
    }
}

pub(super) fn absolute(path: &str) -> Result<PathBuf, AdapterError> {
    if path.is_empty() || path.contains('\0') {
        return Err(wrong("name a folder"));
    }
    let path = std::path::absolute(path).map_err(|_| wrong("name a folder"))?;
    // A folder that does not exist yet keeps the name that it was given.
    Ok(path.canonicalize().unwrap_or(path))
}

/// What the folder's name says, such as `events.jsonl/`; Parquet otherwise.
fn default_format(root: &Root) -> Format {
    match root {
        Root::Folder(path) => path
            .extension()
            .and_then(|extension| extension.to_str()?.parse().ok())
            .unwrap_or_default(),
        _ => Format::default(),
    }
}

/// A prefix without empty parts, and without what a store would encode or a folder would follow.
fn prefix_of(prefix: &str) -> Result<String, AdapterError> {
    let prefix = prefix.trim_matches('/');
    let odd = |c: char| c.is_control() || r#"\{}^%`[]"<>~#|*?"#.contains(c);
    if prefix.chars().any(odd) || prefix.chars().count() > PREFIX_CHARS_MAX {
        let what = format_args!(
            "a prefix has at most {PREFIX_CHARS_MAX} characters, none of them a control character or \
             one of \\ {{ }} ^ % ` [ ] \" < > ~ # | * ?"
        );
        return Err(wrong(what));
    }
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("a prefix has no empty part, and none that is . or .."));
    }
    Ok(prefix.to_owned())
}

fn decoded(text: &str) -> Result<String, AdapterError> {
    crate::url::percent::percent_decoded(text)
        .map_err(|_| wrong("write a percent sign as %25, and UTF-8"))
}
