//! The table, ours or another's: its columns, its key, and the statements that fill it.

use std::collections::{HashMap, HashSet};

use namel3ss_safety::AdapterError;

use super::connect::Conn;
use crate::schema::{Dialect, Table, ddl};
use crate::server::Kind;
use crate::server::columns::{self, Column, Matching, TIMESTAMP};
use crate::server::columns::{CATEGORIES, CONFIDENCE, EVENT_ID, JOURNAL, LATENCY, METADATA, SEQ};
use crate::server::problem::Problem;
use crate::server::session::Connection as _;

/// Where rows wait for an INSERT that can pass over those that are there. The number is its form's.
pub(super) const STAGE: &str = "pg_temp.n3_safety_stage_1";

/// A table as it was found, and how to fill it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) matching: Matching,
    pub(super) has_key: bool,
    /// COPY into the table itself, where its types are ours.
    pub(super) copy: Option<String>,
    /// COPY into the stage.
    pub(super) stage: String,
    /// From the stage to the table.
    pub(super) insert: String,
    /// The rows of the stage that are not in the table: the seq of each, and whether another event
    /// is in its place. Only where an insert passes over rows.
    pub(super) lacking: Option<String>,
    /// For each column its name in the table, and statements that fail if its type refuses the value of
    /// a row of the stage. They need no right to read the table.
    pub(super) probes: Vec<(String, String)>,
    /// `"schema"."table"`
    pub(super) quoted: String,
}

/// The statement that makes the stage of a session.
pub(super) fn make_stage() -> String {
    format!(
        "CREATE TEMP TABLE IF NOT EXISTS {STAGE} (event_id text, \"timestamp\" timestamptz, \
         app_name text, chain_name text, agent_name text, policy_name text, reason text, \
         trace_id text, session_id text, user_id text, direction text, action text, \
         categories text[], severity text, confidence float8, latency_ms float8, metadata jsonb, \
         journal_id uuid, seq int8) ON COMMIT DELETE ROWS"
    )
}

/// Finds the table, and makes it where it is missing.
pub(super) async fn find(connection: &mut Conn, table: &Table) -> Result<Found, Problem> {
    if let Some(found) = look(connection, table).await? {
        return Ok(found);
    }
    let doing = format!("make the table {}", table.quoted());
    // Two that make it at once would get in each other's way, IF NOT EXISTS or not.
    let sql = format!(
        "BEGIN; SET LOCAL client_min_messages = warning; \
         SELECT pg_advisory_xact_lock(hashtext('namel3ss-safety: make the table')); {} COMMIT",
        ddl(Dialect::Postgres, table)
    );
    if let Err(error) = connection.run(|client| client.batch_execute(&sql)).await {
        let problem = connection.problem(&doing, &error);
        let _ = connection.run(|client| client.batch_execute("ROLLBACK")).await;
        return Err(problem);
    }
    let gone = || AdapterError::transient(format!("{doing}: it is not there")).into();
    look(connection, table).await?.ok_or_else(gone)
}

