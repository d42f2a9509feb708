//! A table while a [`Reader`](super::Reader) looks at it, over whichever [`Connection`].

use std::fmt;

use namel3ss_safety::ReadError;

use super::address::Server;
use super::problem::Problem;
use super::session::Connection;
use crate::runtime;

/// A table, and a connection while there is one.
pub(crate) struct Reading<C> {
    pub(crate) server: Server,
    connection: Option<C>,
}

impl<C> fmt::Debug for Reading<C> {
    /// Without the connection, whose driver may show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<C: Connection> Reading<C> {
    /// Connects at the first query.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, connection: None }
    }

    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<C::Row>, ReadError> {
        let Self { server, connection } = self;
        // For its connection and for each page.
        let limit = server.connect_timeout.max(server.timeout);
        let looked = runtime::off_runtime(|| {
            let looked = async {
                let connection = match connection {
                    Some(connection) => connection,
                    none => none.insert(C::connect(server).await?),
                };
                connection.query("read rows", sql).await
            };
            let waited = runtime::block_on(async { tokio::time::timeout(limit, looked).await });
            match waited.map_err(|error| format!("start a runtime: {error}"))? {
                Ok(rows) => rows.map_err(|problem: Problem| problem.into_error().to_string()),
                Err(_) => Err(format!("read rows: no answer within {} s", limit.as_secs())),
            }
        });
        looked.map_err(|text| {
            // In whatever state it is.
            self.connection = None;
            ReadError::Dataset(text)
        })
    }

    /// Ends whatever transaction there is.
    pub(crate) fn roll_back(&mut self) {
        if self.connection.is_some() {
            // A failure has ended the connection itself.
            let _ = self.query("ROLLBACK");
        }
    }
}
