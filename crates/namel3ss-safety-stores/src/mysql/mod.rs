//! Rows in a table of a MySQL or MariaDB server, each once: by its primary key (`journal_id`, `seq`).
//!
//! A batch is one transaction of multi-row inserts with bound values. Where a row of it is there
//! already, because a commit's answer was lost or a file is replayed, those that are there are
//! looked up by the key and left out: nothing is ignored by the server, so that an error of another
//! kind, or another unique key, hides no row. Where another event is there, by `event_id` and
//! `timestamp`, the row is reported as [`IdsTaken`](namel3ss_safety::Failure::IdsTaken). A row that the server refuses is searched for by
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
//! `server::ServerReader` restores them. Null in `confidence` and `latency_ms` stands for NaN.

#[cfg(feature = "read")]
pub(crate) mod answer;
mod connect;
mod failure;
mod identity;
#[cfg(feature = "read")]
mod read;
mod store;
mod table;
mod values;

use namel3ss_safety::{AdapterError, Batch, DatasetAdapter, Delivery};

use self::store::Open;
use crate::server::Server;
use crate::server::adapter::Adapter;

/// A dataset in one table of a MySQL or MariaDB server. See [`crate::mysql`].
#[derive(Debug)]
pub struct MysqlAdapter(Adapter<Open>);

impl MysqlAdapter {
    /// A dataset on `server`; connects at the first insert, with one connection.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self(Adapter::new(server))
    }
}

impl DatasetAdapter for MysqlAdapter {
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
