//! A dataset in one file that grows: CSV, a JSON array, JSON lines. It is read from its beginning, since where
//! its last rows begin is not known; **a scan after another one reads only what came since.**

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use namel3ss_safety::ReadRow;

use super::batch::Builder;
use super::error::ScanError;
use super::raw::RawScan;
use super::reader::{DatasetReader, Description};
use super::scan::{Position, Scan};
use super::scanner::csv::Csv;
use super::scanner::item::Follow;
use super::scanner::objects::Objects;

const CHUNK_BYTES: usize = 256 << 10;
/// How long to wait for a batch that is being written.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(1);

/// A file of one format.
#[derive(Debug)]
pub(super) struct FileReader<S> {
    path: PathBuf,
    format: PhantomData<fn() -> S>,
}

/// What finds rows in a format.
pub(super) trait Format: Follow {
    /// At the beginning of a dataset's file.
    fn fresh() -> Self;
}

impl Format for Objects {
    fn fresh() -> Self {
        Self::default()
    }
}

impl Format for Csv {
    fn fresh() -> Self {
        Self::of_dataset()
    }
}

/// How far a file was read.
#[derive(Clone)]
struct Read<S> {
    scanner: S,
    /// Which file it was: a rotation puts another one there.
    file: u64,
}

impl<S: Format> FileReader<S> {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), format: PhantomData }
    }

    fn failed(&self, error: &io::Error) -> ScanError {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::NotFound => {
                ScanError::NotThere(format!("read {path}: nothing has been delivered there yet"))
            }
            _ => ScanError::Failed(format!("read {path}: {error}")),
        }
    }

    fn open(&self) -> Result<(File, Metadata), ScanError> {
        let file = File::open(&self.path).map_err(|error| self.failed(&error))?;
        let metadata = file.metadata().map_err(|error| self.failed(&error))?;
        Ok((file, metadata))
    }
}

impl<S: Format + std::fmt::Debug> DatasetReader for FileReader<S> {
    fn identity(&self) -> String {
        self.path.display().to_string()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        let (_, metadata) = self.open()?;
        Ok(Description {
            identity: self.identity(),
            bytes: Some(metadata.len()),
            ..Description::default()
        })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        let (mut file, metadata) = self.open()?;
        let before = scan.after.as_ref().map(Position::state::<Read<S>>).transpose()?;
        // Another file stands there, or somebody cut this one: begin again.
        let same = |read: &&Read<S>| {
            read.file == file_id(&metadata) && read.scanner.whole() <= metadata.len()
        };
        let follows = before.is_some();
        let mut read = before
            .filter(same)
            .cloned()
            .unwrap_or_else(|| Read { scanner: S::fresh(), file: file_id(&metadata) });
        // What stood behind the last whole row may have been overwritten: read it again.
        read.scanner.rewind();
        file.seek(SeekFrom::Start(read.scanner.whole())).map_err(|error| self.failed(&error))?;
        let reader = Self::new(&self.path);
        let settled = follows;
        Ok(Box::new(FileScan { reader, file, read, scan, unreadable: 0, ended: false, settled }))
    }
}

struct FileScan<S> {
    reader: FileReader<S>,
    file: File,
    read: Read<S>,
    scan: Scan,
    unreadable: u64,
    ended: bool,
    /// Whether its end was looked at while nobody was writing.
    settled: bool,
}

impl<S: Format> FileScan<S> {
    /// Reads a piece; false at the end of the file.
    fn piece(&mut self, chunk: &mut [u8]) -> Result<bool, ScanError> {
        loop {
            match self.file.read(chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.read.scanner.push(&chunk[..n]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.reader.failed(&error)),
            }
        }
    }

    /// Perhaps a batch was being written, for which whoever writes it holds a lock: waits for that, once.
    fn settle(&mut self) -> Result<(), ScanError> {
        let start = Instant::now();
        while self.file.try_lock_shared().is_err() && start.elapsed() < LOCK_WAIT_MAX {
            self.scan.check_deadline()?;
            std::thread::sleep(LOCK_LOOK);
        }
        self.read.scanner.rewind();
        let from = SeekFrom::Start(self.read.scanner.whole());
        self.file.seek(from).map_err(|error| self.reader.failed(&error))?;
        Ok(())
    }
}

impl<S: Format> RawScan for FileScan<S> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        let mut builder = Builder::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        while !builder.is_full() {
            match self.read.scanner.pop() {
                Some(item) => {
                    match item.value.map(ReadRow::from_json) {
                        Ok(Ok(row)) => builder.push(&row),
                        _ => self.unreadable += 1,
                    }
                    continue;
                }
                None if self.ended => break,
                None => {}
            }
            self.scan.check_deadline()?;
            if !self.piece(&mut chunk)? {
                match self.read.scanner.lacks().is_some() && !self.settled {
                    true => self.settle()?,
                    false => {
                        self.ended = true;
                        let _ = self.file.unlock();
                    }
                }
                self.settled = true;
            }
        }
        (!builder.is_empty()).then(|| builder.finish()).transpose()
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn position(&mut self) -> Option<Position> {
        self.ended.then(|| Position::new(self.read.clone()))
    }

    fn lacks(&mut self) -> Option<String> {
        let lacks = self.read.scanner.lacks().filter(|_| self.ended)?;
        let path = self.reader.path.display();
        Some(format!("{path}: {lacks}, its last batch was not written wholly"))
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
    use crate::read::batch::rows;
    use crate::read::batches::Batches;
    use std::fs::{OpenOptions, write};
    use std::io::Write as _;

    /// The ids of what comes behind `after`, how many rows were unreadable, and where to go on.
    fn poll(reader: &dyn DatasetReader, after: &mut Option<Position>) -> (Vec<String>, u64) {
        let scan = Scan { after: after.clone(), ..Scan::default() };
        let mut batches: Batches = reader.scan(scan).unwrap();
        let batches_of = batches.by_ref().map(Result::unwrap);
        let ids = batches_of
            .flat_map(|batch| rows(&batch).map(|row| row.event.event_id).collect::<Vec<_>>());
        let ids = ids.collect();
        *after = batches.position();
        (ids, batches.unreadable())
    }

    #[test]
    fn an_array_is_followed_past_its_closing_bracket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("safety.json");
        write(&path, "[\n{\"event_id\":\"a\"}\n]\n").unwrap();
        let (reader, mut after) = (FileReader::<Objects>::new(&path), None);
        let mut poll = || poll(&reader, &mut after);
        assert_eq!(poll(), (vec!["a".into()], 0));
        assert_eq!(poll(), (vec![], 0));
        write(&path, "[\n{\"event_id\":\"a\"},\n{\"event_id\":\"b\"},\n{\"event").unwrap();
        assert_eq!(poll(), (vec!["b".into()], 0));
        write(&path, "[\n{\"event_id\":\"a\"},\n{\"event_id\":\"b\"},\n{\"event_id\":\"c\"}]")
            .unwrap();
        assert_eq!(poll(), (vec!["c".into()], 0));
        write(&path, "[{\"event_id\":\"d\"}]").unwrap();
        assert_eq!(poll(), (vec!["d".into()], 0));
    }

    #[test]
    fn csv_is_followed_record_by_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("safety.csv");
        write(&path, "event_id,action\na,block\nb\nc,all").unwrap();
        let (reader, mut after) = (FileReader::<Csv>::new(&path), None);
        let mut poll = || poll(&reader, &mut after);
        assert_eq!(poll(), (vec!["a".into()], 1));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"ow\n").unwrap();
        assert_eq!(poll(), (vec!["c".into()], 0));
    }
}
