//! A table of a database server as something to scan. Changes nothing.
//!
//! A scan looks at one state of the table: first at all rows by the moment of their events, or the latest
//! first; a later one, from its position, at what was stored since, journal by journal. Rows come a page
//! at a time, of one statement. **Limits:** rows of a replayed fallback file that come after later rows of
//! their journal are not given by a later scan. A table without a `timestamp` column has the moments in
//! its metadata: all of its rows come journal by journal, and the latest are found without an index.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use namel3ss_safety::internal::parse;
use namel3ss_safety::{JournalId, PerProcess, ReadError, ReadRow, Timestamp};
use serde_json::{Map, Value as Json};

use super::address::{Kind, Server};
use super::exact::restore;
use crate::read::batch::{Builder, Columns};
use crate::read::error::ScanError;
use crate::read::filter::Op;
use crate::read::pushed::Value;
use crate::read::raw::RawScan;
use crate::read::reader::{DatasetReader, Description};
use crate::read::scan::{Position, Scan};
use crate::url::OpenError;

/// How many rows are in memory at once, at the most.
const PAGE_ROWS: usize = 500;

/// What a server's driver does for a scan.
pub(crate) trait Rows: fmt::Debug + Send {
    /// Connects where it is not, and begins to look at one state of the table.
    fn begin(&mut self, deadline: Option<Instant>) -> Result<Found, ScanError>;

    /// Each journal in the table with its last seq.
    fn heads(&mut self) -> Result<Vec<(String, u64)>, ScanError>;

    /// What of `scan` the server can decide.
    fn conditions(&self, scan: &Scan, found: &Found) -> (Vec<String>, Vec<Value>);

    /// Begins to ask for rows; of an answer before it nothing more comes.
    fn ask(&mut self, query: &Query<'_>) -> Result<(), ScanError>;

    /// The next rows of the answer, as JSON of their columns; none at its end.
    fn page(&mut self) -> Result<Vec<Map<String, Json>>, ScanError>;

    /// The moments of the oldest and the newest row, by their column, and about how many bytes the table
    /// takes.
    fn extent(&mut self, found: &Found) -> Result<[Option<String>; 3], ScanError>;

    /// The tables that are there.
    fn tables(&mut self) -> Result<Vec<String>, ScanError>;

    /// Ends what `begin` began.
    fn end(&mut self);
}

/// A table as it was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) columns: Vec<Column>,
    /// No row can be there twice.
    pub(crate) has_key: bool,
    /// The server takes any character.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "for PostgreSQL"))]
    pub(crate) is_utf8: bool,
    /// The index that has the rows in the order of their moments, where it has to be named.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "for MySQL"))]
    pub(crate) by_time: Option<String>,
}

/// A column of it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// As a row has it.
    pub(crate) name: String,
    /// Its type, in the server's own words.
    pub(crate) sql_type: String,
    /// Its character set, where it has one of its own.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "for MySQL"))]
    pub(crate) charset: Option<String>,
}

impl Found {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// Whether there are no columns but ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.columns.iter().all(|column| Columns::default().has(&column.name))
    }

    /// Whether rows are needed whole: what fits nowhere else goes to the metadata; what has no column of its
    /// own name may be in one that is called nearly so, or in the metadata.
    fn needs_all(&self, wanted: Columns) -> bool {
        wanted.has("metadata") || !wanted.names().all(|name| self.has(name))
    }
}

/// What to ask for.
#[derive(Debug)]
pub(crate) struct Query<'q> {
    pub(crate) found: &'q Found,
    /// The columns; all where there are none. Of the metadata, only those that hold what is exact.
    pub(crate) columns: Vec<&'q str>,
    /// Conditions that must all hold, and the values in them.
    pub(crate) conditions: &'q [String],
    pub(crate) values: &'q [Value],
    /// The order, in SQL.
    pub(crate) order: String,
    /// Few rows are expected, so that they are better sorted than found in their order.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "for MySQL"))]
    pub(crate) finds_few: bool,
    pub(crate) limit: Option<usize>,
    /// How many rows come at once, at the most.
    pub(crate) page: usize,
}

impl Query<'_> {
    /// The end of the statement, behind the table's name.
    pub(crate) fn rest(&self) -> String {
        let mut rest = String::new();
        if !self.conditions.is_empty() {
            rest = format!("WHERE {}", self.conditions.join(" AND "));
        }
        rest = format!("{rest} ORDER BY {}", self.order);
        self.limit.map_or(rest.clone(), |limit| format!("{rest} LIMIT {limit}"))
    }
}

/// A connection that no scan uses now.
type Idle = Arc<PerProcess<Option<Box<dyn Rows>>>>;

