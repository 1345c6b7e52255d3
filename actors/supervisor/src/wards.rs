//! Instances of a platform: looks and orders become requests to them and to their platform.

use alys_cluster::{ActorError, Cluster, LocalSender};
use alys_proto::Role;
use alys_proto::cluster::Drain;
use alys_proto::role::ROLES;
use alys_proto::supervisor::{Instance as InstanceReply, Step as StepReply};
use alys_proto::wire::Refused;

use crate::actor::{Local, SupervisorActor};
use crate::core::effect::Report;
use crate::core::input::View;
use crate::core::office::Office;
use crate::core::orders::Order;
use crate::core::owner::Owner;
use crate::core::platform::{Action, Ward, WardEffect, WardPhase};
use crate::core::verdict::Jitter;
use crate::io::kubernetes::{Api, Fault};
use crate::io::look::Seen;
use crate::io::systemd;
use crate::ordering::{Asked, Taken};
use crate::show;
use crate::supervision::{Supervision, is_scalable};
use crate::words::full;

/// The roles that a platform owns. Workers of a role that may have several show themselves in the mesh.
pub(crate) fn wards(supervision: &Supervision) -> Vec<Ward> {
    let owned = ROLES.into_iter().filter(|role| *role != Role::Supervisor && !is_scalable(*role));
    let owned = owned.map(|role| (role, supervision.owner(Some(role)))).filter(|(_, owner)| *owner != Owner::Local);
    owned.map(|(role, owner)| Ward::new(role.name(), role, owner, supervision.policy(Some(role)))).collect()
}

impl SupervisorActor {
    /// Judges the instances of platforms by what the mesh shows.
    pub(crate) fn look_after_wards(
        &mut self,
        local: &LocalSender<Local>,
        all: &[Seen],
        jitter: Jitter,
    ) -> Result<(), ActorError> {
        let now = self.now();
        for seen in all {
            let (role, name) = (seen.identity.role, &seen.identity.instance);
            let owner = self.supervision.owner(Some(role));
            let is_known = self.wards.iter().any(|ward| ward.name == *name);
            if !is_known && is_scalable(role) && owner != Owner::Local {
                self.wards.push(Ward::new(name, role, owner, self.supervision.policy(Some(role))));
            }
        }
        let mut effects = Vec::new();
        let (office, acted_last) = (self.office(), self.acted_last);
        for ward in &mut self.wards {
            let seen = all.iter().find(|seen| seen.identity.role == ward.role && seen.identity.instance == ward.name);
            let judges = office.judges(ward.role, acted_last);
            let view = |seen: &Seen| seen.said.as_ref().map(|said| said.view.clone());
            let view = |seen: &Seen| view(seen).filter(|view| judges || !matches!(view, View::Wedged(_)));
            let sight = seen.map(|seen| (seen.identity.incarnation, view(seen)));
            effects.extend(ward.looked(now, sight.as_ref(), jitter));
        }
        // A worker that its platform has scaled away is nobody's loss.
        self.wards.retain(|ward| !(is_scalable(ward.role) && ward.phase == WardPhase::Missing));
        if office == Office::StandingBy {
            // Also what this one began while it acted: the one that acts now has seen the same.
            effects.retain(|effect| matches!(effect, WardEffect::Report(_)));
        }
        self.act_on_wards(local, effects)
    }

    pub(crate) fn act_on_wards(&mut self, local: &LocalSender<Local>, effects: Vec<WardEffect>) -> Result<(), ActorError> {
        for effect in effects {
            match effect {
                WardEffect::AskToGo { name, restart, why } => self.ask_to_go(&name, restart, why),
                WardEffect::Platform { name, action } => self.tell_platform(local, &name, action),
                WardEffect::Report(report) => self.report(&report)?,
            }
        }
        Ok(())
    }

    fn ask_to_go(&self, name: &str, restart: bool, reason: String) {
        let Some(ward) = self.wards.iter().find(|ward| ward.name == name) else { return };
        tracing::info!(instance = name, restart, reason, "asked to go");
        (self.peers.drain)(ward.role, name.to_owned(), Drain { reason, restart });
    }

