//! Looks at the mesh, and what follows from who acts.

use std::collections::BTreeSet;

use alys_cluster::{ActorError, LocalSender, Standing};
use alys_proto::{Refused, Role};
use rand::Rng;

use crate::actor::{Local, SupervisorActor};
use crate::core::input::{Input, Sight, View};
use crate::core::office::{Foreign, Office};
use crate::core::state::Phase;
use crate::core::verdict::Jitter;
use crate::io::birth;
use crate::io::look::{Seen, own_host};

impl SupervisorActor {
    /// What this supervisor may do now.
    pub(crate) fn office(&self) -> Office {
        match self.peers.tenure.standing() {
            Standing::Acting => Office::Acting,
            Standing::StandingBy(_) => Office::StandingBy,
            Standing::Unknown | Standing::Alone => Office::Alone,
        }
    }

    /// Begins to act, if it is this one's turn: who acts and what runs already is known before anything is started.
    pub(crate) async fn begin(&mut self, local: &LocalSender<Local>) -> Result<(), ActorError> {
        self.peers.tenure.settled().await;
        let seen = (self.peers.look)().await;
        self.note(local, &seen)?;
        tracing::info!(office = self.office().name(), "begins");
        self.step(local, Input::Begin)?;
        self.await_office(local);
        Ok(())
    }

    fn await_office(&self, local: &LocalSender<Local>) {
        let (changed, local) = (self.peers.tenure.changes(), local.clone());
        tokio::spawn(async move {
            changed.await;
            local.send(Local::Office);
        });
    }

    /// Storage says something else.
    pub(crate) fn office_changed(&mut self, local: &LocalSender<Local>) -> Result<(), ActorError> {
        self.await_office(local);
        match self.peers.tenure.standing() {
            Standing::Acting => tracing::info!("this supervisor acts"),
            Standing::StandingBy(holder) => tracing::info!(holder, "this supervisor stands by"),
            Standing::Unknown | Standing::Alone => tracing::warn!("this supervisor looks after its own children only"),
        }
        self.look(local, false);
        Ok(())
    }

    /// After everything has ended. Storage that was one of ours cannot be told any more.
    pub(crate) async fn leave_office(&self) {
        if !self.plan.children.iter().any(|child| child.role == Some(Role::Storage)) {
            self.peers.tenure.give_back().await;
        }
    }

    /// One that stands by takes no orders: two that follow orders fight as well.
    pub(crate) fn may_be_ordered(&self) -> Result<(), Refused> {
        match self.peers.tenure.standing() {
            Standing::StandingBy(holder) => Err(Refused::Failed(format!("this supervisor stands by: {holder}"))),
            Standing::Unknown | Standing::Acting | Standing::Alone => Ok(()),
        }
    }

    /// Looks in a task of its own: a role that does not answer must not keep the supervisor from the others.
    pub(crate) fn look(&self, local: &LocalSender<Local>, again: bool) {
        let (seen, local) = ((self.peers.look)(), local.clone());
        tokio::spawn(async move { local.send(Local::Saw { seen: seen.await, again }) });
    }

    /// The mesh was looked at.
    pub(crate) fn saw(&mut self, local: &LocalSender<Local>, all: &[Seen], again: bool) -> Result<(), ActorError> {
        self.note(local, all)?;
        if let Some(children) = &self.children {
            children.trim_logs();
        }
        self.look_after_wards(local, all, jitter())?;
        self.roll_on(local, all)?;
        if !again {
            return Ok(());
        }
        let starting = self.state.instances().iter().any(|instance| instance.phase == Phase::Starting);
        local.send_after(if starting { self.config.look_starting } else { self.config.look }, Local::Look);
        Ok(())
    }

    fn note(&mut self, local: &LocalSender<Local>, all: &[Seen]) -> Result<(), ActorError> {
        let host = own_host();
        let is_ours = |role: Role| self.plan.children.iter().any(|child| child.role == Some(role));
        let mut sights = Vec::new();
        let mut elsewhere = BTreeSet::new();
        for (identity, said) in all.iter().filter_map(|seen| Some((&seen.identity, seen.said.as_ref()?))) {
            if said.view == View::Working && !is_ours(identity.role) {
                elsewhere.insert(identity.role);
            }
            if said.host == host {
                sights.push(Sight { name: identity.instance.clone(), pid: said.pid, view: said.view.clone() });
            }
        }
        match self.office() {
            Office::Acting => self.acted_last = true,
            Office::StandingBy => self.acted_last = false,
            Office::Alone => {}
        }
        let foreign = self.foreign(all, &host);
        self.step(local, Input::Looked { sights, elsewhere, foreign, jitter: jitter() })
    }

    /// Processes of planned instances that this supervisor neither started nor adopted.
    fn foreign(&self, all: &[Seen], host: &str) -> Vec<Foreign> {
        let planned = |seen: &&Seen| {
            let role_and_name = (Some(seen.identity.role), &seen.identity.instance);
            self.plan.children.iter().any(|child| (child.role, &child.name) == role_and_name)
        };
        let foreign = all.iter().filter(planned).filter_map(|seen| {
            let name = seen.identity.instance.clone();
            // One that does not answer is there all the same.
            let Some(said) = &seen.said else { return Some(Foreign { name, here: false, works: false }) };
            let here = said.host == host;
            // Its link may outlive it for a moment.
            let is_gone = here && birth::of(said.pid).is_none();
            (!is_gone).then_some(Foreign { name, here, works: said.view == View::Working })
        });
        foreign.collect()
    }
}

/// Randomness for a wait.
pub(crate) fn jitter() -> Jitter {
    Jitter::new(rand::rng().random_range(-1000..=1000))
}