/// A table of a database server. Changes nothing.
#[derive(Debug)]
pub struct ServerReader {
    server: Server,
    idle: Idle,
}

impl ServerReader {
    /// Of the table that `server` names; connects at the first scan.
    ///
    /// # Errors
    /// If this build has no driver for such a server.
    pub fn new(server: Server) -> Result<Self, OpenError> {
        let rows = rows(server.clone())?;
        Ok(Self { server, idle: Arc::new(PerProcess::new(Some(rows))) })
    }

    fn begin(&self, deadline: Option<Instant>) -> Result<(Looking, Found), ScanError> {
        let rows = self.idle.lock(|| None).take();
        let rows = match rows {
            Some(rows) => rows,
            None => rows_again(&self.server)?,
        };
        let mut looking = Looking { rows: Some(rows), idle: self.idle.clone() };
        let found = looking.rows()?.begin(deadline).map_err(|error| self.about(error))?;
        Ok((looking, found))
    }

    fn about(&self, error: ScanError) -> ScanError {
        let about = |text: &str| {
            format!("read {}: {}", self.server.identity(), ReadError::Dataset(text.to_owned()))
        };
        match error {
            ScanError::NotThere(text) => {
                ScanError::NotThere(format!("{}; name one with ?table=NAME", about(&text)))
            }
            ScanError::Failed(text) => ScanError::Failed(about(&text)),
            other => other,
        }
    }
}

fn rows(server: Server) -> Result<Box<dyn Rows>, OpenError> {
    match server.kind {
        #[cfg(feature = "postgres")]
        Kind::Postgres => {
            use crate::postgres::connect::Conn;
            Ok(Box::new(super::reading::Reading::<Conn, usize>::new(server)))
        }
        #[cfg(feature = "mysql")]
        Kind::Mysql => {
            use crate::mysql::answer::Answer;
            Ok(Box::new(super::reading::Reading::<mysql_async::Conn, Answer>::new(server)))
        }
        #[cfg(not(all(feature = "postgres", feature = "mysql")))]
        kind => Err(OpenError::NotInThisBuild { scheme: kind.scheme() }),
    }
}

fn rows_again(server: &Server) -> Result<Box<dyn Rows>, ScanError> {
    rows(server.clone()).map_err(|error| ScanError::Config(error.to_string()))
}

/// A look at one state of a table, which leaves the connection to the next one.
struct Looking {
    rows: Option<Box<dyn Rows>>,
    idle: Idle,
}

impl Looking {
    fn rows(&mut self) -> Result<&mut dyn Rows, ScanError> {
        // It is there until this is dropped.
        match &mut self.rows {
            Some(rows) => Ok(&mut **rows),
            None => Err(ScanError::Failed("go on: it has ended".to_owned())),
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(mut rows) = self.rows.take() {
            rows.end();
            *self.idle.lock(|| None) = Some(rows);
        }
    }
}

impl DatasetReader for ServerReader {
    fn identity(&self) -> String {
        self.server.identity()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        let (mut looking, found) = self.begin(None)?;
        let rows = looking.rows()?;
        let tables = rows.tables().map_err(|error| self.about(error))?;
        let [first, last, bytes] = rows.extent(&found).map_err(|error| self.about(error))?;
        let moment = |text: Option<String>| -> Option<Timestamp> { parse::moment_of_text(&text?) };
        Ok(Description {
            identity: self.identity(),
            tables,
            columns: found.columns.into_iter().map(|column| column.name).collect(),
            time_range: moment(first).zip(moment(last)),
            rows: None,
            bytes: bytes.and_then(|bytes| bytes.parse().ok()),
        })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        type Heads = BTreeMap<JournalId, u64>;
        let after: Option<&Heads> = scan.after.as_ref().map(Position::state).transpose()?;
        let (mut looking, found) = self.begin(scan.deadline)?;
        let rows = looking.rows()?;
        if !(found.has("journal_id") && found.has("seq")) {
            let text = "its table has no columns journal_id and seq: read it with the server's own \
                        tools";
            return Err(self.about(ScanError::Failed(text.to_owned())));
        }
        let (conditions, values) = rows.conditions(&scan, &found);
        let mut heads = Heads::new();
        for (id, seq) in rows.heads().map_err(|error| self.about(error))? {
            if let Ok(id) = id.replace('-', "").parse::<JournalId>() {
                heads.insert(id, seq);
            }
        }
        let mut parts = VecDeque::new();
        let newest_first = scan.newest_first && after.is_none();
        match after {
            None => parts.push_back(None),
            Some(after) => {
                let since = heads.iter().map(|(id, head)| {
                    let after = after.get(id).copied().unwrap_or(0);
                    (after < *head).then(|| {
                        let id = id.to_string();
                        format!("journal_id = '{id}' AND seq > {after} AND seq <= {head}")
                    })
                });
                parts.extend(since.flatten().map(Some));
            }
        }
        let columns = match found.needs_all(scan.columns) {
            true => Vec::new(),
            false => scan.columns.names().collect(),
        };
        let order = match after {
            None => order(self.server.kind, found.has("timestamp"), newest_first),
            Some(_) => "seq".to_owned(),
        };
        Ok(Box::new(Scanning {
            reader: Self { server: self.server.clone(), idle: self.idle.clone() },
            finds_few: finds_few(&scan),
            limit: scan.limit.filter(|_| newest_first && scan.takes_all() && found.has_key),
            page: scan.limit.filter(|_| newest_first).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS),
            looking,
            found,
            columns,
            conditions,
            values,
            order,
            parts,
            heads,
            newest_first,
            asked: false,
            ended: false,
            unreadable: 0,
        }))
    }
}

