//! What is wanted of a dataset: which rows and columns, in which order, and how many.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use namel3ss_safety::Timestamp;

use super::batch::Columns;
use super::error::ScanError;
use super::filter::Filter;

/// Which rows of a dataset are wanted; by default all, with all columns, in the order in which the dataset
/// stores them.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The columns of the batches; by default all.
    pub columns: Columns,
    /// Only events of this moment or later.
    pub from: Option<Timestamp>,
    /// Only events before this moment.
    pub to: Option<Timestamp>,
    /// Only events that it matches.
    pub filter: Filter,
    /// The last stored row first; it needs a limit. Where a server stores no order, the latest moment comes
    /// first.
    pub newest_first: bool,
    /// At most so many rows.
    pub limit: Option<usize>,
    /// When to give up. It is looked at between pieces that are read, so that the scan may end a little later.
    pub deadline: Option<Instant>,
    /// Only rows that came since an earlier scan of the same dataset.
    pub after: Option<Position>,
}

impl Scan {
    /// Whether all rows are wanted, whatever they hold: only then a store may count a limit itself.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.filter.conditions().is_empty()
    }

    /// Whether an event of this moment is wanted.
    #[must_use]
    pub fn reaches(&self, moment: Timestamp) -> bool {
        self.from.is_none_or(|from| moment >= from) && self.to.is_none_or(|to| moment < to)
    }

    /// An error once the deadline has passed.
    ///
    /// # Errors
    /// [`ScanError::Deadline`].
    pub fn check_deadline(&self) -> Result<(), ScanError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(ScanError::Deadline),
            _ => Ok(()),
        }
    }
}

/// How far a scan has read, for a later one that goes on there. Only the dataset that made it understands
/// it, and it holds nothing open.
#[derive(Clone)]
pub struct Position(Arc<dyn Any + Send + Sync>);

impl Position {
    /// A store's own state.
    pub fn new<T: Any + Send + Sync>(state: T) -> Self {
        Self(Arc::new(state))
    }

    /// The state that [`Self::new`] was given.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for the position of another kind of dataset.
    pub fn state<T: Any + Send + Sync>(&self) -> Result<&T, ScanError> {
        self.0.downcast_ref().ok_or_else(|| {
            ScanError::Invalid("go on from the position: it is of another dataset".to_owned())
        })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Position")
    }
}
