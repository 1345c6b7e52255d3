//! Child processes that are a role: the test binary starts itself again.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, Cx, Identity, MeshConfig, Remote, RoleActor, Status};
use alys_proto::{Refused, Role, storage};

use super::cluster_config;

/// Answers `GetHead` with its process id as height, so a test sees which incarnation answered.
pub struct Echo;

impl RoleActor for Echo {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: storage::Inbox) -> Result<(), ActorError> {
        match message {
            storage::Inbox::GetHead(_, reply) => {
                reply.send(storage::Head { height: u64::from(std::process::id()), hash: vec![] })
            }
            storage::Inbox::GetBlocks(_, reply) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                reply.refuse(Refused::Failed("too slow to be asked".into()));
            }
            storage::Inbox::GetBlockByHash(..) => return Err(ActorError::Configuration("asked to fail".into())),
            storage::Inbox::GetLedger(..) => panic!("asked to panic"),
            storage::Inbox::GetDocuments(..) => std::thread::sleep(Duration::from_secs(60)),
            _ => {}
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        let remotable = ractor::registry::get_all_pids().iter().filter(|actor| actor.supports_remoting()).count();
        Status::ready(vec![("answers", "pid".into()), ("remotable", remotable.to_string())])
    }
}

pub const RUN_DIR: &str = "ALYS_TEST_RUN_DIR";
pub const LISTEN: &str = "ALYS_TEST_LISTEN";
pub const CERTIFICATE: &str = "ALYS_TEST_CERTIFICATE";
/// Name of the instance; the role's without it.
pub const INSTANCE: &str = "ALYS_TEST_INSTANCE";
/// What is logged; warnings without it.
pub const FILTER: &str = "ALYS_TEST_FILTER";

/// A child that dies with the test.
pub struct Process(pub Child);

impl Process {
    pub fn start(folder: &Path) -> Self {
        Self(Self::command(folder).spawn().unwrap())
    }

    pub fn start_on_tcp(folder: &Path, listen: SocketAddr, certificate: &str) -> Self {
        let mut command = Self::command(folder);
        Self(command.env(LISTEN, listen.to_string()).env(CERTIFICATE, certificate).spawn().unwrap())
    }

    /// One of several under names of their own.
    pub fn start_as(folder: &Path, instance: &str) -> Self {
        Self(Self::command(folder).env(INSTANCE, instance).spawn().unwrap())
    }

    pub fn command(folder: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).env(RUN_DIR, folder).stdout(Stdio::null());
        command
    }

    pub fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let give_up = Instant::now() + Duration::from_secs(10);
        while Instant::now() < give_up {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("the child did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Asks until the answer is the wanted process: during a restart a question may fail or reach the dying one.
pub async fn answered_by(remote: &Remote<storage::Inbox>, pid: u64) {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = remote.ask_within(Duration::from_secs(2), storage::GetHead {}).await;
        if answer.is_ok_and(|head| head.height == pid) {
            return;
        }
        assert!(Instant::now() < give_up, "process {pid} never answered");
    }
}

/// What the child processes run.
pub fn run_child() {
    let Ok(run_dir) = std::env::var(RUN_DIR) else { return };
    let mut config = cluster_config(run_dir.as_ref());
    if let Ok(listen) = std::env::var(LISTEN) {
        let certificate = std::env::var(CERTIFICATE).unwrap();
        config.mesh = Some(mesh(run_dir.as_ref(), &certificate, Some(listen.parse().unwrap()), vec![]));
        config.run_dir = Path::new(&run_dir).join("another host");
    }
    config.debug.freeze_signers = true;
    config.debug.audit_file = Path::new(&run_dir).join("audit.log");
    if let Ok(filter) = std::env::var(FILTER) {
        config.telemetry.filter = filter;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = Identity::new(Role::Storage, &std::env::var(INSTANCE).unwrap_or_else(|_unset| "storage".into()));
    let code = runtime.block_on(alys_cluster::run(&config, identity, |_cluster| Ok(Echo)));
    std::process::exit(i32::from(code));
}

/// A CA and one certificate a name, as PEM files `<name>.pem` and `<name>.key`.
pub fn certificates(folder: &Path, names: &[&str]) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in names {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["mesh.alys".into(), format!("{name}.role.alys")]).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        secret(&folder.join(format!("{name}.key")), &key.serialize_pem());
    }
}

pub fn mesh(folder: &Path, certificate: &str, listen: Option<SocketAddr>, seeds: Vec<String>) -> MeshConfig {
    MeshConfig {
        listen,
        seeds,
        ca_file: folder.join("ca.pem"),
        certificate_file: folder.join(format!("{certificate}.pem")),
        key_file: folder.join(format!("{certificate}.key")),
    }
}