/// The table by the name that it has for this session, if it is there.
async fn look(connection: &mut Conn, table: &Table) -> Result<Option<Found>, Problem> {
    let doing = format!("look at the table {}", table.quoted());
    // COPY into a table whose rows a policy checks is refused, and the driver then loses count of the
    // server's answers.
    let sql = format!(
        "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
         (c.relkind IN ('r', 'p') AND NOT pg_catalog.row_security_active(c.oid))::text \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = pg_catalog.to_regclass('{}')",
        table.quoted()
    );
    let rows = connection.query(&doing, &sql).await?;
    let Some([Some(oid), Some(quoted), Some(takes_copy)]) = rows.first().map(Vec::as_slice) else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(t.typname), \
         pg_catalog.format_type(a.atttypid, a.atttypmod), \
         pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')::text \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
    );
    let rows = connection.query(&doing, &sql).await?;
    let column = |row: &Vec<Option<String>>, at: usize| row.get(at).cloned().flatten();
    let columns: Vec<(String, String)> =
        rows.iter().filter_map(|row| Some((column(row, 0)?, column(row, 1)?))).collect();
    // With its length, as in `character varying(20)`.
    let full: HashMap<String, String> =
        rows.iter().filter_map(|row| Some((column(row, 0)?, column(row, 2)?))).collect();
    let matching = Matching::of(&columns, quoted)?;
    let keys = connection.query(&doing, &keys_of(oid)).await?;
    let keys = keys.into_iter().filter_map(|row| row.into_iter().next().flatten());
    let key = columns::key(keys.map(|key| key.lines().map(str::to_owned).collect()).collect());
    let readable = rows.iter().filter(|row| column(row, 3).as_deref() == Some("true"));
    let readable = readable.filter_map(|row| column(row, 0)).collect();
    let types = (&full, &readable);
    let found = Found::new(matching, key, quoted.clone(), takes_copy == "true", types);
    Ok(Some(found.with_probes(&full)))
}

/// The statement that gives the columns of each unique key of the table `oid`, a line each. A name with a line
/// break in it is none of ours.
pub(super) fn keys_of(oid: &str) -> String {
    format!(
        "SELECT string_agg(a.attname::text, E'\\n') FROM pg_catalog.pg_index i \
         CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(number, place) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
         WHERE i.indrelid = {oid} AND i.indisunique AND i.indimmediate AND i.indisvalid \
         AND i.indpred IS NULL AND i.indexprs IS NULL \
         AND k.place <= i.indnkeyatts GROUP BY i.indexrelid"
    )
}

