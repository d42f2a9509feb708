//! Tables, and statements over them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use namel3ss_safety::Timestamp;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety_stores::read::DatasetReader;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::error::{QueryError, explained};
use crate::moment::{COLLATION, compare};
use crate::run::Run;
use crate::table::{self, Source};
use crate::{functions, guard};

/// Datasets as tables. It holds no rows.
pub struct Database {
    connection: Connection,
    run: Run,
    tables: Vec<String>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Database {
    /// Without tables.
    ///
    /// # Errors
    /// If SQLite can't be set up.
    pub fn new() -> Result<Self, QueryError> {
        let (run, tables) = (Run::default(), Vec::new());
        let failed = |error: rusqlite::Error| QueryError::Failed(format!("set SQLite up: {error}"));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_in_memory_with_flags(flags).map_err(failed)?;
        connection.create_collation(COLLATION, compare).map_err(failed)?;
        functions::add(&connection, &run).map_err(failed)?;
        guard::limit(&connection, &run).map_err(failed)?;
        guard::authorize(&connection, &run, &tables).map_err(failed)?;
        Ok(Self { connection, run, tables })
    }

    /// Adds a dataset as a table. Nothing is read yet.
    ///
    /// # Errors
    /// For a name that is no plain word, or is taken.
    pub fn add(&mut self, name: &str, reader: Arc<dyn DatasetReader>) -> Result<(), QueryError> {
        let wrong = |message: String| QueryError::Sql { message, at: None };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_reserved = ["sqlite_", "pragma_", "json_"].iter().any(|prefix| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        });
        if !begins || !name.chars().all(is_word) || name.len() > 64 || is_reserved {
            return Err(wrong(format!(
                "a table's name is letters, digits and _, and begins with no digit: not '{name}'"
            )));
        }
        if self.tables.iter().any(|table| table.eq_ignore_ascii_case(name)) {
            return Err(wrong(format!("there is a table '{name}' already: name another NAME=URL")));
        }
        let failed = |error: rusqlite::Error| QueryError::Failed(format!("add a table: {error}"));
        let source = Source { name: name.to_owned(), reader, run: self.run.clone() };
        table::add(&self.connection, source).map_err(failed)?;
        self.tables.push(name.to_owned());
        guard::authorize(&self.connection, &self.run, &self.tables).map_err(failed)
    }

    /// From now on a statement ends at this moment, if it is not done before. Scans look at it between
    /// pieces that they read, so that it may be a little later.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.run.state().deadline = deadline;
    }

    /// Prepares one statement; a `;` behind it is fine.
    ///
    /// # Errors
    /// If it is none, or does more than reading.
    pub fn prepare(&mut self, sql: &str) -> Result<Statement<'_>, QueryError> {
        {
            let mut state = self.run.state();
            (state.denied, state.failed) = (None, None);
            (state.unreadable, state.lacks) = (Vec::new(), Vec::new());
            state.now = Timestamp::now();
        }
        let statement = self.connection.prepare(sql);
        let inner = statement.map_err(|error| explained(error, &self.run, &self.tables))?;
        if !inner.readonly() {
            return Err(QueryError::NotAllowed(
                "writing is not allowed: a query only reads".into(),
            ));
        }
        if inner.column_count() == 0 {
            let message = "there is no statement: it begins with SELECT, WITH or VALUES";
            return Err(QueryError::Sql { message: message.to_owned(), at: None });
        }
        let bound = vec![false; inner.parameter_count()];
        Ok(Statement { inner, run: self.run.clone(), tables: &self.tables, bound })
    }

    /// How many rows of each table could not be read in the last statement, so far; it left them out.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(String, u64)> {
        self.run.state().unreadable.clone()
    }

    /// What the datasets of the last statement lack at their ends, though nobody is writing to them.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        self.run.state().lacks.clone()
    }
}

/// A value of a row, or of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'v> {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Another number.
    Real(f64),
    /// Text; what is no UTF-8 was replaced.
    Text(Cow<'v, str>),
    /// Bytes.
    Blob(&'v [u8]),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text.into())
    }
}

