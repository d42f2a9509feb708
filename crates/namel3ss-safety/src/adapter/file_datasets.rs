//! What every dataset in one file guarantees, whether CSV, a JSON array or JSON lines.
//!
//! - A batch is appended wholly or not at all, and once, however often it is sent: a hidden
//!   sidecar `.{name}.ledger` beside the file holds the committed length and the delivered seqs.
//!   **Limit:** all writers are this library, on a local file system; what another program appends
//!   in place may be cut off as the rest of a crash.
//! - `durability="process"`: the rows are with the kernel. `"power"`: rows, sidecar and folder are
//!   synced before the insert returns.
//! - A full disk, a read-only one and the like are errors that pass; the file stays valid.
//! - Deleting, moving or replacing the file (a rotation) is noticed at the next batch, which begins
//!   a new file; what was delivered into the old one is not delivered again.
//! - Without its sidecar a file is taken as it is: nothing is deleted, and a last line without its
//!   end is given one. Rows that a crash had torn are then there once more when they are sent again.
//! - The 4,096 runs of seqs that were used last are remembered (a journal without holes has one);
//!   a replay of an older one would be stored twice.
//! - New files are readable by their owner alone; a symbolic link in their place is refused.
