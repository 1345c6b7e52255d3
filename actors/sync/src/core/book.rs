//! The leader's book: the missing range is cut into pieces, workers pull them, and they are imported in order.
//!
//! | a piece is | until |
//! |---|---|
//! | free | a worker pulls it |
//! | out | its worker delivers it, fails, leaves, or takes longer than `patience` (then another may have it, and the first to deliver wins) |
//! | in | everything below it is imported; then it goes to chain |
//!
//! A short delivery is taken; the rest is a piece of its own. What cannot be imported is free again. At most `window` pieces
//! lie between the head and the last one that was cut: 8 pieces of at most 8 MiB are 64 MiB of blocks waiting for a slow one.

use std::collections::BTreeMap;

/// Milliseconds on any clock that does not go back.
pub type Millis = u64;

/// What does not change while the role runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Blocks of a piece.
    pub batch: u32,
    /// Pieces between the head and the last one that was cut.
    pub window: u32,
    /// A piece that is out for longer may be given to another.
    pub patience: Millis,
}

/// A range of heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// First height.
    pub from: u64,
    /// How many.
    pub count: u32,
}

impl Piece {
    /// First height behind it.
    pub const fn end(self) -> u64 {
        // A count of blocks; widening keeps its value.
        self.from.saturating_add(widen(self.count))
    }
}

#[derive(Clone, Debug)]
enum Place<W, B> {
    Free,
    Out { worker: W, since: Millis },
    In { worker: W, blocks: Vec<B> },
}

/// The book. `W` names a worker, `B` is a block.
#[derive(Clone, Debug)]
pub struct Book<W, B> {
    cut: Cut,
    /// The next height that chain needs.
    next: u64,
    target: u64,
    /// By first height; without gaps from `next` on.
    pieces: BTreeMap<u64, (u32, Place<W, B>)>,
    /// The first piece is with chain.
    importing: bool,
    /// `next` is known.
    has_head: bool,
}

impl<W: Clone + PartialEq, B> Book<W, B> {
    /// Nothing is missing.
    pub const fn new(cut: Cut) -> Self {
        Self { cut, next: 1, target: 0, pieces: BTreeMap::new(), importing: false, has_head: false }
    }

    /// Others have a block of this height.
    pub fn aim(&mut self, target: u64) {
        self.target = target.max(self.target);
    }

    /// Our head, as it is after an import. Pieces at or below it are dropped.
    pub fn set_head(&mut self, head: u64) {
        let next = head.saturating_add(1);
        (self.importing, self.has_head) = (false, true);
        if next < self.next {
            // Another history of our head (a restored disk): nothing that was cut fits.
            self.pieces.clear();
        }
        self.next = next;
        while let Some((from, count)) = self.pieces.first_key_value().map(|(from, (count, _))| (*from, *count)) {
            if from >= next {
                break;
            }
            self.pieces.remove(&from);
            let end = Piece { from, count }.end();
            if end > next {
                // Chain took a part: the rest is fetched again.
                let rest = u32::try_from(end.saturating_sub(next)).unwrap_or(u32::MAX);
                self.pieces.insert(next, (rest, Place::Free));
            }
        }
    }

    /// Where we want to get.
    pub const fn target(&self) -> u64 {
        self.target
    }

    /// Whether our head has been said.
    pub const fn has_head(&self) -> bool {
        self.has_head
    }

    /// Whether heights are missing.
    pub const fn is_behind(&self) -> bool {
        self.next <= self.target
    }

    /// Pieces that are out, and that wait for one below them.
    pub fn counts(&self) -> (usize, usize) {
        let out = self.pieces.values().filter(|(_, place)| matches!(place, Place::Out { .. })).count();
        let waiting = self.pieces.values().filter(|(_, place)| matches!(place, Place::In { .. })).count();
        (out, waiting)
    }

    /// A worker asks for work. It holds one piece at a time: asking again gives the old one back.
    pub fn pull(&mut self, worker: &W, now: Millis) -> Option<Piece> {
        self.gone(worker);
        let patience = self.cut.patience;
        let is_open = |place: &Place<W, B>| match place {
            Place::Free => true,
            Place::Out { since, .. } => now.saturating_sub(*since) > patience,
            Place::In { .. } => false,
        };
        let open = self.pieces.iter().find(|(_, (_, place))| is_open(place)).map(|(from, (count, _))| (*from, *count));
        let (from, count) = open.or_else(|| self.cut_next())?;
        self.pieces.insert(from, (count, Place::Out { worker: worker.clone(), since: now }));
        Some(Piece { from, count })
    }

    /// The next piece behind the last one, within the window.
    fn cut_next(&self) -> Option<(u64, u32)> {
        let from =
            self.pieces.last_key_value().map_or(self.next, |(from, (count, _))| Piece { from: *from, count: *count }.end());
        let furthest = self.next.saturating_add(widen(self.cut.batch).saturating_mul(widen(self.cut.window)));
        if from > self.target || from >= furthest {
            return None;
        }
        let missing = self.target.saturating_sub(from).saturating_add(1);
        Some((from, u32::try_from(missing).unwrap_or(u32::MAX).min(self.cut.batch)))
    }

    /// Blocks of a piece, checked and in order. Says whether they were taken: not when they are in already or never were asked for.
    pub fn deliver(&mut self, worker: &W, from: u64, blocks: Vec<B>) -> bool {
        let count = match self.pieces.get(&from) {
            Some((count, Place::Free | Place::Out { .. })) => *count,
            Some((_, Place::In { .. })) | None => return false,
        };
        let Ok(came) = u32::try_from(blocks.len()) else { return false };
        if came == 0 || came > count {
            self.failed(worker, from);
            return false;
        }
        self.pieces.insert(from, (came, Place::In { worker: worker.clone(), blocks }));
        if came < count {
            let rest = Piece { from, count: came }.end();
            self.pieces.insert(rest, (count.saturating_sub(came), Place::Free));
        }
        true
    }

    /// A worker could not get its piece.
    pub fn failed(&mut self, worker: &W, from: u64) {
        if let Some((_, place)) = self.pieces.get_mut(&from)
            && matches!(place, Place::Out { worker: holder, .. } if holder == worker)
        {
            *place = Place::Free;
        }
    }

    /// A worker left: others get what it had. What it delivered stays.
    pub fn gone(&mut self, worker: &W) {
        for (_, place) in self.pieces.values_mut() {
            if matches!(place, Place::Out { worker: holder, .. } if holder == worker) {
                *place = Place::Free;
            }
        }
    }

    /// The blocks that chain needs next, once, when they are there, and who brought them. `set_head` or `refused` ends the import.
    pub fn import(&mut self) -> Option<(W, &[B])> {
        if self.importing {
            return None;
        }
        match self.pieces.get(&self.next) {
            Some((_, Place::In { worker, blocks })) => {
                self.importing = true;
                Some((worker.clone(), blocks))
            }
            _ => None,
        }
    }

    /// Chain would not have them: they are fetched again.
    pub fn refused(&mut self) {
        self.importing = false;
        if let Some((_, place)) = self.pieces.get_mut(&self.next) {
            *place = Place::Free;
        }
    }
}

/// `u64::from` is not const.
#[allow(clippy::as_conversions, reason = "widening")]
const fn widen(count: u32) -> u64 {
    count as u64
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
