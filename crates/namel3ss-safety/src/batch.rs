//! A frozen run of rows on its way to a dataset: one buffer of payloads, and borrowed views of it.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::clock::Timestamp;
use crate::codec::{self, DecodeError, EventRef, Source};
use crate::id::{BatchId, JournalId, Seq};
use crate::memory;

/// How much a storage call must survive before it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, however it comes: bytes are with the kernel. **Not** a power cut.
    #[default]
    Process,
    /// A power cut too: bytes are synced before an acknowledgement.
    Power,
}

impl Durability {
    /// The word that users write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event with its place: (`journal`, `seq`) identifies it everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The journal it was logged to.
    pub journal: JournalId,
    /// Its position there.
    pub seq: Seq,
    /// The event itself.
    pub event: EventRef<'a>,
}

impl Row<'_> {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: Seq,
    start: usize,
    end: usize,
}

/// Rows in one growing buffer, from which batches are borrowed.
///
/// ```
/// use namel3ss_safety::{JournalId, RowBuffer, SafetyEvent, Seq};
/// let mut rows = RowBuffer::new(JournalId::generate());
/// rows.push_event(Seq(1), &SafetyEvent::default());
/// rows.push_event(Seq(2), &SafetyEvent::default());
/// let batch = rows.batch();
/// assert_eq!(batch.rows().map(|row| row.seq.0).collect::<Vec<_>>(), [1, 2]);
/// ```
#[derive(Debug)]
pub struct RowBuffer {
    journal: JournalId,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    durability: Durability,
    /// Where events are encoded: it knows its own room, `bytes` is too long for that.
    scratch: Vec<u8>,
}

impl RowBuffer {
    /// An empty buffer for rows of one journal.
    #[must_use]
    pub fn new(journal: JournalId) -> Self {
        Self {
            journal,
            bytes: Vec::new(),
            entries: Vec::new(),
            durability: Durability::Process,
            scratch: Vec::new(),
        }
    }

    /// Empties it for rows of `journal`, keeping its memory.
    #[doc(hidden)]
    pub fn reset(&mut self, journal: JournalId, durability: Durability) {
        self.journal = journal;
        self.durability = durability;
        self.bytes.clear();
        self.entries.clear();
        // One huge batch must not hold its memory for ever.
        self.bytes.shrink_to(8 << 20);
        self.entries.shrink_to(64 << 10);
    }

    /// Adds a row from its payload. Seqs must ascend.
    ///
    /// # Errors
    /// If the payload can't be decoded; nothing is added then.
    #[doc(hidden)]
    pub fn push(&mut self, seq: Seq, payload: &[u8]) -> Result<(), DecodeError> {
        codec::decode(payload)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.entry(seq, start);
        Ok(())
    }

    /// Makes room for a row of so many bytes.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        memory::reserve(&mut self.bytes, bytes)?;
        memory::reserve(&mut self.entries, 1)
    }

    /// Adds a row from an event. Seqs must ascend.
    pub fn push_event(&mut self, seq: Seq, event: &impl Source) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(codec::encode_into(event, &mut self.scratch));
        self.entry(seq, start);
    }

    fn entry(&mut self, seq: Seq, start: usize) {
        debug_assert!(self.entries.last().is_none_or(|last| last.seq < seq), "seqs ascend");
        self.entries.push(Entry { seq, start, end: self.bytes.len() });
    }

    /// How many rows it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes its payloads take.
    #[must_use]
    #[doc(hidden)]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The last row's seq.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.entries.last().map(|entry| entry.seq)
    }

    /// Drops the rows before `seq`.
    #[doc(hidden)]
    pub fn drop_before(&mut self, seq: Seq) {
        let keep = self.entries.partition_point(|entry| entry.seq < seq);
        self.entries.drain(..keep);
    }

    /// Drops the rows after `seq`.
    #[doc(hidden)]
    pub fn drop_after(&mut self, seq: Seq) {
        let keep = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.truncate(keep);
    }

    /// All rows as one batch.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            journal: self.journal,
            bytes: &self.bytes,
            entries: &self.entries,
            durability: self.durability,
        }
    }
}

/// Rows of one journal, in the order of their seqs, borrowed from where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    journal: JournalId,
    bytes: &'a [u8],
    entries: &'a [Entry],
    durability: Durability,
}

impl<'a> Batch<'a> {
    /// The idempotency key: journal, first and last seq.
    #[must_use]
    pub fn id(&self) -> BatchId {
        let seq = |entry: Option<&Entry>| entry.map_or(Seq(0), |entry| entry.seq);
        BatchId {
            journal: self.journal,
            first: seq(self.entries.first()),
            last: seq(self.entries.last()),
        }
    }

    /// How durable the rows must be before the adapter says that they are stored.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The rows, in the order of their seqs.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let Self { journal, bytes, entries, .. } = *self;
        entries.iter().map(move |entry| Row {
            journal,
            seq: entry.seq,
            // Each payload was decoded when it was pushed, and nothing has changed it since.
            event: codec::decode_again(&bytes[entry.start..entry.end]).expect("checked at push"),
        })
    }

    /// The seqs of the rows.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = Seq> + use<'a> {
        self.entries.iter().map(|entry| entry.seq)
    }

    /// A copy of the rows.
    #[must_use]
    pub fn to_rows(&self) -> RowBuffer {
        let (first, last) = match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => (first.start, last.end),
            _ => (0, 0),
        };
        let moved =
            |entry: &Entry| Entry { start: entry.start - first, end: entry.end - first, ..*entry };
        RowBuffer {
            journal: self.journal,
            bytes: self.bytes[first..last].to_vec(),
            entries: self.entries.iter().map(moved).collect(),
            durability: self.durability,
            scratch: Vec::new(),
        }
    }

    /// A copy of the rows at the positions `at`, which ascend, as rows of another journal.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub(crate) fn picked(&self, at: &[usize], journal: JournalId) -> io::Result<RowBuffer> {
        let mut rows = RowBuffer::new(journal);
        rows.durability = self.durability;
        let bytes = |at: &usize| self.entries[*at].end - self.entries[*at].start;
        memory::reserve(&mut rows.bytes, at.iter().map(bytes).sum())?;
        memory::reserve(&mut rows.entries, at.len())?;
        for entry in at.iter().map(|at| &self.entries[*at]) {
            let start = rows.bytes.len();
            rows.bytes.extend_from_slice(&self.bytes[entry.start..entry.end]);
            rows.entry(entry.seq, start);
        }
        Ok(rows)
    }

    /// How many bytes each row's payload takes, in the order of the rows.
    pub fn row_bytes(&self) -> impl ExactSizeIterator<Item = usize> + use<'a> {
        self.entries.iter().map(|entry| entry.end - entry.start)
    }

    /// The rows at the positions `range` of this batch, as a batch of their own.
    ///
    /// # Panics
    /// If the range is out of bounds, as slicing does.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Batch<'a> {
        Batch { entries: &self.entries[range], ..*self }
    }

    /// The moment of the oldest event, as the app gave it.
    #[must_use]
    #[doc(hidden)]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.rows().map(|row| row.event.timestamp).min()
    }
}
