//! `deploy/kubernetes`: every overlay builds, fulfils the schemas of Kubernetes, and holds together; the probes are answered
//! by real role processes that are started as their pods start them. No API server is involved.
#![allow(missing_docs)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alys::generate::credentials;
use alys::generate::topology::Topology;
use alys::prepare::{DevChain, dev};
use alys_cluster::testing::free_port;
use alys_tests::cluster::{binary, temporary_folder, wait};
use alys_tests::manifests::{Manifests, kustomize, role};
use eyre::{OptionExt as _, WrapErr as _, ensure};
use serde_json::Value;

const OVERLAYS: [&str; 3] = ["federation-member", "full-node", "one-node"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn overlay(name: &str) -> PathBuf {
    repository().join("deploy/kubernetes/overlays").join(name)
}

fn tool(name: &str) -> eyre::Result<PathBuf> {
    let path = repository().join(".tools/kubernetes-validate/bin").join(name);
    ensure!(path.exists(), "{} is missing: `make setup-test` installs it (needs python3 with venv)", path.display());
    Ok(path)
}

fn manifests(name: &str) -> eyre::Result<Manifests> {
    Manifests::build(&overlay(name), &tool("python")?)
}

#[test]
fn every_overlay_fulfils_the_schemas() -> eyre::Result<()> {
    for name in OVERLAYS {
        let folder = temporary_folder()?;
        let file = folder.path().join("built.yaml");
        let built = kustomize(&overlay(name))?;
        std::fs::write(&file, &built)?;
        let objects = manifests(name)?.objects.len();
        // An empty file would pass.
        ensure!(objects > 25, "{name} has {objects} objects");
        let output = Command::new(tool("kubernetes-validate")?).arg("--strict").arg(&file).stdin(Stdio::null()).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{name}: {said}");
        let passed = said.lines().filter(|line| line.contains("passed") || line.starts_with("INFO")).count();
        ensure!(passed >= objects, "{name}: {passed} of {objects} objects were looked at:\n{said}");

        std::fs::write(&file, String::from_utf8(built)?.replacen("replicas: 1", "replicas: one", 1))?;
        let output = Command::new(tool("kubernetes-validate")?).arg("--strict").arg(&file).stdin(Stdio::null()).output()?;
        ensure!(!output.status.success(), "{name}: a word for a number is not noticed");
    }
    Ok(())
}

#[test]
fn every_overlay_holds_together() -> eyre::Result<()> {
    for name in OVERLAYS {
        let manifests = manifests(name)?;
        let members = manifests.members.len();
        ensure!(members == usize::from(name == "federation-member"), "{name} has {members} governance nodes");
        let roles = 8 + usize::from(name == "federation-member");
        ensure!(manifests.workloads().count() == roles + members, "{name} has a workload for each role, and one for operators");
        let problems = manifests.problems();
        ensure!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
    }
    Ok(())
}

#[test]
fn each_rule_notices_its_breach() -> eyre::Result<()> {
    let whole = manifests("federation-member")?;
    let pod = "/spec/template/spec";
    let labels = "/spec/template/metadata/labels/app.kubernetes.io~1part-of";
    let to = "/spec/egress/0/to/0/podSelector/matchLabels/app.kubernetes.io~1name";
    let breaches: [(&str, &str, Value, &str); 14] = [
        ("alys-chain", &format!("{pod}/automountServiceAccountToken"), true.into(), "gets a token of the API"),
        ("alys-governance-ada", labels, "alys".into(), "the policy alys-mesh holds for it too"),
        ("alys-governance-ada", to, "storage".into(), "other pods than the stream"),
        ("alys-chain", &format!("{pod}/containers/0/livenessProbe/httpGet/port"), "nowhere".into(), "asks port nowhere"),
        ("alys-chain", &format!("{pod}/containers/0/ports/0/containerPort"), 9_999.into(), "port mesh is"),
        (
            "alys-network",
            "/spec/ingress/0/ports/1/protocol",
            "TCP".into(),
            "policy \"alys-network\" lets in to port \"p2p-quic\"",
        ),
        ("alys-p2p", "/spec/ports/1/protocol", "TCP".into(), "service \"alys-p2p\" leads to port \"p2p-quic\""),
        ("alys-chain", &format!("{pod}/volumes/1/secret/secretName"), "other".into(), "nobody makes the Secret other"),
        ("alys-chain", &format!("{pod}/containers/0/volumeMounts/0/name"), "other".into(), "is no volume"),
        ("alys-chain", &format!("{pod}/securityContext/runAsNonRoot"), false.into(), "may be root"),
        ("alys-chain", &format!("{pod}/containers/0/securityContext/readOnlyRootFilesystem"), false.into(), "change its image"),
        ("alys-chain", &format!("{pod}/terminationGracePeriodSeconds"), 5.into(), "of grace"),
        ("alys-chain", "/spec/replicas", 2.into(), "may run twice"),
        ("alys-sync", "/spec/scaleTargetRef/name", "other".into(), "the autoscaler scales"),
    ];
    for (name, path, value, expected) in breaches {
        let mut broken = whole.clone();
        let places = broken.objects.iter_mut().filter(|object| object["metadata"]["name"] == name);
        let place = places.into_iter().find_map(|object| object.pointer_mut(path)).ok_or_eyre("no such place")?;
        *place = value;
        let problems = broken.problems();
        ensure!(problems.iter().any(|problem| problem.contains(expected)), "{path}: {problems:?}");
    }
    let mut without = whole.clone();
    without.secrets = without.secrets.replace("/chain/validator.key", "/chain/other.key");
    ensure!(without.problems().iter().any(|problem| problem.contains("names validator.key")), "a missing key is noticed");
    let mut open = whole;
    open.objects.retain(|object| object["kind"] != "NetworkPolicy" || object["metadata"]["name"] != "alys-bridge");
    ensure!(
        open.problems().iter().any(|problem| problem == "bridge: no policy of its own selects it"),
        "a missing policy is noticed"
    );
    Ok(())
}

/// Storage works alone; chain waits for it: alive, but not ready.
#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_by_processes_that_start_as_pods_do() -> eyre::Result<()> {
    let manifests = manifests("federation-member")?;
    let world = World::new()?;
    let storage = world.start(&manifests, "storage")?;
    wait("storage to start", Duration::from_secs(30), async || Ok((storage.ask("startupProbe")? == 200).then_some(()))).await?;
    ensure!(storage.ask("livenessProbe")? == 200 && storage.ask("readinessProbe")? == 200, "storage is alive and ready");
    drop(storage);
    let chain = world.start(&manifests, "chain")?;
    wait("chain to live", Duration::from_secs(30), async || Ok((chain.ask("livenessProbe")? == 200).then_some(()))).await?;
    ensure!(chain.ask("readinessProbe")? == 503, "chain is not ready without storage");
    drop(chain);
    let member = world.start(&manifests, "governance-ada")?;
    wait("a member to live", Duration::from_secs(30), async || Ok((member.ask("livenessProbe")? == 200).then_some(()))).await?;
    ensure!(member.ask("startupProbe")? == 200, "without stream and bitcoind it does what it can");
    Ok(())
}

