//! One batch into the table, in one transaction; and the search for a row that the server refuses.

use std::ops::Range;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt as _;
use namel3ss_safety::{AdapterError, Batch, Durability, Failure};

use super::Open;
use super::copy::Rows;
use super::failure::{Problem, problem};
use super::table::{STAGE, make_stage};

/// How many rows that are to blame are searched for at once; the rest is sent again without them.
const POISON_MAX: usize = 1000;

/// A problem, and whether the transaction had begun.
type Stored = Result<(), (Problem, bool)>;

impl Open {
    /// Stores `batch`, or nothing of it.
    pub(super) async fn store(&mut self, batch: &Batch<'_>, timeout: Duration) -> Stored {
        let deadline = Instant::now() + timeout;
        let rows = Rows::encode(batch, &self.found.matching).map_err(|poison| {
            let text = format!("write to {}: seq is beyond bigint", self.found.quoted);
            (AdapterError::new(Failure::Poison(poison), text).into(), true)
        })?;
        let power = batch.durability() == Durability::Power;
        let begin = begin(power, timeout, false);
        if let (true, Some(copy)) = (self.may_copy, self.found.copy.clone()) {
            self.batch(&begin).await.map_err(|problem| (problem, false))?;
            match self.copy_and_commit(&copy, &rows).await {
                Err(Problem::Duplicate(_)) if self.found.has_key => {}
                Err(Problem::NoCopy(_)) => self.may_copy = false,
                Err(Problem::Rows(text) | Problem::Duplicate(text)) => {
                    return self.search(&rows, text, deadline).await.map_err(|p| (p, true));
                }
                done => return done.map_err(|problem| (problem, true)),
            }
            self.batch("ROLLBACK").await.map_err(|problem| (problem, true))?;
        }
        let begin = self::begin(power, timeout, true);
        self.batch(&begin).await.map_err(|problem| (problem, false))?;
        match self.stage_and_commit(&rows).await {
            Err(Problem::Rows(text) | Problem::Duplicate(text)) => {
                self.search(&rows, text, deadline).await.map_err(|problem| (problem, true))
            }
            done => done.map_err(|problem| (problem, true)),
        }
    }

    /// Ends whatever transaction there is; false if the session is of no more use.
    pub(super) async fn roll_back(&mut self) -> bool {
        let rolled = tokio::time::timeout(Duration::from_secs(5), self.batch("ROLLBACK"));
        matches!(rolled.await, Ok(Ok(())))
    }

    async fn copy_and_commit(&mut self, copy: &str, rows: &Rows) -> Result<(), Problem> {
        self.copy(copy, rows, 0..rows.len()).await?;
        self.batch("COMMIT").await
    }

    async fn stage_and_commit(&mut self, rows: &Rows) -> Result<(), Problem> {
        self.copy(&self.found.stage.clone(), rows, 0..rows.len()).await?;
        let sql = format!("{}; COMMIT", self.found.insert);
        self.batch(&sql).await
    }

    async fn batch(&mut self, sql: &str) -> Result<(), Problem> {
        let done = self.session.run(|client| client.batch_execute(sql)).await;
        done.map_err(|error| problem(self.doing(), &error))
    }

    async fn copy(&mut self, sql: &str, rows: &Rows, part: Range<usize>) -> Result<(), Problem> {
        let copied = self.session.run(async |client| {
            let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
            for chunk in rows.chunks(part) {
                sink.send(Bytes::copy_from_slice(chunk)).await?;
            }
            sink.finish().await
        });
        copied.await.map(|_| ()).map_err(|error| problem(self.doing(), &error))
    }

    fn doing(&self) -> String {
        format!("write to {}", self.found.quoted)
    }

    /// Which rows the server refuses, each by itself and in the presence of those before it. Stores
    /// nothing; `told` is what it said first.
    async fn search(
        &mut self,
        rows: &Rows,
        told: String,
        deadline: Instant,
    ) -> Result<(), Problem> {
        self.batch("ROLLBACK").await?;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        // Constraints that wait for the commit would be found there, when it is too late.
        self.batch(&format!("{}; SET CONSTRAINTS ALL IMMEDIATE", begin(false, left, true))).await?;
        let mut poison = Vec::new();
        let mut parts = std::iter::once(0..rows.len()).collect::<Vec<_>>();
        while let Some(part) = parts.pop() {
            if poison.len() >= POISON_MAX || Instant::now() >= deadline {
                break;
            }
            match self.try_part(rows, part.clone()).await {
                Ok(()) => {}
                Err(Problem::Rows(_) | Problem::Duplicate(_)) => {
                    self.batch("ROLLBACK TO part; RELEASE part").await?;
                    if part.len() == 1 {
                        poison.push(part.start);
                    } else {
                        let middle = part.start + part.len() / 2;
                        parts.extend([middle..part.end, part.start..middle]);
                    }
                }
                Err(other) => return Err(other),
            }
        }
        self.batch("ROLLBACK").await?;
        if poison.is_empty() {
            // Together they are refused, and alone they are not.
            return Err(AdapterError::new(Failure::Unknown, told).into());
        }
        Err(AdapterError::new(Failure::Poison(poison), told).into())
    }

    async fn try_part(&mut self, rows: &Rows, part: Range<usize>) -> Result<(), Problem> {
        self.batch(&format!("SAVEPOINT part; TRUNCATE {STAGE}")).await?;
        self.copy(&self.found.stage.clone(), rows, part).await?;
        let sql = format!("{}; RELEASE part", self.found.insert);
        self.batch(&sql).await
    }
}

/// Begins a transaction with its settings, in one round trip. They are its own, so that a pooler
/// may give it any of its sessions.
fn begin(power: bool, timeout: Duration, stage: bool) -> String {
    let mut sql = format!(
        "BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = {}",
        timeout.as_millis()
    );
    if power {
        // Whatever the server or the role has as a default.
        sql.push_str("; SET LOCAL synchronous_commit = on");
    }
    if stage {
        sql.push_str("; ");
        sql.push_str(&make_stage());
    }
    sql
}
