//! Dashboards, rules and runbook hold together, and a real Prometheus that scrapes a real cluster raises a killed role's
//! alert.
//!
//! Prometheus is Debian's (`tests/tools/install-test-tools.sh` unpacks it into `.tools/prometheus`).
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alys_cluster::testing::{free_port, free_ports};
use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use eyre::{OptionExt as _, WrapErr as _, ensure};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// Where the eight roles and the three governance nodes of a test chain are, behind `local.metrics_port_base`.
const OFFSETS: [u16; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 21, 22, LAST_OFFSET];
const LAST_OFFSET: u16 = 23;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Files of a folder with this ending, in the order of their names.
fn files(folder: &str, ending: &str) -> eyre::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root().join(folder)).wrap_err(folder.to_owned())?;
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    ensure!(!found.is_empty(), "no .{ending} in {folder}");
    Ok(found)
}

fn rules() -> eyre::Result<String> {
    let texts: Result<Vec<String>, _> = files("deploy/prometheus/rules", "yml")?.iter().map(std::fs::read_to_string).collect();
    Ok(texts?.concat())
}

/// What stands behind `key: ` in lines of the rules.
fn values<'text>(rules: &'text str, key: &str) -> Vec<&'text str> {
    rules.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")).collect()
}

/// Words of an expression that are names of ours.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("alys_") && *word != "alys_instance")
}

/// Every expression of rules and dashboards, with where it stands.
fn expressions() -> eyre::Result<Vec<(String, String)>> {
    let rules = rules()?;
    let mut found: Vec<(String, String)> =
        values(&rules, "expr").into_iter().map(|expression| ("rules".to_owned(), expression.to_owned())).collect();
    for path in files("deploy/grafana", "json")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).wrap_err_with(|| name.clone())?;
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().ok_or_eyre("a target without an expression")?;
                found.push((format!("{name}: {}", panel["title"]), expression.to_owned()));
            }
        }
    }
    Ok(found)
}

/// Names of series in an exposition.
fn series(exposition: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, kind) in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        match kind {
            "counter" => drop(names.insert(format!("{name}_total"))),
            "histogram" => names.extend(["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}"))),
            _ => drop(names.insert(name.to_owned())),
        }
    }
    names
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() -> eyre::Result<()> {
    let rules = rules()?;
    let alerts: BTreeSet<&str> = values(&rules, "alert").into_iter().collect();
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md"))?;
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    ensure!(
        alerts == sections,
        "without a section or an alert: {:?}",
        alerts.symmetric_difference(&sections).collect::<Vec<_>>()
    );
    let links: Vec<String> = alerts.iter().map(|alert| format!("docs/runbook.md#{}", alert.to_lowercase())).collect();
    let mut linked = values(&rules, "runbook_url");
    linked.sort_unstable();
    ensure!(linked == links, "{linked:?}");
    for part in ["**Means.**", "**Costs.**", "**Look.**", "**Do.**"] {
        ensure!(runbook.matches(part).count() == sections.len(), "not every section has {part}");
    }
    Ok(())
}

#[test]
fn dashboards_are_whole() -> eyre::Result<()> {
    let mut uids = BTreeSet::new();
    for path in files("deploy/grafana", "json")? {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let text = |pointer: &str| dashboard.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        ensure!(text("/title").is_some() && uids.insert(text("/uid").ok_or_eyre("no uid")?), "{}", path.display());
        let panels = dashboard["panels"].as_array().ok_or_eyre("no panels")?;
        let mut ids = BTreeSet::new();
        for panel in panels {
            let whole = panel["title"].is_string() && panel["gridPos"].is_object() && ids.insert(panel["id"].as_u64());
            ensure!(whole, "{}: {panel}", path.display());
        }
        ensure!(panels.len() >= 6, "{} has {} panels", path.display(), panels.len());
    }
    Ok(())
}

