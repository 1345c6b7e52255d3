//! A lease that says which of several processes acts, for a role that also works without one: the supervisor starts storage
//! itself, so it cannot wait for storage ([why](../../docs/adr/0018-one-supervisor-acts.md)).
//!
//! | storage says | this process |
//! |---|---|
//! | granted, renewed | acts, until two thirds of the term after it asked |
//! | another holds it | stands by, until storage has been silent for a term |
//! | nothing at the start, and nobody is in view who could say more | is alone |
//! | nothing for so long, or that it has no lease for us | is alone |
//!
//! As with [`crate::lease`] every look compares a clock that also runs while the machine sleeps, so a process that was frozen
//! does not act on what it was told before. Losing the lease ends nothing here: what this process may do becomes less.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alys_proto::storage::{self, AcquireLease, LeaseVerdict, ReleaseLease, RenewLease};
use alys_proto::{Refused, Role};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::ClusterConfig;
use crate::lease::{GIVE_BACK, RETRY, boot_clock, in_the_way, millis};
use crate::mesh;
use crate::process;
use crate::registry::Kind;
use crate::run::announce;

/// Whoever is in view by then is all there is: some peers may be down.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// Whether this process acts for its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Storage has not been asked for long enough.
    Unknown,
    /// It holds the lease.
    Acting,
    /// Another one does, in words.
    StandingBy(String),
    /// Storage does not say.
    Alone,
}

/// What storage said last. Moments are on the boot clock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Nothing { settled: bool },
    Granted { epoch: u64, until: Duration },
    Held { by: String, until: Duration },
}

fn standing(said: &Said, now: Duration) -> Standing {
    match said {
        Said::Nothing { settled: false } => Standing::Unknown,
        Said::Granted { until, .. } if now < *until => Standing::Acting,
        Said::Held { by, until } if now < *until => Standing::StandingBy(by.clone()),
        Said::Nothing { .. } | Said::Granted { .. } | Said::Held { .. } => Standing::Alone,
    }
}

/// Knows whether this process acts. Cheap to clone.
#[derive(Clone)]
pub struct Tenure {
    said: Arc<watch::Sender<Said>>,
    mesh: Option<Mesh>,
}

#[derive(Clone)]
struct Mesh {
    cluster: Cluster,
    term: Duration,
    run_dir: PathBuf,
    seeds: usize,
}

impl Tenure {
    /// Asks storage from now on. Must be called within the runtime.
    pub fn start(cluster: &Cluster, config: &ClusterConfig) -> Self {
        let mesh = Mesh {
            cluster: cluster.clone(),
            term: config.lease.term,
            run_dir: config.run_dir.clone(),
            seeds: config.mesh.as_ref().map_or(0, |mesh| mesh.seeds.len()),
        };
        let said = Arc::new(watch::Sender::new(Said::Nothing { settled: false }));
        let tenure = Self { said, mesh: Some(mesh.clone()) };
        tokio::spawn(tenure.clone().run(mesh));
        tenure
    }

    /// Of a test without storage: `acting` for ever, or alone.
    pub fn fixed(acting: bool) -> Self {
        let said = if acting { Said::Granted { epoch: 1, until: Duration::MAX } } else { Said::Nothing { settled: true } };
        Self { said: Arc::new(watch::Sender::new(said)), mesh: None }
    }

    /// Now.
    pub fn standing(&self) -> Standing {
        standing(&self.said.borrow(), boot_clock())
    }

