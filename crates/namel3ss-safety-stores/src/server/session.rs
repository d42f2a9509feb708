//! What the servers' drivers do for [`Adapter`](super::adapter::Adapter) and
//! `ServerReader`, each in its own words.

use std::ops::Range;
use std::time::Duration;

use namel3ss_safety::Batch;

use super::address::Server;
use super::problem::Problem;

/// One connection to a server.
pub(crate) trait Connection: Send + Sized {
    /// A row of a query's answer.
    type Row: Send;

    /// Connects, without a time limit of its own.
    async fn connect(server: &Server) -> Result<Self, Problem>;

    /// The rows that `sql` gives; `doing` is a fragment that follows "failed to".
    #[cfg_attr(
        not(any(feature = "read", feature = "postgres")),
        expect(dead_code, reason = "for reading, and PostgreSQL")
    )]
    async fn query(&mut self, doing: &str, sql: &str) -> Result<Vec<Self::Row>, Problem>;
}

/// A connection that knows the table it writes to. Nothing here has a time limit of its own.
pub(crate) trait Session: Send + Sized {
    /// How often a batch is sent anew at once: where the table was found changed, or transactions
    /// conflicted.
    const ROUNDS_MAX: u32;
    /// Undoes what was done since the savepoint `part`.
    const UNDO_PART: &'static str;
    /// A batch's rows as the driver sends them.
    type Rows;

    /// Connects, and finds or makes the table.
    async fn open(server: &Server) -> Result<Self, Problem>;

    /// The table has a key by which a row that is sent again is known.
    fn has_key(&self) -> bool;

    /// That key is the only one by which a row can be refused as a duplicate: such a row is there
    /// already.
    fn has_no_other_key(&self) -> bool;

    /// Runs statements that give no rows.
    async fn run(&mut self, sql: &str) -> Result<(), Problem>;

    /// The rows of `batch` for this table; those that no such table holds are named.
    fn rows(&self, batch: &Batch<'_>) -> Result<Self::Rows, Problem>;

    /// Begins the transaction of a batch, which lasts `limit` at the most.
    async fn begin(&mut self, batch: &Batch<'_>, limit: Duration) -> Result<(), Problem>;

    /// Stores the rows of `batch` that are not there already, and commits; gives the positions of those
    /// in place of which other events are.
    async fn store(
        &mut self,
        batch: &Batch<'_>,
        rows: &mut Self::Rows,
        limit: Duration,
    ) -> Result<Vec<usize>, Problem>;

    /// Begins a transaction in which parts of a batch are tried, each by [`Self::try_part`].
    async fn begin_search(&mut self, limit: Duration) -> Result<(), Problem>;

    /// The column whose type refuses a value of the row at this position, which [`Self::try_part`] was
    /// refused for; `None` where that is not known. Leaves nothing.
    async fn column(&mut self, _rows: &Self::Rows, _at: usize) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// Stores the rows at these positions under a savepoint `part`, which it lets go of.
    async fn try_part(&mut self, rows: &Self::Rows, part: Range<usize>) -> Result<(), Problem>;
}
