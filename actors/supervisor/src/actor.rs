//! The supervisor in the mesh: turns messages, child events and looks at the mesh into inputs, effects into processes.

use std::sync::Arc;
use std::time::Instant;

use alys_cluster::{ActorError, Cx, LocalSender, RoleActor, RoleMetrics, Status};
use alys_proto::supervisor::{DrainRole, Inbox, Instances, OrderTaken, RestartRole, ResumeRole};
use alys_proto::{Reply, Role};
use rustix::process::Signal;

use crate::config::Config;
use crate::core::desired::Desired;
use crate::core::effect::{Effect, Report};
use crate::core::exit::Ending;
use crate::core::input::Input;
use crate::core::office::Office;
use crate::core::orders::{Order, instance_name};
use crate::core::owner::Owner;
use crate::core::platform::{Ward, WardPhase};
use crate::core::state::{Instance, Phase, State};
use crate::core::verdict::Moment;
use crate::io::child::{ChildEvent, ChildSpec, Children, Keeping};
use crate::io::console::Console;
use crate::io::desired;
use crate::io::look::{Peers, Seen};
use crate::looking::jitter;
use crate::metrics::Metrics;
use crate::ordering::{Asked, Taken};
use crate::rolling::Rolling;
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
    Saw {
        /// All of it.
        seen: Vec<Seen>,
        /// This look was one of the regular ones: there is a next.
        again: bool,
    },
    /// Another supervisor may act now, or this one.
    Office,
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
    /// Storage said last that this supervisor acts.
    pub(crate) acted_last: bool,
    pub(crate) rolling: Rolling,
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
            acted_last: false,
            rolling: Rolling::default(),
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

    /// Every input is judged by who acts at that moment: what came late may have come too late. One that acts from now on
    /// begins with a look, for what ran under another runs on.
    pub(crate) fn step(&mut self, local: &LocalSender<Local>, input: Input) -> Result<(), ActorError> {
        let (office, before) = (self.office(), self.state.office());
        let mut inputs = vec![input];
        match office {
            _ if office == before => {}
            Office::Acting if matches!(inputs.first(), Some(Input::Looked { .. })) => inputs.push(Input::Office(office)),
            Office::Acting => {}
            Office::StandingBy | Office::Alone => inputs.insert(0, Input::Office(office)),
        }
        let now = self.now();
        let effects: Vec<Effect> = inputs.into_iter().flat_map(|input| self.state.step(now, input)).collect();
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
        self.begin(cx.local()).await?;
        cx.local().send(Local::Look);
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::GetInstances(_, reply) => {
                let mut instances = vec![show::own(&self.peers.own)];
                instances.extend(self.state.instances().iter().map(show::instance));
                instances.extend(self.wards.iter().map(wards::shown));
                instances.iter_mut().for_each(|instance| instance.outdated = self.rolling.outdated(&instance.name));
                reply.send(Instances { instances });
                Ok(())
            }
            Inbox::RestartRole(RestartRole { instance, reason, dry_run }, reply) => {
                let asked = Asked { instance: &instance, reason: &reason, dry_run };
                let taken = self.order(cx.local(), Order::Restart, &asked);
                self.answer(taken, reply).await
            }
            Inbox::RestartOutdated(asked, reply) => {
                let taken = Ok(self.restart_outdated(&asked));
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
            Inbox::ScaleRole(asked, reply) => match self.scale_workload(&asked) {
                Some(Ok(scaling)) => {
                    tokio::spawn(async move { reply.answer(scaling.carry_out().await) });
                    Ok(())
                }
                Some(Err(refused)) => self.answer(Ok(Err(refused)), reply).await,
                None => {
                    let taken = self.scale(cx.local(), &asked);
                    self.answer(taken, reply).await
                }
            },
        }
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        let done = match message {
            Local::Child(event) => self.child(cx.local(), event),
            Local::Due { name, turn } => self.step(cx.local(), Input::Due { name, turn }),
            Local::Look => {
                self.look(cx.local(), true);
                Ok(())
            }
            Local::PlatformRefused { name, reason } => self.platform_refused(&name, reason),
            Local::Saw { seen, again } => self.saw(cx.local(), &seen, again),
            Local::Office => self.office_changed(cx.local()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.give_up(error).await,
        }
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        self.drain().await;
        self.leave_office().await;
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
            ("elsewhere", count(Phase::Elsewhere).to_string()),
            ("office", self.office().name().to_owned()),
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
