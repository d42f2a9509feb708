//! One call of an adapter, from which nothing escapes: a panic becomes a failure, and a message
//! becomes text that a terminal and a log can show.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::adapter::{AdapterError, Batching, DatasetAdapter, Failure, Registry};
use crate::batch::Batch;
use crate::memory;
use crate::notice::Notice;
use crate::redact::redact;

/// The most characters of a message that come from outside.
const MESSAGE_CHARS_MAX: usize = 500;

/// The most causes that are told; one that is its own cause has no last one.
const CAUSES_MAX: usize = 8;

/// What went wrong with one attempt.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// A lowercase fragment that follows "failed to", safe to show.
    pub(super) message: String,
    pub(super) panicked: bool,
}

impl Failed {
    /// A failure for no known reason.
    pub(super) fn unknown(message: &str) -> Self {
        Self { failure: Failure::Unknown, message: message.to_owned(), panicked: false }
    }
}

/// What an adapter may need beside copies of a batch.
const MEMORY_BYTES: usize = 2 << 20;
/// How many copies of a batch it may make, as text, in the buffer of a driver, for a server.
const COPIES: usize = 3;

/// Inserts `batch` once, unless there is too little memory to try.
pub(super) fn attempt(adapter: &dyn DatasetAdapter, batch: &Batch<'_>) -> Result<(), Failed> {
    let bytes: usize = batch.row_bytes().sum();
    if !memory::has(bytes.saturating_mul(COPIES).saturating_add(MEMORY_BYTES)) {
        let message = "insert the rows: there is not enough memory".to_owned();
        return Err(Failed { failure: Failure::NoMemory, message, panicked: false });
    }
    // The message is made inside: an error's Display is the adapter's code as well. Nothing of
    // ours is half-changed when it panics: it only borrows the batch.
    let tried = catch_unwind(AssertUnwindSafe(|| {
        adapter.insert(batch).map_err(|error| Failed {
            failure: check(error.failure().clone(), batch.len()),
            message: showable(&with_causes(&error)),
            panicked: false,
        })
    }));
    tried.unwrap_or_else(|panic| {
        let message = format!("insert the rows: the adapter panicked: {}", panic_text(&*panic));
        Err(Failed { failure: Failure::Unknown, message: showable(&message), panicked: true })
    })
}

/// What an error says, and what its causes say beyond that. Theirs are other crates' words, so that
/// passwords are hidden in them.
fn with_causes(error: &AdapterError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = next else { break };
        let said = cause.to_string();
        let said = redact(said.trim());
        if !said.is_empty() && !text.contains(&*said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The dataset's adapter; a registry of the user's own that panics has none.
pub(super) fn look_up(registry: &dyn Registry, name: &str) -> Option<Arc<dyn DatasetAdapter>> {
    catch_unwind(AssertUnwindSafe(|| registry.get(name))).unwrap_or(None)
}

/// How large a batch the adapter likes; the default where it panics. A batch has a row at least.
pub(super) fn batching(adapter: &dyn DatasetAdapter) -> Batching {
    let batching = catch_unwind(AssertUnwindSafe(|| adapter.batching())).unwrap_or_default();
    Batching { rows_max: batching.rows_max.max(1), ..batching }
}

/// Has the adapter let go of what a forked child must not inherit; a panic is its own affair.
pub(super) fn release(adapter: &dyn DatasetAdapter) {
    let _ = catch_unwind(AssertUnwindSafe(|| adapter.release()));
}

/// What the adapter has to report, safe to show; nothing where it panics.
pub(super) fn notices(adapter: &dyn DatasetAdapter) -> Vec<Notice> {
    let mut notices = catch_unwind(AssertUnwindSafe(|| adapter.notices())).unwrap_or_default();
    notices.iter_mut().for_each(|notice| notice.text = showable(&notice.text));
    notices
}

/// Where the adapter's rows land; nothing where it panics.
pub(super) fn identity(adapter: &dyn DatasetAdapter) -> String {
    catch_unwind(AssertUnwindSafe(|| adapter.identity())).unwrap_or_default()
}

/// Positions that are not in the batch say nothing that can be trusted about any row.
fn check(failure: Failure, rows: usize) -> Failure {
    let checked = |mut at: Vec<usize>| {
        at.sort_unstable();
        at.dedup();
        Some(at).filter(|at| at.last().is_some_and(|last| *last < rows))
    };
    match failure {
        Failure::Poison(at) => checked(at).map_or(Failure::Unknown, Failure::Poison),
        Failure::IdsTaken(at) => checked(at).map_or(Failure::Unknown, Failure::IdsTaken),
        other => other,
    }
}

/// `text` without what would move a cursor, ring a bell or turn the reading direction, and cut.
pub(super) fn showable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown: String =
        text.chars().take(MESSAGE_CHARS_MAX).map(|c| if hidden(c) { ' ' } else { c }).collect();
    if text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        assert_eq!(showable("a\nb\x1b[31m\u{202e}c"), "a b [31m c");
        let long = showable(&"é".repeat(9_999));
        assert_eq!(long.chars().count(), MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn positions_outside_the_batch_are_not_believed() {
        assert_eq!(check(Failure::Poison(vec![]), 3), Failure::Unknown);
        assert_eq!(check(Failure::Poison(vec![0, 3]), 3), Failure::Unknown);
        assert_eq!(check(Failure::Poison(vec![2, 0, 2]), 3), Failure::Poison(vec![0, 2]));
        assert_eq!(check(Failure::IdsTaken(vec![3]), 3), Failure::Unknown);
        assert_eq!(check(Failure::IdsTaken(vec![1, 0]), 3), Failure::IdsTaken(vec![0, 1]));
    }
}