/// The order of all rows.
fn order(kind: Kind, has_time: bool, newest_first: bool) -> String {
    if has_time {
        let time = kind.quoted("timestamp");
        return match newest_first {
            true => format!("{time} DESC, journal_id DESC, seq DESC"),
            false => format!("{time}, journal_id, seq"),
        };
    }
    if !newest_first {
        return "journal_id, seq".to_owned();
    }
    let time = match kind {
        Kind::Postgres => {
            "COALESCE(metadata::jsonb ->> 'row.timestamp', metadata::jsonb ->> 'timestamp', '')"
        }
        Kind::Mysql => {
            "COALESCE(JSON_UNQUOTE(JSON_EXTRACT(metadata, '$.\"row.timestamp\"')), \
             JSON_UNQUOTE(JSON_EXTRACT(metadata, '$.timestamp')), '')"
        }
    };
    format!("{time} DESC, journal_id DESC, seq DESC")
}

/// Whether a scan looks for something that few rows have, such as one trace.
fn finds_few(scan: &Scan) -> bool {
    scan.filter.conditions().iter().any(|condition| {
        condition.op() == Op::Is
            && !condition.value().is_empty()
            && ["event_id", "trace_id", "session_id", "user_id", "timestamp"]
                .contains(&condition.field())
    })
}

/// A scan of a table.
struct Scanning {
    reader: ServerReader,
    looking: Looking,
    found: Found,
    columns: Vec<&'static str>,
    conditions: Vec<String>,
    values: Vec<Value>,
    order: String,
    finds_few: bool,
    limit: Option<usize>,
    page: usize,
    /// What is to be asked for, one after the other: a further condition of each.
    parts: VecDeque<Option<String>>,
    asked: bool,
    newest_first: bool,
    heads: BTreeMap<JournalId, u64>,
    ended: bool,
    unreadable: u64,
}

impl Scanning {
    fn page(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        let rows = self.looking.rows()?;
        while let Some(part) = self.parts.front() {
            if !self.asked {
                let conditions: Vec<String> =
                    part.iter().chain(&self.conditions).cloned().collect();
                rows.ask(&Query {
                    found: &self.found,
                    columns: self.columns.clone(),
                    conditions: &conditions,
                    values: &self.values,
                    order: self.order.clone(),
                    finds_few: self.finds_few || part.is_some(),
                    limit: self.limit,
                    page: self.page,
                })?;
                self.asked = true;
            }
            let page = rows.page()?;
            if page.is_empty() {
                self.parts.pop_front();
                self.asked = false;
                continue;
            }
            let mut builder = Builder::default();
            for fields in page {
                match row(fields) {
                    Some(row) => builder.push(&row),
                    None => self.unreadable += 1,
                }
            }
            return builder.finish().map(Some);
        }
        Ok(None)
    }
}

impl RawScan for Scanning {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.page().map_err(|error| self.reader.about(error));
        self.ended = !matches!(page, Ok(Some(_)));
        page
    }

    fn is_newest_first(&self) -> bool {
        self.newest_first
    }

    fn is_unique(&self) -> bool {
        self.found.has_key
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position::new(self.heads.clone()))
    }
}

/// A row from the JSON of its columns.
fn row(mut fields: Map<String, Json>) -> Option<ReadRow> {
    if let Some(Json::String(id)) = fields.get_mut("journal_id") {
        id.retain(|c| c != '-');
    }
    // Where JSON is text.
    if let Some(Json::String(text)) = fields.get("metadata")
        && let Ok(metadata @ Json::Object(_)) = serde_json::from_str(text)
    {
        fields.insert("metadata".to_owned(), metadata);
    }
    restore(&mut fields);
    ReadRow::from_json(Json::Object(fields)).ok()
}
