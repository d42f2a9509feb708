//! Objects in S3, Google Cloud Storage and Azure Blob Storage, through the `object_store` crate.
//!
//! Credentials, endpoint and region come from the provider's usual environment variables and, before
//! them, from the URL's parameters; they are read at the first request, and again after a fork. Each
//! request, and each operation as a whole, ends in time.

mod settings;
mod runtime;
mod codes;
mod http;
mod failure;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use namel3ss_safety::{
    AdapterError, Durability, Level, Notice, NoticeKind, PerProcess, Timestamp,
    internal::notice::Notices,
};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
    Result as StoreResult,
};

pub(super) use self::settings::{takes, whereabouts};

use self::codes::{Heard, Meaning};
use self::failure::{Failed, Refused};
use self::runtime::Runtime;
use super::place::{Place, Root};
#[cfg(feature = "delta")]
use super::store::OBJECT_BYTES_MAX;
use super::store::{Body, Created, Object, Store};

/// The most names that one listing takes in.
const NAMES_MAX: usize = 1_000_000;

/// How many objects one operation removes.
const REMOVED_AT_ONCE: usize = 500;

/// A store that is reached over the network.
pub(super) struct Cloud {
    place: Place,
    /// How long one operation may take, its retries included.
    within: Duration,
    heard: Arc<Heard>,
    /// Where the store has said that the bucket is, in place of what the settings say.
    region: Mutex<Option<String>>,
    notices: Notices,
    /// Of this process: another one has no thread of the runtime, and closing the parent's
    /// connections would say goodbye on them.
    open: PerProcess<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    runtime: Arc<Runtime>,
    store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Cloud {
    pub(super) fn new(place: &Place) -> Result<Self, AdapterError> {
        settings::check(place)?;
        let within = settings::within(place);
        let open = PerProcess::new(None);
        Ok(Self {
            place: place.clone(),
            within,
            heard: Arc::default(),
            region: Mutex::default(),
            notices: Notices::default(),
            open,
        })
    }

    fn connect(&self) -> Result<Open, AdapterError> {
        let mut open = self.open.lock(|| None);
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let runtime = Runtime::start()
            .map_err(|error| AdapterError::transient(format!("start a thread: {error}")))?;
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let store = settings::build(&self.place, region.as_deref(), self.heard.clone())?;
        Ok(open.insert(Open { runtime: Arc::new(runtime), store }).clone())
    }

    fn run<T, F>(&self, doing: &'static str, work: impl Fn(Arc<dyn ObjectStore>) -> F) -> Done<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let failed = Failed { doing, heard: &self.heard, place: &self.place };
        let mut has_moved = false;
        loop {
            let open = self.connect().map_err(Refused::Other)?;
            let error = match open.runtime.run(self.within, work(open.store)) {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => return Err(Refused::Other(failed.no_answer(self.within))),
            };
            if !has_moved && self.moves() {
                has_moved = true;
                continue;
            }
            if codes::code(&error.to_string()).and_then(codes::meaning) == Some(Meaning::Token) {
                // The next one reads files, and asks for credentials, again.
                *self.open.lock(|| None) = None;
            }
            return Err(failed.because(error));
        }
    }

    /// Whether the store has named another region than the client is made for; then the next one is made
    /// for that.
    fn moves(&self) -> bool {
        let Some(named) = self.heard.region() else { return false };
        let mut region = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        let used = region.clone().or_else(|| settings::region(&self.place));
        if used.as_ref() == Some(&named) || !matches!(self.place.root, Root::S3(_)) {
            return false;
        }
        let text = format!(
            "the bucket is in the region {named}, not in {}, and is asked there from now on; set \
             region={named} in the URL, or AWS_REGION",
            used.as_deref().unwrap_or("any that is set")
        );
        self.notices.say(Level::Warning, NoticeKind::Region, text);
        *region = Some(named);
        *self.open.lock(|| None) = None;
        true
    }

    fn put(&self, key: &str, body: &Body, mode: PutMode) -> Done<()> {
        let (path, payload) = (path(key)?, PutPayload::from(Bytes::from_owner(body.clone())));
        self.run("write an object", |store| {
            let (path, payload, mode) = (path.clone(), payload.clone(), mode.clone());
            async move { store.put_opts(&path, payload, mode.into()).await.map(drop) }
        })
    }
}

type Done<T> = Result<T, Refused>;

fn path(key: &str) -> Result<Path, Refused> {
    // Prefixes are checked when they are given, and all else in a key is ours.
    Path::parse(key).map_err(|_| {
        Refused::Other(AdapterError::config("name an object: its prefix can't be part of a key"))
    })
}

impl Store for Cloud {
    fn notices(&self) -> Vec<Notice> {
        self.notices.take()
    }

