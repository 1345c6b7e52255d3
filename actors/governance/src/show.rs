//! What a governance node shows of itself: to people in its log, to a collector of metrics, to a service manager.
//!
//! | what is away | health | it still |
//! |---|---|---|
//! | session with the stream | degraded | follows the chain, and keeps its answers |
//! | own bitcoind | degraded | follows the chain; answers "not yet" |
//! | its replay stands still | degraded | talks; approves and signs nothing |

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use alys_cluster::Health;
use alys_cluster::board::Sight;

use crate::metrics::Metrics;
use crate::node::{Books, Node};

/// Figures of the books, as of the last time that nobody held them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    stopped: Option<String>,
    payouts_in_flight: usize,
    transactions_signed: usize,
}

impl Page {
    fn of(books: &Books) -> Self {
        Self {
            stopped: books.stopped.clone(),
            payouts_in_flight: books.replay.ledger().payouts_in_flight().count(),
            transactions_signed: books.signed.len(),
        }
    }
}

impl Node {
    /// For the thread of the probes: waits for nobody.
    pub(crate) fn sight(&self) -> Sight {
        let page = self.page();
        let away = self.bitcoin_away.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connected = self.registered.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        reasons.extend(page.stopped.as_ref().map(|why| format!("the replay stands still: {why}")));
        reasons.extend((!connected).then(|| "no session with the stream".to_owned()));
        reasons.extend((!away.is_empty()).then(|| away.clone()));
        let health = if reasons.is_empty() { Health::Ready } else { Health::Degraded };
        let known = |height: u64| (height > 0).then_some(height);
        let mut metrics = Metrics {
            session_connected: connected,
            bitcoin_reachable: away.is_empty(),
            bitcoin_height: known(self.bitcoin_height().into()),
            head_height: self.head(),
            told_height: known(self.told_head.load(Ordering::Relaxed)),
            replay_stopped: page.stopped.is_some(),
            payouts_in_flight: page.payouts_in_flight,
            transactions_signed: page.transactions_signed,
            ..Metrics::default()
        };
        self.counters.show(&mut metrics);
        Sight { health, reason: reasons.join("; "), metrics: Box::new(metrics) }
    }

    fn page(&self) -> Page {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        // Who folds blocks or signs holds them for a while; a task that died with them has said so in its answers.
        if let Ok(books) = self.books.try_lock() {
            *page = Page::of(&books);
        }
        page.clone()
    }

    /// For people, as JSON.
    pub(crate) fn status(&self) -> serde_json::Value {
        let books = match self.books() {
            Ok(books) => {
                let ledger = books.replay.ledger();
                serde_json::json!({
                    "head": books.replay.head(),
                    "stopped": books.stopped,
                    "supply": ledger.supply().to_string(),
                    "paused_since": ledger.paused().map(|since| since.0),
                    "coins_held": ledger.coins_held().to_string(),
                    "payouts_in_flight": ledger.payouts_in_flight().count(),
                    "transactions_signed": books.signed.len(),
                })
            }
            Err(refusal) => serde_json::json!({ "stopped": refusal.to_string() }),
        };
        let (refused, last_refusal) = self.counters.refusals();
        serde_json::json!({
            "member": self.config.name,
            "registered": self.registered.load(Ordering::Relaxed),
            "bitcoin_height": self.bitcoin_height(),
            "chain": books,
            "told_head": self.told_head.load(Ordering::Relaxed),
            "approved": self.counters.approved.load(Ordering::Relaxed),
            "signed": self.counters.signed.load(Ordering::Relaxed),
            "refused": refused,
            "last_refusal": last_refusal,
        })
    }
}
