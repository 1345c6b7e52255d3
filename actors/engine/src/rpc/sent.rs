//! Transactions that a wallet sent here and the pool took: they are news for the other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::Bytes;
use tokio::sync::mpsc;

/// Transactions that wait to be told on. Whoever tells them never waits, so hardly one does; at most 256 of 128 KiB.
const WAITING: usize = 256;

/// Where they go.
#[derive(Clone, Debug)]
pub struct Sent {
    news: mpsc::Sender<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Sent {
    /// Both ends.
    pub fn channel() -> (Self, mpsc::Receiver<Bytes>) {
        let (news, taken) = mpsc::channel(WAITING);
        (Self { news, lost: Arc::default() }, taken)
    }

    /// Passes a transaction on, or counts it when too many wait.
    pub(crate) fn tell(&self, transaction: Bytes) {
        if self.news.try_send(transaction).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were not passed on. They are in our own pool all the same.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
