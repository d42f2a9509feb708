//! One batch into the table, in one transaction.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt as _;
use namel3ss_safety::{AdapterError, Batch, Durability, Failure};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::DbError;

use super::connect::Conn;
use super::copy::Rows;
use super::table;
use super::table::{Found, STAGE, make_stage};
use crate::server::Server;
use crate::server::problem::Problem;
use crate::server::said::said;
use crate::server::session::{Connection as _, Session};

/// A connection that knows its table.
pub(super) struct Open {
    connection: Conn,
    found: Found,
}

impl Session for Open {
    const ROUNDS_MAX: u32 = 4;
    const UNDO_PART: &'static str = "ROLLBACK TO part; RELEASE part";
    type Rows = Rows;

    async fn open(server: &Server) -> Result<Self, Problem> {
        let mut connection = Conn::connect(server).await?;
        let found = table::find(&mut connection, &server.table).await?;
        Ok(Self { connection, found })
    }

    fn has_key(&self) -> bool {
        self.found.has_key
    }

    fn has_no_other_key(&self) -> bool {
        // A search passes over rows that are there by our key: a duplicate is of another one.
        false
    }

    async fn run(&mut self, sql: &str) -> Result<(), Problem> {
        let done = self.connection.run(|client| client.batch_execute(sql)).await;
        done.map_err(|error| self.connection.problem(self.doing(), &error))
    }

    fn rows(&self, batch: &Batch<'_>) -> Result<Rows, Problem> {
        Rows::encode(batch, &self.found.matching).map_err(|poison| {
            let text = format!("write to {}: seq is beyond bigint", self.found.quoted);
            AdapterError::new(Failure::Poison(poison), text).into()
        })
    }

    async fn begin(&mut self, batch: &Batch<'_>, limit: Duration) -> Result<(), Problem> {
        let stage = self.found.copy.is_none();
        self.run(&begin(batch.durability(), limit, stage)).await
    }

    async fn store(
        &mut self,
        batch: &Batch<'_>,
        rows: &mut Rows,
        limit: Duration,
    ) -> Result<Vec<usize>, Problem> {
        if let Some(copy) = self.found.copy.clone() {
            match self.copy_and_commit(&copy, rows).await {
                Err(Problem::Duplicate(_)) if self.found.has_key => {}
                Err(Problem::NoCopy(_)) => self.found.copy = None,
                done => return done.map(|()| Vec::new()),
            }
            self.run("ROLLBACK").await?;
            self.run(&begin(batch.durability(), limit, true)).await?;
        }
        let others = self.stage_and_commit(rows).await?;
        let place = |seq| batch.rows().position(|row| row.seq.0 == seq);
        Ok(others.into_iter().filter_map(place).collect())
    }

    async fn begin_search(&mut self, limit: Duration) -> Result<(), Problem> {
        let begin = begin(Durability::Process, limit, true);
        // Constraints that wait for the commit would be found there, when it is too late.
        self.run(&format!("{begin}; SET CONSTRAINTS ALL IMMEDIATE")).await
    }

    async fn column(&mut self, rows: &Rows, at: usize) -> Result<Option<String>, Problem> {
        self.run(&format!("SAVEPOINT part; TRUNCATE {STAGE}")).await?;
        let mut found = None;
        match self.copy(&self.found.stage.clone(), rows, at..at + 1).await {
            Ok(_) => {
                for (column, sql) in self.found.probes.clone() {
                    match self.run(&format!("SAVEPOINT one; {sql}; ROLLBACK TO one")).await {
                        Ok(()) => {}
                        Err(Problem::Lost(error)) => return Err(Problem::Lost(error)),
                        Err(Problem::Rows(_)) => {
                            found = Some(column);
                            break;
                        }
                        // One that can't be made says nothing.
                        Err(_) => self.run("ROLLBACK TO one").await?,
                    }
                }
            }
            Err(Problem::Lost(error)) => return Err(Problem::Lost(error)),
            Err(_) => {}
        }
        self.run(Self::UNDO_PART).await?;
        Ok(found)
    }