    fn create(&self, key: &str, body: &Body, _: Durability) -> Result<Created, AdapterError> {
        // Whatever these stores confirm is durable.
        match self.put(key, body, PutMode::Create) {
            Ok(()) => Ok(Created::New),
            Err(Refused::Exists) => Ok(Created::Exists),
            Err(Refused::Unsupported) => Ok(Created::Unsupported),
            Err(refused) => Err(refused.into()),
        }
    }

    fn overwrite(&self, key: &str, body: &Body) -> Result<(), AdapterError> {
        Ok(self.put(key, body, PutMode::Overwrite)?)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, AdapterError> {
        let path = path(key)?;
        // Its first byte comes with the size. A HEAD says no more, and not every store has it.
        let options = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
        let found = self.run("look at an object", |store| {
            let (path, options) = (path.clone(), options.clone());
            async move { store.get_opts(&path, options).await }
        });
        match found {
            Ok(found) => Ok(Some(found.meta.size)),
            Err(Refused::NotFound(_)) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    #[cfg(feature = "delta")]
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError> {
        let path = path(key)?;
        let read = self.run("read an object", |store| {
            let path = path.clone();
            async move {
                let found = store.get(&path).await?;
                if found.meta.size > OBJECT_BYTES_MAX {
                    let text = "it is larger than this library makes them";
                    return Err(Error::NotSupported { source: text.into() });
                }
                found.bytes().await
            }
        });
        match read {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Refused::NotFound(_)) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError> {
        let path = path(key)?;
        let read = self.run("read an object", |store| {
            let (path, range) = (path.clone(), range.clone());
            async move { store.get_range(&path, range).await }
        });
        match read {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Refused::NotFound(_)) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn remove(&self, keys: &[String]) -> Result<(), AdapterError> {
        for keys in keys.chunks(REMOVED_AT_ONCE) {
            let paths: Vec<Path> = keys.iter().map(|key| path(key)).collect::<Result<_, _>>()?;
            self.run("remove objects", |store| {
                let paths = paths.clone();
                async move {
                    let paths = futures_util::stream::iter(paths.into_iter().map(Ok)).boxed();
                    let mut removed = store.delete_stream(paths);
                    while let Some(one) = removed.next().await {
                        match one {
                            Ok(_) | Err(Error::NotFound { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<Object>>, AdapterError> {
        let (under, from) = (path(folder)?, path(&format!("{folder}/{}", range.start))?);
        let (start, end) = (range.start.clone(), range.end.clone());
        let list = async |store: Arc<dyn ObjectStore>,
                          under: Path,
                          from: Path,
                          start: String,
                          end: String| {
            let mut found = store.list_with_offset(Some(&under), &from);
            let mut objects = Vec::new();
            while let Some(object) = found.next().await {
                let object = object?;
                let mut parts = object.location.prefix_match(&under).into_iter().flatten();
                let (Some(name), None) = (parts.next(), parts.next()) else { continue };
                if name.as_ref() >= end.as_str() || objects.len() >= NAMES_MAX {
                    break;
                }
                // Azurite lists from the beginning, wherever it is asked to begin.
                if name.as_ref() < start.as_str() {
                    continue;
                }
                objects.push(Object {
                    name: name.as_ref().to_owned(),
                    bytes: object.size,
                    stored: Timestamp::from_micros(object.last_modified.timestamp_micros()),
                });
            }
            objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok(objects)
        };
        let listed = self.run("list objects", |store| {
            list(store, under.clone(), from.clone(), start.clone(), end.clone())
        });
        permitted(listed)
    }

    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError> {
        let (under, stem) = (path(folder)?, stem.to_owned());
        let listed = self.run("list folders", |store| {
            let (under, stem) = (under.clone(), stem.clone());
            async move {
                let found = store.list_with_delimiter(Some(&under)).await?;
                let names = found.common_prefixes.iter().filter_map(|path| path.filename());
                let names = names.filter(|name| name.starts_with(&stem));
                let mut names: Vec<String> = names.map(str::to_owned).collect();
                names.sort_unstable();
                Ok(names)
            }
        });
        permitted(listed)
    }
}

fn permitted<T>(listed: Done<Vec<T>>) -> Result<Option<Vec<T>>, AdapterError> {
    match listed {
        Ok(found) => Ok(Some(found)),
        Err(Refused::Denied(_)) => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}
