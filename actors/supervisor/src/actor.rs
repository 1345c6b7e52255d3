//! The supervisor in the mesh: turns messages, child events and looks at the mesh into inputs, effects into processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use alys_cluster::{ActorError, Cx, LocalSender, RoleActor, RoleMetrics, Status};
use alys_proto::supervisor::{DrainRole, Inbox, Instances, OrderTaken, RestartRole, ResumeRole};
use alys_proto::{Reply, Role};
use rand::Rng;
use rustix::process::Signal;

use crate::config::Config;
use crate::core::desired::Desired;
use crate::core::effect::{Effect, Report};
use crate::core::exit::Ending;
use crate::core::input::{Input, Sight, View};
use crate::core::orders::{Order, instance_name};
use crate::core::owner::Owner;
use crate::core::platform::{Ward, WardPhase};
use crate::core::state::{Instance, Phase, State};
use crate::core::verdict::{Jitter, Moment};
use crate::io::child::{ChildEvent, ChildSpec, Children, Keeping};
use crate::io::console::Console;
use crate::io::desired;
use crate::io::look::{Peers, Seen, own_host};
use crate::metrics::Metrics;
use crate::ordering::{Asked, Taken};
use crate::show;
use crate::supervision::{Supervision, is_scalable};
use crate::wards;
use crate::words::full;

/// What this supervisor starts, and how it shows that.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The children, in any order.
    pub children: Vec<ChildSpec>,
    /// The terminal.
    pub console: Console,
    /// A child that fails for its configuration before all were ready ends the supervisor too (`alys up`): whoever
    /// typed the command reads why, instead of a quarantine.
    pub fail_fast: bool,
    /// The children run on when this supervisor dies, and the next one adopts them. Not under `alys up`.
    pub outlive: bool,
}

