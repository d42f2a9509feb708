//! Brings a file dataset and its ledger together, whatever a crash or another program did to the file.
//!
//! | the file | what happens |
//! | --- | --- |
//! | ends where the ledger says | nothing |
//! | has grown: a crash before the commit, an older sidecar, the file's other name, other programs | whole rows stay, and ours are entered by their (journal, seq); the rest of a row is kept beside the file and cut off |
//! | is another one, was emptied, cut, edited or replaced | it is taken as it is, a last line is given its end, and rows of ours in it are entered; what was delivered before stays so |
//!
//! The ledger's mark, a check of the bytes before its end, tells the second from the third.

use std::io;

use super::disk::{read_at, write_at};
use super::error::AdapterError;
use super::file::{FileDataset, Format, Open};
use super::ledger::{MARK_BYTES_MAX, Mark};
use super::tail::{Found, ROW_BYTES_MAX, content_end, keep};
use crate::id::JournalId;
use crate::memory;
use crate::notice::{Level, NoticeKind, Notices};
use crate::seqs::SeqSet;

impl<F: Format> FileDataset<F> {
    /// Afterwards the file ends where the ledger says; `false` if another program changed it
    /// meanwhile.
    pub(super) fn settle(
        &self,
        open: &mut Open,
        format: &mut F,
        notices: &Notices,
        len: u64,
    ) -> Result<bool, AdapterError> {
        let end = open.ledger.end;
        let taken = if end > len || !self.is_marked(open, format)? {
            Taken::Foreign
        } else if self.ends_with_closer(open, format, len) {
            open.ledger.file = open.data_id;
            Taken::Whole
        } else {
            self.take_tail(open, format, notices, len)?
        };
        match taken {
            Taken::Whole => return Ok(true),
            Taken::Changed => return Ok(false),
            Taken::Foreign => {}
        }
        let adopted = self.adopt(open, format, len);
        let now = open.data.metadata().map_err(|e| self.failed("look at", e))?.len();
        match adopted {
            // Refused perhaps for what it was for a moment.
            Err(_) if now != len => Ok(false),
            adopted => adopted.map(|()| true),
        }
    }

    /// Takes the file as it is: its content is not ours to judge. One that its format refuses is left
    /// untouched.
    fn adopt(&self, open: &mut Open, format: &mut F, len: u64) -> Result<(), AdapterError> {
        format.learn((len > 0).then_some(&open.data))?;
        open.learned = true;
        let (end, mend) = match len {
            0 => (0, &b""[..]),
            _ => format.adopt(&open.data, len)?,
        };
        if !mend.is_empty() {
            write_at(&open.data, end, mend).map_err(|e| self.failed("write to", e))?;
        }
        open.ledger.file = open.data_id;
        open.ledger.end = end + mend.len() as u64;
        let found = self.find(open, format, |_| true)?;
        if len == 0 {
            open.ledger.delivered.unlist_none();
        }
        found.iter().for_each(|(journal, seqs)| open.ledger.delivered.add(journal, seqs.runs()));
        // Before the first append, so that a crash in the middle of it can be told from content.
        self.commit(open, &[])
    }

