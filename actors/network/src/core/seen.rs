//! The last hashes seen, in bounded memory.

use std::collections::{BTreeSet, VecDeque};

/// A set that forgets its oldest entry when it is full.
#[derive(Debug)]
pub struct Seen<T> {
    bound: usize,
    order: VecDeque<T>,
    members: BTreeSet<T>,
}

impl<T: Ord + Clone> Seen<T> {
    /// An empty set of at most `bound` entries.
    pub const fn new(bound: usize) -> Self {
        Self { bound, order: VecDeque::new(), members: BTreeSet::new() }
    }

    /// Adds an entry; whether it is new.
    pub fn insert(&mut self, entry: T) -> bool {
        if !self.members.insert(entry.clone()) {
            return false;
        }
        self.order.push_back(entry);
        if self.order.len() > self.bound
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
        true
    }

    /// Whether the entry is remembered.
    pub fn contains(&self, entry: &T) -> bool {
        self.members.contains(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut seen = Seen::new(2);
        assert!(seen.insert(1) && seen.insert(2) && !seen.insert(1));
        assert!(seen.insert(3));
        assert_eq!([1, 2, 3].map(|entry| seen.contains(&entry)), [false, true, true]);
    }
}
