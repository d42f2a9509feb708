//! Which rows of a batch to try next, and what has become of each: one bad row costs one row.
//!
//! A plan is a list of pieces that cover the batch in the order of its seqs. Pieces leave it at
//! the front only, so that a batch settles in order whatever happened to its rows.
//!
//! An adapter that can't tell an outage from a bad row is asked about single rows first: three
//! that fail, and none that succeeds, are an outage, and the search ends there. Once one attempt
//! has succeeded the dataset is alive, and what fails is halved down to the rows that are to blame.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Single rows that fail, with no success at all, before it is called an outage.
const PROBES_MAX: u32 = 3;

/// Single rows that fail one after the other once the dataset has answered, before it is called
/// an outage: it may go away while a batch is being halved, and halving the rest row by row would
/// take two attempts for each.
const LONE_FAILURES_MAX: u32 = 16;

/// Rows of a batch, by their positions, with one fate.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Range<usize>,
    pub(super) fate: Fate,
}

/// What has become of some rows.
#[derive(Debug)]
pub(super) enum Fate {
    /// To be sent; so many attempts have failed.
    Send { failures: u32 },
    /// The dataset has them.
    Stored,
    /// They go to a fallback file, because of this.
    Condemned { blame: Blame, error: String },
    /// They are in this fallback file.
    Filed { path: PathBuf, error: String },
}

/// What rows are condemned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The dataset takes nothing.
    Outage,
    /// It failed alone, but nothing else has succeeded either.
    Suspected,
    /// The dataset takes others, and not this one.
    Proven,
}

/// How far a batch has come.
#[derive(Debug)]
pub(super) struct Plan {
    pieces: VecDeque<Piece>,
    /// An attempt of this batch has succeeded.
    alive: bool,
    /// Whole pieces have failed for no known reason: what fails is cut now, not repeated.
    cutting: bool,
    /// Single rows that failed since the last success.
    lone_failures: u32,
}

impl Plan {
    /// All rows of a batch, to be sent at once.
    pub(super) fn new(rows: usize) -> Self {
        let whole = Piece { rows: 0..rows, fate: Fate::Send { failures: 0 } };
        Self { pieces: VecDeque::from([whole]), alive: false, cutting: false, lone_failures: 0 }
    }

    /// The rows to send next.
    pub(super) fn next(&self) -> Option<Range<usize>> {
        self.sending().map(|at| self.pieces[at].rows.clone())
    }

    /// Whether what fails for no known reason is cut at once rather than repeated.
    pub(super) fn is_cutting(&self) -> bool {
        self.cutting
    }