/// A prepared statement.
pub struct Statement<'d> {
    inner: rusqlite::Statement<'d>,
    run: Run,
    tables: &'d [String],
    /// Which parameters have values.
    bound: Vec<bool>,
}

impl fmt::Debug for Statement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("columns", &self.columns()).finish_non_exhaustive()
    }
}

impl Statement<'_> {
    /// The names of its columns.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.inner.column_names().into_iter().map(str::to_owned).collect()
    }

    /// The names of its parameters, with the sign before them; `?` for one without a name.
    fn parameters(&self) -> Vec<String> {
        let name = |at| self.inner.parameter_name(at).unwrap_or("?").to_owned();
        (1..=self.inner.parameter_count()).map(name).collect()
    }

    /// Gives a parameter its value: `:name`, `@name` or `$name` in the statement.
    ///
    /// # Errors
    /// If the statement has no such parameter.
    pub fn bind<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) -> Result<(), QueryError> {
        let names = self.parameters();
        let bare = |name: &str| name.trim_start_matches([':', '@', '$']).to_owned();
        let places: Vec<usize> = (0..names.len()).filter(|at| bare(&names[*at]) == name).collect();
        if places.is_empty() {
            let names: Vec<String> = names.iter().map(|name| bare(name)).collect();
            let hint = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("write :{name} where its value belongs"),
            };
            let message = format!("no parameter '{name}' in the statement: {hint}");
            return Err(QueryError::Sql { message, at: None });
        }
        let value: Value<'v> = value.into();
        for at in places {
            let put = match &value {
                Value::Null => self.inner.raw_bind_parameter(at + 1, rusqlite::types::Null),
                Value::Integer(number) => self.inner.raw_bind_parameter(at + 1, number),
                Value::Real(number) => self.inner.raw_bind_parameter(at + 1, number),
                Value::Text(text) => self.inner.raw_bind_parameter(at + 1, text.as_ref()),
                Value::Blob(bytes) => self.inner.raw_bind_parameter(at + 1, *bytes),
            };
            put.map_err(|error| explained(error, &self.run, self.tables))?;
            self.bound[at] = true;
        }
        Ok(())
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a parameter has no value.
    pub fn rows(&mut self) -> Result<Rows<'_>, QueryError> {
        if let Some(at) = self.bound.iter().position(|bound| !bound) {
            let name = self.parameters().swap_remove(at);
            let message = match name.as_str() {
                "?" => "a parameter has a name: write :name instead of ?".to_owned(),
                name => format!("the parameter {name} has no value"),
            };
            return Err(QueryError::Sql { message, at: None });
        }
        let columns = self.inner.column_count();
        Ok(Rows { inner: self.inner.raw_query(), run: &self.run, tables: self.tables, columns })
    }
}

/// The rows of a statement, one after the other.
pub struct Rows<'s> {
    inner: rusqlite::Rows<'s>,
    run: &'s Run,
    tables: &'s [String],
    columns: usize,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Rows<'_> {
    /// The next row; `None` behind the last.
    ///
    /// # Errors
    /// If a dataset can't be read, or a limit is reached.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, QueryError> {
        if self.run.is_over() {
            return Err(QueryError::Deadline);
        }
        match self.inner.next() {
            Ok(row) => Ok(row.map(|row| Row { inner: row, columns: self.columns })),
            Err(error) => Err(explained(error, self.run, self.tables)),
        }
    }
}

/// A row.
pub struct Row<'r> {
    inner: &'r rusqlite::Row<'r>,
    columns: usize,
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl<'r> Row<'r> {
    /// A column's value; null where there is no such column.
    #[must_use]
    pub fn value(&self, column: usize) -> Value<'r> {
        match self.inner.get_ref(column) {
            Ok(ValueRef::Integer(number)) => Value::Integer(number),
            Ok(ValueRef::Real(number)) => Value::Real(number),
            Ok(ValueRef::Text(text)) => Value::Text(String::from_utf8_lossy(text)),
            Ok(ValueRef::Blob(bytes)) => Value::Blob(bytes),
            Ok(ValueRef::Null) | Err(_) => Value::Null,
        }
    }

    /// Its values.
    pub fn values(&self) -> impl Iterator<Item = Value<'r>> {
        (0..self.columns).map(|column| self.value(column))
    }
}
