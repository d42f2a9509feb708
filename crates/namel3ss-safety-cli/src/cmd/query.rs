//! `query`: SQL over datasets.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use namel3ss_safety_query::{Database, QueryError, Rows, Value};

use crate::context::Context;
use crate::error::Error;
use crate::escape::{escape, is_hostile};
use crate::exit::Exit;
use crate::out::{Cell, Format, Out};
use crate::place::{self, Place};
use crate::source;
use crate::style::Style;

/// The table that the dataset is.
const EVENTS: &str = "events";
/// How many rows a person is shown without --limit.
const ROWS_SHOWN: u64 = 10_000;
/// How much text a table holds before its columns have a width.
const SHOWN_BYTES_MAX: usize = 64 << 20;
/// More than any statement may have.
const SQL_BYTES_MAX: u64 = 1 << 20;
/// The longest line of a statement that is shown with what is wrong in it.
const LINE_MAX: usize = 200;

/// Ask SQL of datasets
///
/// SQLite's dialect; a dataset is the table events: the 17 fields of an event, journal_id and seq, with
/// categories and metadata as JSON. It is read, never written. timestamp is UTC, and compares with any
/// form of a moment.
#[derive(Debug, Args)]
#[command(after_help = "Formats, with -o:
  table     for a person; the default on a terminal
  ndjson    a JSON object a line; the default elsewhere
  json, csv, markdown
  Control characters are escaped; json and ndjson read back as they were, csv with --raw.

Functions beside SQLite's own:
  ago('1 day')                 that long before now
  bucket('1 hour', timestamp)  the beginning of the hour
  percentile(latency_ms, 95)
  reason regexp 'key|token'    a regular expression

Examples:
  n3-safety query 'select action, count(*) n from events group by 1'
  n3-safety query \"select * from events where timestamp > ago('1 day')\" -o csv
  n3-safety query --param user=u-17 'select * from events where user_id = :user'
  n3-safety query --from events.csv --from old=old.db 'select count(*) from events, old'")]
pub(crate) struct Query {
    /// The statement; a ; behind it is fine
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    sql: Option<String>,
    /// Read the statement from a file, or from standard input with -
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the table events is: a URL or path, as tail takes it; with NAME= before it, a further table
    /// [default: the default dataset]
    #[arg(long, value_name = "[NAME=]URL|PATH")]
    from: Vec<String>,
    /// The value of :NAME in the statement
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, String)>,
    /// At most so many rows; for a person 10000 without this
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// End after this time
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = crate::span::span)]
    timeout: Duration,
    /// How much memory this program may take, in MiB of address space
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..))]
    memory: u64,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim_start_matches(':').to_owned(), value.to_owned()))
        }
        _ => Err("a parameter is NAME=VALUE".to_owned()),
    }
}

