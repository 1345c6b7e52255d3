//! The supervisor in the mesh: turns messages, child events and looks at the mesh into inputs, effects into processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, Cx, LocalSender, RoleActor, Status};
use alys_proto::Role;
use alys_proto::supervisor::{Inbox, Instance as InstanceReply, Instances, RestartAccepted};
use alys_proto::wire::Refused;
use rand::Rng;
use rustix::process::Signal;

use crate::config::Config;
use crate::core::drain::{Node, phases};
use crate::core::effect::{Effect, Report};
use crate::core::exit::{self, Ending};
use crate::core::input::Input;
use crate::core::state::{Instance, Phase, State};
use crate::core::verdict::{Jitter, Moment};
use crate::io::child::{ChildEvent, ChildSpec, Children};
use crate::io::console::Console;
use crate::io::look::{Peers, Seen};

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
    config: Config,
    plan: Plan,
    peers: Peers,
    state: State,
    children: Option<Children>,
    began: Instant,
}

impl SupervisorActor {
    /// Prepares; nothing is started before the role starts.
    pub fn new(config: Config, plan: Plan, peers: Peers) -> Self {
        let instances = plan.children.iter().map(|child| Instance::new(&child.name, child.role, &child.after)).collect();
        let state = State::new(config.restart.clone(), instances);
        Self { config, plan, peers, state, children: None, began: Instant::now() }
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn step(&mut self, local: &LocalSender<Local>, input: Input) -> Result<(), ActorError> {
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

    fn saw(&mut self, local: &LocalSender<Local>, all: Vec<Seen>) -> Result<(), ActorError> {
        for seen in all {
            let input = Input::Seen { name: seen.instance, pid: seen.pid, view: seen.view, jitter: jitter() };
            self.step(local, input)?;
        }
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

    fn restart(
        &mut self,
        local: &LocalSender<Local>,
        name: &str,
        reason: &str,
    ) -> Result<Result<RestartAccepted, Refused>, ActorError> {
        let Some(instance) = self.state.instances().iter().find(|instance| instance.name == name) else {
            let known: Vec<&str> = self.state.instances().iter().map(|instance| instance.name.as_str()).collect();
            return Ok(Err(Refused::Failed(format!(
                "`{name}` is not started by this supervisor; it starts {}",
                known.join(", ")
            ))));
        };
        let decision = match instance.phase {
            Phase::Waiting => "waiting: it starts when what it needs is ready",
            Phase::Starting | Phase::Running | Phase::Replacing => "restart after drain",
            Phase::BackingOff | Phase::Quarantined | Phase::Stopped => "start now",
        };
        tracing::info!(instance = name, reason, decision, "restart asked");
        self.step(local, Input::RestartAsked { name: name.to_owned() })?;
        Ok(Ok(RestartAccepted { decision: decision.to_owned() }))
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
                let mut instances = vec![own()];
                instances.extend(self.state.instances().iter().map(shown));
                reply.send(Instances { instances });
            }
            Inbox::RestartRole(asked, reply) => match self.restart(cx.local(), &asked.instance, &asked.reason) {
                Ok(answer) => reply.answer(answer),
                Err(error) => return self.give_up(error).await,
            },
        }
        Ok(())
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        let done = match message {
            Local::Child(event) => self.child(cx.local(), event),
            Local::Due { name, turn } => self.step(cx.local(), Input::Due { name, turn }),
            Local::Look => {
                self.look(cx.local());
                Ok(())
            }
            Local::Saw(all) => self.saw(cx.local(), all),
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
}

impl SupervisorActor {
    /// The children go first: no role outlives its supervisor.
    async fn give_up(&mut self, error: ActorError) -> Result<(), ActorError> {
        self.drain().await;
        Err(error)
    }
}

/// What the last line `ended` of a JSON log says, else its last error; `None` when the lines are no such log. Libraries
/// complain after that line, while they are torn down.
fn last_error(lines: &[String]) -> Option<String> {
    let parsed = lines.iter().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let errors: Vec<_> = parsed.filter(|line| line["level"] == "ERROR").collect();
    let error = errors.iter().find(|line| line["message"] == "ended").or(errors.first())?;
    error["error"].as_str().or_else(|| error["message"].as_str()).map(str::to_owned)
}

/// A child's error without the class that its exit code has told.
fn without_class(text: &str) -> &str {
    let classes = ["error: ", "configuration: ", "broken: ", "temporary: ", "network: "];
    classes.into_iter().find_map(|class| text.strip_prefix(class)).unwrap_or(text)
}

fn jitter() -> Jitter {
    Jitter::new(rand::rng().random_range(-1000..=1000))
}

fn own() -> InstanceReply {
    InstanceReply {
        name: Role::Supervisor.name().to_owned(),
        role: Role::Supervisor.into(),
        pid: std::process::id(),
        owner: "self".to_owned(),
        state: Phase::Running.name().to_owned(),
        restarts: 0,
        last_exit: String::new(),
    }
}

fn shown(instance: &Instance) -> InstanceReply {
    InstanceReply {
        name: instance.name.clone(),
        role: instance.role.unwrap_or(Role::Unspecified).into(),
        pid: instance.pid.unwrap_or(0),
        owner: "local".to_owned(),
        state: instance.phase.name().to_owned(),
        restarts: instance.restarts,
        last_exit: instance.last_exit.clone(),
    }
}

/// An error with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_error_and_not_its_json() {
        let ended = r#"{"level":"ERROR","message":"ended","error":"configuration: port taken"}"#;
        let late = r#"{"level":"ERROR","message":"a library was torn down"}"#;
        let said = |lines: &[&str]| last_error(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&[ended, late, "{}"]).as_deref().map(without_class), Some("port taken"));
        assert_eq!(said(&["plain words", late]).as_deref(), Some("a library was torn down"));
        assert_eq!(said(&[r#"{"level":"INFO","message":"bye"}"#, "plain words"]), None);
    }
}
