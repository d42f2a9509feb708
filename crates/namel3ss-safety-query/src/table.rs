//! The virtual table of SQLite over a dataset: what of a statement the scan is asked for, and its rows.
//!
//! **What is pushed down only leaves out rows that can't match**: SQLite checks each row itself (no
//! constraint is omitted), by the collation of the column. A constraint is pushed down only where it is
//! compared by that collation.
//!
//! A row has no number that would be the same in another scan. SQLite needs one to unite the rows of
//! several scans for an `OR`; the costs below keep it from that, and if it asked nevertheless, the
//! statement would fail rather than lose rows.
#![expect(unsafe_code, reason = "the traits of SQLite's virtual tables are unsafe to implement")]

use std::ffi::c_int;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, DictionaryArray, ListArray, PrimitiveArray, RecordBatch, StringArray};
use namel3ss_safety::Timestamp;
use namel3ss_safety_stores::read::{
    Batches, Columns, Condition, DatasetReader, Scan, ScanError, schema,
};
use rusqlite::types::{Null, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, VTab, VTabConfig, VTabConnection, VTabCursor,
    eponymous_only_module, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error, Result};

use crate::moment::{COLLATION, compared, shown};
use crate::run::Run;

/// What a full scan costs, in SQLite's measure; how many rows it has is not known.
const SCAN_COST: f64 = 1e6;
/// Said of every scan, so that no plan looks better for the rows that it leaves out.
const ROWS: i64 = 1_000_000;

/// A table's dataset.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) reader: Arc<dyn DatasetReader>,
    pub(crate) run: Run,
}

/// Adds a table to a connection.
pub(crate) fn add(connection: &Connection, source: Source) -> Result<()> {
    let name = source.name.clone();
    connection.create_module(
        name.as_str(),
        eponymous_only_module::<Table>(),
        Some(Arc::new(source)),
    )
}

/// The virtual table.
#[repr(C)]
pub(crate) struct Table {
    /// SQLite's part, which must come first.
    base: sqlite3_vtab,
    source: Arc<Source>,
}

/// How a constraint compares; its sign stands in the plan.
const OPERATORS: [(&str, IndexConstraintOp); 5] = [
    ("=", IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ),
    (">=", IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE),
    (">", IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT),
    ("<=", IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE),
    ("<", IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT),
];

// SAFETY: `Table` is `repr(C)`, and begins with an `sqlite3_vtab`.
unsafe impl VTab<'_> for Table {
    type Aux = Arc<Source>;
    type Cursor = Cursor;

    fn connect(
        db: &mut VTabConnection,
        source: Option<&Arc<Source>>,
        _: &[&[u8]],
    ) -> Result<(String, Self)> {
        let source =
            source.ok_or_else(|| Error::ModuleError("a table has a dataset".to_owned()))?;
        // Only a statement itself reads it, no view or trigger.
        db.config(VTabConfig::DirectOnly)?;
        let columns: Vec<String> =
            schema().fields().iter().map(|field| declared(field.name())).collect();
        let ddl = format!("CREATE TABLE dataset({})", columns.join(", "));
        Ok((ddl, Self { base: sqlite3_vtab::default(), source: source.clone() }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<()> {
        let fields = schema();
        let mut pushed = Vec::new();
        let mut plan = String::new();
        for (at, constraint) in info.constraints().enumerate() {
            let column = usize::try_from(constraint.column()).ok();
            let Some(field) = column.and_then(|column| fields.fields().get(column)) else {
                continue;
            };
            let operator = constraint.operator();
            let sign =
                OPERATORS.iter().find(|(_, known)| *known == operator).map(|(sign, _)| *sign);
            let Some(sign) = sign.filter(|_| constraint.is_usable()) else { continue };
            let name = field.name().as_str();
            let collation = info.collation(at)?;
            let may_be_pushed = match name {
                "timestamp" => collation.eq_ignore_ascii_case(COLLATION),
                // No filter knows these, and a list is compared as JSON here.
                "journal_id" | "seq" | "categories" | "metadata" => false,
                "confidence" | "latency_ms" => sign == "=",
                _ => sign == "=" && collation.eq_ignore_ascii_case("BINARY"),
            };
            // Each value of an IN would be a scan of its own.
            if may_be_pushed && !info.is_in_constraint(at)? {
                pushed.push(at);
                let comma = if plan.is_empty() { "" } else { ", " };
                // Writing to a String can't fail.
                let _ = write!(plan, "{comma}{name} {sign}");
            }
        }
        let mut argument = 0;
        for at in &pushed {
            argument += 1;
            info.constraint_usage(*at).set_argv_index(argument);
        }
        // More than half of a full scan, whatever is pushed: two scans for an OR cost more than one.
        let part = 0.5_f64.powi(argument);
        info.set_estimated_cost(SCAN_COST * (0.6 + 0.4 * part));
        info.set_estimated_rows(ROWS);
        let used = info.col_used() & ((1 << fields.fields().len()) - 1);
        info.set_idx_num(c_int::try_from(used).unwrap_or(c_int::MAX));
        info.set_idx_str(&plan);
        Ok(())
    }

    fn open(&mut self) -> Result<Cursor> {
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            source: self.source.clone(),
            batches: None,
            columns: Vec::new(),
            row: 0,
            rows: 0,
        })
    }
}

