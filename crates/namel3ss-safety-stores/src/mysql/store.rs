//! One batch into the table, in one transaction; and the search for a row that the server refuses.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Value};
use namel3ss_safety::{AdapterError, Batch, Failure};

use super::Open;
use super::failure::{Problem, problem};
use super::values::{BYTES_MAX, Bound, SIZES, bind};

/// How many rows that are to blame are searched for at once; the rest is sent again without them.
const POISON_MAX: usize = 1000;

/// A problem, and whether something may have been stored.
type Stored = Result<(), (Problem, bool)>;

impl Open {
    /// Stores `batch`, or nothing of it.
    pub(super) async fn store(&mut self, batch: &Batch<'_>, timeout: Duration) -> Stored {
        let deadline = Instant::now() + timeout;
        let mut rows = bind(batch, &self.found.matching);
        let too_large: Vec<usize> = rows
            .iter()
            .filter(|row| self.bytes(1, row.bytes) > self.packet_bytes)
            .map(|row| row.at)
            .collect();
        if !too_large.is_empty() {
            let most = self.packet_bytes;
            let text =
                format!("{}: a row is larger than max_allowed_packet, {most} bytes", self.doing());
            return Err((AdapterError::new(Failure::Poison(too_large), text).into(), true));
        }
        self.run("START TRANSACTION").await.map_err(|problem| (problem, false))?;
        let mut stored = self.insert_and_commit(&rows).await;
        if let (Err(Problem::Duplicate(_)), true) = (&stored, self.found.key.is_some()) {
            self.run("ROLLBACK").await.map_err(|problem| (problem, true))?;
            // The snapshot that this opens is what the rest of the transaction goes by.
            self.run("START TRANSACTION").await.map_err(|problem| (problem, true))?;
            let there = self.there(batch).await.map_err(|problem| (problem, true))?;
            rows.retain(|row| !there.contains(&row.seq));
            stored = self.insert_and_commit(&rows).await;
        }
        match stored {
            Err(Problem::Rows(text) | Problem::Duplicate(text)) => {
                self.search(&rows, text, deadline).await.map_err(|problem| (problem, true))
            }
            done => done.map_err(|problem| (problem, true)),
        }
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Problem> {
        let done = self.connection.query_drop(sql).await;
        done.map_err(|error| problem(self.doing(), &error))
    }

    fn doing(&self) -> String {
        format!("write to {}", self.found.quoted)
    }

    async fn insert_and_commit(&mut self, rows: &[Bound]) -> Result<(), Problem> {
        self.insert(rows).await?;
        self.run("COMMIT").await
    }

    async fn insert(&mut self, mut rows: &[Bound]) -> Result<(), Problem> {
        while !rows.is_empty() {
            let bytes_max = BYTES_MAX.min(self.packet_bytes);
            let fits = |size: &usize| {
                *size <= rows.len()
                    && self.bytes(*size, rows[..*size].iter().map(|row| row.bytes).sum())
                        <= bytes_max
            };
            // One row goes, whatever its size.
            let size = SIZES.into_iter().find(fits).unwrap_or(1);
            let (part, rest) = rows.split_at(size);
            let places = vec![self.found.places.as_str(); size].join(", ");
            let sql = format!("{}{places}", self.found.insert);
            let values: Vec<Value> = part.iter().flat_map(|row| row.values.clone()).collect();
            let done = self.connection.exec_drop(sql, Params::Positional(values)).await;
            done.map_err(|error| problem(self.doing(), &error))?;
            rows = rest;
        }
        Ok(())
    }

    /// About how many bytes a statement for so many rows takes, with values of `values` bytes: more
    /// than it does, for its packet's head.
    fn bytes(&self, rows: usize, values: usize) -> usize {
        self.found.insert.len() + rows * (self.found.places.len() + 2) + values
    }

    /// Which of the batch's seqs are in the table.
    async fn there(&mut self, batch: &Batch<'_>) -> Result<HashSet<u64>, Problem> {
        let Some(key) = &self.found.key else { return Ok(HashSet::new()) };
        let (id, quoted) = (batch.id(), &self.found.quoted);
        let journal = self.found.matching.columns.iter().find(|column| {
            column.ours == crate::server::columns::JOURNAL
                && column.sql_type.eq_ignore_ascii_case("binary")
        });
        let journal = match journal {
            Some(_) => Value::Bytes(id.journal.0.to_vec()),
            None => Value::Bytes(id.journal.to_string().into_bytes()),
        };
        let sql = format!(
            "SELECT CAST({seq} AS UNSIGNED) FROM {quoted} WHERE {} = ? AND {seq} BETWEEN ? AND ?",
            key.journal,
            seq = key.seq
        );
        let range = (journal, id.first.0, id.last.0);
        let found: Result<Vec<u64>, _> = self.connection.exec(sql, range).await;
        found.map(HashSet::from_iter).map_err(|error| problem(self.doing(), &error))
    }

    /// Which rows the server refuses, each by itself and in the presence of those before it. Stores
    /// nothing; `told` is what it said first.
    async fn search(
        &mut self,
        rows: &[Bound],
        told: String,
        deadline: Instant,
    ) -> Result<(), Problem> {
        self.run("ROLLBACK").await?;
        self.run("START TRANSACTION").await?;
        let others = self.found.key.as_ref().is_none_or(|key| key.others);
        let mut poison = Vec::new();
        let mut faster = false;
        let mut parts = std::iter::once(0..rows.len()).collect::<Vec<_>>();
        while let Some(part) = parts.pop() {
            if poison.len() >= POISON_MAX || Instant::now() >= deadline {
                break;
            }
            self.run("SAVEPOINT part").await?;
            match self.insert(&rows[part.clone()]).await {
                Ok(()) => self.run("RELEASE SAVEPOINT part").await?,
                Err(problem @ (Problem::Rows(_) | Problem::Duplicate(_))) => {
                    self.run("ROLLBACK TO SAVEPOINT part").await?;
                    if part.len() > 1 {
                        let middle = part.start + part.len() / 2;
                        parts.extend([middle..part.end, part.start..middle]);
                    } else if matches!(problem, Problem::Duplicate(_)) && !others {
                        faster = true;
                    } else {
                        poison.push(rows[part.start].at);
                    }
                }
                Err(other) => return Err(other),
            }
        }
        self.run("ROLLBACK").await?;
        if !poison.is_empty() {
            return Err(AdapterError::new(Failure::Poison(poison), told).into());
        }
        if faster {
            // Another process has stored the same row meanwhile.
            return Err(Problem::Conflict(AdapterError::transient(told)));
        }
        // Together they are refused, and alone they are not.
        Err(AdapterError::new(Failure::Unknown, told).into())
    }
}
