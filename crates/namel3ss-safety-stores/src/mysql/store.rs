//! One batch into the table, in one transaction.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Params, Value};
use namel3ss_safety::{AdapterError, Batch, Failure};

use super::connect::packet_bytes;
use super::failure::problem;
use super::identity::{Held, Identity};
use super::table;
use super::table::Found;
use super::values::{BYTES_MAX, Bound, SIZES, bind};
use crate::server::Server;
use crate::server::columns::JOURNAL;
use crate::server::problem::Problem;
use crate::server::session::{Connection as _, Session};

/// A connection that knows its table.
pub(super) struct Open {
    connection: Conn,
    found: Found,
    /// What the server takes in one packet.
    packet_bytes: usize,
}

impl Session for Open {
    const ROUNDS_MAX: u32 = 6;
    const UNDO_PART: &'static str = "ROLLBACK TO SAVEPOINT part";
    type Rows = Vec<Bound>;

    async fn open(server: &Server) -> Result<Self, Problem> {
        let mut connection = Conn::connect(server).await?;
        let found = table::find(&mut connection, &server.table).await?;
        let packet_bytes = packet_bytes(&mut connection).await?;
        Ok(Self { connection, found, packet_bytes })
    }

    fn has_key(&self) -> bool {
        self.found.key.is_some()
    }

    fn has_no_other_key(&self) -> bool {
        self.found.key.as_ref().is_some_and(|key| !key.others)
    }

    async fn run(&mut self, sql: &str) -> Result<(), Problem> {
        let done = self.connection.query_drop(sql).await;
        done.map_err(|error| self.problem(&error))
    }

    fn rows(&self, batch: &Batch<'_>) -> Result<Vec<Bound>, Problem> {
        let rows = bind(batch, &self.found.matching);
        let is_too_large = |at: &usize| self.bytes(1, rows[*at].bytes) > self.packet_bytes;
        let too_large: Vec<usize> = (0..rows.len()).filter(is_too_large).collect();
        if too_large.is_empty() {
            return Ok(rows);
        }
        let (doing, most) = (self.doing(), self.packet_bytes);
        let text = format!("{doing}: a row is larger than max_allowed_packet, {most} bytes");
        Err(AdapterError::new(Failure::Poison(too_large), text).into())
    }

    async fn begin(&mut self, _: &Batch<'_>, _: Duration) -> Result<(), Problem> {
        self.run("START TRANSACTION").await
    }

    async fn store(
        &mut self,
        batch: &Batch<'_>,
        rows: &mut Vec<Bound>,
        _: Duration,
    ) -> Result<Vec<usize>, Problem> {
        match self.insert_and_commit(rows).await {
            Err(Problem::Duplicate(_)) if self.has_key() => {}
            done => return done.map(|()| Vec::new()),
        }
        self.run("ROLLBACK").await?;
        // The snapshot that this opens is what the rest of the transaction goes by.
        self.run("START TRANSACTION").await?;
        let there = self.there(batch).await?;
        rows.iter_mut().for_each(|row| row.is_there = there.contains_key(&row.seq));
        self.insert_and_commit(rows).await?;
        let identity = Identity::of(&self.found);
        let is_other = |row: &Bound| {
            let held = there.get(&row.seq);
            held.is_some_and(|held| !held.iter().any(|held| identity.is_same(held, row)))
        };
        Ok((0..rows.len()).filter(|at| is_other(&rows[*at])).collect())
    }

    async fn begin_search(&mut self, _: Duration) -> Result<(), Problem> {
        self.run("START TRANSACTION").await
    }

    async fn try_part(&mut self, rows: &Vec<Bound>, part: Range<usize>) -> Result<(), Problem> {
        self.run("SAVEPOINT part").await?;
        self.insert(&rows[part]).await?;
        self.run("RELEASE SAVEPOINT part").await
    }
}

impl Open {
    fn problem(&self, error: &Error) -> Problem {
        problem(self.doing(), error, self.connection.opts().pass())
    }

    fn doing(&self) -> String {
        format!("write to {}", self.found.quoted)
    }

    async fn insert_and_commit(&mut self, rows: &[Bound]) -> Result<(), Problem> {
        self.insert(rows).await?;
        self.run("COMMIT").await
    }

    /// Inserts those of `rows` that are not known to be there.
    async fn insert(&mut self, rows: &[Bound]) -> Result<(), Problem> {
        let rows: Vec<&Bound> = rows.iter().filter(|row| !row.is_there).collect();
        let mut rows = rows.as_slice();
        let bytes_max = BYTES_MAX.min(self.packet_bytes);
        while !rows.is_empty() {
            let fits = |size: &usize| {
                let values = |rows: &[&Bound]| rows.iter().map(|row| row.bytes).sum();
                *size <= rows.len() && self.bytes(*size, values(&rows[..*size])) <= bytes_max
            };
            // One row goes, whatever its size.
            let size = SIZES.into_iter().find(fits).unwrap_or(1);
            let (part, rest) = rows.split_at(size);
            let places = vec![self.found.places.as_str(); size].join(", ");
            let sql = format!("{}{places}", self.found.insert);
            let values: Vec<Value> = part.iter().flat_map(|row| row.values.clone()).collect();
            let done = self.connection.exec_drop(sql, Params::Positional(values)).await;
            done.map_err(|error| self.problem(&error))?;
            rows = rest;
        }
        Ok(())
    }

    /// About how many bytes a statement for so many rows takes, with values of `values` bytes: more
    /// than it does, for its packet's head.
    fn bytes(&self, rows: usize, values: usize) -> usize {
        self.found.insert.len() + rows * (self.found.places.len() + 2) + values
    }

    /// What is in the table under the batch's seqs, some of which several rows may have, where the key
    /// has more columns.
    async fn there(&mut self, batch: &Batch<'_>) -> Result<HashMap<u64, Vec<Held>>, Problem> {
        let Some(key) = &self.found.key else { return Ok(HashMap::new()) };
        let (id, quoted) = (batch.id(), &self.found.quoted);
        let journal = self.found.matching.columns.iter().find(|column| {
            column.ours == JOURNAL && column.sql_type.eq_ignore_ascii_case("binary")
        });
        let journal = match journal {
            Some(_) => Value::Bytes(id.journal.0.to_vec()),
            None => Value::Bytes(id.journal.to_string().into_bytes()),
        };
        let [event_id, timestamp] = Identity::of(&self.found).columns();
        let sql = format!(
            "SELECT CAST({seq} AS UNSIGNED), {event_id}, {timestamp} FROM {quoted} \
             WHERE {} = ? AND {seq} BETWEEN ? AND ?",
            key.journal,
            seq = key.seq
        );
        let range = (journal, id.first.0, id.last.0);
        type Row = (u64, Option<String>, Option<String>);
        let found = self.connection.exec::<Row, _, _>(sql, range).await;
        let mut there: HashMap<u64, Vec<Held>> = HashMap::new();
        for (seq, event_id, timestamp) in found.map_err(|error| self.problem(&error))? {
            there.entry(seq).or_default().push([event_id, timestamp]);
        }
        Ok(there)
    }
}