/// A column as the table has it. The types are those of its values; `timestamp` compares as moments.
fn declared(name: &str) -> String {
    match name {
        "timestamp" => format!("{name} TEXT COLLATE {COLLATION}"),
        "confidence" | "latency_ms" => format!("{name} REAL"),
        "seq" => format!("{name} INTEGER"),
        _ => format!("{name} TEXT"),
    }
}

/// A scan as SQLite goes through it.
#[repr(C)]
pub(crate) struct Cursor {
    /// SQLite's part, which must come first.
    base: sqlite3_vtab_cursor,
    source: Arc<Source>,
    batches: Option<Batches>,
    /// The columns of the batch, at their numbers; those that the statement does not use are left out.
    columns: Vec<Option<Column>>,
    row: usize,
    rows: usize,
}

impl Cursor {
    /// Goes on to the next batch; none is empty.
    fn load(&mut self) -> Result<()> {
        (self.row, self.rows) = (0, 0);
        let Some(batches) = &mut self.batches else { return Ok(()) };
        let next = batches.next();
        self.source.run.unreadable(&self.source.name, batches.unreadable());
        match next {
            Some(Ok(batch)) => {
                self.rows = batch.num_rows();
                self.columns = schema()
                    .fields()
                    .iter()
                    .map(|field| Column::of(&batch, field.name()))
                    .collect();
                Ok(())
            }
            Some(Err(error)) => Err(self.failed(error)),
            None => {
                if let Some(lacks) = batches.lacks() {
                    self.source.run.lacks(lacks);
                }
                self.batches = None;
                Ok(())
            }
        }
    }

    fn failed(&mut self, error: ScanError) -> Error {
        self.batches = None;
        let text = error.to_string();
        self.source.run.state().failed.get_or_insert(error);
        Error::ModuleError(text)
    }
}

// SAFETY: `Cursor` is `repr(C)`, and begins with an `sqlite3_vtab_cursor`.
unsafe impl VTabCursor for Cursor {
    fn filter(&mut self, used: c_int, plan: Option<&str>, values: &Filters<'_>) -> Result<()> {
        let fields = schema();
        let names = fields.fields().iter().enumerate();
        let names =
            names.filter(|(at, _)| used & (1 << at) != 0).map(|(_, field)| field.name().as_str());
        let scan = Columns::named(names).map(|columns| {
            let deadline = self.source.run.state().deadline;
            let terms = plan.unwrap_or_default().split(", ").filter(|term| !term.is_empty());
            asked(terms.zip(values.iter()), Scan { columns, deadline, ..Scan::default() })
        });
        match scan.and_then(|scan| self.source.reader.scan(scan)) {
            Ok(batches) => self.batches = Some(batches),
            Err(error) => return Err(self.failed(error)),
        }
        self.load()
    }

    fn next(&mut self) -> Result<()> {
        self.row += 1;
        if self.row < self.rows { Ok(()) } else { self.load() }
    }

    fn eof(&self) -> bool {
        self.row >= self.rows
    }

    fn column(&self, context: &mut Context, at: c_int) -> Result<()> {
        let column = usize::try_from(at).ok().and_then(|at| self.columns.get(at)?.as_ref());
        match column {
            Some(column) => column.put(self.row, context),
            None => context.set_result(&Null),
        }
    }

    fn rowid(&self) -> Result<i64> {
        Err(Error::ModuleError(
            "rows have no rowid: they are told by journal_id and seq".to_owned(),
        ))
    }
}

