//! Child processes: start, signal, wait. Every child has its lifeline, its own process group and its log.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::Role;
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;

use super::birth::{self, Birth};
use super::output::Output;
use super::record::Record;
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

/// How children are kept.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// Where their logs go.
    pub directory: PathBuf,
    /// Bytes of a log before it is moved away.
    pub limit: u64,
    /// Print also what they print.
    pub verbose: bool,
    /// They run on when we end, and are noted in this file; `None`: they end with us.
    pub record_file: Option<PathBuf>,
}

/// A process of ours.
struct Held {
    pid: u32,
    /// The write end of its lifeline; dropping it ends the child.
    _lifeline: Option<ChildStdin>,
    /// Of one that another supervisor started: it is not our child, so its number says nothing.
    handle: Option<Arc<OwnedFd>>,
}

/// The children of this process, and those it has adopted.
pub struct Children {
    specs: HashMap<String, (ChildSpec, Output)>,
    keeping: Keeping,
    record: Option<Record>,
    held: HashMap<String, Held>,
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
    /// What the supervisor before us started cannot be read.
    #[error("{} cannot be read; remove it when no role of this node runs", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Children {
    /// Nothing is started yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A log file cannot be opened, or the record of a supervisor before us cannot be read.
    pub fn new(specs: Vec<ChildSpec>, keeping: Keeping, events: Events) -> Result<Self, ChildError> {
        let record = keeping
            .record_file
            .as_deref()
            .map(|path| Record::open(path).map_err(|source| ChildError::Record { path: path.to_owned(), source }));
        let mut children = Self {
            specs: HashMap::new(),
            record: record.transpose()?,
            keeping,
            held: HashMap::new(),
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
        let Keeping { directory, limit, verbose, .. } = &self.keeping;
        let output = Output::open(directory, &spec.name, *limit, *verbose).map_err(|source| ChildError::Log {
            name: spec.name.clone(),
            directory: directory.clone(),
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
        let mut command = Command::new(&spec.program);
        // A group of its own: Ctrl-C in a terminal reaches only the supervisor, which then drains in order.
        command.args(&spec.args).process_group(0).kill_on_drop(false);
        // What a service manager says to the supervisor is not for its children.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        let prepared = match self.keeping.record_file {
            None => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                Ok(())
            }
            // What may outlive us writes to its log itself: a pipe would end with us.
            Some(_) => output.file().and_then(|log| {
                command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
                Ok(())
            }),
        };
        let started = prepared.and_then(|()| command.spawn());
        let mut child = match started {
            Ok(child) => child,
            Err(cause) => {
                tracing::error!(instance = name, program = %spec.program.display(), %cause, "cannot start a child");
                (self.events)(ChildEvent::Ended { name: name.to_owned(), pid: 0, ending: Ending::NotStarted });
                return;
            }
        };
        let pid = child.id().unwrap_or(0);
        if let Some(record) = &mut self.record {
            record.add(name, pid);
        }
        self.held.insert(name.to_owned(), Held { pid, _lifeline: child.stdin.take(), handle: None });
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

    /// Processes that a supervisor before us started and that still run: which instance each is.
    pub fn left_behind(&self) -> Vec<(String, Birth)> {
        let started = self.record.iter().flat_map(Record::started);
        started.map(|(name, birth)| (name.clone(), birth.clone())).collect()
    }

    /// Takes over a process that is not our child, if it still lives.
    pub fn adopt(&mut self, name: &str, birth: &Birth) -> bool {
        let pid = birth.pid;
        let handle = birth::open(birth).map(Arc::new);
        #[allow(deprecated, reason = "its replacement is `unsafe`; an owned descriptor stays open for as long as it is watched")]
        let watched = handle.as_ref().and_then(|handle| AsyncFd::with_interest(handle.clone(), Interest::READABLE).ok());
        let (Some(handle), Some(watched)) = (handle, watched) else {
            if let Some(record) = &mut self.record {
                record.remove(name, pid);
            }
            return false;
        };
        if let Some(record) = &mut self.record {
            record.add(name, pid);
        }
        self.alive.send_if_modified(|alive| alive.insert(pid));
        self.held.insert(name.to_owned(), Held { pid, _lifeline: None, handle: Some(handle) });
        let (events, alive, name) = (self.events.clone(), self.alive.clone(), name.to_owned());
        tokio::spawn(async move {
            // Readable when the process has ended; nobody but its parent is told how.
            let _ended = watched.readable().await;
            alive.send_if_modified(|alive| alive.remove(&pid));
            events(ChildEvent::Ended { name, pid, ending: Ending::Unknown });
        });
        true
    }

    /// A child is gone: its lifeline is released.
    pub fn ended(&mut self, name: &str, pid: u32) {
        if self.held.get(name).is_some_and(|held| held.pid == pid) {
            self.held.remove(name);
        }
        if let Some(record) = &mut self.record {
            record.remove(name, pid);
        }
    }

    /// Keeps the logs of children that write them themselves within their bound.
    pub fn trim_logs(&self) {
        if self.record.is_some() {
            for (_, output) in self.specs.values() {
                output.trim();
            }
        }
    }

    /// Processes that run now.
    pub fn running(&self) -> Vec<(String, u32)> {
        let alive = self.alive.borrow();
        let all = self.held.iter().map(|(name, held)| (name.clone(), held.pid));
        all.filter(|(_, pid)| alive.contains(pid)).collect()
    }

    /// All has ended in order: the next supervisor has nobody to look for.
    pub fn close(&mut self) {
        let alive = self.running();
        let Some(record) = &mut self.record else { return };
        for (name, held) in &self.held {
            if !alive.iter().any(|(_, pid)| *pid == held.pid) {
                record.remove(name, held.pid);
            }
        }
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
        let handle = self.held.get(name).filter(|held| held.pid == pid).and_then(|held| held.handle.as_ref());
        let sent = match (handle, i32::try_from(pid).ok().and_then(Pid::from_raw)) {
            (Some(handle), _) => pidfd_send_signal(handle, signal),
            (None, Some(target)) => kill_process(target, signal),
            (None, None) => return,
        };
        if let Err(cause) = sent {
            tracing::debug!(instance = name, pid, %cause, "signal not delivered");
        }
    }

    /// The last lines a child printed.
    pub fn last_lines(&self, name: &str) -> Vec<String> {
        let output = self.specs.get(name).map(|(_, output)| output);
        output.map(|output| if self.record.is_some() { output.tail() } else { output.last() }).unwrap_or_default()
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
