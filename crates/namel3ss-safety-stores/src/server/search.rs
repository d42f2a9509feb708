//! The search for the rows that a server refuses.

use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Failure};

use super::problem::Problem;
use super::said::said;
use super::session::Session;

/// How many rows that are to blame are searched for at once; the rest is sent again without them.
const POISON_MAX: usize = 1000;

/// Which of `count` rows the server refuses, each by itself and in the presence of those before it.
/// Stores nothing; `told` is what the server said first.
pub(super) async fn search<S: Session>(
    session: &mut S,
    rows: &S::Rows,
    count: usize,
    mut told: String,
    deadline: Instant,
) -> Result<(), Problem> {
    session.run("ROLLBACK").await?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    session.begin_search(left).await?;
    let mut poison = Vec::new();
    let mut faster = false;
    let mut parts = std::iter::once(0..count).collect::<Vec<_>>();
    while let Some(part) = parts.pop() {
        if poison.len() >= POISON_MAX || Instant::now() >= deadline {
            break;
        }
        match session.try_part(rows, part.clone()).await {
            Ok(()) => {}
            Err(problem @ (Problem::Rows(_) | Problem::Duplicate(_))) => {
                session.run(S::UNDO_PART).await?;
                if part.len() > 1 {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                } else if matches!(problem, Problem::Duplicate(_)) && session.has_no_other_key() {
                    faster = true;
                } else {
                    // What was said first is mostly about the first of them.
                    if poison.is_empty()
                        && let Problem::Rows(text) = problem
                        && text == told
                        && let Some(column) = session.column(rows, part.start).await?
                    {
                        told = format!("{told}, column {}", said(&column, None));
                    }
                    poison.push(part.start);
                }
            }
            Err(other) => return Err(other),
        }
    }
    session.run("ROLLBACK").await?;
    if !poison.is_empty() {
        return Err(AdapterError::new(Failure::Poison(poison), told).into());
    }
    if faster {
        // Another process has stored the same row meanwhile.
        return Err(Problem::Conflict(AdapterError::transient(told)));
    }
    // Together they are refused, and alone they are not.
    Err(AdapterError::new(Failure::Unknown, told).into())
}