    fn tell_platform(&self, local: &LocalSender<Local>, name: &str, action: Action) {
        let Some(ward) = self.wards.iter().find(|ward| ward.name == name) else { return };
        let (role, owner, name, local) = (ward.role, ward.owner, name.to_owned(), local.clone());
        tracing::warn!(instance = name, %owner, action = action.word(), "telling its platform");
        tokio::spawn(async move {
            let told = match owner {
                Owner::Systemd => systemd::tell(action, role, &name).await.map_err(|fault| full(&fault)),
                Owner::Kubernetes => kubernetes(action, role, &name).await.map_err(|fault| full(&fault)),
                Owner::Local => Ok(()),
            };
            if let Err(reason) = told {
                local.send(Local::PlatformRefused { name, reason });
            }
        });
    }

    /// Orders about instances of platforms; `None` when it is about our own.
    pub(crate) fn order_wards(&mut self, local: &LocalSender<Local>, order: Order, asked: &Asked<'_>) -> Option<Taken> {
        let is_meant = |ward: &Ward| ward.name == asked.instance || ward.role.name() == asked.instance;
        let meant: Vec<Ward> = self.wards.iter().filter(|ward| is_meant(ward)).cloned().collect();
        if meant.is_empty() {
            return None;
        }
        let cannot_drain = |ward: &&Ward| ward.owner == Owner::Kubernetes && is_scalable(ward.role) && order != Order::Restart;
        if let Some(ward) = meant.iter().find(cannot_drain) {
            let text = format!("kubernetes keeps the number of {}, not single ones: `alys scale {}`", ward.role, ward.role);
            return Some(Ok(Err(Refused::Failed(text))));
        }
        let steps = meant.iter().map(|ward| step(ward, order)).collect();
        let stops = order != Order::Resume && meant.iter().any(Ward::is_there);
        let away = meant.first().map(|ward| ward.role).filter(|role| stops && !is_scalable(*role));
        let taken = show::order(steps, away);
        if asked.dry_run {
            return Some(Ok(Ok(taken)));
        }
        tracing::info!(?order, instance = asked.instance, reason = asked.reason, decision = taken.decision, "ordered");
        let now = self.now();
        let mut effects = Vec::new();
        for ward in self.wards.iter_mut().filter(|ward| is_meant(ward)) {
            effects.extend(match order {
                Order::Restart => ward.go(now, true, asked.reason.to_owned()),
                Order::Drain => ward.go(now, false, asked.reason.to_owned()),
                Order::Resume => ward.resume(now),
            });
        }
        Some(self.act_on_wards(local, effects).map(|()| Ok(taken)))
    }

    /// It would not: people must know, for nobody else does anything about it.
    pub(crate) fn platform_refused(&mut self, name: &str, reason: String) -> Result<(), ActorError> {
        self.report(&Report::Helpless { name: name.to_owned(), reason })
    }
}

async fn kubernetes(action: Action, role: Role, instance: &str) -> Result<(), Fault> {
    Api::in_cluster()?.tell(action, role, instance).await
}

fn step(ward: &Ward, order: Order) -> StepReply {
    let action = match order {
        Order::Drain if ward.owner == Owner::Kubernetes => "its workload is scaled to 0, which drains it",
        Order::Restart => "asked to drain and to end with code 80; its platform starts it again",
        Order::Drain => "asked to drain and to end with code 0; its platform leaves it so",
        Order::Resume if ward.phase == WardPhase::Running => "nothing: it runs",
        Order::Resume => "its platform is told to start it",
    };
    StepReply {
        instance: ward.name.clone(),
        state: ward.phase.name().to_owned(),
        action: action.to_owned(),
        changes: order != Order::Resume || ward.phase != WardPhase::Running,
        owner: ward.owner.name().to_owned(),
    }
}

/// As in `GetInstances`.
pub(crate) fn shown(ward: &Ward) -> InstanceReply {
    InstanceReply {
        name: ward.name.clone(),
        role: ward.role.into(),
        pid: 0,
        owner: ward.owner.name().to_owned(),
        state: ward.phase.name().to_owned(),
        restarts: ward.restarts,
        last_exit: String::new(),
        incarnation: ward.incarnation.map(alys_cluster::Incarnation::to_bytes).unwrap_or_default(),
        outdated: String::new(),
    }
}

/// Asks through the mesh; whether it does is seen when it is gone.
pub(crate) fn drain_through(cluster: &Cluster) -> impl Fn(Role, String, Drain) + Send + Sync + use<> {
    let cluster = cluster.clone();
    move |role, instance, drain| {
        let inspector = cluster.inspector(role, &instance);
        tokio::spawn(async move {
            if let Some(inspector) = inspector
                && let Err(refused) = inspector.ask(drain).await
            {
                tracing::warn!(instance, %refused, "it does not answer to be drained");
            }
        });
    }
}
