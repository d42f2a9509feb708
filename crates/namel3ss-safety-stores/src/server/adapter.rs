//! One table of a server as a dataset, over whichever [`Session`].

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Batch, Delivery, PerProcess};

use super::address::Server;
use super::problem::Problem;
use super::search::search;
use super::session::Session;
use crate::runtime;

/// What a server's public adapter wraps.
pub(crate) struct Adapter<S> {
    server: Server,
    /// Of this process: a connection must not be used across a fork.
    session: PerProcess<Option<S>>,
    /// What the last connection found.
    lacks_key: AtomicBool,
}

impl<S> fmt::Debug for Adapter<S> {
    /// Without the session, whose driver may show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<S: Session> Adapter<S> {
    /// Connects at the first insert, with one connection.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, session: PerProcess::new(None), lacks_key: AtomicBool::new(false) }
    }

    pub(crate) fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        if batch.is_empty() {
            return Ok(());
        }
        runtime::off_runtime(|| {
            // None is left by a panic: the session is dropped with its transaction.
            let mut session = self.session.lock(|| None);
            runtime::block_on(self.insert_by(&mut session, batch))
                .map_err(|error| AdapterError::transient("start a runtime").with_source(error))?
        })
    }

    pub(crate) fn identity(&self) -> String {
        self.server.identity()
    }

    pub(crate) fn delivery(&self) -> Delivery {
        if self.lacks_key.load(Ordering::Relaxed) {
            Delivery::AtLeastOnce
        } else {
            Delivery::ExactlyOnce { condition: "the table has a unique key (journal_id, seq)" }
        }
    }

    /// Leaves in `kept` the session that the next batch may use.
    async fn insert_by(&self, kept: &mut Option<S>, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let reused = kept.is_some();
            let mut session = match kept.take() {
                Some(session) => session,
                None => self.connect().await?,
            };
            let limit = self.server.timeout;
            let mut began = false;
            let storing = store(&mut session, batch, limit, &mut began);
            // Time for the server, or a search, to give up first, which says more.
            let stored = tokio::time::timeout(limit + Duration::from_secs(2), storing).await;
            match stored.map_err(|_| self.no_answer("store rows in", limit))? {
                Ok(others) => {
                    *kept = Some(session);
                    return if others.is_empty() {
                        Ok(())
                    } else {
                        Err(AdapterError::ids_taken(others))
                    };
                }
                // It was lost while nobody used it.
                Err(Problem::Lost(_)) if reused && !began && rounds == 1 => {}
                Err(Problem::Lost(error)) => return Err(error),
                // Another look at the table.
                Err(Problem::Changed(_)) if rounds < S::ROUNDS_MAX => {}
                // Another try.
                Err(Problem::Conflict(_)) if rounds < S::ROUNDS_MAX => {
                    *kept = rolled_back(session).await;
                }
                Err(problem) => {
                    *kept = rolled_back(session).await;
                    return Err(problem.into_error());
                }
            }
        }
    }

    async fn connect(&self) -> Result<S, AdapterError> {
        let limit = self.server.connect_timeout;
        let opened = tokio::time::timeout(limit, S::open(&self.server)).await;
        let opened = opened.map_err(|_| self.no_answer("connect to", limit))?;
        let session = opened.map_err(Problem::into_error)?;
        self.lacks_key.store(!session.has_key(), Ordering::Relaxed);
        Ok(session)
    }

    fn no_answer(&self, doing: &str, limit: Duration) -> AdapterError {
        let (to, s) = (self.server.identity(), limit.as_secs());
        AdapterError::transient(format!("{doing} {to}: no answer within {s} s"))
    }
}

/// Stores `batch`, or nothing of it; `began` says whether the session was still of use. Gives the
/// positions of rows in place of which other events are.
async fn store<S: Session>(
    session: &mut S,
    batch: &Batch<'_>,
    limit: Duration,
    began: &mut bool,
) -> Result<Vec<usize>, Problem> {
    let deadline = Instant::now() + limit;
    let mut rows = session.rows(batch)?;
    session.begin(batch, limit).await?;
    *began = true;
    match session.store(batch, &mut rows, limit).await {
        Err(Problem::Rows(text) | Problem::Duplicate(text)) => {
            search(session, &rows, batch.len(), text, deadline).await.map(|()| Vec::new())
        }
        done => done,
    }
}

/// Without whatever transaction there was; none if the session is of no more use.
async fn rolled_back<S: Session>(mut session: S) -> Option<S> {
    let rolled = tokio::time::timeout(Duration::from_secs(5), session.run("ROLLBACK")).await;
    matches!(rolled, Ok(Ok(()))).then_some(session)
}
