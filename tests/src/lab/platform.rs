//! What starts processes on the hosts of a lab and starts them again when they end, by the exit-code contract, as a service
//! manager does (`docs/exit-codes.md`).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alys_cluster::exit;
use eyre::{WrapErr as _, ensure};
use rustix::process::Signal;

use crate::processes;

/// Between an end and the next start, as the supervisor's first delay.
const PAUSE: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_millis(20);

/// With a boot id of its own.
const AS_ON_A_HOST: &str = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";

/// One process, whichever start of it runs.
#[derive(Clone, Debug)]
pub struct Service {
    /// Network namespace that it runs in.
    pub namespace: String,
    /// File with the boot id of its host. Hosts of a lab share a kernel, but nobody on one may take a process of another for
    /// dead because that kernel does not know it any more.
    pub boot_id: PathBuf,
    /// File of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside the test's own.
    pub environment: Vec<(String, String)>,
    /// What it says, all starts one after the other.
    pub log: PathBuf,
}

/// How one start of a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or(0)), Self::Code)
    }

    fn is_final(self) -> bool {
        [exit::DONE, exit::USAGE, exit::CONFIGURATION].iter().any(|code| self == Self::Code(i32::from(*code)))
    }
}

/// The services of a lab. Dropping it kills them all.
pub struct Platform {
    running: Arc<Mutex<BTreeMap<String, Run>>>,
}

struct Run {
    service: Service,
    child: Child,
    /// When the last start ended, until the next.
    ended: Option<Instant>,
    ends: Vec<Ended>,
}

impl Service {
    fn start(&self) -> eyre::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        // It becomes the program: the process id stays the same.
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["unshare", "--mount", "/bin/sh", "-c", AS_ON_A_HOST, "sh"])
            .args([&self.boot_id, &self.program])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .wrap_err_with(|| format!("cannot start {}", self.program.display()))
    }
}

impl Platform {
    /// No service yet, and a thread that looks after them.
    pub fn new() -> eyre::Result<Self> {
        let running: Arc<Mutex<BTreeMap<String, Run>>> = Arc::default();
        let theirs = Arc::downgrade(&running);
        std::thread::Builder::new().name("platform".into()).spawn(move || {
            while let Some(running) = theirs.upgrade() {
                lock(&running).values_mut().for_each(Run::look_after);
                drop(running);
                std::thread::sleep(LOOK);
            }
        })?;
        Ok(Self { running })
    }

    /// Starts a service and keeps it running.
    pub fn add(&self, name: &str, service: Service) -> eyre::Result<()> {
        let child = service.start()?;
        let before = lock(&self.running).insert(name.to_owned(), Run { service, child, ended: None, ends: Vec::new() });
        ensure!(before.is_none(), "{name} was started before");
        Ok(())
    }

    /// Process id of the start that runs now.
    pub fn pid(&self, name: &str) -> eyre::Result<u32> {
        self.with(name, |run| {
            ensure!(run.ended.is_none(), "{name} does not run: {:?}", run.ends);
            Ok(run.child.id())
        })
    }

    /// Sends a signal to a service.
    pub fn signal(&self, name: &str, signal: Signal) -> eyre::Result<()> {
        processes::signal(self.pid(name)?, signal)
    }

    /// How its starts have ended until now, oldest first.
    pub fn ends(&self, name: &str) -> eyre::Result<Vec<Ended>> {
        self.with(name, |run| Ok(run.ends.clone()))
    }

    /// All that a service has said.
    pub fn log(&self, name: &str) -> eyre::Result<String> {
        let file = self.with(name, |run| Ok(run.service.log.clone()))?;
        Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
    }

    /// The services by name.
    pub fn names(&self) -> Vec<String> {
        lock(&self.running).keys().cloned().collect()
    }

    /// Fails when any of them has panicked, also where that was caught.
    pub fn ensure_no_panic(&self) -> eyre::Result<()> {
        for name in self.names() {
            let log = self.log(&name)?;
            ensure!(!log.contains("panicked at"), "{name} panicked:\n{log}");
        }
        Ok(())
    }

    /// Starts a service that has ended for good.
    pub fn start_again(&self, name: &str) -> eyre::Result<()> {
        self.with(name, |run| {
            ensure!(run.ended.is_some(), "{name} runs");
            run.child = run.service.start()?;
            run.ended = None;
            Ok(())
        })
    }

    /// The last lines of each log.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for name in self.names() {
            let (log, ends) = (self.log(&name).unwrap_or_default(), self.ends(&name).unwrap_or_default());
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.iter().skip(lines.len().saturating_sub(6)).copied().collect::<Vec<_>>().join("\n");
            text.push_str(&format!("== {name}, ended {ends:?}\n{tail}\n"));
        }
        text
    }

    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Run) -> eyre::Result<T>) -> eyre::Result<T> {
        let mut running = lock(&self.running);
        work(running.get_mut(name).ok_or_else(|| eyre::eyre!("there is no service {name}"))?)
    }
}

impl Run {
    fn look_after(&mut self) {
        match self.ended {
            None => {
                if let Ok(Some(status)) = self.child.try_wait() {
                    self.ends.push(Ended::of(status));
                    self.ended = Some(Instant::now());
                }
            }
            Some(ended) => {
                let is_final = self.ends.last().is_some_and(|end| end.is_final());
                if !is_final
                    && ended.elapsed() > PAUSE
                    && let Ok(child) = self.service.start()
                {
                    self.child = child;
                    self.ended = None;
                }
            }
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        for run in std::mem::take(&mut *lock(&self.running)).values_mut() {
            let _already_gone = run.child.kill();
            let _reaped = run.child.wait();
        }
    }
}

fn lock(running: &Mutex<BTreeMap<String, Run>>) -> MutexGuard<'_, BTreeMap<String, Run>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
