//! What stands in a dataset's file behind the rows that its ledger knows: rows of ours that were not
//! entered yet, rows of other programs, and the beginning of a row that was never finished.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::{Section, Writes, open, read_at};
use super::error::AdapterError;
use crate::clock::Timestamp;
use crate::id::{JournalId, Seq};
use crate::seqs::SeqSet;

/// The largest row that is read. One of ours has at most some 1.5 MiB (an event of 256 KiB, each byte
/// escaped); other programs' may be larger, but not without end.
pub(super) const ROW_BYTES_MAX: usize = 64 << 20;

const CHUNK_BYTES: usize = 256 << 10;

/// Where the whole rows of a stretch of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// Behind the last whole row; what follows is no row, or not a whole one.
    pub(super) end: u64,
    /// What the last row lacks though it is whole: to be written at `end`.
    pub(super) mend: &'static [u8],
    /// The stretch holds something else than rows and what may stand between them.
    pub(super) foreign: bool,
}

/// Where lines end, in a file whose rows are lines.
pub(super) trait Lines: Default {
    /// Whether a line ends with `piece`, which has a newline at its end or none at all, and stands
    /// behind what it was given before.
    fn ends(&mut self, piece: &[u8]) -> bool;
}

/// Each newline ends a line.
#[derive(Debug, Default)]
pub(super) struct Plain;

impl Lines for Plain {
    fn ends(&mut self, piece: &[u8]) -> bool {
        piece.ends_with(b"\n")
    }
}

/// Gives each line of a stretch of the file to `each`, with its newline, unless it is too long for
/// a row. Returns where the last one ends, and what stands behind it; `None` where that is too long.
pub(super) fn lines<L: Lines>(
    file: &File,
    stretch: Range<u64>,
    mut each: impl FnMut(&[u8]),
) -> io::Result<(u64, Option<Vec<u8>>)> {
    let mut at = stretch.start;
    let section = Section { file, at, to: stretch.end };
    let mut input = BufReader::with_capacity(CHUNK_BYTES, section);
    let mut line = Vec::new();
    loop {
        line.clear();
        let (mut state, mut taken, mut long) = (L::default(), 0, false);
        loop {
            if line.len() > ROW_BYTES_MAX {
                long = true;
                line.clear();
            }
            let from = line.len();
            let room = (ROW_BYTES_MAX + 1 - from) as u64;
            let read = input.by_ref().take(room).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok((at, (!long).then_some(line)));
            }
            taken += read as u64;
            if state.ends(&line[from..]) {
                break;
            }
        }
        if !long {
            each(&line);
        }
        at += taken;
    }
}

/// As [`Format::walk`](super::file::Format::walk), where rows are lines. `is_whole` tells whether a
/// last line without its end is a whole row.
pub(super) fn walk_lines<L: Lines>(
    file: &File,
    stretch: Range<u64>,
    is_whole: impl FnOnce(&[u8]) -> bool,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Walked> {
    let to = stretch.end;
    let (end, rest) = lines::<L>(file, stretch, &mut *each)?;
    let whole = match &rest {
        Some(rest) => !rest.is_empty() && is_whole(rest),
        // None of ours, and too large to be kept beside the file.
        None => true,
    };
    if let Some(rest) = rest.filter(|_| whole) {
        each(&rest);
    }
    Ok(match whole {
        true => Walked { end: to, mend: b"\n", foreign: false },
        false => Walked { end, mend: b"", foreign: false },
    })
}

/// Rows that were found in a file, by their journals.
#[derive(Debug, Default)]
pub(super) struct Found {
    journals: BTreeMap<JournalId, SeqSet>,
}

impl Found {
    pub(super) fn add(&mut self, (journal, seq): (JournalId, Seq)) {
        self.journals.entry(journal).or_default().insert(seq.0, seq.0);
    }

    /// The seqs of one journal.
    pub(super) fn of(&self, journal: JournalId) -> Option<&SeqSet> {
        self.journals.get(&journal)
    }

    /// The seqs of each journal; the newest journal last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (JournalId, &SeqSet)> {
        self.journals.iter().map(|(journal, seqs)| (*journal, seqs))
    }
}

/// Where the file's content ends: behind its last byte that is not NUL, or at `from`. A power cut
/// may have made a file longer than what was written to it.
pub(super) fn content_end(file: &File, from: u64, len: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut to = len;
    while to > from {
        let at = from.max(to.saturating_sub(CHUNK_BYTES as u64));
        let part = &mut chunk[..usize::try_from(to - at).unwrap_or(0)];
        let read = read_at(file, at, part)?;
        if let Some(last) = part[..read].iter().rposition(|byte| *byte != 0) {
            return Ok(at + last as u64 + 1);
        }
        to = at;
    }
    Ok(from)
}

/// Appends a stretch of a dataset's file, which is about to be cut off, to `.{name}.cut-{day}`
/// beside it, and returns that file's path.
pub(super) fn keep(
    dataset: &Path,
    file: &File,
    stretch: Range<u64>,
) -> Result<PathBuf, AdapterError> {
    let name = dataset.file_name().unwrap_or_default().to_string_lossy();
    let day: String = Timestamp::now().to_string().chars().take(10).filter(|c| *c != '-').collect();
    let path = dataset.with_file_name(format!(".{name}.cut-{day}"));
    let (kept, _) = open(&path, Writes::AtEnd)?;
    let mut section = Section { file, at: stretch.start, to: stretch.end };
    io::copy(&mut section, &mut &kept)
        .and_then(|_| (&kept).write_all(b"\n"))
        .and_then(|()| kept.sync_data())
        .map_err(|error| AdapterError::io(format_args!("write {}", path.display()), error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(content).unwrap();
        file
    }

    #[test]
    fn lines_end_with_newlines_and_the_rest_is_no_line() {
        let content = b"one\n\ntwo\nthr";
        let mut seen = Vec::new();
        let file = file(content);
        let rest = lines::<Plain>(&file, 0..content.len() as u64, |line| seen.push(line.to_vec()));
        assert_eq!(rest.unwrap(), (9, Some(b"thr".to_vec())));
        assert_eq!(seen, [&b"one\n"[..], b"\n", b"two\n"]);
        assert_eq!(lines::<Plain>(&file, 5..9, |_| ()).unwrap(), (9, Some(Vec::new())));
    }

    #[test]
    fn content_ends_before_the_nuls_of_a_power_cut() {
        let mut content = b"row\n".to_vec();
        content.resize(2 * CHUNK_BYTES + 7, 0);
        let file = file(&content);
        assert_eq!(content_end(&file, 0, content.len() as u64).unwrap(), 4);
        assert_eq!(content_end(&file, 4, content.len() as u64).unwrap(), 4);
        assert_eq!(content_end(&file, 100, content.len() as u64).unwrap(), 100);
    }
}