/// A scan with what of the constraints it can be asked for. Values that compare in another way than a
/// scan does are left to SQLite.
fn asked<'t>(terms: impl Iterator<Item = (&'t str, ValueRef<'t>)>, mut scan: Scan) -> Scan {
    let mut conditions: Vec<Condition> = Vec::new();
    for (term, value) in terms {
        let Some((name, sign)) = term.split_once(' ') else { continue };
        if name == "timestamp" {
            let moment = match value {
                ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(compared),
                ValueRef::Integer(number) => compared(&number.to_string()),
                _ => None,
            };
            if let Some(moment) = moment {
                narrow(&mut scan, sign, moment);
            }
            continue;
        }
        let text = match (name, value) {
            ("confidence" | "latency_ms", ValueRef::Integer(number)) => (number as f64).to_string(),
            ("confidence" | "latency_ms", ValueRef::Real(number)) => number.to_string(),
            ("confidence" | "latency_ms", _) => continue,
            (_, ValueRef::Text(text)) => match std::str::from_utf8(text) {
                Ok(text) => text.to_owned(),
                Err(_) => continue,
            },
            _ => continue,
        };
        // The second = keeps one that the text begins with. A word that no event has is no condition.
        conditions.extend(format!("{name}=={text}").parse::<Condition>());
    }
    scan.filter = conditions.into_iter().collect();
    scan
}

/// Narrows the time range of a scan.
fn narrow(scan: &mut Scan, sign: &str, moment: Timestamp) {
    let after = moment.micros().checked_add(1).map(Timestamp::from_micros);
    let (from, to) = match sign {
        "=" => (Some(moment), after),
        ">=" => (Some(moment), None),
        ">" => (after, None),
        "<=" => (None, after),
        "<" => (None, Some(moment)),
        _ => (None, None),
    };
    scan.from = scan.from.max(from);
    scan.to = [scan.to, to].into_iter().flatten().min();
}

/// A column of a batch.
enum Column {
    Text(StringArray),
    Word(DictionaryArray<Int32Type>, StringArray),
    Moment(PrimitiveArray<TimestampMicrosecondType>),
    Real(PrimitiveArray<Float64Type>),
    Number(PrimitiveArray<UInt64Type>),
    Texts(ListArray),
}

impl Column {
    fn of(batch: &RecordBatch, name: &str) -> Option<Self> {
        let column = batch.column_by_name(name)?;
        if let Some(texts) = column.as_string_opt::<i32>() {
            return Some(Self::Text(texts.clone()));
        }
        if let Some(words) = column.as_dictionary_opt::<Int32Type>() {
            let texts = words.values().as_string_opt::<i32>()?.clone();
            return Some(Self::Word(words.clone(), texts));
        }
        if let Some(moments) = column.as_primitive_opt() {
            return Some(Self::Moment(moments.clone()));
        }
        if let Some(numbers) = column.as_primitive_opt() {
            return Some(Self::Real(numbers.clone()));
        }
        if let Some(numbers) = column.as_primitive_opt() {
            return Some(Self::Number(numbers.clone()));
        }
        column.as_list_opt().map(|lists| Self::Texts(lists.clone()))
    }

    /// Gives a row's value to SQLite.
    fn put(&self, row: usize, context: &mut Context) -> Result<()> {
        let array: &dyn Array = match self {
            Self::Text(array) => array,
            Self::Word(array, _) => array,
            Self::Moment(array) => array,
            Self::Real(array) => array,
            Self::Number(array) => array,
            Self::Texts(array) => array,
        };
        if array.is_null(row) {
            return context.set_result(&Null);
        }
        match self {
            Self::Text(texts) => context.set_result(&texts.value(row)),
            Self::Word(words, texts) => match words.key(row).filter(|key| texts.is_valid(*key)) {
                Some(key) => context.set_result(&texts.value(key)),
                None => context.set_result(&Null),
            },
            Self::Moment(moments) => {
                context.set_result(&shown(Timestamp::from_micros(moments.value(row))))
            }
            Self::Real(numbers) => context.set_result(&numbers.value(row)),
            Self::Number(numbers) => match i64::try_from(numbers.value(row)) {
                Ok(number) => context.set_result(&number),
                // SQLite has no such integer.
                Err(_) => context.set_result(&numbers.value(row).to_string()),
            },
            Self::Texts(lists) => {
                let list = lists.value(row);
                let texts = list.as_string_opt::<i32>();
                let texts: Vec<&str> =
                    texts.into_iter().flatten().map(Option::unwrap_or_default).collect();
                context.set_result(&serde_json::Value::from(texts).to_string())
            }
        }
    }
}
