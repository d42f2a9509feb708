//! A dataset in one file that grows: CSV, a JSON array, JSON lines.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Each, Source};
use crate::error::Error;
use crate::input::{Csv, Follow, Objects};
use crate::record::Record;

const CHUNK_BYTES: usize = 256 << 10;
/// How long to wait for a batch that is being written.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// A file and how far it was read.
pub(crate) struct Growing<S> {
    path: PathBuf,
    fresh: fn() -> S,
    scanner: S,
    file: Option<u64>,
}

impl Growing<Objects> {
    pub(crate) fn json(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            fresh: Objects::default,
            scanner: Objects::default(),
            file: None,
        }
    }
}

impl Growing<Csv> {
    pub(crate) fn csv(path: &Path) -> Self {
        let fresh = Csv::of_dataset;
        Self { path: path.to_owned(), fresh, scanner: fresh(), file: None }
    }
}

impl<S: Follow> Growing<S> {
    fn failed(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_there(format!(
                "read {}: nothing has been delivered there yet",
                self.path.display()
            )),
            _ => Error::failed(format!("read {}: {error}", self.path.display())),
        }
    }

    fn drain(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let mut unreadable = 0;
        while let Some(item) = self.scanner.pop() {
            match item.value.and_then(Record::from_row) {
                Ok(record) => each(record)?,
                Err(_) => unreadable += 1,
            }
        }
        Ok(unreadable)
    }
}

impl<S: Follow> Source for Growing<S> {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let mut file = File::open(&self.path).map_err(|e| self.failed(&e))?;
        let metadata = file.metadata().map_err(|e| self.failed(&e))?;
        // A rotation put another file there, or somebody cut this one: begin again.
        let replaced = self.file.is_some_and(|id| id != file_id(&metadata));
        if replaced || metadata.len() < self.scanner.whole() {
            self.scanner = (self.fresh)();
        }
        self.file = Some(file_id(&metadata));
        // What stood behind the last whole row may have been overwritten: read it again.
        self.scanner.rewind();
        file.seek(SeekFrom::Start(self.scanner.whole())).map_err(|e| self.failed(&e))?;
        let mut unreadable = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => self.scanner.push(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.failed(&e)),
            }
            unreadable += self.drain(each)?;
        }
        Ok(unreadable)
    }

    fn lacks(&mut self, each: Each<'_>) -> Result<Option<String>, Error> {
        if self.scanner.lacks().is_none() {
            return Ok(None);
        }
        // Perhaps a batch was being written: whoever writes one holds this lock.
        let file = File::open(&self.path).map_err(|e| self.failed(&e))?;
        let start = Instant::now();
        while file.try_lock_shared().is_err() && start.elapsed() < LOCK_WAIT_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.poll(each)?;
        Ok(self.scanner.lacks().map(|lacks| {
            format!("{}: {lacks}, its last batch was not written wholly", self.path.display())
        }))
    }
}

#[cfg(unix)]
fn file_id(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.ino()
}

#[cfg(not(unix))]
fn file_id(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{OpenOptions, write};
    use std::io::Write as _;

    fn poll(source: &mut dyn Source) -> (Vec<String>, u64) {
        let mut ids = Vec::new();
        let unreadable = source.poll(&mut |record| {
            ids.push(record.event.event_id);
            Ok(())
        });
        (ids, unreadable.unwrap())
    }

    #[test]
    fn an_array_is_followed_past_its_closing_bracket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("safety.json");
        write(&path, "[\n{\"event_id\":\"a\"}\n]\n").unwrap();
        let mut source = Growing::json(&path);
        assert_eq!(poll(&mut source), (vec!["a".into()], 0));
        assert_eq!(poll(&mut source), (vec![], 0));
        write(&path, "[\n{\"event_id\":\"a\"},\n{\"event_id\":\"b\"},\n{\"event").unwrap();
        assert_eq!(poll(&mut source), (vec!["b".into()], 0));
        write(&path, "[\n{\"event_id\":\"a\"},\n{\"event_id\":\"b\"},\n{\"event_id\":\"c\"}]")
            .unwrap();
        assert_eq!(poll(&mut source), (vec!["c".into()], 0));
        write(&path, "[{\"event_id\":\"d\"}]").unwrap();
        assert_eq!(poll(&mut source), (vec!["d".into()], 0));
    }

    #[test]
    fn csv_is_followed_record_by_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("safety.csv");
        write(&path, "event_id,action\na,block\nb\nc,all").unwrap();
        let mut source = Growing::csv(&path);
        assert_eq!(poll(&mut source), (vec!["a".into()], 1));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"ow\n").unwrap();
        assert_eq!(poll(&mut source), (vec!["c".into()], 0));
    }
}
