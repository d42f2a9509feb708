//! The journals of one logger, in the order in which they were begun. The last one is active: events
//! go to it. Those before it take no more events, and are delivered in order.
//!
//! The list only grows, so that `log()` finds the active one without a lock and without counting who
//! uses it. A journal that is finished keeps its place and its counters, some 2 KiB, and lets go of
//! its folder, files and memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lane::Lane;

/// Each chunk has twice as many places as the one before.
const CHUNKS: usize = 24;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journals {
    begun: AtomicUsize,
    /// Those before this one are over.
    over: AtomicUsize,
    /// Most loggers have no other: found without a further load.
    first: OnceLock<Lane>,
    chunks: [OnceLock<Box<[OnceLock<Lane>]>>; CHUNKS],
}

impl Journals {
    /// The one that events go to now.
    #[inline]
    pub(super) fn active(&self) -> Option<&Lane> {
        let last = self.begun.load(Ordering::Acquire).checked_sub(1)?;
        if last == 0 { self.first.get() } else { self.get(last) }
    }

    /// The one that was begun as the `index`th, counted from 0.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Lane> {
        let Some(further) = index.checked_sub(1) else { return self.first.get() };
        let (chunk, at) = place(further);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }

    /// How many were begun.
    pub(super) fn len(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// Makes `lane` the active one; for one caller at a time. False where the list is full, after 16
    /// million journals.
    pub(super) fn push(&self, lane: Lane) -> bool {
        let index = self.len();
        let place = match index.checked_sub(1).map(place) {
            None => Some(&self.first),
            Some((size, at)) => self.chunks.get(size).and_then(|chunk| {
                let places = || (0..1 << size).map(|_| OnceLock::new()).collect();
                chunk.get_or_init(places).get(at)
            }),
        };
        let pushed = place.is_some_and(|place| place.set(lane).is_ok());
        if pushed {
            self.begun.store(index + 1, Ordering::Release);
        }
        pushed
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.from(0)
    }

    /// Those that are written or delivered, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Lane> {
        self.from(self.over.load(Ordering::Acquire)).filter(|lane| lane.is_open())
    }

    /// Those that are left to another user, and hold something still.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Lane> {
        self.from(self.over.load(Ordering::Acquire)).filter(|lane| lane.is_leaving())
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &Lane> {
        (first..self.len()).filter_map(|index| self.get(index))
    }

    /// Has [`open`](Self::open) begin behind those that are over.
    pub(super) fn pass_over(&self) {
        let first = self.over.load(Ordering::Acquire);
        let over = self.from(first).take_while(|lane| lane.is_over()).count();
        self.over.fetch_max(first + over, Ordering::AcqRel);
    }
}

/// The chunk that holds the `index`th place, and where in it: the first one holds one place, each
/// further one as many as all before it and one.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let chunk = (index + 1).ilog2();
    (chunk as usize, index + 1 - (1 << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_one_of_its_own() {
        let places: Vec<_> = (0..8).map(place).collect();
        let expected = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0)];
        assert_eq!(places, expected);
        for index in 0..10_000 {
            let (chunk, at) = place(index);
            assert!(chunk < CHUNKS && at < 1 << chunk);
        }
    }
}