    /// Whether something waits for a fallback file.
    pub(super) fn has_condemned(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.fate, Fate::Condemned { .. }))
    }

    /// Whether stored rows can't settle because rows before them wait for a fallback file.
    pub(super) fn is_blocked(&self) -> bool {
        let stored = |piece: &Piece| matches!(piece.fate, Fate::Stored);
        self.has_condemned() && self.pieces.iter().any(stored)
    }

    /// Whether every row has settled.
    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces that are not settled yet.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// The attempt on [`Plan::next`] succeeded.
    pub(super) fn stored(&mut self) {
        if let Some(at) = self.sending() {
            self.pieces[at].fate = Fate::Stored;
        }
        self.answered();
    }

    /// The attempt on [`Plan::next`] failed and may be repeated; returns how many have.
    pub(super) fn failed(&mut self) -> u32 {
        match self.sending().map(|at| &mut self.pieces[at].fate) {
            Some(Fate::Send { failures }) => {
                *failures = failures.saturating_add(1);
                *failures
            }
            _ => 0,
        }
    }

    /// The dataset named the rows to blame, by sorted positions within [`Plan::next`]. The others
    /// start afresh: they have not failed.
    pub(super) fn poisoned(&mut self, indices: &[usize], error: &str) {
        let Some(at) = self.sending() else { return };
        let rows = self.pieces[at].rows.clone();
        let mut cut = Vec::new();
        let mut from = rows.start;
        let sends = |rows| Piece { rows, fate: Fate::Send { failures: 0 } };
        for index in indices {
            let row = rows.start + index;
            if from < row {
                cut.push(sends(from..row));
            }
            cut.push(condemned(row..row + 1, Blame::Proven, error));
            from = row + 1;
        }
        if from < rows.end {
            cut.push(sends(from..rows.end));
        }
        self.replace(at, cut);
        // It judged rows, so it is there.
        self.answered();
    }

    /// [`Plan::next`] failed for no known reason as often as it may. True when this looks like an
    /// outage: then nothing but [`Plan::outage`] is left to do.
    pub(super) fn unknown(&mut self, may_cut: bool, error: &str) -> bool {
        let Some(at) = self.sending() else { return false };
        let rows = self.pieces[at].rows.clone();
        if !self.cutting {
            if !self.alive && (rows.len() == 1 || !may_cut) {
                return true;
            }
            self.cutting = true;
        }
        if rows.len() == 1 {
            let blame = if self.alive { Blame::Proven } else { Blame::Suspected };
            self.pieces[at] = condemned(rows, blame, error);
            self.lone_failures += 1;
            let most = if self.alive { LONE_FAILURES_MAX } else { PROBES_MAX };
            // With no success and no row left to ask, it is an outage as far as anyone can tell.
            if self.lone_failures >= most || (!self.alive && self.sending().is_none()) {
                return true;
            }
            if !self.alive {
                self.split_first();
            }
        } else if self.alive {
            let middle = rows.start + rows.len() / 2;
            self.split(at, middle);
        } else {
            self.split(at, rows.start + 1);
        }
        false
    }

    /// [`Plan::next`] is too much at once: half of it comes next. False where it is a single row.
    pub(super) fn halve(&mut self) -> bool {
        let Some(at) = self.sending() else { return false };
        let rows = self.pieces[at].rows.clone();
        if rows.len() > 1 {
            self.split(at, rows.start + rows.len() / 2);
        }
        rows.len() > 1
    }

    /// The dataset takes nothing now: whatever is not stored goes to the fallback.
    pub(super) fn outage(&mut self, error: &str) {
        let mut merged: VecDeque<Piece> = VecDeque::with_capacity(self.pieces.len());
        for piece in self.pieces.drain(..) {
            let gone = match &piece.fate {
                Fate::Send { .. } => true,
                // Without a success, rows that failed alone were not to blame.
                Fate::Condemned { blame, .. } => *blame != Blame::Proven,
                Fate::Stored | Fate::Filed { .. } => false,
            };
            if !gone {
                merged.push_back(piece);
                continue;
            }
            match merged.back_mut() {
                Some(Piece { rows, fate: Fate::Condemned { blame: Blame::Outage, .. } }) => {
                    rows.end = piece.rows.end;
                }
                _ => merged.push_back(condemned(piece.rows, Blame::Outage, error)),
            }
        }
        self.pieces = merged;
    }

    /// Sends the first condemned rows once more.
    pub(super) fn revive(&mut self) {
        let condemned = |piece: &&mut Piece| matches!(piece.fate, Fate::Condemned { .. });
        if let Some(piece) = self.pieces.iter_mut().find(condemned) {
            // What was an outage may still be one; a bad row's dataset was alive.
            self.alive = matches!(piece.fate, Fate::Condemned { blame: Blame::Proven, .. });
            piece.fate = Fate::Send { failures: 0 };
        }
        self.cutting = false;
        self.lone_failures = 0;
    }

    /// All condemned rows are in the fallback file `path`.
    pub(super) fn filed(&mut self, path: &Path) {
        for piece in &mut self.pieces {
            if let Fate::Condemned { error, .. } = &mut piece.fate {
                piece.fate = Fate::Filed { path: path.to_owned(), error: std::mem::take(error) };
            }
        }
    }

    /// Takes the first piece if it is settled.
    pub(super) fn pop_settled(&mut self) -> Option<Piece> {
        let front = self.pieces.front()?;
        let settled = matches!(front.fate, Fate::Stored | Fate::Filed { .. });
        if settled { self.pieces.pop_front() } else { None }
    }

    /// The dataset is there, so that rows that failed alone are to blame themselves.
    fn answered(&mut self) {
        if !self.alive {
            self.alive = true;
            for piece in &mut self.pieces {
                if let Fate::Condemned { blame: blame @ Blame::Suspected, .. } = &mut piece.fate {
                    *blame = Blame::Proven;
                }
            }
        }
        self.lone_failures = 0;
    }

    fn sending(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| matches!(piece.fate, Fate::Send { .. }))
    }

    fn split_first(&mut self) {
        if let Some(at) = self.sending() {
            let rows = &self.pieces[at].rows;
            if rows.len() > 1 {
                let middle = rows.start + 1;
                self.split(at, middle);
            }
        }
    }

    fn split(&mut self, at: usize, middle: usize) {
        let rows = self.pieces[at].rows.clone();
        let sends = |rows| Piece { rows, fate: Fate::Send { failures: 0 } };
        self.replace(at, vec![sends(rows.start..middle), sends(middle..rows.end)]);
    }

    fn replace(&mut self, at: usize, with: Vec<Piece>) {
        let tail = self.pieces.split_off(at + 1);
        self.pieces.pop_back();
        self.pieces.extend(with);
        self.pieces.extend(tail);
    }
}

fn condemned(rows: Range<usize>, blame: Blame, error: &str) -> Piece {
    Piece { rows, fate: Fate::Condemned { blame, error: error.to_owned() } }
}
