//! Kubernetes objects as built from an overlay, and what must hold between them that no schema says.
//!
//! | rule | breach |
//! |---|---|
//! | ports | a probe, service or policy names a port that the container does not have, or the program does not listen on |
//! | files | a volume names a Secret or ConfigMap that nobody makes, or `alys.toml` a secret that the role does not get |
//! | selectors | a service, budget, autoscaler or policy selects nothing; a role has no policy of its own |
//! | closed | a pod asks for more than the `restricted` standard allows |
//! | single | a role that must not run twice is no StatefulSet of one |
//! | apart | a governance node reaches another pod than the stream, or shares a policy with the roles |
//! | drain | the grace period is shorter than pause and drain |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use eyre::{OptionExt as _, WrapErr as _, ensure};
use serde_json::{Value, json};

/// The objects of an overlay and the files beside it.
#[derive(Clone, Debug)]
pub struct Manifests {
    /// What kustomize builds.
    pub objects: Vec<Value>,
    /// `alys.toml` of every role's pod.
    pub config: String,
    /// That of each governance node, by the name of its workload.
    pub members: BTreeMap<String, String>,
    /// The script that makes the Secrets.
    pub secrets: String,
}

impl Manifests {
    /// Builds an overlay; `python` has PyYAML.
    pub fn build(overlay: &Path, python: &Path) -> eyre::Result<Self> {
        let yaml = kustomize(overlay)?;
        let program = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";
        let mut process = Command::new(python).args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = process.stdin.take().ok_or_eyre("python takes no input")?;
        std::io::Write::write_all(&mut input, &yaml)?;
        drop(input);
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "python cannot read what kustomize built");
        let read = |name: &str| std::fs::read_to_string(overlay.join(name)).wrap_err_with(|| name.to_owned());
        let mut members = BTreeMap::new();
        for entry in std::fs::read_dir(overlay)? {
            let file = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = file.strip_suffix(".toml").filter(|name| is_member(name)) {
                members.insert(name.to_owned(), read(&file)?);
            }
        }
        let objects = serde_json::from_slice(&output.stdout)?;
        Ok(Self { objects, config: read("alys.toml")?, members, secrets: read("secrets.sh")? })
    }

    /// Objects of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// StatefulSets and Deployments.
    pub fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of("StatefulSet").chain(self.of("Deployment"))
    }

    /// Everything that does not hold.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for workload in self.workloads() {
            let role = role(workload);
            let mut wrong = |what: String| problems.push(format!("{role}: {what}"));
            if role != "debug" {
                self.check_ports(workload, &mut wrong);
            }
            self.check_files(workload, &mut wrong);
            check_closed(workload, &mut wrong);
            check_single(workload, &mut wrong);
            check_drain(workload, &mut wrong);
            if is_member(role) {
                self.check_apart(workload, &mut wrong);
            }
            let policies = self.of("NetworkPolicy").filter(|policy| policy["metadata"]["name"] == format!("alys-{role}"));
            if policies.filter(|policy| selects(&policy["spec"]["podSelector"], workload)).count() != 1 {
                wrong("no policy of its own selects it".into());
            }
        }
        self.check_selectors(&mut |what| problems.push(what));
        problems
    }

    fn check_ports(&self, workload: &Value, wrong: &mut dyn FnMut(String)) {
        let has = ports(workload);
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = container[probe]["httpGet"]["port"].as_str().unwrap_or("nothing");
            if !has.contains_key(port) {
                wrong(format!("{probe} asks port {port}"));
            }
        }
        let role = role(workload);
        for (port, section, key) in [("mesh", "cluster.mesh", "listen"), ("telemetry", "cluster.telemetry", "listen")] {
            let listens = self.setting(role, section, key).and_then(|address| address.rsplit_once(':')?.1.parse::<u64>().ok());
            let number = has.get(port).map(|(number, _)| *number);
            if listens != number {
                wrong(format!("port {port} is {number:?}, alys.toml says {listens:?}"));
            }
        }
        for service in self.of("Service").filter(|service| selects_labels(&service["spec"]["selector"], workload)) {
            for port in array(&service["spec"]["ports"]).filter(|port| !leads(&has, port, "targetPort")) {
                wrong(format!("service {} leads to port {}", service["metadata"]["name"], port["targetPort"]));
            }
        }
        for policy in self.of("NetworkPolicy").filter(|policy| selects(&policy["spec"]["podSelector"], workload)) {
            for rule in array(&policy["spec"]["ingress"]) {
                // A policy for several roles may name a port that one of them lacks; each role's own may not.
                let own = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"].is_string();
                for port in array(&rule["ports"]).filter(|port| own && !leads(&has, port, "port")) {
                    wrong(format!("policy {} lets in to port {}", policy["metadata"]["name"], port["port"]));
                }
            }
        }
    }

    fn check_files(&self, workload: &Value, wrong: &mut dyn FnMut(String)) {
        let role = role(workload);
        let made = self.made();
        let generated: Vec<&str> = self.of("ConfigMap").filter_map(|map| map["metadata"]["name"].as_str()).collect();
        let pod = &workload["spec"]["template"]["spec"];
        let volumes: BTreeSet<&str> = array(&pod["volumes"])
            .chain(array(&workload["spec"]["volumeClaimTemplates"]).map(|claim| &claim["metadata"]))
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        for mount in array(&pod["containers"][0]["volumeMounts"]) {
            if !mount["name"].as_str().is_some_and(|name| volumes.contains(name)) {
                wrong(format!("mounts {}, which is no volume", mount["name"]));
            }
        }
        for volume in array(&pod["volumes"]) {
            let maps = array(&volume["projected"]["sources"]).map(|source| &source["configMap"]).chain([&volume["configMap"]]);
            for name in maps.filter_map(|map| map["name"].as_str()) {
                if !generated.contains(&name) && !made.contains_key(&format!("configmap {name}")) {
                    wrong(format!("nobody makes the ConfigMap {name}"));
                }
            }
            let Some(secret) = volume["secret"]["secretName"].as_str() else { continue };
            let Some(files) = made.get(&format!("secret {secret}")) else {
                wrong(format!("nobody makes the Secret {secret}"));
                continue;
            };
            for file in self.secrets_of(role).into_iter().filter(|file| !files.contains(file)) {
                wrong(format!("alys.toml names {file}, which is not in the Secret {secret}"));
            }
        }
    }

    fn check_apart(&self, workload: &Value, wrong: &mut dyn FnMut(String)) {
        let policies = self.of("NetworkPolicy").filter(|policy| selects(&policy["spec"]["podSelector"], workload));
        let own = format!("alys-{}", role(workload));
        for policy in policies {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default();
            if name != own && name != "alys-deny" {
                wrong(format!("the policy {name} holds for it too"));
            }
            let targets = array(&policy["spec"]["egress"]).flat_map(|rule| array(&rule["to"]));
            for pods in targets.map(|to| &to["podSelector"]).filter(|pods| !pods.is_null()) {
                if pods["matchLabels"] != json!({"app.kubernetes.io/name": "stream", "app.kubernetes.io/part-of": "alys"}) {
                    wrong(format!("it reaches other pods than the stream: {pods}"));
                }
            }
        }
    }

    fn check_selectors(&self, wrong: &mut dyn FnMut(String)) {
        let nobody = |object: &Value, selector: &Value| {
            (!self.workloads().any(|workload| selects(selector, workload)))
                .then(|| format!("{} {} selects nothing", object["kind"], object["metadata"]["name"]))
        };
        for object in self.of("PodDisruptionBudget") {
            nobody(object, &object["spec"]["selector"]).into_iter().for_each(&mut *wrong);
        }
        for object in self.of("Service") {
            nobody(object, &json!({ "matchLabels": object["spec"]["selector"] })).into_iter().for_each(&mut *wrong);
        }
        for scaler in self.of("HorizontalPodAutoscaler") {
            let target = &scaler["spec"]["scaleTargetRef"];
            if !self.of("Deployment").any(|one| one["metadata"]["name"] == target["name"] && target["kind"] == "Deployment") {
                wrong(format!("the autoscaler scales {}, which is no Deployment", target["name"]));
            }
        }
        let denies = |policy: &&Value| {
            policy["spec"]["podSelector"] == json!({})
                && policy["spec"]["ingress"].is_null()
                && policy["spec"]["egress"].is_null()
        };
        if self.of("NetworkPolicy").filter(denies).count() != 1 {
            wrong("nothing denies what no policy allows".into());
        }
    }

    /// What the script makes: `secret NAME` or `configmap NAME` and its files.
    fn made(&self) -> BTreeMap<String, Vec<String>> {
        let mut made = BTreeMap::new();
        for command in self.secrets.replace("\\\n", " ").lines().filter_map(|line| line.strip_prefix("apply ")) {
            let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "generic").collect();
            let [kind, name, files @ ..] = words.as_slice() else { continue };
            let file = |word: &&str| {
                word.trim_matches('"')
                    .rsplit(['/', '='])
                    .find(|part| !part.is_empty())
                    .map(|name| name.trim_matches('"').to_owned())
            };
            made.insert(format!("{kind} {name}"), files.iter().filter_map(file).collect());
        }
        made
    }

    /// The secrets that `alys.toml` names in sections that a role reads.
    fn secrets_of(&self, role: &str) -> Vec<String> {
        let mut section = String::new();
        let mut names = Vec::new();
        for line in self.config_of(role).lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
            }
            let own = section.starts_with("cluster") || section.split('.').next() == role.split('-').next();
            let name = line.split_once("$CREDENTIALS_DIRECTORY/").and_then(|(_, rest)| rest.strip_suffix('"'));
            names.extend(name.filter(|_| own).map(ToOwned::to_owned));
        }
        names
    }

    fn config_of(&self, role: &str) -> &str {
        self.members.get(role).unwrap_or(&self.config)
    }

    fn setting(&self, role: &str, section: &str, key: &str) -> Option<&str> {
        let (_, body) = self.config_of(role).split_once(&format!("[{section}]\n"))?;
        let line =
            body.lines().take_while(|line| !line.starts_with('[')).find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"'))
    }
}

