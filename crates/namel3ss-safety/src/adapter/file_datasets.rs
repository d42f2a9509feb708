//! What every dataset in one file guarantees, whether CSV, a JSON array or JSON lines.
//!
//! - A batch is appended wholly or not at all, and once, however often it is sent: a hidden
//!   sidecar `.{name}.ledger` beside the file holds the committed length and the delivered seqs.
//!   **Limit:** our rows come from this library alone, on a local file system with `flock`.
//! - No whole row is cut off, ours or another program's. Rows behind the committed length, which a
//!   crash, an older sidecar or another program leaves there, are read, and ours are entered. The
//!   rest of a row is cut off, kept in `.{name}.cut-YYYYMMDD`, and reported by a notice.
//! - `durability="process"`: the rows are with the kernel. `"power"`: rows, sidecar and folder are
//!   synced before the insert returns.
//! - A full disk, a read-only one and the like are errors that pass; the file stays valid.
//! - Deleting, moving or replacing the file (a rotation) is noticed at the next batch, which begins
//!   a new file; what was delivered into the old one is not delivered again.
//! - Without its sidecar a file is taken as it is: nothing is deleted, a last line without its end is
//!   given one, and rows of ours in it are entered.
//! - The 4,096 runs of seqs that were used last are remembered (a journal without holes has one); a
//!   replay of an older one is looked up in the file. **Limit:** not in those that stood there before.
//! - A row whose (`journal_id`, `seq`) another event has, by its `event_id` and `timestamp`, is reported
//!   as [`IdsTaken`](super::Failure::IdsTaken): copies of a process number their events alike. **Limit:**
//!   rows farther than 64 MiB from the file's end, or in a file that stood there before, count as stored.
//! - A file may have several names: a hard link, or the mount of a file into a container.
//! - A missing folder is made, once, when the dataset is opened. It and new files are their owner's alone; a
//!   symbolic link in place of the file is refused.