impl Query {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let sql = self.statement(context)?;
        if context.interrupt.is_of_process() {
            limit_memory(self.memory);
        }
        let mut database = self.database()?;
        database.set_deadline(Instant::now().checked_add(self.timeout));
        let format = context.output.unwrap_or(match context.stdout_is_terminal {
            true => Format::Text,
            false => Format::Ndjson,
        });
        let mut printed = Printed::new(format);
        let exit = match self.print(&mut database, &sql, &mut printed, &mut context.out) {
            Ok(exit) => {
                printed.end(&mut context.out)?;
                exit
            }
            Err(Stopped::Output(error)) => return Err(error),
            Err(Stopped::Query(error)) => {
                if matches!(error, QueryError::Deadline | QueryError::TooLarge(_)) {
                    printed.end(&mut context.out)?;
                }
                context.out.flush()?;
                return self.refuse(error, &sql, printed.rows, context);
            }
            Err(Stopped::Cut(why)) => {
                printed.end(&mut context.out)?;
                context.out.flush()?;
                tell_cut(context, printed.rows, &why);
                Exit::Partial
            }
        };
        context.out.flush()?;
        Ok(if tell_unread(&database, context) { Exit::Partial } else { exit })
    }

    fn statement(&self, context: &mut Context) -> Result<String, Error> {
        let Some(path) = &self.file else { return Ok(self.sql.clone().unwrap_or_default()) };
        let mut sql = String::new();
        let read = match path.as_os_str() == "-" {
            true => (&mut context.stdin).take(SQL_BYTES_MAX).read_to_string(&mut sql),
            false => std::fs::File::open(path)
                .and_then(|file| file.take(SQL_BYTES_MAX).read_to_string(&mut sql)),
        };
        read.map_err(|error| Error::usage(format!("read {}: {error}", path.display())))?;
        Ok(sql)
    }

    fn database(&self) -> Result<Database, Error> {
        let failed = |error: QueryError| Error::usage(format!("make the tables: {error}"));
        let mut database = Database::new().map_err(|error| Error::failed(error.to_string()))?;
        let named: Vec<_> = self.from.iter().map(|from| named(from)).collect();
        if named.iter().all(|(name, _)| *name != EVENTS) {
            match place::default_dataset() {
                Ok(place) => {
                    database.add(EVENTS, source::reader(&place)?.into()).map_err(failed)?
                }
                // It is not asked for.
                Err(_) if !named.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        for (name, url) in named {
            let reader = source::reader(&Place::parse(url)?)?;
            database.add(name, reader.into()).map_err(failed)?;
        }
        Ok(database)
    }

    fn print(
        &self,
        database: &mut Database,
        sql: &str,
        printed: &mut Printed,
        out: &mut Out,
    ) -> Result<Exit, Stopped> {
        let mut statement = database.prepare(sql)?;
        for (name, text) in &self.param {
            statement.bind(name, value(text))?;
        }
        printed.begin(statement.columns(), out)?;
        let is_shown = matches!(printed.format, Format::Text | Format::Markdown);
        let (limit, by) = match self.limit {
            Some(limit) => (limit, "--limit"),
            None if is_shown => (ROWS_SHOWN, "set another with --limit"),
            None => (u64::MAX, ""),
        };
        let mut rows: Rows<'_> = statement.rows()?;
        while let Some(row) = rows.next_row()? {
            if printed.rows == limit {
                return Err(Stopped::Cut(by.to_owned()));
            }
            if printed.bytes > SHOWN_BYTES_MAX {
                return Err(Stopped::Cut("a table has no more room: use -o ndjson".to_owned()));
            }
            printed.row(row.values(), out)?;
        }
        Ok(Exit::Ok)
    }

    /// Says why a statement did not end by itself.
    fn refuse(
        &self,
        error: QueryError,
        sql: &str,
        rows: u64,
        context: &mut Context,
    ) -> Result<Exit, Error> {
        match error {
            QueryError::Sql { message, at } => {
                context.err.say(Style::Bad, "n3-safety:", &message);
                for line in at.and_then(|at| pointed_at(sql, at)).into_iter().flatten() {
                    context.err.note(&format!("  {line}"));
                }
                Ok(Exit::Usage)
            }
            QueryError::NotAllowed(message) => {
                context.err.say(Style::Bad, "n3-safety:", &message);
                Ok(Exit::Usage)
            }
            QueryError::Scan(error) => Err(error.into()),
            QueryError::Deadline => {
                let span = humantime::format_duration(self.timeout);
                tell_cut(context, rows, &format!("--timeout {span}"));
                Ok(Exit::Partial)
            }
            QueryError::TooLarge(what) => {
                tell_cut(context, rows, &what);
                Ok(Exit::Partial)
            }
            other => Err(Error::failed(other.to_string())),
        }
    }
}

/// The table's name, and the dataset.
fn named(from: &str) -> (&str, &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match from.split_once('=') {
        Some((name, url)) if !name.is_empty() && name.chars().all(is_word) => (name, url),
        _ => (EVENTS, from),
    }
}

/// A parameter's value: a number, where it is written as numbers are.
fn value(text: &str) -> Value<'_> {
    if let Some(number) = text.parse().ok().filter(|number: &i64| number.to_string() == text) {
        return Value::Integer(number);
    }
    match text.parse::<f64>().ok().filter(|number| number.is_finite() && real(*number) == text) {
        Some(number) => Value::Real(number),
        None => text.into(),
    }
}

/// The line of the statement that is wrong, and a mark below the word.
fn pointed_at(sql: &str, at: usize) -> Option<[String; 2]> {
    let start = sql.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = sql[start..].lines().next()?.trim_end();
    if line.len() > LINE_MAX || line.chars().any(is_hostile) || at > start + line.len() {
        return None;
    }
    let before = sql[start..at].chars().count();
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let word = sql[at..].chars().take_while(is_word).count().max(1);
    Some([line.to_owned(), format!("{}{}", " ".repeat(before), "^".repeat(word))])
}

fn tell_cut(context: &mut Context, rows: u64, why: &str) {
    let noun = if rows == 1 { "row" } else { "rows" };
    context.err.say(Style::Bad, "n3-safety:", &format!("cut after {rows} {noun} ({why})"));
}

/// Says what could not be read; whether there is such a thing.
fn tell_unread(database: &Database, context: &mut Context) -> bool {
    let unreadable = database.unreadable();
    for (table, rows) in &unreadable {
        let text = format!("{rows} rows of {table} could not be read and were left out");
        context.err.say(Style::Warn, "warning:", &text);
    }
    let lacks = database.lacks();
    for what in &lacks {
        context.err.say(Style::Warn, "warning:", what);
    }
    !unreadable.is_empty() || !lacks.is_empty()
}

/// Limits the address space of this process: what a statement sorts or groups is in memory.
fn limit_memory(mib: u64) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::As);
        let wanted = mib.saturating_mul(1 << 20);
        limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        // Where it can't be set, the statement still has its time.
        let _ = setrlimit(Resource::As, limit);
    }
    #[cfg(not(unix))]
    let _ = mib;
}

/// Why no more rows are printed.
enum Stopped {
    Query(QueryError),
    Output(Error),
    Cut(String),
}

impl From<QueryError> for Stopped {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Output(error)
    }
}