    /// Changes when storage says something else; that a lease has run out shows only in [`Tenure::standing`].
    pub fn changes(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut changes = self.said.subscribe();
        async move {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until storage has said who acts and everybody is in view who is known to be there, at most three seconds; at
    /// once when nobody is there.
    pub async fn settled(&self) {
        let Some(mesh) = &self.mesh else { return };
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let storage_may_answer = self.standing() == Standing::Unknown && mesh.sees(Role::Storage);
            if mesh.all_in_view() && !storage_may_answer {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.said.send_if_modified(|said| match said {
            Said::Nothing { settled: settled @ false } => {
                *settled = true;
                true
            }
            _ => false,
        });
    }

    /// Gives the lease back, so that another may act at once. What has not gone in half a second runs out by itself.
    pub async fn give_back(&self) {
        let Said::Granted { epoch, .. } = *self.said.borrow() else { return };
        self.said.send_replace(Said::Nothing { settled: true });
        let Some(mesh) = &self.mesh else { return };
        let storage = mesh.cluster.remote::<storage::Inbox>();
        if let Err(refused) = storage.ask_within(GIVE_BACK, ReleaseLease { epoch }).await {
            tracing::debug!(%refused, "the lease was not given back; it runs out");
        }
    }

    async fn run(self, mesh: Mesh) {
        let storage = mesh.cluster.remote::<storage::Inbox>();
        let mut gone = Vec::new();
        loop {
            let epoch = match &*self.said.borrow() {
                Said::Granted { epoch, .. } => Some(*epoch),
                _ => None,
            };
            let asked = boot_clock();
            let wait = match epoch {
                Some(epoch) => {
                    let renewed = storage.ask_within(mesh.term / 3, RenewLease { epoch }).await;
                    self.renewed(epoch, asked, mesh.term, &renewed.map(drop))
                }
                None => {
                    let request = mesh.request(std::mem::take(&mut gone));
                    let verdict = storage.ask_within(mesh.term / 3, request).await;
                    self.judged(&mesh, asked, verdict, &mut gone).await
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// How long to wait before the next renewal.
    fn renewed(&self, epoch: u64, asked: Duration, term: Duration, answer: &Result<(), Refused>) -> Duration {
        let until = asked.saturating_add(term.saturating_mul(2) / 3);
        // Given back meanwhile: it stays so.
        let is_held = |said: &Said| matches!(said, Said::Granted { epoch: held, .. } if *held == epoch);
        match answer {
            Ok(()) => {
                self.said.send_if_modified(|said| {
                    if is_held(said) {
                        *said = Said::Granted { epoch, until };
                    }
                    // Nobody acts differently for it.
                    false
                });
                term / 3
            }
            Err(Refused::Fenced(reason)) => {
                tracing::warn!(reason, "another one acts now");
                let other = Said::Held { by: reason.clone(), until: asked.saturating_add(term) };
                self.said.send_if_modified(|said| {
                    let was_held = is_held(said);
                    if was_held {
                        *said = other;
                    }
                    was_held
                });
                Duration::ZERO
            }
            Err(refused) => {
                tracing::warn!(%refused, "the lease is not renewed");
                RETRY
            }
        }
    }

    /// Takes note of a verdict; how long to wait before the next question. `gone` becomes the holder, if its process is seen
    /// to be gone: storage takes our word for it.
    async fn judged(&self, mesh: &Mesh, asked: Duration, verdict: Result<LeaseVerdict, Refused>, gone: &mut Vec<u8>) -> Duration {
        let identity = mesh.cluster.identity();
        match verdict {
            Ok(LeaseVerdict { granted: true, lease: Some(lease) }) => {
                let until = asked.saturating_add(mesh.term.saturating_mul(2) / 3);
                tracing::info!(role = %identity.role, epoch = lease.epoch, "holds the lease");
                self.said.send_replace(Said::Granted { epoch: lease.epoch, until });
                // Of several processes of the role the one under the highest epoch is asked.
                if let Err(error) = announce(Kind::Role, identity, lease.epoch).await {
                    tracing::error!(%error, "others do not learn that this process acts");
                }
                return mesh.term / 3;
            }
            Ok(LeaseVerdict { lease: Some(held), .. }) => {
                if process::is_gone(&held.process.clone().unwrap_or_default()) {
                    *gone = held.incarnation;
                    return Duration::ZERO;
                }
                let by = in_the_way(identity.role, &held);
                let until = asked.saturating_add(mesh.term);
                self.said.send_if_modified(|said| {
                    let is_news = !matches!(said, Said::Held { .. });
                    *said = Said::Held { by, until };
                    is_news
                });
            }
            Ok(LeaseVerdict { lease: None, .. }) => tracing::error!("storage answered a question for a lease without one"),
            Err(refused @ (Refused::Malformed(_) | Refused::Unknown(_) | Refused::Unauthorised(_))) => {
                // An earlier storage, in the middle of an upgrade.
                tracing::warn!(%refused, role = %identity.role, "storage gives no lease");
                self.said.send_replace(Said::Nothing { settled: true });
                return mesh.term;
            }
            Err(refused) => tracing::debug!(%refused, "storage does not say who acts"),
        }
        RETRY
    }
}

impl Mesh {
    fn request(&self, gone: Vec<u8>) -> AcquireLease {
        let instance = self.cluster.identity().instance.clone();
        AcquireLease { instance, term_millis: millis(self.term), process: Some(process::own()), gone }
    }

    fn sees(&self, role: Role) -> bool {
        self.cluster.instances().iter().any(|instance| instance.identity.role == role)
    }

    /// Every live process of this host, and as many as there are seeds.
    fn all_in_view(&self) -> bool {
        let own = self.cluster.identity().incarnation;
        let known = self.cluster.instances();
        let others = known.iter().filter(|known| known.identity.incarnation != own).count();
        let here = mesh::live_peers(&self.run_dir);
        let here: Vec<_> = here.iter().filter(|peer| peer.incarnation != own).collect();
        others >= here.len().saturating_add(self.seeds)
            && here.iter().all(|peer| known.iter().any(|known| known.identity.incarnation == peer.incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_table() {
        let second = Duration::from_secs;
        let granted = Said::Granted { epoch: 3, until: second(6) };
        let held = Said::Held { by: "supervisor-2".into(), until: second(9) };
        let stands_by = Standing::StandingBy("supervisor-2".into());
        let table = [
            (Said::Nothing { settled: false }, 0, Standing::Unknown),
            (Said::Nothing { settled: true }, 0, Standing::Alone),
            (granted.clone(), 5, Standing::Acting),
            (granted, 6, Standing::Alone),
            (held.clone(), 8, stands_by),
            (held, 9, Standing::Alone),
        ];
        for (said, now, expected) in table {
            assert_eq!(standing(&said, second(now)), expected, "{said:?} at {now} s");
        }
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_and_a_fenced_one_ends_it() {
        let second = Duration::from_secs;
        let tenure = Tenure::fixed(true);
        tenure.said.send_replace(Said::Granted { epoch: 3, until: second(6) });
        assert_eq!(tenure.renewed(3, second(4), second(9), &Ok(())), second(3));
        assert_eq!(*tenure.said.borrow(), Said::Granted { epoch: 3, until: second(10) });
        tenure.renewed(3, second(7), second(9), &Err(Refused::Unreachable("storage".into())));
        assert_eq!(*tenure.said.borrow(), Said::Granted { epoch: 3, until: second(10) }, "it runs out by itself");
        tenure.renewed(3, second(8), second(9), &Err(Refused::Fenced("supervisor-2 holds it".into())));
        let held = Said::Held { by: "supervisor-2 holds it".into(), until: second(17) };
        assert_eq!(*tenure.said.borrow(), held);
        tenure.renewed(3, second(9), second(9), &Ok(()));
        assert_eq!(*tenure.said.borrow(), held, "a late answer revives nothing");
    }
}
