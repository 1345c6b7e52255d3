//! The order in which a block takes transactions.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use alloy_primitives::Address;

use super::Pooled;

/// Pending transactions, best first. [`Best::skip_sender`] drops the rest of a sender, as when one does not fit or fails.
#[derive(Debug)]
pub struct Best {
    base_fee: u64,
    heads: BinaryHeap<Head>,
    rest: HashMap<Address, VecDeque<Arc<Pooled>>>,
    skipped: HashSet<Address>,
}

/// The next transaction of one sender.
#[derive(Debug)]
struct Head {
    tip: u128,
    entry: Arc<Pooled>,
}

impl Best {
    pub(super) fn new<'a, S>(senders: impl Iterator<Item = S>, base_fee: u64) -> Self
    where
        S: Iterator<Item = &'a Arc<Pooled>>,
    {
        let mut best = Self { base_fee, heads: BinaryHeap::new(), rest: HashMap::new(), skipped: HashSet::new() };
        for pending in senders {
            let mut queue: VecDeque<Arc<Pooled>> = pending.cloned().collect();
            if let Some(first) = queue.pop_front() {
                best.rest.insert(first.sender(), queue);
                best.offer(first);
            }
        }
        best
    }

    /// Leaves out what is left of this sender: later nonces cannot run without the one that did not.
    pub fn skip_sender(&mut self, sender: Address) {
        self.skipped.insert(sender);
    }

    /// A transaction below the base fee blocks its sender's later ones, so those are never offered.
    fn offer(&mut self, entry: Arc<Pooled>) {
        if let Some(tip) = entry.tip(self.base_fee) {
            self.heads.push(Head { tip, entry });
        }
    }
}

impl Iterator for Best {
    type Item = Arc<Pooled>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Head { entry, .. } = self.heads.pop()?;
            let sender = entry.sender();
            if self.skipped.contains(&sender) {
                continue;
            }
            if let Some(following) = self.rest.get_mut(&sender).and_then(VecDeque::pop_front) {
                self.offer(following);
            }
            return Some(entry);
        }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |head: &Self| (head.tip, Reverse(head.entry.arrival));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