    /// The rows of ours up to the ledger's end, of those that may be wanted by their text.
    fn find(
        &self,
        open: &Open,
        format: &F,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Found, AdapterError> {
        let mut found = Found::default();
        format
            .walk(&open.data, 0..open.ledger.end, None, &mut |row| {
                if let Some(id) = wanted(row).then(|| format.id(row)).flatten() {
                    found.add(id);
                }
            })
            .map_err(|e| self.failed("read", e))?;
        Ok(found)
    }

    /// Whether the file up to the ledger's end is what the ledger speaks of.
    fn is_marked(&self, open: &mut Open, format: &F) -> Result<bool, AdapterError> {
        let is_same = open.ledger.file.is_same(open.data_id);
        open.before = None;
        if open.ledger.end == 0 {
            return Ok(is_same);
        }
        let mut last = [0; MARK_BYTES_MAX];
        let last = read_last(open, &mut last).map_err(|e| self.failed("read", e))?;
        open.before = last.last().copied();
        Ok(match open.ledger.mark {
            Some(mark) => mark == Mark::of(last),
            None => is_same && open.before.is_some_and(|before| format.may_follow(before)),
        })
    }

    /// Sets the mark for the ledger's end; `written` is what stands before it, or less of it.
    pub(super) fn mark(&self, open: &mut Open, written: &[u8]) -> io::Result<()> {
        let mut last = [0; MARK_BYTES_MAX];
        let last = match written.len() >= MARK_BYTES_MAX {
            true => written,
            false => read_last(open, &mut last)?,
        };
        open.before = last.last().copied();
        open.ledger.mark = Some(Mark::of(last));
        Ok(())
    }

    fn ends_with_closer(&self, open: &Open, format: &F, len: u64) -> bool {
        let end = open.ledger.end;
        let closer = closer(format, end);
        let mut found = [0; 8];
        let found = &mut found[..closer.len()];
        len == end + closer.len() as u64
            && (closer.is_empty()
                || read_at(&open.data, end, found).is_ok_and(|n| found[..n] == *closer))
    }

    /// Enters the whole rows behind the ledger's end, and cuts off what stands behind them.
    fn take_tail(
        &self,
        open: &mut Open,
        format: &mut F,
        notices: &Notices,
        len: u64,
    ) -> Result<Taken, AdapterError> {
        let reading = |error| self.failed("read", error);
        format.learn((open.ledger.end > 0).then_some(&open.data))?;
        open.learned = true;
        let content = content_end(&open.data, open.ledger.end, len).map_err(reading)?;
        let opener = format.opener();
        let (from, before) = match open.ledger.end {
            0 => {
                let mut found = vec![0; opener.len()];
                let read = read_at(&open.data, 0, &mut found).map_err(reading)?;
                let read = read.min(usize::try_from(content).unwrap_or(read));
                if !opener.starts_with(&found[..read]) {
                    return Ok(Taken::Foreign);
                }
                (read as u64, opener.last().copied())
            }
            end => (end, open.before),
        };
        let (mut found, mut unreadable) = (Found::default(), false);
        let walked = format
            .walk(&open.data, from..content, before, &mut |row| {
                match format.id(row) {
                    Some(id) => found.add(id),
                    // A line that can't be read costs itself; in an array it costs the whole file.
                    None => unreadable |= !format.closer().is_empty() && !format.is_row(row),
                }
            })
            .map_err(reading)?;
        if walked.foreign || unreadable {
            return Ok(Taken::Foreign);
        }
        self.report(open, format, notices, walked.end..content, len - content)?;
        let end = match walked.end + walked.mend.len() as u64 {
            end if end == from && open.ledger.end == 0 => 0,
            end => end,
        };
        let last = [walked.mend, closer(format, end)].concat();
        end_at(open, format, walked.end.min(end), &last).map_err(|e| self.failed("repair", e))?;
        let to = end + closer(format, end).len() as u64;
        if !self.is_as_written(open, format, to)? {
            self.restart(open, format)?;
            return Ok(Taken::Changed);
        }
        open.ledger.end = end;
        open.ledger.file = open.data_id;
        found.iter().for_each(|(journal, seqs)| open.ledger.delivered.add(journal, seqs.runs()));
        self.commit(open, &[])?;
        Ok(Taken::Whole)
    }

    /// Keeps what is going to be cut off beside the file, and says so.
    fn report(
        &self,
        open: &Open,
        format: &F,
        notices: &Notices,
        torn: std::ops::Range<u64>,
        nuls: u64,
    ) -> Result<(), AdapterError> {
        let dataset = self.path.display();
        let bytes = usize::try_from(torn.end - torn.start).unwrap_or(ROW_BYTES_MAX);
        let mut begin = Vec::new();
        memory::resize(&mut begin, bytes.min(ROW_BYTES_MAX), 0)
            .map_err(|e| self.failed("read", e))?;
        let read =
            read_at(&open.data, torn.start, &mut begin).map_err(|e| self.failed("read", e))?;
        begin.truncate(read);
        if begin.iter().any(|byte| !format.is_filler(*byte)) {
            let kept = keep(&self.path, &open.data, torn)?;
            let kept = kept.display();
            if format.began_here(&begin) {
                let text = format!(
                    "{bytes} bytes at the end of {dataset} were the begin of a row that a crash left; \
                     they are in {kept}, and the row is delivered again"
                );
                notices.say(Level::Info, NoticeKind::TornRow, text);
            } else {
                let text = format!(
                    "{bytes} bytes at the end of {dataset} were no whole row, and not of this library; \
                     they are in {kept} now: have other programs append whole lines"
                );
                notices.say(Level::Warning, NoticeKind::TornRow, text);
            }
        } else if nuls > 0 {
            let text = format!(
                "{nuls} NUL bytes at the end of {dataset}, as a power cut leaves them, were cut off"
            );
            notices.say(Level::Info, NoticeKind::TornRow, text);
        }
        Ok(())
    }

    /// The runs of a journal that the ledger has forgotten, or has never known: it is looked up in
    /// the file.
    pub(super) fn look_up(
        &self,
        open: &mut Open,
        format: &F,
        journal: JournalId,
    ) -> Result<SeqSet, AdapterError> {
        let name = journal.to_string();
        let found = self.find(open, format, |row| {
            std::str::from_utf8(row).is_ok_and(|row| row.contains(&name))
        })?;
        let delivered = &mut open.ledger.delivered;
        let mut seqs = delivered.of(journal).clone();
        seqs.extend(found.of(journal).into_iter().flat_map(SeqSet::runs));
        delivered.add(journal, seqs.runs());
        Ok(seqs)
    }

    /// After an append that failed: takes its rows back, if nothing else was appended behind them.
    /// `out` was to be written last, at `at`.
    pub(super) fn take_back(
        &self,
        open: &Open,
        format: &F,
        (at, out): (u64, &[u8]),
    ) -> io::Result<()> {
        let (end, len) = (open.ledger.end, open.data.metadata()?.len());
        let closer = closer(format, end);
        if !format.closer().is_empty() && len >= end {
            return end_at(open, format, end, closer);
        }
        let ours = len.checked_sub(at).and_then(|bytes| usize::try_from(bytes).ok());
        if let Some(ours) = ours.filter(|ours| *ours <= out.len()) {
            let mut found = vec![0; ours];
            if read_at(&open.data, at, &mut found)? == ours && found[..] == out[..ours] {
                return end_at(open, format, end, closer);
            }
        }
        Ok(())
    }

    /// Whether the file is what an append has made of it: no other program has cut it or appended
    /// to it meanwhile.
    pub(super) fn is_as_written(
        &self,
        open: &mut Open,
        format: &F,
        len: u64,
    ) -> Result<bool, AdapterError> {
        let found = open.data.metadata().map_err(|e| self.failed("look at", e))?.len();
        // Where rows are written at the file's end, a cut shows in its length; elsewhere it leaves a
        // hole.
        if found != len || format.closer().is_empty() {
            return Ok(found == len);
        }
        let mut first = [1];
        read_at(&open.data, 0, &mut first).map_err(|e| self.failed("read", e))?;
        Ok(first != [0] && self.is_marked(open, format)?)
    }

    /// Where another program has emptied the file in the middle of an append: makes what was appended
    /// since a file of its own, without the hole before it and with what such a file begins with.
    pub(super) fn restart(&self, open: &mut Open, format: &F) -> Result<(), AdapterError> {
        open.learned = false;
        let restart = || {
            let len = open.data.metadata()?.len();
            let mut begin = vec![0; (64 << 10).min(usize::try_from(len).unwrap_or(usize::MAX))];
            read_at(&open.data, 0, &mut begin)?;
            let from = match (format.closer().is_empty(), begin.first()) {
                (true, _) if format.restarted(&begin).is_some() => 0,
                (false, Some(0)) => open.ledger.end.min(len),
                _ => return Ok(()),
            };
            let Some(bytes) = usize::try_from(len - from).ok().filter(|n| *n <= ROW_BYTES_MAX)
            else {
                return Ok(());
            };
            let mut appended = Vec::new();
            memory::resize(&mut appended, bytes, 0)?;
            let read = read_at(&open.data, from, &mut appended)?;
            appended.truncate(read);
            let hole = appended.iter().position(|byte| *byte != 0).unwrap_or(read);
            if let Some(whole) = format.restarted(&appended[hole..]) {
                // Should it end here, the rows are sent again.
                open.data.set_len(0)?;
                write_at(&open.data, 0, &whole)?;
            }
            Ok(())
        };
        restart().map_err(|e| self.failed("repair", e))
    }
}

/// What became of the file's content behind the ledger's end.
enum Taken {
    /// The file ends where the ledger says.
    Whole,
    /// It is not what the ledger speaks of.
    Foreign,
    /// Another program changed it meanwhile.
    Changed,
}

/// A file without a row is empty: it has neither opener nor closer.
fn closer<F: Format>(format: &F, end: u64) -> &'static [u8] {
    if end == 0 { b"" } else { format.closer() }
}

/// Ends the file at `end` and with `last` there. (Should another program have emptied it by then, this
/// makes a hole, which the caller looks for.)
fn end_at<F: Format>(open: &Open, format: &F, end: u64, last: &[u8]) -> io::Result<()> {
    if format.closer().is_empty() {
        if open.data.metadata()?.len() > end {
            open.data.set_len(end)?;
        }
        return if last.is_empty() { Ok(()) } else { write_at(&open.data, end, last) };
    }
    // The end is written first: mostly over what stands there, so that it takes no new space.
    write_at(&open.data, end, last)?;
    open.data.set_len(end + last.len() as u64)
}

/// The last bytes before the ledger's end.
fn read_last<'b>(open: &Open, bytes: &'b mut [u8; MARK_BYTES_MAX]) -> io::Result<&'b [u8]> {
    let end = open.ledger.end;
    let from = end.saturating_sub(MARK_BYTES_MAX as u64);
    // At most MARK_BYTES_MAX.
    let bytes = &mut bytes[..(end - from) as usize];
    let read = read_at(&open.data, from, bytes)?;
    Ok(&bytes[..read])
}
