//! Rows in a table of a PostgreSQL server, each once: by its primary key (`journal_id`, `seq`).
//!
//! A batch is one transaction: a binary COPY into the table itself, as fast as the server's own
//! loader. Where a row of it is there already, because a commit's answer was lost or a file is
//! replayed, or where the table's types are not ours, the batch is copied into a temporary table
//! and inserted from there `ON CONFLICT DO NOTHING`. A row that the server refuses is searched for
//! by halving, under savepoints, and named; the transaction is then rolled back.
//!
//! A table that stands there with other columns keeps them, as in [`crate::sqlite`], and its
//! columns may have other types that ours can be cast to. A unique constraint of its own on
//! (`journal_id`, `seq`) is as good as our key, also with `timestamp` or `event_id` in it, as the
//! key of a partitioned table or a hypertable must have. **Limit:** without such a constraint a row
//! may be stored more than once.
//!
//! PostgreSQL has no U+0000 in texts: it is stored as U+FFFD, and the field as it was logged stands
//! in `metadata` under `row.exact`, from where [`crate::server::Reader`] restores it.

mod connect;
mod copy;
mod failure;
pub(crate) mod read;
mod store;
mod table;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use namel3ss_safety::{AdapterError, Batch, DatasetAdapter, Delivery};

use self::connect::Session;
use self::failure::Problem;
use self::table::Found;
use crate::runtime::{self, PerProcess};
use crate::server::Server;

/// A dataset in one table of a PostgreSQL server. See [`crate::postgres`].
#[derive(Debug)]
pub struct PostgresAdapter {
    server: Server,
    /// Of this process: a connection must not be used across a fork.
    state: PerProcess<Mutex<Option<Open>>>,
    /// What the last connection found.
    lacks_key: AtomicBool,
}

/// A session that knows its table.
#[derive(Debug)]
struct Open {
    session: Session,
    found: Found,
    /// COPY into the table itself has not been refused.
    may_copy: bool,
}

/// How often a batch is sent anew at once: where the table was found changed, or transactions
/// conflicted.
const ROUNDS_MAX: u32 = 4;

impl PostgresAdapter {
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
            let stored = tokio::time::timeout(
                // Time for the server to give up first, which says more.
                self.server.timeout + std::time::Duration::from_secs(2),
                open.store(batch, self.server.timeout),
            );
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
                    let text = format!(
                        "store rows in {}: no answer within {} s",
                        self.server.identity(),
                        self.server.timeout.as_secs()
                    );
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
            let mut session = Session::connect(&self.server).await?;
            let found = table::find(&mut session, &self.server.table).await?;
            Ok::<_, Problem>(Open { session, found, may_copy: true })
        };
        let open = match tokio::time::timeout(self.server.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(Problem::into_error)?,
            Err(_) => {
                let (to, s) = (self.server.identity(), self.server.connect_timeout.as_secs());
                let text = format!("connect to {to}: no answer within {s} s");
                return Err(AdapterError::transient(text));
            }
        };
        self.lacks_key.store(!open.found.has_key, Ordering::Relaxed);
        Ok(open)
    }
}

impl DatasetAdapter for PostgresAdapter {
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