impl Found {
    /// The types are those of the table's columns, with their lengths and precisions; not all columns
    /// may be read.
    fn new(
        matching: Matching,
        key: Option<Vec<String>>,
        quoted: String,
        takes_copy: bool,
        (types, readable): (&HashMap<String, String>, &HashSet<String>),
    ) -> Self {
        let columns = &matching.columns;
        let list = |name: &dyn Fn(&Column) -> String| {
            columns.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        let theirs = list(&|column| Kind::Postgres.quoted(&column.theirs));
        let ours = list(&|column| Kind::Postgres.quoted(columns::name(column.ours)));
        let as_they_are = columns.iter().all(|column| same_form(column.ours, &column.sql_type));
        let conflict = key.as_ref().map_or_else(String::new, |key| {
            let names: Vec<String> = key.iter().map(|name| Kind::Postgres.quoted(name)).collect();
            format!(" ON CONFLICT ({}) DO NOTHING", names.join(", "))
        });
        let insert = format!(
            "INSERT INTO {quoted} ({theirs}) SELECT {} FROM {STAGE}{conflict}",
            list(&|column| cast(column.ours, &column.sql_type))
        );
        // How the table calls one of our columns, and what of the stage it would hold.
        let held = |ours: usize| {
            let column = columns.iter().find(|column| column.ours == ours)?;
            let theirs = format!("held.{}", Kind::Postgres.quoted(&column.theirs));
            let sent = format!("sent.{}", Kind::Postgres.quoted(columns::name(ours)));
            Some((theirs, converted(sent, ours, &column.sql_type), &column.theirs))
        };
        let lacking = key.as_ref().and_then(|_| {
            let ((journal, sent_journal, _), (seq, sent_seq, _)) = (held(JOURNAL)?, held(SEQ)?);
            // As text, so that any type has it, and of the column's own precision and length. Null
            // says nothing.
            let same = [EVENT_ID, TIMESTAMP].into_iter().filter_map(held).filter_map(
                |(theirs, sent, name)| {
                    let whole = types.get(name).filter(|_| readable.contains(name))?;
                    Some(format!(" AND ({theirs}::text = CAST({sent} AS {whole})::text) IS NOT FALSE"))
                },
            );
            let same: String = same.collect();
            // There may be several, where the key has more columns.
            let of_id = format!(
                "SELECT 1 FROM {quoted} AS held WHERE {journal} = {sent_journal} AND {seq} = {sent_seq}"
            );
            Some(format!(
                "SELECT sent.seq::text, EXISTS ({of_id})::text FROM {STAGE} AS sent \
                 WHERE NOT EXISTS ({of_id}{same})"
            ))
        });
        Self {
            lacking,
            copy: (takes_copy && as_they_are)
                .then(|| format!("COPY {quoted} ({theirs}) FROM STDIN (FORMAT binary)")),
            stage: format!("COPY {STAGE} ({ours}) FROM STDIN (FORMAT binary)"),
            insert,
            has_key: key.is_some(),
            probes: Vec::new(),
            matching,
            quoted,
        }
    }

    /// With statements by which a column is found whose type, as `full` has it, refuses a value: what an
    /// assignment does, and a cast does not, such as to refuse a text that is too long.
    fn with_probes(mut self, full: &HashMap<String, String>) -> Self {
        let probe = |column: &Column| {
            let full = full.get(&column.theirs)?;
            let value = cast(column.ours, &column.sql_type);
            let sql = format!(
                "CREATE TEMP TABLE n3_safety_probe_1 (value {full}); \
                 INSERT INTO pg_temp.n3_safety_probe_1 SELECT {value} FROM {STAGE}"
            );
            Some((column.theirs.clone(), sql))
        };
        self.probes = self.matching.columns.iter().filter_map(probe).collect();
        self
    }

    /// The column that the context of a COPY's error names: one that is known, and never a value. Its
    /// words may be in any language; the name comes last.
    pub(super) fn column_in(&self, context: &str) -> Option<&str> {
        let line = context.lines().next().filter(|line| line.starts_with("COPY "))?;
        let names = self.matching.columns.iter();
        let names = names.flat_map(|column| [column.theirs.as_str(), columns::name(column.ours)]);
        let last = |name: &&str| line.strip_suffix(*name).is_some_and(|rest| rest.ends_with(' '));
        names.filter(last).max_by_key(|name| name.len())
    }
}

/// The type of one of our columns, as the stage and our own table have it.
fn our_type(column: usize) -> &'static str {
    match column {
        TIMESTAMP => "pg_catalog.timestamptz",
        CATEGORIES => "pg_catalog._text",
        CONFIDENCE | LATENCY => "pg_catalog.float8",
        METADATA => "pg_catalog.jsonb",
        JOURNAL => "pg_catalog.uuid",
        SEQ => "pg_catalog.int8",
        _ => "pg_catalog.text",
    }
}

fn is_text(sql_type: &str) -> bool {
    matches!(sql_type, "pg_catalog.text" | "pg_catalog.varchar" | "pg_catalog.bpchar")
}

/// Whether a column of that type takes our column's binary form.
fn same_form(column: usize, sql_type: &str) -> bool {
    let ours = our_type(column);
    ours == sql_type || (is_text(ours) && is_text(sql_type))
}

/// A value of the stage, as a column of that type takes it.
fn cast(column: usize, sql_type: &str) -> String {
    converted(Kind::Postgres.quoted(columns::name(column)), column, sql_type)
}

/// The same of any expression.
fn converted(name: String, column: usize, sql_type: &str) -> String {
    if same_form(column, sql_type) {
        return name;
    }
    let text = is_text(sql_type);
    match column {
        TIMESTAMP if text => {
            format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        TIMESTAMP => format!("CAST({name} AT TIME ZONE 'UTC' AS {sql_type})"),
        CATEGORIES if text => format!("to_json({name})::text"),
        CATEGORIES if sql_type.ends_with(".json") || sql_type.ends_with(".jsonb") => {
            format!("to_jsonb({name})::{sql_type}")
        }
        JOURNAL if text => format!("replace({name}::text, '-', '')"),
        // Through the text of both: to an enum, to a domain, to a number.
        _ => format!("CAST({name}::text AS {sql_type})"),
    }
}
