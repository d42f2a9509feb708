//! Rows of a server's table, read back: for `tail`, `stats`, tests and exports. Changes nothing.
//!
//! The first look gives all rows, or the newest, by the moment of their events; a further look gives
//! what was stored since, journal by journal. **Limits:** rows of a replayed fallback file that come
//! after later rows of their journal are not given by a further look. A table without a `timestamp`
//! column has the moments in its metadata: all of its rows come journal by journal, and the newest
//! are found without an index.

use std::collections::BTreeMap;

use namel3ss_safety::JournalId;
use namel3ss_safety::{ReadError, ReadRow};
use serde_json::{Map, Value};

use super::address::{Kind, Server};
use super::exact::restore;
use crate::url::OpenError;

/// How many rows are in memory at once.
const PAGE_ROWS: usize = 500;

/// What a server's driver does for a reader.
pub(crate) trait Rows: std::fmt::Debug + Send {
    /// Connects where it is not, and begins to look at one state of the table; which of the columns
    /// `journal_id`, `seq` and `timestamp` it has.
    fn begin(&mut self) -> Result<[bool; 3], ReadError>;
    /// Each journal in the table with its last seq.
    fn heads(&mut self) -> Result<Vec<(String, u64)>, ReadError>;
    /// `SELECT` of whole rows, as JSON of their columns, with what follows `FROM table`.
    fn select(&mut self, rest: &str) -> Result<Vec<Map<String, Value>>, ReadError>;
    /// Ends what `begin` began.
    fn end(&mut self);
}

/// Reads a table of a server, on and on.
#[derive(Debug)]
pub struct Reader {
    rows: Box<dyn Rows>,
    kind: Kind,
    /// Whether the table has a column for the moment of an event.
    has_time: bool,
    /// How far each journal was given; none before the first look.
    given: Option<BTreeMap<JournalId, u64>>,
}

impl Reader {
    /// A reader of `server`; connects at the first look.
    ///
    /// # Errors
    /// If this build has no driver for such a server.
    pub fn open(server: Server) -> Result<Self, OpenError> {
        let kind = server.kind;
        Ok(Self { rows: rows(server)?, kind, has_time: true, given: None })
    }