struct World {
    folder: tempfile::TempDir,
}

struct Pod {
    process: Child,
    workload: Value,
    port: u16,
}

impl World {
    fn new() -> eyre::Result<Self> {
        let folder = temporary_folder()?;
        let failed = |failure: alys::failure::Failure| eyre::eyre!("{failure}");
        dev(&folder.path().join("home"), &DevChain::default()).map_err(failed)?;
        let text = std::fs::read_to_string(repository().join("deploy/topology/federation-member.toml"))?;
        credentials::make(&Topology::parse(&text).map_err(failed)?, &folder.path().join("secrets")).map_err(failed)?;
        std::fs::copy(folder.path().join("home/keys/validator.key"), folder.path().join("secrets/chain/validator.key"))?;
        let member = folder.path().join("secrets/governance-ada");
        std::fs::copy(folder.path().join("home/keys/governance-1.key"), member.join("member.key"))?;
        std::fs::write(member.join("bitcoind.password"), "password")?;
        Ok(Self { folder })
    }

    /// The container's program with its arguments and environment; only folders and addresses are the test's.
    fn start(&self, manifests: &Manifests, name: &str) -> eyre::Result<Pod> {
        let workload = manifests.workloads().find(|one| role(one) == name).ok_or_eyre("no such workload")?.clone();
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let config = self.folder.path().join("alys.toml");
        let member = manifests.members.get(name);
        std::fs::write(&config, member.unwrap_or(&manifests.config))?;
        let arguments = container["args"].as_array().ok_or_eyre("no arguments")?.iter().filter_map(Value::as_str);
        let arguments = arguments
            .map(|argument| if argument == "/etc/alys/alys.toml" { config.display().to_string() } else { argument.to_owned() });
        let port = free_port()?;
        let path = |part: &str| self.folder.path().join(part).display().to_string();
        let mut command = Command::new(binary("alys")?);
        command.args(arguments);
        // The test chain has another name for the member; a governance node has no links.
        let own = match member {
            Some(_) => ("governance.name", "governance-1".to_owned()),
            None => ("cluster.mesh.listen", format!("127.0.0.1:{}", free_port()?)),
        };
        for (key, value) in [
            ("data_dir", path(&format!("data-{name}"))),
            ("chain_spec_file", path("home/chain.toml")),
            ("cluster.run_dir", path(&format!("run-{name}"))),
            ("cluster.telemetry.listen", format!("127.0.0.1:{port}")),
            own,
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let variable = &container["env"][0];
        ensure!(variable["name"] == "CREDENTIALS_DIRECTORY", "the container is told where its secrets are");
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log")))?;
        let process = command
            .env("CREDENTIALS_DIRECTORY", self.folder.path().join("secrets").join(name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .wrap_err("cannot start `alys`")?;
        Ok(Pod { process, workload, port })
    }
}

impl Pod {
    /// Asks as the kubelet does; the status, or an error while nobody listens.
    fn ask(&self, probe: &str) -> eyre::Result<u16> {
        let probe = &self.workload["spec"]["template"]["spec"]["containers"][0][probe]["httpGet"];
        let path = probe["path"].as_str().ok_or_eyre("no path")?;
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_eyre("no status")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ended_by_itself = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// What `deploy/container/Containerfile` copies into the image is enough for the program to run, as the pods' user.
#[test]
fn the_image_holds_all_that_the_program_needs() -> eyre::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test changes its root folder and user: run it as root");
    let folder = temporary_folder()?;
    let image = folder.path().join("image");
    let made = Command::new(repository().join("deploy/container/image-root.sh")).arg(binary("alys")?).arg(&image).status()?;
    ensure!(made.success(), "image-root.sh ended with {made}");
    let output = Command::new("chroot")
        .arg("--userspec=10001:10001")
        .arg(&image)
        .args(["/usr/local/bin/alys", "version"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(String::from_utf8_lossy(&output.stdout).starts_with("alys "), "it does not run");
    Ok(())
}