#[test]
fn rules_pass_their_tests() -> eyre::Result<()> {
    let Some(promtool) = tool("promtool") else { return Ok(()) };
    let run = |arguments: &[&str], paths: &[PathBuf]| {
        let output = Command::new(&promtool).args(arguments).args(paths).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
        Ok(())
    };
    run(&["check", "config"], &[root().join("deploy/prometheus/prometheus.yml")])?;
    let tests = files("deploy/prometheus/tests", "yml")?;
    run(&["test", "rules"], &tests)?;
    let rules = rules()?;
    let tested = tests.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?.concat();
    let tested: BTreeSet<&str> = values(&tested, "alertname").into_iter().collect();
    let untested: Vec<&str> = values(&rules, "alert").into_iter().filter(|alert| !tested.contains(alert)).collect();
    ensure!(untested.is_empty(), "no rule test for {untested:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_a_cluster_and_a_killed_role_raises_its_alert() -> eyre::Result<()> {
    let Some(program) = tool("prometheus") else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    let base = free_ports(LAST_OFFSET + 1)?;
    let alys =
        Alys::up(&bitcoind, Options { set: vec![format!("local.metrics_port_base={base}")], ..Options::default() }).await?;
    let mut exposed = BTreeSet::new();
    for offset in OFFSETS {
        let port = base + offset;
        // The governance nodes are started last, and nobody waits for them.
        let exposition = wait("the metrics of a process", PATIENCE, async || Ok(Some(get(port, "/metrics").await?))).await?;
        exposed.extend(series(&exposition));
        ensure!(get(port, "/livez").await? == "ok\n" && get(port, "/readyz").await? == "ok\n", "port {port} is not healthy");
    }
    for (place, expression) in expressions()? {
        let unknown: Vec<&str> = metrics_in(&expression).filter(|name| !exposed.contains(*name)).collect();
        ensure!(unknown.is_empty(), "{place} names {unknown:?}, which no role exposes: {expression}");
    }

    let prometheus = Prometheus::start(&program, base)?;
    wait("Prometheus to have scraped every role", PATIENCE, async || {
        let up = prometheus.query("count(up{job=\"alys\"} == 1)").await?;
        let text = up.pointer("/data/result/0/value/1").and_then(Value::as_str);
        ensure!(text == Some("11"), "{up}");
        Ok(Some(()))
    })
    .await
    .wrap_err_with(|| prometheus.output())?;
    let firing = prometheus.firing().await?;
    ensure!(!firing.iter().any(|alert| alert.starts_with("AlysRole")), "a healthy cluster raises {firing:?}");

    // Sync, since the others go on without it.
    let pid_of = async || Ok::<_, eyre::Report>(alys.observation(Role::Sync).await?.map(|seen| seen.pid));
    for _kill in 0..3 {
        let killed = alys.kill(Role::Sync).await?;
        wait("another sync, scraped", PATIENCE, async || {
            let Some(started) = alys.observation(Role::Sync).await?.filter(|seen| seen.pid != killed) else { return Ok(None) };
            let found = prometheus.query("alys_started_timestamp_seconds{role=\"sync\"}").await?;
            let seconds = found.pointer("/data/result/0/value/1").and_then(Value::as_str).unwrap_or_default().parse::<f64>()?;
            let millis = Duration::from_secs_f64(seconds).as_millis();
            Ok((millis.abs_diff(u128::from(started.started_unix_millis)) < 2).then_some(()))
        })
        .await
        .wrap_err_with(|| prometheus.output())?;
    }
    ensure!(pid_of().await?.is_some());
    wait("the alert of a role that restarts again and again", PATIENCE, async || {
        let firing = prometheus.firing().await?;
        ensure!(firing.contains("AlysRoleFlapping"), "only {firing:?} fire");
        Ok(Some(()))
    })
    .await
    .wrap_err_with(|| prometheus.output())
}

/// A program of the monitoring, if it is installed and runs on this machine.
fn tool(name: &str) -> Option<PathBuf> {
    let program = root().join(".tools/bin").join(name);
    let runs = Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        eprintln!("SKIPPED: .tools/bin holds no {name} that runs here: `make setup-test`, on a Debian");
    }
    runs.then_some(program)
}

/// The body of a page on this host.
async fn get(port: u16, path: &str) -> eyre::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    // HTTP/1.0: the body is not in chunks and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_eyre("no answer")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path} on port {port}: {answer}");
    Ok(body.to_owned())
}

/// A real Prometheus with the committed configuration and rules, but for ports and pace.
struct Prometheus {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &Path, base: u16) -> eyre::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let committed = std::fs::read_to_string(root().join("deploy/prometheus/prometheus.yml"))?;
        let mut config = committed.replace("5s", "1s");
        for offset in OFFSETS {
            let (standard, ours) = (format!("127.0.0.1:{} ", 9_600 + offset), format!("127.0.0.1:{} ", base + offset));
            ensure!(config.contains(&standard), "the configuration does not name {standard}");
            config = config.replace(&standard, &ours);
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config)?;
        std::os::unix::fs::symlink(root().join("deploy/prometheus/rules"), folder.path().join("rules"))?;
        let output = File::create(folder.path().join("output"))?;
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { process, port, folder })
    }

    async fn query(&self, expression: &str) -> eyre::Result<Value> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        Ok(serde_json::from_str(&get(self.port, &format!("/api/v1/query?query={escaped}")).await?)?)
    }

    /// Names of the alerts that fire.
    async fn firing(&self) -> eyre::Result<BTreeSet<String>> {
        let answer: Value = serde_json::from_str(&get(self.port, "/api/v1/alerts").await?)?;
        let alerts = answer.pointer("/data/alerts").and_then(Value::as_array).ok_or_eyre("no alerts in the answer")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| alert.pointer("/labels/alertname")?.as_str().map(str::to_owned)).collect())
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // By the pid of this child; it may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
