//! A scan as a store runs it.

use arrow_array::RecordBatch;

use super::error::ScanError;
use super::scan::Position;

/// A scan as a store runs it. Rows are in the form of [`schema`](crate::read::schema): see [`Builder`](crate::read::Builder).
pub trait RawScan: Send {
    /// The next rows, none or some; `None` at the end. Behind an error it may go on.
    ///
    /// # Errors
    /// What could not be read, except single rows, which are counted in [`Self::unreadable`].
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError>;

    /// Whether the rows come the newest first. A store that can't do that gives them in its own order, and
    /// [`Batches`](crate::read::Batches) keeps the last of them.
    fn is_newest_first(&self) -> bool {
        false
    }

    /// Whether no row can come twice, also not in a later scan from this one's position.
    fn is_unique(&self) -> bool {
        false
    }

    /// How many rows could not be read so far.
    fn unreadable(&self) -> u64 {
        0
    }

    /// Where a later scan goes on, once all rows were given: behind everything that was there when this scan
    /// began, whether it was wanted or not.
    fn position(&mut self) -> Option<Position> {
        None
    }

    /// What the dataset lacks at its end, though nobody is writing to it: a file whose last batch was cut.
    fn lacks(&mut self) -> Option<String> {
        None
    }
}
