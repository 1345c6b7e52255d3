//! The supervisor in the mesh: turns messages, child events and looks at the mesh into inputs, effects into processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, Cx, LocalSender, RoleActor, RoleMetrics, Status};
use alys_proto::supervisor::{DrainRole, Inbox, Instances, OrderTaken, RestartRole, ResumeRole};
use alys_proto::{Reply, Role};
use rand::Rng;
use rustix::process::Signal;

use crate::config::Config;
use crate::core::desired::Desired;
use crate::core::drain::{Node, phases};
use crate::core::effect::{Effect, Report};
use crate::core::exit::{self, Ending};
use crate::core::input::{Input, Sight, View};
use crate::core::orders::{Order, instance_name};
use crate::core::state::{Instance, Phase, State};
use crate::core::verdict::{Jitter, Moment};
use crate::io::child::{ChildEvent, ChildSpec, Children};
use crate::io::console::Console;
use crate::io::desired;
use crate::io::look::{Peers, Seen, own_host};
use crate::metrics::Metrics;
use crate::ordering::{Asked, Taken};
use crate::show;
use crate::supervision::{Supervision, is_scalable};
use crate::words::{full, last_error, without_class};

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
}

/// The supervisor role.
pub struct SupervisorActor {
    pub(crate) config: Config,
    pub(crate) supervision: Supervision,
    pub(crate) plan: Plan,
    peers: Peers,
    pub(crate) state: State,
    pub(crate) desired: Desired,
    children: Option<Children>,
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
        let mut supervisor = Self {
            config,
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

    fn now(&self) -> Moment {
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

    fn report(&mut self, report: &Report) -> Result<(), ActorError> {
        match report {
            Report::Ready(name) => tracing::info!(instance = name, "ready"),
            Report::AllReady => tracing::info!("all instances are ready"),
            Report::Stopped(name) => tracing::info!(instance = name, "stopped"),
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

    fn last_lines(&self, name: &str) -> Vec<String> {
        self.children.as_ref().map(|children| children.last_lines(name)).unwrap_or_default()
    }

    /// Only of one that ended by itself: a killed one said nothing, and its lines may be of the life before.
    fn show_last_words(&self, name: &str) {
        if let Some(said) = last_error(&self.last_lines(name)) {
            self.plan.console.line(self.now(), &format!("{name} says: {}", without_class(&said)));
        }
    }

    /// Why `alys up` ends at once, with the child's own last words.
    fn hopeless(&self, name: &str, ending: Ending) -> ActorError {
        let words = self.last_lines(name);
        let said = last_error(&words).unwrap_or_else(|| words.join("\n"));
        let text = format!("{name} cannot start: {}", without_class(&said));
        match ending {
            Ending::Code(exit::CONFIGURATION | exit::USAGE) => ActorError::Configuration(text),
            _ => ActorError::Broken(text),
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

    /// Ends all children in reverse start order; SIGKILL for those that outlast their phase.
    async fn drain(&mut self) {
        let Some(children) = self.children.take() else { return };
        let nodes: Vec<Node<'_>> =
            self.plan.children.iter().map(|child| Node { name: &child.name, role: child.role, after: &child.after }).collect();
        let began = Instant::now();
        for phase in phases(&nodes, self.config.phase_budget) {
            let mut group = children.running();
            group.retain(|(name, _)| phase.names.contains(name));
            for (name, pid) in &group {
                children.signal(name, *pid, Signal::TERM);
            }
            if children.wait(&group, began + phase.until).await {
                continue;
            }
            for (name, pid) in children.left(&group) {
                tracing::warn!(instance = name, pid, "did not drain in time: killed");
                self.plan.console.line(self.now(), &format!("{name} did not drain in time: killed"));
                children.signal(&name, pid, Signal::KILL);
            }
            // SIGKILL needs no consent; the kernel may need a moment to reap a large process.
            children.wait(&group, Instant::now() + Duration::from_secs(1)).await;
        }
        self.plan.console.line(self.now(), &format!("stopped in {} ms", began.elapsed().as_millis()));
    }
}

impl RoleActor for SupervisorActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let local = cx.local().clone();
        let events = Arc::new(move |event| local.send(Local::Child(event)));
        let children = Children::new(
            self.plan.children.clone(),
            &self.config.log_dir,
            self.config.log_bytes,
            self.plan.console.verbose,
            events,
        )
        .map_err(|cause| ActorError::Configuration(full(&cause)))?;
        self.children = Some(children);
        self.began = Instant::now();
        self.step(cx.local(), Input::Begin)?;
        cx.local().send(Local::Look);
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::GetInstances(_, reply) => {
                let mut instances = vec![show::own()];
                instances.extend(self.state.instances().iter().map(show::instance));
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
