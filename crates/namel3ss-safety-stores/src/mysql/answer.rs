//! An answer that is read as it comes, a page of rows at a time.

use std::future::{Future, poll_fn};
use std::mem::take;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::failure::problem;
use crate::server::problem::Problem;

/// An answer that is on its way. It has the connection.
pub(crate) struct Answer {
    /// Gives the connection back at the answer's end; pauses whenever there is a page.
    coming: Pin<Box<dyn Future<Output = Result<Conn, Problem>> + Send>>,
    page: Arc<Mutex<Vec<Row>>>,
    rows: usize,
}

impl Answer {
    /// Of `sql`, in pages of so many rows.
    pub(super) fn new(mut connection: Conn, sql: String, rows: usize) -> Self {
        let page = Arc::new(Mutex::new(Vec::new()));
        let taken = page.clone();
        let coming = async move {
            let password = connection.opts().pass().map(str::to_owned);
            let failed = |error| problem("read rows", &error, password.as_deref());
            let mut answer = connection.query_iter(sql).await.map_err(failed)?;
            while let Some(row) = answer.next().await.map_err(failed)? {
                let is_full = {
                    let mut page = lock(&taken);
                    page.push(row);
                    page.len() >= rows
                };
                if is_full {
                    pause().await;
                }
            }
            drop(answer);
            Ok(connection)
        };
        Self { coming: Box::pin(coming), page, rows }
    }

    /// The next rows; the last of them with the connection.
    pub(super) async fn next(&mut self) -> Result<(Vec<Row>, Option<Conn>), Problem> {
        let Self { coming, page, rows: full } = self;
        poll_fn(|cx| {
            let done = coming.as_mut().poll(cx);
            let mut page = lock(page);
            match done {
                Poll::Ready(done) => Poll::Ready(done.map(|conn| (take(&mut *page), Some(conn)))),
                // It pauses with a whole page, or waits for the server.
                Poll::Pending if page.len() >= *full => Poll::Ready(Ok((take(&mut *page), None))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

fn lock(page: &Mutex<Vec<Row>>) -> MutexGuard<'_, Vec<Row>> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets whoever polls have a look, once.
async fn pause() {
    let mut paused = false;
    poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}