/// `kubectl kustomize`, or `kustomize build`.
///
/// # Errors
/// Neither is installed, or the overlay cannot be built.
pub fn kustomize(overlay: &Path) -> eyre::Result<Vec<u8>> {
    for (program, command) in [("kubectl", "kustomize"), ("kustomize", "build")] {
        if let Ok(output) = Command::new(program).arg(command).arg(overlay).stdin(Stdio::null()).output() {
            ensure!(
                output.status.success() && output.stderr.is_empty(),
                "{}: {}",
                overlay.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            return Ok(output.stdout);
        }
    }
    eyre::bail!("neither kubectl nor kustomize is installed: one of them builds the manifests")
}

/// Whether a workload of this name is a governance node.
fn is_member(name: &str) -> bool {
    name.starts_with("governance-")
}

/// The role that a workload runs, or the name of a governance node.
pub fn role(workload: &Value) -> &str {
    workload["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap_or("unnamed")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Name, number and protocol of a container's ports.
fn ports(workload: &Value) -> BTreeMap<&str, (u64, &str)> {
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    array(&container["ports"])
        .filter_map(|port| Some((port["name"].as_str()?, (port["containerPort"].as_u64()?, protocol(port)))))
        .collect()
}

/// Whether the container has the port that a service or policy names, in its protocol: a name of another is not found.
fn leads(has: &BTreeMap<&str, (u64, &str)>, port: &Value, key: &str) -> bool {
    has.get(port[key].as_str().unwrap_or_default()).is_some_and(|(_, theirs)| *theirs == protocol(port))
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

fn selects(selector: &Value, workload: &Value) -> bool {
    selects_labels(&selector["matchLabels"], workload)
}

fn selects_labels(wanted: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    wanted.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

fn check_closed(workload: &Value, wrong: &mut dyn FnMut(String)) {
    let pod = &workload["spec"]["template"]["spec"];
    let security = &pod["securityContext"];
    let container = &pod["containers"][0];
    let own = &container["securityContext"];
    let rules = [
        (security["runAsNonRoot"] == true && security["runAsUser"].as_u64() > Some(0), "may be root"),
        (security["seccompProfile"]["type"] == "RuntimeDefault", "has no seccomp profile"),
        // The supervisor alone asks the API, with rights of its own.
        (
            pod["automountServiceAccountToken"] == false || pod["serviceAccountName"] == "alys-supervisor",
            "gets a token of the API",
        ),
        (own["allowPrivilegeEscalation"] == false, "may gain privileges"),
        (own["readOnlyRootFilesystem"] == true, "may change its image"),
        (own["capabilities"]["drop"] == json!(["ALL"]) && own["capabilities"]["add"].is_null(), "has capabilities"),
        (
            !container["resources"]["limits"]["memory"].is_null() && !container["resources"]["requests"]["cpu"].is_null(),
            "has no limits",
        ),
        (!["hostNetwork", "hostPID", "hostIPC"].iter().any(|key| pod[*key] == true), "is on the host"),
        (array(&pod["volumes"]).all(|volume| volume["hostPath"].is_null()), "mounts the host"),
        (array(&pod["containers"]).count() == 1, "has not one container"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).for_each(|(_, what)| wrong(what.to_owned()));
}

fn check_single(workload: &Value, wrong: &mut dyn FnMut(String)) {
    if matches!(role(workload), "sync" | "debug") {
        return;
    }
    if workload["kind"] != "StatefulSet" || workload["spec"]["replicas"] != 1 {
        wrong("may run twice".into());
    }
}

fn check_drain(workload: &Value, wrong: &mut dyn FnMut(String)) {
    let pod = &workload["spec"]["template"]["spec"];
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(0));
    let pause = Duration::from_secs(pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0));
    let drain = alys_cluster::ClusterConfig::default().drain_budget;
    if grace < pause + drain * 2 {
        wrong(format!("{grace:?} of grace for a pause of {pause:?} and a drain of {drain:?}"));
    }
}
