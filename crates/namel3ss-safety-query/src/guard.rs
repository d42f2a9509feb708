//! What a statement may do, and how much: reading our tables, calling listed functions.

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};

use crate::functions::ALLOWED;
use crate::run::Run;

/// The largest text, blob or row.
pub(crate) const BYTES_MAX: i32 = 16 << 20;
/// SQLite's limits, of which most are far higher by default.
const LIMITS: [(Limit, i32); 10] = [
    (Limit::SQLITE_LIMIT_LENGTH, BYTES_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (Limit::SQLITE_LIMIT_COLUMN, 200),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];
/// How many steps SQLite's machine makes between two looks at the deadline: some 50 µs.
const STEPS: i32 = 1000;

/// Sets the limits of a new connection. Its tables are those that the authorizer is told of later.
pub(crate) fn limit(connection: &Connection, run: &Run) -> Result<()> {
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    // What is sorted stays in memory, whose limit the process has; nothing is left in files.
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA query_only = ON")?;
    for (limit, most) in LIMITS {
        connection.set_limit(limit, most)?;
    }
    let run = run.clone();
    connection.progress_handler(STEPS, Some(move || run.is_over()))
}

/// Lets statements read `tables`, and nothing else.
pub(crate) fn authorize(connection: &Connection, run: &Run, tables: &[String]) -> Result<()> {
    let (run, tables) = (run.clone(), tables.to_vec());
    let decide = move |context: AuthContext<'_>| match denied(&context.action, &tables) {
        None => Authorization::Allow,
        Some(why) => {
            run.state().denied.get_or_insert(why);
            Authorization::Deny
        }
    };
    connection.authorizer(Some(decide))
}

/// Whether a table shows what SQLite knows of itself.
fn is_of_sqlite(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    table == "dbstat" || table.starts_with("sqlite_") || table.starts_with("pragma_")
}

/// Why an action is not allowed.
fn denied(action: &AuthAction<'_>, tables: &[String]) -> Option<String> {
    let is_ours = |name: &str| tables.iter().any(|table| table.eq_ignore_ascii_case(name));
    Some(match action {
        AuthAction::Select | AuthAction::Recursive => return None,
        AuthAction::Read { table_name, column_name } => {
            // The tables that JSON functions make of a value.
            if is_ours(table_name) || ["json_each", "json_tree"].contains(table_name) {
                return None;
            }
            // SQLite asks for a table of WITH as well, unless its columns are used.
            if column_name.is_empty() && !is_of_sqlite(table_name) {
                return None;
            }
            format!("the table {table_name} may not be read: there are {}", tables.join(", "))
        }
        AuthAction::Function { function_name } => {
            if ALLOWED.contains(&function_name.to_ascii_lowercase().as_str()) {
                return None;
            }
            format!("the function {function_name} may not be called")
        }
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            "ATTACH is not allowed: name further datasets with --from NAME=URL".to_owned()
        }
        AuthAction::Pragma { .. } => "PRAGMA is not allowed".to_owned(),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            "transactions are not allowed: a query only reads".to_owned()
        }
        _ => "writing is not allowed: a query only reads".to_owned(),
    })
}