    /// Gives `each` every row that was not given yet; the first time perhaps only the `newest`. What
    /// `each` is given instead of a row that makes no sense says why. `each` ends it by an error,
    /// which is returned as it is.
    ///
    /// # Errors
    /// If the table is not there or can't be read.
    pub fn poll<E: From<ReadError>>(
        &mut self,
        newest: Option<u32>,
        each: &mut dyn FnMut(Result<ReadRow, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let done = self.look(newest, each);
        self.rows.end();
        done
    }

    fn look<E: From<ReadError>>(
        &mut self,
        newest: Option<u32>,
        each: &mut dyn FnMut(Result<ReadRow, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let [has_journal, has_seq, has_time] = self.rows.begin()?;
        if !(has_journal && has_seq) {
            let text = "its table has no columns journal_id and seq: read it with the server's own \
                        tools";
            return Err(ReadError::Dataset(text.to_owned()).into());
        }
        self.has_time = has_time;
        let mut heads = BTreeMap::new();
        for (id, seq) in self.rows.heads()? {
            if let Ok(id) = id.replace('-', "").parse::<JournalId>() {
                heads.insert(id, seq);
            }
        }
        match self.given.take() {
            None => match newest {
                Some(rows) => self.newest(rows, each)?,
                None if has_time => self.all(each)?,
                None => {
                    heads.iter().try_for_each(|(id, head)| self.journal(*id, 0, *head, each))?;
                }
            },
            Some(given) => {
                for (id, head) in &heads {
                    let after = given.get(id).copied().unwrap_or(0);
                    if after < *head {
                        self.journal(*id, after, *head, each)?;
                    }
                }
            }
        }
        self.given = Some(heads);
        Ok(())
    }

    /// The moment of a row's event, to order by.
    fn moment(&self) -> String {
        match self.kind {
            kind if self.has_time => kind.quoted("timestamp"),
            Kind::Postgres => "COALESCE(metadata::jsonb ->> 'row.timestamp', \
                               metadata::jsonb ->> 'timestamp', '')"
                .to_owned(),
            Kind::Mysql => "COALESCE(JSON_UNQUOTE(JSON_EXTRACT(metadata, '$.\"row.timestamp\"')), \
                            JSON_UNQUOTE(JSON_EXTRACT(metadata, '$.timestamp')), '')"
                .to_owned(),
        }
    }

    fn newest<E: From<ReadError>>(
        &mut self,
        rows: u32,
        each: &mut dyn FnMut(Result<ReadRow, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let time = self.moment();
        let rest = format!("ORDER BY {time} DESC, journal_id DESC, seq DESC LIMIT {rows}");
        let mut page = self.rows.select(&rest)?;
        page.reverse();
        page.into_iter().enumerate().try_for_each(|(at, row)| each(read(row, at)))
    }

    fn all<E: From<ReadError>>(
        &mut self,
        each: &mut dyn FnMut(Result<ReadRow, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let time = self.kind.quoted("timestamp");
        let mut after = String::new();
        let mut number = 0;
        loop {
            let rest = format!("{after} ORDER BY {time}, journal_id, seq LIMIT {PAGE_ROWS}");
            let page = self.rows.select(&rest)?;
            let whole = page.len() == PAGE_ROWS;
            if let Some(last) = page.last() {
                let (moment, id, seq) =
                    (literal(last, "timestamp"), literal(last, "journal_id"), literal(last, "seq"));
                // As one comparison of rows, an index on the moment would not be used by all.
                after = format!(
                    "WHERE {time} >= {moment} AND ({time} > {moment} OR journal_id > {id} \
                     OR (journal_id = {id} AND seq > {seq}))"
                );
            }
            for row in page {
                each(read(row, number))?;
                number += 1;
            }
            if !whole {
                return Ok(());
            }
        }
    }

    fn journal<E: From<ReadError>>(
        &mut self,
        id: JournalId,
        mut after: u64,
        head: u64,
        each: &mut dyn FnMut(Result<ReadRow, ReadError>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let page = self.rows.select(&format!(
                "WHERE journal_id = '{id}' AND seq > {after} AND seq <= {head} ORDER BY seq \
                 LIMIT {PAGE_ROWS}"
            ))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.get("seq").and_then(Value::as_u64).unwrap_or(head);
            page.into_iter().enumerate().try_for_each(|(at, row)| each(read(row, at)))?;
            if after >= head {
                return Ok(());
            }
        }
    }
}

fn rows(server: Server) -> Result<Box<dyn Rows>, OpenError> {
    match server.kind {
        #[cfg(feature = "postgres")]
        Kind::Postgres => {
            Ok(Box::new(super::reading::Reading::<crate::postgres::connect::Conn>::new(server)))
        }
        #[cfg(feature = "mysql")]
        Kind::Mysql => Ok(Box::new(super::reading::Reading::<mysql_async::Conn>::new(server))),
        #[cfg(not(all(feature = "postgres", feature = "mysql")))]
        kind => Err(OpenError::NotInThisBuild { scheme: kind.scheme() }),
    }
}

/// A value of the last row, for the condition of the next page. These columns hold moments, ids and
/// numbers: what has another character in it is none of ours, and compares as the empty text.
fn literal(row: &Map<String, Value>, name: &str) -> String {
    match row.get(name) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || " .:+-".contains(c);
            format!("'{}'", if text.chars().all(plain) { text } else { "" })
        }
        _ => "''".to_owned(),
    }
}

/// A row from the JSON of its columns.
fn read(mut fields: Map<String, Value>, at: usize) -> Result<ReadRow, ReadError> {
    if let Some(Value::String(id)) = fields.get_mut("journal_id") {
        id.retain(|c| c != '-');
    }
    // Where JSON is text.
    if let Some(Value::String(text)) = fields.get("metadata")
        && let Ok(metadata @ Value::Object(_)) = serde_json::from_str(text)
    {
        fields.insert("metadata".to_owned(), metadata);
    }
    restore(&mut fields);
    ReadRow::from_json(Value::Object(fields))
        .map_err(|error| ReadError::Row { number: at as u64 + 1, wrong: error.to_string() })
}
