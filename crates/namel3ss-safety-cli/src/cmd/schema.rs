//! `schema`: the table that a database needs.

use clap::Args;
use namel3ss_safety::nearest::nearest;

use crate::cli::Context;
use crate::error::Error;
use crate::exit::Exit;

/// Print the DDL of the table that rows are stored in
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety schema --dialect postgresql | psql safety
  n3-safety schema --dialect sqlite --table guard_events | sqlite3 safety.db")]
pub(crate) struct Schema {
    /// sqlite, postgresql or mysql
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    dialect: Dialect,
    /// The table's name, with a schema's before it if it has one
    #[arg(long, value_name = "NAME", default_value = crate::place::DEFAULT_DATASET)]
    table: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgresql,
    Mysql,
}

fn dialect(word: &str) -> Result<Dialect, String> {
    match word.to_ascii_lowercase().as_str() {
        "sqlite" | "sqlite3" => Ok(Dialect::Sqlite),
        "postgresql" | "postgres" => Ok(Dialect::Postgresql),
        "mysql" | "mariadb" => Ok(Dialect::Mysql),
        other => Err(match nearest(other, ["sqlite", "postgresql", "postgres", "mysql", "mariadb"]) {
            Some(near) => format!("there is no such dialect: did you mean '{near}'?"),
            None => "there is no such dialect: it is sqlite, postgresql or mysql".to_owned(),
        }),
    }
}

impl Schema {
    pub(crate) fn run(&self, _context: &mut Context) -> Result<Exit, Error> {
        let _ = &self.table;
        match self.dialect {
            Dialect::Sqlite | Dialect::Postgresql | Dialect::Mysql => {
                Err(Error::failed("print the DDL: not yet"))
            }
        }
    }
}
