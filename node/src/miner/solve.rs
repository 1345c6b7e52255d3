//! The search for a nonce, by several threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alys_pow::Target;
use bitcoin::block::Header;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::{BlockHash, consensus};

/// Hashes between two looks at the clock and at the others.
const BATCH: usize = 1 << 14;
/// [`BATCH`], as it is counted.
const BATCH_HASHES: u64 = 1 << 14;
/// Bytes of the header's first block of SHA-256, which no nonce changes.
const FIRST: usize = 64;

/// What is searched for.
#[derive(Debug)]
pub(super) struct Search {
    header: Header,
    target: Target,
    until: Instant,
    stop: Arc<AtomicBool>,
}

/// A nonce that does it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) hashes: u64,
}

/// Whoever holds it wants the answer: the threads end soon after it is dropped.
#[derive(Debug)]
pub(super) struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Search {
    pub(super) fn new(header: Header, target: Target, lasts: Duration) -> (Self, Guard) {
        let stop = Arc::new(AtomicBool::new(false));
        (Self { header, target, until: Instant::now() + lasts, stop: stop.clone() }, Guard(stop))
    }

    /// Blocks. `None` when the time is over, nobody wants it any more, or no nonce does it.
    pub(super) fn run(&self, threads: NonZeroUsize) -> Option<Found> {
        let counted = AtomicU64::new(0);
        let hashes = &counted;
        let share = u32::MAX / u32::try_from(threads.get()).unwrap_or(u32::MAX);
        let nonce = std::thread::scope(|scope| {
            let starts = (0..threads.get()).filter_map(|thread| u32::try_from(thread).ok()?.checked_mul(share));
            let workers: Vec<_> = starts.map(|start| scope.spawn(move || self.search(start, share, hashes))).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok().flatten()).min()
        })?;
        Some(Found { header: Header { nonce, ..self.header }, hashes: counted.load(Ordering::Relaxed) })
    }

    fn search(&self, start: u32, share: u32, hashes: &AtomicU64) -> Option<u32> {
        let bytes = consensus::serialize(&self.header);
        let (first, rest) = bytes.split_at_checked(FIRST)?;
        let before_nonce = rest.get(..12)?;
        let mut midstate = sha256::Hash::engine();
        midstate.input(first);
        midstate.input(before_nonce);
        for begin in (start..start.saturating_add(share)).step_by(BATCH) {
            if self.stop.load(Ordering::Relaxed) || Instant::now() >= self.until {
                return None;
            }
            for (nonce, done) in (begin..=u32::MAX).zip(1..).take(BATCH) {
                let mut engine = midstate.clone();
                engine.input(&nonce.to_le_bytes());
                let hash = sha256::Hash::from_engine(engine).hash_again();
                if self.target.is_met_by(BlockHash::from_raw_hash(hash)) {
                    self.stop.store(true, Ordering::Relaxed);
                    hashes.fetch_add(done, Ordering::Relaxed);
                    return Some(nonce);
                }
            }
            hashes.fetch_add(BATCH_HASHES, Ordering::Relaxed);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy_primitives::U256;
    use bitcoin::constants::genesis_block;

    use super::*;

    fn search(target: Target, header: Header) -> (Search, Guard) {
        Search::new(header, target, Duration::from_secs(600))
    }

    #[test]
    fn what_is_found_meets_the_target_whatever_the_threads() {
        let header = genesis_block(bitcoin::Network::Regtest).header;
        let target = Target(U256::MAX >> 12);
        for threads in 1..4 {
            let (search, _guard) = search(target, header);
            let found = search.run(NonZeroUsize::new(threads).unwrap()).unwrap();
            assert!(target.is_met_by(found.header.block_hash()));
            assert_eq!(Header { nonce: header.nonce, ..found.header }, header, "only the nonce changes");
        }
    }

    #[test]
    fn nobody_who_waits_means_no_work() {
        let (search, guard) = search(Target(U256::ZERO), genesis_block(bitcoin::Network::Regtest).header);
        drop(guard);
        assert!(search.run(NonZeroUsize::MIN).is_none());
    }
}
