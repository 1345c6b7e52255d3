//! What must hold at every moment of a test, looked at all the time while the test does harm.
//!
//! | name | holds when |
//! |---|---|
//! | never two active holders | once a holder was seen under an epoch, none is seen that acts under an earlier one, and never two under one epoch |
//! | no acknowledged block is lost | the head never goes back, and there is one block at each height |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_cluster::Cluster;
use alys_proto::chain;
use alys_proto::cluster::Observation;
use eyre::ensure;
use tokio::task::AbortHandle;

const EVERY: Duration = Duration::from_millis(100);
/// Somebody who is frozen must not keep the watch waiting.
const DEADLINE: Duration = Duration::from_millis(500);
/// With fewer looks than this it has watched nothing.
const FEWEST_LOOKS: u64 = 20;

/// A running watch.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    /// By role: the highest epoch that somebody acted under, and who.
    holders: BTreeMap<String, (u64, Vec<u8>)>,
    /// Hash of the head by height.
    heads: BTreeMap<u64, Vec<u8>>,
    broken: Vec<String>,
}

impl Watch {
    /// Begins to watch.
    pub fn begin(cluster: &Cluster) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (cluster, theirs) = (cluster.clone(), seen.clone());
        let task = tokio::spawn(async move {
            let chain = cluster.remote::<chain::Inbox>();
            loop {
                let head = chain.ask_within(DEADLINE, chain::GetChainHead {});
                let (observed, head) = tokio::join!(cluster.observe_all(DEADLINE), head);
                let observed: Vec<Observation> = observed.into_iter().filter_map(|seen| seen.observation.ok()).collect();
                lock(&theirs).look(&observed, head.ok().as_ref());
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, task: task.abort_handle() }
    }

    /// Fails when anything was ever broken.
    pub fn holds(&self) -> eyre::Result<()> {
        let seen = lock(&self.seen);
        ensure!(seen.broken.is_empty(), "broken: {}", seen.broken.join("; "));
        ensure!(seen.looks >= FEWEST_LOOKS && !seen.holders.is_empty() && !seen.heads.is_empty(), "it saw nothing: {seen:?}");
        Ok(())
    }

    /// Highest block that anybody has shown.
    pub fn highest(&self) -> u64 {
        lock(&self.seen).heads.last_key_value().map_or(0, |(height, _)| *height)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Once, however often it is seen.
    fn report(&mut self, broken: String) {
        if !self.broken.contains(&broken) {
            self.broken.push(broken);
        }
    }

    /// All that is compared here was asked for after what it is compared with had been answered.
    fn look(&mut self, observed: &[Observation], head: Option<&chain::ChainHead>) {
        self.looks = self.looks.saturating_add(1);
        let mut highest = self.holders.clone();
        for seen in observed {
            let Some(lease) = seen.lease.filter(|lease| lease.epoch > 0 && lease.remaining_millis > 0) else { continue };
            let role = seen.role().name().to_owned();
            match self.holders.get(&role) {
                Some((epoch, _)) if lease.epoch < *epoch => {
                    self.report(format!(
                        "two active holders: {} acts under epoch {} of {role} after {epoch}",
                        seen.instance, lease.epoch
                    ));
                }
                Some((epoch, holder)) if lease.epoch == *epoch && *holder != seen.incarnation => {
                    self.report(format!("two active holders of {role} under epoch {epoch}, one of them {}", seen.instance));
                }
                _ => {}
            }
            let known = highest.entry(role).or_default();
            if lease.epoch > known.0 {
                *known = (lease.epoch, seen.incarnation.clone());
            }
        }
        self.holders = highest;
        let Some(head) = head else { return };
        let last = self.heads.last_key_value().map_or(0, |(height, _)| *height);
        if head.height < last {
            self.report(format!("an acknowledged block is lost: the head is {} after {last}", head.height));
        }
        let known = self.heads.entry(head.height).or_insert_with(|| head.hash.clone());
        if *known != head.hash {
            self.report(format!("there are two blocks at height {}", head.height));
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use alys_proto::Role;
    use alys_proto::cluster::HeldLease;

    use super::*;

    fn holder(instance: u8, epoch: u64, remaining_millis: u64) -> Observation {
        let lease = Some(HeldLease { epoch, remaining_millis });
        Observation { role: Role::Chain.into(), incarnation: vec![instance], lease, ..Observation::default() }
    }

    fn broken_after(looks: &[&[Observation]]) -> usize {
        let mut seen = Seen::default();
        looks.iter().for_each(|observed| seen.look(observed, None));
        seen.broken.len()
    }

    #[test]
    fn a_second_holder_is_seen() {
        assert_eq!(broken_after(&[&[holder(1, 1, 9)], &[holder(2, 2, 9)]]), 0, "handed over");
        assert_eq!(broken_after(&[&[holder(2, 2, 9)], &[holder(1, 1, 0), holder(2, 2, 9)]]), 0, "it knows that it is over");
        assert_eq!(broken_after(&[&[holder(2, 2, 9)], &[holder(1, 1, 9)]]), 1, "it does not");
        assert_eq!(broken_after(&[&[holder(1, 1, 9)], &[holder(2, 1, 9)]]), 1, "one epoch for two");
    }

    #[test]
    fn a_lost_or_second_block_is_seen() {
        let head = |height: u64, hash: u8| chain::ChainHead { height, hash: vec![hash], ..chain::ChainHead::default() };
        let mut seen = Seen::default();
        for (height, hash, broken) in [(1, 1, 0), (2, 2, 0), (1, 1, 1), (2, 9, 2)] {
            seen.look(&[], Some(&head(height, hash)));
            assert_eq!(seen.broken.len(), broken, "{height}");
        }
    }
}
