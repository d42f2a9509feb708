//! A dataset in a table of a database server, read without writing anything to it.

use namel3ss_safety::ReadError;
use namel3ss_safety_stores::server::{Reader, Server};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

/// A table, and how far it was read.
pub(crate) struct Rows {
    server: Server,
    reader: Option<Reader>,
    newest: Option<u32>,
}

impl Rows {
    pub(crate) fn new(server: &Server) -> Self {
        Self { server: server.clone(), reader: None, newest: None }
    }
}

/// Of the reading itself, or of whoever takes the records.
enum Stopped {
    Read(ReadError),
    Taken(Error),
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Source for Rows {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(
                Reader::open(self.server.clone()).map_err(|e| Error::usage(e.to_string()))?,
            ),
        };
        let mut unreadable = 0;
        let polled = reader.poll(self.newest.take(), &mut |row| match row {
            Ok(row) => each(Record { event: row.event, place: row.id }).map_err(Stopped::Taken),
            Err(_) => {
                unreadable += 1;
                Ok(())
            }
        });
        polled.map(|()| unreadable).map_err(|stopped| match stopped {
            Stopped::Taken(error) => error,
            Stopped::Read(error) => {
                let text = format!("read {}: {error}", self.server.identity());
                if text.contains("no table") {
                    Error::not_there(format!("{text}; name one with ?table=NAME"))
                } else {
                    Error::failed(text)
                }
            }
        })
    }

    fn only_newest(&mut self, rows: u32) {
        self.newest = Some(rows);
    }
}