/// Rows on their way to standard output.
struct Printed {
    format: Format,
    names: Vec<String>,
    rows: u64,
    /// Rows of a table, which wait until the width of its columns is known.
    cells: Vec<Vec<Cell>>,
    bytes: usize,
    /// Which columns hold nothing but numbers.
    numbers: Vec<bool>,
}

impl Printed {
    fn new(format: Format) -> Self {
        let (names, cells, numbers) = (Vec::new(), Vec::new(), Vec::new());
        Self { format, names, rows: 0, cells, bytes: 0, numbers }
    }

    fn begin(&mut self, names: Vec<String>, out: &mut Out) -> Result<(), Error> {
        self.numbers = vec![true; names.len()];
        self.names = match self.format {
            Format::Json | Format::Ndjson => distinct(names),
            _ => names,
        };
        match self.format {
            Format::Csv => {
                let names = self.names.iter().map(|name| Value::Text(name.as_str().into()));
                out.record(&csv(names, !out.is_raw()))
            }
            Format::Markdown => {
                out.record(&markdown(self.names.iter().map(|name| escape(name).into_owned())))?;
                out.record(&format!("|{}", " --- |".repeat(self.names.len())))
            }
            _ => Ok(()),
        }
    }

    fn row<'v>(
        &mut self,
        values: impl Iterator<Item = Value<'v>>,
        out: &mut Out,
    ) -> Result<(), Error> {
        self.rows += 1;
        match self.format {
            Format::Ndjson => out.json_text(&object(&self.names, values)),
            Format::Json => {
                let before = if self.rows == 1 { "[" } else { "," };
                out.json_text(&format!("{before}{}", object(&self.names, values)))
            }
            Format::Csv => out.record(&csv(values, !out.is_raw())),
            Format::Markdown => {
                out.record(&markdown(values.map(|value| escape(&text(&value)).into())))
            }
            Format::Text => {
                let mut cells = Vec::with_capacity(self.names.len());
                for (is_number, value) in self.numbers.iter_mut().zip(values) {
                    *is_number &= !matches!(value, Value::Text(_) | Value::Blob(_));
                    let cell = Cell::from(text(&value));
                    self.bytes += cell.text.len() + size_of::<Cell>();
                    cells.push(cell);
                }
                self.cells.push(cells);
                Ok(())
            }
        }
    }

    /// Ends what was begun.
    fn end(&mut self, out: &mut Out) -> Result<(), Error> {
        match self.format {
            Format::Text if !self.names.is_empty() => {
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                let right: Vec<bool> =
                    self.numbers.iter().map(|number| *number && !self.cells.is_empty()).collect();
                out.table_aligned(&names, &self.cells, &right)
            }
            Format::Json => out.json_text(if self.rows == 0 { "[]" } else { "]" }),
            _ => Ok(()),
        }
    }
}

/// A value for a person; `-` is nothing.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => real(*number),
        Value::Text(text) => text.clone().into_owned(),
        Value::Blob(bytes) => hex(bytes),
    }
}

fn real(number: f64) -> String {
    serde_json::Number::from_f64(number)
        .map_or_else(|| number.to_string(), |number| number.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Names of which no two are the same: an object has a key once.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let mut key = name.clone();
        let mut n = 1;
        while all.contains(&key) {
            key = format!("{name}:{n}");
            n += 1;
        }
        all.push(key);
    }
    all
}

fn object<'v>(names: &[String], values: impl Iterator<Item = Value<'v>>) -> String {
    let mut json = String::from("{");
    for (i, (name, value)) in names.iter().zip(values).enumerate() {
        let value = match value {
            Value::Null => serde_json::Value::Null,
            Value::Integer(number) => number.into(),
            Value::Real(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::Blob(bytes) => hex(bytes).into(),
        };
        let comma = if i > 0 { "," } else { "" };
        // Writing to a String can't fail.
        let _ = write!(json, "{comma}{}:{value}", serde_json::Value::from(name.as_str()));
    }
    json.push('}');
    json
}

/// A line of CSV: nothing is empty, an empty text is `""`.
fn csv<'v>(values: impl Iterator<Item = Value<'v>>, escapes: bool) -> String {
    let mut line = String::new();
    for (i, value) in values.enumerate() {
        if i > 0 {
            line.push(',');
        }
        let field = match &value {
            Value::Null => continue,
            value => text(value),
        };
        let field = if escapes { escape(&field).into_owned() } else { field };
        if field.is_empty() || field.contains(['"', ',', '\n', '\r']) {
            line.push('"');
            line.push_str(&field.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&field);
        }
    }
    line
}

/// A line of a Markdown table, whose cells are plain text.
fn markdown(cells: impl Iterator<Item = String>) -> String {
    let mut line = String::from("|");
    for cell in cells {
        line.push(' ');
        for c in cell.chars() {
            match c {
                '<' => line.push_str("&lt;"),
                '&' => line.push_str("&amp;"),
                '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '~' => {
                    line.extend(['\\', c])
                }
                c => line.push(c),
            }
        }
        line.push_str(" |");
    }
    line
}
