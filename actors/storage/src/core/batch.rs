//! Group commit: which waiting requests go into the next transaction.
//!
//! Requests keep their order. A transaction takes from the front while both bounds hold, and always at least one, so a
//! request larger than the byte bound goes alone and nothing starves.

use std::collections::VecDeque;

/// How much fits into one transaction.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Requests.
    pub requests: usize,
    /// Sum of their sizes in bytes.
    pub bytes: usize,
}

/// Requests that wait, each with its size in bytes.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: BatchLimits,
    waiting: VecDeque<(usize, T)>,
}

impl<T> Batcher<T> {
    /// Nothing waits.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, waiting: VecDeque::new() }
    }

    /// Adds a request behind the others.
    pub fn push(&mut self, bytes: usize, request: T) {
        self.waiting.push_back((bytes, request));
    }

    /// Whether more requests than one batch wait: no use in collecting further.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.limits.requests
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The requests of the next transaction, oldest first; empty when nothing waits.
    pub fn take(&mut self) -> Vec<T> {
        let mut batch = Vec::new();
        let mut total = 0usize;
        while let Some((bytes, request)) = self.waiting.pop_front() {
            let sum = total.saturating_add(bytes);
            let fits = batch.len() < self.limits.requests && sum <= self.limits.bytes;
            if !fits && !batch.is_empty() {
                self.waiting.push_front((bytes, request));
                break;
            }
            total = sum;
            batch.push(request);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { requests: 3, bytes: 100 };

    #[test]
    fn batches_respect_both_bounds() {
        let table: [(&[usize], &[&[usize]]); 5] = [
            (&[], &[]),
            (&[1, 2, 3, 4], &[&[1, 2, 3], &[4]]),
            (&[60, 40, 1], &[&[60, 40], &[1]]),
            (&[500, 1, 1], &[&[500], &[1, 1]]),
            (&[1, 500, 1], &[&[1], &[500], &[1]]),
        ];
        for (sizes, expected) in table {
            let mut batcher = Batcher::new(LIMITS);
            for size in sizes {
                batcher.push(*size, *size);
            }
            let mut batches = Vec::new();
            while !batcher.is_empty() {
                batches.push(batcher.take());
            }
            assert_eq!(batches, expected, "{sizes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered(sizes in proptest::collection::vec(0usize..200, 0..50)) {
            let mut batcher = Batcher::new(LIMITS);
            for (index, size) in sizes.iter().enumerate() {
                batcher.push(*size, index);
            }
            let mut taken = Vec::new();
            while !batcher.is_empty() {
                let batch = batcher.take();
                prop_assert!(!batch.is_empty() && batch.len() <= LIMITS.requests);
                let bytes: usize = batch.iter().map(|index| sizes[*index]).sum();
                prop_assert!(batch.len() == 1 || bytes <= LIMITS.bytes);
                taken.extend(batch);
            }
            prop_assert_eq!(taken, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
