//! Child processes: start, signal, wait. Every child has its lifeline, its own process group and its log.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::Role;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;

use super::output::Output;
use crate::core::exit::Ending;

/// How to start one child.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Instance name, unique: "storage", "governance-1".
    pub name: String,
    /// Its role in the mesh; `None` for a plain process.
    pub role: Option<Role>,
    /// Roles that must be ready before its first start.
    pub after: Vec<Role>,
    /// Executable.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<OsString>,
}

impl ChildSpec {
    /// The same program as another instance of its role.
    pub fn named(&self, name: &str) -> Self {
        let mut spec = Self { name: name.to_owned(), ..self.clone() };
        if name != self.name {
            spec.args.extend(["--instance".into(), name.into()]);
        }
        spec
    }
}

/// What happens to children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    /// It runs.
    Spawned {
        /// Instance.
        name: String,
        /// Process.
        pid: u32,
    },
    /// It ended, or could not be started.
    Ended {
        /// Instance.
        name: String,
        /// Process; 0 when it could not be started.
        pid: u32,
        /// How.
        ending: Ending,
    },
}

/// Where events go.
pub type Events = Arc<dyn Fn(ChildEvent) + Send + Sync>;

/// The children of this process.
pub struct Children {
    specs: HashMap<String, (ChildSpec, Output)>,
    directory: PathBuf,
    limit: u64,
    verbose: bool,
    /// The write ends of the lifelines; dropping one ends its child.
    lifelines: HashMap<String, (u32, ChildStdin)>,
    /// Processes that have not been reaped: exactly these may be signalled.
    alive: watch::Sender<BTreeSet<u32>>,
    events: Events,
}

/// A child could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Its log cannot be written.
    #[error("the log of {name} in {} cannot be written: check that the directory exists, is yours and has space", directory.display())]
    Log {
        /// Instance.
        name: String,
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Children {
    /// Nothing is started yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A log file cannot be opened.
    pub fn new(
        specs: Vec<ChildSpec>,
        directory: &std::path::Path,
        limit: u64,
        verbose: bool,
        events: Events,
    ) -> Result<Self, ChildError> {
        let mut children = Self {
            specs: HashMap::new(),
            directory: directory.to_owned(),
            limit,
            verbose,
            lifelines: HashMap::new(),
            alive: watch::Sender::new(BTreeSet::new()),
            events,
        };
        for spec in specs {
            children.add(spec)?;
        }
        Ok(children)
    }

    /// Takes one more child in; nothing is started yet.
    ///
    /// # Errors
    /// Its log file cannot be opened.
    pub fn add(&mut self, spec: ChildSpec) -> Result<(), ChildError> {
        let output = Output::open(&self.directory, &spec.name, self.limit, self.verbose).map_err(|source| ChildError::Log {
            name: spec.name.clone(),
            directory: self.directory.clone(),
            source,
        })?;
        self.specs.insert(spec.name.clone(), (spec, output));
        Ok(())
    }

    /// Forgets a child that has ended.
    pub fn forget(&mut self, name: &str) {
        self.specs.remove(name);
    }

    /// Starts a child; the outcome comes as an event. The caller's thread must live as long as the child may, because
    /// the parent death signal belongs to a thread: call it from a worker of the runtime, not from a blocking task.
    pub fn spawn(&mut self, name: &str) {
        let Some((spec, output)) = self.specs.get(name) else { return };
        let started = Command::new(&spec.program)
            .args(&spec.args)
            // What a service manager says to the supervisor is not for its children.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C in a terminal reaches only the supervisor, which then drains in order.
            .process_group(0)
            .kill_on_drop(false)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(cause) => {
                tracing::error!(instance = name, program = %spec.program.display(), %cause, "cannot start a child");
                (self.events)(ChildEvent::Ended { name: name.to_owned(), pid: 0, ending: Ending::NotStarted });
                return;
            }
        };
        let pid = child.id().unwrap_or(0);
        if let Some(stdin) = child.stdin.take() {
            self.lifelines.insert(name.to_owned(), (pid, stdin));
        }
        self.alive.send_if_modified(|alive| alive.insert(pid));
        let pumps = (
            child.stdout.take().map(|stream| tokio::spawn(output.clone().pump(stream))),
            child.stderr.take().map(|stream| tokio::spawn(output.clone().pump(stream))),
        );
        (self.events)(ChildEvent::Spawned { name: name.to_owned(), pid });
        let (events, alive, name) = (self.events.clone(), self.alive.clone(), name.to_owned());
        tokio::spawn(async move {
            let ending = child.wait().await.map_or(Ending::NotStarted, ending);
            alive.send_if_modified(|alive| alive.remove(&pid));
            // What it said last is in the log before its end is known. A grandchild may hold the pipe: do not wait for ever.
            let flushed = async {
                for pump in [pumps.0, pumps.1].into_iter().flatten() {
                    let _ = pump.await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(200), flushed).await;
            events(ChildEvent::Ended { name, pid, ending });
        });
    }

    /// A child is gone: its lifeline is released.
    pub fn ended(&mut self, name: &str, pid: u32) {
        if self.lifelines.get(name).is_some_and(|(held, _)| *held == pid) {
            self.lifelines.remove(name);
        }
    }

    /// Processes that run now.
    pub fn running(&self) -> Vec<(String, u32)> {
        let alive = self.alive.borrow();
        let all = self.lifelines.iter().map(|(name, (pid, _))| (name.clone(), *pid));
        all.filter(|(_, pid)| alive.contains(pid)).collect()
    }

    /// Those of a group that still run.
    pub fn left(&self, group: &[(String, u32)]) -> Vec<(String, u32)> {
        let alive = self.alive.borrow();
        group.iter().filter(|(_, pid)| alive.contains(pid)).cloned().collect()
    }

    /// Waits until none of a group runs, at most until `deadline`; says whether that was reached.
    pub async fn wait(&self, group: &[(String, u32)], deadline: Instant) -> bool {
        let mut alive = self.alive.subscribe();
        let gone = alive.wait_for(|alive| group.iter().all(|(_, pid)| !alive.contains(pid)));
        tokio::time::timeout_at(deadline.into(), gone).await.is_ok()
    }

    /// Sends a signal to a child that is still ours: a pid that ended is not ours and is left alone.
    pub fn signal(&self, name: &str, pid: u32, signal: Signal) {
        if !self.alive.borrow().contains(&pid) {
            return;
        }
        let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        if let Err(cause) = kill_process(target, signal) {
            tracing::debug!(instance = name, pid, %cause, "signal not delivered");
        }
    }

    /// The last lines a child printed.
    pub fn last_lines(&self, name: &str) -> Vec<String> {
        self.specs.get(name).map(|(_, output)| output.last()).unwrap_or_default()
    }
}

fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        // A code of wait(2) has eight bits.
        (Some(code), _) => Ending::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ending::Signal(signal.unwrap_or(0)),
    }
}
