//! A piece of a dataset, such as a row group: its rows as batches, in a scan's order.

use std::collections::VecDeque;
use std::fmt;

use arrow_array::RecordBatch;
use namel3ss_safety::{ReadError, ReadRow};

use super::batch::Builder;
use super::batches::{matching, reversed};
use super::error::ScanError;
use super::raw::RawScan;
use super::scan::{Position, Scan};

/// About how many bytes of a piece are kept for those who want the newest rows first: 256 MiB.
const NEWEST_BYTES_MAX: usize = 256 << 20;

type Rows = Box<dyn Iterator<Item = Result<ReadRow, ReadError>> + Send>;
#[cfg(feature = "parquet")]
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + Send>;

/// What a piece gives.
pub(crate) enum Piece {
    Rows(Rows),
    /// In the order of the scan.
    #[cfg(feature = "parquet")]
    Batches(Batches),
    /// The wanted rows of one that was read to its end, the last batch to be given first.
    Newest(VecDeque<RecordBatch>),
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Piece")
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self::Newest(VecDeque::new())
    }
}

impl Piece {
    /// The next rows; `None` at the end. Rows that can't be read are added to `unreadable`.
    ///
    /// # Errors
    /// If the rest can't be read.
    pub(crate) fn next_batch(
        &mut self,
        scan: &Scan,
        newest_first: bool,
        unreadable: &mut u64,
    ) -> Result<Option<RecordBatch>, ScanError> {
        if newest_first && matches!(self, Self::Rows(_)) {
            *self = Self::Newest(self.last(scan, unreadable)?);
        }
        match self {
            Self::Newest(batches) => batches.pop_back().map(|batch| reversed(&batch)).transpose(),
            _ => self.forward(unreadable),
        }
    }

    fn forward(&mut self, unreadable: &mut u64) -> Result<Option<RecordBatch>, ScanError> {
        let rows = match self {
            Self::Rows(rows) => rows,
            #[cfg(feature = "parquet")]
            Self::Batches(batches) => return Ok(batches.next().transpose()?),
            Self::Newest(_) => return Ok(None),
        };
        let mut builder = Builder::default();
        while !builder.is_full()
            && let Some(row) = rows.next()
        {
            match row {
                Ok(row) => builder.push(&row),
                Err(ReadError::Row { .. }) => *unreadable += 1,
                Err(error) => return Err(error.into()),
            }
        }
        (!builder.is_empty()).then(|| builder.finish()).transpose()
    }

    /// The rows that a scan asks for. One piece may hold more than fits into memory: then only the last rows of
    /// it are kept, as many as are asked for.
    fn last(
        &mut self,
        scan: &Scan,
        unreadable: &mut u64,
    ) -> Result<VecDeque<RecordBatch>, ScanError> {
        let limit = scan.limit.unwrap_or(usize::MAX);
        let (mut last, mut rows, mut bytes) = (VecDeque::new(), 0, 0);
        while let Some(batch) = self.forward(unreadable)? {
            scan.check_deadline()?;
            let batch = matching(scan, &batch)?;
            if batch.num_rows() == 0 {
                continue;
            }
            rows += batch.num_rows();
            bytes += batch.get_array_memory_size();
            last.push_back(batch);
            while bytes > NEWEST_BYTES_MAX
                && let Some(first) = last.front()
                && rows - first.num_rows() >= limit
            {
                rows -= first.num_rows();
                bytes -= first.get_array_memory_size();
                last.pop_front();
            }
        }
        Ok(last)
    }
}

/// A dataset that is read piece by piece.
pub(crate) trait Pieces: Send {
    /// The next piece, or the last that was not given yet; `None` once there is none.
    fn next_piece(&mut self, scan: &Scan, newest_first: bool) -> Result<Option<Piece>, ScanError>;

    /// As [`RawScan::position`].
    fn position(&mut self) -> Option<Position>;
}

/// A scan of a dataset's pieces.
pub(crate) struct PieceScan<P> {
    pieces: P,
    identity: String,
    scan: Scan,
    newest_first: bool,
    piece: Piece,
    unreadable: u64,
}

impl<P: Pieces> PieceScan<P> {
    /// Of the dataset with this identity; `newest_first` is whether its pieces come from the last one on.
    pub(crate) fn new(pieces: P, identity: String, scan: Scan, newest_first: bool) -> Self {
        Self { pieces, identity, scan, newest_first, piece: Piece::default(), unreadable: 0 }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        loop {
            let batch =
                self.piece.next_batch(&self.scan, self.newest_first, &mut self.unreadable)?;
            if batch.is_some() {
                return Ok(batch);
            }
            self.scan.check_deadline()?;
            let piece = self.pieces.next_piece(&self.scan, self.newest_first)?;
            let Some(piece) = piece else { return Ok(None) };
            self.piece = piece;
        }
    }
}

impl<P: Pieces> RawScan for PieceScan<P> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        self.next().map_err(|error| error.of(&self.identity))
    }

    fn is_newest_first(&self) -> bool {
        self.newest_first
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn position(&mut self) -> Option<Position> {
        self.pieces.position()
    }
}
