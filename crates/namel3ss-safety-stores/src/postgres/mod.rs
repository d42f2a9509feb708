//! Rows in a table of a PostgreSQL server, each once: by its primary key (`journal_id`, `seq`).
//!
//! A batch is one transaction: a binary COPY into the table itself, as fast as the server's own
//! loader. Where a row of it is there already, because a commit's answer was lost or a file is
//! replayed, or where the table's types are not ours, the batch is copied into a temporary table
//! and inserted from there `ON CONFLICT DO NOTHING`. A row that the server refuses is searched for
//! by halving, under savepoints, and named; the transaction is then rolled back. So is a row that a
//! trigger ignores (`RETURN NULL`): where fewer are stored than were sent, those that are not in the
//! table are refused rows, and those in whose place other events are, by `event_id` and `timestamp`,
//! are reported as [`IdsTaken`](namel3ss_safety::Failure::IdsTaken).
//!
//! A table that stands there with other columns keeps them, as in [`crate::sqlite`], and its
//! columns may have other types that ours can be cast to. A unique constraint of its own on
//! (`journal_id`, `seq`) is as good as our key, also with `timestamp` or `event_id` in it, as the
//! key of a partitioned table or a hypertable must have. **Limit:** without such a constraint a row
//! may be stored more than once.
//!
//! PostgreSQL has no U+0000 in texts: it is stored as U+FFFD, and the field as it was logged stands
//! in `metadata` under `row.exact`, from where `server::ServerReader` restores it.

mod capped;
pub(crate) mod connect;
mod copy;
mod failure;
#[cfg(feature = "read")]
mod read;
mod store;
mod table;
mod tls;

use namel3ss_safety::{AdapterError, Batch, DatasetAdapter, Delivery};

use self::store::Open;
use crate::server::Server;
use crate::server::adapter::Adapter;

/// A dataset in one table of a PostgreSQL server. See [`crate::postgres`].
#[derive(Debug)]
pub struct PostgresAdapter(Adapter<Open>);

impl PostgresAdapter {
    /// A dataset on `server`; connects at the first insert, with one connection.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self(Adapter::new(server))
    }
}

impl DatasetAdapter for PostgresAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.0.insert(batch)
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn delivery(&self) -> Delivery {
        self.0.delivery()
    }
}
