//! A table while a scan looks at it, over whichever [`Connection`].

use std::fmt;
use std::time::{Duration, Instant};

use super::address::Server;
use super::problem::Problem;
use super::session::Connection;
use crate::read::error::ScanError;
use crate::runtime;

/// How long after the deadline an answer may come: the server ends what it does by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A table, a connection while there is one, and the answer that it is giving.
pub(crate) struct Reading<C, A> {
    pub(crate) server: Server,
    pub(crate) connection: Option<C>,
    pub(crate) answer: Option<A>,
    pub(crate) deadline: Option<Instant>,
}

impl<C, A> fmt::Debug for Reading<C, A> {
    /// Without the connection, whose driver may show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<C: Connection, A> Reading<C, A> {
    /// Connects at the first query.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, connection: None, answer: None, deadline: None }
    }

    /// How long a connection, and each page, may take. The server is told, so that it does not go on alone.
    pub(crate) fn limit(&self) -> Duration {
        let limit = self.server.connect_timeout.max(self.server.timeout);
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or(limit, |left| limit.min(left))
    }

    /// Runs `work` on the connection, and connects where there is none.
    pub(crate) fn run<T: Send>(
        &mut self,
        work: impl AsyncFnOnce(&mut C) -> Result<T, Problem> + Send,
    ) -> Result<T, ScanError>
    where
        C: Send,
    {
        let (limit, deadline) = (self.limit(), self.deadline);
        let Self { server, connection, .. } = self;
        let worked = waited(limit, deadline, async || {
            let connection = match connection {
                Some(connection) => connection,
                none => none.insert(C::connect(server).await?),
            };
            work(connection).await
        });
        // In whatever state it is.
        worked.inspect_err(|_| self.connection = None)
    }

    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<C::Row>, ScanError> {
        self.run(async |connection: &mut C| connection.query("read rows", sql).await)
    }

    /// Ends whatever transaction there is.
    pub(crate) fn roll_back(&mut self) {
        self.deadline = None;
        if self.connection.is_some() {
            // A failure has ended the connection itself.
            let _ = self.query("ROLLBACK");
        }
    }
}

/// What `work` gives within the limit.
pub(crate) fn waited<T: Send>(
    limit: Duration,
    deadline: Option<Instant>,
    work: impl AsyncFnOnce() -> Result<T, Problem> + Send,
) -> Result<T, ScanError> {
    let limit = if deadline.is_some() { limit + GRACE } else { limit };
    let waited = runtime::off_runtime(|| {
        runtime::block_on(async { tokio::time::timeout(limit, work()).await })
    });
    let failed = match waited {
        Ok(Ok(Ok(done))) => return Ok(done),
        Ok(Ok(Err(problem))) => problem.into_error().to_string(),
        Ok(Err(_)) => format!("read rows: no answer within {} s", limit.as_secs()),
        Err(error) => format!("start a runtime: {error}"),
    };
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(ScanError::Deadline),
        _ => Err(ScanError::Failed(failed)),
    }
}
