//! Rows in a table of a MySQL or MariaDB server, each once: by its primary key (`journal_id`, `seq`).
//!
//! A batch is one transaction of multi-row inserts with bound values. Where a row of it is there
//! already, because a commit's answer was lost or a file is replayed, those that are there are
//! looked up by the key and left out: nothing is ignored by the server, so that an error of another
//! kind, or another unique key, hides no row. A row that the server refuses is searched for by
//! halving, under savepoints, and named; the transaction is then rolled back. Rights to `INSERT` and
//! `SELECT` are enough.
//!
//! A table that stands there with other columns keeps them, as in [`crate::sqlite`]; `timestamp` is
//! UTC. A unique key of its own on (`journal_id`, `seq`) is as good as ours, also with `timestamp`
//! or `event_id` in it, as the key of a partitioned table must have. **Limits:** without such a key
//! a row may be stored more than once; a table whose engine has no transactions may keep a part of a
//! batch that failed.
//!
//! Infinities, moments outside the years 1000 to 9999 and metadata of more than 30 levels are stored
//! as well as can be, and as they were logged in `metadata` under `row.exact`, from where
//! [`crate::server::Reader`] restores them. Null in `confidence` and `latency_ms` stands for NaN.

mod connect;
mod failure;
pub(crate) mod read;
mod store;
mod table;
mod values;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use namel3ss_safety::{AdapterError, Batch, DatasetAdapter, Delivery};

use self::failure::Problem;
use self::table::Found;
use crate::runtime::{self, PerProcess};
use crate::server::Server;

/// A dataset in one table of a MySQL or MariaDB server. See [`crate::mysql`].
#[derive(Debug)]
pub struct MysqlAdapter {
    server: Server,
    /// Of this process: a connection must not be used across a fork.
    state: PerProcess<Mutex<Option<Open>>>,
    /// What the last connection found.
    lacks_key: AtomicBool,
}

/// A session that knows its table.
struct Open {
    connection: Conn,
    found: Found,
    /// What the server takes in one packet.
    packet_bytes: usize,
}

impl fmt::Debug for Open {
    /// Without the connection, whose own `Debug` shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("found", &self.found).finish_non_exhaustive()
    }
}

/// How often a batch is sent anew at once: where the table was found changed, or transactions
/// conflicted.
const ROUNDS_MAX: u32 = 6;

impl MysqlAdapter {
    /// A dataset on `server`; connects at the first insert, with one connection.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self { server, state: PerProcess::new(), lacks_key: AtomicBool::new(false) }
    }

    async fn insert_into(
        &self,
        state: &mut Option<Open>,
        batch: &Batch<'_>,
    ) -> Result<(), AdapterError> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let reused = state.is_some();
            let mut open = match state.take() {
                Some(open) => open,
                None => self.connect().await?,
            };
            // Time for a search to end by itself, which says more.
            let limit = self.server.timeout + Duration::from_secs(2);
            let stored = tokio::time::timeout(limit, open.store(batch, self.server.timeout));
            let problem = match stored.await {
                Ok(Ok(())) => {
                    *state = Some(open);
                    return Ok(());
                }
                Ok(Err((problem, began))) => {
                    if let (Problem::Lost(_), true, false, 1) = (&problem, reused, began, rounds) {
                        // It was lost while nobody used it.
                        continue;
                    }
                    problem
                }
                Err(_) => {
                    let (to, s) = (self.server.identity(), self.server.timeout.as_secs());
                    let text = format!("store rows in {to}: no answer within {s} s");
                    return Err(AdapterError::transient(text));
                }
            };
            match problem {
                // Another look at the table, or another try.
                Problem::Changed(_) | Problem::Conflict(_) if rounds < ROUNDS_MAX => {
                    if matches!(problem, Problem::Conflict(_)) && open.roll_back().await {
                        *state = Some(open);
                    }
                }
                Problem::Lost(error) => return Err(error),
                problem => {
                    if open.roll_back().await {
                        *state = Some(open);
                    }
                    return Err(problem.into_error());
                }
            }
        }
    }

    async fn connect(&self) -> Result<Open, AdapterError> {
        let connecting = async {
            let mut connection = connect::connect(&self.server).await?;
            let found = table::find(&mut connection, &self.server.table).await?;
            let packet_bytes = connect::packet_bytes(&mut connection).await?;
            Ok::<_, Problem>(Open { connection, found, packet_bytes })
        };
        let open = match tokio::time::timeout(self.server.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(Problem::into_error)?,
            Err(_) => {
                let (to, s) = (self.server.identity(), self.server.connect_timeout.as_secs());
                let text = format!("connect to {to}: no answer within {s} s");
                return Err(AdapterError::transient(text));
            }
        };
        self.lacks_key.store(open.found.key.is_none(), Ordering::Relaxed);
        Ok(open)
    }
}

impl Open {
    /// Ends whatever transaction there is; false if the session is of no more use.
    async fn roll_back(&mut self) -> bool {
        let rolled = tokio::time::timeout(Duration::from_secs(5), self.run("ROLLBACK"));
        matches!(rolled.await, Ok(Ok(())))
    }
}

impl DatasetAdapter for MysqlAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        runtime::off_runtime(|| {
            let state = self.state.get_or(|| Mutex::new(None));
            // Whatever another thread's panic left is dropped with its transaction.
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            runtime::block_on(self.insert_into(&mut state, batch)).map_err(|error| {
                AdapterError::transient(format!("start a runtime: {error}")).with_source(error)
            })?
        })
    }

    fn identity(&self) -> String {
        self.server.identity()
    }

    fn delivery(&self) -> Delivery {
        if self.lacks_key.load(Ordering::Relaxed) {
            Delivery::AtLeastOnce
        } else {
            Delivery::ExactlyOnce { condition: "the table has a unique key (journal_id, seq)" }
        }
    }
}