    async fn try_part(&mut self, rows: &Rows, part: Range<usize>) -> Result<(), Problem> {
        self.run(&format!("SAVEPOINT part; TRUNCATE {STAGE}")).await?;
        self.copy(&self.found.stage.clone(), rows, part.clone()).await?;
        let _ = self.insert_staged(part.len()).await?;
        self.run("RELEASE part").await
    }
}

impl Open {
    fn doing(&self) -> String {
        format!("write to {}", self.found.quoted)
    }

    async fn copy_and_commit(&mut self, copy: &str, rows: &Rows) -> Result<(), Problem> {
        let stored = self.copy(copy, rows, 0..rows.len()).await?;
        if stored < rows.len() as u64 {
            return Err(self.ignored());
        }
        self.run("COMMIT").await
    }

    /// The seqs of rows in place of which other events are.
    async fn stage_and_commit(&mut self, rows: &Rows) -> Result<Vec<u64>, Problem> {
        self.copy(&self.found.stage.clone(), rows, 0..rows.len()).await?;
        let others = self.insert_staged(rows.len()).await?;
        self.run("COMMIT").await?;
        Ok(others)
    }

    /// Inserts the rows of the stage that are not in the table. Where fewer are stored than were
    /// sent, the others must be there, or other events with their ids, whose seqs it gives.
    async fn insert_staged(&mut self, rows: usize) -> Result<Vec<u64>, Problem> {
        let sql = self.found.insert.clone();
        let answers = self.connection.run(|client| client.simple_query(&sql)).await;
        let answers = answers.map_err(|error| self.connection.problem(self.doing(), &error))?;
        let stored = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        if stored.is_none_or(|stored| stored >= rows as u64) {
            return Ok(Vec::new());
        }
        let Some(sql) = self.found.lacking.clone() else { return Err(self.ignored()) };
        let mut others = Vec::new();
        for row in self.connection.query(&self.doing(), &sql).await? {
            match row.as_slice() {
                [Some(seq), Some(is_other)] if is_other == "true" => {
                    others.extend(seq.parse::<u64>())
                }
                _ => return Err(self.ignored()),
            }
        }
        Ok(others)
    }

    /// A trigger that returns no row is no error to the server.
    fn ignored(&self) -> Problem {
        Problem::Rows(format!("{}: a trigger ignored rows without an error", self.doing()))
    }

    /// How many rows were stored.
    async fn copy(&mut self, sql: &str, rows: &Rows, part: Range<usize>) -> Result<u64, Problem> {
        let copied = self.connection.run(async |client| {
            let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
            for chunk in rows.chunks(part) {
                sink.send(Bytes::copy_from_slice(chunk)).await?;
            }
            sink.finish().await
        });
        copied.await.map_err(|error| {
            let problem = self.connection.problem(self.doing(), &error);
            let at =
                error.as_db_error().filter(|db| db.column().is_none()).and_then(DbError::where_);
            match (problem, at.and_then(|at| self.found.column_in(at))) {
                (Problem::Rows(text), Some(column)) => {
                    Problem::Rows(format!("{text}, column {}", said(column, None)))
                }
                (problem, _) => problem,
            }
        })
    }
}

/// Begins a transaction with its settings, in one round trip. They are its own, so that a pooler
/// may give it any of its sessions.
fn begin(durability: Durability, limit: Duration, stage: bool) -> String {
    let mut sql = format!(
        "BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = {}",
        limit.as_millis()
    );
    if durability == Durability::Power {
        // Whatever the server or the role has as a default.
        sql.push_str("; SET LOCAL synchronous_commit = on");
    }
    if stage {
        sql.push_str("; ");
        sql.push_str(&make_stage());
    }
    sql
}
