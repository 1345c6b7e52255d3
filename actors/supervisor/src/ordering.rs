//! Orders of people: looked through first, then, unless it was a dry run, carried out and kept.

use alys_cluster::{ActorError, LocalSender};
use alys_proto::Role;
use alys_proto::supervisor::{OrderTaken, ScaleRole, Step as StepReply};
use alys_proto::wire::Refused;

use crate::actor::{Local, SupervisorActor};
use crate::core::desired::Desired;
use crate::core::input::Input;
use crate::core::instance::{Instance, Phase};
use crate::core::orders::{self, Order, Step};
use crate::core::owner::Owner;
use crate::io::desired;
use crate::io::kubernetes::Api;
use crate::show;
use crate::supervision::RoleName;
use crate::words::full;

/// Where an order comes from.
pub(crate) struct Asked<'a> {
    pub(crate) instance: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) dry_run: bool,
}

/// An order's answer, or why the supervisor cannot go on.
pub(crate) type Taken = Result<Result<OrderTaken, Refused>, ActorError>;

/// An order about workers that Kubernetes carries out.
pub(crate) struct Scaling {
    role: Role,
    count: u32,
    dry_run: bool,
    taken: OrderTaken,
}

impl Scaling {
    /// Asks the API, unless it is only to be said.
    pub(crate) async fn carry_out(self) -> Result<OrderTaken, Refused> {
        if !self.dry_run {
            tracing::info!(role = %self.role, instances = self.count, decision = self.taken.decision, "ordered");
            let asked = async { Api::in_cluster()?.scale_workers(self.role, self.count).await };
            asked.await.map_err(|fault| Refused::Failed(full(&fault)))?;
        }
        Ok(self.taken)
    }
}

impl SupervisorActor {
    /// Restart, drain or resume.
    pub(crate) fn order(&mut self, local: &LocalSender<Local>, order: Order, asked: &Asked<'_>) -> Taken {
        if let Err(refused) = self.may_be_ordered() {
            return Ok(Err(refused));
        }
        if let Some(taken) = self.order_wards(local, order, asked) {
            return taken;
        }
        let steps = match orders::steps(self.state.instances(), order, asked.instance) {
            Ok(steps) => steps,
            Err(fault) => return Ok(Err(Refused::Failed(fault.to_string()))),
        };
        let taken = show::order(steps.iter().map(show::step).collect(), self.away(order, &steps));
        if asked.dry_run {
            return Ok(Ok(taken));
        }
        tracing::info!(?order, instance = asked.instance, reason = asked.reason, decision = taken.decision, "ordered");
        let inputs: Vec<Input> = steps.into_iter().filter_map(|step| step.input).collect();
        if let Err(refused) = self.keep(|desired| inputs.iter().for_each(|input| desired.note(input))) {
            return Ok(Err(refused));
        }
        for input in inputs {
            self.step(local, input)?;
        }
        Ok(Ok(taken))
    }

    /// The role that nobody serves while the order is carried out.
    fn away(&self, order: Order, steps: &[Step]) -> Option<Role> {
        let stops = |step: &Step| order != Order::Resume && step.input.is_some() && step.phase == Phase::Running;
        let stopped = steps.iter().find(|step| stops(step))?;
        let find = |name: &str| self.state.instances().iter().find(|instance| instance.name == name);
        let role = find(&stopped.name)?.role?;
        let goes_on = |instance: &Instance| {
            let is_stopped = steps.iter().any(|step| step.name == instance.name);
            instance.role == Some(role) && instance.phase == Phase::Running && !is_stopped
        };
        if self.state.instances().iter().any(goes_on) { None } else { Some(role) }
    }

    /// More or fewer processes of a role.
    pub(crate) fn scale(&mut self, local: &LocalSender<Local>, asked: &ScaleRole) -> Taken {
        if let Err(refused) = self.may_be_ordered() {
            return Ok(Err(refused));
        }
        let role = asked.role();
        let owner = self.supervision.owner(Some(role));
        if owner != Owner::Local {
            let how = format!("systemctl start alys-{role}@{}.service", asked.instances);
            return Ok(Err(Refused::Failed(format!("{owner} runs the processes of {role}: `{how}`"))));
        }
        let (gained, lost) = match orders::scaled(self.state.instances(), role, asked.instances) {
            Ok(changes) => changes,
            Err(fault) => return Ok(Err(Refused::Failed(fault.to_string()))),
        };
        let step = |name: &String, state: &str, action: &str| StepReply {
            instance: name.clone(),
            state: state.to_owned(),
            action: action.to_owned(),
            changes: true,
            owner: Owner::Local.name().to_owned(),
        };
        let starts = gained.iter().map(|name| step(name, "", "start"));
        let ends = lost.iter().map(|name| step(name, self.phase_of(name), "drain, then forget"));
        let mut taken = show::order(starts.chain(ends).collect(), None);
        if taken.steps.is_empty() {
            taken.decision = format!("{role}: nothing to do, there are {} already", asked.instances);
        }
        if asked.dry_run {
            return Ok(Ok(taken));
        }
        tracing::info!(%role, instances = asked.instances, reason = asked.reason, decision = taken.decision, "ordered");
        let removed: Vec<Input> = lost.iter().map(|name| Input::Removed { name: name.clone() }).collect();
        let kept = self.keep(|desired| {
            desired.instances.insert(RoleName(role), asked.instances);
            removed.iter().for_each(|input| desired.note(input));
        });
        if let Err(refused) = kept {
            return Ok(Err(refused));
        }
        for name in &gained {
            match self.add(name, role) {
                Ok(instance) => self.step(local, Input::Added(Box::new(instance)))?,
                Err(reason) => return Ok(Err(Refused::Failed(reason))),
            }
        }
        for input in removed {
            self.step(local, input)?;
        }
        Ok(Ok(taken))
    }

    /// The same where Kubernetes runs them; `None` elsewhere. Answered when the API has answered.
    pub(crate) fn scale_workload(&self, asked: &ScaleRole) -> Option<Result<Scaling, Refused>> {
        let role = asked.role();
        if self.supervision.owner(Some(role)) != Owner::Kubernetes {
            return None;
        }
        let checked = self
            .may_be_ordered()
            .and_then(|()| orders::scaled(&[], role, asked.instances).map_err(|fault| Refused::Failed(fault.to_string())));
        Some(checked.map(|_| {
            let step = StepReply {
                instance: role.name().to_owned(),
                state: String::new(),
                action: format!("its Deployment and the least of its autoscaler are set to {}", asked.instances),
                // Which pods come and go is not known here, so nobody can wait for them.
                changes: false,
                owner: Owner::Kubernetes.name().to_owned(),
            };
            Scaling { role, count: asked.instances, dry_run: asked.dry_run, taken: show::order(vec![step], None) }
        }))
    }

    fn phase_of(&self, name: &str) -> &'static str {
        let found = self.state.instances().iter().find(|instance| instance.name == name);
        found.map_or("", |instance| instance.phase.name())
    }

    /// Writes down what must outlive this supervisor, before it is done.
    fn keep(&mut self, change: impl FnOnce(&mut Desired)) -> Result<(), Refused> {
        let mut desired = self.desired.clone();
        change(&mut desired);
        if desired == self.desired {
            return Ok(());
        }
        let path = self.config.desired_file();
        desired::write(&path, &desired)
            .map_err(|cause| Refused::Failed(format!("cannot write {}: {cause}; nothing was changed", path.display())))?;
        self.desired = desired;
        Ok(())
    }
}