/// Messages to itself.
#[derive(Debug)]
pub enum Local {
    /// A child started or ended.
    Child(ChildEvent),
    /// A wait of an instance is over.
    Due {
        /// Instance.
        name: String,
        /// Which wait.
        turn: u64,
    },
    /// Look at the mesh.
    Look,
    /// What was seen there.
    Saw(Vec<Seen>),
    /// A platform does not do what it was told.
    PlatformRefused {
        /// Instance.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The supervisor role.
pub struct SupervisorActor {
    pub(crate) config: Config,
    pub(crate) supervision: Supervision,
    pub(crate) plan: Plan,
    pub(crate) peers: Peers,
    pub(crate) state: State,
    pub(crate) desired: Desired,
    /// Instances that a platform restarts.
    pub(crate) wards: Vec<Ward>,
    pub(crate) children: Option<Children>,
    began: Instant,
}

impl SupervisorActor {
    /// Prepares; nothing is started before the role starts.
    ///
    /// # Errors
    /// What was ordered before cannot be read.
    pub fn new(config: Config, supervision: Supervision, plan: Plan, peers: Peers) -> Result<Self, ActorError> {
        let path = config.desired_file();
        let desired = desired::read(&path).map_err(|cause| {
            ActorError::Configuration(format!("{}: {cause}; remove it to forget drains and scales", path.display()))
        })?;
        let wards = wards::wards(&supervision);
        let mut plan = plan;
        // One restarter per process: what a platform owns is never started here.
        plan.children.retain(|child| supervision.owner(child.role) == Owner::Local);
        let mut supervisor = Self {
            config,
            wards,
            supervision,
            plan,
            peers,
            state: State::new(Vec::new()),
            desired,
            children: None,
            began: Instant::now(),
        };
        supervisor.expand();
        let instances = supervisor.plan.children.iter().map(|child| supervisor.instance(child)).collect();
        supervisor.state = State::new(instances);
        Ok(supervisor)
    }

    /// Adds the further processes of roles that have several.
    fn expand(&mut self) {
        let mut more = Vec::new();
        for child in &self.plan.children {
            let Some(role) = child.role.filter(|role| is_scalable(*role)) else { continue };
            let count = self.desired.count(&self.supervision, role);
            more.extend((2..=count).map(|number| child.named(&instance_name(role, number))));
        }
        self.plan.children.extend(more);
    }

    fn instance(&self, child: &ChildSpec) -> Instance {
        let mut instance = Instance::new(&child.name, child.role, &child.after, self.supervision.policy(child.role));
        if self.desired.drained.contains(&child.name) {
            instance.phase = Phase::Drained;
        }
        instance
    }

    /// One more process of a role.
    pub(crate) fn add(&mut self, name: &str, role: Role) -> Result<Instance, String> {
        let template = self.plan.children.iter().find(|child| child.role == Some(role));
        let spec = template.map(|child| child.named(name)).ok_or_else(|| format!("{role} is not started here"))?;
        let instance = self.instance(&spec);
        if let Some(children) = &mut self.children {
            children.add(spec.clone()).map_err(|cause| full(&cause))?;
        }
        self.plan.children.retain(|child| child.name != name);
        self.plan.children.push(spec);
        Ok(instance)
    }

    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    pub(crate) fn step(&mut self, local: &LocalSender<Local>, input: Input) -> Result<(), ActorError> {
        let effects = self.state.step(self.now(), input);
        for effect in effects {
            self.act(local, effect)?;
        }
        Ok(())
    }

    fn act(&mut self, local: &LocalSender<Local>, effect: Effect) -> Result<(), ActorError> {
        match effect {
            Effect::Spawn(name) => {
                if let Some(children) = &mut self.children {
                    children.spawn(&name);
                }
            }
            Effect::Terminate { name, pid } => self.signal(&name, pid, Signal::TERM),
            Effect::Kill { name, pid } => self.signal(&name, pid, Signal::KILL),
            Effect::Wake { name, turn, after } => local.send_after(after, Local::Due { name, turn }),
            Effect::Forget(name) => {
                if let Some(children) = &mut self.children {
                    children.forget(&name);
                }
                self.plan.children.retain(|child| child.name != name);
                tracing::info!(instance = name, "scaled away");
            }
            Effect::Report(report) => return self.report(&report),
        }
        Ok(())
    }

    fn signal(&self, name: &str, pid: u32, signal: Signal) {
        if let Some(children) = &self.children {
            children.signal(name, pid, signal);
        }
    }

    pub(crate) fn report(&mut self, report: &Report) -> Result<(), ActorError> {
        match report {
            Report::Ready(name) => tracing::info!(instance = name, "ready"),
            Report::AllReady => tracing::info!("all instances are ready"),
            Report::Stopped(name) => tracing::info!(instance = name, "stopped"),
            Report::Missing { name, owner } => tracing::error!(instance = name, %owner, "missing: not started in time"),
            Report::Helpless { name, reason } => tracing::error!(instance = name, reason, "its platform refuses"),
            Report::Drained(name) => tracing::info!(instance = name, "drained"),
            Report::Restarting { name, why, after } => tracing::warn!(instance = name, why, ?after, "restarting"),
            Report::Quarantined { name, ending } => tracing::error!(instance = name, %ending, "quarantined"),
        }
        self.plan.console.report(self.now(), report);
        match report {
            Report::Restarting { name, why, .. } if why.starts_with("exit") => self.show_last_words(name),
            Report::Quarantined { name, ending: Ending::Code(_) } => self.show_last_words(name),
            _ => {}
        }
        match report {
            Report::Quarantined { name, ending } if self.plan.fail_fast && !self.state.announced() => {
                Err(self.hopeless(name, *ending))
            }
            _ => Ok(()),
        }
    }

    /// Looks in a task of its own: a role that does not answer must not keep the supervisor from the others.
    fn look(&self, local: &LocalSender<Local>) {
        let (seen, local) = ((self.peers.look)(), local.clone());
        tokio::spawn(async move { local.send(Local::Saw(seen.await)) });
    }

    fn saw(&mut self, local: &LocalSender<Local>, all: &[Seen]) -> Result<(), ActorError> {
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
        self.step(local, Input::Looked { sights, elsewhere, jitter: jitter() })?;
        if let Some(children) = &self.children {
            children.trim_logs();
        }
        self.look_after_wards(local, all, jitter())?;
        let starting = self.state.instances().iter().any(|instance| instance.phase == Phase::Starting);
        local.send_after(if starting { self.config.look_starting } else { self.config.look }, Local::Look);
        Ok(())
    }

    fn child(&mut self, local: &LocalSender<Local>, event: ChildEvent) -> Result<(), ActorError> {
        match event {
            ChildEvent::Spawned { name, pid } => {
                tracing::info!(instance = name, pid, "started");
                self.step(local, Input::Spawned { name, pid })
            }
            ChildEvent::Ended { name, pid, ending } => {
                if let Some(children) = &mut self.children {
                    children.ended(&name, pid);
                }
                self.step(local, Input::Ended { name, ending, jitter: jitter() })
            }
        }
    }
}

impl RoleActor for SupervisorActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let local = cx.local().clone();
        let events = Arc::new(move |event| local.send(Local::Child(event)));
        let keeping = Keeping {
            directory: self.config.log_dir.clone(),
            limit: self.config.log_bytes,
            verbose: self.plan.console.verbose,
            record_file: self.plan.outlive.then(|| self.config.children_file()),
        };
        let children = Children::new(self.plan.children.clone(), keeping, events)
            .map_err(|cause| ActorError::Configuration(full(&cause)))?;
        self.children = Some(children);
        self.began = Instant::now();
        for (name, pid) in self.adopt().await {
            tracing::info!(instance = name, pid, "adopted");
            self.step(cx.local(), Input::Adopted { name, pid })?;
        }
        self.step(cx.local(), Input::Begin)?;
        cx.local().send(Local::Look);
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::GetInstances(_, reply) => {
                let mut instances = vec![show::own()];
                instances.extend(self.state.instances().iter().map(show::instance));
                instances.extend(self.wards.iter().map(wards::shown));
                reply.send(Instances { instances });
                Ok(())
            }
            Inbox::RestartRole(RestartRole { instance, reason, dry_run }, reply) => {
                let asked = Asked { instance: &instance, reason: &reason, dry_run };
                let taken = self.order(cx.local(), Order::Restart, &asked);
                self.answer(taken, reply).await
            }
            Inbox::DrainRole(DrainRole { instance, reason, dry_run }, reply) => {
                let asked = Asked { instance: &instance, reason: &reason, dry_run };
                let taken = self.order(cx.local(), Order::Drain, &asked);
                self.answer(taken, reply).await
            }
            Inbox::ResumeRole(ResumeRole { instance, reason, dry_run }, reply) => {
                let asked = Asked { instance: &instance, reason: &reason, dry_run };
                let taken = self.order(cx.local(), Order::Resume, &asked);
                self.answer(taken, reply).await
            }
            Inbox::ScaleRole(asked, reply) => {
                let taken = self.scale(cx.local(), &asked);
                self.answer(taken, reply).await
            }
        }
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        let done = match message {
            Local::Child(event) => self.child(cx.local(), event),
            Local::Due { name, turn } => self.step(cx.local(), Input::Due { name, turn }),
            Local::Look => {
                self.look(cx.local());
                Ok(())
            }
            Local::PlatformRefused { name, reason } => self.platform_refused(&name, reason),
            Local::Saw(all) => self.saw(cx.local(), &all),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.give_up(error).await,
        }
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        self.drain().await;
    }

    fn status(&self) -> Status {
        let count = |phase| self.state.instances().iter().filter(|instance| instance.phase == phase).count();
        let quarantined: Vec<&str> = self
            .state
            .instances()
            .iter()
            .filter(|instance| instance.phase == Phase::Quarantined)
            .map(|instance| instance.name.as_str())
            .chain(self.wards.iter().filter(|ward| ward.phase == WardPhase::Quarantined).map(|ward| ward.name.as_str()))
            .collect();
        let restarts: u32 = self.state.instances().iter().map(|instance| instance.restarts).sum();
        let fields = vec![
            ("instances", self.state.instances().len().to_string()),
            ("running", count(Phase::Running).to_string()),
            ("restarts", restarts.to_string()),
            ("quarantined", quarantined.join(",")),
        ];
        if quarantined.is_empty() {
            Status::ready(fields)
        } else {
            Status::degraded(format!("quarantined: {}", quarantined.join(", ")), fields)
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        Some(Box::new(Metrics::of(self.state.instances())))
    }
}

impl SupervisorActor {
    async fn answer(&mut self, taken: Taken, reply: Reply<OrderTaken>) -> Result<(), ActorError> {
        match taken {
            Ok(answer) => {
                reply.answer(answer);
                Ok(())
            }
            Err(error) => self.give_up(error).await,
        }
    }

    /// The children go first: no role outlives its supervisor.
    async fn give_up(&mut self, error: ActorError) -> Result<(), ActorError> {
        self.drain().await;
        Err(error)
    }
}

fn jitter() -> Jitter {
    Jitter::new(rand::rng().random_range(-1000..=1000))
}
