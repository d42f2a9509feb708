//! `schema`: the table that a database needs.

use clap::Args;
use namel3ss_safety_stores::schema::UnknownDialect;
use namel3ss_safety_stores::{Dialect, Table, ddl};
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Print the DDL of the table that rows are stored in
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety schema --dialect postgres | psql safety
  n3-safety schema --dialect sqlite --table guard_events | sqlite3 safety.db")]
pub(crate) struct Schema {
    /// Whose SQL it is
    #[arg(long, value_name = "DIALECT", help = dialects())]
    dialect: String,
    /// The table's name
    #[arg(long, value_name = "NAME", default_value = crate::place::DEFAULT_DATASET)]
    table: String,
}

fn dialects() -> String {
    format!("Whose SQL it is: {}", Dialect::WORDS.join(", "))
}

impl Schema {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let dialect: Dialect =
            self.dialect.parse().map_err(|e: UnknownDialect| Error::usage(e.to_string()))?;
        let table: Table = self.table.parse().map_err(|_| {
            let name = crate::escape::shorten(&self.table, 80);
            Error::usage(format!(
                "use the table name '{name}': it is a letter or _, then up to 62 letters, digits or _; \
                 on a server, schema.table if need be"
            ))
        })?;
        let ddl = ddl(dialect, &table);
        if context.out.is_json() {
            let dialect = self.dialect.to_ascii_lowercase();
            context.out.json(&json!({"dialect": dialect, "table": table.as_str(), "ddl": ddl}))?;
        } else {
            context.out.lines(&ddl)?;
        }
        Ok(Exit::Ok)
    }
}
